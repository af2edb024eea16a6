"""Structure of the SyncNets and properties of their embeddings; their numbers are in test_golden.py."""

import copy
import json
from pathlib import Path

import pytest
import torch

from latentsync import REPO_ROOT
from latentsync.config import load_config, model_config
from latentsync.models.syncnet import ResnetBlock, StableSyncNet, Wav2LipSyncNet
from latentsync.schema import SyncNetConfig

from .tiny_syncnet import TINY, tiny_syncnet, windows

TABLES = Path(__file__).parents[1] / "state_dict"


def shapes(net: torch.nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in net.state_dict().items()}


@pytest.mark.parametrize("name", ["16_pixel", "16_pixel_attn", "16_latent", "25_pixel"])
def test_keys_and_shapes_are_those_of_public_checkpoints(name):
    cfg = load_config(SyncNetConfig, REPO_ROOT / f"configs/syncnet/syncnet_{name}.yaml")
    with torch.device("meta"):
        net = StableSyncNet(**model_config(cfg))
    assert shapes(net) == json.loads((TABLES / f"stable_syncnet_{name}.json").read_text())


def test_wav2lip_keys_and_shapes_are_public():
    with torch.device("meta"):
        net = Wav2LipSyncNet()
    assert shapes(net) == json.loads((TABLES / "wav2lip_syncnet.json").read_text())


@torch.no_grad()
def test_embeddings_are_unit_vectors_without_negative_entries():
    net, (images, mel) = tiny_syncnet(), windows()
    vision, audio = net(images, mel)
    for vectors in (vision, audio):
        assert vectors.shape == (3, 128) and vectors.min() >= 0
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert torch.equal(net.encode_visual(images), vision) and torch.equal(net.encode_audio(mel), audio)


def test_no_attention_list_means_no_attention():
    zeros = {"attn_blocks": [0, 0, 0]}
    with torch.device("meta"):
        written = StableSyncNet(**{**TINY, "audio_encoder": {**TINY["audio_encoder"], **zeros}})
        absent = StableSyncNet(**TINY)
    assert shapes(written) == shapes(absent)


def test_a_window_of_another_size_is_refused():
    images, _ = windows()
    with pytest.raises(ValueError, match=r"ends at 1 x 1, got \(1, 2\) from \(8, 32\)"):
        tiny_syncnet().encode_visual(torch.cat([images, images], dim=3))


def test_checkpointing_gives_equal_gradients():
    images, mel = windows()
    gradients = []
    for setting in (False, True):
        net = tiny_syncnet(gradient_checkpointing=setting)
        x = images.clone().requires_grad_()
        vision, audio = net(x, mel)
        (vision * audio).sum().backward()
        gradients.append([x.grad, *(p.grad for p in net.parameters())])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_float32_unit_vectors(dtype):
    net, (images, mel) = tiny_syncnet(), windows()
    exact = net(images, mel)
    with torch.autocast("cpu", dtype=dtype):
        near = net(images, mel)
    for a, b in zip(exact, near, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(b.norm(dim=1), torch.ones(3))
        assert (a * b).sum(dim=1).min() > 0.995
    near[0].sum().backward()
    assert all(p.grad.isfinite().all() for p in net.visual_encoder.parameters())


@torch.no_grad()
def test_half_precision_weights():
    net, (images, mel) = tiny_syncnet(), windows()
    half = copy.deepcopy(net).bfloat16()
    similarity = (half.encode_visual(images.bfloat16()) * net.encode_visual(images)).sum(dim=1)
    assert similarity.min() > 0.995
    assert half.encode_audio(mel.bfloat16()).dtype == torch.float32


@torch.no_grad()
def test_a_group_far_from_zero_keeps_its_digits():
    """The CPU's group norm of channels-last pictures would lose them."""
    net, (images, _) = tiny_syncnet(), windows()
    net.visual_encoder.conv_in.bias.fill_(100.0)
    exact = copy.deepcopy(net).double().encode_visual(images.double())
    shuffled = images.contiguous(memory_format=torch.channels_last)
    for pictures in (images, shuffled):
        torch.testing.assert_close(net.encode_visual(pictures), exact.float(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("factor", [(2, 2), (1, 2), (2, 3), (2, 4)])
def test_maps_that_shrink_to_one_column_are_the_same_in_bfloat16(factor):
    """A processor's own code for strided convolutions of bfloat16 does not get each of these right."""
    torch.manual_seed(0)
    block = ResnetBlock(32, 32, factor, 0.0)
    x = torch.randn(4, 32, 12, factor[1])
    found = {}
    for reduced in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            y = block(x)
        block.zero_grad()
        y.float().square().sum().backward()
        found[reduced] = [y.float(), block.downsample_conv.weight.grad.clone(), block.conv2.weight.grad.clone()]
    assert found[True][0].shape[-1] == 1
    for exact, reduced in zip(found[False], found[True], strict=True):
        assert (exact - reduced).norm() < 0.05 * exact.norm()
