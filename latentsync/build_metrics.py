"""The networks of measures, with weights.

A builder whose file is missing says so, by CheckpointError, before it loads anything.
"""

import warnings
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from latentsync.build import AUXILIARY, HUB, VGG_URL, fetched_file, load_vgg, vgg_path
from latentsync.checkpoint import load_module, load_state
from latentsync.errors import CheckpointError
from latentsync.face.insightface import MODELS, check_model, load_session
from latentsync.losses.terms import LPIPS
from latentsync.metrics.hyper_iqa import HyperIQA
from latentsync.metrics.identity import FaceEmbedder
from latentsync.metrics.inception import Inception
from latentsync.metrics.s3fd import S3FD, detect
from latentsync.metrics.sync_video import SyncEvaluator, SyncOptions
from latentsync.models.syncnet_v2 import SyncNetV2

SYNCNET_V2_FILE = "syncnet_v2.model"
S3FD_FILE = "sfd_face.pth"
HYPER_IQA_FILE = "koniq_pretrained.pkl"
I3D_FILE = "i3d_torchscript.pt"
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
EMBEDDER_FILE = "w600k_r50.onnx"  # of InsightFace's buffalo_l

Network = TypeVar("Network", bound=nn.Module)


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


def lpips_file(path: str | Path = "") -> Path:
    """The file of `build_lpips_distance`. Raises CheckpointError where it is missing."""
    return fetched_file(vgg_path(path), VGG_URL)


def build_lpips_distance(path: str | Path = "", *, device: torch.device | str = "cpu") -> LPIPS:
    """The perceptual distance of pictures; `path` is VGG16, empty for the usual places. Frozen, float32."""
    return LPIPS(load_vgg(lpips_file(path))).to(device)


def inception_file(path: str | Path | None = None) -> Path:
    """The file of `build_inception`. Raises CheckpointError where it is missing."""
    return fetched_file(Path(path) if path else AUXILIARY / INCEPTION_FILE, URL_INCEPTION_V3)


def build_inception(path: str | Path | None = None, *, device: torch.device | str = "cpu") -> Inception:
    """The network of the Fréchet inception distance, by default from checkpoints/auxiliary; frozen, float32."""
    checkpoint = load_state(inception_file(path))
    try:
        return Inception(checkpoint.state).to(device)
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.path}: does not fit the Inception network; use that of {URL_INCEPTION_V3}"
        ) from error


def i3d_file(path: str | Path | None = None) -> Path:
    """The file of `build_i3d`. Raises CheckpointError where it is missing."""
    return fetched_file(Path(path) if path else AUXILIARY / I3D_FILE, f"{HUB} (auxiliary/{I3D_FILE})")


def build_i3d(path: str | Path | None = None, *, device: torch.device | str = "cpu") -> torch.jit.ScriptModule:
    """The network of the Fréchet video distance, which `metrics.fvd.clip_features` calls; in evaluation mode."""
    path = i3d_file(path)
    remedy = f"use that of {HUB} (auxiliary/{I3D_FILE})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the public file has this format only
            network = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise CheckpointError(f"{path}: expected a complete TorchScript file; {remedy}") from error
    wanted = {"rescale", "resize", "return_features"}
    if not wanted <= {argument.name for argument in network.forward.schema.arguments}:
        raise CheckpointError(f"{path}: expected a network that takes {', '.join(sorted(wanted))}; {remedy}")
    return network


def face_embedder_file(path: str | Path | None = None) -> Path:
    """The file of `build_face_embedder`. Raises CheckpointError where it is missing."""
    return check_model(Path(path) if path else MODELS / EMBEDDER_FILE, otherwise="")


def build_face_embedder(path: str | Path | None = None, *, device: torch.device | str = "cpu") -> FaceEmbedder:
    """Who somebody is, by InsightFace's ArcFace beside its other networks; for non-commercial research only.

    Raises CheckpointError for a missing or damaged file, ConfigError without onnxruntime.
    """
    place = torch.device(device)
    gpu = place.index or 0 if place.type == "cuda" else None
    return FaceEmbedder(load_session(face_embedder_file(path), gpu=gpu, otherwise=""))


def _with_official_weights(network: Network, name: str, path: str | Path | None, device: torch.device | str) -> Network:
    """A network of one size only, with the weights of `path` or of a file of this name in checkpoints/auxiliary.

    Old files lack the counters of batch norms, which only training looks at.
    """
    source = f"{HUB} (auxiliary/{name})"
    checkpoint = load_state(fetched_file(Path(path) if path else AUXILIARY / name, source))
    counters = [key for key in network.state_dict() if key.endswith(".num_batches_tracked")]
    load_module(network, checkpoint, allowed_missing=counters, remedy=f"use that of {source}")
    return network.to(device).eval().requires_grad_(False)
