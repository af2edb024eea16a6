"""How much memory this process and its children hold while something runs."""

from threading import Event, Thread

import psutil

INTERVAL_S = 0.05


class MemoryWatch:
    """Samples resident memory in a thread while its block runs.

    Children are counted: ffmpeg holds as much as we do. The sum of resident sizes counts a page that two processes
    share twice (ffmpeg's own code, some 25 MB), so it is never too low; proportional sizes would be exact, but exist
    on Linux only, where each sample would walk all page tables.

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
                size = child.memory_info().rss
                if child.cmdline() != self._command:  # until it starts its program, a child's memory is still ours
                    total += size
            except psutil.Error:
                pass  # it has ended
        return total
