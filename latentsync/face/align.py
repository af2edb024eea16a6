"""Landmarks to the network's square: a similarity by three points, a 3:4 crop, then a square of r x r.

The public version computes the similarity in float16; geometry is float32 or better here, in both modes.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from ..types import FacePose
from .detect import mesh_alignment_points
from .warp import Box, image_of, inverse, sample, to_3x3

BASE_POINTS = ((17.0, 20.0), (58.0, 20.0), (37.5, 40.0))  # left brow, right brow, nose centre
BASE_SIZE = (75, 100)  # width, height
OUTSIDE = 127  # grey level beyond the frame's border
BIAS_UPDATE = 0.8  # share of the current frame in the public version's bias


def ratio(resolution: int) -> float:
    """Crop pixels per unit of the base points."""
    return 2.8 * resolution / 256


def crop_size(resolution: int) -> tuple[int, int]:
    """Width and height of the crop that becomes the square of `resolution`."""
    width, height = (int(side * ratio(resolution)) for side in BASE_SIZE)
    return width, height


def template(resolution: int) -> np.ndarray:
    """Where the three points lie in the crop, (3, 2) float32."""
    return np.array(BASE_POINTS, np.float32) * np.float32(ratio(resolution))


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The map (2, 3) float32 from three `points` to three `target` points, both (3, 2).

    Rotation by Procrustes analysis, never a reflection; the scale is the ratio of the two spreads (not the
    least-squares one). Raises ValueError where the points coincide.
    """
    p, q, p_mean, q_mean, scale = _normalised(points, target)
    u, _, vt = np.linalg.svd(p.T @ q)
    if np.linalg.det(vt.T @ u.T) < 0:
        vt[-1] = -vt[-1]
    linear = scale * vt.T @ u.T
    return np.column_stack([linear, q_mean - linear @ p_mean]).astype(np.float32)


def square_to_crop(resolution: int) -> np.ndarray:
    """The map (2, 3) float64 from the square's pixels to the crop's, as OpenCV resizes."""
    x, y = (side / resolution for side in crop_size(resolution))
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])


def frame_to_square(matrix: np.ndarray, resolution: int) -> np.ndarray:
    """The map (2, 3) float64 from frame pixels to the square's, by way of the crop's `matrix`."""
    return inverse(square_to_crop(resolution)) @ to_3x3(matrix)


class FaceAligner:
    """Poses and crops of one video's faces, in frame order. A new video needs a new aligner.

    `reference=True` is the public version's rule: landmarks and points rounded to integers, a sub-pixel bias
    that is carried from frame to frame, crops truncated to 8 bits instead of rounded.
    """

    def __init__(
        self,
        resolution: int,
        *,
        reference: bool = False,
        alignment_points: Callable[[np.ndarray], np.ndarray] = mesh_alignment_points,
    ) -> None:
        self.resolution = resolution
        self.reference = reference
        self._alignment_points = alignment_points
        self._template = template(resolution)
        self._bias: np.ndarray | None = None  # reference only

    def pose(self, landmarks: np.ndarray) -> FacePose:
        """The pose of the next frame's face; landmarks (n, 2) in frame pixels."""
        landmarks = np.asarray(landmarks, np.float32)
        if self.reference:
            points = np.round(self._alignment_points(np.round(landmarks)))
        else:
            points = self._alignment_points(landmarks)
        return FacePose(self.matrix(points), landmarks)

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """The map (2, 3) float32, frame -> crop, of the next frame's three points (3, 2)."""
        matrix = similarity(points, self._template)
        if self.reference:
            matrix[:, 2] += self._next_bias(points)
        return matrix

    def crop(self, frame: np.ndarray, matrix: np.ndarray) -> Tensor:
        """The square (3, r, r) uint8 of a (h, w, 3) uint8 RGB frame."""
        size = (self.resolution, self.resolution)
        square = cv2.resize(self.rectangle(frame, matrix), size, interpolation=cv2.INTER_LANCZOS4)
        return torch.from_numpy(square).permute(2, 0, 1).contiguous()

    def rectangle(self, frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """The crop before it becomes a square, (h, w, 3) uint8 RGB with (w, h) = crop_size(resolution)."""
        width, height = crop_size(self.resolution)
        to_frame = inverse(matrix)
        box = image_of(Box(0, 0, width, height), to_frame, margin=2, within=frame.shape[:2])
        if box.empty:
            return np.full((height, width, 3), OUTSIDE, np.uint8)
        # Sampling the difference to OUTSIDE, with zeros beyond the border, blends the two by coverage.
        part = torch.from_numpy(frame[box.slices].astype(np.float32) - OUTSIDE).permute(2, 0, 1)
        to_part = to_frame - ((0, 0, box.x0), (0, 0, box.y0))
        crop = sample(part, to_part, width=width, height=height) + OUTSIDE
        return (crop if self.reference else crop.round()).byte().permute(1, 2, 0).numpy()

    def _next_bias(self, points: np.ndarray) -> np.ndarray:
        """How far the nose lies from the template in normalised units, averaged over the frames so far."""
        p, q, *_ = _normalised(points, self._template)
        bias = q[2] - p[2]
        if self._bias is not None:
            bias = (1 - BIAS_UPDATE) * self._bias + BIAS_UPDATE * bias
        self._bias = bias
        return bias


def _normalised(points: np.ndarray, target: np.ndarray):
    """Both sets centred and divided by their spread, their means, and the ratio of the spreads; float64."""
    p, q = np.asarray(points, np.float64), np.asarray(target, np.float64)
    p_mean, q_mean = p.mean(axis=0), q.mean(axis=0)
    p, q = p - p_mean, q - q_mean
    p_spread, q_spread = p.std(ddof=1), q.std(ddof=1)  # over all six numbers
    if p_spread == 0:
        raise ValueError("expected three different alignment points, got one and the same")
    return p / p_spread, q / q_spread, p_mean, q_mean, q_spread / p_spread
