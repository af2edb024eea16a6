"""A StableSyncNet as a judge of aligned faces and their sound."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..data.mel import frames_covered, mel_spectrogram, mel_window
from ..diffusion import latents as lat
from ..losses.terms import SyncLoss, lower_half
from ..media.ffmpeg import decode_audio
from ..metrics.sync_score import SyncScore, embed_windows, sync_score


@dataclass(frozen=True)
class SyncJudge:
    """A SyncNet that measures what was generated. It may be the one that supervises: then it is no neutral judge."""

    network: torch.nn.Module
    num_frames: int
    resolution: int
    lower_half: bool

    def pictures(self, windows: Tensor) -> Tensor:
        """(n, f, 3, h, w) uint8 -> (n, f 3, h, w) in [-1, 1]."""
        pixels = lat.to_pixel_values(windows)
        return rearrange(lower_half(pixels) if self.lower_half else pixels, "n f c h w -> n (f c) h w")

    @torch.inference_mode()
    def score(self, faces: Tensor, sound: Path, *, every: int = 1) -> SyncScore | None:
        """Of aligned faces (f, 3, h, w) uint8 at 25 frames/s, by every such window of them.

        None for too few to tell an offset. Raises MediaError.
        """
        with TemporaryDirectory(prefix="latentsync-") as folder:
            mel = mel_spectrogram(decode_audio(sound, Path(folder)))
        length = self.num_frames
        last = min(len(faces) - length, frames_covered(mel.shape[1], length))
        if last < length:
            return None
        mels = np.stack([mel_window(mel, start, length) for start in range(last + 1)])
        frames = lat.resize_pictures(faces[: last + length], self.resolution)
        found = embed_windows(self.network, frames, torch.from_numpy(mels), self.pictures, every=every)
        return sync_score(*found, every=every)

    @classmethod
    def of(cls, loss: SyncLoss, num_frames: int) -> "SyncJudge | None":
        """The network of the sync loss; None for one that looks at latents."""
        return cls(loss.syncnet, num_frames, loss.size[0], loss.lower_half) if loss.size else None
