"""Transformers of the U-Net: over the pixels of each frame, and over the frames of each pixel.

Shapes: `n` is frames of all clips, `(b f)`; pictures are (n, c, h, w) in channels-last memory, so that
turning them into tokens (n, h w, c) and back is a view. Keys are those of the public checkpoints.
"""

import math

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from einops import rearrange
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """Of pictures in channels-last memory. A CPU trains it in plain memory, where its backward pass takes a tenth of
    the time; in torch 2.11 the channels-last one even crashes where the input needs no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> the same shape and type, channels-last."""
        if x.device.type == "cpu" and torch.is_grad_enabled():
            return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)
        return super().forward(x)


#: Tokens of a context up to which a CPU trains by plain products: its fused kernel's backward pass takes 6 to 15 times
#: as long for these, as a context of 16 frames or 40 audio tokens is; of longer ones the fused kernel is the faster.
SHORT_CONTEXT = 64


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: q (n, heads, t, d), k and v (n, heads, s, d), one type -> (n, heads, t, d)."""
    if q.device.type == "cpu" and torch.is_grad_enabled() and k.shape[-2] <= SHORT_CONTEXT:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        return scores.float().softmax(dim=-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Multi-head attention of x (n, t, dim) over a context (n, s, context_dim), by default over x itself.

    `bias` is that of query, key and value; the output always has one.
    """

    def __init__(self, dim: int, heads: int, context_dim: int | None = None, *, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=bias)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=bias)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (
            rearrange(tokens, "n t (h d) -> n h t d", h=self.heads)
            for tokens in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        x = attend(q, k, v)
        return self.to_out[0](rearrange(x, "n h t d -> n t (h d)"))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to audio (if built with it), feed-forward; each pre-normed, residual."""

    def __init__(self, dim: int, heads: int, audio_dim: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        if audio_dim is not None:
            self.norm2 = nn.LayerNorm(dim)
            self.attn2 = Attention(dim, heads, audio_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(self, x: Tensor, audio: Tensor | None) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        if audio is not None:
            # Without tokens the layer is left out; zero tokens would still add the output's bias.
            x = x + self.attn2(self.norm2(x), audio)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Attention among the pixels of each frame, and from them to that frame's audio tokens."""

    def __init__(self, channels: int, heads: int, audio_dim: int | None, groups: int) -> None:
        super().__init__()
        self.has_audio = audio_dim is not None
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, heads, audio_dim)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, audio: Tensor | None) -> Tensor:
        """x (n, c, h, w), audio (n, s, d) or None -> (n, c, h, w)."""
        tokens = rearrange(self.proj_in(self.norm(x)), "n c h w -> n (h w) c")
        for block in self.transformer_blocks:
            tokens = block(tokens, audio if self.has_audio else None)
        return x + self.proj_out(rearrange(tokens, "n (h w) c -> n c h w", h=x.shape[2]))


def sinusoids(n: int, dim: int, device: torch.device | str | None = None) -> Tensor:
    """(n, dim) float32: of each position, sines in even columns and cosines in odd ones."""
    frequency = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(1e4) / dim))
    angles = torch.arange(n, device=device)[:, None] * frequency
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class PositionalEncoding(nn.Module):
    """Adds the sinusoid of each position."""

    def __init__(self, dim: int, max_len: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(max_len, dim)[None])  # persistent: public checkpoints hold it

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.pe.shape[1]:
            raise ValueError(f"expected clips of at most {self.pe.shape[1]} frames, got {x.shape[1]}")
        return x + self.pe[:, : x.shape[1]]


class TemporalAttention(Attention):
    """Self-attention over frames. The position reaches query, key and value; the residual path stays free of it."""

    def __init__(self, dim: int, heads: int, max_len: int | None) -> None:
        super().__init__(dim, heads)
        self.pos_encoder = PositionalEncoding(dim, max_len) if max_len else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pos_encoder(x))


class TemporalBlock(nn.Module):
    """Attention layers over frames, then a feed-forward; each pre-normed and residual."""

    def __init__(self, dim: int, heads: int, n_attentions: int, max_len: int | None) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(TemporalAttention(dim, heads, max_len) for _ in range(n_attentions))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(n_attentions))
        self.ff = FeedForward(dim, activation_fn="geglu")
        self.ff_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = x + attention(norm(x))
        return x + self.ff(self.ff_norm(x))


class TemporalTransformer(nn.Module):
    """Attention among the frames of a clip, for each pixel alone."""

    def __init__(
        self,
        channels: int,
        *,
        num_attention_heads: int = 8,
        num_transformer_block: int = 1,
        attention_block_types: tuple[str, ...] = ("Temporal_Self", "Temporal_Self"),
        temporal_position_encoding: bool = True,
        temporal_position_encoding_max_len: int = 24,
        temporal_attention_dim_div: int = 1,
        zero_initialize: bool = True,
    ) -> None:
        super().__init__()
        if unknown := set(attention_block_types) - {"Temporal_Self"}:
            raise ValueError(f"expected attention blocks of type Temporal_Self, got {sorted(unknown)}")
        dim = num_attention_heads * (channels // num_attention_heads // temporal_attention_dim_div)
        max_len = temporal_position_encoding_max_len if temporal_position_encoding else None
        self.norm = GroupNorm(32, channels, eps=1e-6)  # 32 groups whatever the rest of the network has
        self.proj_in = nn.Linear(channels, dim)
        self.transformer_blocks = nn.ModuleList(
            TemporalBlock(dim, num_attention_heads, len(attention_block_types), max_len)
            for _ in range(num_transformer_block)
        )
        self.proj_out = nn.Linear(dim, channels)
        if zero_initialize:
            nn.init.zeros_(self.proj_out.weight)
            nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """x (b f, c, h, w) -> the same shape."""
        height = x.shape[2]
        tokens = rearrange(self.norm(x), "(b f) c h w -> (b h w) f c", f=frames)
        # A linear layer on a strided view would copy its weight once for every pixel.
        tokens = self.proj_in(tokens.contiguous())
        for block in self.transformer_blocks:
            tokens = block(tokens)
        tokens = rearrange(
            self.proj_out(tokens), "(b h w) f c -> (b f) c h w", b=x.shape[0] // frames, h=height
        )
        return x + tokens


class MotionModule(nn.Module):
    """A temporal transformer under the name that public checkpoints give it."""

    def __init__(self, channels: int, **kwargs) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, **kwargs)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return self.temporal_transformer(x, frames)
