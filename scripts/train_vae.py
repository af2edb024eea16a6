"""Train a VAE, on one device or, under torchrun, on several.

python -m scripts.train_vae data.train_data_dir=data/crops data.val_data_dir=data/held_out
python -m scripts.export_vae debug/vae/train-<date>-<time> --out checkpoints/demo/vae
"""

import sys
from pathlib import Path

import torch

from latentsync import REPO_ROOT, dist
from latentsync.build import build_lpips, cache_folder, choose_device, choose_dtype, vgg_file
from latentsync.checkpoint import load_module, load_state
from latentsync.config import model_config, resolve_path
from latentsync.data.vae_dataset import NEEDS
from latentsync.face.mask import fixed_mask
from latentsync.models.vae import TrainableVAE, vae_arguments
from latentsync.schema import VAEConfig
from latentsync.train.loop import train
from latentsync.train.run import listed_clips, open_run, plan_of, precision_of, prepared_clips
from latentsync.train.vae import VAETask
from scripts.training_command import training_command

DEFAULT_CONFIG = REPO_ROOT / "configs/vae/demo.yaml"


def make_model(cfg: VAEConfig) -> tuple[TrainableVAE, int]:
    """A network on the CPU, from seeded random weights or `ckpt.resume_ckpt_path`, and the steps behind it."""
    torch.manual_seed(cfg.run.seed)
    model = TrainableVAE(**vae_arguments(**model_config(cfg)))
    if cfg.run.enable_gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if not cfg.ckpt.resume_ckpt_path:
        return model, 0
    checkpoint = load_state(resolve_path(cfg.ckpt.resume_ckpt_path))
    load_module(model, checkpoint)
    return model, checkpoint.step


def run(cfg: VAEConfig, *, run_dir: Path | None = None, device: str = "auto") -> Path:
    """Train as configured; returns the run's folder. Raises LatentSyncError."""
    place = dist.local_device(choose_device(device))
    with dist.process_group(place):
        listed = listed_clips(cfg)
        mask = fixed_mask(cfg.data.resolution, cfg.data.mask_image_path)
        if cfg.run.perceptual_loss_weight:
            vgg_file(cfg.ckpt.vgg_path)  # what is missing shows before the clips are read
        folder = open_run(cfg, run_dir)
        model, first_step = make_model(cfg)
        clips, held_out = prepared_clips(cfg, listed, folder, NEEDS, cache=cache_folder() / "training")
        perceptual = build_lpips(cfg.ckpt.vgg_path, place).of_whole if cfg.run.perceptual_loss_weight else None
        model.to(place)  # not channels-last, which takes a CPU half as long again for widths as small as the demo's
        task = VAETask(cfg, model, mask, clips, held_out, perceptual=perceptual)
        plan = plan_of(cfg, len(clips), precision_of(cfg, choose_dtype("auto", place)))
        train(task, plan, folder, place, first_step=first_step)
    return folder


def main() -> int:
    description = __doc__.splitlines()[0]
    return training_command("train_vae", description, "--config_path", DEFAULT_CONFIG, VAEConfig, run)


if __name__ == "__main__":
    sys.exit(main())
