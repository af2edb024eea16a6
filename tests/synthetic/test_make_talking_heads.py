"""The command that makes clips."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentsync.media.ffmpeg import probe
from latentsync.synthetic.motion import STRONG
from latentsync.synthetic.spec import ClipSpec
from scripts import make_talking_heads

from .stand_in import STUDIO

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--size", "64", "48", "--seconds", "0.6", "1", "--languages", "en", "--quiet")
PROGRAM = (
    "import sys\n"
    "from scripts.make_talking_heads import cli\n"
    "from tests.synthetic.stand_in import STUDIO\n"
    "if __name__ == '__main__': sys.exit(cli(sys.argv[1:], STUDIO))\n"
)


def make(out: Path, *options: str, workers: int = 1) -> int:
    """The command in this process, or its workers."""
    return make_talking_heads.cli(["--out", str(out), *SMALL, "--workers", str(workers), *options], STUDIO)


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the list, whose paths are absolute."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "fileslist.txt"}


def spec(folder: Path, name: str = "000000") -> ClipSpec:
    return ClipSpec.from_json(json.loads((folder / f"{name}.json").read_text())["spec"])


def start(folder: Path, *options: str) -> subprocess.Popen:
    """The command in a process of its own; `__main__` is a file, as workers import it."""
    program = folder.parent / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), "--out", str(folder), *SMALL, *options]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def wait_until(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> Path:
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert make(folder, "--count", "4") == 0
    return folder


def test_clips_their_truths_and_their_list(four, capsys):
    names = [f"{i:06d}" for i in range(4)]
    assert sorted(contents(four)) == sorted(f"{name}{suffix}" for name in names for suffix in (".mp4", ".json"))
    assert (four / "fileslist.txt").read_text().splitlines() == [str(four / f"{name}.mp4") for name in names]
    assert len({spec(four, name).seed for name in names}) == 4
    assert all(0.6 <= spec(four, name).seconds <= 1 for name in names)
    info = probe(four / "000000.mp4")
    assert (info.width, info.height, info.rate) == (64, 48, 25) and info.audio.codec == "aac"


def test_a_rerun_writes_nothing_and_a_larger_count_adds(four, tmp_path):
    assert make(tmp_path, "--count", "2") == 0
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("0*")}
    assert make(tmp_path, "--count", "4") == 0
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in times} == times
    assert contents(tmp_path) == contents(four)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_run_goes_on_where_it_was(four, tmp_path, workers):
    folder = tmp_path / "out"
    process = start(folder, "--count", "4", "--workers", workers)
    wait_until(lambda: list(folder.glob("0*.json")) and list(folder.glob(".*.part/*")))
    process.kill()
    process.communicate()
    finished = contents_of_finished(folder)
    assert 1 <= len(finished) < 4
    time.sleep(0.5)  # workers end with their parent
    assert contents_of_finished(folder).keys() - finished.keys() == set()
    assert make(folder, "--count", "4") == 0
    assert contents(folder) == contents(four)


def contents_of_finished(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in folder.glob("0*.json")}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM handlers")
def test_an_interrupted_run_leaves_nothing_half_made(four, tmp_path):
    folder = tmp_path / "out"
    process = start(folder, "--count", "400", "--workers", "2")
    wait_until(lambda: list(folder.glob("0*.json")) and list(folder.glob(".*.part/*")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130 and errors.splitlines()[-1].startswith("interrupted: ")
    assert not list(folder.glob(".*"))
    whole = contents(four)
    assert {name: data for name, data in contents(folder).items() if name in whole}.items() <= whole.items()
    assert all(folder.joinpath(f"{path.stem}.mp4").exists() for path in folder.glob("0*.json"))


def test_other_clips_of_the_same_names_are_kept_unless_forced(tmp_path, capsys):
    assert make(tmp_path, "--count", "1") == 0
    before = contents(tmp_path)
    capsys.readouterr()
    assert make(tmp_path, "--count", "1", "--seed", "1") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and "--force" in captured.err and captured.err.count("\n") == 1
    assert contents(tmp_path) == before
    assert make(tmp_path, "--count", "1", "--seed", "1", "--force") == 0
    assert contents(tmp_path).keys() == before.keys() and contents(tmp_path) != before


def test_a_clip_that_fails_is_told_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make_talking_heads.ClipSpec, "identity", lambda self, *_: 13 if self.seed == worst else 1)
    args = make_talking_heads.parse(["--out", str(tmp_path), *SMALL])
    worst = make_talking_heads.spec_of(args, 1).seed
    assert make(tmp_path, "--count", "3") == 1
    captured = capsys.readouterr()
    assert "000001 failed: RuntimeError: this person stays at home" in captured.err
    assert captured.out.strip() == f"{tmp_path}: 2 of 3 clips"
    assert [Path(line).stem for line in (tmp_path / "fileslist.txt").read_text().splitlines()] == ["000000", "000002"]


def test_what_happens_in_a_clip_follows_from_the_options(tmp_path):
    options = (
        *("--two_people", "--strong_pose", "--profile", "--cut", "--occluder", "microphone", "--blur", "--shake"),
        *("--zoom", "0.1", "--no_face", "empty", "--audio_offset", "-3", "--silence", "both", "--fps", "29.97"),
        *("--identities", "100", "110", "--sentences", "7", "9", "--variants", "f1,m3", "--crf", "30", "--no_room"),
    )
    assert make(tmp_path, "--landmarks", *options) == 0
    made = spec(tmp_path)
    assert (made.people, made.amplitude, made.audio_offset, made.crf) == (2, STRONG, -3, 30)
    assert made.fps * 1001 == 30000 and made.blur > 0 and made.shake > 0 and made.zoom == 0.1
    assert 0 < made.profile[0] < made.profile[1] < made.seconds
    assert 0 < made.cut_s < made.seconds and made.lead_s > 0 and made.trail_s > 0
    assert made.occlusion.what == "microphone" and made.absences[0].how == "empty"
    assert len(made.identities) == 4 and all(100 <= i < 110 for i in made.identities)
    assert len(made.sentences) == 2 and all(7 <= i < 9 for i in made.sentences)
    assert (tmp_path / "000000.npz").exists()


def test_pairs_of_aligned_faces(tmp_path):
    assert make(tmp_path, "--aligned", "48", "--counterfactual") == 0
    assert [Path(line).name for line in (tmp_path / "fileslist.txt").read_text().splitlines()] == [
        "000000.mp4",
        "000000.other.mp4",
    ]
    assert probe(tmp_path / "000000.other.mp4").width == 48


def test_a_text_by_a_voice(tmp_path):
    args = ["--out", str(tmp_path), "--size", "64", "48", "--quiet", "--workers", "1"]
    assert make_talking_heads.cli([*args, "--text", "aiu", "--voice", "gmw/en-US+f3"], STUDIO) == 0
    (person,) = json.loads((tmp_path / "000000.json").read_text())["people"]
    assert person["text"] == "aiu" and person["voice"]["name"] == "gmw/en-US+f3"


@pytest.mark.parametrize(
    "wrong",
    [
        ("--count", "0"),
        ("--seconds", "3", "2"),
        ("--seconds", "1", "2", "3"),
        ("--fps", "fast"),
        ("--identities", "5", "5"),
        ("--occluder", "hat"),
        ("--size", "2", "2"),
        ("--aligned", "64", "--no_face"),
        ("--silence", "all", "--text", "a"),
        ("--crf", "99"),
        ("--languages", "tlh"),
        ("--variants", "f1,zz"),
        ("--voice", "Bob"),
    ],
)
def test_mistakes_are_told_in_one_line_before_any_work(tmp_path, capsys, wrong):
    try:
        status = make(tmp_path, *wrong)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2 and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert make(tmp_path / "file" / "out") == 2
    assert "cannot be made" in capsys.readouterr().err
