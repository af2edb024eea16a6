"""How sure a mean is, or a difference, or a Fréchet distance, that comes from so many clips: bootstrap intervals.

Clips are drawn again with replacement (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993); the draws are
seeded, so a report is the same each time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
N_RESAMPLES = 2000
N_SET_RESAMPLES = 200  # each is a Fréchet distance, which takes a while
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A number, and the interval in which it lies for 95 % of such sets of clips; nan where there are too few."""

    value: float
    low: float
    high: float
    n: int  # clips


def mean(values: Sequence[float] | np.ndarray) -> Estimate:
    """Of the values (n,) of clips."""
    values = np.asarray(values, np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        value = float(values.mean()) if len(values) else float("nan")
        same = value if len(values) > 1 else float("nan")
        return Estimate(value, same, same, len(values))
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=N_RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Estimate(float(values.mean()), float(found.low), float(found.high), len(values))


def of_set(n: int, statistic: Callable[[np.ndarray], float]) -> Estimate:
    """Of a statistic of all clips together; it is given the numbers (n,) of clips, some of them several times.

    Drawing clips twice makes a Fréchet distance greater, so the interval is the basic one: as much lower.
    """
    value = statistic(np.arange(n))
    if n < 3:
        return Estimate(value, float("nan"), float("nan"), n)
    draws = np.random.default_rng(SEED).integers(0, n, size=(N_SET_RESAMPLES, n))
    found = [statistic(draw) for draw in draws if len(set(draw.tolist())) > 1]
    high, low = (2 * value - np.quantile(found, share) for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value, float(low), float(high), n)


def separation(true: Sequence[float], false: Sequence[float]) -> float:
    """The share of pairs of a true and a false one in which the true one is greater: the area under the ROC curve."""
    return float(stats.mannwhitneyu(true, false).statistic) / (len(true) * len(false))
