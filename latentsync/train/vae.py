"""Training a VAE: pictures to latents of an eighth of their side, and back."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor, nn

from latentsync.data.clips import TrainingClip
from latentsync.data.draws import torch_generator
from latentsync.data.vae_dataset import VAEDataset, mouth_box
from latentsync.diffusion import latents as lat
from latentsync.losses.terms import edge_l1, kl_standard
from latentsync.schema import VAEConfig

from .log import TrainLog

VALIDATION_BATCH = 8  # frames
LOGGED_FRAMES = 8


class VAETask:
    """A VAE, its pieces of frames, and how well it restores whole ones."""

    validation_columns = ("recon_loss", "psnr", "mouth_psnr")

    def __init__(
        self,
        cfg: VAEConfig,
        model: nn.Module,
        mask: Tensor,
        clips: Sequence[TrainingClip],
        validation_clips: Sequence[TrainingClip] = (),
        *,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        """`model` is a TrainableVAE, `mask` (1, r, r), 1 = keep; `perceptual` takes pictures (n, 3, h, w) in [-1, 1]
        twice."""
        self.cfg, self.model, self.mask, self.perceptual = cfg, model, mask, perceptual
        self.dataset = self._dataset(clips)
        self.held_out = self._dataset(validation_clips) if validation_clips else None
        run = cfg.run
        weights = {
            "recon_loss": run.recon_loss_weight,
            "gradient_loss": run.gradient_loss_weight,
            "kl_loss": run.kl_loss_weight,
            "lpips_loss": run.perceptual_loss_weight if perceptual else 0,
        }
        self.weights = {name: weight for name, weight in weights.items() if weight}

    def _dataset(self, clips: Sequence[TrainingClip]) -> VAEDataset:
        data = self.cfg.data
        return VAEDataset(
            clips,
            self.mask,
            frames_per_clip=data.frames_per_clip,
            crop=data.crop,
            mouth_crops=data.mouth_crops,
            masked_crops=data.masked_crops,
            augment=data.augment,
            seed=self.cfg.run.seed,
        )

    def losses(self, model: nn.Module, batch: dict) -> dict[str, Tensor]:
        pixels = lat.mask_pixels(lat.to_pixel_values(batch["frames"]), batch["mask"])
        restored, mean, logvar = model(pixels, self.noise(batch["number"].tolist()).to(pixels))
        restored = restored.float()
        terms = {
            "recon_loss": F.l1_loss(restored, pixels),
            "gradient_loss": edge_l1(restored, pixels),
            "kl_loss": kl_standard(mean, logvar),
        }
        if "lpips_loss" in self.weights:
            terms["lpips_loss"] = self.perceptual(restored, pixels)
        return {name: terms[name] for name in self.weights}

    def noise(self, numbers: Sequence[int]) -> Tensor:
        """What draws the latents of some samples, (n, 4, h, w)."""
        side = self.cfg.data.crop // lat.DOWNSAMPLE
        generators = (torch_generator(self.cfg.run.seed, number, "posterior") for number in numbers)
        return torch.stack([torch.randn(4, side, side, generator=generator) for generator in generators])

    def name_of(self, number: int) -> str:
        return self.dataset.clip(number).clip.key

    def notice(self, step: int, values: Mapping[str, float]) -> str | None:
        return None

    # ----------------------------------------------------------- validation

    @torch.inference_mode()
    def validate(self, weights: Mapping[str, Tensor], step: int, log: TrainLog) -> dict[str, float]:
        """Mean absolute error in [-1, 1] and PSNR (dB) of `data.num_val_samples` fixed frames that were held out."""
        if self.held_out is None:
            return {}
        model = copy.deepcopy(self.model)
        model.load_state_dict(weights)
        model.eval()
        rows, columns = mouth_box(self.cfg.data.resolution)
        found: dict[str, list[Tensor]] = {name: [] for name in self.validation_columns}
        shown: list[tuple[Tensor, Tensor]] = []
        for frames in frames_of(self.held_out, self.cfg.data.num_val_samples):
            restored = reconstruct(model, frames)
            true = lat.to_pixel_values(frames)
            found["recon_loss"].append((restored - true).abs().mean(dim=(1, 2, 3)))
            found["psnr"].append(psnr(restored, true))
            found["mouth_psnr"].append(psnr(restored[..., rows, columns], true[..., rows, columns]))
            shown.append((frames, ((restored + 1) * 127.5).round().to(torch.uint8)))
        log.pictures("true, reconstructed", [_row(pictures) for pictures in zip(*shown, strict=True)], step)
        return {name: torch.cat(values).mean().item() for name, values in found.items()}


def frames_of(dataset: VAEDataset, count: int) -> Iterator[Tensor]:
    """`count` whole frames in batches (n, 3, r, r) uint8: the clips in turn, of each the cached frames in turn."""
    numbers = range(count)
    n_clips = len(dataset.clips)
    for start in numbers[::VALIDATION_BATCH]:
        some = numbers[start : start + VALIDATION_BATCH]
        yield torch.stack([dataset.frame(dataset.clips[n % n_clips], n // n_clips) for n in some])


def reconstruct(vae: AutoencoderKL, frames: Tensor) -> Tensor:
    """Frames (n, 3, r, r) uint8 -> the same, through the posterior's mean, float32 in [-1, 1] on the frames' device."""
    pixels = lat.to_pixel_values(frames).to(vae.device, vae.dtype)
    return lat.decode(vae, lat.encode(vae, pixels)).float().clamp(-1, 1).to(frames.device)


def latent_statistics(vae: AutoencoderKL, batches: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (4,) of each channel of the latents, not scaled, of frames (n, 3, r, r) uint8."""
    pixels = (lat.to_pixel_values(frames).to(vae.device, vae.dtype) for frames in batches)
    latents = torch.cat([vae.encode(x).latent_dist.mean.double() for x in pixels])
    values = rearrange(latents, "n c h w -> c (n h w)")
    return values.mean(dim=1), values.std(dim=1)


def psnr(pred: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (n,) in dB of pictures (n, 3, h, w) in [-1, 1]."""
    return -10 * ((pred - true) / 2).square().mean(dim=(1, 2, 3)).log10()


def _row(batches: Sequence[Tensor]) -> np.ndarray:
    """A row of at most LOGGED_FRAMES pictures (f, h, w, 3), evenly chosen."""
    pictures = torch.cat(list(batches))
    step = max(1, len(pictures) // LOGGED_FRAMES)
    return rearrange(pictures, "f c h w -> f h w c")[::step][:LOGGED_FRAMES].numpy()
