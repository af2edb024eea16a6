"""Make raw videos whose fate in the data pipeline is known: what people bring, and what has to be left out.

python -m scripts.make_raw_videos --out data/known
bash data_processing_pipeline.sh --input_dir data/known/raw
python -m eval.eval_data_pipeline data/known
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from tqdm import tqdm

from latentsync.errors import ConfigError, LatentSyncError, MediaError
from latentsync.files import atomic_path
from latentsync.media.ffmpeg import decode_frames, ffmpeg_path, probe
from latentsync.synthetic.aligned import mesh_views
from latentsync.synthetic.record import is_written, write_clip
from latentsync.synthetic.seeds import derived, stream
from latentsync.synthetic.soundtrack import write_wav
from latentsync.synthetic.spec import Absence, ClipSpec, parse_fps
from latentsync.workers import run_jobs
from preprocess import media as clips
from scripts.make_talking_heads import use_one_thread
from scripts.parser import Parser

TRUTH = "truth.json"
RATE = 25  # of the clips; offsets and stretches are counted in its frames

#: How many of each kind make 200.
RECIPE = {
    "plain": 22,
    "variable": 4,
    "rotated": 4,
    "late_start": 4,
    "offset": 48,
    "far_offset": 12,
    "wrong_sound": 10,
    "long": 6,
    "cut": 12,
    "gap": 10,
    "large_speaks": 8,
    "small_speaks": 6,
    "empty": 8,
    "silent": 6,
    "mute": 8,
    "no_sound": 6,
    "cut_off": 4,
    "damaged": 6,
    "no_video": 4,
    "blurred": 6,
    "short": 6,
}
RATES = ("25", "30", "25", "29.97", "24", "50", "23.976", "60", "25", "30")
SIZES = ((512, 512), (640, 480), (480, 640), (768, 432), (640, 640))
SUFFIXES = (".mp4", ".mov", ".mkv", ".mp4", ".ts", ".avi", ".flv", ".mp4", ".MP4", ".webm")
SOUND = {  # codecs that put nothing before the sound, where a container could not say so
    ".mov": ["-c:a", "pcm_s16le", "-ar", "48000"],
    ".mkv": ["-c:a", "flac", "-ar", "32000"],
    ".avi": ["-c:a", "pcm_s16le", "-ar", "48000", "-ac", "2"],
    ".flv": ["-c:a", "pcm_s16le", "-ar", "22050"],
    ".ts": ["-c:a", "s302m", "-strict", "experimental", "-ar", "48000", "-ac", "2"],
    ".webm": ["-c:a", "libopus", "-ac", "2"],
}
AAC = ["-c:a", "aac", "-ar", "44100", "-ac", "2"]
PICTURE = {  # where a container does not take what was drawn as it is
    ".avi": ["-c:v", "mpeg4", "-q:v", "2"],
    ".webm": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "3M"],
}
ENCODED = ["-c:v", "libx264", "-crf", "16", "-preset", "veryfast"]

Make = Callable[[Path], None]


@dataclass(frozen=True)
class Fate:
    """What the pipeline has to make of a raw video."""

    left_out: tuple[str, ...] = ()  # by which stage and with which beginning of a reason: the video, or a part of it
    offset: int = 0  # frames at 25/s that the sound is early
    stretches: tuple[tuple[int, int], ...] = ()  # first frame and end of each clip, at 25 frames/s


@dataclass(frozen=True)
class Raw:
    """One raw video: what is drawn for it, how the file is made of that, and its fate."""

    kind: str
    name: str  # below the folder of raw videos
    drawn: str  # the drawing that it shows
    fate: Fate
    make: Make = field(repr=False, compare=False)


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="make_raw_videos",
        description="Make raw videos of drawn people in the shapes that people bring them in, and what the data "
        f"pipeline has to make of each ({TRUTH}). A run that was stopped goes on where it was.",
    )
    add = p.add_argument
    add("--out", type=Path, required=True, help=f"folder of raw/, drawn/ and {TRUTH}")
    add("--share", type=float, default=1.0, help="of the 200 videos, at least one of each kind (%(default)g)")
    add("--seed", type=int, default=1, help="(%(default)s)")
    add("--ready", type=int, metavar="N", help="also ready/: the faces of whole shots, aligned without the pipeline")
    add("--workers", type=int, default=2, help="processes (%(default)s)")
    add("--quiet", action="store_true", help="no progress bar")
    return p


class Plan:
    """Which videos, and what has to be drawn for them. Nothing is drawn twice, nor where another drawing will do."""

    def __init__(self, folder: Path, seed: int, share: float) -> None:
        self.drawings: dict[str, ClipSpec] = {}
        self.videos: list[Raw] = []
        self._folder, self._seed = folder, seed
        for kind, number in RECIPE.items():
            for i in range(max(1, round(number * share))):
                getattr(self, f"_{kind}")(i)

    # Drawings

    def _draw(self, kind: str, i: int, *, seconds: tuple[float, float] = (4.0, 6.0), **values) -> str:
        """The name of a new drawing; a whole number of frames at 25/s."""
        name = f"{kind}_{i:03d}"
        seed = derived(self._seed, name)
        rng = stream(seed, "raw")
        width, height = SIZES[int(rng.integers(len(SIZES)))]
        spec = ClipSpec(
            seed=seed,
            seconds=float(rng.integers(round(seconds[0] * RATE), round(seconds[1] * RATE) + 1)) / RATE,
            fps=parse_fps(RATES[i % len(RATES)]),
            width=width,
            height=height,
        )
        self.drawings[name] = replace(spec, **values)
        return name

    def _drawn(self, name: str) -> Path:
        return self._folder / "drawn" / f"{name}.mp4"

    def _seconds(self, name: str) -> float:
        return float(self.drawings[name].seconds)

    def _whole(self, name: str) -> tuple[tuple[int, int], ...]:
        return ((0, round(self._seconds(name) * RATE)),)

    def _add(self, kind: str, i: int, drawn: str, fate: Fate, make: Make, suffix: str = ".mp4") -> None:
        self.videos.append(Raw(kind, f"{kind}/{i % 3} it's $({i}) {drawn}{suffix}", drawn, fate, make))

    def _remade(self, kind: str, i: int, drawn: str, fate: Fate, *, suffix: str = "", **how) -> None:
        """The drawing in another container, changed by `remake`."""
        make = partial(remake, self._drawn(drawn), seconds=self._seconds(drawn), **how)
        self._add(kind, i, drawn, fate, make, suffix or SUFFIXES[i % len(SUFFIXES)])

    # What is kept

    def _plain(self, i: int) -> None:
        drawn = self._draw("plain", i)
        self._remade("plain", i, drawn, Fate(stretches=self._whole(drawn)))

    def _variable(self, i: int) -> None:
        drawn = self._draw("variable", i, fps=Fraction(50))
        how = ["-vf", "select=lt(mod(n\\,5)\\,4)", "-fps_mode", "vfr", *ENCODED]
        self._remade("variable", i, drawn, Fate(stretches=self._whole(drawn)), suffix=".mp4", picture=how)

    def _rotated(self, i: int) -> None:
        drawn = self._draw("rotated", i, width=480, height=640)
        make = partial(rotate, self._drawn(drawn), seconds=self._seconds(drawn))
        self._add("rotated", i, drawn, Fate(stretches=self._whole(drawn)), make, ".mov")

    def _late_start(self, i: int) -> None:
        """Sound that begins after the picture, and is in sync."""
        drawn = self._draw("late_start", i)
        fate = Fate(stretches=self._whole(drawn))
        self._remade("late_start", i, drawn, fate, suffix=".mkv", begins_s=0.3)

    def _offset(self, i: int) -> None:
        drawn = self._draw("offset", i)
        early = (-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6)[i % 12]
        fate = Fate(offset=early, stretches=self._whole(drawn))
        self._remade("offset", i, drawn, fate, early=early)

    def _long(self, i: int) -> None:
        drawn = self._draw("long", i, seconds=(11.0, 13.0), fps=Fraction(25))
        ((_, n_frames),) = self._whole(drawn)
        half = n_frames // 2
        self._remade("long", i, drawn, Fate(stretches=((0, half), (half, n_frames))))

    def _cut(self, i: int) -> None:
        cut = (2.4, 3.0)[i % 2]
        drawn = self._draw("cut", i, seconds=(5.2, 6.0), cut_s=cut)
        n_frames = round(self._seconds(drawn) * RATE)
        at = round(cut * RATE)
        self._remade("cut", i, drawn, Fate(stretches=((0, at), (at, n_frames))))

    def _gap(self, i: int) -> None:
        """A while without a person, longer than is bridged; the clips lie before and after it."""
        start, end = 2.6, 3.6
        fps = Fraction((25, 50)[i % 2])
        drawn = self._draw("gap", i, seconds=(6.2, 6.6), fps=fps, absences=(Absence(start, end, "empty"),))
        n_frames = round(self._seconds(drawn) * RATE)
        stretches = (0, round(start * RATE)), (round(end * RATE), n_frames)
        fate = Fate(("segments: short", "align: no face"), stretches=stretches)
        self._remade("gap", i, drawn, fate)

    def _large_speaks(self, i: int) -> None:
        large, small = self._pair(i)
        self._beside("large_speaks", i, large, small, Fate(stretches=self._whole(large)), speaks=large)

    # What is left out

    def _small_speaks(self, i: int) -> None:
        large, small = self._pair(i + 8)
        self._beside("small_speaks", i, large, small, Fate(("sync: low confidence",)), speaks=small)

    def _beside(self, kind: str, i: int, large: str, small: str, fate: Fate, *, speaks: str) -> None:
        seconds, drawn = self._seconds(large), (self._drawn(large), self._drawn(small))
        self._add(kind, i, large, fate, partial(beside, *drawn, seconds=seconds, speaks=self._drawn(speaks)))

    def _far_offset(self, i: int) -> None:
        drawn = self._some("offset", i)
        early = (-12, -10, -9, 9, 10, 12)[i % 6]
        self._remade("far_offset", i, drawn, Fate(("sync: offset",), early), early=early)

    def _wrong_sound(self, i: int) -> None:
        picture, sound = self._some("offset", i), self._some("plain", i)
        self._remade("wrong_sound", i, picture, Fate(("sync: low confidence",)), sound=self._drawn(sound))

    def _empty(self, i: int) -> None:
        """Nobody there; a bookshelf may look like a face for a while, but does not speak."""
        absence = Absence(0.0, 99.0, "empty")
        drawn = self._draw("empty", i, seconds=(2.4, 3.2), absences=(absence,))
        self._remade("empty", i, drawn, Fate(("align: no face", "sync: low confidence")))

    def _silent(self, i: int) -> None:
        self._remade("silent", i, self._some("offset", i), Fate(("verify: silent",)), gain=0)

    def _mute(self, i: int) -> None:
        """A room's noise, and nobody speaks."""
        self._remade("mute", i, self._draw("mute", i, seconds=(3.2, 4.0), mute=True), Fate(("sync: low confidence",)))

    def _no_sound(self, i: int) -> None:
        self._remade("no_sound", i, self._some("plain", i), Fate(("verify: no sound",)), no_sound=True)

    def _cut_off(self, i: int) -> None:
        """A download that was interrupted."""
        drawn = self._some("plain", i)
        make = partial(cut_off, self._drawn(drawn), share=(0.3, 0.6)[i % 2])
        self._add("cut_off", i, drawn, Fate(("verify: unreadable", "verify: pictures end before the file does")), make)

    def _damaged(self, i: int) -> None:
        """Bytes that changed on the way."""
        drawn = self._some("offset", i)
        make = partial(damage, self._drawn(drawn), seconds=self._seconds(drawn))
        self._add("damaged", i, drawn, Fate(("verify: unreadable", "shots: damaged")), make)

    def _no_video(self, i: int) -> None:
        drawn = self._some("plain", i)
        content = (b"", b"This is not a video.\n", bytes(100_000), np.random.default_rng(i).bytes(50_000))[i % 4]
        self._add("no_video", i, drawn, Fate(("verify: unreadable",)), partial(write, content))

    def _blurred(self, i: int) -> None:
        drawn = self._draw("blurred", i, seconds=(3.2, 4.0), blur=5.0)
        self._remade("blurred", i, drawn, Fate(("quality: low quality", "sync: low confidence")))

    def _short(self, i: int) -> None:
        drawn = self._some("plain", i)
        make = partial(remake, self._drawn(drawn), seconds=1.2)
        self._add("short", i, drawn, Fate(("verify: short",)), make, SUFFIXES[i % len(SUFFIXES)])

    # Drawings that are used again

    def whole(self) -> list[str]:
        """The drawings of the videos that the pipeline keeps whole."""
        return [video.drawn for video in self.videos if len(video.fate.stretches) == 1]

    def _some(self, kind: str, i: int) -> str:
        names = [name for name in self.drawings if name.startswith(f"{kind}_")]
        return names[i % len(names)]

    def _pair(self, i: int) -> tuple[str, str]:
        """A new drawing and another one of the same rate, which will be shown smaller."""
        large = self._draw("pair", i, seconds=(3.4, 4.4), fps=Fraction(25), width=512, height=512)
        others = [n for n, spec in self.drawings.items() if n.startswith(("plain_", "offset_")) and spec.fps == RATE]
        return large, others[i % len(others)]


