"""A picture of some moments of several videos, one above the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from latentsync.files import atomic_path

WIDTH, HEIGHT = 120, 160  # pixels of a face: squares are the 3:4 of people, compressed
GAP, LABEL = 6, 84  # pixels between clips, and of the labels' column
MOMENTS = 8


def moments(videos: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows of faces (h, w, 3) uint8 RGB, labelled, at MOMENTS of videos (f, r, r, 3) uint8; times are in the middle."""
    n = min(map(len, videos.values()))
    times = ((np.arange(MOMENTS) + 0.5) * n / MOMENTS).astype(int)
    return np.vstack([np.hstack([_label(name), *map(_face, squares[times])]) for name, squares in videos.items()])


def save(clips: Sequence[np.ndarray], path: Path) -> None:
    """Blocks of one width, one below the other."""
    gap = np.full((GAP, clips[0].shape[1], 3), 255, np.uint8)
    picture = np.vstack([part for clip in clips for part in (clip, gap)][:-1])
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def _face(square: np.ndarray) -> np.ndarray:
    return cv2.resize(square, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def _label(text: str) -> np.ndarray:
    label = np.full((HEIGHT, LABEL, 3), 255, np.uint8)
    return cv2.putText(label, text, (6, HEIGHT // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
