"""Shots in equal parts of 5 to 10 seconds; a shorter shot stays as it is, down to a least length."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected, Stage

from ..media import FPS
from ..settings import SegmentSettings


@dataclass
class Segments(Stage):
    settings: SegmentSettings

    name = "segments"
    folder = "segmented"

    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings)

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        n_frames = piece.n_frames or count_frames(piece)
        if n_frames < self.settings.min_s * FPS:
            raise Rejected("short", seconds=n_frames / FPS)
        return [
            piece.part(f"_{i:03d}", first, last - first)
            for i, (first, last) in enumerate(pairwise(edges(n_frames, round(self.settings.max_s * FPS))))
        ]


def edges(n_frames: int, longest: int) -> list[int]:
    """0, ..., n_frames: as few parts as can be that are not longer than `longest`, equal to a frame."""
    n_parts = math.ceil(n_frames / longest)
    return [i * n_frames // n_parts for i in range(n_parts + 1)]


def count_frames(piece: Piece) -> int:
    """How many a piece has that reaches to the end of its file."""
    tiny = replace(probe(piece.path), width=16, height=16)
    return sum(1 for _ in decode_frames(tiny, FPS, first=piece.first))
