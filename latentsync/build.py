"""From a configuration to networks with weights: the only place that knows where checkpoints lie."""

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import psutil
import torch
import torchvision
from diffusers import AutoencoderKL, DDIMScheduler
from torch import nn

from latentsync import REPO_ROOT
from latentsync.checkpoint import (
    RELEASE_CONFIG,
    VAE_OLD_KEYS,
    Checkpoint,
    check_resolution,
    load_module,
    load_state,
    read_origin,
    release_of,
    state_shapes,
)
from latentsync.config import load_config, model_config, resolve_path, whisper_path
from latentsync.errors import CheckpointError, ConfigError
from latentsync.face.detect import FaceDetector, MediaPipeDetector
from latentsync.face.insightface import InsightFaceDetector
from latentsync.losses.terms import LowerHalfLPIPS
from latentsync.losses.videomae import TemporalLoss, VideoMAE
from latentsync.metrics.hyper_iqa import HyperIQA
from latentsync.metrics.s3fd import S3FD, detect
from latentsync.metrics.sync_video import SyncEvaluator, SyncOptions
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.syncnet_v2 import SyncNetV2
from latentsync.models.unet import UNet3DConditionModel
from latentsync.options import InferenceOptions
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.schema import SyncNetConfig, UNetConfig
from latentsync.train.sync_judge import SyncJudge
from latentsync.whisper.audio2feature import ABUTTING, OVERLAPPING, Audio2Feature

SCHEDULER_CONFIG = REPO_ROOT / "configs/scheduler_config.json"
UNET_CONFIGS = REPO_ROOT / "configs/unet"
SYNCNET_CONFIGS = REPO_ROOT / "configs/syncnet"
OFFICIAL_UNET = REPO_ROOT / "checkpoints/latentsync_unet.pt"
DEMO_UNET = REPO_ROOT / "checkpoints/demo/latentsync_unet.pt"  # its configuration lies beside it
AUXILIARY = REPO_ROOT / "checkpoints/auxiliary"
VGG_FILE = "vgg16-397923af.pth"
SYNCNET_V2_FILE = "syncnet_v2.model"
S3FD_FILE = "sfd_face.pth"
HYPER_IQA_FILE = "koniq_pretrained.pkl"
VGG_URL = f"https://download.pytorch.org/models/{VGG_FILE}"
HUB = "https://huggingface.co/ByteDance/LatentSync-1.5"
DETECTORS = {"mediapipe": MediaPipeDetector, "insightface": InsightFaceDetector}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)


def cache_folder() -> Path:
    """Where things that can be made again are kept: $LATENTSYNC_CACHE, else ~/.cache/latentsync."""
    return Path(os.environ.get("LATENTSYNC_CACHE") or Path.home() / ".cache/latentsync")


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is the first GPU where there is one. Raises ConfigError for a device that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # which "meta" cannot do
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name}: not available here; use auto, cpu, cuda, cuda:N or mps") from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is fp16 on GPUs from Volta (7.0) on, bf16 on CPUs that multiply it natively, else float32.

    On such a CPU bf16 is about twice as fast at the official size, and 50 dB from float32 after 20 steps
    (docs/performance.md); on others it is emulated, and slow.
    """
    if name == "auto":
        if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and has_native_bf16() else torch.float32
    if name not in DTYPES:
        raise ConfigError(f"dtype {name}: expected auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def has_native_bf16() -> bool:
    """Whether the CPU has instructions for products of bfloat16 (AVX512-BF16 or AMX)."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocator, else the process's largest resident size so far (without its children's)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def build_scheduler(timestep_spacing: str = "leading") -> DDIMScheduler:
    """The scheduler of the public version; `timestep_spacing` is `run.timestep_spacing`.

    With few steps "trailing" is better (Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed",
    2024): it starts at the last time step, from which pure noise differs least, and spends none near the end.
    """
    config = json.loads(SCHEDULER_CONFIG.read_text())
    return DDIMScheduler.from_config(config | {"timestep_spacing": timestep_spacing})


