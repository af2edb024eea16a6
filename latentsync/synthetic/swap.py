"""A task whose answer is known: a person who says one thing, and another voice whose words the lips shall say.

NAME.mp4 is the person, NAME.other.mp4 the answer: the same person in the same movement, saying the other words. Beside
them lie sounds: NAME.new.wav, the answer's own, and two that are no answer, NAME.wrong.wav and NAME.shuffled.wav.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from ..files import atomic_path
from .clip import Clip
from .record import is_written, write_clip
from .seeds import derived, stream
from .soundtrack import voice_of, write_wav
from .spec import ClipSpec
from .studio import Studio, real_studio

SOUNDS = ("new", "wrong", "shuffled")
CHUNK_S = 0.4  # two syllables: sounds stay whole, while none is where it was
_FADE_S = 0.01  # no clicks between chunks

Range = tuple[int, int]


def swap_spec(
    seed: int,
    *,
    seconds: tuple[float, float],
    side: int,
    identities: Range,
    sentences: Range,
    variants: Sequence[str],
) -> ClipSpec:
    """A clip with its counterfactual in another timbre; seeds are drawn from [lo, hi). Raises ConfigError."""
    if len(set(variants)) < 2:
        raise ConfigError(f"a swap needs two timbres of voices, got {', '.join(variants) or 'none'}; name another")
    spec = ClipSpec(
        seed=seed,
        identities=(int(stream(seed, "who").integers(*identities)),),
        sentences=tuple(stream(seed, "said").choice(np.arange(*sentences), 2, replace=False).tolist()),
        seconds=round(stream(seed, "seconds").uniform(*seconds), 3),
        variants=tuple(variants),
        width=side,
        height=side,
        counterfactual=True,
    )
    pairs = (replace(spec, voices=(spec.voice_seed(0), derived(seed, "other voice", i))) for i in count())
    return next(pair for pair in pairs if voice_of(pair, 0).variant != voice_of(pair, 0, other=True).variant)


def sound_path(folder: Path, name: str, sound: str) -> Path:
    """Where one of SOUNDS lies."""
    return Path(folder, f"{name}.{sound}.wav")


def is_complete(spec: ClipSpec, folder: Path, name: str) -> bool:
    """Whether the folder has this swap. Raises ConfigError where it has another one of that name."""
    return is_written(spec, folder, name) and all(sound_path(folder, name, sound).is_file() for sound in SOUNDS)


def write_swap(spec: ClipSpec, folder: Path, name: str, *, studio: Studio | None = None) -> None:
    """Make the two videos and the sounds. Raises LatentSyncError."""
    studio = studio or real_studio()
    heard, rate = Clip(spec, studio).sound(other=True)
    third = replace(spec, sentences=(spec.sentence(0), derived(spec.seed, "third sentence")))
    sounds = {
        "new": heard,
        "wrong": Clip(third, studio).sound(other=True)[0],
        "shuffled": shuffled(heard, rate, stream(spec.seed, "shuffled")),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for sound in SOUNDS:
        with atomic_path(sound_path(folder, name, sound)) as path:
            write_wav(path, sounds[sound], rate)
    write_clip(spec, folder, name, studio=studio)


def shuffled(samples: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Samples (n,) in chunks of CHUNK_S, none of which is in its place: the same voice and words at wrong times.

    What is left over at the end, less than a chunk, stays.
    """
    length = round(CHUNK_S * rate)
    n = len(samples) // length
    if n < 2:
        return samples[::-1].copy()
    order = rng.permutation(n)
    order = order[np.argsort(np.roll(order, 1))]  # one cycle through all of them, so that none stays
    ramp = np.minimum(np.arange(length) + 0.5, length - 0.5 - np.arange(length)) / (_FADE_S * rate)
    chunks = samples[: n * length].reshape(n, length) * np.minimum(ramp, 1).astype(samples.dtype)
    return np.concatenate([chunks[order].ravel(), samples[n * length :]])
