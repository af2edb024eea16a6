"""Video and sound files: probed with PyAV, decoded and encoded by one ffmpeg process each.

Time zero is the start of the file: pictures and sound keep the distance that the container gives them.

All options here exist in ffmpeg 4.4 to 9. Versions differ in `-fps_mode` (from 5.1; `-vsync` before), which frames
with exact times do not need, and in whether encoders take over the tags of frames (from 5), which are therefore given
as options too.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from fractions import Fraction
from functools import cache
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from types import TracebackType
from typing import BinaryIO

import av
import imageio_ffmpeg
import numpy as np

from ..errors import MediaError
from ..files import atomic_path
from ..types import AudioInfo, VideoInfo
from .codecs import bounded_args, encoder_args
from .subsample import SCALER, Subsampler

logger = logging.getLogger(__name__)

_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc", 10: "bt2020c"}
_RANGES = {1: "tv", 2: "pc"}
_PRIMARIES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020", 11: "smpte431", 12: "smpte432"}
_HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}

#: What HDR is brought to SDR by (BT.2408): reference white becomes 1, highlights up to the peak are compressed.
_HDR_WHITE, _HDR_PEAK = 203, 1000  # cd/m²

_NOT_A_PICTURE_STREAM = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails

#: Above this, a second thread decodes: each holds frames, and one alone decodes 109 frames/s of 1080x1920 HEVC.
_ONE_THREAD_PIXELS = 1920 * 1080

#: Containers in which ffmpeg finds the key frame before a time; in others it may land behind it.
_INDEXED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})

#: Seconds by which decoding begins before what is wanted: decoders and resamplers need some time to be exact.
_PREROLL_S = 1

_IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_HARDWARE = ("_nvenc", "_qsv", "_amf", "_videotoolbox", "_mf")
_PCM = frozenset({"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"})
#: The containers that can be written, and the sound that each holds without conversion.
_COPIED_AUDIO = {
    ".mp4": _IN_MP4,
    ".m4v": _IN_MP4,
    ".mov": _IN_MP4 | _PCM,
    ".mkv": _IN_MP4 | _PCM | {"opus", "vorbis", "flac"},
}
CONTAINERS = tuple(_COPIED_AUDIO)
#: How the names of videos end, in small letters, where a folder is searched for them.
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp")
)
#: How the folders begin in which pictures wait for their sound, beside the target; a process that is killed leaves one.
PICTURES = ".picture-"

#: Called now and then while ffmpeg works; what it raises ends the process and comes through.
while_working: ContextVar[Callable[[], None]] = ContextVar("while_working", default=lambda: None)
_CHECK_EVERY_S = 0.2


@cache
def ffmpeg_path() -> str:
    """The ffmpeg program: $LATENTSYNC_FFMPEG, else the one on PATH, else the one of imageio-ffmpeg.

    Raises MediaError where there is none.
    """
    chosen = os.environ.get("LATENTSYNC_FFMPEG")
    if chosen:
        if found := shutil.which(chosen):
            return found
        raise MediaError(f"LATENTSYNC_FFMPEG names {chosen}, which is not a program; correct or unset it")
    if found := shutil.which("ffmpeg"):
        return found
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MediaError("expected ffmpeg on PATH, found none; install it or imageio-ffmpeg") from error


@cache
def encoders() -> frozenset[str]:
    """The names of the encoders that this ffmpeg was built with, e.g. "libx264"."""
    listing = subprocess.run(
        [ffmpeg_path(), "-hide_banner", "-encoders"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return frozenset(re.findall(r"^ [VAS][A-Z.]{5} ([\w-]+)", listing.stdout, re.MULTILINE))


@cache
def known_filters() -> frozenset[str]:
    """The names of the filters that this ffmpeg was built with, e.g. "zscale"."""
    listing = subprocess.run(
        [ffmpeg_path(), "-hide_banner", "-filters"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return frozenset(re.findall(r"^ [TSC.]{2,3} (\w+) +[AVN|]+->", listing.stdout, re.MULTILINE))


# Probing


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    """The file opened by PyAV; whatever goes wrong with it, here or in the body, is a MediaError."""
    unreadable = f"{path} is not a readable video or sound file"
    try:
        if not path.exists():
            raise MediaError(f"{path} does not exist; expected a video or sound file, so check its name")
        if not path.is_file():
            raise MediaError(f"{path} is not a file; expected a video or sound file")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty; expected a video or sound file, so copy or download it again")
        with av.open(url(path), metadata_errors="replace") as container:
            if container.format.name == "tty":  # ffmpeg draws any .txt as a picture
                raise MediaError(f"{unreadable} (plain text); choose another file")
            yield container
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise MediaError(f"{unreadable} ({reason}); copy it again or convert it to mp4") from error


def url(path: Path) -> str:
    """A name that ffmpeg takes literally: neither an option nor a protocol, whatever its characters."""
    return f"file:{path}"


def _audio_info(container: av.container.InputContainer) -> AudioInfo | None:
    """The first audio stream; None where there is none, or one of an unknown codec."""
    if not container.streams.audio:
        return None
    context = container.streams.audio[0].codec_context
    if context is None:
        return None
    return AudioInfo(context.codec.canonical_name, context.sample_rate, context.channels)


def _duration_s(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    """The first frame that can be decoded: a recording may begin between two key frames."""
    for packet in container.demux(stream):
        with suppress(av.error.InvalidDataError):
            if frames := packet.decode():
                return frames[0]
    return None


def _shown_size(stream: av.VideoStream, rotation: int) -> tuple[int, int]:
    """Width and height in square pixels, rotation applied."""
    width, height = stream.codec_context.width, stream.codec_context.height
    aspect = stream.sample_aspect_ratio
    if aspect and abs(aspect - 1) > Fraction(1, 100):  # smaller differences are rounding of encoders
        width = max(1, round(width * aspect))
    return (height, width) if rotation % 180 else (width, height)


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The first one that is not a cover picture."""
    streams = [s for s in container.streams.video if not s.disposition & _NOT_A_PICTURE_STREAM]
    if not streams or streams[0].codec_context is None:  # the latter is an unknown codec
        raise MediaError(f"{path} has no video stream; expected a video, so choose another file")
    return streams[0]


