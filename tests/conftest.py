"""What every test module shares."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scripts import inference
from scripts.make_seeded_checkpoints import make_seeded_checkpoints

from .command import Command, demo_frames, write_clip
from .wav import read_wav, write_wav

#: Real footage that lies beside a checkout on some machines; it is not part of the project.
MEDIA = Path(__file__).resolve().parents[2] / "shared/media"


#: What takes longest, the longest first: processes that share the files out end at the same time if these begin first.
LONG = [
    "train/test_commands.py",
    "preprocess/test_pipeline.py",
    "test_command_footage.py",
    "processing/test_executors.py",
    "service/test_page.py",
    "test_command_errors.py",
    "pipelines/test_memory.py",
    "media/test_ffmpeg.py",
    "face/test_place.py",
    "eval/test_inference_videos.py",
    "train/test_loop.py",
    "synthetic/test_eval_synthetic.py",
    "synthetic/test_make_talking_heads.py",
]


def pytest_configure():
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a job that a shell has put into the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else what tests start would ignore Ctrl-C, too
    # These networks gain nothing by more threads, which wait for each other on a busy machine.
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for what tests start


def pytest_collection_modifyitems(items):
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def footage() -> Callable[[str], Path]:
    """A function from a file's name to its path among the real footage; skips the test where it is absent."""

    def find(name: str) -> Path:
        if not (MEDIA / name).is_file():
            pytest.skip(f"no {name} in {MEDIA}")
        return MEDIA / name

    return find


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def seeded_demo(monkeypatch, cache):
    """A checkout without official weights, whoever runs the tests, in which those of the demo are small random ones."""
    monkeypatch.setattr(inference, "OFFICIAL_UNET", Path("no such file"))
    folder = make_seeded_checkpoints(cache / "seeded_tiny", "tiny")
    monkeypatch.setattr(inference, "DEMO_UNET", folder / "latentsync_unet.pt")


@pytest.fixture(scope="session")
def short_sound(tmp_path_factory) -> str:
    """0.6 s of the demo's speech: 15 frames."""
    samples, rate = read_wav(inference.DEMO_AUDIO)
    return str(write_wav(tmp_path_factory.mktemp("sound") / "short.wav", samples[: int(0.6 * rate)], rate))


@pytest.fixture(scope="session")
def tiny_flags(cache) -> list[str]:
    """Weights, and a configuration of small pictures and windows: half a second for ten frames."""
    folder = make_seeded_checkpoints(cache / "seeded_tiny", "tiny")
    config = cache / "small.yaml"
    config.write_text(f"base: {folder / 'config.yaml'}\ndata: {{resolution: 64, num_frames: 5}}\n")
    return ["--inference_ckpt_path", str(folder / "latentsync_unet.pt"), "--unet_config_path", str(config)]


@pytest.fixture
def command(tiny_flags, capsys) -> Command:
    """The command in this process: command(video, sound, out, *flags), command.failure(*arguments)."""
    return Command(tiny_flags, capsys)


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Ten numbered frames of the demo's face, without sound."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", demo_frames(10))


@pytest.fixture(scope="session")
def speech(tmp_path_factory) -> Path:
    """0.4 s of the demo's speech, 16 kHz mono: 10 frames."""
    samples, rate = read_wav(inference.DEMO_AUDIO)
    return write_wav(tmp_path_factory.mktemp("speech") / "speech.wav", samples[int(0.2 * rate) : int(0.6 * rate)], rate)


def pytest_terminal_summary(terminalreporter):
    properties = [dict(report.user_properties) for report in terminalreporter.getreports("passed")]
    compared = [found["golden arrays"] for found in properties if "golden arrays" in found]
    if compared:
        terminalreporter.write_line(f"{sum(compared)} golden arrays of {len(compared)} files compared")
