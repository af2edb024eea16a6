"""A small network with the public I3D's file format and call."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class SmallI3D(nn.Module):
    """Features: the mean colour, its mean change from frame to frame, and random mixtures of coarse clips."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3 * 2 * 4 * 4, 394)

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        if rescale or resize or not return_features:
            raise ValueError("expected clips as they are, for features")
        colour = x.mean(dim=(2, 3, 4))
        change = (x[:, :, 1:] - x[:, :, :-1]).abs().mean(dim=(2, 3, 4))
        coarse = torch.nn.functional.adaptive_avg_pool3d(x, (2, 4, 4)).flatten(1)
        return torch.cat([colour, change, self.mix(coarse)], dim=1)


def write_i3d(path: Path) -> Path:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(SmallI3D()).save(str(path))
    return path