def default_config(unet_path: Path) -> Path:
    """The configuration of a U-Net: the one beside it, else its release's, else that of the newest release."""
    beside = unet_path.with_name("config.yaml")
    if beside.is_file():
        return beside
    origin = read_origin(unet_path)
    release = origin.release if origin else None
    return REPO_ROOT / RELEASE_CONFIG.get(release, RELEASE_CONFIG["1.6"])


@cache
def known_structures() -> dict[str, dict[str, tuple[int, ...]]]:
    """Key and shape tables of the configurations we ship, to say which one fits a file."""
    tables = {}
    for path in sorted(UNET_CONFIGS.glob("*.yaml")):
        with torch.device("meta"):
            unet = UNet3DConditionModel(**model_config(load_config(UNetConfig, path)))
        tables[f"configs/unet/{path.name}"] = state_shapes(unet)
    return tables


def build_unet(
    cfg: UNetConfig, checkpoint: Checkpoint, *, device: torch.device | str = "cpu", dtype=torch.float32
) -> UNet3DConditionModel:
    """A U-Net with a checkpoint's weights, in evaluation mode."""
    with torch.device("meta"):
        unet = UNet3DConditionModel(**model_config(cfg))
    load_module(unet, checkpoint, candidates=known_structures, dtype=dtype, device=device)
    return unet.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def build_vae(folder: Path, *, device: torch.device | str = "cpu", dtype=torch.float32) -> AutoencoderKL:
    """Diffusers' autoencoder from a folder with config.json and weights, in evaluation mode."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder}/config.json: expected the configuration of a VAE; run setup_env.sh to fetch it"
        ) from error
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(config)
    load_module(vae, load_state(folder), rename=VAE_OLD_KEYS, dtype=dtype, device=device)
    return vae.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def training_file(path: Path, source: str, switch: str) -> Path:
    """The path of a weight file that only one training loss needs.

    Where it is missing, CheckpointError says where it comes from and which key does without that loss.
    """
    return fetched_file(path, source, f", or train without it by {switch}")


def fetched_file(path: Path, source: str, otherwise: str = "") -> Path:
    """The path of a weight file that `setup_env.sh --train` fetches; CheckpointError says so where it is missing."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; fetch it by setup_env.sh --train or from {source}{otherwise}")
    return path


@cache
def known_syncnets() -> dict[str, dict[str, tuple[int, ...]]]:
    """Key and shape tables of the SyncNets we ship, as `known_structures` has those of the U-Nets."""
    tables = {}
    for path in sorted(SYNCNET_CONFIGS.glob("*.yaml")):
        with torch.device("meta"):
            syncnet = StableSyncNet(**model_config(load_config(SyncNetConfig, path)))
        tables[f"configs/syncnet/{path.name}"] = state_shapes(syncnet)
    return tables


def syncnet_file(cfg: SyncNetConfig, path: str | Path | None = None) -> Path:
    """The weights of a SyncNet, by default those of `ckpt.inference_ckpt_path`."""
    if not (path or cfg.ckpt.inference_ckpt_path):
        raise CheckpointError(
            "ckpt.inference_ckpt_path of the SyncNet configuration is empty, expected its weights; name a file, "
            "or train without it by run.use_syncnet=false"
        )
    path = Path(path) if path else resolve_path(cfg.ckpt.inference_ckpt_path)
    return training_file(path, f"{HUB} (stable_syncnet.pt)", "run.use_syncnet=false")


def build_syncnet(
    cfg: SyncNetConfig,
    path: str | Path | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    gradient_checkpointing: bool = False,
) -> StableSyncNet:
    """A SyncNet with weights, by default those of `ckpt.inference_ckpt_path`; frozen, in evaluation mode."""
    checkpoint = load_state(syncnet_file(cfg, path))
    with torch.device("meta"):
        syncnet = StableSyncNet(**model_config(cfg), gradient_checkpointing=gradient_checkpointing)
    load_module(syncnet, checkpoint, candidates=known_syncnets, dtype=dtype, device=device)
    return syncnet.eval().requires_grad_(False)


def judge_config(path: str | Path) -> SyncNetConfig:
    """The configuration of a SyncNet that can judge pictures. Raises ConfigError for one that looks at latents."""
    cfg = load_config(SyncNetConfig, resolve_path(path))
    if cfg.data.latent_space:
        raise ConfigError(f"{path} looks at latents; expected a judge of pixels, so name another one")
    return cfg


