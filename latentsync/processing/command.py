"""What all commands that run stages share: where the work is done, who may write, and how they end."""

import argparse
import logging
import os
import signal
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch
from filelock import FileLock, Timeout

from ..errors import ConfigError, LatentSyncError
from .executors import Executor, LocalExecutor
from .manifest import Manifest

MANIFEST = "manifest.sqlite"


def add_executor_flags(
    p: argparse.ArgumentParser, *, n_workers: int | None = None, per_gpu: int = 1, limit_s: float | None = None
) -> None:
    """Where and how long stages work, with a command's own defaults; `choose_executor` heeds them.

    None for `n_workers` is one for each processor, for `limit_s` no limit.
    """
    add = p.add_argument_group("where the work is done").add_argument
    add("--executor", choices=("local", "ray"), default="local", help="processes here, or a Ray cluster (%(default)s)")
    add("--ray_address", help="of the cluster; auto: the one that runs here (default: a new one of this machine)")
    add(
        "--total_num_workers",
        type=_count,
        default=n_workers,
        help=f"processes of stages on the CPU ({n_workers or 'default: one for each processor'})",
    )
    add("--per_gpu_num_workers", type=_count, default=per_gpu, help="processes on each GPU (%(default)s)")
    add(
        "--limit_s",
        type=_seconds,
        default=limit_s,
        help=f"seconds that a stage may take for a clip ({limit_s or 'default: any time'})",
    )
    add("--retry_failed", action="store_true", help="try again what failed in an earlier run")


def choose_executor(args: argparse.Namespace) -> Executor:
    if args.executor == "ray":
        from .cluster import RayExecutor

        return RayExecutor(args.ray_address, args.total_num_workers, args.per_gpu_num_workers, args.limit_s)
    return LocalExecutor(args.total_num_workers, args.per_gpu_num_workers, args.limit_s)


def threads_of_each(args: argparse.Namespace, n_pieces: int) -> int | None:
    """An equal share of this machine's processors for each process that will run here; None on a cluster.

    For commands with a --device, whose `auto` is all GPUs.
    """
    if args.executor == "ray":
        return None
    n_gpus = torch.cuda.device_count() if args.device == "auto" else 0
    wanted = n_gpus * args.per_gpu_num_workers or args.total_num_workers or os.cpu_count() or 1
    return max(1, torch.get_num_threads() // max(1, min(wanted, n_pieces)))


@contextmanager
def _working_in(root: Path) -> Iterator[None]:
    """Make the folder of a manifest, and be its only writer. Raises ConfigError where another run works."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".manifest.lock", timeout=0):
            yield
    except Timeout:
        raise ConfigError(f"{root}: another run works there; wait for it, or choose another output folder") from None
    except OSError as error:
        raise ConfigError(f"{root} cannot be written ({error.strerror}); choose another output folder") from error


@contextmanager
def recorded_run(root: Path, command: Sequence[str]) -> Iterator[Manifest]:
    """The manifest of a folder whose only writer we are, with a run of this command. Raises ConfigError."""
    with _working_in(root), Manifest(root / MANIFEST) as manifest:
        manifest.begin(command)
        started = time.monotonic()
        yield manifest
        manifest.finish(time.monotonic() - started)


def run_command(action: Callable[[], int], *, goes_on: bool = True) -> int:
    """The exit status of a command: the action's own, 2 for a mistake of the user, which is told, 130 for Ctrl-C.

    SIGTERM ends the action as an exit does. `goes_on`: whether what is done is kept for the next run.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    _end_well_when_told()
    try:
        return action()
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on" if goes_on else "stopped", file=sys.stderr)
        return 130


def _end_well_when_told() -> None:
    """Let SIGTERM end this program as an exit does: open blocks end, workers are stopped."""
    signal.signal(signal.SIGTERM, _leave)


def absolute(path: Path) -> Path:
    """As typed, links and all, but from the root."""
    return Path(os.path.abspath(path))


def _leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected 1 or more, got {text}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ArgumentTypeError(f"expected seconds, got {text}")
    return value
