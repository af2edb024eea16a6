"""What the people of a clip say, and the sound of it. Times in seconds of the picture, from its start."""

import wave
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from .room import add_room
from .seeds import stream
from .spec import ClipSpec
from .speech import (
    ALL_VARIANTS,
    LEAD_S,
    PAUSE_S,
    SAMPLE_RATE,
    VARIANTS,
    VOICES,
    Speech,
    Voice,
    join,
    pad,
    random_voice,
    silence,
)
from .studio import Studio

_PCM = 32767
_FADE_S = 0.01  # of words that the clip's end cuts off: no click


def voice_of(spec: ClipSpec, person: int, *, other: bool = False) -> Voice:
    """Who lends a person the voice, in the counterfactual with `other`. Raises ConfigError for unknown names."""
    rng = stream(spec.voice_seed(person, other=other), "voice")
    named = spec.voice if person == spec.subject else None
    language = spec.language
    if named is not None:
        language = next((key for key, names in VOICES.items() if named in names), None)
        if language is None or spec.language not in (None, language):
            known = ", ".join(VOICES[spec.language or "en"][:3])
            raise ConfigError(f"{named} is no voice of {spec.language or 'any language'}; expected one such as {known}")
    if unknown := set(spec.variants) - set(ALL_VARIANTS):
        raise ConfigError(f"{', '.join(sorted(unknown))}: no such timbre; expected some of {', '.join(ALL_VARIANTS)}")
    try:
        voice = random_voice(rng, language, variants=spec.variants or VARIANTS)
    except ValueError as error:
        raise ConfigError(f"a clip has no voice: {error}") from error
    return voice if named is None else replace(voice, name=named)


def spoken_s(spec: ClipSpec, studio: Studio) -> float:
    """How long the text lasts, with the silences around it."""
    return spec.lead_s + studio.speak(spec.text, voice_of(spec, spec.subject)).duration_s + spec.trail_s


def words_of(spec: ClipSpec, studio: Studio, n_frames: int, *, other: bool = False) -> dict[int, Speech]:
    """What each speaking person of a shot says, counted from the left; with `other` in the counterfactual.

    Each lasts as long as the frames, and longer where the sound is early: what is then heard at the end.
    """
    seconds = float((n_frames + max(spec.audio_offset, 0)) / spec.fps)
    return {person: _words(spec, studio, person, seconds, other=other) for person in spec.speakers}


def _words(spec: ClipSpec, studio: Studio, person: int, seconds: float, *, other: bool) -> Speech:
    voice = voice_of(spec, person, other=other)
    if spec.text is not None and person == spec.subject and not other:
        said = studio.speak(spec.text, voice)
    else:
        rng = stream(spec.sentence(person, other=other), "sentence")
        said = _talk(rng, studio, voice, max(seconds - spec.lead_s - spec.trail_s, 0.0))
    said = pad(said, spec.lead_s, 0.0)
    return pad(said, 0.0, max(seconds - said.duration_s, 0.0))


def _talk(rng: np.random.Generator, studio: Studio, voice: Voice, seconds: float) -> Speech:
    """Sentence after sentence, the last one cut off as the ends of clips do; so short clips have words too."""
    parts = [silence(rng.uniform(*LEAD_S))]
    while sum(part.duration_s for part in parts) < seconds:
        parts += [studio.speak(studio.sentence(rng, voice.language), voice), silence(rng.uniform(*PAUSE_S))]
    whole = join(parts)
    n = max(round(seconds * whole.sample_rate), 0)
    samples = whole.samples[:n].copy()
    fade = min(n, round(_FADE_S * whole.sample_rate))
    samples[n - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    phonemes = [replace(p, end_s=min(p.end_s, seconds)) for p in whole.phonemes if p.start_s < seconds]
    return replace(whole, samples=samples, phonemes=tuple(phonemes))


def sound_of(words: Sequence[Speech], *, spec: ClipSpec, n_frames: int) -> tuple[np.ndarray, int]:
    """The clip's sound (n,) float32 in [-1, 1] and its rate: all voices in their room, as long as the frames.

    Sample i sounds at i / rate of the file; the offset moves it against the pictures.
    """
    length_s = float((n_frames + max(spec.audio_offset, 0)) / spec.fps)
    silent = silence(length_s, words[0].sample_rate if words else SAMPLE_RATE)
    rate = silent.sample_rate
    sound = silent.samples
    for one in words:
        sound[: len(one.samples)] += one.samples[: len(sound)]
    if spec.room:
        sound = add_room(sound, rate, stream(spec.seed, "room"))
    elif (peak := float(np.abs(sound).max(initial=0))) > 1:
        sound = sound / peak
    n_samples = round(Fraction(n_frames) / spec.fps * rate)
    shift = round(spec.audio_offset / spec.fps * rate)  # > 0: the file starts with what is seen later
    moved = np.concatenate([np.zeros(max(-shift, 0), np.float32), sound[max(shift, 0) :]])[:n_samples]
    return np.pad(moved, (0, n_samples - len(moved))), rate


def write_wav(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Mono samples in [-1, 1] as 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.round(samples * _PCM).astype("<i2").tobytes())
