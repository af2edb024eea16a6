"""The mouth inside the mask's hole, the eyes above it, also where a head is far back.

Three points of brows and nose place the crop. When a head tips back or a smile lifts the lip, the mouth comes near
the nose in the picture, and part of it leaves the region that is generated. Such frames are moved down, and enlarged
where the eyes leave no room for that. Most frames stay exactly as the three points put them.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ..types import TrackedFace
from .align import frame_to_square, similarity, template
from .detect import FaceDetector
from .warp import inverse

# Rows of the aligned square of 256 x 256. The hole begins at 128 below the nose, beside it at 95.
SIDE = 256
LIPS_ROW = 135.5  # the lips stay below it: 8.5 pixels from the last row that is kept
EYES_ROW = 94.0  # the eyes stay above it
FIXED_ROW = 95.0  # that enlarging leaves where it is

RADIUS_S = 0.08  # a change begins and ends in twice this time


@dataclass(frozen=True)
class _Need:
    """What one frame asks for."""

    track: int
    down: float  # pixels that bring the lips below LIPS_ROW
    room: float  # pixels until the eyes reach EYES_ROW
    scale: float  # that does the rest


def keep_mouth_inside(faces: Iterable[TrackedFace], detector: FaceDetector, rate: Fraction) -> Iterator[TrackedFace]:
    """The faces with alignment points that keep lips and eyes on their sides of the mask's edge.

    A stream: one output for each input, in order, 2 * RADIUS_S later. Changes are smooth over time, reach each frame
    in full, and do not cross from one track to another.
    """
    radius = round(RADIUS_S * float(rate))
    needs: deque[_Need | None] = deque(maxlen=4 * radius + 1)  # around the frame that comes out next
    waiting: deque[TrackedFace] = deque()

    def first() -> TrackedFace:
        face = waiting.popleft()
        if face.track is None:
            return face
        at = len(needs) - 1 - len(waiting)
        return replace(face, points=_placed(face.points, *_smooth_need(needs, at, radius)))

    for face in faces:
        waiting.append(face)
        needs.append(None if face.track is None else _need(face, detector))
        if len(waiting) > 2 * radius:
            yield first()
    while waiting:
        yield first()


def _to_square(points: np.ndarray) -> np.ndarray:
    """The map (2, 3) from frame pixels to the square that three alignment points (3, 2) give."""
    return frame_to_square(similarity(points, template(SIDE)), SIDE)


def _need(face: TrackedFace, detector: FaceDetector) -> _Need:
    row = _to_square(face.points)[1]
    lips = (detector.lips(face.landmarks) @ row[:2] + row[2]).min()
    eyes = (detector.eyes(face.landmarks) @ row[:2] + row[2]).max()
    down, room = max(0.0, LIPS_ROW - lips), max(0.0, EYES_ROW - eyes)
    below = max(1.0, lips + min(down, room) - FIXED_ROW)
    return _Need(face.track, down, room, max(1.0, (LIPS_ROW - FIXED_ROW) / below))


def _smooth_need(needs: Iterable[_Need | None], at: int, radius: int) -> tuple[float, float]:
    """How far to move and to enlarge the frame at a position, so that its neighbours' needs come and go smoothly."""
    needs = list(needs)
    own = needs[at]
    first, last = at, at + 1
    while first > 0 and needs[first - 1] and needs[first - 1].track == own.track:
        first -= 1
    while last < len(needs) and needs[last] and needs[last].track == own.track:
        last += 1
    run = needs[first:last]
    down = envelope([need.down for need in run], at - first, radius)
    return min(down, own.room), envelope([need.scale for need in run], at - first, radius)


def envelope(values: list[float], at: int, radius: int) -> float:
    """A smooth curve that is nowhere below the values, at one position: their running maximum, averaged.

    Each maximum that enters the average covers the position itself, so the average is not below its value.
    """
    near = range(max(0, at - radius), min(len(values), at + radius + 1))
    highest = [max(values[max(0, i - radius) : i + radius + 1]) for i in near]
    weights = [1 + np.cos(np.pi * (i - at) / (radius + 1)) for i in near]
    return float(np.average(highest, weights=weights))


def _placed(points: np.ndarray, down: float, scale: float) -> np.ndarray:
    """The alignment points (3, 2) that put the face `down` pixels lower and `scale` times as large."""
    if down == 0 and scale == 1:
        return points
    to_square = _to_square(points)
    x, y = to_square[:, :2] @ points.T + to_square[:, 2:]
    centre = (SIDE - 1) / 2
    moved = np.stack([centre + (x - centre) / scale, FIXED_ROW + (y - FIXED_ROW) / scale - down])
    to_frame = inverse(to_square)
    return (to_frame[:, :2] @ moved + to_frame[:, 2:]).T.astype(np.float32)
