"""How well a model syncs lips, on drawn people whose truth is known: unseen faces, sentences and voices.

    python -m eval.eval_synthetic --count 30 --seed 1 --out debug/eval --picture moments.jpg

Each clip's person says one sentence and is given another by another voice; the truth is the same person saying that.
What the model makes of it is measured, and so are controls: the truth itself, the source as it is, and what the model
makes of a third sentence (`wrong`), or of the same sound with its pieces in another order (`shuffled`: all that matters
is right but the time). Each bar is met or missed; exits with 1 where one is missed or a clip failed.
"""

import argparse
import logging
import os
import signal
import sys
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from latentsync import REPO_ROOT
from latentsync.build import build_pipeline, build_sync_judge, choose_device, judge_config
from latentsync.config import load_config, resolve_path
from latentsync.errors import ConfigError, LatentSyncError, MediaError
from latentsync.face.detect import MediaPipeDetector
from latentsync.face.mask import fixed_mask
from latentsync.face.paste import paste_weight
from latentsync.metrics.seam import seam
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.processing.command import absolute
from latentsync.schema import UNetConfig
from latentsync.synthetic.record import OTHER
from latentsync.synthetic.seeds import derived
from latentsync.synthetic.spec import ClipSpec
from latentsync.synthetic.studio import Studio
from latentsync.synthetic.swap import SOUNDS, is_complete, sound_path, swap_spec, write_swap
from latentsync.train.sync_judge import SyncJudge
from latentsync.workers import run_jobs
from scripts.parser import Parser

from .bars import COLUMNS, Row, means, table, tell, verdicts, write_tables
from .measure import Task
from .moments import moments, save
from .pairs import Pair, write_pairs
from .watch import SIDE, alignment, judged, watch

DEFAULT_CONFIG = REPO_ROOT / "configs/unet/demo.yaml"
JUDGE_CONFIG = REPO_ROOT / "configs/syncnet/demo.yaml"
JUDGE = REPO_ROOT / "checkpoints/demo/judge.pt"  # of other people and another seed; it never was a loss
UNSEEN = (100000, 110000)  # identities and sentences of docs/training.md's held-out clips
UNSEEN_VARIANTS = ("shelby", "steph", "quincy", "robert")
VIDEO_SUFFIXES, SOUND_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm"), (".wav", ".m4a", ".mp3", ".flac")
SHOWN = 3  # clips in the picture
PAIRS = "pairs.csv"  # of results and truths, for eval.report

KINDS = ("result", "truth", "source", "wrong", "shuffled")
MADE = {"new": "result", "wrong": "wrong", "shuffled": "shuffled"}  # from which of SOUNDS

Build = Callable[[UNetConfig, argparse.Namespace], LipsyncPipeline]


# The clips


def spec_of(args: argparse.Namespace, number: int) -> ClipSpec:
    return swap_spec(
        derived(args.seed, "swap", number),
        seconds=tuple(args.seconds),
        side=args.size,
        identities=tuple(args.identities),
        sentences=tuple(args.sentences),
        variants=tuple(name.strip() for name in args.variants.split(",") if name.strip()),
    )


def write_one(job: tuple[str, ClipSpec], *, folder: Path, studio: Studio | None) -> None:
    write_swap(job[1], folder, job[0], studio=studio)


def use_one_thread(_: int) -> None:
    cv2.setNumThreads(1)  # as there is one process for each processor


def render(args: argparse.Namespace, studio: Studio | None) -> tuple[list[str], dict[str, str]]:
    """Make the clips that are missing; all their names, and the reasons of those that failed."""
    jobs = {f"{number:06d}": spec_of(args, number) for number in range(args.count)}
    try:
        missing = [job for job in jobs.items() if not is_complete(job[1], args.out, job[0])]
    except ConfigError as error:
        raise ConfigError(f"{error}; choose another --out") from error
    n_workers = min(args.workers or os.cpu_count() or 1, max(len(missing), 1))
    task = partial(write_one, folder=args.out, studio=studio)
    failures = {}
    with closing(run_jobs(task, missing, n_workers=n_workers, prepare=use_one_thread)) as all_done:
        for done in tqdm(all_done, "drawn", len(missing), disable=args.quiet or not missing):
            if done.failure:
                failures[done.job[0]] = done.failure
    return [name for name in jobs if name not in failures], failures


