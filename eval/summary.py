"""All clips of a report together, and beside those of another report."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.errors import ConfigError
from latentsync.metrics.fvd import frechet_distance

from .columns import CLIP_COLUMNS, COLUMNS, SET_COLUMNS
from .intervals import Estimate, mean, of_set

FORMAT = 1
JSON = "report.json"
FEATURES = {"fid": "pictures", "fvd": "video"}  # their names in a clip's file
JUDGED = ("confidence", "confidence_at_0", "distance", "offset")  # by the judge, so that another one's differ


@dataclass
class Summary:
    """What a report says; report.json holds it."""

    about: dict[str, Any]  # judges, weights, command, versions
    clips: dict[str, dict[str, float]]  # row of each clip, by name
    reasons: dict[str, dict[str, str]]  # of each clip: column -> why it is empty
    missing: dict[str, str]  # measure -> what would bring its weights
    failures: dict[str, str]  # clip -> why it was not measured
    features: Mapping[str, Path] = field(default_factory=dict)  # of each clip, its .npz

    def values(self, column: str) -> dict[str, float]:
        """Of the clips that have it."""
        return {name: row[column] for name, row in self.clips.items() if column in row}

    @cached_property
    def overall(self) -> dict[str, Estimate]:
        """Means of clips, of offsets their sizes', and distances of sets."""
        found = {}
        for column in CLIP_COLUMNS:
            if values := list(self.values(column).values()):
                found[column] = mean(np.abs(values) if column == "offset" else values)
        for column in SET_COLUMNS:
            sets = self.sets(column)
            if len(sets) > 1:
                found[column] = of_set(len(sets), distance_of(list(sets.values())))
        return found

    def sets(self, column: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Features (n, d) of result and reference of each clip that has them."""
        name, found = FEATURES[column], {}
        for clip, path in self.features.items():
            if clip in self.clips and path.is_file():
                with np.load(path) as arrays:
                    if f"{name}_result" in arrays:
                        found[clip] = arrays[f"{name}_result"], arrays[f"{name}_reference"]
        return found

    def worst(self, column: str, count: int) -> list[str]:
        """Names of the clips with the worst numbers, the worst first; of clips that are all alike none is the worst."""
        values = self.values(column)
        badness = COLUMNS[column].badness(np.array(list(values.values())))
        order = np.argsort(-badness, kind="stable")[:count]
        return [list(values)[i] for i in order if badness[i] > badness.min()]

    def plain(self) -> dict[str, Any]:
        """For JSON; `read` reads it."""
        columns = {name: {"title": column.title, "meaning": column.meaning} for name, column in COLUMNS.items()}
        return {
            "format": FORMAT,
            "about": self.about,
            "columns": columns,
            "overall": {name: _plain(estimate) for name, estimate in self.overall.items()},
            "missing": self.missing,
            "failures": self.failures,
            "clips": {name: {"values": row, "missing": self.reasons[name]} for name, row in self.clips.items()},
        }

    @classmethod
    def read(cls, folder: Path) -> "Summary":
        """Of the folder of an earlier report. Raises ConfigError."""
        path = folder / JSON
        try:
            found = json.loads(path.read_text())
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}")
            clips = found["clips"]
            return cls(
                found["about"],
                {name: clip["values"] for name, clip in clips.items()},
                {name: clip["missing"] for name, clip in clips.items()},
                found["missing"],
                found["failures"],
                {name: folder / "clips" / f"{name}.npz" for name in clips},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: expected an earlier report; name the --out folder of one") from error


@dataclass(frozen=True)
class Difference:
    """Of a number from that of the baseline."""

    ours: float
    theirs: float
    difference: Estimate  # of the clips that both have
    verdict: str  # better, worse or unclear


def compare(ours: Summary, theirs: Summary) -> dict[str, Difference]:
    """Column by column, clip by clip of the same names; sets are drawn again with the same clips on both sides.

    Raises ConfigError where no clip is in both.
    """
    common = [name for name in ours.clips if name in theirs.clips]
    if not common:
        raise ConfigError("no clip of the report is in the baseline; expected results of the same names")
    same_judge = ours.about["judge"] == theirs.about["judge"]
    found = {}
    for column in CLIP_COLUMNS:
        values = [summary.values(column) for summary in (ours, theirs)]
        both = [name for name in common if all(name in of for of in values)]
        if both and (same_judge or column not in JUDGED):
            a, b = (np.array([of[name] for name in both]) for of in values)
            found[column] = _difference(column, a, b)
    for column in SET_COLUMNS:
        sets = [summary.sets(column) for summary in (ours, theirs)]
        both = [name for name in common if all(name in of for of in sets)]
        if len(both) > 1:
            a, b = (distance_of([of[name] for name in both]) for of in sets)
            estimate = of_set(len(both), lambda draw, a=a, b=b: a(draw) - b(draw))
            everybody = np.arange(len(both))
            found[column] = Difference(a(everybody), b(everybody), estimate, verdict(column, estimate))
    return found


def _difference(column: str, a: np.ndarray, b: np.ndarray) -> Difference:
    estimate = mean(a - b) if COLUMNS[column].best is None else mean(
        COLUMNS[column].badness(a) - COLUMNS[column].badness(b)
    )
    sizes = (np.abs(x) if column == "offset" else x for x in (a, b))
    return Difference(*(float(x.mean()) for x in sizes), estimate, verdict(column, estimate))


def verdict(column: str, difference: Estimate) -> str:
    """Whether an interval leaves no doubt. Differences of columns with a best number are those of its distance."""
    if not difference.low * difference.high > 0:  # on both sides of 0, or not known
        return "unclear"
    rises = difference.low > 0
    return "better" if rises == (COLUMNS[column].best is None and COLUMNS[column].higher) else "worse"


def distance_of(sets: Sequence[tuple[np.ndarray, np.ndarray]]) -> Callable[[np.ndarray], float]:
    """The Fréchet distance of results and references of the clips of these numbers."""

    def distance(numbers: np.ndarray) -> float:
        return frechet_distance(*(np.concatenate([sets[i][side] for i in numbers]) for side in (0, 1)))

    return distance


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if value != value else value for name, value in asdict(estimate).items()}
