"""Curves whose likeness, lag and speed are known."""

import numpy as np
import pytest

from latentsync.metrics.curves import best_lag, beyond, correlation, speed

T = np.arange(100)
SPOKEN = np.sin(0.5 * T) + np.sin(0.23 * T)
OTHER = np.cos(0.31 * T)


@pytest.mark.parametrize("late", [-3, 0, 4])
def test_a_shifted_curve_has_that_lag(late):
    found = best_lag(SPOKEN, np.roll(SPOKEN, late))
    assert found.steps == late and found.exact == pytest.approx(late, abs=0.1) and found.correlation > 0.99


def test_a_damped_curve_is_as_much_slower_and_correlates_fully():
    damped = 0.4 * SPOKEN + 2
    assert speed(damped) / speed(SPOKEN) == pytest.approx(0.4)
    assert correlation(damped, SPOKEN) == pytest.approx(1)


def test_unknown_frames_do_not_count():
    holes = np.where(T % 7 == 0, np.nan, SPOKEN)
    assert correlation(holes, SPOKEN) == pytest.approx(1) and best_lag(SPOKEN, holes).steps == 0
    assert speed(np.array([0, 1, np.nan, 5, 8.0])) == 2
    assert np.isnan(speed(np.full(5, np.nan))) and np.isnan(correlation(np.ones(9), T[:9]))


def test_what_two_sentences_share_by_chance_is_not_counted_as_the_old_one():
    old = 0.6 * SPOKEN + OTHER  # half of it is like the new sentence
    only_old = beyond(old, SPOKEN)
    assert correlation(SPOKEN, old) > 0.4 and abs(correlation(SPOKEN, only_old)) < 1e-9
    assert correlation(OTHER, only_old) > 0.95
    np.testing.assert_allclose(beyond(old, np.ones(100)), old - old.mean())
