import logging
import math
import subprocess
import sys
import threading
import time
import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync import REPO_ROOT
from latentsync.errors import MediaError
from latentsync.media import ffmpeg as media
from latentsync.media.ffmpeg import (
    VideoWriter,
    decode_audio,
    decode_frames,
    encoders,
    ffmpeg_path,
    known_filters,
    probe,
    probe_audio,
)

from .make import children, encode, ffmpeg, flat, number, numbered, numbered_video, tone

COLOR = (200, 60, 90)
RATES = [Fraction(r) for r in ("12", "15", "24000/1001", "24", "25", "30000/1001", "30", "50", "60")]
AWKWARD_NAMES = [
    "a b.mp4",
    'it\'s "quoted".mp4',
    "$(touch x);`touch y`.mp4",
    "видео 口.mp4",
    "a:b%03d[0].mp4",
]
NO_TAGS = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown"


def yuv(matrix: str, color_range: str = "tv", pixel_format: str = "yuv420p") -> str:
    """An accurate conversion from RGB, as a filter chain."""
    flags = "accurate_rnd+full_chroma_int+full_chroma_inp"
    return f"scale=out_color_matrix={matrix}:out_range={color_range}:flags={flags},format={pixel_format}"


def largest_error(frame: np.ndarray, color: tuple[int, int, int] = COLOR) -> int:
    return int(np.abs(frame.astype(int) - color).max())


def stream_times(path: Path) -> dict[str, tuple[float, float]]:
    """Start and duration in seconds of each stream."""
    with av.open(str(path)) as container:
        return {
            s.type: (float((s.start_time or 0) * s.time_base), float(s.duration * s.time_base))
            for s in container.streams
        }


def first_sound(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(samples) > 1000) / 16000)


def write(path: Path, n_frames: int = 3, **options) -> Path:
    with VideoWriter(path, 64, 48, 25, preset="ultrafast", **options) as writer:
        for _ in range(n_frames):
            writer.write(flat(COLOR))
    return path


# The program


@pytest.fixture
def fresh_search():
    media.ffmpeg_path.cache_clear()
    yield
    media.ffmpeg_path.cache_clear()


def test_ffmpeg_from_the_environment(monkeypatch, fresh_search, tmp_path):
    program = tmp_path / "my ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("LATENTSYNC_FFMPEG", str(program))
    assert ffmpeg_path() == str(program)


def test_a_wrong_environment_variable_is_an_error(monkeypatch, fresh_search):
    monkeypatch.setenv("LATENTSYNC_FFMPEG", "/no/such/ffmpeg")
    with pytest.raises(MediaError, match="LATENTSYNC_FFMPEG names /no/such/ffmpeg"):
        ffmpeg_path()


def test_encoders_are_listed():
    assert {"libx264", "aac"} <= encoders()
    assert "h264" not in encoders()


# Probing


def test_probe_describes_a_video(tmp_path):
    path = write(tmp_path / "a.mp4", n_frames=10, audio=tone(tmp_path / "a.wav", 1, rate=44100, channels=2))
    info = probe(path)
    assert (info.path, info.width, info.height, info.rate) == (path, 64, 48, 25)
    assert info.duration_s == pytest.approx(0.4)
    assert (info.pixel_format, info.color_matrix, info.color_range) == ("yuv420p", "bt709", "tv")
    assert (info.audio.codec, info.audio.sample_rate, info.audio.channels) == ("aac", 44100, 2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.mp4", None, "does not exist"),
        ("folder", "folder", "is not a file"),
        ("empty.mp4", b"", "is empty"),
        ("words.mp4", b"these are words\n" * 99, "not a readable video or sound file .Invalid data"),
        ("words.txt", b"these are words\n" * 99, "plain text"),
    ],
)
@pytest.mark.parametrize("function", [probe, probe_audio, decode_frames])
def test_what_is_no_media_file_says_so_in_one_sentence(tmp_path, name, content, message, function):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=message) as caught:
        function(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_video_cut_off_before_its_index_is_an_error(tmp_path):
    whole = encode(tmp_path / "whole.mp4", flat(COLOR), n_frames=50)
    cut = tmp_path / "cut.mp4"
    content = whole.read_bytes()
    cut.write_bytes(content[: content.index(b"moov")])
    with pytest.raises(MediaError, match=r"cut\.mp4 is not a readable video"):
        probe(cut)


def test_streams_that_are_missing_are_named(tmp_path):
    with pytest.raises(MediaError, match="no audio stream"):
        probe_audio(write(tmp_path / "a.mp4"))
    with pytest.raises(MediaError, match="no video stream"):
        probe(tone(tmp_path / "a.wav", 1))


def test_a_cover_picture_is_not_a_video(tmp_path):
    cover = encode(tmp_path / "cover.png", flat(COLOR), n_frames=1)
    song = tone(tmp_path / "a.wav", 1)
    both = ["-map", "0", "-map", "1", "-disposition:v", "attached_pic"]
    ffmpeg("-i", song, "-i", cover, *both, tmp_path / "a.mp3")
    assert probe_audio(tmp_path / "a.mp3").codec == "mp3"
    with pytest.raises(MediaError, match="no video stream"):
        probe(tmp_path / "a.mp3")


# Frames and time


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_four_seconds_at_any_rate_are_a_hundred_frames_in_time(tmp_path, rate):
    """Each shows the source frame nearest to its time, or, from slower sources, the one on screen or next."""
    path = numbered_video(tmp_path / "a.mp4", round(4 * rate), rate)
    assert probe(path).rate == rate
    shown = [number(frame) for frame in decode_frames(path)]
    assert len(shown) == 100
    half = Fraction(1, 2)
    for i, n in enumerate(shown):
        late_s = n / rate - Fraction(i, 25)
        if rate >= 25:
            assert abs(late_s) <= half / rate
        else:
            assert half / 25 - 1 / rate <= late_s < half / 25


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(30000, 1001), 50])
def test_frames_at_another_rate(tmp_path, rate):
    path = numbered_video(tmp_path / "a.mp4", 100, 25)
    shown = [number(frame) for frame in decode_frames(path, rate)]
    assert len(shown) == round(4 * rate)
    assert all(abs(Fraction(n, 25) - i / Fraction(rate)) <= Fraction(24, 1000) for i, n in enumerate(shown))


