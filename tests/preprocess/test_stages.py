"""Stages one by one, on little videos whose every frame and sample is known."""

import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.judges import Sync as Found
from latentsync.media.ffmpeg import decode_audio, decode_frames, probe, probe_audio
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected
from latentsync.types import AlignedFace
from preprocess.media import SAMPLES_PER_FRAME, sound_of
from preprocess.settings import SegmentSettings, ShotSettings, VerifySettings
from preprocess.stages.align import Runs
from preprocess.stages.cut import Cut
from preprocess.stages.segments import Segments, edges
from preprocess.stages.shots import Shots
from preprocess.stages.sync import Sync
from preprocess.stages.verify import Verify

from ..media.make import ffmpeg, number, numbered_video, tone

NO_LIMITS = VerifySettings(min_s=0.1)


def piece(path: Path) -> Piece:
    return Piece(path.stem, path)


def clicks(path: Path, n_frames: int, rate: int = 48000) -> Path:
    """A sound in which frame i has the level of i: 100 i."""
    samples = np.repeat(np.arange(n_frames) * 100, rate // 25).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def levels(samples: np.ndarray) -> list[int]:
    """The number of the frame that each 40 ms of sound belong to."""
    middle = samples.reshape(-1, SAMPLES_PER_FRAME)[:, 200:440].astype(float).mean(axis=1)
    return [round(value / 100) for value in middle]


@pytest.fixture
def source(tmp_path) -> Path:
    """200 numbered frames, and a sound that tells their numbers too; losslessly, so that levels are exact."""
    picture, sound, path = tmp_path / "p.mp4", clicks(tmp_path / "s.wav", 200), tmp_path / "source.mkv"
    ffmpeg("-i", numbered_video(picture, 200), "-i", sound, "-c:v", "copy", "-c:a", "pcm_s16le", path)
    return path


# Verify


def verdict(path: Path, settings: VerifySettings = NO_LIMITS) -> str:
    before = path.read_bytes() if path.is_file() else b""
    try:
        Verify(settings)(piece(path), path.parent)
    except Rejected as rejected:
        return str(rejected)
    finally:
        assert (path.read_bytes() if path.is_file() else b"") == before
    return ""


def test_a_good_video_passes_with_what_is_known_of_it(source):
    (found,) = Verify(NO_LIMITS)(piece(source), source.parent)
    assert found.path == source and found.whole
    assert (found.metrics["duration_s"], found.metrics["fps"], found.metrics["width"]) == (8, 25, 128)


def test_silent_files_are_rejected_and_stay(tmp_path):
    assert verdict(numbered_video(tmp_path / "a.mp4", 20)) == "no sound"
    quiet = numbered_video(tmp_path / "b.mp4", 20, audio=tone(tmp_path / "b.wav", 0.8, peak=0.0))
    assert verdict(quiet) == "silent"


def test_short_and_unreadable_files_are_rejected(tmp_path, source):
    assert verdict(source, VerifySettings(min_s=9)) == "short"
    (tmp_path / "text.mp4").write_text("not a video")
    assert verdict(tmp_path / "text.mp4").startswith("unreadable: is not a readable video")
    video = numbered_video(tmp_path / "c.mp4", 100, audio=tone(tmp_path / "c.wav", 4))
    half = tmp_path / "half.mp4"
    half.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert verdict(half).startswith("unreadable: ")


# Shots and segments


def scenes(path: Path, *lengths: int) -> Path:
    """Shots of still noise of these lengths, 64 x 48, with a tone."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in lengths]
    content = b"".join(picture.tobytes() * n for picture, n in zip(pictures, lengths, strict=True))
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "25"]
    ffmpeg(*raw, "-i", "pipe:0", "-i", tone(path.with_suffix(".wav"), sum(lengths) / 25), path, stdin=content)
    return path


@pytest.mark.parametrize("lengths", [(60,), (40, 60), (30, 50, 20)])
def test_shots_end_where_the_next_begins_and_keep_the_last_frame(tmp_path, lengths):
    path = scenes(tmp_path / "a.mp4", *lengths)
    shots = Shots(ShotSettings())(piece(path), tmp_path)
    assert [(shot.key, shot.n_frames) for shot in shots] == [
        (f"a_shot_{i:03d}", length) for i, length in enumerate(lengths, 1)
    ]
    assert [shot.first for shot in shots] == [sum(lengths[:i]) for i in range(len(lengths))]
    assert all(shot.path == path for shot in shots)


def test_a_damaged_picture_is_a_reason(tmp_path):
    sound = numbered_video(tmp_path / "a.mp4", 100, audio=tone(tmp_path / "a.wav", 4))
    ffmpeg("-i", sound, "-c", "copy", "-bsf:v", "noise=amount=60", tmp_path / "b.mkv")
    with pytest.raises(Rejected, match="damaged"):
        Shots(ShotSettings())(piece(tmp_path / "b.mkv"), tmp_path)


@pytest.mark.parametrize("n_frames", [50, 124, 250, 251, 499, 500, 501, 775, 9001])
def test_segments_cover_all_frames_in_equal_parts_of_five_to_ten_seconds(n_frames):
    lengths = [b - a for a, b in pairwise(edges(n_frames, 250))]
    assert sum(lengths) == n_frames and max(lengths) <= 250 and max(lengths) - min(lengths) <= 1
    assert min(lengths) >= 125 or n_frames < 250


def test_short_shots_are_rejected_with_their_length():
    with pytest.raises(Rejected, match="short") as rejected:
        Segments(SegmentSettings(min_s=2))(Piece("a", Path("a.mp4"), n_frames=49), Path())
    assert rejected.value.metrics == {"seconds": 1.96}


# Sound, and files of pieces


@pytest.mark.parametrize("first", [0, 1, 24, 25, 60, 137])
def test_the_sound_of_frames_is_theirs(source, first):
    assert levels(sound_of(source, first, 30)) == list(range(first, first + 30))


def test_sound_beyond_a_file_is_silence(source):
    assert levels(sound_of(source, -3, 6)) == [0, 0, 0, 0, 1, 2]
    assert levels(sound_of(source, 197, 6)) == [197, 198, 199, 0, 0, 0]
    assert not sound_of(source, 400, 5).any()


def test_cut_pieces_have_their_frames_and_samples_without_any_lag(tmp_path, source):
    (made,) = Cut("segments", "segmented", 12, "ultrafast")(Piece("x", source, first=50, n_frames=70), tmp_path / "out")
    assert [number(frame) for frame in decode_frames(made.path)] == list(range(50, 120))
    assert levels(decode_audio(made.path, tmp_path)) == list(range(50, 120))
    assert probe(made.path).rate == 25 and probe_audio(made.path).sample_rate == 16000
    assert made.origin == (source, 50)


def test_readers_that_overlook_start_times_hear_no_lag_either(tmp_path, source):
    """decord and raw PCM extraction skip edit lists: AAC's delay would come through."""
    decord = pytest.importorskip("decord")
    (made,) = Cut("segments", "segmented", 12, "ultrafast")(Piece("x", source, first=50, n_frames=70), tmp_path / "out")
    samples = decord.AudioReader(str(made.path), sample_rate=16000, mono=True)[:].asnumpy()[0]
    n = len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    assert levels(samples[:n] * 32768)[:60] == list(range(50, 110))


# Sync


class Told:
    """A judge that says what it is told."""

    name = "told"

    def __init__(self, offset: int, confidence: float = 1.0) -> None:
        self.found = Found(offset, confidence, confidence, 0.0, [])

    def identity(self):
        return {"judge": self.name}

    def load(self, device: str) -> None:
        pass

    def __call__(self, path: Path) -> Found:
        return self.found


@pytest.mark.parametrize("offset", [-6, -1, 1, 6])
def test_offsets_are_corrected_in_the_samples_with_sound_from_beyond_the_clip(tmp_path, source, offset):
    (clip,) = Cut("segments", "segmented", 12, "ultrafast")(Piece("x", source, first=50, n_frames=70), tmp_path / "out")
    (moved,) = Sync(Told(offset), 0.5, 6, "av_synced_3")(clip, tmp_path / "av_synced_3")
    assert [number(frame) for frame in decode_frames(moved.path)] == list(range(50, 120))
    assert levels(decode_audio(moved.path, tmp_path)) == list(range(50 - offset, 120 - offset))
    (again,) = Sync(Told(-offset), 0.5, 6, "again")(moved, tmp_path / "again")
    assert levels(decode_audio(again.path, tmp_path)) == list(range(50, 120))


def test_a_clip_in_sync_is_the_same_file(tmp_path, source):
    (clip,) = Cut("segments", "segmented", 12, "ultrafast")(Piece("x", source, first=5, n_frames=20), tmp_path / "out")
    (kept,) = Sync(Told(0), 0.5, 6, "av_synced_3")(clip, tmp_path / "av_synced_3")
    assert kept.path != clip.path and kept.path.samefile(clip.path)


@pytest.mark.parametrize(
    ("offset", "confidence", "why"), [(7, 1.0, "offset"), (-7, 1.0, "offset"), (0, 0.4, "low confidence")]
)
def test_clips_out_of_sync_are_rejected_with_what_was_measured(tmp_path, source, offset, confidence, why):
    with pytest.raises(Rejected, match=why) as rejected:
        Sync(Told(offset, confidence), 0.5, 6, "av_synced_3")(piece(source), tmp_path / "av_synced_3")
    assert rejected.value.metrics == {"offset": offset, "confidence": confidence, "judge": "told"}
    assert not (tmp_path / "av_synced_3").exists()


# Alignment


def faces(text: str) -> list[AlignedFace]:
    """A letter for each frame: whose face it has, or - for none."""
    frame, crop = np.zeros((2, 2, 3), np.uint8), torch.zeros(3, 2, 2, dtype=torch.uint8)
    return [AlignedFace(i, frame, None, None if c == "-" else crop, ord(c)) for i, c in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aaaa", [(0, 4)]),
        ("-aaaa", [(1, 4)]),
        ("aaa-bbbb", [(0, 3), (4, 4)]),
        ("aabbbb", [(2, 4)]),
        ("aa-a--bb", []),
        ("aaaabbbb", [(0, 4), (4, 4)]),
        ("----", []),
    ],
)
def test_runs_of_one_person_that_are_long_enough(text, expected):
    runs = Runs(iter(faces(text)), 3)
    assert [(first, len(list(run))) for first, run in runs] == expected
    assert (runs.n_frames, runs.n_faceless) == (len(text), text.count("-"))
