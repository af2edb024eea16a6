"""What one optimiser step of a training configuration costs: the trainer's own steps of random networks on random data.

Nothing is read but configurations, as time and memory do not depend on the weights.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import torch
import torchvision
from diffusers import AutoencoderKL
from torch import nn

from latentsync import REPO_ROOT
from latentsync.build import choose_device, choose_dtype, peak_memory
from latentsync.config import load_config, model_config, resolve_path
from latentsync.data.clips import TrainingClip
from latentsync.data.mel import N_MELS, mel_width
from latentsync.errors import ConfigError
from latentsync.losses.terms import LowerHalfLPIPS
from latentsync.losses.videomae import TemporalLoss, VideoMAE
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.schema import SyncNetConfig, UNetConfig
from latentsync.train.loop import Batch, Plan, Task, make_state, one_step, wrap
from latentsync.train.run import plan_of, precision_of
from latentsync.train.syncnet import SyncNetTask
from latentsync.train.unet import UNetTask, freeze
from latentsync.types import Clip
from scripts.make_seeded_checkpoints import VAE_LEVELS, new_vae, seeded_network
from scripts.train_unet import make_supervision, make_task

DEFAULT_CONFIG = REPO_ROOT / "configs/unet/stage2.yaml"
TOKENS = 50  # audio tokens of a frame with Whisper tiny

#: The network of the temporal loss, VideoMAE V2's ViT-g.
VIT_G = {"dim": 1408, "depth": 40, "heads": 16, "hidden": 6144, "patch": 14, "tubelet": 2, "classes": 174}

#: A task wants clips; ours has no file, and its batches come from elsewhere.
NO_CLIP = TrainingClip(Clip("random numbers", Path("none")), 0, mel=Path("none"), features=Path("none"))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_now(device: torch.device) -> int:
    """Bytes: of the GPU's allocator, else of the process."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def count(*networks: nn.Module | None, trainable: bool = False) -> float:
    """Parameters, in millions."""
    parameters = [p for network in networks if network is not None for p in network.parameters()]
    return round(sum(p.numel() for p in parameters if p.requires_grad or not trainable) / 1e6, 3)


# ------------------------------------------------------------- networks


def random_syncnet(
    cfg: SyncNetConfig, *, gradient_checkpointing: bool, device: torch.device, dtype: torch.dtype
) -> StableSyncNet:
    build = partial(StableSyncNet, **model_config(cfg), gradient_checkpointing=gradient_checkpointing)
    return seeded_network(build, device=device, dtype=dtype)


def random_lpips(device: torch.device) -> LowerHalfLPIPS:
    vgg = seeded_network(lambda: nn.ModuleDict({"features": torchvision.models.vgg16().features}))
    return LowerHalfLPIPS(vgg.state_dict()).to(device)


def random_temporal_loss(device: torch.device, dtype: torch.dtype) -> TemporalLoss:
    return TemporalLoss(seeded_network(lambda: VideoMAE(**VIT_G), device=device, dtype=dtype))


def random_vae(folder: Path, device: torch.device, dtype: torch.dtype) -> AutoencoderKL:
    """Of the size that the folder's config.json tells, else of the official one."""
    path = folder / "config.json"

    def build() -> AutoencoderKL:
        known = path.is_file()
        vae = AutoencoderKL.from_config(json.loads(path.read_text())) if known else new_vae(VAE_LEVELS["official"])
        return vae.to(memory_format=torch.channels_last)

    return seeded_network(build, device=device, dtype=dtype).eval().requires_grad_(False)


def unet_task(cfg: UNetConfig, device: torch.device, dtype: torch.dtype) -> UNetTask:
    """`dtype` is that of the networks that do not train."""
    supervision = make_supervision(
        cfg,
        syncnet=partial(random_syncnet, device=device, dtype=dtype),
        perceptual=partial(random_lpips, device),
        temporal=partial(random_temporal_loss, device, dtype),
    )
    vae = random_vae(resolve_path(cfg.ckpt.vae_path), device, dtype)
    model = seeded_network(lambda: UNet3DConditionModel(**model_config(cfg)), device=device)
    freeze(model, cfg)
    return make_task(cfg, model, vae, supervision, [NO_CLIP])


def syncnet_task(cfg: SyncNetConfig, device: torch.device, dtype: torch.dtype) -> SyncNetTask:
    """`dtype` is the VAE's, where there is one."""
    vae = random_vae(resolve_path(cfg.ckpt.vae_path), device, dtype) if cfg.data.latent_space else None
    checkpointing = cfg.run.enable_gradient_checkpointing
    model = random_syncnet(cfg, gradient_checkpointing=checkpointing, device=device, dtype=torch.float32)
    return SyncNetTask(cfg, model, [NO_CLIP], [], vae=vae)


def frozen_networks(task: UNetTask | SyncNetTask) -> list[nn.Module | None]:
    return [task.vae, *vars(task.supervision).values()] if isinstance(task, UNetTask) else [task.vae]


# ------------------------------------------------------------- data


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8)


