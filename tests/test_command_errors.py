"""Mistakes and mishaps through the whole command: one line that helps, and everything is as it was."""

import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from latentsync import build
from latentsync.errors import MediaError
from latentsync.media.ffmpeg import decode_frames
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from scripts import inference

from . import command as command_module
from .command import demo_frames, write_clip
from .media.make import ffmpeg, tone

pytestmark = pytest.mark.usefixtures("seeded_demo")


def everything(folder: Path) -> dict[Path, bytes | None]:
    """All files with their content, and folders."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


class Mistakes:
    """Commands that must fail: they leave the inputs, the target's old content and the temporary folder alone."""

    def __init__(self, command, video: Path, sound: Path, folder: Path) -> None:
        self.command, self.video, self.sound, self.folder = command, video, sound, folder
        self.out = folder / "out.mp4"
        self.out.write_bytes(b"what was there")

    def __call__(self, *flags: str, video: Path | None = None, sound: Path | None = None, out=None) -> str:
        """What the command says."""
        before = everything(self.folder)
        message = self.command.failure(
            *flags, "--", video or self.video, sound or self.sound, self.out if out is None else out
        )
        assert everything(self.folder) == before
        return message


@pytest.fixture
def mistake(command, clip, speech, tmp_path, monkeypatch) -> Mistakes:
    folder = tmp_path / "job"
    (folder / "temp").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temp"))
    monkeypatch.chdir(folder)
    return Mistakes(command, clip, speech, folder)


@pytest.fixture
def unloaded(monkeypatch):
    """Weights must not be read."""
    monkeypatch.setattr(build, "load_state", lambda *_: pytest.fail("weights were loaded"))


# Inputs


def cut(path: Path, share: float, clip: Path, *, index_first: bool) -> None:
    """The clip without its end."""
    whole = path.with_name("whole.mp4")
    ffmpeg("-i", clip, "-c", "copy", *(["-movflags", "+faststart"] if index_first else []), whole)
    path.write_bytes(whole.read_bytes()[: round(whole.stat().st_size * share)])
    whole.unlink()


@pytest.mark.parametrize("role", ["video", "sound"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "does not exist; expected a video or sound file, so check its name"),
        (b"", "is empty; expected a video or sound file, so copy or download it again"),
        (b"This is not a video.\n" * 50, "is not a readable video or sound file"),
        (b"\0" * 5000, "is not a readable video or sound file"),
    ],
    ids=["missing", "empty", "text", "zeros"],
)
def test_what_is_no_media_file(mistake, unloaded, role, content, expected):
    path = mistake.folder / "in.mp4"
    if content is not None:
        path.write_bytes(content)
    assert mistake(**{role: path}).startswith(f"error: {path} {expected}")


def test_other_things_than_a_video(mistake, unloaded):
    cut(mistake.folder / "cut.mp4", 0.7, mistake.video, index_first=False)
    for video, expected in (
        (mistake.folder / "cut.mp4", "is not a readable video or sound file"),
        (mistake.folder / "temp", "is not a file; expected a video"),
        (mistake.sound, "has no video stream; expected a video, so choose another file"),
        (mistake.folder / ("x" * 300 + ".mp4"), "File name too long"),
    ):
        message = mistake(video=video)
        assert str(video) in message and expected in message
    message = mistake(sound=mistake.video)
    assert f"{mistake.video} has no audio stream; expected sound, so choose another file" in message


def test_a_video_of_which_nothing_is_left(mistake, unloaded):
    video = mistake.folder / "cut.mp4"
    cut(video, 0.05, mistake.video, index_first=True)
    assert f"{video} has a video stream without frames; copy or download it again" in mistake(video=video)


def test_a_sound_without_samples(mistake):
    sound = tone(mistake.folder / "in.wav", 0)
    assert f"{sound} has an audio stream without samples; choose another file" in mistake(sound=sound)


def test_a_video_without_a_usable_face(mistake):
    noise = np.random.default_rng(0).integers(0, 256, (10, 128, 128, 3), dtype=np.uint8)
    small = np.full((10, 256, 256, 3), 128, np.uint8)
    small[:, :64, :64] = demo_frames(10)[:, ::4, ::4]
    for name, frames in (("noise.mp4", noise), ("small.mp4", small)):
        video = write_clip(mistake.folder / name, frames)
        message = mistake(video=video)
        assert f"{video}: no face found in any of 10 frames; expected one at least 64 pixels wide" in message
        assert message.endswith("so enlarge the video or choose another")


