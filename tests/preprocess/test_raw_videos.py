"""Raw videos of known fate, and the check of what the pipeline made of them."""

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from eval.eval_data_pipeline import Video, cli, videos
from latentsync.media.ffmpeg import decode_audio, decode_frames, probe
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected
from preprocess.settings import VerifySettings
from preprocess.stages.verify import Verify
from scripts.make_raw_videos import RECIPE, SUFFIXES, Plan, beside, cut_off, remake, rotate

from ..media.make import ffmpeg, number, numbered_video, tone


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Two seconds of numbered frames that stand for a drawing; a tone begins after one."""
    folder = tmp_path_factory.mktemp("drawn")
    sound = tone(folder / "tone.wav", 2, late_s=1)
    return numbered_video(folder / "drawn.mp4", 50, audio=sound)


def onset_s(path: Path, folder: Path) -> float:
    samples = np.abs(np.array(decode_audio(path, folder), np.int32))
    return int(np.argmax(samples > 0.3 * samples.max())) / 16000


def frames(path: Path) -> list[np.ndarray]:
    return list(decode_frames(path, Fraction(25)))


def test_the_recipe_makes_two_hundred(tmp_path):
    plan, again = (Plan(tmp_path, seed=1, share=1.0) for _ in range(2))
    assert Counter(video.kind for video in plan.videos) == RECIPE and sum(RECIPE.values()) == 200
    assert len({video.name for video in plan.videos}) == 200
    assert plan.drawings == again.drawings and plan.videos == again.videos
    assert {video.drawn for video in plan.videos} <= set(plan.drawings)
    assert plan.drawings != Plan(tmp_path, seed=2, share=1.0).drawings


def test_a_small_share_has_one_of_each_kind(tmp_path):
    assert Counter(video.kind for video in Plan(tmp_path, seed=1, share=0.0).videos) == dict.fromkeys(RECIPE, 1)


@pytest.mark.parametrize("early", [-6, 0, 6])
@pytest.mark.parametrize("suffix", sorted({suffix.lower() for suffix in SUFFIXES}))
def test_sound_is_moved_and_pictures_stay_in_every_container(tmp_path, drawn, suffix, early):
    made = tmp_path / f"made{suffix}"
    remake(drawn, made, seconds=2, early=early)
    assert onset_s(made, tmp_path) == pytest.approx(1 - early / 25, abs=0.002)
    assert [number(frame) for frame in frames(made)][:49] == list(range(49))


def test_sound_goes_with_frames_of_25_per_second(tmp_path):
    """A frame of 50/s shows a moment 10 ms earlier."""
    drawn, made = tmp_path / "drawn.mp4", tmp_path / "made.mp4"
    numbered_video(drawn, 100, 50, audio=tone(tmp_path / "tone.wav", 2, late_s=1))
    remake(drawn, made, seconds=2)
    assert onset_s(made, tmp_path) == pytest.approx(1.01, abs=0.002)


def test_sound_that_begins_late_is_in_sync(tmp_path, drawn):
    made = tmp_path / "made.mkv"
    remake(drawn, made, seconds=2, begins_s=0.3)
    assert onset_s(made, tmp_path) == pytest.approx(1, abs=0.002)
    assert [number(frame) for frame in frames(made)] == list(range(50))


def test_a_rotated_video_is_shown_upright(tmp_path, drawn):
    made = tmp_path / "made.mov"
    rotate(drawn, made, seconds=2)
    assert [number(frame) for frame in frames(made)] == list(range(50))


def test_two_people_side_by_side(tmp_path, drawn):
    made, large = tmp_path / "made.mp4", tmp_path / "large.mp4"
    ffmpeg("-i", drawn, "-vf", "scale=512:512,setsar=1", large)
    beside(large, drawn, made, seconds=2, speaks=drawn)
    assert (probe(made).width, probe(made).height) == (768, 512)
    assert [number(frame[:, :512]) for frame in frames(made)] == list(range(50))
    assert [number(frame[192:320, 512:]) for frame in frames(made)] == list(range(50))


def test_a_download_that_was_cut_off_is_left_out(tmp_path, drawn):
    made = tmp_path / "made.mp4"
    cut_off(drawn, made, share=0.6)
    with pytest.raises(Rejected, match=r"^unreadable|^pictures end before the file does"):
        Verify(VerifySettings(min_s=0.5))(Piece("made", made), tmp_path)


# What is wrong


def clip(first: int, n_frames: int, offset: int) -> Piece:
    path = Path("clip.mp4")
    return Piece("clip", path, source_first=first, metrics={"frames": n_frames, "offset": offset})


def video(fate: dict, clips=(), dropped=()) -> Video:
    fate = {"left_out": [], "offset": 0, "stretches": []} | fate
    return Video("kind", "name.mp4", "drawn", fate, list(clips), list(dropped))


KEPT = {"offset": 3, "stretches": [[0, 60], [85, 160]]}
SHORT = [("segments", "rejected", "short")]
LEFT_OUT = {"left_out": ["verify: unreadable", "shots: damaged"]}


@pytest.mark.parametrize(
    "found, misses",
    [
        (video(KEPT, [clip(84, 76, 3), clip(0, 61, 3)]), ""),
        (video(KEPT, [clip(0, 60, 3)]), "clips [(0, 60)] instead of"),
        (video(KEPT, [clip(0, 60, 3), clip(80, 80, 3)]), "(80, 160)] instead of"),
        (video(KEPT, [clip(0, 60, 3), clip(85, 75, 2)]), "offset 2 instead of 3"),
        (video(KEPT, [], [("align", "rejected", "no face")]), "align left out: no face"),
        (video(LEFT_OUT, [], [("shots", "rejected", "damaged: frame 3")]), ""),
        (video(LEFT_OUT, [], [("sync", "rejected", "offset")]), "sync left out: offset"),
        (video(LEFT_OUT, [clip(0, 60, 0)]), "clips [(0, 60)] instead of []"),
        (video(LEFT_OUT, [], [("shots", "failed", "damaged, and a bug")]), "shots failed: damaged, and a bug"),
        (video(KEPT | {"left_out": ["segments: short"]}, [clip(84, 76, 3), clip(0, 61, 3)], SHORT), ""),
        (video(KEPT, [clip(84, 76, 3), clip(0, 61, 3)], SHORT), "segments left out: short"),
    ],
)
def test_misses_are_told(found, misses):
    told = "; ".join(found.misses())
    assert misses in told if misses else told == ""


def test_a_folder_without_truth_is_an_error(tmp_path, capsys):
    assert cli([str(tmp_path)]) == 2
    assert "truth.json: no such file; make it by scripts.make_raw_videos" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_manifest_is_an_error(tmp_path):
    (tmp_path / "truth.json").write_text("[]")
    with pytest.raises(Exception, match="run the data pipeline on its raw/ first"):
        videos(tmp_path)
