"""How faithful a drawn person is to its truth: what a face mesh sees of it, and whether picture and sound agree.

All functions are of arrays: `truth` is what was drawn, `measured` what a detector found; f frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..face.detect import mesh_alignment_points
from ..metrics.curves import Lag, best_lag, correlation
from ..metrics.mouth import lip_gap
from .mouth import BILABIALS, STOPS, VISEME_OF, VOICED_STOPS, VOWELS
from .speech import SILENCE, Phoneme

STILL = 0.01  # face heights: lips whose gap varies less say nothing about how well it is seen
REFERENCE_SIZE = 190  # pixels of a face's height, for what is given in pixels


# Points


def offsets(truth: np.ndarray, measured: np.ndarray, size: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Where points (f, n, 2) were found from where they are, in face heights `size` (f,), axes turned with the roll."""
    apart = (np.asarray(measured, np.float64) - truth) / np.asarray(size)[:, None, None]
    cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
    return np.stack([apart[..., 0] * cos + apart[..., 1] * sin, apart[..., 1] * cos - apart[..., 0] * sin], axis=-1)


def constant_bias(clips: Sequence[np.ndarray]) -> np.ndarray:
    """One offset per point (n, 2) for all clips, each (f, n, 2): the median of their medians."""
    return np.median([np.median(clip, axis=0) for clip in clips], axis=0)


def spread(clip: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """How far each point of a clip (f, n, 2) is from where the bias expects it, (n,): mean distance, pixels of
    a face REFERENCE_SIZE high."""
    return np.linalg.norm(clip - bias, axis=-1).mean(axis=0) * REFERENCE_SIZE


@dataclass(frozen=True)
class Observed:
    """One clip of one identity; the frames with a mesh come first to last, those without are missing."""

    identity: int
    n_frames: int  # with and without a mesh
    truth: np.ndarray  # (f, 468, 2) of the frames with a mesh
    measured: np.ndarray  # (f, 468, 2)
    gap: np.ndarray  # (f,) the true lip gap, pixels
    size: np.ndarray  # (f,) the face's height, pixels
    roll: np.ndarray  # (f,) radians


@dataclass(frozen=True)
class Fidelity:
    """What is seen of several clips."""

    detected: float  # share of the frames with a mesh
    gap_correlation: dict[
        int, float
    ]  # of the true and the measured gap, in face heights, by identity; without those whose lips rest
    middle_correlation: dict[int, float]  # the same with points 13 and 14 alone
    bias: np.ndarray  # (468, 2) face heights
    spreads: dict[int, float]  # pixels at REFERENCE_SIZE, mean over the points
    alignment_bias: np.ndarray  # (3, 2) face heights
    alignment_spreads: dict[int, np.ndarray]  # (3,) pixels at REFERENCE_SIZE

    def misses(self) -> list[str]:
        """The bars that are missed, in words."""
        gaps, spreads = (np.array(list(values.values())) for values in (self.gap_correlation, self.spreads))
        bars = (
            (self.detected >= 1, "faces found in all frames", f"{self.detected:.2%}"),
            (gaps.mean() >= 0.97, "a mean lip correlation of 0.97", f"{gaps.mean():.3f}"),
            (gaps.min() >= 0.95, "a lip correlation of 0.95 for everybody", f"{gaps.min():.3f}"),
            (spreads.mean() < 2, "a mean spread below 2 px", f"{spreads.mean():.2f} px"),
        )
        return [f"expected {expected}, got {got}" for ok, expected, got in bars if not ok]


def fidelity(clips: Sequence[Observed]) -> Fidelity:
    """Raises ValueError where nothing was found, or where nobody's lips move."""
    seen = [clip for clip in clips if len(clip.truth)]
    if not seen:
        raise ValueError("expected faces in some frames, found none")
    talking = [clip for clip in seen if np.ptp(clip.gap / clip.size) > STILL]
    if not talking:
        raise ValueError("expected lips that move, found none; draw more frames")
    points = [offsets(c.truth, c.measured, c.size, c.roll) for c in seen]
    aligned = [offsets(_alignment(c.truth), _alignment(c.measured), c.size, c.roll) for c in seen]
    bias, alignment_bias = constant_bias(points), constant_bias(aligned)
    middle = [np.linalg.norm(c.measured[:, 14] - c.measured[:, 13], axis=1) / c.size for c in talking]
    return Fidelity(
        detected=sum(len(c.truth) for c in clips) / sum(c.n_frames for c in clips),
        gap_correlation={c.identity: correlation(c.gap / c.size, lip_gap(c.measured) / c.size) for c in talking},
        middle_correlation={c.identity: correlation(c.gap / c.size, m) for c, m in zip(talking, middle, strict=True)},
        bias=bias,
        spreads={c.identity: float(spread(p, bias).mean()) for c, p in zip(seen, points, strict=True)},
        alignment_bias=alignment_bias,
        alignment_spreads={c.identity: spread(p, alignment_bias) for c, p in zip(seen, aligned, strict=True)},
    )


def _alignment(meshes: np.ndarray) -> np.ndarray:
    return np.array([mesh_alignment_points(mesh) for mesh in meshes]).reshape(-1, 3, 2)


# Time


def expected_loudness(phonemes: Sequence[Phoneme], times_s: np.ndarray) -> np.ndarray:
    """How loud speech should be at those moments (n,): 0 silence and closures ... 1 vowels."""
    loudness = np.zeros(len(times_s))
    for phoneme in phonemes:
        loudness[(times_s >= phoneme.start_s) & (times_s < phoneme.end_s)] = _loudness(phoneme.symbol)
    return loudness


def _loudness(symbol: str) -> float:
    letter = symbol[:1]
    viseme = VISEME_OF.get(letter)
    if symbol == SILENCE or viseme is None:
        return 0.0
    if viseme in VOWELS:
        return 1.0
    if letter in STOPS:
        return 0.45 if letter in VOICED_STOPS else 0.55
    return 0.7 if letter in "lɹrɾɻwjɫʎ" else 0.6 if letter in BILABIALS | set("nɲŋɳ") else 0.5


def measured_loudness(samples: np.ndarray, sample_rate: int, times_s: np.ndarray, window_s: float) -> np.ndarray:
    """How loud samples (n,) are around those moments, in the same scale: 40 dB below the loudest are 0."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    edges = np.array([[-0.5], [0.5]]) * window_s + times_s
    first, last = np.clip(np.round(edges * sample_rate), 0, len(samples)).astype(int)
    mean = (energy[last] - energy[first]) / np.maximum(last - first, 1)
    decibels = 10 * np.log10(mean / max(mean.max(), 1e-12) + 1e-12)
    return np.clip(1 + decibels / 40, 0, 1)


STEP_S = 0.005
WINDOW_S = 0.02


def sound_lag(phonemes: Sequence[Phoneme], samples: np.ndarray, sample_rate: int, reach_s: float) -> Lag:
    """By how many steps of STEP_S the sound (n,) is late against what is said when; seconds of the picture."""
    times_s = np.arange(0, len(samples) / sample_rate, STEP_S)
    wanted = _smoothed(expected_loudness(phonemes, times_s), WINDOW_S / STEP_S)
    return best_lag(wanted, measured_loudness(samples, sample_rate, times_s, WINDOW_S), round(reach_s / STEP_S))


def _smoothed(signal: np.ndarray, steps: float) -> np.ndarray:
    n = 2 * (round(steps) // 2) + 1
    return np.convolve(signal, np.full(n, 1 / n), mode="same")
