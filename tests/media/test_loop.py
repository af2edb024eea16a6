import gc
import logging
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from latentsync.errors import MediaError
from latentsync.media import loop
from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.media.loop import SEGMENT, expected_frames, looped_frames, source_order

from .make import children, encode, ffmpeg, flat, number, numbered_video


def noisy_video(path: Path, n_frames: int, *options: str, size: tuple[int, int] = (66, 50)) -> Path:
    """Every frame is another pattern of coloured noise."""
    width, height = size
    video = np.random.default_rng(0).integers(0, 256, (n_frames, height, width, 3), dtype=np.uint8)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25"]
    ffmpeg(*raw, "-i", "pipe:0", *options, path, stdin=video.tobytes())
    return path


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """Where copies go; nothing may be left there."""
    path = tmp_path / "copies"
    path.mkdir()
    yield path
    assert list(path.iterdir()) == []


@pytest.fixture
def copies(monkeypatch) -> list[str]:
    """How often a copy was written, in the first pass or after it."""
    made = []
    for name in ("_copied_frames", "_write_copy"):
        original = getattr(loop, name)

        def recorded(*args, name=name, original=original):
            made.append(name)
            return original(*args)

        monkeypatch.setattr(loop, name, recorded)
    return made


# Orders


@pytest.mark.parametrize(
    ("n_source", "mode", "expected"),
    [
        (3, "pingpong", [0, 1, 2, 2, 1, 0, 0, 1, 2, 2]),
        (3, "loop", [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]),
        (3, "freeze", [0, 1, 2, 2, 2, 2, 2, 2, 2, 2]),
        (1, "pingpong", [0] * 10),
        (1, "loop", [0] * 10),
        (1, "freeze", [0] * 10),
        (2, "pingpong", [0, 1, 1, 0, 0, 1, 1, 0, 0, 1]),
        (12, "pingpong", list(range(10))),
    ],
)
def test_orders(n_source, mode, expected):
    assert list(source_order(n_source, 10, mode)) == expected


def test_an_order_is_lazy():
    assert list(islice(source_order(2, 10**18, "loop"), 3)) == [0, 1, 0]


@pytest.mark.parametrize("arguments", [(0, 5, "loop"), (5, -1, "loop"), (5, 5, "cut")])
def test_impossible_orders_are_refused(arguments):
    with pytest.raises(ValueError, match="expected frames and one of pingpong, loop, freeze"):
        source_order(*arguments)


# Frames


@pytest.mark.parametrize("mode", loop.MODES)
@pytest.mark.parametrize("n_source", [1, SEGMENT, SEGMENT + 1, 40])
def test_frames_come_in_the_order(tmp_path, folder, n_source, mode):
    info = probe(numbered_video(tmp_path / "a.mp4", n_source))
    assert expected_frames(info, 25) == n_source
    got = [(index, number(frame)) for index, frame in looped_frames(info, 25, 100, mode, folder)]
    assert got == [(index, index) for index in source_order(n_source, 100, mode)]


SOURCES = {
    "yuv420p.mp4": ["-pix_fmt", "yuv420p"],
    "full.mp4": ["-vf", "scale=out_range=pc,format=yuv420p,setparams=range=pc"],
    "jpeg.avi": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-strict", "unofficial"],
    "yuv422p10le.mkv": ["-pix_fmt", "yuv422p10le", "-c:v", "ffv1"],
    "gray.mkv": ["-pix_fmt", "gray", "-c:v", "ffv1"],
    "png.mkv": ["-pix_fmt", "rgb24", "-c:v", "png"],
    "palette.gif": [],
    "anamorphic.mp4": ["-pix_fmt", "yuv420p", "-vf", "setsar=3/2"],
    "rare.mkv": ["-pix_fmt", "yuv410p", "-c:v", "ffv1"],
    "interlaced.mkv": ["-vf", "format=yuv420p,setfield=tff", "-c:v", "ffv1", "-field_order", "tt"],
    "hdr.mkv": [
        "-vf",
        "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084",
        *("-c:v", "ffv1", "-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc"),
    ],
}


