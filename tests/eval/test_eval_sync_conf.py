"""Sync confidence as a command: what is told, what is judged again, and that nothing else is written."""

import csv
import os
import re
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import torch

from eval import eval_sync_conf, sync_conf
from eval.eval_sync_conf import cli
from latentsync import REPO_ROOT, build_metrics, judges
from latentsync.errors import MeasureError, NoFaceError
from latentsync.judges import Sync
from latentsync.metrics.s3fd import S3FD
from latentsync.metrics.sync_video import SyncOptions, VideoSync
from latentsync.models.syncnet_v2 import SyncNetV2

from ..media.make import ffmpeg
from .here import Here

AWKWARD = 'it\'s "a" $(touch x).MP4'


def cut(path: Path, demo: int, seconds: float, *options: str) -> Path:
    """The beginning of a demo, small."""
    video = REPO_ROOT / f"assets/demo{demo}_video.mp4"
    ffmpeg("-ss", "1", "-t", str(seconds), "-i", video, "-vf", "scale=270:-2", "-preset", "ultrafast", *options, path)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two that can be judged, and four that cannot."""
    folder = tmp_path_factory.mktemp("my videos")
    cut(folder / AWKWARD, 1, 2)
    cut(folder / "B.mkv", 3, 1.6)
    cut(folder / "short.mp4", 1, 0.4)
    cut(folder / "silent.mov", 1, 0.4, "-an")
    ffmpeg("-f", "lavfi", "-i", "color=teal:size=64x64:rate=25:duration=1", "-f", "lavfi", "-i", "sine=440:duration=1",
           folder / "noface.mp4")  # fmt: skip
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / ".half-made.mp4").touch()
    (folder / "readme.txt").touch()
    (folder / "sub.mp4").mkdir()
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current folder, with an empty one for temporary files beside it; the official weights are not there."""
    for name in ("here", "temp", "auxiliary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setattr(build_metrics, "AUXILIARY", tmp_path / "auxiliary")
    monkeypatch.setattr(eval_sync_conf, "choose_executor", lambda _: Here())
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@dataclass
class Stub:
    """A judge that knows the answer by the name of the video, and what it was asked."""

    seen: list[tuple[str, str]]  # names, and where temporary files go
    weights: str = "a"

    name = "stub"

    def identity(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load(self, device: str) -> None:
        self.seen.append((device, ""))

    def __call__(self, video: Path, sound: Path | None = None) -> Sync:
        self.seen.append((video.name, tempfile.gettempdir()))
        if "short" in video.name:
            raise MeasureError(f"{video}: too short")
        if "noface" in video.name:
            raise NoFaceError(f"{video}: no face")
        return Sync(-2, float(len(video.stem)), 1.25, 0.5, [])

    def asked(self) -> list[str]:
        """Of which videos, since the last time."""
        found = [name for name, folder in self.seen if folder]
        self.seen.clear()
        return found


@pytest.fixture
def stub(place, monkeypatch) -> Stub:
    judge = Stub([])
    monkeypatch.setattr(eval_sync_conf, "choose_judge", lambda *_, **__: judge)
    return judge


def test_what_is_bad_fails_and_the_others_are_judged(videos, place, capsys):
    assert cli(["--videos_dir", os.path.relpath(videos), "--quiet"]) == 1
    told = capsys.readouterr()
    head, *lines, mean = told.out.splitlines()
    assert head == "Judge: project SyncNet"
    typed = os.path.relpath(videos)
    assert lines[0::3] == [f"Video: {typed}/B.mkv", f"Video: {typed}/{AWKWARD}"]
    confidences = [float(re.fullmatch(r"SyncNet confidence: (0\.\d\d)", line)[1]) for line in lines[1::3]]
    assert min(confidences) > 0.4 and lines[2::3] == ["AV offset: 0"] * 2
    assert abs(float(re.fullmatch(r"Mean confidence: (0\.\d\d) \(2 videos\)", mean)[1]) - sum(confidences) / 2) < 0.01
    note, *failures = told.err.splitlines()
    assert "cannot be compared with published ones" in note
    expected = [
        ("broken.mp4", ""), ("noface.mp4", "with a face"), ("short.mp4", "got fewer"), ("silent.mov", "no audio stream")
    ]  # fmt: skip
    for line, (name, why) in zip(failures, expected, strict=True):
        assert line.startswith(f"failed: {name}: ") and why in line
    assert names(place / "here") == names(place / "temp") == []


def test_a_single_video_has_the_public_lines(videos, stub, capsys):
    copy(videos / "B.mkv", "-v.mkv")
    assert cli(["--video_path=-v.mkv", "--quiet"]) == 0
    assert capsys.readouterr().out == "Judge: stub\nVideo: -v.mkv\nSyncNet confidence: 2.00\nAV offset: -2\n"
    assert names(Path()) == ["-v.mkv"]


def test_a_list_keeps_its_order_and_names_each_video_once(stub, capsys):
    Path("sub").mkdir()
    for name in ("bb.mp4", "a.mp4"):
        (Path("sub") / name).touch()
    Path("sub/list.txt").write_text("# comment\nbb.mp4\na.mp4\n./bb.mp4\nlost.mp4\n")
    assert cli(["--videos_list", "sub/list.txt", "--quiet"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.rpartition("/")[2] for line in told[1::3][:3]] == ["bb.mp4", "a.mp4", "lost.mp4"]
    assert told[-1] == "Mean confidence: 2.33 (3 videos)"


def test_a_run_goes_on_where_it_stopped(stub, capsys, place):
    for name in ("a.mp4", "bb.MP4", "noface.mp4", "short.mp4"):
        Path(name).touch()
    command = ["--videos_dir", ".", "--out_dir", "out put", "--quiet"]
    assert cli(command) == 1
    first = capsys.readouterr()
    assert first.err.count("failed: ") == 2 and "failed: short.mp4: " in first.err
    assert stub.asked() == ["a.mp4", "bb.MP4", "noface.mp4", "short.mp4"]
    assert cli(command) == 1 and capsys.readouterr() == first
    assert stub.asked() == []

    os.utime("a.mp4", ns=(1, 1))
    assert cli(command) == 1 and stub.asked() == ["a.mp4"]
    assert cli([*command, "--retry_failed"]) == 1 and stub.asked() == ["noface.mp4", "short.mp4"]
    stub.weights = "b"
    assert cli(command) == 1 and len(stub.asked()) == 4

    assert names(place / "here/out put") == [".manifest.lock", "manifest.sqlite", "sync_conf.csv"]
    with (place / "here/out put/sync_conf.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "video": str(place / "here/bb.MP4"), "judge": "stub", "offset": "-2", "confidence": "2.0",
        "confidence_at_0": "1.25", "distance": "0.5",
    }  # fmt: skip
    with closing(sqlite3.connect("out put/manifest.sqlite")) as db:
        fates = db.execute("SELECT fate, count(*) FROM clips GROUP BY fate").fetchall()
    assert fates == [("failed", 2), ("kept", 2)] and names(place / "temp") == []


def test_temporary_files_go_where_they_are_told_to(stub, place):
    Path("a.mp4").touch()
    Path("mine").mkdir()
    Path("mine/precious.txt").touch()
    assert cli(["--video_path", "a.mp4", "--temp_dir", "mine", "--quiet"]) == 0
    assert stub.seen[-1] == ("a.mp4", str(place / "here/mine"))
    assert names(Path("mine")) == ["precious.txt"] and names(place / "temp") == []


def test_a_device_that_is_named_is_taken_whatever_there_is(stub):
    Path("a.mp4").touch()
    assert cli(["--video_path", "a.mp4", "--device", "cpu", "--quiet"]) == 0
    assert stub.seen[0] == ("cpu", "")
    args = ["--video_path", "a.mp4", "--device"]
    assert [eval_sync_conf.build_stage(eval_sync_conf.parse([*args, d]), 1).gpus for d in ("auto", "cpu")] == [1, 0]


def test_the_official_judge_where_its_files_are(place, monkeypatch, capsys):
    asked = []

    def evaluator(device, options, network):
        asked.append((device, options, network))
        return lambda *_, **__: VideoSync(3, 7.234, torch.arange(31.0), ())

    monkeypatch.setattr(judges, "build_sync_evaluator", evaluator)
    Path("a.mp4").touch()
    for name in (build_metrics.SYNCNET_V2_FILE, build_metrics.S3FD_FILE):
        (build_metrics.AUXILIARY / name).write_text(name)
    Path("other.model").write_text("other")
    command = ["--video_path", "a.mp4", "--out_dir", "out", "--quiet"]
    assert cli(command) == cli(command) == 0
    told = capsys.readouterr()
    assert told.out == 2 * "Judge: SyncNet v2\nVideo: a.mp4\nSyncNet confidence: 7.23\nAV offset: 3\n" and not told.err
    assert cli([*command, "--reference"]) == cli([*command, "--initial_model", "other.model"]) == 0
    other = place / "here/other.model"
    assert asked == [("cpu", None, None), ("cpu", SyncOptions.reference(), None), ("cpu", None, other)]
    assert cli([*command, "--judge", "project"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Judge: project SyncNet"


def test_official_files_are_loaded_from_where_they_are(videos, place, capsys):
    """Networks of the right structure, which know nothing: they find no face."""
    torch.manual_seed(0)
    torch.save(S3FD().state_dict(), build_metrics.AUXILIARY / build_metrics.S3FD_FILE)
    torch.save(SyncNetV2().state_dict(), "other.model")
    assert cli(["--video_path", str(videos / "short.mp4"), "--initial_model", "other.model", "--quiet"]) == 1
    told = capsys.readouterr()
    assert told.out == "Judge: SyncNet v2\n" and "expected a face of more than" in told.err
    assert names(place / "temp") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "one of the arguments --video_path --videos_dir --videos_list is required"),
        ("--video_path a --videos_dir b", "not allowed with"),
        ("--video_path a --judge nobody", "invalid choice: 'nobody'"),
        ("--video_path a --judge project --initial_model b", "expected --judge syncnet_v2"),
    ],
)
def test_wrong_flags_are_one_line(capsys, line, message):
    with pytest.raises(SystemExit) as left:
        eval_sync_conf.parse(line.split())
    told = capsys.readouterr().err
    assert left.value.code == 2 and message in told and told.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--video_path lost.mp4", "lost.mp4 is not a file; expected a video"),
        ("--video_path .", ". is not a file; expected a video"),
        ("--videos_dir lost", "lost is not a folder; expected one that holds videos"),
        ("--videos_dir .", ". holds no video; expected files ending in .3gp, .avi"),
        ("--videos_list lost.txt", "lost.txt cannot be read"),
        ("--video_path a --reference", "--reference: expected SyncNet v2 as the judge, got the project SyncNet"),
        ("--video_path a --judge syncnet_v2", "syncnet_v2.model: no such file; fetch it by setup_env.sh --train"),
        ("--video_path a --initial_model b", "b: no such file; fetch it by setup_env.sh --train"),
        ("--video_path a --temp_dir a", "a cannot be used for temporary files"),
        ("--video_path a --out_dir a", "a cannot be written"),
        ("--video_path a --device abacus", "device abacus: not available here"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(place, capsys, line, message):
    Path("a").touch()
    assert cli([*line.split(), "--quiet"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert names(place / "here") == ["a"] and names(place / "temp") == []


@pytest.mark.parametrize(
    ("script", "given", "expected"),
    [
        ("eval_sync_conf.sh", [], ["eval.eval_sync_conf", "--video_path", "video_out.mp4"]),
        ("eval_sync_conf.sh", ["--videos_dir", "a b's"], ["eval.eval_sync_conf", "--videos_dir", "a b's"]),
        ("eval_syncnet_acc.sh", [], ["eval.eval_syncnet_acc"]),
        ("eval_syncnet_acc.sh", ["data.a=b c"], ["eval.eval_syncnet_acc", "data.a=b c"]),
    ],
)
def test_shell_files_pass_arguments_on(tmp_path, script, given, expected):
    """With a Python that only says what it is asked to do."""
    for folder in ("my checkout/eval", "my checkout/scripts", "here"):
        (tmp_path / folder).mkdir(parents=True)
    copy(REPO_ROOT / "eval" / script, tmp_path / "my checkout/eval")
    python = tmp_path / "my checkout/python"
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    (tmp_path / "my checkout/scripts/bootstrap.sh").write_text(f"echo '{python}'\n")
    command = ["bash", str(tmp_path / "my checkout/eval" / script), *given]
    told = subprocess.run(command, cwd=tmp_path / "here", capture_output=True, text=True, check=True).stdout
    launch, *rest = told.splitlines()
    assert launch == str(tmp_path / "my checkout/scripts/launch.py") and rest == expected


def test_another_judge_or_other_options_make_other_results(place):
    for name in (build_metrics.SYNCNET_V2_FILE, build_metrics.S3FD_FILE):
        (build_metrics.AUXILIARY / name).touch()
    chosen = [
        sync_conf.choose_judge("auto"),
        sync_conf.choose_judge("auto", reference=True),
        sync_conf.choose_judge("project"),
    ]
    assert len({str(judge.identity()) for judge in chosen}) == 3
