"""Write a complete folder of checkpoints in the released file formats, filled with seeded random numbers.

    python -m scripts.make_seeded_checkpoints --size tiny --out checkpoints/seeded_tiny

The result drives every part of the program for tests and benchmarks; it does not synchronise lips.
"""

import argparse
import json
import math
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn
from whisper.model import AudioEncoder, ModelDimensions, TextDecoder, sinusoids

from latentsync import REPO_ROOT
from latentsync.checkpoint import FOLDER_NAMES, save_checkpoint
from latentsync.config import UNetConfig, load_config, model_config, save_config
from latentsync.files import atomic_path
from latentsync.models.attention import PositionalEncoding
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import vae_arguments

N = TypeVar("N", bound=nn.Module)

VERSION = 2  # raise it when the weights or files change, so that older sets are made anew
MARKER = "seeded.json"  # in an intact set: its version, size and seed

CONFIGS = {"tiny": "seeded_tiny.yaml", "official": "stage2_512.yaml"}
WHISPER_DIMS = {
    "tiny": ModelDimensions(80, 1500, 32, 2, 2, 100, 16, 32, 2, 2),
    "official": ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4),  # OpenAI's tiny.pt
}
VAE_LEVELS = {
    "tiny": {"block_out_channels": (8, 16, 32, 32), "norm_num_groups": 8, "layers_per_block": 1},
    "official": {"block_out_channels": (128, 256, 512, 512), "norm_num_groups": 32, "layers_per_block": 2},
}  # the latter is sd-vae-ft-mse


def seeded_tensor(key: str, shape: torch.Size, seed: int) -> Tensor:
    """Float32 weights that depend on nothing but the arguments.

    With n normal: matrices and kernels n / sqrt(fan in), norm weights 1 + 0.1 n, biases 0.02 n.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {key}".encode()))
    noise = torch.randn(shape, generator=generator)
    if noise.dim() > 1:
        return noise.div_(math.sqrt(math.prod(shape[1:])))
    return noise.mul_(0.1).add_(1) if key.endswith("weight") else noise.mul_(0.02)


def fixed_table(key: str, shape: torch.Size) -> Tensor | None:
    """The sinusoids a network computes itself and keeps in its state dict; None for weights."""
    if key.endswith("pos_encoder.pe"):
        return PositionalEncoding(shape[2], shape[1]).pe
    if key == "encoder.positional_embedding":
        return sinusoids(*shape)
    return None


def seeded_value(key: str, shape: torch.Size, seed: int) -> Tensor:
    table = fixed_table(key, shape)
    return seeded_tensor(key, shape, seed) if table is None else table


def seeded_state(shapes: Mapping[str, torch.Size], seed: int) -> dict[str, Tensor]:
    return {key: seeded_value(key, shape, seed) for key, shape in shapes.items()}


@torch.no_grad()
def seeded_network(
    build: Callable[[], N], *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0
) -> N:
    """The network that `build` makes, with the weights a seeded file would give it, none of them zero.

    Beside one copy of them, in `dtype`, only a single float32 tensor is held.
    """
    with torch.device("meta"):
        network = nn.Module.to(build(), dtype)  # diffusers' own method has something to say
    # What `build` put into buffers is lost: each must be known.
    assert all(fixed_table(key, buffer.shape) is not None for key, buffer in network.named_buffers())
    network.to_empty(device=device)
    for key, tensor in network.state_dict().items():
        tensor.copy_(seeded_value(key, tensor.shape, seed))
    return network


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, torch.Size]:
    """Key -> shape of a network's state dict, without its memory."""
    with torch.device("meta"):
        return {key: tensor.shape for key, tensor in build().state_dict().items()}


def write_unet(path: Path, model: Mapping[str, Any], seed: int) -> None:
    shapes = shapes_of(lambda: UNet3DConditionModel(**model))
    save_checkpoint(path, seeded_state(shapes, seed), global_step=0)


def write_whisper(path: Path, dims: ModelDimensions, seed: int) -> None:
    """OpenAI's format: all dimensions, and encoder and decoder in half precision."""
    encoder = (dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer)
    decoder = (dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
    shapes = shapes_of(lambda: nn.ModuleDict({"encoder": AudioEncoder(*encoder), "decoder": TextDecoder(*decoder)}))
    state = {key: tensor.half() for key, tensor in seeded_state(shapes, seed).items()}
    path.parent.mkdir()
    with path.open("wb") as file:
        torch.save({"dims": asdict(dims), "model_state_dict": state}, file)


def new_vae(levels: Mapping[str, Any]) -> AutoencoderKL:
    """A VAE of one of `VAE_LEVELS`."""
    return AutoencoderKL(**vae_arguments(**levels))


def write_vae(folder: Path, levels: Mapping[str, Any], seed: int) -> None:
    with torch.device("meta"):
        vae = new_vae(levels)
    vae.save_config(folder)
    state = seeded_state({key: tensor.shape for key, tensor in vae.state_dict().items()}, seed)
    with atomic_path(folder / FOLDER_NAMES[0]) as temporary:  # which, unlike save_file, heeds the umask
        save_file(state, temporary, metadata={"format": "pt"})


def write_config(path: Path, cfg: UNetConfig, out: Path) -> None:
    """The resolved configuration, its weights those of the set at `out`."""
    cfg.ckpt.inference_ckpt_path = str(out / "latentsync_unet.pt")
    cfg.ckpt.vae_path = str(out / "vae")
    cfg.ckpt.whisper_path = str(out / "whisper/tiny.pt")
    save_config(cfg, path)


def make_seeded_checkpoints(out: Path, size: str, seed: int = 0) -> Path:
    """Make the set at `out`, unless this very set is there, and return its absolute path.

    It appears whole or not at all, and replaces a set of another version, size or seed.
    Raises FileExistsError if `out` is anything but such a set.
    """
    out = Path(out).absolute()
    identity = {"version": VERSION, "size": size, "seed": seed}
    if _identity(out) == identity:
        return out
    if out.exists() and _identity(out) is None:
        raise FileExistsError(f"{out} exists and is no set of seeded checkpoints; choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as workspace:
        new = Path(workspace) / "new"
        new.mkdir()
        cfg = load_config(UNetConfig, REPO_ROOT / UNetConfig.folder / CONFIGS[size])
        write_unet(new / "latentsync_unet.pt", model_config(cfg), seed)
        write_whisper(new / "whisper/tiny.pt", WHISPER_DIMS[size], seed)
        write_vae(new / "vae", VAE_LEVELS[size], seed)
        if size == "tiny":
            write_config(new / "config.yaml", cfg, out)
        (new / MARKER).write_text(json.dumps(identity))
        if out.exists():
            out.rename(Path(workspace) / "old")
        try:
            new.rename(out)
        except OSError:  # another process was faster, which is as good if it made the same
            if _identity(out) != identity:
                raise
    return out


def _identity(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / MARKER).read_text())
    except FileNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(CONFIGS), default="tiny")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(make_seeded_checkpoints(args.out, args.size, args.seed))


if __name__ == "__main__":
    main()
