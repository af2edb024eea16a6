"""What the VAE's training step computes, how its runs go on, and what is exported of them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from latentsync.build import build_vae
from latentsync.config import load_config, model_config
from latentsync.data.clips import TrainingClip
from latentsync.diffusion import latents as lat
from latentsync.face.mask import fixed_mask
from latentsync.losses.terms import edge_l1, kl_standard
from latentsync.models.vae import TrainableVAE, standardise, vae_arguments
from latentsync.schema import VAEConfig
from latentsync.train.log import read_table
from latentsync.train.loop import train
from latentsync.train.run import plan_of
from latentsync.train.vae import VAETask, psnr, reconstruct
from latentsync.types import Clip
from scripts import export_vae, train_vae

from ..data.conftest import make_clip
from .test_loop import assert_equal_runs
from .tiny import fill, write_config

SIDE, CROP = 64, 32
VAE = {
    "data": {
        "resolution": SIDE,
        "crop": CROP,
        "batch_size": 3,
        "num_workers": 0,
        "frames_per_clip": 4,
        "num_val_samples": 6,
    },
    "run": {"max_train_steps": 4, "validation_steps": 2, "mixed_precision_training": False},
    "ckpt": {"save_ckpt_steps": 2, "keep_last": 0},
    "model": {"block_out_channels": [8, 8, 16, 16], "norm_num_groups": 4},
}


def config(folder: Path, *overrides: str) -> VAEConfig:
    return load_config(VAEConfig, write_config(folder / "vae.yaml", "vae/demo", VAE), overrides)


def network(cfg: VAEConfig) -> TrainableVAE:
    return fill(TrainableVAE(**vae_arguments(**model_config(cfg))))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[TrainingClip]:
    """Smooth noise."""
    folder, rng, clips = tmp_path_factory.mktemp("vae frames"), np.random.default_rng(0), []
    for i in range(2):
        frames = rng.integers(256, size=(4, SIDE // 8, SIDE // 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
        np.save(folder / f"{i}.npy", frames)
        clips.append(TrainingClip(Clip(f"{i}.mp4", folder), 50, folder / "mel.npy", frames=folder / f"{i}.npy"))
    return clips


@pytest.fixture
def make(tmp_path, clips) -> Callable[..., VAETask]:
    """A function from overrides to a task with a tiny network."""

    def task(*overrides: str, held_out=clips, **settings) -> VAETask:
        cfg = config(tmp_path, *overrides)
        return VAETask(cfg, network(cfg), fixed_mask(SIDE), clips, held_out, **settings)

    return task


def batch(task: VAETask, numbers=range(6)) -> dict:
    return torch.utils.data.default_collate([task.dataset[n] for n in numbers])


# ------------------------------------------------------------------ losses


def test_everything_learns(make):
    task = make()
    sum(task.losses(task.model, batch(task)).values()).backward()
    assert all(p.grad.abs().max() > 0 for p in task.model.parameters())


def test_the_network_sees_and_restores_what_the_pipeline_masks(make):
    task = make("data.masked_crops=1", "data.mouth_crops=1")
    sample, seen = batch(task), []

    def model(pixels, noise):
        seen.append(pixels)
        return pixels, noise, noise

    losses = task.losses(model, sample)
    mask = fixed_mask(SIDE)
    assert (sample["mask"] == 0).any()
    assert set(sample["mask"].unique().tolist()) <= set(mask.unique().tolist())
    for pixels, frame, hole in zip(seen[0], sample["frames"], sample["mask"], strict=True):
        assert torch.equal(pixels, lat.mask_pixels(lat.to_pixel_values(frame[None]), hole)[0])
    assert losses["recon_loss"] == losses["gradient_loss"] == 0


def test_latents_are_drawn_by_the_number_of_the_sample(make):
    task = make()
    together = task.noise([5, 6, 7])
    assert together.shape == (3, 4, CROP // 8, CROP // 8)
    assert torch.equal(task.noise([6])[0], together[1]) and not torch.equal(together[0], together[1])


def test_losses_without_weight_are_left_out(make):
    task = make("run.kl_loss_weight=0", "run.perceptual_loss_weight=0.5", perceptual=lambda a, b: (a - b).mean())
    assert list(task.losses(task.model, batch(task))) == list(task.weights)
    assert list(task.weights) == ["recon_loss", "gradient_loss", "lpips_loss"]


def test_edges_are_compared_at_three_sizes():
    ramp = torch.arange(16.0).expand(1, 3, 16, 16)  # 1, 2 and 4 a pixel, across only
    assert edge_l1(ramp, torch.zeros_like(ramp)).item() == pytest.approx((1 + 2 + 4) / 6)
    assert edge_l1(ramp + 5, ramp) == 0


def test_the_divergence_is_that_of_normal_distributions():
    mean, logvar = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.2, -0.7]])
    distribution = torch.distributions.Normal(mean, (logvar / 2).exp())
    expected = torch.distributions.kl_divergence(distribution, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_standard(mean, logvar), expected)


# ------------------------------------------------------------- validation


def test_an_error_of_a_tenth_of_the_range_is_20_db():
    true = torch.rand(2, 3, 8, 8) - 0.5
    torch.testing.assert_close(psnr(true + 0.2, true), torch.full((2,), 20.0))


def test_a_run_goes_on_bit_for_bit(make, tmp_path, clips):
    plans = [plan_of(config(tmp_path, f"run.max_train_steps={n}"), 2, None) for n in (4, 3)]
    rates = {"lr_scheduler": "constant", "ema_decay": 0.5}
    whole, stopped = (type(plan)(**(vars(plan) | rates)) for plan in plans)
    train(make(), whole, tmp_path / "whole", torch.device("cpu"))
    for plan in (stopped, whole):
        train(make(), plan, tmp_path / "parts", torch.device("cpu"))
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")
    for row in read_table(tmp_path / "whole/validation.csv"):
        assert float(row["psnr"]) > 0 and float(row["mouth_psnr"]) > 0


# ------------------------------------------------------------------ export


def test_a_change_of_scale_is_not_seen_in_pictures(tmp_path):
    vae = network(config(tmp_path)).eval()
    pixels = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    shift, scale = torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.tensor([0.5, 3.0, 1.0, 2.0])
    with torch.no_grad():
        before = vae.encode(pixels).latent_dist
        picture = vae.decode(before.mean).sample
        standardise(vae, shift, scale)
        after = vae.encode(pixels).latent_dist
        own = (slice(None), None, None)
        torch.testing.assert_close(after.mean, (before.mean - shift[own]) / scale[own], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after.std, before.std / scale[own], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(vae.decode(after.mean).sample, picture, rtol=1e-4, atol=1e-4)


def command(module, *arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["command", *map(str, arguments)])
        return module.main()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run of the command with two clips."""
    root = tmp_path_factory.mktemp("vae")
    for seed in range(2):
        make_clip(root / f"clips/{seed}.mp4", seed=seed)
    names = {"train_data_dir": str(root / "clips"), "val_data_dir": str(root / "clips")}
    write_config(root / "vae.yaml", "vae/demo", {**VAE, "data": {**VAE["data"], **names}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTSYNC_CACHE", str(root / "cache"))
        assert command(train_vae, "--config_path", root / "vae.yaml", "--run_dir", root / "run", "--device", "cpu") == 0
        assert command(export_vae, root / "run", "--out", root / "out", "--frames", 8) == 0
    return root


def kept_frames(folder: Path) -> torch.Tensor:
    """(n, 3, r, r) uint8, all that the clips gave."""
    paths = sorted((folder / "cache").rglob(f"frames-1-{SIDE}-4/*/*.npy"))
    assert len(paths) == 2
    return torch.from_numpy(np.concatenate([np.load(path) for path in paths])).permute(0, 3, 1, 2)


def test_the_command_trains_and_its_export_has_latents_of_unit_variance(folder):
    assert [row["step"] for row in read_table(folder / "run/validation.csv")] == ["2", "4"]
    assert {path.name for path in (folder / "out").iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    vae = build_vae(folder / "out")
    latents = lat.encode(vae, lat.to_pixel_values(kept_frames(folder)))
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=0.02)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), rtol=0.02, atol=0)


