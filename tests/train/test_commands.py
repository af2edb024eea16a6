"""The training commands as they are typed: what they leave, how they go on, how they fail."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from latentsync import REPO_ROOT
from latentsync.build import build_syncnet
from latentsync.checkpoint import load_state, save_checkpoint
from latentsync.config import load_config, model_config, save_config
from latentsync.data import prepare as prepare_module
from latentsync.data.clips import find_clips
from latentsync.data.prepare import PrepareSettings, prepare
from latentsync.data.windows import Needs
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.schema import SyncNetConfig, UNetConfig
from latentsync.train.log import read_table
from latentsync.train.state import kept_steps
from scripts import export_weights, train_syncnet, train_unet
from scripts.make_seeded_checkpoints import make_seeded_checkpoints

from ..command import demo_frames, write_clip
from ..data.conftest import make_clip, noise
from ..wav import write_wav
from .test_loop import assert_equal_runs, curve, weights
from .tiny import FRAMES, SYNCNET, fill, write_config

PATIENCE_S = 300  # of a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six clips of 3 s, and configurations of small networks for pictures of 64 pixels that name them."""
    root = tmp_path_factory.mktemp("commands")
    for seed in range(6):
        make_clip(root / f"clips/{seed}.mp4", seed=seed)
    data = {"train_data_dir": str(root / "clips"), "val_data_dir": str(root / "clips"), "cache_frames": True}
    visual_encoder = {**SYNCNET["model"]["visual_encoder"], "downsample_factors": [[2, 4], 4, 4]}
    syncnet = {
        "data": {**SYNCNET["data"], **data, "resolution": 64, "num_workers": 2, "gradient_accumulation_steps": 2},
        "run": {"max_train_steps": 8, "validation_steps": 4},
        "ckpt": {"save_ckpt_steps": 3, "inference_ckpt_path": str(root / "syncnet.pt")},
        "optimizer": {"lr": 1e-3, "lr_scheduler": "cosine"},
        "model": {**SYNCNET["model"], "visual_encoder": visual_encoder},
    }
    cfg = load_config(SyncNetConfig, write_config(root / "syncnet.yaml", "syncnet/demo", syncnet))
    save_checkpoint(root / "syncnet.pt", fill(StableSyncNet(**model_config(cfg))).state_dict())

    seeded = make_seeded_checkpoints(root / "seeded", "tiny")
    save_checkpoint(root / "start.pt", load_state(seeded / "latentsync_unet.pt").state, global_step=100)
    unet = {
        "data": {
            **data,
            "resolution": 64,
            "num_frames": FRAMES,
            "num_workers": 0,
            "num_val_samples": 2,
            "syncnet_config_path": str(root / "syncnet.yaml"),
            "val_video_path": str(write_clip(root / "face.mp4", demo_frames(10))),
            "val_audio_path": str(write_wav(root / "speech.wav", noise(0, 0.4))),
        },
        "run": {"max_train_steps": 103, "inference_steps": 1, "perceptual_loss_weight": 0, "trepa_loss_weight": 0},
        "ckpt": {
            "save_ckpt_steps": 2,
            "resume_ckpt_path": str(root / "start.pt"),
            "vae_path": str(seeded / "vae"),
            "whisper_path": str(seeded / "whisper/tiny.pt"),
        },
    }
    write_config(root / "unet.yaml", "unet/seeded_tiny", unet)
    # Here, rather than in several processes of each command.
    settings = PrepareSettings(root / "cache/training", Needs(FRAMES, 48, 16), resolution=64, n_workers=1)
    prepare(find_clips(root / "clips"), settings)
    return root


def arguments(folder: Path, what: str, *rest: object) -> list[str]:
    flag = {"syncnet": "--config_path", "unet": "--unet_config_path"}[what]
    return [flag, *map(str, (folder / f"{what}.yaml", *rest))]


