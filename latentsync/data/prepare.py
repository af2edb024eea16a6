"""Before training: every clip is decoded and checked once, and what training reads of it is cached."""

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Generic, TypeVar
from zlib import crc32

import numpy as np
import torch

from ..errors import ConfigError, MediaError
from ..files import atomic_path
from ..types import Clip
from ..whisper.audio2feature import Audio2Feature
from ..workers import run_jobs
from . import inspection, mel
from .cache import Cache, read_array, read_json, write_array, write_json
from .clips import TrainingClip
from .frames import decode_resized, decode_spread
from .inspection import Inspection, inspect, read_sound
from .latents import LatentEncoder
from .windows import Needs

logger = logging.getLogger(__name__)

_SHOWN = 5  # unusable clips in the log

#: Of cached arrays: a higher number makes them anew.
_FORMAT = 1

T = TypeVar("T")
#: What is done ("clips", "features" or "latents"), how many of them, of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PrepareSettings:
    """What is made of the clips, and where it is kept."""

    cache_dir: Path
    needs: Needs
    resolution: int | None = None  # of cached frames; None: training decodes the clips
    frames_per_clip: int = 0  # that are cached, at even distances; 0: all
    features_dir: Path | None = None  # of Whisper's features; None: cache_dir
    n_workers: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass(frozen=True)
class Prepared(Generic[T]):
    """The clips that can be trained on, in their given order, and the others with the reason."""

    clips: list[T]
    unusable: list[tuple[Clip, str]]


def prepare(
    clips: Sequence[Clip],
    settings: PrepareSettings,
    *,
    audio: Audio2Feature | None = None,
    latents: LatentEncoder | None = None,
    progress: Progress | None = None,
) -> Prepared[TrainingClip]:
    """Check all clips and cache what training reads: mel spectrograms, and frames where the settings ask for them.

    With `audio` Whisper's features too, with `latents` the VAE's, each on its device, in this process. What is cached
    already is not made again. Raises ConfigError where no clip can be used or the cache cannot be written.
    """
    for folder in filter(None, (settings.cache_dir, settings.features_dir)):
        make_folder(folder)
    progress = progress or (lambda what, done, total: None)
    store = _Store(settings, *(encoder.fingerprint()[:16] if encoder else None for encoder in (audio, latents)))
    failures = _make_entries(clips, store, progress)
    found = {clip.key: store.look(clip) or failures.get(clip.key, "could not be prepared") for clip in clips}
    for make, encoder in ((_make_features, audio), (_make_latents, latents)):
        if encoder:
            found |= make([item for item in found.values() if isinstance(item, TrainingClip)], encoder, progress)
    usable = [item for item in found.values() if isinstance(item, TrainingClip)]
    unusable = [(clip, found[clip.key]) for clip in clips if isinstance(found[clip.key], str)]
    report_unusable(len(clips), unusable)
    return Prepared(usable, unusable)


def write_unusable(path: Path, unusable: Sequence[tuple[Clip, str]]) -> None:
    """A table of the clips that were left out: key, path and reason."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "path", "reason"])
        writer.writerows([clip.key, clip.path, reason] for clip, reason in unusable)


@dataclass(frozen=True)
class _Store:
    """Where everything about a clip is cached, and whether it is there."""

    settings: PrepareSettings
    whisper: str | None  # its fingerprint; None: no features
    vae: str | None  # its fingerprint; None: no latents

    @property
    def cache(self) -> Cache:
        return Cache(self.settings.cache_dir)

    def inspection_path(self, digest: str) -> Path:
        return self.cache.entry(f"inspections-{inspection.FORMAT}", digest, ".json")

    def mel_path(self, digest: str) -> Path:
        return self.cache.entry(f"mel-{_FORMAT}-{crc32(repr(mel.PARAMETERS).encode()):08x}", digest, ".npy")

    def frames_path(self, digest: str) -> Path | None:
        resolution, count = self.settings.resolution, self.settings.frames_per_clip
        kind = f"frames-{_FORMAT}-{resolution}" + (f"-{count}" if count else "")
        return self.cache.entry(kind, digest, ".npy") if resolution else None

    def features_path(self, digest: str) -> Path | None:
        cache = Cache(self.settings.features_dir or self.settings.cache_dir)
        return cache.entry(f"whisper-{_FORMAT}-{self.whisper}", digest, ".npy") if self.whisper else None

    def latents_path(self, digest: str) -> Path | None:
        return self.cache.entry(f"latents-{_FORMAT}-{self.vae}", digest, ".npy") if self.vae else None

    def inspection(self, digest: str) -> Inspection | None:
        try:
            return Inspection(**read_json(self.inspection_path(digest)))
        except TypeError:  # none there, or one of another make
            return None

    def look(self, clip: Clip) -> TrainingClip | str | None:
        """The clip as it is cached (features and latents may lack), why it is unusable, or None where work is left."""
        digest = self.cache.known_digest(clip.path)
        known = self.inspection(digest) if digest else None
        if known is None:
            return None
        if reason := known.shortfall(self.settings.needs):
            return reason
        frames = self.frames_path(digest)
        if any(read_array(path) is None for path in (self.mel_path(digest), frames) if path):
            return None
        features, latents = self.features_path(digest), self.latents_path(digest)
        return TrainingClip(clip, known.n_frames, self.mel_path(digest), features, frames, latents)

    def make(self, clip: Clip) -> None:
        """Whatever of the clip is not cached, but for the features. Raises MediaError where it cannot be read."""
        digest = self.cache.digest(clip.path)
        known = self.inspection(digest)
        if known is None or (not known.problem and read_array(self.mel_path(digest)) is None):
            known, spectrogram = inspect(clip.path)
            if spectrogram is not None:
                write_array(self.mel_path(digest), spectrogram)
            write_json(self.inspection_path(digest), asdict(known))
        frames = self.frames_path(digest)
        if frames and not known.shortfall(self.settings.needs) and read_array(frames) is None:
            resolution, count = self.settings.resolution, self.settings.frames_per_clip
            if count:
                write_array(frames, decode_spread(clip.path, known.n_frames, count, resolution))
            else:
                _write_frames(frames, clip.path, known.n_frames, resolution)


def make_folder(folder: Path) -> None:
    """Make the folder of a cache. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror}); name another folder for caches") from error


