"""Pictures to latents and back, and the U-Net's 13 input channels.

Training and inference share these functions. `n` counts pictures, r is the resolution, h = w = r / 8.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor

#: Latents are multiplied by this on the way in; Stable Diffusion 1's factor, whatever a VAE's file says.
SCALING_FACTOR = 0.18215

#: Pixels per latent cell.
DOWNSAMPLE = 8


def resize_pictures(pictures: Tensor, resolution: int) -> Tensor:
    """(n, 3, h, w) uint8 -> (n, 3, r, r) uint8: antialiased bicubic; already square pictures pass as they are."""
    if pictures.shape[-2:] == (resolution, resolution):
        return pictures
    resized = F.interpolate(
        pictures.float(), size=(resolution, resolution), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.round().clamp(0, 255).to(torch.uint8)


def to_pixel_values(pictures: Tensor) -> Tensor:
    """uint8 0...255 -> float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def mask_pixels(pixels: Tensor, mask: Tensor) -> Tensor:
    """Mid-grey (0) inside the hole. `pixels` (n, 3, r, r) in [-1, 1]; `mask` (1, r, r), 1 = keep, 0 = generate."""
    return pixels * mask.to(pixels)


def latent_mask(mask: Tensor) -> Tensor:
    """(1, r, r) -> (1, h, w): the mask at every eighth row and column."""
    return mask[:, ::DOWNSAMPLE, ::DOWNSAMPLE]


def posterior(vae: AutoencoderKL, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 3, r, r) in [-1, 1] -> mean and standard deviation of the scaled latents, each (n, 4, h, w)."""
    distribution = vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist
    return distribution.mean * SCALING_FACTOR, distribution.std * SCALING_FACTOR


def encode(vae: AutoencoderKL, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
    """(n, 3, r, r) in [-1, 1] -> scaled latents (n, 4, h, w).

    With standard normal `noise` of the result's shape the posterior is sampled (the public behaviour), without
    it its mean is taken.
    """
    mean, std = posterior(vae, pixels)
    return mean if noise is None else mean + std * noise


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents (n, 4, h, w) -> pictures (n, 3, r, r) in about [-1, 1], not clamped."""
    latents = (latents / SCALING_FACTOR).contiguous(memory_format=torch.channels_last)
    return vae.decode(latents).sample


def draw(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers with `like`'s dtype and device.

    A CPU generator draws float32, so that a seed means the same on every device; another one draws on its own
    device in `like`'s dtype, as the public version does.
    """
    dtype = torch.float32 if generator.device.type == "cpu" else like.dtype
    return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype).to(like)


def assemble(mask: Tensor, masked: Tensor, reference: Tensor) -> Tensor:
    """What the U-Net sees beside the noisy latent.

    Args:
        mask: (1, h, w), 1 = keep.
        masked, reference: scaled latents (b, 4, f, h, w).

    Returns:
        (b, 9, f, h, w): mask 1, masked latent 4, reference latent 4.
    """
    b, _, f, _, _ = masked.shape
    return torch.cat([mask.to(masked)[None, :, None].expand(b, 1, f, -1, -1), masked, reference], dim=1)


def to_clips(pictures: Tensor, frames: int) -> Tensor:
    """(b f, c, h, w) -> (b, c, f, h, w)."""
    return rearrange(pictures, "(b f) c h w -> b c f h w", f=frames)


def from_clips(clips: Tensor) -> Tensor:
    """(b, c, f, h, w) -> (b f, c, h, w)."""
    return rearrange(clips, "b c f h w -> (b f) c h w")
