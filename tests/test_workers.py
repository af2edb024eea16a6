"""Jobs in several processes."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from latentsync.errors import CheckpointError, ConfigError
from latentsync.workers import Done, run_jobs

from .media.make import children


def act(job: str, folder: Path) -> str:
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "ours":
        raise ConfigError("the file is at fault")
    if job == "theirs":
        raise ZeroDivisionError("a mistake")
    if job == "long":
        (folder / "long.started").touch()
        try:
            time.sleep(60)
        finally:
            (folder / "long.ended").touch()
    if job == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        (folder / "child").write_text(str(subprocess.Popen(["sleep", "60"]).pid))
        time.sleep(60)
    (folder / job).touch()
    return f"did {job}"


def failures(jobs: Iterator[Done]) -> dict[str, str | None]:
    return {done.job: done.failure for done in jobs}


@pytest.mark.parametrize("n_workers", [1, 2])
def test_failures_come_back_with_their_reasons(tmp_path, n_workers):
    jobs = ["a", "ours", "b", "theirs", "c"]
    done = failures(run_jobs(partial(act, folder=tmp_path), jobs, n_workers=n_workers))
    assert done == dict.fromkeys("abc") | {"ours": "the file is at fault", "theirs": "ZeroDivisionError: a mistake"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_no_worker_remains_when_all_jobs_are_done(tmp_path):
    list(run_jobs(partial(act, folder=tmp_path), ["a", "b"], n_workers=2))
    assert children() == []


def get(name: str) -> str | None:
    return os.environ.get(name)


def test_workers_have_the_environment_of_now(monkeypatch):
    for value in ("one", "two"):
        monkeypatch.setenv("LATENTSYNC_TEST", value)
        (done,) = run_jobs(get, ["LATENTSYNC_TEST"], n_workers=1, apart=True)
        assert done.value == value


def test_a_job_that_kills_its_process_leaves_the_others_alone(tmp_path):
    done = failures(run_jobs(partial(act, folder=tmp_path), ["die", "a", "die", "b"], n_workers=2))
    assert (done["a"], done["b"]) == (None, None)
    assert done["die"] == "its process was stopped by signal 9, out of memory perhaps"


def test_closing_stops_all_workers_and_ends_their_blocks(tmp_path):
    running = run_jobs(partial(act, folder=tmp_path), ["a", "long"], n_workers=2)
    assert next(running) == Done("a", "did a")
    while not (tmp_path / "long.started").exists():
        time.sleep(0.01)
    running.close()
    assert (tmp_path / "long.ended").exists() and not (tmp_path / "long").exists()


def test_no_workers_are_an_error():
    with pytest.raises(ValueError, match="positive number of workers"):
        list(run_jobs(print, [1], n_workers=0))


def remember(number: int, *, folder: Path) -> None:
    (folder / f"worker {number}").touch()


def test_each_worker_is_told_its_number(tmp_path):
    list(run_jobs(str, range(4), n_workers=2, prepare=partial(remember, folder=tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker 0", "worker 1"]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_values_come_back(n_workers):
    assert {done.job: done.value for done in run_jobs(str, range(5), n_workers=n_workers)} == {
        i: str(i) for i in range(5)
    }


def test_a_job_over_its_time_is_stopped_with_all_it_has_started(tmp_path, monkeypatch):
    monkeypatch.setattr("latentsync.workers._JOIN_S", 0.5)
    done = {d.job: d for d in run_jobs(partial(act, folder=tmp_path), ["hang", "a", "b"], n_workers=1, limit_s=8)}
    assert done["hang"].failure == "took longer than the 8 s that a job may take"
    assert (done["a"].value, done["b"].value) == ("did a", "did b")
    child = int((tmp_path / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def start_slowly(_: int) -> None:
    time.sleep(2.5)


def test_the_start_of_a_process_does_not_count_against_its_job():
    (done,) = run_jobs(str, [1], n_workers=1, prepare=start_slowly, limit_s=2)
    assert (done.value, done.failure) == ("1", None)


def fail_to_load(_: int) -> None:
    raise CheckpointError("unet.pt: is empty")


def test_workers_that_cannot_be_set_up_are_an_error_and_no_failure_of_jobs():
    with pytest.raises(ConfigError, match=r"no worker can be set up: unet\.pt: is empty"):
        list(run_jobs(str, range(4), n_workers=2, prepare=fail_to_load))
