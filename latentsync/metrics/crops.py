"""What SyncNet v2 sees of a face track: the face and what is below and beside it, steady over time."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .tracks import FaceTrack, TrackOptions


def track_crops(frames: Iterable[np.ndarray], track: FaceTrack, options: TrackOptions) -> Iterator[np.ndarray]:
    """The crops (side, side, 3) uint8 RGB of a track, from the frames (h, w, 3) uint8 RGB from its first on."""
    for frame, (x, y, half) in zip(frames, places(track.boxes, options), strict=False):
        yield cv2.resize(crop(frame, x, y, half, options), (options.side, options.side))  # bilinear


def places(boxes: np.ndarray, options: TrackOptions) -> np.ndarray:
    """Centre x, centre y and half of the greater side, (n, 3) float64, medians over time, of boxes (n, 4)."""
    corner, opposite = boxes[:, :2], boxes[:, 2:]
    half = (opposite - corner).max(axis=1, keepdims=True) / 2
    reach = options.median // 2
    raw = np.concatenate([(corner + opposite) / 2, half], axis=1)
    padded = np.pad(raw, ((reach, reach), (0, 0)), mode="edge" if options.repeat_ends else "constant")
    return np.median(sliding_window_view(padded, options.median, axis=0), axis=2)


def crop(frame: np.ndarray, x: float, y: float, half: float, options: TrackOptions) -> np.ndarray:
    """The part of a frame (h, w, 3) uint8 around a face with centre (x, y) and half-size `half` pixels.

    Edges are whole pixels of the frame with a grey border, counted from its corner, as in the public measure.
    """
    border = int(options.below * half)
    height, width, channels = frame.shape
    top, bottom = _span(y, options.above * half, options.below * half, border, height)
    left, right = _span(x, options.beside * half, options.beside * half, border, width)
    found = np.full((bottom - top, right - left, channels), options.grey, np.uint8)
    inside = frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    above, before = max(-top, 0), max(-left, 0)
    found[above : above + inside.shape[0], before : before + inside.shape[1]] = inside
    return found


def _span(centre: float, before: float, after: float, border: int, length: int) -> tuple[int, int]:
    """First pixel and end, one pixel at least, of what reaches so far around `centre`, within the border."""
    start = min(max(int(centre + border - before), 0), length + 2 * border - 1)
    end = min(max(int(centre + border + after), start + 1), length + 2 * border)
    return start - border, end - border
