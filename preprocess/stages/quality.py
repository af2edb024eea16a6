"""How good the pictures are: HyperIQA where its weights are, else how sharp and well lit they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from latentsync.build_metrics import build_hyper_iqa, hyper_iqa_path
from latentsync.files import digest
from latentsync.media.ffmpeg import decode_frames
from latentsync.metrics.hyper_iqa import quality
from latentsync.metrics.sharpness import sharpness_score
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected, Stage

from ..media import FPS, link, target
from ..settings import QualitySettings


@dataclass
class Quality(Stage):
    settings: QualitySettings

    name = "quality"
    folder = "high_visual_quality"

    def __post_init__(self) -> None:
        self.score = self.settings.score
        if self.score == "auto":
            self.score = "hyper_iqa" if hyper_iqa_path().is_file() else "sharpness"
        self.gpus = 0.25 if self.score == "hyper_iqa" else 0.0
        self.threshold = getattr(self.settings, f"{self.score}_threshold")

    def parameters(self) -> Mapping[str, Any]:
        weights = digest(hyper_iqa_path()) if self.score == "hyper_iqa" else ""
        return {"score": self.score, "weights": weights, "threshold": self.threshold, "frames": self.settings.frames}

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self._network = build_hyper_iqa(device=device) if self.score == "hyper_iqa" else None

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        score = self._of(spread(piece, self.settings.frames))
        measured = {"quality": round(score, 2), "quality_judge": self.score}
        if score < self.threshold:
            raise Rejected("low quality", **measured)
        path = target(folder, piece.key)
        link(piece.path, path)
        return [piece.made(path).measured(**measured)]

    def _of(self, frames: np.ndarray) -> float:
        if self._network is None:
            return float(np.mean([sharpness_score(frame) for frame in frames]))
        return quality(self._network, torch.from_numpy(rearrange(frames, "n h w c -> n c h w")))


def spread(piece: Piece, n: int) -> np.ndarray:
    """`n` frames (n, h, w, 3) uint8 RGB of a piece from its first to its last; for three these and the middle one."""
    n_frames = piece.metrics.get("frames") or sum(1 for _ in _frames(piece))
    wanted = [int(n_frames // 2)] if n == 1 else [i * int(n_frames - 1) // (n - 1) for i in range(n)]
    chosen = {i: frame for i, frame in zip(count(), _frames(piece), strict=False) if i in wanted}
    return np.stack([chosen[i] for i in wanted])


def _frames(piece: Piece):
    return decode_frames(piece.path, FPS, first=piece.first, n_frames=piece.n_frames)
