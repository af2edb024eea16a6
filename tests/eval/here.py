"""An executor for tests: no process has to start."""

from collections.abc import Iterator
from pathlib import Path

from latentsync.processing.piece import Piece
from latentsync.processing.stage import Outcome, Stage, Work


class Here:
    """Does all work in this process, whose packages are loaded."""

    def map(self, stage: Stage, pieces: list[Piece], folder: Path) -> Iterator[Outcome]:
        work = Work(stage, folder)
        if pieces:
            work.setup(0)
        yield from map(work, pieces)
