"""A pipeline without networks, whose result shows which job it was made for, and servers that have it."""

import wave
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import cv2
import httpx
import numpy as np
import uvicorn

from latentsync.face.detect import MediaPipeDetector
from latentsync.media.ffmpeg import VideoWriter
from latentsync.pipelines.report import LipsyncReport
from latentsync.service import service
from latentsync.service.api import build_app
from latentsync.service.inspection import check_inputs
from latentsync.service.runner import Model
from latentsync.service.settings import Settings

from ..media.make import number, numbered
from ..wav import write_wav

RATE = 16000


class StubPipeline:
    """Reads the number in the picture that it is given, and writes a video of it as many frames long as the sound.

    Where `writes` is False it copies the sound instead, which is quick. It waits while its gate is closed.
    """

    def __init__(self, *, writes: bool = False) -> None:
        self.gate, self.begun, self.writes = Event(), Event(), writes
        self.gate.set()
        self.error: Exception | None = None  # that a call raises
        self.calls: list[dict] = []

    def __call__(
        self, video, audio, out, *, progress, callback, on_frame, temp_dir, generator, **settings
    ) -> LipsyncReport:
        self.calls.append(settings)
        total = n_frames(audio)
        progress(0, total)
        self.begun.set()
        if self.error is not None:
            raise self.error
        self.wait(lambda: progress(0, total))
        if self.writes:
            picture = cv2.imread(str(video))
            frame = numbered(number(picture))
            with VideoWriter(out, 128, 32, 25, preset="ultrafast") as writer:
                for i in range(total):
                    writer.write(frame)
                    on_frame(np.zeros_like(frame), frame)
                    progress(i + 1, total)
        else:
            out.write_bytes(Path(audio).read_bytes())
            progress(total, total)
        return LipsyncReport(frames=total)

    def wait(self, check) -> None:
        while not self.gate.wait(0.02):
            check()

    @contextmanager
    def borrowed_detector(self):
        detector = MediaPipeDetector()
        try:
            yield detector
        finally:
            detector.close()


class FileStub(StubPipeline):
    """Its gate is a file, which another process may make."""

    def __init__(self, gate: Path) -> None:
        super().__init__()
        self.path = gate

    def wait(self, check) -> None:
        while not self.path.exists():
            check()
            sleep(0.02)


def n_frames(sound: Path) -> int:
    with wave.open(str(sound), "rb") as file:
        return file.getnframes() * 25 // RATE


def picture(n: int) -> bytes:
    """A PNG that shows a number."""
    return cv2.imencode(".png", numbered(n))[1].tobytes()


def sound(folder: Path, frames: int) -> bytes:
    """A WAV file as long as so many frames."""
    path = folder / f"{frames}.wav"
    return write_wav(path, np.zeros(frames * RATE // 25, np.int16)).read_bytes()


def form(folder: Path, n: int = 1, frames: int = 3, **texts: str) -> dict:
    """Keyword arguments of httpx's `post`."""
    files = {"video": (f"face {n}.png", picture(n)), "audio": (f"speech {n}.wav", sound(folder, frames))}
    return {"files": files, "data": texts}


def wait_for(client, url: str, *statuses: str, limit_s: float = 20) -> dict:
    """The job, once it has one of some statuses."""
    end = monotonic() + limit_s
    while monotonic() < end:
        job = client.get(url).json()
        if job["status"] in statuses:
            return job
        sleep(0.02)
    raise AssertionError(f"expected {statuses} within {limit_s} s, got {job}")


@contextmanager
def serving(settings: Settings, load, mount=lambda app, service: None):
    """A client of a real server on a free port; the server's app is `client.app`, on which `mount` may put a page."""
    app = build_app(settings, load)
    mount(app, app.state.service)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
        client.app = app
        try:
            yield client
        finally:
            server.should_exit = True
            thread.join()


def serve(data: str, gate: str, port: int) -> None:
    """Be a server process; it looks at uploads itself, which is quicker."""
    service.check_inputs_apart, service.prepare = check_inputs, lambda: None
    app = build_app(Settings(Path(data)), lambda device, name: Model(FileStub(Path(gate))))
    uvicorn.run(app, port=port, log_level="warning")