def probe(path: str | Path) -> VideoInfo:
    """Describe the first video stream of a file (not a cover picture) and its first audio stream.

    Still images and GIFs are videos too. Raises MediaError where no picture can be decoded.
    """
    path = Path(path)
    with _opened(path) as container:
        stream = _video_stream(path, container)
        frame = _first_frame(container, stream)
        if frame is None:
            raise MediaError(f"{path} has a video stream without frames; copy or download it again")
        width, height = _shown_size(stream, frame.rotation)
        context = stream.codec_context
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            rate=stream.average_rate or stream.guessed_rate or Fraction(25),
            duration_s=_duration_s(container, stream),
            pixel_format=context.pix_fmt,
            color_matrix=_MATRICES.get(context.colorspace),
            color_range=_RANGES.get(context.color_range),
            color_primaries=_PRIMARIES.get(context.color_primaries),
            hdr=_HDR_TRANSFERS.get(context.color_trc),
            interlaced=bool(frame.interlaced_frame),
            audio=_audio_info(container),
        )


def picture_times(path: str | Path) -> np.ndarray:
    """Seconds from the start of a file to each of its pictures, (n,) float64, sorted; nothing is decoded.

    Pictures that only serve to decode others may be among them, with negative times. Raises MediaError.
    """
    path = Path(path)
    with _opened(path) as container:
        stream = _video_stream(path, container)
        stamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        start_s = (container.start_time or 0) / av.time_base
        return np.sort(np.array(stamps, np.float64)) * float(stream.time_base) - start_s


def probe_audio(path: str | Path) -> AudioInfo:
    """Describe the first audio stream of any file, a video too. Raises MediaError where there is none."""
    path = Path(path)
    with _opened(path) as container:
        info = _audio_info(container)
    if info is None:
        raise MediaError(f"{path} has no audio stream; expected sound, so choose another file")
    return info


def check_key_frames(info: VideoInfo) -> None:
    """Read all of a video and decode its key frames, an eighth of the work or less. Raises MediaError for damage."""
    args = ["-skip_frame", "nokey", *video_input_args(info), "-map", "0:V:0"]
    with running([*args, "-f", "null", "-"]) as (process, log):
        wait_for(process, log, info.path, "could not be read to its end", strict=True)


# Running ffmpeg


