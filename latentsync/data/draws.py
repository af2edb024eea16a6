"""Random choices as functions of the seed and the sample's number, whoever makes them and in which order."""

import zlib
from functools import lru_cache

import numpy as np
import torch


def _sequence(seed: int, number: int, purpose: str) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, number, zlib.crc32(purpose.encode())])


def numpy_generator(seed: int, number: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose (such as "window") for sample `number`; seed and number are not negative."""
    return np.random.default_rng(_sequence(seed, number, purpose))


def torch_generator(seed: int, number: int, purpose: str) -> torch.Generator:
    """As `numpy_generator`, but torch's, on the CPU, so that it draws the same for every device."""
    state = _sequence(seed, number, purpose).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


@lru_cache(maxsize=4)
def _order(n_clips: int, seed: int, epoch: int) -> np.ndarray:
    return numpy_generator(seed, epoch, "order of an epoch").permutation(n_clips)


def clip_of(number: int, n_clips: int, seed: int) -> int:
    """The clip that sample `number` shows: each epoch of `n_clips` samples has every clip once, in its own order."""
    epoch, position = divmod(number, n_clips)
    return int(_order(n_clips, seed, epoch)[position])
