from types import SimpleNamespace

import numpy as np
import pytest

from latentsync import REPO_ROOT
from latentsync.face import detect
from latentsync.face.detect import Face, MediaPipeDetector, largest, mesh_alignment_points

from .conftest import sampled_frames


@pytest.fixture(scope="module")
def detector():
    with MediaPipeDetector() as detector:
        yield detector


def face(box) -> Face:
    return Face(np.array(box, np.float32), 0.9, np.zeros((468, 2), np.float32))


class SpotMesh:
    """Stands in for the face mesh: every point lies on the brightest spot of the picture it is given."""

    def process(self, picture):
        weight = picture[..., 0].astype(float)
        if not weight.any():
            return SimpleNamespace(multi_face_landmarks=None)
        y, x = np.indices(weight.shape)
        x, y = (((index * weight).sum() / weight.sum() + 0.5) / weight.shape[0] for index in (x, y))
        point = SimpleNamespace(x=x, y=y)
        return SimpleNamespace(multi_face_landmarks=[SimpleNamespace(landmark=[point] * 478)])


class FixedBoxes:
    """Stands in for a detector: relative boxes (x, y, width, height)."""

    def __init__(self, *boxes):
        self.boxes = boxes

    def process(self, frame):
        found = [
            SimpleNamespace(
                score=[0.8],
                location_data=SimpleNamespace(
                    relative_bounding_box=SimpleNamespace(xmin=x, ymin=y, width=width, height=height)
                ),
            )
            for x, y, width, height in self.boxes
        ]
        return SimpleNamespace(detections=found or None)


def stubbed(full_range, short_range) -> MediaPipeDetector:
    detector = object.__new__(MediaPipeDetector)
    detector._detectors, detector._mesh = [full_range, short_range], SpotMesh()
    return detector


def with_spot(x: int, y: int, shape=(480, 640)) -> np.ndarray:
    """A black frame with a soft round spot."""
    rows, columns = np.indices(shape[:2])
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    return np.rint(spot).astype(np.uint8)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize("unit_box", [(0.3, 0.3, 0.2, 0.3), (0.0, 0.0, 0.9, 0.9), (0.41, 0.37, 0.05, 0.08)])
def test_landmarks_return_to_their_frame_pixel(unit_box):
    """Whether the square is enlarged, shrunk or reaches beyond the frame."""
    detector = stubbed(FixedBoxes(unit_box), FixedBoxes())
    (found,) = detector(with_spot(271, 190))
    assert found.landmarks.shape == (468, 2) and found.landmarks.dtype == np.float32
    np.testing.assert_allclose(found.landmarks, [[271, 190]] * 468, atol=0.03)


def test_short_range_looks_where_full_range_finds_nothing():
    assert len(stubbed(FixedBoxes(), FixedBoxes((0.3, 0.3, 0.2, 0.3)))(with_spot(271, 190))) == 1
    without_mesh = FixedBoxes((0.8, 0.8, 0.05, 0.05))  # a box with nothing in it
    assert len(stubbed(without_mesh, FixedBoxes((0.3, 0.3, 0.2, 0.3)))(with_spot(271, 190))) == 1


def test_limit_counts_meshes_from_the_largest_box():
    small, middle, large = (0.4, 0.3, 0.05, 0.1), (0.35, 0.3, 0.2, 0.3), (0.7, 0.7, 0.25, 0.25)
    detector = stubbed(FixedBoxes(small, middle, large), FixedBoxes())
    frame = with_spot(271, 190)  # beyond the square of the large box
    widths = [round(float(found.box[2] - found.box[0]) / 640, 2) for found in detector(frame, limit=None)]
    assert widths == [0.2, 0.05]
    assert len(detector(frame, limit=1)) == 1


def test_largest():
    assert largest([]) is None
    faces = [face((0, 0, 10, 10)), face((5, 5, 40, 30)), face((0, 0, 20, 20))]
    assert largest(faces) is faces[1]


def test_square_beyond_the_frame_repeats_its_border():
    frame = np.arange(12, dtype=np.uint8).reshape(3, 4)[..., None].repeat(3, axis=2)
    square = detect._cut_square(frame, -2, 1, 5)
    assert square.shape == (5, 5, 3)
    np.testing.assert_array_equal(square[:, :, 0], [[4, 4, 4, 5, 6]] + [[8, 8, 8, 9, 10]] * 4)


def test_alignment_points_are_means_of_mesh_points():
    landmarks = np.arange(936, dtype=np.float32).reshape(468, 2)
    points = mesh_alignment_points(landmarks)
    assert points.shape == (3, 2) and points.dtype == np.float32
    np.testing.assert_allclose(points[0], landmarks[[71, 63, 105, 66, 107]].mean(axis=0))


def test_no_face_in_noise(detector):
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    assert detector(noise) == []


def test_no_face_in_a_tiny_frame(detector):
    assert detector(np.zeros((2, 3, 3), np.uint8)) == []


@pytest.mark.media
@pytest.mark.parametrize("name", ["demo1_video.mp4", "demo2_video.mp4", "sun.mp4"])
def test_real_person_in_every_sampled_frame(detector, footage, name):
    check_every_sampled_frame(detector, footage(name))


def test_drawn_person_in_every_sampled_frame(detector):
    for n in (1, 2, 3):
        check_every_sampled_frame(detector, REPO_ROOT / f"assets/demo{n}_video.mp4")


def check_every_sampled_frame(detector, path):
    for index, frame in enumerate(sampled_frames(path, step=25)):
        (found,) = detector(frame)
        assert found.score >= 0.5, f"sample {index}"
        assert (found.landmarks != np.round(found.landmarks)).mean() > 0.9, "landmarks are rounded"
        height, width = frame.shape[:2]
        inside = (found.landmarks > 0).all() and (found.landmarks < (width, height)).all()
        assert inside, f"sample {index}"
        left, right, nose = detector.alignment_points(found.landmarks)
        assert left[0] < right[0] and nose[1] > max(left[1], right[1])


@pytest.mark.media
def test_landmarks_move_with_the_picture(detector, footage):
    frame = next(sampled_frames(footage("demo1_video.mp4"), step=1))
    (here,), (there,) = detector(frame), detector(np.roll(frame, (64, -32), axis=(0, 1)))
    moved = (there.landmarks - here.landmarks).mean(axis=0)
    np.testing.assert_allclose(moved, (-32, 64), atol=0.5)
