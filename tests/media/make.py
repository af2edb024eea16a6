"""Little videos and tones whose every frame and sample is known."""

import os
import subprocess
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil

from latentsync.media.ffmpeg import VideoWriter, ffmpeg_path

BITS = 8
CELL = 16  # pixels


def ffmpeg(*args: str | Path, stdin: bytes | None = None) -> None:
    command = [ffmpeg_path(), "-hide_banner", "-loglevel", "error", "-y", *map(str, args)]
    subprocess.run(command, input=stdin, check=True)


def numbered(n: int) -> np.ndarray:
    """A (32, 128, 3) frame that shows `n` as eight black and white cells."""
    bits = np.array([n >> bit & 1 for bit in range(BITS)], np.uint8) * 255
    return np.broadcast_to(bits.repeat(CELL)[None, :, None], (2 * CELL, BITS * CELL, 3)).copy()


def number(frame: np.ndarray) -> int:
    """The number that a frame of any size shows."""
    height, width, _ = frame.shape
    columns = (np.arange(BITS) * 2 + 1) * width // (2 * BITS)
    return sum(int(value > 127) << bit for bit, value in enumerate(frame[height // 2, columns, 0]))


def numbered_video(
    path: Path, n_frames: int, rate: Fraction | int = 25, *, audio: Path | None = None
) -> Path:
    with VideoWriter(path, BITS * CELL, 2 * CELL, rate, audio=audio, preset="ultrafast") as writer:
        for n in range(n_frames):
            writer.write(numbered(n % 2**BITS))
    return path


def flat(color: tuple[int, int, int], width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def encode(path: Path, frame: np.ndarray, *options: str, n_frames: int = 3, rate: int = 25) -> Path:
    """`n_frames` times the same picture, through ffmpeg with the options given."""
    height, width, _ = frame.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate)]
    ffmpeg(*raw, "-i", "pipe:0", *options, path, stdin=frame.tobytes() * n_frames)
    return path


def tone(
    path: Path,
    duration_s: float,
    *,
    rate: int = 16000,
    channels: int = 1,
    peak: float = 0.8,
    late_s: float = 0.0,
) -> Path:
    """A 440 Hz wave file, equal in all channels, silent for the first `late_s` seconds."""
    time_s = np.arange(round(duration_s * rate)) / rate
    samples = peak * np.sin(2 * np.pi * 440 * time_s) * (time_s >= late_s)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat((samples * 32767).astype("<i2"), channels).tobytes())
    return path


def children() -> list[psutil.Process]:
    """What this process has started, but for multiprocessing's own helpers, which stay once they were used."""
    return [child for child in psutil.Process().children(recursive=True) if not _is_helper(child)]


def _is_helper(process: psutil.Process) -> bool:
    """The resource tracker, and the server that workers are forked from: they look like it, but are its children."""
    try:
        command = " ".join(process.cmdline())
        ours = process.ppid() == os.getpid()
    except psutil.NoSuchProcess:  # a zombie too
        return False
    return "resource_tracker" in command or ("forkserver" in command and ours)