def test_variable_rate_follows_the_timestamps(tmp_path):
    """Frames 0-9 at 10 a second, 10-39 at 30 a second."""
    frames = b"".join(numbered(n).tobytes() for n in range(40))
    times = "setpts='if(lt(N,10),N/10,1+(N-10)/30)/TB+0.1'"  # the addition guards the rounding
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x32", "-r", "30", "-i", "pipe:0"]
    path = tmp_path / "a.mkv"
    ffmpeg(*source, "-vf", times, "-fps_mode", "vfr", "-enc_time_base", "1/90000", path, stdin=frames)
    shown = [number(frame) for frame in decode_frames(path)]
    assert len(shown) in (50, 51)
    for i, n in enumerate(shown[:50]):
        own_s = n / 10 if n < 10 else 1 + (n - 10) / 30
        next_s = (n + 1) / 10 if n + 1 < 10 else 1 + (n - 9) / 30
        assert own_s - 0.02 <= i / 25 <= next_s


def test_a_change_of_size_neither_shifts_nor_repeats(tmp_path):
    for scale in (1, 2):
        video = b"".join(
            numbered(n).repeat(scale, 0).repeat(scale, 1).tobytes()
            for n in range(50 * scale - 50, 50 * scale)
        )
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{128 * scale}x{32 * scale}", "-r", "25"]
        ffmpeg(*raw, "-i", "pipe:0", "-pix_fmt", "yuv420p", "-bf", "0", tmp_path / f"{scale}.ts", stdin=video)
    (tmp_path / "list.txt").write_text("file 1.ts\nfile 2.ts\n")
    ffmpeg("-f", "concat", "-i", tmp_path / "list.txt", "-c", "copy", tmp_path / "both.mkv")
    frames = list(decode_frames(tmp_path / "both.mkv"))
    assert len(frames) == 100 and {frame.shape for frame in frames} == {(32, 128, 3)}
    assert all(abs(number(frame) - i) <= 1 for i, frame in enumerate(frames))


