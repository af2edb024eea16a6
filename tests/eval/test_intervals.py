"""Intervals of means, differences and sets whose answers are known."""

import math

import numpy as np
import pytest

from eval.columns import COLUMNS, NEEDS_REFERENCE, NEEDS_TRUTH, SYNC
from eval.intervals import mean, of_set, separation
from eval.summary import verdict


def test_an_interval_holds_the_mean_and_shrinks_with_more_clips():
    values = np.random.default_rng(0).normal(3, 1, 400)
    few, many = mean(values[:25]), mean(values)
    assert few.low < few.value < few.high and few.n == 25
    # 1.96 standard errors
    assert (many.high - many.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert many.high - many.low < (few.high - few.low) / 2


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    draws = np.random.default_rng(1).normal(0, 1, (200, 30))
    held = sum(estimate.low <= 0 <= estimate.high for estimate in map(mean, draws))
    assert 180 <= held <= 199


def test_the_same_clips_have_the_same_interval():
    values = [0.1, 0.4, 0.2, 0.9]
    assert mean(values) == mean(values)


@pytest.mark.parametrize(("values", "low"), [([], math.nan), ([2.0], math.nan), ([2.0, 2.0], 2.0)])
def test_too_few_clips_have_no_interval(values, low):
    found = mean(values)
    assert found.n == len(values) and (found.low == low or (math.isnan(found.low) and math.isnan(low)))
    assert math.isnan(found.value) if not values else found.value == 2.0


def test_a_statistic_of_a_set_is_drawn_by_clips():
    values = np.array([1.0, 2.0, 3.0, 10.0])
    found = of_set(4, lambda numbers: float(values[numbers].mean()))
    assert found.value == 4 and found.low < 4 < found.high
    assert math.isnan(of_set(2, lambda numbers: 1.0).low)


def test_separation_is_the_share_of_pairs_in_order():
    assert separation([3, 4], [1, 2]) == 1 and separation([1, 2], [3, 4]) == 0
    assert separation([1, 3], [2, 2]) == 0.5 and separation([2], [2]) == 0.5


@pytest.mark.parametrize(
    ("column", "shift", "expected"),
    [
        ("psnr", 1, "better"),
        ("psnr", -1, "worse"),
        ("lmd", 1, "worse"),
        ("lmd", -1, "better"),
        ("flicker", 1, "worse"),  # of the distance from 1
        ("offset", -1, "better"),
        ("psnr", 0, "unclear"),
    ],
)
def test_a_verdict_knows_which_numbers_are_better(column, shift, expected):
    assert verdict(column, mean(shift + np.array([-0.1, 0.1, 0.05, -0.05]))) == expected


def test_badness_grows_away_from_the_best():
    assert COLUMNS["offset"].badness(np.array([-2, 0, 1])).tolist() == [2, 0, 1]
    assert COLUMNS["psnr"].badness(3.0) > COLUMNS["psnr"].badness(4.0)
    assert COLUMNS["lmd"].badness(3.0) < COLUMNS["lmd"].badness(4.0)


def test_groups_name_columns():
    assert {*SYNC, *NEEDS_TRUTH, *NEEDS_REFERENCE} <= set(COLUMNS)
