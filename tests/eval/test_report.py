"""The report as a command: what it measures, what it says where something is missing, and beside another one."""

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from eval import report, score
from eval.report import cli
from eval.results import read_results
from latentsync import REPO_ROOT, build, build_metrics, judges
from latentsync.errors import CheckpointError, ConfigError
from latentsync.metrics.identity import face_square

from ..media.make import ffmpeg
from ..metrics.i3d import SmallI3D
from .here import Here

AWKWARD = 'it\'s "a" <b>.mp4'
FRAMES = 40


def cut(path: Path, demo: int, frames: int = FRAMES, *options: str | Path) -> Path:
    """The beginning of a demo, small."""
    video = REPO_ROOT / f"assets/demo{demo}_video.mp4"
    stretch = ("-ss", "1", "-t", str(frames / 25), "-i", video)
    ffmpeg(*stretch, "-vf", "scale=270:-2", "-preset", "ultrafast", "-crf", "16", *options, path)
    return path


def blur(video: Path, target: Path) -> None:
    ffmpeg("-i", video, "-vf", "gblur=1", "-c:a", "copy", "-preset", "ultrafast", "-crf", "16", target)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two good ones, one of them blurred, and some that lack something."""
    folder = tmp_path_factory.mktemp("my videos")
    (folder / "results").mkdir()
    cut(folder / "one.mp4", 1)
    cut(folder / "three.mp4", 3)
    copy(folder / "one.mp4", folder / "results" / AWKWARD)
    blur(folder / "three.mp4", folder / "results/b.mp4")
    cut(folder / "results/silent.mp4", 3, 12, "-an")
    cut(folder / "results/short.mp4", 3, 20)
    cut(folder / "large.mp4", 3, 12, "-vf", "scale=300:-2")
    ffmpeg("-f", "lavfi", "-i", "color=teal:size=64x64:rate=25:duration=1", folder / "results/noface.mp4")
    return folder


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """None of the weights that can be fetched."""
    monkeypatch.setattr(build_metrics, "AUXILIARY", tmp_path / "auxiliary")
    monkeypatch.setattr(build_metrics, "MODELS", tmp_path / "models")
    monkeypatch.setattr(build, "AUXILIARY", tmp_path / "auxiliary")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(report, "choose_executor", lambda _: Here())


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["out,video,audio,truth", *rows]) + "\n")
    return path


def read(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def runs(folder: Path) -> dict[str, int]:
    """In which run each result was measured."""
    with closing(sqlite3.connect(folder / "manifest.sqlite")) as db:
        return dict(db.execute("SELECT key, run FROM outcomes WHERE stage = 'score'"))


def test_a_report_of_good_and_bad_results(videos, tmp_path, no_weights, capsys):
    quoted = AWKWARD.replace('"', '""')
    pairs = table(
        videos / "pairs.csv",
        f'"results/{quoted}",one.mp4,one.mp4,',
        "results/b.mp4,three.mp4,,three.mp4",
        "results/silent.mp4,large.mp4,,",
        "results/short.mp4,,,",
        "results/noface.mp4,,,",
        "results/nobody.mp4,,,",
    )
    out = tmp_path / "the report"
    command = ["--pairs", str(pairs), "--out", str(out), "--quiet", "--device", "cpu"]
    assert cli(command) == 1
    told = capsys.readouterr()
    found = read(out)
    same, blurred = (found["clips"][f"results/{name}"]["values"] for name in (AWKWARD, "b.mp4"))
    assert (same["psnr"], same["lmd"], same["flicker"], same["frames"]) == (100, 0, 1, FRAMES)
    assert same["offset"] == 0 and same["confidence"] == same["confidence_at_0"] > 0.3 and same["accuracy"] > 0.8
    assert 20 < blurred["psnr"] < 40 and blurred["ssim"] < 0.99 and blurred["lmd"] > 0.2 and blurred["flicker"] < 1
    assert found["overall"]["psnr"]["n"] == 2 and found["overall"]["offset"]["value"] == 0

    # What is missing is told, never left out.
    assert set(found["missing"]) == {"lpips", "fid", "fvd", "identity"}
    assert "LPIPS is missing: " in told.out and "vgg16-397923af.pth: no such file; fetch it by setup_env.sh" in told.out
    silent = found["clips"]["results/silent.mp4"]["missing"]
    assert "has no sound; name the file that has it in the column audio" in silent["confidence"]
    assert "large.mp4: expected the 270x270 of" in silent["flicker"] and "got 300x300" in silent["flicker"]
    assert silent["psnr"] == "there is no truth to compare with; name it in the column truth"
    short = found["clips"]["results/short.mp4"]["missing"]
    assert "short.mp4: expected 32 frames or more with a face and sound" in short["accuracy"] == short["confidence"]
    assert set(found["failures"]) == {"results/noface.mp4", "results/nobody.mp4"}
    assert "noface.mp4: no face found in any frame" in told.err and "nobody.mp4 does not exist" in told.err

    rows = {row["clip"]: row for row in csv.DictReader((out / "report.csv").open())}
    assert float(rows["results/b.mp4"]["psnr"]) == blurred["psnr"] and rows["results/short.mp4"]["confidence"] == ""
    page = (out / "report.html").read_text()
    assert page.count("<svg") >= 3 and page.count("data:image/jpeg;base64,") >= 2
    assert "&lt;b&gt;.mp4" in page and "<b>.mp4" not in page  # names are no markup
    assert "project SyncNet" in page and "cannot be compared with published" in page and "not measured" in page
    assert not [path for path in out.rglob("*") if path.name.startswith(".") and path.name != ".manifest.lock"]

    # The same command measures nothing anew, and what has changed alone.
    before = runs(out)
    cut(videos / "results/short.mp4", 3, 36)
    assert cli(command) == 1
    changed = {key for key, run in runs(out).items() if run != before[key]}
    assert changed == {"results/short.mp4"} and "confidence" in read(out)["clips"]["results/short.mp4"]["values"]


def test_a_baseline_is_compared_clip_by_clip(tmp_path, no_weights, capsys):
    (tmp_path / "other").mkdir()
    truth = cut(tmp_path / "truth.mp4", 3, 16, "-an")
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        blur(truth, tmp_path / "other" / name)
        copy(truth, tmp_path / name)
    first = table(tmp_path / "first.csv", *(f"{name},,,{truth}" for name in ("a.mp4", "b.mp4")))
    second = table(tmp_path / "other/second.csv", *(f"{name},,,{truth}" for name in ("a.mp4", "b.mp4", "c.mp4")))
    flags = ["--quiet", "--device", "cpu"]
    assert cli(["--pairs", str(first), "--out", str(tmp_path / "good"), *flags]) == 0
    command = ["--pairs", str(second), "--out", str(tmp_path / "blurred"), "--baseline", str(tmp_path / "good"), *flags]
    capsys.readouterr()
    assert cli(command) == 0
    found = read(tmp_path / "blurred")["differences"]
    assert found["psnr"]["verdict"] == found["ssim"]["verdict"] == found["lmd"]["verdict"] == "worse"
    assert found["psnr"]["n"] == 2 and found["psnr"]["theirs"] == 100 and found["psnr"]["difference"] < -60
    assert found["faces"]["verdict"] == "unclear"
    assert "100.00 before, worse" in capsys.readouterr().out
    assert 'class="worse">worse' in (tmp_path / "blurred/report.html").read_text()


def test_networks_that_are_there_are_asked(tmp_path, no_weights, monkeypatch):
    """By stand-ins that look at pictures: what is alike has no distance, what is blurred or another person has."""
    files = {}
    for measure in score.WEIGHTS:
        files[measure] = tmp_path / measure
        files[measure].write_text(measure)
        monkeypatch.setitem(score.WEIGHTS, measure, lambda measure=measure: files[measure])

    class Colours:
        """Vectors of what is at the places of a face."""

        def __call__(self, frames, meshes):
            squares = np.stack([face_square(*pair)[::8, ::8] for pair in zip(frames, meshes, strict=True)])
            vectors = squares.reshape(len(squares), -1).astype(np.float32) - squares.mean()
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=(1, 2, 3))

    def features(pictures: Tensor) -> Tensor:
        coarse = torch.nn.functional.adaptive_avg_pool2d(pictures.float(), 2).flatten(1)
        return torch.cat([coarse, pictures.float().diff(dim=-1).abs().mean(dim=(2, 3))], dim=1)

    torch.manual_seed(0)
    i3d = SmallI3D()
    monkeypatch.setattr(build_metrics, "build_lpips_distance", lambda device: distance)
    monkeypatch.setattr(build_metrics, "build_inception", lambda device: features)
    monkeypatch.setattr(build_metrics, "build_i3d", lambda device: i3d)
    monkeypatch.setattr(build_metrics, "build_face_embedder", lambda device: Colours())
    truths = [cut(tmp_path / f"{demo}.mp4", demo, 16, "-an") for demo in (1, 3)]
    blurred = [truth.with_name(f"{truth.stem} blurred.mp4") for truth in truths]
    for truth, target in zip(truths, blurred, strict=True):
        blur(truth, target)
    found = {}
    for kind, videos in {"same": truths, "blurred": blurred, "swapped": truths[::-1]}.items():
        rows = [f"{video},,,{truth}" for video, truth in zip(videos, truths, strict=True)]
        pairs = table(tmp_path / f"{kind}.csv", *rows)
        assert cli(["--pairs", str(pairs), "--out", str(tmp_path / kind), "--quiet", "--device", "cpu"]) == 0
        found[kind] = {name: estimate["value"] for name, estimate in read(tmp_path / kind)["overall"].items()}
        assert not read(tmp_path / kind)["missing"]
    assert found["same"]["lpips"] == 0 and found["same"]["identity"] == pytest.approx(1)
    assert found["same"]["fid"] == pytest.approx(0, abs=1e-6) and found["same"]["fvd"] == pytest.approx(0, abs=1e-6)
    for kind in ("blurred", "swapped"):
        assert found[kind]["lpips"] > 0.001 and found[kind]["identity"] < 0.999
    assert found["blurred"]["fid"] > 0.1 and found["blurred"]["fvd"] > 1e-5
    assert found["swapped"]["identity"] < 0.9


def test_of_several_people_the_one_that_was_edited_is_scored(tmp_path, no_weights):
    """The right one's words are heard, and his mouth was changed a bit; the left one's face is larger."""
    both = "[0:v]scale=300:300[l];[1:v]scale=270:270,pad=270:300:0:15[r];[l][r]hstack"
    source = tmp_path / "source.mp4"
    demos = [("-ss", "1", "-t", "1.6", "-i", REPO_ROOT / f"assets/demo{demo}_video.mp4") for demo in (1, 3)]
    ffmpeg(*demos[0], *demos[1], "-filter_complex", both, "-map", "1:a", "-crf", "16", source)
    smooth = "[0:v]split[a][b];[b]crop=110:80:385:185,gblur=1[c];[a][c]overlay=385:185"
    ffmpeg("-i", source, "-filter_complex", smooth, "-c:a", "copy", "-crf", "16", tmp_path / "result.mp4")
    pairs = table(tmp_path / "pairs.csv", "result.mp4,source.mp4,,")
    alone = table(tmp_path / "alone.csv", "result.mp4,,,")
    for name, path in (("known", pairs), ("alone", alone)):
        assert cli(["--pairs", str(path), "--out", str(tmp_path / name), "--quiet", "--device", "cpu"]) == 0
    known, unknown = (read(tmp_path / name)["clips"]["result.mp4"]["values"] for name in ("known", "alone"))
    assert known["offset"] == 0 and known["confidence_at_0"] > 0.3 > unknown["confidence_at_0"]
    assert known["flicker"] < 1.2


def test_the_official_judge_is_told_whose_face_it_is(videos, tmp_path, no_weights, monkeypatch):
    asked = []

    class Official(judges.OfficialSyncNet):
        def __post_init__(self):
            self._weights = ["w"]

        def load(self, device):
            pass

        def __call__(self, video, sound=None, *, wanted):
            asked.append((video.name, sound.name, wanted))
            return judges.Sync(-1, 7.0, 3.0, 6.5, [8.0] * 31)

    monkeypatch.setattr(report, "OfficialSyncNet", Official)
    pairs = table(tmp_path / "pairs.csv", f"{videos / 'results/silent.mp4'},,{videos / 'three.mp4'},")
    command = ["--pairs", str(pairs), "--out", str(tmp_path / "out"), "--quiet", "--device", "cpu"]
    assert cli([*command, "--judge", "syncnet_v2"]) == 0
    ((video, sound, wanted),) = asked
    assert (video, sound) == ("silent.mp4", "three.mp4")
    track = judges.FaceTrack(0, np.array([[60.0, 60, 210, 230]] * 12))
    assert wanted(track) and not wanted(judges.FaceTrack(0, np.array([[0.0, 0, 40, 40]] * 12)))
    row = read(tmp_path / "out")["clips"]["silent.mp4"]["values"]
    assert (row["confidence"], row["confidence_at_0"], row["offset"]) == (7, 3, -1)
    assert "cannot be compared" not in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a.mp4,,,", "A.mp4,,,"], r"pairs.csv, line 3: A.mp4 is named in line 2 too"),
        ([",v.mp4,,"], r"pairs.csv, line 2: expected out,video,audio,truth, got ,v.mp4,,"),
        ([], r"pairs.csv has no pair"),
    ],
)
def test_mistakes_in_the_table(tmp_path, rows, message):
    with pytest.raises(ConfigError, match=message):
        read_results(table(tmp_path / "pairs.csv", *rows))


def test_a_reconstruction_is_its_own_truth(tmp_path):
    path = table(tmp_path / "pairs.csv", "a.mp4,v.mp4,v.mp4,", "b.mp4,v.mp4,w.wav,", "/c/../d.mp4,v.mp4,,t.mp4")
    first, second, third = read_results(path)
    assert first.truth == tmp_path / "v.mp4" and second.truth is None and third.truth == tmp_path / "t.mp4"
    assert [result.key for result in (first, second, third)] == ["a.mp4", "b.mp4", "d.mp4"]


def test_mistakes_are_one_line(tmp_path, no_weights, capsys):
    pairs = table(tmp_path / "pairs.csv", "nobody.mp4,,,")
    command = ["--pairs", str(pairs), "--out", str(tmp_path / "out"), "--quiet"]
    assert cli(command) == 2
    assert "error: no result could be measured: " in capsys.readouterr().err
    assert cli([*command, "--baseline", str(tmp_path)]) == 2
    assert "report.json: expected an earlier report; name the --out folder of one" in capsys.readouterr().err
    assert cli([*command, "--judge", "syncnet_v2"]) == 2
    assert "syncnet_v2.model: no such file; fetch it by setup_env.sh --train" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli([*command, "--baseline", str(tmp_path / "out")])
    assert "name that of another report" in capsys.readouterr().err


def test_missing_weights_are_known_before_anything_is_loaded(no_weights):
    with pytest.raises(CheckpointError):
        build_metrics.inception_file()
