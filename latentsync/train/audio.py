"""Training an audio encoder: what does the mouth do that makes this sound?

The encoder has Whisper's structure. It learns from drawn people, of whom everything is known, to tell the mouth's
curves and the viseme, so that its hidden states, which are all that the U-Net sees, hold them.
"""

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from whisper.model import ModelDimensions, MultiHeadAttention

from latentsync.data.audio_dataset import UNKNOWN, AudioDataset, as_heard
from latentsync.data.speech import CURVES, VISEME_CLASSES, SpokenClip
from latentsync.losses.terms import no_autocast
from latentsync.schema import AudioConfig
from latentsync.whisper.encoder import SEGMENT_COLUMNS, build_encoder, hidden_states

from .log import TrainLog

LOSSES = ("mouth_loss", "viseme_loss", "state_loss")

#: Steps of 20 ms from a position to the moments it tells of: tokens carry their neighbourhood.
SHIFTS = (-10, 0, 8)
NOW = SHIFTS.index(0)

SOUND_GAIN = 2.0  # of a new encoder's second convolution
FOCUS = 2.0  # of its queries and keys; sharper with more
SPACING = 2  # half the steps from where one head looks to where the next one does

OPENING = CURVES.index("opening")
LONGEST_LAG = 5  # steps that validation looks for


class TaughtEncoder(nn.Module):
    """Whisper's encoder, and heads that read mouth and viseme off each hidden state; they are dropped on export.

    The heads are linear, as the U-Net's keys and values are.
    """

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.encoder = build_encoder(dims)
        self.encoder.ln_post.requires_grad_(False)  # behind the hidden states: nothing reads it
        for convolution in (self.encoder.conv1, self.encoder.conv2):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
        with torch.no_grad():  # by default the sound would be a twentieth of the positions that are added to it
            self.encoder.conv2.weight *= SOUND_GAIN
            for block in self.encoder.blocks:
                look_around(block.attn)
        n_outputs = len(SHIFTS) * (len(CURVES) + len(VISEME_CLASSES))
        self.heads = nn.ModuleList(nn.Linear(dims.n_audio_state, n_outputs) for _ in range(dims.n_audio_layer + 1))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """mel (b, n_mels, 3000) -> of each state and shift the curves (b, states, 1500, shifts, 8), in standard
        deviations from their means, and the visemes' logits (b, states, 1500, shifts, 18), as autocast has them."""
        states = hidden_states(self.encoder, mel).unbind(2)
        outputs = torch.stack([head(state) for head, state in zip(self.heads, states, strict=True)], dim=1)
        outputs = rearrange(outputs, "b l p (s n) -> b l p s n", s=len(SHIFTS))
        return outputs.split([len(CURVES), len(VISEME_CLASSES)], dim=-1)


