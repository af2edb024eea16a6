"""Make the demo pairs in assets/: a drawn person who says one thing, and another thing to be said instead.

    python -m scripts.make_demos assets

Needs espeak-ng's voices (pip install espeakng-loader). The same command gives the same pictures and sound.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from latentsync.errors import LatentSyncError
from latentsync.files import atomic_path
from latentsync.synthetic.record import write_clip
from latentsync.synthetic.room import add_room
from latentsync.synthetic.seeds import stream
from latentsync.synthetic.soundtrack import write_wav
from latentsync.synthetic.spec import ClipSpec
from latentsync.synthetic.speech import SAMPLE_RATE, Voice, pad, speak

WAV_RATE = 16000  # what Whisper hears


@dataclass(frozen=True)
class Demo:
    """One pair."""

    identity: int
    seed: int  # of movements and scenery
    voice: Voice
    text: str  # what the video says
    other_text: str  # what the sound says


DEMOS = (
    Demo(
        *(19, 21, Voice("gmw/en-US+f2", "en", rate=150, pitch=52)),
        "Good morning! My name is nobody, because somebody drew me. Please move my lips, "
        "so that they follow whatever you want me to say.",
        "Peter Piper picked a peck of pickled peppers. Maybe you can hear that I am a machine, "
        "but from now on you will see me mean every word. Isn't that a beautiful thing?",
    ),
    Demo(
        *(6, 8, Voice("gmw/de+m3", "de", rate=150, pitch=45)),
        "Guten Abend, meine Damen und Herren. Hier ist das Wetter für morgen: Im Norden bleibt es bewölkt, "
        "im Süden wird es warm und sonnig.",
        "Übung macht den Meister. Fünf Fischer fangen frische Fische, "
        "und am Abend probieren wir beim Bäcker noch ein paar Brötchen mit Butter.",
    ),
    Demo(
        *(8, 5, Voice("sit/cmn-Latn-pinyin+f3", "cmn", rate=150, pitch=55)),
        "ni3 hao3! wo3 shi4 yi2 ge4 hua4 chu1 lai2 de5 ren2. jin1 tian1 tian1 qi4 hen3 hao3, "
        "wo3 men5 yi4 qi3 qu4 gong1 yuan2 ba5.",
        "ma1 ma5 mai3 le5 ba1 bai3 ba1 shi2 ba1 ge4 bao1 zi5. peng2 you3 men5 dou1 hen3 gao1 xing4, "
        "da4 jia1 yi4 bian1 chi1 fan4, yi4 bian1 shuo1 hua4.",
    ),
)


def make_demo(demo: Demo, name: str, folder: Path) -> None:
    """Write NAME_video.mp4 and NAME_audio.wav."""
    spec = ClipSpec(
        seed=demo.seed,
        identities=(demo.identity,),
        text=demo.text,
        language=demo.voice.language,
        voice=demo.voice.name,
        lead_s=0.3,
        trail_s=0.4,
        shake=0.003,
        crf=24,
    )
    with tempfile.TemporaryDirectory() as scratch:
        write_clip(spec, Path(scratch), name)
        with atomic_path(folder / f"{name}_video.mp4") as path:
            shutil.copyfile(Path(scratch) / f"{name}.mp4", path)
    said = pad(speak(demo.other_text, demo.voice), 0.2, 0.4)
    heard = add_room(said.samples, SAMPLE_RATE, stream(demo.seed, "room"))
    with atomic_path(folder / f"{name}_audio.wav") as path:
        write_wav(path, _resampled(heard), WAV_RATE)


def _resampled(samples: np.ndarray) -> np.ndarray:
    return np.clip(resample_poly(samples, 320, 441), -1, 1).astype(np.float32)  # 22.05 -> 16 kHz


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the demo pairs.")
    parser.add_argument("out", type=Path, nargs="?", default=Path("assets"), help="folder (%(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        for number, demo in enumerate(DEMOS, 1):
            make_demo(demo, f"demo{number}", args.out)
            print(f"demo{number}: {' and '.join(f'{p.stat().st_size / 1e3:.0f} KB' for p in _pair(args.out, number))}")
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _pair(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"demo{number}_video.mp4", folder / f"demo{number}_audio.wav"


if __name__ == "__main__":
    sys.exit(main())
