"""The evaluation on drawn people: its bars, its command, and real footage."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from eval import eval_synthetic
from eval.bars import BARS, NEEDS_JUDGE, means, verdicts
from eval.eval_synthetic import KINDS, cli, pairs_of
from eval.results import read_results
from latentsync.checkpoint import save_checkpoint
from latentsync.config import load_config, model_config
from latentsync.errors import ConfigError, MediaError
from latentsync.models.syncnet import StableSyncNet
from latentsync.schema import SyncNetConfig

from ..train.tiny import SYNCNET, fill, write_config
from .stand_in import STUDIO

FAST = ("--inference_steps", "1", "--device", "cpu", "--quiet")


@pytest.fixture(scope="module")
def judge_flags(tmp_path_factory) -> list[str]:
    """A SyncNet that knows nothing."""
    folder = tmp_path_factory.mktemp("judge")
    config = write_config(folder / "judge.yaml", "syncnet/syncnet_16_pixel", SYNCNET)
    network = fill(StableSyncNet(**model_config(load_config(SyncNetConfig, config))))
    save_checkpoint(folder / "judge.pt", network.state_dict())
    return ["--judge_config", str(config), "--judge_ckpt", str(folder / "judge.pt")]


# A drawn clip, made by a model that knows nothing


@pytest.fixture(scope="module")
def drawn(espeak, tiny_flags, tmp_path_factory) -> tuple[Path, int, list[dict]]:
    """The command on a clip of 1.2 s: its folder, exit status and rows."""
    folder = tmp_path_factory.mktemp("drawn")
    clips = ["--count", "1", "--seed", "46", "--size", "288", "--seconds", "1.2", "1.2", "--workers", "1"]
    flags = [*FAST, *tiny_flags, *clips, "--no_judge"]
    status = cli(["--out", str(folder), "--picture", str(folder / "moments.jpg"), *flags])
    content = json.loads((folder / "eval_synthetic.json").read_text())
    rows = [{k: np.nan if v is None else v for k, v in row.items()} for row in content["rows"]]
    return folder, status, rows


def test_a_model_that_knows_nothing_misses_bars_and_everything_is_written(drawn):
    folder, status, rows = drawn
    assert status == 1
    assert [row["kind"] for row in rows] == [*KINDS, *KINDS]  # one clip, and the means
    with (folder / "eval_synthetic.csv").open() as file:
        assert [row["kind"] for row in csv.DictReader(file)] == [*KINDS, *KINDS]
    content = json.loads((folder / "eval_synthetic.json").read_text())
    assert {bar["bar"].split(",")[0] for bar in content["bars"] if bar["met"] is None} == set(NEEDS_JUDGE)
    assert any(bar["met"] is False for bar in content["bars"])
    rows_of_faces, columns = cv2.imread(str(folder / "moments.jpg")).shape[:2]
    assert columns > rows_of_faces > 400
    results = read_results(folder / "pairs.csv")  # for a report
    assert results and all(path.is_file() for r in results for path in (r.path, r.video, r.audio, r.truth))
    assert not [path for path in folder.rglob(".*")]


def test_the_truth_meets_every_bar_and_the_source_misses_those_of_the_lips(drawn):
    _, _, rows = drawn
    truth = {bar.column: met for bar, _, met in verdicts(rows[:5], judge=False, kind="truth")}
    source = {bar.column: met for bar, _, met in verdicts(rows[:5], judge=False, kind="source")}
    assert truth == {bar.column: None if bar.column in NEEDS_JUDGE else True for bar in BARS}
    assert not any(source[column] for column in ("lips_new", "lips_old_only", "recall"))
    assert source["seam"] and source["faces"]
    by_kind = {row["kind"]: row for row in rows[:5]}
    assert by_kind["source"]["lips_old"] > 0.85 and by_kind["truth"]["lips_new"] > 0.85
    assert by_kind["truth"]["psnr"] == 100 > by_kind["source"]["psnr"]


# Bars


def row(kind: str, **values) -> dict:
    perfect = {"lips_new": 0.95, "lag": 0, "lips_old": 0.1, "lips_old_only": 0.0, "speed": 1.0, "wanted": 4, "found": 4}
    perfect |= {"shut": 10, "right": 10, "recall": 1.0, "precision": 1.0, "offset": 0, "confidence": 0.4}
    perfect |= {"psnr": 40.0, "seam": 1.0, "change": 1.0, "faces": 1.0}
    return {"clip": "0", "kind": kind} | perfect | values


def missed(*results: dict, judge: bool = True) -> set[str]:
    rows = [row("truth"), *(row("result", **values) for values in results)]
    return {bar.column for bar, _, met in verdicts(rows, judge=judge) if met is False}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("lips_new", [0.9, 0.6]),
        ("lag", [1, 1, 0]),
        ("lips_old", [0.1, 0.3]),
        ("lips_old_only", [0.1, 0.3]),
        ("speed", [0.5]),
        ("offset", [0] * 8 + [1] * 2),
        ("confidence", [0.3]),
        ("confidence", [0.5]),
        ("seam", [1.3]),
        ("change", [0.5]),
        ("change", [1.4]),
        ("faces", [1.0, 0.99]),
        ("lips_new", [0.95, np.nan]),  # a mouth that was never seen is no good one
    ],
)
def test_each_bar_is_missed_by_what_is_beyond_it_alone(column, values):
    assert missed(*({column: value} for value in values)) == {column}


def test_a_perfect_result_meets_all_and_closures_count_over_all_clips():
    assert missed({}, {}) == set()
    assert missed({"wanted": 0, "found": 0, "recall": np.nan}, {}) == set()
    assert missed({"found": 1}, {"found": 4}) == {"recall"}
    assert missed({"right": 2}, {}, {}) == set() and missed({"right": 2, "shut": 40}, {}) == {"precision"}
    assert missed({"offset": 9, "confidence": np.nan}, judge=False) == set()


def test_means_sum_counts():
    (mean,) = means([row("result", found=1), row("result", wanted=6, recall=0.67, lips_new=0.85)])
    assert (mean["wanted"], mean["found"], mean["recall"]) == (10, 5, 0.5) and mean["lips_new"] == pytest.approx(0.9)


# The command


def test_clips_are_drawn_once_and_more_are_added(tmp_path):
    small = ["--size", "64", "--seconds", "1", "1", "--workers", "1", "--quiet"]
    args = eval_synthetic.parse(["--out", str(tmp_path), "--count", "1", *small])
    assert eval_synthetic.render(args, STUDIO) == (["000000"], {})
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    args.count = 2
    assert eval_synthetic.render(args, STUDIO) == (["000000", "000001"], {})
    assert {path: path.stat().st_mtime_ns for path in times} == times
    args.seed = 1
    with pytest.raises(ConfigError, match="another --out"):
        eval_synthetic.render(args, STUDIO)


@pytest.mark.parametrize(
    "flags",
    [
        ["--count", "0"],
        ["--judge_ckpt", "x.pt"],
        ["--identities", "5", "5"],
        ["--footage", "nowhere"],
        ["--judge_config", "x.yaml"],
        ["--variants", "f1"],
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags):
    try:
        status = cli(["--out", str(tmp_path), "--quiet", *flags])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2 and captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_pairs_of_footage_are_found_by_their_names(tmp_path):
    for name in ("b_video.mp4", "b_audio.wav", "a_video.mov", "a_audio.m4a", "c_video.mp4", "d.wav"):
        (tmp_path / name).touch()
    assert [(v.name, a.name) for v, a in pairs_of(tmp_path)] == [
        ("a_video.mov", "a_audio.m4a"),
        ("b_video.mp4", "b_audio.wav"),
    ]
    with pytest.raises(MediaError, match="NAME_video"):
        pairs_of(tmp_path / "nothing")


def test_footage_is_measured_without_truth(tiny_flags, judge_flags, clip, speech, tmp_path, capsys):
    footage = tmp_path / "footage"
    footage.mkdir()
    shutil.copy(clip, footage / "a_video.mp4")
    shutil.copy(speech, footage / "a_audio.wav")
    flags = [*FAST, *tiny_flags, *judge_flags, "--footage", str(footage), "--picture", str(tmp_path / "picture.png")]
    assert cli(["--out", str(tmp_path / "out"), *flags]) == 0
    (one, _) = json.loads((tmp_path / "out/eval_synthetic.json").read_text())["rows"]
    assert one["kind"] == "footage" and 0 <= one["faces"] <= 1 and one["seam"] > 1 and one["confidence"] is not None
    assert "lips_new" not in one and (tmp_path / "picture.png").is_file()
    assert torch.get_num_threads() == 1
