"""Measures notice known damage, through the command."""

import csv
from pathlib import Path

import numpy as np
import pytest

from eval import damage, eval_damage
from eval.damage import DAMAGES, UNDAMAGED
from eval.eval_damage import cli
from latentsync import REPO_ROOT
from latentsync.media.ffmpeg import decode_audio, decode_frames

from ..media.make import ffmpeg
from .here import Here
from .test_report import no_weights  # noqa: F401 (a fixture)

pytestmark = pytest.mark.usefixtures("no_weights")

CHOSEN = (UNDAMAGED, "noise 18", "frozen mouth", "wrong identity", "sound late by 4", "swapped sound")
FRAMES = 36


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A table of three people who are in sync."""
    folder = tmp_path_factory.mktemp("good")
    for demo in (1, 2, 3):
        video = REPO_ROOT / f"assets/demo{demo}_video.mp4"
        stretch = ("-ss", "1.2", "-t", str(FRAMES / 25), "-i", video)
        ffmpeg(*stretch, "-vf", "scale=270:-2", "-preset", "ultrafast", "-crf", "14", folder / f"{demo}.mp4")
    (folder / "good.csv").write_text("out\n1.mp4\n2.mp4\n3.mp4\n")
    return folder / "good.csv"


def test_each_measure_notices_what_it_must(good, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(damage, "DAMAGES", {name: DAMAGES[name] for name in CHOSEN})
    monkeypatch.setattr(eval_damage, "DAMAGES", damage.DAMAGES)
    monkeypatch.setattr(eval_damage, "choose_executor", lambda _: Here())
    assert cli(["--pairs", str(good), "--out", str(tmp_path), "--quiet", "--device", "cpu"]) == 0
    told = capsys.readouterr()
    assert "true pairs are told from false ones: area under the ROC curve 1.0000" in told.out and "!" not in told.out
    with (tmp_path / "damage.csv").open() as file:
        found = {(row["damage"], row["column"]): row for row in csv.DictReader(file)}
    must = {key for key, row in found.items() if row["must"] == "True"}
    assert ("frozen mouth", "lmd") in must and ("sound late by 4", "offset") in must
    assert all(found[key]["noticed"] == "worse" for key in must)
    assert float(found["sound late by 4", "offset"]["value"]) == 4
    # Frozen lips flicker too little, noise too much.
    flicker = {name: float(found[name, "flicker"]["value"]) for name in ("frozen mouth", "noise 18")}
    assert flicker["frozen mouth"] < 0.8 < 1.2 < flicker["noise 18"]

    # What the damage is, in the files.
    frozen, plain = (list(decode_frames(tmp_path / f"damaged/{name}/1.mkv")) for name in ("frozen mouth", UNDAMAGED))
    assert len(frozen) == len(plain) == FRAMES
    original = decode_audio(good.parent / "1.mp4", tmp_path)
    late = decode_audio(tmp_path / "damaged/sound late by 4/1.mkv", tmp_path)
    n = min(len(original), len(late)) - 4 * 640
    assert np.abs(late[4 * 640 :][:n].astype(int) - original[:n]).max() <= 2 and not late[: 4 * 640 - 100].any()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.mp4\nb.mp4\n", "expected 3 videos or more, got 2; add videos"),
        ("a.mp4\nx/a.mp4\nb.mp4\n", "two videos have the same name; rename one of them"),
        ("a.mp4\nb.mp4\nc.mp4\n", "some videos could not be damaged and measured; leave them out"),
    ],
)
def test_sets_that_cannot_be_damaged(tmp_path, monkeypatch, capsys, rows, message):
    monkeypatch.setattr(eval_damage, "choose_executor", lambda _: Here())
    (tmp_path / "good.csv").write_text(f"out\n{rows}")
    assert cli(["--pairs", str(tmp_path / "good.csv"), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert message in capsys.readouterr().err
