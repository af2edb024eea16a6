"""Many jobs in several processes: a job that fails, or takes its process down, leaves the others alone."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any, NoReturn, TypeVar

from .errors import LatentSyncError

_JOIN_S = 10.0  # that a stopped worker has to remove what is half-made

Job = TypeVar("Job")


def run_jobs(
    task: Callable[[Job], Any], jobs: Iterable[Job], *, n_workers: int, prepare: Callable[[], None] | None = None
) -> Iterator[tuple[Job, str | None]]:
    """Do all jobs; each comes back when it is done, in any order, with the reason why it failed or None.

    Task, jobs and `prepare`, which each process calls first, must be picklable. One worker is this very process. When
    the generator is closed, by Ctrl-C for instance, all workers are stopped as by SIGTERM: their open blocks end with
    SystemExit. They stop too when this process is killed.
    """
    if n_workers < 1:
        raise ValueError(f"expected a positive number of workers, got {n_workers}")
    if n_workers > 1:
        yield from _shared_out(task, deque(jobs), n_workers, prepare)
        return
    if prepare:
        prepare()
    for job in jobs:
        yield job, _attempt(task, job)


def reason(error: Exception) -> str:
    """The message of a user's error, else the type with it, as for one of ours."""
    return str(error) if isinstance(error, LatentSyncError) else f"{type(error).__name__}: {error}"


def _attempt(task: Callable[[Job], Any], job: Job) -> str | None:
    try:
        task(job)
    except Exception as error:  # whatever it is: the other jobs go on, and the caller reports it
        return reason(error)
    return None


@dataclass
class _Worker:
    process: Any
    connection: Connection
    job: Any

    def answer(self) -> tuple[bool, str | None]:
        """Whether the process lives, and why its job failed."""
        try:
            return True, self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode
            how = f"was stopped by signal {-status}, out of memory perhaps" if status < 0 else f"ended with {status}"
            return False, f"its process {how}"


def _shared_out(
    task: Callable[[Job], Any], jobs: deque[Job], n_workers: int, prepare: Callable[[], None] | None
) -> Iterator[tuple[Job, str | None]]:
    context = multiprocessing.get_context("spawn")  # forks would share locks and threads of numeric libraries
    workers: list[_Worker] = []

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, task, prepare), daemon=False)
        process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        workers.append(_Worker(process, ours, None))
        give(workers[-1])

    def give(worker: _Worker) -> None:
        worker.job = jobs.popleft()
        with suppress(OSError):  # its end shows in the answer
            worker.connection.send(worker.job)

    try:
        for _ in range(min(n_workers, len(jobs))):
            start()
        while workers:
            ready = wait([worker.connection for worker in workers])
            for worker in [worker for worker in workers if worker.connection in ready]:
                alive, failure = worker.answer()
                job = worker.job
                if alive and jobs:
                    give(worker)
                else:
                    workers.remove(worker)
                    worker.connection.close()
                    worker.process.join(_JOIN_S)
                    if jobs:
                        start()
                yield job, failure
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(_JOIN_S)
            worker.process.kill()
            worker.connection.close()


def _serve(connection: Connection, task: Callable[[Any], Any], prepare: Callable[[], None] | None) -> None:
    """Do the jobs that come through the connection until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and decides
    signal.signal(signal.SIGTERM, _leave)
    Thread(target=_end_with_parent, daemon=True).start()
    if prepare:
        prepare()
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        failure = _attempt(task, job)
        try:
            connection.send(failure)
        except OSError:
            return


def _leave(number: int, _: Any) -> NoReturn:
    sys.exit(128 + number)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
