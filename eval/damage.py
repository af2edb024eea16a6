"""Good videos made worse in known ways, so that measures can be seen to notice."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync.face.align import FaceAligner
from latentsync.face.detect import MediaPipeDetector
from latentsync.face.mask import fixed_mask
from latentsync.face.paste import FacePaster
from latentsync.face.track import FaceChoice
from latentsync.files import atomic_path
from latentsync.media.ffmpeg import VideoWriter, decode_audio, decode_frames, join, probe
from latentsync.options import InferenceOptions
from latentsync.pipelines.faces import align_faces
from latentsync.processing.piece import Piece, state
from latentsync.processing.stage import Stage
from latentsync.synthetic.soundtrack import write_wav
from latentsync.types import AlignedFace

from .results import Result

FPS, SAMPLE_RATE = 25, 16000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
SIDE = 256  # pixels of the squares
CRF = 12
BORDER = 16  # pixels of the square around a face that is replaced whole

#: Squares (r, r, 3) float32 of a frame, of the first frame, of another clip at this moment; random numbers -> a square.
Change = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Damage:
    """What is done to a clip, and the measures that must find it worse than the clip that was only encoded anew."""

    worse: tuple[str, ...]
    change: Change | None = None  # of the mouth's picture
    whole_face: bool = False  # is changed, not the mouth alone
    late: int = 0  # frames that the sound comes too late; negative: too early
    swapped: bool = False  # the sound is another clip's

    @property
    def of_sound(self) -> bool:
        return bool(self.late or self.swapped)


def blurred(sigma: float) -> Change:
    """Standard deviation in pixels of the square."""
    return lambda square, first, other, rng: cv2.GaussianBlur(square, (0, 0), sigma)


def noisy(level: float) -> Change:
    """Standard deviation in grey levels, other noise in each frame."""
    return lambda square, first, other, rng: square + rng.normal(0, level, square.shape).astype(np.float32)


def frozen(square: np.ndarray, first: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return first


def of_another_person(square: np.ndarray, first: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return other


PICTURE = ("psnr", "ssim", "lpips", "fid")
SHIFTED = ("confidence_at_0", "offset")
NOTICED = 3  # frames from which on a SyncNet must call windows out of sync; one or two people do not notice either


def shifted(late: int) -> Damage:
    return Damage((*SHIFTED, "accuracy") if abs(late) >= NOTICED else SHIFTED, late=late)


UNDAMAGED = "none"
DAMAGES: dict[str, Damage] = {
    UNDAMAGED: Damage(()),
    "blur 2": Damage(PICTURE, blurred(2)),
    "blur 4": Damage(PICTURE, blurred(4)),
    "noise 6": Damage((*PICTURE, "flicker"), noisy(6)),
    "noise 18": Damage((*PICTURE, "flicker"), noisy(18)),
    "frozen mouth": Damage(
        (*PICTURE, "lmd", "flicker", "confidence", "confidence_at_0", "distance", "accuracy", "fvd"), frozen
    ),
    "wrong identity": Damage((*PICTURE, "lmd", "identity", "fvd"), of_another_person, whole_face=True),
    **{f"sound late by {n}": shifted(n) for n in range(1, 11)},
    **{f"sound early by {n}": shifted(-n) for n in (1, 5, 10)},
    "swapped sound": Damage(("confidence", "confidence_at_0", "distance", "accuracy"), swapped=True),
}


@dataclass(frozen=True)
class Good(Piece):
    """A video that is in sync, to be damaged; the key is the damaged one's."""

    damage: str = field(kw_only=True)
    other: Path = field(kw_only=True)  # the clip whose sound or face is taken instead

    def fingerprint(self) -> str:
        return f"{state(self.path)}, {state(self.other)}"


