"""The temporal loss (TREPA): distance of two clips in the features of VideoMAE V2 (Wang et al. 2023).

The network is its plain vision transformer, without class token, fine-tuned on 16 frames of 224 x 224 pixels.
Keys are those of the public checkpoints.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .terms import FrozenLoss, no_autocast

SIZE = 224  # pixels, height and width
FRAMES = 16  # for which the table of positions is made
EPS = 1e-6  # of the layer norms


@lru_cache(maxsize=4)
def position_table(length: int, dim: int) -> Tensor:
    """(length, dim) float32 on the CPU: sines in even columns, cosines in odd ones. Not to be changed."""
    column = torch.arange(dim, dtype=torch.float64)
    angle = torch.arange(length)[:, None] / 10000 ** (2 * (column // 2) / dim)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


def positions(times: int, side: int, tubelet: int, dim: int) -> Tensor:
    """Positions (times side side, dim) of tokens ordered time, row, column.

    Clips of another length than `FRAMES` share its table, resized along time.
    """
    full = FRAMES // tubelet
    table = position_table(full * side * side, dim)
    if times == full:
        return table
    grid = rearrange(table, "(t h w) c -> 1 c t h w", t=full, h=side)
    # The public network resizes by this factor, slightly too large, so that rounding down cannot lose a row.
    grid = F.interpolate(grid, scale_factor=((times + 0.1) / full, 1, 1), mode="trilinear", align_corners=False)
    return rearrange(grid, "1 c t h w -> (t h w) c")


class PatchEmbed(nn.Module):
    """One token for each block of tubelet x patch x patch values."""

    def __init__(self, dim: int, patch: int, tubelet: int) -> None:
        super().__init__()
        self.tubelet = tubelet
        kernel = (tubelet, patch, patch)
        self.proj = nn.Conv3d(3, dim, kernel, stride=kernel)

    def forward(self, clips: Tensor) -> Tensor:
        """(b, 3, f, h, w) -> (b, t h w, dim), positions added."""
        x = self.proj(clips)
        _, dim, times, side, _ = x.shape
        return rearrange(x, "b c t h w -> b (t h w) c") + positions(times, side, self.tubelet, dim).to(x)


class Attention(nn.Module):
    """Multi-head self-attention whose query and value have a bias and whose key has none."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias)
        q, k, v = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(rearrange(x, "b h n d -> b n (h d)"))


class MLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Self-attention and MLP, each pre-normed and residual; x (b, n, dim)."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = MLP(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VideoMAE(nn.Module):
    """Features of clips. A backward pass computes each block again, which keeps 40 wide ones affordable."""

    def __init__(
        self, *, dim: int, depth: int, heads: int, hidden: int, patch: int, tubelet: int, classes: int
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(dim, patch, tubelet)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden) for _ in range(depth))
        self.fc_norm = nn.LayerNorm(dim, eps=EPS)
        self.head = nn.Linear(dim, classes)  # of the fine-tuning; part of public files

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> "VideoMAE":
        """The network whose state dict has these shapes: any size of VideoMAE V2.

        Raises ValueError where keys that tell the size are missing. Heads are not in the shapes: ViT-g has 16
        of 88, all smaller ones have heads of 64.
        """
        try:
            dim, _, tubelet, patch, _ = shapes["patch_embed.proj.weight"]
            hidden, _ = shapes["blocks.0.mlp.fc1.weight"]
            classes, _ = shapes["head.weight"]
        except KeyError as error:
            raise ValueError(f"expected the keys of a fine-tuned VideoMAE V2, {error} is missing") from None
        depth = len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
        heads = 16 if dim == 1408 else max(dim // 64, 1)
        return cls(
            dim=dim, depth=depth, heads=heads, hidden=hidden, patch=patch, tubelet=tubelet, classes=classes
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (b, 3, f, 224, 224) in [0, 1] -> (b, dim), both in the weights' type."""
        x = self.patch_embed(clips)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if torch.is_grad_enabled() else block(x)
        return self.fc_norm(x.mean(dim=1))


class TemporalLoss(FrozenLoss):
    """Mean squared difference of the unit features of two clips, at most 4 / dim. The network runs in its own
    type, the rest in float32: the values are near the smallest steps of half precision.
    """

    def __init__(self, network: VideoMAE) -> None:
        super().__init__()
        self.network = network
        self.freeze()

    def features(self, clips: Tensor) -> Tensor:
        """Clips (b, 3, f, h, w) in [-1, 1] -> unit vectors (b, dim) float32.

        There is no ImageNet normalisation: the weights were tuned without one by the public project.
        """
        with no_autocast(clips.device):
            frames = rearrange(clips.float(), "b c f h w -> (b f) c h w")
            frames = F.interpolate(frames, (SIZE, SIZE), mode="bicubic", antialias=False)
            clips = rearrange((frames / 2 + 0.5).clamp(0, 1), "(b f) c h w -> b c f h w", b=len(clips))
            features = self.network(clips.to(self.network.fc_norm.weight.dtype))
            return F.normalize(features.float(), dim=1)

    def forward(self, fake: Tensor, true: Tensor) -> Tensor:
        """Clips (b, 3, f, h, w) in [-1, 1] -> a float32 scalar; gradients reach `fake` only."""
        with torch.no_grad():
            target = self.features(true)
        return F.mse_loss(self.features(fake), target)
