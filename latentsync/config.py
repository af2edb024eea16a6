"""Reading configuration files: YAML and its `base` fill in a schema, and all of it is checked at once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from . import REPO_ROOT
from .errors import ConfigError
from .files import atomic_path
from .schema import WHISPER_FILES, TrainingConfig, UNetConfig, require

T = TypeVar("T")
Layer = tuple[str, dict[str, Any]]  # where it was read, and the values it sets

logger = logging.getLogger(__name__)

#: Keys of releases 1.0 and 1.5, or put into a config by public scripts: accepted with a warning, never used.
OBSOLETE = {
    "data.mask": "the mask is the picture data.mask_image_path",
    "model.audio_condition_method": "audio always enters by cross attention",
    "model.custom_audio_layer": "audio always enters by cross attention",
    "model.unet_use_cross_frame_attention": "frames meet in the motion modules",
    "model.unet_use_temporal_attention": "frames meet in the motion modules",
    "run.enable_xformers_memory_efficient_attention": "PyTorch's own attention is used",
    "unet_config_path": "the path is known from the command line",
}


def load_config(schema: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Read a YAML file as `schema`, then apply overrides such as "data.batch_size=4".

    A key `base:` names another file, relative to this one, whose values hold where this one sets none.
    Raises ConfigError, naming file, key and remedy, for anything the schema does not allow.
    """
    layers = _file_layers(schema, Path(path), ())
    for text in overrides:
        require(text.count("=") > 0, f"override {text!r} sets no value; write section.key=value")
        key, _, value = text.partition("=")
        value = value or '""'  # nothing is an empty text, as in a file
        layers.append((f"override {text!r}", OmegaConf.to_container(OmegaConf.from_dotlist([f"{key}={value}"]))))
    return _build(schema, layers, str(path))


def as_config(schema: type[T], config: DictConfig | Mapping[str, Any] | T, source: str = "config") -> T:
    """A configuration object of any kind as a checked `schema`; `source` names it in errors.

    A `base:` in it is looked for in the folder of the shipped files of that schema.
    """
    if isinstance(config, schema):
        return config
    return _build(schema, _layers(schema, config, REPO_ROOT / schema.folder, source, ()), source)


def _file_layers(schema: type, path: Path, above: tuple[Path, ...]) -> list[Layer]:
    require(
        path.resolve() not in above,
        f"{path}: base leads back to this file through {', '.join(p.name for p in above)}; remove one base",
    )
    try:
        raw = OmegaConf.load(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; shipped ones are in {REPO_ROOT / schema.folder}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: expected YAML, got {_one_line(error)}; correct it") from error
    return _layers(schema, raw, path.parent, str(path), (*above, path.resolve()))


def _layers(schema: type, config: object, folder: Path, source: str, above: tuple[Path, ...]) -> list[Layer]:
    """The values of `config` behind those of the files its `base` leads to."""
    raw = OmegaConf.to_container(config) if OmegaConf.is_config(config) else config
    sections = ", ".join(f.name for f in fields(schema))
    require(isinstance(raw, Mapping), f"{source}: not a mapping; write sections {sections}")
    values = dict(raw)
    base = values.pop("base", "")
    require(isinstance(base, str), f"{source}: base is {base!r}; name one file, relative to this one")
    layers = _file_layers(schema, folder / base, above) if base else []
    return [*layers, (source, values)]


def _build(schema: type[T], layers: Sequence[Layer], source: str) -> T:
    merged = OmegaConf.structured(schema)
    for name, values in layers:
        known = _known_values(schema, values, name)
        try:
            merged = OmegaConf.merge(merged, known)
        except OmegaConfBaseException as error:
            raise ConfigError(_type_message(schema, name, error)) from error
    try:
        return OmegaConf.to_object(merged)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise ConfigError(_type_message(schema, source, error)) from error


def _known_values(schema: type, values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """`values` without obsolete keys, which warn. Raises ConfigError for a key the schema lacks."""

    def section(part: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        hints, known = get_type_hints(part), {}
        names = {f.name for f in fields(part)}
        for key, value in values.items():
            name = f"{prefix}{key}"
            if name in OBSOLETE:
                logger.warning("%s: %s (%r) is obsolete and unused: %s", source, name, value, OBSOLETE[name])
                continue
            if key not in names:
                close = get_close_matches(name, _key_names(schema), n=1)
                remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(names))}"
                raise ConfigError(f"{source}: unknown key {name}; {remedy}")
            if is_dataclass(hints[key]):
                require(isinstance(value, Mapping), f"{source}: {name} is {value!r}; write keys below it")
                value = section(hints[key], value, f"{name}.")
            known[key] = value
        return known

    return section(schema, values, "")


def _key_names(schema: type, prefix: str = "") -> list[str]:
    """All keys of a schema with their sections, as "data.resolution"."""
    hints, names = get_type_hints(schema), []
    for f in fields(schema):
        name = f"{prefix}{f.name}"
        names += _key_names(hints[f.name], f"{name}.") if is_dataclass(hints[f.name]) else [name]
    return names


def _type_message(schema: type, source: str, error: OmegaConfBaseException) -> str:
    key = error.full_key or "the file"
    kind: Any = schema
    for part in key.split("[")[0].split("."):
        kind = get_type_hints(kind).get(part, "value") if is_dataclass(kind) else kind
    expected = kind.__name__ if kind in (bool, int, float, str) else str(kind)
    return f"{source}: {key} must be {expected}: {str(error.msg or error).splitlines()[0]}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def resolve_path(text: str | Path) -> Path:
    """A path written in a configuration: absolute as it is, else relative to the repository root."""
    require(str(text) not in ("", "."), "the configuration has an empty path where one is needed; fill it in")
    return REPO_ROOT / Path(text).expanduser()


def whisper_path(cfg: UNetConfig) -> Path:
    """The Whisper file of a configuration: `ckpt.whisper_path`, or the one as wide as the audio condition."""
    return resolve_path(cfg.ckpt.whisper_path or WHISPER_FILES[cfg.model.cross_attention_dim])


def model_config(cfg: TrainingConfig) -> dict[str, Any]:
    """The model section as plain dicts and lists: keyword arguments of the network's constructor."""
    return asdict(cfg.model)


def save_config(cfg: TrainingConfig, path: str | Path) -> None:
    """Write every value, `base` and overrides resolved, so that the file loads to an equal configuration."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(OmegaConf.to_yaml(OmegaConf.structured(cfg)))
