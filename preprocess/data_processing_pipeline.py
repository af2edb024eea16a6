"""From raw videos to clips to train on: aligned faces of 5 to 10 seconds, in sync, of good quality.

bash data_processing_pipeline.sh --input_dir data/raw
bash data_processing_pipeline.sh --input_dir data/raw --report
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree

from latentsync import REPO_ROOT
from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.files import remove_leftovers
from latentsync.judges import official_is_chosen
from latentsync.media.ffmpeg import VIDEO_SUFFIXES
from latentsync.processing.chain import run_stage
from latentsync.processing.command import (
    MANIFEST,
    absolute,
    add_executor_flags,
    choose_executor,
    recorded_run,
    run_command,
)
from latentsync.processing.manifest import Manifest
from latentsync.processing.piece import Piece
from latentsync.processing.stage import FAILED, Outcome, Stage
from scripts.parser import Parser

from .media import WORKPLACE
from .report import write_report
from .settings import DataConfig
from .stages.align import Align
from .stages.cut import Cut
from .stages.filters import CorrectlyAligned, HighResolution
from .stages.quality import Quality
from .stages.resample import Resample
from .stages.segments import Segments
from .stages.shots import Shots
from .stages.sync import Sync, choose_judge
from .stages.verify import Verify

STAGES = ("verify", "resample", "shots", "segments", "align", "sync", "quality")
FILTERS = ("high_resolution", "correctly_aligned")
ORDER = ("verify", "resample", "shots", "segments", "high_resolution", "align", "correctly_aligned", "sync", "quality")
WITHOUT_FILES = frozenset({"resample", "shots", "segments", "high_resolution"})  # that only say where a clip lies


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="data_processing_pipeline",
        description="From raw videos to clips to train on. Inputs are never changed; a run that was stopped goes on "
        f"where it was. What became of each clip is in {MANIFEST} beside the input folder, which training reads as a "
        "list: data.train_fileslist=...",
    )
    add = p.add_argument
    add("--input_dir", type=Path, required=True, help="folder of the raw videos, with its subfolders")
    add(
        "--output_dir",
        type=Path,
        help="folder of the stages' folders and of the manifest (default: the input's parent)",
    )
    add("--resolution", type=int, default=256, help="side of the aligned clips (%(default)s)")
    add("--sync_conf_threshold", type=float, default=3, help="least confidence of SyncNet v2 (%(default)g)")
    add("--temp_dir", type=Path, help="where unfinished files of readers go (default: the system's)")
    add("--stages", type=names, default=list(STAGES), help=f"some of {','.join(STAGES)} (all)")
    add("--filters", type=names, default=[], help=f"some of {','.join(FILTERS)} (none)")
    add("--config_path", type=Path, default=REPO_ROOT / "configs/data.yaml", help="thresholds and more (%(default)s)")
    add("--keep_intermediate", action="store_true", help="files of the stages before the alignment too")
    add("--report", action="store_true", help="print and draw what became of all clips so far, and do nothing else")
    add("--quiet", action="store_true", help="no progress bars")
    add("overrides", nargs="*", metavar="section.key=value", help="keys of the configuration")
    add_executor_flags(p, per_gpu=4, limit_s=1800)
    return p


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = parser()
    args = p.parse_intermixed_args(argv)
    for flag, chosen, known in (("--stages", args.stages, STAGES), ("--filters", args.filters, FILTERS)):
        if unknown := sorted(set(chosen) - set(known)):
            p.error(f"{flag} {','.join(unknown)}: expected some of {','.join(known)}")
    if args.resolution < 64 or args.resolution % 8:
        p.error(f"--resolution {args.resolution}: expected a multiple of 8, such as 256 or 512")
    if not args.stages and not args.filters:
        p.error("--stages: expected at least one")
    return args


def build_stages(args: argparse.Namespace, cfg: DataConfig) -> list[Stage]:
    """The chosen stages in their order."""
    build = {
        "verify": lambda: Verify(cfg.verify),
        "resample": lambda: Resample(),
        "shots": lambda: Shots(cfg.shots),
        "segments": lambda: Segments(cfg.segments),
        "high_resolution": lambda: HighResolution(cfg.filters, args.resolution, cfg.align.detector),
        "align": lambda: Align(cfg.align, args.resolution),
        "correctly_aligned": lambda: CorrectlyAligned(cfg.filters, args.resolution, cfg.align.detector),
        "sync": lambda: Sync(
            choose_judge(cfg.sync),
            args.sync_conf_threshold if official_is_chosen(cfg.sync.judge) else cfg.sync.project_threshold,
            cfg.sync.max_offset,
            f"av_synced_{args.sync_conf_threshold:g}",
        ),
        "quality": lambda: Quality(cfg.quality),
    }
    return [build[name]() for name in ORDER if name in args.stages or name in args.filters]


def find_videos(folder: Path, manifest: Manifest) -> list[Piece]:
    """Every video of a folder and its subfolders. Files of an earlier run know whence they came. Raises ConfigError."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name the one that holds the raw videos by --input_dir")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not files:
        raise ConfigError(f"{folder} holds no video; expected files ending in {', '.join(sorted(VIDEO_SUFFIXES))}")
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    pieces = []
    for path, stem in zip(files, stems, strict=True):
        key = stem if stems.count(stem) == 1 else path.relative_to(folder).as_posix()
        known = manifest.origin_of(path)
        pieces.append(known or Piece(key, path))
    return pieces