# Targets


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere/out.mp4", "cannot be written: its folder does not exist; create it first"),
        ("in.mp4/out.mp4", "cannot be written: its folder does not exist; create it first"),
        ("temp.mp4", "is a folder; expected the name of a video to write"),
        ("out.xyz", "cannot be written: expected a name ending in .mp4, .m4v, .mov, .mkv"),
        ("out", "cannot be written: expected a name ending in .mp4, .m4v, .mov, .mkv"),
        (f"{'x' * 300}.mp4", "cannot be written (File name too long); expected"),
        ("in.mp4", "is an input too and would be lost; choose another name"),
        ("temp.mp4/../in.mp4", "is an input too and would be lost; choose another name"),
        ("linked.mp4", "is an input too and would be lost; choose another name"),
        ("sound.mp4", "is an input too and would be lost; choose another name"),
    ],
)
def test_targets_that_cannot_be(mistake, unloaded, name, expected):
    folder = mistake.folder
    (folder / "temp.mp4").mkdir()
    (folder / "in.mp4").write_bytes(mistake.video.read_bytes())
    (folder / "sound.mp4").write_bytes(mistake.sound.read_bytes())
    (folder / "linked.mp4").symlink_to(folder / "in.mp4")
    message = mistake(video=folder / "in.mp4", sound=folder / "sound.mp4", out=name)
    assert message.startswith(f"error: {name} {expected}")


def test_a_folder_that_cannot_be_written(mistake, unloaded):
    """Also for root, to whom permissions say yes: nobody makes files in /proc."""
    locked = mistake.folder / "locked"
    locked.mkdir(mode=0o500)
    places = [] if os.access(locked, os.W_OK) else [locked]
    places += [Path("/proc")] if sys.platform == "linux" else []
    for place in places or pytest.skip("this user can write everywhere"):
        message = mistake(out=place / "out.mp4")
        assert message.startswith(f"error: {place / 'out.mp4'} cannot be written (")
        assert message.endswith("expected a folder to write to, so choose another")
        message = mistake("--temp_dir", str(place / "new"))
        assert message.startswith(f"error: {place / 'new'} cannot be used for temporary files (")
        assert message.endswith("expected a folder to write to, so choose another --temp_dir")


# Flags


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--fps 0", "--fps 0: expected source or a rate from 1 to 240, such as 25 or 30000/1001"),
        ("--fps 1000", "--fps 1000: expected source or a rate"),
        ("--fps nan", "--fps nan: expected source or a rate"),
        ("--face nose", "expected \"largest\", a number counted from the left (0, 1, ...) or a point"),
        ("--face=-1", "got '-1'; correct it or leave it out"),
        ("--codec nonsense", "no encoder nonsense; try libx264"),
        ("--codec h264_vaapi", "h264_vaapi"),
        ("--preset nonsense", "libx264 has no preset nonsense; expected one of ultrafast"),
        ("--codec ffv1", "ffv1 has no presets, got ultrafast; leave the preset out"),
        ("--crf 52", "expected a crf of 0 to 51 for libx264, got 52; 18 is a good one"),
        ("--crf 99", "--crf 99: expected 0 to 63"),
        ("--crf fine", "--crf: invalid int value: 'fine'"),
        ("--device cuda:99", "device cuda:99: not available here; use auto, cpu, cuda, cuda:N or mps"),
        ("--device nonsense", "device nonsense: not available here"),
        ("--device meta", "device meta: not available here"),
        ("--dtype int8", "dtype int8: expected auto, fp32, fp16, bf16"),
        ("--loop around", "--loop: invalid choice: 'around' (choose from"),
        ("--tail wag", "--tail: invalid choice: 'wag' (choose from"),
        ("--inference_steps 0", "--inference_steps 0: expected 1 to 1000"),
        ("--guidance_scale nan", "--guidance_scale nan: expected 0 to 100"),
        (f"--seed {2**64}", f"--seed {2**64}: expected -1 to {2**64 - 1}"),
        ("--windows_per_call 0", "--windows_per_call 0: expected 1 to 256"),
        ("--face_detector insightface", "or choose the MediaPipe detector"),
        ("--temp_dir out.mp4", "out.mp4 cannot be used for temporary files (File exists)"),
        ("--nonsense", "unrecognized arguments: --nonsense; see --help"),
    ],
)
def test_a_flag_that_cannot_work(mistake, unloaded, flags, expected):
    assert expected in mistake(*flags.split())