class Model:
    """The pipeline, loaded once; what it has made is kept in a folder of the model and its settings."""

    def __init__(self, args: argparse.Namespace, build: Build) -> None:
        self.args, self.cfg = args, load_config(UNetConfig, args.unet_config_path)
        self.pipeline = build(self.cfg, args)
        weights = Path(args.inference_ckpt_path or resolve_path(self.cfg.ckpt.inference_ckpt_path))
        stamp = weights.stat().st_mtime_ns if weights.is_file() else 0
        run = self.cfg.run
        self.steps = run.inference_steps if args.inference_steps is None else args.inference_steps
        self.guidance_scale = run.guidance_scale if args.guidance_scale is None else args.guidance_scale
        settings = (self.cfg, weights, stamp, self.steps, self.guidance_scale, args.generator_seed)
        self.folder = args.out / f"made-{zlib.crc32(repr(settings).encode()):08x}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, video: Path, sound: Path, name: str) -> Path:
        """A video with other lips, made unless it is there; frame i is the source's frame i."""
        out = self.folder / f"{name}.mp4"
        if not out.is_file():
            self.pipeline(
                video,
                sound,
                out,
                num_frames=self.cfg.data.num_frames,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance_scale,
                mask_image_path=self.cfg.data.mask_image_path or None,
                generator=torch.Generator().manual_seed(self.args.generator_seed),
                loop="cut",
            )
        return out


def load_pipeline(cfg: UNetConfig, args: argparse.Namespace) -> LipsyncPipeline:
    return build_pipeline(
        cfg, args.inference_ckpt_path, config_path=args.unet_config_path, device=args.device, dtype=args.dtype
    )


def load_judge(args: argparse.Namespace) -> SyncJudge | None:
    """Raises LatentSyncError for one that is named and cannot be used."""
    if args.no_judge:
        return None
    return build_sync_judge(judge_config(args.judge_config), args.judge_ckpt, device=choose_device(args.device))


def measure_clip(folder: Path, name: str, model: Model, watcher: "Watcher") -> tuple[list[Row], np.ndarray]:
    """The rows of all KINDS, and moments of the first three."""
    task = Task(folder, name, watcher.detector, watcher.weight)
    for sound in SOUNDS:
        video = model(task.source, sound_path(folder, name, sound), f"{name}.{sound}")
        task.seen[MADE[sound]] = task.watch(video)
    shown = {kind: task.seen[kind].squares for kind in ("source", "result", "truth")}
    return [task.row(kind, task.seen[kind], watcher.judge) for kind in KINDS], moments(shown)


def measure_pair(video: Path, sound: Path, model: Model, watcher: "Watcher") -> tuple[list[Row], np.ndarray]:
    """What needs no truth, of real footage: its seam is relative to the source's edges."""
    stamp = zlib.crc32(f"{video.resolve()} {sound.resolve()}".encode())
    made = model(video, sound, f"{video.stem}.{stamp:08x}")
    matrices = alignment(video, watcher.detector)
    source, result = (watch(path, matrices, watcher.detector) for path in (video, made))
    row = {
        "clip": video.stem,
        "kind": "footage",
        **judged(watcher.judge, result, sound),
        "seam": seam(result.squares, source.squares[: len(result.squares)], watcher.weight),
        "faces": result.faces,
    }
    return [row], moments({"source": source.squares, "result": result.squares})


@dataclass(frozen=True)
class Watcher:
    """What all clips are looked at with."""

    detector: MediaPipeDetector
    weight: np.ndarray  # (SIDE, SIDE) float32, share of what the model paints
    judge: SyncJudge | None


