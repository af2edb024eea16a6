"""Fréchet video distance of two sets of videos: how far generated faces in motion are from real ones.

python -m eval.eval_fvd --real_videos data/real --fake_videos results
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from latentsync.build import choose_device
from latentsync.build_metrics import build_i3d, i3d_file
from latentsync.data.clips import mp4_files
from latentsync.errors import ConfigError, MeasureError
from latentsync.face.detect import MediaPipeDetector
from latentsync.files import atomic_path, digest, remove_leftovers
from latentsync.metrics.face_clip import FaceClipOptions, face_clip
from latentsync.metrics.fvd import clip_features, frechet_distance
from latentsync.processing.chain import run_stage
from latentsync.processing.command import (
    absolute,
    add_executor_flags,
    choose_executor,
    recorded_run,
    run_command,
)
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Outcome, Stage
from scripts.parser import Parser

from .pairs import read_list

LEAST_FRAMES = 9  # of which I3D makes one feature


@dataclass
class VideoFeatures(Stage):
    """Gives each video the file of what I3D makes of its face.

    `device` is "auto" for the worker's own. Raises CheckpointError where the weights are missing.
    """

    options: FaceClipOptions
    device: str

    name = "features"
    folder = "features"

    def __post_init__(self) -> None:
        self._weights = digest(i3d_file())

    @property
    def gpus(self) -> float:
        return float(self.device == "auto")

    def parameters(self) -> Mapping[str, Any]:
        return {"weights": self._weights, **asdict(self.options)}

    def setup(self, device: str) -> None:
        self._place = torch.device(device) if self.device == "auto" else choose_device(self.device)
        self._network, self._detector = build_i3d(device=self._place), MediaPipeDetector()

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        clip = face_clip(piece.path, self._detector, self.options)
        (features,) = clip_features(self._network, clip[None], self._place)
        path = folder / f"{piece.key}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            np.save(temporary, features)
        return [piece.made(path)]


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="eval_fvd", description=__doc__.splitlines()[0])
    add = p.add_argument
    what = "a folder of .mp4 files, a .txt that names a video in each line, or one video"
    add("--real_videos", type=Path, required=True, metavar="VIDEOS", help=what)
    add("--fake_videos", type=Path, required=True, metavar="VIDEOS", help="the same")
    add("--first_frame", type=int, default=20, help="at 25 frames per second (%(default)s)")
    add("--num_frames", type=int, default=16, help="of each video (%(default)s)")
    add("--out_dir", type=Path, help="keeps the features, so that a run that was stopped goes on")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s: all GPUs)")
    add("--quiet", action="store_true", help="no progress bar")
    add_executor_flags(p, n_workers=1)  # one leaves no processor idle
    return p


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = parser()
    args = p.parse_args(argv)
    for name, least in (("first_frame", 0), ("num_frames", LEAST_FRAMES)):
        if getattr(args, name) < least:
            p.error(f"--{name} {getattr(args, name)}: expected {least} or more")
    return args


def find_videos(named: Path) -> list[Piece]:
    """The videos that a flag names, each once; keys are their paths. Raises ConfigError, MeasureError for too few."""
    paths = mp4_files(named) if named.is_dir() else read_list(named) if named.suffix.lower() == ".txt" else [named]
    paths = list(dict.fromkeys(absolute(path) for path in paths))
    if lost := [path for path in paths if not path.is_file()]:
        raise ConfigError(f"{lost[0]} does not exist; expected a video, so correct its name")
    check_number(named, len(paths))
    return [Piece(path.relative_to(path.anchor).as_posix(), path) for path in paths]


def check_number(named: Path, n: int) -> None:
    """Raise MeasureError where there are too few videos for a covariance."""
    if n < 2:
        raise MeasureError(f"{named}: expected two usable videos or more, got {n}; add videos")


def process(args: argparse.Namespace, root: Path, command: Sequence[str]) -> tuple[list[list[Path]], list[Outcome]]:
    """The files of features of real and of fake videos, and what became of the others. Raises LatentSyncError."""
    sides = [find_videos(args.real_videos), find_videos(args.fake_videos)]
    stage = VideoFeatures(FaceClipOptions(args.first_frame, args.num_frames), args.device)
    pieces = list({piece.key: piece for side in sides for piece in side}.values())
    executor = choose_executor(args)
    with recorded_run(root, command) as manifest:
        for folder in {(root / stage.folder / piece.key).parent for piece in pieces}:
            remove_leftovers(folder)
        made, failed = run_stage(stage, pieces, executor, manifest, retry_failed=args.retry_failed, quiet=args.quiet)
    files = {piece.key: piece.path for piece in made}
    return [[files[piece.key] for piece in side if piece.key in files] for side in sides], failed


def load(named: Path, files: Sequence[Path]) -> np.ndarray:
    """Features (n, 400) float32."""
    check_number(named, len(files))
    return np.stack([np.load(file) for file in files])


def run(args: argparse.Namespace, root: Path, command: Sequence[str]) -> int:
    """The exit status of a run that gives a number. Raises LatentSyncError."""
    (real, fake), failed = process(args, root, command)
    for outcome in failed:
        print(f"failed: {outcome.piece.path}: {outcome.reason}", file=sys.stderr)
    print(f"FVD: {frechet_distance(load(args.real_videos, real), load(args.fake_videos, fake)):.3f}")
    print(f"{len(real)} real and {len(fake)} fake videos")
    return 1 if failed else 0


def cli(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    with TemporaryDirectory(prefix="latentsync-") as temporary:
        root = absolute(args.out_dir or Path(temporary))
        return run_command(partial(run, args, root, sys.argv if argv is None else argv), goes_on=bool(args.out_dir))


if __name__ == "__main__":
    sys.exit(cli())
