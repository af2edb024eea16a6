"""What can be seen of a job while it is worked on, and the moment that shows best what it changed."""

import time
from collections import deque

import cv2
import numpy as np

EVERY_S = 1.0
SIDE = 640  # pixels of the longer side, while a job is worked on
COMPARED_SIDE = 1280
_LATE_S = 20.0  # a picture that would be shown later than this is left out
_NEW_BURST_S = 0.8 * EVERY_S  # between two pictures that are kept


class Preview:
    """Takes every frame of one job, from one thread, and has about one picture a second to show, for any thread.

    Frames come in bursts where networks are slow: as many of a burst are kept as there will be seconds until the next
    one, each with the time from which on it is shown.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown: deque[tuple[float, bytes]] = deque(maxlen=round(_LATE_S / EVERY_S) + 1)
        self._frames = self._next = 0  # frames so far, and the one that is kept next
        self._kept_at = self._due = self._began  # when a picture was kept last, and when the next one is shown
        self._difference = -1.0
        self._compared: tuple[bytes, bytes] | None = None

    def __call__(self, before: np.ndarray, after: np.ndarray) -> None:
        """One more frame as it was and as it became, (h, w, 3) uint8 RGB."""
        self._frames += 1
        if self._frames < self._next:
            return
        now = time.monotonic()
        rate = self._frames / max(now - self._began, EVERY_S)  # frames per second of work
        self._next = self._frames + max(1, int(rate * EVERY_S))
        if now - self._kept_at >= _NEW_BURST_S:
            self._due = now
            while self._shown and self._shown[-1][0] > now:  # they are out of date
                self._shown.pop()
        self._kept_at, due, self._due = now, self._due, self._due + EVERY_S
        if due - now <= _LATE_S:
            self._shown.append((due, _jpeg(after, SIDE)))
        difference = float(cv2.norm(before, after, cv2.NORM_L1)) if before is not after else 0.0
        if difference > self._difference:
            self._difference = difference
            self._compared = _jpeg(before, COMPARED_SIDE), _jpeg(after, COMPARED_SIDE)

    def latest(self) -> bytes | None:
        """The JPEG to be shown now; None where there is none yet."""
        now = time.monotonic()
        return next((jpeg for due, jpeg in reversed(tuple(self._shown)) if due <= now), None)

    @property
    def compared(self) -> tuple[bytes, bytes] | None:
        """JPEGs of the frame that changed most among those that were kept: as it was, and as it became."""
        return self._compared


def _jpeg(frame: np.ndarray, side: int) -> bytes:
    """A frame whose longer side has at most so many pixels."""
    scale = side / max(frame.shape[:2])
    if scale < 1:
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
