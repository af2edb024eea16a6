"""Curves over time (f,), nan where nothing is known: how alike two of them are, and how far apart in time."""

from dataclasses import dataclass

import numpy as np

LAG_REACH = 10  # frames


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's coefficient over what is finite in both (f,); nan where one of them does not vary."""
    a, b = _known(a, b)
    if len(a) < 3 or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def beyond(curve: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What of a curve (f,) another one (f,) does not explain: the rest of a least-squares fit."""
    a, b = _known(curve, known)
    if len(a) < 3 or np.ptp(b) < 1e-9:
        return curve - np.nanmean(curve)
    slope, offset = np.polyfit(b, a, 1)
    return curve - (slope * known + offset)


def speed(curve: np.ndarray) -> float:
    """Mean change (f,) from one moment to the next, whatever its direction; nan where no two neighbours are known."""
    steps = np.abs(np.diff(curve))
    return float(np.nanmean(steps)) if np.isfinite(steps).any() else float("nan")


def _known(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both where both are finite, float64."""
    known = np.isfinite(a) & np.isfinite(b)
    return np.asarray(a, np.float64)[known], np.asarray(b, np.float64)[known]


@dataclass(frozen=True)
class Lag:
    """How much later something comes than it should."""

    steps: int  # the best one
    exact: float  # between steps, by a parabola
    correlation: float  # at the best one


def best_lag(expected: np.ndarray, signal: np.ndarray, reach: int = LAG_REACH) -> Lag:
    """By how many steps `signal` (f,) is late against `expected` (f,), within +-`reach`; nan counts as unknown.

    Raises ValueError where nothing varies.
    """
    if len(expected) != len(signal):
        raise ValueError(f"expected equal lengths, got {len(expected)} and {len(signal)}")
    reach = min(reach, max(0, len(signal) - 3))
    lags = np.arange(-reach, reach + 1)
    n = len(signal)
    scores = np.array(
        [correlation(expected[max(0, -lag) : n - max(0, lag)], signal[max(0, lag) : n + min(0, lag)]) for lag in lags]
    )
    if not np.isfinite(scores).any():
        raise ValueError("expected a signal that varies, got a constant")
    best = int(np.nanargmax(scores))
    exact = float(lags[best])
    if 0 < best < len(lags) - 1 and np.isfinite(scores[best - 1 : best + 2]).all():
        left, middle, right = scores[best - 1 : best + 2]
        if (curve := left - 2 * middle + right) < 0:
            exact += 0.5 * (left - right) / curve
    return Lag(int(lags[best]), exact, float(scores[best]))
