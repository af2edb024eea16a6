"""Distances of sets whose distance is known."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from latentsync.errors import MeasureError
from latentsync.metrics.fvd import frechet_distance


def features(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d))


def by_definition(a: np.ndarray, b: np.ndarray) -> float:
    x, y = np.cov(a.T), np.cov(b.T)
    between = a.mean(axis=0) - b.mean(axis=0)
    return between @ between + np.trace(x + y - 2 * sqrtm(x @ y).real)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (2, 6), (5, 400)])
def test_a_set_is_at_no_distance_from_itself(n, d):
    a = features(n, d)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (2, 6), (5, 400)])
def test_moved_and_widened_sets_are_as_far_as_they_are_moved_and_widened(n, d):
    a = features(n, d)
    spread = np.trace(np.cov(a.T))
    assert frechet_distance(a, a + 0.5) == pytest.approx(d / 4)
    assert frechet_distance(a, a.mean(axis=0) + 3 * (a - a.mean(axis=0))) == pytest.approx(4 * spread)


def test_it_is_the_definition_and_symmetric():
    a, b = features(40), features(30, seed=1) + 1
    assert frechet_distance(a, b) == pytest.approx(by_definition(a, b)) == frechet_distance(b, a)


def test_fewer_features_than_their_width_give_a_real_distance():
    """The square root of such covariances' product has no good numbers."""
    a, b = features(4, 64), features(3, 64, seed=1)
    x, y = (np.linalg.eigh(np.cov(f.T)) for f in (a, b))
    root = (x[1] * np.sqrt(x[0].clip(0))) @ x[1].T
    product = root @ np.cov(b.T) @ root
    between = a.mean(axis=0) - b.mean(axis=0)
    expected = between @ between + x[0].sum() + y[0].sum() - 2 * np.sqrt(np.linalg.eigvalsh(product).clip(0)).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


def test_features_that_never_vary():
    assert frechet_distance(np.zeros((3, 4)), np.ones((2, 4))) == 4


def test_sets_that_cannot_be_compared():
    a = features(5)
    with pytest.raises(MeasureError, match="the second set: expected two videos or more, got 1; add videos"):
        frechet_distance(a, a[:1])
    with pytest.raises(MeasureError, match="the first set: expected finite features, got others"):
        frechet_distance(np.full((3, 6), np.nan), a)
    with pytest.raises(ValueError, match="expected features of one width, got 6 and 5"):
        frechet_distance(a, a[:, :5])
    with pytest.raises(ValueError, match=r"expected features \(n, d\), got \(5,\)"):
        frechet_distance(a[:, 0], a)
