"""More frames than a video has: it is played again, from a lossless temporary copy, in bounded memory."""

import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from ..errors import MediaError
from ..types import VideoInfo
from .ffmpeg import (
    constant_rate,
    decode_frames,
    raw_output,
    read_frames,
    running,
    to_rgb,
    url,
    video_input_args,
    wait_for,
)

MODES = ("pingpong", "loop", "freeze")

#: Frames in memory at once; a video that has or lacks no more is never copied.
SEGMENT = 16

#: Lossless, every frame on its own, for all the usual formats, and four times as fast as ffv1 at 1080x1920.
CODEC = "ffvhuff"
_FORMATS = frozenset(f.name for f in av.Codec(CODEC, "w").video_formats) - {"yuv410p", "yuv411p"}  # not at any width

#: The copy's part of the raw size: 0.37 to 0.5 for camera footage, more for noise.
_COMPRESSION = 0.6


def source_order(n_source: int, n_output: int, mode: str) -> Iterator[int]:
    """The source frame that each of `n_output` frames shows.

    "pingpong" runs forwards and backwards and shows the turning frames twice, "loop" starts again, "freeze"
    holds the last frame.
    """
    if n_source < 1 or n_output < 0 or mode not in MODES:
        raise ValueError(f"expected frames and one of {', '.join(MODES)}, got {n_source}, {n_output}, {mode}")
    return (_source_index(k, n_source, mode) for k in range(n_output))


def _source_index(k: int, n_source: int, mode: str) -> int:
    if mode == "freeze":
        return min(k, n_source - 1)
    lap, index = divmod(k, n_source)
    return n_source - 1 - index if mode == "pingpong" and lap % 2 else index


def expected_frames(info: VideoInfo, rate: Fraction | int) -> int | None:
    """The frames that a video should have at a constant rate; only decoding tells for sure."""
    return None if info.duration_s is None else max(1, round(info.duration_s * Fraction(rate)))