@pytest.mark.parametrize(("name", "rate"), [*((name, 25) for name in SOURCES), ("yuv420p.mp4", Fraction(30000, 1001))])
def test_a_frame_that_comes_again_is_the_same(tmp_path, folder, copies, name, rate):
    """Both when it is copied at once and when the need is noticed later; and as a plain decoder gives it."""
    info = probe(noisy_video(tmp_path / name, 20, *SOURCES[name]))
    assert (info.hdr is not None, info.interlaced) == (name == "hdr.mkv", name == "interlaced.mkv")
    plain = list(decode_frames(info, rate))
    n = len(plain)
    for duration_s in (info.duration_s, 99.0):
        info = replace(info, duration_s=duration_s)
        for index, frame in looped_frames(info, rate, 3 * n - 5, "pingpong", folder):
            assert np.array_equal(frame, plain[index]), (index, duration_s)
    assert copies == ["_copied_frames", "_write_copy"]


def test_odd_widths_are_repeated(tmp_path, folder):
    info = probe(noisy_video(tmp_path / "a.mkv", 20, "-pix_fmt", "yuv420p", "-c:v", "ffv1", size=(65, 49)))
    frames: dict[int, np.ndarray] = {}
    for index, frame in looped_frames(info, 25, 60, "pingpong", folder):
        assert np.array_equal(frame, frames.setdefault(index, frame))


def test_a_turned_video_is_repeated_upright(tmp_path, folder):
    plain = noisy_video(tmp_path / "plain.mp4", 20, "-pix_fmt", "yuv420p")
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", tmp_path / "turned.mp4")
    info = probe(tmp_path / "turned.mp4")
    frames: dict[int, np.ndarray] = {}
    for index, frame in looped_frames(info, 25, 60, "pingpong", folder):
        assert frame.shape == (66, 50, 3)
        assert np.array_equal(frame, frames.setdefault(index, frame))


@pytest.mark.parametrize(
    ("n_output", "duration_s", "expected"),
    [
        (20, None, []),
        (40, 1.6, []),
        (56, 1.6, []),
        (57, 1.6, ["_copied_frames"]),
        (56, 99.0, ["_write_copy"]),
        (56, None, []),
        (60, None, ["_write_copy"]),
        (60, 99.0, ["_write_copy"]),
        (60, 0.04, ["_write_copy"]),
        (60, 1.0, ["_copied_frames"]),
        (30, 1.0, []),
        (40, 0.8, ["_copied_frames"]),
    ],
)
def test_a_copy_is_made_where_needed(tmp_path, folder, copies, n_output, duration_s, expected):
    """Whatever the file says: the video has 40 frames, 1.6 seconds."""
    info = replace(probe(numbered_video(tmp_path / "a.mp4", 40)), duration_s=duration_s)
    got = [number(frame) for _, frame in looped_frames(info, 25, n_output, "pingpong", folder)]
    assert got == list(source_order(40, n_output, "pingpong"))
    assert copies == expected


@pytest.mark.parametrize("duration_s", [None, 0.8, 1.6, 99.0])
@pytest.mark.parametrize("n_output", [20, 38, 60])
def test_a_whole_video_comes_to_its_end_and_goes_on_where_that_is_too_early(tmp_path, folder, n_output, duration_s):
    info = replace(probe(numbered_video(tmp_path / "a.mp4", 40)), duration_s=duration_s)
    got = [number(frame) for _, frame in looped_frames(info, 25, n_output, "pingpong", folder, whole=True)]
    assert got == list(source_order(40, max(40, n_output), "pingpong"))


@pytest.mark.parametrize(
    ("n_source", "mode"), [(1, "pingpong"), (SEGMENT, "loop"), (40, "freeze"), (90, "loop"), (90, "pingpong")]
)
def test_few_frames_or_few_missing_ones_need_no_copy(tmp_path, folder, copies, n_source, mode):
    info = probe(numbered_video(tmp_path / "a.mp4", n_source))
    got = [number(frame) for _, frame in looped_frames(info, 25, 99, mode, folder)]
    assert got == list(source_order(n_source, 99, mode))
    assert copies == []


