"""A run's memory does not depend on the length of the video."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from latentsync import REPO_ROOT
from latentsync.media.ffmpeg import VideoWriter

from ..golden_families import golden_rule
from .conftest import write_sound

#: Runs each job in turn, printing the process tree's largest resident size during it, in bytes.
RUN = """
import sys, threading, time
from pathlib import Path
import psutil
from tests.pipelines.conftest import KnownFaces
from tests.pipelines.test_lipsync_pipeline import Copycat
from latentsync.build import build_pipeline
from latentsync.config import UNetConfig, load_config

folder = Path(sys.argv[1])
cfg = load_config(UNetConfig, folder / "config.yaml", ["data.resolution=64"])
built = build_pipeline(cfg, folder / "latentsync_unet.pt", device="cpu")
pipeline = Copycat(built.vae, built.audio_encoder, built.unet, built.scheduler, resolution=64, detector=KnownFaces)

def resident():
    me, total = psutil.Process(), 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            pass
    return total

def run(video, sound):
    peak, running = [0], threading.Event()
    def watch():
        while not running.wait(0.02):
            peak[0] = max(peak[0], resident())
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        pipeline(video, sound, folder / "out.mp4", num_frames=8)
    finally:
        running.set()
        thread.join()
    return peak[0]

jobs = list(zip(sys.argv[2::2], sys.argv[3::2]))
run(*jobs[0])  # what is allocated once
for job in jobs:
    print(run(*job))
"""


WIDTH, HEIGHT = 480, 360


def write_rolling_video(path: Path, n_frames: int) -> Path:
    picture = golden_rule().smooth_image(HEIGHT, WIDTH)
    with VideoWriter(path, WIDTH, HEIGHT, 25, preset="ultrafast") as writer:
        for index in range(n_frames):
            writer.write(np.roll(picture, index, axis=1))
    return path


def test_memory_does_not_grow_with_the_video(checkpoints, tmp_path):
    """450 more frames would be 233 MB if they were kept; a queue that fills by chance holds up to 64 MB."""
    jobs: list[Path] = []
    for n_frames in (150, 600):
        jobs.append(write_rolling_video(tmp_path / f"{n_frames}.mp4", n_frames))
        jobs.append(write_sound(tmp_path / f"{n_frames}.wav", n_frames / 25))
    command = [sys.executable, "-c", RUN, checkpoints, *jobs]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO_ROOT)
    assert done.returncode == 0, done.stderr
    short, long = map(int, done.stdout.split())
    assert long - short < 90e6, f"{short / 1e6:.0f} MB for 150 frames, {long / 1e6:.0f} MB for 600"
