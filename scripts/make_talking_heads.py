"""Make videos of drawn people who speak, with everything about them known: for training, evaluation and tests.

python -m scripts.make_talking_heads --out data/heads --count 1000 --seed 1 --seconds 4 8
python -m scripts.make_talking_heads --out data/crops --count 1000 --aligned 256 --identities 0 900
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
from tqdm import tqdm

from latentsync.errors import ConfigError, LatentSyncError
from latentsync.files import atomic_path
from latentsync.synthetic.motion import STRONG
from latentsync.synthetic.record import is_written, names_of, write_clip
from latentsync.synthetic.seeds import derived, stream
from latentsync.synthetic.soundtrack import voice_of
from latentsync.synthetic.spec import OCCLUDERS, Absence, ClipSpec, Occlusion, parse_fps
from latentsync.synthetic.studio import Studio
from latentsync.workers import run_jobs
from scripts.parser import Parser

FILES_LIST = "fileslist.txt"
SECONDS = (4.0, 8.0)
SILENCES = ("lead", "trail", "both", "all")
SHORTEST_EVENT_S = 2.0  # of a profile or whatever takes a part of a clip

Job = tuple[str, ClipSpec]


def names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="make_talking_heads",
        description="Make videos of drawn people who speak, each with a .json that tells the truth about every frame. "
        "A clip depends on nothing but the seed, its number and the options: a run that was stopped goes on where it "
        "was, and a larger count adds clips.",
    )
    add = p.add_argument
    add("--out", type=Path, required=True, help=f"folder of the clips and of {FILES_LIST}")
    add("--count", type=int, default=1, help="clips (%(default)s)")
    add("--seed", type=int, default=0, help="of everything that is not given (%(default)s)")
    add("--workers", type=int, help="processes (default: one for each processor)")
    add("--force", action="store_true", help="replace clips of the same name that were made otherwise")
    add("--landmarks", action="store_true", help="all 468 landmarks of each frame too, as NAME.npz")
    add("--quiet", action="store_true", help="no progress bar")
    add("--debug", action="store_true", help="more messages")

    group = p.add_argument_group("the files")
    add = group.add_argument
    add("--seconds", type=float, nargs="+", metavar=("LO", "HI"), help="length (default: 4 8, or that of --text)")
    add("--size", type=int, nargs=2, default=(512, 512), metavar=("W", "H"), help="pixels (512 512)")
    add("--fps", default="25", help="such as 25, 23.976, 30, 60000/1001 (%(default)s)")
    add("--crf", type=int, default=18, help="quality, lower is better and larger (%(default)s)")
    add("--aligned", type=int, metavar="N", help="write the speaker's aligned face as a square of N pixels only")
    add("--counterfactual", action="store_true", help="also NAME.other.mp4: another sentence by the same pictures")

    group = p.add_argument_group("who speaks; disjoint ranges make disjoint sets")
    add = group.add_argument
    add("--identities", type=int, nargs=2, metavar=("LO", "HI"), help="seeds of the faces, without HI (any)")
    add("--sentences", type=int, nargs=2, metavar=("LO", "HI"), help="seeds of what is said, without HI (any)")
    add("--languages", type=names, default=(), metavar="en,es", help="drawn from these (all)")
    add("--variants", type=names, default=(), metavar="f1,m3", help="timbres of the voices (24 of the 57)")
    add("--voice", help="full name of the speaker's voice, such as gmw/en-US+f3")
    add("--text", help="what the speaker says")
    add("--two_people", action="store_true", help="side by side; one of them speaks")
    add("--both_speak", action="store_true", help="two people who speak at once")

    group = p.add_argument_group("what happens, at random moments")
    add = group.add_argument
    add("--strong_pose", action="store_true", help="lively movements of the head")
    add("--profile", action="store_true", help="the head turns to the side and back")
    add("--no_face", choices=("leaves", "empty"), nargs="?", const="leaves", help="a while without a face (leaves)")
    add("--cut", action="store_true", help="to another person in another place")
    add("--occluder", choices=OCCLUDERS, help="something before the mouth")
    add("--shake", type=float, nargs="?", const=0.006, default=0.0, help="of the camera, picture heights (0.006)")
    add("--zoom", type=float, nargs="?", const=0.06, default=0.0, help="of the camera, share of the size (0.06)")

    group = p.add_argument_group("picture and sound")
    add = group.add_argument
    add("--blur", type=float, nargs="?", const=2.5, metavar="PX", help="out of focus: deviation at 512 pixels (2.5)")
    add("--noise", type=float, metavar="LEVELS", help="of the sensor, deviation (a random one)")
    add("--no_camera", action="store_true", help="neither lens nor sensor: pictures as they are drawn")
    add("--audio_offset", type=int, default=0, metavar="K", help="frames that the sound is early (%(default)s)")
    add("--silence", choices=SILENCES, help="before the words, after them, around them, or nothing but silence")
    add("--no_room", action="store_true", help="voices without echoes and noise")
    return p


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = parser()
    args = p.parse_args(argv)
    if args.count < 1:
        p.error(f"--count {args.count}: expected 1 or more")
    if args.workers is not None and args.workers < 1:
        p.error(f"--workers {args.workers}: expected 1 or more")
    if args.seed < 0:
        p.error(f"--seed {args.seed}: expected 0 or more")
    if args.seconds is None and args.text is None:
        args.seconds = SECONDS
    if args.seconds is not None and (len(args.seconds) > 2 or not 0 < args.seconds[0] <= args.seconds[-1]):
        p.error(f"--seconds {' '.join(map(str, args.seconds))}: expected one length, or the least and the greatest")
    for name in ("identities", "sentences"):
        pool = getattr(args, name)
        if pool and not 0 <= pool[0] < pool[1]:
            p.error(f"--{name} {pool[0]} {pool[1]}: expected a first seed, and one that comes after the last")
    if args.seconds is None and any((args.profile, args.no_face, args.cut, args.occluder)):
        p.error("--profile, --no_face, --cut and --occluder need --seconds where a --text is given")
    return args


def part_of(rng: np.random.Generator, seconds: float) -> tuple[float, float]:
    """A span that is a quarter to a half of a clip, with a bit of it before and after where there is room."""
    length = max(rng.uniform(0.25, 0.5) * seconds, min(SHORTEST_EVENT_S, 0.6 * seconds))
    start = rng.uniform(0.2, 0.8) * (seconds - length)
    return round(start, 3), round(start + length, 3)


def spec_of(args: argparse.Namespace, number: int) -> ClipSpec:
    """The clip of a number. Raises ConfigError."""
    seed = derived(args.seed, "clip", number)
    rng = {name: stream(seed, name) for name in ("seconds", "who", "said", "language", "span", "cut", "silence")}
    seconds = None if args.seconds is None else round(rng["seconds"].uniform(args.seconds[0], args.seconds[-1]), 3)
    people = 2 if args.two_people or args.both_speak else 1
    span = part_of(rng["span"], seconds or 1.0)
    quiet = rng["silence"].uniform(0.15, 0.3, 2) * (seconds or 4.0)

    def drawn(pool: Sequence[int] | None, source: np.random.Generator, n: int) -> tuple[int, ...]:
        return tuple(source.integers(*pool, size=n).tolist()) if pool else ()

    return ClipSpec(
        seed=seed,
        identities=drawn(args.identities, rng["who"], people * (1 + args.cut)),
        sentences=drawn(args.sentences, rng["said"], people * (1 + args.counterfactual)),
        seconds=seconds,
        text=args.text,
        language=str(rng["language"].choice(args.languages)) if args.languages else None,
        variants=args.variants,
        voice=args.voice,
        mute=args.silence == "all",
        lead_s=round(quiet[0], 3) if args.silence in ("lead", "both") else 0.0,
        trail_s=round(quiet[1], 3) if args.silence in ("trail", "both") else 0.0,
        room=not args.no_room,
        audio_offset=args.audio_offset,
        fps=parse_fps(args.fps),
        width=args.size[0],
        height=args.size[1],
        people=people,
        both_speak=args.both_speak,
        amplitude=STRONG if args.strong_pose else 1.0,
        profile=span if args.profile else None,
        absences=(Absence(*span, args.no_face),) if args.no_face else (),
        cut_s=round(rng["cut"].uniform(0.35, 0.65) * seconds, 3) if args.cut else None,
        occlusion=Occlusion(args.occluder, *span) if args.occluder else None,
        shake=args.shake,
        zoom=args.zoom,
        camera=not args.no_camera,
        blur=args.blur,
        noise=args.noise,
        crf=args.crf,
        aligned=args.aligned,
        counterfactual=args.counterfactual,
    )


def make(job: Job, *, folder: Path, landmarks: bool, studio: Studio | None) -> None:
    name, spec = job
    write_clip(spec, folder, name, studio=studio, landmarks=landmarks)


def use_one_thread(_: int) -> None:
    """As there is one process for each processor."""
    cv2.setNumThreads(1)


def unfinished(args: argparse.Namespace) -> list[Job]:
    """The clips that are not in the folder yet. Raises ConfigError where it has others of their names."""
    jobs = [(f"{number:06d}", spec_of(args, number)) for number in range(args.count)]

    def done(job: Job) -> bool:
        try:
            return is_written(job[1], args.out, job[0], landmarks=args.landmarks)
        except ConfigError as error:
            if args.force:
                return False
            raise ConfigError(f"{error}; choose another folder, or replace it with --force") from error

    wanted = [job for job in jobs if not done(job)]
    for _, spec in wanted:
        for person in spec.speakers:
            voice_of(spec, person)  # a mistake in a name is told before any work
    return wanted


def list_files(args: argparse.Namespace, failed: set[str]) -> None:
    """Write the list of the videos of this run's clips, as the training's configuration names it."""
    videos = [
        args.out.resolve() / f"{one}.mp4"
        for number in range(args.count)
        if (name := f"{number:06d}") not in failed
        for one in reversed(names_of(spec_of(args, number), name))
    ]
    with atomic_path(args.out / FILES_LIST) as path:
        path.write_text("".join(f"{video}\n" for video in videos))


def main(args: argparse.Namespace, studio: Studio | None = None) -> dict[str, str]:
    """Make what is missing; returns the reasons of the clips that failed. Raises LatentSyncError."""
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{args.out} cannot be made ({error.strerror}); choose another folder") from error
    jobs = unfinished(args)
    n_workers = min(args.workers or os.cpu_count() or 1, max(len(jobs), 1))
    task = partial(make, folder=args.out, landmarks=args.landmarks, studio=studio)
    failures: dict[str, str] = {}
    with tqdm(total=args.count, initial=args.count - len(jobs), unit=" clips", disable=args.quiet) as bar:
        for done in run_jobs(task, jobs, n_workers=n_workers, prepare=use_one_thread):
            bar.update()
            if done.failure:
                name, _ = done.job
                failures[name] = done.failure
                bar.write(f"{name} failed: {done.failure}", file=sys.stderr)
    list_files(args, set(failures))
    return failures


def cli(argv: Sequence[str] | None = None, studio: Studio | None = None) -> int:
    """The command; `studio` is another one than the real."""
    args = parse(argv)
    logging.basicConfig(level=logging.INFO if args.debug else logging.WARNING, format="%(message)s")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # for the workers
    try:
        failures = main(args, studio)
    except LatentSyncError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    print(f"{args.out}: {args.count - len(failures)} of {args.count} clips")
    if failures:
        print(f"error: {len(failures)} clips failed, {min(failures)} first; their reasons are above", file=sys.stderr)
    return int(bool(failures))


def interrupt(number: int, _) -> NoReturn:
    """Let a signal end the run as Ctrl-C does: whatever is half-made is removed."""
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), interrupt)
    sys.exit(cli())