@torch.no_grad()
def test_the_export_restores_what_the_trained_network_does(folder):
    cfg = load_config(VAEConfig, folder / "run/config.yaml")
    trained = TrainableVAE(**vae_arguments(**model_config(cfg))).eval()
    trained.load_state_dict(torch.load(folder / "run/checkpoints/checkpoint-4.pt", weights_only=True)["state_dict"])
    frames = kept_frames(folder)
    restored = reconstruct(build_vae(folder / "out"), frames)
    torch.testing.assert_close(restored, reconstruct(trained, frames), rtol=0, atol=0.02)  # of half precision


def test_diffusers_loads_the_export_by_itself(folder):
    vae = AutoencoderKL.from_pretrained(folder / "out", torch_dtype=torch.float16)
    ours = build_vae(folder / "out", dtype=torch.float16)
    assert vae.config.scaling_factor == lat.SCALING_FACTOR
    assert json.loads((folder / "out/config.json").read_text())["_class_name"] == "AutoencoderKL"
    assert all(torch.equal(a, b) for a, b in zip(vae.state_dict().values(), ours.state_dict().values(), strict=True))


def test_a_run_without_weights_is_told(tmp_path, capsys):
    assert command(export_vae, tmp_path, "--out", tmp_path / "out") == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {tmp_path / 'checkpoints'}: expected checkpoint-N.pt") and line.count("\n") == 1
    assert not (tmp_path / "out").exists()
