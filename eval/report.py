"""One page about how good results are: sync, likeness, steadiness, with intervals, and beside another report.

    python -m eval.report --pairs results/pairs.csv --out report
    python -m eval.report --pairs other/pairs.csv --out other_report --baseline report

The table's column `out` names the videos; `video` (what they were made from), `audio` and `truth` (the same person
really saying that) tell more of them. It may be the pairs.csv of `eval.inference_videos`.
"""

import argparse
import csv
import json
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from latentsync.config import resolve_path
from latentsync.errors import ConfigError
from latentsync.files import atomic_path, remove_leftovers
from latentsync.judges import OfficialSyncNet, ProjectSyncNet, official_is_chosen
from latentsync.processing.chain import run_stage
from latentsync.processing.command import (
    absolute,
    add_executor_flags,
    choose_executor,
    recorded_run,
    run_command,
    threads_of_each,
)
from latentsync.processing.manifest import versions
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Outcome
from scripts.parser import Parser

from .columns import COLUMNS
from .page import interval, number, render
from .results import read_results
from .score import Score
from .summary import JSON, Difference, Summary, compare

CSV, HTML = "report.csv", "report.html"
STABLE_CONFIG, STABLE_CHECKPOINT = "configs/syncnet/syncnet_16_pixel_attn.yaml", "checkpoints/stable_syncnet.pt"
JUDGE_REMEDY = "SyncNet v2 judges where its files are: setup_env.sh --train fetches them."


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="report", description=__doc__.splitlines()[0])
    add = p.add_argument
    add("--pairs", type=Path, required=True, metavar="PAIRS.csv", help="columns out[,video,audio,truth]")
    add("--out", type=Path, required=True, help=f"folder of {HTML}, {CSV}, {JSON}; what is measured there is kept")
    add("--baseline", type=Path, metavar="FOLDER", help="--out of another report, to be compared with clip by clip")
    add("--quiet", action="store_true", help="no progress bar")
    add_judge_flags(p)
    return p


def add_judge_flags(p: argparse.ArgumentParser) -> None:
    """By what and where results are measured; `check_judge_flags` and `build_stage` heed them."""
    add = p.add_argument
    add("--judge", choices=("auto", "syncnet_v2", "project"), default="auto", help="auto: SyncNet v2 where it is")
    add("--judge_config", type=Path, help="of another StableSyncNet than the project's own, as the project's judge")
    add("--judge_ckpt", type=Path, help="its weights (default: its configuration's)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s: all GPUs)")
    add_executor_flags(p, n_workers=1)


