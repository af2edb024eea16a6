"""How often a SyncNet is right: on balanced pairs, by how far apart they are, and about the offset of whole clips.

python -m eval.eval_syncnet_acc --config_path configs/syncnet/demo.yaml --plot acc.png data.val_data_dir=data/held_out
"""

import json
import logging
import sys
from pathlib import Path

import matplotlib
import torch
from torch import Tensor
from tqdm import tqdm

from latentsync import REPO_ROOT
from latentsync.build import build_syncnet, build_vae, cache_folder, choose_device, choose_dtype
from latentsync.config import load_config, resolve_path
from latentsync.data import syncnet_dataset
from latentsync.errors import LatentSyncError
from latentsync.files import atomic_path
from latentsync.metrics.sync_score import IN_SYNC, MAX_OFFSET, similarities, sync_score
from latentsync.schema import SyncNetConfig
from latentsync.train.run import named_clips, prepare_clips
from latentsync.train.syncnet import SyncNetTask
from scripts.parser import Parser

matplotlib.use("agg")
from matplotlib import pyplot

DEFAULT_CONFIG = REPO_ROOT / "configs/syncnet/syncnet_16_pixel_attn.yaml"
DISTANCES = range(1, MAX_OFFSET + 1)  # frames


def measure(task: SyncNetTask, model: torch.nn.Module) -> dict:
    """Shares in [0, 1]: of pairs, by distance of the wrong ones, of clips whose offset is found, and each offset."""
    right, wrong = [], {distance: [] for distance in DISTANCES}
    offsets = []
    for clip in tqdm(task.validation_clips, desc="clips"):
        vectors = task.embed_clip(model, clip)
        found = similarities(*vectors)
        right.append(found[MAX_OFFSET])
        for distance in DISTANCES:
            wrong[distance] += [found[MAX_OFFSET + distance], found[MAX_OFFSET - distance]]
        offsets.append(sync_score(*vectors).offset)
    hits = share(torch.cat(right) > IN_SYNC)
    return {
        **{name: round(value, 4) for name, value in task.pair_accuracy(model).items()},
        "accuracy_by_distance": {
            distance: round((hits + share(torch.cat(parts) <= IN_SYNC)) / 2, 4) for distance, parts in wrong.items()
        },
        "offset_exact": round(share(torch.tensor(offsets) == 0), 4),
        "offset_within_1": round(share(torch.tensor(offsets).abs() <= 1), 4),
        "offsets": offsets,
    }


def share(answers: Tensor) -> float:
    return answers.float().mean().item()


def draw(path: Path, found: dict, title: str) -> None:
    """Accuracy over the distance of wrong pairs, and how many clips have which offset."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6))
    left.plot(found["accuracy_by_distance"].keys(), found["accuracy_by_distance"].values(), marker="o")
    left.axhline(0.95, color="0.7", linestyle="--")
    left.set(xlabel="distance of the wrong pair in frames", ylabel="accuracy of balanced pairs", ylim=(0.45, 1.01))
    counts = [found["offsets"].count(offset) for offset in range(-MAX_OFFSET, MAX_OFFSET + 1)]
    right.bar(range(-MAX_OFFSET, MAX_OFFSET + 1), counts)
    right.set(xlabel="offset found in frames; the truth is 0", ylabel="clips")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def run(cfg: SyncNetConfig, checkpoint: Path | None, device: str) -> dict:
    """Raises LatentSyncError."""
    place = choose_device(device)
    listed = named_clips(cfg.data.val_data_dir, cfg.data.val_fileslist)
    model = build_syncnet(cfg, checkpoint, device=place, dtype=torch.float32)
    vae = None
    if cfg.data.latent_space:
        vae = build_vae(resolve_path(cfg.ckpt.vae_path), device=place, dtype=choose_dtype("auto", place))
    needs = syncnet_dataset.needs(cfg.data.num_frames, min_distance=cfg.data.min_negative_distance)
    prepared = prepare_clips(cfg, listed, needs, cache=cache_folder() / "training")
    return measure(SyncNetTask(cfg, model, (), prepared.clips, vae=vae), model)


def main() -> int:
    parser = Parser(prog="eval_syncnet_acc", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config_path", type=Path, default=DEFAULT_CONFIG, help="configuration (%(default)s)")
    add("--checkpoint", type=Path, help="weights (default: ckpt.inference_ckpt_path)")
    add("--plot", type=Path, help="picture of accuracy by distance, and of offsets")
    add("--json", type=Path, help="file for all numbers")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    add("overrides", nargs="*", metavar="section.key=value", help="values instead of the configuration's")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        found = run(load_config(SyncNetConfig, args.config_path, args.overrides), args.checkpoint, args.device)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"SyncNet accuracy: {100 * found['accuracy']:.2f}%")
    for distance, accuracy in found["accuracy_by_distance"].items():
        print(f"  wrong pairs {distance:2} frames apart: {100 * accuracy:.2f}%")
    n = len(found["offsets"])
    exact, near = 100 * found["offset_exact"], 100 * found["offset_within_1"]
    print(f"offset exact: {exact:.1f}%, within 1: {near:.1f}% of {n} clips")
    if args.json:
        with atomic_path(args.json) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")
    if args.plot:
        draw(args.plot, found, f"Accuracy {100 * found['accuracy']:.2f}%, {n} clips")
    return 0


if __name__ == "__main__":
    sys.exit(main())
