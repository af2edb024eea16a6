"""Random choices by number, and who makes which."""

from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest
import torch

from latentsync.data.draws import clip_of, numpy_generator, torch_generator
from latentsync.data.sampler import GlobalBatches
from latentsync.data.windows import far_start, spread_starts


def test_an_epoch_shows_every_clip_once_in_its_own_order():
    epochs = [[clip_of(n, 50, seed=3) for n in range(50 * e, 50 * e + 50)] for e in range(6)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_generators_depend_on_seed_number_and_purpose_only():
    cases = [(0, 0, "a"), (0, 0, "b"), (0, 1, "a"), (1, 0, "a"), (1 << 40, 1 << 40, "a")]
    for make, draw in (
        (numpy_generator, lambda g: g.random()),
        (torch_generator, lambda g: torch.rand(1, generator=g).item()),
    ):
        drawn = [draw(make(*case)) for case in cases]
        assert drawn == [draw(make(*case)) for case in cases] and len(set(drawn)) == len(cases)


def test_draws_stay_as_they_are():
    """A run that is resumed by a later version goes on with the same samples."""
    assert [clip_of(n, 7, seed=1247) for n in range(7)] == [4, 5, 3, 1, 6, 2, 0]
    assert numpy_generator(1247, 5, "a").integers(1000, size=3).tolist() == [298, 866, 923]
    assert torch.randint(1000, (3,), generator=torch_generator(1247, 5, "a")).tolist() == [975, 44, 941]


def test_ranks_share_out_the_same_numbers_whatever_their_number():
    for world_size in (1, 2, 4):
        ranks = [list(GlobalBatches(8 // world_size, r, world_size, start=16, stop=45)) for r in range(world_size)]
        batches = [list(chain(*parts)) for parts in zip(*ranks, strict=True)]
        assert batches == [list(range(16, 24)), list(range(24, 32)), list(range(32, 40))]


def test_batches_without_a_stop_have_no_end():
    endless = GlobalBatches(2, start=4)
    assert list(islice(endless, 3)) == [[4, 5], [6, 7], [8, 9]]
    with pytest.raises(TypeError):
        len(endless)
    with pytest.raises(ValueError, match="rank"):
        GlobalBatches(2, rank=1)


def test_far_starts_are_uniform_over_what_is_far_enough():
    rng = np.random.default_rng(0)
    counts = Counter(far_start(rng, 4, 12, 3) for _ in range(8000))
    assert sorted(counts) == [0, 1, 7, 8, 9, 10, 11, 12]
    assert all(850 < count < 1150 for count in counts.values())
    with pytest.raises(ValueError, match="is 3 from 2"):
        far_start(rng, 2, 4, 3)


def test_spread_starts_are_uniform_over_all_that_fit():
    rng = np.random.default_rng(0)
    counts = Counter(tuple(spread_starts(rng, 2, 5, 3)) for _ in range(12000))
    assert sorted(counts) == sorted((a, b) for a in range(6) for b in range(6) if abs(a - b) >= 3)
    assert all(850 < count < 1150 for count in counts.values())
    assert sorted(spread_starts(rng, 4, 15, 5)) == [0, 5, 10, 15]
    with pytest.raises(ValueError, match="do not fit"):
        spread_starts(rng, 4, 14, 5)
