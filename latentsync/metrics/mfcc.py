"""Mel-frequency cepstral coefficients, as SyncNet v2 was trained with: the defaults of python_speech_features 0.6.

After Davis & Mermelstein (1980): frames without a window function, 26 triangular mel filters, a cosine transform, a
lifter; the first coefficient is the frame's log energy.
"""

from functools import lru_cache

import numpy as np
from scipy.fft import dct

SAMPLE_RATE = 16000  # Hz
WINDOW, HOP = 400, 160  # samples: 25 ms, 10 ms
N_FFT = 512
FILTERS = 26
COEFFICIENTS = 13
LIFTER = 22
PREEMPHASIS = 0.97
BLOCK = 6000  # rows computed at once, a minute: about 100 MB


def mfcc(samples: np.ndarray) -> np.ndarray:
    """(T, 13) float32 of a whole recording, T = 1 + ceil((n - 400) / 160), at least 1; computed in float64.

    `samples` (n,) mono at 16 kHz, n > 0: int16, or float32 in [-1, 1). What the last row lacks is silence.
    """
    rows = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    return np.concatenate([_rows(samples, start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK)])


def _rows(samples: np.ndarray, first: int, end: int) -> np.ndarray:
    """Rows `first` to `end` (exclusive) of all."""
    begin, length = first * HOP, (end - first - 1) * HOP + WINDOW
    scale = 1 if samples.dtype == np.int16 else 32768
    sound = scale * samples[max(begin - 1, 0) : begin + length].astype(np.float64)
    before = sound[0] if begin else 0.0  # nothing comes before the first sample
    sound = sound[1:] if begin else sound
    sound = sound - PREEMPHASIS * np.concatenate([[before], sound[:-1]])
    sound = np.pad(sound, (0, length - len(sound)))
    power = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP], N_FFT)) ** 2 / N_FFT
    cepstrum = dct(np.log(_positive(power @ filter_bank().T)), norm="ortho")[:, :COEFFICIENTS]
    cepstrum *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    cepstrum[:, 0] = np.log(_positive(power.sum(axis=1)))
    return cepstrum.astype(np.float32)


def _positive(x: np.ndarray) -> np.ndarray:
    """Zeros, which have no logarithm, become the smallest step of float64."""
    return np.where(x == 0, np.finfo(np.float64).eps, x)


@lru_cache
def filter_bank() -> np.ndarray:
    """(26, 257) float64, not to be changed: triangles of height 1 with corners on the spectrum's lines.

    They are equally wide on the mel scale, 2595 log10(1 + f / 700).
    """
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, FILTERS + 2) / 2595) - 1)
    corners = np.floor((N_FFT + 1) * hertz / SAMPLE_RATE)
    lines = np.arange(N_FFT // 2 + 1)
    return np.stack([np.interp(lines, corners[i : i + 3], (0, 1, 0)) for i in range(FILTERS)])
