"""How well pictures and sound of a clip agree, and by how much they are apart, as a SyncNet sees it.

After Chung & Zisserman, "Out of time: automated lip sync in the wild" (2016), with StableSyncNet's similarity, which
lies in [0, 1]. Clips keep their frames as uint8 until a window is looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MAX_SHIFT = 15  # frames

#: Windows of frames (n, f, 3, h, w) uint8 -> what the network's picture side takes.
Pictures = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SyncScore:
    """Of one clip."""

    shifts: Tensor  # (2 m + 1,) mean similarity, for shifts of -m...m frames
    offset: int  # frames by which the sound has to be read later to agree best
    confidence: float  # similarity there, less the median over the shifts


@torch.inference_mode()
def embed_windows(
    syncnet: nn.Module, frames: Tensor, mel: Tensor, starts: Tensor, pictures: Pictures, *, batch: int = 32
) -> tuple[Tensor, Tensor]:
    """Unit vectors (n, d) of the pictures and of the sound of the windows that start at `starts`.

    Args:
        frames: (t, 3, h, w) uint8.
        mel: (t, 1, 80, w) float32, the window of sound that belongs to each start.
        starts: (n,) integers.
    """
    weight = next(syncnet.parameters())
    length = len(frames) - len(mel) + 1
    vision, audio = [], []
    for part in starts.split(batch):
        windows = torch.stack([frames[s : s + length] for s in part.tolist()])
        vision.append(syncnet.encode_visual(pictures(windows.to(weight.device)).to(weight)).float())
        audio.append(syncnet.encode_audio(mel[part].to(weight)).float())
    return torch.cat(vision), torch.cat(audio)


def similarity_by_shift(vision: Tensor, audio: Tensor, max_shift: int = MAX_SHIFT) -> Tensor:
    """Mean similarity (2 m + 1,) of window i of the pictures and window i + shift of the sound, shifts -m...m.

    `vision`, `audio`: (n, d) unit vectors of consecutive windows. A shift that no pair of windows has is NaN.
    """
    similarity = vision @ audio.T
    return torch.stack([similarity.diagonal(shift).mean() for shift in range(-max_shift, max_shift + 1)])


def sync_score(vision: Tensor, audio: Tensor, max_shift: int = MAX_SHIFT) -> SyncScore:
    """Offset and confidence from the unit vectors (n, d) of all windows of a clip."""
    shifts = similarity_by_shift(vision, audio, max_shift)
    best = int(shifts.nan_to_num(-1).argmax())
    return SyncScore(shifts, best - max_shift, float(shifts[best] - shifts.nanmedian()))