def build_sync_judge(
    cfg: SyncNetConfig, path: str | Path | None = None, *, device: torch.device | str = "cpu"
) -> SyncJudge:
    """A judge of aligned faces, of a `judge_config` and the weights of `build_syncnet`."""
    network = build_syncnet(cfg, path, device=device)
    return SyncJudge(network, cfg.data.num_frames, cfg.data.resolution, cfg.data.lower_half)


def vgg_file(path: str | Path = "") -> Path:
    """VGG16: `path`, or where torch keeps its downloads, else where the installer puts it."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
    path = resolve_path(path) if path else cached if cached.is_file() else AUXILIARY / VGG_FILE
    return training_file(path, VGG_URL, "run.perceptual_loss_weight=0")


def build_lpips(path: str | Path = "", device: torch.device | str = "cpu") -> LowerHalfLPIPS:
    """The perceptual loss; `path` is `ckpt.vgg_path`, empty for the usual places."""
    checkpoint = load_state(vgg_file(path))
    with torch.device("meta"):
        vgg = torchvision.models.vgg16()
    vgg.classifier = nn.Identity()  # most of the file, and of no use here
    features = {key: value for key, value in checkpoint.state.items() if key.startswith("features.")}
    load_module(vgg, replace(checkpoint, state=features))
    return LowerHalfLPIPS(vgg.state_dict()).to(device)


def videomae_file(path: str | Path) -> Path:
    path = resolve_path(path)
    return training_file(path, f"{HUB} (auxiliary/{path.name})", "run.trepa_loss_weight=0")


def build_temporal_loss(
    path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> TemporalLoss:
    """The temporal loss; `path` is `ckpt.trepa_path`, a VideoMAE V2 of any size."""
    checkpoint = load_state(videomae_file(path))
    try:
        with torch.device("meta"):
            network = VideoMAE.from_shapes(state_shapes(checkpoint.state))
    except ValueError as error:
        raise CheckpointError(
            f"{checkpoint.path}: {error}; choose the file ckpt.trepa_path names by default"
        ) from error
    load_module(network, checkpoint, dtype=dtype, device=device)
    return TemporalLoss(network)


def build_syncnet_v2(path: str | Path | None = None, *, device: torch.device | str = "cpu") -> SyncNetV2:
    """The network of sync confidence, by default from checkpoints/auxiliary; frozen, in evaluation mode, float32."""
    return _with_official_weights(SyncNetV2(), SYNCNET_V2_FILE, path, device)


def build_s3fd(path: str | Path | None = None, *, device: torch.device | str = "cpu") -> S3FD:
    """The face detector of sync confidence, as `build_syncnet_v2` gives the network."""
    return _with_official_weights(S3FD(), S3FD_FILE, path, device)


def official_sync_files(network: str | Path | None = None) -> tuple[Path, Path]:
    """Where the weights of `build_sync_evaluator` are looked for; `network` names others of SyncNet v2."""
    return Path(network) if network else AUXILIARY / SYNCNET_V2_FILE, AUXILIARY / S3FD_FILE


def official_sync_available() -> bool:
    """Whether both files of `build_sync_evaluator` are there."""
    return all(path.is_file() for path in official_sync_files())


def official_sync_weights(network: str | Path | None = None) -> tuple[Path, Path]:
    """The files of `build_sync_evaluator`; CheckpointError says how to fetch one that is missing."""
    files = zip(official_sync_files(network), (SYNCNET_V2_FILE, S3FD_FILE), strict=True)
    first, second = (fetched_file(path, f"{HUB} (auxiliary/{name})") for path, name in files)
    return first, second


def build_sync_evaluator(
    device: torch.device | str = "cpu", options: SyncOptions | None = None, network: str | Path | None = None
) -> SyncEvaluator:
    """Sync confidence of videos by the official files in checkpoints/auxiliary, or by another one of SyncNet v2.

    Raises CheckpointError where one is missing.
    """
    return SyncEvaluator(build_syncnet_v2(network, device=device), partial(detect, build_s3fd(device=device)), options)


def hyper_iqa_path() -> Path:
    """Where the weights of `build_hyper_iqa` are looked for."""
    return AUXILIARY / HYPER_IQA_FILE


def build_hyper_iqa(path: str | Path | None = None, *, device: torch.device | str = "cpu") -> HyperIQA:
    """The network of picture quality, as `build_syncnet_v2` gives that of sync."""
    return _with_official_weights(HyperIQA(), HYPER_IQA_FILE, path, device)


def _with_official_weights(network: Network, name: str, path: str | Path | None, device: torch.device | str) -> Network:
    """A network of one size only, with the weights of `path` or of a file of this name in checkpoints/auxiliary.

    Old files lack the counters of batch norms, which only training looks at.
    """
    source = f"{HUB} (auxiliary/{name})"
    checkpoint = load_state(fetched_file(Path(path) if path else AUXILIARY / name, source))
    counters = [key for key in network.state_dict() if key.endswith(".num_batches_tracked")]
    load_module(network, checkpoint, allowed_missing=counters, remedy=f"use that of {source}")
    return network.to(device).eval().requires_grad_(False)


def check_audio_width(cfg: UNetConfig, audio_encoder: Audio2Feature) -> None:
    """Raise ConfigError where the U-Net listens to features of another width."""
    if audio_encoder.embedding_dim != cfg.model.cross_attention_dim:
        raise ConfigError(
            f"{audio_encoder.model_path}: expected features of model.cross_attention_dim "
            f"{cfg.model.cross_attention_dim}, got {audio_encoder.embedding_dim}; use the Whisper model it was "
            "trained with"
        )


def beside(unet_path: Path, name: str, fallback: Path) -> Path:
    """A companion file from the U-Net's own folder, so that a folder is a complete set; else `fallback`."""
    own = unet_path.parent / name
    return own if own.exists() else fallback


