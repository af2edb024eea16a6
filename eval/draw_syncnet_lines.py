"""Loss curves of several SyncNet trainings in one figure: training thin and pale, validation thicker.

python -m eval.draw_syncnet_lines --runs debug/syncnet/run1 old/checkpoint-10000.pt --labels ours theirs --out loss.pdf
"""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from latentsync.checkpoint import load_state
from latentsync.errors import CheckpointError, ConfigError, LatentSyncError
from latentsync.files import atomic_path
from latentsync.train.log import read_table
from scripts.parser import Parser

matplotlib.use("agg")
from matplotlib import pyplot

SUFFIXES = (".pdf", ".png", ".svg")
TRAINING, VALIDATION = "metrics.csv", "validation.csv"  # of a run folder
ONLY_COLUMN = "bce_loss"  # what the lists of a public checkpoint are

Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Curves:
    """Of one training, by its steps."""

    training: Points
    validation: Points


def read_curves(path: Path, column: str) -> Curves:
    """Of a run folder or a public SyncNet checkpoint. Raises ConfigError or CheckpointError where there are none."""
    return _of_checkpoint(path, column) if path.is_file() else _of_run(path, column)


def _of_run(folder: Path, column: str) -> Curves:
    tables = [_rows(folder / name) for name in (TRAINING, VALIDATION)]
    if not any(tables):
        raise ConfigError(
            f"{folder}: expected {TRAINING} or {VALIDATION} with a step or more; name the folder of a training, or a "
            "public SyncNet checkpoint"
        )
    training, validation = ([(row["step"], row[column]) for row in rows if row.get(column)] for rows in tables)
    if not training and not validation:
        columns = dict.fromkeys(name for rows in tables for row in rows[:1] for name in row if name != "step")
        raise ConfigError(f"{folder}: expected a column {column}, found {', '.join(columns)}; choose another --column")
    try:
        return Curves(_finite(training), _finite(validation))
    except ValueError as error:
        raise ConfigError(f"{folder}: expected numbers in its tables ({error}); restore {TRAINING}") from error


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        return []
    try:
        rows = read_table(table)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{table}: expected a table of a training ({error}); restore it") from error
    return [row for row in rows if "step" in row]


def _of_checkpoint(path: Path, column: str) -> Curves:
    extra = load_state(path).extra
    steps = [extra.get(f"{part}_step_list") for part in ("train", "val")]
    losses = [extra.get(f"{part}_loss_list") for part in ("train", "val")]
    if not any(steps):
        raise CheckpointError(
            f"{path}: expected train_step_list and train_loss_list of a public SyncNet, found neither; "
            "name the folder of its training"
        )
    if column != ONLY_COLUMN:
        raise ConfigError(f"{path} holds {ONLY_COLUMN} alone, expected {column}; name run folders, or no --column")
    try:
        training, validation = (_finite(zip(s or (), v or (), strict=True)) for s, v in zip(steps, losses, strict=True))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: expected as many losses as steps ({error}); choose another file") from error
    return Curves(training, validation)


def _finite(points: Iterable[tuple[int | str, float | str]]) -> Points:
    """Raises ValueError for what is no number."""
    numbers = [(int(step), float(value)) for step, value in points]
    return [(step, value) for step, value in numbers if math.isfinite(value)]


def names_of(paths: Sequence[Path]) -> list[str]:
    """What the files and folders are called, or their paths where two are called the same."""
    names = [path.stem if path.is_file() else path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def draw(out: Path, curves: Sequence[Curves], labels: Sequence[str], column: str = ONLY_COLUMN) -> None:
    """Raises ConfigError where the figure cannot be written."""
    with pyplot.rc_context({"font.family": "serif", "font.size": 14}):
        figure, axis = pyplot.subplots(figsize=(7.766, 4.8))  # inches
        for number, (curve, label) in enumerate(zip(curves, labels, strict=True)):
            color = f"C{number % 10}"
            for points, style in (
                (curve.training, {"linewidth": 0.5, "alpha": 0.5}),
                (curve.validation, {"linewidth": 1.5, "zorder": 3}),  # above the training of others
            ):
                if points:
                    axis.plot(*zip(*points, strict=True), color=color, **style)
            axis.plot([], [], color=color, linewidth=1.5, label=label)  # of both
        axis.set(xlabel="Step", ylabel="Loss" if column.endswith("loss") else column.replace("_", " ").capitalize())
        axis.legend(frameon=False)
        figure.tight_layout()
        try:
            with atomic_path(out) as temporary:
                figure.savefig(temporary, transparent=True, dpi=200)
        except OSError as error:
            raise ConfigError(f"{out} cannot be written ({error.strerror}); choose another --out") from error
        finally:
            pyplot.close(figure)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = Parser(prog="draw_syncnet_lines", description=__doc__.splitlines()[0])
    add = p.add_argument
    add("--runs", type=Path, nargs="+", required=True, help="folders of trainings, or public SyncNet checkpoints")
    add("--labels", nargs="+", help="their names in the legend (default: those of the files)")
    add("--out", type=Path, required=True, help=f"the figure, a name ending in {', '.join(SUFFIXES)}")
    add("--column", default=ONLY_COLUMN, help="what is drawn, by its name in the tables of a run (%(default)s)")
    args = p.parse_args(argv)
    if args.labels and len(args.labels) != len(args.runs):
        p.error(f"--labels: expected {len(args.runs)} for as many --runs, got {len(args.labels)}")
    if args.out.suffix.lower() not in SUFFIXES:
        p.error(f"--out {args.out}: expected a name ending in {', '.join(SUFFIXES)}")
    return args


def cli(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        curves = [read_curves(path, args.column) for path in args.runs]
        draw(args.out, curves, args.labels or names_of(args.runs), args.column)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(cli())
