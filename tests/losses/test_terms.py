"""Properties of the loss terms; their numbers are in test_golden.py."""

import math

import pytest
import torch
import torchvision
from einops import rearrange
from torch import Tensor

from latentsync.losses.terms import (
    LowerHalfLPIPS,
    SyncLoss,
    cosine_bce,
    info_nce,
    lower_half,
    noise_mse,
    pair_bce,
)

from ..models.tiny_syncnet import tiny_syncnet, windows


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(random(*shape, seed=seed), dim=-1)


# ---------------------------------------------------------------- cosine_bce


def test_identical_vectors_are_in_sync_and_do_not_fail():
    """Rounding puts about half of their similarities above 1."""
    x = unit(64, 500)
    assert cosine_bce(x, x, torch.ones(64)).max() < 1e-6
    assert torch.all(cosine_bce(x, x, torch.zeros(64)) > 10)


def test_vectors_without_anything_in_common_cost_100_and_have_finite_gradients():
    vision = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = cosine_bce(vision, torch.tensor([[0.0, 1.0]]), torch.ones(1))
    assert loss.tolist() == [100.0]
    loss.sum().backward()
    assert vision.grad.isfinite().all()


def test_labels_may_have_a_second_axis():
    a, b, y = unit(4, 8), unit(4, 8, seed=1), torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert torch.equal(cosine_bce(a, b, y), cosine_bce(a, b, y[:, None]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_lower_the_precision(dtype):
    a, b = unit(4, 8), unit(4, 8, seed=1)
    similarity = a[:1] @ b.T
    pairs = similarity.expand(2, 4, 4)
    def values():
        return [cosine_bce(a, b, torch.ones(4)), pair_bce(pairs), info_nce(pairs, 0.1), noise_mse(a, b)]
    with torch.autocast("cpu", dtype=dtype):
        lowered = values()
    for ours, exact in zip(lowered, values(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, exact)


# ------------------------------------------------------------ pairs of a clip


def test_one_window_per_clip_is_the_cosine_loss():
    a, b = unit(5, 1, 8), unit(5, 1, 8, seed=1)
    torch.testing.assert_close(pair_bce(a @ b.mT), cosine_bce(a[:, 0], b[:, 0], torch.ones(5)))


def test_pairs_in_sync_weigh_as_much_as_all_others():
    v, p = 6, 0.2
    similarity = torch.full((1, v, v), p)
    expected = (-math.log(p) - math.log(1 - p)) / 2
    assert pair_bce(similarity).item() == pytest.approx(expected, rel=1e-5)
    assert pair_bce(torch.eye(v)[None]).item() == 0


def test_pairs_give_each_similarity_a_gradient_of_the_right_sign():
    similarity = torch.full((1, 3, 3), 0.5, requires_grad=True)
    pair_bce(similarity).sum().backward()
    assert torch.equal(similarity.grad[0] < 0, torch.eye(3, dtype=torch.bool))


def test_info_nce_is_0_at_perfect_separation_and_log_v_at_none():
    v = 7
    assert info_nce(torch.eye(v)[None], 0.01).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(torch.full((1, v, v), 0.3), 0.07).item() == pytest.approx(math.log(v))


def test_info_nce_asks_both_ways():
    similarity = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])  # every row's best sound is the first
    rows = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    columns = math.log(2)
    assert info_nce(similarity, 1.0).item() == pytest.approx((rows + columns) / 2)
    assert torch.equal(info_nce(similarity, 1.0), info_nce(similarity.mT, 1.0))


@pytest.mark.parametrize("loss", [pair_bce, lambda s: info_nce(s, 0.1)], ids=["pair_bce", "info_nce"])
def test_a_clip_does_not_see_its_batch(loss):
    similarity = random(4, 5, 5)
    torch.testing.assert_close(loss(similarity), torch.cat([loss(clip[None]) for clip in similarity]))


# ------------------------------------------------------------------- pictures


def test_noise_mse_is_float32_whatever_comes():
    error = noise_mse(torch.full((2, 3), 300.0).half(), torch.zeros(2, 3).half())  # its square exceeds half
    assert error.dtype == torch.float32 and error.item() == 90000


def test_lower_half():
    assert lower_half(torch.arange(6).reshape(1, 6, 1)).flatten().tolist() == [3, 4, 5]


def random_vgg() -> dict[str, torch.Tensor]:
    """The state of VGG16 without its classifier, by which features neither vanish nor explode."""
    with torch.device("meta"):
        vgg = torchvision.models.vgg16().features
    vgg.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in vgg.parameters():
        torch.nn.init.normal_(parameter, std=(2 / max(parameter[0].numel(), 2)) ** 0.5)
    return {f"features.{key}": value for key, value in vgg.state_dict().items()}


@pytest.fixture(scope="module")
def perceptual() -> LowerHalfLPIPS:
    return LowerHalfLPIPS(random_vgg())


def test_lpips_sees_the_lower_half_only(perceptual):
    true = 2 * random(2, 3, 64, 32) - 1
    upper, lower = true.clone(), true.clone()
    upper[..., :32, :] *= -1
    lower[..., 32:, :] *= -1
    assert perceptual(upper, true) == 0
    assert perceptual(lower, true) > 0.01


def test_lpips_is_frozen_and_gives_gradients_to_the_prediction(perceptual):
    pred, true = (2 * random(1, 3, 32, 32, seed=seed) - 1 for seed in range(2))
    pred.requires_grad_()
    perceptual.train()
    assert not any(module.training for module in perceptual.modules())  # the package has dropout
    perceptual(pred, true).backward()
    assert pred.grad[..., 16:, :].abs().sum() > 0 and pred.grad[..., :16, :].abs().sum() == 0
    assert not any(p.requires_grad for p in perceptual.parameters())


def test_lpips_stays_float32_within_autocast(perceptual):
    pred, true = (2 * random(1, 3, 32, 32, seed=seed) - 1 for seed in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = perceptual(pred, true)
    assert value.dtype == torch.float32
    assert torch.equal(value, perceptual(pred, true))


def test_lpips_brings_the_linear_weights_of_the_package(perceptual):
    assert all(linear.model[1].weight.min() >= 0 for linear in perceptual.distance.lins)


# ----------------------------------------------------------------------- sync


def frames(b: int = 2, height: int = 8) -> Tensor:
    """(b, 2, 3, height, 16): the windows of the tiny SyncNet, frame by frame."""
    return 2 * random(b, 2, 3, height, 16) - 1


def test_sync_loss_stacks_frame_by_frame():
    net, clip, (_, mel) = tiny_syncnet(), frames(), windows(2)
    loss = SyncLoss(net, resolution=16, lower_half=False, latent_space=True)
    with torch.no_grad():
        stacked = torch.cat([clip[:, 0], clip[:, 1]], dim=1)
        expected = cosine_bce(*net(stacked, mel), torch.ones(2)).mean()
        assert loss(clip, mel) == expected
        assert loss(clip.flip(1), mel) != expected
        assert loss(rearrange(clip, "b f c h w -> b c f h w").reshape(clip.shape), mel) != expected


def test_sync_loss_resizes_before_it_takes_the_lower_half():
    net, (_, mel) = tiny_syncnet(), windows(2)
    loss = SyncLoss(net, resolution=16, lower_half=True)
    large = 2 * random(2, 2, 3, 32, 32) - 1
    with torch.no_grad():
        small = torch.nn.functional.interpolate(large.flatten(1, 2), (16, 16), mode="bicubic")
        expected = cosine_bce(*net(small[:, :, 8:], mel), torch.ones(2)).mean()
        torch.testing.assert_close(loss(large, mel), expected)


def test_sync_loss_of_frames_at_the_resolution_is_not_resized(monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "interpolate", lambda *_, **__: pytest.fail("resized"))
    SyncLoss(tiny_syncnet(), resolution=16, lower_half=True)(frames(height=16), windows(2)[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sync_loss_gives_gradients_to_the_frames_and_not_to_the_network(dtype):
    net = tiny_syncnet(gradient_checkpointing=True).to(dtype)
    loss = SyncLoss(net, resolution=16, lower_half=True).train()
    clip = frames(height=32).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(clip, windows(2)[1])
    value.backward()
    assert value.dtype == torch.float32 and not net.training
    assert clip.grad.isfinite().all() and clip.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in net.parameters())
