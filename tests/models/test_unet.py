"""Structure of the U-Net and its feature cache; its numbers are in test_golden.py."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler

from latentsync import REPO_ROOT
from latentsync.build import build_scheduler
from latentsync.config import UNetConfig, load_config, model_config
from latentsync.diffusion.sampler import denoise
from latentsync.models import attention
from latentsync.models.unet import FeatureCache, UNet3DConditionModel

TABLES = Path(__file__).parents[1] / "state_dict"
TINY = {
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 16,
    "norm_num_groups": 16,
    "use_motion_module": True,
}


@pytest.fixture(scope="module")
def unet() -> UNet3DConditionModel:
    torch.manual_seed(0)
    unet = UNet3DConditionModel(**TINY).eval()
    for parameter in unet.parameters():  # also the layers that training starts at zero
        torch.nn.init.normal_(parameter, std=0.05)
    return unet


def clip(b: int = 1, f: int = 4, size: int = 8, seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {
        "latents": torch.randn(b, 4, f, size, size, generator=generator),
        "context": torch.randn(b, 9, f, size, size, generator=generator),
        "audio": torch.randn(b, f, 6, 16, generator=generator),
    }


@pytest.mark.parametrize("name", ["stage1", "stage2", "stage2_efficient", "stage1_512", "stage2_512"])
def test_keys_and_shapes_are_those_of_public_checkpoints(name):
    cfg = load_config(UNetConfig, REPO_ROOT / f"configs/unet/{name}.yaml")
    with torch.device("meta"):
        unet = UNet3DConditionModel(**model_config(cfg))
    table = json.loads((TABLES / f"unet_{name.removesuffix('_512')}.json").read_text())
    assert {key: list(value.shape) for key, value in unet.state_dict().items()} == table


def test_one_frame_is_the_two_dimensional_network(unet):
    """Frames meet only in norms and motion modules: clips stacked on b do not see each other."""
    one, two = clip(1, seed=1), clip(1, seed=2)
    def run(c):
        return unet(torch.cat([c["latents"], c["context"]], 1), 500, c["audio"]).sample
    both = {key: torch.cat([one[key], two[key]]) for key in one}
    with torch.no_grad():
        torch.testing.assert_close(run(both), torch.cat([run(one), run(two)]), rtol=1e-4, atol=1e-4)


def test_clips_longer_than_the_position_table_are_refused(unet):
    with pytest.raises(ValueError, match="at most 24 frames"), torch.no_grad():
        unet(torch.zeros(1, 13, 25, 8, 8), 0, torch.zeros(1, 25, 6, 16))


@pytest.mark.parametrize("part", ["attn2.", "motion_modules.", "conv_norm_out", "mid_block"])
@pytest.mark.parametrize("reduced", [False, True])
def test_what_lies_behind_frozen_layers_trains(part, reduced):
    """Their outputs need no gradient, and the first layer that trains has to cope with that."""
    unet = UNet3DConditionModel(**TINY)
    for name, parameter in unet.named_parameters():
        torch.nn.init.normal_(parameter, std=0.05)
        parameter.requires_grad_(part in name)
    c = clip()
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        predicted = unet(torch.cat([c["latents"], c["context"]], 1), 500, c["audio"]).sample
    predicted.float().square().sum().backward()
    gradients = [parameter.grad for parameter in unet.parameters() if parameter.requires_grad]
    assert gradients and all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("tokens", [1, 16, attention.SHORT_CONTEXT, attention.SHORT_CONTEXT + 1])
def test_attention_trains_by_the_same_numbers_whatever_computes_it(tokens):
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, n, 8, requires_grad=True) for n in (5, tokens, tokens))
    wanted = F.scaled_dot_product_attention(q, k, v)
    gradients = torch.autograd.grad(wanted.square().sum(), (q, k, v))
    found = attention.attend(q, k, v)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), (q, k, v)), gradients)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_the_order_of_audio_tokens_counts_where_their_places_are_told(unet, scale):
    told = UNet3DConditionModel(**TINY, audio_position_scale=scale).eval()
    told.load_state_dict(unet.state_dict())  # strictly: there are no keys for it
    c = clip()
    sample = torch.cat([c["latents"], c["context"]], 1)
    with torch.no_grad():
        forwards, backwards = (told(sample, 500, audio).sample for audio in (c["audio"], c["audio"].flip(2)))
        alone = unet(sample, 500, c["audio"]).sample
    close = {"rtol": 0, "atol": 1e-7}
    assert torch.allclose(forwards, backwards, **close) == (scale == 0)
    assert torch.allclose(forwards, alone, **close) == (scale == 0)


def count_deep(unet, **kwargs) -> tuple[torch.Tensor, int]:
    calls = []
    hook = unet.mid_block.register_forward_hook(lambda *_: calls.append(1))
    try:
        return denoise(unet, build_scheduler(), **clip(), **kwargs), len(calls)
    finally:
        hook.remove()


def test_cache_interval_1_is_exact(unet):
    sample = torch.randn(1, 13, 4, 8, 8)
    audio = torch.randn(1, 4, 6, 16)
    cache = FeatureCache(1)
    with torch.no_grad():
        for step in (951, 901, 851):
            assert torch.equal(unet(sample, step, audio, cache=cache).sample, unet(sample, step, audio).sample)


def test_cache_interval_3_is_7_full_and_13_partial_passes_of_20(unet):
    exact, full = count_deep(unet, steps=20, guidance_scale=1.5)
    cached, deep = count_deep(unet, steps=20, guidance_scale=1.5, cache_interval=3)
    assert (full, deep) == (20, 7)
    assert not torch.equal(exact, cached)


def test_cache_interval_3_equals_the_deepcache_package(unet):
    helper_class = pytest.importorskip("DeepCache").DeepCacheSDHelper
    ours, _ = count_deep(unet, steps=20, guidance_scale=1.5, cache_interval=3)
    scheduler = build_scheduler()
    helper = helper_class(pipe=SimpleNamespace(unet=unet, scheduler=scheduler))
    helper.set_params(cache_interval=3, cache_branch_id=0)
    helper.enable()
    try:
        theirs = denoise(unet, scheduler, **clip(), steps=20, guidance_scale=1.5)
    finally:
        helper.disable()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_two_jobs_with_caches_do_not_mix(unet):
    clips = [clip(seed=seed) for seed in (3, 4)]
    def run(c):
        return denoise(unet, build_scheduler(), **c, steps=6, cache_interval=3)
    alone = [run(c) for c in clips]
    together: dict[int, torch.Tensor] = {}
    threads = [threading.Thread(target=lambda i=i: together.update({i: run(clips[i])})) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        torch.testing.assert_close(together[i], alone[i], rtol=1e-5, atol=1e-5)


def test_another_run_with_other_steps_does_not_change_this_one(unet):
    scheduler = build_scheduler()
    alone = denoise(unet, build_scheduler(), **clip(), steps=6)

    def interrupt(index, timestep, latents):
        scheduler.set_timesteps(50)

    torch.testing.assert_close(denoise(unet, scheduler, **clip(), steps=6, callback=interrupt), alone)


def test_scheduler_is_diffusers_own():
    assert isinstance(build_scheduler(), DDIMScheduler)


@pytest.mark.parametrize(("spacing", "first", "last"), [("leading", 876, 1), ("trailing", 999, 124)])
def test_spacing_decides_where_sampling_starts_and_ends(spacing, first, last):
    scheduler = build_scheduler(spacing)
    scheduler.set_timesteps(8)
    assert (scheduler.timesteps[0], scheduler.timesteps[-1]) == (first, last)
