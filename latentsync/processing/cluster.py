"""The same work on a Ray cluster, all of whose machines see the files and this program under the same paths."""

import atexit
import math
import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

import torch

from .. import REPO_ROOT
from ..errors import ConfigError
from ..workers import attempt
from .executors import ATTEMPTS
from .piece import Piece
from .stage import FAILED, Outcome, Stage, Work

_ANSWER_S = 5.0  # in which a cluster's port opens
_JOIN_S = 10.0  # that a stopped actor has to remove what is half-made
_LOST = "its process or its machine was lost, out of memory perhaps"
_OBJECTS_BYTES = 100 << 20  # of Ray's shared memory: only paths travel


class _Worker:
    """What runs on the cluster: an actor that has a stage's models. It answers as `attempt` does."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def setup(self) -> tuple[tuple[str, int], str | None]:
        """The machine and the process; and why it has no models."""
        import ray

        if self._work.stage.gpus and torch.cuda.is_available():  # Ray shows it the GPU that it has a share of
            self._work.devices = ("cuda:0",)
        _, failure = attempt(self._work.setup, 0)
        return (ray.get_runtime_context().get_node_id(), os.getpid()), failure

    def do(self, piece: Piece) -> tuple[Outcome | None, str | None]:
        return attempt(self._work, piece)


@dataclass
class _Slot:
    """An actor and what it does."""

    actor: Any
    losses: int  # of those before it while they loaded their models
    place: tuple[str, int] | None = None  # once it has loaded its own; until then it may also wait for a free machine
    piece: Piece | None = None
    since: float = math.inf  # when it began the piece


@dataclass(frozen=True)
class RayExecutor:
    """Actors on a cluster; what a lost one was doing is done again by another.

    Args:
        address: of the cluster; "auto" is the one that runs here, None starts one of this machine.
        n_workers: actors of stages on the CPU; None: one for each processor of the cluster.
        per_gpu: actors on each GPU of a stage that wants a share of one.
        limit_s: seconds that a piece may take; longer ones fail.
    """

    address: str | None = None
    n_workers: int | None = None
    per_gpu: int = 1
    limit_s: float | None = None

    def map(self, stage: Stage, pieces: Sequence[Piece], folder: Path) -> Iterator[Outcome]:
        if not pieces:
            return
        ray = connect(self.address)
        wanted, share = self._shares(stage, ray.cluster_resources())
        work = ray.put(Work(stage, folder))
        left, attempts = deque(pieces), Counter()
        slots: dict[Any, _Slot] = {}  # by what they will answer

        def start(losses: int = 0) -> None:
            actor = ray.remote(max_restarts=0, runtime_env={"env_vars": _environment()}, **share)(_Worker).remote(work)
            slots[actor.setup.remote()] = _Slot(actor, losses)

        def give(slot: _Slot) -> None:
            if left:
                slot.piece, slot.since = left.popleft(), time.monotonic()
                slots[slot.actor.do.remote(slot.piece)] = slot
            else:
                ray.kill(slot.actor)  # and its place is free

        def lose(slot: _Slot) -> Iterator[Outcome]:
            """Its piece is tried again, or given up."""
            ray.kill(slot.actor)  # which is only out of reach perhaps
            if slot.piece is None:
                if slot.losses + 1 < ATTEMPTS:
                    start(slot.losses + 1)
                elif not slots:
                    raise ConfigError(f"{stage.name} cannot be set up on the cluster: {_LOST}")
                return
            attempts[slot.piece.key] += 1
            again = attempts[slot.piece.key] < ATTEMPTS
            if again:
                left.append(slot.piece)
            if left:
                start()
            if not again:
                yield Outcome(slot.piece, FAILED, reason=_LOST)

        try:
            for _ in range(min(wanted, len(left))):
                start()
            while left or any(slot.piece for slot in slots.values()):
                first = min(slot.since for slot in slots.values()) + (self.limit_s or math.inf)
                patience = None if first == math.inf else max(0, first - time.monotonic())
                for answer in ray.wait(list(slots), timeout=patience)[0]:
                    slot = slots.pop(answer)
                    try:
                        value, failure = ray.get(answer)
                    except ray.exceptions.RayError:  # errors of the work are answers
                        yield from lose(slot)
                        continue
                    piece = slot.piece
                    if piece is None:
                        slot.place = value
                        if failure:
                            ray.kill(slot.actor)
                            raise ConfigError(f"{stage.name} cannot be set up: {failure}")
                    give(slot)
                    if piece is not None:
                        yield value or Outcome(piece, FAILED, reason=failure)
                if self.limit_s is None:
                    continue
                now = time.monotonic()
                for answer in [answer for answer, slot in slots.items() if now - slot.since >= self.limit_s]:
                    slot = slots.pop(answer)
                    _stop(ray, {answer: slot})
                    if left:
                        start()
                    why = f"took longer than the {self.limit_s:g} s that a job may take"
                    yield Outcome(slot.piece, FAILED, reason=why)
        finally:
            _stop(ray, slots)

    def _shares(self, stage: Stage, resources: dict[str, float]) -> tuple[int, dict[str, float]]:
        """The number of actors, and what each of them occupies."""
        n_gpus = int(resources.get("GPU", 0)) if stage.gpus else 0
        if n_gpus:
            share = math.floor(10_000 / self.per_gpu) / 10_000  # Ray rounds to this, and seven of 0.1429 are too many
            return n_gpus * self.per_gpu, {"num_gpus": share, "num_cpus": 0}
        return self.n_workers or max(1, int(resources.get("CPU", 0))), {"num_cpus": 1}


def connect(address: str | None) -> Any:
    """The ray module; this process keeps the connection to its end, as it keeps one that it has. Raises ConfigError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--executor ray: Ray is missing; run pip install ray, or use --executor local") from error
    if ray.is_initialized():
        return ray
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            _start_cluster(ray)
        else:
            _check_port(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
            ray.init(address, log_to_driver=False, logging_level="WARNING")
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:  # also for other versions and tokens
        what = "no cluster can be started here" if address is None else f"--ray_address {address}: no cluster answers"
        raise ConfigError(f"{what} ({error}); start one by ray start --head, or use --executor local") from error
    finally:
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
    return ray


def _start_cluster(ray: Any) -> None:
    """One of this machine, that ends with this process."""
    # Its sockets lie there, so that the path must be short, which that of TMPDIR may not be.
    root = os.environ.get("RAY_TMPDIR", "/tmp" if os.name == "posix" else None)
    folder = TemporaryDirectory(prefix="ray_", dir=root, ignore_cleanup_errors=True)

    def end() -> None:
        ray.shutdown()
        folder.cleanup()

    atexit.register(end)
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", token_hex(32))  # Ray would leave one in the home folder
    ray.init(
        "local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level="WARNING",
        object_store_memory=_OBJECTS_BYTES,
        _temp_dir=folder.name,
    )


def _check_port(address: str) -> None:
    """Raise OSError at once where nothing listens; Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()


def _environment() -> dict[str, str]:
    """Of the actors: this program, and one thread each, as there is one for each processor."""
    paths = os.pathsep.join(filter(None, [str(REPO_ROOT), os.environ.get("PYTHONPATH")]))
    temporary = {"TMPDIR": os.environ["TMPDIR"]} if "TMPDIR" in os.environ else {}
    return {"PYTHONPATH": paths, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), **temporary}


def _stop(ray: Any, slots: dict[Any, _Slot]) -> None:
    """Let what is being done end its open blocks; then kill the actors."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def terminate(process: int) -> None:
        os.kill(process, signal.SIGTERM)

    busy = {answer: slot for answer, slot in slots.items() if slot.piece}
    with suppress(ray.exceptions.RayError):
        for slot in busy.values():
            machine, process = slot.place
            there = NodeAffinitySchedulingStrategy(machine, soft=False)
            ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(terminate).remote(process)
        if busy:
            ray.wait(list(busy), num_returns=len(busy), timeout=_JOIN_S)
        for slot in slots.values():
            ray.kill(slot.actor)
