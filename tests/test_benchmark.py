"""The training benchmark on tiny networks: its report, and that nothing in them is without work."""

import json
import math

import pytest
import torch

from latentsync.config import load_config, model_config
from latentsync.models.unet import UNet3DConditionModel
from latentsync.schema import UNetConfig
from scripts import benchmark, benchmark_training
from scripts.make_seeded_checkpoints import VAE_LEVELS, new_vae, seeded_network

from .losses.test_videomae import TINY as TINY_VIDEOMAE

SYNCNET = """
base: {folder}/syncnet/syncnet_16_pixel.yaml
data: {{resolution: 64, num_frames: 4, batch_size: 2}}
model:
  audio_encoder:
    block_out_channels: [32, 32, 32, 32, 64]
    downsample_factors: [[2, 1], 2, 2, 2, [5, 1]]
    attn_blocks: [0, 0, 0, 1, 0]
  visual_encoder:
    in_channels: 12
    block_out_channels: [32, 32, 32, 32, 32, 64]
    downsample_factors: [[1, 2], 2, 2, 2, 2, 2]
    attn_blocks: [0, 0, 0, 0, 1, 0]
"""
UNET = """
base: {folder}/unet/seeded_tiny.yaml
data: {{resolution: 64, num_frames: 4, syncnet_config_path: {here}/syncnet.yaml}}
ckpt: {{vae_path: {here}/vae}}
run: {{perceptual_loss_weight: 0}}
"""


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A folder with unet.yaml, syncnet.yaml and the configuration of a tiny VAE, but no weights."""
    monkeypatch.setattr(benchmark_training, "VIT_G", TINY_VIDEOMAE)
    for name, text in {"unet": UNET, "syncnet": SYNCNET}.items():
        content = text.format(folder=benchmark_training.REPO_ROOT / "configs", here=tmp_path)
        (tmp_path / f"{name}.yaml").write_text(content)
    with torch.device("meta"):
        new_vae(VAE_LEVELS["tiny"]).save_config(tmp_path / "vae")
    return tmp_path


@pytest.fixture
def measure(configs, capsys):
    return lambda name, *flags: run(capsys, configs / f"{name}.yaml", *flags)


def run(capsys, config, *flags: str) -> dict:
    status = benchmark.main(["train", "--config", str(config), "--device", "cpu", "--steps", "2", *flags])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    report = json.loads(captured.out)
    assert all(math.isfinite(value) and value > 0 for value in report["losses"].values())
    assert report["grad_norm"] > 0 and report["skipped_steps"] == 0
    assert report["first_step_s"] > 0 and len(report["step_s"]) == 1 and report["samples_per_s"] > 0
    assert 0 < report["built_memory_gb"] <= report["peak_memory_gb"]
    return report


@pytest.mark.parametrize("dtype, name", [("bf16", "bfloat16"), ("fp32", "float32")])
def test_unet_steps(measure, dtype, name):
    report = measure("unet", "--dtype", dtype)
    assert (report["dtype"], report["resolution"], report["batch"]) == (name, 64, 1)
    assert set(report["losses"]) == {"loss", "recon_loss", "trepa_loss", "sync_loss"}
    assert 0 < report["trainable_m"] < report["total_m"]
    assert report["frozen_networks_m"] > 0


def test_gradient_checkpointing_changes_no_number(measure, configs):
    kept = measure("unet", "--dtype", "fp32")
    (configs / "plain.yaml").write_text("base: unet.yaml\nrun: {enable_gradient_checkpointing: false}\n")
    plain = measure("plain", "--dtype", "fp32")
    assert plain["losses"] == pytest.approx(kept["losses"], rel=1e-5)
    assert plain["grad_norm"] == pytest.approx(kept["grad_norm"], rel=1e-4)


def test_syncnet_steps(measure):
    report = measure("syncnet", "--batch", "4")
    assert (report["resolution"], report["batch"]) == (64, 4)
    assert set(report["losses"]) == {"loss", "bce_loss"}
    assert report["trainable_m"] == report["total_m"] > 0
    assert report["frozen_networks_m"] == 0


def test_a_resolution_that_the_network_cannot_take_is_told(configs, capsys):
    assert benchmark.main(["train", "--config", str(configs / "syncnet.yaml"), "--resolution", "128"]) == 2
    assert "downsample_factors take 64 x 128 to 2 x 2" in capsys.readouterr().err


def test_random_networks_leave_no_layer_without_work(configs):
    """Layers that training starts at zero would pass no gradient on; tables of positions are no weights."""
    arguments = model_config(load_config(UNetConfig, configs / "unet.yaml"))
    network, ordinary = seeded_network(lambda: UNet3DConditionModel(**arguments)), UNet3DConditionModel(**arguments)
    assert all(parameter.std() > 0 for parameter in network.parameters())
    for ours, usual in zip(network.buffers(), ordinary.buffers(), strict=True):
        torch.testing.assert_close(ours, usual)
    strides = [[p.stride() for p in n.parameters()] for n in (network, ordinary)]
    assert strides[0] == strides[1]
