"""Training the denoising U-Net (spec/training.md, sections 2 and 3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import DataLoader

from latentsync.data.clips import TrainingClip
from latentsync.data.draws import torch_generator
from latentsync.data.unet_dataset import UNetDataset
from latentsync.diffusion import latents as lat
from latentsync.diffusion.sampler import estimate_x0
from latentsync.errors import ConfigError
from latentsync.losses.terms import noise_mse
from latentsync.schema import UNetConfig

from .log import TrainLog

VALIDATION_SEED = 0  # whatever the run's: curves of different runs can be compared
PICTURE_LOSSES = {"lpips_loss", "trepa_loss"}  # which compare with the true pictures
MAX_INVERSE_SNR = 20
LOGGED_FRAMES = 8  # of a clip, in pictures for people


@dataclass(frozen=True)
class Draws:
    """Every random number that a batch needs beside its windows, each sample's from its own number."""

    posterior: Tensor  # (3, b, f, 4, h, w) standard normal: target, masked, reference
    noise: Tensor  # (b, 4, f, h, w) unit variance, in part shared by the frames
    timesteps: Tensor  # (b,) integers in [0, 1000), in part drawn from the upper half alone
    heard: Tensor  # (b,) booleans: the clip trains with its sound

    def to(self, device: torch.device) -> "Draws":
        return Draws(*(value.to(device) for value in vars(self).values()))


def draw(cfg: UNetConfig, numbers: Sequence[int], seed: int, n_timesteps: int = 1000) -> Draws:
    """The draws of some samples, the same on every device and in any company."""
    side = cfg.data.resolution // lat.DOWNSAMPLE
    channels, frames = cfg.model.out_channels, cfg.data.num_frames
    share = cfg.run.mixed_noise_alpha**2 / (1 + cfg.run.mixed_noise_alpha**2) if cfg.run.use_mixed_noise else 1.0
    rows = []
    for number in numbers:
        generator = torch_generator(seed, number, "diffusion")
        posterior = torch.randn(3, frames, channels, side, side, generator=generator)
        shared = torch.randn(channels, 1, side, side, generator=generator)
        own = torch.randn(channels, frames, side, side, generator=generator)
        timestep = torch.randint(n_timesteps, (), generator=generator)
        heard = torch.rand((), generator=generator) >= cfg.run.audio_dropout
        if torch.rand((), generator=generator) < cfg.run.high_noise_share:
            timestep = (n_timesteps + timestep) // 2
        rows.append((posterior, share**0.5 * shared + (1 - share) ** 0.5 * own, timestep, heard))
    posterior, noise, timesteps, heard = map(torch.stack, zip(*rows, strict=True))
    return Draws(posterior.transpose(0, 1), noise, timesteps, heard)


@dataclass(frozen=True)
class Supervision:
    """The frozen networks behind the losses in pixel space; None where a loss is off."""

    perceptual: nn.Module | None = None  # (n, 3, h, w) twice -> scalar
    temporal: nn.Module | None = None  # (b, 3, f, h, w) twice -> scalar
    sync: nn.Module | None = None  # frames (b, f, c, h, w) and mel -> scalar


