"""Write a trained VAE as a folder that the program and diffusers load: config.json and weights in half precision.

python -m scripts.export_vae debug/vae/train-2026_11_22-10-00-00 --out checkpoints/demo/vae

Each channel of the scaled latents gets mean 0 and variance 1 over the frames it was trained on. This is done in the
weights, so the scale in the file is Stable Diffusion's, which is the one that is always used.
"""

import logging
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from latentsync.build import cache_folder
from latentsync.checkpoint import FOLDER_NAMES, load_module, load_state
from latentsync.config import load_config, model_config
from latentsync.data.vae_dataset import NEEDS
from latentsync.diffusion.latents import SCALING_FACTOR
from latentsync.errors import LatentSyncError
from latentsync.face.mask import fixed_mask
from latentsync.files import atomic_path
from latentsync.models.vae import standardise, vae_arguments
from latentsync.schema import VAEConfig
from latentsync.train.run import CONFIG_NAME, listed_clips, prepare_clips
from latentsync.train.state import last_checkpoint
from latentsync.train.vae import VAETask, frames_of, latent_statistics
from scripts.parser import Parser


@torch.inference_mode()
def export(run: Path, out: Path, *, frames: int = 512) -> Path:
    """The last weights of a run of train_vae, with the scale measured on so many of its training frames; returns `out`.

    Raises LatentSyncError.
    """
    path = last_checkpoint(run)
    cfg = load_config(VAEConfig, run / CONFIG_NAME)
    vae = AutoencoderKL(**vae_arguments(**model_config(cfg)), scaling_factor=SCALING_FACTOR)
    load_module(vae, load_state(path))
    vae.to(memory_format=torch.channels_last).eval()
    clips = prepare_clips(cfg, listed_clips(cfg)[0], NEEDS, cache=cache_folder() / "training", name="train").clips
    task = VAETask(cfg, vae, fixed_mask(cfg.data.resolution, cfg.data.mask_image_path), clips)
    mean, std = latent_statistics(vae, frames_of(task.dataset, frames))
    standardise(vae, mean.float(), (std * SCALING_FACTOR).float())
    write(vae, out)
    return out


def write(vae: AutoencoderKL, out: Path) -> None:
    """Diffusers' files in the folder `out`, weights in float16."""
    out.mkdir(parents=True, exist_ok=True)
    state = {key: tensor.half().contiguous() for key, tensor in vae.state_dict().items()}
    with atomic_path(out / FOLDER_NAMES[0]) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    with atomic_path(out / "config.json") as temporary:
        temporary.write_text(vae.to_json_string())


def main() -> int:
    parser = Parser(prog="export_vae", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("run_dir", type=Path, help="folder of a run of train_vae; its clips are read once more")
    add("--out", type=Path, required=True, help="folder to write, such as checkpoints/demo/vae")
    add("--frames", type=int, default=512, help="training frames that the scale is measured on (%(default)s)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(export(args.run_dir, args.out, frames=args.frames))
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
