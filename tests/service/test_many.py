"""Many clients and many jobs."""

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import psutil

from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.service.runner import Model
from latentsync.service.settings import Settings

from ..media.make import number
from .stub import StubPipeline, form, serving, wait_for

URL = "/v2/generate"
CLIENTS = 20


def test_twenty_clients_at_once_get_what_they_sent(tmp_path):
    settings = Settings(tmp_path / "data", devices=("cpu:0", "cpu:1"))
    together = Barrier(CLIENTS)

    with serving(settings, lambda device, name: Model(StubPipeline(writes=True))) as client:

        def use(n: int) -> tuple[int, dict, bytes]:
            """Send picture n and a sound of n frames with seed n."""
            request = form(tmp_path, n, frames=n, options=f'{{"seed": {n}}}')
            together.wait()
            answer = client.post(URL, **request)
            assert answer.status_code == 201, answer.text
            job = wait_for(client, answer.json()["url"], "completed", "failed", limit_s=60)
            return n, job, client.get(job["output_url"]).content

        with ThreadPoolExecutor(CLIENTS) as pool:
            results = list(pool.map(use, range(1, CLIENTS + 1)))

    assert len({job["id"] for _, job, _ in results}) == CLIENTS
    for n, job, video in results:
        assert (job["report"]["seed"], job["report"]["frames"], job["options"]["seed"]) == (n, n, n)
        path = tmp_path / f"{n}.mp4"
        path.write_bytes(video)
        info = probe(path)
        assert [number(np.asarray(frame)) for frame in decode_frames(info, info.rate)] == [n] * n


def test_memory_and_files_stay_flat_over_many_jobs(client, tmp_path):
    client = client()
    process = psutil.Process()
    request = form(tmp_path)

    def do(n: int) -> None:
        for _ in range(n):
            url = client.post(URL, **request).json()["url"]
            wait_for(client, url, "completed")
            assert client.delete(url).status_code == 204

    do(5)
    gc.collect()
    tracemalloc.start()
    files = process.num_fds()
    before = tracemalloc.get_traced_memory()[0]
    do(20)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 150_000
    assert process.num_fds() <= files + 2
    assert list((tmp_path / "data/runs").iterdir()) == []
