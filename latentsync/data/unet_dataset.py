"""The U-Net's samples: frames to make, others of the same person, and the sound."""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import MediaError
from ..whisper.audio2feature import window_indices
from .clips import TrainingClip
from .draws import clip_of, numpy_generator
from .frames import read_frames
from .inspection import FPS
from .latents import MASKED, WHOLE
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
        masked: as target, to be masked; only with `counterfactual`, else it is the target.
        reference: as target, others of the same clip, at least `num_frames` away, or with `counterfactual` the
            counterparts of the target.
        audio: (f, s, d) float16, the target's tokens.
        mel: (1, 80, W) float32, the target's; only with `with_mel`.
        number, start: int; the first frame of the target.

    With `latents` there are always target, masked and reference, each (f, 2, 4, r / 8, r / 8) float16: mean and
    deviation of scaled latents; and `pictures` are the target as above, where they are asked for.

    Args:
        clips: prepared with `needs(num_frames)` and Whisper's features.
        audio_feat_length: frames of context before and after.
        counterfactual: NAME.mp4 and NAME.other.mp4 show the same person in the same movement with different mouths
            and sounds. What the U-Net is given to make frames of one are then the same frames of the other, as it is
            when a video gets new sound. Clips without a counterpart stay as they are.
        latents: read those that the clips were prepared with, not frames.
        pictures: with latents, too.

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
        counterfactual: bool = False,
        latents: bool = False,
        pictures: bool = False,
    ) -> None:
        if not clips or any(clip.features is None for clip in clips):
            raise ValueError("expected clips that were prepared with Whisper's features")
        self.clips, self.seed = clips, seed
        self.num_frames, self.resolution = num_frames, resolution
        self.audio_feat_length, self.with_mel = tuple(audio_feat_length), with_mel
        self.latents, self.pictures = latents, pictures
        self.counterfactual = counterfactual
        self.counterparts = counterparts(clips) if counterfactual else {}

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
        start, far = self.starts(number, clip, mel.shape[1])
        features = np.load(clip.features, mmap_mode="r")
        sample = self._given(clip, start, far) | {
            "audio": audio_tokens(features, start, self.num_frames, self.audio_feat_length),
            "number": number,
            "start": start,
        }
        if self.with_mel:
            sample["mel"] = torch.from_numpy(mel_window(mel, start, self.num_frames))
        return sample

    def _given(self, clip: TrainingClip, start: int, far: int) -> dict[str, Tensor]:
        """Target, masked and reference, which starts at `far` where the clip has no counterpart."""
        other = self.counterparts.get(clip.clip.key)
        target, distant = (range(first, first + self.num_frames) for first in (start, far))
        if self.latents:
            read = partial(_read_latents, of=WHOLE)
            given = {"masked": _read_latents(other or clip, target, of=MASKED)}
        else:
            read = partial(read_frames, resolution=self.resolution)
            given = {"masked": read(other or clip, target)} if self.counterfactual else {}
        if self.latents and self.pictures:
            given["pictures"] = read_frames(clip, target, self.resolution)
        if other:
            return given | {"target": read(clip, target), "reference": read(other, target)}
        both = read(clip, [*target, *distant])  # at once: opening a clip takes longer than reading of it
        return given | {"target": both[: self.num_frames].clone(), "reference": both[self.num_frames :].clone()}


def counterparts(clips: Sequence[TrainingClip]) -> dict[str, TrainingClip]:
    """Of each clip, by its key: the one with the same frames and another mouth, where both are given."""
    by_key = {clip.clip.key: clip for clip in clips}
    pairs = ((by_key.get(f"{key.removesuffix('.other.mp4')}.mp4"), clip) for key, clip in by_key.items())
    found = [(a, b) for a, b in pairs if a and a is not b and a.n_frames == b.n_frames]
    return {a.clip.key: b for a, b in found} | {b.clip.key: a for a, b in found}


def _read_latents(clip: TrainingClip, indices: Sequence[int], *, of: int) -> Tensor:
    """(n, 2, 4, h, w) float16. Raises MediaError."""
    try:
        return torch.from_numpy(np.load(clip.latents, mmap_mode="r")[list(indices), of])
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise MediaError(
            f"{clip.clip.path}: its cached latents {clip.latents} cannot be read ({error}); start again to make them"
        ) from error
