"""Sync confidence: how well pictures and sound of a clip agree, and by how much they are apart, as SyncNet v2 sees it.

The public measure, after Chung & Zisserman, "Out of time: automated lip sync in the wild" (2016): clips have 25 frames
per second, each frame a face and what is around it. A positive offset means that the sound is early.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from latentsync.errors import MeasureError
from latentsync.media.stream import batched
from latentsync.models.syncnet_v2 import COLUMNS, DIM, FRAMES, SIZE, SyncNetV2

from .mfcc import mfcc

MAX_OFFSET = 15  # frames, either way
SAMPLES_PER_FRAME = 640
COLUMNS_PER_FRAME = 4
LEAST_FRAMES = FRAMES + 1  # a window, and the frame after it, in which its last MFCC ends


@dataclass(frozen=True)
class SyncDistance:
    """Of one clip."""

    by_offset: Tensor  # (2 m + 1,) mean distance if the sound were early by -m...m frames
    offset: int  # frames by which the sound is early: where the distance is least
    distance: float  # there
    confidence: float  # the median over the offsets, less the distance


def score_clip(
    network: SyncNetV2,
    frames: Iterable[np.ndarray],
    samples: np.ndarray,
    *,
    max_offset: int = MAX_OFFSET,
    batch: int = 16,
    name: str | Path = "the clip",
) -> SyncDistance:
    """Offset and confidence of a clip whose pictures pass by once, `batch` of them in memory.

    Args:
        frames: (h, w, 3) uint8 RGB each, of any size, at 25 per second.
        samples: (n,) mono at 16 kHz, int16 or float32 in [-1, 1), from the first frame's begin on.
        name: the clip's, for errors.

    What is longer, pictures or sound, is cut. Raises MeasureError for fewer than six frames with their sound.
    """
    heard = len(samples) // SAMPLES_PER_FRAME
    frames = islice(frames, heard)
    first = list(islice(frames, LEAST_FRAMES))
    if len(first) < LEAST_FRAMES:
        what = f"{len(first)} frames" if len(first) < heard else f"sound for {heard}"
        raise MeasureError(f"{name}: expected {LEAST_FRAMES} frames with sound or more, got {what}; use a longer clip")
    pictures = embed_pictures(network, chain(first, frames), batch=batch)
    sounds = embed_sound(network, samples[: (len(pictures) + FRAMES - 1) * SAMPLES_PER_FRAME], batch=batch)
    return sync_distance(pictures[: len(sounds)], sounds, max_offset)


@torch.inference_mode()
def embed_pictures(network: SyncNetV2, frames: Iterable[np.ndarray], *, batch: int = 16) -> Tensor:
    """Vectors (n - 4, 1024) float32 of the windows that start at each of n frames (h, w, 3) uint8 RGB."""
    device = next(network.parameters()).device
    vectors = [torch.empty(0, DIM, device=device)]
    # One for all batches: new ones between vectors that stay can leave a heap of holes, half a megabyte for each frame.
    window = torch.empty(1, 3, batch + FRAMES - 1, SIZE, SIZE, device=device)
    for pictures in _overlapping(map(_picture, frames), batch):
        clip = torch.from_numpy(np.stack(pictures)).to(device)
        shown = window[:, :, : len(clip)].copy_(rearrange(clip, "f h w c -> 1 c f h w"))
        vectors.append(network.encode_lips(shown))
    return torch.cat(vectors)


@torch.inference_mode()
def embed_sound(network: SyncNetV2, samples: np.ndarray, *, batch: int = 16) -> Tensor:
    """Vectors (n - 5, 1024) float32 of the sound (640 n,) of n > 5 frames, for the window at each of them.

    The sound of a last one would be complete only 15 ms later.
    """
    device = next(network.parameters()).device
    windows = torch.from_numpy(mfcc(samples)).unfold(0, COLUMNS, COLUMNS_PER_FRAME)[:, None]  # (n - 5, 1, 13, 20)
    return torch.cat([network.encode_sound(some.to(device)) for some in windows.split(batch)])


def _picture(frame: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> (224, 224, 3) uint8, blue first."""
    return cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)[..., ::-1]


def _overlapping(frames: Iterable[np.ndarray], batch: int) -> Iterator[list[np.ndarray]]:
    """Lists of at most `batch` + 4 frames that share four, so that each window of five lies in one of them."""
    held: list[np.ndarray] = []
    for more in batched(frames, batch):
        held = [*held[1 - FRAMES :], *more]
        if len(held) >= FRAMES:
            yield held


def distance_by_offset(pictures: Tensor, sounds: Tensor, max_offset: int = MAX_OFFSET) -> Tensor:
    """Distances (2 m + 1, n) of window i of the pictures and window i - offset of the sound, offsets -m...m.

    `pictures`, `sounds`: (n, d) vectors of consecutive windows. Beyond the clip's ends sound has the vector 0.
    """
    padded = F.pad(sounds, (0, 0, max_offset, max_offset))
    starts = range(2 * max_offset, -1, -1)
    return torch.stack([F.pairwise_distance(pictures, padded[start : start + len(pictures)]) for start in starts])


def sync_distance(pictures: Tensor, sounds: Tensor, max_offset: int = MAX_OFFSET) -> SyncDistance:
    """Offset and confidence from the vectors (n, d) of all windows of a clip."""
    by_offset = distance_by_offset(pictures, sounds, max_offset).mean(dim=1)
    best = len(by_offset) - 1 - int(by_offset.flip(0).argmin())  # of equals the greatest offset, as the public measure
    least = float(by_offset[best])
    return SyncDistance(by_offset, best - max_offset, least, float(by_offset.median()) - least)
