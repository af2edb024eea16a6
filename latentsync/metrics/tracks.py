"""Face tracks of a video: who is seen where, from when to when, as the public measure of sync confidence follows faces.

Frames pass by once, with a rate of 25 per second; only boxes are kept. In each scene a face is followed by the overlap
of its boxes, and short absences are bridged.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.media.stream import batched

from .scenes import Scene, by_content, scenes
from .syncnet_v2 import LEAST_FRAMES

#: Frames (b, h, w, 3) uint8 RGB -> the faces of each, surest first: (k, 5) x0 y0 x1 y1 score, in pixels.
Detector = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class TrackOptions:
    """What makes a track, and what is cut out of frames for it.

    Defaults are what we think better; `reference()` is the public behaviour.
    """

    # Scenes
    cut_threshold: float = 27.0  # levels
    min_shot: int = 15  # frames between two cuts
    #: The last scene has all its frames; else one less where there are cuts.
    keep_last_frame: bool = True
    min_scene: int = LEAST_FRAMES  # frames; shorter scenes have no tracks

    # Tracks
    min_overlap: float = 0.5  # intersection over union; the next box of a face has more with its last one
    max_gap: int = 24  # frames without the face, bridged
    min_detections: int = LEAST_FRAMES  # frames with the face; public clips of two seconds have one too few
    min_size: float = 100.0  # pixels that the greater of mean width and mean height exceeds

    # Crops
    median: int = 13  # frames, odd; over so many the median of place and size is taken
    #: Beyond a track its first and last box are counted; else zeros, which shrink and move six crops at each end.
    repeat_ends: bool = True
    above: float = 1.0  # half-sizes of the box that a crop reaches from the box's centre
    below: float = 1.8
    beside: float = 1.4
    grey: int = 110  # beyond the frame
    side: int = 224  # pixels of the crop in the end

    def __post_init__(self) -> None:
        if self.median < 1 or self.median % 2 == 0:
            raise ValueError(f"expected a median of an odd number of frames, got {self.median}")
        if not self.repeat_ends and self.min_detections <= self.median // 2:
            raise ValueError(
                f"expected tracks of more than {self.median // 2} frames for a median of {self.median} with zeros, "
                f"got {self.min_detections}"
            )

    @classmethod
    def reference(cls) -> "TrackOptions":
        """Follow and cut as the public version does."""
        return cls(keep_last_frame=False, min_scene=50, min_detections=51, repeat_ends=False)


@dataclass(frozen=True)
class FaceTrack:
    """One face in consecutive frames of one scene."""

    first: int  # frame number
    boxes: np.ndarray  # (n, 4) float64 x0 y0 x1 y1 in pixels, one for each frame; gaps interpolated


def find_faces(
    frames: Iterable[np.ndarray], detector: Detector, options: TrackOptions, *, batch: int = 4
) -> tuple[list[np.ndarray], list[Scene]]:
    """The faces of each frame as the detector gives them, and the scenes.

    `frames`: (h, w, 3) uint8 RGB, all of one size; the detector is given `batch` of them at once.
    """
    finder = by_content(threshold=options.cut_threshold, min_scene=options.min_shot)
    faces: list[np.ndarray] = []
    for some in batched(frames, batch):
        for frame in some:
            finder.add(frame)
        found = detector(np.stack(some))
        if len(found) != len(some):
            raise ValueError(f"expected the detector's faces of {len(some)} frames, got those of {len(found)}")
        faces += found
    return faces, scenes(finder.finish(), finder.n_frames, keep_last_frame=options.keep_last_frame)


def link_tracks(faces: Sequence[np.ndarray], scenes: Sequence[Scene], options: TrackOptions) -> list[FaceTrack]:
    """The tracks of a video, in the order in which they begin, from the faces (k, 4 or 5) of each of its frames."""
    tracks = []
    for first, end in scenes:
        if end - first >= options.min_scene:
            chains = _chains(faces[first:end], options)
            found = (_bridged(first, chain) for chain in chains if len(chain) >= options.min_detections)
            tracks += [track for track in found if _size(track) > options.min_size]
    return tracks


def _chains(faces: Sequence[np.ndarray], options: TrackOptions) -> Iterator[dict[int, np.ndarray]]:
    """Boxes of one face by frame, of the frames of one scene; each box is in one chain."""
    left = [list(boxes[:, :4]) for boxes in faces]
    for start, boxes in enumerate(left):
        while boxes:
            yield _take_chain(left, start, options)


def _take_chain(left: list[list[np.ndarray]], start: int, options: TrackOptions) -> dict[int, np.ndarray]:
    """The first face of frame `start` and its successors, greedily; they are taken out of `left`.

    Of boxes that overlap each other by a tenth at most, as S3FD's, hardly ever two can be the successor. The first is.
    """
    last = left[start].pop(0)
    chain = {start: last}
    at = start
    for now in range(start + 1, len(left)):
        if now - at > options.max_gap + 1:
            break
        for i, box in enumerate(left[now]):
            if _overlap(box, last) > options.min_overlap:
                at, last = now, left[now].pop(i)
                chain[at] = last
                break
    return chain


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of boxes (4,)."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = max(0.0, float(width)) * max(0.0, float(height))
    return common / (_area(a) + _area(b) - common) if common else 0.0


def _area(box: np.ndarray) -> float:
    return float(box[2] - box[0]) * float(box[3] - box[1])


def _bridged(first: int, chain: dict[int, np.ndarray]) -> FaceTrack:
    """A track from boxes by frame, which count from frame `first`: linear between them."""
    seen = np.array(list(chain))
    every = np.arange(seen[0], seen[-1] + 1)
    sides = np.array(list(chain.values()), np.float64).T
    return FaceTrack(first + int(seen[0]), np.stack([np.interp(every, seen, side) for side in sides], axis=1))


def _size(track: FaceTrack) -> float:
    """The greater of mean width and mean height."""
    return float((track.boxes[:, 2:] - track.boxes[:, :2]).mean(axis=0).max())
