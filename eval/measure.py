"""What is measured of a video whose truth is known."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.face.detect import MediaPipeDetector
from latentsync.metrics.curves import best_lag, beyond, correlation, speed
from latentsync.metrics.mouth import closed_below, closures, mouth_change, region_psnr
from latentsync.metrics.seam import seam
from latentsync.synthetic.record import OTHER
from latentsync.synthetic.speech import SILENCE
from latentsync.synthetic.swap import sound_path
from latentsync.train.sync_judge import SyncJudge

from .bars import Row
from .watch import FPS, Seen, alignment, judged, watch


@dataclass(frozen=True)
class Drawn:
    """What is known of a video of f frames."""

    opening: np.ndarray  # (f,) of the lips, heights of the face
    size: np.ndarray  # (f,) height of the face, pixels
    closed_s: list[tuple[float, float]]  # when p, b and m close the lips
    spoken: np.ndarray  # (f,) bool

    @classmethod
    def read(cls, video: Path) -> "Drawn":
        person = json.loads(video.with_suffix(".json").read_text())["people"][0]
        gap, size = (np.array(person["frames"][name]) for name in ("lip_gap", "size"))
        times_s = (np.arange(len(gap)) + 0.5) / FPS
        spoken = np.zeros(len(gap), bool)
        for symbol, start_s, end_s in person["phonemes"]:
            spoken |= (symbol != SILENCE) & (times_s >= start_s) & (times_s < end_s)
        return cls(gap / size, size, [(start_s, end_s) for start_s, end_s in person["closed"]], spoken)


class Task:
    """One clip: what is known of it, and what is seen of its truth and its source."""

    def __init__(self, folder: Path, name: str, detector: MediaPipeDetector, weight: np.ndarray) -> None:
        self.name, self.detector, self.weight = name, detector, weight
        self.source, self.truth = folder / f"{name}.mp4", folder / f"{name}{OTHER}.mp4"
        self.sound = sound_path(folder, name, "new")
        self.old, self.new = Drawn.read(self.source), Drawn.read(self.truth)
        self.matrices = alignment(self.source, detector)
        self.seen = {"truth": self.watch(self.truth), "source": self.watch(self.source)}
        openings = [self.seen[kind].gap / self.new.size for kind in ("truth", "source")]
        self.threshold = closed_below(openings, [self.new.opening, self.old.opening])

    def watch(self, video: Path) -> Seen:
        return watch(video, self.matrices, self.detector)

    def row(self, kind: str, seen: Seen, judge: SyncJudge | None) -> Row:
        """The measurements of a video, against the truth as far as it reaches."""
        n = len(seen.gap)
        new, old, size = self.new.opening[:n], self.old.opening[:n], self.new.size[:n]
        opening, truth = seen.gap / size, self.seen["truth"]
        spans, spoken = self.new.closed_s, self.new.spoken[:n]
        lips = closures(opening, new, spans, spoken, threshold=self.threshold, fps=FPS)
        return {
            "clip": self.name,
            "kind": kind,
            "lips_new": correlation(opening, new),
            "lag": lag(new, opening),
            "lips_old": correlation(opening, old),
            "lips_old_only": correlation(opening, beyond(old, new)),
            "speed": speed(opening) / speed(truth.gap[:n] / size),
            **{name: getattr(lips, name) for name in ("wanted", "found", "shut", "right", "recall", "precision")},
            **judged(judge, seen, self.sound),
            "psnr": region_psnr(seen.squares, truth.squares[:n], self.weight >= 1),
            "seam": seam(seen.squares, truth.squares[:n], self.weight),
            "change": mouth_change(seen.squares) / mouth_change(truth.squares[:n]),
            "faces": seen.faces,
        }


def lag(expected: np.ndarray, opening: np.ndarray) -> float:
    try:
        return best_lag(expected, opening).steps
    except ValueError:  # lips that never move
        return float("nan")
