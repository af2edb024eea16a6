import numpy as np
import pytest

from latentsync.face.align import (
    FaceAligner,
    crop_size,
    frame_to_square,
    similarity,
    square_to_crop,
    template,
)

from .conftest import face_matrix, face_points, smooth_frame


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(points, np.float64) @ matrix[:, :2].T.astype(np.float64) + matrix[:, 2]


@pytest.mark.parametrize(
    ("resolution", "size"),
    [(192, (157, 209)), (256, (210, 280)), (384, (314, 419)), (512, (420, 560)), (768, (629, 839))],
)
def test_crop_size_truncates(resolution, size):
    assert crop_size(resolution) == size


@pytest.mark.parametrize("degrees", [0, 25, -60, 179])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_similarity_maps_a_similar_triangle_exactly(scale, degrees):
    points = face_points((900.25, 500.5), scale=scale, degrees=degrees)
    np.testing.assert_allclose(apply(similarity(points, template(256)), points), template(256), atol=2e-3)


def test_similarity_never_reflects():
    mirrored = face_points((200, 200), scale=1) * (-1, 1)
    linear = similarity(mirrored, template(256))[:, :2]
    assert np.linalg.det(linear) > 0
    np.testing.assert_allclose(linear @ linear.T, np.linalg.det(linear) * np.eye(2), atol=1e-5)


def test_similarity_of_coinciding_points_is_an_error():
    with pytest.raises(ValueError, match="three different"):
        similarity(np.full((3, 2), 7.0), template(256))


def test_matrices_at_4k_follow_a_hundredth_of_a_pixel():
    """Half precision would step by a pixel and more at these coordinates."""
    aligner = FaceAligner(512)
    for shift in np.linspace(0, 0.5, 51):
        points = face_points((3600 + shift, 2000 - shift), scale=2.3, degrees=8)
        np.testing.assert_allclose(apply(aligner.matrix(points), points), template(512), atol=5e-3)


def test_frame_to_square_agrees_with_the_crop():
    """A bright dot of the frame appears in the square where the combined map says."""
    frame = np.zeros((400, 500, 3), np.uint8)
    frame[209:212, 259:262] = 255
    matrix = face_matrix(256, (250, 200), scale=0.8, degrees=12)
    square = FaceAligner(256).crop(frame, matrix)[0].numpy().astype(float)
    y, x = np.indices(square.shape)
    centroid = np.array([(x * square).sum(), (y * square).sum()]) / square.sum()
    np.testing.assert_allclose(centroid, apply(frame_to_square(matrix, 256), [(260, 210)])[0], atol=0.05)


def test_square_to_crop_maps_corners_to_corners():
    corners = apply(square_to_crop(256), [(-0.5, -0.5), (255.5, 255.5)])
    np.testing.assert_allclose(corners, [(-0.5, -0.5), (209.5, 279.5)])


def test_crop_of_an_unrotated_face_is_the_frame_itself():
    frame = smooth_frame(400, 400)
    matrix = np.array([[1, 0, -50], [0, 1, -60]], np.float32)
    np.testing.assert_array_equal(FaceAligner(256).rectangle(frame, matrix), frame[60:340, 50:260])


def test_crop_is_a_square_of_bytes():
    crop = FaceAligner(64).crop(smooth_frame(100, 100), face_matrix(64, (50, 50), scale=0.2))
    assert crop.shape == (3, 64, 64) and str(crop.dtype) == "torch.uint8" and crop.is_contiguous()


def test_outside_of_the_frame_is_grey():
    frame = np.full((300, 300, 3), 200, np.uint8)
    half = FaceAligner(256).rectangle(frame, np.array([[1, 0, 105], [0, 1, 0]], np.float32))
    assert (half[:, :104] == 127).all() and (half[:, 105:] == 200).all()
    far = FaceAligner(256).rectangle(frame, np.array([[1, 0, 9000], [0, 1, 0]], np.float32))
    assert (far == 127).all()


def test_reference_truncates_and_the_default_rounds():
    frame = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (300, 1, 3))
    matrix = np.array([[1, 0, -10.75], [0, 1, -5]], np.float32)
    assert (FaceAligner(256, reference=True).rectangle(frame, matrix)[:, :200, 0] == np.arange(10, 210)).all()
    assert (FaceAligner(256).rectangle(frame, matrix)[:, :200, 0] == np.arange(11, 211)).all()


def test_default_keeps_sub_pixel_points_and_no_state():
    landmarks = np.random.default_rng(0).uniform(100, 300, (468, 2)).astype(np.float32)
    aligner = FaceAligner(256)
    first, again = aligner.pose(landmarks), aligner.pose(landmarks)
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert (aligner.pose(landmarks + np.float32(0.3)).matrix != first.matrix).any()


def test_reference_rounds_landmarks_and_points():
    landmarks = np.random.default_rng(0).integers(100, 300, (468, 2)).astype(np.float32)
    pose, moved = (FaceAligner(256, reference=True).pose(landmarks + np.float32(d)) for d in (0.0, 0.3))
    np.testing.assert_array_equal(pose.matrix, moved.matrix)
    np.testing.assert_array_equal(moved.landmarks, landmarks + np.float32(0.3))


def test_state_ends_with_its_video():
    """The public version carries the bias of one video into the next."""
    one, other = face_points((200, 200), scale=1), face_points((300, 260), scale=1, degrees=20) + [(0, 9)] * 3
    other[2] += 15
    fresh = FaceAligner(256, reference=True).matrix(other)
    used = FaceAligner(256, reference=True)
    used.matrix(one)
    assert not np.array_equal(used.matrix(other), fresh)
    np.testing.assert_array_equal(FaceAligner(256, reference=True).matrix(other), fresh)


def test_points_come_from_the_detector_given():
    points = face_points((200, 200), scale=1)
    aligner = FaceAligner(256, alignment_points=lambda landmarks: landmarks[:3])
    np.testing.assert_allclose(aligner.pose(points).matrix, similarity(points, template(256)), atol=1e-4)
