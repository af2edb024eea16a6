"""What a frozen VAE makes of a clip's frames: of whole ones, which are targets and references, and of masked ones."""

import hashlib

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor

from ..diffusion import latents as lat

WHOLE, MASKED = 0, 1  # of the first axis behind the frames'


class LatentEncoder:
    """Frames -> posteriors, on the VAE's device. `mask`: (1, r, r), 1 = keep."""

    def __init__(self, vae: AutoencoderKL, mask: Tensor) -> None:
        self.vae, self.mask = vae, mask.to(vae.device)

    @property
    def resolution(self) -> int:
        return self.mask.shape[-1]

    def fingerprint(self) -> str:
        """Of everything that latents depend on beside the frames."""
        digest = hashlib.blake2b(digest_size=16)
        for name, value in [*sorted(self.vae.state_dict().items()), ("mask", self.mask)]:
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.float().cpu().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """(n, r, r, 3) uint8 RGB -> (n, 2, 2, 4, h, w) float16: whole and masked, each with mean and deviation."""
        pixels = lat.to_pixel_values(rearrange(torch.from_numpy(frames), "n h w c -> n c h w").to(self.vae.device))
        kinds = []
        for pictures in (pixels, lat.mask_pixels(pixels, self.mask)):
            kinds.append(torch.stack(lat.posterior(self.vae, pictures.to(self.vae.dtype)), dim=1))
        return torch.stack(kinds, dim=1).to(torch.float16).cpu().numpy()
