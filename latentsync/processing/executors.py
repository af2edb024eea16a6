"""Where a stage's work is done. `LocalExecutor` shares it out among processes of this machine."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from ..workers import run_jobs
from .piece import Piece
from .stage import FAILED, Outcome, Stage, Work

ATTEMPTS = 2  # for a piece whose process dies of something else perhaps


class Executor(Protocol):
    """Does a stage for many pieces."""

    def map(self, stage: Stage, pieces: Sequence[Piece], folder: Path) -> Iterator[Outcome]:
        """The outcome of each piece, as they come; closing the iterator stops the work, whose open blocks end."""
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """Processes of this machine, each with its own models.

    Args:
        n_workers: of stages on the CPU; None: one for each processor.
        per_gpu: processes on each GPU of a stage that wants a share of one.
        limit_s: seconds that a piece may take; longer ones fail.
    """

    n_workers: int | None = None
    per_gpu: int = 1
    limit_s: float | None = None

    def map(self, stage: Stage, pieces: Sequence[Piece], folder: Path) -> Iterator[Outcome]:
        n_gpus = torch.cuda.device_count() if stage.gpus else 0
        devices = [f"cuda:{number}" for number in range(n_gpus)] or ["cpu"]
        wanted = n_gpus * self.per_gpu or self.n_workers or os.cpu_count() or 1
        work = Work(stage, folder, devices)
        left = list(pieces)
        for attempt in range(ATTEMPTS):
            again: list[Piece] = []
            if not left:
                return
            n_workers = min(wanted, len(left)) if attempt == 0 else 1  # alone, it does not share the memory either
            with closing(
                run_jobs(work, left, n_workers=n_workers, prepare=work.setup, apart=True, limit_s=self.limit_s)
            ) as all_done:
                for done in all_done:
                    if done.lost and attempt + 1 < ATTEMPTS:
                        again.append(done.job)
                    else:
                        yield done.value or Outcome(done.job, FAILED, reason=done.failure)
            left = again
