"""Faces of a frame, with the mesh points that the alignment needs. Pixel centres lie at integers."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

MIN_SCORE = 0.5
#: MediaPipe's boxes are squares from brows to chin, as high as the mesh (1.0 times on real footage) and a bit
#: wider. The public limits are 50 x 80 for InsightFace's boxes; at 64 the network sees half the detail it makes.
MIN_SIDE = 64
MAX_RATIO = 1.5  # of a box's sides
MESH_POINTS = 468
MESH_INPUT = 512  # side of the square handed to the mesh
LEFT_BROW = (71, 63, 105, 66, 107)  # left in the picture: the person's right
RIGHT_BROW = (336, 296, 334, 293, 301)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),  # outer edge
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),  # inner edge
)
EYES = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),  # left in the picture
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)


@dataclass(frozen=True)
class FaceBox:
    """Where a detector sees a face."""

    box: np.ndarray  # (4,) float32 x0 y0 x1 y1, frame pixels: the detector's own box
    score: float  # of the detector, in [0, 1]


@dataclass(frozen=True)
class Face(FaceBox):
    """One face of a frame."""

    landmarks: np.ndarray  # (n, 2) float32 frame pixels, not rounded; n = 468 for the mesh, 106 for InsightFace


class FaceDetector(Protocol):
    """Finds faces: boxes cheaply, landmarks on demand. An instance belongs to one thread."""

    def boxes(self, frame: np.ndarray, *, again: bool = False) -> list[FaceBox]:
        """The faces of a (h, w, 3) uint8 RGB frame, largest box first.

        `again` is another, independent look for what the first one missed; without one it finds nothing.
        """
        ...

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """Landmarks (n, 2) float32 in frame pixels of the face in a box (4,); None where there is none."""
        ...

    def accepts(self, found: FaceBox) -> bool:
        """Whether a box is large, regular and certain enough to be worked on."""
        ...

    def alignment_points(self, landmarks: np.ndarray) -> np.ndarray:
        """(3, 2) float32: centres of the left brow, the right brow and the nose."""
        ...

    def lips(self, landmarks: np.ndarray) -> np.ndarray:
        """The landmarks (n, 2) of both lips."""
        ...

    def eyes(self, landmarks: np.ndarray) -> np.ndarray:
        """The landmarks (n, 2) of both eyes, lids included."""
        ...

    def close(self) -> None: ...

    def __call__(self, frame: np.ndarray, *, limit: int | None = 1) -> list[Face]:
        """The `limit` largest faces (None: all) of a (h, w, 3) uint8 RGB frame, largest box first.

        The second look counts only where the first yields no face.
        """
        for again in (False, True):
            faces: list[Face] = []
            for found in self.boxes(frame, again=again):
                if limit is not None and len(faces) == limit:
                    break
                landmarks = self.landmarks(frame, found.box)
                if landmarks is not None:
                    faces.append(Face(found.box, found.score, landmarks))
            if faces:
                return faces
        return []

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def box_area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def largest(faces: Sequence[Face]) -> Face | None:
    """The face with the largest box (the first of equals), None for no faces."""
    return max(faces, key=lambda face: box_area(face.box), default=None)


def mesh_alignment_points(landmarks: np.ndarray) -> np.ndarray:
    """Left brow, right brow and nose centre (3, 2) float32 of a (468, 2) MediaPipe mesh."""
    return np.stack([landmarks[list(points)].mean(axis=0) for points in (LEFT_BROW, RIGHT_BROW, NOSE)])


class MediaPipeDetector(FaceDetector):
    """Faces by the models inside the mediapipe package.

    The full-range detector looks first, the short-range one again. A box is doubled to a square and given to
    the face mesh.
    """

    _has_meshed = False  # a mesh was found before

    def __init__(self) -> None:
        from mediapipe.python.solutions.face_detection import FaceDetection
        from mediapipe.python.solutions.face_mesh import FaceMesh

        with _muted_stderr():  # native banners, printed while the graphs start
            self._detectors = [
                FaceDetection(min_detection_confidence=MIN_SCORE, model_selection=selection)
                for selection in (1, 0)  # full range, short range
            ]
            self._mesh = FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=False)
            for graph in (*self._detectors, self._mesh):
                graph.process(np.zeros((64, 64, 3), np.uint8))

    def boxes(self, frame: np.ndarray, *, again: bool = False) -> list[FaceBox]:
        return _boxes(self._detectors[again], np.ascontiguousarray(frame))

    def accepts(self, found: FaceBox) -> bool:
        width, height = found.box[2:] - found.box[:2]
        return (
            found.score >= MIN_SCORE and min(width, height) >= MIN_SIDE and 1 / MAX_RATIO <= width / height <= MAX_RATIO
        )

    alignment_points = staticmethod(mesh_alignment_points)

    def lips(self, landmarks: np.ndarray) -> np.ndarray:
        return landmarks[list(LIPS)]

    def eyes(self, landmarks: np.ndarray) -> np.ndarray:
        return landmarks[list(EYES)]

    def close(self) -> None:
        for graph in (*self._detectors, self._mesh):
            graph.close()

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """Mesh points (468, 2) float32 in frame pixels; None where the mesh sees no face in the box."""
        x, y, side = _doubled_square(box)
        square = _cut_square(frame, x, y, side)
        shrinks = side > MESH_INPUT
        square = cv2.resize(
            square, (MESH_INPUT, MESH_INPUT), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        with nullcontext() if self._has_meshed else _muted_stderr():  # the first face brings a native warning
            meshes = self._mesh.process(square).multi_face_landmarks
        self._has_meshed = bool(meshes) or self._has_meshed
        if not meshes:
            return None
        unit = np.array([(point.x, point.y) for point in meshes[0].landmark[:MESH_POINTS]], np.float64)
        # The mesh counts from 0 at the square's left edge to 1 at its right one; edges lie half a pixel out.
        return (unit * side + (x, y) - 0.5).astype(np.float32)


def _boxes(detector, frame: np.ndarray) -> list[FaceBox]:
    """What a MediaPipe detector sees, largest first."""
    height, width = frame.shape[:2]
    found = []
    for detection in detector.process(frame).detections or ():
        unit = detection.location_data.relative_bounding_box
        corners = np.array([unit.xmin, unit.ymin, unit.xmin + unit.width, unit.ymin + unit.height])
        box = (corners * (width, height, width, height) - 0.5).astype(np.float32)
        if box_area(box) >= 1:
            found.append(FaceBox(box, float(detection.score[0])))
    return sorted(found, key=lambda face: -box_area(face.box))


def _doubled_square(box: np.ndarray) -> tuple[int, int, int]:
    """First column, first row and side of the square of twice the box's size around its centre."""
    x0, y0, x1, y1 = (float(value) for value in box)
    side = max(2, round(2 * max(x1 - x0, y1 - y0)))
    return round((x0 + x1 + 1 - side) / 2), round((y0 + y1 + 1 - side) / 2), side


def _cut_square(frame: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    """The square (side, side, 3) whose first pixel is (x, y); beyond the frame its border repeats."""
    height, width = frame.shape[:2]
    inside = frame[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)]
    left, top = max(-x, 0), max(-y, 0)
    right, bottom = max(x + side - width, 0), max(y + side - height, 0)
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)


@contextmanager
def _muted_stderr() -> Iterator[None]:
    """Send the process's file descriptor 2 to nowhere: native code does not write through sys.stderr."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