def test_a_recording_may_begin_between_key_frames(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    whole = encode(tmp_path / "whole.ts", noise, "-g", "25", "-pix_fmt", "yuv420p", n_frames=100)
    content = whole.read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[len(content) // 3 // 188 * 188 :])
    assert probe(tmp_path / "cut.ts").rate == 25
    assert 50 <= len(list(decode_frames(tmp_path / "cut.ts"))) < 75


def test_n_frames_stops_early_and_never_invents(tmp_path):
    path = numbered_video(tmp_path / "a.mp4", 20)
    assert [number(frame) for frame in decode_frames(path, n_frames=7)] == list(range(7))
    assert len(list(decode_frames(path, n_frames=99))) == 20


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    path = encode(tmp_path / "a.png", flat(COLOR), n_frames=1)
    frames = list(decode_frames(path))
    assert len(frames) == 1 and largest_error(frames[0]) == 0


def test_a_gif_is_a_video(tmp_path):
    path = encode(tmp_path / "a.gif", flat((255, 0, 0)), n_frames=10, rate=10)
    frames = list(decode_frames(path))
    assert len(frames) == 25 and largest_error(frames[0], (255, 0, 0)) <= 8


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_picture_and_sound_keep_their_distance(tmp_path, suffix):
    """A track that starts late in the file is late in what is decoded: held picture, silence."""
    song, video = tone(tmp_path / "a.wav", 2, rate=48000), numbered_video(tmp_path / "v.mp4", 50)
    late_sound, late_picture = tmp_path / f"sound{suffix}", tmp_path / f"picture{suffix}"
    both = ["-map", "0", "-map", "1", "-c:v", "copy", "-c:a", "aac"]
    ffmpeg("-i", video, "-itsoffset", "0.48", "-i", song, *both, late_sound)
    ffmpeg("-itsoffset", "0.48", "-i", video, "-i", song, *both, late_picture)
    assert first_sound(decode_audio(late_sound, tmp_path)) == pytest.approx(0.48, abs=0.005)
    assert [number(frame) for frame in decode_frames(late_sound)] == list(range(50))
    shown = [number(frame) for frame in decode_frames(late_picture)]
    assert shown.count(0) == (13 if suffix == ".mp4" else 14)  # a .ts also shows the 21 ms that AAC primes
    assert shown[-1] == 49


def test_frames_are_their_readers_own(tmp_path):
    frames = list(decode_frames(numbered_video(tmp_path / "a.mp4", 5)))
    assert [number(frame) for frame in frames] == list(range(5))
    assert all(frame.flags.owndata and frame.flags.writeable for frame in frames)


@pytest.mark.parametrize("arguments", [{"rate": 0}, {"n_frames": 0}])
def test_impossible_requests_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match="expected a positive rate"):
        decode_frames(write(tmp_path / "a.mp4"), **arguments)


# Shape and colour


def test_rotation_is_applied(tmp_path):
    """The top left cell of a picture turned by 90 degrees to the left ends at the bottom left."""
    frame = flat((0, 0, 0))
    frame[:16, :16] = 255
    plain = encode(tmp_path / "plain.mp4", frame, "-pix_fmt", "yuv420p")
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", tmp_path / "turned.mp4")
    info = probe(tmp_path / "turned.mp4")
    assert (info.width, info.height) == (48, 64)
    turned = next(decode_frames(info))
    assert turned.shape == (64, 48, 3)
    assert np.abs(turned.astype(int) - np.rot90(next(decode_frames(plain)))).max() <= 2


def test_pixels_become_square(tmp_path):
    path = encode(tmp_path / "a.mp4", flat(COLOR), "-vf", f"{yuv('smpte170m')},setsar=3/2")
    info = probe(path)
    assert (info.width, info.height) == (96, 48)
    assert next(decode_frames(info)).shape == (48, 96, 3)


@pytest.mark.parametrize("size", [(64, 48), (1280, 720), (720, 1280)], ids=str)
@pytest.mark.parametrize("color_range", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", None])
def test_colours_arrive(tmp_path, matrix, color_range, size):
    """Tagged ones by their tag; untagged ones as BT.709 from 720p up, else as BT.601."""
    assumed = matrix or ("bt709" if min(size) >= 720 else "smpte170m")
    tags = f"setparams=colorspace={matrix}" if matrix else NO_TAGS
    picture = flat(COLOR, *size)
    path = encode(tmp_path / "a.mp4", picture, "-vf", f"{yuv(assumed, color_range)},{tags}", n_frames=1)
    info = probe(path)
    assert (info.color_matrix, info.color_range == "pc") == (matrix, color_range == "pc")
    assert largest_error(next(decode_frames(info))) <= 2


@pytest.mark.parametrize(
    ("pixel_format", "codec"),
    [
        ("yuv420p10le", "libx264"),
        ("yuv444p", "libx264"),
        ("yuva444p", "ffv1"),
        ("bgr0", "ffv1"),
        ("rgba", "png"),
    ],
)
def test_pixel_formats(tmp_path, pixel_format, codec):
    path = tmp_path / "a.mkv"
    options = ["-vf", f"{yuv('bt709', pixel_format=pixel_format)},setparams=colorspace=bt709", "-c:v", codec]
    rgb = pixel_format in ("bgr0", "rgba")
    encode(path, flat(COLOR), *(["-pix_fmt", pixel_format, "-c:v", codec] if rgb else options))
    info = probe(path)
    assert info.pixel_format == pixel_format
    assert largest_error(next(decode_frames(info))) <= 2


def test_grey_becomes_three_equal_channels(tmp_path):
    path = encode(tmp_path / "a.mkv", flat((128, 128, 128)), "-pix_fmt", "gray", "-c:v", "ffv1")
    assert largest_error(next(decode_frames(path)), (128, 128, 128)) <= 1


@pytest.mark.parametrize("size", [(65, 49), (65, 48), (64, 49)], ids=str)
def test_odd_sizes_grow_by_their_edge(tmp_path, size):
    width, height = size
    frame = flat(COLOR, width, height)
    frame[-1, -1] = 255
    with VideoWriter(tmp_path / "a.mp4", width, height, 25, crf=1) as writer:
        writer.write(frame)
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height) == (width + width % 2, height + height % 2)
    got = next(decode_frames(info))
    assert largest_error(got[: height - 4, : width - 4]) <= 2
    assert np.ptp(got[height - 1 :, width - 1 :], axis=(0, 1)).max() <= 16


def test_odd_sizes_are_read(tmp_path):
    path = encode(tmp_path / "a.mkv", flat(COLOR, 65, 49), "-pix_fmt", "gbrp", "-c:v", "ffv1")
    assert next(decode_frames(path)).shape == (49, 65, 3)


@pytest.mark.parametrize("color", [COLOR, (0, 0, 0), (255, 255, 255), (255, 0, 0), (17, 34, 250)])
def test_colours_survive_writing_and_reading(tmp_path, color):
    with VideoWriter(tmp_path / "a.mp4", 64, 48, 25, crf=10) as writer:
        writer.write(flat(color))
    assert largest_error(next(decode_frames(tmp_path / "a.mp4")), color) <= 3


def test_written_colours_are_tagged(tmp_path):
    with av.open(str(write(tmp_path / "a.mp4"))) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
    assert tags == (1, 1, 1, 1)  # BT.709 three times, limited range


def pq(luminance: float) -> float:
    """The PQ signal of a luminance in cd/m² (SMPTE ST 2084)."""
    y = (luminance / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg(luminance: float) -> float:
    """The HLG signal of grey on a screen of 1000 cd/m² (BT.2100)."""
    light = (luminance / 1000) ** (1 / 1.2)
    return math.sqrt(3 * light) if light <= 1 / 12 else 0.17883277 * math.log(12 * light - 0.28466892) + 0.55991073


def hdr_video(path: Path, signal: float, transfer: str) -> Path:
    """Grey BT.2020 video."""
    luma = np.full(64 * 48, round(64 + 876 * signal), "<u2").tobytes()
    chroma = np.full(2 * 32 * 24, 512, "<u2").tobytes()
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", "64x48", "-r", "25", "-i", "pipe:0"]
    tags = ["-vf", f"setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}"]
    tags += ["-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", transfer]
    ffmpeg(*raw, *tags, "-c:v", "ffv1", path, stdin=(luma + chroma) * 2)
    return path


@pytest.mark.parametrize(("transfer", "signal"), [("smpte2084", pq), ("arib-std-b67", hlg)])
def test_hdr_keeps_its_light_on_an_sdr_screen(tmp_path, transfer, signal):
    """Reference white is 203 cd/m² (BT.2408) and a screen's exponent 2.4 (BT.1886); only highlights are compressed."""
    if not {"zscale", "tonemap"} <= known_filters():
        pytest.skip("this ffmpeg has no zscale filter")
    shown = {}
    for luminance in (0.0, 5.0, 26.0, 50.0, 203.0, 1000.0):
        info = probe(hdr_video(tmp_path / "a.mkv", signal(luminance), transfer))
        assert (info.hdr, info.color_primaries) == (transfer, "bt2020")
        frame = next(decode_frames(info))
        assert np.ptp(frame) <= 1  # grey stays grey
        shown[luminance] = int(frame[5, 5, 0])
        if luminance < 60:  # where the curve is linear
            assert shown[luminance] == pytest.approx(255 * (luminance / 203) ** (1 / 2.4), abs=2)
    assert 205 <= shown[203.0] <= 235 and shown[1000.0] >= 253


def test_hdr_may_have_its_transfer_tagged_only(tmp_path):
    if not {"zscale", "tonemap"} <= known_filters():
        pytest.skip("this ffmpeg has no zscale filter")
    info = replace(probe(hdr_video(tmp_path / "a.mkv", pq(26), "smpte2084")), color_matrix=None, color_primaries=None)
    untagged = tmp_path / "untagged.mkv"
    ffmpeg("-i", info.path, "-vf", NO_TAGS, "-c:v", "ffv1", untagged)
    assert largest_error(next(decode_frames(replace(info, path=untagged))), (108, 108, 108)) <= 2


@pytest.mark.parametrize("pixel_format", ["gbrp10le", "yuv444p12le"])
def test_hdr_in_other_formats(tmp_path, pixel_format):
    if not {"zscale", "tonemap"} <= known_filters():
        pytest.skip("this ffmpeg has no zscale filter")
    grey = hdr_video(tmp_path / "a.mkv", pq(26), "smpte2084")
    ffmpeg("-i", grey, "-pix_fmt", pixel_format, "-color_trc", "smpte2084", "-c:v", "ffv1", tmp_path / "b.mkv")
    info = probe(tmp_path / "b.mkv")
    assert (info.hdr, info.pixel_format) == ("smpte2084", pixel_format)
    assert largest_error(next(decode_frames(info)), (108, 108, 108)) <= 2


def test_hdr_without_the_filters_is_a_warning(tmp_path, monkeypatch, caplog):
    path = hdr_video(tmp_path / "a.mkv", pq(100), "smpte2084")
    monkeypatch.setattr(media, "known_filters", lambda: frozenset({"scale"}))
    media._can_map_tones.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert len(list(decode_frames(path))) == 2
    media._can_map_tones.cache_clear()
    assert "HDR video will look pale" in caplog.text


@pytest.mark.parametrize("fields", ["tff", "bff", None])
def test_interlaced_video_has_no_combs(tmp_path, fields):
    """A bar moves by 8 pixels a field; where it is sharp in both fields, lines alternate."""
    height, width, n_fields = 48, 128, 20
    moving = np.zeros((n_fields, height, width, 3), np.uint8)
    for n, picture in enumerate(moving):
        picture[:, n * 5 : n * 5 + 20] = 255
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "50", "-i", "pipe:0"]
    mode = {"tff": "interleave_top", "bff": "interleave_bottom"}.get(fields)
    weave = f"tinterlace={mode}," if mode else "fps=25,"
    order = ["-field_order", {"tff": "tt", "bff": "bb"}[fields]] if fields else []
    path = tmp_path / "a.mkv"
    ffmpeg(*raw, "-vf", f"{weave}format=yuv444p", "-c:v", "ffv1", *order, path, stdin=moving.tobytes())
    info = probe(path)
    assert (info.rate, info.interlaced) == (25, fields is not None)
    frames = np.stack(list(decode_frames(info))).astype(int)[1:-1]
    assert len(frames) == 8
    assert np.abs(np.diff(frames[..., 0], axis=1)).mean() < 1  # lines are alike
    assert all(frame.mean(axis=(0, 2)).max() > 100 for frame in frames)  # and the bar is there


# Failures while decoding


def test_closing_early_ends_the_decoder(tmp_path):
    frames = decode_frames(numbered_video(tmp_path / "a.mp4", 250))
    next(frames)
    assert len(children()) == 1
    frames.close()
    assert children() == []


def test_damage_that_can_be_decoded_is_a_warning(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = encode(tmp_path / "a.mkv", noise, "-g", "10", n_frames=50)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert len(list(decode_frames(path))) >= 40
    assert "a.mkv may be damaged: " in caplog.text


def test_a_failing_decoder_is_one_sentence(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4")
    monkeypatch.setattr(media, "_rgb_filters", lambda info, rate, first: "nosuchfilter")
    with pytest.raises(MediaError, match=r"up to frame 0 only.*nosuchfilter") as caught:
        list(decode_frames(path))
    assert "\n" not in str(caught.value) and "0x" not in str(caught.value)


# Sound


def test_equal_channels_keep_their_level(tmp_path):
    """0.8 in stereo and in 5.1 is 0.8 in mono."""
    for channels in (1, 2, 6):
        path = tone(tmp_path / f"{channels}.wav", 1, rate=48000, channels=channels, peak=0.8)
        samples = decode_audio(path, tmp_path)
        assert np.abs(samples).max() / 32768 == pytest.approx(0.8, abs=0.01)


def test_full_scale_stereo_does_not_clip_from_floating_point_codecs(tmp_path):
    song = tone(tmp_path / "a.wav", 1, rate=48000, channels=2, peak=0.99)
    ffmpeg("-i", song, "-c:a", "pcm_f32le", tmp_path / "f.wav")
    samples = decode_audio(tmp_path / "f.wav", tmp_path)
    assert np.abs(samples[800:-800]).max() / 32768 == pytest.approx(0.99, abs=0.01)


def test_sound_is_a_read_only_map_of_a_file(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    path = tone(tmp_path / "a.wav", 1.5)
    first, second = decode_audio(path, folder), decode_audio(path, folder, sample_rate=8000)
    assert isinstance(first, np.memmap) and (first.shape, first.dtype) == ((24000,), np.int16)
    assert second.shape == (12000,) and len(list(folder.iterdir())) == 2
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_sound_at_its_own_rate_is_untouched(tmp_path):
    path = tone(tmp_path / "a.wav", 1)
    with wave.open(str(path)) as file:
        expected = np.frombuffer(file.readframes(16000), "<i2")
    assert np.array_equal(decode_audio(path, tmp_path), expected)


def test_sound_of_a_video(tmp_path):
    path = write(tmp_path / "a.mp4", n_frames=25, audio=tone(tmp_path / "a.wav", 1))
    assert abs(len(decode_audio(path, tmp_path)) - 16000) <= 1024


def test_no_sound_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="no audio stream"):
        decode_audio(write(tmp_path / "a.mp4"), tmp_path)
    with pytest.raises(MediaError, match="without samples"):
        decode_audio(tone(tmp_path / "a.wav", 0), tmp_path)


# Writing


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_awkward_names_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    song = tone(tmp_path / f"{name}.wav", 1)
    write(Path(name), n_frames=5, audio=song)
    assert len(list(decode_frames(name))) == 5
    assert len(decode_audio(name, tmp_path)) > 0
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".s16le"} == {name, f"{name}.wav"}


def test_names_may_start_with_a_dash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tone(Path("-in.wav"), 1)
    write(Path("-in.mp4"), n_frames=5, audio="-in.wav")
    assert len(list(decode_frames("-in.mp4"))) == 5 and probe_audio("-in.mp4").codec == "aac"


def sound_file(path: Path, codec: str, *, channels: int = 2) -> Path:
    song = tone(path.with_name("source.wav"), 2, rate=48000, channels=channels)
    ffmpeg("-i", song, "-c:a", codec, path)
    return path


@pytest.mark.parametrize(
    ("source", "codec", "target", "expected"),
    [
        ("a.m4a", "aac", "o.mp4", "aac"),
        ("a.mp3", "libmp3lame", "o.mp4", "mp3"),
        ("a.ac3", "ac3", "o.mp4", "ac3"),
        ("a.wav", "pcm_s16le", "o.mp4", "aac"),
        ("a.flac", "flac", "o.mp4", "aac"),
        ("a.ogg", "libopus", "o.mp4", "aac"),
        ("a.ogg", "libopus", "o.mkv", "opus"),
        ("a.wav", "pcm_s16le", "o.mov", "pcm_s16le"),
    ],
)
def test_sound_is_copied_where_it_fits_and_else_encoded(tmp_path, source, codec, target, expected):
    song = sound_file(tmp_path / source, codec)
    video = write(tmp_path / target, n_frames=25, audio=song)
    audio = probe(video).audio
    assert (audio.codec, audio.sample_rate, audio.channels) == (expected, 48000, 2)
    if expected == codec == "aac" or expected in ("mp3", "ac3", "opus"):
        assert packets(video)[4:30] == packets(song)[4:30]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0])]


