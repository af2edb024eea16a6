"""Convolutional parts of the U-Net, and the one stage that its down, mid and up paths are made of.

Pictures are (b f, c, h, w) in channels-last memory. Norms of resnets run over all frames of a clip: with
that memory layout the view (b, c, f h, w) costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import GroupNorm, MotionModule, SpatialTransformer


@dataclass(frozen=True)
class Conditioning:
    """What every layer of one forward pass may look at."""

    frames: int  # f
    time: Tensor  # (b, 4 n) time embedding
    audio: Tensor | None  # (b f, s, d) audio tokens


def clip_norm(norm: nn.GroupNorm, x: Tensor, frames: int) -> Tensor:
    """Group norm with statistics over the channels of a group, all frames of a clip, and all pixels."""
    x = norm(rearrange(x, "(b f) c h w -> b c (f h) w", f=frames))
    return rearrange(x, "b c (f h) w -> (b f) c h w", f=frames)


class ResnetBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice; the time embedding enters between them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_dim: int,
        *,
        groups: int,
        eps: float,
        scale_shift: bool = False,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.output_scale = output_scale
        self.norm1 = GroupNorm(groups, in_channels, eps=eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim, out_channels * (2 if scale_shift else 1))
        if scale_shift:
            # Takes part in public state dicts of this mode; nothing reads it.
            self.double_len_linear = nn.Linear(2 * out_channels, 4 * out_channels)
        self.norm2 = GroupNorm(groups, out_channels, eps=eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        )

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        """x (b f, c_in, h, w) -> (b f, c_out, h, w)."""
        time = self.time_emb_proj(F.silu(cond.time))
        time = repeat(time, "b c -> (b f) c 1 1", f=cond.frames)
        y = self.conv1(F.silu(clip_norm(self.norm1, x, cond.frames)))
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            y = clip_norm(self.norm2, y, cond.frames) * (1 + scale) + shift
        else:
            y = clip_norm(self.norm2, y + time, cond.frames)
        y = self.conv2(F.silu(y))
        y = self.conv_shortcut(x) + y
        return y if self.output_scale == 1 else y / self.output_scale


class Downsample(nn.Module):
    """Halves height and width."""

    def __init__(self, channels: int, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest neighbours to a given size, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return self.conv(F.interpolate(x, size=tuple(size), mode="nearest"))


def _run_layer(
    resnet: ResnetBlock,
    attention: SpatialTransformer | None,
    motion: MotionModule | None,
    x: Tensor,
    cond: Conditioning,
) -> Tensor:
    x = resnet(x, cond)
    if attention is not None:
        x = attention(x, cond.audio)
    if motion is not None:
        x = motion(x, cond.frames)
    return x


class UNetStage(nn.Module):
    """One level of the U-Net: layers of resnet, spatial transformer and motion module, then a resampler.

    The same class serves as down stage (keeps what each layer gives), as mid stage (one more resnet than
    transformers) and as up stage (each layer first takes a skip). `resnets` gives (c_in, c_out) of each.
    """

    def __init__(
        self,
        resnets: Sequence[tuple[int, int]],
        time_dim: int,
        *,
        groups: int,
        eps: float,
        scale_shift: bool = False,
        output_scale: float = 1.0,
        n_attentions: int = 0,
        heads: int = 8,
        audio_dim: int | None = None,
        n_motion_modules: int = 0,
        motion: dict | None = None,
        downsample_padding: int | None = None,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        channels = resnets[-1][1]
        self.resnets = nn.ModuleList(
            ResnetBlock(
                c_in,
                c_out,
                time_dim,
                groups=groups,
                eps=eps,
                scale_shift=scale_shift,
                output_scale=output_scale,
            )
            for c_in, c_out in resnets
        )
        self.attentions = nn.ModuleList(
            SpatialTransformer(channels, heads, audio_dim, groups) for _ in range(n_attentions)
        )
        self.motion_modules = nn.ModuleList(
            MotionModule(channels, **(motion or {})) for _ in range(n_motion_modules)
        )
        self.downsamplers = nn.ModuleList(
            [] if downsample_padding is None else [Downsample(channels, downsample_padding)]
        )
        self.upsamplers = nn.ModuleList([Upsample(channels)] if upsample else [])
        self.gradient_checkpointing = False

    def forward(
        self,
        x: Tensor,
        cond: Conditioning,
        skips: Sequence[Tensor] = (),
        *,
        layers: slice = slice(None),
        upsample_size: Sequence[int] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Runs the chosen `layers`; with `skips`, one for each of them and taken from the end, it is an up stage.

        Returns the result and what each layer and the downsampler gave, in order.
        """
        skips, outputs = list(skips), []
        stack = list(zip_longest(self.resnets, self.attentions, self.motion_modules))
        for resnet, attention, motion in stack[layers]:
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(_run_layer, resnet, attention, motion, x, cond, use_reentrant=False)
            else:
                x = _run_layer(resnet, attention, motion, x, cond)
            outputs.append(x)
        for downsample in self.downsamplers:
            x = downsample(x)
            outputs.append(x)
        for upsample in self.upsamplers:
            x = upsample(x, upsample_size)
        return x, outputs
