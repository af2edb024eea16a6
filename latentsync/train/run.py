"""From a configuration to a run: its folder, its clips and its plan."""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from latentsync import dist
from latentsync.config import load_config, resolve_path, save_config
from latentsync.data.clips import TrainingClip, find_clips
from latentsync.data.latents import LatentEncoder
from latentsync.data.prepare import Prepared, PrepareSettings, Progress, prepare, write_unusable
from latentsync.data.speech import SpokenClip, prepare_speech
from latentsync.data.windows import Needs
from latentsync.errors import ConfigError
from latentsync.schema import AudioConfig, TrainingConfig
from latentsync.types import Clip
from latentsync.whisper.audio2feature import Audio2Feature

from .loop import Plan

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONFIG_NAME = "config.yaml"


def open_run(cfg: TrainingConfig, folder: str | Path | None) -> Path:
    """The run's folder, made where it is missing, with the resolved configuration in it.

    Without a name it is <data.train_output_dir>/train-<date and time>, new. Keys that differ from those of the
    configuration a run was begun with are told.
    """
    if folder is None:
        name = f"train-{datetime.now():%Y_%m_%d-%H-%M-%S}"
        folder = dist.gather(resolve_path(cfg.data.train_output_dir) / name)[0]
    folder = Path(folder)
    if dist.is_first():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / CONFIG_NAME
            if path.is_file():
                for key, before, now in differences(load_config(type(cfg), path), cfg):
                    logger.warning("%s was begun with %s %r; it goes on with %r", folder, key, before, now)
            save_config(cfg, path)
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be made or written ({error.strerror}); choose another folder"
            ) from error
    dist.wait_for_all()
    return folder


def differences(old: object, new: object) -> list[tuple[str, object, object]]:
    """Keys, as "data.batch_size", with both values, where two configurations differ."""
    found = []
    for section in dataclasses.fields(old):
        before, now = (dataclasses.asdict(getattr(cfg, section.name)) for cfg in (old, new))
        found += [(f"{section.name}.{key}", before[key], now[key]) for key in before if before[key] != now[key]]
    return found


def precision_of(cfg: TrainingConfig, fastest: torch.dtype) -> torch.dtype | None:
    """What autocast computes in; None is float32. `fastest` is the device's choice for "auto"."""
    if not cfg.run.mixed_precision_training:
        return None
    chosen = {"fp16": torch.float16, "bf16": torch.bfloat16, "auto": fastest}[cfg.run.mixed_precision_dtype]
    return None if chosen == torch.float32 else chosen


