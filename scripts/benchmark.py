"""Measure what the networks cost on this machine.

    python -m scripts.benchmark unet --config configs/unet/stage2.yaml --dtype bf16
"""

import argparse
import json
import sys
import time

import torch

from latentsync.build import DTYPES, choose_device, peak_memory
from latentsync.config import UNetConfig, load_config, model_config
from latentsync.errors import LatentSyncError
from latentsync.models.unet import UNet3DConditionModel

TOKENS = 50  # audio tokens of a frame with Whisper tiny


def random_unet(cfg: UNetConfig, device: torch.device, dtype: torch.dtype) -> UNet3DConditionModel:
    """A network of the configured size with random weights; at most one copy of them is held."""
    with torch.device("meta"):
        unet = UNet3DConditionModel(**model_config(cfg)).to(dtype)
    unet.to_empty(device=device)
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    for name, buffer in unet.named_buffers():
        if name.endswith("pos_encoder.pe"):
            buffer.zero_()
    return unet.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def benchmark_unet(cfg: UNetConfig, device: torch.device, dtype: torch.dtype, windows: int, repeats: int) -> dict:
    """Seconds of one forward pass (fastest of `repeats` after a warm-up) and peak memory."""
    unet = random_unet(cfg, device, dtype)
    side, frames = cfg.data.resolution // 8, cfg.data.num_frames
    sample = torch.randn(windows, cfg.model.in_channels, frames, side, side, device=device, dtype=dtype)
    audio = torch.randn(windows, frames, TOKENS, cfg.model.cross_attention_dim, device=device, dtype=dtype)
    seconds = []
    for _ in range(repeats + 1):
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["unet"])
    parser.add_argument("--config", default="configs/unet/stage2.yaml")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="memory is that of the process: one at a time")
    parser.add_argument("--windows", type=int, default=1, help="clips in one call")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    try:
        cfg, device = load_config(UNetConfig, args.config), choose_device(args.device)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(benchmark_unet(cfg, device, DTYPES[args.dtype], args.windows, args.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
