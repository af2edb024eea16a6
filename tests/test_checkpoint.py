"""Weight files: every format is read, nothing is executed, and nothing is loaded that does not fit."""

import json
import logging
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn

from latentsync.checkpoint import (
    VAE_OLD_KEYS,
    Checkpoint,
    Origin,
    check_resolution,
    initialise_from,
    load_module,
    load_state,
    read_origin,
    release_of,
    save_checkpoint,
    state_shapes,
)
from latentsync.errors import CheckpointError
from latentsync.models.unet import UNet3DConditionModel

TINY = {
    "block_out_channels": (32, 32, 32, 32),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "cross_attention_dim": 8,
    "norm_num_groups": 16,
}
executed = []


class Net(nn.Module):
    """A parameter, a persistent buffer of integers and one that is not saved."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("table", torch.arange(4.0))


def explode() -> None:
    executed.append("boom")


class Bomb:
    def __reduce__(self):
        return explode, ()


def checkpoint(state: dict[str, Tensor], origin: Origin | None = None) -> Checkpoint:
    return Checkpoint(Path("weights.pt"), state, 0, origin)


def origin(path: Path, release: str | None = "1.5") -> Origin:
    return Origin("ByteDance/LatentSync-1.5", "0123abc", path.name, "00" * 32, path.stat().st_size, release)


@pytest.fixture
def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "linear.weight": torch.randn(2, 3, generator=generator),
        "linear.bias": torch.randn(2, generator=generator),
        "count": torch.tensor(12),
        "table": torch.randn(4, generator=generator),
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# ------------------------------------------------------------------- reading


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize(
    ("content", "step", "extra"),
    [
        (lambda s: {"state_dict": s, "global_step": 42}, 42, {}),
        (lambda s: {"state_dict": s, "train_loss_list": [0.5]}, 0, {"train_loss_list": [0.5]}),
        (lambda s: {"dims": {"n_mels": 80}, "model_state_dict": s}, 0, {"dims": {"n_mels": 80}}),
        (lambda s: {"model": s}, 0, {}),
        (lambda s: {"module": s, "epoch": 3}, 0, {"epoch": 3}),
        (lambda s: {"model": {"depth": 40}, "module": s}, 0, {"model": {"depth": 40}}),
        (lambda s: s, 0, {}),
    ],
    ids=["ours", "SyncNet", "Whisper", "VideoMAE", "its other name", "beside a configuration", "plain"],
)
def test_torch_files(tmp_path, state, content, step, extra, zipped):
    torch.save(content(state), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    loaded = load_state(str(tmp_path / "w.pt"))
    assert same(loaded.state, state)
    assert (loaded.path, loaded.step, loaded.extra, loaded.origin) == (tmp_path / "w.pt", step, extra, None)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"])
def test_vae_folders(tmp_path, state, name):
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    loaded = load_state(tmp_path)
    assert same(loaded.state, state)
    assert loaded.path == tmp_path / name


def test_saving_is_atomic_and_reproducible(tmp_path, state):
    save_checkpoint(tmp_path / "a.pt", state, global_step=5, losses=[1.0])
    save_checkpoint(tmp_path / "b.pt", state, global_step=5, losses=[1.0])
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    raw = torch.load(tmp_path / "a.pt", weights_only=True)
    assert (raw.keys(), raw["global_step"]) == ({"state_dict", "global_step", "losses"}, 5)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(tmp_path / "a.pt", state, broken=lambda: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt"]
    assert load_state(tmp_path / "a.pt").step == 5


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_state(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and ";" in message
    return message


def test_missing_and_empty_files(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.pt")
    (tmp_path / "vae").mkdir()
    assert "diffusion_pytorch_model.safetensors" in refusal(tmp_path / "vae")
    (tmp_path / "empty.pt").touch()
    assert "is empty" in refusal(tmp_path / "empty.pt")


@pytest.mark.parametrize("kind", ["zip", "before torch 1.6", "safetensors"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_truncated_files(tmp_path, state, kind, part):
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    assert "expected a" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [b"version https://git-lfs.github.com/spec/v1\n", b"<!doctype html>", b"\0" * 500, b"PK\x03\x04"],
)
def test_other_files(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    assert "expected a" in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"model": {"a": 1}}, "entries model"),
        ([1, 2], "a list"),
        ({}, "nothing"),
        ({"state_dict": {}}, "nothing"),
    ],
)
def test_files_without_weights(tmp_path, content, found):
    torch.save(content, tmp_path / "w.pt")
    assert found in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize("how", ["zip", "before torch 1.6", "pickle"])
def test_code_in_a_file_is_not_executed(tmp_path, how):
    path = tmp_path / "w.pt"
    pickle.loads(pickle.dumps(Bomb()))
    assert executed.pop() == "boom"  # it would work
    if how == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Bomb()}, protocol=2))
    else:
        torch.save({"state_dict": Bomb()}, path, _use_new_zipfile_serialization=how == "zip")
    assert "nothing but tensors" in refusal(path)
    assert executed == []


# ------------------------------------------------------------------- loading


def test_meta_module_takes_values_in_the_asked_type(state):
    with torch.device("meta"):
        net = Net()
    load_module(net, checkpoint(state), dtype=torch.float16)
    assert torch.equal(net.linear.weight, state["linear.weight"].half())
    assert torch.equal(net.table, state["table"].half())  # floating buffers follow
    assert net.count.item() == 12 and net.count.dtype == torch.int64
    assert isinstance(net.linear.weight, nn.Parameter) and net.linear.weight.requires_grad


def test_without_a_type_the_module_decides(state):
    net = Net()
    load_module(net, checkpoint({key: t.half() if t.is_floating_point() else t for key, t in state.items()}))
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_modules_share_nothing_with_the_checkpoint(tmp_path, state):
    save_checkpoint(tmp_path / "w.pt", state)
    loaded = load_state(tmp_path / "w.pt")
    first, second = Net(), Net()
    for net in (first, second):
        load_module(net, loaded)
    nn.init.zeros_(first.linear.weight)
    assert torch.equal(second.linear.weight, state["linear.weight"])
    assert same(loaded.state, state)
    assert same(load_state(tmp_path / "w.pt").state, state)


def test_mismatch_is_listed_and_changes_nothing(state):
    state["linear.weight"] = torch.zeros(2, 5)
    state["extra.weight"] = state.pop("table")
    net = Net()
    before = {key: t.clone() for key, t in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_module(net, checkpoint(state))
    message = str(caught.value)
    assert "weights.pt: does not fit this Net" in message
    assert "1 missing (table)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 of another shape (linear.weight (2, 5) instead of (2, 3))" in message
    assert same(net.state_dict(), before)


def test_long_lists_are_cut():
    state = {f"layer{i}": torch.zeros(1) for i in range(50)}
    with pytest.raises(CheckpointError, match=r"50 unexpected \(layer0, layer1, layer2, \.\.\.\)"):
        load_module(Net(), checkpoint(state))


@pytest.mark.parametrize("lazy", [True, False])
def test_mismatch_names_the_configuration_that_fits(state, lazy):
    candidates = {f"net{width}.yaml": state_shapes(Net(width)) for width in (3, 4, 5)}
    state["linear.weight"] = torch.zeros(2, 5)
    with pytest.raises(CheckpointError, match=r"use net5\.yaml, which it fits$"):
        load_module(Net(), checkpoint(state), candidates=(lambda: candidates) if lazy else candidates)
    state["linear.weight"] = torch.zeros(2, 6)
    with pytest.raises(CheckpointError, match=r"none of net3\.yaml, net4\.yaml, net5\.yaml$"):
        load_module(Net(), checkpoint(state), candidates=candidates)


def test_candidates_are_only_built_for_an_error(state):
    load_module(Net(), checkpoint(state), candidates=lambda: pytest.fail("built"))


def test_motion_modules_are_not_dropped_silently():
    """Layers without one are empty slots, behind which torch's strict loading accepts any key."""
    with torch.device("meta"):
        plain, moving = (UNet3DConditionModel(**TINY, use_motion_module=on) for on in (False, True))
    state = {key: torch.zeros(shape) for key, shape in state_shapes(moving).items()}
    with pytest.raises(CheckpointError, match=r"unexpected \(down_blocks\.0\.motion_modules"):
        load_module(plain, checkpoint(state))