def cli(folder: Path, what: str, *rest: object) -> int:
    """The exit status of a command, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [what, *arguments(folder, what, *rest)])
        patch.setenv("LATENTSYNC_CACHE", str(folder / "cache"))
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        try:
            return {"syncnet": train_syncnet, "unet": train_unet}[what].main()
        except SystemExit as stop:  # of the parser
            return stop.code


def start(folder: Path, what: str, *rest: object, ranks: int = 1) -> subprocess.Popen:
    """A command as a process in its own group."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *several, str(REPO_ROOT / "scripts/launch.py"), f"scripts.train_{what}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LATENTSYNC_CACHE": str(folder / "cache")}
    with (folder / "output").open("a") as output:
        return subprocess.Popen(
            [*command, *arguments(folder, what, *rest)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stop_after(process: subprocess.Popen, run: Path, rows: int, end: Callable[[subprocess.Popen], None]) -> list[int]:
    """End a run once it has logged so many steps; returns its loader processes."""
    table = run / "metrics.csv"
    wait_for(lambda: process.poll() is not None or (table.exists() and len(read_table(table)) >= rows))
    assert process.poll() is None, (run.parent / "output").read_text()
    workers = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    end(process)
    process.wait(PATIENCE_S)
    return workers


@pytest.fixture(scope="module")
def whole(folder) -> Path:
    """A SyncNet's run that nothing disturbed."""
    assert cli(folder, "syncnet", "--run_dir", folder / "whole") == 0
    return folder / "whole"


def test_a_run_that_was_stopped_and_then_killed_goes_on_bit_for_bit(folder, whole):
    run = folder / "disturbed"
    # `timeout`, a terminal and torchrun send a signal to all processes, the loader's too: a run ends after its step.
    process = start(folder, "syncnet", "--run_dir", run)
    stop_after(process, run, 1, lambda p: os.killpg(p.pid, signal.SIGTERM))
    assert process.returncode == 0, (folder / "output").read_text()
    assert len(curve(run)) == kept_steps(run / "checkpoints")[-1] < 5

    # Behind the kept step 3, and within an epoch.
    workers = stop_after(start(folder, "syncnet", "--run_dir", run), run, 5, subprocess.Popen.kill)
    assert len(workers) == 2
    wait_for(lambda: not any(map(psutil.pid_exists, workers)))
    (run / "checkpoints/.state-8-abcd_123.pt").touch()  # as a kill while a checkpoint is written leaves it

    assert cli(folder, "syncnet", "--run_dir", run) == 0
    assert_equal_runs(run, whole)
    assert [row["step"] for row in read_table(run / "validation.csv")] == ["4", "8"]
    assert (run / "validation.csv").read_text() == (whole / "validation.csv").read_text()
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]


def test_two_processes_train_as_one_with_twice_the_batch(folder):
    common = ["run.max_train_steps=3", "run.mixed_precision_training=false", "data.val_data_dir=", "data.num_workers=0"]
    # Contrast over a batch is one over each process's own; Muon rounds to bfloat16.
    common += ["run.batch_infonce_loss_weight=0", "optimizer.name=adamw", "optimizer.lr=5e-4"]
    assert cli(folder, "syncnet", "--run_dir", folder / "one", "data.batch_size=2", *common) == 0
    process = start(folder, "syncnet", "--run_dir", folder / "two", "data.batch_size=1", *common, ranks=2)
    assert process.wait(PATIENCE_S) == 0, (folder / "output").read_text()
    # Three steps of Adam move a weight by up to 3e-3, in a direction that rounding decides where a gradient is tiny.
    for (key, a), b in zip(weights(folder / "one").items(), weights(folder / "two").values(), strict=True):
        assert (a - b).abs().mean() < 1e-5, key
    losses = [[float(row["loss"]) for row in read_table(folder / run / "metrics.csv")] for run in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.fixture(scope="module")
def unet_run(folder) -> Path:
    run = folder / "unet run"
    with contextlib.redirect_stderr((folder / "unet output").open("w")):
        assert cli(folder, "unet", "--run_dir", run) == 0
    return run


def test_the_unet_goes_on_from_released_weights(folder, unet_run):
    rows = read_table(unet_run / "metrics.csv")
    assert [row["step"] for row in rows] == ["101", "102", "103"]
    assert all(float(row["sync_loss"]) > 0 for row in rows)
    validations = read_table(unet_run / "validation.csv")
    assert [row["step"] for row in validations] == ["102", "103"]
    assert all(float(row["loss"]) > 0 for row in validations)

    path = unet_run / "checkpoints/checkpoint-103.pt"
    cfg = load_config(UNetConfig, unet_run / "config.yaml")
    unet, step = UNet3DConditionModel.from_pretrained(model_config(cfg), path)
    assert step == 103 and set(torch.load(path, weights_only=True)) == {"state_dict", "global_step"}
    before = load_state(folder / "start.pt").state
    changed = {key for key, value in unet.state_dict().items() if not torch.equal(value, before[key])}
    named = {key for key, _ in unet.named_parameters() if "motion_modules." in key or "attentions." in key}
    assert changed == named


def test_a_stopped_unet_run_goes_on_bit_for_bit(folder, unet_run):
    run, no_validation = folder / "unet stopped", ["data.val_video_path=", "data.val_data_dir="]
    assert cli(folder, "unet", "--run_dir", run, "run.max_train_steps=102", *no_validation) == 0
    assert cli(folder, "unet", "--run_dir", run, *no_validation) == 0
    assert_equal_runs(run, unet_run)


def test_a_video_without_a_face_is_told_and_training_goes_on(folder, unet_run, caplog):
    run = folder / "faceless"
    changes = ["run.max_train_steps=102", f"data.val_video_path={folder / 'clips/0.mp4'}", "data.val_data_dir="]
    assert cli(folder, "unet", "--run_dir", run, *changes) == 0
    assert "no validation video: " in caplog.text
    assert kept_steps(run / "checkpoints") == [102]


def test_the_validation_video_is_made_and_judged(unet_run):
    assert {path.name for path in (unet_run / "val_videos").iterdir()} == {"val_video_102.mp4", "val_video_103.mp4"}
    assert all(row["sync_offset"] and row["sync_confidence"] for row in read_table(unet_run / "validation.csv"))


MISSING = [
    ("data.syncnet_config_path", "configs/syncnet/demo.yaml", "demo.yaml: expected a SyncNet of 4 frames"),
    ("ckpt.resume_ckpt_path", "none.pt", "none.pt: no such file"),
    ("ckpt.vae_path", "none", "setup_env.sh"),
    ("ckpt.whisper_path", "none.pt", "none.pt: no such file"),
    ("run.perceptual_loss_weight", "1", "vgg16-397923af.pth: no such file; fetch it by setup_env.sh --train or from "
     "https://download.pytorch.org/models/vgg16-397923af.pth, or train without it by run.perceptual_loss_weight=0"),
    ("run.trepa_loss_weight", "1", "ssv2_ft.pth: no such file; fetch it by setup_env.sh --train or from "
     "https://huggingface.co/ByteDance/LatentSync-1.5 (auxiliary/vit_g_hybrid_pt_1200e_ssv2_ft.pth), or train "
     "without it by run.trepa_loss_weight=0"),
    ("data.train_data_dir", "", "no clips are named"),
    ("data.train_data_dir", "latentsync", "holds no .mp4 file"),
    ("run.max_train_stepps", "5", "did you mean run.max_train_steps?"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "words"), MISSING)
def test_what_is_missing_is_told_before_anything_large_is_read(folder, capsys, monkeypatch, key, value, words):
    for name in ("build_lpips", "build_syncnet", "build_temporal_loss", "make_model"):
        monkeypatch.setattr(train_unet, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))
    run = folder / "refused"
    assert cli(folder, "unet", "--run_dir", run, f"{key}={value}", "data.val_video_path=") == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == "" and line.startswith("error: ") and words in line
    assert not run.exists()


def test_weights_with_more_steps_than_wanted_are_told(folder, tmp_path, capsys):
    assert cli(folder, "unet", "--run_dir", tmp_path, "run.max_train_steps=100", "data.val_data_dir=") == 2
    assert "error: run.max_train_steps is 100, and the weights to start from have 100 steps" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["syncnet", "unet"])
