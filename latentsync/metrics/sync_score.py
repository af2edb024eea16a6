"""How well pictures and sound of a clip agree, and by how much they are apart, as a SyncNet sees it.

After Chung & Zisserman, "Out of time: automated lip sync in the wild" (2016), with StableSyncNet's similarity, which
lies in [0, 1]. A positive offset means that the sound is early, as in their program. Pictures pass by once; of a window
only its vector is kept.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.media.stream import batched

MAX_OFFSET = 15  # frames, either way
IN_SYNC = 0.5  # similarity above which a SyncNet says that pictures and sound belong together

#: Windows of frames (n, f, 3, h, w) uint8 -> what the network's picture side takes.
Pictures = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SyncScore:
    """Of one clip."""

    by_offset: Tensor  # (2 m + 1,) mean similarity if the sound were early by -m...m frames; nan where unknown
    called: Tensor  # (2 m + 1,) share of these windows that the SyncNet calls in sync
    offset: int  # frames by which the sound is early: where the similarity is greatest
    confidence: float  # similarity there, less the median over the offsets

    @property
    def distance(self) -> float:
        """One less the similarity at the offset, 0 to 1."""
        return 1 - float(self.by_offset.nan_to_num(-1).max())

    @property
    def confidence_at_0(self) -> float:
        """The confidence of the clip as it is, whatever offset were better; negative if it is worse than most."""
        return float(self.by_offset[len(self.by_offset) // 2] - self.by_offset.nanmedian())

    def accuracy(self, min_distance: int) -> float:
        """How often the SyncNet is right, 0 to 1: half of it about windows as they are, which it should call in sync,
        half about windows with the sound of `min_distance` frames or more before or after, which it should not.
        """
        middle = len(self.by_offset) // 2
        apart = torch.cat([self.called[: middle - min_distance + 1], self.called[middle + min_distance :]])
        return float(self.called[middle] + 1 - apart.nanmean()) / 2


@torch.inference_mode()
def embed_pictures(
    syncnet: nn.Module,
    frames: Iterable[Tensor | None],
    length: int,
    pictures: Pictures,
    *,
    batch: int = 32,
    every: int = 1,
) -> tuple[Tensor, Tensor]:
    """Unit vectors (n, d) float32 of windows of `length` frames, and the numbers (n,) of their first frames.

    Args:
        frames: (3, h, w) uint8 each, None where there is no face: windows with such frames are left out.
        every: only every such window is looked at, which is most of the work.
    """
    weight = next(syncnet.parameters())
    starts: list[int] = []

    def windows() -> Iterable[Tensor]:
        recent: deque[Tensor | None] = deque(maxlen=length)
        for start, frame in enumerate(frames, 1 - length):
            recent.append(frame)
            if start >= 0 and start % every == 0 and not any(shown is None for shown in recent):
                starts.append(start)
                yield torch.stack(list(recent))

    vectors = [
        syncnet.encode_visual(pictures(torch.stack(some).to(weight.device)).to(weight.dtype)).float()
        for some in batched(windows(), batch)
    ]
    return torch.cat(vectors) if vectors else torch.empty(0, 0), torch.tensor(starts, dtype=torch.long)


@torch.inference_mode()
def embed_sounds(syncnet: nn.Module, mels: Iterable[np.ndarray], *, batch: int = 32) -> Tensor:
    """Unit vectors (n, d) float32 of the sound (1, 80, w) float32 of windows."""
    weight = next(syncnet.parameters())
    return torch.cat(
        [syncnet.encode_audio(torch.from_numpy(np.stack(some)).to(weight)).float() for some in batched(mels, batch)]
    )


def similarities(vision: Tensor, audio: Tensor, starts: Tensor, max_offset: int = MAX_OFFSET) -> list[Tensor]:
    """For each offset -m...m the similarity (k,) of windows of pictures with the sound that many frames before.

    `vision` (n, d): unit vectors of the windows that begin at frames `starts` (n,); `audio` (k, d): of the sound of
    the windows at frames 0...k.
    """
    starts = starts.to(vision.device)

    def similarity(offset: int) -> Tensor:
        heard = starts - offset
        there = (heard >= 0) & (heard < len(audio))
        return (vision[there] * audio[heard[there]]).sum(dim=1)

    return [similarity(offset) for offset in range(-max_offset, max_offset + 1)]


def sync_score(vision: Tensor, audio: Tensor, starts: Tensor, max_offset: int = MAX_OFFSET) -> SyncScore:
    """Offset and confidence from the unit vectors of at least one window, as for `similarities`."""
    found = similarities(vision, audio, starts, max_offset)
    by_offset = torch.stack([similarity.mean() for similarity in found]).cpu()
    called = torch.stack([(similarity > IN_SYNC).float().mean() for similarity in found]).cpu()
    best = int(by_offset.nan_to_num(-1).argmax())
    return SyncScore(by_offset, called, best - max_offset, float(by_offset[best] - by_offset.nanmedian()))
