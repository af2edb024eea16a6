"""The square that an ArcFace network sees, and what is made of its vectors."""

from types import SimpleNamespace

import numpy as np
import pytest

from latentsync.face.detect import EYES, MESH_POINTS, MediaPipeDetector
from latentsync.media.ffmpeg import decode_frames
from latentsync.metrics.identity import PLACES, FaceEmbedder, face_map, face_square, five_points, identity_similarity
from scripts.inference import DEMO_VIDEO


def turned(points: np.ndarray, scale: float, angle: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


class Session:
    """Stands in for onnxruntime's: a vector is the picture's 512 upper left values of red, times 3."""

    def __init__(self) -> None:
        self.sizes = []

    def get_inputs(self):
        return [SimpleNamespace(name="input.1")]

    def run(self, names, feed):
        pictures = feed["input.1"]
        assert pictures.shape[1:] == (3, 112, 112) and pictures.dtype == np.float32 and np.abs(pictures).max() <= 1
        self.sizes.append(len(pictures))
        return [3 * pictures[:, 0].reshape(len(pictures), -1)[:, :512]]


@pytest.mark.parametrize(("scale", "angle", "shift"), [(1, 0, (20, 10)), (2.5, 0.4, (150, 60)), (3, -1.2, (40, 320))])
def test_the_square_puts_five_points_where_they_belong(scale, angle, shift):
    points = turned(PLACES, scale, angle, shift)
    np.testing.assert_allclose(points @ face_map(points)[:, :2].T + face_map(points)[:, 2], PLACES, atol=1e-4)
    for point, place in zip(points, PLACES, strict=True):
        frame = np.zeros((500, 500, 3), np.uint8)
        x, y = np.round(point).astype(int)
        frame[y - 3 : y + 4, x - 3 : x + 4] = 255
        rows, columns = np.nonzero(face_square(frame, points)[..., 0] > 100)
        np.testing.assert_allclose((columns.mean(), rows.mean()), place, atol=1)


def test_five_points_of_a_mesh():
    mesh = np.full((MESH_POINTS, 2), 999.0)
    mesh[list(EYES[:16])], mesh[list(EYES[16:])] = PLACES[0], PLACES[1]
    mesh[4], mesh[61], mesh[291] = PLACES[2:]
    np.testing.assert_allclose(five_points(mesh), PLACES, rtol=1e-6)
    frame = np.random.default_rng(0).integers(256, size=(112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(face_square(frame, mesh), face_square(frame, PLACES))


def test_a_face_in_a_video_fits_the_places():
    (frame,) = decode_frames(DEMO_VIDEO, n_frames=1)
    with MediaPipeDetector() as detector:
        (face,) = detector(frame)
    points = five_points(face.landmarks)
    found = points @ face_map(points)[:, :2].T + face_map(points)[:, 2]
    assert np.linalg.norm(found - PLACES, axis=1).max() < 6


def test_points_that_coincide_are_refused():
    with pytest.raises(ValueError, match="expected five different points"):
        face_map(np.ones((5, 2)))


def test_vectors_have_length_one_and_do_not_depend_on_batches():
    session = Session()
    frames = np.random.default_rng(0).integers(256, size=(40, 112, 112, 3), dtype=np.uint8)
    vectors = FaceEmbedder(session)(iter(frames), iter([PLACES] * 40))
    assert session.sizes == [16, 16, 8] and vectors.shape == (40, 512) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    seen = (frames[17, ..., 0].reshape(-1)[:512] - 127.5) / 127.5
    np.testing.assert_allclose(vectors[17], seen / np.linalg.norm(seen), atol=1e-5)
    assert FaceEmbedder(session)([], []).shape == (0, 512)


def test_similarity_is_the_mean_cosine():
    a = np.eye(4, dtype=np.float32)
    assert identity_similarity(a, a) == 1
    assert identity_similarity(a, np.roll(a, 1, axis=0)) == 0
    assert identity_similarity(a, a * np.array([[1], [1], [1], [-1]])) == 0.5
    for b in (a[:3], a[:, :3]):
        with pytest.raises(ValueError, match="expected vectors of the same frames, at least one, got"):
            identity_similarity(a, b)
    with pytest.raises(ValueError, match="at least one"):
        identity_similarity(a[:0], a[:0])
