"""Lips inside the mask's hole, eyes outside."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import islice
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from latentsync.face.align import FaceAligner, frame_to_square, similarity, template
from latentsync.face.detect import MediaPipeDetector
from latentsync.face.mask import fixed_mask
from latentsync.face.place import envelope, keep_mouth_inside
from latentsync.face.track import NO_FRAME, track_faces
from latentsync.media.ffmpeg import decode_frames
from latentsync.types import TrackedFace

from .conftest import face_points

RATE = Fraction(25)
#: Landmarks of these tests: three alignment points, a lip, an eye.
DETECTOR = SimpleNamespace(lips=lambda landmarks: landmarks[3:4], eyes=lambda landmarks: landmarks[4:5])


def posed(lip_row: float, eye_row: float, *, index: int = 0, track: int | None = 0) -> TrackedFace:
    """A tilted face whose lip and eye lie in these rows of the square that its three points give."""
    if track is None:
        return TrackedFace(index, NO_FRAME, None, None, None)
    points = face_points((400 + index, 300), scale=1.7, degrees=20)
    to_frame = cv2.invertAffineTransform(frame_to_square(similarity(points, template(256)), 256))
    lip_and_eye = np.array([(128, lip_row, 1), (80, eye_row, 1)]) @ to_frame.T
    return TrackedFace(index, NO_FRAME, track, np.vstack([points, lip_and_eye]).astype(np.float32), points)


def rows(faces: Iterable[TrackedFace]) -> np.ndarray:
    """Where lip and eye of each face lie in its square, (n, 2)."""
    found = []
    for face in faces:
        square = frame_to_square(similarity(face.points, template(256)), 256)
        found.append(face.landmarks[3:] @ square[1, :2] + square[1, 2])
    return np.array(found)


def placed(faces: Iterable[TrackedFace], rate: Fraction = RATE) -> list[TrackedFace]:
    return list(keep_mouth_inside(faces, DETECTOR, rate))


def test_a_face_that_fits_stays_as_it_is():
    faces = [posed(140, 85, index=i) for i in range(12)]
    for before, after in zip(faces, placed(faces), strict=True):
        assert after.points is before.points


@pytest.mark.parametrize(("lip", "eye"), [(130, 80), (122, 88), (131, 94.5), (115, 60)])
def test_lips_too_near_the_nose_are_brought_inside(lip, eye):
    lips, eyes = rows(placed([posed(lip, eye)]))[0]
    assert lips == pytest.approx(135.5, abs=0.05) and eyes <= max(94, eye) + 0.05


def test_a_short_need_is_met_in_full_and_comes_and_goes_smoothly():
    """A smile of three frames."""
    faces = [posed(124 if 20 <= i < 23 else 140, 88, index=i) for i in range(43)]
    after = placed(faces)
    lips, eyes = rows(after).T
    assert lips[20:23].min() >= 135.45 and eyes.max() <= 94.05
    shift = eyes - 88
    assert np.abs(np.diff(shift)).max() < 3  # six pixels, not at once
    untouched = [i for i, (a, b) in enumerate(zip(faces, after, strict=True)) if a.points is b.points]
    assert untouched == [*range(16), *range(27, 43)]


def test_a_need_does_not_cross_cuts_and_gaps():
    faces = [posed(140, 80, index=i, track=0 if i < 5 else 1) for i in range(10)]
    faces[5] = posed(120, 80, index=5, track=1)
    faces += [posed(0, 0, index=10, track=None), *(posed(140, 80, index=i, track=1) for i in range(11, 15))]
    after = placed(faces)
    assert [face.index for face in after] == list(range(15)) and after[10] == faces[10]
    assert [i for i in range(15) if after[i].points is not faces[i].points] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(("rate", "ahead"), [(Fraction(25), 4), (Fraction(60), 10), (Fraction(5), 0)])
def test_the_look_ahead_is_bounded(rate, ahead):
    taken = []
    source = (taken.append(i) or posed(140, 80, index=i) for i in range(30))
    stream = keep_mouth_inside(source, DETECTOR, rate)
    assert [face.index for face in islice(stream, 7)] == list(range(7))
    assert len(taken) == 7 + ahead
    assert len(list(stream)) == 23


def test_an_envelope_is_smooth_and_never_below():
    values = list(np.random.default_rng(3).exponential(1, 200) * (np.random.default_rng(4).random(200) < 0.2))
    curve = np.array([envelope(values, i, 4) for i in range(200)])
    assert (curve >= np.array(values) - 1e-12).all() and curve.max() <= max(values) + 1e-12
    assert np.abs(np.diff(curve)).max() < np.abs(np.diff(values)).max() / 2


@pytest.mark.media
@pytest.mark.parametrize("name", ["demo1_video.mp4", "demo2_video.mp4", "sun.mp4"])
def test_in_every_frame_of_real_footage_the_lips_are_generated_and_the_eyes_kept(footage, name):
    kept = (fixed_mask(256)[0].numpy() >= 0.5).astype(np.uint8)
    into_hole = cv2.distanceTransform(1 - kept, cv2.DIST_L2, 5) - cv2.distanceTransform(kept, cv2.DIST_L2, 5)
    aligner = FaceAligner(256)

    def depth(points: np.ndarray, to_square: np.ndarray) -> np.ndarray:
        """How far inside the hole frame points lie, in pixels of 256."""
        x, y = (to_square[:, :2] @ points.T + to_square[:, 2:]).astype(np.float32)
        return cv2.remap(into_hole, x, y, cv2.INTER_LINEAR)[:, 0]

    with MediaPipeDetector() as detector:
        tracked = track_faces(decode_frames(footage(name)), detector, rate=RATE)
        for face in keep_mouth_inside(tracked, detector, RATE):
            to_square = frame_to_square(aligner.matrix(face.points), 256)
            assert depth(detector.lips(face.landmarks), to_square).min() >= 8, f"lips in frame {face.index}"
            assert depth(detector.eyes(face.landmarks), to_square).max() <= 0, f"eyes in frame {face.index}"
