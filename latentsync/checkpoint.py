"""Weight files: one reader for every format, one strict loader, provenance, and saving."""

import json
import logging
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from .errors import CheckpointError
from .files import atomic_path

Shapes = Mapping[str, Sequence[int]]  # state-dict key -> shape
Candidates = Mapping[str, Shapes] | Callable[[], Mapping[str, Shapes]]  # by configuration name

logger = logging.getLogger(__name__)

#: Keys under which released files keep their weights: ours and SyncNet's, OpenAI's, then VideoMAE's two.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
FOLDER_NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")  # diffusers' VAE folder

#: What torch's readers raise on damaged bytes, besides UnpicklingError.
DAMAGE = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError,
    struct.error,
)  # fmt: skip

#: Names the mid attention of the VAE had in old library versions, as `rename` of `load_module`.
VAE_OLD_KEYS = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}

UNKNOWN_RELEASE = "release unknown"
RELEASE_RESOLUTION = {"1.5": 256, "1.6": 512}  # pixels; both releases have one structure
RELEASE_CONFIG = {"1.5": "configs/unet/stage2.yaml", "1.6": "configs/unet/stage2_512.yaml"}

#: What a training run may start anew: layers whose width depends on latents or audio, and temporal layers.
NEW_WIDTH = re.compile(r"^conv_(in|out)\.|\.attn2\.to_[kv]\.")
NEW_LAYERS = ".motion_modules."


@dataclass(frozen=True)
class Origin:
    """Where a weight file came from: the record the installer writes beside it."""

    repository: str
    revision: str
    filename: str
    sha256: str
    size: int  # bytes
    release: str | None  # "1.5", "1.6"; None where the repository has no release


@dataclass(frozen=True)
class Checkpoint:
    """The content of a weight file. The tensors may be maps of it: copy before changing them."""

    path: Path
    state: dict[str, Tensor]
    step: int  # training steps behind the weights; 0 where the file does not say
    origin: Origin | None
    extra: dict[str, Any] = field(default_factory=dict)  # what else it holds, such as Whisper's `dims`


# ---------------------------------------------------------------- reading


def load_state(path: str | Path) -> Checkpoint:
    """Read a torch or safetensors file, or a folder with diffusers' VAE, never running code in it.

    Takes `{"state_dict", "global_step"}`, OpenAI's `{"dims", "model_state_dict"}`, VideoMAE's `{"model"}` or
    `{"module"}`, and plain state dicts.
    Raises CheckpointError for a file that is missing, damaged, or anything else.
    """
    path = _weight_file(Path(path))
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    extra: dict[str, Any] = {}
    if isinstance(content, dict):
        wrapper = next((name for name in WRAPPERS if _is_state(content.get(name))), None)
        if wrapper is not None:
            extra = {key: value for key, value in content.items() if key != wrapper}
            content = content[wrapper]
    if not (content and _is_state(content)):
        raise CheckpointError(
            f"{path}: expected named tensors, alone or under {' or '.join(WRAPPERS)}, found "
            f"{_describe(content)}; choose a weight file"
        )
    step = extra.pop("global_step", 0)
    return Checkpoint(path, content, step if isinstance(step, int) else 0, read_origin(path), extra)


def read_origin(path: str | Path) -> Origin | None:
    """The record `<file name>.json` beside a weight file; None where there is none or it is stale."""
    record = Path(path).with_name(Path(path).name + ".json")
    try:
        origin = Origin(**json.loads(record.read_text()))
        size = Path(path).stat().st_size
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s: ignored, not a record of the installer (%s)", record, error)
        return None
    if origin.size != size:
        logger.warning("%s: ignored, it records %s bytes and the file has another size", record, origin.size)
        return None
    return origin


def _weight_file(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in FOLDER_NAMES if (path / name).is_file()]
        if not found:
            raise CheckpointError(f"{path}: expected {' or '.join(FOLDER_NAMES)} in this folder; download it")
        path = found[0]
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected weights; download it or correct the path")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: is empty, expected weights; download it again")
    return path


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected a complete safetensors file ({_first_sentence(error)}); download it again"
        ) from error


def _read_torch(path: Path) -> object:
    """Whatever a torch file holds, memory-mapped where its format allows; never executes pickled code."""
    archive = zipfile.is_zipfile(path)  # the format before torch 1.6 is none, nor is a truncated file
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other formats: the errors below say it
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: expected a torch file with nothing but tensors, found other objects or damage and did "
            "not open it; choose another file"
        ) from error
    except DAMAGE as error:
        raise CheckpointError(
            f"{path}: expected a complete torch file ({_first_sentence(error)}); download it again"
        ) from error


def _is_state(content: object) -> bool:
    """Whether it is a dict of nothing but tensors; an empty one is."""
    return isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values())


def _describe(content: object) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    return f"entries {_some(map(str, content))}" if content else "nothing"


def _first_sentence(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]


# ---------------------------------------------------------------- loading


