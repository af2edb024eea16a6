"""How much a mouth flickers: what of its picture the frames before and after do not explain."""

from collections import deque

import cv2
import numpy as np
from torch import Tensor

from .mouth import DETAIL, MOUTH


class Flicker:
    """Of aligned squares that pass by once: the mean difference of a frame from the mean of its neighbours.

    Movement that goes on in a direction leaves little of it, unsteady generation much.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[int, np.ndarray]] = deque(maxlen=3)
        self._sum, self._n = 0.0, 0

    def add(self, index: int, square: Tensor) -> None:
        """The next square (3, r, r) uint8; where `index` has jumped, the frames before are no neighbours."""
        side = square.shape[-1]
        rows, columns = (slice(round(a * side), round(b * side)) for a, b in MOUTH)
        picture = square.permute(1, 2, 0).numpy().astype(np.float32)
        self._recent.append((index, cv2.GaussianBlur(picture, (0, 0), DETAIL * side)[rows, columns]))
        if len(self._recent) == 3 and self._recent[0][0] == index - 2:
            before, now, after = (mouth for _, mouth in self._recent)
            self._sum += float(np.abs(now - (before + after) / 2).mean())
            self._n += 1

    def value(self) -> float:
        """Grey levels; nan for less than three frames in a row."""
        return self._sum / self._n if self._n else float("nan")
