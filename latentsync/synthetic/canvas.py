"""The picture a head is drawn on: linear colour and depth at a higher resolution, and a camera's view of the frame."""

import cv2
import numpy as np
from numba import njit

from ..face.warp import to_3x3
from .raster import FAR, JIT
from .srgb import decode, encode

OVERSAMPLING = {300: 1.5, 768: 1.4}  # by the canvas's longer side; larger ones 1.25
DISPLAY = np.round(255 * encode(np.linspace(0, 1, 4097))).astype(np.uint8)  # of linear light in steps of 1/4096
LINEAR = decode(np.arange(256) / 255).astype(np.float32)  # light of 8-bit values


class Canvas:
    """Colour and depth of a picture of width x height; `view` (2, 3) maps frame pixels to its pixels."""

    def __init__(self, width: int, height: int, view: np.ndarray | None = None) -> None:
        self.width, self.height = width, height
        factor = next((f for side, f in OVERSAMPLING.items() if max(width, height) <= side), 1.25)
        columns, rows = round(width * factor), round(height * factor)
        self.colour = np.zeros((rows, columns, 3), np.float32)
        self.depth = np.full((rows, columns), FAR, np.float32)
        self.ids = np.full((rows, columns), -1, np.int32)
        self.layer = np.zeros((rows, columns, 4), np.float32)  # for hair; empty between uses
        scale = np.array([columns / width, rows / height])
        self._to_samples = np.array([[scale[0], 0, (scale[0] - 1) / 2], [0, scale[1], (scale[1] - 1) / 2], [0, 0, 1]])
        self.view = np.eye(2, 3) if view is None else np.asarray(view, np.float64)

    @property
    def to_samples(self) -> np.ndarray:
        """The map (2, 3) float64 from frame pixels to this canvas's samples."""
        return (self._to_samples @ to_3x3(self.view))[:2]

    def clear(self, background: np.ndarray) -> None:
        """Begin a picture in front of `background` (H, W, 3) uint8 RGB, as large as the frame."""
        rows, columns = self.depth.shape
        matrix = self.to_samples
        if np.allclose(self.view, np.eye(2, 3)) and background.shape[:2] == (self.height, self.width):
            seen = cv2.resize(background, (columns, rows), interpolation=cv2.INTER_LINEAR)
        else:
            seen = cv2.warpAffine(
                background, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        cv2.LUT(seen, LINEAR, self.colour)
        self.depth.fill(FAR)

    def picture(self) -> np.ndarray:
        """The finished picture (height, width, 3) uint8 RGB."""
        small = cv2.resize(self.colour, (self.width, self.height), interpolation=cv2.INTER_AREA)
        out = np.empty((self.height, self.width, 3), np.uint8)
        _to_display(small, DISPLAY, out)
        return out


@njit(**JIT)
def _to_display(linear: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    for y in range(linear.shape[0]):
        for x in range(linear.shape[1]):
            for c in range(3):
                value = min(max(linear[y, x, c], np.float32(0)), np.float32(1))
                out[y, x, c] = table[int(value * np.float32(4096) + np.float32(0.5))]