def plan_of(cfg: TrainingConfig, n_clips: int, precision: torch.dtype | None) -> Plan:
    data, run, optimizer = cfg.data, cfg.run, cfg.optimizer
    samples = data.batch_size * data.gradient_accumulation_steps * dist.world_size()
    max_steps = run.max_train_steps
    if max_steps < 0:
        max_steps = max(1, run.max_train_epochs * n_clips // samples)
    return Plan(
        max_steps=max_steps,
        save_steps=cfg.ckpt.save_ckpt_steps,
        validation_steps=run.validation_steps or cfg.ckpt.save_ckpt_steps,
        batch_size=data.batch_size,
        accumulation=data.gradient_accumulation_steps,
        num_workers=data.num_workers,
        seed=run.seed,
        optimizer=optimizer.name,
        lr=optimizer.lr * (dist.world_size() if optimizer.scale_lr else 1),
        weight_decay=optimizer.weight_decay,
        lr_scheduler=optimizer.lr_scheduler,
        lr_warmup_steps=optimizer.lr_warmup_steps,
        max_grad_norm=optimizer.max_grad_norm,
        precision=precision,
        ema_decay=run.ema_decay,
        compile=run.compile,
        keep_last=cfg.ckpt.keep_last,
    )


def listed_clips(cfg: TrainingConfig) -> tuple[list[Clip], list[Clip]]:
    """The clips to train on, and those to validate on where the configuration names some."""
    data = cfg.data
    train = named_clips(data.train_data_dir, data.train_fileslist)
    held_out = data.val_data_dir or data.val_fileslist
    return train, named_clips(data.val_data_dir, data.val_fileslist) if held_out else []


def named_clips(folder: str, fileslist: str) -> list[Clip]:
    """The clips of a folder or a list, as the configuration writes their paths."""
    return find_clips(*(resolve_path(text) if text else "" for text in (folder, fileslist)))


def prepared_clips(
    cfg: TrainingConfig,
    listed: tuple[list[Clip], list[Clip]],
    folder: Path,
    needs: Needs,
    *,
    cache: Path,
    audio: Audio2Feature | None = None,
    latents: LatentEncoder | None = None,
) -> tuple[list[TrainingClip], list[TrainingClip]]:
    """Those of the `listed_clips` that can be used, by `prepare_clips`."""

    def prepared(clips: list[Clip], name: str) -> Prepared[TrainingClip]:
        return prepare_clips(cfg, clips, needs, cache=cache, audio=audio, latents=latents, name=name)

    return usable_clips(listed, folder, prepared)


def usable_clips(
    listed: tuple[list[Clip], list[Clip]], folder: Path, prepare: Callable[[list[Clip], str], Prepared[T]]
) -> tuple[list[T], list[T]]:
    """What `prepare` makes of the `listed_clips` to train on ("train") and to validate on ("val").

    What is unusable is listed in unusable_*.csv of the run's folder. The first process does the work; the others
    find it done.
    """
    if not dist.is_first():
        dist.wait_for_all()
    usable = []
    for which, clips in zip(("train", "val"), listed, strict=True):
        if not clips:
            logger.warning("neither data.val_data_dir nor data.val_fileslist is set: no losses of held-out clips")
            usable.append([])
            continue
        prepared = prepare(clips, which)
        usable.append(prepared.clips)
        if dist.is_first() and prepared.unusable:
            write_unusable(folder / f"unusable_{which}.csv", prepared.unusable)
    if dist.is_first():
        dist.wait_for_all()
    return usable[0], usable[1]


def prepare_clips(
    cfg: TrainingConfig,
    clips: list[Clip],
    needs: Needs,
    *,
    cache: Path,
    audio: Audio2Feature | None = None,
    latents: LatentEncoder | None = None,
    name: str = "val",
) -> Prepared[TrainingClip]:
    """The usable ones of some clips, and the others with the reason.

    Everything made of them is kept in the folders that the configuration names, else in `cache`. `name` is for the
    progress bar.
    """
    data = cfg.data
    settings = PrepareSettings(
        resolve_path(data.audio_mel_cache_dir or cache),
        needs,
        resolution=data.resolution if getattr(data, "cache_frames", True) else None,
        frames_per_clip=getattr(data, "frames_per_clip", 0),
        features_dir=resolve_path(getattr(data, "audio_embeds_cache_dir", "") or cache),
    )
    with _progress_bar(name, len(clips)) as progress:
        return prepare(clips, settings, audio=audio, latents=latents, progress=progress)


def prepare_spoken(cfg: AudioConfig, clips: list[Clip], name: str, *, cache: Path) -> Prepared[SpokenClip]:
    """The usable ones of some clips of drawn people, for an audio encoder; otherwise as `prepare_clips`."""
    with _progress_bar(name, len(clips)) as progress:
        folder = resolve_path(cfg.data.audio_mel_cache_dir or cache)
        return prepare_speech(clips, folder, n_mels=cfg.model.n_mels, progress=progress)


@contextmanager
def _progress_bar(name: str, n_clips: int) -> Iterator[Progress]:
    """Shows how far the clips of one kind ("train") are prepared."""
    with tqdm(total=n_clips, desc=f"{name} clips", disable=not dist.is_first()) as bar:

        def progress(what: str, done: int, total: int) -> None:
            bar.set_description(f"{name} {what}", refresh=False)
            bar.update(done - bar.n)

        yield progress