def pairs_of(folder: Path) -> list[tuple[Path, Path]]:
    """NAME_video.* and NAME_audio.* of a folder, by name. Raises MediaError where there is no such pair."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    videos, sounds = (
        {path.stem.removesuffix(part): path for path in files if path.stem.endswith(part) and path.suffix in suffixes}
        for part, suffixes in (("_video", VIDEO_SUFFIXES), ("_audio", SOUND_SUFFIXES))
    )
    pairs = [(video, sounds[name]) for name, video in videos.items() if name in sounds]
    if not pairs:
        raise MediaError(f"{folder} has no NAME_video.mp4 with a NAME_audio.wav; name the files so")
    return pairs


def pair_of(folder: Path, name: str, model: Model) -> Pair:
    """The result of a clip, for `eval.report`."""
    key = (model.folder / f"{name}.new.mp4").relative_to(folder).as_posix()
    source, truth = (absolute(folder / f"{name}{part}.mp4") for part in ("", OTHER))
    return Pair(key, source, audio=absolute(sound_path(folder, name, "new")), truth=truth)


# The command


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="eval_synthetic", description=__doc__.splitlines()[0])
    add = p.add_argument
    add("--out", type=Path, required=True, help="folder of clips, results and tables; what is finished there is kept")
    add("--count", type=int, default=30, help="clips (%(default)s)")
    add("--seed", type=int, default=0, help="of the clips (%(default)s)")
    add("--picture", type=Path, help="source, result and truth of a few clips at some moments, .jpg or .png")
    add("--footage", type=Path, help="folder of real NAME_video.* and NAME_audio.*, measured without truth, instead")
    add("--workers", type=int, help="processes that draw (default: one for each processor)")
    add("--quiet", action="store_true", help="no progress bars")
    add("--debug", action="store_true", help="tracebacks and more messages")

    group = p.add_argument_group("the clips, as scripts.make_talking_heads has them")
    add = group.add_argument
    add("--size", type=int, default=512, help="pixels, square (%(default)s)")
    add("--seconds", type=float, nargs=2, default=(3.0, 5.0), metavar=("LO", "HI"), help="length (3 5)")
    add("--identities", type=int, nargs=2, default=UNSEEN, metavar=("LO", "HI"), help="seeds of faces (%(default)s)")
    add("--sentences", type=int, nargs=2, default=UNSEEN, metavar=("LO", "HI"), help="seeds of sentences (%(default)s)")
    add("--variants", default=",".join(UNSEEN_VARIANTS), help="timbres of voices, two or more (%(default)s)")

    group = p.add_argument_group("the model")
    add = group.add_argument
    add("--unet_config_path", type=Path, default=DEFAULT_CONFIG, help="configuration (%(default)s)")
    add("--inference_ckpt_path", help="U-Net weights (default: the configuration's)")
    add("--inference_steps", type=int, help="(default: the configuration's)")
    add("--guidance_scale", type=float, help="(default: the configuration's)")
    add("--generator_seed", type=int, default=1247, help="of the model's noise (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N (%(default)s)")
    add("--dtype", default="auto", help="auto, fp32, fp16, bf16 (%(default)s)")
    add("--judge_config", type=Path, help="a SyncNet that never was a loss (default: checkpoints/demo/judge.pt)")
    add("--judge_ckpt", type=Path, help="its weights (default: its configuration's)")
    add("--no_judge", action="store_true", help="without what only a judge tells")
    return p


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    p = parser()
    args = p.parse_args(argv)
    if args.count < 1:
        p.error(f"--count {args.count}: expected 1 or more")
    for name in ("seconds", "identities", "sentences"):
        low, high = getattr(args, name)
        if not 0 <= low <= high or (name != "seconds" and high - low < 2):
            p.error(f"--{name} {low} {high}: expected a smaller and a greater number")
    if args.judge_ckpt and not args.judge_config:
        p.error("--judge_ckpt needs --judge_config, which says what network it is")
    if args.judge_config is None:
        args.judge_config, args.judge_ckpt = JUDGE_CONFIG, JUDGE
    return args


def main(args: argparse.Namespace, *, studio: Studio | None = None, build: Build = load_pipeline) -> int:
    """Measure, tell and write; the exit status. Raises LatentSyncError."""
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{args.out} cannot be made ({error.strerror}); choose another folder") from error
    judge = load_judge(args)
    pairs = pairs_of(args.footage) if args.footage else []
    model = Model(args, build)  # mistakes are told before anything is drawn
    names, failures = ([], {}) if args.footage else render(args, studio)
    rows, shown = [], []
    with MediaPipeDetector() as detector:
        watcher = Watcher(detector, paste_weight(fixed_mask(SIDE)), judge)
        jobs = {name: partial(measure_clip, args.out, name) for name in names}
        jobs |= {video.stem: partial(measure_pair, video, sound) for video, sound in pairs}
        for name, job in tqdm(jobs.items(), "measured", disable=args.quiet):
            try:
                measured, picture = job(model, watcher)
            except (LatentSyncError, ValueError) as error:  # the others go on
                failures[name] = str(error)
                continue
            rows += measured
            shown = [*shown, picture][:SHOWN]
    for name, failure in failures.items():
        print(f"{name} failed: {failure}", file=sys.stderr)
    if not rows:
        raise MediaError(f"{args.out}: no clip could be measured; the reasons are above")
    if args.picture:
        save(shown, args.picture)
    summary = means(rows)
    print(table([*rows, *summary]))
    bars = [] if args.footage else tell(verdicts(rows, judge=judge is not None))
    write_tables(args.out, [*rows, *summary], {"columns": COLUMNS, "bars": bars, "failures": failures})
    if not args.footage:
        made = [name for name in names if name not in failures]
        write_pairs(args.out / PAIRS, [pair_of(args.out, name, model) for name in made])
    return int(bool(failures) or any(bar["met"] is False for bar in bars))


def cli(argv: Sequence[str] | None = None, **parts) -> int:
    """The command; `parts` are another studio or pipeline than the real ones."""
    args = parse(argv)
    logging.basicConfig(level=logging.INFO if args.debug else logging.WARNING, format="%(message)s")
    torch.set_num_threads(torch.get_num_threads())  # else torch would heed what follows, too
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # for the processes that draw
    try:
        return main(args, **parts)
    except LatentSyncError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(cli())
