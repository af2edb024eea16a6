"""Networks and clips that several modules train with."""

from pathlib import Path

import pytest
from diffusers import AutoencoderKL

from latentsync.build import build_vae
from latentsync.data.clips import TrainingClip
from latentsync.train import log
from scripts.make_seeded_checkpoints import VAE_LEVELS, write_vae

from .tiny import write_clips


@pytest.fixture(autouse=True)
def no_charts(monkeypatch):
    """They take longer than all the rest of a test's runs; what a module or another process runs draws its own."""
    monkeypatch.setattr(log, "draw_chart", lambda *_: None)


@pytest.fixture(scope="session")
def vae(tmp_path_factory) -> AutoencoderKL:
    folder = tmp_path_factory.mktemp("vae")
    write_vae(folder, VAE_LEVELS["tiny"], 0)
    return build_vae(folder)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> list[TrainingClip]:
    folder: Path = tmp_path_factory.mktemp("prepared")
    return write_clips(folder)
