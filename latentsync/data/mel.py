"""The mel spectrogram that SyncNet hears, and the stretch of it that belongs to a window of frames."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks

SAMPLE_RATE = 16000  # Hz
N_FFT = 800
HOP = 200  # samples: 80 columns per second
N_MELS = 80
LOWEST, HIGHEST = 55.0, 7600.0  # Hz
PREEMPHASIS = 0.97
FLOOR = 1e-5  # of the magnitude
REFERENCE_DB, RANGE_DB = 20.0, 100.0
PEAK = 4.0  # values lie in [-PEAK, PEAK]; silence is -PEAK

COLUMNS_PER_SECOND = SAMPLE_RATE // HOP

#: Everything that a cached spectrogram depends on besides the sound.
PARAMETERS = (SAMPLE_RATE, N_FFT, HOP, N_MELS, LOWEST, HIGHEST, PREEMPHASIS, FLOOR, REFERENCE_DB, RANGE_DB, PEAK)


@lru_cache
def filter_bank() -> Tensor:
    """(80, 401) float64: Slaney's mel scale, each band of unit area."""
    bank = melscale_fbanks(
        N_FFT // 2 + 1, LOWEST, HIGHEST, N_MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return bank.T.double()


def mel_spectrogram(samples: np.ndarray) -> np.ndarray:
    """(80, T) float32 in [-4, 4] of a whole recording, T = 1 + n // 200; computed in float64.

    `samples` (n,) mono at 16 kHz, n > 0: int16, or float32 in [-1, 1).
    """
    scale = 32768 if samples.dtype == np.int16 else 1
    sound = torch.from_numpy(samples.astype(np.float64) / scale)
    sound = torch.cat([sound[:1], sound[1:] - PREEMPHASIS * sound[:-1]])
    window = torch.hann_window(N_FFT, dtype=torch.float64)
    spectrum = torch.stft(sound, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
    decibels = 20 * (filter_bank() @ spectrum.abs()).clamp(min=FLOOR).log10() - REFERENCE_DB
    mel = 2 * PEAK * (decibels + RANGE_DB) / RANGE_DB - PEAK
    return mel.clamp(-PEAK, PEAK).float().numpy()


def mel_width(num_frames: int) -> int:
    """Columns of a window of frames at 25 fps, rounded up: 52 for 16 frames."""
    return -(-num_frames * 16 // 5)


def mel_start(frame: int, fps: int = 25) -> int:
    """The column at the start of a frame, rounded down."""
    return COLUMNS_PER_SECOND * frame // fps


def mel_window(mel: np.ndarray, frame: int, num_frames: int) -> np.ndarray:
    """The columns of mel (80, T) that belong to `num_frames` frames from `frame` on, a copy (1, 80, W).

    Raises ValueError where the mel does not reach that far.
    """
    start, width = mel_start(frame), mel_width(num_frames)
    if not 0 <= start <= mel.shape[1] - width:
        raise ValueError(f"expected columns {start} to {start + width}, got a mel of {mel.shape[1]}")
    return np.array(mel[None, :, start : start + width])


def frames_covered(n_columns: int, num_frames: int, fps: int = 25) -> int:
    """The last frame at which a window of `num_frames` may start so that its mel is complete; -1 without any."""
    spare = n_columns - mel_width(num_frames)
    return (fps * (spare + 1) - 1) // COLUMNS_PER_SECOND if spare >= 0 else -1
