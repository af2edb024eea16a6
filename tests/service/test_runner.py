import logging
import time
from threading import Event

import cv2
import numpy as np
import pytest

from latentsync.errors import NoFaceError
from latentsync.pipelines.report import LipsyncReport
from latentsync.service.jobs import JobStore
from latentsync.service.runner import Model, Runner
from latentsync.service.storage import Storage


class Bench:
    """A runner with its queue, and whatever pipeline a test wants."""

    def __init__(self, folder) -> None:
        self.store, self.storage, self.ended = JobStore(folder), Storage(folder), []
        self.runner = None

    def start(self, *pipelines, **model) -> None:
        models = {f"d{i}": {"demo": Model(pipeline, **model)} for i, pipeline in enumerate(pipelines)}
        self.runner = Runner(self.store, self.storage, models, self.ended.append)
        self.runner.start()

    def add(self, **options) -> str:
        id = self.storage.create()
        for kind in ("video", "audio"):
            self.storage.input(id, kind, "").write_text(kind)
        options = {"model": "demo", **options}
        self.store.add(id, video="my face", audio="my voice", options=options, webhook=None, max_queue=99)
        if self.runner:
            self.runner.wake()
        return id

    def until(self, id: str, status: str, limit_s: float = 10):
        end = time.monotonic() + limit_s
        while self.store.get(id).status != status:
            assert time.monotonic() < end, self.store.get(id)
            time.sleep(0.005)
        return self.store.get(id)

    def files(self, id: str) -> set[str]:
        folder = self.storage.folder(id)
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def gone(self, id: str, limit_s: float = 10) -> bool:
        end = time.monotonic() + limit_s
        while self.storage.folder(id).exists() and time.monotonic() < end:
            time.sleep(0.005)
        return not self.storage.folder(id).exists()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    if bench.runner:
        bench.runner.stop()
    bench.store.close()


def quick(video, audio, out, **settings) -> LipsyncReport:
    out.write_text("result")
    return LipsyncReport(frames=3, faceless=[(1, 2)])


def endless(video, audio, out, *, progress, temp_dir, **settings) -> LipsyncReport:
    temp_dir.mkdir()
    while True:
        progress(1, 9)
        time.sleep(0.01)


def test_a_job_is_done_and_its_inputs_are_gone(bench):
    id = bench.add(seed=7)
    bench.start(quick)
    assert bench.until(id, "completed").report == {
        "frames": 3,
        "faceless": [[1, 2]],
        "tail": 0,
        "seconds": {},
        "seed": 7,
        "model": "demo",
        "device": "d0",
    }
    bench.runner.stop()
    assert bench.files(id) == {"result.mp4"} and bench.ended == [id]


def test_settings_and_seed_reach_the_pipeline(bench):
    calls = []

    def pipeline(video, audio, out, *, generator, temp_dir, progress, callback, on_frame, **settings):
        calls.append((generator.initial_seed(), settings))
        return LipsyncReport()

    bench.start(pipeline, settings=lambda options: {"face": options["face"], "temp_dir": None})
    ids = [bench.add(face=face, seed=seed) for face, seed in (("1", 5), ("2", -1), ("3", -1), ("4", 2**64 - 1))]
    seeds = [bench.until(id, "completed").report["seed"] for id in ids]
    assert calls == [(seed, {"face": face}) for seed, face in zip(seeds, "1234", strict=True)]
    assert seeds[0] == 5 and seeds[3] == 2**64 - 1 and seeds[1] != seeds[2]


def test_a_job_for_a_model_that_is_gone_fails(bench):
    id = bench.add(model="official")
    bench.start(quick)
    assert bench.until(id, "failed").reason == "the model 'official' is not served any more; send the job again"


def test_a_job_is_seen_while_it_is_worked_on_and_compared_afterwards(bench):
    black, white = np.zeros((8, 16, 3), np.uint8), np.full((8, 16, 3), 255, np.uint8)
    go = Event()

    def pipeline(video, audio, out, *, on_frame, **settings):
        on_frame(black, white)
        go.wait(10)
        return quick(video, audio, out)

    bench.start(pipeline)
    id = bench.add()
    assert bench.runner.preview(id) is None
    end = time.monotonic() + 10
    while (seen := bench.runner.preview(id)) is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    go.set()
    bench.until(id, "completed")
    bench.runner.stop()
    assert bench.runner.preview(id) is None
    assert bench.files(id) == {"result.mp4", "before.jpg", "after.jpg"}
    before, after = (cv2.imread(str(path)) for path in bench.storage.compared(id))
    assert before.max() == 0 and after.min() == 255
    assert (cv2.imdecode(np.frombuffer(seen, np.uint8), cv2.IMREAD_COLOR) == after).all()


