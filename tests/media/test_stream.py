import threading
import time
import traceback
from contextvars import ContextVar

import pytest

from latentsync.media.stream import batched, prefetch


class Source:
    """Counts up, and remembers how far it was asked, whether it was closed, and where."""

    def __init__(self, n: int):
        self.n, self.made, self.closed_in = n, 0, None

    def __iter__(self):
        try:
            for i in range(self.n):
                self.made = i + 1
                yield i
        finally:
            self.closed_in = threading.current_thread().name


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_prefetch_keeps_the_items_and_their_order(depth):
    assert list(prefetch(range(50), depth)) == list(range(50))
    assert not prefetch_threads()


def test_prefetch_runs_in_the_consumers_context():
    variable = ContextVar("variable", default="")
    variable.set("the consumer's")
    assert list(prefetch((variable.get() for _ in range(2)), 1)) == ["the consumer's"] * 2


def test_prefetch_runs_ahead_but_only_so_far():
    source = Source(100)
    items = prefetch(source, 4)
    next(items)
    deadline = time.monotonic() + 5
    while source.made < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert source.made == 6  # one taken, four waiting, one made and waiting for room
    items.close()


def test_prefetch_does_nothing_before_the_first_item_is_wanted():
    source = Source(3)
    prefetch(source, 2)
    assert source.made == 0 and not prefetch_threads()


def test_prefetch_overlaps_producer_and_consumer():
    """While an item is used the next one is begun."""
    begun = [threading.Event() for _ in range(10)]

    def slow():
        for i, event in enumerate(begun):
            event.set()
            yield i

    for i in prefetch(slow(), 2):
        assert begun[min(i + 1, 9)].wait(30)


def test_prefetch_forwards_an_exception_with_its_traceback_after_the_items_before_it():
    def broken():
        yield 1
        yield 2
        raise KeyError("the reason")

    seen = []
    with pytest.raises(KeyError, match="the reason") as caught:
        for item in prefetch(broken(), 8):
            seen.append(item)
    assert seen == [1, 2]
    assert "broken" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not prefetch_threads()


def test_prefetch_forwards_what_iter_raises():
    with pytest.raises(TypeError, match="not iterable"):
        list(prefetch(5, 1))


def test_closing_prefetch_closes_the_source_in_its_thread():
    source = Source(10**9)
    items = prefetch(iter(source), 2)
    assert next(items) == 0
    start = time.monotonic()
    items.close()
    assert time.monotonic() - start < 1
    assert source.closed_in == "prefetch"
    assert not prefetch_threads()


def test_a_consumer_that_fails_stops_the_source():
    source = Source(10**9)
    with pytest.raises(ZeroDivisionError):
        for _ in prefetch(source, 2):
            1 / 0  # noqa: B018
    assert source.closed_in == "prefetch"
    assert not prefetch_threads()


def test_prefetches_can_be_chained():
    inner = Source(10**9)
    items = prefetch(prefetch(inner, 2), 2)
    assert next(items) == 0
    items.close()
    assert inner.closed_in is not None and not prefetch_threads()


def test_batched_fills_all_but_the_last():
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(batched([], 3)) == []


def test_batched_takes_no_more_than_it_needs():
    source = Source(100)
    next(batched(source, 3))
    assert source.made == 3


@pytest.mark.parametrize("function", [prefetch, batched])
def test_sizes_below_one_are_refused(function):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        function([1], 0)
