"""What the Fréchet video distance sees of a video: the face in a few consecutive frames."""

from collections import deque
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import MeasureError, NoFaceError
from latentsync.face.detect import FaceBox, MediaPipeDetector
from latentsync.face.warp import Box
from latentsync.media.ffmpeg import decode_frames

FPS = 25
SIDE = 224  # pixels


@dataclass(frozen=True)
class FaceClipOptions:
    """Which frames are looked at. Defaults are what we think better; `reference()` is the public behaviour."""

    first: int = 20  # at 25 frames per second
    n_frames: int = 16
    #: Of a video that ends earlier the last frames are taken; else it fails.
    take_last: bool = True
    #: A frame without a face takes the box of the nearest one that has one; else the video fails.
    borrow_boxes: bool = True

    @classmethod
    def reference(cls) -> "FaceClipOptions":
        """Fail where the public version does."""
        return cls(take_last=False, borrow_boxes=False)


def face_clip(
    path: str | Path,
    detector: MediaPipeDetector,
    options: FaceClipOptions | None = None,
    near: tuple[float, float] | None = None,
) -> np.ndarray:
    """The surest face of each frame, or the one nearest to a point (pixels), cut out by the detector's own box.

    (f, 224, 224, 3) uint8 RGB.

    Raises MediaError for a file that cannot be read, MeasureError for one that is too short, NoFaceError.
    """
    options = options or FaceClipOptions()
    frames = _frames(path, options)
    boxes = [_face_box(frame, detector, near) for frame in frames]
    seen = [i for i, box in enumerate(boxes) if box is not None]
    if len(seen) < (1 if options.borrow_boxes else len(boxes)):
        wanted = "in one frame" if options.borrow_boxes else "in every frame"
        raise NoFaceError(
            f"{path}: expected a face {wanted} of {len(frames)}, got {len(seen)} frames with one; "
            "use a video with a larger face"
        )
    nearest = [min(seen, key=lambda other, i=i: abs(other - i)) for i in range(len(boxes))]
    return np.stack([_cut(frame, boxes[i]) for frame, i in zip(frames, nearest, strict=True)])


def _frames(path: str | Path, options: FaceClipOptions) -> deque[np.ndarray]:
    """Those that are looked at."""
    end = options.first + options.n_frames
    n = 0
    frames: deque[np.ndarray] = deque(maxlen=options.n_frames)
    with closing(decode_frames(path, FPS, n_frames=end)) as decoded:
        for frame in decoded:
            frames.append(frame)
            n += 1
    least = options.n_frames if options.take_last else end
    if n < least:
        raise MeasureError(f"{path}: expected {least} frames or more, got {n}; use a longer video")
    return frames


def _face_box(frame: np.ndarray, detector: MediaPipeDetector, near: tuple[float, float] | None) -> Box | None:
    """Of MediaPipe's short-range detector, in whole pixels within the frame."""
    found: list[FaceBox] = detector.boxes(frame, again=True)  # its second look is the short-range one
    if not found:
        return None
    if near is None:
        chosen = max(found, key=lambda face: face.score)
    else:
        chosen = min(found, key=lambda face: np.hypot(*((face.box[:2] + face.box[2:]) / 2 - near)))
    x0, y0, x1, y1 = (int(edge) for edge in chosen.box + 0.5)  # counted from edges
    height, width = frame.shape[:2]
    box = Box(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    return None if box.empty else box


def _cut(frame: np.ndarray, box: Box) -> np.ndarray:
    return cv2.resize(frame[box.slices], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
