"""The U-Net's samples: frames to make, others of the same person, and the sound."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..whisper.audio2feature import window_indices
from .clips import TrainingClip
from .draws import clip_of, numpy_generator
from .frames import read_frames
from .inspection import FPS
from .mel import frames_covered, mel_window
from .windows import Needs, far_start


def needs(num_frames: int) -> Needs:
    """What `UNetDataset` asks of every clip, for `prepare`: beside any target there is room for a reference."""
    return Needs(num_frames, 3 * num_frames)


def audio_tokens(features: np.ndarray, start: int, num_frames: int, context: Sequence[int]) -> Tensor:
    """Tokens (f, s, d) of consecutive frames at 25 fps, of features (steps, layers + 1, d), in their dtype."""
    steps = [window_indices(start + i, Fraction(FPS), context, len(features)) for i in range(num_frames)]
    return torch.from_numpy(features[np.stack(steps)]).flatten(1, 2)


class UNetDataset(Dataset[dict[str, Any]]):
    """Samples by global number, each a function of seed and number alone.

    A sample, with f frames and resolution r:
        target: (f, 3, r, r) uint8 RGB, consecutive frames, all with sound.
        reference: (f, 3, r, r) uint8 RGB, others of the same clip, at least `num_frames` away.
        audio: (f, s, d) float16, the target's tokens.
        mel: (1, 80, W) float32, the target's; only with `with_mel`.
        number, start: int; the first frame of the target.

    Args:
        clips: prepared with `needs(num_frames)` and Whisper's features.
        audio_feat_length: frames of context before and after.

    `__getitem__` raises MediaError for a clip that cannot be read any more.
    """

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        *,
        num_frames: int,
        resolution: int,
        audio_feat_length: Sequence[int],
        with_mel: bool,
        seed: int,
    ) -> None:
        if not clips or any(clip.features is None for clip in clips):
            raise ValueError("expected clips that were prepared with Whisper's features")
        self.clips, self.seed = clips, seed
        self.num_frames, self.resolution = num_frames, resolution
        self.audio_feat_length, self.with_mel = tuple(audio_feat_length), with_mel

    def clip(self, number: int) -> TrainingClip:
        return self.clips[clip_of(number, len(self.clips), self.seed)]

    def starts(self, number: int, clip: TrainingClip, n_columns: int) -> tuple[int, int]:
        """The first frames of target and reference."""
        rng = numpy_generator(self.seed, number, "windows of the U-Net")
        last = clip.n_frames - self.num_frames
        target = int(rng.integers(min(last, frames_covered(n_columns, self.num_frames)) + 1))
        return target, far_start(rng, target, last, self.num_frames)

    def __getitem__(self, number: int) -> dict[str, Any]:
        clip = self.clip(number)
        mel = np.load(clip.mel, mmap_mode="r")
        target, reference = self.starts(number, clip, mel.shape[1])
        indices = [start + i for start in (target, reference) for i in range(self.num_frames)]
        frames = read_frames(clip, indices, self.resolution)
        features = np.load(clip.features, mmap_mode="r")
        sample = {
            "target": frames[: self.num_frames].clone(),
            "reference": frames[self.num_frames :].clone(),
            "audio": audio_tokens(features, target, self.num_frames, self.audio_feat_length),
            "number": number,
            "start": target,
        }
        if self.with_mel:
            sample["mel"] = torch.from_numpy(mel_window(mel, target, self.num_frames))
        return sample
