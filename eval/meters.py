"""What is measured of a result's pictures. Frames pass by once, a few at a time; meters keep sums, not pictures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from latentsync.face.detect import FaceDetector
from latentsync.metrics.flicker import Flicker
from latentsync.metrics.identity import FaceEmbedder, identity_similarity
from latentsync.metrics.mouth import lip_distance, lip_gap

EVERY = 5  # frames between those that slow networks look at
MOST = 200  # of these, as their features are kept


@dataclass(frozen=True)
class View:
    """A frame, and the square that the face's place in the result cuts out of it."""

    frame: np.ndarray  # (h, w, 3) uint8 RGB
    square: Tensor  # (3, r, r) uint8


@dataclass
class Moment:
    """A frame of a result in which its face is found, and the same frame of what it is compared with."""

    index: int  # at 25 per second
    result: View
    mesh: np.ndarray  # (468, 2) float32 frame pixels
    matrix: np.ndarray  # (2, 3), frame -> crop
    source: View | None = None
    truth: View | None = None
    _meshes: dict[str, np.ndarray | None] = field(default_factory=dict)

    @property
    def reference(self) -> View | None:
        """The truth, else the source: what a real video of this person is like."""
        return self.truth or self.source

    def mesh_of(self, name: str, detector: FaceDetector) -> np.ndarray | None:
        """The mesh of the same face in "result", "truth" or "reference", each found in the same way, or None."""
        if name not in self._meshes:
            box = np.concatenate([self.mesh.min(axis=0), self.mesh.max(axis=0)])
            self._meshes[name] = detector.landmarks(getattr(self, name).frame, box)
        return self._meshes[name]


class Meter(ABC):
    """One measurement of one clip."""

    needs: str | None = None  # "truth" or "reference": moments without it are not for this meter

    @abstractmethod
    def add(self, moments: Sequence[Moment]) -> None:
        """The next moments of the clip, one or more, in their order."""

    @abstractmethod
    def values(self) -> dict[str, float]:
        """What was measured, by column; nan where there was too little."""

    def features(self) -> dict[str, np.ndarray]:
        """What is measured of many clips together is made from these."""
        return {}


class Likeness(Meter):
    """Peak signal to noise (dB, at most 100) of the squares, and structural similarity in every fifth frame."""

    needs = "truth"

    def __init__(self, device: str) -> None:
        self._device = device
        self._psnr = PeakSignalNoiseRatio(data_range=255.0).to(device)
        self._ssim = StructuralSimilarityIndexMeasure(data_range=255.0).to(device)

    def add(self, moments: Sequence[Moment]) -> None:
        for metric, chosen in ((self._psnr, moments), (self._ssim, sparse(moments))):
            if chosen:
                metric.update(*(squares(chosen, name).to(self._device).float() for name in ("result", "truth")))

    def values(self) -> dict[str, float]:
        psnr, ssim = (float(m.compute()) if m.update_called else np.nan for m in (self._psnr, self._ssim))
        return {"psnr": min(psnr, 100.0), "ssim": ssim}


class Perceptual(Meter):
    """LPIPS of the squares, in every fifth frame. `distance`: (n, 3, h, w) in [-1, 1] twice -> (n,)."""

    needs = "truth"

    def __init__(self, distance: Callable[[Tensor, Tensor], Tensor], device: str) -> None:
        self._distance, self._device, self._found = distance, device, []

    @torch.inference_mode()
    def add(self, moments: Sequence[Moment]) -> None:
        if chosen := sparse(moments):
            pair = (squares(chosen, name).to(self._device).float() / 127.5 - 1 for name in ("result", "truth"))
            self._found += self._distance(*pair).flatten().tolist()

    def values(self) -> dict[str, float]:
        return {"lpips": mean(self._found)}


