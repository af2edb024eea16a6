"""Faces by InsightFace's buffalo_l networks, run by onnxruntime. Optional: imported only when chosen.

The models are for non-commercial research; they are not part of this project.
"""

from pathlib import Path

import cv2
import numpy as np

from .. import REPO_ROOT
from ..errors import CheckpointError, ConfigError
from .detect import FaceBox, FaceDetector, box_area

MODELS = REPO_ROOT / "checkpoints/auxiliary/models/buffalo_l"
BUFFALO_L = "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip"
DETECTION_MODEL, LANDMARK_MODEL = "det_10g.onnx", "2d106det.onnx"

MIN_SCORE = 0.5
MIN_SIZE = (50, 80)  # width, height
RATIOS = (0.2, 1.5)  # width to height

DETECTION_INPUT = 512  # side
STRIDES = (8, 16, 32)
ANCHORS = 2  # per cell
MAX_OVERLAP = 0.4  # of two boxes that are two faces

LANDMARK_INPUT = 192  # side
LANDMARK_MARGIN = 1.5  # of the square to the box

LEFT_BROW = (43, 48, 49, 50, 51)  # left in the picture
RIGHT_BROW = (101, 102, 103, 104, 105)
NOSE = (74, 77, 83, 86)
LIPS = slice(52, 72)
EYES = (*range(33, 43), *range(87, 97))


class InsightFaceDetector(FaceDetector):
    """Boxes by det_10g, 106 landmarks by 2d106det.

    `swapped_channels` gives the networks blue for red, as the public version does by mistake.
    Raises CheckpointError for a missing model, ConfigError for the missing package.
    """

    def __init__(self, folder: str | Path = MODELS, *, swapped_channels: bool = False) -> None:
        self.swapped_channels = swapped_channels
        self._detection = load_session(Path(folder) / DETECTION_MODEL)
        self._landmarks = load_session(Path(folder) / LANDMARK_MODEL)

    def boxes(self, frame: np.ndarray, *, again: bool = False) -> list[FaceBox]:
        if again:
            return []
        blob, scale = detection_input(self._ordered(frame))
        faces = decode_boxes(run_session(self._detection, blob))
        return sorted((FaceBox(face.box / scale, face.score) for face in faces), key=lambda face: -box_area(face.box))

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        blob, matrix = landmark_input(self._ordered(frame), box)
        (output,) = run_session(self._landmarks, blob)
        return decode_landmarks(output, matrix)

    def accepts(self, found: FaceBox) -> bool:
        """The public rule: corners truncated to integers, at least 50 x 80, neither flat nor narrow."""
        x0, y0, x1, y1 = (int(value) for value in found.box)
        width, height = x1 - x0, y1 - y0
        if found.score < MIN_SCORE or width < MIN_SIZE[0] or height < MIN_SIZE[1]:
            return False
        return RATIOS[0] <= width / height <= RATIOS[1]

    @staticmethod
    def alignment_points(landmarks: np.ndarray) -> np.ndarray:
        """Left brow, right brow and nose centre (3, 2) float32 of 106 landmarks."""
        return np.stack([landmarks[list(points)].mean(axis=0) for points in (LEFT_BROW, RIGHT_BROW, NOSE)])

    def lips(self, landmarks: np.ndarray) -> np.ndarray:
        return landmarks[LIPS]

    def eyes(self, landmarks: np.ndarray) -> np.ndarray:
        return landmarks[list(EYES)]

    def close(self) -> None:
        self._detection = self._landmarks = None

    def _ordered(self, frame: np.ndarray) -> np.ndarray:
        return frame[..., ::-1] if self.swapped_channels else frame


def check_model(path: Path, *, otherwise: str) -> Path:
    """The path. Raises CheckpointError where there is no file; `otherwise` ends the remedy."""
    if not path.is_file():
        raise CheckpointError(f"no InsightFace model at {path}; unpack InsightFace's {BUFFALO_L} there{otherwise}")
    return path


