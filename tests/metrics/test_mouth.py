"""Lips that close when they should or not, and pictures that change or not."""

import numpy as np
import pytest

from latentsync.metrics.mouth import MOUTH, Closures, closed_below, closures, mouth_change, region_psnr

#: 2 s of speech with two p's of 0.08 s, and a pause at the end.
TIMES_S = (np.arange(50) + 0.5) / 25
CLOSED_S = [(0.4, 0.48), (1.0, 1.08)]
SPOKEN = TIMES_S < 1.6
TRUTH = np.where(SPOKEN, 0.05, 0.0)
for start_s, end_s in CLOSED_S:
    TRUTH[(start_s <= TIMES_S) & (end_s > TIMES_S)] = 0


def counts(measured: np.ndarray) -> Closures:
    return closures(measured, TRUTH, CLOSED_S, SPOKEN, threshold=0.01)


def test_the_truth_closes_always_and_nowhere_else():
    found = counts(TRUTH)
    assert found == Closures(wanted=2, found=2, shut=4, right=4) and found.recall == found.precision == 1


@pytest.mark.parametrize(("late", "recall"), [(1, 1), (-1, 1), (5, 0), (-5, 0)])
def test_closures_that_come_at_another_time_are_not_those_wanted(late, recall):
    found = counts(np.where(SPOKEN, np.roll(TRUTH, late), 0.0))
    assert found.recall == recall and (found.precision >= 0.75) == bool(recall)


def test_lips_that_stay_closed_or_never_close_do_not_pass():
    closed, opened = counts(np.zeros(50)), counts(np.ones(50))
    assert closed.recall == 1 and closed.precision < 0.25  # 8 to 10 of 40 frames
    assert opened.recall == opened.precision == 0
    assert np.isnan(Closures(0, 0, 3, 1).recall)
    assert closed + opened == Closures(4, 2, 40, closed.right)


def test_a_frame_without_a_face_is_not_closed():
    assert counts(np.full(50, np.nan)) == Closures(2, 0, 0, 0)


def test_the_threshold_lies_between_what_a_person_shows_closed_and_open():
    measured = 0.8 * TRUTH + 0.003  # this mesh never sees lips that touch
    assert closed_below([measured, measured], [TRUTH, TRUTH]) == pytest.approx(0.003 + 0.02)
    noisy = measured + np.random.default_rng(0).normal(0, 0.002, 50)
    assert 0.006 < closed_below([noisy], [TRUTH]) < 0.04
    with pytest.raises(ValueError, match="close and open"):
        closed_below([measured], [np.ones(50)])


def squares(levels: np.ndarray) -> np.ndarray:
    """Grey pictures (f, 64, 64, 3) uint8."""
    return np.broadcast_to(levels[:, None, None, None], (len(levels), 64, 64, 3)).astype(np.uint8)


def test_a_frozen_mouth_does_not_change():
    assert mouth_change(squares(np.full(5, 90))) == 0
    assert mouth_change(squares(np.array([10, 14, 10, 14]))) == pytest.approx(4)
    elsewhere = squares(np.full(4, 90)).copy()
    elsewhere[::2, : round(64 * MOUTH[0][0]) - 8] = 0
    assert mouth_change(elsewhere) < 0.01


def test_noise_of_the_sensor_is_little_of_the_change():
    noise = np.random.default_rng(0).normal(0, 4, (6, 256, 256, 3))
    assert mouth_change((128 + noise).round().astype(np.uint8)) < 1


def test_psnr_is_of_the_region():
    a, b = squares(np.full(3, 100)).copy(), squares(np.full(3, 110)).copy()
    region = np.zeros((64, 64), bool)
    region[20:40] = True
    b[:, ~region] = 0
    assert region_psnr(a, b, region) == pytest.approx(20 * np.log10(255 / 10))
    assert region_psnr(a, a, region) == 100
