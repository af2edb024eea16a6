"""Speech of the stand-in studio, and spoken clips as they are cached, made of arrays alone."""

from pathlib import Path

import numpy as np

from latentsync.data.speech import CURVES, VISEME_CLASSES, SpokenClip
from latentsync.synthetic.record import write_clip
from latentsync.synthetic.spec import ClipSpec
from latentsync.types import Clip

from ..synthetic.stand_in import STUDIO

N_MELS = 80


def write_speaker(folder: Path, name: str, seed: int, seconds: float = 2.4, **changes) -> Path:
    """A drawn ellipse that hums while its lips are open: NAME.mp4 and its truth."""
    spec = ClipSpec(seed, seconds=seconds, width=64, height=64, language="en", room=False, camera=False, **changes)
    return write_clip(spec, folder, name, studio=STUDIO)


def write_spoken(folder: Path, n: int = 3, steps: int = 120) -> list[SpokenClip]:
    """Clips whose lips part now and then: band 40 is loud exactly while they are, all else is soft.

    Their visemes count the steps. The clips differ in length by ten steps each.
    """
    rng, clips = np.random.default_rng(0), []
    for i in range(n):
        length = steps + 10 * i
        mouth = rng.uniform(size=(length, len(CURVES))).astype(np.float32)
        opening = np.repeat(rng.random(length // 10) < 0.5, 10)
        opening[:10] = True
        mouth[:, 0] = opening
        spectrum = np.full((N_MELS, 2 * length), -5, np.float16)
        spectrum[40] = np.repeat(opening, 2) * 6 - 5
        path = folder / f"spectrum{i}.npy"
        np.save(path, spectrum)
        clip = Clip(f"{i}.mp4", folder / f"{i}.mp4")
        clips.append(SpokenClip(clip, path, mouth, np.arange(length) % len(VISEME_CLASSES)))
    return clips
