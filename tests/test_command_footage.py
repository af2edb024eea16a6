"""The whole command on the names, sounds and videos that users have: what comes out is what was asked for."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.build import build_pipeline
from latentsync.config import UNetConfig, load_config
from latentsync.media.ffmpeg import decode_audio, decode_frames, probe, probe_audio
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from scripts import inference

from .command import (
    CHANGED,
    CLEAN,
    MOUTH,
    SAME,
    SIDE,
    Command,
    demo_frames,
    is_same,
    only_mouth_changed,
    write_clip,
)
from .media.make import ffmpeg, tone


@pytest.fixture(scope="session")
def networks(tiny_flags) -> LipsyncPipeline:
    _, weights, _, config = tiny_flags
    return build_pipeline(load_config(UNetConfig, config), weights, device="cpu")


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, networks):
    """Loading takes longer than all the rest of these runs; that calls share nothing is tested elsewhere."""
    monkeypatch.setattr(inference, "build_pipeline", lambda *_, **__: networks)


X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "8")


def loudness_s(path: Path, folder: Path) -> tuple[float, float]:
    """When the first channel of a tone begins and ends."""
    loud = np.flatnonzero(np.abs(decode_audio(path, folder)) > 3000)
    return loud[0] / 16000, loud[-1] / 16000


# Names

AWKWARD = [
    "in my 'own' \"words\"",
    "$(touch x); touch y #",
    "`touch x` & touch y | tee z",
    "-y",
    "größer 口型 🎬",
    "%03d %s",
    "http: concat:a|b",
    "two\nlines",
    "a" * 240,
]


@pytest.mark.parametrize("name", AWKWARD, ids=range(len(AWKWARD)))
def test_any_name_is_only_a_name(command: Command, clip, speech, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.mp4").write_bytes(clip.read_bytes())
    Path(f"{name}.wav").write_bytes(speech.read_bytes())
    result = command(f"{name}.mp4", f"{name}.wav", f"{name}.mkv")
    assert all(result.changed) and len(result.frames) == 10
    assert result.report["video_out_path"] == f"{name}.mkv"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}{suffix}" for suffix in (".mp4", ".wav", ".mkv")}


# Sounds


@pytest.mark.parametrize(
    ("name", "options", "stream"),
    [
        ("mono.wav", ["-ac", "1"], ("aac", 16000, 1)),
        ("stereo.wav", ["-ac", "2", "-ar", "48000"], ("aac", 48000, 2)),
        ("surround.flac", ["-ac", "6", "-ar", "44100"], ("aac", 44100, 6)),
        ("telephone.wav", ["-ar", "8000"], ("aac", 8000, 1)),
        ("a.mp3", ["-ac", "2", "-ar", "44100"], ("mp3", 44100, 2)),
        ("a.m4a", ["-ac", "2", "-ar", "48000"], ("aac", 48000, 2)),
        ("a.opus", ["-ar", "48000"], ("aac", 48000, 1)),
        ("a.flac", ["-ar", "48000", "-ac", "2"], ("aac", 48000, 2)),
    ],
)
def test_a_sound_of_any_kind_is_heard_and_kept(command, clip, speech, tmp_path, name, options, stream):
    sound = tmp_path / name
    ffmpeg("-i", speech, *options, sound)
    result = command(clip, sound, tmp_path / "out.mp4")
    assert all(result.changed)
    audio = result.info.audio
    assert (audio.codec, audio.sample_rate, audio.channels) == stream
    before, after = (decode_audio(path, tmp_path).astype(float) for path in (sound, tmp_path / "out.mp4"))
    assert len(result.frames) == -(-len(before) // 640)  # 25 frames/s, rounded up
    n = min(len(before), len(after), 6400)
    assert np.corrcoef(before[:n], after[:n])[0, 1] > 0.9


@pytest.mark.parametrize(("target", "codec"), [("out.mkv", "pcm_s16le"), ("out.mov", "pcm_s16le"), ("out.m4v", "aac")])
def test_each_container_keeps_what_it_can_hold(command, clip, speech, tmp_path, target, codec):
    result = command(clip, speech, tmp_path / target)
    assert result.numbers == list(range(10)) and result.info.audio.codec == codec


def test_a_silent_sound_still_moves_the_mouth(command, clip, tmp_path):
    result = command(clip, tone(tmp_path / "a.wav", 0.4, peak=0), tmp_path / "out.mp4")
    assert all(result.changed) and len(result.frames) == 10


def test_a_tenth_of_a_second_is_three_frames(command, clip, tmp_path):
    result = command(clip, tone(tmp_path / "a.wav", 0.1), tmp_path / "out.mp4")
    assert result.numbers == [0, 1, 2] and all(result.changed)


def test_a_sound_beyond_thirty_seconds_is_heard_to_its_end(command, clip, tmp_path):
    """Whisper hears 30 s at once. One frame each second, forwards and backwards over the only one there is."""
    result = command(clip, tone(tmp_path / "a.wav", 35), tmp_path / "out.mp4", "--fps", "1")
    assert len(result.frames) == 35 and all(result.changed)
    begin, end = loudness_s(tmp_path / "out.mp4", tmp_path)
    assert begin == pytest.approx(0, abs=0.05) and end == pytest.approx(35, abs=0.05)


def test_a_video_may_be_the_sound(command, clip, speech, tmp_path):
    other = tmp_path / "other.mp4"
    ffmpeg("-i", clip, "-i", speech, "-map", "0", "-map", "1", "-c:v", "copy", "-c:a", "aac", other)
    result = command(clip, other, tmp_path / "out.mp4")
    assert all(result.changed) and result.info.audio.codec == "aac"


def test_a_sound_that_starts_late_stays_late(command, clip, tmp_path):
    tone(tmp_path / "a.wav", 0.4, rate=48000)
    late = tmp_path / "late.mp4"
    ffmpeg("-i", clip, "-itsoffset", "0.2", "-i", tmp_path / "a.wav", "-map", "0", "-map", "1", "-c:v", "copy", late)
    result = command(clip, late, tmp_path / "out.mp4")
    assert len(result.frames) in (15, 16)
    begin, end = loudness_s(tmp_path / "out.mp4", tmp_path)
    assert begin == pytest.approx(0.2, abs=0.01) and end == pytest.approx(0.6, abs=0.03)


# Rates


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30), Fraction(60)], ids=["23.976", "30", "60"])
@pytest.mark.parametrize("fps", ["25", "source"])
def test_a_video_of_any_rate(command, speech, tmp_path, rate, fps):
    video = write_clip(tmp_path / "in.mp4", demo_frames(round(0.4 * rate) + 1), rate=rate)
    result = command(video, speech, tmp_path / "out.mp4", "--fps", fps)
    shown = Fraction(25) if fps == "25" else rate
    assert result.info.rate == shown
    assert len(result.frames) == -(-shown * 2 // 5)
    assert all(abs(n / rate - i / shown) <= Fraction(1, 40) for i, n in enumerate(result.numbers))
    assert len(set(result.numbers)) == len(result.frames)
    assert all(result.changed)


@pytest.mark.parametrize(("fps", "expected"), [("25", [0, 0, 1, 1, 2, 2, 3, 4, 5, 6]), ("source", None)])
def test_a_video_of_variable_rate_follows_its_time_stamps(command, speech, tmp_path, fps, expected):
    """Three frames at 12.5 a second, then 25 a second."""
    times = "setpts='if(lt(N,3),2*N,3+N)/25/TB'"
    options = ["-vf", times, "-fps_mode", "vfr", "-enc_time_base", "1/1000", *CLEAN]
    video = write_clip(tmp_path / "in.mkv", demo_frames(10), *options)
    result = command(video, speech, tmp_path / "out.mp4", "--fps", fps)
    assert expected is None or result.numbers == expected
    assert result.numbers[0] == 0 and sorted(result.numbers) == result.numbers
    assert all(result.changed)
    assert len(result.frames) == -(-result.info.rate * 2 // 5)


# Pictures

PICTURES = {
    "matroska.mkv": CLEAN,
    "quicktime.mov": CLEAN,
    "web.webm": ("-c:v", "libvpx", "-b:v", "8M", "-deadline", "realtime", "-cpu-used", "8"),
    "old.avi": ("-c:v", "mpeg4", "-q:v", "2"),
    "raw.h264": CLEAN,
    "ten bits.mp4": (*X264, "-pix_fmt", "yuv420p10le"),
    "hevc.mp4": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=1", "-pix_fmt", "yuv420p10le"),
    "every colour.mkv": (*X264, "-pix_fmt", "yuv444p"),
    "full range.mp4": (*X264, "-vf", "scale=out_range=pc,format=yuv420p,setparams=range=pc", "-color_range", "pc"),
    "portrait.mp4": ("-vf", "scale=192:256", *CLEAN),
    "odd.mp4": ("-vf", "scale=255:253", *X264, "-pix_fmt", "yuv444p"),
    "wide pixels.mp4": ("-vf", "scale=192:256,setsar=4/3", *CLEAN),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_any_kind(command, speech, tmp_path, name):
    video = write_clip(tmp_path / name, demo_frames(10), *PICTURES[name])
    result = command(video, speech, tmp_path / "out.mp4")
    assert result.numbers == list(range(10)) and all(result.changed)
    info = probe(video)
    assert (result.info.width, result.info.height) == (info.width + info.width % 2, info.height + info.height % 2)
    assert (result.info.pixel_format, result.info.color_matrix, result.info.color_range) == ("yuv420p", "bt709", "tv")


def test_a_grey_video_stays_grey_around_the_mouth(command, speech, tmp_path):
    demo = demo_frames(10)
    video = write_clip(tmp_path / "in.mp4", demo, *X264, "-pix_fmt", "gray")
    result = command(video, speech, tmp_path / "out.mp4")
    weights = np.array([0.299, 0.587, 0.114])
    assert result.numbers == list(range(10))
    assert all(
        only_mouth_changed(frame, np.repeat((before @ weights).astype(np.uint8)[..., None], 3, axis=2))
        for frame, before in zip(result.frames, demo, strict=True)
    )


def test_hdr_becomes_sdr(command, speech, tmp_path):
    """Only the tags say so here, so the demo's colours change; the picture is the one that the decoder gives."""
    tags = "setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67"
    options = ["-vf", tags, *X264, "-pix_fmt", "yuv420p10le", "-colorspace", "bt2020nc"]
    options += ["-color_primaries", "bt2020", "-color_trc", "arib-std-b67"]
    video = write_clip(tmp_path / "in.mkv", demo_frames(10), *options)
    assert probe(video).hdr == "arib-std-b67"
    result = command(video, speech, tmp_path / "out.mp4")
    assert result.info.hdr is None and result.info.color_matrix == "bt709"
    assert all(only_mouth_changed(a, b) for a, b in zip(result.frames, decode_frames(video), strict=True))


