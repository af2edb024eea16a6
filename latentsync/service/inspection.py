"""Whether an upload is a file that may be worked on: its format, its length, its size."""

from pathlib import Path

import av

from ..errors import MediaError
from ..media.ffmpeg import picture_times, probe, probe_audio, url
from .errors import Refusal
from .settings import Settings

#: Formats, by ffmpeg's names, whose files hold everything themselves. Playlists and scripts name other files, which
#: would then be read for whoever uploaded them.
FORMATS = (
    "mov,matroska,avi,flv,asf,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,mxf,nut,dv,rm,gif,apng,webp,avif,image2,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,wav,w64,mp3,aac,flac,ogg,aiff,au,caf,amr,ac3,eac3,ape,wv,tta"
)
#: The file itself and nothing else: no other file, no network.
_CLOSED = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}


def check_inputs(video: Path | None, audio: Path | None, settings: Settings) -> None:
    """Raise Refusal for files that cannot be worked on or are beyond the limits; either may be left out."""
    try:
        _check_formats(*(path for path in (video, audio) if path))
        if video:
            _check_video(video, settings)
        if audio:
            probe_audio(audio)
            _check_length(audio, sound_length(audio, settings.max_seconds), settings)
    except MediaError as error:
        raise Refusal(422, str(error)) from None


def sound_length(path: Path, enough: float) -> float:
    """Seconds of the first audio stream, as its packets say rather than the header; not read far beyond `enough`.

    Raises MediaError.
    """
    lasted = last = 0  # some formats tell durations, some times
    first = None
    try:
        with av.open(url(path), options=_CLOSED, metadata_errors="replace") as container:
            stream = container.streams.audio[0]
            unit = stream.time_base
            for packet in container.demux(stream):
                lasted += packet.duration or 0
                if packet.pts is not None:
                    first = packet.pts if first is None else first
                    last = packet.pts - first
                if max(lasted, last) * unit > enough:
                    break
    except av.FFmpegError as error:
        raise MediaError(f"{path} is damaged ({error.strerror}); copy it again or convert it to wav") from error
    return float(max(lasted, last) * unit)


def _check_formats(*paths: Path) -> None:
    for path in paths:
        try:
            with av.open(url(path), options=_CLOSED, metadata_errors="replace"):
                pass
        except (av.FFmpegError, OSError):
            raise Refusal(
                422, f"{path} is not a readable video or sound file of a known format; convert it to mp4 or wav"
            ) from None


def _check_video(path: Path, settings: Settings) -> None:
    info = probe(path)
    if info.width * info.height > settings.max_pixels:
        raise Refusal(
            413, f"{path} has {info.width} x {info.height} pixels, expected {settings.max_pixels} at most; shrink it"
        )
    times = picture_times(path)  # a header may say anything
    _check_length(path, float(times[-1]) if len(times) else 0.0, settings)


def _check_length(path: Path, seconds: float, settings: Settings) -> None:
    if seconds > settings.max_seconds:
        raise Refusal(413, f"{path} is longer than the {settings.max_seconds:g} s that are allowed; cut it")
