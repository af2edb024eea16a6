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
from latentsync.media.ffmpeg import decode_frames
from scripts import inference
from scripts.make_seeded_checkpoints import make_seeded_checkpoints

DEMO = [str(inference.DEMO_VIDEO), str(inference.DEMO_AUDIO)]


pytestmark = pytest.mark.usefixtures("no_official_weights")


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


def test_the_demo_runs_with_seeded_weights_and_says_so(short_sound, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    assert inference.cli([DEMO[0], short_sound, str(out), "--inference_steps", "2", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert "the mouth will be noise" in captured.err
    assert f"{out}: 15 frames in" in captured.out
    assert len(list(decode_frames(out))) == 15


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
