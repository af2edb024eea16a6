"""The generated square back into its frame.

`FacePaster` is the default: only the mask's hole and a feather around it are replaced, by one resampling.
`paste_crop` is the public version's rule: the whole crop rectangle, truncated to 8 bits.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .align import OUTSIDE, crop_size, frame_to_square
from .warp import Box, image_of, inverse, sample, shifted

FEATHER = 0.06  # of the resolution; less where the square's border is near
OFFSET_LIMIT = 12.0  # grey levels
OFFSET_UPDATE = 0.2  # share of the current frame in the smoothed colour offset
PREFILTER = 0.3  # standard deviation of the smoothing before shrinking; see _drawn
RING_STEP = 3  # the ring is measured on every third row and column
RING_PIXELS = 50  # fewer say nothing about the colour


class FacePaster:
    """Pastes one video's faces, in frame order: the colour offset is smoothed over time.

    `mask` is (1, r, r) float32, 1 = keep, 0 = generate: its hole is replaced whole, the feather blends.
    """

    def __init__(self, mask: Tensor) -> None:
        self.resolution = mask.shape[-1]
        self.weight = paste_weight(mask)
        self._support = _support(self.weight)
        self._offset: np.ndarray | None = None

    def __call__(self, frame: np.ndarray, face: Tensor, matrix: np.ndarray) -> np.ndarray:
        """A new frame (h, w, 3) uint8 RGB with the face over it.

        `face` is (3, r, r) float RGB in [-1, 1] on the CPU, `matrix` (2, 3) maps frame -> crop. Pixels of
        weight 0 are the frame's own, bit for bit.
        """
        result = frame.copy()
        to_square = frame_to_square(matrix, self.resolution)
        box = image_of(self._support, inverse(to_square), margin=1, within=frame.shape[:2])
        if box.empty:
            return result
        pasted = _drawn(_grey_levels(face), to_square, box)
        weight = _warp(self.weight, to_square, box, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        below = frame[box.slices].astype(np.float32)
        pasted -= below
        pasted = cv2.add(pasted, self._next_offset(pasted, weight))
        pasted *= cv2.merge([weight] * 3)
        result[box.slices] = cv2.add(pasted, below, dtype=cv2.CV_8U)  # rounds and saturates
        return result

    def _next_offset(self, difference: np.ndarray, weight: np.ndarray) -> tuple[float, ...]:
        """Grey levels that bring the face to the frame's colour: the median over the feather, smoothed.

        A scalar as OpenCV takes it: red, green, blue, 0.
        """
        sparse = (slice(None, None, RING_STEP),) * 2
        ring = (weight[sparse] > 0.02) & (weight[sparse] < 0.98)
        if np.count_nonzero(ring) >= RING_PIXELS:
            offset = np.clip(-np.median(difference[sparse][ring], axis=0), -OFFSET_LIMIT, OFFSET_LIMIT)
            if self._offset is not None:
                offset = (1 - OFFSET_UPDATE) * self._offset + OFFSET_UPDATE * offset
            self._offset = offset
        return (0.0,) * 4 if self._offset is None else (*self._offset.tolist(), 0.0)


def paste_weight(mask: Tensor) -> np.ndarray:
    """Share of the generated face (r, r) float32: 1 over the hole of `mask` (1, r, r), 0 at the border.

    Outside the hole it falls by a smoothstep over FEATHER, or over the gap to the border where that is less.
    """
    kept = (mask[0].numpy() >= 0.5).astype(np.uint8)
    resolution = kept.shape[0]
    to_hole = cv2.distanceTransform(kept, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    index = np.arange(resolution)
    to_edge = np.minimum(index, index[::-1])
    to_border = np.minimum(to_edge, to_edge[:, None])  # 0 on the outermost pixels
    gap = np.maximum(to_hole + to_border, 1)
    nearness = np.clip(1 - to_hole / np.minimum(FEATHER * resolution, gap), 0, 1)
    return (nearness**2 * (3 - 2 * nearness)).astype(np.float32)


def paste_crop(frame: np.ndarray, face: Tensor, matrix: np.ndarray) -> np.ndarray:
    """A new frame (h, w, 3) uint8 RGB with the whole crop rectangle replaced, as the public version does.

    `face` is (3, r, r) float RGB in [-1, 1] on the CPU, `matrix` (2, 3) maps frame -> crop.
    """
    result = frame.copy()
    width, height = crop_size(face.shape[-1])
    box = image_of(Box(0, 0, width, height), inverse(matrix), margin=2, within=frame.shape[:2])
    if box.empty:
        return result
    layers = torch.cat([resize_to_crop(face), torch.ones(1, height, width)])
    layers = sample(layers, shifted(matrix, box.x0, box.y0), width=box.width, height=box.height)
    coverage = layers[3]
    pasted = layers[:3] + OUTSIDE * (1 - coverage)
    pasted = (pasted / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy() * 255
    inside = cv2.erode(coverage.numpy(), np.ones((2, 2)))
    weight = _rectangle_weight(inside)[..., None]
    below = frame[box.slices].astype(np.float32)
    result[box.slices] = weight * (inside[..., None] * pasted) + (1 - weight) * below  # truncates
    return result


def resize_to_crop(face: Tensor) -> Tensor:
    """A square (3, r, r) float as the crop (3, h, w) float32, bicubic with antialiasing."""
    width, height = crop_size(face.shape[-1])
    return F.interpolate(face[None].float(), size=(height, width), mode="bicubic", antialias=True)[0]


def _rectangle_weight(inside: np.ndarray) -> np.ndarray:
    """The crop's coverage (h, w) float32 drawn in and blurred, by a twentieth of its size each."""
    edge = int(np.sqrt(inside.sum(dtype=np.float64))) // 20
    kernel = np.ones((2 * edge, 2 * edge)) if edge else None  # None is OpenCV's 3 x 3
    # Left to itself, OpenCV takes other weights than its own sigma gives for sizes up to 7.
    sigma = 0.3 * (edge - 1) + 0.8
    return cv2.GaussianBlur(cv2.erode(inside, kernel), (2 * edge + 1, 2 * edge + 1), sigma)


