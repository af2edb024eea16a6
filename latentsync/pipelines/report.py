"""What a run did and where its time went."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Busy seconds of named stages. A stage belongs to one thread; stages of several threads overlap."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started

    def each(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """The items, with the time that making each one took."""
        iterator = iter(items)
        while True:
            with self(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


@dataclass
class LipsyncReport:
    """What a run did."""

    frames: int = 0  # as long as the sound lasts
    faceless: list[tuple[int, int]] = field(default_factory=list)  # first and last output frame of each gap
    tail: int = 0  # frames after the sound's end, as they were
    seconds: dict[str, float] = field(default_factory=dict, compare=False)  # busy time of each stage

    def add(self, *, has_face: bool) -> None:
        """One more frame."""
        if not has_face:
            if self.faceless and self.faceless[-1][1] == self.frames - 1:
                self.faceless[-1] = (self.faceless[-1][0], self.frames)
            else:
                self.faceless.append((self.frames, self.frames))
        self.frames += 1

    @property
    def n_faceless(self) -> int:
        return sum(last - first + 1 for first, last in self.faceless)
