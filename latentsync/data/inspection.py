"""Whether a clip can be trained on, found out once, by decoding all of it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import MediaError
from ..media.ffmpeg import decode_audio, picture_times, probe
from .frames import count_frames
from .mel import COLUMNS_PER_SECOND, frames_covered, mel_spectrogram, mel_start, mel_width
from .windows import Needs

FPS = 25

#: Of inspections: a higher number makes all cached ones void.
FORMAT = 1


@dataclass(frozen=True)
class Inspection:
    """What there is to know about a clip's content; JSON holds it."""

    n_frames: int = 0
    n_columns: int = 0  # of its mel
    problem: str = ""  # why it cannot be used at all

    def shortfall(self, needs: Needs) -> str:
        """Why a data set with these needs cannot use the clip; empty where it can."""
        if self.problem:
            return self.problem
        if self.n_frames < needs.frames:
            return f"{self.n_frames} frames, fewer than the {needs.frames} that are needed"
        if frames_covered(self.n_columns, needs.num_frames) < needs.starts - 1:
            needed = mel_start(needs.starts - 1) + mel_width(needs.num_frames)
            has_s, needed_s = self.n_columns / COLUMNS_PER_SECOND, needed / COLUMNS_PER_SECOND
            return f"{has_s:.2f} s of sound, less than the {needed_s:.2f} s that are needed"
        return ""


def read_sound(path: Path) -> np.ndarray:
    """(n,) int16 mono at 16 kHz, decoded as for inference. Raises MediaError."""
    with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
        return np.array(decode_audio(path, Path(folder)))


def inspect(path: Path) -> tuple[Inspection, np.ndarray | None]:
    """What a clip is like, and its mel (80, T) float32 where it can be used. Problems are told, not raised."""
    try:
        if problem := _picture_problem(path):
            return Inspection(problem=problem), None
        n_frames = count_frames(path)
        samples = read_sound(path)
    except MediaError as error:
        return Inspection(problem=str(error).removeprefix(f"{path} ")), None
    if not samples.any():
        return Inspection(problem="nothing but silence"), None
    mel = mel_spectrogram(samples)
    return Inspection(n_frames, mel.shape[1]), mel


def _picture_problem(path: Path) -> str:
    """What a look at the file, without decoding it, has against it. Raises MediaError."""
    info = probe(path)
    if info.audio is None:
        return "no sound"
    if info.rate != FPS:
        return f"{round(float(info.rate), 3):g} fps; run the resample stage"
    if info.width != info.height:
        return f"{info.width} x {info.height} pixels, not square; run the alignment stage"
    times_s = picture_times(path)
    # Frames are read by their place, sound by its time: the two must agree to half a frame.
    if np.abs(times_s - np.arange(len(times_s)) / FPS).max(initial=0) > 0.5 / FPS:
        return "pictures not at multiples of 0.04 s from the start; run the resample stage"
    return ""