def looped_frames(
    info: VideoInfo, rate: Fraction | int, n_output: int, mode: str, folder: Path, *, whole: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Exactly `n_output` frames with their numbers in the source, in the order of `source_order`.

    With `whole` a longer video comes to its end.

    Each frame is a (h, w, 3) uint8 RGB array, as `decode_frames` gives it; one that comes again is bit for bit the
    same, and may be the same array: they are not to be written to. A video that is long enough is only decoded, and
    so is one that lacks 16 frames at most. A shorter one is copied to `folder` on the way, as decoded but at the
    constant rate; the copy is deleted with the generator. At most 16 frames are held.

    Raises MediaError: here, if the copy will not fit on the disk; while iterating, if decoding fails.
    """
    if n_output < 1 or rate <= 0 or mode not in MODES:
        raise ValueError(f"expected frames, a rate and one of {', '.join(MODES)}, got {n_output}, {rate}, {mode}")
    expected = expected_frames(info, rate)
    n_held = _frames_to_hold(expected, n_output, mode)
    will_copy = not n_held and expected < n_output
    if will_copy:
        _check_space(info, expected, folder)
    return _looped_frames(info, Fraction(rate), n_output, mode, folder, n_held, will_copy, whole)


def _frames_to_hold(expected: int | None, n_output: int, mode: str) -> int:
    """0 where the video is surely long enough, or so short that it needs a copy; if the file is right."""
    if mode == "freeze":
        return 1
    few = expected is None or expected <= SEGMENT or abs(n_output - expected) <= SEGMENT
    return SEGMENT if few else 0


def _looped_frames(
    info: VideoInfo,
    rate: Fraction,
    n_output: int,
    mode: str,
    folder: Path,
    n_held: int,
    will_copy: bool,
    whole: bool,
) -> Iterator[tuple[int, np.ndarray]]:
    with tempfile.TemporaryDirectory(prefix=".loop-", dir=folder) as own:
        copy = Path(own) / "copy.mkv"
        limit = None if whole else n_output
        if will_copy:
            first = _copied_frames(info, rate, n_output, limit, copy)
        else:
            first = decode_frames(info, rate, n_frames=limit)
        held: deque[tuple[int, np.ndarray]] = deque(maxlen=n_held)  # the first frames for "loop", else the last
        n_source = 0
        with closing(first) as frames:
            for frame in frames:
                if n_held and (mode != "loop" or n_source < n_held):
                    held.append((n_source, frame))
                n_source += 1
                yield n_source - 1, frame
        if n_source >= n_output:
            return
        if mode == "freeze" or min(n_source, n_output - n_source) <= n_held:
            kept = dict(held)
            for index in islice(source_order(n_source, n_output, mode), n_source, None):
                yield index, kept[index]
            return
        held.clear()
        if not will_copy:  # the file is shorter than it says
            _check_space(info, n_source, folder)
            _write_copy(info, rate, n_source, copy)
        for start in range(n_source, n_output, n_source):
            n = min(n_source, n_output - start)
            backwards = mode == "pingpong" and start // n_source % 2
            leg = _backwards(info, rate, copy, n_source, n) if backwards else _read_copy(info, rate, copy, 0, n)
            with closing(leg):
                yield from leg


# The copy


def _copy_format(info: VideoInfo) -> str | None:
    """The decoder's pixel format; None where the codec does not take it, e.g. for palettes: RGB is copied then."""
    name = info.pixel_format.replace("yuvj", "yuv")  # an old name of full range
    if name not in _FORMATS or (info.width % 2 and any(part in name for part in ("420", "422"))):
        return None
    return name


def _full_range(info: VideoInfo) -> bool:
    return info.color_range == "pc" or info.pixel_format.startswith("yuvj")


def _copy_filters(info: VideoInfo, rate: Fraction) -> str:
    """Up to what is copied. One size throughout, that of the first frame, where a video changes it."""
    if _copy_format(info) is None:
        return f"{constant_rate(info, rate)},{to_rgb(info)}"
    size = "scale=iw:ih" + (":in_range=pc:out_range=pc" if _full_range(info) else "")
    return f"{constant_rate(info, rate)},{size},format={_copy_format(info)}"


def _label_copy(info: VideoInfo) -> str:
    """Call full range limited, as the codec knows no other and ffmpeg would convert it."""
    return "setparams=range=tv" if _copy_format(info) and _full_range(info) else "null"


def _label_as_decoded(info: VideoInfo) -> str:
    """Undo that; older versions of ffmpeg do not keep the matrix either."""
    if _copy_format(info) is None:
        return "null"
    matrix = f":colorspace={info.color_matrix}" if info.color_matrix else ""
    return f"setparams=range={'pc' if _full_range(info) else 'tv'}{matrix}"


def _rest_of_filters(info: VideoInfo) -> str:
    return to_rgb(info) if _copy_format(info) else "format=rgb24"


def _encoder_args(n_frames: int, copy: Path) -> list[str]:
    return ["-frames:v", str(n_frames), "-c:v", CODEC, "-f", "matroska", url(copy)]


def _copied_frames(
    info: VideoInfo, rate: Fraction, n_copied: int, n_frames: int | None, copy: Path
) -> Iterator[np.ndarray]:
    """What `decode_frames` gives, while the copy of the first `n_copied` frames is written."""
    graph = [
        f"[0:V:0]{_copy_filters(info, rate)},split[a][b]",
        f"[a]{_rest_of_filters(info)}[rgb]",
        f"[b]{_label_copy(info)}[copy]",
    ]
    args = [*video_input_args(info), "-filter_complex", ";".join(graph)]
    args += ["-map", "[copy]", *_encoder_args(n_copied, copy)]
    args += ["-map", "[rgb]"]
    if n_frames is not None:
        args += ["-frames:v", str(n_frames)]
    args += raw_output()
    return read_frames(info, args, f"could be decoded, and copied to {copy.parent.parent}, up to frame {{}} only")


def _write_copy(info: VideoInfo, rate: Fraction, n_frames: int, copy: Path) -> None:
    args = [*video_input_args(info), "-map", "0:V:0", "-vf", f"{_copy_filters(info, rate)},{_label_copy(info)}"]
    with running([*args, *_encoder_args(n_frames, copy)]) as (process, log):
        wait_for(process, log, info.path, f"cannot be copied to {copy.parent.parent}")


def _read_copy(
    info: VideoInfo, rate: Fraction, copy: Path, start: int, n: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames `start` ... `start + n - 1` with their numbers."""
    seek = ["-ss", f"{float((start - Fraction(1, 2)) / rate):.6f}"] if start else []  # times are rounded to ms
    filters = f"settb={1 / rate},setpts=N,{_label_as_decoded(info)},{_rest_of_filters(info)}"
    args = [*seek, "-i", url(copy), "-map", "0:v:0", "-vf", filters]
    args += ["-r", str(rate), "-frames:v", str(n), *raw_output()]
    with closing(read_frames(info, args)) as frames:
        index = start
        for index, frame in enumerate(frames, start):
            yield index, frame
    if index != start + n - 1:
        raise MediaError(f"{info.path}: its temporary copy lost frames after {index}; check the disk of {copy.parent}")


def _backwards(
    info: VideoInfo, rate: Fraction, copy: Path, n_source: int, n: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The last `n` frames, last first."""
    for stop in range(n_source, n_source - n, -SEGMENT):
        start = max(n_source - n, stop - SEGMENT)
        segment = list(_read_copy(info, rate, copy, start, stop - start))
        while segment:
            yield segment.pop()


def _check_space(info: VideoInfo, n_frames: int, folder: Path) -> None:
    format_ = av.VideoFormat(info.pixel_format if _copy_format(info) else "rgb24", info.width, info.height)
    need = round(n_frames * info.width * info.height * format_.bits_per_pixel / 8 * _COMPRESSION)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise MediaError(
            f"{info.path} is shorter than the sound, and its temporary copy needs about {need / 1e9:.1f} GB in "
            f"{folder}, which has {free / 1e9:.1f} GB free; free space, or choose another folder or a longer video"
        )
