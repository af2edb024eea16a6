"""Cuts, found by PySceneDetect's adaptive detector on small pictures; each shot keeps its last frame."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from latentsync.errors import MediaError
from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.metrics.scenes import LEAST_WIDTH, by_change, find_scenes
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected, Stage

from ..media import FPS
from ..settings import ShotSettings


@dataclass
class Shots(Stage):
    """One pass over all pictures: it also sees whether any of them is damaged, and counts them."""

    settings: ShotSettings

    name = "shots"
    folder = "shot"

    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings)

    def setup(self, device: str) -> None:
        cv2.setNumThreads(1)  # there is one process for each processor

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        info = probe(piece.path)
        scale = min(1, LEAST_WIDTH / info.width)
        small = replace(info, width=min(LEAST_WIDTH, info.width), height=max(2, round(info.height * scale)))
        frames = decode_frames(small, FPS, first=piece.first, n_frames=piece.n_frames, strict=True)
        finder = by_change(
            threshold=self.settings.threshold,
            min_content=self.settings.min_content,
            min_scene=round(self.settings.min_shot_s * FPS),
        )
        try:
            scenes = find_scenes(frames, finder)
        except MediaError as error:
            raise Rejected(f"damaged: {str(error).removeprefix(f'{piece.path} ')}") from error
        return [
            piece.part(f"_shot_{i:03d}", first, end - first).measured(shots=len(scenes))
            for i, (first, end) in enumerate(scenes, 1)
        ]
