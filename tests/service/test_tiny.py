"""A server whose pipeline has real, tiny networks."""

import threading
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from latentsync.build import build_pipeline
from latentsync.media import ffmpeg
from latentsync.media.ffmpeg import decode_frames, probe, running, while_working
from latentsync.media.stream import prefetch
from latentsync.service.interrupt import Interrupted, interruptible
from latentsync.service.runner import Model
from latentsync.service.settings import Settings
from scripts import inference

from ..pipelines.conftest import HEIGHT, WIDTH, KnownFaces, write_sound, write_video
from .stub import serving, wait_for

URL = "/v2/generate"


@pytest.fixture(scope="module")
def model(tiny_flags) -> Model:
    args = inference.parse([*tiny_flags, "--preset", "ultrafast"])
    cfg = inference.choose_weights(args)
    pipeline = build_pipeline(cfg, args.inference_ckpt_path, device="cpu", dtype="fp32", detector=KnownFaces)
    return Model(pipeline, lambda given: inference.call_settings(cfg, Namespace(**{**vars(args), **given})))


@pytest.fixture
def send(tmp_path):
    """Starts jobs on ten frames: send(client, options) is where the job is."""
    video, sound = write_video(tmp_path / "in.mp4", 10), write_sound(tmp_path / "in.wav", 0.4)

    def start(client, options: str) -> str:
        files = {"video": ("my face.mp4", video.read_bytes()), "audio": ("voice.wav", sound.read_bytes())}
        return client.post(URL, files=files, data={"options": options}).json()["url"]

    return start


def test_the_whole_way(tmp_path, send, model):
    """Two runs of a seed are alike, another seed is not; a cancelled job leaves the networks usable."""
    with serving(Settings(tmp_path / "data", devices=("cpu",)), lambda device: model) as client:
        options = '{"inference_steps": 1, "seed": %d}'
        long = send(client, '{"inference_steps": 999}')
        wait_for(client, long, "processing")
        time.sleep(0.5)
        cancelled = time.monotonic()
        assert client.delete(long).json()["status"] == "cancelled"
        urls = [send(client, options % seed) for seed in (1, 1, 2)]
        wait_for(client, urls[0], "processing", "completed")
        assert time.monotonic() - cancelled < 2
        jobs = [wait_for(client, url, "completed", "failed", limit_s=60) for url in urls]
        assert [job["report"]["frames"] for job in jobs] == [10] * 3, jobs
        first, again, other = (client.get(job["output_url"]).content for job in jobs)
    assert first == again != other
    path = tmp_path / "first.mp4"
    path.write_bytes(first)
    info = probe(path)
    assert (info.width, info.height, info.audio is not None) == (WIDTH, HEIGHT, True)
    assert len(list(decode_frames(info, info.rate))) == 10
    assert not any(thread.name.startswith(("worker", "sweeper")) for thread in threading.enumerate())


def test_a_run_ends_between_two_layers(model):
    """And no hook stays."""
    vae, calls = model.pipeline.vae, 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Interrupted

    latents = torch.zeros(1, 4, 8, 8)
    with torch.no_grad():
        with pytest.raises(Interrupted), interruptible(model.pipeline, check):
            vae.decode(latents)
        assert calls == 5
        vae.decode(latents)
    assert calls == 5


@pytest.mark.parametrize("ahead", [False, True])
def test_a_run_ends_while_ffmpeg_works(model, ahead):
    """In the worker's thread or in the one that decodes; decoding, copying and encoding sound take long."""
    started, processes = time.monotonic(), []

    def check() -> None:
        if time.monotonic() - started > 0.5:
            raise Interrupted

    def work():
        with running(["-re", "-f", "lavfi", "-i", "anullsrc", "-t", "60", "-f", "null", "-"]) as (process, log):
            processes.append(process)
            ffmpeg.wait_for(process, log, Path("sound"), "failed")
        yield

    with pytest.raises(Interrupted), interruptible(model.pipeline, check):
        list(prefetch(work(), 1) if ahead else work())
    assert time.monotonic() - started < 2.5 and processes[0].returncode
    while_working.get()()  # nothing of the run stays


def test_a_run_ends_between_two_decoded_frames(model, tmp_path):
    frames = decode_frames(write_video(tmp_path / "in.mp4", 10))

    def check() -> None:
        raise Interrupted

    with pytest.raises(Interrupted), interruptible(model.pipeline, check):
        next(frames)
