"""Shipped configurations at a fraction of their size, and clips without files of video."""

from pathlib import Path

import numpy as np
import torch
import yaml
from torch import nn

from latentsync import REPO_ROOT
from latentsync.config import load_config
from latentsync.data.clips import TrainingClip
from latentsync.schema import SyncNetConfig, UNetConfig
from latentsync.types import Clip
from scripts.make_seeded_checkpoints import seeded_state

FRAMES, SIDE = 4, 128  # at 128 pixels the U-Net's middle still has several cells that can attend to each other
AUDIO_WIDTH = 16

UNET = {
    "data": {"num_frames": FRAMES, "resolution": SIDE},
    "ckpt": {"whisper_path": "whisper.pt"},
    "model": {
        "cross_attention_dim": AUDIO_WIDTH,
        "block_out_channels": [32, 32, 32, 32],
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 8,  # of several channels each: a norm of one alone takes out the time embedding
        "motion_module_kwargs": {"num_attention_heads": 2},
    },
}
SYNCNET = {
    "data": {"num_frames": FRAMES, "resolution": SIDE, "batch_size": 2, "num_val_samples": 8, "num_val_clips": 2},
    "model": {
        "audio_encoder": {
            "block_out_channels": [32, 32, 128],
            "downsample_factors": [[4, 2], [4, 2], [5, 3]],
            "attn_blocks": [0, 0, 0],
        },
        "visual_encoder": {
            "in_channels": 3 * FRAMES,
            "block_out_channels": [32, 32, 128],
            "downsample_factors": [[4, 8], 4, 4],
            "attn_blocks": [0, 0, 0],
        },
    },
}


def write_config(path: Path, base: str, values: dict) -> Path:
    """A file with `values` over those of a shipped one, such as "unet/stage2"."""
    path.write_text(yaml.safe_dump({"base": str(REPO_ROOT / f"configs/{base}.yaml"), **values}))
    return path


def unet_config(folder: Path, name: str, *overrides: str) -> UNetConfig:
    return load_config(UNetConfig, write_config(folder / f"{name}.yaml", f"unet/{name}", UNET), overrides)


def syncnet_config(folder: Path, *overrides: str) -> SyncNetConfig:
    path = write_config(folder / "syncnet.yaml", "syncnet/syncnet_16_pixel", SYNCNET)
    return load_config(SyncNetConfig, path, overrides)


def fill(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every layer weights, also those that start at zero and would hide what lies behind them."""
    network.load_state_dict(seeded_state({key: value.shape for key, value in network.state_dict().items()}, seed))
    return network


def write_clips(folder: Path, n: int = 2, n_frames: int = 40, *, late: int = 0) -> list[TrainingClip]:
    """Clips as they are cached: frame i is grey level i, and column c of the mel is c, as it is in sync.

    The sound of frame i comes `late` frames after it. Whisper's features are noise.
    """
    rng, clips = np.random.default_rng(0), []
    for i in range(n):
        levels = np.arange(n_frames, dtype=np.uint8)[:, None, None, None]
        columns = np.arange(n_frames * 16 // 5 + 1, dtype=np.float32) - 3.2 * late
        paths = {kind: folder / f"{i}-late{late}-{kind}.npy" for kind in ("frames", "mel", "features")}
        np.save(paths["frames"], np.broadcast_to(levels, (n_frames, SIDE, SIDE, 3)))
        np.save(paths["mel"], np.broadcast_to(columns, (80, len(columns))))
        np.save(paths["features"], rng.normal(size=(2 * n_frames, 1, AUDIO_WIDTH)).astype(np.float16))
        clips.append(TrainingClip(Clip(f"{i}.mp4", folder / f"{i}.mp4"), n_frames, **paths))
    return clips


def random_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    """(..., 3, SIDE, SIDE) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (*shape, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
