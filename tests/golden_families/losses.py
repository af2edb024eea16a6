"""The terms of the training losses and the network of the temporal one."""

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from latentsync.losses.terms import LowerHalfLPIPS, cosine_bce
from latentsync.losses.videomae import TemporalLoss, VideoMAE, position_table

from . import Golden, close, family, golden_rule, stated_input

rule = golden_rule()


@family("cosine loss")
def cosine_loss(golden: Golden) -> dict:
    stored = {key: golden.arrays[key] for key in ("vision", "audio", "y")}
    vision, audio, y = (torch.from_numpy(array) for array in stored.values())
    loss = cosine_bce(vision, audio, y)
    sims = F.cosine_similarity(vision, audio, dim=1)
    return {**stored, "sims": sims.numpy(), "loss": loss.numpy(), "mean": loss.mean().numpy()}


@family("lpips")
@torch.no_grad()
def lpips_vgg(golden: Golden) -> dict:
    loss = LowerHalfLPIPS(_rule_vgg(golden.meta["salt"]))
    for i in range(5):
        key = f"lin{i}.model.1.weight"
        weight = loss.distance.get_submodule(key.removesuffix(".weight")).weight
        weight.copy_(torch.from_numpy(np.abs(rule.weight(key, weight.shape, golden.meta["salt"]))))
    assert len(loss.distance.state_dict()) == golden.meta["keys"]
    x = stated_input(golden, "x", (2, 3, 64, 64))
    y = np.clip(x + 0.3 * rule.normal("lpips_vgg/y", x.shape), -1, 1)
    pair = torch.from_numpy(x), torch.from_numpy(y)
    return {"distance": loss.distance(*pair).numpy(), "lower_half_mean": loss(*pair).numpy()}


def _rule_vgg(salt: str) -> dict[str, Tensor]:
    """VGG16's convolutions by the rule, whose keys are those of the package, under torchvision's names."""
    with torch.device("meta"):
        trunk = torchvision.models.vgg16().features
    slices = (4, 9, 16, 23, 30)  # where the package cuts torchvision's list of layers
    state = {}
    for key, like in trunk.state_dict().items():
        number = 1 + sum(int(key.partition(".")[0]) >= end for end in slices)
        value = rule.weight(f"net.slice{number}.{key}", like.shape, salt)
        state[f"features.{key}"] = torch.from_numpy(value)
    return state


@family("videomae positions")
def videomae_positions(golden: Golden) -> dict:
    return {
        f"table_{length}x{dim}_spread": _spread(
            position_table(length, dim), golden.arrays[f"table_{length}x{dim}_spread"].size
        )
        for length, dim in ((2048, 1408), (64, 22))
    }


@family("trepa")
def trepa(golden: Golden) -> dict:
    config, arrays = golden.meta["config"], golden.arrays
    network = VideoMAE(
        dim=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        hidden=int(config["embed_dim"] * config["mlp_ratio"]),
        patch=config["patch_size"],
        tubelet=config["tubelet_size"],
        classes=config["num_classes"],
    )
    rule.apply_to_module(network, golden.meta["salt"])
    loss = TemporalLoss(network)
    frames = golden.meta["clips"][1]
    unit = torch.from_numpy(rule.uniform(f"{golden.name}/unit", (1, 3, frames, 224, 224)))
    with torch.no_grad():
        features = network(unit)
        logits = network.head(features)
        value = loss(*_clips(golden))
        half = TemporalLoss(network.half())(*_clips(golden))
    return {
        "features": features.numpy(),
        "logits": logits.numpy(),
        "loss": (value.numpy(), close(1e-3, 1e-9)),
        "loss_float16": (half.numpy(), close(0.05, 0)),
        "pos_embed_spread": _spread(position_table(2048, config["embed_dim"]), arrays["pos_embed_spread"].size),
    }


def _clips(golden: Golden) -> tuple[Tensor, Tensor]:
    """The fake and the true clips (b, 3, f, size, size) that the file's `inputs` describes in words."""
    b, f, size = golden.meta["clips"]

    def clips(shift: float) -> np.ndarray:
        pictures = [[rule.smooth_image(size, size, 0.2 * j + 1.1 * i + shift) for j in range(f)] for i in range(b)]
        return (np.array(pictures) / 127.5 - 1).astype(np.float32).transpose(0, 4, 1, 2, 3)

    true, fake = clips(0.0), np.float32(1.25) * clips(0.4)
    fake = fake + np.float32(0.05) * rule.normal(f"{golden.name}/noise", fake.shape)
    return torch.from_numpy(fake), torch.from_numpy(true)


def _spread(table: Tensor, n: int) -> np.ndarray:
    """`n` values at equal steps of a flattened array."""
    return table.flatten().numpy()[np.linspace(0, table.numel() - 1, n).astype(int)]