def unet_batch(cfg: UNetConfig, device: torch.device) -> Batch:
    """The content of `UNetDataset`'s samples."""
    b, f, r = cfg.data.batch_size, cfg.data.num_frames, cfg.data.resolution
    batch = {
        "target": pictures(b, f, 3, r, r),
        "reference": pictures(b, f, 3, r, r),
        "audio": torch.randn(b, f, TOKENS, cfg.model.cross_attention_dim).half(),
        "mel": torch.randn(b, 1, N_MELS, mel_width(f)),
    }
    return {name: value.to(device) for name, value in batch.items()}


def syncnet_batch(cfg: SyncNetConfig, device: torch.device) -> Batch:
    """The content of `SyncNetDataset`'s samples."""
    data = cfg.data
    b, v, f, r = data.batch_size, data.windows_per_clip, data.num_frames, data.resolution
    batch = {
        "frames": pictures(b, v, f, 3, r // 2 if data.lower_half and not data.latent_space else r, r),
        "mel": torch.randn(b, v, 1, N_MELS, mel_width(f)),
        "label": (torch.arange(b) % 2 == 0).float(),
    }
    return {name: value.to(device) for name, value in batch.items()}


def numbered(batch: Batch, size: int) -> Iterator[Batch]:
    """The same samples again and again under new numbers, so that time steps and noise differ."""
    for start in itertools.count(step=size):
        yield {**batch, "number": torch.arange(start, start + size)}


# ------------------------------------------------------------- measurement


def schema_of(path: str | Path) -> type[UNetConfig] | type[SyncNetConfig]:
    """What a file configures; for one that is wrong as either, the U-Net's, whose errors then say why."""
    for schema in (UNetConfig, SyncNetConfig):
        try:
            load_config(schema, path)
        except ConfigError:
            continue
        return schema
    return UNetConfig


def load(args: argparse.Namespace) -> UNetConfig | SyncNetConfig:
    """The configuration, with what the command line says instead."""
    path = args.config or DEFAULT_CONFIG
    overrides = [f"data.resolution={args.resolution}"] if args.resolution else []
    overrides += [f"data.batch_size={args.batch}"] if args.batch else []
    if args.dtype != "auto":
        overrides += ["run.mixed_precision_training=true", "run.mixed_precision_dtype=auto"]
    return load_config(schema_of(path), path, overrides)


def run_steps(task: Task, plan: Plan, batch: Batch, n: int, device: torch.device) -> tuple[list[dict], list[float]]:
    """The numbers and the seconds of `n` optimiser steps."""
    state, model = make_state(task.model, plan, device, 0), wrap(task.model, plan, device)
    batches = numbered(batch, plan.batch_size)
    values, seconds = [], []
    for _ in range(n):
        wait(device)
        started = time.perf_counter()
        values.append(one_step(task, model, plan, state, batches, lambda: False, device)[0])
        wait(device)
        seconds.append(time.perf_counter() - started)
    return values, seconds


def benchmark_train(args: argparse.Namespace) -> dict:
    """Seconds and memory of `--steps` optimiser steps. Losses and gradient norm are those of the last one; steps whose
    gradients overflow, as some of half precision do until its loss scale has settled, leave the weights alone.
    """
    torch.manual_seed(0)
    cfg, device = load(args), choose_device(args.device)
    fastest = choose_dtype(args.dtype, device)
    precision = precision_of(cfg, fastest)
    if isinstance(cfg, UNetConfig):
        task, batch = unet_task(cfg, device, precision or torch.float32), unet_batch(cfg, device)
    else:
        task, batch = syncnet_task(cfg, device, fastest), syncnet_batch(cfg, device)
    built = memory_now(device)
    plan = plan_of(cfg, 1, precision)
    values, seconds = run_steps(task, plan, batch, args.steps, device)
    norms = [value["grad_norm"] for value in values]
    timed = seconds[1:] or seconds
    return {
        "device": str(device),
        "dtype": str(precision or torch.float32).removeprefix("torch."),
        "config": str(args.config or DEFAULT_CONFIG),
        "resolution": cfg.data.resolution,
        "batch": plan.batch_size,
        "accumulation": plan.accumulation,
        "trainable_m": count(task.model, trainable=True),
        "total_m": count(task.model),
        "frozen_networks_m": count(*frozen_networks(task)),
        "losses": {name: round(values[-1][name], 6) for name in ("loss", *task.weights)},
        "grad_norm": round(norms[-1], 6) if math.isfinite(norms[-1]) else None,
        "skipped_steps": sum(not math.isfinite(norm) for norm in norms),
        "first_step_s": round(seconds[0], 4),
        "step_s": [round(s, 4) for s in seconds[1:]],
        "samples_per_s": round(plan.batch_size * plan.accumulation * len(timed) / sum(timed), 4),
        "built_memory_gb": round(built / 1e9, 2),
        "peak_memory_gb": round(max(built, peak_memory(device)) / 1e9, 2),  # the kernel may note a peak late
    }
