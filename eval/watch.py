"""What is seen in a video: the lips of its faces, the aligned squares, and what a SyncNet thinks of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from latentsync.errors import NoFaceError
from latentsync.face.align import FaceAligner
from latentsync.face.detect import MESH_POINTS, FaceDetector
from latentsync.face.track import FaceChoice
from latentsync.media.ffmpeg import decode_frames
from latentsync.metrics.mouth import lip_gap
from latentsync.options import InferenceOptions
from latentsync.pipelines.faces import align_faces
from latentsync.train.sync_judge import SyncJudge

SIDE = 256  # pixels of the aligned squares
FPS = 25


@dataclass(frozen=True)
class Seen:
    """A video of f frames."""

    gap: np.ndarray  # (f,) float64 pixels between the lips, nan where no face is found
    squares: np.ndarray  # (f, SIDE, SIDE, 3) uint8 RGB

    @property
    def faces(self) -> float:
        """The share of frames in which a face is found."""
        return float(np.isfinite(self.gap).mean())


def alignment(video: Path, detector: FaceDetector) -> np.ndarray:
    """The maps (f, 2, 3) from frame to crop by which the pipeline cuts out a video's face; a gap has its neighbour's.

    Raises NoFaceError for a video without a face.
    """
    frames = enumerate(decode_frames(video, FPS))
    settings = {"choice": FaceChoice(), "rate": Fraction(FPS), "options": InferenceOptions()}
    poses = [face.pose for face in align_faces(frames, FaceAligner(SIDE), detector, **settings)]
    known = np.array([i for i, pose in enumerate(poses) if pose is not None])
    if not len(known):
        raise NoFaceError(f"{video}: no face found in any frame; expected one to be measured, so choose another video")
    nearest = [known[np.abs(known - i).argmin()] for i in range(len(poses))]
    return np.array([poses[i].matrix for i in nearest])


def watch(video: Path, matrices: np.ndarray, detector: FaceDetector) -> Seen:
    """As many frames as there are maps (f, 2, 3), which are those of the video it was made from, or fewer."""
    aligner = FaceAligner(SIDE)
    meshes, squares = [], []
    for frame, matrix in _paired(video, matrices):
        faces = detector(frame)
        meshes.append(faces[0].landmarks if faces else np.full((MESH_POINTS, 2), np.nan))
        squares.append(rearrange(aligner.crop(frame, matrix), "c h w -> h w c").numpy())
    return Seen(lip_gap(np.array(meshes)), np.array(squares))


def _paired(video: Path, matrices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield from zip(islice(decode_frames(video, FPS), len(matrices)), matrices, strict=False)


def judged(judge: SyncJudge | None, seen: Seen, sound: Path) -> dict[str, float]:
    """Offset and confidence, nan without a judge or for too short a video."""
    score = judge and judge.score(rearrange(torch.from_numpy(seen.squares), "f h w c -> f c h w"), sound)
    if not score:
        return {"offset": float("nan"), "confidence": float("nan")}
    return {"offset": score.offset, "confidence": score.confidence}
