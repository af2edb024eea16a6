"""Seeded checkpoint sets: complete, reproducible, whole or absent."""

import json
from pathlib import Path

import pytest
import torch
import whisper
from diffusers import AutoencoderKL

from latentsync.checkpoint import load_module, load_state
from latentsync.config import load_config, model_config, whisper_path
from latentsync.models.unet import UNet3DConditionModel
from latentsync.schema import UNetConfig
from scripts import make_seeded_checkpoints as seeded
from scripts.make_seeded_checkpoints import make_seeded_checkpoints

FILES = ["latentsync_unet.pt", "vae/diffusion_pytorch_model.safetensors", "whisper/tiny.pt"]
TABLES = Path(__file__).parent / "state_dict"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_seeded_checkpoints(tmp_path_factory.mktemp("seeded") / "tiny", "tiny")


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def test_every_network_loads_from_its_config(folder):
    cfg = load_config(UNetConfig, folder / "config.yaml")
    assert cfg.ckpt.inference_ckpt_path == str(folder / "latentsync_unet.pt")
    with torch.device("meta"):
        unet = UNet3DConditionModel(**model_config(cfg))
    load_module(unet, load_state(cfg.ckpt.inference_ckpt_path))
    vae = AutoencoderKL.from_pretrained(cfg.ckpt.vae_path)
    model = whisper.load_model(str(whisper_path(cfg)))  # strict, and reads the file as OpenAI's
    assert model.dims.n_audio_state == cfg.model.cross_attention_dim
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        latents = vae.encode(torch.rand(2, 3, 64, 64, generator=generator)).latent_dist.mode()
        assert vae.decode(latents).sample.std() > 0.01
        clip = torch.randn(1, 13, 2, 8, 8, generator=generator)
        audio = torch.randn(1, 2, 30, 32, generator=generator)
        noise = unet(clip, 500, audio).sample
        assert noise.isfinite().all() and 0.01 < noise.std() < 10
        assert not torch.equal(noise, unet(clip, 500, -audio).sample)  # no layer is left at zero


def test_released_formats(folder):
    unet = torch.load(folder / FILES[0], weights_only=True)
    assert unet.keys() == {"state_dict", "global_step"}
    speech = torch.load(folder / FILES[2], weights_only=True)
    assert speech.keys() == {"dims", "model_state_dict"}
    assert {tensor.dtype for tensor in speech["model_state_dict"].values()} == {torch.float16}
    assert any(key.startswith("decoder.blocks.1.cross_attn") for key in speech["model_state_dict"])


def test_official_sizes_have_the_public_keys(monkeypatch, tmp_path):
    """Without making the weights: 5 GB."""
    shapes = {}

    def keep(table, seed):
        shapes.update(table)
        return {key: torch.empty(0) for key in table}

    def check(name: str) -> None:
        table = json.loads((TABLES / f"{name}.json").read_text())
        assert {key: list(shape) for key, shape in shapes.items() if key in table} == table
        shapes.clear()

    monkeypatch.setattr(seeded, "seeded_state", keep)
    seeded.write_whisper(tmp_path / "whisper/tiny.pt", seeded.WHISPER_DIMS["official"], 0)
    assert shapes["decoder.token_embedding.weight"] == (51865, 384)
    assert len(shapes) == 167
    check("whisper_tiny_encoder")
    seeded.write_vae(tmp_path / "vae", seeded.VAE_LEVELS["official"], 0)
    assert len(shapes) == 248
    check("sd_vae_ft_mse")


def test_weights_depend_on_seed_key_and_shape_alone():
    a = seeded.seeded_tensor("a.weight", torch.Size((64, 128, 3)), 0)
    assert torch.equal(a, seeded.seeded_tensor("a.weight", torch.Size((64, 128, 3)), 0))
    assert not torch.equal(a, seeded.seeded_tensor("b.weight", torch.Size((64, 128, 3)), 0))
    assert not torch.equal(a, seeded.seeded_tensor("a.weight", torch.Size((64, 128, 3)), 1))
    assert a.std().item() == pytest.approx(384**-0.5, rel=0.02)
    vector = torch.Size((9999,))
    scale, bias = (seeded.seeded_tensor(key, vector, 0) for key in ("norm.weight", "norm.bias"))
    assert (scale.mean().item(), scale.std().item()) == pytest.approx((1, 0.1), rel=0.05)
    assert abs(bias.mean().item()) < 0.001 and bias.std().item() == pytest.approx(0.02, rel=0.05)


def test_sinusoids_are_not_random(folder):
    state = load_state(folder / FILES[0]).state
    tables = [tensor for key, tensor in state.items() if key.endswith("pos_encoder.pe")]
    assert tables and all(torch.equal(t[0, 0, :2], torch.tensor([0.0, 1.0])) for t in tables)
    positions = load_state(folder / FILES[2]).state["encoder.positional_embedding"]
    assert torch.equal(positions[0], torch.tensor([0.0] * 16 + [1.0] * 16).half())


def test_equal_seeds_give_equal_files(folder, tmp_path):
    assert contents(make_seeded_checkpoints(tmp_path / "again", "tiny")) == contents(folder)
    other = contents(make_seeded_checkpoints(tmp_path / "other", "tiny", seed=1))
    assert all(a != b for a, b in zip(other, contents(folder), strict=True))


def test_an_intact_set_is_kept_and_another_replaced(tmp_path):
    folder = make_seeded_checkpoints(tmp_path / "set", "tiny")
    (folder / "mine.txt").write_text("")
    assert make_seeded_checkpoints(folder, "tiny") == folder
    assert (folder / "mine.txt").exists()
    before = contents(folder)
    make_seeded_checkpoints(folder, "tiny", seed=3)
    assert contents(folder) != before
    assert json.loads((folder / seeded.MARKER).read_text())["seed"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "latentsync_unet.pt").write_text("precious")
    with pytest.raises(FileExistsError, match="choose another folder"):
        make_seeded_checkpoints(tmp_path, "tiny")
    assert (tmp_path / "latentsync_unet.pt").read_text() == "precious"


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(seeded, "write_vae", fail)
    with pytest.raises(OSError, match="disk full"):
        make_seeded_checkpoints(tmp_path / "set", "tiny")
    assert list(tmp_path.iterdir()) == []
