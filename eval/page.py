"""The page of a report: tables, plots and the worst cases in one HTML file without anything outside of it."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

from latentsync.metrics.sync_score import MAX_OFFSET

from .columns import CLIP_COLUMNS, COLUMNS
from .intervals import Estimate
from .summary import Difference, Summary

TEMPLATE = "report.html.jinja"
WORST = 3  # cases for each of these columns
SHOWN = ("confidence_at_0", "lmd", "lpips", "identity", "flicker", "faces")
OURS, THEIRS = "#2457a7", "#999999"


def render(summary: Summary, differences: Mapping[str, Difference], baseline: Summary | None) -> str:
    """`differences` and `baseline`: of another report, empty and None without one."""
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    templates.filters |= {"number": number, "interval": interval}
    return templates.get_template(TEMPLATE).render(
        summary=summary,
        columns=COLUMNS,
        clip_columns=[name for name in CLIP_COLUMNS if summary.values(name)],
        differences=differences,
        baseline=baseline,
        why_empty=why_empty(summary),
        plots=histograms(summary, baseline),
        cases=cases(summary),
        missing_reasons=reasons_by_text(summary),
    )


def number(value: float | None, column: str) -> str:
    if value is None or np.isnan(value):
        return ""
    return f"{value:.{COLUMNS[column].digits}f}"


def interval(estimate: Estimate, column: str) -> str:
    if np.isnan(estimate.low):
        return ""
    return f"{number(estimate.low, column)} … {number(estimate.high, column)}"


def why_empty(summary: Summary) -> dict[str, str]:
    """For each measure without any number, the reason: missing weights, or what the clips lack."""
    found = {}
    for column in COLUMNS:
        if column not in summary.overall:
            reasons = [reasons[column] for reasons in summary.reasons.values() if column in reasons]
            found[column] = summary.missing.get(column) or next(iter(reasons), "two clips or more are needed")
    return found


def reasons_by_text(summary: Summary) -> dict[str, dict[str, list[str]]]:
    """Why single clips lack a number that others have: reason -> columns and clips."""
    found: dict[str, dict[str, list[str]]] = {}
    for clip, reasons in summary.reasons.items():
        for column, reason in reasons.items():
            if column in summary.overall:
                entry = found.setdefault(reason, {"columns": [], "clips": []})
                entry["columns"] += [column] * (column not in entry["columns"])
                entry["clips"] += [clip] * (clip not in entry["clips"])
    return found


def histograms(summary: Summary, baseline: Summary | None) -> str:
    """How each number is distributed over the clips, with the mean and its interval: an SVG element."""
    names = [name for name in CLIP_COLUMNS if len(set(summary.values(name).values())) > 1]
    if not names:
        return ""
    rows = -(-len(names) // 3)
    figure = Figure(figsize=(11, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False).ravel()
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes, names, strict=False):
        values = list(summary.values(name).values())
        others = list(baseline.values(name).values()) if baseline else []
        bins = _bins(name, [*values, *others])
        if others:
            axis.hist(others, bins, histtype="step", color=THEIRS, label="baseline")
        axis.hist(values, bins, color=OURS, alpha=0.6, label="this report")
        estimate = summary.overall[name]
        if name != "offset":
            axis.axvline(estimate.value, color=OURS)
            axis.axvspan(estimate.low, estimate.high, color=OURS, alpha=0.15)
        axis.set_title(COLUMNS[name].title, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.yaxis.get_major_locator().set_params(integer=True)
    if baseline:
        axes[0].legend(fontsize=8)
    return _svg(figure)


def _bins(column: str, values: Sequence[float]) -> np.ndarray:
    if column == "offset":
        return np.arange(-MAX_OFFSET, MAX_OFFSET + 2) - 0.5
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, 21)


def cases(summary: Summary) -> list[dict[str, Any]]:
    """The worst clips by some columns, each once, with its stills and curves."""
    found: dict[str, list[str]] = {}
    for column in SHOWN:
        for clip in summary.worst(column, WORST):
            found.setdefault(clip, []).append(column)
    return [
        {"clip": clip, "columns": columns, "values": summary.clips[clip], **_pictures(summary, clip)}
        for clip, columns in found.items()
    ]


def _pictures(summary: Summary, clip: str) -> dict[str, str]:
    """Stills as the base64 of a JPEG, curves as SVG."""
    features = summary.features[clip]
    with np.load(features) as arrays:
        curves = _curves({name: arrays[name] for name in ("by_offset", "gaps") if name in arrays}, summary)
    return {"stills": base64.b64encode(features.with_suffix(".jpg").read_bytes()).decode(), "curves": curves}


def _curves(arrays: Mapping[str, np.ndarray], summary: Summary) -> str:
    """What the judge says of each offset, and how far the lips are apart, beside the truth's."""
    gaps = arrays.get("gaps", np.empty((0, 3)))
    figure = Figure(figsize=(11, 1.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    if "by_offset" in arrays:
        left.plot(np.arange(len(arrays["by_offset"])) - len(arrays["by_offset"]) // 2, arrays["by_offset"], color=OURS)
        left.axvline(0, color="0.7", linestyle=":")
    left.set_xlabel("sound early by frames", fontsize=8)
    left.set_ylabel(summary.about["judge"]["by_offset"], fontsize=8)
    if len(gaps):
        right.plot(gaps[:, 0] / 25, gaps[:, 2], color=THEIRS, label="truth")
        right.plot(gaps[:, 0] / 25, gaps[:, 1], color=OURS, label="result")
        right.legend(fontsize=8)
        right.set_xlabel("seconds", fontsize=8)
        right.set_ylabel("lips apart, pixels", fontsize=8)
    else:
        right.set_visible(False)
    for axis in (left, right):
        axis.tick_params(labelsize=8)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=False, metadata={"Date": None})
    content = text.getvalue()
    return content[content.index("<svg") :]
