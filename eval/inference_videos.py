"""Lip-sync many pairs of a video and a sound, with the networks loaded once in each process.

    python -m eval.inference_videos --videos videos.txt --audios audios.txt --out_dir results
    python -m eval.inference_videos --pairs pairs.csv --out_dir results

Results are written into --out_dir itself; the public version appended the seed to its name.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree

from latentsync.errors import ConfigError
from latentsync.files import remove_leftovers
from latentsync.media.ffmpeg import PICTURES
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
from latentsync.processing.stage import Outcome
from scripts import inference
from scripts.parser import Parser

from .lipsync import Lipsync
from .pairs import Pair, check_results, draw_pairs, name_pairs, read_list, read_pairs, write_pairs

PAIRS = "pairs.csv"  # of the results that are there


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="inference_videos",
        description="Lip-sync many pairs of a video and a sound. A run that was stopped goes on where it was; "
        f"{MANIFEST} in the output folder says what became of each pair, {PAIRS} lists the results.",
    )
    add = p.add_argument
    add("--videos", type=Path, metavar="VIDEOS.txt", help="paths, relative to this file, to be paired at random with")
    add("--audios", type=Path, metavar="AUDIOS.txt", help="these, as the public version does")
    add("--pairs", type=Path, metavar="PAIRS.csv", help="columns video,audio[,out], relative to this file, instead")
    add("--out_dir", type=Path, required=True, help="folder of the results and of the manifest")
    add("--seed", type=int, default=42, help="of the pairs that are drawn, and of each video's noise (%(default)s)")
    add("--quiet", action="store_true", help="no progress bar")
    inference.add_model_flags(p)
    add_executor_flags(p, n_workers=1)  # one leaves no processor idle, and each has networks of its own
    return p


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = parser()
    args = p.parse_args(argv)
    lists = args.videos, args.audios
    if any(lists) if args.pairs else not all(lists):
        p.error("expected --videos and --audios, or --pairs")
    inference.check_range(p, args, "seed", 0, inference.MAX_SEED)
    inference.check_model_flags(p, args)
    return args


def chosen_pairs(args: argparse.Namespace, root: Path) -> list[Pair]:
    """What is to be made, by name. Raises ConfigError."""
    if args.pairs and absolute(args.pairs) == root / PAIRS:
        raise ConfigError(f"{args.pairs} is what this run writes; name a copy of it, or another --out_dir")
    pairs = name_pairs(
        read_pairs(args.pairs) if args.pairs else draw_pairs(read_list(args.videos), read_list(args.audios), args.seed)
    )
    check_results(pairs, root)
    return pairs


def build_stage(args: argparse.Namespace, n_pairs: int) -> Lipsync:
    """Raises LatentSyncError."""
    cfg = inference.choose_weights(args)
    for name in ("inference_ckpt_path", "temp_dir"):  # workers may have another current folder
        if getattr(args, name):
            setattr(args, name, absolute(Path(getattr(args, name))))
    return Lipsync(cfg, args, args.seed, threads_of_each(args, n_pairs))


def clean(root: Path, pairs: Sequence[Pair]) -> None:
    """Remove what a run that was killed left half-made."""
    for folder in {(root / pair.key).parent for pair in pairs}:
        remove_leftovers(folder)
        for unfinished in folder.glob(f"{PICTURES}????????"):
            rmtree(unfinished, ignore_errors=True)


def process(args: argparse.Namespace, root: Path, command: Sequence[str]) -> tuple[list[Pair], list[Outcome]]:
    """The pairs whose results are there, and what became of the others. Raises LatentSyncError."""
    pairs = chosen_pairs(args, root)
    stage = build_stage(args, len(pairs))
    executor = choose_executor(args)
    with recorded_run(root, command) as manifest:
        clean(root, pairs)
        made, failed = run_stage(stage, pairs, executor, manifest, retry_failed=args.retry_failed, quiet=args.quiet)
        manifest.settle(made, [(stage.name, outcome) for outcome in failed])
        there = {piece.key for piece in made}
        done = [pair for pair in pairs if pair.key in there]
        write_pairs(root / PAIRS, done)
    return done, failed


def run(args: argparse.Namespace, command: Sequence[str]) -> int:
    """The exit status. Raises LatentSyncError."""
    root = absolute(args.out_dir)
    done, failed = process(args, root, command)
    for outcome in failed:
        print(f"failed: {outcome.piece.key}: {outcome.reason}", file=sys.stderr)
    print(f"{len(done)} of {len(done) + len(failed)} pairs made; {root / PAIRS}, {root / MANIFEST}")
    return 1 if failed else 0


def cli(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    return run_command(partial(run, args, sys.argv if argv is None else argv))


if __name__ == "__main__":
    sys.exit(cli())
