"""A SyncNet of three levels for two frames (b, 6, 8, 16) and mel (b, 1, 80, 8)."""

import torch
from torch import Tensor

from latentsync.models.syncnet import StableSyncNet

TINY = {
    "visual_encoder": {
        "in_channels": 6,
        "block_out_channels": [32, 32, 64, 128],
        "downsample_factors": [[1, 2], 2, 2, 2],
        "attn_blocks": [0, 1, 0, 0],
    },
    "audio_encoder": {
        "in_channels": 1,
        "block_out_channels": [32, 32, 128],
        "downsample_factors": [[4, 2], [4, 2], [5, 2]],
    },
}


def tiny_syncnet(**settings) -> StableSyncNet:
    torch.manual_seed(0)
    return StableSyncNet(**TINY, **settings).eval()


def windows(b: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Pictures (b, 6, 8, 16) and mel windows (b, 1, 80, 8)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, 6, 8, 16, generator=generator), torch.randn(b, 1, 80, 8, generator=generator)
