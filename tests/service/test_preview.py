from itertools import pairwise

import cv2
import numpy as np
import pytest

from latentsync.service import preview
from latentsync.service.preview import SIDE, Preview


@pytest.fixture
def clock(monkeypatch):
    """What time it is: clock.now."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(preview, "time", clock)
    return clock


def grey(level: int, size=(12, 16)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def level(jpeg: bytes | None) -> int | None:
    """The grey level that is shown."""
    return None if jpeg is None else round(float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1).mean()))


def test_slow_networks_are_seen_about_every_second(clock):
    """Sixteen frames at once every four seconds: the pictures of a burst are shown one after the other."""
    seen, shown = Preview(), []
    for burst in range(4):
        clock.now += 4
        for i in range(16):
            seen(grey(0), grey(50 * burst + 3 * i))
        for _ in range(4):
            shown.append(level(seen.latest()))
            clock.now += 1
        clock.now -= 4
    assert all(a < b for a, b in pairwise(shown[4:])), f"{shown}"


def test_fast_networks_are_seen_every_second_and_not_late(clock):
    seen = Preview()
    pictures = set()
    for i in range(1000):
        clock.now += 0.01
        seen(grey(0), grey(i // 4))
        pictures.add(level(seen.latest()))
        assert i < 230 or i // 4 - level(seen.latest()) <= 1.1 * 25, i
    assert 8 <= len(pictures) <= 12


def test_the_moment_that_changed_most_is_compared(clock):
    seen = Preview()
    assert seen.compared is None and seen.latest() is None
    for before, after in ((90, 95), (10, 200), (50, 60)):
        clock.now += 2
        seen(grey(before), grey(after))
        clock.now += 2
    assert [level(jpeg) for jpeg in seen.compared] == [10, 200]


def test_pictures_are_small(clock):
    seen = Preview()
    seen(grey(1, (2000, 1000)), grey(2, (2000, 1000)))
    assert cv2.imdecode(np.frombuffer(seen.latest(), np.uint8), 1).shape == (SIDE, SIDE // 2, 3)
