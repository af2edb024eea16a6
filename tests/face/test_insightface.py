"""What stands before and after InsightFace's networks; the networks themselves are stubs."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from latentsync.errors import CheckpointError, ConfigError
from latentsync.face import insightface
from latentsync.face.detect import FaceBox
from latentsync.face.insightface import (
    InsightFaceDetector,
    anchor_centres,
    decode_boxes,
    decode_landmarks,
    detection_input,
    landmark_input,
    suppress,
)

CELLS = [(512 // stride) ** 2 * 2 for stride in (8, 16, 32)]


class Network:
    """Stands in for an onnxruntime session: keeps what it was given and answers as it was told."""

    def __init__(self, answer):
        self.answer, self.inputs = answer, []

    def get_inputs(self):
        return [SimpleNamespace(name="picture")]

    def run(self, names, feed):
        assert names is None
        self.inputs.append(feed["picture"])
        return self.answer


def detections(*faces) -> list[np.ndarray]:
    """Network outputs with (level, row, column, anchor, box, score) in pixels of the 512 square."""
    scores = [np.zeros((n, 1), np.float32) for n in CELLS]
    distances = [np.zeros((n, 4), np.float32) for n in CELLS]
    for level, row, column, anchor, (x0, y0, x1, y1), score in faces:
        stride = (8, 16, 32)[level]
        i = (row * (512 // stride) + column) * 2 + anchor
        x, y = column * stride, row * stride
        scores[level][i] = score
        distances[level][i] = np.array([x - x0, y - y0, x1 - x, y1 - y]) / stride
    return [*scores, *distances, *(np.zeros((n, 10), np.float32) for n in CELLS)]


def detector(monkeypatch, boxes, points=None, **options) -> InsightFaceDetector:
    points = np.zeros((1, 212), np.float32) if points is None else points
    networks = {insightface.DETECTION_MODEL: Network(boxes), insightface.LANDMARK_MODEL: Network([points])}
    monkeypatch.setattr(insightface, "load_session", lambda path: networks[path.name])
    return InsightFaceDetector("models", **options)


def test_boxes_of_every_stride_return():
    faces = [
        (0, 10, 20, 0, (140, 60, 190, 110), 0.9),
        (1, 20, 10, 1, (100, 250, 210.5, 400), 0.8),
        (2, 8, 12, 1, (300, 200, 450, 380.25), 0.95),
    ]
    found = decode_boxes(detections(*faces))
    assert [round(face.score, 2) for face in found] == [0.95, 0.9, 0.8]
    np.testing.assert_allclose([f.box for f in found], [faces[2][4], faces[0][4], faces[1][4]], atol=1e-3)
    assert all(face.box.dtype == np.float32 for face in found)


def test_a_batch_dimension_is_no_matter():
    outputs = detections((1, 20, 10, 1, (100, 250, 210, 400), 0.8))
    (plain,), (batched,) = decode_boxes(outputs), decode_boxes([output[None] for output in outputs])
    np.testing.assert_array_equal(plain.box, batched.box)


def test_uncertain_boxes_are_none():
    assert decode_boxes(detections((1, 20, 10, 1, (100, 250, 210, 400), 0.49))) == []
    assert decode_boxes(detections()) == []


def test_of_overlapping_boxes_the_best_stays():
    box = (100, 100, 200, 200)
    found = decode_boxes(
        detections((0, 15, 15, 0, box, 0.7), (0, 15, 15, 1, box, 0.9), (1, 8, 8, 0, (110, 100, 210, 200), 0.8))
    )
    assert [round(face.score, 2) for face in found] == [0.9]


def test_overlap_counts_one_pixel_more():
    """Two boxes of 9 + 1 by 9 + 1 pixels: of 10 columns 5 shared is 1/3, 6 is 3/7."""
    a = np.array([0, 0, 9, 9], np.float32)
    assert suppress(np.stack([a, a + np.float32([5, 0, 5, 0])])) == [0, 1]
    assert suppress(np.stack([a, a + np.float32([4, 0, 4, 0])])) == [0]
    assert suppress(np.empty((0, 4), np.float32)) == []


def test_anchors_lie_row_by_row_two_to_a_cell():
    np.testing.assert_array_equal(
        anchor_centres(2, 8), [[0, 0], [0, 0], [8, 0], [8, 0], [0, 8], [0, 8], [8, 8], [8, 8]]
    )


@pytest.mark.parametrize(
    ("shape", "filled", "scale"),
    [((1024, 512), (512, 256), 0.5), ((90, 160), (288, 512), 3.2), ((64, 64), (512,) * 2, 8)],
)
def test_the_picture_fills_the_upper_left_of_the_square(shape, filled, scale):
    blob, factor = detection_input(np.full((*shape, 3), 255, np.uint8))
    assert blob.shape == (1, 3, 512, 512) and blob.dtype == np.float32
    assert factor == pytest.approx(scale)
    rows, columns = filled
    np.testing.assert_allclose(blob[0, :, :rows, :columns], 127.5 / 128)
    np.testing.assert_allclose(blob[0, :, rows:], -127.5 / 128)
    np.testing.assert_allclose(blob[0, :, :, columns:], -127.5 / 128)


def test_boxes_return_to_frame_pixels_largest_first(monkeypatch):
    outputs = detections((0, 10, 20, 0, (140, 60, 190, 110), 0.9), (2, 8, 12, 1, (300, 100, 450, 250), 0.8))
    found = detector(monkeypatch, outputs).boxes(np.zeros((576, 1024, 3), np.uint8))
    np.testing.assert_allclose([face.box for face in found], [(600, 200, 900, 500), (280, 120, 380, 220)], atol=1e-3)
    assert detector(monkeypatch, outputs).boxes(np.zeros((576, 1024, 3), np.uint8), again=True) == []


@pytest.mark.parametrize("box", [(100, 80, 300, 320), (-40, 10, 90, 200), (5, 5, 25, 20)])
def test_landmarks_return_to_frame_pixels(box):
    box = np.array(box, np.float32)
    _, matrix = landmark_input(np.zeros((400, 400, 3), np.uint8), box)
    points = np.random.default_rng(0).uniform(box[:2], box[2:], (106, 2))
    output = (points @ matrix[:, :2].T + matrix[:, 2]) / 96 - 1
    assert np.abs(output).max() <= 1 / 1.5 + 1e-6
    found = decode_landmarks(output.reshape(1, 212).astype(np.float32), matrix)
    assert found.shape == (106, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found, points, atol=1e-3)


def test_the_landmark_square_shows_the_box_in_its_middle():
    frame = np.zeros((400, 400, 3), np.uint8)
    frame[100:200, 150:250] = (200, 100, 50)
    blob, matrix = landmark_input(frame, np.array([150, 100, 250, 200], np.float32))
    assert blob.shape == (1, 3, 192, 192) and blob.dtype == np.float32
    np.testing.assert_allclose(matrix @ (200, 150, 1), (96, 96))
    np.testing.assert_array_equal(blob[0, :, 96, 96], (200, 100, 50))
    lit = np.flatnonzero(blob[0, 0, 96] > 100)
    assert (lit[0], lit[-1]) == (32, 159)  # two thirds of 192


@pytest.mark.parametrize(("swapped", "order"), [(False, (200, 100, 50)), (True, (50, 100, 200))])
def test_channels_are_swapped_on_request_only(monkeypatch, swapped, order):
    outputs = detections((2, 8, 8, 0, (200, 200, 300, 320), 0.9))
    found = detector(monkeypatch, outputs, swapped_channels=swapped)
    frame = np.full((512, 512, 3), (200, 100, 50), np.uint8)
    (face,) = found(frame)
    assert face.landmarks.shape == (106, 2)
    np.testing.assert_allclose(face.landmarks, [(250, 260)] * 106, atol=1e-3)
    np.testing.assert_allclose(found._detection.inputs[0][0, :, 0, 0] * 128 + 127.5, order, atol=1e-4)
    np.testing.assert_array_equal(found._landmarks.inputs[0][0, :, 96, 96], order)


@pytest.mark.parametrize(
    ("box", "score", "accepted"),
    [
        ((0.9, 0, 50, 80), 0.9, True),
        ((0, 0, 49.9, 80), 0.9, False),
        ((0, 0, 50, 79.9), 0.9, False),
        ((0, 0, 121, 80), 0.9, False),
        ((0, 0, 120, 80), 0.9, True),
        ((0, 0, 60, 301), 0.9, False),
        ((0, 0, 50, 80), 0.49, False),
    ],
)
def test_the_public_rule_of_acceptance(monkeypatch, box, score, accepted):
    found = FaceBox(np.array(box, np.float32), score)
    assert detector(monkeypatch, detections()).accepts(found) == accepted


def test_alignment_points_are_means_of_landmarks():
    landmarks = np.arange(212, dtype=np.float32).reshape(106, 2)
    points = InsightFaceDetector.alignment_points(landmarks)
    assert points.shape == (3, 2) and points.dtype == np.float32
    for point, indices in zip(points, ((43, 48, 49, 50, 51), range(101, 106), (74, 77, 83, 86)), strict=True):
        np.testing.assert_allclose(point, landmarks[list(indices)].mean(axis=0))


def test_lips_and_eyes_lie_where_the_106_points_have_them(monkeypatch):
    landmarks = np.arange(212, dtype=np.float32).reshape(106, 2)
    found = detector(monkeypatch, detections())
    assert found.lips(landmarks)[:, 0].tolist() == [2.0 * i for i in range(52, 72)]
    assert found.eyes(landmarks)[:, 0].tolist() == [2.0 * i for i in (*range(33, 43), *range(87, 97))]


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"det_10g\.onnx; unpack .*buffalo_l"):
        InsightFaceDetector(tmp_path)
    (tmp_path / "det_10g.onnx").write_bytes(b"model")
    fake = SimpleNamespace(get_available_providers=list, InferenceSession=lambda path, providers: Network([]))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CheckpointError, match=r"2d106det\.onnx"):
        patch.setitem(sys.modules, "onnxruntime", fake)
        InsightFaceDetector(tmp_path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "det_10g.onnx").write_bytes(b"model")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="pip install onnxruntime"):
        InsightFaceDetector(tmp_path)


def test_the_gpu_is_used_where_there_is_one(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"model")
    fake = SimpleNamespace(
        get_available_providers=lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
        InferenceSession=lambda path, providers: providers,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    path = tmp_path / "a.onnx"
    assert insightface.load_session(path) == [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]
    assert insightface.load_session(path, gpu=1)[0] == ("CUDAExecutionProvider", {"device_id": 1})
    assert insightface.load_session(path, gpu=None) == ["CPUExecutionProvider"]


def test_a_damaged_model_is_named(tmp_path, monkeypatch):
    class InvalidProtobuf(Exception):
        """As the package has it."""

    def refuse(path, providers):
        raise InvalidProtobuf

    fake = SimpleNamespace(get_available_providers=list, InferenceSession=refuse)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    (tmp_path / "a.onnx").write_bytes(b"model")
    with pytest.raises(CheckpointError, match=r"a\.onnx: expected a complete ONNX file; unpack .*buffalo_l\.zip again"):
        insightface.load_session(tmp_path / "a.onnx")