def pipeline_files(cfg: UNetConfig, unet_path: str | Path | None = None) -> tuple[Path, Path, Path]:
    """Where `build_pipeline` looks for weights: those of the U-Net, of Whisper, and the folder of the VAE."""
    unet_path = Path(unet_path or resolve_path(cfg.ckpt.inference_ckpt_path or OFFICIAL_UNET))
    whisper = whisper_path(cfg)
    vae = resolve_path(cfg.ckpt.vae_path)
    return unet_path, beside(unet_path, f"whisper/{whisper.name}", whisper), beside(unet_path, "vae", vae)


def build_pipeline(
    cfg: UNetConfig,
    unet_path: str | Path | None = None,
    *,
    config_path: str | Path = "the configuration",
    device: str = "auto",
    dtype: str = "auto",
    options: InferenceOptions | None = None,
    detector: Callable[[], FaceDetector] = MediaPipeDetector,
) -> LipsyncPipeline:
    """Load every network that inference needs.

    Args:
        unet_path: weights; `ckpt.inference_ckpt_path` of the configuration, else checkpoints/latentsync_unet.pt.
            Whisper and VAE come from the same folder where it has them, else from where the configuration says.
        config_path: named in errors.
        detector: makes face detectors, the first of them here.

    Raises CheckpointError or ConfigError.
    """
    first_detector = detector()  # quick, and it may fail: before gigabytes are loaded
    options = options or InferenceOptions()
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    unet_path, whisper, vae_folder = pipeline_files(cfg, unet_path)
    checkpoint = load_state(unet_path)
    check_resolution(checkpoint, cfg.data.resolution, config_path)
    audio_encoder = Audio2Feature(
        whisper,
        place,
        num_frames=cfg.data.num_frames,
        audio_feat_length=cfg.data.audio_feat_length,
        segmentation=OVERLAPPING if options.overlap_audio else ABUTTING,
    )
    check_audio_width(cfg, audio_encoder)
    unet = build_unet(cfg, checkpoint, device=place, dtype=kind)
    logger.info("%s: %s, step %d", unet_path, release_of(checkpoint), checkpoint.step)
    pipeline = LipsyncPipeline(
        build_vae(vae_folder, device=place, dtype=kind),
        audio_encoder,
        unet,
        build_scheduler(cfg.run.timestep_spacing),
        options=options,
        detector=detector,
        resolution=cfg.data.resolution,
    )
    pipeline.idle_detectors.append(first_detector)
    return pipeline


