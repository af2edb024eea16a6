"""Many jobs in several processes: a job that fails, hangs, or takes its process down leaves the others alone."""

import math
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from threading import Thread
from typing import Any, Generic, NoReturn, TypeVar

import psutil

from .errors import ConfigError, LatentSyncError

_PACKAGES = {"latentsync", "preprocess", "eval", "scripts"}  # that import what takes long
_JOIN_S = 10.0  # that a stopped worker has to remove what is half-made

Job = TypeVar("Job")


@dataclass(frozen=True)
class Done(Generic[Job]):
    """A job that has come to its end."""

    job: Job
    value: Any = None  # what the task returned
    failure: str | None = None  # why it failed
    lost: bool = False  # its process died, and another attempt may go better


def run_jobs(
    task: Callable[[Job], Any],
    jobs: Iterable[Job],
    *,
    n_workers: int,
    prepare: Callable[[int], None] | None = None,
    apart: bool = False,
    limit_s: float | None = None,
) -> Iterator[Done[Job]]:
    """Do all jobs; each comes back when it is done, in any order, with its value or the reason why it failed.

    Task, jobs, values and `prepare`, which each process calls first with its number from 0 on, must be picklable. When
    the generator is closed, by Ctrl-C for instance, all workers are stopped as by SIGTERM: their open blocks end with
    SystemExit. They stop too when this process is killed. Raises ConfigError where `prepare` ended with a user's
    error, which no other attempt would mend.

    Args:
        apart: a single worker is a process of its own too, and not this very process.
        limit_s: a job that takes longer fails; its process and all that this one has started are stopped.
    """
    if n_workers < 1:
        raise ValueError(f"expected a positive number of workers, got {n_workers}")
    if n_workers > 1 or apart or limit_s is not None:
        yield from _shared_out(task, deque(jobs), n_workers, prepare, limit_s)
        return
    if prepare:
        prepare(0)
    for job in jobs:
        value, failure = attempt(task, job)
        yield Done(job, value, failure)


def reason(error: Exception) -> str:
    """The message of a user's error, else the type with it, as for one of ours."""
    return str(error) if isinstance(error, LatentSyncError) else f"{type(error).__name__}: {error}"


def attempt(task: Callable[[Job], Any], job: Job) -> tuple[Any, str | None]:
    """What the task returned, or why it failed."""
    try:
        return task(job), None
    except Exception as error:  # whatever it is: the other jobs go on, and the caller reports it
        return None, reason(error)


@cache
def _context() -> BaseContext:
    """How processes start: forked from one that has imported what this program imports, and has done nothing else.

    Forks of this very process would share locks and threads of numeric libraries. Where the system cannot do that, each
    process imports everything for itself, which takes seconds.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.split(".")[0] in _PACKAGES])
    return context


class _Worker:
    """One process and the job that it has."""

    def __init__(self, number: int, task: Callable[[Any], Any], prepare: Callable[[int], None] | None) -> None:
        context = _context()
        self.number = number
        self.connection, theirs = context.Pipe()
        told = theirs, task, prepare, number, dict(os.environ)
        self.process = context.Process(target=_serve, args=told, daemon=False)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.job: Any = None
        self.ready = False  # it starts and prepares, which counts for no job
        self.since = math.inf  # when it began the job

    def give(self, job: Any) -> None:
        self.job = job
        if self.ready:
            self.since = time.monotonic()
        with suppress(OSError):  # its end shows in the answer
            self.connection.send(job)

    def answer(self) -> Done | None:
        """The end of its job; `lost` where the process died of it. None where it has become ready.

        Raises ConfigError where it cannot.
        """
        try:
            if not self.ready:
                if mistake := self.connection.recv():
                    raise ConfigError(f"no worker can be set up: {mistake}")
                self.ready, self.since = True, time.monotonic()
                return None
            return Done(self.job, *self.connection.recv())
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode
            how = f"was stopped by signal {-status}, out of memory perhaps" if status < 0 else f"ended with {status}"
            return Done(self.job, failure=f"its process {how}", lost=True)

    def stop(self) -> None:
        """Let it end its open blocks; whoever does not, and what they started, is killed."""
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            family = []
        self.process.terminate()
        self.process.join(_JOIN_S)
        self.process.kill()
        for child in family:
            with suppress(psutil.Error):
                child.kill()
        self.leave()

    def leave(self) -> None:
        self.connection.close()
        self.process.join(_JOIN_S)


def _shared_out(
    task: Callable[[Job], Any],
    jobs: deque[Job],
    n_workers: int,
    prepare: Callable[[int], None] | None,
    limit_s: float | None,
) -> Iterator[Done[Job]]:
    workers: list[_Worker] = []

    def start(number: int) -> None:
        workers.append(_Worker(number, task, prepare))
        workers[-1].give(jobs.popleft())

    def replace(worker: _Worker) -> None:
        workers.remove(worker)
        if jobs:
            start(worker.number)

    try:
        for number in range(min(n_workers, len(jobs))):
            start(number)
        while workers:
            first = math.inf if limit_s is None else limit_s + min(worker.since for worker in workers)
            patience = None if first == math.inf else max(0, first - time.monotonic())
            ready = wait([worker.connection for worker in workers], patience)
            for worker in [worker for worker in workers if worker.connection in ready]:
                done = worker.answer()
                if done is None:
                    continue
                if jobs and not done.lost:
                    worker.give(jobs.popleft())
                else:
                    worker.leave()
                    replace(worker)
                yield done
            if limit_s is None:
                continue
            for worker in [worker for worker in workers if time.monotonic() - worker.since >= limit_s]:
                worker.stop()
                replace(worker)
                yield Done(worker.job, failure=f"took longer than the {limit_s:g} s that a job may take")
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.stop()


def _serve(
    connection: Connection,
    task: Callable[[Any], Any],
    prepare: Callable[[int], None] | None,
    number: int,
    environment: dict[str, str],
) -> None:
    """Do the jobs that come through the connection until it ends."""
    os.environ.clear()  # that of the process which all are forked from may be older
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and decides
    signal.signal(signal.SIGTERM, _leave)
    Thread(target=_end_with_parent, daemon=True).start()
    mistake = None
    try:
        if prepare:
            prepare(number)
    except LatentSyncError as error:
        mistake = str(error)
    with suppress(OSError):
        connection.send(mistake)  # None: it is ready
    if mistake:
        return
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            connection.send(attempt(task, job))
        except OSError:
            return


def _leave(number: int, _: Any) -> NoReturn:
    sys.exit(128 + number)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
