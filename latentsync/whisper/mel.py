"""Whisper's log-mel spectrogram of any stretch of a recording, equal to that of the whole at once."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE, mel_filters

#: Mel columns per second of sound.
COLUMNS_PER_SECOND = SAMPLE_RATE // HOP_LENGTH

#: Columns computed at once where only a running value is wanted; 30 s.
CHUNK = 30 * COLUMNS_PER_SECOND


def n_columns(n_samples: int) -> int:
    return n_samples // HOP_LENGTH


@lru_cache
def _window() -> Tensor:
    return torch.hann_window(N_FFT)


def log_spectrum(samples: np.ndarray, start: int, stop: int, n_mels: int = 80) -> Tensor:
    """log10 mel power of columns start...stop-1, before the floor that depends on the whole recording.

    Args:
        samples: (n,) mono at 16 kHz, int16 or float32 in [-1, 1); more than 200 of them. Only the stretch that
            is needed is read, so a memory map stays on disk.

    Returns:
        (n_mels, stop - start) float32.
    """
    reach = N_FFT // 2
    first, last = start * HOP_LENGTH - reach, (stop - 1) * HOP_LENGTH + reach
    stretch = np.asarray(samples[max(first, 0) : last])
    if stretch.dtype == np.int16:
        stretch = stretch.astype(np.float32) / np.float32(32768)
    missing = last - first - len(stretch) - max(-first, 0)
    stretch = np.pad(stretch, (max(-first, 0), missing), mode="reflect")
    spectrum = torch.stft(
        torch.from_numpy(stretch), N_FFT, HOP_LENGTH, window=_window(), center=False, return_complex=True
    )
    mel = mel_filters("cpu", n_mels) @ (spectrum.abs() ** 2)
    return mel.clamp(min=1e-10).log10()


def loudest(samples: np.ndarray, n_mels: int = 80) -> float:
    """Maximum of the log spectrum over the whole recording."""
    columns = n_columns(len(samples))
    return max(
        log_spectrum(samples, start, min(start + CHUNK, columns), n_mels).max().item()
        for start in range(0, columns, CHUNK)
    )


def normalise(spectrum: Tensor, maximum: float) -> Tensor:
    """Floor eight decades below the recording's `maximum`, then Whisper's scale, (x + 4) / 4."""
    return (spectrum.clamp(min=maximum - 8.0) + 4.0) / 4.0


def log_mel(samples: np.ndarray, n_mels: int = 80) -> Tensor:
    """The whole recording's normalised log-mel, (n_mels, samples // 160) float32."""
    spectrum = log_spectrum(samples, 0, n_columns(len(samples)), n_mels)
    return normalise(spectrum, spectrum.max().item())