def test_at_most_a_segment_is_held(tmp_path, folder, monkeypatch):
    made: list[weakref.ref] = []
    for name in ("decode_frames", "read_frames"):
        original = getattr(loop, name)

        def recorded(*args, original=original, **options):
            for frame in original(*args, **options):
                made.append(weakref.ref(frame))
                yield frame
                del frame

        monkeypatch.setattr(loop, name, recorded)
    info = probe(numbered_video(tmp_path / "a.mp4", 60))
    for mode in loop.MODES:
        made.clear()
        alive = []
        for _, frame in looped_frames(info, 25, 150, mode, folder):
            del frame
            alive.append(sum(reference() is not None for reference in made))
        assert max(alive) <= (SEGMENT + 1 if mode == "pingpong" else 2), mode


# Failures


@pytest.mark.parametrize("n_read", [1, 30, 50, 90])
@pytest.mark.parametrize("duration_s", [1.6, None])
def test_closing_early_leaves_nothing(tmp_path, folder, n_read, duration_s):
    info = replace(probe(numbered_video(tmp_path / "a.mp4", 40)), duration_s=duration_s)
    frames = looped_frames(info, 25, 200, "pingpong", folder)
    assert len(list(islice(frames, n_read))) == n_read
    frames.close()
    assert children() == [] and list(folder.iterdir()) == []


def test_an_error_of_the_reader_leaves_nothing(tmp_path, folder):
    info = probe(numbered_video(tmp_path / "a.mp4", 40))
    with pytest.raises(RuntimeError):
        for index, _ in looped_frames(info, 25, 200, "pingpong", folder):
            if index == 20:
                raise RuntimeError
    gc.collect()
    assert children() == []


def test_a_full_disk_is_told_before_any_work(tmp_path, folder, monkeypatch):
    info = replace(probe(numbered_video(tmp_path / "a.mp4", 40)), width=1080, height=1920, duration_s=600.0)
    monkeypatch.setattr(loop.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * 10**9))
    message = r"a\.mp4 is shorter.*about 28\.0 GB in .*, which has 2\.0 GB free; free space"
    with pytest.raises(MediaError, match=message) as caught:
        looped_frames(info, 25, 10**6, "pingpong", folder)
    assert "\n" not in str(caught.value)
    looped_frames(info, 25, 10**6, "freeze", folder).close()
    looped_frames(info, 25, 15000, "loop", folder).close()


def test_a_full_disk_is_told_when_the_file_lied(tmp_path, folder, monkeypatch):
    info = replace(probe(numbered_video(tmp_path / "a.mp4", 40)), duration_s=None)
    monkeypatch.setattr(loop.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1))
    frames = looped_frames(info, 25, 60, "loop", folder)
    assert len(list(islice(frames, 40))) == 40
    with pytest.raises(MediaError, match="is shorter than the sound"):
        next(frames)


def test_a_copy_that_cannot_be_written_is_one_sentence(tmp_path, folder, monkeypatch):
    info = probe(numbered_video(tmp_path / "a.mp4", 40))
    monkeypatch.setattr(loop, "CODEC", "nosuchcodec")
    message = r"a\.mp4 could be decoded, and copied to .* up to frame 0 only: .*nosuchcodec"
    with pytest.raises(MediaError, match=message) as caught:
        list(looped_frames(info, 25, 100, "loop", folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [(0, 5, "loop"), (25, 0, "loop"), (25, 5, "cut")])
def test_impossible_requests_are_refused(tmp_path, folder, arguments):
    info = probe(encode(tmp_path / "a.png", flat((1, 2, 3)), n_frames=1))
    with pytest.raises(ValueError, match="expected frames, a rate and one of"):
        looped_frames(info, *arguments, folder)


def test_a_disk_that_fills_up_is_one_sentence(tmp_path, folder, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(loop, "url", lambda copy: "/dev/full")
    info = probe(numbered_video(tmp_path / "a.mp4", 40))
    for duration_s, message in ((1.6, "could be decoded, and copied to"), (None, "cannot be copied to")):
        with pytest.raises(MediaError, match=f"{message} .*: .*No space left on device") as caught:
            list(looped_frames(replace(info, duration_s=duration_s), 25, 100, "loop", folder))
        assert "\n" not in str(caught.value)


def test_nothing_is_complained_about(tmp_path, folder, caplog):
    info = probe(numbered_video(tmp_path / "a.mp4", 40))
    with caplog.at_level(logging.WARNING):
        assert len(list(looped_frames(info, 25, 150, "pingpong", folder))) == 150
    assert caplog.text == ""
