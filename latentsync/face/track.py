"""The face of one person over a video: chosen in each shot, kept through it, bridged and smoothed.

A stream: one output per frame, in order, at most HORIZON_S behind the input, less while nothing is missed.
"""

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np

from ..errors import ConfigError
from ..types import TrackedFace
from .detect import Face, FaceBox, FaceDetector, box_area

HORIZON_S = 0.4  # the longest gap that is bridged, and the look-ahead

# Intersection over union
SAME_PERSON = 0.2  # boxes of one person overlap by more
SAME_TRACK = 0.5  # and the landmarks' boxes by more, unless the face has jumped

# Smoothing: on real footage a third of the raw jitter at a deviation of 0.4 to 3.4 % of the face's height
RADIUS_S = 0.16
SIGMA_S = 0.06

# Cuts, seen on thumbnails
THUMBNAIL = 16  # side in pixels
MIN_CONTRAST = 4.0  # standard deviation in grey levels; below (black, white, a flash) a frame tells nothing
CUT_DIFFERENCE = 10.0  # mean grey levels; at most 7.5 between real frames, at least 50 between shots
CUT_CORRELATION = 0.72  # at least 0.96 between real frames, 0.76 in a strong flash, at most 0.31 between shots

NO_FRAME = np.empty((0, 0, 3), np.uint8)  # stands for one that is out already


@dataclass(frozen=True)
class FaceChoice:
    """Which face of a shot is meant: the largest one, one counted from the left, or the one at a point."""

    index: int | None = None
    point: tuple[float, float] | None = None  # frame pixels

    def among(self, faces: Sequence[FaceBox]) -> list[FaceBox]:
        """The faces that answer the choice, the best first."""
        if self.index is not None:
            return sorted(faces, key=lambda face: face.box[0] + face.box[2])[self.index : self.index + 1]
        if self.point is not None:
            away = [_distance(face.box, self.point) for face in faces]
            return [faces[i] for i in np.argsort(away, kind="stable") if away[i] <= 1]
        return sorted(faces, key=lambda face: -box_area(face.box))


def parse_face(text: str) -> FaceChoice:
    """The choice that a user writes: "largest", a number from the left ("0", "1", ...), or a point "x,y".

    Raises ConfigError for anything else.
    """
    word = text.strip().lower()
    if word == "largest":
        return FaceChoice()
    if re.fullmatch(r"[0-9]+", word):
        return FaceChoice(index=int(word))
    number = r"\s*([0-9]+(?:\.[0-9]*)?)\s*"
    if match := re.fullmatch(f"{number},{number}", word):
        return FaceChoice(point=(float(match[1]), float(match[2])))
    raise ConfigError(
        f'expected "largest", a number counted from the left (0, 1, ...) or a point "x,y" in pixels as the face, '
        f"got {text!r}; correct it or leave it out"
    )


def track_faces(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    *,
    choice: FaceChoice = FaceChoice(),
    rate: Fraction,
    smooth: bool = True,
    bridge: bool = True,
    hold: bool = True,
) -> Iterator[TrackedFace]:
    """The chosen face of every frame (h, w, 3) uint8 RGB at `rate` frames/s; one output each, in order.

    The choice is made at a shot's first face that answers it; until then frames pass through (face 1 where
    there is only face 0, or a point far from any face). The person is kept through the shot; after a long
    absence it is whoever overlaps its last box, or a face that is alone in a shot that never showed two.

    Args:
        smooth: the alignment points are smoothed over time, without lag; the landmarks stay as found.
        bridge: frames between two faces of a track, up to HORIZON_S, are interpolated; else they pass through.
        hold: False chooses anew in every frame. With `smooth` and `bridge` False too it is the public rule.
    """
    reach = math.floor(HORIZON_S * Fraction(rate))
    radius = math.floor(RADIUS_S * float(rate)) if smooth else 0
    follower = FaceFollower(detector, choice, patience=reach, hold=hold, bridge=bridge)
    found = (follower(frame) for frame in frames)
    return finish_tracks(found, ahead=reach if bridge else radius, radius=radius, sigma=SIGMA_S * float(rate))


def visible_faces(frame: np.ndarray, detector: FaceDetector) -> tuple[list[Face], Face | None]:
    """The faces of a (h, w, 3) uint8 RGB frame from left to right, and the one that `track_faces` takes by default."""
    return FaceFollower(detector, FaceChoice(), patience=0).everyone(frame)


