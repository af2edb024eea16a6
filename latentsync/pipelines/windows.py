"""Frames in order, grouped into the clips that the U-Net takes."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, cycle, islice

import numpy as np
import torch
from torch import Tensor

from latentsync.types import AlignedFace, Window

#: Stands for a frame that is out already.
NO_FRAME = np.empty((0, 0, 3), np.uint8)

Item = tuple[AlignedFace, Tensor]


def cut_windows(
    items: Iterable[Item], size: int = 16, *, fill: bool = True, breaks: bool = True
) -> Iterator[Window | AlignedFace]:
    """Windows of `size` consecutive frames of one face; frames without one come out alone, in their place.

    A window ends early where the face is lost or, with `breaks`, another run begins, and at the end. With `fill`
    such a rest is completed by the frames before it in its run, or by its own mirror image where the run is
    shorter than a window; without, it is a shorter window.
    """
    run: list[Item] = []  # the run's last frames: at most `size` done ones, then the pending ones
    pending = 0
    for face, audio in items:
        if run and (face.pose is None or (breaks and face.run != run[-1][0].run)):
            if pending:
                yield _rest(run, pending, size, fill)
            run, pending = [], 0
        if face.pose is None:
            yield face
            continue
        run.append((face, audio))
        pending += 1
        if pending == size:
            pending = 0
            yield _window(_taken(run, size), slice(0, size))
    if pending:
        yield _rest(run, pending, size, fill)


def _taken(run: list[Item], size: int) -> list[Item]:
    """The last items. The run keeps them to complete a later window: their crops count, their frames go out."""
    items = run[-size:]
    run[:] = [(replace(face, frame=NO_FRAME), audio) for face, audio in items]
    return items


def _rest(run: list[Item], pending: int, size: int, fill: bool) -> Window:
    if not fill:
        return _window(run[-pending:], slice(0, pending))
    if len(run) >= size:
        return _window(run[-size:], slice(size - pending, size))
    mirrored = chain(run, run[-2:0:-1]) if len(run) > 1 else run
    return _window(list(islice(cycle(mirrored), size)), slice(0, pending))


def _window(items: list[Item], keep: slice) -> Window:
    return Window([face for face, _ in items], torch.stack([audio for _, audio in items]), keep)