def load_session(path: Path, *, gpu: int | None = 0, otherwise: str = " or choose the MediaPipe detector"):
    """An onnxruntime session on the GPU of this number, or on the CPU where there is none or for None.

    Raises CheckpointError for a missing or damaged model, ConfigError for the missing package; `otherwise` ends the
    remedies.
    """
    check_model(path, otherwise=otherwise)
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "InsightFace's networks need onnxruntime, which is not installed; run pip install onnxruntime "
            f"(onnxruntime-gpu for CUDA){otherwise}"
        ) from error
    providers = ["CPUExecutionProvider"]
    if gpu is not None and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu}))
    try:
        return onnxruntime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # the package's errors have no other base
        raise CheckpointError(f"{path}: expected a complete ONNX file; unpack {BUFFALO_L} again{otherwise}") from error


def detection_input(picture: np.ndarray, side: int = DETECTION_INPUT) -> tuple[np.ndarray, float]:
    """The picture (h, w, 3) uint8 in the upper left of a square (1, 3, side, side) float32, and its scale."""
    height, width = picture.shape[:2]
    if height > width:
        new_width, new_height = max(1, int(side * width / height)), side
    else:
        new_width, new_height = side, max(1, int(side * height / width))
    square = np.zeros((side, side, 3), np.uint8)
    square[:new_height, :new_width] = cv2.resize(np.ascontiguousarray(picture), (new_width, new_height))
    return (square.transpose(2, 0, 1)[None].astype(np.float32) - 127.5) / 128, new_height / height


def decode_boxes(outputs: list[np.ndarray], side: int = DETECTION_INPUT) -> list[FaceBox]:
    """The faces in the network's square, best score first.

    `outputs` are the scores (n, 1) of each stride, then the distances (n, 4) from an anchor to the left, top,
    right and bottom in strides; what follows is not read.
    """
    boxes, scores = [], []
    for i, stride in enumerate(STRIDES):
        score = outputs[i].reshape(-1)
        distance = outputs[len(STRIDES) + i].reshape(-1, 4) * stride
        good = np.flatnonzero(score >= MIN_SCORE)
        centres = anchor_centres(side // stride, stride)[good]
        boxes.append(np.hstack([centres - distance[good, :2], centres + distance[good, 2:]]))
        scores.append(score[good])
    boxes, scores = np.concatenate(boxes).astype(np.float32), np.concatenate(scores)
    order = np.argsort(-scores, kind="stable")
    return [FaceBox(boxes[i], float(scores[i])) for i in order[suppress(boxes[order])]]


def anchor_centres(cells: int, stride: int) -> np.ndarray:
    """Where the anchors of a grid lie, row by row, (cells * cells * ANCHORS, 2) float32."""
    rows, columns = np.indices((cells, cells), np.float32) * stride
    return np.stack([columns, rows], axis=-1).reshape(-1, 2).repeat(ANCHORS, axis=0)


def suppress(boxes: np.ndarray) -> list[int]:
    """Indices of boxes (n, 4), best first, that no better kept one overlaps; sides count one pixel more."""
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    rest, kept = np.arange(len(boxes)), []
    while rest.size:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        sides = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2]) + 1
        shared = np.clip(sides, 0, None).prod(axis=1)
        rest = rest[shared <= MAX_OVERLAP * (areas[best] + areas[rest] - shared)]
    return kept


def landmark_input(picture: np.ndarray, box: np.ndarray, side: int = LANDMARK_INPUT) -> tuple[np.ndarray, np.ndarray]:
    """A square (1, 3, side, side) float32 in [0, 255] around the box, and the map (2, 3) from the picture to it."""
    x0, y0, x1, y1 = (float(value) for value in box)
    scale = side / (LANDMARK_MARGIN * max(x1 - x0, y1 - y0, 1.0))
    matrix = np.array([[scale, 0, side / 2 - scale * (x0 + x1) / 2], [0, scale, side / 2 - scale * (y0 + y1) / 2]])
    square = cv2.warpAffine(np.ascontiguousarray(picture), matrix, (side, side), borderValue=0)
    return square.transpose(2, 0, 1)[None].astype(np.float32), matrix


def decode_landmarks(output: np.ndarray, matrix: np.ndarray, side: int = LANDMARK_INPUT) -> np.ndarray:
    """The network's points in [-1, 1] as (n, 2) float32 in frame pixels; `matrix` (2, 3) as landmark_input's."""
    points = (output.reshape(-1, 2).astype(np.float64) + 1) * (side / 2)
    return ((points - matrix[:, 2]) / (matrix[0, 0], matrix[1, 1])).astype(np.float32)


def run_session(session, blob: np.ndarray) -> list[np.ndarray]:
    """What a session makes of its one input."""
    return session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(blob)})