class Lips(Meter):
    """How far the lips' points lie from the truth's, and both openings for a plot."""

    needs = "truth"

    def __init__(self, detector: FaceDetector) -> None:
        self._detector, self._distances, self._gaps = detector, [], []

    def add(self, moments: Sequence[Moment]) -> None:
        for moment in moments:
            result, truth = (moment.mesh_of(name, self._detector) for name in ("result", "truth"))
            if result is not None and truth is not None:
                scale = np.sqrt(np.abs(np.linalg.det(moment.matrix[:, :2])))
                lips = (self._detector.lips(mesh) * scale for mesh in (result, truth))
                self._distances.append(lip_distance(*lips))
                gaps = (float(lip_gap(mesh[None])[0] * scale) for mesh in (result, truth))
                self._gaps.append((moment.index, *gaps))

    def values(self) -> dict[str, float]:
        return {"lmd": mean(self._distances)}

    def features(self) -> dict[str, np.ndarray]:
        return {"gaps": np.array(self._gaps, np.float32).reshape(-1, 3)}  # frame, result, truth


class Steadiness(Meter):
    """Flicker of the mouth relative to that of the truth, else of the source."""

    needs = "reference"

    def __init__(self) -> None:
        self._flickers = {"result": Flicker(), "reference": Flicker()}

    def add(self, moments: Sequence[Moment]) -> None:
        for moment in moments:
            for name, flicker in self._flickers.items():
                flicker.add(moment.index, getattr(moment, name).square)

    def values(self) -> dict[str, float]:
        result, reference = (flicker.value() for flicker in self._flickers.values())
        return {"flicker": result / reference if reference > 0 else np.nan}


class Identity(Meter):
    """Cosine similarity of the face with that of the truth, else of the source, in every fifth frame."""

    needs = "reference"

    def __init__(self, embed: FaceEmbedder, detector: FaceDetector) -> None:
        self._embed, self._detector, self._found = embed, detector, []

    def add(self, moments: Sequence[Moment]) -> None:
        names = ("result", "reference")
        for moment in sparse(moments):
            meshes = [moment.mesh_of(name, self._detector) for name in names]
            if all(mesh is not None for mesh in meshes):
                result, reference = self._embed([getattr(moment, name).frame for name in names], meshes)
                self._found.append(identity_similarity(result[None], reference[None]))

    def values(self) -> dict[str, float]:
        return {"identity": mean(self._found)}


class PictureFeatures(Meter):
    """Features of the squares in every fifth frame, for FID. `network`: (n, 3, h, w) uint8 -> (n, d)."""

    needs = "reference"

    def __init__(self, network: Callable[[Tensor], Tensor], device: str) -> None:
        self._network, self._device = network, device
        self._found: dict[str, list[np.ndarray]] = {"result": [], "reference": []}

    @torch.inference_mode()
    def add(self, moments: Sequence[Moment]) -> None:
        if (chosen := sparse(moments)) and len(self._found["result"]) < MOST:
            for name, found in self._found.items():
                found.extend(self._network(squares(chosen, name).to(self._device)).float().cpu().numpy())

    def values(self) -> dict[str, float]:
        return {}

    def features(self) -> dict[str, np.ndarray]:
        return {f"pictures_{name}": np.array(found, np.float32) for name, found in self._found.items() if found}


class Stills(Meter):
    """The squares at a few moments, spread over a clip of about `n_frames`."""

    def __init__(self, n_frames: int, count: int) -> None:
        self._wanted = {int((i + 0.5) * n_frames / count) for i in range(count)}
        self.rows: dict[str, list[np.ndarray]] = {"source": [], "result": [], "truth": []}

    def add(self, moments: Sequence[Moment]) -> None:
        for moment in moments:
            if moment.index in self._wanted:
                for name, row in self.rows.items():
                    if (view := getattr(moment, name)) is not None:
                        row.append(view.square.permute(1, 2, 0).numpy())

    def values(self) -> dict[str, float]:
        return {}


def squares(moments: Sequence[Moment], name: str) -> Tensor:
    """(n, 3, r, r) uint8 of "result", "truth" or "reference"."""
    return torch.stack([getattr(moment, name).square for moment in moments])


def sparse(moments: Sequence[Moment]) -> list[Moment]:
    return [moment for moment in moments if moment.index % EVERY == 0]


def mean(found: Sequence[float]) -> float:
    return float(np.mean(found)) if found else np.nan


def show(meters: Sequence[Meter], moments: Sequence[Moment]) -> None:
    """Give each meter the moments that have what it needs."""
    for meter in meters:
        fitting = [m for m in moments if meter.needs is None or getattr(m, meter.needs) is not None]
        if fitting:
            meter.add(fitting)
