"""How well lips go with the sound: confidence and offset of videos, as a SyncNet sees them.

    bash eval/eval_sync_conf.sh --video_path video_out.mp4
    bash eval/eval_sync_conf.sh --videos_dir results --out_dir scores

Nothing but --out_dir is written; the public version emptied the folders `temp` and `detect_results`.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from latentsync.errors import ConfigError
from latentsync.files import atomic_path
from latentsync.judges import Judge, ProjectSyncNet
from latentsync.media.ffmpeg import VIDEO_SUFFIXES
from latentsync.pipelines.job import temporary_folder
from latentsync.processing.chain import run_stage
from latentsync.processing.command import (
    MANIFEST,
    absolute,
    add_executor_flags,
    choose_executor,
    recorded_run,
    run_command,
    threads_of_each,
)
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Outcome
from scripts.parser import Parser

from .pairs import read_list
from .sync_conf import NUMBERS, Film, SyncConf, choose_judge

TABLE = "sync_conf.csv"
JUDGES = ("auto", "syncnet_v2", "project")


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="eval_sync_conf",
        description="Confidence and offset of videos: how surely their lips go with the sound, and by how many frames "
        "(of 25 a second) the sound is early. Numbers of different judges cannot be compared.",
    )
    videos = p.add_mutually_exclusive_group(required=True)
    videos.add_argument("--video_path", type=Path, metavar="FILE", help="a video")
    videos.add_argument("--videos_dir", type=Path, metavar="DIR", help="the videos of a folder, without its subfolders")
    videos.add_argument("--videos_list", type=Path, metavar="FILE.txt", help="a path in each line, relative to this")
    add = p.add_argument
    add("--judge", choices=JUDGES, default="auto", help="auto: SyncNet v2 where its files are (%(default)s)")
    add(
        "--initial_model",
        type=Path,
        metavar="FILE",
        help="weights of SyncNet v2 (default: checkpoints/auxiliary/syncnet_v2.model)",
    )
    add(
        "--reference",
        action="store_true",
        help="judge by SyncNet v2 as the public version does: the mean of all faces, of 51 frames or more each",
    )
    add("--device", default="auto", help="auto (all GPUs, else the CPU), cpu, cuda:N or mps (%(default)s)")
    add("--out_dir", type=Path, help=f"folder of {TABLE} and {MANIFEST}; a run that was stopped goes on there")
    add("--temp_dir", type=Path, help="parent of temporary folders (default: the system's)")
    add("--quiet", action="store_true", help="no progress bar")
    add_executor_flags(p, per_gpu=4)
    return p


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = parser()
    args = p.parse_args(argv)
    if args.initial_model and args.judge == "project":
        p.error("--initial_model names weights of SyncNet v2; expected --judge syncnet_v2")
    return args


def chosen_videos(args: argparse.Namespace) -> list[Path]:
    """What is to be judged, as it was typed, in order. Raises ConfigError where there is nothing."""
    if args.videos_list:
        return read_list(args.videos_list)
    if args.videos_dir:
        return videos_in(args.videos_dir)
    if not args.video_path.is_file():
        raise ConfigError(f"{args.video_path} is not a file; expected a video, so correct --video_path")
    return [args.video_path]


def videos_in(folder: Path) -> list[Path]:
    """Sorted; those that are still being written are none. Raises ConfigError."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; expected one that holds videos, so correct --videos_dir")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise ConfigError(f"{folder} holds no video; expected files ending in {', '.join(sorted(VIDEO_SUFFIXES))}")
    return files


def build_stage(args: argparse.Namespace, n_videos: int) -> SyncConf:
    """Raises LatentSyncError."""
    network = args.initial_model and absolute(args.initial_model)
    judge = choose_judge(args.judge, network, reference=args.reference)
    temp_dir = args.temp_dir and absolute(args.temp_dir)  # workers may have another current folder
    return SyncConf(judge, args.device, threads_of_each(args, n_videos), temp_dir)


def process(
    args: argparse.Namespace, stage: SyncConf, videos: Sequence[Film], root: Path, command: Sequence[str]
) -> tuple[list[Piece], list[Outcome]]:
    """The videos with what was measured, by key, and what became of the others. Raises LatentSyncError."""
    executor = choose_executor(args)
    with recorded_run(root, command) as manifest:
        done, failed = run_stage(stage, videos, executor, manifest, retry_failed=args.retry_failed, quiet=args.quiet)
        manifest.settle(done, [(stage.name, outcome) for outcome in failed])
        write_table(root / TABLE, done)
    return done, failed


def write_table(path: Path, videos: Iterable[Piece]) -> None:
    columns = ("judge", *NUMBERS)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("video", *columns))
        rows.writerows((video.path, *(video.metrics[name] for name in columns)) for video in videos)


def tell_judge(judge: Judge) -> None:
    print(f"Judge: {judge.name}", flush=True)
    if isinstance(judge, ProjectSyncNet):
        print(
            "Its confidences, of 0 to 1, cannot be compared with published ones, which are of SyncNet v2; "
            "setup_env.sh --train fetches that",
            file=sys.stderr,
        )


def tell(done: Sequence[Piece], names: dict[str, Path], *, mean: bool) -> None:
    """The lines of the public version, in the order in which the videos were named."""
    found = {video.key: video.metrics for video in done}
    confidences = []
    for key, name in names.items():
        if key in found:
            confidences.append(found[key]["confidence"])
            print(f"Video: {name}\nSyncNet confidence: {confidences[-1]:.2f}\nAV offset: {found[key]['offset']}")
    if mean and confidences:
        print(f"Mean confidence: {fmean(confidences):.2f} ({len(confidences)} videos)")


def run(args: argparse.Namespace, command: Sequence[str]) -> int:
    """The exit status. Raises LatentSyncError."""
    names = {str(absolute(path)): path for path in chosen_videos(args)}
    stage = build_stage(args, len(names))
    with temporary_folder(args.temp_dir) as folder:
        tell_judge(stage.judge)
        root = absolute(args.out_dir or Path(folder))
        done, failed = process(args, stage, [Film(key, Path(key)) for key in names], root, command)
    tell(done, names, mean=not args.video_path)
    for outcome in failed:
        print(f"failed: {outcome.piece.path.name}: {outcome.reason}", file=sys.stderr)
    return 1 if failed else 0


def cli(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    return run_command(partial(run, args, sys.argv if argv is None else argv), goes_on=bool(args.out_dir))


if __name__ == "__main__":
    sys.exit(cli())
