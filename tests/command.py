"""The inference command as a user calls it, on little clips of a drawn face whose frames are numbered."""

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.synthetic.background import background
from latentsync.synthetic.canvas import Canvas
from latentsync.synthetic.head import TalkingHead
from latentsync.synthetic.pose import Pose
from latentsync.types import VideoInfo
from scripts import inference

from .media.make import ffmpeg, number, numbered

SIDE = 256  # of the clips' pictures; the face in them is 140 wide
#: Parts of such a picture: what surely changes, and what may.
MOUTH = slice(160, 200), slice(95, 150)
PAINTED = slice(112, 250), slice(42, 203)
#: Mean differences in grey levels of a picture that was only encoded again, and of one with another mouth.
SAME, CHANGED = 3, 20

FAST = ("--inference_steps", "1", "--preset", "ultrafast", "--quiet", "--json")
#: Options of an ffmpeg that loses next to nothing.
CLEAN = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-pix_fmt", "yuv420p")


@cache
def _demo() -> np.ndarray:
    head, canvas = TalkingHead(2), Canvas(SIDE, SIDE)
    wall = background(np.random.default_rng(0), SIDE, SIDE)
    frames = []
    for i in range(32):
        canvas.clear(wall)
        mouth = np.array([0.3 + 0.3 * np.sin(0.9 * i), 0, 0, 0.2, 0, 0, 0])
        head.draw(canvas, mouth, Pose(128 + 2 * np.sin(0.2 * i), 139, 138, yaw=0.1 * np.sin(0.3 * i)))
        frames.append(canvas.picture())
    return np.stack(frames)


def demo_frames(n: int) -> np.ndarray:
    """A talking head (n, 256, 256, 3), at most 32 frames, with their numbers in the upper left corner."""
    frames = _demo()[:n].copy()
    for i, frame in enumerate(frames):
        stamp(frame, i)
    return frames


def stamp(frame: np.ndarray, n: int) -> None:
    frame[:16, :64] = numbered(n)[::2, ::2]


def stamped(frame: np.ndarray) -> int:
    """The number in the corner of a frame of any size."""
    height, width, _ = frame.shape
    return number(frame[: height * 16 // SIDE, : width * 64 // SIDE])


def write_clip(path: Path, frames: np.ndarray, *options: str, rate: Fraction | int = 25) -> Path:
    """Encode frames (n, h, w, 3) through ffmpeg with the options given, or `CLEAN` ones."""
    _, height, width, _ = frames.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "pipe:0"]
    ffmpeg(*raw, *(options or CLEAN), path, stdin=np.ascontiguousarray(frames).tobytes())
    return path


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Grey levels (256, 256) between two pictures, each brought to 256 x 256."""
    a, b = (cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(int) for picture in (a, b))
    return np.abs(a - b).mean(axis=2)


def is_same(a: np.ndarray, b: np.ndarray) -> bool:
    return difference(a, b).mean() < SAME


def only_mouth_changed(a: np.ndarray, b: np.ndarray) -> bool:
    levels = difference(a, b)
    rest = np.ones(levels.shape, bool)
    rest[PAINTED] = False
    return levels[MOUTH].mean() > CHANGED and levels[rest].mean() < SAME


@dataclass
class Result:
    """What a successful command left."""

    report: dict
    info: VideoInfo
    frames: list[np.ndarray]  # as the file has them

    @property
    def numbers(self) -> list[int]:
        return [stamped(frame) for frame in self.frames]

    @property
    def changed(self) -> list[bool]:
        """Whether each frame has another mouth; in frames that do not, nothing may differ from the demo's."""
        demo = demo_frames(max(self.numbers) + 1)
        result = [only_mouth_changed(frame, demo[n]) for frame, n in zip(self.frames, self.numbers, strict=True)]
        same = [is_same(frame, demo[n]) for frame, n in zip(self.frames, self.numbers, strict=True)]
        assert all(a != b for a, b in zip(result, same, strict=True))
        return result


class Command:
    """Runs the command in this process, with tiny networks."""

    def __init__(self, flags: list[str], capsys) -> None:
        self.flags = [*flags, *FAST]
        self.capsys = capsys

    def __call__(self, video: Path | str, sound: Path | str, out: Path | str, *flags: str) -> Result:
        """The result of a command that must succeed."""
        status = inference.cli([*flags, *self.flags, "--", str(video), str(sound), str(out)])
        captured = self.capsys.readouterr()
        assert status == 0, captured.err
        info = probe(out)
        report = json.loads(captured.out)
        frames = list(decode_frames(info, info.rate))
        assert len(frames) == report["frames"] + report["tail_frames"]
        return Result(report, info, frames)

    def failure(self, *arguments: Path | str) -> str:
        """The one line on stderr of a command that must fail with status 2; what it says about a run stays."""
        try:
            status = inference.cli([*self.flags, *map(str, arguments)])
        except SystemExit as stop:  # of the parser
            status = stop.code
        captured = self.capsys.readouterr()
        assert (status, captured.out) == (2, ""), captured
        *before, last = captured.err.splitlines()
        assert last.startswith("error: "), captured.err
        assert not any("error" in line or "Traceback" in line for line in before), captured.err
        return last


def program(arguments: list[str], temp: Path, stderr: Path, limit: int | None) -> None:
    """Be the command: a process of its own calls this. No file grows beyond `limit` bytes."""
    import resource
    import runpy

    import torch

    os.setpgid(0, 0)
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    tempfile.tempdir = str(temp)
    torch.set_num_threads(1)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["scripts.inference", *arguments]
    runpy.run_module("scripts.inference", run_name="__main__", alter_sys=True)
