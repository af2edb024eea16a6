"""Smooth pictures and posed faces."""

from collections.abc import Iterator

import cv2
import numpy as np

from latentsync.face.align import similarity, template


def smooth_frame(height: int, width: int, *, seed: int = 0, cells: int = 8) -> np.ndarray:
    """A (height, width, 3) uint8 RGB picture without sharp detail."""
    coarse = np.random.default_rng(seed).uniform(40, 215, (cells, cells, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def face_points(centre: tuple[float, float], *, scale: float, degrees: float = 0.0) -> np.ndarray:
    """Three alignment points (3, 2) of a face whose 256 crop is `scale` frame pixels per crop pixel."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * (template(256) - (105, 140)) @ rotation.T + centre


def face_matrix(resolution: int, centre: tuple[float, float], *, scale: float, degrees: float = 0.0):
    """The map (2, 3), frame -> crop, of such a face."""
    return similarity(face_points(centre, scale=scale, degrees=degrees), template(resolution))


def sampled_frames(path, *, step: int) -> Iterator[np.ndarray]:
    """Every `step`-th frame, (h, w, 3) uint8 RGB."""
    capture = cv2.VideoCapture(str(path))
    index = 0
    while capture.grab():
        if index % step == 0:
            yield np.ascontiguousarray(capture.retrieve()[1][:, :, ::-1])
        index += 1
    capture.release()
