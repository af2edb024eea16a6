"""Measure what the parts cost on this machine.

python -m scripts.benchmark unet --config configs/unet/stage2.yaml --dtype bf16
python -m scripts.benchmark pipeline VIDEO AUDIO --preset veryfast
python -m scripts.benchmark heads --resolution 512
python -m scripts.benchmark train --config configs/unet/stage2.yaml --resolution 64 --steps 2
python -m scripts.benchmark data FOLDER
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from latentsync.build import DEMO_UNET, DTYPES, build_pipeline, choose_device, default_config, peak_memory
from latentsync.config import UNetConfig, load_config, model_config
from latentsync.diffusion.latents import to_pixel_values
from latentsync.errors import LatentSyncError
from latentsync.memory import MemoryWatch, share_one_heap
from latentsync.models.unet import UNet3DConditionModel
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.synthetic.canvas import Canvas
from latentsync.synthetic.head import TalkingHead
from latentsync.synthetic.pose import Pose
from latentsync.types import SyncedFace
from scripts.benchmark_data import benchmark_data
from scripts.benchmark_training import DEFAULT_CONFIG, TOKENS, benchmark_train, wait
from scripts.inference import DEMO_AUDIO, DEMO_VIDEO, show, summary
from scripts.make_seeded_checkpoints import seeded_network

PEOPLE = 24  # of the heads


class WithoutNetworks(LipsyncPipeline):
    """Everything but the networks: the generated face is the frame's own."""

    def sync_windows(self, windows, mask, noise, generator, **settings):
        return [
            SyncedFace(face.index, face.frame, face.pose, to_pixel_values(face.crop))
            for window in windows
            for face in window.faces[window.keep]
        ]


def benchmark_pipeline(args: argparse.Namespace) -> dict:
    """One whole run, its memory with ffmpeg's; the networks are left out, or the ones that `--weights` names."""
    unet_path = Path(args.weights) if args.weights else DEMO_UNET
    config = args.config or default_config(unet_path)
    cfg = load_config(UNetConfig, config, [f"data.resolution={args.resolution}"] if args.resolution else [])
    built = build_pipeline(cfg, unet_path, config_path=config, device=args.device, dtype=args.dtype)
    if not args.weights:
        loaded = built
        built = WithoutNetworks(
            loaded.vae, loaded.audio_encoder, loaded.unet, loaded.scheduler, resolution=loaded.resolution
        )
        built.idle_detectors = loaded.idle_detectors
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, MemoryWatch() as memory:
        out = Path(folder) / "out.mp4"
        report = built(
            args.video,
            args.audio,
            out,
            num_inference_steps=cfg.run.inference_steps,
            guidance_scale=cfg.run.guidance_scale,
            preset=args.preset,
            windows_per_call=args.windows,
        )
    seconds = time.perf_counter() - started
    peak_bytes = peak_memory(built.device) if built.device.type == "cuda" else memory.peak
    return {
        "video": str(args.video),
        "preset": args.preset,
        "resolution": cfg.data.resolution,
        **summary(report, str(args.video), seconds, peak_bytes),
        "memory_mb": {
            name: round(size / 1e6)
            for name, size in {"idle": memory.idle, "peak": memory.peak, "above_idle": memory.above_idle}.items()
        },
    }


@torch.inference_mode()
def benchmark_unet(args: argparse.Namespace) -> dict:
    """Seconds of one forward pass (fastest of `--repeats` after a warm-up) and peak memory."""
    cfg, device = load_config(UNetConfig, args.config or DEFAULT_CONFIG), choose_device(args.device)
    dtype = DTYPES.get(args.dtype, torch.float32)
    unet = seeded_network(lambda: UNet3DConditionModel(**model_config(cfg)), device=device, dtype=dtype)
    unet.eval().requires_grad_(False)
    side, frames = cfg.data.resolution // 8, cfg.data.num_frames
    sample = torch.randn(args.windows, cfg.model.in_channels, frames, side, side, device=device, dtype=dtype)
    audio = torch.randn(args.windows, frames, TOKENS, cfg.model.cross_attention_dim, device=device, dtype=dtype)
    seconds = []
    for _ in range(args.repeats + 1):
        wait(device)
        started = time.perf_counter()
        unet(sample, 500, audio)
        wait(device)
        seconds.append(time.perf_counter() - started)
    return {
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "sample": list(sample.shape),
        "first_s": round(seconds[0], 4),
        "forward_s": round(min(seconds[1:]), 4),
        "peak_memory_gb": round(peak_memory(device) / 1e9, 2),
    }


def benchmark_heads(args: argparse.Namespace) -> dict:
    """Drawing people on one core: seconds to make one, milliseconds for each of their frames."""
    cv2.setNumThreads(1)
    side = args.resolution or 512
    canvas, wall = Canvas(side, side), np.full((side, side, 3), 128, np.uint8)
    made, drawn = [], []
    for seed in range(-1, PEOPLE):  # the first one compiles
        started = time.perf_counter()
        head = TalkingHead(max(seed, 0))
        made.append(time.perf_counter() - started)
        for i in range(8):
            started = time.perf_counter()
            canvas.clear(wall)
            mouth = np.array([0.1 * (i % 5), 0, 0, 0.2, 0, 0, 0])
            head.draw(canvas, mouth, Pose(side / 2, side * 0.47, side * 0.44, yaw=0.1 * i - 0.4))
            canvas.picture()
            drawn.append(time.perf_counter() - started)
    frames = np.array(drawn[8:]).reshape(PEOPLE, 8)
    return {
        "side": side,
        "people": PEOPLE,
        "made_s": round(float(np.mean(made[1:])), 2),
        "frame_ms": round(1e3 * float(frames.mean()), 1),
        "slowest_person_ms": round(1e3 * float(frames.mean(axis=1).max()), 1),
        "frames_per_second": round(1 / float(frames.mean()), 1),
    }


PARTS = {
    "unet": benchmark_unet,
    "pipeline": benchmark_pipeline,
    "heads": benchmark_heads,
    "train": benchmark_train,
    "data": benchmark_data,
}


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(PARTS))
    parser.add_argument("video", nargs="?", default=DEMO_VIDEO, help="data: the folder of raw videos")
    parser.add_argument("audio", nargs="?", default=DEMO_AUDIO)
    parser.add_argument(
        "--config", help="train: of a U-Net or a SyncNet; default: stage2 (unet, train), the weights' own (pipeline)"
    )
    parser.add_argument("--weights", help="pipeline: a U-Net file; without it the networks are left out")
    parser.add_argument(
        "--resolution",
        type=positive,
        help="pipeline, train: of the faces, instead of the configuration's; heads: of the frames",
    )
    parser.add_argument("--preset", help="pipeline: of the encoder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", *DTYPES], default="auto")
    parser.add_argument("--windows", type=int, default=1, help="clips in one call")
    parser.add_argument("--repeats", type=int, default=3, help="unet: timed passes")
    parser.add_argument("--steps", type=positive, default=3, help="train: optimiser steps, the first one timed apart")
    parser.add_argument("--batch", type=positive, help="train: samples of a batch, instead of the configuration's")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    share_one_heap()
    try:
        content = PARTS[args.what](args)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.json or args.what != "pipeline":
        print(json.dumps(content))
    else:
        show(content)
        for name, stage in content["stages"].items():
            print(f"{name:18}{stage['seconds']:8.2f} s {stage['frames_per_second'] or 0:8.1f} frames/s")
        for name, size in content["memory_mb"].items():
            print(f"memory, {name.replace('_', ' '):10}{size:8} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