def test_surround_stays_surround(tmp_path):
    video = write(tmp_path / "o.mp4", n_frames=25, audio=sound_file(tmp_path / "a.flac", "flac", channels=6))
    assert (probe(video).audio.codec, probe(video).audio.channels) == ("aac", 6)


@pytest.mark.parametrize("source", ["a.wav", "a.m4a"])
def test_sound_starts_with_the_picture_and_is_trimmed_to_it(tmp_path, source):
    song = sound_file(tmp_path / source, "pcm_s16le" if source == "a.wav" else "aac")
    times = stream_times(write(tmp_path / "o.mp4", n_frames=25, audio=song))
    assert times["video"] == (0, 1)
    assert times["audio"][0] == 0
    assert times["audio"][1] == pytest.approx(1, abs=1024 / 48000)


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001)], ids=str)
def test_the_picture_is_never_cut_to_the_sound(tmp_path, rate):
    numbered_video(tmp_path / "o.mp4", 50, rate, audio=tone(tmp_path / "a.wav", 1, rate=48000))
    assert [number(frame) for frame in decode_frames(tmp_path / "o.mp4", rate)] == list(range(50))
    assert stream_times(tmp_path / "o.mp4")["audio"][1] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("source", "late_s"), [("a.wav", 0), ("a.m4a", 0.2), ("a.mp3", 0)])
