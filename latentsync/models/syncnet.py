"""Networks that tell whether lips and sound belong together.

Each embeds a window of frames and the mel spectrogram of its sound as two vectors without negative entries,
so their cosine similarity lies in [0, 1]. Keys are those of the public checkpoints.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Attention

GROUPS = 32
EPS = 1e-6  # of the group norms
HEADS = 8


class SyncNet(nn.Module):
    """Two encoders whose outputs (b, D, 1, 1) are brought to length 1, in float32."""

    visual_encoder: nn.Module
    audio_encoder: nn.Module

    def encode_visual(self, images: Tensor) -> Tensor:
        """Frames (b, f c, h, w), stacked frame-major, values in [-1, 1] -> unit vectors (b, D) float32."""
        return _embed(self.visual_encoder, images)

    def encode_audio(self, mel: Tensor) -> Tensor:
        """Mel windows (b, 1, 80, columns), values in [-4, 4] -> unit vectors (b, D) float32."""
        return _embed(self.audio_encoder, mel)

    def forward(self, images: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings of windows of frames and of sound; see `encode_visual` and `encode_audio`."""
        return self.encode_visual(images), self.encode_audio(mel)


def _embed(encoder: nn.Module, x: Tensor) -> Tensor:
    # Not channels-last, although that is 15 % faster: the CPU's group norm then loses three digits and more
    # where a group's mean is far from zero.
    y = encoder(x.contiguous())
    if y.shape[2:] != (1, 1):
        raise ValueError(f"expected a window that ends at 1 x 1, got {tuple(y.shape[2:])} from {tuple(x.shape[2:])}")
    # Squares of half-precision numbers can overflow.
    return F.normalize(y.flatten(1).float(), dim=1)


# -------------------------------------------------------------- StableSyncNet


class ResnetBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, plus the input; then fewer pixels by `factor` (vertical, horizontal)."""

    def __init__(self, in_channels: int, out_channels: int, factor: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.factor = factor
        self.norm1 = nn.GroupNorm(GROUPS, in_channels, eps=EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels, eps=EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.conv_shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        if factor != (1, 1):
            self.downsample_conv = nn.Conv2d(out_channels, out_channels, 3, stride=factor)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c_in, h, w) -> (b, c_out, h / vertical, w / horizontal), sizes rounded as `_padding` says."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(self.dropout(F.silu(self.norm2(y))))
        x = self.conv_shortcut(x) + y
        return x if self.factor == (1, 1) else self._downsample(F.pad(x, _padding(self.factor)))

    def _downsample(self, x: Tensor) -> Tensor:
        """The strided convolution of padded maps (b, c_out, h, w)."""
        conv, (vertical, horizontal) = self.downsample_conv, self.factor
        kernel = conv.kernel_size[1]
        if x.shape[-1] - kernel < horizontal:
            # One column comes out, whatever the horizontal stride. With an even one torch 2.11 gives garbage for it in
            # bfloat16 on a CPU with AMX, where five rows or more come out.
            return F.conv2d(x[..., :kernel], conv.weight, conv.bias, (vertical, 1))
        return conv(x)


def _padding(factor: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, right, top, bottom: a side that shrinks n pixels by k gets floor((n - 2) / k) + 1, else it stays n."""
    vertical, horizontal = factor
    return int(horizontal == 1), 1, int(vertical == 1), 1


class AttentionBlock(nn.Module):
    """Self-attention among the pixels of a map, then a gated feed-forward."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels, eps=EPS)
        self.conv_in = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.LayerNorm(channels)
        self.attn = Attention(channels, HEADS, bias=True)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.conv_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, h, w) -> the same shape."""
        tokens = rearrange(self.conv_in(self.norm1(x)), "b c h w -> b (h w) c")
        tokens = tokens + self.attn(self.norm2(tokens))
        tokens = tokens + self.ff(self.norm3(tokens))
        return x + self.conv_out(rearrange(tokens, "b (h w) c -> b c h w", h=x.shape[2]))


class Encoder(nn.Module):
    """Levels of a resnet block, and attention where `attn_blocks` has a 1; no entries mean no attention."""

    def __init__(
        self,
        *,
        in_channels: int,
        block_out_channels: Sequence[int],
        downsample_factors: Sequence[int | Sequence[int]],
        attn_blocks: Sequence[int] = (),
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.conv_in = nn.Conv2d(in_channels, block_out_channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()  # public files number both kinds of block in one list
        channels = block_out_channels[0]
        attention = attn_blocks or [0] * len(block_out_channels)
        for width, factor, attends in zip(block_out_channels, downsample_factors, attention, strict=True):
            pair = (factor, factor) if isinstance(factor, int) else tuple(factor)
            self.down_blocks.append(ResnetBlock(channels, width, pair, dropout))
            if attends:
                self.down_blocks.append(AttentionBlock(width))
            channels = width
        self.norm_out = nn.GroupNorm(GROUPS, channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, h, w) -> (b, D, 1, 1), not negative, for a size that the factors take to 1 x 1."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return F.relu(self.norm_out(x))


class StableSyncNet(SyncNet):
    """The SyncNet that supervises training. Arguments are the keys of the public YAML's `model` section.

    With `gradient_checkpointing` a backward pass computes each block again instead of keeping what is inside it.
    """

    def __init__(
        self, audio_encoder: Mapping, visual_encoder: Mapping, gradient_checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.audio_encoder = Encoder(**audio_encoder, gradient_checkpointing=gradient_checkpointing)
        self.visual_encoder = Encoder(**visual_encoder, gradient_checkpointing=gradient_checkpointing)


# ------------------------------------------------------------- Wav2LipSyncNet


class ConvUnit(nn.Module):
    """Convolution and batch norm, plus the input if `residual`, then LeakyReLU, or ReLU where `positive`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        residual: bool = False,
        positive: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding), nn.BatchNorm2d(out_channels)
        )
        self.residual = residual
        self.activation = nn.ReLU() if positive else nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        return self.activation(x + y if self.residual else y)


def _residuals(channels: int, n: int) -> list[ConvUnit]:
    return [ConvUnit(channels, channels, residual=True) for _ in range(n)]


class Wav2LipSyncNet(SyncNet):
    """The discriminator of Wav2Lip (Prajwal et al. 2020) for five frames (b, 15, 128, 256) and mel (b, 1, 80, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.visual_encoder = nn.Sequential(
            ConvUnit(15, 32, 7, padding=3),
            ConvUnit(32, 64, 5, (1, 2)), *_residuals(64, 2),
            ConvUnit(64, 128, stride=2), *_residuals(128, 3),
            ConvUnit(128, 256, stride=3), *_residuals(256, 2),
            ConvUnit(256, 512, stride=2), *_residuals(512, 2),
            ConvUnit(512, 1024, stride=2), *_residuals(1024, 2),
            ConvUnit(1024, 1024, stride=2, positive=True),
            ConvUnit(1024, 1024, padding=0, positive=True),
            ConvUnit(1024, 1024, 1, padding=0, positive=True),
        )  # fmt: skip
        self.audio_encoder = nn.Sequential(
            ConvUnit(1, 32), *_residuals(32, 2),
            ConvUnit(32, 64, stride=(3, 1)), *_residuals(64, 2),
            ConvUnit(64, 128, stride=3), *_residuals(128, 2),
            ConvUnit(128, 256, stride=(3, 2)), *_residuals(256, 2),
            ConvUnit(256, 512), *_residuals(512, 2),
            ConvUnit(512, 1024, padding=0, positive=True),
            ConvUnit(1024, 1024, 1, padding=0, positive=True),
        )  # fmt: skip