@contextmanager
def running(args: list[str], **pipes: int) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """An ffmpeg process and the file that collects its messages; killed and reaped however the body ends."""
    command = [ffmpeg_path(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *args]
    with tempfile.TemporaryFile() as log:  # a file, as a pipe nobody reads would fill up and block
        process = subprocess.Popen(command, stderr=log, **({"stdin": subprocess.DEVNULL} | pipes))
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def wait_for(
    process: subprocess.Popen[bytes], log: BinaryIO, path: Path, failure: str, *, strict: bool = False
) -> None:
    """Wait for the end. A failed process raises MediaError; complaints of a successful one are logged, or `strict`."""
    status = _status(process)
    complaints = _complaints(log)
    if status != 0:
        raise MediaError(f"{path} {failure}: {complaints or _ending(status)}")
    if complaints and strict:
        raise MediaError(f"{path} is damaged: {complaints}; copy or download it again")
    if complaints:
        logger.warning("%s may be damaged: %s", path, complaints)


def _status(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a process, once it has ended."""
    while True:
        while_working.get()()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_CHECK_EVERY_S)


def _ending(status: int) -> str:
    if status < 0:  # killed: out of memory, over a limit
        return f"ffmpeg was stopped by the system ({signal.strsignal(-status)})"
    return f"ffmpeg ended with status {status}"


def _complaints(log: BinaryIO, n: int = 3) -> str:
    """The first messages of ffmpeg, as they name the cause of the others, on one line without addresses."""
    log.seek(0)
    text = re.sub(r" @ 0x[0-9a-f]+", "", log.read(4096).decode(errors="replace"))
    return "; ".join(line.strip() for line in text.splitlines()[:n])


def input_args(path: Path, from_s: float = 0.0) -> list[str]:
    """Options that read a file with time zero at its start, from a key frame at or before `from_s` on.

    Left alone, ffmpeg counts a transport stream from the first stream in use, which moves pictures against
    sound.
    """
    with _opened(path) as container:
        start_s = (container.start_time or 0) / av.time_base
        indexed = container.format.name in _INDEXED
    seek = ["-noaccurate_seek", "-ss", f"{from_s:.6f}"] if indexed and from_s > 0 else []
    return ["-copyts", *seek, "-itsoffset", f"{-start_s:.6f}", "-i", url(path)]


def video_input_args(info: VideoInfo, from_s: float = 0.0) -> list[str]:
    """Options that read a video: as `input_args`, in one picture size, with few threads."""
    threads = 1 if info.width * info.height <= _ONE_THREAD_PIXELS else 2
    # A new picture size must not restart `fps`.
    return ["-threads", str(threads), "-reinit_filter", "0", *input_args(info.path, from_s)]


# Reading


def constant_rate(info: VideoInfo, rate: Fraction, first: int = 0) -> str:
    """The filters from decoded frames to progressive ones at a constant rate from place `first` on, in one format.

    `fps` puts a frame of time t into place round(t x rate). For sources above that rate a shift by half the
    difference of the frame lengths makes the frame shown in place i the one nearest to i / rate.
    """
    shift_s = max(Fraction(0), 1 / rate - 1 / info.rate) / 2
    progressive = ["bwdif=mode=send_frame:deint=interlaced"] if info.interlaced else []
    start_s = _grid_start_s(rate, first)
    before = first - int(start_s * rate)
    return ",".join(
        [
            *progressive,
            f"setpts=PTS+{float(shift_s):.9f}/TB",
            f"fps=fps={rate}:start_time={start_s}",
            *([f"trim=start_frame={before}"] if before else []),
        ]
    )


def _grid_start_s(rate: Fraction, first: int) -> int:
    """The last whole second, not after place `first`, that is the time of a place too: there `fps` can start to count.

    Elsewhere it would round times that lie between two places to the other one.
    """
    return first // rate.numerator * rate.denominator


def to_rgb(info: VideoInfo) -> str:
    """The filters from decoded frames to RGB of the probed size; HDR becomes SDR, as far as ffmpeg can."""
    high_definition = min(info.width, info.height) >= 720 or max(info.width, info.height) >= 1280
    untagged = f":in_color_matrix={'bt709' if high_definition else 'smpte170m'}"
    tone_mapping = [_tone_mapping(info)] if info.hdr and _can_map_tones() else []
    matrix = "" if info.color_matrix or tone_mapping else untagged
    return ",".join([*tone_mapping, f"scale={info.width}:{info.height}:{SCALER}{matrix}", "format=rgb24"])


@cache
def _can_map_tones() -> bool:
    if {"zscale", "tonemap"} <= known_filters():
        return True
    logger.warning("HDR video will look pale: %s has no zscale filter; install a full build", ffmpeg_path())
    return False


def _tone_mapping(info: VideoInfo) -> str:
    """From PQ or HLG to BT.709 in 8-bit RGB.

    The curve is linear up to 0.3 of the reference white, where faces are, so that they keep their light and
    their colour. The peak is set, as that of the metadata is often absent and counts from another white.
    """
    rgb = info.pixel_format.startswith(("rgb", "gbr", "bgr"))
    tags = [
        f"color_trc={info.hdr}",
        f"color_primaries={info.color_primaries or 'bt2020'}",
        f"colorspace={'gbr' if rgb else info.color_matrix or 'bt2020nc'}",
        f"range={info.color_range or ('pc' if rgb else 'tv')}",
    ]
    return ",".join(
        [
            f"setparams={':'.join(tags)}",  # zscale refuses what is not tagged
            f"zscale=t=linear:npl={_HDR_WHITE}",
            "format=gbrpf32le",
            "zscale=p=bt709",
            f"tonemap=mobius:param=0.3:desat=0:peak={_HDR_PEAK / _HDR_WHITE:.4f}",
            "zscale=t=bt709:m=gbr:r=pc",
            "format=gbrp",
        ]
    )


def _rgb_filters(info: VideoInfo, rate: Fraction, first: int) -> str:
    return f"{constant_rate(info, rate, first)},{to_rgb(info)}"


def decode_frames(
    source: VideoInfo | str | Path,
    rate: Fraction | int = 25,
    *,
    first: int = 0,
    n_frames: int | None = None,
    strict: bool = False,
) -> Iterator[np.ndarray]:
    """At most `n_frames` frames of a video at a constant rate, from `first` on, each a new (h, w, 3) uint8 RGB array.

    Frame i shows the picture of time i / rate (the nearest one, where the source is faster). Rotation and
    pixel aspect are applied, tagged matrix and range are honoured; untagged video is BT.709 from 720p up and
    BT.601 below. Alpha is dropped. Closing the generator ends the decoder.

    Raises MediaError: here, if the file cannot be read; while iterating, if the decoder fails or gives no
    frame. Damage that the decoder gets over is logged as a warning, or is an error too if `strict`.
    """
    rate = Fraction(rate)
    if rate <= 0 or first < 0 or (n_frames is not None and n_frames < 1):
        raise ValueError(f"expected a positive rate and number of frames, got {rate}, {first} and {n_frames}")
    info = source if isinstance(source, VideoInfo) else probe(source)
    from_s = max(0, _grid_start_s(rate, first) - _PREROLL_S)
    args = [*video_input_args(info, from_s), "-map", "0:V:0", "-vf", _rgb_filters(info, rate, first)]
    if n_frames is not None:
        args += ["-frames:v", str(n_frames)]
    return read_frames(info, [*args, *raw_output()], strict=strict)


@cache
def _has_output_queue() -> bool:
    """From ffmpeg 5.1 on a queue of 8 packets, here raw frames, precedes the output, and its length is an option."""
    banner = subprocess.run([ffmpeg_path(), "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    version = re.match(r"ffmpeg version n?(\d+)", banner.stdout)
    return version is not None and int(version[1]) >= 6


def raw_output() -> list[str]:
    """Options that send raw frames to the standard output, with no more of them waiting than must."""
    return [*(["-thread_queue_size", "1"] if _has_output_queue() else []), "-f", "rawvideo", "pipe:1"]


def read_frames(
    info: VideoInfo,
    args: list[str],
    failure: str = "could be decoded up to frame {} only, so convert it",
    *,
    strict: bool = False,
) -> Iterator[np.ndarray]:
    """The frames that ffmpeg with these arguments writes to its standard output, which it must."""
    n_read = 0
    with running(args, stdout=subprocess.PIPE) as (process, log):
        while True:
            frame = np.empty((info.height, info.width, 3), np.uint8)
            if process.stdout.readinto(memoryview(frame).cast("B")) < frame.nbytes:
                break
            n_read += 1
            while_working.get()()
            yield frame
        wait_for(process, log, info.path, failure.format(n_read), strict=strict)
    if not n_read:
        raise MediaError(f"{info.path} gave no frame; expected a video, so copy or download it again")


def decode_audio(
    path: str | Path, folder: Path, *, sample_rate: int = 16000, from_s: int = 0, n_samples: int | None = None
) -> np.memmap:
    """The first audio stream as mono: a read-only (samples,) int16 map of a new file in `folder`.

    Channels are mixed with weights that sum to one at most, so nothing clips. Sample i sounds at
    from_s + i / sample_rate of the file; gaps and a late start are silence. At most `n_samples` are decoded.
    Raises MediaError where there is no sound.
    """
    path = Path(path)
    probe_audio(path)
    start_s = max(0, from_s - _PREROLL_S)
    first = (from_s - start_s) * sample_rate
    filters = (
        f"atrim=start={start_s},asetpts=PTS-{start_s}/TB,aresample={sample_rate}:async=1:first_pts=0:rematrix_maxval=1,"
        f"aformat=sample_fmts=s16:channel_layouts=mono,atrim=start_sample={first}"
    )
    if n_samples is not None:
        filters += f":end_sample={first + n_samples}"
    handle, name = tempfile.mkstemp(suffix=".s16le", dir=folder)
    os.close(handle)
    raw = Path(name)
    args = [*input_args(path, start_s), "-map", "0:a:0", "-af", filters, "-f", "s16le", url(raw)]
    with running(args) as (process, log):
        wait_for(process, log, path, f"has sound that cannot be decoded into {folder}, so convert it or free space")
    if raw.stat().st_size == 0:
        raise MediaError(f"{path} has an audio stream without samples; choose another file")
    return np.memmap(raw, dtype="<i2", mode="r")


# Writing


class VideoWriter:
    """Encodes frames to a video file, once, with the sound of another file; a context manager.

    The picture is 8-bit 4:2:0 BT.709 in limited range, and tagged so. It is never scaled: an odd width or
    height grows by one pixel that repeats the edge. The first audio stream of `audio` starts with the picture
    and ends with it at the latest; it is copied where the container can hold it, else becomes AAC with its
    own sample rate and channels. Where `pad_after_s`, the sound's length, is given and the picture is longer by a
    frame or more, it becomes AAC too, and silence follows it up to the picture's end.

    `codec`, `crf` and `preset` (None: the encoder's own) are as `output_args` takes them.

    The file appears under its name when the block ends well; otherwise nothing is left. Encoding runs beside
    the caller, behind a queue of about `queue_bytes`, in 4:2:0. Raises MediaError for a target or an encoder that
    cannot be used: on construction where that can be known, else at the next `write` or at the block's end.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        rate: Fraction | int,
        *,
        audio: str | Path | None = None,
        crf: int = 18,
        preset: str | None = None,
        codec: str = "libx264",
        pad_after_s: float | Fraction | None = None,
        queue_bytes: int = 8 << 20,
    ):
        self._path, self._audio = Path(path), None if audio is None else Path(audio)
        self._shape, self._rate = (height, width, 3), Fraction(rate)
        self._codec_args = output_args(self._path, codec, crf, preset)
        self._codec_args += bounded_args(codec, preset, width * height)
        self._audio_info = None if self._audio is None else probe_audio(self._audio)
        self._pad_after_s = pad_after_s
        self.n_frames = 0
        self._frames: Queue[np.ndarray | None] = Queue(max(2, queue_bytes * 2 // (width * height * 3)))
        self._subsampled = Subsampler(width + width % 2, height + height % 2)
        self._broken = Event()  # the encoder takes no more

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            try:
                self._output = stack.enter_context(atomic_path(self._path))
                self._picture = self._output
                if self._audio is not None:  # joined when the length of the picture is known
                    folder = tempfile.TemporaryDirectory(prefix=PICTURES, dir=self._path.parent)
                    self._picture = Path(stack.enter_context(folder), self._output.name)
            except OSError as error:
                raise _unwritable(self._path, error) from error
            self._thread = Thread(target=self._feed, name="video-writer", daemon=True)
            stack.callback(self._stop_feeding)  # after the encoder has ended, so that it cannot block
            self._process, self._log = stack.enter_context(
                running(self._encode_args(), stdin=subprocess.PIPE)
            )
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, (h, w, 3) uint8 RGB of the writer's size; it is copied. Else ValueError."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"expected a {self._shape} uint8 frame, got {frame.shape} {frame.dtype}")
        if self._broken.is_set():
            self._wait_for_encoder()
            raise MediaError(f"{self._path} cannot be written: the encoder ended early")
        height, width, _ = self._shape
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._frames.put(self._subsampled(frame))
        self.n_frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        try:
            with self._stack:
                self._finish()
        except OSError as failed:
            raise _unwritable(self._path, failed) from failed

    def _encode_args(self) -> list[str]:
        height, width, _ = self._shape
        size = f"{width + width % 2}x{height + height % 2}"
        raw = ["-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", size, "-framerate", str(self._rate)]
        filters = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
        tags = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
        tags += ["-color_range", "tv"]
        index = _faststart(self._path) if self._audio is None else []
        args = ["-thread_queue_size", "1", *raw, "-i", "pipe:0", "-vf", filters]
        return [*args, *self._codec_args, *tags, *index, url(self._picture)]

    def _feed(self) -> None:
        """Move frames from the queue to the encoder until None. Never stops taking, so that nobody blocks."""
        stdin = self._process.stdin
        while (frame := self._frames.get()) is not None:
            if not self._broken.is_set():
                try:
                    stdin.write(memoryview(frame).cast("B"))
                except OSError:
                    self._broken.set()
        with suppress(OSError):
            stdin.close()

    def _stop_feeding(self) -> None:
        if self._thread.is_alive():
            self._frames.put(None)
            self._thread.join()

    def _wait_for_encoder(self) -> None:
        wait_for(self._process, self._log, self._path, "cannot be written; check the space on the disk and the encoder")

    def _finish(self) -> None:
        self._stop_feeding()
        self._wait_for_encoder()
        if not self.n_frames:
            raise MediaError(f"{self._path} cannot be written: no frame was given")
        if self._audio is not None:
            self._add_sound()

    def _add_sound(self) -> None:
        """Join the encoded picture, as it is, and the sound up to the picture's end."""
        copied = self._audio_info.codec in _COPIED_AUDIO[self._path.suffix.lower()]
        codec = ["-c:a", "aac", "-b:a", "192k"]
        duration_s = self.n_frames / self._rate
        if self._pad_after_s is not None and duration_s - self._pad_after_s >= 1 / self._rate:
            codec += ["-af", "aresample=async=1:first_pts=0,apad"]  # -t ends it; first a late start is filled
        elif copied:
            codec = ["-c:a", "copy"]
        join(self._picture, self._audio, self._output, codec, duration_s, name=self._path)


def join(
    picture: Path,
    sound: Path,
    target: Path,
    codec: Sequence[str],
    duration_s: Fraction | float,
    *,
    name: Path | None = None,
) -> None:
    """Write the picture of one file, as it is, and the sound of another, with ffmpeg's options for it, to `target`.

    Both end after `duration_s`. Raises MediaError, which calls the target by its final `name`.
    """
    args = [*input_args(picture), *input_args(sound), "-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy", *codec]
    args += ["-t", f"{float(duration_s):.6f}", *_faststart(target), url(target)]
    with running(args) as (process, log):
        failure = f"cannot be written with the sound of {sound}; check the space on the disk"
        wait_for(process, log, name or target, failure)


def _faststart(path: Path) -> list[str]:
    """Put the index of an MP4 first, so that it plays while it downloads."""
    return [] if path.suffix.lower() == ".mkv" else ["-movflags", "+faststart"]


def output_args(path: str | Path, codec: str = "libx264", crf: int = 18, preset: str | None = None) -> list[str]:
    """The encoder's options for a video at `path`, the quality and speed as `encoder_args` takes them.

    Raises MediaError for a target or an encoder that can be seen to be unusable before any work.
    """
    path = Path(path)
    _check_target(path)
    if codec not in encoders():
        raise MediaError(f"{path} cannot be written: ffmpeg has no encoder {codec}; try libx264")
    args = encoder_args(codec, crf, preset)
    if codec.startswith(("libx265", "hevc_")) and path.suffix.lower() != ".mkv":
        args += ["-tag:v", "hvc1"]  # Apple's players know HEVC by this name only
    if codec.endswith(_HARDWARE):
        _check_encoder(codec, args)
    return args


def _check_encoder(codec: str, codec_args: list[str]) -> None:
    """Raise MediaError where an encoder that needs a device cannot encode one frame."""
    black = ["-f", "lavfi", "-i", "color=size=256x256:rate=25", "-frames:v", "1", "-pix_fmt", "yuv420p"]
    with running([*black, *codec_args, "-f", "null", "-"]) as (process, log):
        wait_for(process, log, Path(codec), "cannot be used here, so try libx264")


def _check_target(path: Path) -> None:
    if path.suffix.lower() not in _COPIED_AUDIO:
        raise MediaError(f"{path} cannot be written: expected a name ending in {', '.join(CONTAINERS)}")
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; expected the name of a video to write")
        if not path.parent.is_dir():
            raise MediaError(f"{path} cannot be written: its folder does not exist; create it first")
        with tempfile.TemporaryFile(dir=path.parent):  # permissions alone do not tell, least of all for root
            pass
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> MediaError:
    return MediaError(f"{path} cannot be written ({error.strerror}); expected a folder to write to, so choose another")