def look_around(attention: MultiHeadAttention) -> None:
    """Let each head of a new encoder look at a neighbourhood of its own, which training would be long to find.

    Positions are sines and cosines, so that a rotated query is that of a position some steps away.
    """
    width, n_heads = attention.query.out_features, attention.n_head
    n = width // n_heads // 2  # the fastest of width / 2 frequencies tell neighbours apart
    sines = torch.arange(n)
    cosines = sines + width // 2
    frequency = torch.exp(-math.log(10000) * sines / (width // 2 - 1))  # as in Whisper's embedding
    for head in range(n_heads):
        angle = frequency * SPACING * (2 * head + 1 - n_heads)
        first = sines + head * width // n_heads
        for layer, turn in ((attention.query, angle), (attention.key, 0 * angle)):
            layer.weight[first, sines] += FOCUS * turn.cos()
            layer.weight[first, cosines] += FOCUS * turn.sin()
            layer.weight[first + n, sines] -= FOCUS * turn.sin()
            layer.weight[first + n, cosines] += FOCUS * turn.cos()


class AudioTask:
    """A taught encoder, its windows of sound, and how much of the mouth it hears."""

    validation_columns = ("mouth_loss", "viseme_loss", "opening_correlation", "opening_lag", "viseme_accuracy")

    def __init__(
        self,
        cfg: AudioConfig,
        model: TaughtEncoder,
        clips: Sequence[SpokenClip],
        validation_clips: Sequence[SpokenClip],
    ) -> None:
        self.cfg, self.model = cfg, model
        self.dataset = AudioDataset(clips, seed=cfg.run.seed, augment=cfg.data.augment)
        self.validation_clips = validation_clips[: cfg.data.num_val_clips]
        weights = {name: getattr(cfg.run, f"{name}_weight") for name in LOSSES}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        mouths = np.concatenate([clip.mouth for clip in clips])
        self.mean = torch.from_numpy(mouths.mean(axis=0))
        self.spread = torch.from_numpy(mouths.std(axis=0)).clamp(min=1e-3)

    def losses(self, model: nn.Module, batch: dict) -> dict[str, Tensor]:
        mouth, logits = model(batch["mel"])
        with no_autocast(mouth.device):
            mouth_losses, viseme_losses = self.by_state(mouth.float(), logits.float(), batch["mouth"], batch["viseme"])
        terms = {
            "mouth_loss": mouth_losses[-1],
            "viseme_loss": viseme_losses[-1],
            "state_loss": (mouth_losses + viseme_losses)[:-1].mean(),
        }
        return {name: terms[name] for name in self.weights}

    def by_state(self, mouth: Tensor, logits: Tensor, truth: Tensor, viseme: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses of each hidden state, (states,).

        The mouth's is the share of its curves' variance that is not explained, 1 for their means. `truth` (b, p, 8) and
        `viseme` (b, p) are of each position.
        """
        truth, viseme = neighbours(truth, viseme)
        known = viseme != UNKNOWN
        standard = (truth - self.mean.to(truth)) / self.spread.to(truth)
        error = (mouth - standard[:, None]).square().mean(dim=-1)
        count = known.sum().clamp(min=1)
        of_mouth = (error * known[:, None]).sum(dim=(0, 2, 3)) / count
        classes = viseme[:, None].expand(logits.shape[:-1])
        of_viseme = F.cross_entropy(logits.movedim(-1, 1), classes, ignore_index=UNKNOWN, reduction="none")
        return of_mouth, of_viseme.sum(dim=(0, 2, 3)) / count

    def name_of(self, number: int) -> str:
        return self.dataset.clip(number).clip.key

    def notice(self, step: int, values: Mapping[str, float]) -> str | None:
        return None

    # ----------------------------------------------------------- validation

    @torch.inference_mode()
    def validate(self, weights: Mapping[str, Tensor], step: int, log: TrainLog) -> dict[str, float]:
        """Held-out clips, each alone, as inference hears it; means over clips, or over all their moments together."""
        if not self.validation_clips:
            return {}
        model = copy.deepcopy(self.model)
        model.load_state_dict(weights)
        model.eval()
        losses, found, true, correct = [], [], [], []
        for clip in self.validation_clips:
            mouth, logits = self.hear(model, clip)
            truth, viseme = (torch.from_numpy(x[None, : mouth.shape[2]]) for x in (clip.mouth, clip.visemes))
            losses.append([values[-1].item() for values in self.by_state(mouth, logits, truth, viseme)])
            found.append(mouth[0, -1, :, NOW, OPENING].numpy())
            true.append(truth[0, :, OPENING].numpy())
            correct.append(logits[0, -1, :, NOW].argmax(dim=-1) == viseme[0])
        by_lag = {lag: correlation(found, true, lag) for lag in range(-LONGEST_LAG, LONGEST_LAG + 1)}
        mouth_loss, viseme_loss = np.mean(losses, axis=0).tolist()
        return {
            "mouth_loss": mouth_loss,
            "viseme_loss": viseme_loss,
            "opening_correlation": by_lag[0],
            "opening_lag": max(by_lag, key=by_lag.get),
            "viseme_accuracy": torch.cat(correct).float().mean().item(),
        }

    def hear(self, model: nn.Module, clip: SpokenClip) -> tuple[Tensor, Tensor]:
        """What the heads say of a clip's first 30 s, float32 on the CPU, (1, states, steps, shifts, ...)."""
        spectrum = torch.from_numpy(np.load(clip.spectrum)[:, :SEGMENT_COLUMNS].astype(np.float32))
        device = next(model.parameters()).device
        mouth, logits = model(as_heard(spectrum)[None].to(device))
        steps = min(len(clip.visemes), SEGMENT_COLUMNS // 2)
        return mouth[:, :, :steps].float().cpu(), logits[:, :, :steps].float().cpu()


def neighbours(truth: Tensor, viseme: Tensor) -> tuple[Tensor, Tensor]:
    """Of each position the truth at its SHIFTS: (b, p, 8) and (b, p) -> (b, p, shifts, 8) and (b, p, shifts)."""
    n = viseme.shape[1]
    steps = torch.arange(n, device=viseme.device)[:, None] + torch.tensor(SHIFTS, device=viseme.device)
    inside = (steps >= 0) & (steps < n)
    steps = steps.clamp(0, n - 1)
    return truth[:, steps], viseme[:, steps].where(inside, UNKNOWN)


def correlation(found: Sequence[np.ndarray], true: Sequence[np.ndarray], lag: int) -> float:
    """Of all curves (n,) together, where what is found comes `lag` steps after the truth; nan for a constant."""
    a = np.concatenate([curve[max(lag, 0) : len(curve) + min(lag, 0)] for curve in found])
    b = np.concatenate([curve[max(-lag, 0) : len(curve) - max(lag, 0)] for curve in true])
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(a, b)[0, 1])