def test_allowed_missing_keys_keep_their_value(state):
    net = Net()
    del state["table"]
    with pytest.raises(CheckpointError, match=r"1 missing \(table\)"):
        load_module(net, checkpoint(state))
    load_module(net, checkpoint(state), allowed_missing=["table", "count"])
    assert torch.equal(net.table, torch.arange(4.0)) and net.count.item() == 12


def test_a_value_nobody_has_is_an_error(state):
    with torch.device("meta"):
        net = Net()
    del state["table"]
    with pytest.raises(ValueError, match=r"no value for \['table'\]"):
        load_module(net, checkpoint(state), allowed_missing=["table"])


@pytest.mark.parametrize("old_shape", ["linear", "convolution"])
def test_old_vae_names(old_shape):
    config = {
        "block_out_channels": (16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 8,
    }
    torch.manual_seed(0)
    new = AutoencoderKL(**config).state_dict()
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for key, tensor in new.items():
        name = key
        if ".mid_block.attentions.0." in key:
            for now, then in older.items():
                name = name.replace(now, then)
            if name != key and tensor.dim() == 2 and old_shape == "convolution":
                tensor = tensor[..., None, None]
        old[name] = tensor
    assert sum(key not in new for key in old) == 16  # four layers, weight and bias, twice
    with torch.device("meta"):
        vae = AutoencoderKL(**config)
    names = list(old)
    load_module(vae, checkpoint(old), rename=VAE_OLD_KEYS)
    assert same(vae.state_dict(), new)
    assert list(old) == names
    load_module(vae, checkpoint(new), rename=VAE_OLD_KEYS)
    with pytest.raises(CheckpointError, match="16 missing"):
        load_module(vae, checkpoint(old))


# ------------------------------------------------------- starting a training


def unet(seed: int = 0, **options) -> UNet3DConditionModel:
    torch.manual_seed(seed)
    return UNet3DConditionModel(**TINY | options)


def test_initialise_from_the_same_network_renews_nothing(caplog):
    source, target = unet(0).state_dict(), unet(1)
    assert initialise_from(target, checkpoint(source)) == []
    assert same(target.state_dict(), source)
    assert not caplog.records


def test_initialise_from_stable_diffusion_shapes(caplog):
    """Other input channels and audio width, and no motion modules: what the public loader drops or lacks."""
    source = unet(0, in_channels=4, cross_attention_dim=12).state_dict()
    target = unet(1, use_motion_module=True)
    before = {key: t.clone() for key, t in target.state_dict().items()}
    keys = dict(source)
    with caplog.at_level(logging.WARNING):
        fresh = initialise_from(target, checkpoint(source))
    after = target.state_dict()
    named = {key for key in fresh if ".motion_modules." not in key}
    assert {"conv_in.weight", "conv_in.bias"} <= named
    assert all("attn2.to_k" in key or "attn2.to_v" in key or key.startswith("conv_in") for key in named)
    assert len([key for key in fresh if ".motion_modules." in key]) == len(before) - len(source)
    assert same({k: after[k] for k in fresh}, {k: before[k] for k in fresh})
    taken = after.keys() - fresh
    assert same({k: after[k] for k in taken}, {k: source[k] for k in taken})
    assert "weights.pt" in caplog.text and f"{len(fresh)} tensors start anew" in caplog.text
    assert source.keys() == keys.keys() and all(source[key] is keys[key] for key in keys)


def test_initialise_without_motion_modules_from_a_file_with_them(caplog):
    """The shipped first-stage files start from the released weights, which have motion modules."""
    source, target = unet(0, use_motion_module=True).state_dict(), unet(1)
    assert initialise_from(target, checkpoint(source)) == []
    assert same(target.state_dict(), {key: source[key] for key in target.state_dict()})
    assert "tensors of the file are not used" in caplog.text


def test_initialise_refuses_any_other_difference():
    source = unet(0).state_dict()
    del source["conv_norm_out.weight"]
    source["time_embedding.linear_1.bias"] = torch.zeros(3)
    both = r"1 missing \(conv_norm_out.weight\), 1 of another shape \(time_emb"
    with pytest.raises(CheckpointError, match=both):
        initialise_from(unet(1), checkpoint(source))


# ------------------------------------------------------------------ releases


def test_origin_is_read_beside_the_file(tmp_path, state):
    path = tmp_path / "latentsync_unet.pt"
    save_checkpoint(path, state)
    record = tmp_path / "latentsync_unet.pt.json"
    record.write_text(json.dumps(asdict(origin(path))))
    assert load_state(path).origin == read_origin(path) == origin(path)
    assert release_of(load_state(path)) == "1.5"


@pytest.mark.parametrize("damage", [{"size": 1}, {"more": 1}, None])
def test_stale_or_foreign_records_are_ignored(tmp_path, state, damage, caplog):
    path = tmp_path / "w.pt"
    save_checkpoint(path, state)
    record = {**asdict(origin(path)), **damage} if damage else []
    (tmp_path / "w.pt.json").write_text(json.dumps(record))
    assert load_state(path).origin is None
    assert "w.pt.json: ignored" in caplog.text
    assert release_of(load_state(path)) == "release unknown"


@pytest.mark.parametrize(
    ("release", "resolution", "remedy"),
    [("1.5", 512, "use configs/unet/stage2.yaml"), ("1.6", 256, "use configs/unet/stage2_512.yaml")],
)
def test_resolution_against_the_release(tmp_path, state, release, resolution, remedy):
    path = tmp_path / "w.pt"
    save_checkpoint(path, state)
    loaded = checkpoint(state, origin(path, release))
    with pytest.raises(CheckpointError) as caught:
        check_resolution(loaded, resolution, "mine.yaml")
    for words in ("weights.pt", f"release {release}", "mine.yaml", str(resolution), remedy):
        assert words in str(caught.value)
    check_resolution(loaded, 768 - resolution, "mine.yaml")
    for other in (None, "2.0"):
        check_resolution(replace(loaded, origin=origin(path, other)), resolution, "mine.yaml")
    check_resolution(replace(loaded, origin=None), resolution, "mine.yaml")
