"""Random numbers from seeds: each purpose has a generator of its own."""

import zlib

import numpy as np


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """The generator of a purpose, so that what one part draws never shifts what another one draws.

    It depends on nothing but the arguments: neither on the process nor on the order of calls.
    """
    return np.random.default_rng([seed, *(zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose)])


def derived(seed: int, *purpose: str | int) -> int:
    """A seed of 32 bits for a purpose."""
    return int(stream(seed, *purpose).integers(1 << 32))
