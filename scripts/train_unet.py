"""Train the denoising U-Net, on one device or, under torchrun, on several.

python -m scripts.train_unet --unet_config_path configs/unet/stage1.yaml data.train_data_dir=data/crops
"""

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from latentsync import REPO_ROOT, dist
from latentsync.build import (
    build_lpips,
    build_scheduler,
    build_syncnet,
    build_temporal_loss,
    build_vae,
    cache_folder,
    check_audio_width,
    choose_device,
    choose_dtype,
    syncnet_file,
    vgg_file,
    videomae_file,
)
from latentsync.checkpoint import Checkpoint, initialise_from, load_state
from latentsync.config import load_config, model_config, resolve_path, whisper_path
from latentsync.data import unet_dataset
from latentsync.errors import ConfigError, LatentSyncError
from latentsync.face.mask import fixed_mask
from latentsync.losses.terms import SyncLoss
from latentsync.models.unet import UNet3DConditionModel
from latentsync.schema import SyncNetConfig, UNetConfig
from latentsync.train.loop import train
from latentsync.train.run import listed_clips, open_run, plan_of, precision_of, prepared_clips
from latentsync.train.unet import Supervision, UNetTask, freeze
from latentsync.train.video import SyncJudge, ValidationVideo
from latentsync.whisper.audio2feature import Audio2Feature
from scripts.parser import training_parser

DEFAULT_CONFIG = REPO_ROOT / "configs/unet/stage1_512.yaml"


def make_model(cfg: UNetConfig, start: Checkpoint | None) -> UNet3DConditionModel:
    """A network on the CPU, from seeded random weights or those of `ckpt.resume_ckpt_path`."""
    torch.manual_seed(cfg.run.seed)
    model = UNet3DConditionModel(**model_config(cfg))
    if start:
        initialise_from(model, start)
    freeze(model, cfg)
    if not (start or model.conv_out.weight.requires_grad):
        raise ConfigError(
            "ckpt.resume_ckpt_path is empty, and run.trainable_modules leaves conv_out at zero, where nothing learns; "
            "name weights to start from, or train everything by run.trainable_modules=[.]"
        )
    if cfg.run.enable_gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model


def supervisors(cfg: UNetConfig, device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[], torch.nn.Module]]:
    """What builds the network of each loss that is on, by its name in `Supervision`.

    Raises CheckpointError or ConfigError, before anything large is read, where one's weights are missing or it
    looks at other clips.
    """
    run, build = cfg.run, {}
    if run.pixel_space_supervise and run.perceptual_loss_weight:
        build["perceptual"] = partial(build_lpips, vgg_file(cfg.ckpt.vgg_path), device)
    if run.pixel_space_supervise and run.trepa_loss_weight:
        build["temporal"] = partial(build_temporal_loss, videomae_file(cfg.ckpt.trepa_path), device, dtype)
    if run.use_syncnet and run.sync_loss_weight and cfg.model.add_audio_layer:
        syncnet_cfg = load_config(SyncNetConfig, resolve_path(cfg.data.syncnet_config_path))
        if syncnet_cfg.data.latent_space or syncnet_cfg.data.num_frames != cfg.data.num_frames:
            raise ConfigError(
                f"{cfg.data.syncnet_config_path}: expected a SyncNet of {cfg.data.num_frames} frames of pixels; name "
                "one by data.syncnet_config_path, or train without it by run.use_syncnet=false"
            )
        build["sync"] = partial(build_sync_loss, syncnet_cfg, syncnet_file(syncnet_cfg), device, dtype)
    return build


def build_sync_loss(cfg: SyncNetConfig, path: Path, device: torch.device, dtype: torch.dtype) -> SyncLoss:
    network = build_syncnet(cfg, path, device=device, dtype=dtype, gradient_checkpointing=True)
    return SyncLoss(network, resolution=cfg.data.resolution, lower_half=cfg.data.lower_half)


def run(cfg: UNetConfig, *, run_dir: Path | None = None, device: str = "auto") -> Path:
    """Train as configured; returns the run's folder. Raises LatentSyncError."""
    place = dist.local_device(choose_device(device))
    fastest = choose_dtype("auto", place)
    with dist.process_group(place):
        precision = precision_of(cfg, fastest)
        frozen_dtype = precision or torch.float32
        listed = listed_clips(cfg)
        build = supervisors(cfg, place, frozen_dtype)
        start = load_state(resolve_path(cfg.ckpt.resume_ckpt_path)) if cfg.ckpt.resume_ckpt_path else None
        audio_encoder = Audio2Feature(whisper_path(cfg), place, audio_feat_length=cfg.data.audio_feat_length)
        if cfg.model.add_audio_layer:
            check_audio_width(cfg, audio_encoder)
        vae = build_vae(resolve_path(cfg.ckpt.vae_path), device=place, dtype=frozen_dtype)
        if cfg.run.enable_gradient_checkpointing:
            vae.enable_gradient_checkpointing()
        folder = open_run(cfg, run_dir)
        model = make_model(cfg, start).to(place)
        supervision = Supervision(**{name: make() for name, make in build.items()})
        needs = unet_dataset.needs(cfg.data.num_frames)
        cache = cache_folder() / "training"
        clips, held_out = prepared_clips(cfg, listed, folder, needs, cache=cache, audio=audio_encoder)
        scheduler = build_scheduler()
        judge = SyncJudge.of(supervision.sync, cfg.data.num_frames) if supervision.sync else None
        parts = {"vae": vae, "audio_encoder": audio_encoder, "scheduler": scheduler}
        task = UNetTask(
            cfg,
            model,
            vae,
            scheduler,
            fixed_mask(cfg.data.resolution, cfg.data.mask_image_path),
            clips,
            held_out,
            supervision=supervision,
            make_video=ValidationVideo(cfg, parts, dtype=fastest, judge=judge) if cfg.data.val_video_path else None,
        )
        train(task, plan_of(cfg, len(clips), precision), folder, place, first_step=start.step if start else 0)
    return folder


def main() -> int:
    args = training_parser("train_unet", __doc__.splitlines()[0], "--unet_config_path", DEFAULT_CONFIG).parse_args()
    logging.basicConfig(level=logging.INFO if dist.launched_first() else logging.ERROR, format="%(message)s")
    try:
        print(run(load_config(UNetConfig, args.config_path, args.overrides), run_dir=args.run_dir, device=args.device))
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
