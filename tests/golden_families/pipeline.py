"""The whole pipeline, as the public version runs it: `InferenceOptions.reference()`."""

import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from diffusers import AutoencoderKL

from latentsync.build import build_scheduler
from latentsync.diffusion import latents as lat
from latentsync.face.align import crop_size
from latentsync.face.detect import FaceBox, FaceDetector
from latentsync.media.ffmpeg import ffmpeg_path
from latentsync.options import InferenceOptions
from latentsync.pipelines import lipsync_pipeline
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.whisper.audio2feature import Audio2Feature
from latentsync.whisper.encoder import ABUTTING

from ..wav import write_wav
from . import Golden, close, family, golden_rule, pixels
from .unet import seeded_unet
from .whisper import whisper_file

rule = golden_rule()


class StoredPoints(FaceDetector):
    """A detector that knows the three points of each frame in turn."""

    def __init__(self, points: np.ndarray) -> None:
        self.points, self.index = points, -1

    def boxes(self, frame: np.ndarray, *, again: bool = False) -> list[FaceBox]:
        self.index += 1
        points = self.points[self.index]
        return [FaceBox(np.array([*points.min(axis=0), *points.max(axis=0)]), 1.0)]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return self.points[self.index]

    def accepts(self, found: FaceBox) -> bool:
        return True

    @staticmethod
    def alignment_points(landmarks: np.ndarray) -> np.ndarray:
        return landmarks

    def close(self) -> None: ...


class Recorder(LipsyncPipeline):
    """Keeps what the networks got and made."""

    def sync_windows(self, windows, mask, noise, generator, **settings):
        self.last_chunk = len(windows[-1].faces)
        synced = super().sync_windows(windows, mask, noise, generator, **settings)
        self.synced = [*getattr(self, "synced", []), *synced]
        return synced


class Frames:
    """Takes the place of the encoder."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def __enter__(self) -> "Frames":
        return self

    def __exit__(self, *_) -> None: ...

    def write(self, frame: np.ndarray) -> None:
        self.frames.append(frame)


def write_lossless(path: Path, frames: np.ndarray) -> Path:
    """(n, h, w, 3) uint8 RGB at 25 frames/s, bit for bit."""
    _, height, width, _ = frames.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    command = [ffmpeg_path(), "-v", "error", *raw, "-c:v", "ffv1", "-pix_fmt", "gbrp", str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def networks(meta: dict, folder: Path) -> dict:
    vae = AutoencoderKL(**meta["vae_config"]).eval()
    rule.apply_to_module(vae, meta["salt"])
    with torch.no_grad():  # the stated rule change: the sampled latent is the mean
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -30
    return {
        "vae": vae,
        "audio_encoder": Audio2Feature(
            whisper_file(folder, meta["whisper_dims"], meta["salt"]), "cpu", segmentation=ABUTTING
        ),
        "unet": seeded_unet(meta["unet_config"], meta["salt"]),
        "scheduler": build_scheduler(),
    }


@family("pipeline")
def pipeline(golden: Golden) -> dict:
    meta, arrays = golden.meta, golden.arrays
    n, height, width = meta["video"]
    video = np.stack([rule.smooth_image(height, width, 0.25 * i) for i in range(n)])
    sound = rule.waveform("pipeline", meta["seconds"])
    first = torch.from_numpy(arrays["initial_latents"])
    seen: list[tuple] = []
    frames = Frames()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run = Recorder(
            **networks(meta, place),
            options=InferenceOptions.reference(),
            resolution=meta["resolution"],
            detector=lambda: StoredPoints(arrays["points"]),
        )
        run.unet.register_forward_pre_hook(lambda module, args: seen.append(args))
        with (
            patch.object(lat, "draw", lambda shape, *_: first if shape == first.shape else torch.zeros(shape)),
            patch.object(lipsync_pipeline, "VideoWriter", lambda *_, **__: frames),
        ):
            report = run(
                write_lossless(place / "in.mkv", video),
                write_wav(place / "in.wav", sound),
                place / "out.mp4",
                num_frames=meta["num_frames"],
                num_inference_steps=meta["steps"],
                guidance_scale=meta["guidance_scale"],
            )
    assert report.frames == meta["output_frames"]
    sample, _, audio = seen[0]
    faces = torch.stack([face.crop for face in run.synced]).numpy()
    value = close(0.0, 0.02)
    return {
        "audio_samples": np.array(min(len(sound), int(report.frames / 25 * 16000))),
        "boxes": np.array([[0, 0, *crop_size(meta["resolution"])]]),
        "faces_out": (faces[:, :, ::2, ::2], value),
        "first_audio_condition": (audio.flatten(0, 1)[:, ::3].numpy(), close(1e-4, 1e-4)),
        "first_unet_input": (sample.numpy(), value),
        "frames": (np.stack(frames.frames)[:, ::2, ::2], pixels(0.02)),
        "initial_latents": (sample[:1, :4, :1].numpy(), close(0.0, 1e-4)),
        "last_chunk_frames": np.array(run.last_chunk),
        "matrices": (np.stack([face.pose.matrix for face in run.synced]), close(1e-4, 1e-3)),
        "points": arrays["points"],
        "source_frame": np.array([face.index for face in run.synced]),
    }