def test_silence_follows_the_sound_on_request(tmp_path, source, late_s):
    song = tone(tmp_path / "short.wav", 1, rate=48000, channels=2, late_s=late_s)
    ffmpeg("-i", song, tmp_path / source)
    video = write(tmp_path / "o.mp4", n_frames=75, audio=tmp_path / source, pad_after_s=1)
    audio = probe(video).audio
    assert (audio.codec, audio.sample_rate, audio.channels) == ("aac", 48000, 2)
    times = stream_times(video)
    assert times["video"] == (0, 3)
    assert times["audio"] == (0, pytest.approx(3, abs=1024 / 48000))
    samples = decode_audio(video, tmp_path)
    assert first_sound(samples) == pytest.approx(late_s, abs=0.03 if source == "a.mp3" else 0.003)
    assert np.abs(samples[17000:]).max() < 100 < np.abs(samples[14000:15000]).max()


def test_sound_that_is_long_enough_is_cut_when_padded_too(tmp_path):
    song = tone(tmp_path / "a.wav", 2, rate=48000)
    times = stream_times(write(tmp_path / "o.mp4", n_frames=25, audio=song, pad_after_s=2))
    assert times["audio"] == (0, pytest.approx(1, abs=1024 / 48000))


def test_ten_minutes_do_not_drift(tmp_path):
    """The picture turns white and a tone begins in the last second of ten minutes at 29.97 frames/s."""
    duration_s, rate = 600, Fraction(30000, 1001)
    event_s = float(17950 / rate)
    samples = np.zeros(duration_s * 8000, "<i2")
    samples[int(event_s * 8000) : int((event_s + 0.2) * 8000)] = 20000
    with wave.open(str(tmp_path / "click.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    white = "drawbox=color=white:t=fill:enable='gte(n,17950)'"
    flash = f"color=size=16x16:rate={rate}:duration={duration_s},{white}"
    ffmpeg("-f", "lavfi", "-i", flash, "-preset", "ultrafast", "-pix_fmt", "yuv420p", tmp_path / "flash.mp4")
    ffmpeg("-i", tmp_path / "click.wav", tmp_path / "click.m4a")
    song = tmp_path / "click.m4a"
    with VideoWriter(tmp_path / "o.mp4", 16, 16, 25, audio=song, preset="ultrafast") as writer:
        for frame in decode_frames(tmp_path / "flash.mp4"):
            writer.write(frame)
    flashes = [i / 25 for i, frame in enumerate(decode_frames(tmp_path / "o.mp4")) if frame[8, 8, 0] > 127]
    assert flashes[0] == pytest.approx(event_s, abs=0.02)
    assert first_sound(decode_audio(tmp_path / "o.mp4", tmp_path)) == pytest.approx(event_s, abs=0.005)


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1", "libvpx-vp9", "mpeg4", "h264_nvenc"])
def test_other_encoders(tmp_path, codec):
    if codec not in encoders():
        pytest.skip(f"this ffmpeg has no {codec}")
    try:
        writer = VideoWriter(tmp_path / "a.mp4", 256, 256, 25, codec=codec, crf=20)
    except MediaError as error:  # no device here
        assert codec == "h264_nvenc" and "h264_nvenc cannot be used here, so try libx264: " in str(error)
        return
    with writer:
        for _ in range(3):
            writer.write(flat(COLOR, 256, 256))
    frames = list(decode_frames(tmp_path / "a.mp4"))
    assert len(frames) == 3 and largest_error(frames[0]) <= 8


def test_players_of_apple_know_hevc_by_its_tag(tmp_path):
    if "libx265" not in encoders():
        pytest.skip("this ffmpeg has no libx265")
    for audio in (None, tone(tmp_path / "a.wav", 1)):
        with av.open(str(write(tmp_path / "a.mp4", codec="libx265", audio=audio))) as container:
            assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("source", ["a.wav", "a.m4a", "a.ts"])
def test_sound_is_where_it_was(tmp_path, source):
    """Silence at the start stays, through encoding and copying."""
    song = tone(tmp_path / "late.wav", 2, rate=48000, late_s=0.5)
    if source != "a.wav":
        ffmpeg("-i", song, "-c:a", "aac", tmp_path / source)
    audio = song if source == "a.wav" else tmp_path / source
    video = write(tmp_path / "o.mp4", n_frames=50, audio=audio)
    before, after = (first_sound(decode_audio(path, tmp_path)) for path in (audio, video))
    assert after == pytest.approx(before, abs=0.003)


def test_the_index_comes_first(tmp_path):
    for name, audio in (("a.mp4", None), ("b.mp4", tone(tmp_path / "a.wav", 1))):
        content = write(tmp_path / name, audio=audio).read_bytes()
        assert 0 < content.find(b"moov") < content.find(b"mdat")


def test_frames_may_be_reused_and_strided(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 128, 32, 25) as writer:
        frame = np.empty((32, 128, 3), np.uint8)
        for n in range(20):
            frame[:] = numbered(n)
            writer.write(frame[:, ::-1][:, ::-1])
    assert [number(frame) for frame in decode_frames(tmp_path / "a.mp4")] == list(range(20))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("with_audio", [False, True])
def test_an_interrupted_block_leaves_nothing(tmp_path, error, with_audio):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.mp4").write_bytes(b"the one before")
    audio = tone(tmp_path / "a.wav", 1) if with_audio else None
    with pytest.raises(error), VideoWriter(out / "a.mp4", 64, 48, 25, audio=audio) as writer:
        writer.write(flat(COLOR))
        raise error
    assert [path.name for path in out.iterdir()] == ["a.mp4"]
    assert (out / "a.mp4").read_bytes() == b"the one before"
    assert not [thread for thread in threading.enumerate() if thread.name == "video-writer"]


def test_a_killed_encoder_is_an_error_and_not_a_hang(tmp_path):
    with (
        pytest.raises(MediaError, match=r"a\.mp4 cannot be written.*stopped by the system"),
        VideoWriter(tmp_path / "a.mp4", 640, 480, 25) as writer,
    ):
        for _ in range(10_000):
            writer.write(flat(COLOR, 640, 480))
            for child in children():
                child.kill()
    assert list(tmp_path.iterdir()) == []


def test_the_encoders_reason_is_told(tmp_path):
    """MP4 files do not hold every codec."""
    with (
        pytest.raises(MediaError, match=r"a\.mp4 cannot be written; .*utvideo") as caught,
        VideoWriter(tmp_path / "a.mp4", 64, 48, 25, codec="utvideo") as writer,
    ):
        writer.write(flat(COLOR))
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_no_frames_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="cannot be written"), VideoWriter(tmp_path / "a.mp4", 64, 48, 25):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.xyz", {}, r"expected a name ending in \.mp4"),
        ("folder.mp4", {}, "is a folder"),
        ("missing/a.mp4", {}, "folder does not exist"),
        ("a.mp4", {"codec": "libnone"}, "no encoder libnone"),
        ("a.mp4", {"preset": "hasty"}, "libx264 has no preset hasty"),
        ("a.mp4", {"crf": 99}, "expected a crf of 0 to 51"),
        ("a.mp4", {"audio": "missing.wav"}, "missing.wav does not exist"),
        ("a.mp4", {"audio": "silent.mp4"}, "silent.mp4 has no audio stream"),
    ],
)
def test_impossible_targets_fail_before_any_work(tmp_path, monkeypatch, name, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.mp4").mkdir()
    write(tmp_path / "silent.mp4")
    with pytest.raises(MediaError, match=message):
        VideoWriter(name, 64, 48, 25, **options)


@pytest.mark.parametrize("frame", [np.zeros((48, 65, 3), np.uint8), np.zeros((48, 64, 3), np.float32)])
def test_wrong_frames_are_refused(tmp_path, frame):
    with (
        pytest.raises(ValueError, match=r"expected a \(48, 64, 3\) uint8 frame"),
        VideoWriter(tmp_path / "a.mp4", 64, 48, 25) as writer,
    ):
        writer.write(frame)


# Memory

TRANSCODE = """
import sys, psutil
from latentsync.media.ffmpeg import VideoWriter, decode_frames, probe

process = psutil.Process()

def resident():
    return sum(p.memory_info().rss for p in (process, *process.children()))

for source in sys.argv[2:]:
    info, peak = probe(source), 0
    size = info.width, info.height
    with VideoWriter(sys.argv[1], *size, 25, preset="ultrafast", queue_bytes=1 << 20) as writer:
        for i, frame in enumerate(decode_frames(info)):
            writer.write(frame)
            if i % 10 == 9:
                peak = max(peak, resident())
    print(peak)
"""


def test_memory_does_not_grow_with_the_video(tmp_path):
    """900 more frames of 320x180 would be 156 MB if they were kept."""
    sources = []
    for n_frames in (100, 1000):
        sources.append(tmp_path / f"{n_frames}.mp4")
        options = ["-preset", "ultrafast", "-pix_fmt", "yuv420p"]
        encode(sources[-1], flat(COLOR, 320, 180), *options, n_frames=n_frames)
    command = [sys.executable, "-c", TRANSCODE, tmp_path / "out.mp4", *sources]
    peaks = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPO_ROOT).stdout.split()
    assert int(peaks[1]) - int(peaks[0]) < 16e6, peaks


