"""The data pipeline as a command, from raw videos of drawn people to clips."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from latentsync import REPO_ROOT
from latentsync.data.clips import find_clips
from latentsync.data.inspection import inspect
from latentsync.judges import ProjectSyncNet
from latentsync.media.ffmpeg import decode_frames, probe
from preprocess.data_processing_pipeline import cli

from ..media.make import ffmpeg

DEMO = REPO_ROOT / "assets/demo1_video.mp4"  # a drawn person who speaks for 11 s
CHEAP = "verify,resample,shots,segments"


def run(folder: Path, *flags: str) -> int:
    return cli(["--input_dir", str(folder / "raw"), "--quiet", "--total_num_workers", "1", *flags])


def outcomes(folder: Path, columns: str = "stage, key, status, reason") -> list[tuple]:
    with closing(sqlite3.connect(folder / "manifest.sqlite")) as db:
        return db.execute(f"SELECT {columns} FROM outcomes ORDER BY stage, key").fetchall()


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def still(path: Path, n_frames: int, *, rate: int = 25) -> None:
    """One colour for some frames, and a tone."""
    picture = [f"color=teal:size=96x64:rate={rate}", "-f", "lavfi", "-i", f"sine=440:duration={n_frames / rate}"]
    ffmpeg("-f", "lavfi", "-i", *picture, "-frames:v", str(n_frames), path)


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Three seconds of a person, at 30 frames/s and with its sound two frames (of 25) early; names that are awkward."""
    root = tmp_path_factory.mktemp("data set's")
    folder = root / "raw" / "sub folder; touch x"
    folder.mkdir(parents=True)
    picture, early = ["-ss", "1", "-t", "3", "-i", DEMO], ["-ss", "1.08", "-t", "3", "-i", DEMO]
    ffmpeg(*picture, *early, "-map", "0:v", "-map", "1:a", "-r", "30", folder / "it's $(a).MOV")
    still(root / "raw/noface.mp4", 75)
    (root / "raw/broken.mp4").write_bytes(DEMO.read_bytes()[:30000])
    (root / "raw/readme.txt").write_text("no video")
    return root


@pytest.fixture(scope="module")
def processed(raw) -> tuple[Path, int, dict[str, str]]:
    before = hashes(raw / "raw")
    return raw, run(raw), before


def test_every_clip_has_its_fate(processed):
    root, status, _ = processed
    assert status == 0
    by_key = {(stage, key): (status, reason) for stage, key, status, reason in outcomes(root)}
    assert by_key["verify", "broken"][0] == "rejected" and by_key["verify", "broken"][1].startswith("unreadable")
    assert by_key["align", "noface_shot_001_000"] == ("rejected", "no face")
    assert by_key["quality", "sub folder; touch x/it's $(a)_shot_001_000"] == ("kept", "")


def test_inputs_are_never_changed(processed):
    root, _, before = processed
    assert hashes(root / "raw") == before
    assert not (Path.cwd() / "x").exists()


def test_the_offset_is_found_and_corrected(processed):
    root, _, _ = processed
    (metrics,) = [
        json.loads(text)[0]["metrics"] for stage, text in outcomes(root, "stage, outputs") if stage == "quality"
    ]
    assert (metrics["offset"], metrics["judge"]) == (2, "project SyncNet")
    (clip,) = find_clips(fileslist=root / "manifest.sqlite")
    assert run_judge(clip.path) == 0


def run_judge(path: Path) -> int:
    judge = ProjectSyncNet(aligned=True)
    judge.load("cpu")
    return judge(path).offset


def test_the_clips_can_be_trained_on(processed):
    root, _, _ = processed
    (clip,) = find_clips(fileslist=root / "manifest.sqlite")
    found, mel = inspect(clip.path)
    assert found.problem == "" and found.n_frames == 75 and mel is not None
    assert (probe(clip.path).width, probe(clip.path).rate) == (256, 25)


def test_public_folder_names(processed):
    root, _, _ = processed
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    assert folders == ["affine_transformed", "av_synced_3", "high_visual_quality", "raw"]


def test_another_run_does_nothing_again(processed, monkeypatch):
    root, _, _ = processed
    files, rows = hashes(root), outcomes(root, "stage, key, run")
    assert run(root) == 0
    assert outcomes(root, "stage, key, run") == rows
    assert {path: h for path, h in hashes(root).items() if "manifest" not in path} == {
        path: h for path, h in files.items() if "manifest" not in path
    }


def test_a_stage_alone_knows_where_the_sound_came_from(processed, tmp_path):
    root, _, _ = processed
    status = cli(
        ["--input_dir", str(root / "affine_transformed"), "--stages", "sync", "--sync_conf_threshold", "4", "--quiet",
         "--total_num_workers", "1"]
    )  # fmt: skip
    assert status == 0
    (piece,) = [json.loads(text)[0] for stage, text in outcomes(root, "stage, outputs") if stage == "sync"]
    assert piece["source"].endswith("it's $(a).MOV") and piece["delay"] == 2 and "av_synced_4" in piece["path"]


def test_the_report_tells_all(processed, capsys):
    root, _, _ = processed
    assert run(root, "--report") == 0
    told = capsys.readouterr().out
    assert "1 rejected: no face" in told and "1 rejected: unreadable" in told
    page = (root / "report/report.html").read_text()
    assert "noface_shot_001_000" in page and "data:image/png;base64," in page
    assert (root / "report/report.png").read_bytes().startswith(b"\x89PNG")


