"""What a run reports: tables, TensorBoard, a chart."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import Summary

from latentsync.files import atomic_path

matplotlib.use("agg")  # before pyplot: no window, whatever the system
from matplotlib import pyplot

_SMOOTHED_POINTS = 400  # of a curve in the chart, each the mean of its steps
_GIF_MS = 40


class Table:
    """A CSV file with a column `step`; rows appear whole, and after a restart those past the last kept step go."""

    def __init__(self, path: Path, columns: Sequence[str], *, step: int) -> None:
        self.path, self.columns = path, ["step", *columns]
        rows = [row for row in read_table(path) if int(row["step"]) <= step] if path.exists() else []
        with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        self._file = path.open("a", newline="")
        self._writer = csv.writer(self._file)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._writer.writerow([step, *(_text(values.get(name)) for name in self.columns[1:])])
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _text(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table; one that a kill cut short is left out."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        return [row for row in reader if None not in row.values()]


class TrainLog:
    """The files of a run folder that people look at; only the first process writes them.

    metrics.csv has a row for each step, validation.csv one for each validation; loss_chart.png shows both;
    tensorboard/ has the same numbers, pictures and animations.
    """

    def __init__(self, folder: Path, columns: Sequence[str], validation: Sequence[str], *, step: int) -> None:
        self.folder = folder
        self.metrics = Table(folder / "metrics.csv", columns, step=step)
        self.validations = Table(folder / "validation.csv", validation, step=step)
        self.board = SummaryWriter(folder / "tensorboard", purge_step=step + 1 if step else None)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of one step."""
        self.metrics.add(step, values)
        for name, value in values.items():
            self.board.add_scalar(f"train/{name}", value, step)

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of one validation; renews the chart."""
        self.validations.add(step, values)
        for name, value in values.items():
            self.board.add_scalar(f"validation/{name}", value, step)
        self.board.flush()
        self.chart()

    def pictures(self, name: str, rows: Sequence[np.ndarray], step: int) -> None:
        """Rows of frames (f, h, w, 3) uint8, one below the other."""
        sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
        self.board.add_image(name, sheet, step, dataformats="HWC")

    def animation(self, name: str, frames: np.ndarray, step: int) -> None:
        """(f, h, w, 3) uint8 frames at 25 fps, as a GIF: TensorBoard plays no other."""
        gif = io.BytesIO()
        first, *others = map(Image.fromarray, frames)
        first.save(gif, "GIF", save_all=True, append_images=others, duration=_GIF_MS, loop=0)
        height, width = frames.shape[1:3]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif.getvalue())
        self.board._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def chart(self) -> None:
        """Write loss_chart.png: the losses of training and validation over the steps."""
        draw_chart(self.folder / "loss_chart.png", read_table(self.metrics.path), read_table(self.validations.path))

    def close(self) -> None:
        self.metrics.close()
        self.validations.close()
        self.board.close()


def draw_chart(path: Path, steps: Sequence[Mapping[str, str]], validations: Sequence[Mapping[str, str]]) -> None:
    """A panel for each loss, and one for whatever else validation measured between 0 and 1."""
    losses = [name for name in (steps[0] if steps else {}) if name == "loss" or name.endswith("_loss")]
    shares = [name for name in (validations[0] if validations else {}) if name.endswith("accuracy")]
    panels = [[name] for name in losses] + ([shares] if shares else [])
    if not panels:
        return
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 3.4), squeeze=False)
    for axis, names in zip(axes[0], panels, strict=True):
        for name in names:
            if name in losses:
                axis.plot(*_curve(steps, name), label="training", color="0.6")
            points = _points(validations, name)
            if points:
                label = "validation" if name in losses else name.replace("_", " ")
                axis.plot(*zip(*points, strict=True), marker=".", label=label)
        axis.set_title(names[0].replace("_", " ") if names[0] in losses else "validation")
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(frameon=False)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


def _points(rows: Sequence[Mapping[str, str]], name: str) -> list[tuple[int, float]]:
    points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    return [(step, value) for step, value in points if math.isfinite(value)]


def _curve(rows: Sequence[Mapping[str, str]], name: str) -> tuple[list[float], list[float]]:
    """Steps and values, averaged so that few enough points remain."""
    points = np.array(_points(rows, name)).reshape(-1, 2)
    parts = np.array_split(points, min(len(points), _SMOOTHED_POINTS) or 1)
    means = np.array([part.mean(axis=0) for part in parts if len(part)]).reshape(-1, 2)
    return means[:, 0].tolist(), means[:, 1].tolist()