@pytest.mark.parametrize(("degrees", "fps"), [(90, "25"), (180, "25"), (270, "source")])
def test_a_turned_video_comes_out_upright(command, speech, tmp_path, degrees, fps):
    upright = demo_frames(10)[:, :, :224]
    plain = write_clip(tmp_path / "plain.mp4", np.rot90(upright, -degrees // 90, axes=(1, 2)))
    video = tmp_path / "in.mp4"
    ffmpeg("-display_rotation", degrees, "-i", plain, "-c", "copy", video)
    result = command(video, speech, tmp_path / "out.mp4", "--fps", fps)
    assert (result.info.width, result.info.height) == (224, 256) and len(result.frames) == 10
    for frame, before in zip(result.frames, upright, strict=True):
        levels = np.abs(frame.astype(int) - before).mean(axis=2)
        assert levels[MOUTH].mean() > CHANGED and levels[:110].mean() < SAME


def test_a_cover_picture_and_the_videos_own_sound_are_left_out(command, clip, speech, tmp_path):
    cover, video, own = tmp_path / "cover.png", tmp_path / "in.mp4", tone(tmp_path / "own.wav", 0.4, channels=2)
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1", cover)
    maps = ["-map", "1", "-map", "0", "-map", "2", "-c:v", "copy", "-disposition:v:0", "attached_pic"]
    ffmpeg("-i", clip, "-i", cover, "-i", own, *maps, video)
    result = command(video, speech, tmp_path / "out.mp4")
    assert all(result.changed) and result.info.audio.channels == 1
    before, after = (decode_audio(path, tmp_path).astype(float)[:6000] for path in (speech, tmp_path / "out.mp4"))
    assert np.corrcoef(before, after)[0, 1] > 0.9


@pytest.mark.parametrize("name", ["one.mp4", "photo.jpg", "photo.png"])
def test_one_picture_is_a_video(command, speech, tmp_path, name):
    video = tmp_path / name
    write_clip(video, demo_frames(1), *(CLEAN if name == "one.mp4" else ("-q:v", "1")))
    result = command(video, speech, tmp_path / "out.mp4")
    assert result.numbers == [0] * 10 and all(result.changed)


def test_an_animated_gif_is_a_video(command, speech, tmp_path):
    palette = ("-filter_complex", "split[a][b];[a]palettegen[p];[b][p]paletteuse")
    video = write_clip(tmp_path / "in.gif", demo_frames(5), *palette, rate=Fraction(25, 2))
    result = command(video, speech, tmp_path / "out.mp4")
    assert result.numbers == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and all(result.changed)


# Faces


def gap(frames: np.ndarray, first: int, last: int) -> np.ndarray:
    """The frames, with a patch over the face from the first to the last."""
    frames[first : last + 1, 80:200, 60:190] = frames[0, 80:200, 60:190].mean(axis=(0, 1))
    return frames


def test_a_long_gap_passes_through_and_is_reported(command, tmp_path):
    source = gap(demo_frames(30), 10, 23)
    video = write_clip(tmp_path / "in.mp4", source)
    result = command(video, tone(tmp_path / "a.wav", 1.2), tmp_path / "out.mp4")
    assert result.report["faceless"] == [[10, 23]] and result.numbers == list(range(30))
    for i, (frame, before) in enumerate(zip(result.frames, source, strict=True)):
        assert is_same(frame, before) if 10 <= i <= 23 else only_mouth_changed(frame, before)


def test_a_short_gap_is_bridged(command, tmp_path):
    source = gap(demo_frames(15), 5, 9)
    result = command(write_clip(tmp_path / "in.mp4", source), tone(tmp_path / "a.wav", 0.6), tmp_path / "out.mp4")
    assert result.report["faceless"] == []
    assert all(only_mouth_changed(a, b) for a, b in zip(result.frames, source, strict=True))


@pytest.mark.parametrize(("face", "chosen"), [("0", 0), ("1", 1), ("150,160", 0), ("400,130", 1), ("largest", 0)])
def test_of_two_people_one_is_chosen(command, speech, tmp_path, face, chosen):
    """The one on the left is larger."""
    demo = demo_frames(10)
    source = np.full((10, SIDE, 2 * SIDE, 3), 128, np.uint8)
    squares = (slice(None), slice(SIDE)), (slice(40, 220), slice(SIDE + 40, SIDE + 220))
    for frame, before in zip(source, demo, strict=True):
        frame[squares[0]] = before
        frame[squares[1]] = cv2.resize(before, (180, 180), interpolation=cv2.INTER_AREA)
    result = command(write_clip(tmp_path / "in.mp4", source), speech, tmp_path / "out.mp4", "--face", face)
    for frame, before in zip(result.frames, source, strict=True):
        assert only_mouth_changed(frame[squares[chosen]], before[squares[chosen]])
        assert is_same(frame[squares[1 - chosen]], before[squares[1 - chosen]])


def test_a_face_partly_outside_of_the_frame(command, speech, tmp_path):
    source = np.ascontiguousarray(demo_frames(10)[:, :, 76:236])
    result = command(write_clip(tmp_path / "in.mp4", source), speech, tmp_path / "out.mp4")
    assert result.report["faceless"] == []
    for frame, before in zip(result.frames, source, strict=True):
        levels = np.abs(frame.astype(int) - before).mean(axis=2)
        assert levels[160:200, 30:74].mean() > CHANGED and levels[:110].mean() < SAME and levels[:, 140:].mean() < SAME


# Lengths


@pytest.mark.parametrize(("seconds", "codec"), [(0.4, "pcm_s16le"), (0.39, "pcm_s16le"), (0.3, "aac")])
def test_a_kept_tail_costs_the_sound_its_format_only_where_silence_follows(command, clip, tmp_path, seconds, codec):
    result = command(clip, tone(tmp_path / "a.wav", seconds), tmp_path / "out.mkv", "--tail", "keep")
    assert result.numbers == list(range(10)) and result.info.audio.codec == codec
    begin, end = loudness_s(tmp_path / "out.mkv", tmp_path)
    assert begin < 0.01 and end == pytest.approx(seconds, abs=0.03)
    if codec == "aac":
        assert len(decode_audio(tmp_path / "out.mkv", tmp_path)) / 16000 == pytest.approx(0.4, abs=0.07)


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ("pingpong", [0, 1, 2, 3, 4, 5, 5, 4, 3, 2]),
        ("loop", [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]),
        ("freeze", [0, 1, 2, 3, 4, 5, 5, 5, 5, 5]),
        ("cut", [0, 1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("tail", ["cut", "keep"])
def test_a_video_of_unknown_length_goes_on_as_asked(command, speech, tmp_path, loop, tail, expected):
    video = write_clip(tmp_path / "in.h264", demo_frames(6))
    assert probe(video).duration_s is None
    result = command(video, speech, tmp_path / "out.mp4", "--loop", loop, "--tail", tail)
    assert result.numbers == expected and all(result.changed)


@pytest.mark.parametrize(("tail", "n"), [("cut", 10), ("keep", 14)])
def test_the_tail_of_a_video_of_unknown_length(command, speech, tmp_path, tail, n):
    video = write_clip(tmp_path / "in.h264", demo_frames(14))
    result = command(video, speech, tmp_path / "out.mp4", "--tail", tail)
    assert result.numbers == list(range(n)) and result.changed == [True] * 10 + [False] * (n - 10)
    assert (result.report["frames"], result.report["tail_frames"]) == (10, n - 10)


@pytest.mark.parametrize("tail", ["cut", "keep"])
def test_what_is_left_of_a_damaged_video_is_used_with_a_warning(command, clip, speech, tmp_path, caplog, tail):
    """The index is there and the end is not: the rest is played again, whatever the index says of the length."""
    whole, video = tmp_path / "whole.mp4", tmp_path / "in.mp4"
    ffmpeg("-i", clip, "-c", "copy", "-movflags", "+faststart", whole)
    video.write_bytes(whole.read_bytes()[: round(whole.stat().st_size * 0.65)])
    assert probe(video).duration_s == pytest.approx(0.4)
    result = command(video, speech, tmp_path / "out.mp4", "--tail", tail)
    numbers = result.numbers
    n = max(numbers) + 1
    assert 3 < n < 10 and numbers == (list(range(n)) + list(range(n))[::-1])[:10]
    assert all(result.changed)
    assert any(f"{video} may be damaged" in message for message in caplog.messages)


# Real footage


@pytest.mark.media
@pytest.mark.parametrize(
    ("video", "sound", "size"),
    [
        ("demo1_video.mp4", "demo1_audio.wav", (1080, 1920)),
        ("demo2_video.mp4", "demo2_audio.wav", (1080, 1920)),
        ("sun.mp4", "eng.wav", (576, 768)),
    ],
)
def test_real_footage(command, footage, tmp_path, video, sound, size):
    short = tmp_path / "short.wav"
    ffmpeg("-i", footage(sound), "-t", "0.5", short)
    result = command(footage(video), short, tmp_path / "out.mp4")
    assert (result.info.width, result.info.height) == size and result.info.rate == 25
    assert len(result.frames) == 13 and result.report["faceless"] == []
    for frame, before in zip(result.frames, decode_frames(footage(video), 25, n_frames=13), strict=True):
        levels = np.abs(frame.astype(int) - before).mean(axis=2)
        painted = levels > 40
        assert 0.005 < painted.mean() < 0.3
        assert levels[: size[1] // 8].mean() < 3
    assert probe_audio(tmp_path / "out.mp4").codec == "aac"