class FaceFollower:
    """Finds the chosen face of each frame as it comes: neither bridged nor smoothed."""

    def __init__(
        self, detector: FaceDetector, choice: FaceChoice, *, patience: int, hold: bool = True, bridge: bool = True
    ) -> None:
        self.detector = detector
        self.choice = choice
        self.patience = patience  # frames for which a missed face is looked for where it was
        self.hold = hold
        self.longest_gap = patience if bridge else 0  # frames; longer ones end a track
        self._cuts = CutDetector()
        self._index = -1
        self._track = -1
        self._last: Face | None = None  # the person's latest face in this shot
        self._seen = -1  # the frame of that
        self._bystanders: list[tuple[FaceBox, int]] = []  # and the frame in which each was seen
        self._crowded = False  # the shot has shown several faces at once

    def __call__(self, frame: np.ndarray) -> TrackedFace:
        self._index += 1
        before = self._last
        if self.hold:
            if self._cuts(frame):
                before = None
                self._begin_shot()
            face = self._followed(frame) if self._last is not None else self._chosen(frame)
        else:
            face = self._chosen(frame)
        if face is None:
            return TrackedFace(self._index, frame, None, None, None)
        gap = self._index - self._seen - 1
        if before is None or gap > self.longest_gap or _landmark_overlap(before, face) < SAME_TRACK:
            self._track += 1
        self._last, self._seen = face, self._index
        points = self.detector.alignment_points(face.landmarks)
        return TrackedFace(self._index, frame, self._track, face.landmarks, points)

    def everyone(self, frame: np.ndarray) -> tuple[list[Face], Face | None]:
        """All faces of a frame from left to right, and the chosen one of them."""
        boxes, candidates = self._everyone(frame)
        faces = [face for found in boxes if (face := self._first_face(frame, [found]))]
        chosen = self._first_face(frame, candidates)
        if chosen is not None:  # its box may be that of the other look
            faces = [face for face in faces if not _known(face, [chosen])] + [chosen]
        return sorted(faces, key=lambda face: face.box[0] + face.box[2]), chosen

    def _begin_shot(self) -> None:
        self._last, self._bystanders, self._crowded = None, [], False

    def _looks(self, frame: np.ndarray) -> Iterator[list[FaceBox]]:
        for again in (False, True):
            boxes = [found for found in self.detector.boxes(frame, again=again) if self.detector.accepts(found)]
            self._crowded |= len(boxes) > 1
            yield boxes

    def _chosen(self, frame: np.ndarray) -> Face | None:
        """The face that answers the choice."""
        if self.hold:
            boxes, candidates = self._everyone(frame)
            face = self._first_face(frame, candidates)
            others = [found for found in boxes if face is None or not _known(found, [face])]
            self._crowded |= len(boxes) > 1
            self._remember(others if face else [])
            return face
        for boxes in self._looks(frame):
            if face := self._first_face(frame, self.choice.among(boxes)):
                return face
        return None

    def _everyone(self, frame: np.ndarray) -> tuple[list[FaceBox], list[FaceBox]]:
        """All boxes of both looks, as neither sees everyone; and those that answer the choice, the best first."""
        first, second = self._looks(frame)
        extra = [found for found in second if not _known(found, first)]
        boxes = first + extra
        if first and extra and self.choice == FaceChoice():  # the looks' boxes differ in size by up to half
            faces = [face for found in boxes if (face := self._first_face(frame, [found]))]
            return boxes, sorted(faces, key=lambda face: -box_area(_landmark_box(face)))
        wanted = self.choice.among(boxes)
        return boxes, [face for found in wanted for face in (found, *(b for b in second if _known(b, [found])))]

    def _followed(self, frame: np.ndarray) -> Face | None:
        """The person of this shot: by another look, or where it was last, if the first look misses it."""
        strangers: list[FaceBox] = []
        for boxes in self._looks(frame):
            same = self._matches(boxes)
            face = self._first_face(frame, same)
            others = [found for found in boxes if not any(found is match for match in same)]
            strangers = strangers or others
            self._remember(others)
            if face:
                self._crowded |= bool(strangers)
                return face
        if self._index - self._seen <= self.patience and (face := self._where_it_was(frame)):
            return face
        if not self._crowded and (face := self._first_face(frame, self.choice.among(strangers))):
            self._begin_shot()  # the one face of the shot is somewhere else: a cut that the pictures hide
            return face
        return None

    def _matches(self, boxes: Sequence[FaceBox]) -> list[FaceBox]:
        """Boxes that overlap the person's last one, and no bystander's more; the best first."""
        overlaps = [(overlap(found.box, self._last.box), found) for found in boxes]
        same = [
            (share, found)
            for share, found in overlaps
            if share > SAME_PERSON and not any(overlap(found.box, other.box) > share for other, _ in self._bystanders)
        ]
        return [found for _, found in sorted(same, key=lambda pair: -pair[0])]

    def _remember(self, others: Sequence[FaceBox]) -> None:
        """Replace bystanders by what was seen of them now; forget those missed for long."""
        kept = [
            (known, seen)
            for known, seen in self._bystanders
            if self._index - seen <= self.patience and not _known(known, others)
        ]
        self._bystanders = kept + [(other, self._index) for other in others]

    def _first_face(self, frame: np.ndarray, candidates: Sequence[FaceBox]) -> Face | None:
        for found in candidates:
            landmarks = self.detector.landmarks(frame, found.box)
            if landmarks is not None and _inside(landmarks.mean(axis=0), found.box):
                return Face(found.box, found.score, landmarks)
        return None

    def _where_it_was(self, frame: np.ndarray) -> Face | None:
        """The face in the last box, if it is no bystander's; its box has moved as the landmarks have."""
        last = self._last
        landmarks = self.detector.landmarks(frame, last.box)
        if landmarks is None:
            return None
        face = replace(last, box=_moved(last.box, last.landmarks, landmarks), landmarks=landmarks)
        centre = landmarks.mean(axis=0)
        if _landmark_overlap(last, face) < SAME_TRACK or any(_inside(centre, o.box) for o, _ in self._bystanders):
            return None
        return face