def _make_entries(clips: Sequence[Clip], store: _Store, progress: Progress) -> dict[str, str]:
    """Do all work that is left, in several processes; returns the reasons of failures by the clips' keys."""
    left = [clip for clip in clips if store.look(clip) is None]
    done = len(clips) - len(left)
    return make_all(store.make, left, store.settings.n_workers, lambda n: progress("clips", done + n, len(clips)))


def make_all(
    make: Callable[[Clip], None], clips: Sequence[Clip], n_workers: int, progress: Callable[[int], None]
) -> dict[str, str]:
    """Call `make` for all clips, in several processes; returns the reasons of failures by the clips' keys.

    `progress` hears how many are done.
    """
    failures: dict[str, str] = {}
    n_workers = max(1, min(n_workers, len(clips)))
    prepare = _use_one_thread if n_workers > 1 else None  # a single worker is this process
    for n_done, done in enumerate(run_jobs(make, clips, n_workers=n_workers, prepare=prepare), 1):
        progress(n_done)
        if done.failure:
            failures[done.job.key] = done.failure.removeprefix(f"{done.job.path} ")
    return failures


def _use_one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _write_frames(target: Path, path: Path, n_frames: int, resolution: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        shape = (n_frames, resolution, resolution, 3)
        cached = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        done = 0
        for block in decode_resized(path, resolution):
            cached[done : done + len(block)] = block
            done += len(block)
        cached.flush()
        del cached  # Windows renames no file that is mapped


@torch.inference_mode()
def _make_features(clips: Sequence[TrainingClip], audio: Audio2Feature, progress: Progress) -> dict[str, str]:
    """Cache Whisper's features of clips that lack them; returns the reasons of failures by the clips' keys."""
    failures: dict[str, str] = {}
    for done, clip in enumerate(clips, 1):
        if read_array(clip.features) is None:
            try:
                write_array(clip.features, audio.features(read_sound(clip.clip.path)).half().numpy())
            except MediaError as error:
                failures[clip.clip.key] = str(error)
        progress("features", done, len(clips))
    return failures


def _make_latents(clips: Sequence[TrainingClip], encoder: LatentEncoder, progress: Progress) -> dict[str, str]:
    """Cache the VAE's latents of clips that lack them; returns the reasons of failures by the clips' keys."""
    failures: dict[str, str] = {}
    for done, clip in enumerate(clips, 1):
        if read_array(clip.latents) is None:
            try:
                blocks = decode_resized(clip.clip.path, encoder.resolution)
                write_array(clip.latents, np.concatenate([encoder(block) for block in blocks]))
            except MediaError as error:
                failures[clip.clip.key] = str(error)
        progress("latents", done, len(clips))
    return failures


def report_unusable(n_clips: int, unusable: Sequence[tuple[Clip, str]]) -> None:
    """Log how many clips remain. Raises ConfigError where none does."""
    if len(unusable) == n_clips:
        raise ConfigError(f"none of {n_clips} clips can be used; {_commonest(unusable)}")
    if not unusable:
        logger.info("all %d clips can be used", n_clips)
        return
    shown = "; ".join(f"{clip.key}: {reason}" for clip, reason in unusable[:_SHOWN])
    more = "" if len(unusable) <= _SHOWN else f"; and {len(unusable) - _SHOWN} more"
    logger.warning("%d of %d clips can be used, not %s%s", n_clips - len(unusable), n_clips, shown, more)


def _commonest(unusable: Sequence[tuple[Clip, str]]) -> str:
    """The reason that most clips have, whatever its numbers; an example of it."""
    if not unusable:
        return "name a folder or a list that has some"

    def kind(reason: str) -> str:
        return re.sub(r"\d+", "0", reason)

    commonest, count = Counter(kind(reason) for _, reason in unusable).most_common(1)[0]
    clip, reason = next((clip, reason) for clip, reason in unusable if kind(reason) == commonest)
    return f"most often ({count}), as for {clip.key}: {reason}"
