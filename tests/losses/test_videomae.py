"""Structure of VideoMAE V2 and properties of the temporal loss; their numbers are in test_golden.py."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentsync.checkpoint import state_shapes
from latentsync.losses.videomae import TemporalLoss, VideoMAE, positions

TABLE = Path(__file__).parents[1] / "state_dict/videomaev2_vit_g.json"
TINY = {"dim": 128, "depth": 2, "heads": 2, "hidden": 64, "patch": 56, "tubelet": 4, "classes": 3}


@pytest.fixture(scope="module")
def loss() -> TemporalLoss:
    torch.manual_seed(0)
    return TemporalLoss(VideoMAE(**TINY))


def clips(b: int = 2, f: int = 8, size: int = 32, seed: int = 0) -> Tensor:
    return 2 * torch.rand(b, 3, f, size, size, generator=torch.Generator().manual_seed(seed)) - 1


def test_keys_and_shapes_are_those_of_the_public_checkpoint():
    table = json.loads(TABLE.read_text())
    with torch.device("meta"):
        network = VideoMAE.from_shapes(table)
    assert {key: list(shape) for key, shape in state_shapes(network).items()} == table
    assert network.blocks[0].attn.heads == 16


def test_other_sizes_are_known_by_their_shapes():
    with torch.device("meta"):
        shapes = state_shapes(VideoMAE(**TINY))
        assert state_shapes(VideoMAE.from_shapes(shapes)) == shapes
        assert VideoMAE.from_shapes(shapes).blocks[0].attn.heads == 2


def test_other_files_are_refused():
    with pytest.raises(ValueError, match=r"VideoMAE V2, 'patch_embed\.proj\.weight' is missing"):
        VideoMAE.from_shapes({"conv_in.weight": (1, 1)})


def test_positions_of_a_shorter_clip_lie_between_those_of_the_full_one():
    full, short = (positions(times, 2, 2, 12).reshape(times, 4, 12) for times in (8, 4))
    first = 0.5 * 8 / (4 + 0.1) - 0.5  # half-pixel centres, and the public network's factor
    torch.testing.assert_close(short[0], torch.lerp(full[0], full[1], first))


def test_equal_clips_cost_nothing_and_the_loss_is_bounded(loss):
    a, b = clips(), clips(seed=1)
    with torch.no_grad():
        assert loss(a, a) == 0
        assert 0 < loss(a, b) < 4 / TINY["dim"]


def test_brightness_outside_the_range_is_cut(loss):
    with torch.no_grad():
        assert loss(torch.full((1, 3, 8, 32, 32), 3.0), torch.ones(1, 3, 8, 32, 32)) < 1e-12


def test_the_order_of_frames_counts(loss):
    a = clips(1)
    with torch.no_grad():
        assert loss(a.flip(2), a) > 0


def test_gradients_reach_the_fake_clip_only(loss):
    fake, true = clips().requires_grad_(), clips(seed=1).requires_grad_()
    loss(fake, true).backward()
    assert fake.grad.abs().sum() > 0 and true.grad is None
    assert not any(p.requires_grad for p in loss.parameters())


def test_checkpointing_changes_no_gradient(loss, monkeypatch):
    def gradient() -> Tensor:
        fake = clips().requires_grad_()
        loss(fake, clips(seed=1)).backward()
        return fake.grad

    checkpointed = gradient()
    monkeypatch.setattr("latentsync.losses.videomae.checkpoint", lambda block, x, use_reentrant: block(x))
    torch.testing.assert_close(gradient(), checkpointed)


def test_half_precision_network_and_autocast(loss):
    fake, true = clips(), clips(seed=1)
    torch.manual_seed(0)
    half = TemporalLoss(VideoMAE(**TINY).bfloat16())
    with torch.no_grad():
        exact = loss(fake, true)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(loss(fake, true), exact)  # its own type decides
            near = half(fake, true)
    assert near.dtype == torch.float32
    assert near.item() == pytest.approx(exact.item(), rel=0.2)
