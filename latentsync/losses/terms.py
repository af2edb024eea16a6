"""The terms of the training losses. All are computed in float32, also within autocast, except inside frozen
networks, which run in their own type.
"""

import warnings
from collections.abc import Mapping

import lpips
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from latentsync.models.syncnet import SyncNet


def no_autocast(device: torch.device) -> torch.autocast:
    """A context in which operations keep the types of their inputs."""
    return torch.autocast(device.type, enabled=False)


def _bce(similarity: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of probabilities, elementwise, each logarithm floored at -100.

    Rounding takes about half of the similarities of identical unit vectors a little above 1, hence the clamp.
    """
    with no_autocast(similarity.device):
        return F.binary_cross_entropy(similarity.float().clamp(0, 1), y.float(), reduction="none")


def cosine_bce(vision: Tensor, audio: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of the cosine similarity of each pair, as the probability that it is in sync.

    vision, audio (b, d), not negative; y (b,) or (b, 1), 1 = in sync, 0 = not -> (b,) float32.
    """
    return _bce(F.cosine_similarity(vision.float(), audio.float(), dim=1, eps=1e-8), y.reshape(-1))


def pair_bce(similarity: Tensor) -> Tensor:
    """Cross-entropy of all pairs within each clip: v windows of frames (rows) against v of sound (columns).

    similarity (b, v, v) in [0, 1] -> (b,) float32. The pairs in sync, on the diagonal, weigh as much as all
    others together; a single window has only the former.
    """
    v = similarity.shape[-1]
    in_sync = torch.eye(v, device=similarity.device)
    each = _bce(similarity, in_sync.expand_as(similarity))
    positive = each.diagonal(dim1=1, dim2=2).mean(dim=1)
    if v == 1:
        return positive
    negative = (each * (1 - in_sync)).sum(dim=(1, 2)) / (v * (v - 1))
    return (positive + negative) / 2


def info_nce(similarity: Tensor, temperature: float) -> Tensor:
    """How well each window finds its partner among those of its own group (van den Oord et al. 2018), both ways
    (Radford et al. 2021).

    similarity (b, v, v): in each group, such as a clip, v windows of frames (rows) against v of sound (columns)
    -> (b,) float32, 0 at perfect separation and log v at none.
    """
    logits = similarity.float() / temperature
    b, v, _ = logits.shape
    partner = torch.arange(v, device=logits.device).expand(b, v)
    sound_of_frames = F.cross_entropy(logits.mT, partner, reduction="none")  # classes are dim 1
    frames_of_sound = F.cross_entropy(logits, partner, reduction="none")
    return (sound_of_frames + frames_of_sound).mean(dim=1) / 2


def noise_mse(predicted: Tensor, target: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Mean squared error of all values, each times its weight, a float32 scalar.

    predicted and target have the same shape, to which the weight expands.
    """
    return (F.mse_loss(predicted.float(), target.float(), reduction="none") * weight).mean()


def edge_l1(predicted: Tensor, target: Tensor, scales: int = 3) -> Tensor:
    """Mean absolute error of the differences between neighbouring pixels, across and down, a float32 scalar: the mean
    over pictures (n, c, h, w) of full, half and quarter size."""
    with no_autocast(predicted.device):
        error, terms = predicted.float() - target.float(), []
        for _ in range(scales):
            terms += [error.diff(dim=-1).abs().mean(), error.diff(dim=-2).abs().mean()]
            error = F.avg_pool2d(error, 2)
        return torch.stack(terms).mean()


def kl_standard(mean: Tensor, logvar: Tensor) -> Tensor:
    """Divergence of diagonal normal distributions from the standard one: the mean over all values, a float32 scalar."""
    mean, logvar = mean.float(), logvar.float()
    return (mean.square() + logvar.exp() - 1 - logvar).mean() / 2


def lower_half(x: Tensor) -> Tensor:
    """(..., h, w) -> (..., h / 2, w): where the mouth is."""
    return x[..., x.shape[-2] // 2 :, :]


class FrozenLoss(nn.Module):
    """A loss that holds networks: they never train, and stay in evaluation mode."""

    def freeze(self) -> None:
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "FrozenLoss":
        return super().train(False)


class LPIPS(FrozenLoss):
    """Perceptual distance of pictures (Zhang et al. 2018), with VGG16 in float32.

    `vgg` is torchvision's state dict of it (`features.N.weight` and `.bias`; other entries are ignored).
    Raises KeyError or RuntimeError for weights that are not.
    """

    def __init__(self, vgg: Mapping[str, Tensor]) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package calls torchvision by an old signature
            self.distance = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
        trunk = self.distance.net  # its names are torchvision's with "sliceN" for "features"
        trunk.load_state_dict({key: vgg[f"features.{key.partition('.')[2]}"] for key in trunk.state_dict()})
        self.freeze()

    def forward(self, pred: Tensor, true: Tensor) -> Tensor:
        """pred, true (n, 3, h, w) in [-1, 1] -> that of each picture, (n,) float32."""
        with no_autocast(pred.device):
            return self.distance(pred.float(), true.float()).flatten()


class LowerHalfLPIPS(LPIPS):
    """The same as a loss, of the pictures' lower halves."""

    def forward(self, pred: Tensor, true: Tensor) -> Tensor:
        """pred, true (n, 3, h, w) in [-1, 1] -> the mean over pictures, a float32 scalar."""
        return self.of_whole(lower_half(pred), lower_half(true))

    def of_whole(self, pred: Tensor, true: Tensor) -> Tensor:
        """The same for all of the pictures."""
        return super().forward(pred, true).mean()


class SyncLoss(FrozenLoss):
    """How far a frozen SyncNet is from calling generated frames and true sound in sync.

    Args:
        resolution: height and width (pixels) of the frames it was trained on.
        lower_half: whether it sees only the lower half of them.
        latent_space: whether it takes latents, which are not resized.
    """

    def __init__(
        self, syncnet: SyncNet, *, resolution: int, lower_half: bool, latent_space: bool = False
    ) -> None:
        super().__init__()
        self.syncnet = syncnet
        self.size = None if latent_space else (resolution, resolution)
        self.lower_half = lower_half
        self.freeze()

    def forward(self, frames: Tensor, mel: Tensor) -> Tensor:
        """Frames (b, f, 3, h, w) in about [-1, 1], or latents (b, f, 4, h, w), and their sound's mel windows
        (b, 1, 80, columns) in [-4, 4] -> the mean over clips, a float32 scalar.
        """
        dtype = next(self.syncnet.parameters()).dtype
        with no_autocast(frames.device):
            x = rearrange(frames.float(), "b f c h w -> b (f c) h w")
            if self.size not in (None, x.shape[-2:]):
                x = F.interpolate(x, self.size, mode="bicubic", antialias=False)
            x = lower_half(x) if self.lower_half else x
            vision, audio = self.syncnet(x.to(dtype), mel.to(dtype))
        return cosine_bce(vision, audio, torch.ones(len(frames), device=vision.device)).mean()
