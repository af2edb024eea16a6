"""Make the lips of a video follow a sound.

    python -m scripts.inference VIDEO AUDIO [OUT] [flags]
"""

import argparse
import json
import logging
import signal
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from latentsync import REPO_ROOT
from latentsync.build import (
    DEMO_UNET,
    DETECTORS,
    OFFICIAL_UNET,
    build_pipeline,
    choose_device,
    default_config,
    peak_memory,
)
from latentsync.config import as_config, load_config
from latentsync.errors import CheckpointError, ConfigError, LatentSyncError
from latentsync.face.mask import fixed_mask
from latentsync.memory import MemoryWatch, share_one_heap
from latentsync.pipelines.job import LOOPS, TAILS, check_job
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline, memory_errors
from latentsync.pipelines.report import LipsyncReport
from latentsync.schema import UNetConfig
from scripts.parser import Parser

DEMO_VIDEO = REPO_ROOT / "assets/demo1_video.mp4"
DEMO_AUDIO = REPO_ROOT / "assets/demo1_audio.wav"

MODELS = ("official", "demo")
MAX_SEED = 2**64 - 1
CACHED_STEPS = 10  # with fewer, deep features change too much from one to the next to be used again


def parser() -> argparse.ArgumentParser:
    """The command line; flags of the public version keep their names."""
    p = Parser(prog="inference", description="Make the lips of a video follow a sound.")
    add = p.add_argument
    add("inputs", nargs="*", metavar="VIDEO AUDIO [OUT]", help="short for the three *_path flags")
    add("--video_path", help="any video ffmpeg reads (default: the demo's)")
    add("--audio_path", help="any file with sound, also a video (default: the demo's)")
    add("--video_out_path", help="an .mp4, .mov or .mkv (default: video_out.mp4 here)")
    add_model_flags(p)
    add = p.add_argument_group("the run").add_argument
    add("--seed", type=int, default=1247, help="-1 is random (%(default)s)")
    add("--json", action="store_true", help="print the report as one JSON object")
    add("--quiet", action="store_true", help="no progress bar")
    add("--debug", action="store_true", help="tracebacks and more messages")
    return p


def add_model_flags(p: argparse.ArgumentParser) -> None:
    """How a video is made and by what, for any number of videos; `check_model_flags` checks them."""
    add_speed_flags(p)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps (%(default)s)")

    group = p.add_argument_group("what is shown")
    add = group.add_argument
    add("--face", default="largest", help="whose lips: largest, an index from left to right, or x,y (%(default)s)")
    add("--fps", default="25", help="of the output: a rate, or source for the video's own (%(default)s)")
    add("--loop", choices=LOOPS, default="pingpong", help="where the sound outlasts the video (%(default)s)")
    add("--tail", choices=TAILS, default="cut", help="where the video outlasts the sound (%(default)s)")

    group = p.add_argument_group("the file")
    add = group.add_argument
    add("--crf", type=int, default=18, help="quality, lower is better and larger (%(default)s)")
    add("--preset", help="the encoder's speed, such as veryfast or slow (default: the encoder's own)")
    add("--codec", default="libx264", help="any video encoder of ffmpeg (%(default)s)")

    add_weight_flags(p)
    p.add_argument("--temp_dir", help="parent of temporary folders (default: the system's)")


def add_speed_flags(p: argparse.ArgumentParser) -> None:
    """How fast and how well, for any number of videos on any number of devices."""
    group = p.add_argument_group("quality and speed")
    add = group.add_argument
    add("--inference_steps", type=int, help="more is better and slower (official model: 20; demo: 5)")
    add("--guidance_scale", type=float, help="1-3: more is in better sync, less steady (the configuration's: 1.5)")
    add(
        "--enable_deepcache",
        action=argparse.BooleanOptionalAction,
        default=False,
        help=f"reuse deep features in two of three steps, of {CACHED_STEPS} or more: twice as fast, slightly different",
    )
    add("--windows_per_call", type=int, default=1, help="windows at once: faster on a big GPU (%(default)s)")
    add("--dtype", default="auto", help="auto, fp32, fp16, bf16; auto is what is fast on the device (%(default)s)")
    add("--face_detector", choices=sorted(DETECTORS), default="mediapipe", help="%(default)s")


