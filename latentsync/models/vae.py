"""Diffusers' autoencoder as it is trained, and with latents of a wanted scale."""

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor


class TrainableVAE(AutoencoderKL):
    """One forward pass gives all that the losses look at."""

    def forward(self, pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels (n, 3, r, r) in [-1, 1] and standard normal noise (n, 4, h, w), r = 8 h -> the pictures decoded from
        latents that the noise draws, and the mean and logarithmic variance of those latents."""
        posterior = self.encode(pixels).latent_dist
        latents = posterior.mean + posterior.std * noise
        return self.decode(latents).sample, posterior.mean, posterior.logvar


def vae_arguments(**model: Any) -> dict[str, Any]:
    """Arguments of AutoencoderKL: `model` names its widths, its depth and its norms; the rest is as in the official
    one."""
    levels = len(model["block_out_channels"])
    return {
        **model,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": 4,
        "sample_size": 256,
    }


@torch.no_grad()
def standardise(vae: AutoencoderKL, shift: Tensor, scale: Tensor) -> None:
    """Change the layers next to the latents z so that these become (z - shift) / scale, (4,) each, without a change of
    what is decoded."""
    channels = len(shift)
    inner, outer = vae.quant_conv, vae.post_quant_conv  # 1 x 1: there are no borders where a shift would show
    inner.bias[:channels].sub_(shift).div_(scale)
    inner.weight[:channels] /= scale[:, None, None, None]
    inner.bias[channels:] -= 2 * scale.log()  # logarithms of the variances
    outer.bias += outer.weight[:, :, 0, 0] @ shift
    outer.weight *= scale[:, None, None]