def test_a_chain_that_ends_before_the_alignment_leaves_files(tmp_path):
    (tmp_path / "raw").mkdir()
    still(tmp_path / "raw/a.mp4", 560, rate=50)
    assert run(tmp_path, "--stages", CHEAP) == 0
    clips = sorted((tmp_path / "segmented").glob("*.mp4"))
    assert [path.name for path in clips] == ["a_shot_001_000.mp4", "a_shot_001_001.mp4"]
    assert [len(list(decode_frames(path))) for path in clips] == [140, 140]
    assert not (tmp_path / "shot").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stages", "verify,nonsense"], "--stages nonsense: expected some of verify"),
        (["--filters", "beauty"], "--filters beauty: expected some of high_resolution"),
        (["--total_num_workers", "0"], "expected 1 or more"),
        (["--resolution", "100"], "--resolution 100: expected a multiple of 8"),
    ],
)
def test_wrong_flags_are_one_line(tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as left:
        run(tmp_path, *flags)
    assert left.value.code == 2 and message in capsys.readouterr().err


def test_wrong_folders_are_one_line(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert "raw is not a folder" in capsys.readouterr().err
    (tmp_path / "raw").mkdir()
    assert run(tmp_path) == 2
    assert "raw holds no video" in capsys.readouterr().err
    (tmp_path / "affine_transformed").mkdir()
    assert cli(["--input_dir", str(tmp_path / "affine_transformed"), "--stages", "align"]) == 2
    assert "would write where it reads" in capsys.readouterr().err


def test_kills_at_random_moments_lose_nothing(tmp_path):
    """SIGKILL to the whole group whenever a run has got a little further; the last one gets to its end."""
    (tmp_path / "raw").mkdir()
    for i in range(6):
        still(tmp_path / f"raw/{i}.mp4", 75)
    command = [
        sys.executable, str(REPO_ROOT / "scripts/launch.py"), "preprocess.data_processing_pipeline", "--quiet",
        "--input_dir", str(tmp_path / "raw"), "--stages", CHEAP, "--total_num_workers", "2",
    ]  # fmt: skip
    rng = random.Random(1)
    for _ in range(3):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        before = n_outcomes(tmp_path)
        running = subprocess.Popen(command, start_new_session=True, **quiet)
        while running.poll() is None and n_outcomes(tmp_path) == before:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.7))
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert run(tmp_path, "--stages", CHEAP) == 0
    files = sorted((tmp_path / "segmented").rglob("*"))
    assert [path.name for path in files] == [f"{i}_shot_001_000.mp4" for i in range(6)]
    assert all(len(list(decode_frames(path, strict=True))) == 75 for path in files)
    assert len(outcomes(tmp_path)) == 5 * 6


def n_outcomes(folder: Path) -> int:
    try:
        return len(outcomes(folder)) if (folder / "manifest.sqlite").exists() else 0
    except sqlite3.OperationalError:  # its tables are not there yet
        return 0


def test_a_cluster_makes_the_same_clips(tmp_path):
    """By a cluster that the command itself starts; nothing of it remains."""
    pytest.importorskip("ray", reason="ray is missing: pip install ray")
    made = {}
    for executor in ("local", "ray"):
        root = tmp_path / executor
        (root / "raw").mkdir(parents=True)
        still(root / "raw/a.mp4", 75)
        still(root / "raw/short.mp4", 25)
        (root / "raw/broken.mp4").write_bytes(b"no video")
        if executor == "local":
            assert run(root, "--stages", "verify,segments") == 0
        else:
            run_on_a_cluster(root, "--stages", "verify,segments")
        clips = {path.name: path.read_bytes() for path in (root / "segmented").rglob("*.mp4")}
        made[executor] = outcomes(root, "stage, key, status, replace(reason, '/ray/', '/local/')"), clips
    assert made["ray"] == made["local"]
    assert sorted(made["ray"][1]) == ["a_000.mp4"]


def run_on_a_cluster(root: Path, *flags: str) -> None:
    """The command as a process of its own."""
    command = [sys.executable, str(REPO_ROOT / "scripts/launch.py"), "preprocess.data_processing_pipeline", *flags]
    command += ["--input_dir", str(root / "raw"), "--quiet", "--total_num_workers", "1", "--executor", "ray"]
    with TemporaryDirectory(prefix="ray_", dir="/tmp") as folder:
        marked = {**os.environ, "RAY_TMPDIR": folder}
        ended = subprocess.run(command, capture_output=True, text=True, env=marked)
        assert ended.returncode == 0, ended.stderr
        assert not list(Path(folder).iterdir())
        assert not psutil.wait_procs(marked_by(folder), timeout=10)[1]


def marked_by(value: str) -> list[psutil.Process]:
    """Processes that have it in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if value in process.environ().values():
                found.append(process)
    return found


def test_temporary_files_go_where_they_are_told_to(tmp_path, monkeypatch):
    import tempfile

    from preprocess.data_processing_pipeline import use_temporary_folder

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    use_temporary_folder(tmp_path / "new folder")
    assert tempfile.gettempdir() == str(tmp_path / "new folder") == os.environ["TMPDIR"]
