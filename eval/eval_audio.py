"""How much of the mouth a linear layer can read off the tokens of one frame, as the U-Net's keys and values do.

python -m eval.eval_audio --whisper_path checkpoints/demo/whisper.pt data.train_data_dir=data/crops \
    data.val_data_dir=data/held_out
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from latentsync import REPO_ROOT
from latentsync.build import cache_folder, choose_device
from latentsync.config import load_config
from latentsync.data.inspection import FPS, read_sound
from latentsync.data.speech import CURVES, SpokenClip
from latentsync.errors import ConfigError, LatentSyncError
from latentsync.schema import AudioConfig
from latentsync.train.run import listed_clips, prepare_spoken
from latentsync.whisper.audio2feature import Audio2Feature
from latentsync.whisper.mel import log_mel
from scripts.parser import Parser

DEFAULT_CONFIG = REPO_ROOT / "configs/audio/demo.yaml"
PENALTIES = (1e-3, 1e-2, 1e-1)  # of ridge regression, as shares of the samples
TUNING = 4  # every so many clips of the training ones choose the penalty

Describe = Callable[[np.ndarray, int], Tensor]  # sound and number of frames -> (frames, features)


def tokens(audio: Audio2Feature) -> Describe:
    """The tokens of each frame, as the U-Net gets them, in one row."""

    def describe(samples: np.ndarray, n_frames: int) -> Tensor:
        features = audio.features(samples)
        return torch.stack([audio.get_sliced_feature(features, i, FPS)[0].flatten() for i in range(n_frames)])

    return describe


def columns(samples: np.ndarray, n_frames: int) -> Tensor:
    """The stretch of the log-mel that the tokens lie in, for comparison."""
    mel = torch.nn.functional.pad(log_mel(samples), (8, 12 + 4 * n_frames))
    return torch.stack([mel[:, 4 * i : 4 * i + 20].flatten() for i in range(n_frames)])


def data_of(clips: Sequence[SpokenClip], describe: Describe) -> tuple[Tensor, Tensor]:
    """Rows (n, features) and curves (n, 8) of all frames; a frame's middle is an odd step."""
    rows, curves = [], []
    for clip in tqdm(clips, desc="clips"):
        truth = clip.mouth[1::2]
        rows.append(describe(read_sound(clip.clip.path), len(truth)).float())
        curves.append(torch.from_numpy(truth))
    return torch.cat(rows), torch.cat(curves)


def readability(train: Sequence[SpokenClip], held_out: Sequence[SpokenClip], describe: Describe) -> dict[str, float]:
    """Correlation of each curve with what ridge regression reads, on clips that it never saw."""
    fitting = [clip for i, clip in enumerate(train) if i % TUNING]
    tuning = [clip for i, clip in enumerate(train) if i % TUNING == 0]
    (x, y), (x_tuning, y_tuning), (x_test, y_test) = (data_of(clips, describe) for clips in (fitting, tuning, held_out))
    mean, spread = x.mean(dim=0), x.std(dim=0).clamp(min=1e-4)
    x, x_tuning, x_test = ((part - mean) / spread for part in (x, x_tuning, x_test))
    offset = y.mean(dim=0)
    products, targets = x.T @ x, x.T @ (y - offset)
    solutions = [solve(products, targets, share * len(x)) for share in PENALTIES]
    errors = [(x_tuning @ solution + offset - y_tuning).square().mean() for solution in solutions]
    found = x_test @ solutions[int(torch.stack(errors).argmin())]
    return {name: round(float(np.corrcoef(found[:, i], y_test[:, i])[0, 1]), 4) for i, name in enumerate(CURVES)}


def solve(products: Tensor, targets: Tensor, penalty: float) -> Tensor:
    regular = products + penalty * torch.eye(len(products))
    return torch.cholesky_solve(targets, torch.linalg.cholesky(regular))


def parse() -> argparse.Namespace:
    parser = Parser(prog="eval_audio", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config_path", type=Path, default=DEFAULT_CONFIG, help="names the clips (%(default)s)")
    add("--whisper_path", type=Path, required=True, help="the encoder, a checkpoint in OpenAI's format")
    add("--count", type=int, default=80, help="clips to fit (%(default)s)")
    add("--mel", action="store_true", help="measure the log-mel as well, for comparison")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    add("overrides", nargs="*", metavar="section.key=value", help="values instead of the configuration's")
    return parser.parse_args()


def main() -> int:
    args = parse()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        cfg = load_config(AudioConfig, args.config_path, args.overrides)
        audio = Audio2Feature(args.whisper_path, choose_device(args.device))
        train, held_out = listed_clips(cfg)
        if not held_out:
            raise ConfigError("no held-out clips are named; set data.val_data_dir or data.val_fileslist")
        chosen = {"train": train[:: max(1, len(train) // args.count)], "val": held_out}
        cache = cache_folder() / "training"
        clips = [prepare_spoken(cfg, some, name, cache=cache).clips for name, some in chosen.items()]
        found = {"tokens": readability(*clips, tokens(audio))}
        if args.mel:
            found["mel"] = readability(*clips, columns)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