# Files


def ffmpeg(*args: str | Path) -> None:
    """Raises MediaError."""
    command = [ffmpeg_path(), "-nostdin", "-v", "error", "-y", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MediaError(f"{args[-1]} cannot be made: {done.stderr.strip()[-300:]}")


def spoken(drawn: Path, n_samples: int, *, early: int = 0) -> np.ndarray:
    """The sound of a drawing, (n,) int16 at 16 kHz, so many frames (at 25/s) early.

    A drawn frame shows the middle of its exposure. Sound is moved to where it belongs with frames of 25/s, as what is
    known of offsets would else be a fraction of a frame.
    """
    exposure = round((1 / (2 * RATE) - 1 / (2 * probe(drawn).rate)) * clips.SAMPLE_RATE)
    shift = early * clips.SAMPLES_PER_FRAME - exposure
    first, rest = divmod(shift, clips.SAMPLES_PER_FRAME)
    n_frames = -(-(rest + n_samples) // clips.SAMPLES_PER_FRAME)
    return clips.sound_of(drawn, first, n_frames)[rest:][:n_samples]


def muted(drawn: Path, target: Path) -> Path:
    """Its pictures alone, the first one at 0; with the sound they begin as late as that one's encoder needs."""
    ffmpeg("-i", drawn, "-map", "0:v", "-c", "copy", "-copyts", target)
    return target


def remake(
    drawn: Path,
    target: Path,
    *,
    seconds: float,
    sound: Path | None = None,
    early: int = 0,
    gain: int = 1,
    begins_s: float = 0.0,
    picture: Sequence[str] = (),
    no_sound: bool = False,
) -> None:
    """The drawing in the target's container, with its own sound or another drawing's, or none."""
    suffix = target.suffix.lower()
    picture = ["-map", "0:v", *(picture or PICTURE.get(suffix, ["-c:v", "copy"])), "-t", str(seconds)]
    with TemporaryDirectory() as folder:
        mute, wav = muted(drawn, Path(folder, "mute.mp4")), Path(folder, "sound.wav")
        if no_sound:
            ffmpeg("-i", mute, *picture, target)
            return
        heard = gain * spoken(sound or drawn, round(seconds * clips.SAMPLE_RATE), early=early)
        write_wav(wav, heard[round(begins_s * clips.SAMPLE_RATE) :] / 32767, clips.SAMPLE_RATE)
        heard_as = ["-map", "1:a", *SOUND.get(suffix, AAC)]
        ffmpeg("-i", mute, "-itsoffset", begins_s, "-i", wav, *picture, *heard_as, target)


def rotate(drawn: Path, target: Path, *, seconds: float) -> None:
    """As a phone writes what it films upright: turned pictures, and a note that they are."""
    with TemporaryDirectory() as folder:
        lying = Path(folder, "lying.mov")
        remake(drawn, lying, seconds=seconds, picture=["-vf", "transpose=cclock", *ENCODED])
        ffmpeg("-display_rotation", "-90", "-i", lying, "-c", "copy", target)


def beside(large: Path, small: Path, target: Path, *, seconds: float, speaks: Path) -> None:
    """Two people, one half as large as the other, and the sound of one of them."""
    half = "[1:v]scale=256:256:force_original_aspect_ratio=decrease,pad=256:512:-1:-1,setsar=1"
    both = f"{half},tpad=stop=-1:stop_mode=clone[half];[0:v][half]hstack=shortest=1"
    with TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures.mp4")
        shown = muted(large, Path(folder, "large.mp4")), muted(small, Path(folder, "small.mp4"))
        ffmpeg("-i", shown[0], "-i", shown[1], "-filter_complex", both, *ENCODED, pictures)
        remake(pictures, target, seconds=seconds, sound=speaks)


def cut_off(drawn: Path, target: Path, *, share: float) -> None:
    content = drawn.read_bytes()
    target.write_bytes(content[: round(share * len(content))])


def damage(drawn: Path, target: Path, *, seconds: float) -> None:
    noisy = ["-c:v", "copy", "-bsf:v", "noise=amount=20000"]
    remake(drawn, target, seconds=seconds, picture=noisy)


def write(content: bytes, target: Path) -> None:
    target.write_bytes(content)


def make(video: Raw, folder: Path) -> None:
    target = folder / video.name
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        video.make(temporary)


# The run


def draw(job: tuple[str, ClipSpec], *, folder: Path) -> None:
    name, spec = job
    write_clip(spec, folder, name, landmarks=True)


def cut_out(name: str, *, drawings: Path, folder: Path, side: int) -> None:
    """The drawn person's face, aligned by what is known of it, and its own sound, as a clip to train on."""
    target, drawn = folder / f"{name}.mp4", drawings / f"{name}.mp4"
    if target.is_file():
        return
    meshes = np.load(drawn.with_suffix(".npz"))["landmarks"][:, 0]
    rate = probe(drawn).rate
    with closing(decode_frames(drawn, Fraction(RATE))) as frames:
        pictures = list(frames)
    shown = [min(round(i * rate / RATE), len(meshes) - 1) for i in range(len(pictures))]
    views = mesh_views(meshes[shown], Fraction(RATE), side)
    squares = (cv2.warpAffine(p, v, (side, side), flags=cv2.INTER_CUBIC) for p, v in zip(pictures, views, strict=True))
    clips.write_clip(target, squares, partial(clips.sound_of, drawn, 0), crf=17, preset="medium")


def lines(plan: Plan) -> Iterator[dict]:
    """One for each video, as JSON has them."""
    for video in plan.videos:
        yield {"kind": video.kind, "path": video.name, "drawn": video.drawn, "fate": asdict(video.fate)}


def work(what: str, task: Callable, jobs: list, args: argparse.Namespace) -> None:
    """Raises MediaError for the first job that fails."""
    with closing(run_jobs(task, jobs, n_workers=args.workers, prepare=use_one_thread)) as all_done:
        for done in tqdm(all_done, total=len(jobs), unit=f" {what}", disable=args.quiet):
            if done.failure:
                raise MediaError(done.failure)


def main(args: argparse.Namespace) -> None:
    """Raises LatentSyncError."""
    plan, truth = Plan(args.out, args.seed, args.share), args.out / TRUTH
    told = json.dumps(list(lines(plan)), indent=1) + "\n"
    if truth.is_file() and truth.read_text() != told:
        raise ConfigError(f"{truth} tells of other videos than those wanted; choose another --out")
    drawn = args.out / "drawn"
    drawn.mkdir(parents=True, exist_ok=True)
    missing = [job for job in plan.drawings.items() if not is_written(job[1], drawn, job[0], landmarks=True)]
    work("drawings", partial(draw, folder=drawn), missing, args)
    work("videos", partial(make, folder=args.out / "raw"), plan.videos, args)
    if args.ready:
        ready = args.out / "ready"
        ready.mkdir(exist_ok=True)
        work("clips", partial(cut_out, drawings=drawn, folder=ready, side=args.ready), plan.whole(), args)
    with atomic_path(truth) as path:
        path.write_text(told)
    print(f"{args.out}: {len(plan.videos)} raw videos, {len(plan.drawings)} drawings")


def cli(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        main(args)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(cli())