def check_folders(folder: Path, root: Path, stages: Sequence[Stage]) -> None:
    """Raise ConfigError where a stage would write into what is read, or the other way round."""
    for stage in stages:
        written = root / stage.folder
        if stage.folder and (written == folder or written.is_relative_to(folder) or folder.is_relative_to(written)):
            raise ConfigError(
                f"{written}: the stage {stage.name} would write where it reads; choose another --output_dir"
            )


def process(args: argparse.Namespace, command: Sequence[str]) -> tuple[list[Piece], list[tuple[str, Outcome]]]:
    """The clips that all chosen stages kept, and the others with the name of the stage. Raises LatentSyncError."""
    cfg = load_config(DataConfig, args.config_path, args.overrides)
    folder, root = input_folder(args), output_folder(args)
    stages = build_stages(args, cfg)
    check_folders(folder, root, stages)
    executor = choose_executor(args)
    dropped: list[tuple[str, Outcome]] = []
    with recorded_run(root, command) as manifest:
        clean(root, stages)
        pieces = find_videos(folder, manifest)

        def run(stage: Stage, given: list[Piece]) -> list[Piece]:
            kept, others = run_stage(stage, given, executor, manifest, retry_failed=args.retry_failed, quiet=args.quiet)
            dropped.extend((stage.name, outcome) for outcome in others)
            return kept

        for stage in stages:
            pieces = run(stage, pieces)
            last = stage is stages[-1]
            if stage.name in WITHOUT_FILES and (last or args.keep_intermediate):
                files = run(Cut(stage.name, stage.folder, cfg.align.crf, cfg.align.preset), pieces)
                pieces = files if last else pieces
        manifest.settle(pieces, dropped)
    return pieces, dropped


def input_folder(args: argparse.Namespace) -> Path:
    return absolute(args.input_dir)


def output_folder(args: argparse.Namespace) -> Path:
    return absolute(args.output_dir) if args.output_dir else input_folder(args).parent


def clean(root: Path, stages: Sequence[Stage]) -> None:
    """Remove what a run that was killed left half-made."""
    for folder in {root / stage.folder for stage in stages if stage.folder}:
        for path in [path for path in folder.rglob(f"{WORKPLACE}*") if path.is_dir()]:
            rmtree(path, ignore_errors=True)
        for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            if path.is_dir():
                remove_leftovers(path)


def use_temporary_folder(folder: Path | None) -> None:
    """Put the temporary files of this process and of those it starts there. Raises ConfigError."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror}); choose another --temp_dir") from error
    os.environ["TMPDIR"] = str(folder.resolve())
    tempfile.tempdir = None  # what Python chose before


def tell(kept: Sequence[Piece], dropped: Sequence[tuple[str, Outcome]], root: Path) -> None:
    """The end of a run in a few lines."""
    counts = Counter((stage, outcome.status, outcome.reason.split(":")[0]) for stage, outcome in dropped)
    for (stage, status, reason), n in sorted(
        counts.items(), key=lambda item: (ORDER.index(item[0][0].split()[0]), item)
    ):
        print(f"{stage}: {n} {status}: {reason}")
    seconds = sum(float(piece.metrics.get("seconds", 0)) for piece in kept)
    print(f"{len(kept)} clips kept" + (f", {seconds / 60:.1f} minutes" if seconds else "") + f"; {root / MANIFEST}")


def run_pipeline(args: argparse.Namespace, command: Sequence[str]) -> int:
    """The exit status. Raises LatentSyncError."""
    root = output_folder(args)
    use_temporary_folder(args.temp_dir)
    if args.report:
        write_report(root / MANIFEST, root / "report", ORDER)
        return 0
    kept, dropped = process(args, command)
    tell(kept, dropped, root)
    failed = [outcome for _, outcome in dropped if outcome.status == FAILED]
    for outcome in failed[:20]:
        print(f"failed: {outcome.piece.key}: {outcome.reason}", file=sys.stderr)
    return 1 if failed else 0


def cli(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    return run_command(partial(run_pipeline, args, sys.argv if argv is None else argv))


if __name__ == "__main__":
    sys.exit(cli())