class UNetTask:
    """A U-Net and all that its losses need."""

    def __init__(
        self,
        cfg: UNetConfig,
        model: nn.Module,
        vae: AutoencoderKL,
        scheduler: DDIMScheduler,
        mask: Tensor,
        clips: Sequence[TrainingClip],
        validation_clips: Sequence[TrainingClip] = (),
        *,
        supervision: Supervision | None = None,
        make_video: Callable[[Mapping[str, Tensor], Path], tuple[np.ndarray, dict[str, float]]] | None = None,
    ) -> None:
        """`mask`: (1, r, r), 1 = keep.

        `make_video` runs the pipeline with weights (a state dict of the model), writes a video and returns frames
        (f, h, w, 3) uint8 for people and what was measured of it.
        """
        self.cfg, self.model, self.vae, self.scheduler = cfg, model, vae, scheduler
        self.mask = mask.to(vae.device)
        self.validation_clips = validation_clips
        self.supervision = supervision or Supervision()
        self.make_video = make_video
        run = cfg.run
        wanted = {
            "recon_loss": run.recon_loss_weight,
            "lpips_loss": run.perceptual_loss_weight if self.supervision.perceptual else 0,
            "trepa_loss": run.trepa_loss_weight if self.supervision.temporal else 0,
            "sync_loss": run.sync_loss_weight if self.supervision.sync else 0,
        }
        self.weights = {name: weight for name, weight in wanted.items() if weight}
        if not self.weights:
            raise ConfigError("every loss that is on has weight 0; set run.recon_loss_weight, such as to 1")
        self.dataset = self._dataset(clips, cfg.run.seed)
        measured = tuple(self.weights) if validation_clips else ()
        self.validation_columns = (*(("loss", *measured) if measured else ()), "sync_offset", "sync_confidence")

    def _dataset(self, clips: Sequence[TrainingClip], seed: int) -> UNetDataset:
        data = self.cfg.data
        return UNetDataset(
            clips,
            num_frames=data.num_frames,
            resolution=data.resolution,
            audio_feat_length=data.audio_feat_length,
            with_mel=self.supervision.sync is not None,
            seed=seed,
            counterfactual=data.counterfactual,
            latents=data.cache_latents,
            pictures=bool(self.weights.keys() & PICTURE_LOSSES),
        )

    def losses(self, model: nn.Module, batch: dict, *, seed: int | None = None) -> dict[str, Tensor]:
        seed = self.cfg.run.seed if seed is None else seed
        draws = draw(self.cfg, batch["number"].tolist(), seed).to(self.mask.device)
        target, context = self.encode(batch, draws.posterior)
        noisy = self.scheduler.add_noise(target, draws.noise, draws.timesteps)
        audio = None
        if self.cfg.model.add_audio_layer:
            audio = batch["audio"].float() * draws.heard[:, None, None, None]
        predicted = model(torch.cat([noisy, context], dim=1), draws.timesteps, audio).sample.float()
        terms = {"recon_loss": noise_mse(predicted, draws.noise, self.noise_weight(draws.timesteps))}
        if self.weights.keys() - {"recon_loss"}:
            terms |= self.estimate_losses(estimate_x0(self.scheduler, noisy, predicted, draws.timesteps), batch)
        return {name: terms[name] for name in self.weights}

    def noise_weight(self, timesteps: Tensor) -> Tensor:
        """How much errors count, (b, 1, 1, h, w): more where noise hides the old mouth, and where the mouth is.

        A network that may look at what is left of the true picture learns to copy it before it listens. See
        `run.inverse_snr_weight` and `run.mouth_loss_weight`; all ones without them.
        """
        signal = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
        inverse_snr = ((1 - signal) / signal).clamp(max=MAX_INVERSE_SNR)
        of_time = 1 + self.cfg.run.inverse_snr_weight * inverse_snr
        keep = lat.latent_mask(self.mask)
        of_place = keep + self.cfg.run.mouth_loss_weight * (1 - keep)
        return of_time[:, None, None, None, None] * of_place

    @torch.no_grad()
    def encode(self, batch: dict, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled latents (b, 4, f, h, w) of the target, and the other nine channels of the U-Net's input, float32."""
        names = ("target", "masked", "reference")
        given = {"masked": batch["target"], **batch}
        latents = [self._latents(name, given[name], n) for name, n in zip(names, noise, strict=True)]
        return latents[0], lat.assemble(lat.latent_mask(self.mask), *latents[1:])

    def _latents(self, name: str, given: Tensor, noise: Tensor) -> Tensor:
        """Drawn from the cached posterior (b, f, 2, 4, h, w), or by the VAE from pictures (b, f, 3, r, r)."""
        if self.cfg.data.cache_latents:
            mean, std = given.float().unbind(2)
            return (mean + std * noise).transpose(1, 2)
        pixels = lat.to_pixel_values(given.flatten(0, 1))
        pixels = lat.mask_pixels(pixels, self.mask) if name == "masked" else pixels
        return self._encode(pixels, noise.flatten(0, 1), given.shape[1])

    def _encode(self, pixels: Tensor, noise: Tensor, frames: int) -> Tensor:
        parts = zip(pixels.to(self.vae.dtype).split(frames), noise.to(self.vae.dtype).split(frames), strict=True)
        with torch.autocast(pixels.device.type, enabled=False):
            latents = torch.cat([lat.encode(self.vae, *part) for part in parts])
        return lat.to_clips(latents.float(), frames)

    def estimate_losses(self, latents: Tensor, batch: dict) -> dict[str, Tensor]:
        """Losses of the estimated clean latents (b, 4, f, h, w), which the gradient goes through."""
        sync = self.supervision.sync
        if not self.cfg.run.pixel_space_supervise:
            return {"sync_loss": sync(rearrange(latents, "b c f h w -> b f c h w"), batch["mel"])}
        frames, terms = latents.shape[2], {}
        decoded = self._decoded(latents)
        if "sync_loss" in self.weights:
            terms["sync_loss"] = sync(decoded.unflatten(0, (-1, frames)), batch["mel"])
        if self.weights.keys() & PICTURE_LOSSES:
            true = lat.to_pixel_values(batch[self.pictures].flatten(0, 1))
        if "lpips_loss" in self.weights:
            terms["lpips_loss"] = self.supervision.perceptual(decoded, true)
        if "trepa_loss" in self.weights:
            terms["trepa_loss"] = self.supervision.temporal(lat.to_clips(decoded, frames), lat.to_clips(true, frames))
        return terms

    @property
    def pictures(self) -> str:
        """What a batch calls the target's pictures."""
        return "pictures" if self.cfg.data.cache_latents else "target"

    def _decoded(self, latents: Tensor) -> Tensor:
        """Pictures (b f, 3, r, r) float32 in about [-1, 1]."""
        flat = lat.from_clips(latents).to(self.vae.dtype)
        with torch.autocast(flat.device.type, enabled=False):
            return torch.cat([lat.decode(self.vae, part) for part in flat.split(self.cfg.data.num_frames)]).float()

    def name_of(self, number: int) -> str:
        return self.dataset.clip(number).clip.key

    def notice(self, step: int, values: Mapping[str, float]) -> str | None:
        return None

    # ----------------------------------------------------------- validation

    def validate(self, weights: Mapping[str, Tensor], step: int, log: TrainLog) -> dict[str, float]:
        measured = self.mean_losses(weights, step, log) if self.validation_clips else {}
        if self.make_video is None:
            return measured
        folder = log.folder / "val_videos"
        folder.mkdir(exist_ok=True)
        frames, found = self.make_video(weights, folder / f"val_video_{step}.mp4")
        log.animation("validation video", frames, step)
        return measured | found

    @cached_property
    def validation_set(self) -> UNetDataset:
        return self._dataset(self.validation_clips, VALIDATION_SEED)

    @torch.no_grad()
    def mean_losses(self, weights: Mapping[str, Tensor], step: int, log: TrainLog) -> dict[str, float]:
        """The losses of `data.num_val_samples` fixed windows with fixed noise, time steps among it."""
        device = self.mask.device
        numbers = range(self.cfg.data.num_val_samples)
        sums = dict.fromkeys(self.weights, 0.0)

        def model(*arguments: Tensor):
            return torch.func.functional_call(self.model, dict(weights), arguments)

        for batch in DataLoader(self.validation_set, batch_size=1, sampler=numbers):
            batch = {key: value.to(device) for key, value in batch.items()}
            for name, value in self.losses(model, batch, seed=VALIDATION_SEED).items():
                sums[name] += value.item() / len(numbers)
        log.pictures("target, reference, predicted", self.predicted_frames(model, batch), step)
        return {"loss": sum(self.weights[name] * value for name, value in sums.items()), **sums}

    def predicted_frames(self, model: Callable, batch: dict) -> list[np.ndarray]:
        """Rows of frames (n, r, r, 3) uint8: true, reference, and estimated in one step from half noise."""
        draws = draw(self.cfg, batch["number"].tolist(), VALIDATION_SEED).to(self.mask.device)
        target, context = self.encode(batch, draws.posterior)
        timesteps = torch.full_like(draws.timesteps, 500)
        noisy = self.scheduler.add_noise(target, draws.noise, timesteps)
        audio = batch["audio"].float() if self.cfg.model.add_audio_layer else None
        predicted = model(torch.cat([noisy, context], dim=1), timesteps, audio).sample.float()
        decoded = self._decoded(estimate_x0(self.scheduler, noisy, predicted, timesteps))
        given = (self._shown(batch[name][:1]) for name in ("target", "reference"))
        rows = (*given, to_pictures(decoded))
        step = max(1, len(decoded) // LOGGED_FRAMES)
        return [rearrange(row, "f c h w -> f h w c")[::step].cpu().numpy() for row in rows]


    def _shown(self, given: Tensor) -> Tensor:
        """(f, 3, r, r) uint8 of pictures (1, f, 3, r, r) or cached posteriors (1, f, 2, 4, h, w)."""
        if not self.cfg.data.cache_latents:
            return given[0]
        return to_pictures(self._decoded(given[:, :, 0].float().transpose(1, 2)))


def to_pictures(pixels: Tensor) -> Tensor:
    """In about [-1, 1] -> uint8."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def freeze(model: nn.Module, cfg: UNetConfig) -> None:
    """Leave trainable what the configuration names: everything without motion modules, else `run.trainable_modules`.

    Raises ConfigError where nothing is left.
    """
    model.requires_grad_(True)
    if not cfg.model.use_motion_module:
        return
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in cfg.run.trainable_modules))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"run.trainable_modules is {cfg.run.trainable_modules}, which names no parameter; correct it")
