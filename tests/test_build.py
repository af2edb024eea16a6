"""What is chosen where the user leaves it open."""

from types import SimpleNamespace

import pytest
import torch

from latentsync.build import build_pipeline, choose_dtype
from latentsync.config import UNetConfig, load_config
from latentsync.errors import ConfigError

from .pipelines.test_lipsync_pipeline import FAST, Recorder


@pytest.mark.parametrize(
    ("kind", "capability", "instructions", "expected"),
    [
        ("cuda", (7, 0), {}, torch.float16),
        ("cuda", (6, 1), {}, torch.float32),
        ("mps", None, {"avx512_bf16": True}, torch.float32),
        ("cpu", None, {"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ("cpu", None, {"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ("cpu", None, {"avx2": True}, torch.float32),
    ],
)
def test_the_type_that_is_fast_on_a_device(monkeypatch, kind, capability, instructions, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert choose_dtype("auto", SimpleNamespace(type=kind)) == expected


def test_types_can_be_named():
    assert choose_dtype("fp32", torch.device("cpu")) == torch.float32
    with pytest.raises(ConfigError, match="dtype int8: expected auto, fp32, fp16, bf16"):
        choose_dtype("int8", torch.device("cpu"))


@pytest.fixture(scope="module")
def tiny(tiny_flags):
    _, weights, _, config = tiny_flags
    return lambda dtype: build_pipeline(load_config(UNetConfig, config), weights, device="cpu", dtype=dtype)


def test_bf16_is_within_40_db_of_float32(tiny, clip, speech, tmp_path):
    crops = []
    for dtype in ("fp32", "bf16"):
        p = tiny(dtype)
        p = Recorder(p.vae, p.audio_encoder, p.unet, p.scheduler, resolution=p.resolution)
        generator = torch.Generator().manual_seed(2)
        p(clip, speech, tmp_path / "out.mp4", **FAST | {"num_inference_steps": 8}, generator=generator)
        crops.append(torch.stack(p.crops).clamp(-1, 1))
    error = (crops[0] - crops[1]).square().mean() / 4
    assert 40 < -10 * error.log10() < 80  # the latter: it is another type
