"""The squares that detector, tracker and aligner would cut out of a clip, from what is known of its faces."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import cos, floor, sin

import numpy as np

from ..face.align import FaceAligner, frame_to_square
from ..face.detect import mesh_alignment_points
from ..face.track import NO_FRAME, RADIUS_S, SIGMA_S, finish_tracks
from ..types import TrackedFace
from .pose import FaceTruth, Pose

#: Where the detector's mesh puts the alignment points (left brow, right brow, nose) of a drawn face, less where they
#: are: in sizes of the face, along the face's own axes (to the right and down, turned by its roll). Medians over 30
#: people: scripts/measure_talking_heads.py.
MESH_BIAS = np.array([[0.0091, 0.0011], [-0.0071, 0.0032], [0.0014, -0.0038]], np.float32)


def detected_points(truth: FaceTruth, pose: Pose) -> np.ndarray:
    """The alignment points (3, 2) float32 that the detector would give without noise, frame pixels."""
    turned = MESH_BIAS @ np.array([[cos(pose.roll), sin(pose.roll)], [-sin(pose.roll), cos(pose.roll)]], np.float32)
    return mesh_alignment_points(truth.landmarks) + np.float32(pose.size) * turned


def views(faces: Iterable[tuple[int, FaceTruth, Pose]], rate: Fraction, resolution: int) -> Iterator[np.ndarray]:
    """The map (2, 3) float64 from frame pixels to the square's of each frame, smoothed as the tracker does.

    `faces` gives the shot, the truth and the pose of each frame. A stream, a few frames behind.
    """
    yield from _views(
        ((shot, truth.landmarks, detected_points(truth, pose)) for shot, truth, pose in faces), rate, resolution
    )


def mesh_views(meshes: Iterable[np.ndarray], rate: Fraction, resolution: int) -> Iterator[np.ndarray]:
    """The same of one shot from what a detector found, meshes (468, 2)."""
    yield from _views(((0, mesh, mesh_alignment_points(mesh)) for mesh in meshes), rate, resolution)


def _views(
    faces: Iterable[tuple[int, np.ndarray, np.ndarray]], rate: Fraction, resolution: int
) -> Iterator[np.ndarray]:
    """From shot, landmarks and alignment points of each frame."""
    found = (TrackedFace(i, NO_FRAME, *face) for i, face in enumerate(faces))
    aligner = FaceAligner(resolution)
    steady = finish_tracks(found, ahead=0, radius=floor(RADIUS_S * float(rate)), sigma=SIGMA_S * float(rate))
    for face in steady:
        yield frame_to_square(aligner.matrix(face.points), resolution)
