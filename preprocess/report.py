"""What became of all clips: a table, plots, and one page with both."""

import base64
import html
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.errors import ConfigError
from latentsync.files import atomic_path
from latentsync.metrics.sync_score import MAX_OFFSET
from latentsync.processing.manifest import Manifest
from latentsync.processing.stage import KEPT

#: Metrics that are drawn: title and unit.
DRAWN = {
    "confidence": "Sync confidence",
    "offset": "Offset of the sound (frames)",
    "quality": "Picture quality",
    "seconds": "Length of aligned clips (s)",
    "face_size": "Face size in the source (pixels)",
}


@dataclass(frozen=True)
class StageCount:
    """How a stage ended for the pieces that it was given."""

    stage: str
    kept: int
    dropped: Counter  # (status, reason) -> pieces
    cpu_seconds: float


def counts(rows: Iterable[dict]) -> list[StageCount]:
    by_stage: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        by_stage[row["stage"]].append(row)
    return [
        StageCount(
            stage,
            sum(row["status"] == KEPT for row in found),
            Counter((row["status"], row["reason"].split(":")[0]) for row in found if row["status"] != KEPT),
            sum(row["cpu_seconds"] for row in found),
        )
        for stage, found in by_stage.items()
    ]


def values(rows: Iterable[dict]) -> dict[str, dict[str, list[float]]]:
    """Metric -> status -> what was measured, in the stage that measured it."""
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in DRAWN}
    measured_by = {
        "confidence": "sync",
        "offset": "sync",
        "quality": "quality",
        "seconds": "align",
        "face_size": "align",
    }
    for row in rows:
        for name, stage in measured_by.items():
            if row["stage"] == stage:
                for metrics in [out["metrics"] for out in row["outputs"]] or [row["metrics"]]:
                    if name in metrics:
                        found[name][row["status"]].append(float(metrics[name]))
    return found


def table(found: Iterable[StageCount]) -> str:
    lines = [f"{'stage':<20}{'given':>7}{'kept':>7}{'CPU s':>9}  dropped"]
    for one in found:
        given = one.kept + sum(one.dropped.values())
        lines.append(f"{one.stage:<20}{given:>7}{one.kept:>7}{one.cpu_seconds:>9.1f}")
        lines += [f"{'':<45}{n:>4} {status}: {reason}" for (status, reason), n in one.dropped.most_common()]
    return "\n".join(lines)


def write_report(path: Path, folder: Path, order: Sequence[str]) -> None:
    """Print the table of a manifest, its stages in their order, and write report.html and report.png.

    Raises ConfigError where there is no manifest.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; run the pipeline first, or name the folder of an earlier run")
    with Manifest(path) as manifest:
        rows = sorted(manifest.outcomes(), key=lambda row: order.index(row["stage"].split()[0]))
        runs = manifest.runs()
    text = table(counts(rows))
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    picture = plots(counts(rows), values(rows))
    with atomic_path(folder / "report.png") as temporary:
        temporary.write_bytes(picture)
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(page(text, picture, rows, runs), encoding="utf-8")
    print(f"{folder / 'report.html'}, {folder / 'report.png'}")


def plots(found: list[StageCount], measured: dict[str, dict[str, list[float]]]) -> bytes:
    """A PNG: how many of the pieces each stage kept, and the distribution of each metric."""
    from matplotlib.figure import Figure

    colors = {"kept": "#3a7d44", "rejected": "#d08c28", "failed": "#b3261e"}
    figure = Figure(figsize=(14, 8), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    names = [one.stage for one in found][::-1]
    left = [0] * len(names)
    for status in colors:
        lengths = [
            one.kept if status == "kept" else sum(n for (how, _), n in one.dropped.items() if how == status)
            for one in found[::-1]
        ]
        axes[0].barh(names, lengths, left=left, color=colors[status], label=status)
        left = [a + b for a, b in zip(left, lengths, strict=True)]
    axes[0].set_title("Pieces by stage")
    axes[0].set_xlim(0, 1.4 * max(left, default=1))  # room for the legend
    axes[0].legend(loc="center right")
    for axis, (name, title) in zip(axes[1:], DRAWN.items(), strict=True):
        groups = {status: numbers for status, numbers in measured[name].items() if numbers}
        if groups:
            bins = np.arange(-MAX_OFFSET, MAX_OFFSET + 2) - 0.5 if name == "offset" else 30  # a bar for each frame
            axis.hist(
                list(groups.values()), bins=bins, stacked=True, color=[colors[s] for s in groups], label=list(groups)
            )
            axis.legend()
        axis.set_title(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def page(text: str, picture: bytes, rows: list[dict], runs: list[dict]) -> str:
    """HTML without anything outside of it."""
    dropped = "".join(
        f"<tr><td>{html.escape(row['key'])}<td>{row['stage']}<td>{row['status']}<td>{html.escape(row['reason'])}"
        f"<td>{html.escape(', '.join(f'{name} {value}' for name, value in row['metrics'].items()))}"
        for row in rows
        if row["status"] != KEPT
    )
    image = base64.b64encode(picture).decode()
    last = "".join(f"<p>{html.escape(run['started'])}: {html.escape(run['command'])}" for run in runs[-3:])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Data pipeline</title>'
        "<style>body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
        "table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}"
        "img{max-width:100%}</style><h1>What became of the clips</h1>"
        f"<pre>{html.escape(text)}</pre><img alt='plots' src='data:image/png;base64,{image}'>"
        f"<h2>Left out</h2><table><tr><th>clip<th>stage<th>how<th>why<th>measured{dropped}</table><h2>Runs</h2>{last}"
    )
