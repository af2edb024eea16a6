"""What every test module shares."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from scripts import inference
from scripts.make_seeded_checkpoints import make_seeded_checkpoints

from .command import Command, demo_frames, write_clip
from .wav import read_wav, write_wav

#: Real footage that lies beside a checkout on some machines; it is not part of the project.
MEDIA = Path(__file__).resolve().parents[2] / "shared/media"


@pytest.fixture(scope="session")
def footage() -> Callable[[str], Path]:
    """A function from a file's name to its path among the real footage; skips the test where it is absent."""

    def find(name: str) -> Path:
        if not (MEDIA / name).is_file():
            pytest.skip(f"no {name} in {MEDIA}")
        return MEDIA / name

    return find


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def seeded_demo(monkeypatch, cache):
    """A checkout without official weights, whoever runs the tests, in which those of the demo are small random ones."""
    monkeypatch.setattr(inference, "OFFICIAL_UNET", Path("no such file"))
    folder = make_seeded_checkpoints(cache / "seeded_tiny", "tiny")
    monkeypatch.setattr(inference, "DEMO_UNET", folder / "latentsync_unet.pt")


@pytest.fixture(scope="session")
def short_sound(tmp_path_factory) -> str:
    """0.6 s of the demo's speech: 15 frames."""
    samples, rate = read_wav(inference.DEMO_AUDIO)
    return str(write_wav(tmp_path_factory.mktemp("sound") / "short.wav", samples[: int(0.6 * rate)], rate))


@pytest.fixture(scope="session")
def tiny_flags(cache) -> list[str]:
    """Weights, and a configuration of small pictures and windows: half a second for ten frames."""
    folder = make_seeded_checkpoints(cache / "seeded_tiny", "tiny")
    config = cache / "small.yaml"
    config.write_text(f"base: {folder / 'config.yaml'}\ndata: {{resolution: 64, num_frames: 5}}\n")
    return ["--inference_ckpt_path", str(folder / "latentsync_unet.pt"), "--unet_config_path", str(config)]


@pytest.fixture
def command(tiny_flags, capsys) -> Iterator[Command]:
    """The command in this process: command(video, sound, out, *flags), command.failure(*arguments)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these networks gain nothing by more, which wait for each other on a busy machine
    yield Command(tiny_flags, capsys)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Ten numbered frames of the demo's face, without sound."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", demo_frames(10))


@pytest.fixture(scope="session")
def speech(tmp_path_factory) -> Path:
    """0.4 s of the demo's speech, 16 kHz mono: 10 frames."""
    samples, rate = read_wav(inference.DEMO_AUDIO)
    return write_wav(tmp_path_factory.mktemp("speech") / "speech.wav", samples[int(0.2 * rate) : int(0.6 * rate)], rate)


def pytest_terminal_summary(terminalreporter):
    from . import test_golden

    if test_golden.compared:
        count = sum(test_golden.compared.values())
        terminalreporter.write_line(f"{count} golden arrays of {len(test_golden.compared)} files compared")


@pytest.fixture(scope="module")
def one_thread():
    """torch computes with one thread, and afterwards as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
