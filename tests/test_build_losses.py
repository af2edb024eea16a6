"""The frozen networks of training losses: which files they take, and what is said where one is missing."""

from pathlib import Path

import pytest
import torch
import torchvision

from latentsync import build
from latentsync.checkpoint import save_checkpoint
from latentsync.errors import CheckpointError
from latentsync.losses.videomae import VideoMAE
from latentsync.models.syncnet import StableSyncNet
from latentsync.schema import SyncNetConfig, UNetConfig

from .losses.test_videomae import TINY as TINY_VIDEOMAE


def frozen(module: torch.nn.Module) -> bool:
    return not any(p.requires_grad for p in module.parameters()) and not any(m.training for m in module.modules())


def small_config() -> SyncNetConfig:
    cfg = SyncNetConfig()
    for encoder in (cfg.model.audio_encoder, cfg.model.visual_encoder):
        encoder.block_out_channels = [32] * len(encoder.block_out_channels)
    return cfg


@pytest.fixture
def refusal(tmp_path):
    def message(call, *arguments) -> str:
        with pytest.raises(CheckpointError) as caught:
            call(*arguments)
        text = str(caught.value)
        assert "\n" not in text and ";" in text
        return text

    return message


def test_syncnet_takes_the_path_of_its_configuration(tmp_path):
    cfg = small_config()
    torch.manual_seed(0)
    net = StableSyncNet(**build.model_config(cfg))
    save_checkpoint(tmp_path / "s.pt", net.state_dict(), global_step=7, train_loss_list=[0.5])
    cfg.ckpt.inference_ckpt_path = str(tmp_path / "s.pt")
    loaded = build.build_syncnet(cfg, dtype=torch.bfloat16)
    key = "visual_encoder.conv_in.weight"
    assert torch.equal(loaded.state_dict()[key], net.state_dict()[key].bfloat16())
    assert frozen(loaded)


def test_missing_syncnet(tmp_path, refusal):
    path = tmp_path / "stable_syncnet.pt"
    text = refusal(build.build_syncnet, SyncNetConfig(), path)
    assert text.startswith(f"{path}: no such file; ")
    assert "setup_env.sh --train" in text and "ByteDance/LatentSync-1.5 (stable_syncnet.pt)" in text
    assert "run.use_syncnet=false" in text


def test_syncnet_without_a_path(refusal):
    text = refusal(build.build_syncnet, SyncNetConfig())
    assert "ckpt.inference_ckpt_path" in text and "run.use_syncnet=false" in text


def test_syncnet_of_another_configuration(tmp_path, refusal):
    with torch.device("meta"):
        shapes = StableSyncNet(**build.model_config(SyncNetConfig())).state_dict()
    save_checkpoint(tmp_path / "s.pt", {key: torch.zeros(1).expand(value.shape) for key, value in shapes.items()})
    assert "use configs/syncnet/syncnet_16_pixel.yaml" in refusal(
        build.build_syncnet, small_config(), tmp_path / "s.pt"
    )


def test_missing_vgg(tmp_path, refusal, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(build, "AUXILIARY", tmp_path / "auxiliary")
    text = refusal(build.build_lpips)
    assert text.startswith(f"{tmp_path / 'auxiliary/vgg16-397923af.pth'}: no such file; ")
    assert "https://download.pytorch.org/models/vgg16-397923af.pth" in text
    assert "run.perceptual_loss_weight=0" in text


def test_vgg_comes_from_torchs_cache_without_its_classifier(tmp_path, refusal, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with torch.device("meta"):
        vgg = torchvision.models.vgg16().features.state_dict()
    state = {f"features.{key}": torch.full(value.shape, 0.01) for key, value in vgg.items()}
    path = tmp_path / "checkpoints/vgg16-397923af.pth"
    path.parent.mkdir()
    torch.save({**state, "classifier.0.weight": torch.zeros(2)}, path)
    loss = build.build_lpips()
    assert loss.distance.net.slice5[-2].weight.unique().tolist() == [pytest.approx(0.01)]
    assert frozen(loss)

    torch.save({**state, "features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "other.pth")
    assert "features.0.weight (64, 1, 3, 3) instead of (64, 3, 3, 3)" in refusal(
        build.build_lpips, tmp_path / "other.pth"
    )


@pytest.mark.parametrize("wrapped", [lambda s: {"model": s}, lambda s: {"module": s}, lambda s: s])
def test_temporal_loss_of_any_size(tmp_path, wrapped):
    network = VideoMAE(**TINY_VIDEOMAE)
    torch.save(wrapped(network.state_dict()), tmp_path / "vit.pth")
    loss = build.build_temporal_loss(tmp_path / "vit.pth", dtype=torch.bfloat16)
    assert torch.equal(loss.network.head.weight, network.head.weight.bfloat16())
    assert frozen(loss)


def test_missing_and_wrong_temporal_weights(tmp_path, refusal):
    name = Path(UNetConfig().ckpt.trepa_path).name
    text = refusal(build.build_temporal_loss, tmp_path / name)
    assert text.startswith(f"{tmp_path / name}: no such file; ")
    assert f"ByteDance/LatentSync-1.5 (auxiliary/{name})" in text and "run.trepa_loss_weight=0" in text
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    text = refusal(build.build_temporal_loss, tmp_path / "other.pth")
    assert "other.pth: expected the keys of a fine-tuned VideoMAE V2" in text and "ckpt.trepa_path" in text