def _support(weight: np.ndarray) -> Box:
    """The smallest box of the square that holds every weight above 0, and one pixel around it."""
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if rows.size == 0:
        return Box(0, 0, 0, 0)
    return Box(int(columns[0]) - 1, int(rows[0]) - 1, int(columns[-1]) + 2, int(rows[-1]) + 2)


def _grey_levels(face: Tensor) -> np.ndarray:
    """(3, r, r) in [-1, 1] as (r, r, 3) float32 in [0, 255]."""
    planes = face.float().clamp(-1, 1).add(1).mul_(127.5).numpy()
    return cv2.merge(list(planes))


def _drawn(picture: np.ndarray, to_square: np.ndarray, box: Box) -> np.ndarray:
    """The square's picture (r, r, 3) float32 as the frame's pixels of `box` see it.

    Sampling is bicubic. Where the frame has fewer pixels, a Gaussian of PREFILTER * sqrt(1 / scale^2 - 1)
    first removes what would alias: on real faces at scales of 0.25 to 0.85 this came 0.9 to 4.5 dB nearer to
    an ideal low-pass than an antialiased bicubic shrink. Where the frame has more pixels, the picture is
    doubled by a bicubic and sampled bilinearly: within 0.5 dB of it in round trips, and three times faster.
    """
    scales = np.linalg.norm(inverse(to_square)[:, :2], axis=0)  # frame pixels per pixel of the square
    if scales.min() < 1:
        x, y = PREFILTER * np.sqrt(np.maximum(1 / scales**2 - 1, 1e-6))
        picture = cv2.GaussianBlur(picture, (0, 0), sigmaX=x, sigmaY=y)
    if scales.max() <= 1:
        return _warp(picture, to_square, box, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
    picture = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    doubled = 2 * to_square + ((0, 0, 0.5), (0, 0, 0.5))
    return _warp(picture, doubled, box, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)


def _warp(image: np.ndarray, matrix: np.ndarray, box: Box, interpolation: int, border: int) -> np.ndarray:
    """The image at matrix @ (x, y, 1) for the pixels of `box`."""
    return cv2.warpAffine(
        image,
        shifted(matrix, box.x0, box.y0),
        (box.width, box.height),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