# Real footage


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "shape", "n"),
    [
        ("demo1_video.mp4", (1920, 1080, 3), 250),
        ("demo2_video.mp4", (1920, 1080, 3), 502),
        ("sun.mp4", (768, 576, 3), 550),
    ],
)
def test_real_clips(footage, name, shape, n):
    start, count = time.monotonic(), 0
    for frame in decode_frames(footage(name)):
        count += 1
        assert frame.shape == shape
    print(f"{name}: {count / (time.monotonic() - start):.0f} frames a second")
    assert count == n


# Stretches of a file


@pytest.mark.parametrize("rate", ["12", "24000/1001", "25", "30", "60"])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".mp4", []), (".mkv", ["-x264-params", "open-gop=1:keyint=40:bframes=3"]), (".ts", ["-g", "50"])],
)
def test_frames_from_a_place_on_are_those_of_the_whole(tmp_path, rate, suffix, options):
    source, video = numbered_video(tmp_path / "a.mp4", 130, Fraction(rate)), tmp_path / f"b{suffix}"
    ffmpeg("-i", source, *options, "-c:v", "libx264", "-preset", "ultrafast", video)
    whole = [number(frame) for frame in decode_frames(video)]
    for first in (0, 3, 25, 26, 49):
        assert [number(frame) for frame in decode_frames(video, first=first, n_frames=12)] == whole[first : first + 12]


