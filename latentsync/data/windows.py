"""Where windows of frames start, drawn at random but never too near to each other."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Needs:
    """What a data set asks of every clip."""

    num_frames: int  # of a window
    frames: int  # pictures in the clip
    starts: int = 1  # frames at which a window may start because its sound is complete


def far_start(rng: np.random.Generator, start: int, last: int, distance: int) -> int:
    """Uniform over 0...last without what is nearer than `distance` to `start`. ValueError where nothing is left."""
    before, after = max(0, start - distance + 1), max(0, last - start - distance + 1)
    if before + after == 0:
        raise ValueError(f"no start in 0...{last} is {distance} from {start}")
    drawn = int(rng.integers(before + after))
    return drawn if drawn < before else start + distance + drawn - before


def spread_starts(rng: np.random.Generator, n: int, last: int, distance: int) -> list[int]:
    """`n` starts in 0...last, any two at least `distance` apart: uniform over all such sets, in random order.

    Raises ValueError where so many do not fit.
    """
    free = last + 1 - (n - 1) * (distance - 1)  # what remains when the gaps' least lengths are taken out
    if free < n:
        raise ValueError(f"{n} starts at least {distance} apart do not fit into 0...{last}")
    starts = np.sort(rng.choice(free, n, replace=False)) + np.arange(n) * (distance - 1)
    return rng.permutation(starts).tolist()
