"""Whether each measure moves the right way when good videos are damaged in known ways, and whether true pairs of
pictures and sound are told from false ones.

    python -m eval.eval_damage --pairs good.csv --out debug/damage

The column `out` names videos that are in sync, at least three, of different people. The exit status is 1 where a
measure does not find a damage that it must, or a separation is below --separation.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from latentsync.errors import ConfigError
from latentsync.files import atomic_path
from latentsync.processing.chain import run_stage
from latentsync.processing.command import (
    absolute,
    choose_executor,
    recorded_run,
    run_command,
)
from scripts.parser import Parser

from .columns import COLUMNS
from .damage import DAMAGES, UNDAMAGED, DamageStage, goods, to_be_measured
from .intervals import separation
from .page import number
from .report import about, add_judge_flags, build_stage, check_judge_flags, clean, summarise
from .results import read_results
from .summary import Summary, compare

LEAST_CLIPS = 3


@dataclass(frozen=True)
class Verdict:
    """Of one measure and one damage."""

    damage: str
    column: str
    value: float
    undamaged: float
    noticed: str  # better, worse or unclear
    must: bool  # be worse


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="eval_damage", description="Whether measures notice known damage.")
    add = p.add_argument
    add("--pairs", type=Path, required=True, metavar="GOOD.csv", help="videos that are in sync, in the column out")
    add("--out", type=Path, required=True, help="folder of the damaged videos and the numbers; what is there is kept")
    add("--separation", type=float, default=0.99, help="least area under the ROC curve, true against false (0.99)")
    add("--quiet", action="store_true", help="no progress bars")
    add_judge_flags(p)
    return p


def measure(args: argparse.Namespace, root: Path, command: Sequence[str]) -> dict[str, Summary]:
    """By damage. Raises LatentSyncError."""
    results = read_results(args.pairs)
    if len(results) < LEAST_CLIPS:
        raise ConfigError(f"{args.pairs}: expected {LEAST_CLIPS} videos or more, got {len(results)}; add videos")
    if len({Path(result.key).stem for result in results}) < len(results):
        raise ConfigError(f"{args.pairs}: two videos have the same name; rename one of them")
    damaging, scoring = DamageStage(), build_stage(args, len(results) * len(DAMAGES))
    executor = choose_executor(args)
    settings = {"retry_failed": args.retry_failed, "quiet": args.quiet}
    with recorded_run(root, command) as manifest:
        for stage in (damaging, scoring):
            clean(root / stage.folder)
        wanted = [good for damage in DAMAGES for good in goods(results, damage)]
        made, failed = run_stage(damaging, wanted, executor, manifest, **settings)
        there = {piece.key for piece in made}
        pieces = {damage: to_be_measured(results, damage, root / damaging.folder) for damage in DAMAGES}
        measurable = [piece for of in pieces.values() for piece in of if piece.key in there]
        scored, dropped = run_stage(scoring, measurable, executor, manifest, **settings)
        manifest.settle(scored, [(damaging.name, outcome) for outcome in failed])
    for outcome in [*failed, *dropped]:
        print(f"failed: {outcome.piece.key}: {outcome.reason}", file=sys.stderr)
    if failed or dropped:
        raise ConfigError(f"{args.pairs}: some videos could not be damaged and measured; leave them out")
    by = about(scoring, command)
    return {damage: _summary(scored, of, scoring.missing, by) for damage, of in pieces.items()}


def _summary(scored, pieces, missing, by) -> Summary:
    """Of one damage, with the clips' own names, so that summaries can be compared."""
    found = summarise(scored, [], [piece.key for piece in pieces], missing, by)
    plain = {piece.key: Path(piece.key).stem for piece in pieces}
    renamed = ({plain[key]: value for key, value in of.items()} for of in (found.clips, found.reasons, found.features))
    clips, reasons, features = renamed
    return Summary(by, clips, reasons, missing, {}, features)


def verdicts(found: dict[str, Summary]) -> list[Verdict]:
    """Of all measures that both sides have."""
    return [
        Verdict(damage, column, change.ours, change.theirs, change.verdict, column in DAMAGES[damage].worse)
        for damage, summary in found.items()
        if damage != UNDAMAGED
        for column, change in compare(summary, found[UNDAMAGED]).items()
    ]


def truth_score(row: dict[str, float]) -> float:
    """Greater for pictures and sound that belong together: the confidence as it is, less what another offset adds.

    The confidence as it is alone calls a clear speaker whose sound is late by a frame better than a mumbler.
    """
    return 2 * row["confidence_at_0"] - row["confidence"]


def separations(found: dict[str, Summary]) -> dict[str, float]:
    """How well true pairs are told from those of each damaged sound, and from all of them."""
    scores = {damage: [truth_score(row) for row in summary.clips.values()] for damage, summary in found.items()}
    false = {damage: scores[damage] for damage in DAMAGES if DAMAGES[damage].of_sound}
    everything = [score for of in false.values() for score in of]
    return {name: separation(scores[UNDAMAGED], of) for name, of in (*false.items(), ("all of these", everything))}


def table(found: dict[str, Summary], told: Sequence[Verdict], apart: dict[str, float]) -> str:
    """Means by damage; * is worse than without damage, ^ better, where an interval leaves no doubt; ! a miss."""
    columns = [name for name in COLUMNS if any(verdict.column == name for verdict in told)]
    cells = {(verdict.damage, verdict.column): verdict for verdict in told}
    lines = [["damage", *columns, "separation"]]
    undamaged = found[UNDAMAGED].overall
    lines.append([UNDAMAGED, *(number(undamaged[name].value, name) for name in columns), ""])
    for damage in (name for name in DAMAGES if name != UNDAMAGED):
        texts = [_cell(cells.get((damage, name))) for name in columns]
        lines.append([damage, *texts, f"{apart[damage]:.3f}" if damage in apart else ""])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    sign = {"worse": "*", "better": "^", "unclear": " "}[verdict.noticed]
    return number(verdict.value, verdict.column) + ("!" if verdict.must and sign != "*" else sign)


def write(path: Path, told: Sequence[Verdict]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Verdict.__annotations__)
        rows.writerows(vars(verdict).values() for verdict in told)


def run(args: argparse.Namespace, command: Sequence[str]) -> int:
    """The exit status. Raises LatentSyncError."""
    root = absolute(args.out)
    found = measure(args, root, command)
    told, apart = verdicts(found), separations(found)
    print(table(found, told, apart))
    write(root / "damage.csv", told)
    missed = [verdict for verdict in told if verdict.must and verdict.noticed != "worse"]
    for verdict in missed:
        print(f"MISSED: {COLUMNS[verdict.column].title} does not notice {verdict.damage}", file=sys.stderr)
    for column, remedy in found[UNDAMAGED].missing.items():
        print(f"{COLUMNS[column].title} is missing: {remedy}")
    total = apart["all of these"]
    print(f"true pairs are told from false ones: area under the ROC curve {total:.4f}")
    return int(bool(missed) or not total >= args.separation)  # nan is not


def cli(argv: Sequence[str] | None = None) -> int:
    p = parser()
    args = p.parse_args(argv)
    check_judge_flags(p, args)
    return run_command(partial(run, args, sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(cli())
