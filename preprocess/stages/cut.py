"""Files for pieces that have none yet: what a run leaves when it ends before the alignment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentsync.media.ffmpeg import decode_frames
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Stage

from ..media import FPS, sound_of, target, write_clip


@dataclass
class Cut(Stage):
    """Cuts a piece out of its source: pictures of 25 frames/s encoded once, sound of 16 kHz without loss."""

    stage: str
    folder: str  # of the stage whose pieces become files
    crf: int
    preset: str

    @property
    def name(self) -> str:
        return f"{self.stage} files"

    def parameters(self) -> Mapping[str, Any]:
        return {"crf": self.crf, "preset": self.preset}

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        path = target(folder, piece.key)
        frames = decode_frames(piece.path, FPS, first=piece.first, n_frames=piece.n_frames)
        write_clip(path, frames, lambda n: sound_of(piece.path, piece.first, n), crf=self.crf, preset=self.preset)
        return [piece.made(path)]
