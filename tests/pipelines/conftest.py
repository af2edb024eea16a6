"""A pipeline of tiny seeded networks, small videos, and detectors whose faces are known."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync.build import build_pipeline
from latentsync.config import UNetConfig, load_config
from latentsync.face.detect import EYES, LIPS, FaceBox, FaceDetector, MediaPipeDetector, mesh_alignment_points
from latentsync.media.ffmpeg import VideoWriter
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from scripts.make_seeded_checkpoints import make_seeded_checkpoints

from ..golden_families import golden_rule
from ..wav import write_wav

WIDTH, HEIGHT = 160, 128
RESOLUTION = 64


class KnownFaces(FaceDetector):
    """A detector that finds a face of a fixed shape at `place(frame number)`, or none where that is None."""

    alignment_points = staticmethod(mesh_alignment_points)

    def __init__(self, place=lambda index: (80.0, 60.0)) -> None:
        self.place, self.index, self.closed = place, -1, False

    def boxes(self, frame: np.ndarray, *, again: bool = False) -> list[FaceBox]:
        self.index += not again
        centre = self.place(self.index)
        if centre is None:
            return []
        (x, y), (dx, dy) = centre, (20, 25)
        return [FaceBox(np.array([x - dx, y - dy, x + dx, y + dy], np.float32), 1.0)]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """Brows above, nose below: the three points of an upright face 40 pixels wide. Lips and eyes near them."""
        if self.place(self.index) is None:
            return None
        landmarks = np.tile((box[:2] + box[2:]) / 2, (468, 1))
        landmarks[[71, 63, 105, 66, 107]] += (-10, -12)
        landmarks[[336, 296, 334, 293, 301]] += (10, -12)
        landmarks[list(LIPS)] += (0, 14)
        landmarks[list(EYES)] += (0, -8)
        landmarks[2] += (-20, -25)
        landmarks[3] += (20, 25)
        return landmarks

    lips, eyes = MediaPipeDetector.lips, MediaPipeDetector.eyes

    def accepts(self, found: FaceBox) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    return make_seeded_checkpoints(tmp_path_factory.mktemp("checkpoints") / "tiny", "tiny")


@pytest.fixture(scope="session")
def networks(checkpoints) -> LipsyncPipeline:
    cfg = load_config(UNetConfig, checkpoints / "config.yaml", [f"data.resolution={RESOLUTION}"])
    return build_pipeline(cfg, checkpoints / "latentsync_unet.pt", device="cpu", dtype="fp32")


@pytest.fixture
def pipeline(networks):
    """Makes pipelines that share the networks: pipeline(place=..., options=..., cls=...)."""

    def make(place=None, options=None, cls=LipsyncPipeline) -> LipsyncPipeline:
        return cls(
            networks.vae,
            networks.audio_encoder,
            networks.unet,
            networks.scheduler,
            options=options,
            resolution=RESOLUTION,
            detector=lambda: KnownFaces(place) if place else KnownFaces(),
        )

    return make


def write_video(path: Path, n_frames: int, rate: Fraction = Fraction(25)) -> Path:
    rule = golden_rule()
    with VideoWriter(path, WIDTH, HEIGHT, rate, crf=4) as writer:
        for i in range(n_frames):
            writer.write(rule.smooth_image(HEIGHT, WIDTH, 0.1 * i))
    return path


def write_sound(path: Path, seconds: float) -> Path:
    return write_wav(path, golden_rule().waveform("pipeline test", seconds))


@pytest.fixture(scope="session")
def video(tmp_path_factory) -> Path:
    """40 frames, 1.6 s."""
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", 40)


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """0.9 s: 22.5 frames."""
    return write_sound(tmp_path_factory.mktemp("sound") / "in.wav", 0.9)
