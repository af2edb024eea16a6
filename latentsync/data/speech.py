"""What an audio encoder learns from: the sound of a drawn person's clip, and what the mouth does at each moment."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import MediaError
from ..synthetic.mouth import PARAMETERS, SILENT, VISEMES, viseme_at
from ..synthetic.speech import Phoneme
from ..types import Clip
from ..whisper.encoder import STEPS_PER_SECOND
from ..whisper.mel import log_spectrum, n_columns
from .cache import Cache, read_array, write_array
from .inspection import read_sound
from .prepare import Prepared, Progress, make_all, make_folder, report_unusable

#: What is told about the mouth, each a column of the truth.
CURVES = ("opening", *PARAMETERS)
VISEME_CLASSES = (SILENT, *VISEMES)

#: Of cached spectra: a higher number makes them anew.
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class SpokenClip:
    """A clip in which one person speaks.

    Step p of the truth is the moment p / 50 s, which is where the encoder's position p has its middle: column c of the
    mel is centred at c / 100 s, and the second convolution centres position p at column 2 p.
    """

    clip: Clip
    spectrum: Path  # .npy, (n_mels, T) float16: log10 mel power, without the floor that depends on the recording
    mouth: np.ndarray  # (steps, 8) float32: CURVES; steps <= T // 2
    visemes: np.ndarray  # (steps,) int64: indices of VISEME_CLASSES


def read_truth(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Curves (steps, 8) float32 and visemes (steps,) int64 from the sidecar of a clip at `path`.

    Between frames, whose values are those of their middles, curves are linear; visemes come from the phonemes.
    Raises MediaError where there is no sidecar, or not just one person who speaks in sync.
    """
    sidecar = path.with_suffix(".json")
    try:
        truth = json.loads(sidecar.read_text(encoding="utf-8"))
        people, rate = truth["people"], Fraction(truth["fps"])
        if len(people) != 1 or not people[0]["speaks"] or truth["sound"]["offset_frames"]:
            raise MediaError(f"{path} is not of one person who speaks in sync; leave it out")
        curves = np.array([people[0]["frames"][name] for name in CURVES])
        phonemes = [Phoneme(symbol, start_s, end_s) for symbol, start_s, end_s in people[0]["phonemes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MediaError(
            f"{path} has no truth that can be read beside it ({type(error).__name__} in {sidecar.name}); take clips "
            "of scripts.make_talking_heads"
        ) from error
    n_frames = curves.shape[1]
    times_s = np.arange(int(n_frames / rate * STEPS_PER_SECOND)) / STEPS_PER_SECOND
    middles_s = (np.arange(n_frames) + 0.5) / float(rate)
    mouth = np.stack([np.interp(times_s, middles_s, curve) for curve in curves], axis=1)
    visemes = [VISEME_CLASSES.index(name) for name in viseme_at(phonemes, times_s)]
    return mouth.astype(np.float32), np.array(visemes)


@dataclass(frozen=True)
class _Spectra:
    """Where the spectrum of a clip is cached, and how it is made."""

    cache: Cache
    n_mels: int

    def path(self, digest: str) -> Path:
        return self.cache.entry(f"spectrum-{_FORMAT}-{self.n_mels}", digest, ".npy")

    def known(self, clip: Clip) -> Path | None:
        """The cached spectrum; None where it is still to be made."""
        digest = self.cache.known_digest(clip.path)
        path = self.path(digest) if digest else None
        return path if path and read_array(path) is not None else None

    def make(self, clip: Clip) -> None:
        """Raises MediaError where the clip has no sound that can be read."""
        path = self.path(self.cache.digest(clip.path))
        samples = read_sound(clip.path)
        columns = n_columns(len(samples))
        if columns < 2 or not samples.any():
            raise MediaError(f"{clip.path} has nothing but silence; leave it out")
        write_array(path, log_spectrum(samples, 0, columns, self.n_mels).half().numpy())


def prepare_speech(
    clips: Sequence[Clip], cache_dir: Path, *, n_mels: int = 80, n_workers: int = 0, progress: Progress | None = None
) -> Prepared[SpokenClip]:
    """Read the truth of all clips and cache their spectra; 0 `n_workers` are as many as the machine has cores.

    Raises ConfigError where no clip can be used or the cache cannot be written.
    """
    make_folder(cache_dir)
    spectra = _Spectra(Cache(cache_dir), n_mels)
    truths: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    reasons: dict[str, str] = {}
    for clip in clips:  # first, as it costs little
        try:
            truths[clip.key] = read_truth(clip.path)
        except MediaError as error:
            reasons[clip.key] = str(error).removeprefix(f"{clip.path} ")
    left = [clip for clip in clips if clip.key in truths and spectra.known(clip) is None]
    done = len(clips) - len(left)
    tell = progress or (lambda what, done, total: None)
    reasons |= make_all(
        spectra.make, left, n_workers or os.cpu_count() or 1, lambda n: tell("spectra", done + n, len(clips))
    )
    usable = []
    for clip in clips:
        if clip.key not in reasons:
            path = spectra.known(clip)
            steps = np.load(path, mmap_mode="r").shape[1] // 2
            mouth, visemes = truths[clip.key]
            usable.append(SpokenClip(clip, path, mouth[:steps], visemes[:steps]))
    unusable = [(clip, reasons[clip.key]) for clip in clips if clip.key in reasons]
    report_unusable(len(clips), unusable)
    return Prepared(usable, unusable)
