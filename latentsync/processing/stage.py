"""A stage: what it makes of one piece, what it says about it, and the running of it anywhere."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentsync.errors import LatentSyncError

from .piece import Piece

KEPT, REJECTED, FAILED = "kept", "rejected", "failed"


class Rejected(Exception):
    """A piece is left out, for a reason and with what was measured."""

    def __init__(self, reason: str, **metrics: float | str) -> None:
        super().__init__(reason)
        self.metrics = metrics


class Stage(ABC):
    """One step for one piece. Instances travel to processes and machines before `setup`, so they must be picklable."""

    name: str  # as on the command line
    folder: str  # of its files, below the root of all stages
    gpus = 0.0  # share of a GPU that one worker needs; 0: it runs on the CPU

    @abstractmethod
    def parameters(self) -> Mapping[str, Any]:
        """All that its results depend on, besides the piece; JSON holds it. A change makes earlier results void."""

    def setup(self, device: str) -> None:  # noqa: B027 (most stages have nothing to load)
        """Load models, once in each worker."""

    @abstractmethod
    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        """What the piece becomes: itself, parts of it, or files in `folder` that are complete.

        Raises Rejected for a piece that is to be left out, LatentSyncError for one that cannot be worked on.
        """


@dataclass(frozen=True)
class Outcome:
    """What became of a piece in a stage."""

    piece: Piece
    status: str  # KEPT, REJECTED or FAILED
    outputs: list[Piece] = field(default_factory=list)
    reason: str = ""
    metrics: Mapping[str, float | str] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0  # of the process and of what it started


@dataclass
class Work:
    """A stage as the task of a worker: `setup` first, then one piece after the other."""

    stage: Stage
    folder: Path
    devices: Sequence[str] = ("cpu",)

    def setup(self, number: int) -> None:
        self.stage.setup(self.devices[number % len(self.devices)])

    def __call__(self, piece: Piece) -> Outcome:
        """Never raises for what is the piece's fault; other errors do, and are bugs or a full disk."""
        wall, cpu = time.perf_counter(), _cpu_seconds()
        status, outputs, reason, metrics = KEPT, [], "", {}
        try:
            outputs = self.stage(piece, self.folder)
        except Rejected as rejected:
            status, reason, metrics = REJECTED, str(rejected), rejected.metrics
        except LatentSyncError as error:
            status, reason = FAILED, str(error)
        spent = time.perf_counter() - wall, _cpu_seconds() - cpu
        return Outcome(piece, status, outputs, reason, metrics, *spent)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
