"""Train the denoising U-Net, on one device or, under torchrun, on several.

python -m scripts.train_unet --unet_config_path configs/unet/stage1.yaml data.train_data_dir=data/crops
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn

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
from latentsync.data.clips import TrainingClip
from latentsync.data.latents import LatentEncoder
from latentsync.errors import ConfigError
from latentsync.face.mask import fixed_mask
from latentsync.losses.terms import SyncLoss
from latentsync.models.syncnet import SyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.schema import SyncNetConfig, UNetConfig
from latentsync.train.loop import train
from latentsync.train.run import listed_clips, open_run, plan_of, precision_of, prepared_clips
from latentsync.train.sync_judge import SyncJudge
from latentsync.train.unet import Supervision, UNetTask, freeze
from latentsync.train.video import ValidationVideo
from latentsync.whisper.audio2feature import Audio2Feature
from scripts.training_command import training_command

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
    return model


def supervising_syncnet(cfg: UNetConfig) -> SyncNetConfig | None:
    """The configuration of the SyncNet among the losses; None where that loss is off.

    Raises ConfigError where it looks at other clips, or at something else than the losses see.
    """
    run = cfg.run
    if not (run.use_syncnet and run.sync_loss_weight and cfg.model.add_audio_layer):
        return None
    syncnet = load_config(SyncNetConfig, resolve_path(cfg.data.syncnet_config_path))
    if syncnet.data.num_frames != cfg.data.num_frames or syncnet.data.latent_space == run.pixel_space_supervise:
        kind = "pixels" if run.pixel_space_supervise else "latents"
        raise ConfigError(
            f"{cfg.data.syncnet_config_path}: expected a SyncNet of {cfg.data.num_frames} frames of {kind}; name one "
            "by data.syncnet_config_path, or train without it by run.use_syncnet=false"
        )
    return syncnet


def check_supervision(cfg: UNetConfig) -> None:
    """Raise CheckpointError or ConfigError, before anything large is read, where a loss lacks its weights."""
    if cfg.run.pixel_space_supervise and cfg.run.perceptual_loss_weight:
        vgg_file(cfg.ckpt.vgg_path)
    if cfg.run.pixel_space_supervise and cfg.run.trepa_loss_weight:
        videomae_file(cfg.ckpt.trepa_path)
    if syncnet := supervising_syncnet(cfg):
        syncnet_file(syncnet)


def make_supervision(
    cfg: UNetConfig,
    *,
    syncnet: Callable[..., SyncNet],
    perceptual: Callable[[], nn.Module],
    temporal: Callable[[], nn.Module],
) -> Supervision:
    """The losses of estimated frames that are on.

    The arguments make the networks, and are called for those losses only; `syncnet` is given its configuration and
    the keyword `gradient_checkpointing`.
    """
    pixels, sync = cfg.run.pixel_space_supervise, None
    if syncnet_cfg := supervising_syncnet(cfg):
        sync = SyncLoss(
            syncnet(syncnet_cfg, gradient_checkpointing=True),
            resolution=syncnet_cfg.data.resolution,
            lower_half=syncnet_cfg.data.lower_half,
            latent_space=syncnet_cfg.data.latent_space,
        )
    return Supervision(
        perceptual=perceptual() if pixels and cfg.run.perceptual_loss_weight else None,
        temporal=temporal() if pixels and cfg.run.trepa_loss_weight else None,
        sync=sync,
    )


def make_task(
    cfg: UNetConfig,
    model: UNet3DConditionModel,
    vae: AutoencoderKL,
    supervision: Supervision,
    clips: Sequence[TrainingClip],
    held_out: Sequence[TrainingClip] = (),
    make_video: ValidationVideo | None = None,
) -> UNetTask:
    """The task of ready networks. Their backward passes compute again what would fill the memory."""
    if cfg.run.enable_gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if cfg.run.pixel_space_supervise:
        vae.enable_gradient_checkpointing()
    return UNetTask(
        cfg,
        model,
        vae,
        build_scheduler(),
        fixed_mask(cfg.data.resolution, cfg.data.mask_image_path),
        clips,
        held_out,
        supervision=supervision,
        make_video=make_video,
    )


def run(cfg: UNetConfig, *, run_dir: Path | None = None, device: str = "auto") -> Path:
    """Train as configured; returns the run's folder. Raises LatentSyncError."""
    place = dist.local_device(choose_device(device))
    fastest = choose_dtype("auto", place)
    with dist.process_group(place):
        precision = precision_of(cfg, fastest)
        frozen_dtype = precision or torch.float32
        listed = listed_clips(cfg)
        check_supervision(cfg)
        start = load_state(resolve_path(cfg.ckpt.resume_ckpt_path)) if cfg.ckpt.resume_ckpt_path else None
        audio_encoder = Audio2Feature(whisper_path(cfg), place, audio_feat_length=cfg.data.audio_feat_length)
        if cfg.model.add_audio_layer:
            check_audio_width(cfg, audio_encoder)
        vae = build_vae(resolve_path(cfg.ckpt.vae_path), device=place, dtype=frozen_dtype)
        folder = open_run(cfg, run_dir)
        model = make_model(cfg, start).to(place)
        supervision = make_supervision(
            cfg,
            syncnet=partial(build_syncnet, device=place, dtype=frozen_dtype),
            perceptual=partial(build_lpips, cfg.ckpt.vgg_path, place),
            temporal=partial(build_temporal_loss, cfg.ckpt.trepa_path, place, frozen_dtype),
        )
        needs = unet_dataset.needs(cfg.data.num_frames)
        cache = cache_folder() / "training"
        mask = fixed_mask(cfg.data.resolution, cfg.data.mask_image_path)
        latents = LatentEncoder(vae, mask) if cfg.data.cache_latents else None
        clips, held_out = prepared_clips(cfg, listed, folder, needs, cache=cache, audio=audio_encoder, latents=latents)
        make_video = None
        if cfg.data.val_video_path:
            parts = {"vae": vae, "audio_encoder": audio_encoder, "scheduler": build_scheduler(cfg.run.timestep_spacing)}
            judge = SyncJudge.of(supervision.sync, cfg.data.num_frames) if supervision.sync else None
            make_video = ValidationVideo(cfg, parts, dtype=fastest, judge=judge)
        task = make_task(cfg, model, vae, supervision, clips, held_out, make_video)
        train(task, plan_of(cfg, len(clips), precision), folder, place, first_step=start.step if start else 0)
    return folder


def main() -> int:
    description = __doc__.splitlines()[0]
    return training_command("train_unet", description, "--unet_config_path", DEFAULT_CONFIG, UNetConfig, run)


if __name__ == "__main__":
    sys.exit(main())
