"""Other people, lights and microphones out of the clips there are."""

import numpy as np
import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, TINT = 0.12, 0.2, 0.08  # standard deviations: of the range, and of logarithms of factors
SHIFT = 1 / 32  # of the width: at most so far to each side
LOUDNESS = 0.3  # standard deviation; mel values, 0.08 per decibel


def augment_frames(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Frames (..., 3, h, w) uint8 -> the same shape and type, all changed alike.

    Mirrored or not, in another light and tint, and a little shifted, with edges repeated.
    """
    frames = shift(frames, *_offsets(rng, round(frames.shape[-1] * SHIFT)))
    if rng.random() < 0.5:
        frames = frames.flip(-1)
    gain = np.exp(rng.normal(0, CONTRAST) + rng.normal(0, TINT, (3, 1)))
    level = 0.5 + gain * (np.arange(256) / 255 - 0.5) + rng.normal(0, BRIGHTNESS)
    tones = torch.from_numpy((level.clip(0, 1) * 255).round().astype(np.uint8))  # (3, 256): a table per colour
    return torch.stack([tones[c][frames[..., c, :, :].int()] for c in range(3)], dim=-3)


def augment_mel(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """Mel values in [-4, 4] of a louder or softer recording."""
    return (mel + float(rng.normal(0, LOUDNESS))).clamp(-4, 4)


def shift(frames: Tensor, down: int, right: int) -> Tensor:
    """Frames (..., h, w) moved by whole pixels; what comes in repeats the edge."""
    h, w = frames.shape[-2:]
    rows = (torch.arange(h) - down).clamp(0, h - 1)
    columns = (torch.arange(w) - right).clamp(0, w - 1)
    return frames[..., rows[:, None], columns]


def _offsets(rng: np.random.Generator, most: int) -> list[int]:
    return rng.integers(-most, most + 1, 2).tolist()