def add_weight_flags(p: argparse.ArgumentParser) -> None:
    """Whose weights; `choose_weights` finds them."""
    group = p.add_argument_group("weights")
    add = group.add_argument
    add("--model", choices=MODELS, help="whose weights (default: official where they are there, else demo)")
    add("--inference_ckpt_path", help="U-Net weights of your own, instead of --model")
    add("--unet_config_path", help="default: the one that fits the weights")


def parse_rate(text: str) -> Fraction | None:
    """Frames per second; None for "source". Raises ConfigError."""
    if text == "source":
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 1 <= rate <= 240:
        raise ConfigError(f"--fps {text}: expected source or a rate from 1 to 240, such as 25 or 30000/1001")
    return rate


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
    check_range(p, args, "seed", -1, MAX_SEED)
    check_model_flags(p, args)
    return args


def check_model_flags(p: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where a flag has no sense."""
    check_range(p, args, "inference_steps", 1, 1000)
    check_range(p, args, "guidance_scale", 0, 100)
    check_range(p, args, "windows_per_call", 1, 256)
    check_range(p, args, "crf", 0, 63)
    if args.model and args.inference_ckpt_path:
        p.error("--model and --inference_ckpt_path both say which weights; leave one out")


def check_range(p: argparse.ArgumentParser, args: argparse.Namespace, name: str, low: int, high: int) -> None:
    value = getattr(args, name)
    if value is not None and not low <= value <= high:
        p.error(f"--{name} {value}: expected {low} to {high}")


def choose_checkpoint(path: str | None, model: str | None = None) -> Path:
    """The U-Net the user named by path or model, else the official one, else the demo's; says which model.

    Raises CheckpointError where there is none.
    """
    if path:
        return Path(path)
    files = dict(zip(MODELS, (OFFICIAL_UNET, DEMO_UNET), strict=True))
    for name in [model] if model else MODELS:
        if files[name].is_file():
            print(f"Model: {name} ({files[name].parent})", file=sys.stderr)
            return files[name]
    missing = model or MODELS[-1]
    remedy = {"official": "run `bash setup_env.sh` where there is a network", "demo": "restore it by `git checkout`"}
    raise CheckpointError(f"{files[missing]}: no such file, expected the {missing} model; {remedy[missing]}")


def choose_weights(args: argparse.Namespace) -> UNetConfig:
    """Fill in which weights and which configuration the flags mean, and load the latter. Raises LatentSyncError."""
    args.inference_ckpt_path = choose_checkpoint(args.inference_ckpt_path, args.model)
    args.unet_config_path = args.unet_config_path or default_config(args.inference_ckpt_path)
    return load_config(UNetConfig, args.unet_config_path)


def call_settings(cfg: UNetConfig, args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the pipeline, by configuration and flags: all but the noise. Raises ConfigError."""
    steps = args.inference_steps or cfg.run.inference_steps
    return {
        "num_frames": cfg.data.num_frames,
        "video_fps": parse_rate(args.fps),
        "num_inference_steps": steps,
        "guidance_scale": cfg.run.guidance_scale if args.guidance_scale is None else args.guidance_scale,
        "mask_image_path": cfg.data.mask_image_path or None,
        "cache_interval": 3 if args.enable_deepcache and steps >= CACHED_STEPS else 1,
        "windows_per_call": args.windows_per_call,
        **job_settings(args),
    }


def job_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Those of `call_settings` that `check_job` looks at."""
    return {name: getattr(args, name) for name in ("face", "loop", "tail", "crf", "preset", "codec", "temp_dir")}


def load_pipeline(cfg: UNetConfig, args: argparse.Namespace, device: str | None = None) -> LipsyncPipeline:
    """The networks that the flags mean, on their device or another. Raises LatentSyncError."""
    with memory_errors("while loading the weights", "--dtype bf16 or --device cpu"):
        return build_pipeline(
            cfg,
            args.inference_ckpt_path,
            config_path=args.unet_config_path or "the configuration",
            device=device or args.device,
            dtype=args.dtype,
            detector=DETECTORS[args.face_detector],
        )


def run(pipeline: LipsyncPipeline, *paths: str | Path, **settings: Any) -> LipsyncReport:
    """Make one video; `settings` are those of `call_settings` and the pipeline's others. Raises LatentSyncError."""
    with memory_errors("in this run", "--device cpu or a video with fewer pixels"):
        return pipeline(*paths, **settings)


def main(config, args: argparse.Namespace) -> LipsyncReport:
    """Run one job. `config` is a loaded configuration, `args` a namespace with the public version's names.

    Newer names may be absent: they have the command line's defaults. Raises LatentSyncError.
    """
    args = argparse.Namespace(**(vars(parser().parse_args([])) | vars(args)))
    cfg = as_config(UNetConfig, config, source=str(args.unet_config_path or "the configuration"))
    paths = args.video_path, args.audio_path, args.video_out_path
    # Mistakes are told before gigabytes are loaded.
    settings = call_settings(cfg, args)
    check_job(*paths, **job_settings(args))
    fixed_mask(cfg.data.resolution, settings["mask_image_path"])
    if args.seed != -1:
        torch.manual_seed(args.seed)
    else:
        torch.seed()
    print(f"Initial seed: {torch.initial_seed()}", file=sys.stderr)
    pipeline = load_pipeline(cfg, args)
    print(f"Running on {pipeline.device}, {pipeline.unet.dtype}", file=sys.stderr)
    with tqdm(unit=" frames", disable=args.quiet, dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return run(pipeline, *paths, progress=progress, **settings)


def summary(report: LipsyncReport, out: str, seconds: float, peak_bytes: int) -> dict:
    """The report as plain data."""
    return {
        "video_out_path": str(out),
        "frames": report.frames,
        "tail_frames": report.tail,
        "faceless": report.faceless,
        "seconds": round(seconds, 2),
        "frames_per_second": round(report.frames / seconds, 2),
        "stages": {
            name: {"seconds": round(busy, 2), "frames_per_second": round(report.frames / busy, 2) if busy else None}
            for name, busy in report.seconds.items()
        },
        "peak_memory_mb": round(peak_bytes / 1e6),
    }


def show(content: dict) -> None:
    print(f"{content['video_out_path']}: {content['frames']} frames in {content['seconds']:.1f} s")
    for first, last in content["faceless"]:
        print(f"no face in frames {first}-{last}: passed through unchanged")
    stages = ", ".join(f"{name} {stage['seconds']:.1f}" for name, stage in content["stages"].items())
    print(f"busy seconds (stages overlap): {stages}; peak memory {content['peak_memory_mb']} MB")


def cli(argv: list[str] | None = None) -> int:
    args = parse(argv)
    share_one_heap()
    logging.basicConfig(level=logging.INFO if args.debug else logging.WARNING, format="%(message)s")
    started = time.perf_counter()
    try:
        cfg = choose_weights(args)
        with MemoryWatch() as memory:
            report = main(cfg, args)
    except LatentSyncError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("interrupted: nothing was written", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    seconds = time.perf_counter() - started
    device = choose_device(args.device)
    peak_bytes = peak_memory(device) if device.type == "cuda" else memory.peak
    content = summary(report, args.video_out_path, seconds, peak_bytes)
    if args.json:
        print(json.dumps(content))
    else:
        show(content)
    return 0


def interrupt(number: int, _) -> NoReturn:
    """Let a signal end the run as Ctrl-C does: whatever is half-made is removed."""
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGHUP"):  # the latter is a closed terminal; nohup ignores it, and Windows lacks it
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), interrupt)
    sys.exit(cli())
