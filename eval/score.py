"""The stage that measures results: one pass over the pictures of each, for all networks that are there."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync import REPO_ROOT
from latentsync import build_metrics as networks
from latentsync.build import choose_device
from latentsync.errors import CheckpointError, MeasureError, MediaError, NoFaceError
from latentsync.face.detect import MediaPipeDetector
from latentsync.files import atomic_path, digest
from latentsync.judges import OfficialSyncNet, ProjectSyncNet, Sync, as_sync
from latentsync.media.stream import batched
from latentsync.metrics.face_clip import face_clip
from latentsync.metrics.fvd import clip_features
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Stage

from .columns import NEEDS_REFERENCE, NEEDS_TRUTH, SYNC
from .compared import ComparedClip
from .meters import Identity, Likeness, Lips, Meter, Perceptual, PictureFeatures, Steadiness, Stills, show
from .moments import MOMENTS, moments, save
from .results import Result

AT_ONCE = 8  # frames
MEASUREMENT = 1  # to be raised where numbers change for other reasons than networks

#: Measures that need weights which may be missing: their file, whose absence it tells by an error.
WEIGHTS: dict[str, Callable[[], Path]] = {
    "lpips": networks.lpips_file,
    "fid": networks.inception_file,
    "fvd": networks.i3d_file,
    "identity": networks.face_embedder_file,
}
NO_TRUTH = "there is no truth to compare with; name it in the column truth"
NO_REFERENCE = "there is neither truth nor source to compare with; name one in the column truth or video"


@dataclass
class Score(Stage):
    """Writes KEY.json (numbers, and the reasons of those that are missing), KEY.npz (features) and KEY.jpg (stills).

    Args:
        judge: of sync confidence; None: `accuracy_judge` tells it, too.
        accuracy_judge: a StableSyncNet, which says of each window whether it is in sync.

    Attributes:
        missing: measures whose weights are not there, with what to do.
    """

    judge: OfficialSyncNet | None
    accuracy_judge: ProjectSyncNet
    device: str = "auto"
    n_threads: int | None = None
    missing: dict[str, str] = field(init=False)

    name = "score"
    folder = "clips"

    def __post_init__(self) -> None:
        self.missing, self._weights = {}, {}
        for measure, file in WEIGHTS.items():
            try:
                self._weights[measure] = digest(file())
            except CheckpointError as error:
                self.missing[measure] = str(error).replace(f"{REPO_ROOT}/", "")  # as pages are shown to others

    @property
    def gpus(self) -> float:
        return float(self.device == "auto")

    def parameters(self) -> Mapping[str, Any]:
        return {
            "measurement": MEASUREMENT,
            "judge": self.judge and self.judge.identity(),
            "accuracy_judge": self.accuracy_judge.identity(),
            "weights": self._weights,
        }

    def setup(self, device: str) -> None:
        if self.n_threads is not None:
            torch.set_num_threads(self.n_threads)
            cv2.setNumThreads(self.n_threads)
        self._device = str(device if self.device == "auto" else choose_device(self.device))
        self._detector = MediaPipeDetector()
        for judge in filter(None, (self.judge, self.accuracy_judge)):
            judge.load(self._device)
        build = {
            "lpips": networks.build_lpips_distance,
            "fid": networks.build_inception,
            "fvd": networks.build_i3d,
            "identity": networks.build_face_embedder,
        }
        self._networks = {measure: build[measure](device=self._device) for measure in self._weights}

    def __call__(self, result: Result, folder: Path) -> list[Piece]:
        clip = ComparedClip(result, self._detector)
        measured = Measured()
        stills = Stills(clip.expected, MOMENTS)
        meters = self._meters()
        self._watch(clip, [stills, *meters], measured)
        for meter in meters:
            measured.row |= meter.values()
            measured.features |= meter.features()
        if self.judge is not None and clip.sound is not None:
            with measured.or_reason(*SYNC):
                measured.add_sync(self.judge(clip.path, clip.sound, wanted=clip.shows_the_face))
        if "fvd" in self._networks and clip.reference is not None:
            with measured.or_reason("fvd"):
                measured.features |= self._videos(clip)
        measured.row |= {"frames": clip.n_frames, "faces": clip.n_faces / clip.n_frames}
        measured.tell_reasons(clip)
        return measured.write(folder, result.key, {name: row for name, row in stills.rows.items() if row})

    def _meters(self) -> list[Meter]:
        networks, device, detector = self._networks, self._device, self._detector
        build: dict[str, Callable[[], Meter]] = {
            "lpips": lambda: Perceptual(networks["lpips"], device),
            "identity": lambda: Identity(networks["identity"], detector),
            "fid": lambda: PictureFeatures(networks["fid"], device),
        }
        optional = [make() for measure, make in build.items() if measure in networks]
        return [Steadiness(), Likeness(device), Lips(detector), *optional]

    def _watch(self, clip: ComparedClip, meters: Sequence[Meter], measured: "Measured") -> None:
        """One pass over the pictures, which the judge draws while the meters look on."""

        def squares() -> Iterator[Tensor | None]:
            for some in batched(clip.moments(), AT_ONCE):
                show(meters, [moment for moment in some if moment is not None])
                yield from (moment and moment.result.square for moment in some)

        passing = squares()
        if clip.sound is not None:
            with measured.or_reason("accuracy", *SYNC if self.judge is None else ()):
                score = self.accuracy_judge.score(passing, clip.sound, clip.path)
                measured.row["accuracy"] = score.accuracy(self.accuracy_judge.cfg.data.min_negative_distance)
                if self.judge is None:
                    measured.add_sync(as_sync(score))
        for _ in passing:
            pass  # what the judge did not draw

    def _videos(self, clip: ComparedClip) -> dict[str, np.ndarray]:
        clips = [face_clip(path, self._detector, near=clip.place) for path in (clip.path, clip.reference)]
        features = clip_features(self._networks["fvd"], np.stack(clips), self._device)
        return {"video_result": features[:1], "video_reference": features[1:]}


@dataclass
class Measured:
    """What is known of one result."""

    row: dict[str, float] = field(default_factory=dict)  # by column
    missing: dict[str, str] = field(default_factory=dict)  # reasons, by column
    features: dict[str, np.ndarray] = field(default_factory=dict)

    @contextmanager
    def or_reason(self, *columns: str) -> Iterator[None]:
        """Columns that are measured within get the reason where that fails; the others go on."""
        try:
            yield
        except (MeasureError, MediaError, NoFaceError) as error:
            self.missing |= dict.fromkeys(columns, str(error))

    def add_sync(self, sync: Sync) -> None:
        self.row |= {name: getattr(sync, name) for name in SYNC}
        self.features["by_offset"] = np.array(sync.by_offset, np.float32)

    def tell_reasons(self, clip: ComparedClip) -> None:
        """Why columns are empty that need what this clip does not have."""
        if clip.sound is None:
            self.missing |= dict.fromkeys((*SYNC, "accuracy"), clip.reasons["sound"])
        if "truth" not in clip.others:
            self.missing |= dict.fromkeys(NEEDS_TRUTH, clip.reasons.get("truth", NO_TRUTH))
        if clip.reference is None:
            why = clip.reasons.get("truth") or clip.reasons.get("source") or NO_REFERENCE
            self.missing |= dict.fromkeys(NEEDS_REFERENCE, why)
        for name, value in self.row.items():
            if not np.isfinite(value):
                self.missing.setdefault(name, f"{clip.path}: too few frames with a face; use a longer video")

    def write(self, folder: Path, key: str, stills: dict[str, list[np.ndarray]]) -> list[Piece]:
        """Three files, each complete or not there."""
        target = folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        row = {name: round(float(value), 6) for name, value in self.row.items() if np.isfinite(value)}
        paths = [target.with_name(target.name + suffix) for suffix in (".json", ".npz", ".jpg")]
        with atomic_path(paths[0]) as temporary:
            temporary.write_text(json.dumps({"row": row, "missing": self.missing}, indent=1) + "\n")
        with atomic_path(paths[1]) as temporary:
            np.savez_compressed(temporary, **self.features)
        save([moments({name: np.stack(row) for name, row in stills.items()})], paths[2])
        return [Piece(key + path.suffix, path) for path in paths]
