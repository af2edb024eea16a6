"""Log-mel, features and frame windows of Whisper's encoder."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from whisper.model import ModelDimensions

from latentsync.whisper.audio2feature import Audio2Feature
from latentsync.whisper.encoder import ABUTTING, build_encoder
from latentsync.whisper.mel import log_mel

from . import Golden, close, family, golden_rule, stated_input

rule = golden_rule()


def whisper_file(folder: Path, dims: dict, salt: str = "") -> Path:
    """An encoder with rule weights in OpenAI's checkpoint format."""
    encoder = build_encoder(ModelDimensions(**dims))
    rule.apply_to_module(encoder, salt, prefix="encoder.")
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({"dims": dims, "model_state_dict": state}, folder / "tiny.pt")
    return folder / "tiny.pt"


@family("whisper log-mel")
def whisper_log_mel(golden: Golden) -> dict:
    mel = log_mel(stated_input(golden, "sound"))
    return {"log_mel": mel.numpy(), "log_mel_shape": np.array(mel.shape)}


@family("whisper features")
def whisper_features(golden: Golden) -> dict:
    meta, arrays = golden.meta, golden.arrays
    with tempfile.TemporaryDirectory() as folder:
        path = whisper_file(Path(folder), meta["dims"], meta["salt"])
        encoder = Audio2Feature(
            path, "cpu", audio_feat_length=meta["audio_feat_length"], segmentation=ABUTTING
        )
    features = encoder.features(stated_input(golden, "sound"))
    flat = features.numpy()
    out = {"features_shape": np.array(features.shape)}
    if "features" in arrays:
        out["features"] = flat
    else:
        out["features_strided"] = flat.ravel()[:: meta["stride"]]
    for rate in (24, 25, 30):
        if f"index_{rate}" not in arrays:
            continue
        chunks = encoder.feature2chunks(features, rate)
        assert len(chunks) == meta["chunk_counts"][str(rate)]
        assert chunks[0].shape == (encoder.tokens_per_frame, encoder.embedding_dim)
        indices = [encoder.get_sliced_feature(features, i, rate)[1] for i in range(len(chunks))]
        picked = arrays[f"picked_{rate}"]
        stacked = torch.stack([chunks[i] for i in picked]).numpy()
        out |= {
            f"index_{rate}": np.array(indices),
            f"picked_{rate}": picked,
            f"picked_chunks_strided_{rate}": stacked.ravel()[:: meta["chunk_counts"][f"{rate} chunk stride"]],
        }
    window = encoder.crop_overlap_audio_window(features, 7)
    assert list(window.shape) == meta["chunk_counts"]["train window shape"]
    mean = window.flatten(1).mean(1).numpy()
    out["train_window_from_7_mean_per_frame"] = (mean, close(meta["rtol"], meta["atol"]))
    return out
