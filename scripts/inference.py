"""Make the lips of a video follow a sound.

    python -m scripts.inference VIDEO AUDIO [OUT] [flags]
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from latentsync import REPO_ROOT
from latentsync.build import OFFICIAL_UNET, build_pipeline, cache_folder, default_config
from latentsync.config import as_config, load_config
from latentsync.errors import LatentSyncError
from latentsync.media.ffmpeg import probe, probe_audio
from latentsync.pipelines.lipsync_pipeline import LipsyncReport
from latentsync.schema import UNetConfig
from scripts.make_seeded_checkpoints import make_seeded_checkpoints

DEMO_VIDEO = REPO_ROOT / "assets/demo_video.mp4"
DEMO_AUDIO = REPO_ROOT / "assets/demo_audio.wav"


def parser() -> argparse.ArgumentParser:
    """The command line; flags of the public version keep their names."""
    p = argparse.ArgumentParser(prog="inference", description="Make the lips of a video follow a sound.")
    p.add_argument("inputs", nargs="*", metavar="VIDEO AUDIO [OUT]", help="short for the three *_path flags")
    p.add_argument("--video_path", help="any video ffmpeg reads (default: the demo's)")
    p.add_argument("--audio_path", help="any file with sound, also a video (default: the demo's)")
    p.add_argument("--video_out_path", help="an .mp4 (default: video_out.mp4 here)")
    p.add_argument("--unet_config_path", help="default: the one that fits the checkpoint")
    p.add_argument("--inference_ckpt_path", help="U-Net weights (default: checkpoints/latentsync_unet.pt)")
    p.add_argument("--inference_steps", type=int, default=20, help="20-50: more is better and slower (%(default)s)")
    p.add_argument(
        "--guidance_scale", type=float, default=1.5, help="1-3: more is in better sync, less steady (%(default)s)"
    )
    p.add_argument("--seed", type=int, default=1247, help="-1 is random (%(default)s)")
    p.add_argument("--temp_dir", help="parent of temporary folders (default: the system's)")
    p.add_argument(
        "--enable_deepcache",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="reuse deep features in two of three steps: twice as fast, slightly different",
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps (%(default)s)")
    p.add_argument("--dtype", default="auto", help="auto, fp32, fp16, bf16 (%(default)s)")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--debug", action="store_true", help="tracebacks and more messages")
    return p


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    p, argv = parser(), sys.argv[1:] if argv is None else list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)  # after it, names may begin with a dash
    args = p.parse_intermixed_args(argv[:cut])
    args.inputs += argv[cut + 1 :]
    if len(args.inputs) not in (0, 2, 3):
        p.error("expected VIDEO AUDIO [OUT], or none of them for the demo")
    for name, value in zip(("video_path", "audio_path", "video_out_path"), args.inputs, strict=False):
        setattr(args, name, value)
    args.video_path = args.video_path or DEMO_VIDEO
    args.audio_path = args.audio_path or DEMO_AUDIO
    args.video_out_path = args.video_out_path or "video_out.mp4"
    if not 1 <= args.inference_steps <= 1000:
        p.error("--inference_steps: expected 1 to 1000")
    return args


def seeded_weights() -> Path:
    """A tiny set of seeded weights in the cache, made on the first call; returns its U-Net."""
    folder = cache_folder() / "seeded_tiny"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return make_seeded_checkpoints(folder, "tiny") / "latentsync_unet.pt"


def choose_checkpoint(path: str | None) -> Path:
    """The U-Net the user named, else the official one, else seeded weights with a warning."""
    if path:
        return Path(path)
    if OFFICIAL_UNET.is_file():
        return OFFICIAL_UNET
    print(
        "WARNING: no official weights in checkpoints/ (setup_env.sh fetches them): using small random ones, "
        "so the mouth will be noise.",
        file=sys.stderr,
    )
    return seeded_weights()


def main(config, args: argparse.Namespace) -> LipsyncReport:
    """Run one job. `config` is a loaded configuration, `args` a namespace with the public version's names.

    Newer names (device, dtype, quiet, unet_config_path) may be absent. Raises LatentSyncError.
    """
    cfg = as_config(UNetConfig, config, source=str(getattr(args, "unet_config_path", None) or "config"))
    probe(args.video_path)
    probe_audio(args.audio_path)
    if args.seed != -1:
        torch.manual_seed(args.seed)
    else:
        torch.seed()
    print(f"Initial seed: {torch.initial_seed()}", file=sys.stderr)
    pipeline = build_pipeline(
        cfg,
        args.inference_ckpt_path,
        config_path=getattr(args, "unet_config_path", None) or "the configuration",
        device=getattr(args, "device", "auto"),
        dtype=getattr(args, "dtype", "auto"),
    )
    print(f"Running on {pipeline.device}, {pipeline.unet.dtype}", file=sys.stderr)
    with tqdm(unit=" frames", disable=getattr(args, "quiet", False), dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return pipeline(
            video_path=args.video_path,
            audio_path=args.audio_path,
            video_out_path=args.video_out_path,
            num_frames=cfg.data.num_frames,
            num_inference_steps=args.inference_steps,
            guidance_scale=args.guidance_scale,
            mask_image_path=cfg.data.mask_image_path or None,
            temp_dir=getattr(args, "temp_dir", None),
            cache_interval=3 if getattr(args, "enable_deepcache", False) else 1,
            progress=progress,
        )


def cli(argv: list[str] | None = None) -> int:
    args = parse(argv)
    logging.basicConfig(level=logging.INFO if args.debug else logging.WARNING, format="%(message)s")
    started = time.perf_counter()
    try:
        args.inference_ckpt_path = choose_checkpoint(args.inference_ckpt_path)
        args.unet_config_path = args.unet_config_path or default_config(args.inference_ckpt_path)
        report = main(load_config(UNetConfig, args.unet_config_path), args)
    except LatentSyncError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = time.perf_counter() - started
    print(f"{args.video_out_path}: {report.frames} frames in {seconds:.1f} s")
    for first, last in report.faceless:
        print(f"no face in frames {first}-{last}: passed through unchanged")
    return 0


if __name__ == "__main__":
    sys.exit(cli())
