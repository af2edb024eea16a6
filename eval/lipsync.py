"""The stage that lip-syncs pairs of a video and a sound."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from latentsync.build import pipeline_files
from latentsync.checkpoint import load_state
from latentsync.face.mask import fixed_mask, mask_file
from latentsync.files import digest
from latentsync.memory import share_one_heap
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Stage
from latentsync.schema import UNetConfig
from scripts import inference

from .pairs import Pair

WITHOUT_EFFECT = ("temp_dir", "windows_per_call")  # on what is seen


@dataclass
class Lipsync(Stage):
    """Gives each pair the video that `scripts.inference` makes of it, whatever other pairs there are.

    Args:
        cfg, args: configuration and flags of the inference command; `args.device` auto is the worker's own.
        seed: of the noise, the same for every pair.
        n_threads: of each worker; None: as many as torch takes.

    Raises LatentSyncError for settings that cannot work and weights that are missing or damaged.
    """

    cfg: UNetConfig
    args: argparse.Namespace
    seed: int
    n_threads: int | None = None

    name = "lipsync"
    folder = ""  # results lie beside the manifest

    def __post_init__(self) -> None:
        self._settings = inference.call_settings(self.cfg, self.args)
        fixed_mask(self.cfg.data.resolution, self._settings["mask_image_path"])
        files = pipeline_files(self.cfg, self.args.inference_ckpt_path)
        self._weights = [digest(load_state(path).path) for path in files]

    @property
    def gpus(self) -> float:
        return float(self.args.device == "auto")  # all that there are; else the one that is named, or none

    def parameters(self) -> Mapping[str, Any]:
        settings = {name: value for name, value in self._settings.items() if name not in WITHOUT_EFFECT}
        data = self.cfg.data
        return settings | {
            "video_fps": str(settings["video_fps"]),
            "mask_image_path": digest(mask_file(settings["mask_image_path"])),
            "seed": self.seed,
            "weights": self._weights,
            "model": asdict(self.cfg.model),
            "resolution": data.resolution,
            "audio_feat_length": data.audio_feat_length,
            "timestep_spacing": self.cfg.run.timestep_spacing,
            "dtype": self.args.dtype,
            "face_detector": self.args.face_detector,
        }

    def setup(self, device: str) -> None:
        share_one_heap()
        if self.n_threads is not None:
            torch.set_num_threads(self.n_threads)
            cv2.setNumThreads(self.n_threads)
        on_gpu = self.args.device == "auto" and device != "cpu"
        self._pipeline = inference.load_pipeline(self.cfg, self.args, device if on_gpu else self.args.device)

    def __call__(self, pair: Pair, folder: Path) -> list[Piece]:
        out = folder / pair.key
        out.parent.mkdir(parents=True, exist_ok=True)
        noise = torch.Generator().manual_seed(self.seed)
        report = inference.run(self._pipeline, pair.path, pair.audio, out, generator=noise, **self._settings)
        made = Piece(pair.key, out)
        return [
            made.measured(video=str(pair.path), audio=str(pair.audio), frames=report.frames, faceless=report.n_faceless)
        ]
