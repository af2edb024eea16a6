"""The same work on a Ray cluster, all of whose machines see the files and this program under the same paths."""

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import REPO_ROOT
from ..errors import ConfigError
from ..workers import reason
from .executors import ATTEMPTS
from .piece import Piece
from .stage import FAILED, Outcome, Stage, Work

_LOOK_S = 5.0  # between looks at the clock, where nothing ends


class _Worker:
    """What runs on the cluster: an actor that has a stage's models."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def setup(self) -> None:
        if torch.cuda.is_available():  # Ray shows an actor the GPU that it has a share of
            self._work.devices = ("cuda:0",)
        self._work.setup(0)

    def do(self, piece: Piece) -> Outcome:
        return self._work(piece)


@dataclass
class _Slot:
    """An actor and what it does."""

    actor: Any
    piece: Piece | None = None  # None while it loads its models
    since: float = 0.0


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
        ray = _connected(self.address)
        left, attempts = deque(pieces), Counter()
        n_gpus = ray.cluster_resources().get("GPU", 0) if stage.gpus else 0
        n_cpus = int(ray.cluster_resources()["CPU"])
        wanted = int(n_gpus * self.per_gpu) or self.n_workers or n_cpus
        share = {"num_gpus": 1 / self.per_gpu} if n_gpus else {}
        work = ray.put(Work(stage, folder))
        slots: dict[Any, _Slot] = {}  # by what they will answer

        def start() -> None:
            actor = ray.remote(num_cpus=1, max_restarts=0, **share)(_Worker).remote(work)
            slots[actor.setup.remote()] = _Slot(actor)

        def give(slot: _Slot) -> None:
            if left:
                slot.piece, slot.since = left.popleft(), time.monotonic()
                slots[slot.actor.do.remote(slot.piece)] = slot
            else:
                ray.kill(slot.actor)

        def lose(slot: _Slot, why: str) -> Iterator[Outcome]:
            """Its piece is tried again, or given up."""
            if slot.piece is None:
                raise ConfigError(f"{stage.name} cannot be set up on the cluster: {why}")
            attempts[slot.piece.key] += 1
            if attempts[slot.piece.key] < ATTEMPTS:
                left.append(slot.piece)
            else:
                yield Outcome(slot.piece, FAILED, reason=why)
            if left:
                start()

        try:
            for _ in range(min(wanted, len(left))):
                start()
            while any(slot.piece for slot in slots.values()) or left:
                done, _ = ray.wait(list(slots), num_returns=1, timeout=_LOOK_S)
                for answer in done:
                    slot = slots.pop(answer)
                    try:
                        outcome = ray.get(answer)
                    except ray.exceptions.RayActorError as error:
                        yield from lose(slot, f"its worker was lost ({type(error).__name__})")
                        continue
                    except ray.exceptions.RayTaskError as error:
                        if slot.piece is None:
                            raise ConfigError(f"{stage.name} cannot be set up: {reason(error.cause)}") from error
                        outcome = Outcome(slot.piece, FAILED, reason=reason(error.cause))
                    give(slot)
                    if outcome is not None:
                        yield outcome
                for answer, slot in [(a, s) for a, s in slots.items() if self._late(s)]:
                    del slots[answer]
                    ray.kill(slot.actor)
                    if left:
                        start()
                    why = f"took longer than the {self.limit_s:g} s that a job may take"
                    yield Outcome(slot.piece, FAILED, reason=why)
        finally:
            for slot in slots.values():
                ray.kill(slot.actor)

    def _late(self, slot: _Slot) -> bool:
        return (
            self.limit_s is not None
            and slot.piece is not None
            and time.monotonic() - slot.since >= self.limit_s
        )


def _connected(address: str | None) -> Any:
    """The ray module, connected. Raises ConfigError."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--executor ray: Ray is missing; run pip install ray, or use --executor local") from error
    if not ray.is_initialized():
        paths = os.pathsep.join(filter(None, [str(REPO_ROOT), os.environ.get("PYTHONPATH")]))
        environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        try:
            ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": environment})
        except ConnectionError as error:
            raise ConfigError(f"--ray_address {address}: no cluster answers there ({error}); start it first") from error
    return ray
