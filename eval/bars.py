"""What is told of an evaluation on drawn people: tables of its rows, and which bars they meet."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.files import atomic_path
from latentsync.metrics.mouth import Closures

COLUMNS = {
    "lips_new": "correlation of the measured opening with the drawn truth of the new sound",
    "lag": "frames that the opening is late against it",
    "lips_old": "correlation with the truth of the old sound",
    "lips_old_only": "with what of that the new sound's truth does not explain: sentences are alike by chance",
    "speed": "of the opening, relative to that measured on the truth",
    "wanted": "p, b and m of the new sound",
    "found": "of these, with closed lips",
    "shut": "frames of speech with closed lips",
    "right": "of these, where the truth's are",
    "recall": "found of wanted",
    "precision": "right of shut",
    "offset": "frames that the new sound is early, says the judge",
    "confidence": "of the judge",
    "psnr": "dB against the truth where the model paints",
    "seam": "edges along the border of that, relative to the truth's",
    "change": "of the mouth's picture from frame to frame, relative to the truth's",
    "faces": "share of frames with a face",
}
NEEDS_JUDGE = ("offset", "confidence")
NO_JUDGE = "there is no judge; train a SyncNet by train_syncnet.sh and name it by --judge_config and --judge_ckpt"

Row = dict[str, float | str]


@dataclass(frozen=True)
class Bar:
    """What the results' statistic of a column must reach."""

    column: str
    statistic: str  # a name in STATISTICS
    low: float = -np.inf
    high: float = np.inf

    def __str__(self) -> str:
        bounds = [f">= {self.low:g}"] * np.isfinite(self.low) + [f"<= {self.high:g}"] * np.isfinite(self.high)
        return f"{self.column}, {self.statistic} {' and '.join(bounds)}"


BARS = (
    Bar("lips_new", "mean", low=0.80),
    Bar("lag", "median size", high=0),
    Bar("lips_old", "mean", high=0.15),
    Bar("lips_old_only", "mean", high=0.15),  # a few clips' sentences may be alike: the truth itself reaches 0.4 on one
    Bar("speed", "mean", low=0.75),
    Bar("recall", "of all clips", low=0.70),
    Bar("precision", "of all clips", low=0.60),
    Bar("offset", "share of 0", low=0.90),
    Bar("confidence", "relative to the truth", low=0.85, high=1.15),
    Bar("seam", "mean", high=1.10),  # a step of four grey levels all around is 1.10 to 1.16, one of eight 1.3 to 1.5
    Bar("change", "mean", low=0.70, high=1.20),
    Bar("faces", "mean", low=1.0),
)


def _of_all(column: str, rows: Sequence[Row], truth: Sequence[Row]) -> float:
    total = sum((Closures(*(int(row[name]) for name in ("wanted", "found", "shut", "right"))) for row in rows), NONE)
    return getattr(total, column)


NONE = Closures(0, 0, 0, 0)
#: From a column, the rows of one kind and those of the truth; nan is a miss.
STATISTICS: dict[str, Callable[[str, Sequence[Row], Sequence[Row]], float]] = {
    "mean": lambda c, rows, truth: np.mean(values(c, rows)),
    "median size": lambda c, rows, truth: np.median(np.nan_to_num(np.abs(values(c, rows)), nan=np.inf)),
    "of all clips": _of_all,
    "share of 0": lambda c, rows, truth: np.mean(values(c, rows) == 0),
    "relative to the truth": lambda c, rows, truth: np.mean(values(c, rows)) / np.mean(values(c, truth)),
}


def values(column: str, rows: Sequence[Row]) -> np.ndarray:
    return np.array([row[column] for row in rows], np.float64)


def verdicts(rows: Sequence[Row], *, judge: bool, kind: str = "result") -> list[tuple[Bar, float, bool | None]]:
    """For each bar its statistic, and whether it is met; None where there is no judge to measure it."""
    own, truth = ([row for row in rows if row["kind"] == k] for k in (kind, "truth"))
    found = []
    for bar in BARS:
        if bar.column in NEEDS_JUDGE and not judge:
            found.append((bar, float("nan"), None))
            continue
        value = float(STATISTICS[bar.statistic](bar.column, own, truth))
        found.append((bar, value, bool(bar.low <= value <= bar.high)))
    return found


def table(rows: Sequence[Row]) -> str:
    """Rows as lines, columns as wide as they need."""
    columns = [name for name in ("clip", "kind", *COLUMNS) if any(name in row for row in rows)]
    cells = [columns, *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells)


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "-" if np.isnan(value) else f"{value:d}" if isinstance(value, int) else f"{value:.3f}"


def means(rows: Sequence[Row]) -> list[Row]:
    """One row for each kind: sums of counts, ratios of these, else the mean of what is known."""
    result = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        mean: Row = {"clip": f"all {len(own)}", "kind": kind}
        for column in (name for name in COLUMNS if name in own[0]):
            known = values(column, own)[np.isfinite(values(column, own))]
            if column in ("recall", "precision"):
                mean[column] = _of_all(column, own, ())
            elif column in ("wanted", "found", "shut", "right"):
                mean[column] = int(known.sum())
            else:
                mean[column] = float(known.mean()) if len(known) else float("nan")
        result.append(mean)
    return result


def write_tables(folder: Path, rows: Sequence[Row], summary: Mapping) -> None:
    """eval_synthetic.csv and eval_synthetic.json; nan is empty or null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    plain = [{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()} for row in rows]
    with atomic_path(folder / "eval_synthetic.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(plain)
    with atomic_path(folder / "eval_synthetic.json") as path:
        path.write_text(json.dumps({**summary, "rows": plain}, indent=1, ensure_ascii=False) + "\n")


def tell(found: Iterable[tuple[Bar, float, bool | None]]) -> list[dict]:
    """Print each bar, met, missed or not measured; the same as plain data."""
    content = []
    for bar, value, met in found:
        if met is None:
            word, got = "not measured", NO_JUDGE
        else:
            word, got = "met" if met else "MISSED", f"{value:.3f}"
        print(f"{word:<12}  {bar}: {got}")
        content.append({"bar": str(bar), "value": value if np.isfinite(value) else None, "met": met})
    return content