def test_a_run_folder_that_cannot_be_made_is_told(folder, capsys, what):
    assert cli(folder, what, "--run_dir", folder / "start.pt/run") == 2
    assert "cannot be made or written (Not a directory); choose another folder" in capsys.readouterr().err


def test_exported_weights_are_the_last_ones_in_half_precision(folder, whole, tmp_path, capsys, monkeypatch):
    def export(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["export_weights", *map(str, arguments)])
        return export_weights.main()

    out = tmp_path / "new folder/syncnet.pt"
    assert export(whole, "--out", out) == 0
    last, shipped = load_state(whole / "checkpoints/checkpoint-8.pt"), load_state(out)
    assert shipped.step == last.step == 8 and shipped.state.keys() == last.state.keys()
    for name, value in shipped.state.items():
        assert value.dtype == torch.float16
        torch.testing.assert_close(value.float(), last.state[name].float(), rtol=1e-3, atol=1e-6)
    cfg = load_config(SyncNetConfig, folder / "syncnet.yaml")
    assert build_syncnet(cfg, out, dtype=torch.float32).training is False
    capsys.readouterr()
    for run, target, words in ((tmp_path, out, "expected checkpoint-N.pt"), (whole, folder, "choose another file")):
        assert export(run, "--out", target) == 2
        assert words in capsys.readouterr().err


