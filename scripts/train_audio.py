"""Train an audio encoder on drawn people's speech, on one device or, under torchrun, on several.

python -m scripts.train_audio --config_path configs/audio/demo.yaml data.train_data_dir=data/crops
"""

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from latentsync import REPO_ROOT, dist
from latentsync.build import cache_folder, choose_device, choose_dtype
from latentsync.checkpoint import load_module, load_state
from latentsync.config import model_config, resolve_path
from latentsync.schema import AudioConfig
from latentsync.train.audio import AudioTask, TaughtEncoder
from latentsync.train.loop import train
from latentsync.train.run import listed_clips, open_run, plan_of, precision_of, prepare_spoken, usable_clips
from latentsync.train.state import kept_steps
from latentsync.whisper.export import encoder_dims, write_encoder
from scripts.training_command import training_command

DEFAULT_CONFIG = REPO_ROOT / "configs/audio/demo.yaml"
EXPORT_NAME = "whisper.pt"


def make_model(cfg: AudioConfig) -> tuple[TaughtEncoder, int]:
    """A network on the CPU, from seeded random weights or `ckpt.resume_ckpt_path`, and the steps behind it."""
    torch.manual_seed(cfg.run.seed)
    model = TaughtEncoder(encoder_dims(**model_config(cfg)))
    if not cfg.ckpt.resume_ckpt_path:
        return model, 0
    checkpoint = load_state(resolve_path(cfg.ckpt.resume_ckpt_path))
    load_module(model, checkpoint)
    return model, checkpoint.step


def export(cfg: AudioConfig, folder: Path) -> Path:
    """Write the encoder of a run's last checkpoint in OpenAI's format; returns the file."""
    checkpoints = folder / "checkpoints"
    state = load_state(checkpoints / f"checkpoint-{kept_steps(checkpoints)[-1]}.pt").state
    encoder = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    write_encoder(folder / EXPORT_NAME, encoder, encoder_dims(**model_config(cfg)))
    return folder / EXPORT_NAME


def run(cfg: AudioConfig, *, run_dir: Path | None = None, device: str = "auto") -> Path:
    """Train as configured; returns the run's folder. Raises LatentSyncError."""
    place = dist.local_device(choose_device(device))
    with dist.process_group(place):
        listed = listed_clips(cfg)
        folder = open_run(cfg, run_dir)
        model, first_step = make_model(cfg)
        cache = cache_folder() / "training"
        clips, held_out = usable_clips(listed, folder, partial(prepare_spoken, cfg, cache=cache))
        task = AudioTask(cfg, model.to(place), clips, held_out)
        plan = plan_of(cfg, len(clips), precision_of(cfg, choose_dtype("auto", place)))
        dims = asdict(encoder_dims(**model_config(cfg)))  # so that Audio2Feature reads any checkpoint of the run
        train(task, plan, folder, place, first_step=first_step, dims=dims)
        if dist.is_first():
            export(cfg, folder)
    return folder


def main() -> int:
    description = __doc__.splitlines()[0]
    return training_command("train_audio", description, "--config_path", DEFAULT_CONFIG, AudioConfig, run)


if __name__ == "__main__":
    sys.exit(main())