def test_a_face_that_is_not_there(mistake):
    message = mistake("--face", "3")
    assert f"{mistake.video}: no face found that answers the choice '3' in any of 10 frames" in message


def test_too_few_paths(command):
    assert "expected VIDEO AUDIO [OUT]" in command.failure("only.mp4")


def test_a_traceback_is_there_for_those_who_ask(mistake):
    with pytest.raises(MediaError, match="does not exist"):
        inference.cli(["--debug", *mistake.command.flags, "absent.mp4", str(mistake.sound), "out.mp4"])


# Weights and configurations


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def damaged_weights(folder: Path, kind: str, good: Path) -> Path:
    path = folder / "latentsync_unet.pt"
    if kind == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif kind == "code":
        path.write_bytes(pickle.dumps({"state_dict": Bomb()}))
    elif kind == "zipped code":
        torch.save({"state_dict": Bomb()}, path)
    elif kind == "empty":
        path.touch()
    elif kind == "other":
        torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)
    elif kind == "only its record":
        path.with_name(f"{path.name}.json").write_text(
            '{"repository": "", "revision": "", "filename": "", "sha256": "", "size": 5, "release": "1.6"}'
        )
    return path


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("missing", "no such file, expected weights; download it or correct the path"),
        ("only its record", "no such file, expected weights; download it or correct the path"),
        ("empty", "is empty, expected weights; download it again"),
        ("text", "expected a"),
        ("truncated", "expected a complete torch file"),
        ("code", "and did not open it; choose another file"),
        ("zipped code", "and did not open it; choose another file"),
    ],
)
@pytest.mark.parametrize("configured", [True, False])
def test_weights_that_are_none(mistake, kind, expected, configured):
    """With a configuration and without, which is then looked up beside them."""
    _, good, config_flag, config = mistake.command.flags[:4]
    weights = damaged_weights(mistake.folder, kind, Path(good))
    mistake.command.flags = mistake.command.flags[4:] + ([config_flag, config] if configured else [])
    message = mistake("--inference_ckpt_path", str(weights))
    assert message.startswith(f"error: {weights}") and expected in message


def test_weights_of_another_network(mistake):
    weights = damaged_weights(mistake.folder, "other", Path())
    folder = Path(mistake.command.flags[1]).parent
    for name in ("whisper", "vae"):
        (mistake.folder / name).symlink_to(folder / name)
    message = mistake("--inference_ckpt_path", str(weights))
    assert message.startswith(f"error: {weights}: does not fit this UNet3DConditionModel: ")
    assert "use the configuration it was trained with, which is none of configs/unet/" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "in.yaml"),
        ("", "whisper/tiny.pt: expected features of model.cross_attention_dim 384, got 32; use the Whisper model"),
        ("data: {resolutoin: 64}", "unknown key data.resolutoin; did you mean data.resolution?"),
        ("data: {resolution: large}", "data.resolution must be int"),
        ("{", "expected YAML"),
        ("data: {mask_image_path: none.png}", "none.png; correct data.mask_image_path"),
        ("base: REPO/configs/unet/stage2.yaml", "expected features of model.cross_attention_dim 384, got 32; use"),
        (
            "base: REPO/configs/unet/seeded_tiny.yaml\nmodel: {block_out_channels: [64, 64, 64, 64]}",
            "latentsync_unet.pt: does not fit this UNet3DConditionModel",
        ),
    ],
)
def test_configurations_that_do_not_work(mistake, content, expected):
    path = mistake.folder / "in.yaml"
    if content is not None:
        path.write_text(content.replace("REPO", str(inference.REPO_ROOT)))
    assert expected in mistake("--unet_config_path", str(path))


# Memory


