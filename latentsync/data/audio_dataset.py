"""Samples of an audio encoder: 30 s as Whisper hears them, made of the sounds of several clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from whisper.audio import N_FFT, SAMPLE_RATE, mel_filters

from ..synthetic.mouth import REST, opening
from ..whisper.encoder import SEGMENT_COLUMNS
from ..whisper.mel import normalise
from .augment import microphone, stretch
from .draws import clip_of, numpy_generator
from .speech import SILENT, VISEME_CLASSES, SpokenClip

STEPS = SEGMENT_COLUMNS // 2  # positions of the encoder
UNKNOWN = -100  # the viseme of a step without truth, which cross_entropy leaves out
SILENCE = -10.0  # log10 power: the least that a spectrum holds

ALONE = 0.2  # share of windows with one sound, as long as it is: what short recordings look like
PAUSE_STEPS = 40  # mean of the pauses between sounds
SETTLED_STEPS = 30  # away from a sound, where a mouth is at rest

# Standard deviations; of log10 power 0.1 are a decibel.
TRACT = 0.12  # how much longer or shorter a vocal tract is
LOUDNESS, COLOUR = 0.5, 0.4
NOISE_COLOUR = 0.6
NOISE_DECADES = (2.0, 6.0)  # below the loudest moment
NOISY = 0.6  # share of windows with noise
HOLE_BANDS = 12  # fewer of them are silent: what a bad line or another voice hides


@dataclass
class Sound:
    """A window while it is put together; `known` says which steps have a truth."""

    spectrum: Tensor  # (n_mels, 3000) float32: log10 mel power
    mouth: np.ndarray  # (1500, 8) float32
    visemes: np.ndarray  # (1500,) int64
    end: int  # step after the last sound; the rest is filled as for inference


class AudioDataset(Dataset[dict[str, Any]]):
    """Windows by global number, each a function of seed and number alone.

    A sample:
        mel: (n_mels, 3000) float32, as the encoder takes it.
        mouth: (1500, 8) float32, CURVES at each of the encoder's positions.
        viseme: (1500,) int64, indices of VISEME_CLASSES; UNKNOWN where there is no truth for either.
        number: int.

    Args:
        augment: other vocal tracts, microphones and loudnesses for each sound, noise for the window.
    """

    def __init__(self, clips: Sequence[SpokenClip], *, seed: int, augment: bool = False) -> None:
        if not clips:
            raise ValueError("expected clips, got none")
        self.clips, self.seed, self.augment = clips, seed, augment

    def clip(self, number: int) -> SpokenClip:
        """The first one of a window."""
        return self.clips[clip_of(number, len(self.clips), self.seed)]

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = numpy_generator(self.seed, number, "sounds of a window")
        sound = self._put_together(self.clip(number), rng)
        if self.augment:
            add_noise(sound.spectrum, rng)
        return {
            "mel": as_heard(sound.spectrum[:, : 2 * sound.end]),
            "mouth": torch.from_numpy(sound.mouth),
            "viseme": torch.from_numpy(sound.visemes),
            "number": number,
        }

    def _put_together(self, clip: SpokenClip, rng: np.random.Generator) -> Sound:
        """One clip from the start on, or clips with pauses between them until the window is full."""
        n_mels = np.load(clip.spectrum, mmap_mode="r").shape[0]
        sound = empty(n_mels)
        if rng.random() < ALONE:
            sound.end = self._place(sound, clip, 0, rng)
            return sound
        position = 0
        while True:
            pause_end = position + int(rng.exponential(PAUSE_STEPS))
            rest(sound, position, min(pause_end, STEPS))
            if pause_end >= STEPS:
                return sound
            position = self._place(sound, clip, pause_end, rng)
            clip = self.clips[int(rng.integers(len(self.clips)))]

    def _place(self, sound: Sound, clip: SpokenClip, start: int, rng: np.random.Generator) -> int:
        """Write a clip, or what fits of it, from step `start` on; returns the step after it."""
        end = min(start + len(clip.visemes), STEPS)
        stored = np.load(clip.spectrum, mmap_mode="r")[:, : 2 * (end - start)]
        spectrum = torch.from_numpy(stored.astype(np.float32))
        sound.spectrum[:, 2 * start : 2 * end] = another_voice(spectrum, rng) if self.augment else spectrum
        sound.mouth[start:end] = clip.mouth[: end - start]
        sound.visemes[start:end] = clip.visemes[: end - start]
        return end


def empty(n_mels: int) -> Sound:
    """Silence without any truth."""
    still = np.concatenate([opening(REST[None]), REST]).astype(np.float32)
    return Sound(
        torch.full((n_mels, SEGMENT_COLUMNS), SILENCE),
        np.tile(still, (STEPS, 1)),
        np.full(STEPS, UNKNOWN, np.int64),
        STEPS,
    )


def rest(sound: Sound, start: int, end: int) -> None:
    """A pause: in its middle the truth is a mouth at rest; near words, how quickly it closes is not known."""
    first = start + SETTLED_STEPS if start else 0
    sound.visemes[first : max(end - SETTLED_STEPS, first)] = VISEME_CLASSES.index(SILENT)


def as_heard(spectrum: Tensor) -> Tensor:
    """A recording's spectrum (n_mels, T <= 3000) -> (n_mels, 3000), scaled and filled up as for inference."""
    mel = normalise(spectrum, spectrum.max().item())
    return torch.nn.functional.pad(mel, (0, SEGMENT_COLUMNS - mel.shape[1]))


# ----------------------------------------------------------- augmentation


def another_voice(spectrum: Tensor, rng: np.random.Generator) -> Tensor:
    """A spectrum (n_mels, T) of another vocal tract, microphone, distance, and now and then with a hole."""
    n_mels = len(spectrum)
    spectrum = stretch(spectrum, np.exp(rng.normal(0, TRACT)), centres(n_mels))
    spectrum = spectrum + microphone(rng, n_mels, colour=COLOUR, loudness=LOUDNESS)
    lowest, height = rng.integers(n_mels), rng.integers(HOLE_BANDS)
    if rng.random() < 0.5:
        spectrum[lowest : lowest + height] = SILENCE
    return spectrum.clamp(min=SILENCE)


def add_noise(spectrum: Tensor, rng: np.random.Generator) -> None:
    """Add a steady coloured noise to a spectrum (n_mels, T), in place, in most windows."""
    if rng.random() >= NOISY:
        return
    level = spectrum.max().item() - rng.uniform(*NOISE_DECADES)
    colour = microphone(rng, len(spectrum), colour=NOISE_COLOUR, loudness=0)
    power = torch.from_numpy(rng.gamma(4.0, 0.25, spectrum.shape).astype(np.float32))  # of a band's few bins
    noise = (level + colour + power.log10()) * np.log(10)
    spectrum.copy_(torch.logaddexp(spectrum * np.log(10), noise) / np.log(10))


@lru_cache
def centres(n_mels: int) -> np.ndarray:
    """(n_mels,) Hz, ascending: of the bands of Whisper's mel."""
    bank = mel_filters("cpu", n_mels).double().numpy()
    return bank @ np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1) / bank.sum(axis=1)
