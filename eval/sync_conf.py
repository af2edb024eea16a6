"""The stage that judges whether the lips of videos go with their sound."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from latentsync.build import choose_device
from latentsync.errors import ConfigError
from latentsync.judges import Judge, OfficialSyncNet, ProjectSyncNet, official_is_chosen
from latentsync.memory import share_one_heap
from latentsync.metrics.sync_video import SyncOptions
from latentsync.processing.piece import Piece, state
from latentsync.processing.stage import Stage

NUMBERS = ("offset", "confidence", "confidence_at_0", "distance")


class Film(Piece):
    """A video that a user named; it may be missing, which differs from any other state of it."""

    def fingerprint(self) -> str:
        return state(self.path)


@dataclass
class SyncConf(Stage):
    """Measures offset and confidence of each video; it writes nothing.

    Args:
        device: auto is the worker's own.
        n_threads: of each worker; None: as many as torch takes.
        temp_dir: parent of temporary folders; None: the system's.
    """

    judge: Judge
    device: str = "auto"
    n_threads: int | None = None
    temp_dir: Path | None = None

    name = "sync_conf"
    folder = ""

    @property
    def gpus(self) -> float:
        return float(self.device == "auto")  # all that there are; else the one that is named, or none

    def parameters(self) -> Mapping[str, Any]:
        return self.judge.identity()

    def setup(self, device: str) -> None:
        share_one_heap()
        if self.n_threads is not None:
            torch.set_num_threads(self.n_threads)
            cv2.setNumThreads(self.n_threads)
        if self.temp_dir is not None:
            tempfile.tempdir = str(self.temp_dir)
        self.judge.load(device if self.device == "auto" else str(choose_device(self.device)))

    def __call__(self, video: Piece, folder: Path) -> list[Piece]:
        found = self.judge(video.path)
        numbers = {name: getattr(found, name) for name in NUMBERS}
        return [Piece(video.key, video.path).measured(judge=self.judge.name, **numbers)]


def choose_judge(name: str, network: Path | None = None, *, reference: bool = False) -> Judge:
    """The judge called auto, syncnet_v2 or project; `network` names other weights of SyncNet v2, which is meant then.

    Raises ConfigError or CheckpointError for one that cannot be used.
    """
    if network or official_is_chosen(name):
        return OfficialSyncNet(SyncOptions.reference() if reference else None, network)
    if reference:
        raise ConfigError(
            f"--reference: expected SyncNet v2 as the judge, got the {ProjectSyncNet.name}; choose --judge syncnet_v2, "
            "whose files setup_env.sh --train fetches, or leave --reference out"
        )
    return ProjectSyncNet()
