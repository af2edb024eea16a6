"""A run's memory, ffmpeg's included, does not depend on the length of the video and has a bound."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from latentsync import REPO_ROOT
from latentsync.media.ffmpeg import VideoWriter
from latentsync.memory import MemoryWatch

from ..golden_families import golden_rule
from .conftest import write_sound

#: Runs each job, arguments of the pipeline and `first_face` (a frame number), and prints bytes: idle and peak.
RUN = """
import json, sys
from pathlib import Path
from tests.pipelines.conftest import KnownFaces
from tests.pipelines.test_lipsync_pipeline import Copycat
from latentsync.build import build_pipeline
from latentsync.config import UNetConfig, load_config
from latentsync.memory import MemoryWatch, share_one_heap

share_one_heap()
folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
cfg = load_config(UNetConfig, folder / "config.yaml", ["data.resolution=64"])
built = build_pipeline(cfg, folder / "latentsync_unet.pt", device="cpu")
for job in jobs:
    first_face = job.pop("first_face", 0)
    pipeline = Copycat(
        built.vae, built.audio_encoder, built.unet, built.scheduler, resolution=64,
        detector=lambda: KnownFaces(lambda index: (80.0, 60.0) if index >= first_face else None),
    )
    with MemoryWatch() as memory:
        pipeline(video_out_path=folder / "out.mp4", **job)
    print(memory.idle, memory.peak)
"""

WIDTH, HEIGHT = 480, 360
SHORT, LONG = 100, 400  # frames; those between would be 156 MB if they were kept, three times what is allowed
FLAT = 1.05


def write_rolling_video(path: Path, n_frames: int, width: int = WIDTH, height: int = HEIGHT) -> Path:
    picture = golden_rule().smooth_image(height, width)
    with VideoWriter(path, width, height, 25, preset="ultrafast") as writer:
        for index in range(n_frames):
            writer.write(np.roll(picture, 4 * index, axis=1))
    return path


def run(checkpoints: Path, jobs: list[dict]) -> list[tuple[int, int]]:
    """Bytes before and at the peak of each job, in a process of its own."""
    command = [sys.executable, "-c", RUN, checkpoints, json.dumps(jobs, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO_ROOT)
    assert done.returncode == 0, done.stderr
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def peaks(checkpoints, tmp_path_factory) -> dict[str, int]:
    """Bytes of the process tree at the peak of each run."""
    folder = tmp_path_factory.mktemp("memory")
    videos = {n: write_rolling_video(folder / f"{n}.mp4", n) for n in (SHORT, LONG)}
    sounds = {n: write_sound(folder / f"{n}.wav", n / 25) for n in (SHORT, LONG)}

    def job(n_video: int, n_sound: int, **more) -> dict:
        return {"video_path": videos[n_video], "audio_path": sounds[n_sound], "preset": "ultrafast", **more}

    jobs = {
        "first": job(SHORT, SHORT),  # allocates what stays
        "short": job(SHORT, SHORT),
        "long": job(LONG, LONG),
        "faceless": job(LONG, LONG, first_face=LONG - 10),
        "pingpong": job(SHORT, LONG, loop="pingpong"),
        "loop": job(SHORT, LONG, loop="loop"),
    }
    return {name: peak for name, (_, peak) in zip(jobs, run(checkpoints, list(jobs.values())), strict=True)}


@pytest.mark.parametrize("name", ["long", "faceless", "pingpong", "loop"])
def test_memory_does_not_grow_with_the_video(peaks, name):
    assert peaks[name] < FLAT * peaks["short"], {name: round(peak / 1e6) for name, peak in peaks.items()}


def test_memory_above_the_idle_process_is_bounded(checkpoints, tmp_path):
    """Full HD at the encoder's own preset, one window per call: 570 MB."""
    job = {"video_path": write_rolling_video(tmp_path / "hd.mp4", 60, 1920, 1080)}
    job["audio_path"] = write_sound(tmp_path / "hd.wav", 60 / 25)
    [(idle, peak)] = run(checkpoints, [job])
    assert peak - idle < 600 << 20, f"{(peak - idle) / 1e6:.0f} MB above {idle / 1e6:.0f} MB"


def test_the_watch_counts_children_and_what_is_gone_again():
    with MemoryWatch() as own:
        held = np.ones(100 << 20, np.uint8)
        time.sleep(0.3)
        del held
    assert 100e6 < own.above_idle < 200e6
    with MemoryWatch() as childs:
        code = "import time; held = b'1' * (100 << 20); time.sleep(0.5)"
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 100e6 < childs.above_idle < 200e6


def test_a_child_that_starts_its_program_between_two_looks_is_not_counted_as_us():
    """Once a child was sized as a copy of this process, 0.8 GB, and named a moment later as ffmpeg."""

    class Starting:
        looks = 0

        def _look(self, before, after):
            self.looks += 1
            return before if self.looks == 1 else after

        def cmdline(self):
            return self._look(watch._command, ["ffmpeg"])

        def memory_info(self):
            return SimpleNamespace(rss=self._look(1 << 40, 1 << 20))

        def memory_full_info(self):
            return SimpleNamespace(pss=self._look(1 << 40, 1 << 20))

    watch = MemoryWatch()
    own = watch._me.memory_info()
    watch._me = SimpleNamespace(memory_info=lambda: own, children=lambda recursive: [Starting()])
    assert watch._resident() <= own.rss + (1 << 20)
