"""How much memory this process and its children hold while something runs, and holding less."""

import ctypes
import sys
from threading import Event, Thread

import psutil

INTERVAL_S = 0.05

M_ARENA_MAX = -8  # <malloc.h> of glibc


def share_one_heap() -> None:
    """Let all threads of this program allocate from one heap, where the system's C library is glibc.

    Left alone it gives threads heaps of their own, and each keeps what one thread allocates and another frees: some
    30 MB of gaps at 1080x1920, more where more is allocated. One heap finds them again, and is as fast. For programs,
    at their start.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):
            libc.mallopt(M_ARENA_MAX, 1)


class MemoryWatch:
    """Samples resident memory in a thread while its block runs.

    Children are counted: ffmpeg holds as much as we do. On Linux a page that several of them share counts once (their
    proportional size); elsewhere their resident sizes are summed, which is some 25 MB too much.

    Attributes:
        idle: bytes when the block began.
        peak: the most that any sample saw since, in bytes.
    """

    def __init__(self) -> None:
        self._me = psutil.Process()
        self._command = self._me.cmdline()
        self.idle = self.peak = 0

    def __enter__(self) -> "MemoryWatch":
        self.idle = self.peak = self._resident()
        self._done = Event()
        self._thread = Thread(target=self._sample, name="memory-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()

    @property
    def above_idle(self) -> int:
        return self.peak - self.idle

    def _sample(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        total = self._me.memory_info().rss
        for child in self._me.children(recursive=True):
            try:
                if child.cmdline() != self._command:  # until it starts its program, a child's memory is still ours
                    total += _size(child)  # only then: a size from before would be ours again
            except psutil.Error:
                pass  # it has ended
        return total


def _size(child: psutil.Process) -> int:
    return child.memory_full_info().pss if sys.platform == "linux" else child.memory_info().rss
