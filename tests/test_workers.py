"""Jobs in several processes."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from latentsync.errors import ConfigError
from latentsync.workers import run_jobs


def act(job: str, folder: Path) -> None:
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
    (folder / job).touch()


@pytest.mark.parametrize("n_workers", [1, 2])
def test_failures_come_back_with_their_reasons(tmp_path, n_workers):
    jobs = ["a", "ours", "b", "theirs", "c"]
    done = dict(run_jobs(partial(act, folder=tmp_path), jobs, n_workers=n_workers))
    assert done == dict.fromkeys("abc") | {"ours": "the file is at fault", "theirs": "ZeroDivisionError: a mistake"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_no_worker_remains_when_all_jobs_are_done(tmp_path):
    list(run_jobs(partial(act, folder=tmp_path), ["a", "b"], n_workers=2))
    children = psutil.Process().children()
    assert not [
        child for child in children if child.status() == psutil.STATUS_ZOMBIE or "spawn_main" in str(child.cmdline())
    ]


def test_a_job_that_kills_its_process_leaves_the_others_alone(tmp_path):
    done = dict(run_jobs(partial(act, folder=tmp_path), ["die", "a", "die", "b"], n_workers=2))
    assert (done["a"], done["b"]) == (None, None)
    assert done["die"] == "its process was stopped by signal 9, out of memory perhaps"


def test_closing_stops_all_workers_and_ends_their_blocks(tmp_path):
    running = run_jobs(partial(act, folder=tmp_path), ["a", "long"], n_workers=2)
    assert next(running) == ("a", None)
    while not (tmp_path / "long.started").exists():
        time.sleep(0.01)
    running.close()
    assert (tmp_path / "long.ended").exists() and not (tmp_path / "long").exists()


def test_no_workers_are_an_error():
    with pytest.raises(ValueError, match="positive number of workers"):
        list(run_jobs(print, [1], n_workers=0))