def test_a_users_error_is_the_reason_in_the_users_words(bench):
    def pipeline(video, audio, out, **settings):
        raise NoFaceError(f"{video}: no face found; {out} was not written")

    bench.start(pipeline)
    id = bench.add()
    assert bench.until(id, "failed").reason == "my face: no face found; the result was not written"
    bench.runner.stop()
    assert bench.files(id) == set() and bench.ended == [id]


def test_other_errors_are_logged_and_the_worker_goes_on(bench, caplog):
    def pipeline(video, audio, out, **settings):
        if settings["crf"]:
            return quick(video, audio, out)
        raise KeyError(f"secret of {video}")

    bench.start(pipeline)
    bad, good = bench.add(crf=0), bench.add(crf=1)
    with caplog.at_level(logging.ERROR):
        bench.until(good, "completed")
    reason = bench.until(bad, "failed").reason
    assert reason == "an error of the server ended this job; its operator finds the details in the log"
    assert "secret of" in caplog.text and "Traceback" in caplog.text


def test_an_error_of_the_queue_does_not_end_the_worker(bench, monkeypatch, caplog):
    monkeypatch.setattr("latentsync.service.runner.PAUSE_S", 0.01)
    claim, failures = bench.store.claim, [OSError("disk"), OSError("disk")]

    def claim_at_last(device):
        if failures:
            raise failures.pop()
        return claim(device)

    monkeypatch.setattr(bench.store, "claim", claim_at_last)
    bench.start(quick)
    bench.until(bench.add(), "completed")


def test_cancelling_ends_a_job_at_once(bench):
    bench.start(endless)
    id, waiting = bench.add(), bench.add()
    bench.until(id, "processing")
    assert bench.runner.cancel(waiting) and not bench.files(waiting)
    started = time.monotonic()
    assert bench.runner.cancel(id) and not bench.runner.cancel(id)
    assert bench.gone(id) and time.monotonic() - started < 2
    assert bench.store.get(id).status == "cancelled"
    bench.runner.stop()
    assert bench.ended == [waiting, id] and not bench.runner.is_running(id)


def test_cancelling_works_between_steps_too(bench):
    def pipeline(video, audio, out, *, callback, **settings):
        while True:
            callback(0, 981, None)
            time.sleep(0.01)

    bench.start(pipeline)
    id = bench.add()
    bench.until(id, "processing")
    assert bench.runner.cancel(id) and bench.gone(id, 2)


def test_a_result_that_came_too_late_is_dropped(bench):
    begun, gate = Event(), Event()

    def pipeline(video, audio, out, **settings):
        begun.set()
        gate.wait(10)
        return quick(video, audio, out)

    bench.start(pipeline)
    id = bench.add()
    assert begun.wait(10) and bench.runner.cancel(id)
    gate.set()
    assert bench.gone(id) and bench.store.get(id).status == "cancelled"


def test_stopping_puts_the_job_back(bench):
    first, second = bench.add(), bench.add()
    bench.start(endless)
    bench.until(first, "processing")
    bench.runner.stop()
    assert [(job.status, job.position, job.attempts) for job in map(bench.store.get, (first, second))] == [
        ("queued", 1, 0),
        ("queued", 2, 0),
    ]
    assert {"video", "audio"} <= bench.files(first) and bench.ended == []
    bench.start(quick)
    bench.until(second, "completed")
    assert bench.store.get(first).status == "completed"
    bench.runner.stop()
    assert bench.files(first) == {"result.mp4"}  # the first attempt's temporary folder is gone too


def test_devices_work_side_by_side_in_order(bench):
    both = [Event(), Event()]

    def on(i):
        def pipeline(video, audio, out, **settings):
            both[i].set()
            assert both[1 - i].wait(10)
            return quick(video, audio, out)

        return pipeline

    ids = [bench.add(), bench.add()]
    bench.start(on(0), on(1))
    jobs = [bench.until(id, "completed") for id in ids]
    assert {job.device for job in jobs} == {"d0", "d1"}


def test_progress_is_recorded_twice_a_second_at_most(bench, monkeypatch):
    records = []
    monkeypatch.setattr(bench.store, "progress", lambda id, *values: records.append(values))

    def pipeline(video, audio, out, *, progress, **settings):
        for i in range(300):
            progress(i + 1, 300)
            time.sleep(0.002)
        return quick(video, audio, out)

    bench.start(pipeline)
    started = time.monotonic()
    bench.until(bench.add(), "completed")
    assert len(records) <= 4 + 2 * (time.monotonic() - started)
    assert (records[0], records[-1]) == ((0, 0, "preparing"), (300, 300, "writing"))
