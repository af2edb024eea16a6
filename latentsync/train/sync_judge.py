"""A StableSyncNet as a judge of aligned faces and their sound."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from einops import rearrange
from torch import Tensor

from ..data.mel import frames_covered, mel_spectrogram, mel_window
from ..diffusion import latents as lat
from ..losses.terms import SyncLoss, lower_half
from ..media.ffmpeg import decode_audio
from ..metrics.sync_score import MAX_OFFSET, SyncScore, embed_pictures, embed_sounds, sync_score


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

    def score(self, faces: Iterable[Tensor | None], sound: Path, *, every: int = 1) -> SyncScore | None:
        """Of aligned faces (3, h, w) uint8 at 25 frames/s, None where there is none, by every such window of them.

        All of the faces are drawn, and pass by once. None for too few of them to tell an offset. Raises MediaError.
        """
        length = self.num_frames
        resized = (face if face is None else lat.resize_pictures(face[None], self.resolution)[0] for face in faces)
        vision, starts = embed_pictures(self.network, resized, length, self.pictures, every=every)
        with TemporaryDirectory(prefix="latentsync-") as folder:
            mel = mel_spectrogram(decode_audio(sound, Path(folder)))
        heard = frames_covered(mel.shape[1], length) + 1
        vision, starts = vision[starts < heard], starts[starts < heard]
        if len(starts) * every <= length:
            return None
        n_sounds = min(heard, int(starts[-1]) + MAX_OFFSET + 1)
        audio = embed_sounds(self.network, (mel_window(mel, start, length) for start in range(n_sounds)))
        return sync_score(vision, audio, starts)

    @classmethod
    def of(cls, loss: SyncLoss, num_frames: int) -> "SyncJudge | None":
        """The network of the sync loss; None for one that looks at latents."""
        return cls(loss.syncnet, num_frames, loss.size[0], loss.lower_half) if loss.size else None
