"""Many pairs through the command: what is made, what is told, what is done again."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from shutil import copy

import pytest
import torch

from eval import inference_videos
from eval.inference_videos import cli
from latentsync import REPO_ROOT
from latentsync.files import digest
from latentsync.media.ffmpeg import decode_frames
from scripts import inference

from .here import Here


@pytest.fixture(scope="module")
def loaded() -> dict:
    """Pipelines by their weights, so that each is loaded once."""
    return {}


@pytest.fixture
def here(monkeypatch, loaded):
    load = inference.load_pipeline

    def load_once(cfg, args, device=None):
        weights = digest(Path(args.inference_ckpt_path))
        if weights not in loaded:
            loaded[weights] = load(cfg, args, device)
        return loaded[weights]

    monkeypatch.setattr(inference, "load_pipeline", load_once)
    monkeypatch.setattr(inference_videos, "choose_executor", lambda _: Here())


@pytest.fixture(scope="session")
def flags(tiny_flags) -> list[str]:
    return [*tiny_flags, "--inference_steps", "1", "--preset", "ultrafast", "--device", "cpu", "--quiet"]


def outcomes(root: Path) -> dict[str, tuple[str, str, int]]:
    """Status, reason and run of every pair."""
    with closing(sqlite3.connect(root / "manifest.sqlite")) as db:
        rows = db.execute("SELECT key, status, reason, run FROM outcomes WHERE stage = 'lipsync'")
        return {key: tuple(rest) for key, *rest in rows}


def runs(root: Path) -> dict[str, int]:
    """The run that made each result."""
    return {key: run for key, (status, _, run) in outcomes(root).items() if status == "kept"}


class Job:
    """A folder of inputs, a table of pairs and the results."""

    def __init__(self, folder: Path, flags: list[str], clip: Path, speech: Path) -> None:
        self.folder, self.flags, self.clip, self.speech = folder, flags, clip, speech
        self.table, self.out = folder / "my pairs.csv", folder / "out put"
        folder.mkdir(exist_ok=True)

    def add(self, video: str, audio: str) -> None:
        for name, source in ((video, self.clip), (audio, self.speech)):
            copy(source, self.folder / name)
        with self.table.open("a", newline="") as file:
            csv.writer(file).writerow((video, audio))

    def command(self, *more: str) -> list[str]:
        return ["--pairs", str(self.table), "--out_dir", str(self.out), *self.flags, *more]

    def __call__(self, *more: str) -> int:
        return cli(self.command(*more))


@pytest.fixture
def job(tmp_path, flags, clip, speech) -> Job:
    return Job(tmp_path / "job", flags, clip, speech)


def test_what_is_bad_fails_and_the_others_go_on(job, here, capsys, monkeypatch):
    job.add('it\'s $(touch x) "v".mp4', "-a 1.wav")
    job.add("broken.mp4", "a.wav")
    job.add("-v.mp4", "a.wav")
    job.add("v.mp4", "lost.wav")
    (job.folder / "broken.mp4").write_bytes(b"no video")
    (job.folder / "lost.wav").unlink()
    monkeypatch.chdir(job.folder)
    assert cli(["--pairs", job.table.name, "--out_dir", job.out.name, *job.flags]) == 1
    told = capsys.readouterr()
    good = ['it\'s $(touch x) "v"__-a 1.mp4', "-v__a.mp4"]
    assert sorted(path.name for path in job.out.glob("*.mp4")) == sorted(good)
    assert all(len(list(decode_frames(job.out / name))) == 10 for name in good)
    assert "failed: broken__a.mp4: " in told.err and "failed: v__lost.mp4: " in told.err and "lost.wav" in told.err
    assert told.out == f"2 of 4 pairs made; {job.out / 'pairs.csv'}, {job.out / 'manifest.sqlite'}\n"
    with (job.out / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["out"] for row in rows] == good
    assert rows[1]["video"] == str(job.folder / "-v.mp4") and rows[1]["audio"] == str(job.folder / "a.wav")
    assert not (job.folder / "x").exists() and not list(job.out.glob(".*-*"))

    copy(job.clip, job.folder / "broken.mp4")  # what changes is tried again, and so is what appears
    copy(job.speech, job.folder / "lost.wav")
    assert job() == 0
    assert sorted(runs(job.out).values()) == [1, 1, 2, 2]


def test_a_result_is_that_of_the_inference_command_whatever_was_made_before(job, here, tmp_path):
    job.add("other.mp4", "a.wav")
    job.add("v.mp4", "a.wav")
    assert job("--seed", "5") == 0
    alone = tmp_path / "alone.mp4"
    assert inference.cli([str(job.clip), str(job.speech), str(alone), "--seed", "5", *job.flags]) == 0
    assert (job.out / "v__a.mp4").read_bytes() == (job.out / "other__a.mp4").read_bytes() == alone.read_bytes()


def test_only_what_has_changed_is_made_again(job, here):
    for name in "abc":
        job.add(f"{name}.mp4", f"{name}.wav")
    assert job() == job() == 0
    assert set(runs(job.out).values()) == {1}
    os.utime(job.folder / "a.mp4", ns=(1, 1))
    os.utime(job.folder / "b.wav", ns=(1, 1))
    assert job() == 0
    assert runs(job.out) == {"a__a.mp4": 3, "b__b.mp4": 3, "c__c.mp4": 1}
    (job.out / "c__c.mp4").unlink()
    assert job() == 0
    assert runs(job.out) == {"a__a.mp4": 3, "b__b.mp4": 3, "c__c.mp4": 4}
    assert job("--seed", "7") == 0
    assert set(runs(job.out).values()) == {5}


def test_a_result_depends_on_these_flags(flags):
    def parameters(*more: str) -> str:
        args = inference_videos.parse(["--pairs", "p", "--out_dir", "o", *flags, *more])
        return json.dumps(inference_videos.build_stage(args, 1).parameters(), sort_keys=True)

    plain = parameters()
    for more in ("--inference_steps 2", "--guidance_scale 1", "--tail keep", "--face 1", "--fps source", "--crf 20"):
        assert parameters(*more.split()) != plain, more
    for more in ("--windows_per_call 2", "--temp_dir temp", "--device auto", "--total_num_workers 2"):
        assert parameters(*more.split()) == plain, more


def test_other_weights_make_other_results(job, here, tmp_path):
    job.add("v.mp4", "a.wav")
    assert job() == 0
    folder = Path(job.flags[1]).parent
    (tmp_path / "other").mkdir()
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        target = tmp_path / "other" / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        copy(path, target)
    moved = ["--inference_ckpt_path", str(tmp_path / "other/latentsync_unet.pt")]
    assert job(*moved) == 0
    assert runs(job.out) == {"v__a.mp4": 1}  # the same ones elsewhere
    content = torch.load(moved[1])
    content["global_step"] = 1
    torch.save(content, moved[1])
    assert job(*moved) == 0
    assert runs(job.out) == {"v__a.mp4": 3}


def test_failures_are_tried_again_on_request(job, here):
    job.add("v.mp4", "a.wav")
    (job.folder / "v.mp4").write_bytes(b"no video")
    assert job() == job() == job("--retry_failed") == 1
    assert [run for *_, run in outcomes(job.out).values()] == [3]


def test_a_run_that_was_killed_goes_on(job, here):
    """SIGKILL to all of its processes once a result is there; then the rest is made, and nothing else."""
    for i in range(5):
        job.add(f"{i}.mp4", f"{i}.wav")
    command = [sys.executable, str(REPO_ROOT / "scripts/launch.py"), "eval.inference_videos", *job.command()]
    running = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 1200  # on a machine with much else to do
    while running.poll() is None and not ((job.out / "manifest.sqlite").exists() and runs_or_none(job.out)):
        assert time.monotonic() < deadline, "no result yet"
        time.sleep(0.05)
    assert running.poll() is None, running.stderr.read().decode()
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    running.stderr.close()
    before = runs(job.out)
    digests = {key: digest(job.out / key) for key in before}
    assert 1 <= len(before) < 5
    (job.out / ".picture-abcdefgh").mkdir(exist_ok=True)
    (job.out / ".4__4-abcdefgh.mp4").touch()
    assert job() == 0
    after = runs(job.out)
    assert sorted(after) == [f"{i}__{i}.mp4" for i in range(5)]
    assert {key for key, run in after.items() if run == 1} == set(before)
    assert {key: digest(job.out / key) for key in before} == digests
    assert all(len(list(decode_frames(job.out / key))) == 10 for key in after)
    assert sorted(path.name for path in job.out.iterdir() if path.name.startswith(".")) == [".manifest.lock"]


def runs_or_none(root: Path) -> dict[str, int]:
    try:
        return runs(root)
    except sqlite3.OperationalError:  # its tables are not there yet
        return {}


def test_pairs_are_drawn_by_the_seed(job, here, monkeypatch):
    seen = []
    monkeypatch.setattr(
        inference_videos, "run_stage", lambda _, pairs, *rest, **more: (seen.extend(pairs), ([], []))[1]
    )
    for name, letter, n_names in (("videos.txt", "v", 4), ("audios.txt", "a", 3)):
        (job.folder / name).write_text("".join(f"{letter}{i}.x\n" for i in range(n_names)))
    lists = ["--videos", str(job.folder / "videos.txt"), "--audios", str(job.folder / "audios.txt")]
    assert cli([*lists, "--out_dir", str(job.out), *job.flags]) == 0
    assert [pair.key for pair in seen] == ["v1__a2.mp4", "v3__a1.mp4", "v2__a0.mp4"]
    assert seen[0].audio == job.folder / "a2.x"


def test_flags_mean_what_they_mean_to_the_inference_command():
    ours, theirs = vars(inference_videos.parse(["--pairs", "p", "--out_dir", "o"])), vars(inference.parse([]))
    shared = set(ours) & set(theirs)
    assert {"inference_steps", "guidance_scale", "model", "enable_deepcache", "fps", "loop", "crf"} < shared
    assert {name for name in shared if ours[name] != theirs[name]} == {"seed"}


@pytest.mark.parametrize(
    ("more", "n_pairs", "expected"),
    [([], 9, 12), (["--total_num_workers", "3"], 9, 4), (["--total_num_workers", "30"], 99, 1),
     (["--total_num_workers", "8"], 2, 6), (["--executor", "ray"], 9, None)],
)  # fmt: skip
def test_workers_share_the_processors(monkeypatch, more, n_pairs, expected):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 12)
    args = inference_videos.parse(["--pairs", "p", "--out_dir", "o", "--device", "cpu", *more])
    assert inference_videos.threads_of_each(args, n_pairs) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "expected --videos and --audios, or --pairs"),
        ("--videos v", "expected --videos and --audios, or --pairs"),
        ("--videos v --audios a --pairs p", "expected --videos and --audios, or --pairs"),
        ("--pairs p --seed -1", "--seed -1: expected 0 to"),
        ("--pairs p --inference_steps 0", "--inference_steps 0: expected 1 to"),
        ("--pairs p --per_gpu_num_workers 0", "expected 1 or more, got 0"),
        ("--pairs p --limit_s soon", "expected seconds, got soon"),
    ],
)
def test_wrong_flags_are_one_line(capsys, line, message):
    with pytest.raises(SystemExit) as left:
        inference_videos.parse([*line.split(), "--out_dir", "o"])
    told = capsys.readouterr().err
    assert left.value.code == 2 and message in told and told.count("\n") == 1


def test_mistakes_are_one_line_and_nothing_is_written(job, capsys):
    job.add("v.mp4", "a.wav")
    weights = job.folder / "unet.pt"
    weights.touch()
    for more, message in (
        (["--fps", "0"], "--fps 0: expected"),
        (["--inference_ckpt_path", str(weights)], f"{weights}: is empty, expected weights"),
        (["--pairs", str(job.out / "pairs.csv")], "pairs.csv is what this run writes"),
    ):
        assert job(*more) == 2
        told = capsys.readouterr()
        assert message in told.err.splitlines()[-1] and told.out == ""
    assert not job.out.exists()
