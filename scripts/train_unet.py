"""Train the denoising U-Net, on one device or, under torchrun, on several.

python -m scripts.train_unet --unet_config_path configs/unet/stage1.yaml data.train_data_dir=data/crops
"""

import logging
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
    choose_device,
    choose_dtype,
)
from latentsync.checkpoint import initialise_from, load_state
from latentsync.config import load_config, model_config, resolve_path, whisper_path
from latentsync.data import unet_dataset
from latentsync.data.clips import TrainingClip
from latentsync.errors import ConfigError, LatentSyncError
from latentsync.face.mask import fixed_mask
from latentsync.losses.terms import SyncLoss
from latentsync.models.syncnet import SyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.schema import SyncNetConfig, UNetConfig
from latentsync.train.loop import train
from latentsync.train.run import open_run, plan_of, precision_of, prepared_clips
from latentsync.train.unet import Supervision, UNetTask, freeze
from latentsync.train.video import SyncJudge, ValidationVideo
from latentsync.whisper.audio2feature import Audio2Feature
from scripts.parser import training_parser

DEFAULT_CONFIG = REPO_ROOT / "configs/unet/stage1_512.yaml"


def make_model(cfg: UNetConfig) -> tuple[UNet3DConditionModel, int]:
    """A network on the CPU, from seeded random weights or `ckpt.resume_ckpt_path`, and the steps behind it."""
    torch.manual_seed(cfg.run.seed)
    model = UNet3DConditionModel(**model_config(cfg))
    step = 0
    if cfg.ckpt.resume_ckpt_path:
        checkpoint = load_state(resolve_path(cfg.ckpt.resume_ckpt_path))
        initialise_from(model, checkpoint)
        step = checkpoint.step
    freeze(model, cfg)
    if not (cfg.ckpt.resume_ckpt_path or model.conv_out.weight.requires_grad):
        raise ConfigError(
            "ckpt.resume_ckpt_path is empty, and run.trainable_modules leaves conv_out at zero, where nothing learns; "
            "name weights to start from, or train everything by run.trainable_modules=[.]"
        )
    return model, step


def make_supervision(
    cfg: UNetConfig,
    *,
    syncnet: Callable[..., SyncNet],
    perceptual: Callable[[], nn.Module],
    temporal: Callable[[], nn.Module],
) -> Supervision:
    """The losses of estimated frames that are on. Raises ConfigError where the SyncNet looks at something else.

    The arguments make the networks, and are called for those losses only; `syncnet` is given its configuration and
    the keyword `gradient_checkpointing`.
    """
    run, sync = cfg.run, None
    if run.use_syncnet and run.sync_loss_weight and cfg.model.add_audio_layer:
        syncnet_cfg = load_config(SyncNetConfig, resolve_path(cfg.data.syncnet_config_path))
        if syncnet_cfg.data.latent_space == run.pixel_space_supervise:
            raise ConfigError(
                f"{cfg.data.syncnet_config_path}: data.latent_space is {syncnet_cfg.data.latent_space}, so "
                f"run.pixel_space_supervise has to be {not syncnet_cfg.data.latent_space}; change one of them, or set "
                "run.use_syncnet to false"
            )
        sync = SyncLoss(
            syncnet(syncnet_cfg, gradient_checkpointing=True),
            resolution=syncnet_cfg.data.resolution,
            lower_half=syncnet_cfg.data.lower_half,
            latent_space=syncnet_cfg.data.latent_space,
        )
    pixels = run.pixel_space_supervise
    return Supervision(
        perceptual=perceptual() if pixels and run.perceptual_loss_weight else None,
        temporal=temporal() if pixels and run.trepa_loss_weight else None,
        sync=sync,
    )


def make_judge(cfg: UNetConfig, supervision: Supervision) -> SyncJudge | None:
    """The supervising SyncNet, to measure validation videos; one that looks at latents cannot."""
    if supervision.sync is None:
        return None
    data = load_config(SyncNetConfig, resolve_path(cfg.data.syncnet_config_path)).data
    if data.latent_space:
        return None
    return SyncJudge(supervision.sync.syncnet, data.num_frames, data.resolution, data.lower_half)


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
        audio_encoder = Audio2Feature(whisper_path(cfg), place, audio_feat_length=cfg.data.audio_feat_length)
        vae = build_vae(resolve_path(cfg.ckpt.vae_path), device=place, dtype=frozen_dtype)
        supervision = make_supervision(
            cfg,
            syncnet=partial(build_syncnet, device=place, dtype=frozen_dtype),
            perceptual=partial(build_lpips, cfg.ckpt.vgg_path, place),
            temporal=partial(build_temporal_loss, cfg.ckpt.trepa_path, place, frozen_dtype),
        )
        model, first_step = make_model(cfg)
        model.to(place)
        folder = open_run(cfg, run_dir)
        needs = unet_dataset.needs(cfg.data.num_frames)
        cache = cache_folder() / "training"
        clips, held_out = prepared_clips(cfg, folder, needs, cache=cache, audio=audio_encoder)
        judge = make_judge(cfg, supervision)
        parts = {"vae": vae, "audio_encoder": audio_encoder, "scheduler": build_scheduler()}
        make_video = ValidationVideo(cfg, parts, dtype=fastest, judge=judge) if cfg.data.val_video_path else None
        task = make_task(cfg, model, vae, supervision, clips, held_out, make_video)
        train(task, plan_of(cfg, len(clips), precision), folder, place, first_step=first_step)
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
