"""Who tells offset and confidence of an aligned clip: SyncNet v2 where its files are, else the project's SyncNet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange

from latentsync.build import build_sync_judge, judge_config, syncnet_file
from latentsync.build_metrics import build_sync_evaluator, official_sync_available, official_sync_files
from latentsync.errors import MeasureError, NoFaceError
from latentsync.files import digest
from latentsync.media.ffmpeg import decode_frames

from .media import FPS
from .settings import SyncSettings


@dataclass(frozen=True)
class Sync:
    """Of one clip."""

    offset: int  # frames by which the sound is early
    confidence: float  # on the judge's own scale


class Judge(Protocol):
    name: str
    threshold: float  # of the confidence

    def identity(self) -> dict[str, Any]:
        """Which network it is, for the manifest."""
        ...

    def load(self, device: str) -> None: ...

    def __call__(self, path: Path) -> Sync | None:
        """Of an aligned clip; None where there is too little of it, or no face track."""
        ...


@dataclass
class ProjectSyncNet:
    """Looks at aligned faces as they are; its confidence is a difference of cosine similarities, 0 ... 1."""

    config: str
    checkpoint: str
    threshold: float
    every: int  # windows between those whose pictures are looked at

    name = "project SyncNet"

    def __post_init__(self) -> None:
        self._cfg = judge_config(self.config)
        self._file = syncnet_file(self._cfg, self.checkpoint or None)

    def identity(self) -> dict[str, Any]:
        return {"judge": self.name, "weights": digest(self._file), "every": self.every}

    def load(self, device: str) -> None:
        self._judge = build_sync_judge(self._cfg, self._file, device=device)

    def __call__(self, path: Path) -> Sync | None:
        frames = np.stack(list(decode_frames(path, FPS)))
        score = self._judge.score(rearrange(torch.from_numpy(frames), "f h w c -> f c h w"), path, every=self.every)
        return score and Sync(score.offset, score.confidence)


@dataclass
class OfficialSyncNet:
    """SyncNet v2 on the faces that S3FD finds; its confidence is a difference of distances, good from 3 on."""

    threshold: float

    name = "SyncNet v2"

    def identity(self) -> dict[str, Any]:
        return {"judge": self.name, "weights": [digest(path) for path in official_sync_files()]}

    def load(self, device: str) -> None:
        self._evaluate = build_sync_evaluator(device)

    def __call__(self, path: Path) -> Sync | None:
        try:
            score = self._evaluate(path)
        except (NoFaceError, MeasureError):
            return None
        return Sync(score.offset, score.confidence)


def choose_judge(settings: SyncSettings, official_threshold: float) -> Judge:
    """The one that the settings name. Raises ConfigError or CheckpointError for one that cannot be used."""
    if settings.judge == "syncnet_v2" or (settings.judge == "auto" and official_sync_available()):
        return OfficialSyncNet(official_threshold)
    return ProjectSyncNet(
        settings.project_config, settings.project_ckpt, settings.project_threshold, settings.project_every
    )
