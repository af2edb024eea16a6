"""One server: its queue, files, workers, webhooks and the removal of what is old."""

import json
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from threading import Event, Thread

from anyio.to_thread import run_sync

from ..errors import MediaError
from .apart import check_inputs_apart, prepare
from .errors import Refusal
from .jobs import ENDED, Job, JobStore
from .options import JobOptions, read_options
from .runner import Model, Runner
from .schemas import JobAnswer, answer
from .settings import Settings
from .still import Still, Stills
from .storage import Storage, shown_name
from .upload import FILES, Form, receive, too_large
from .webhook import Webhooks, resolve
from .wording import for_client

SWEEP_EVERY_S = 60.0

logger = logging.getLogger(__name__)


class Service:
    """Takes jobs and has them done between `start` and `stop`.

    Raises ConfigError where its data folder cannot be used, and what `load(device, model)` raises.
    """

    def __init__(self, settings: Settings, load: Callable[[str, str], Model]) -> None:
        self.settings = settings
        self.store = JobStore(settings.data)
        self.storage = Storage(settings.data)
        self.storage.remove_uploads()
        self._preparation = Thread(target=prepare, name="preparation", daemon=True)
        self._preparation.start()  # beside the loading
        try:
            models = {device: {name: load(device, name) for name in settings.models} for device in settings.devices}
        except BaseException:
            self.store.close()
            raise
        self.models = models[settings.devices[0]]  # by name
        self._stills = Stills(next(iter(self.models.values())).pipeline.borrowed_detector)
        self._runner = Runner(self.store, self.storage, models, self._notify)
        self._webhooks = Webhooks(allow_private=settings.allow_private_webhooks)
        self._stopping = Event()
        self._sweeper = Thread(target=self._sweep_often, name="sweeper", daemon=True)

    def start(self) -> None:
        self.storage.remove_orphans(self.store.ids())
        for job in self.store.to_notify():
            self._notify(job.id)
        self._runner.start()
        self._sweeper.start()

    def stop(self) -> None:
        """Put jobs that are worked on back into the queue, and let another server use the data folder."""
        self._stopping.set()
        self._runner.stop()
        for thread in (self._sweeper, self._preparation):
            if thread.is_alive():
                thread.join()
        self._webhooks.close()
        self.store.close()

    def check_room(self, length: int | None = None) -> None:
        """Raise Refusal where an upload of a length, if that is known, would be refused anyway."""
        if length is not None and length > self.settings.max_upload_bytes:
            raise too_large(self.settings.max_upload_bytes)
        if shutil.disk_usage(self.settings.data).free < self.settings.min_free_bytes + (length or 0):
            raise Refusal(503, "the server's disk is nearly full; try again later, or ask its operator to free space")
        if self.store.n_queued() >= self.settings.max_queue:
            raise self._full()

    async def submit(self, content_type: str, pieces: AsyncIterator[bytes]) -> Job:
        """Receive a form and queue its job. Raises Refusal; then nothing of it stays."""
        try:
            id = self.storage.create()
            try:
                place = partial(self.storage.input, id)
                form = await receive(content_type, pieces, place, self.settings.max_upload_bytes)
                return await run_sync(self._accept, id, form)
            except BaseException:
                self.storage.remove(id)
                raise
        except OSError as error:
            logger.error("An upload could not be stored", exc_info=error)
            raise Refusal(503, "the server could not store the files; try again later") from None

    def submit_files(self, video: Path, audio: Path, options: str) -> Job:
        """Queue a job of files on this machine, which stay; `options` is as of a form. Raises Refusal."""
        self.check_room()
        form = Form({"video": video.name, "audio": audio.name}, {"options": options})
        id = self.storage.create()
        try:
            for kind, path in (("video", video), ("audio", audio)):
                shutil.copy(path, self.storage.input(id, kind, path.name))
            return self._accept(id, form)
        except BaseException as error:
            self.storage.remove(id)
            if isinstance(error, OSError):  # a full disk, or an upload that was removed as old
                logger.error("Files could not be stored", exc_info=error)
                raise Refusal(503, "the server could not store the files; choose them again") from None
            raise

    def check_file(self, kind: str, path: Path) -> None:
        """Raise Refusal for a "video" or an "audio" that could not be worked on."""
        files = {"video": None, "audio": None, kind: path}
        try:
            check_inputs_apart(**files, settings=self.settings)
        except Refusal as refusal:
            raise Refusal(refusal.status, for_client(refusal.sentence, {path: path.name})) from None

    def look(self, video: Path) -> Still:
        """The faces of a video, to choose from. Raises Refusal."""
        self.check_file("video", video)
        try:
            return self._stills(video)
        except MediaError as error:
            raise Refusal(422, for_client(str(error), {video: video.name})) from None

    def preview(self, id: str) -> bytes | None:
        """A JPEG of where a job is that is worked on; None where there is none."""
        return self._runner.preview(id)

    def answer(self, job: Job) -> JobAnswer:
        """A job as clients see it."""
        return answer(job, self.settings.base_url)

    def cancel(self, id: str) -> bool:
        """End a job that waits or is worked on; False where there is none such."""
        return self._runner.cancel(id)

    def remove(self, id: str) -> bool:
        """Forget a job that has ended, and its files; False where there is none such."""
        job = self.store.get(id)
        if job is None or job.status not in ENDED or not self.store.remove(id):
            return False
        if not self._runner.is_running(id):  # else its worker removes them
            self.storage.remove(id)
        return True

    def sweep(self) -> None:
        """Remove the jobs, and their files, that ended long enough ago."""
        for job in self.store.expired(time.time() - 3600 * self.settings.keep_hours):
            self.remove(job.id)

    def _accept(self, id: str, form: Form) -> Job:
        """Check what came, and queue it."""
        options = self._choose_model(read_options(form.texts.get("options", "")))
        webhook = form.texts.get("webhook", "").strip() or None
        if webhook:
            resolve(webhook, allow_private=self.settings.allow_private_webhooks)
        paths = {kind: self.storage.input(id, kind, form.names[kind]) for kind in FILES}
        names = {kind: shown_name(form.names[kind], kind) for kind in FILES}
        told = {paths[kind]: names[kind] for kind in FILES}
        try:
            check_inputs_apart(paths["video"], paths["audio"], self.settings)
        except Refusal as refusal:
            raise Refusal(refusal.status, for_client(refusal.sentence, told)) from None
        job = self.store.add(
            id, **names, options=options.model_dump(), webhook=webhook, max_queue=self.settings.max_queue
        )
        if job is None:
            raise self._full()
        self._runner.wake()
        return job

    def _choose_model(self, options: JobOptions) -> JobOptions:
        """The options with the model that they mean."""
        known = self.settings.models
        if options.model not in (None, *known):
            raise Refusal(422, f"options: model: {options.model!r} is not served; expected any of {', '.join(known)}")
        return options.model_copy(update={"model": options.model or known[0]})

    def _full(self) -> Refusal:
        return Refusal(429, f"{self.settings.max_queue} jobs wait already; try again later")

    def _notify(self, id: str) -> None:
        """Call the webhook of a job that has ended."""
        job = self.store.get(id)
        if job is None or job.webhook is None:
            return
        body = self.answer(job).model_dump(mode="json")
        self._webhooks.send(job.webhook, json.dumps(body).encode(), partial(self.store.notified, id))

    def _sweep_often(self) -> None:
        while True:
            try:
                self.sweep()
            except Exception:  # of the disk: later it may go better
                logger.exception("Old jobs could not be removed")
            if self._stopping.wait(SWEEP_EVERY_S):
                return
