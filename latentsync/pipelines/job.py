"""What one run is asked to do, and whether it can be done."""

import tempfile
from pathlib import Path

from latentsync.errors import ConfigError, MediaError
from latentsync.face.track import parse_face
from latentsync.media.ffmpeg import output_args, probe, probe_audio
from latentsync.types import VideoInfo

LOOPS = ("pingpong", "loop", "freeze", "cut")
TAILS = ("cut", "keep")


def check_job(
    video_path: str | Path,
    audio_path: str | Path,
    video_out_path: str | Path,
    *,
    face: str = "largest",
    loop: str = "pingpong",
    tail: str = "cut",
    crf: int = 18,
    preset: str | None = None,
    codec: str = "libx264",
    temp_dir: str | Path | None = None,
) -> VideoInfo:
    """Describe the video of a job, whose arguments are as the pipeline's; quick, so before weights are loaded.

    Raises MediaError or ConfigError for what can be seen to be impossible before any work.
    """
    parse_face(face)
    _require_one_of("loop", loop, LOOPS)
    _require_one_of("tail", tail, TAILS)
    info = probe(video_path)
    probe_audio(audio_path)
    output_args(video_out_path, codec, crf, preset)
    for path in map(Path, (video_path, audio_path)):
        if Path(video_out_path).exists() and path.samefile(video_out_path):
            raise MediaError(f"{video_out_path} is an input too and would be lost; choose another name")
    temporary_folder(temp_dir).cleanup()
    return info


def temporary_folder(parent: str | Path | None = None) -> tempfile.TemporaryDirectory:
    """A new folder in `parent`, which is made where needed; in the system's if None. Raises ConfigError."""
    try:
        if parent is not None:
            Path(parent).mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="latentsync-", dir=parent)
    except OSError as error:
        raise ConfigError(
            f"{parent or 'the temporary folder'} cannot be used for temporary files ({error.strerror}); expected a "
            "folder to write to, so choose another --temp_dir"
        ) from error


def _require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} {value}: expected {', '.join(choices)}")