def load_module(
    module: nn.Module,
    checkpoint: Checkpoint,
    *,
    rename: Mapping[str, str] | None = None,
    allowed_missing: Collection[str] = (),
    candidates: Candidates | None = None,
    remedy: str = "",
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> None:
    """Give every parameter and persistent buffer of `module` the checkpoint's value.

    The module may be on the meta device; peak memory is then one copy of the weights. Floating tensors become
    `dtype`, else what the module has; all go to `device`, else where the module is (meta: the CPU). `rename`
    maps parts of names the module lacks to those it has. Keys in `allowed_missing` keep the module's value.
    Raises CheckpointError, with the difference and the candidate that fits or another remedy, if any key or shape
    disagrees.
    """
    own = module.state_dict()
    state = _renamed(checkpoint.state, own, rename or {})
    required = {key: tensor for key, tensor in own.items() if key in state or key not in allowed_missing}
    difference = _difference(state, required)
    if difference:
        remedy = remedy or _fitting(state_shapes(state), candidates)
        raise CheckpointError(f"{checkpoint.path}: does not fit this {type(module).__name__}: {difference}; {remedy}")
    loaded = {key: _converted(state[key], tensor, dtype, device) for key, tensor in required.items()}
    module.load_state_dict(loaded, strict=False, assign=True)
    unset = [name for name, t in [*module.named_parameters(), *module.named_buffers()] if t.is_meta]
    if unset:
        raise ValueError(f"no value for {unset}: a module on the meta device needs all of them in the file")


def initialise_from(module: nn.Module, checkpoint: Checkpoint) -> list[str]:
    """Start training `module` (not on the meta device) from weights of a related network.

    Returns the keys that keep the module's own start: `conv_in`, `conv_out` and the audio keys and values
    (`attn2.to_k`, `attn2.to_v`) where the checkpoint has another width, and motion modules where it has none.
    Motion modules only the checkpoint has are left out. Both are logged. Any other difference raises
    CheckpointError.
    """
    own, state = module.state_dict(), checkpoint.state
    resized = {
        _layer(key)
        for key, tensor in own.items()
        if NEW_WIDTH.search(key) and key in state and state[key].shape != tensor.shape
    }
    fresh = [key for key in own if _layer(key) in resized or (NEW_LAYERS in key and key not in state)]
    ignored = [key for key in state if NEW_LAYERS in key and key not in own]
    skipped = {*fresh, *ignored}
    kept = {key: tensor for key, tensor in state.items() if key not in skipped}
    load_module(module, replace(checkpoint, state=kept), allowed_missing=fresh)
    for keys, what in ((fresh, "start anew"), (ignored, "of the file are not used")):
        if keys:
            logger.warning("%s: %d tensors %s: %s", checkpoint.path, len(keys), what, _some(keys))
    return fresh


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def state_shapes(module: nn.Module | Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Key -> shape of a state dict, as `candidates` wants it; a module on the meta device is enough."""
    state = module.state_dict() if isinstance(module, nn.Module) else module
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _renamed(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], rename: Mapping[str, str]
) -> dict[str, Tensor]:
    """`state` under the names of `own`; a renamed 1 x 1 convolution becomes the linear layer it equals."""
    result = {}
    for key, tensor in state.items():
        name = key
        if key not in own:
            for old, new in rename.items():
                name = name.replace(old, new)
        if name != key and name in own and tensor.shape == (*own[name].shape, 1, 1):
            tensor = tensor[..., 0, 0]
        result[name] = tensor
    return result


def _converted(
    tensor: Tensor, own: Tensor, dtype: torch.dtype | None, device: torch.device | str | None
) -> Tensor:
    """A copy in its final place and type, so that nothing stays tied to the file or to another module."""
    place = device or ("cpu" if own.is_meta else own.device)
    kind = dtype if dtype is not None and own.is_floating_point() else own.dtype
    return tensor.to(device=place, dtype=kind, copy=True)


def _difference(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What keeps `state` from fitting, in words; empty if nothing does."""
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    reshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return ", ".join(f"{len(keys)} {what} ({_some(keys)})" for what, keys in groups.items() if keys)


def _fitting(shapes: Shapes, candidates: Candidates | None) -> str:
    """The remedy: which configuration has this structure."""
    table = candidates() if callable(candidates) else candidates or {}
    names = [
        name
        for name, expected in table.items()
        if {key: tuple(shape) for key, shape in expected.items()} == dict(shapes)
    ]
    if names:
        return f"use {' or '.join(names)}, which it fits"
    tried = f", which is none of {', '.join(table)}" if table else ""
    return f"use the configuration it was trained with{tried}"


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


# --------------------------------------------------------------- releases


def release_of(checkpoint: Checkpoint) -> str:
    """"1.5" or "1.6" by the record beside the file, else "release unknown"."""
    release = checkpoint.origin.release if checkpoint.origin else None
    return release if release in RELEASE_RESOLUTION else UNKNOWN_RELEASE


def check_resolution(checkpoint: Checkpoint, resolution: int, config_path: str | Path) -> None:
    """Raise CheckpointError if the release on record was trained at another resolution (pixels)."""
    release = release_of(checkpoint)
    trained = RELEASE_RESOLUTION.get(release, resolution)
    if trained != resolution:
        raise CheckpointError(
            f"{checkpoint.path}: is release {release}, trained at {trained} pixels, but {config_path} has "
            f"data.resolution {resolution}; use {RELEASE_CONFIG[release]}"
        )


# ----------------------------------------------------------------- saving


def save_checkpoint(
    path: str | Path, state: Mapping[str, Tensor], *, global_step: int = 0, **extra: Any
) -> None:
    """Write `{"state_dict", "global_step", **extra}` whole or not at all; equal content gives equal bytes.

    `extra` may hold tensors, numbers, strings, lists and dicts: what `load_state` reads back.
    """
    content = {"state_dict": dict(state), "global_step": global_step, **extra}
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        torch.save(content, file)  # given a path, torch would write its random name into the file
