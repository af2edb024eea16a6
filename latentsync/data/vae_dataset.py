"""The VAE's samples: pieces of frames, in part masked as in the U-Net's input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .augment import mirror, relight, roughen
from .clips import TrainingClip
from .draws import clip_of, numpy_generator
from .frames import read_frames
from .windows import Needs

#: Where aligned frames have the mouth, however far it opens: rows and columns, as shares of the side.
MOUTH = ((9 / 16, 13 / 16), (9 / 32, 23 / 32))

NEEDS = Needs(num_frames=1, frames=1)  # of `VAEDataset`, for `prepare`


def mouth_box(resolution: int) -> tuple[slice, slice]:
    """Rows and columns of the mouth in aligned frames."""
    return tuple(slice(round(a * resolution), round(b * resolution)) for a, b in MOUTH)


def crop_start(rng: np.random.Generator, side: int, crop: int, part: slice | None = None) -> int:
    """Where a crop of `side` pixels starts, at random; so that it holds `part`, or lies in it where that is larger."""
    first, last = 0, side - crop
    if part is not None:
        first, last = np.clip(sorted((part.stop - crop, part.start)), first, last)
    return int(rng.integers(first, last + 1))


class VAEDataset(Dataset[dict[str, Any]]):
    """Samples by global number, each a function of seed and number alone.

    A sample:
        frames: (3, c, c) uint8 RGB.
        mask: (1, c, c) float32, 1 = keep, 0 = generate; 1 everywhere unless the crop is masked.
        number: int.

    Args:
        clips: prepared with `NEEDS` and `frames_per_clip` cached frames.
        mask: (1, r, r), of whole frames.
        crop: c, in pixels.
        mouth_crops, masked_crops: shares of the samples.
        augment: change pictures as `mirror`, `relight` and `roughen` do.

    `__getitem__` raises MediaError for a clip whose frames cannot be read any more.
    """

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        mask: Tensor,
        *,
        frames_per_clip: int,
        crop: int,
        mouth_crops: float,
        masked_crops: float,
        augment: bool,
        seed: int,
    ) -> None:
        if not clips or any(clip.frames is None for clip in clips):
            raise ValueError("expected clips that were prepared with frames")
        self.clips, self.mask, self.seed = clips, mask, seed
        self.resolution, self.frames_per_clip, self.crop = mask.shape[-1], frames_per_clip, crop
        self.mouth_crops, self.masked_crops, self.augment = mouth_crops, masked_crops, augment

    def clip(self, number: int) -> TrainingClip:
        return self.clips[clip_of(number, len(self.clips), self.seed)]

    def frame(self, clip: TrainingClip, index: int) -> Tensor:
        """The cached frame of that number, counted round and round: (3, r, r) uint8 RGB."""
        return read_frames(clip, [index % min(self.frames_per_clip, clip.n_frames)], self.resolution)[0]

    def __getitem__(self, number: int) -> dict[str, Any]:
        clip = self.clip(number)
        rng = numpy_generator(self.seed, number, "crop")
        frame = self.frame(clip, int(rng.integers(self.frames_per_clip)))
        parts = mouth_box(self.resolution) if rng.random() < self.mouth_crops else (None, None)
        starts = [crop_start(rng, self.resolution, self.crop, part) for part in parts]
        piece = (..., *(slice(start, start + self.crop) for start in starts))
        mask = self.mask[piece]
        if rng.random() >= self.masked_crops:
            mask = torch.ones_like(mask)
        if self.augment:
            rng = numpy_generator(self.seed, number, "augmentation")
            frame = mirror(frame, rng)  # whole: the mask stays where it is
            frames = roughen(relight(frame[piece][None], rng), rng)
        else:
            frames = frame[piece][None]
        return {"frames": frames[0].contiguous(), "mask": mask.clone(), "number": number}
