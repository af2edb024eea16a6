"""Whose lips were made, where a video shows several people: the face that differs from the source most."""

from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

import numpy as np

from latentsync.face.detect import FaceDetector
from latentsync.face.track import FaceChoice
from latentsync.media.ffmpeg import decode_frames

FPS = 25
EVERY, MOST = 5, 20  # frames between those that are looked at, and how many of these


def edited_face(result: Path, source: Path, detector: FaceDetector) -> FaceChoice:
    """The face of the source (same size as the result) whose lower half the result changed most.

    It is a point where the source shows several faces, else the only one. Encoding changes all faces a little, so that
    the changes of some frames are added up. Raises MediaError.
    """
    faces: list[tuple[np.ndarray, float]] = []  # centre and change of each, since the first frame with so many
    with ExitStack() as open_files:
        videos = [open_files.enter_context(closing(decode_frames(path, FPS))) for path in (result, source)]
        for made, frame in islice(zip(*videos, strict=False), 0, EVERY * MOST, EVERY):
            boxes = [found.box for found in detector.boxes(frame) if detector.accepts(found)]
            if len(boxes) > len(faces):
                faces = [(_centre(box), 0.0) for box in boxes]
            for box in boxes:
                i = int(np.argmin([np.hypot(*(centre - _centre(box))) for centre, _ in faces]))
                faces[i] = faces[i][0], faces[i][1] + _change(made, frame, box)
    if len(faces) < 2:
        return FaceChoice()
    x, y = max(faces, key=lambda face: face[1])[0]
    return FaceChoice(point=(float(x), float(y)))


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _change(made: np.ndarray, frame: np.ndarray, box: np.ndarray) -> float:
    """Mean difference in the lower half of a box, grey levels."""
    x0, y0, x1, y1 = (max(0, int(edge)) for edge in box)
    lower = slice((y0 + y1) // 2, max(y1, (y0 + y1) // 2 + 1)), slice(x0, max(x1, x0 + 1))
    difference = made[lower].astype(np.int16) - frame[lower]
    return float(np.abs(difference).mean()) if difference.size else 0.0
