"""Whether two pictures show the same person: vectors of faces by an ArcFace network (Deng et al., "ArcFace: Additive
Angular Margin Loss for Deep Face Recognition", 2019).
"""

from collections.abc import Iterable

import cv2
import numpy as np
from skimage.transform import SimilarityTransform

from latentsync.face.detect import EYES
from latentsync.face.insightface import run_session
from latentsync.media.stream import batched

SIDE = 112  # pixels of the square that the network sees
#: Where both eyes, the tip of the nose and both corners of the mouth lie in it; left in the picture first.
PLACES = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)], np.float32
)
NOSE_TIP, MOUTH_CORNERS = 4, (61, 291)  # of the mesh
WIDTH = 512  # of a vector
_BATCH = 16


def five_points(mesh: np.ndarray) -> np.ndarray:
    """Those of `PLACES`, (5, 2) float32, of a (468, 2) MediaPipe mesh."""
    left, right = EYES[: len(EYES) // 2], EYES[len(EYES) // 2 :]
    eyes = [mesh[list(eye)].mean(axis=0) for eye in (left, right)]
    return np.stack([*eyes, mesh[NOSE_TIP], *mesh[list(MOUTH_CORNERS)]]).astype(np.float32)


def face_map(points: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) float64 that brings five points (5, 2) nearest to `PLACES`.

    Raises ValueError where the points coincide.
    """
    found = SimilarityTransform()
    if not found.estimate(points, PLACES) or not np.isfinite(found.params).all():
        raise ValueError("expected five different points of a face, got one and the same")
    return found.params[:2]


def face_square(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The square (112, 112, 3) uint8 of a frame (h, w, 3) uint8 around a face, black beyond the frame.

    `landmarks`: the mesh (468, 2), or the five points (5, 2), in frame pixels.
    """
    points = landmarks if len(landmarks) == len(PLACES) else five_points(landmarks)
    return cv2.warpAffine(frame, face_map(points), (SIDE, SIDE))


class FaceEmbedder:
    """Vectors of faces; those of one person have a cosine near 1.

    `session` is onnxruntime's, of a network (n, 3, 112, 112) float32 RGB in [-1, 1] -> (n, 512).
    """

    def __init__(self, session) -> None:
        self._session = session

    def __call__(self, frames: Iterable[np.ndarray], landmarks: Iterable[np.ndarray]) -> np.ndarray:
        """Unit vectors (n, 512) float32 of n frames (h, w, 3) uint8 RGB, each with its landmarks as `face_square`'s.

        Frames are taken one after the other. Raises ValueError where there are more of one than of the other.
        """
        squares = (face_square(*pair) for pair in zip(frames, landmarks, strict=True))
        parts = [np.empty((0, WIDTH), np.float32)]
        for some in batched(squares, _BATCH):
            pictures = (np.stack(some).transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
            (vectors,) = run_session(self._session, pictures)
            parts.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        return np.concatenate(parts)


def identity_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The mean cosine of corresponding unit vectors (n, d), -1 to 1.

    Raises ValueError for none of them, or different numbers of them.
    """
    if a.shape != b.shape or not len(a):
        raise ValueError(f"expected vectors of the same frames, at least one, got {a.shape} and {b.shape}")
    return float((a * b).sum(axis=1).mean())
