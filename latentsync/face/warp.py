"""Affine maps and exact bilinear sampling. Pixel centres lie at integers; maps are 2x3, applied to (x, y)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; x1 and y1 are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def empty(self) -> bool:
        return self.width <= 0 or self.height <= 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an (h, w, ...) array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


def to_3x3(matrix: np.ndarray) -> np.ndarray:
    """The map as a (3, 3) float64 matrix, for products and inverses."""
    return np.vstack([np.asarray(matrix, np.float64)[:2], (0.0, 0.0, 1.0)])


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse map (2, 3) float64."""
    return np.linalg.inv(to_3x3(matrix))[:2]


def shifted(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    """The map (2, 3) float64 for an input counted from (x, y) instead of the origin."""
    result = np.array(matrix, np.float64)
    result[:, 2] += result[:, :2] @ (x, y)
    return result


def image_of(box: Box, matrix: np.ndarray, *, margin: int, within: tuple[int, int]) -> Box:
    """Whole pixels of an image of (height, width) `within` that the mapped `box` covers, with a margin."""
    corners = np.array([(x, y, 1) for x in (box.x0, box.x1 - 1) for y in (box.y0, box.y1 - 1)], np.float64)
    mapped = corners @ np.asarray(matrix, np.float64).T
    x0, y0 = np.floor(mapped.min(axis=0)).astype(int) - margin
    x1, y1 = np.ceil(mapped.max(axis=0)).astype(int) + margin + 1
    height, width = within
    return Box(max(int(x0), 0), max(int(y0), 0), min(int(x1), width), min(int(y1), height))


def sample(image: Tensor, matrix: np.ndarray, *, width: int, height: int) -> Tensor:
    """Bilinear samples of `image` (c, h, w) float32 at matrix @ (x, y, 1), as (c, height, width) float32.

    Outside the image counts as 0. Positions are float32 (OpenCV's warps round them to 1/32 pixel).
    """
    rows, columns = image.shape[1:]
    to_unit = np.array([[2 / columns, 0, 1 / columns - 1], [0, 2 / rows, 1 / rows - 1]])  # 0 -> 1/n - 1
    a = torch.from_numpy(to_unit @ to_3x3(matrix)).float()
    x = torch.arange(width, dtype=torch.float32)
    y = torch.arange(height, dtype=torch.float32)[:, None]
    grid = torch.stack([a[i, 0] * x + (a[i, 1] * y + a[i, 2]) for i in range(2)], dim=-1)
    return F.grid_sample(image[None], grid[None], padding_mode="zeros", align_corners=False)[0]
