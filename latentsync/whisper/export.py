"""An encoder as a file in OpenAI's format."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from whisper.model import ModelDimensions, TextDecoder

from latentsync.files import atomic_path


def encoder_dims(
    *, n_mels: int, n_audio_ctx: int, n_audio_state: int, n_audio_head: int, n_audio_layer: int
) -> ModelDimensions:
    """Dimensions of an encoder whose decoder has no layers and knows one word: the least that the format allows."""
    return ModelDimensions(
        n_mels, n_audio_ctx, n_audio_state, n_audio_head, n_audio_layer, n_vocab=1, n_text_ctx=1,
        n_text_state=n_audio_state, n_text_head=1, n_text_layer=0,
    )  # fmt: skip


def write_encoder(path: Path, state: Mapping[str, Tensor], dims: ModelDimensions) -> None:
    """Write the state dict of an encoder as float16, for `Audio2Feature` and for `whisper.load_model`.

    Equal content gives equal bytes. `dims` are of `encoder_dims`.
    """
    decoder = TextDecoder(dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
    whole = {f"encoder.{key}": value for key, value in state.items()}
    whole |= {f"decoder.{key}": torch.zeros_like(value) for key, value in decoder.state_dict().items()}
    content = {"dims": asdict(dims), "model_state_dict": {key: value.half() for key, value in whole.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)  # given a path, torch would write its random name into the file
