"""Who tells offset and confidence of a video: SyncNet v2 where its files are, else the project's SyncNet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

from . import REPO_ROOT
from .build import build_sync_judge, judge_config, syncnet_file
from .build_metrics import build_sync_evaluator, official_sync_available, official_sync_weights
from .errors import MeasureError
from .face.align import FaceAligner
from .face.detect import MediaPipeDetector
from .face.track import FaceChoice
from .files import digest
from .media.ffmpeg import decode_frames
from .metrics.sync_score import SyncScore
from .metrics.sync_video import SyncOptions
from .metrics.tracks import FaceTrack
from .options import InferenceOptions
from .pipelines.faces import align_faces

FPS = 25
SIDE = 256  # pixels of aligned faces; judges make them smaller
PROJECT_CONFIG = "configs/syncnet/demo.yaml"
#: Of other people than the demo model's; it never was a loss.
PROJECT_CHECKPOINT = REPO_ROOT / "checkpoints/demo/judge.pt"


@dataclass(frozen=True)
class Sync:
    """Of one video. Numbers of different judges cannot be compared."""

    offset: int  # frames by which the sound is early
    confidence: float  # how much better that offset is than the median of all
    confidence_at_0: float  # how much better no offset is than that
    distance: float  # at the offset
    by_offset: list[float]  # similarity or distance if the sound were early by -15...15 frames


class Judge(Protocol):
    """An instance travels to processes before `load`."""

    name: str

    def identity(self) -> dict[str, Any]:
        """Which network it is, for manifests and reports."""
        ...

    def load(self, device: str) -> None: ...

    def __call__(self, video: Path, sound: Path | None = None) -> Sync:
        """Of a video and its own or another sound.

        Raises MediaError for a file that cannot be read or has no sound, NoFaceError for a video without a face that
        can be followed, and MeasureError for too short a one.
        """
        ...


@dataclass
class ProjectSyncNet:
    """A StableSyncNet, which looks at aligned faces; its confidence is a difference of cosine similarities, 0 ... 1.

    Args:
        every: windows between those whose pictures are looked at.
        aligned: videos are aligned faces; else the largest face of each shot is cut out.
    """

    config: str = PROJECT_CONFIG
    checkpoint: str | Path = PROJECT_CHECKPOINT  # empty: the configuration's
    every: int = 3
    aligned: bool = False
    name: str = "project SyncNet"

    def __post_init__(self) -> None:
        self.cfg = judge_config(self.config)
        self._file = syncnet_file(self.cfg, self.checkpoint or None)
        self._weights = digest(self._file)

    def identity(self) -> dict[str, Any]:
        return {"judge": self.name, "weights": self._weights, "every": self.every}

    def load(self, device: str) -> None:
        self._judge = build_sync_judge(self.cfg, self._file, device=device)
        self._detector = None if self.aligned else MediaPipeDetector()

    def __call__(self, video: Path, sound: Path | None = None) -> Sync:
        faces = map(_picture, decode_frames(video, FPS)) if self.aligned else self._faces(video)
        return as_sync(self.score(faces, sound or video, video))

    def score(self, faces: Iterable[Tensor | None], sound: Path, name: Path) -> SyncScore:
        """Of aligned faces (3, h, w) uint8 at 25 frames/s, of a video called so in errors; all of them are drawn.

        Raises MediaError, MeasureError.
        """
        found = self._judge.score(faces, sound, every=self.every)
        if found is None:
            least = 2 * self.cfg.data.num_frames
            raise MeasureError(
                f"{name}: expected {least} frames or more with a face and sound for the {self.name}, got fewer; use a "
                "longer video, or one whose face is seen"
            )
        return found

    def _faces(self, video: Path) -> Iterable[Tensor | None]:
        frames = enumerate(decode_frames(video, FPS))
        settings = {"choice": FaceChoice(), "rate": Fraction(FPS), "options": InferenceOptions()}
        for face in align_faces(frames, FaceAligner(SIDE), self._detector, **settings):
            yield face.crop


@dataclass
class OfficialSyncNet:
    """SyncNet v2 on the faces that S3FD finds; its confidence is a difference of distances, good from 3 on.

    Args:
        network: a file with other weights of SyncNet v2; None: the official ones.

    Raises CheckpointError where a file is missing.
    """

    options: SyncOptions | None = None
    network: Path | None = None

    name = "SyncNet v2"

    def __post_init__(self) -> None:
        self._weights = [digest(path) for path in official_sync_weights(self.network)]

    def identity(self) -> dict[str, Any]:
        return {"judge": self.name, "weights": self._weights, "options": repr(self.options)}

    def load(self, device: str) -> None:
        self._evaluate = build_sync_evaluator(device, self.options, self.network)

    def __call__(
        self, video: Path, sound: Path | None = None, *, wanted: Callable[[FaceTrack], bool] = lambda _: True
    ) -> Sync:
        """`wanted`: which of several faces counts; else the one that is in sync best."""
        found = self._evaluate(video, sound, wanted=wanted)
        distances = found.by_offset
        at_0 = float(distances.median() - distances[len(distances) // 2])
        return Sync(found.offset, found.confidence, at_0, float(distances.min()), distances.tolist())


def as_sync(score: SyncScore) -> Sync:
    return Sync(score.offset, score.confidence, score.confidence_at_0, score.distance, score.by_offset.tolist())


def official_is_chosen(name: str) -> bool:
    """Whether a judge called auto, syncnet_v2 or project is SyncNet v2, which auto takes where its files are."""
    return name == "syncnet_v2" or (name == "auto" and official_sync_available())


def _picture(frame) -> Tensor:
    return rearrange(torch.from_numpy(frame), "h w c -> c h w")
