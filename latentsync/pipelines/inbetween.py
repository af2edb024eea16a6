"""Rates above what the networks were trained on: they make every k-th frame, the others are blends."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import torch

from latentsync.types import AlignedFace, SyncedFace

from .windows import Item

#: Highest rate (frames per second) that the networks are run at; they were trained on 25.
MAX_RATE = 30


def key_step(rate: Fraction) -> int:
    """1 up to 30 frames/s, 2 up to 60, ..."""
    return max(1, math.ceil(rate / MAX_RATE))


def sync_keys(
    items: Iterable[Item], step: int, sync: Callable[[Iterable[Item]], Iterator[SyncedFace]]
) -> Iterator[SyncedFace]:
    """`sync` on every `step`-th frame of each run, and blends of its crops on the frames between.

    A run's first frame is a key, so a blend always has a key before it; without one after it in its run, it is
    a copy. Frames without a face go through `sync`.
    """
    waiting: deque[tuple[AlignedFace, bool]] = deque()  # in order; whether it is a key

    def keys() -> Iterator[Item]:
        run, position = None, 0
        for face, audio in items:
            own = None if face.pose is None else face.run
            position = position + 1 if own is not None and own == run else 0
            run = own
            waiting.append((face, position % step == 0))
            if position % step == 0:
                yield face, audio

    before: tuple[SyncedFace, int] | None = None
    for synced in sync(keys()):
        between = _until_key(waiting)
        run = waiting.popleft()[0].run
        steady = before is not None and run == before[1] and synced.crop is not None
        yield from _blends(between, before, synced if steady else None)
        yield synced
        before = synced, run
    yield from _blends([face for face, _ in waiting], before, None)


def _until_key(waiting: deque[tuple[AlignedFace, bool]]) -> list[AlignedFace]:
    between = []
    while not waiting[0][1]:
        between.append(waiting.popleft()[0])
    return between


def _blends(
    faces: list[AlignedFace], before: tuple[SyncedFace, int] | None, after: SyncedFace | None
) -> Iterator[SyncedFace]:
    for position, face in enumerate(faces, start=1):
        crop = before[0].crop
        if after is not None:
            crop = torch.lerp(crop, after.crop, position / (len(faces) + 1))
        yield SyncedFace(face.index, face.frame, face.pose, crop)
