"""Hidden states of Whisper's encoder, and their sequence over a recording of any length."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from whisper.model import AudioEncoder, ModelDimensions

from .mel import COLUMNS_PER_SECOND, log_spectrum, loudest, n_columns, normalise

#: Feature steps per second: the encoder halves the mel's rate.
STEPS_PER_SECOND = COLUMNS_PER_SECOND // 2

#: Columns that the encoder takes at once; its positions are fixed.
SEGMENT_COLUMNS = 30 * COLUMNS_PER_SECOND


@dataclass(frozen=True)
class Segmentation:
    """How a recording longer than the encoder's 30 s is cut, in seconds."""

    stride_s: float = 20.0  # from one segment's start to the next
    crossfade_s: float = 0.4  # around the middle of the overlap


#: Segments end to end, as the public version cuts them: features jump every 30 s.
ABUTTING = Segmentation(stride_s=30.0, crossfade_s=0.0)
OVERLAPPING = Segmentation()


def build_encoder(dims: ModelDimensions) -> AudioEncoder:
    return AudioEncoder(
        dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
    )


def hidden_states(encoder: AudioEncoder, mel: Tensor) -> Tensor:
    """All hidden states of mel (n, n_mels, 3000): (n, 1500, layers + 1, d).

    The first is the convolutions' output plus positions, then each block's output; the final norm is not applied.
    """
    x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
    states = [(x + encoder.positional_embedding).to(x.dtype)]
    for block in encoder.blocks:
        states.append(block(states[-1]))
    return torch.stack(states, dim=2)


def _segments(columns: int, stride: int) -> Iterator[tuple[int, int]]:
    """(first, end) columns of each segment."""
    start = 0
    while True:
        yield start, min(start + SEGMENT_COLUMNS, columns)
        # The next segment is needed while it holds at least one feature step that this one lacks.
        if start + SEGMENT_COLUMNS >= columns - columns % 2:
            return
        start += stride


@torch.no_grad()
def encode_segments(
    encoder: AudioEncoder, samples: np.ndarray, segmentation: Segmentation
) -> Iterator[tuple[int, Tensor]]:
    """Each segment's first feature step and its features (steps, layers + 1, d) float32 on the CPU."""
    weight = encoder.conv1.weight
    n_mels = weight.shape[1]
    maximum = loudest(samples, n_mels)
    stride = round(segmentation.stride_s * COLUMNS_PER_SECOND)
    for start, end in _segments(n_columns(len(samples)), stride):
        mel = normalise(log_spectrum(samples, start, end, n_mels), maximum)
        # The fill is 0 in the normalised domain: what the public features hold, though it is not silence.
        mel = F.pad(mel, (0, SEGMENT_COLUMNS - mel.shape[1])).to(weight)
        states = hidden_states(encoder, mel[None])[0]
        yield start // 2, states[: (end - start) // 2].float().cpu()


def stream_features(
    encoder: AudioEncoder, samples: np.ndarray, segmentation: Segmentation = OVERLAPPING
) -> Iterator[Tensor]:
    """Features of a whole recording in consecutive pieces (steps, layers + 1, d), holding one segment at a time.

    Up to 30 s there is one segment. Longer recordings change from one segment to the next in the middle of
    their overlap, by a cross-fade.
    """
    overlap = SEGMENT_COLUMNS / COLUMNS_PER_SECOND - segmentation.stride_s
    fade = round(segmentation.crossfade_s * STEPS_PER_SECOND)
    # Of two neighbours the earlier one gives up this many of its last steps.
    handover = round(overlap / 2 * STEPS_PER_SECOND) - fade // 2
    rising = ((torch.arange(fade) + 0.5) / fade)[:, None, None] if fade else torch.empty(0, 1, 1)

    held, position = None, 0  # `held` begins at feature step `position`; all before it is out
    for first, features in encode_segments(encoder, samples, segmentation):
        if held is not None:
            border = first + handover
            yield held[: border - position]
            fading = held[border - position :][:fade]
            features = features[handover:]
            mixed = fading * (1 - rising) + features[:fade] * rising
            held, position = torch.cat([mixed, features[fade:]]), border
        else:
            held = features
    if held is not None:
        yield held
