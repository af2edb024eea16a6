"""Little clips of numbered frames, and a tiny Whisper."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.data.clips import TrainingClip, find_clips
from latentsync.data.prepare import PrepareSettings, prepare
from latentsync.data.windows import Needs
from latentsync.whisper.audio2feature import Audio2Feature

from ..command import write_clip
from ..golden_families.whisper import whisper_file
from ..media.make import ffmpeg, numbered
from ..wav import write_wav
from ..whisper.test_audio2feature import DIMS

SIDE = 96  # pixels
FRAMES = 75  # 3 s


def pictures(n: int, width: int = SIDE) -> np.ndarray:
    return np.stack([cv2.resize(numbered(i), (width, SIDE), interpolation=cv2.INTER_NEAREST) for i in range(n)])


def noise(seed: int, seconds: float) -> np.ndarray:
    """Bursts of noise, (n,) int16."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0, 6000, round(seconds * 10)), 1600)
    return (rng.normal(size=len(loudness)) * loudness).clip(-32767, 32767).astype(np.int16)


def make_clip(
    path: Path, n: int = FRAMES, *options: str, seed: int = 0, width: int = SIDE, rate: int = 25, seconds: float = 0
) -> Path:
    """A clip that shows its frames' numbers, with noise as long as the picture unless `seconds` says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = write_wav(path.with_suffix(".wav"), noise(seed, seconds or n / rate))
    picture = write_clip(path.with_suffix(".mkv"), pictures(n, width), rate=rate)
    encoding = options or ("-c:v", "copy")
    ffmpeg("-i", picture, "-i", sound, *encoding, "-c:a", "aac", "-movflags", "+faststart", path)
    sound.unlink()
    picture.unlink()
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Three clips, two of them with one base name."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("a/00001.mp4", "b/00001.mp4", "c.mp4")):
        make_clip(folder / name, FRAMES + 5 * seed, seed=seed)
    return folder


@pytest.fixture(scope="session")
def whisper(tmp_path_factory) -> Audio2Feature:
    return Audio2Feature(whisper_file(tmp_path_factory.mktemp("whisper"), DIMS), "cpu")


@pytest.fixture(scope="session")
def prepared(folder, whisper, tmp_path_factory) -> Callable[[int | None], list[TrainingClip]]:
    """A function from the resolution of the frame cache, or None, to the folder's clips, usable by both sets."""
    cache = tmp_path_factory.mktemp("cache")

    def clips(resolution: int | None) -> list[TrainingClip]:
        settings = PrepareSettings(cache, Needs(16, 48, 16), resolution=resolution, n_workers=1)
        return prepare(find_clips(folder), settings, audio=whisper).clips

    return clips
