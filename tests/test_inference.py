"""The inference command: how it is called, what it says, how it fails."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from latentsync import REPO_ROOT
from latentsync.errors import CheckpointError
from latentsync.media.ffmpeg import decode_frames
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from scripts import inference
from scripts.make_seeded_checkpoints import make_seeded_checkpoints

DEMO = [str(inference.DEMO_VIDEO), str(inference.DEMO_AUDIO)]


pytestmark = pytest.mark.usefixtures("seeded_demo")


def test_positional_and_named_paths_mean_the_same():
    named = ["--video_path", "v.mp4", "--audio_path", "a.wav", "--video_out_path", "o.mp4", "--seed", "1"]
    assert vars(inference.parse(["v.mp4", "--seed", "1", "a.wav", "o.mp4"])) | {"inputs": []} == vars(
        inference.parse(named)
    )


def test_without_arguments_it_is_the_demo():
    args = inference.parse([])
    assert (args.video_path, args.audio_path) == (inference.DEMO_VIDEO, inference.DEMO_AUDIO)
    assert inference.DEMO_VIDEO.is_file() and inference.DEMO_AUDIO.is_file()


def test_public_command_line_parses():
    line = """
        --unet_config_path configs/unet/stage2_512.yaml --inference_ckpt_path checkpoints/latentsync_unet.pt
        --inference_steps 20 --guidance_scale 1.5 --enable_deepcache --video_path v --audio_path a
        --video_out_path o.mp4 --temp_dir temp --seed 1247
    """
    args = inference.parse(line.split())
    assert args.enable_deepcache and args.guidance_scale == 1.5


def test_a_name_that_begins_with_a_dash_can_be_given():
    assert inference.parse(["--", "-in.mp4", "-in.wav"]).video_path == "-in.mp4"


def test_the_demo_runs_without_official_weights_and_says_so(short_sound, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    assert inference.cli([DEMO[0], short_sound, str(out), "--inference_steps", "2", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert "Model: demo" in captured.err
    assert f"{out}: 15 frames in" in captured.out
    assert len(list(decode_frames(out))) == 15


@pytest.fixture
def both_models(tmp_path, monkeypatch) -> dict[str, Path]:
    """Files where the two models' U-Nets are looked for."""
    files = {name: tmp_path / name / "latentsync_unet.pt" for name in inference.MODELS}
    for name, path in files.items():
        path.parent.mkdir()
        path.touch()
        monkeypatch.setattr(inference, f"{name.upper()}_UNET", path)
    return files


def test_official_weights_come_before_the_demo_model(both_models, capsys):
    assert inference.choose_checkpoint(None) == both_models["official"]
    assert "Model: official" in capsys.readouterr().err
    both_models["official"].unlink()
    assert inference.choose_checkpoint(None) == both_models["demo"]
    assert "Model: demo" in capsys.readouterr().err


@pytest.mark.parametrize("name", inference.MODELS)
def test_a_model_can_be_named(name, both_models):
    assert inference.choose_checkpoint(None, name) == both_models[name]
    both_models[name].unlink()
    with pytest.raises(CheckpointError, match=f"{both_models[name]}.*expected the {name} model"):
        inference.choose_checkpoint(None, name)


def test_a_model_and_a_file_contradict_each_other(capsys):
    with pytest.raises(SystemExit):
        inference.parse(["--model", "demo", "--inference_ckpt_path", "unet.pt"])
    assert "leave one out" in capsys.readouterr().err


def test_steps_and_guidance_are_the_configurations_unless_named(short_sound, tmp_path, cache, monkeypatch):
    folder = make_seeded_checkpoints(cache / "seeded_tiny", "tiny")
    config = tmp_path / "config.yaml"
    config.write_text(f"base: {folder / 'config.yaml'}\nrun: {{inference_steps: 3, guidance_scale: 1.25}}\n")
    seen = []

    class Noted(Exception):
        pass

    def pipeline(self, *paths, **settings):
        seen.append(tuple(settings[name] for name in ("num_inference_steps", "guidance_scale", "cache_interval")))
        raise Noted

    monkeypatch.setattr(LipsyncPipeline, "__call__", pipeline)
    named = ["--inference_ckpt_path", str(folder / "latentsync_unet.pt"), "--unet_config_path", str(config)]
    for more in ([], ["--inference_steps", "10", "--guidance_scale", "0"]):
        with pytest.raises(Noted):
            inference.cli([DEMO[0], short_sound, str(tmp_path / "out.mp4"), *named, "--enable_deepcache", *more])
    assert seen == [(3, 1.25, 1), (10, 0, 3)]  # few steps differ too much to share deep features


def test_public_namespace_and_config_object_work(short_sound, tmp_path, cache):
    folder = make_seeded_checkpoints(cache / "set", "tiny")
    args = argparse.Namespace(
        inference_ckpt_path=str(folder / "latentsync_unet.pt"),
        video_path=DEMO[0],
        audio_path=short_sound,
        video_out_path=str(tmp_path / "out.mp4"),
        inference_steps=1,
        guidance_scale=1.0,
        temp_dir=str(tmp_path / "temp"),
        seed=-1,
        enable_deepcache=True,
    )
    report = inference.main(OmegaConf.load(folder / "config.yaml"), args)
    assert report.frames == 15


def test_the_report_is_json(short_sound, tiny_flags, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    flags = [*tiny_flags, "--fps", "source", "--tail", "keep", "--inference_steps", "1", "--quiet", "--json"]
    assert inference.cli([DEMO[0], short_sound, str(out), *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["frames"], report["tail_frames"], report["faceless"]) == (15, 241, [])
    assert report["peak_memory_mb"] > 100 and report["stages"]["networks"]["seconds"] > 0
    assert len(list(decode_frames(out))) == 256


def test_seed_decides_the_result(short_sound, tiny_flags, tmp_path):
    results, flags = [], [*tiny_flags, "--inference_steps", "1", "--quiet"]
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        out = tmp_path / f"{name}.mp4"
        assert inference.cli([DEMO[0], short_sound, str(out), "--seed", seed, *flags]) == 0
        results.append(out.read_bytes())
    assert results[0] == results[1] != results[2]


def test_the_command_runs_from_any_folder_on_any_file_name(tmp_path, short_sound, cache):
    folder = tmp_path / "a folder; $(touch hacked) 'quoted' ü"
    folder.mkdir()
    (folder / "in put.mp4").write_bytes(inference.DEMO_VIDEO.read_bytes())
    (folder / "-sound.wav").write_bytes(Path(short_sound).read_bytes())
    command = [sys.executable, str(REPO_ROOT / "scripts/launch.py"), "scripts.inference", "--inference_steps", "1"]
    done = subprocess.run(
        [*command, "--quiet", "--", "in put.mp4", "-sound.wav", "out.mp4"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in folder.iterdir()) == ["-sound.wav", "in put.mp4", "out.mp4"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_half_precision_on_a_gpu(short_sound, tmp_path):
    out = tmp_path / "out.mp4"
    assert inference.cli([DEMO[0], short_sound, str(out), "--inference_steps", "2", "--dtype", "fp16", "--quiet"]) == 0
