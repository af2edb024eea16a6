"""The U-Net and its parts."""

import numpy as np
import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps

from latentsync.models.attention import MotionModule, SpatialTransformer
from latentsync.models.blocks import Conditioning, Downsample, ResnetBlock, Upsample
from latentsync.models.unet import UNet3DConditionModel

from . import Golden, family, golden_rule, stated_input

rule = golden_rule()


def seeded_unet(config: dict, salt: str = "") -> UNet3DConditionModel:
    unet = UNet3DConditionModel(**config).eval()
    rule.apply_to_module(unet, salt)
    return unet


@family("unet")
@torch.no_grad()
def unet(golden: Golden) -> dict:
    meta = golden.meta
    unet = seeded_unet(meta["config"], meta["salt"])
    state = unet.state_dict()
    assert len(state) == meta["keys"]
    assert sum(p.numel() for p in unet.parameters()) == meta["parameters"]
    inputs = {key: stated_input(golden, key) for key in ("sample", "encoder_hidden_states") if key in golden.arrays}
    tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
    if "timesteps" in golden.arrays:
        inputs["timesteps"] = np.asarray(meta["timestep"])
    timestep = meta["timestep"]
    output = unet(
        timestep=torch.tensor(timestep) if isinstance(timestep, list) else timestep, **tensors
    ).sample
    return {**inputs, "output": output.numpy()}


def frames_first(x: np.ndarray) -> torch.Tensor:
    """(b, c, f, h, w) as stored -> (b f, c, h, w) as our parts take it."""
    x = torch.from_numpy(x).movedim(2, 1).flatten(0, 1)
    return x.contiguous(memory_format=torch.channels_last)


def frames_back(x: torch.Tensor, frames: int) -> np.ndarray:
    return x.unflatten(0, (-1, frames)).movedim(1, 2).numpy()


@family("unet parts")
@torch.no_grad()
def unet_parts(golden: Golden) -> dict:
    meta, arrays = golden.meta, golden.arrays
    channels, heads, groups = meta["channels"], meta["heads"], meta["groups"]
    time_dim = arrays["resnet_temb"].shape[1]
    resnet = ResnetBlock(32, channels, time_dim, groups=groups, eps=1e-5)
    attention = SpatialTransformer(channels, heads, arrays["attention_e"].shape[2], groups)
    motion = MotionModule(channels)
    down, up = Downsample(channels), Upsample(channels)
    embedding = TimestepEmbedding(320, arrays["time_embedding"].shape[1])
    modules = {
        "resnet.": resnet,
        "attention.": attention,
        "motion.": motion,
        "down.": down,
        "up.": up,
        "time_embedding.": embedding,
    }
    assert list(modules) == meta["prefixes"]
    for prefix, module in modules.items():
        rule.apply_to_module(module.eval(), meta["salt"], prefix)

    keys = ("attention_e", "attention_x", "down_x", "motion_x", "resnet_temb", "resnet_x", "up_x")
    inputs = {key: arrays[key] for key in keys}
    x = {key: frames_first(value) for key, value in inputs.items() if key.endswith("_x")}
    audio = torch.from_numpy(inputs["attention_e"])
    temb = torch.from_numpy(inputs["resnet_temb"])
    frames = {key: value.shape[2] for key, value in inputs.items() if key.endswith("_x")}
    cond = Conditioning(frames["resnet_x"], temb, None)
    steps = torch.from_numpy(arrays["time_steps"])
    height, width = arrays["up_x"].shape[-2:]
    out = {
        "resnet_y": resnet(x["resnet_x"], cond),
        "attention_y": attention(x["attention_x"], audio),
        "motion_y": motion(x["motion_x"], frames["motion_x"]),
        "down_y": down(x["down_x"]),
        "up_y": up(x["up_x"], (2 * height, 2 * width)),
        "up_y_sized": up(x["up_x"], arrays["up_y_sized"].shape[-2:]),
    }
    # The small variants show the eps inside the norms.
    out["resnet_small_y"] = resnet(1e-3 * x["resnet_x"], cond)
    for module in (attention, motion):
        for key, value in module.state_dict().items():
            if key.endswith(("norm.weight", "norm.bias", "proj_in.bias")):
                value.mul_(0.01)
    out["attention_small_y"] = attention(1e-3 * x["attention_x"], audio)
    out["motion_small_y"] = motion(1e-3 * x["motion_x"], frames["motion_x"])
    pictures = {
        key: frames_back(value, golden.arrays[key].shape[2]) for key, value in out.items()
    }
    table = motion.temporal_transformer.transformer_blocks[0].attention_blocks[0].pos_encoder.pe
    features = Timesteps(320, flip_sin_to_cos=True, downscale_freq_shift=0)(steps)
    return {
        **inputs,
        **pictures,
        "pe_table": table.numpy(),
        "time_steps": steps.numpy(),
        "time_proj": features.numpy(),
        "time_proj_noflip_shift1": Timesteps(32, False, 1)(steps).numpy(),
        "time_embedding": embedding(features).numpy(),
    }
