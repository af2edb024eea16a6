"""Other people, lights and microphones out of the clips there are."""

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from .mel import N_FFT, N_MELS, SAMPLE_RATE, filter_bank

# Standard deviations, of logarithms where something is multiplied.
BRIGHTNESS, CONTRAST, TINT = 0.12, 0.2, 0.08  # the first as a share of the range
LOUDNESS, COLOUR = 0.3, 0.25  # mel values: 0.08 are a decibel
TRACT = 0.1  # how much longer or shorter a vocal tract is

SHIFT = 1 / 32  # of the width: at most so far to each side
BLUR, NOISE = 1.0, 3.0  # standard deviations at most: pixels, grey levels


def augment_frames(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Frames (n, 3, h, w) uint8 -> the same shape and type, all changed alike.

    Mirrored or not, in another light and tint, and a little shifted, with edges repeated.
    """
    frames = shift(frames, *_offsets(rng, round(frames.shape[-1] * SHIFT)))
    return relight(mirror(frames, rng), rng)


def mirror(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Frames (..., w), or, every other time, their mirror image."""
    return frames.flip(-1) if rng.random() < 0.5 else frames


def relight(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Frames (n, 3, h, w) uint8 -> the same shape and type, all in one other light and tint."""
    gain = np.exp(rng.normal(0, CONTRAST) + rng.normal(0, TINT, (3, 1)))
    level = 0.5 + gain * (np.arange(256) / 255 - 0.5) + rng.normal(0, BRIGHTNESS)
    tones = (level.clip(0, 1) * 255).round().astype(np.uint8)  # (3, 256): a table for each colour
    rows = frames.transpose(0, 1).flatten(1).numpy()
    changed = np.stack([cv2.LUT(row[None], table)[0] for row, table in zip(rows, tones, strict=True)])
    return torch.from_numpy(changed).view(3, len(frames), *frames.shape[2:]).transpose(0, 1).contiguous()


def roughen(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Frames (n, 3, h, w) uint8, or, every other time, what a worse camera makes of them: less sharp, with noise."""
    if rng.random() < 0.5:
        return frames
    blur, noise = rng.uniform(0.1, BLUR), rng.uniform(0, NOISE)
    blurred = np.stack([cv2.GaussianBlur(plane, (5, 5), blur) for plane in frames.flatten(0, 1).numpy()])
    noisy = blurred + noise * rng.standard_normal(blurred.shape, np.float32)
    return torch.from_numpy(noisy.round().clip(0, 255).astype(np.uint8)).view(frames.shape)


def augment_mel(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """Mel values (..., 80, W) in [-4, 4] -> the same: another voice, microphone and loudness, alike for all windows.

    The voice is one with a longer or shorter vocal tract (Jaitly and Hinton 2013), the microphone a smooth curve.
    """
    mel = stretch(mel, np.exp(rng.normal(0, TRACT)))
    return (mel + microphone(rng, N_MELS, colour=COLOUR, loudness=LOUDNESS)).clamp(-4, 4)


def stretch(mel: Tensor, factor: float, centres: np.ndarray | None = None) -> Tensor:
    """Mel values (..., n, W) with all frequencies multiplied by `factor`, between bands linearly.

    `centres` (n,) ascending are the frequencies of the bands, by default those of SyncNet's mel.
    """
    centres = _centres() if centres is None else centres
    source = np.interp(centres / factor, centres, np.arange(len(centres)))
    below = np.floor(source).astype(int).clip(max=len(centres) - 2)
    share = torch.from_numpy((source - below).astype(np.float32))[:, None]
    return mel[..., below, :] * (1 - share) + mel[..., below + 1, :] * share


def microphone(rng: np.random.Generator, n_bands: int, *, colour: float, loudness: float) -> Tensor:
    """What a microphone and its distance add to each band, (n, 1) float32: a smooth curve, and one value for all.

    `colour` and `loudness` are standard deviations.
    """
    bands = np.linspace(0, np.pi, n_bands)
    curve = sum(rng.normal(0, colour) * np.cos(k * bands) for k in (1, 2, 3)) + rng.normal(0, loudness)
    return torch.from_numpy(curve.astype(np.float32))[:, None]


def shift(frames: Tensor, down: int, right: int) -> Tensor:
    """Frames (..., h, w) moved by whole pixels; what comes in repeats the edge."""
    h, w = frames.shape[-2:]
    rows = (torch.arange(h) - down).clamp(0, h - 1)
    columns = (torch.arange(w) - right).clamp(0, w - 1)
    return frames.index_select(-2, rows).index_select(-1, columns)


def _offsets(rng: np.random.Generator, most: int) -> list[int]:
    return rng.integers(-most, most + 1, 2).tolist()


@lru_cache
def _centres() -> np.ndarray:
    """(80,) Hz, ascending."""
    bank = filter_bank().numpy()
    return bank @ np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1) / bank.sum(axis=1)
