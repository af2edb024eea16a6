"""The workers: one thread for each device, whose pipeline is loaded once and makes one video at a time."""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import Any

import torch

from ..errors import LatentSyncError
from ..pipelines.report import LipsyncReport
from .interrupt import Interrupted, interruptible
from .jobs import Job, JobStore
from .options import pipeline_settings
from .preview import Preview
from .storage import Storage
from .wording import for_client

RECORD_EVERY_S = 0.5
PAUSE_S = 1.0  # after an error of the queue itself

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A pipeline on its device, and how a job's options become its keyword arguments (see `pipeline_settings`)."""

    pipeline: Callable[..., LipsyncReport]  # called as LipsyncPipeline is
    settings: Callable[[dict[str, Any]], Mapping[str, Any]] = pipeline_settings
    inference_steps: int = 20  # where a job does not say, as the next one
    guidance_scale: float = 1.5


class Runner:
    """Works on the queue. `ended` is called, in the worker's thread, with the id of each job that has ended."""

    def __init__(
        self,
        store: JobStore,
        storage: Storage,
        models: Mapping[str, Mapping[str, Model]],  # by device and name
        ended: Callable[[str], None],
    ) -> None:
        self._store, self._storage, self._ended = store, storage, ended
        self._changed = Condition()
        self._cancelled: dict[str, Event] = {}  # of the jobs that are worked on
        self._previews: dict[str, Preview] = {}  # of the same
        self._stopping = False
        self._threads = [
            Thread(target=self._work, args=(device, named), name=f"worker {device}", daemon=True)
            for device, named in models.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There is a new job."""
        with self._changed:
            self._changed.notify()

    def cancel(self, id: str) -> bool:
        """End a job that waits or is worked on; False where there is none such."""
        with self._changed:  # a job is never between the queue and a worker
            done = self._store.cancel(id)
            running = self._cancelled.get(id)
            if running:
                running.set()
        if done and not running:
            self._storage.remove(id)
            self._ended(id)
        return done

    def is_running(self, id: str) -> bool:
        """Whether a worker still uses the files of a job, which may have been cancelled."""
        with self._changed:
            return id in self._cancelled

    def preview(self, id: str) -> bytes | None:
        """A JPEG of where a job is that is worked on; None where there is none."""
        preview = self._previews.get(id)
        return preview.latest() if preview else None

    def stop(self) -> None:
        """Put jobs that are worked on back into the queue, and wait for the workers' end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _work(self, device: str, models: Mapping[str, Model]) -> None:
        while True:
            try:
                job = self._next(device)
                if job is None:
                    return
                try:
                    self._run(job, models)
                finally:
                    with self._changed:
                        cancelled = self._cancelled.pop(job.id)
                        self._previews.pop(job.id, None)
                if cancelled.is_set():
                    self._storage.remove(job.id)
                    self._ended(job.id)
                elif self._store.get(job.id) is None:  # its client removed it at once
                    self._storage.remove(job.id)
            except Exception:  # of the queue or the disk: others may go better
                logger.exception("The worker of %s could not handle a job", device)
                time.sleep(PAUSE_S)

    def _next(self, device: str) -> Job | None:
        """The next job, once there is one; None where the server stops."""
        with self._changed:
            while not self._stopping:
                job = self._store.claim(device)
                if job is not None:
                    self._cancelled[job.id] = Event()
                    return job
                self._changed.wait()
        return None

    def _run(self, job: Job, models: Mapping[str, Model]) -> None:
        """Make the video of a job, and record how that ended."""
        name = job.options.get("model")
        if name not in models:
            self._fail(job.id, f"the model {name!r} is not served any more; send the job again")
            return
        model, preview = models[name], Preview()
        self._previews[job.id] = preview
        storage, cancelled = self._storage, self._cancelled[job.id]
        paths = {
            storage.input(job.id, "video", job.video): job.video,
            storage.input(job.id, "audio", job.audio): job.audio,
        }
        storage.clear(job.id, keep=set(paths))  # what an earlier attempt left
        recorder = _Recorder(self._store, job.id)

        def check(*_: Any) -> None:
            if cancelled.is_set() or self._stopping:
                raise Interrupted

        def progress(done: int, total: int) -> None:
            check()
            recorder(done, total)

        seed = job.options.get("seed", -1)
        seed = secrets.randbits(63) if seed == -1 else seed
        try:
            recorder.stage("preparing")
            with interruptible(model.pipeline, check):
                report = model.pipeline(
                    *paths,
                    storage.result(job.id),
                    **{**model.settings(job.options), "temp_dir": storage.folder(job.id) / "temporary"},
                    generator=torch.Generator().manual_seed(seed),
                    progress=progress,
                    callback=check,
                    on_frame=preview,
                )
            check()
            for path, picture in zip(storage.compared(job.id), preview.compared or (), strict=False):
                path.write_bytes(picture)
        except Exception as error:
            names = {**paths, storage.result(job.id): "the result", storage.folder(job.id): "the run's folder"}
            self._give_up(job, error, names)
            return
        used = {"seed": seed, "model": name, "device": job.device}
        if self._store.finish(job.id, vars(report) | used):
            storage.clear(job.id, keep={storage.result(job.id), *storage.compared(job.id)})
            self._ended(job.id)

    def _give_up(self, job: Job, error: Exception, names: Mapping) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._cancelled[job.id].is_set():
            return
        if isinstance(error, Interrupted):
            self._store.hand_back(job.id)
            return
        if isinstance(error, LatentSyncError):
            reason = for_client(str(error), names)
        else:
            logger.error("Job %s failed", job.id, exc_info=error)
            reason = "an error of the server ended this job; its operator finds the details in the log"
        self._fail(job.id, reason)

    def _fail(self, id: str, reason: str) -> None:
        if self._store.fail(id, reason):
            self._storage.clear(id, keep=set())
            self._ended(id)


class _Recorder:
    """Writes progress to the store, not too often."""

    def __init__(self, store: JobStore, id: str) -> None:
        self._store, self._id, self._last = store, id, 0.0

    def stage(self, name: str) -> None:
        self._store.progress(self._id, 0, 0, name)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - self._last >= RECORD_EVERY_S:
            self._last = now
            self._store.progress(self._id, done, total, "lip sync" if done < total else "writing")
