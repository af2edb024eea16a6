"""Pictures and sound of a piece, and the writing of clips: one lossy encoding, sound without loss and without lag."""

import os
import shutil
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from latentsync.errors import MediaError
from latentsync.files import atomic_path
from latentsync.media.ffmpeg import VideoWriter, decode_audio, join, probe_audio
from latentsync.synthetic.soundtrack import write_wav

FPS = 25
SAMPLE_RATE = 16000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
WORKPLACE = ".making-"  # how the folders of unfinished files begin

#: FLAC has no encoder delay that a reader may overlook (AAC's is 64 ms at 16 kHz), and loses nothing.
SOUND_CODEC = ["-c:a", "flac", "-strict", "experimental"]


def sound_of(path: Path, first: int, n_frames: int) -> np.ndarray:
    """The sound of frames `first` ... of a file, (n_frames * 640,) int16 at 16 kHz.

    What the file does not have is silence, also before its start. Raises MediaError where it has no sound at all.
    """
    start, n_samples = first * SAMPLES_PER_FRAME, n_frames * SAMPLES_PER_FRAME
    from_s = max(0, start) // SAMPLE_RATE
    skipped = start - from_s * SAMPLE_RATE  # negative where the piece begins before the file
    probe_audio(path)
    with TemporaryDirectory(prefix="latentsync-") as folder:
        try:
            found = np.array(decode_audio(path, Path(folder), from_s=from_s, n_samples=max(1, skipped + n_samples)))
        except MediaError:  # the sound ends before
            found = np.zeros(0, np.int16)
    part = np.concatenate([np.zeros(max(0, -skipped), np.int16), found[max(0, skipped) :]])[:n_samples]
    return np.pad(part, (0, n_samples - len(part)))


def target(folder: Path, key: str) -> Path:
    """Where a stage puts the clip of a key; its folder is made."""
    path = folder / f"{key}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_clip(
    path: Path, frames: Iterable[np.ndarray], sound: Callable[[int], np.ndarray], *, crf: int, preset: str
) -> int:
    """Write frames (h, w, 3) uint8 RGB as a clip, and the sound that `sound` has for so many; returns their number.

    The clip appears when it is complete. Raises ValueError for no frame, MediaError.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path}: expected at least one frame")
    height, width, _ = first.shape
    with TemporaryDirectory(prefix=WORKPLACE, dir=path.parent) as folder:
        picture = Path(folder, "picture.mp4")
        with VideoWriter(picture, width, height, FPS, crf=crf, preset=preset) as writer:
            for frame in chain([first], frames):
                writer.write(frame)
        add_sound(picture, sound(writer.n_frames), path)
    return writer.n_frames


def add_sound(picture: Path, sound: np.ndarray, path: Path) -> None:
    """Write the picture of one file, as it is, with this sound, (n,) int16 at 16 kHz, under another name."""
    with atomic_path(path) as temporary, TemporaryDirectory(prefix="latentsync-") as folder:
        wav = Path(folder, "sound.wav")
        write_wav(wav, sound / 32767, SAMPLE_RATE)
        join(picture, wav, temporary, SOUND_CODEC, len(sound) / SAMPLE_RATE, name=path)


def link(path: Path, target: Path) -> None:
    """Give a file a second name without a copy, where the disk can do that."""
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
