"""Two optional filters of the public version: faces that fill the resolution, and aligned clips that show one face."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.build import DETECTORS
from latentsync.media.ffmpeg import decode_frames
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected, Stage

from ..media import FPS, link, target
from ..settings import FilterSettings

_MARGIN = 0.5  # of an aligned clip's side, around it: the detector does not find faces that fill the picture


@dataclass
class _FaceFilter(Stage):
    """Looks for faces in every n-th frame; one that is not `good` counts against the clip."""

    settings: FilterSettings
    resolution: int
    detector: str

    reason = ""

    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings) | {"resolution": self.resolution, "detector": self.detector}

    def setup(self, device: str) -> None:
        cv2.setNumThreads(1)
        self._detector = DETECTORS[self.detector]()

    def share(self, piece: Piece) -> float:
        """The share of good frames among those looked at."""
        with closing(decode_frames(piece.path, FPS, first=piece.first, n_frames=piece.n_frames)) as frames:
            good = [self.good(frame) for i, frame in enumerate(frames) if i % self.settings.every == 0]
        return float(np.mean(good))

    @abstractmethod
    def good(self, frame: np.ndarray) -> bool:
        """Whether a frame (h, w, 3) uint8 RGB shows what the filter wants."""

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        share = self.share(piece)
        if share < self.settings.min_share:
            raise Rejected(self.reason, good_frames=round(share, 4))
        return self.passed(piece.measured(good_frames=round(share, 4)), folder)

    def passed(self, piece: Piece, folder: Path) -> list[Piece]:
        return [piece]


class HighResolution(_FaceFilter):
    """One face, whose box is at least as large as the aligned clip."""

    name = "high_resolution"
    folder = "high_resolution"
    reason = "not one face of the resolution"

    def good(self, frame: np.ndarray) -> bool:
        boxes = self._detector.boxes(frame) or self._detector.boxes(frame, again=True)
        return len(boxes) == 1 and min(boxes[0].box[2:] - boxes[0].box[:2]) >= self.resolution


class CorrectlyAligned(_FaceFilter):
    """One face in an aligned clip, in its middle."""

    name = "correctly_aligned"
    folder = "correctly_aligned"
    reason = "not one face in the aligned clip"

    def good(self, frame: np.ndarray) -> bool:
        side = frame.shape[0]
        margin = round(_MARGIN * side)
        wide = cv2.copyMakeBorder(frame, *[margin] * 4, cv2.BORDER_REPLICATE)
        boxes = self._detector.boxes(wide) or self._detector.boxes(wide, again=True)
        if len(boxes) != 1:
            return False
        middle = (boxes[0].box[:2] + boxes[0].box[2:]) / 2 - margin
        return bool((np.abs(middle - side / 2) < side / 4).all())

    def passed(self, piece: Piece, folder: Path) -> list[Piece]:
        path = target(folder, piece.key)
        link(piece.path, path)
        return [piece.made(path)]
