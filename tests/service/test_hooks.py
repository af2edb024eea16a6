"""Webhooks of a whole server."""

import json
import sqlite3
import time

import pytest
from starlette.testclient import TestClient

from latentsync.service import webhook
from latentsync.service.api import build_app
from latentsync.service.runner import Model
from latentsync.service.settings import Settings

from .receiver import Receiver
from .stub import form, wait_for

URL = "/v2/generate"


def posts(receiver: Receiver, n: int) -> list[dict]:
    end = time.monotonic() + 10
    while len(receiver.got) < n and time.monotonic() < end:
        time.sleep(0.01)
    return [json.loads(body) for _, _, body in receiver.got]


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_the_end_of_a_job_is_posted_as_the_api_shows_it(client, stub, tmp_path, receiver, ending):
    client = client(allow_private_webhooks=True, base_url="https://lips.example.org")
    stub.error = ValueError() if ending == "failed" else None
    if ending == "cancelled":
        stub.gate.clear()
    job = client.post(URL, **form(tmp_path, webhook=receiver.url())).json()
    url = f"{URL}/{job['id']}"
    if ending == "cancelled":
        assert stub.begun.wait(9)
        client.delete(url)
    wait_for(client, url, ending)
    assert posts(receiver, 1) == [client.get(url).json()]


def test_receivers_that_stall_hold_nobody_up(client, tmp_path, receiver, monkeypatch):
    monkeypatch.setattr(webhook, "LIMIT_S", 1)
    receiver.stalls = True
    client = client(allow_private_webhooks=True)
    jobs = [client.post(URL, **form(tmp_path, n, webhook=receiver.url())).json() for n in range(6)]
    for job in jobs:
        wait_for(client, job["url"], "completed", limit_s=2)


def test_calls_that_were_missed_are_made_after_a_restart(stub, tmp_path, receiver):
    settings = Settings(tmp_path / "data", allow_private_webhooks=True)

    def server() -> TestClient:
        return TestClient(build_app(settings, lambda device, name: Model(stub)))

    with server() as client:
        job = client.post(URL, **form(tmp_path, webhook=receiver.url())).json()
        assert posts(receiver, 1)[0]["id"] == job["id"]
    with server():  # which has nothing to tell
        pass
    with sqlite3.connect(settings.data / "jobs.sqlite") as queue:
        assert queue.execute("UPDATE jobs SET notified = 0").rowcount == 1
    with server():
        assert [told["id"] for told in posts(receiver, 2)] == [job["id"]] * 2
