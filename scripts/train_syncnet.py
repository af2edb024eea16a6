"""Train a SyncNet, on one device or, under torchrun, on several.

python -m scripts.train_syncnet --config_path configs/syncnet/demo.yaml data.train_data_dir=data/crops
"""

import sys
from pathlib import Path

import torch

from latentsync import REPO_ROOT, dist
from latentsync.build import build_vae, cache_folder, choose_device, choose_dtype
from latentsync.checkpoint import load_module, load_state
from latentsync.config import model_config, resolve_path
from latentsync.data import syncnet_dataset
from latentsync.models.syncnet import StableSyncNet
from latentsync.schema import SyncNetConfig
from latentsync.train.loop import train
from latentsync.train.run import listed_clips, open_run, plan_of, precision_of, prepared_clips
from latentsync.train.syncnet import SyncNetTask
from scripts.training_command import training_command

DEFAULT_CONFIG = REPO_ROOT / "configs/syncnet/syncnet_16_pixel_attn.yaml"


def make_model(cfg: SyncNetConfig) -> tuple[StableSyncNet, int]:
    """A network on the CPU, from seeded random weights or `ckpt.resume_ckpt_path`, and the steps behind it."""
    torch.manual_seed(cfg.run.seed)
    model = StableSyncNet(**model_config(cfg), gradient_checkpointing=cfg.run.enable_gradient_checkpointing)
    if not cfg.ckpt.resume_ckpt_path:
        return model, 0
    checkpoint = load_state(resolve_path(cfg.ckpt.resume_ckpt_path))
    load_module(model, checkpoint)
    return model, checkpoint.step


def run(cfg: SyncNetConfig, *, run_dir: Path | None = None, device: str = "auto") -> Path:
    """Train as configured; returns the run's folder. Raises LatentSyncError."""
    place = dist.local_device(choose_device(device))
    fastest = choose_dtype("auto", place)
    with dist.process_group(place):
        listed = listed_clips(cfg)
        folder = open_run(cfg, run_dir)
        model, first_step = make_model(cfg)  # a file that does not fit shows before the clips are read
        vae = build_vae(resolve_path(cfg.ckpt.vae_path), device=place, dtype=fastest) if cfg.data.latent_space else None
        needs = syncnet_dataset.needs(cfg.data.num_frames, cfg.data.windows_per_clip, cfg.data.min_negative_distance)
        clips, held_out = prepared_clips(cfg, listed, folder, needs, cache=cache_folder() / "training")
        model.to(place)
        task = SyncNetTask(cfg, model, clips, held_out, vae=vae)
        plan = plan_of(cfg, len(clips), precision_of(cfg, fastest))
        train(task, plan, folder, place, first_step=first_step)
    return folder


def main() -> int:
    description = __doc__.splitlines()[0]
    return training_command("train_syncnet", description, "--config_path", DEFAULT_CONFIG, SyncNetConfig, run)


if __name__ == "__main__":
    sys.exit(main())