@pytest.mark.parametrize("suffix", [".m4a", ".mp3", ".wav", ".ts"])
def test_sound_from_a_second_on_is_that_of_the_whole(tmp_path, suffix):
    rng, time_s = np.random.default_rng(0), np.arange(4 * 44100) / 44100
    tones = rng.uniform(50, 400, 20)[:, None], rng.uniform(0, 2 * np.pi, 20)[:, None]
    noise = (np.sin(2 * np.pi * tones[0] * time_s + tones[1]).sum(axis=0) * 1500).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(noise.tobytes())
    sound = tmp_path / f"b{suffix}"
    ffmpeg("-i", tmp_path / "a.wav", *(["-c:a", "aac"] if suffix == ".ts" else []), sound)
    whole = np.array(decode_audio(sound, tmp_path))
    for second in (0, 1, 2, 3):
        part = decode_audio(sound, tmp_path, from_s=second, n_samples=5000)
        assert len(part) == 5000  # and the same but for the place between two samples, which the resampler chooses
        assert np.corrcoef(part, whole[second * 16000 :][:5000])[0, 1] > 0.995


def test_damage_is_an_error_where_it_shall_be(tmp_path, caplog):
    path = tmp_path / "b.mkv"
    ffmpeg("-i", numbered_video(tmp_path / "a.mp4", 100), "-c", "copy", "-bsf:v", "noise=amount=60", path)
    assert list(decode_frames(path)) and "may be damaged" in caplog.text
    with pytest.raises(MediaError, match=r"b\.mkv is damaged: .*; copy or download it again"):
        list(decode_frames(path, strict=True))


def test_names_in_other_encodings_do_no_harm(tmp_path):
    path = tone(tmp_path / "a.wav", 0.2)
    title = b"INFOINAM" + (4).to_bytes(4, "little") + b"\x90\xe9\xff\0"
    path.write_bytes(path.read_bytes() + b"LIST" + len(title).to_bytes(4, "little") + title)
    assert probe_audio(path).sample_rate > 0


def test_a_codec_that_nobody_knows_is_told(tmp_path):
    path = numbered_video(tmp_path / "a.mp4", 3)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(MediaError, match="no video stream"):
        probe(path)
