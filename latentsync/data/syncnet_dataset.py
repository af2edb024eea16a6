"""SyncNet's samples: frames and sound that belong together, or do not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch.utils.data import Dataset

from .augment import augment_frames, augment_mel
from .clips import TrainingClip
from .draws import clip_of, numpy_generator
from .frames import read_frames
from .mel import frames_covered, mel_window
from .windows import Needs, far_start, spread_starts


def needs(num_frames: int, windows: int = 1, min_distance: int = 5) -> Needs:
    """What `SyncNetDataset` asks of every clip, for `prepare`; one for several windows can also use one alone."""
    starts = (windows - 1) * min_distance + 1
    # So many starts that even the one in the middle has another one far enough away.
    return Needs(num_frames, num_frames - 1 + max(starts, 2 * min_distance), starts)


class SyncNetDataset(Dataset[dict[str, Any]]):
    """Samples by global number, each a function of seed and number alone.

    With one window a sample is labelled: even numbers are in sync; at odd ones the frames start at least
    `min_distance` frames from where the sound does. So labels are exactly balanced in every batch of even size,
    whichever rank has it, while clips meet both, as their order changes with every epoch. With more windows,
    which start at least `min_distance` apart in one clip, each window's frames belong to its own sound, and to
    no other's.

    A sample, with v windows of f frames:
        frames: (v, f, 3, h, w) uint8 RGB; h = w / 2 with `lower_half`.
        mel: (v, 1, 80, W) float32.
        label: () float32, 1 in sync, 0 not.
        number: int.
        start: (v,) int64, the frames at which the sound starts.

    Args:
        clips: prepared with `needs` of the same arguments.
        resolution: width of the frames in pixels.
        augment: change pictures and sound as `augment` says, alike in all windows of a sample.

    `__getitem__` raises MediaError for a clip that cannot be read any more.
    """

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        *,
        num_frames: int,
        resolution: int,
        lower_half: bool,
        seed: int,
        windows: int = 1,
        min_distance: int = 5,
        augment: bool = False,
    ) -> None:
        if not clips or windows < 1 or min_distance < 1:
            raise ValueError(
                f"expected clips, and windows and min_distance from 1 on, got {len(clips)}, {windows}, {min_distance}"
            )
        self.clips, self.seed = clips, seed
        self.num_frames, self.resolution, self.lower_half = num_frames, resolution, lower_half
        self.windows, self.min_distance = windows, min_distance
        self.augment = augment

    def clip(self, number: int) -> TrainingClip:
        return self.clips[clip_of(number, len(self.clips), self.seed)]

    def starts(self, number: int, clip: TrainingClip, n_columns: int) -> tuple[list[int], list[int]]:
        """The frames at which the windows of sound and of pictures start."""
        rng = numpy_generator(self.seed, number, "windows of SyncNet")
        last_picture = clip.n_frames - self.num_frames
        last = min(last_picture, frames_covered(n_columns, self.num_frames))
        heard = spread_starts(rng, self.windows, last, self.min_distance)
        if self.windows > 1 or number % 2 == 0:
            return heard, heard
        return heard, [far_start(rng, heard[0], last_picture, self.min_distance)]

    def __getitem__(self, number: int) -> dict[str, Any]:
        clip = self.clip(number)
        mel = np.load(clip.mel, mmap_mode="r")
        heard, seen = self.starts(number, clip, mel.shape[1])
        indices = [start + i for start in seen for i in range(self.num_frames)]
        frames = read_frames(clip, indices, self.resolution)
        if self.lower_half:
            frames = frames[:, :, self.resolution // 2 :]
        sound = torch.from_numpy(np.stack([mel_window(mel, start, self.num_frames) for start in heard]))
        if self.augment:
            rng = numpy_generator(self.seed, number, "augmentation")
            frames, sound = augment_frames(frames, rng), augment_mel(sound, rng)
        return {
            "frames": rearrange(frames, "(v f) c h w -> v f c h w", v=self.windows).contiguous(),
            "mel": sound,
            "label": torch.tensor(float(heard == seen)),
            "number": number,
            "start": torch.tensor(heard),
        }
