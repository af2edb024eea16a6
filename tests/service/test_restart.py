"""A server process that is killed in the middle of a job, and one that is asked to end."""

import multiprocessing
import signal
import socket
import time
from contextlib import contextmanager

import httpx
import pytest

from .stub import form, serve, sound, wait_for

URL = "/v2/generate"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def running(data, gate):
    """A server's process, and a client of it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["latentsync.service.api", "tests.service.stub"])
    port = free_port()
    process = context.Process(target=serve, args=(str(data), str(gate), port))
    process.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            end = time.monotonic() + 60
            while True:
                try:
                    client.get("/v2/health")
                    break
                except httpx.TransportError:
                    assert process.is_alive() and time.monotonic() < end
                    time.sleep(0.05)
            yield process, client
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_queue_goes_on_after_a_restart(tmp_path, how):
    data, gate = tmp_path / "data", tmp_path / "gate"
    with running(data, gate) as (process, client):
        jobs = [client.post(URL, **form(tmp_path, n, frames=n)).json() for n in (1, 2, 3)]
        wait_for(client, jobs[0]["url"], "processing")
        cancelled = client.delete(jobs[1]["url"]).json()
        assert cancelled["status"] == "cancelled"
        half_made = data / "runs" / jobs[0]["id"] / ".result-half"
        half_made.touch()
        if how == signal.SIGKILL:
            process.kill()
        else:
            process.terminate()
        process.join(20)
        assert process.exitcode is not None
    orphan = data / "runs" / ("0" * 32)
    orphan.mkdir()
    gate.touch()
    with running(data, gate) as (_, client):
        for n in (1, 3):
            job = wait_for(client, jobs[n - 1]["url"], "completed")
            assert client.get(job["output_url"]).content == sound(tmp_path, n)
        assert client.get(jobs[1]["url"]).json()["status"] == "cancelled"
    assert not orphan.exists() and not half_made.exists()