CPU_ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: ..."


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU_ALLOCATOR)])
@pytest.mark.parametrize(
    ("windows", "lower"), [("2", "--windows_per_call 1"), ("1", "--dtype bf16 or a configuration of 256 pixels")]
)
def test_too_little_memory_for_the_networks(mistake, monkeypatch, error, windows, lower):
    def exhaust(*_, **__):
        raise error

    monkeypatch.setattr(LipsyncPipeline, "sync_windows", exhaust)
    message = mistake("--windows_per_call", windows)
    assert message.startswith("error: out of memory with ") and message.endswith(f"; free some or use {lower}")


@pytest.mark.parametrize(
    ("where", "lower"),
    [("build_unet", "--dtype bf16 or --device cpu"), ("build_vae", "--dtype bf16 or --device cpu")],
)
def test_too_little_memory_for_the_weights(mistake, monkeypatch, where, lower):
    def exhaust(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(build, where, exhaust)
    assert mistake() == f"error: out of memory while loading the weights; free some or use {lower}"


# Processes


@pytest.fixture(scope="session")
def processes():
    """Forks of a process that has imported everything, as importing takes longer than all the rest."""
    if sys.platform == "win32":
        pytest.skip("needs fork")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(inference.REPO_ROOT))
        multiprocessing.forkserver._forkserver._stop()  # the one of other tests' workers, which has imported less
        multiprocessing.forkserver.set_forkserver_preload([command_module.__name__])
        multiprocessing.forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


class Program:
    """The command as a process of its own, in a group of its own, on a job of a minute."""

    def __init__(self, processes, mistake: Mistakes, *, seconds: float = 60, limit: int | None = None) -> None:
        self.folder, self.out = mistake.folder, mistake.out
        self.stderr = mistake.folder.parent / "stderr"
        sound = tone(mistake.folder.parent / "long.wav", seconds)
        self.before = everything(self.folder)
        arguments = [*mistake.command.flags, str(mistake.video), str(sound), str(self.out)]
        temp = Path(tempfile.tempdir)
        self.process = processes.Process(target=command_module.program, args=(arguments, temp, self.stderr, limit))
        self.process.start()

    def wait_until_writing(self) -> list[psutil.Process]:
        """Its ffmpeg processes, when some of the picture is on the disk."""
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in self.folder.glob(".picture-*/*")):
            assert self.process.is_alive() and time.monotonic() < deadline, self.stderr.read_text()
            time.sleep(0.02)
        children = psutil.Process(self.process.pid).children(recursive=True)
        assert any("ffmpeg" in child.name() for child in children)
        return children

    def end(self) -> tuple[int, list[str]]:
        """Its status and what it said."""
        self.process.join(60)
        return self.process.exitcode, self.stderr.read_text().splitlines()


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_run_that_is_stopped_leaves_nothing(processes, mistake, number):
    """Ctrl-C in a terminal, and its closing, reach ffmpeg too; a service's request to stop does not."""
    number = getattr(signal, number)
    program = Program(processes, mistake)
    children = program.wait_until_writing()
    (os.kill if number == signal.SIGTERM else os.killpg)(program.process.pid, number)
    status, said = program.end()
    assert (status, said[-1]) == (128 + number, "interrupted: nothing was written")
    assert not any("Traceback" in line or "rror" in line for line in said)
    assert everything(program.folder) == program.before
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_a_killed_run_leaves_the_target_alone_and_no_process(processes, mistake):
    program = Program(processes, mistake)
    children = program.wait_until_writing()
    program.process.kill()
    assert program.end()[0] == -signal.SIGKILL
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert program.out.read_bytes() == b"what was there"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (30_000, "out.mp4 cannot be written; check the space on the disk"),
        (4_000, "long.wav has sound that cannot be decoded into "),
    ],
)
def test_a_disk_that_fills_up(processes, mistake, limit, expected):
    """A limit on the size of a file stands for it."""
    program = Program(processes, mistake, seconds=0.4, limit=limit)
    status, said = program.end()
    assert status == 2 and said[-1].startswith("error: ") and expected in said[-1]
    assert "File size limit exceeded" in said[-1] or "File too large" in said[-1]
    assert not any("Traceback" in line for line in said)
    assert everything(program.folder) == program.before


def test_a_run_that_ends_well_replaces_the_target(processes, mistake):
    """What the tests above would also pass if nothing ever ran."""
    program = Program(processes, mistake, seconds=0.4)
    assert program.end()[0] == 0
    assert len(list(decode_frames(program.out))) == 10
    assert everything(program.folder).keys() == program.before.keys()
