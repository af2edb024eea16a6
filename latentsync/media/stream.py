"""Iterators that keep a video flowing without holding it."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class _Buffer(Generic[T]):
    """A bounded queue between one producer and one consumer, which either of them can end."""

    def __init__(self, depth: int):
        self._depth = depth
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._stopped = False  # the consumer wants no more
        self._finished = False  # the producer has no more
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Add an item, waiting for room; False once the consumer has stopped."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._depth or self._stopped)
            self._items.append(item)
            self._changed.notify_all()
            return not self._stopped

    def finish(self, error: BaseException | None) -> None:
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._finished)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error


def _produce(source: Iterable[T], buffer: _Buffer[T]) -> None:
    """Move a source into a buffer, then close it if it is a generator."""
    error: BaseException | None = None
    try:
        iterator = iter(source)
        try:
            for item in iterator:
                if not buffer.put(item):
                    break
        finally:
            if isinstance(iterator, Generator):
                iterator.close()
    except BaseException as caught:  # whatever it is, it belongs to the consumer
        error = caught
    buffer.finish(error)


def prefetch(source: Iterable[T], depth: int) -> Iterator[T]:
    """The items of `source`, in order, computed up to `depth` ahead in a thread of their own.

    The consumer's context variables hold there. An exception of the source reaches the consumer after the items before
    it, with its own traceback. When the consumer stops (closes this generator or lets go of it), the source is closed
    in its thread as soon as it has made the item it was making, and the thread is joined.
    """
    if depth < 1:
        raise ValueError(f"expected a depth of at least 1, got {depth}")
    return _prefetched(source, depth)


def _prefetched(source: Iterable[T], depth: int) -> Iterator[T]:
    buffer: _Buffer[T] = _Buffer(depth)
    thread = Thread(target=copy_context().run, args=(_produce, source, buffer), name="prefetch", daemon=True)
    thread.start()
    try:
        yield from buffer
    finally:
        buffer.stop()
        thread.join()


def map_ahead(function: Callable[[T], U], source: Iterable[T], depth: int) -> Iterator[U]:
    """`function` of each item, in order, computed in one thread of its own while the caller's makes more items.

    At most `depth` items wait. An exception of the function is raised in the place of its result.
    """
    pending: deque[Future[U]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="map-ahead") as pool:
        try:
            for item in source:
                pending.append(pool.submit(function, item))
                while len(pending) > depth or (pending and pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def batched(source: Iterable[T], n: int) -> Iterator[list[T]]:
    """Lists of `n` consecutive items; the last may be shorter."""
    if n < 1:
        raise ValueError(f"expected batches of at least 1, got {n}")
    iterator = iter(source)
    return iter(lambda: list(islice(iterator, n)), [])