def test_single_frames_of_pairs_train_from_cached_latents(folder, tmp_path):
    """As the first stage of the small model does: frames are not read again once the VAE has encoded them."""
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for source, name in (("0", "a"), ("1", "a.other")):
        shutil.copy(folder / f"clips/{source}.mp4", pairs / f"{name}.mp4")
    own = [
        *(f"data.{key}" for key in (f"train_data_dir={pairs}", "val_data_dir=", "val_video_path=", "num_frames=1")),
        *(f"data.{key}=true" for key in ("counterfactual", "cache_latents")),
        *(f"run.{key}=false" for key in ("use_syncnet", "pixel_space_supervise", "enable_gradient_checkpointing")),
        *("data.cache_frames=false", "data.batch_size=3", "model.use_motion_module=false", "ckpt.resume_ckpt_path="),
        *("run.inverse_snr_weight=0.5", "run.high_noise_share=0.4", "run.mouth_loss_weight=2", "optimizer.name=muon"),
    ]
    assert cli(folder, "unet", "--run_dir", tmp_path / "run", *own, "run.max_train_steps=2") == 0
    assert [row["step"] for row in read_table(tmp_path / "run/metrics.csv")] == ["1", "2"]
    latents = list((folder / "cache/training").glob("latents-*/*/*.npy"))
    assert [np.load(path, mmap_mode="r").shape for path in latents] == 2 * [(75, 2, 2, 4, 8, 8)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_module, "decode_resized", None)
        assert cli(folder, "unet", "--run_dir", tmp_path / "run", *own, "run.max_train_steps=4") == 0
    assert len(read_table(tmp_path / "run/metrics.csv")) == 4


def test_a_missing_syncnet_names_its_origin(folder, tmp_path, capsys):
    cfg = load_config(SyncNetConfig, folder / "syncnet.yaml", [f"ckpt.inference_ckpt_path={tmp_path / 'gone.pt'}"])
    save_config(cfg, tmp_path / "other.yaml")
    assert cli(folder, "unet", f"data.syncnet_config_path={tmp_path / 'other.yaml'}") == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {tmp_path / 'gone.pt'}: no such file; ")
    assert "ByteDance/LatentSync-1.5 (stable_syncnet.pt)" in line and "run.use_syncnet=false" in line


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("what", ["audio", "syncnet", "unet", "vae"])
def test_the_shell_command_starts_ours_from_another_folder(tmp_path, what):
    """With the set-up replaced by one that names this very Python."""
    root, elsewhere = tmp_path / "my repo", tmp_path / "elsewhere"
    (root / "scripts").mkdir(parents=True)
    elsewhere.mkdir()
    for name in (f"train_{what}.sh", "scripts/torchrun.sh", "scripts/launch.py"):
        shutil.copy(REPO_ROOT / name, root / name)
    (root / "scripts/bootstrap.sh").write_text(f"echo {sys.executable}\n")
    (root / f"scripts/train_{what}.py").write_text("import os, sys; print(os.getcwd(), sys.argv[1:])\n")
    command = ["bash", str(root / f"train_{what}.sh"), "--run_dir", "a b"]
    done = subprocess.run(command, cwd=elsewhere, env={**os.environ, "GPUS": "1"}, capture_output=True, text=True)
    assert done.stdout == f"{elsewhere} ['--run_dir', 'a b']\n", done.stderr
