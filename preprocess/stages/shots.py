"""Cuts, found by PySceneDetect's adaptive detector on small pictures; each shot keeps its last frame."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.errors import MediaError
from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected

from ..media import FPS
from ..settings import ShotSettings

_WIDTH = 256  # of the pictures that are looked at, as in PySceneDetect's own reader


@dataclass
class Shots:
    """One pass over all pictures: it also sees whether any of them is damaged, and counts them."""

    settings: ShotSettings

    name = "shots"
    folder = "shot"
    gpus = 0.0

    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings)

    def setup(self, device: str) -> None:
        cv2.setNumThreads(1)  # there is one process for each processor

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        info = probe(piece.path)
        small = replace(
            info, width=min(_WIDTH, info.width), height=max(2, round(info.height * min(1, _WIDTH / info.width)))
        )
        frames = decode_frames(small, FPS, first=piece.first, n_frames=piece.n_frames, strict=True)
        try:
            cuts, n_frames = find_cuts(frames, self.settings)
        except MediaError as error:
            raise Rejected(f"damaged: {str(error).removeprefix(f'{piece.path} ')}") from error
        edges = [0, *cuts, n_frames]
        return [
            piece.part(f"_shot_{i:03d}", first, last - first).measured(shots=len(cuts) + 1)
            for i, (first, last) in enumerate(itertools.pairwise(edges), 1)
        ]


def find_cuts(frames: Iterable[np.ndarray], settings: ShotSettings) -> tuple[list[int], int]:
    """The first frames of all shots but the first, and the number of frames (h, w, 3) uint8 RGB."""
    from scenedetect import AdaptiveDetector, FrameTimecode

    detector = AdaptiveDetector(
        adaptive_threshold=settings.threshold,
        min_content_val=settings.min_content,
        min_scene_len=round(settings.min_shot_s * FPS),
    )
    cuts: list[int] = []
    n_frames = 0
    for n_frames, frame in enumerate(frames, 1):
        found = detector.process_frame(FrameTimecode(n_frames - 1, float(FPS)), frame[..., ::-1])
        cuts += [cut.frame_num for cut in found]
    cuts += [cut.frame_num for cut in detector.post_process(FrameTimecode(n_frames, float(FPS)))]
    return cuts, n_frames
