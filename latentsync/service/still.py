"""The first picture of a video that shows a face, and whose lips will move."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from ..errors import ConfigError
from ..face.detect import FaceBox, FaceDetector
from ..face.track import FaceChoice, parse_face, visible_faces
from ..media.ffmpeg import decode_frames, probe

SEARCHED_S = 10  # from the video's start
RATE = Fraction(25)  # frames per second that are looked at, as the lip sync does unless told otherwise
SIDE = 960  # pixels of the longer side of a still
_CHOSEN, _OTHER, _INK = (64, 220, 96), (245, 245, 245), (20, 20, 20)  # RGB


@dataclass(frozen=True)
class Still:
    """A picture of a video and the faces in it, whose boxes are in pixels of the video's frames."""

    picture: np.ndarray  # (h, w, 3) uint8 RGB, shrunk where the frame is large
    scale: float  # its pixels per pixel of the frame
    faces: tuple[FaceBox, ...] = ()  # from left to right
    largest: FaceBox | None = None  # the one that is taken where none is asked for

    def chosen(self, face: str) -> FaceBox | None:
        """The face that a choice means, as `parse_face` reads it; None where it means none."""
        try:
            choice = parse_face(face)
        except ConfigError:  # of a choice that is being typed
            return None
        return self.largest if choice == FaceChoice() else next(iter(choice.among(self.faces)), None)

    def face_at(self, x: float, y: float) -> str | None:
        """The choice that means the face at a point of the picture; None where there is none."""
        found = FaceChoice(point=(x / self.scale, y / self.scale)).among(self.faces)
        if not found:
            return None
        x0, y0, x1, y1 = found[0].box
        return f"{(x0 + x1) / 2:.0f},{(y0 + y1) / 2:.0f}"

    def drawn(self, face: str) -> np.ndarray:
        """The picture with its faces framed, and numbered where there are several; the chosen one is green."""
        canvas = self.picture.copy()
        chosen = self.chosen(face)
        unit = max(canvas.shape[:2]) / 480
        for number, found in enumerate(self.faces):
            x0, y0, x1, y1 = (round(float(c) * self.scale) for c in found.box)
            colour, width = (_CHOSEN, 3) if found is chosen else (_OTHER, 1)
            cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, max(1, round(width * unit)), cv2.LINE_AA)
            if len(self.faces) > 1:
                cv2.rectangle(canvas, (x0, y0), (x0 + round(16 * unit), y0 + round(18 * unit)), colour, cv2.FILLED)
                at, font = (x0 + round(3 * unit), y0 + round(14 * unit)), cv2.FONT_HERSHEY_SIMPLEX
                cv2.putText(canvas, str(number), at, font, 0.45 * unit, _INK, max(1, round(unit)), cv2.LINE_AA)
        return canvas


class Stills:
    """Looks at videos, at one at a time; `detector` lends one for a `with` block."""

    def __init__(self, detector: Callable[[], AbstractContextManager[FaceDetector]]) -> None:
        self._detector = detector
        self._one = Lock()

    def __call__(self, video: Path) -> Still:
        """The first frame with a face; the first frame of all where none has one in the first seconds.

        Raises MediaError.
        """
        info = probe(video)
        first = None
        frames = decode_frames(info, RATE, n_frames=round(SEARCHED_S * RATE))
        with self._one, self._detector() as detector, closing(frames):
            for frame in frames:
                faces, largest = visible_faces(frame, detector)
                if faces:
                    return Still(*_shrunk(frame), tuple(faces), largest)
                first = frame if first is None else first
        return Still(*_shrunk(first))


def _shrunk(frame: np.ndarray) -> tuple[np.ndarray, float]:
    scale = min(1.0, SIDE / max(frame.shape[:2]))
    if scale < 1:
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return frame, scale