def check_judge_flags(p: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.judge_ckpt and not args.judge_config:
        p.error("--judge_ckpt needs --judge_config, which says what network it is")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = parser()
    args = p.parse_args(argv)
    check_judge_flags(p, args)
    if args.baseline and absolute(args.baseline) == absolute(args.out):
        p.error("--baseline is the folder of --out; name that of another report")
    return args


def build_stage(args: argparse.Namespace, n_results: int) -> Score:
    """Raises LatentSyncError."""
    judge = OfficialSyncNet() if official_is_chosen(args.judge) else None
    if args.judge_config:
        weights = absolute(args.judge_ckpt) if args.judge_ckpt else ""
        accuracy = ProjectSyncNet(str(absolute(args.judge_config)), weights, name=args.judge_config.stem)
    elif judge and resolve_path(STABLE_CHECKPOINT).is_file():
        accuracy = ProjectSyncNet(STABLE_CONFIG, resolve_path(STABLE_CHECKPOINT), name="StableSyncNet")
    else:
        accuracy = ProjectSyncNet()
    return Score(judge, accuracy, args.device, threads_of_each(args, n_results))


def measure(args: argparse.Namespace, root: Path, command: Sequence[str]) -> Summary:
    """All results, those of an earlier run as they were. Raises LatentSyncError."""
    results = read_results(args.pairs)
    stage = build_stage(args, len(results))
    executor = choose_executor(args)
    with recorded_run(root, command) as manifest:
        clean(root / stage.folder)
        made, dropped = run_stage(stage, results, executor, manifest, retry_failed=args.retry_failed, quiet=args.quiet)
        manifest.settle(made, [(stage.name, outcome) for outcome in dropped])
    order = [result.key for result in results]
    return summarise(made, dropped, order, stage.missing, about(stage, command))


def summarise(
    made: Sequence[Piece],
    dropped: Sequence[Outcome],
    order: Sequence[str],
    missing: dict[str, str],
    about: dict[str, Any],
) -> Summary:
    """What the stage wrote, in the table's order."""
    files = {piece.key: piece.path for piece in made}
    clips, reasons, features = {}, {}, {}
    for key in order:
        if f"{key}.json" in files:
            found = json.loads(files[f"{key}.json"].read_text())
            clips[key], reasons[key], features[key] = found["row"], found["missing"], files[f"{key}.npz"]
    failures = {outcome.piece.key: outcome.reason for outcome in dropped}
    return Summary(about, clips, reasons, missing, failures, features)


def about(stage: Score, command: Sequence[str]) -> dict[str, Any]:
    """By what the numbers were measured."""
    judge = stage.judge or stage.accuracy_judge
    official = stage.judge is not None
    return {
        "judge": judge.identity() | {"official": official, "by_offset": "distance" if official else "similarity"},
        "accuracy_judge": stage.accuracy_judge.identity(),
        "judge_remedy": "" if official else JUDGE_REMEDY,
        "weights": stage.parameters()["weights"],
        "versions": versions(),
        "command": shlex.join(["python", "-m", "eval.report", *command]),
    }


def clean(folder: Path) -> None:
    """Remove what a run that was killed left half-made."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            remove_leftovers(path)


def write(root: Path, summary: Summary, differences: dict[str, Difference], baseline: Summary | None) -> None:
    with atomic_path(root / JSON) as temporary:
        content = summary.plain()
        if baseline:
            content["differences"] = {
                name: {"ours": d.ours, "theirs": d.theirs, "low": d.difference.low, "high": d.difference.high,
                       "difference": d.difference.value, "n": d.difference.n, "verdict": d.verdict}
                for name, d in differences.items()
            }  # fmt: skip
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic_path(root / CSV) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, ["clip", "frames", *COLUMNS], extrasaction="ignore", lineterminator="\n")
        rows.writeheader()
        rows.writerows({"clip": clip, **row} for clip, row in summary.clips.items())
    with atomic_path(root / HTML) as temporary:
        temporary.write_text(render(summary, differences, baseline), encoding="utf-8")


def table(summary: Summary, differences: dict[str, Difference]) -> str:
    """The numbers of all clips as lines."""
    lines = [f"judge: {summary.about['judge']['judge']}; accuracy: {summary.about['accuracy_judge']['judge']}"]
    for name, column in COLUMNS.items():
        estimate = summary.overall.get(name)
        if estimate is None:
            continue
        value, span = number(estimate.value, name), interval(estimate, name)
        line = f"{column.title:<26}{value:>9}  {span:<20}{estimate.n:>5} clips"
        if change := differences.get(name):
            line += f"  {number(change.theirs, name):>9} before, {change.verdict}"
        lines.append(line)
    return "\n".join(lines)


def run(args: argparse.Namespace, command: Sequence[str]) -> int:
    """The exit status. Raises LatentSyncError."""
    root = absolute(args.out)
    baseline = Summary.read(absolute(args.baseline)) if args.baseline else None
    summary = measure(args, root, command)
    if not summary.clips:
        raise ConfigError(f"no result could be measured: {next(iter(summary.failures.values()))}")
    differences = compare(summary, baseline) if baseline else {}
    write(root, summary, differences, baseline)
    print(table(summary, differences))
    for name, remedy in summary.missing.items():
        print(f"{COLUMNS[name].title} is missing: {remedy}")
    for clip, reason in summary.failures.items():
        print(f"failed: {clip}: {reason}", file=sys.stderr)
    print(f"{root / HTML}, {root / CSV}, {root / JSON}")
    return 1 if summary.failures else 0


def cli(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    return run_command(partial(run, args, sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(cli())
