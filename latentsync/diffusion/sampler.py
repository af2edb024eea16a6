"""DDIM sampling with classifier-free guidance (Song et al. 2021; Ho & Salimans 2022).

The loop launches work and never waits for it: time steps and their coefficients are Python numbers and
tensors made before the first step.
"""

from collections.abc import Callable
from copy import copy

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from latentsync.models.unet import FeatureCache

#: Called with (step index, time step, latents (b, 4, f, h, w)) after each step.
StepCallback = Callable[[int, int, Tensor], None]


def guide(noise: Tensor, scale: float) -> Tensor:
    """Unconditional and conditional predictions stacked on b (2 b, ...) -> guided (b, ...)."""
    unconditional, conditional = noise.chunk(2)
    return unconditional + scale * (conditional - unconditional)


@torch.no_grad()
def denoise(
    unet: torch.nn.Module,
    scheduler: DDIMScheduler,
    latents: Tensor,
    context: Tensor,
    audio: Tensor | None,
    *,
    steps: int = 20,
    guidance_scale: float = 1.5,
    eta: float = 0.0,
    cache_interval: int = 1,
    generator: torch.Generator | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    """Denoise clips from pure noise.

    Args:
        latents: (b, 4, f, h, w) start noise.
        context: (b, 9, f, h, w) mask, masked latent and reference latent, in the network's dtype.
        audio: (b, f, s, d) tokens; guidance compares them with zeros.
        steps: number of network evaluations, 1...1000.
        guidance_scale: 1 or less switches guidance off.
        eta: DDIM's noise share; 0 draws nothing.
        cache_interval: 1 is exact; n reuses deep features in all but every n-th step.

    Returns:
        (b, 4, f, h, w) float32 scaled latents.
    """
    scheduler.set_timesteps(steps)  # for onlookers such as the DeepCache package, which reads the steps there
    scheduler = copy(scheduler)
    scheduler.set_timesteps(steps)  # for this run alone: another one may change the shared scheduler meanwhile
    timesteps = scheduler.timesteps.to(latents.device)
    guided = guidance_scale > 1 and audio is not None
    if guided:
        audio = torch.cat([torch.zeros_like(audio), audio])
        context = torch.cat([context, context])
    cache = FeatureCache(cache_interval) if cache_interval > 1 else None
    latents = latents.float() * scheduler.init_noise_sigma  # the steps themselves need more than half precision
    for index, timestep in enumerate(scheduler.timesteps.tolist()):
        x = (torch.cat([latents, latents]) if guided else latents).to(context.dtype)
        noise = unet(torch.cat([x, context], dim=1), timesteps[index], audio, cache=cache).sample.float()
        if guided:
            noise = guide(noise, guidance_scale)
        latents = scheduler.step(noise, timestep, latents, eta=eta, generator=generator).prev_sample
        if callback is not None:
            callback(index, timestep, latents)
    return latents


def estimate_x0(scheduler: DDIMScheduler, noisy: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """The clean latents that `noise` implies in one step: (x_t - sqrt(1 - a_t) eps) / sqrt(a_t).

    `noisy` and `noise` are (b, ...), `timesteps` (b,) integers.
    """
    alphas = scheduler.alphas_cumprod.to(noise)[timesteps.to(noise.device)]
    alphas = alphas.view(-1, *[1] * (noise.ndim - 1))
    return (noisy - (1 - alphas).sqrt() * noise) / alphas.sqrt()
