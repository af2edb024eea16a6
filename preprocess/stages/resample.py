"""Every source at 25 frames/s and 16 kHz.

That is how all stages read: picture i is the one nearest to i / 25 s, sound begins with the file. Nothing is encoded
here, as the clips are cut from the source itself later on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentsync.processing.piece import Piece
from latentsync.processing.stage import Stage

from ..media import FPS, SAMPLE_RATE


@dataclass
class Resample(Stage):
    name = "resample"
    folder = "resampled"

    def parameters(self) -> Mapping[str, Any]:
        return {"fps": FPS, "sample_rate": SAMPLE_RATE}

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        return [piece]
