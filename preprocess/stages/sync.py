"""Sound that is early or late is moved, by samples; clips whose lips do not go with the sound are left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentsync.errors import MeasureError, NoFaceError
from latentsync.judges import Judge, OfficialSyncNet, ProjectSyncNet, official_is_chosen
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected, Stage

from ..media import add_sound, link, sound_of, target
from ..settings import SyncSettings
from .segments import count_frames


def choose_judge(settings: SyncSettings) -> Judge:
    """The one that the settings name. Raises ConfigError or CheckpointError for one that cannot be used."""
    if official_is_chosen(settings.judge):
        return OfficialSyncNet()
    return ProjectSyncNet(settings.project_config, settings.project_ckpt, settings.project_every, aligned=True)


@dataclass
class Sync(Stage):
    """The moved sound is cut from the source anew, so that no silence enters at the ends."""

    judge: Judge
    threshold: float  # of its confidence
    max_offset: int
    folder: str  # which public versions name after the threshold

    name = "sync"
    gpus = 0.25

    def parameters(self) -> Mapping[str, Any]:
        return self.judge.identity() | {"threshold": self.threshold, "max_offset": self.max_offset}

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.judge.load(device)

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        try:
            found = self.judge(piece.path)
        except (NoFaceError, MeasureError) as error:
            raise Rejected("too little to judge", judge=self.judge.name) from error
        measured = {"offset": found.offset, "confidence": round(found.confidence, 4), "judge": self.judge.name}
        if found.confidence < self.threshold:
            raise Rejected("low confidence", **measured)
        if abs(found.offset) > self.max_offset:
            raise Rejected("offset", **measured)
        path = target(folder, piece.key)
        if found.offset == 0:
            link(piece.path, path)
        else:
            piece = piece.delayed(found.offset)
            source, first = piece.origin
            n_frames = int(piece.metrics.get("frames") or count_frames(piece))
            add_sound(piece.path, sound_of(source, first - piece.delay, n_frames), path)
        return [piece.made(path).measured(**measured)]
