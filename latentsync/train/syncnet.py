"""Training a SyncNet: do these frames and this sound belong together? (spec/training.md, sections 4 and 5)"""

import copy
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import DataLoader

from latentsync.data.clips import TrainingClip
from latentsync.data.draws import torch_generator
from latentsync.data.frames import read_frames
from latentsync.data.mel import frames_covered, mel_window
from latentsync.data.syncnet_dataset import SyncNetDataset
from latentsync.diffusion import latents as lat
from latentsync.losses.terms import cosine_bce, info_nce, lower_half, no_autocast, pair_bce
from latentsync.metrics.sync_score import IN_SYNC, embed_pictures, embed_sounds, sync_score
from latentsync.schema import SyncNetConfig

from .log import TrainLog

LOSSES = ("bce_loss", "infonce_loss", "batch_infonce_loss")
VALIDATION_SEED = 0  # whatever the run's: curves of different runs can be compared

#: A network that answers the same for every pair has this loss, ln 2; large ones stay there long.
PLATEAU = 0.6931
PLATEAU_WIDTH = 0.01
PLATEAU_STEPS = 500


class SyncNetTask:
    """A SyncNet, its pairs of windows, and how well it tells them apart."""

    validation_columns = ("bce_loss", "accuracy", "offset_accuracy", "offset_within_1_accuracy")

    def __init__(
        self,
        cfg: SyncNetConfig,
        model: nn.Module,
        clips: Sequence[TrainingClip],
        validation_clips: Sequence[TrainingClip],
        *,
        vae: AutoencoderKL | None = None,
    ) -> None:
        """`vae` encodes the frames of a SyncNet that looks at latents (`data.latent_space`).

        Without `clips` it can only validate.
        """
        self.cfg, self.model, self.vae = cfg, model, vae
        self.dataset = None
        if clips:
            self.dataset = self._dataset(clips, cfg.run.seed, cfg.data.windows_per_clip, cfg.data.augment)
        self.validation_clips = validation_clips
        weights = {name: getattr(cfg.run, f"{name}_weight") for name in LOSSES}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.plateau = Plateau()

    def _dataset(
        self, clips: Sequence[TrainingClip], seed: int, windows: int, augment: bool = False
    ) -> SyncNetDataset:
        data = self.cfg.data
        return SyncNetDataset(
            clips,
            num_frames=data.num_frames,
            resolution=data.resolution,
            lower_half=data.lower_half and not data.latent_space,  # of latents it is cut after the VAE
            seed=seed,
            windows=windows,
            min_distance=data.min_negative_distance,
            augment=augment,
        )

    def losses(self, model: nn.Module, batch: dict) -> dict[str, Tensor]:
        vision, audio = self._embed(model, batch)
        if vision.shape[1] == 1:
            return {"bce_loss": cosine_bce(vision[:, 0], audio[:, 0], batch["label"]).mean()}
        with no_autocast(vision.device):
            of_clips = torch.einsum("bid,bjd->bij", vision.float(), audio.float())
            of_batch = vision.float().flatten(0, 1) @ audio.float().flatten(0, 1).mT
        temperature = self.cfg.run.infonce_temperature
        terms = {
            "bce_loss": pair_bce(of_clips),
            "infonce_loss": info_nce(of_clips, temperature),
            "batch_infonce_loss": info_nce(of_batch[None], temperature),
        }
        return {name: terms[name].mean() for name in self.weights}

    def _embed(self, model: nn.Module, batch: dict) -> tuple[Tensor, Tensor]:
        """Unit vectors (b, v, d) of the pictures and of the sound."""
        windows = batch["frames"].flatten(0, 1)
        noise = None
        if self.vae is not None:
            noise = torch.stack([self._posterior_noise(n, batch["frames"]) for n in batch["number"].tolist()])
        vision, audio = model(self.pictures(windows, noise), batch["mel"].flatten(0, 1))
        return vision.unflatten(0, batch["frames"].shape[:2]), audio.unflatten(0, batch["mel"].shape[:2])

    def _posterior_noise(self, number: int, frames: Tensor) -> Tensor:
        _, v, f, _, h, w = frames.shape
        generator = torch_generator(self.cfg.run.seed, number, "posterior")
        return torch.randn(v * f, 4, h // lat.DOWNSAMPLE, w // lat.DOWNSAMPLE, generator=generator)

    @torch.no_grad()
    def pictures(self, windows: Tensor, noise: Tensor | None = None) -> Tensor:
        """Windows (n, f, 3, h, w) uint8 -> (n, f c, h, w) float32: pixels in [-1, 1], or scaled latents.

        `noise` (..., 4, h / 8, w / 8) draws the latents; without it they are the posterior's mean.
        """
        pixels = lat.to_pixel_values(windows)
        if self.vae is not None:
            flat = pixels.flatten(0, 1).to(self.vae.dtype)
            noise = None if noise is None else noise.flatten(0, -4).to(flat)
            parts = [None] * len(flat.split(64)) if noise is None else noise.split(64)
            latents = torch.cat([lat.encode(self.vae, x, n) for x, n in zip(flat.split(64), parts, strict=True)])
            pixels = latents.float().unflatten(0, windows.shape[:2])
            pixels = lower_half(pixels) if self.cfg.data.lower_half else pixels
        return rearrange(pixels, "n f c h w -> n (f c) h w")

    def name_of(self, number: int) -> str:
        return self.dataset.clip(number).clip.key

    def notice(self, step: int, values: Mapping[str, float]) -> str | None:
        return self.plateau.notice(step, values.get("bce_loss", 0.0))

    # ----------------------------------------------------------- validation

    def validate(self, weights: Mapping[str, Tensor], step: int, log: TrainLog) -> dict[str, float]:
        if not self.validation_clips:
            return {}
        model = copy.deepcopy(self.model)
        model.load_state_dict(weights)
        model.eval().requires_grad_(False)
        return self.pair_accuracy(model) | self.offset_accuracy(model)

    @torch.inference_mode()
    def pair_accuracy(self, model: nn.Module) -> dict[str, float]:
        """Loss and accuracy on `data.num_val_samples` fixed pairs, every other one out of sync."""
        device = next(model.parameters()).device
        loss = correct = 0.0
        numbers = range(self.cfg.data.num_val_samples)
        pairs = self._dataset(self.validation_clips, VALIDATION_SEED, 1)
        for batch in DataLoader(pairs, batch_size=32, sampler=numbers):
            label = batch["label"].to(device)
            images = self.pictures(batch["frames"].to(device).flatten(0, 1))
            vision, audio = model(images, batch["mel"].to(device).flatten(0, 1))
            loss += cosine_bce(vision, audio, label).sum().item()
            predicted = (vision.float() * audio.float()).sum(dim=1) > IN_SYNC
            correct += (predicted == label.bool()).sum().item()
        return {"bce_loss": loss / len(numbers), "accuracy": correct / len(numbers)}

    def offset_accuracy(self, model: nn.Module) -> dict[str, float]:
        """The share of `data.num_val_clips` clips, all in sync, whose offset is found exactly, and within a frame."""
        clips = self.validation_clips[: self.cfg.data.num_val_clips]
        if not clips:
            return {}
        offsets = [abs(sync_score(*self.embed_clip(model, clip)).offset) for clip in clips]
        return {
            "offset_accuracy": sum(o == 0 for o in offsets) / len(offsets),
            "offset_within_1_accuracy": sum(o <= 1 for o in offsets) / len(offsets),
        }

    def embed_clip(self, model: nn.Module, clip: TrainingClip) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors (n, d) of pictures and sound of all windows of a clip, and where these begin, (n,)."""
        data = self.cfg.data
        mel = np.load(clip.mel, mmap_mode="r")
        last = min(clip.n_frames - data.num_frames, frames_covered(mel.shape[1], data.num_frames))
        frames = read_frames(clip, range(last + data.num_frames), data.resolution)
        if data.lower_half and self.vae is None:
            frames = lower_half(frames)
        vision, starts = embed_pictures(model, frames, data.num_frames, self.pictures)
        sounds = (mel_window(mel, start, data.num_frames) for start in range(last + 1))
        return vision, embed_sounds(model, sounds), starts


class Plateau:
    """Recognises a loss that stays at ln 2, where SyncNets are known to rest, and says once what helps."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=PLATEAU_STEPS)
        self.told = False

    def notice(self, step: int, loss: float) -> str | None:
        """Words for a person, or None."""
        self.recent.append(loss)
        if self.told or len(self.recent) < PLATEAU_STEPS:
            return None
        halves = np.reshape(self.recent, (2, -1)).mean(axis=1)  # both: a falling loss only passes through
        if np.abs(halves - PLATEAU).max() > PLATEAU_WIDTH:
            return None
        self.told = True
        return (
            f"step {step}: for {PLATEAU_STEPS} steps the loss has stayed at 0.69, the loss of guessing. Large SyncNets "
            "rest there for long; what shortens it is a larger batch (data.batch_size, "
            "data.gradient_accumulation_steps), run.infonce_loss_weight with data.windows_per_clip, and more clips. It "
            "never ends where pictures and sound of the clips are not in sync: check their offsets"
        )
