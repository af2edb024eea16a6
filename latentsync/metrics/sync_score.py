"""How well pictures and sound of a clip agree, and by how much they are apart, as a SyncNet sees it.

After Chung & Zisserman, "Out of time: automated lip sync in the wild" (2016), with StableSyncNet's similarity, which
lies in [0, 1]. A positive offset means that the sound is early, as in their program.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MAX_OFFSET = 15  # frames, either way

#: Windows of frames (n, f, 3, h, w) uint8 -> what the network's picture side takes.
Pictures = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SyncScore:
    """Of one clip."""

    by_offset: Tensor  # (2 m + 1,) mean similarity if the sound were early by -m...m frames
    offset: int  # frames by which the sound is early: where the similarity is greatest
    confidence: float  # similarity there, less the median over the offsets


@torch.inference_mode()
def embed_windows(
    syncnet: nn.Module, frames: Tensor, mels: Tensor, pictures: Pictures, *, batch: int = 32, every: int = 1
) -> tuple[Tensor, Tensor]:
    """Unit vectors of the pictures (ceil(n / every), d) and of the sound (n, d) of the windows of a clip.

    Args:
        frames: (n + f - 1, 3, h, w) uint8; they become numbers only when a window is looked at.
        mels: (n, 1, 80, w) float32, the sound of the window that starts at each frame.
        every: only the pictures of every such window are looked at, which is most of the work.
    """
    weight = next(syncnet.parameters())
    length = len(frames) - len(mels) + 1
    vision = []
    for starts in torch.arange(0, len(mels), every).split(batch):
        windows = torch.stack([frames[s : s + length] for s in starts.tolist()])
        vision.append(syncnet.encode_visual(pictures(windows.to(weight.device)).to(weight.dtype)).float())
    audio = [syncnet.encode_audio(part.to(weight)).float() for part in mels.split(batch)]
    return torch.cat(vision), torch.cat(audio)


def similarity_by_offset(vision: Tensor, audio: Tensor, max_offset: int = MAX_OFFSET, *, every: int = 1) -> Tensor:
    """Mean similarity (2 m + 1,) of window i of the pictures and window i - offset of the sound, offsets -m...m.

    `vision` (ceil(n / every), d), `audio` (n, d): unit vectors of every such, and of all windows. An offset that no
    pair of windows has is NaN.
    """
    similarity = vision @ audio.T
    windows = torch.arange(len(vision), device=vision.device) * every

    def mean(offset: int) -> Tensor:
        heard = windows - offset
        there = (heard >= 0) & (heard < len(audio))
        return similarity[there].gather(1, heard[there, None]).mean()

    return torch.stack([mean(offset) for offset in range(-max_offset, max_offset + 1)])


def sync_score(vision: Tensor, audio: Tensor, max_offset: int = MAX_OFFSET, *, every: int = 1) -> SyncScore:
    """Offset and confidence from the unit vectors of the windows, as for `similarity_by_offset`."""
    by_offset = similarity_by_offset(vision, audio, max_offset, every=every)
    best = int(by_offset.nan_to_num(-1).argmax())
    return SyncScore(by_offset, best - max_offset, float(by_offset[best] - by_offset.nanmedian()))
