"""Schedule, sampling loop, one-step estimate, autoencoder and masked inputs."""

import numpy as np
import torch
from diffusers import AutoencoderKL

from latentsync.build import SCHEDULER_CONFIG, build_scheduler
from latentsync.diffusion import latents as lat
from latentsync.diffusion.sampler import denoise, estimate_x0
from latentsync.face.mask import fixed_mask

from . import Golden, close, family, golden_rule, stated_input
from .unet import seeded_unet

rule = golden_rule()


@family("ddim schedule")
def ddim_schedule(golden: Golden) -> dict:
    scheduler = build_scheduler()
    stored = {key: value for key, value in golden.meta["scheduler"].items() if key in scheduler.config}
    assert {key: scheduler.config[key] for key in stored} == stored, SCHEDULER_CONFIG
    out = {
        "alphas_cumprod": scheduler.alphas_cumprod.numpy(),
        "betas": scheduler.betas.numpy(),
        "final_alpha_cumprod": scheduler.final_alpha_cumprod.numpy(),
        "init_noise_sigma": np.float32(scheduler.init_noise_sigma),
    }
    for steps in (20, 25, 30, 50):
        scheduler.set_timesteps(steps)
        out[f"timesteps_{steps}"] = scheduler.timesteps.numpy()
    return out


@family("ddim")
@torch.no_grad()
def ddim(golden: Golden) -> dict:
    meta, arrays = golden.meta, golden.arrays
    inputs = {key: stated_input(golden, key) for key in ("noise", "masked", "ref", "audio")}
    inputs["mask"] = arrays["mask"]
    noise, masked, ref, audio, mask = map(torch.from_numpy, inputs.values())
    unet = seeded_unet(meta["config"], meta["salt"])
    scheduler = build_scheduler()
    start = noise.expand(-1, -1, masked.shape[2], -1, -1)
    kept = {}
    end = denoise(
        unet,
        scheduler,
        start,
        lat.assemble(mask[0, :, 0], masked, ref),
        audio[None],
        steps=meta["steps"],
        guidance_scale=meta["guidance_scale"],
        callback=lambda index, timestep, x: kept.update({index: x.numpy()}),
    )
    marked = arrays["marked_steps"]
    return {
        **inputs,
        "start": start.numpy(),
        "end": end.numpy(),
        "after_marked_steps": np.stack([kept[index] for index in marked.tolist()]),
        "marked_steps": marked,
        "timesteps": scheduler.timesteps.numpy(),
        "alphas_cumprod": scheduler.alphas_cumprod.numpy(),
        "final_alpha_cumprod": scheduler.final_alpha_cumprod.numpy(),
    }


@family("one-step estimate")
def one_step_estimate(golden: Golden) -> dict:
    inputs = {key: stated_input(golden, key) for key in ("x0", "noise", "pred")}
    x0, noise, pred = map(torch.from_numpy, inputs.values())
    timesteps = torch.from_numpy(golden.arrays["timesteps"])
    scheduler = build_scheduler()
    noisy = scheduler.add_noise(x0, noise, timesteps)
    return {
        **inputs,
        "timesteps": timesteps.numpy(),
        "noisy": noisy.numpy(),
        "estimate": estimate_x0(scheduler, noisy, pred, timesteps).numpy(),
    }


@family("vae")
@torch.no_grad()
def vae(golden: Golden) -> dict:
    meta, arrays = golden.meta, golden.arrays
    vae = AutoencoderKL(**meta["config"]).eval()
    rule.apply_to_module(vae, meta["salt"])
    shapes = {"x": arrays["decoded"].shape, "z": None, "eps": None}
    pixels, z, eps = (torch.from_numpy(stated_input(golden, key, shape)) for key, shape in shapes.items())
    posterior = vae.encode(pixels).latent_dist
    # Our functions scale; the stored numbers are unscaled.
    mean = lat.encode(vae, pixels) / lat.SCALING_FACTOR
    return {
        "z": z.numpy(),
        "eps": eps.numpy(),
        "mean": mean.numpy(),
        "logvar": posterior.logvar.numpy(),
        "std": posterior.std.numpy(),
        "sample_with_eps": (lat.encode(vae, pixels, eps) / lat.SCALING_FACTOR).numpy(),
        "decoded": lat.decode(vae, z * lat.SCALING_FACTOR).numpy(),
    }


@family("masked inputs")
def masked_inputs(golden: Golden) -> dict:
    meta, arrays = golden.meta, golden.arrays
    resolution, phase = meta["resolution"], meta["phase"]

    def prepare(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        pixels = lat.to_pixel_values(lat.resize_pictures(tensor, resolution))
        return pixels.numpy(), lat.mask_pixels(pixels, fixed_mask(resolution)).numpy()

    frames = np.stack([rule.smooth_image(100, 90, phase + 0.4 * i) for i in range(2)])
    pixels, masked = prepare(frames)
    same_pixels, same_masked = prepare(rule.smooth_image(resolution, resolution, phase)[None])
    grey_level = close(0.0, 1 / 127.5 + 1e-5)

    def spread(name: str, value: np.ndarray) -> np.ndarray:
        step = value.shape[-1] // arrays[name].shape[-1]
        return value[..., ::step, ::step]

    masks = {r: fixed_mask(r) for r in (64, 256, 512)}
    return {
        "mask_256_as_255ths": (masks[256][0] * 255).round().numpy().astype(np.uint8),
        **{f"mask_latent_{r}": lat.latent_mask(mask)[0].numpy() for r, mask in masks.items()},
        **{f"mask_sum_{r}": mask.double().sum().numpy() for r, mask in masks.items()},
        "masks": masks[64].expand(2, 1, -1, -1).numpy(),
        "pixel_values": (spread("pixel_values", pixels), grey_level),
        "masked_pixel_values": (spread("masked_pixel_values", masked), grey_level),
        "ref_pixel_values": (spread("ref_pixel_values", pixels), grey_level),
        "same_size_pixel_values": spread("same_size_pixel_values", same_pixels),
        "same_size_masked": spread("same_size_masked", same_masked),
    }