@dataclass
class DamageStage(Stage):
    """Writes a damaged copy of each clip, with its sound as it is stored without loss."""

    name = "damage"
    folder = "damaged"

    def parameters(self) -> Mapping[str, Any]:
        return {"side": SIDE, "crf": CRF, "border": BORDER}

    def setup(self, device: str) -> None:
        cv2.setNumThreads(1)
        self._detector = MediaPipeDetector()

    def __call__(self, piece: Good, folder: Path) -> list[Piece]:
        damage, target = DAMAGES[piece.damage], folder / piece.key
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="latentsync-") as temporary:
            wav = Path(temporary, "sound.wav")
            write_wav(wav, _sound(piece, damage, Path(temporary)) / 32767, SAMPLE_RATE)
            if damage.of_sound:
                with atomic_path(target) as path:
                    seconds = probe(piece.path).duration_s or len(wav.read_bytes()) / 2 / SAMPLE_RATE
                    join(piece.path, wav, path, ["-c:a", "copy"], seconds, name=target)
            else:
                self._write_pictures(piece, damage, wav, target)
        return [Piece(piece.key, target)]

    def _write_pictures(self, piece: Good, damage: Damage, wav: Path, target: Path) -> None:
        info = probe(piece.path)
        paste, rng = FacePaster(_mask(damage)), np.random.default_rng(0)
        first: np.ndarray | None = None
        with ExitStack() as stack:
            own = stack.enter_context(closing(self._faces(piece.path)))
            others = stack.enter_context(closing(self._faces(piece.other)))
            writer = VideoWriter(target, info.width, info.height, FPS, audio=wav, crf=CRF, preset="veryfast")
            stack.enter_context(writer)
            other: np.ndarray | None = None
            for face in own:
                if damage.change is of_another_person:
                    other = _square(next(others, None), other)
                frame = face.frame
                if face.pose is not None and damage.change is not None:
                    square = _square(face, None)
                    first = square if first is None else first
                    changed = damage.change(square, first, square if other is None else other, rng)
                    frame = paste(frame, _to_network_range(changed), face.pose.matrix)
                writer.write(frame)

    def _faces(self, path: Path) -> Iterator[AlignedFace]:
        frames = enumerate(decode_frames(path, FPS))
        settings = {"choice": FaceChoice(), "rate": Fraction(FPS), "options": InferenceOptions()}
        yield from align_faces(frames, FaceAligner(SIDE), self._detector, **settings)


def _square(face: AlignedFace | None, otherwise: np.ndarray | None) -> np.ndarray | None:
    """(r, r, 3) float32, grey levels."""
    if face is None or face.crop is None:
        return otherwise
    return face.crop.permute(1, 2, 0).numpy().astype(np.float32)


def _to_network_range(square: np.ndarray) -> Tensor:
    return torch.from_numpy(square / 127.5 - 1).permute(2, 0, 1)


def _mask(damage: Damage) -> Tensor:
    """(1, r, r) float32, 1 where the frame is kept."""
    if not damage.whole_face:
        return fixed_mask(SIDE)
    mask = torch.ones(1, SIDE, SIDE)
    mask[:, BORDER:-BORDER, BORDER:-BORDER] = 0
    return mask


def _sound(piece: Good, damage: Damage, folder: Path) -> np.ndarray:
    """(n,) int16, as long as the clip's own."""
    own = np.array(decode_audio(piece.path, folder))
    heard = np.array(decode_audio(piece.other, folder)) if damage.swapped else own
    shift = damage.late * SAMPLES_PER_FRAME
    moved = np.concatenate([np.zeros(max(0, shift), np.int16), heard[max(0, -shift) :]])[: len(own)]
    return np.pad(moved, (0, len(own) - len(moved)))


def damaged_names(results: list[Result], damage: str) -> list[str]:
    """The keys of the damaged copies."""
    return [f"{damage}/{Path(result.key).stem}.mkv" for result in results]


def goods(results: list[Result], damage: str) -> list[Good]:
    """What is to be damaged: each clip, with the next one as the other."""
    others = [*results[1:], results[0]]
    names = damaged_names(results, damage)
    return [
        Good(name, result.path, damage=damage, other=other.path)
        for name, result, other in zip(names, results, others, strict=True)
    ]


def to_be_measured(results: list[Result], damage: str, folder: Path) -> list[Result]:
    """The damaged copies with the clips as their truth, which only pictures are compared with."""
    return [
        replace(result, key=name, path=folder / name, video=None, audio=None,
                truth=None if DAMAGES[damage].of_sound else result.path)
        for result, name in zip(results, damaged_names(results, damage), strict=True)
    ]  # fmt: skip
