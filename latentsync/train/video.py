"""The real pipeline on the validation pair, with the weights of a step."""

import logging
from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync.config import model_config, resolve_path
from latentsync.diffusion import latents as lat
from latentsync.errors import LatentSyncError
from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.models.unet import UNet3DConditionModel
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline, arrival
from latentsync.schema import UNetConfig
from latentsync.train.sync_judge import SyncJudge
from latentsync.types import SyncedFace

logger = logging.getLogger(__name__)

_SHOWN_FRAMES, _SHOWN_HEIGHT = 75, 192  # of the animation for people


class Listening(LipsyncPipeline):
    """The pipeline, keeping the generated faces as the judge wants them."""

    faces: list[Tensor]
    side: int

    def sync_windows(self, *args, **kwargs) -> list[SyncedFace]:
        synced = super().sync_windows(*args, **kwargs)
        if arrived := arrival(self.device):
            arrived.synchronize()
        for face in synced:
            picture = ((face.crop[None] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            self.faces.append(lat.resize_pictures(picture, self.side)[0])
        return synced


class ValidationVideo:
    """Makes `data.val_video_path` speak `data.val_audio_path`."""

    def __init__(
        self, cfg: UNetConfig, parts: Mapping[str, Any], *, dtype: torch.dtype, judge: SyncJudge | None = None
    ) -> None:
        """`parts`: the pipeline's vae, audio_encoder, scheduler and detector; `dtype` is the U-Net's."""
        self.cfg, self.parts, self.dtype, self.judge = cfg, parts, dtype, judge

    def __call__(self, weights: Mapping[str, Tensor], path: Path) -> tuple[np.ndarray, dict[str, float]]:
        """Frames (f, h, w, 3) uint8 for people, and offset and confidence where there is a judge.

        A pair that cannot be used is told and leaves training alone.
        """
        data, run = self.cfg.data, self.cfg.run
        with torch.device("meta"):
            unet = UNet3DConditionModel(**model_config(self.cfg))
        unet.load_state_dict({name: w.to(self.dtype, copy=True) for name, w in weights.items()}, assign=True)
        pipeline = Listening(unet=unet.eval().requires_grad_(False), resolution=data.resolution, **self.parts)
        pipeline.faces, pipeline.side = [], self.judge.resolution if self.judge else 8
        sound = resolve_path(data.val_audio_path)
        try:
            pipeline(
                resolve_path(data.val_video_path),
                sound,
                path,
                num_frames=data.num_frames,
                num_inference_steps=run.inference_steps,
                guidance_scale=run.guidance_scale,
                generator=torch.Generator().manual_seed(run.seed),
                mask_image_path=data.mask_image_path,
            )
        except LatentSyncError as error:
            logger.warning("no validation video: %s", error)
            return np.zeros((1, 8, 8, 3), np.uint8), {}
        return shown(path), self.measured(pipeline.faces, sound)

    def measured(self, faces: list[Tensor], sound: Path) -> dict[str, float]:
        score = self.judge.score(torch.stack(faces), sound) if self.judge and faces else None
        if score is None:
            return {}
        return {"sync_offset": score.offset, "sync_confidence": score.confidence}


def shown(path: Path) -> np.ndarray:
    """The first frames of a video, small."""
    info = probe(path)
    width = round(info.width * _SHOWN_HEIGHT / info.height)
    with closing(decode_frames(info, info.rate)) as frames:
        return np.stack(
            [cv2.resize(f, (width, _SHOWN_HEIGHT), interpolation=cv2.INTER_AREA) for f in islice(frames, _SHOWN_FRAMES)]
        )