class CutDetector:
    """Whether a shot begins at a frame, by thumbnails: their levels differ and their patterns too.

    A flash or a change of exposure keeps the pattern; a frame without contrast is passed over.
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> bool:
        thumbnail = _thumbnail(frame)
        if thumbnail.std() < MIN_CONTRAST:
            return False
        before, self._last = self._last, thumbnail
        if before is None:
            return False
        differ = np.abs(thumbnail - before).mean() > CUT_DIFFERENCE
        return bool(differ and np.corrcoef(thumbnail.ravel(), before.ravel())[0, 1] < CUT_CORRELATION)


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """Grey levels (THUMBNAIL, THUMBNAIL) float32; rows and columns are skipped where there are plenty."""
    step = max(1, min(frame.shape[:2]) // (8 * THUMBNAIL))
    sparse = np.ascontiguousarray(frame[::step, ::step])
    return cv2.resize(sparse, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).mean(axis=2, dtype=np.float32)


def finish_tracks(found: Iterable[TrackedFace], *, ahead: int, radius: int, sigma: float) -> Iterator[TrackedFace]:
    """Bridge gaps of up to `ahead` frames inside tracks and smooth the points.

    Frames come `radius` later, which smoothing needs, and up to `ahead` later only while a face is missed.
    """
    past: deque[TrackedFace] = deque(maxlen=radius)  # as they were before smoothing, without their frames
    waiting: deque[TrackedFace] = deque()
    last: TrackedFace | None = None  # with a face

    def first() -> TrackedFace:
        item = waiting[0]
        points = item.points
        if radius and item.track is not None:
            near = (*past, *(waiting[i] for i in range(min(radius + 1, len(waiting)))))
            points = smoothed(
                {other.index - item.index: other.points for other in near if other.track == item.track}, sigma
            )
        waiting.popleft()
        past.append(replace(item, frame=NO_FRAME))
        return replace(item, points=points)

    for item in found:
        waiting.append(item)
        if item.track is not None:
            if last is not None and last.track == item.track:
                for i in range(item.index - last.index - 1):
                    waiting[-2 - i] = _between(last, item, waiting[-2 - i])
            last = replace(item, frame=NO_FRAME)
        while len(waiting) > (ahead if item.track is None else radius):
            yield first()
    while waiting:
        yield first()


def _between(before: TrackedFace, after: TrackedFace, missed: TrackedFace) -> TrackedFace:
    """The missed frame with the face where a straight line puts it."""
    share = np.float32((missed.index - before.index) / (after.index - before.index))
    landmarks, points = (
        (1 - share) * a + share * b for a, b in ((before.landmarks, after.landmarks), (before.points, after.points))
    )
    return replace(missed, track=before.track, landmarks=landmarks, points=points)


def smoothed(near: dict[int, np.ndarray], sigma: float) -> np.ndarray:
    """The points at time 0 of a parabola through those at the given times, weighted by a Gaussian; float32.

    Between frames it is symmetric, so nothing lags; at a track's end the parabola follows the motion.
    """
    times = np.array(sorted(near), np.float64)
    values = np.stack([near[time] for time in sorted(near)]).astype(np.float64)
    root = np.exp(-((times / sigma) ** 2) / 4)  # square root of the weight
    powers = times[:, None] ** np.arange(min(3, len(times)))
    row = np.linalg.pinv(root[:, None] * powers)[0] * root
    return np.tensordot(row, values, axes=1).astype(np.float32)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.clip(sides, 0, None).prod())
    return shared / max(box_area(a) + box_area(b) - shared, 1e-9)


def _known(found: FaceBox, others: Sequence[FaceBox]) -> bool:
    """Whether one of the others may be the same person."""
    return any(overlap(found.box, other.box) > SAME_PERSON for other in others)


def _landmark_box(face: Face) -> np.ndarray:
    return np.concatenate([face.landmarks.min(axis=0), face.landmarks.max(axis=0)])


def _landmark_overlap(a: Face, b: Face) -> float:
    return overlap(_landmark_box(a), _landmark_box(b))


def _inside(point: np.ndarray, box: np.ndarray) -> bool:
    return bool((point >= box[:2]).all() and (point <= box[2:]).all())


def _distance(box: np.ndarray, point: tuple[float, float]) -> float:
    """How far a point lies from a box's centre: 0.5 is the box's edge, 1 that of its double."""
    centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    return float((np.abs(np.asarray(point) - centre) / np.maximum(size, 1)).max())


def _moved(box: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The box shifted and scaled as the landmarks' centre and spread have changed."""
    a, b = before.mean(axis=0), after.mean(axis=0)
    scale = after.std() / max(float(before.std()), 1e-9)
    return ((box.reshape(2, 2) - a) * scale + b).ravel().astype(np.float32)
