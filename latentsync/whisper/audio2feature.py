"""Sound to the audio tokens of each video frame."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from whisper.model import ModelDimensions

from latentsync.checkpoint import load_module, load_state
from latentsync.errors import CheckpointError
from latentsync.files import atomic_path
from latentsync.media.ffmpeg import decode_audio

from .encoder import ABUTTING, OVERLAPPING, STEPS_PER_SECOND, Segmentation, build_encoder, stream_features

#: Shorter recordings (two feature steps, one frame at 25 fps) are extended with silence.
MIN_SAMPLES = 640


def window_indices(frame: int, rate: Fraction, context: Sequence[int], n_steps: int) -> np.ndarray:
    """Feature steps that frame `frame` of a video with `rate` frames per second reads, clamped to the recording.

    With context (2, 2): ten steps, from 80 ms before the frame's start to 120 ms after it.
    """
    centre = int(frame * STEPS_PER_SECOND / Fraction(rate))
    steps = np.arange(centre - 2 * context[0], centre + 2 * (context[1] + 1))
    return steps.clip(0, n_steps - 1)


def stream_windows(
    pieces: Iterable[Tensor], n_steps: int, n_frames: int, rate: Fraction, context: Sequence[int] = (2, 2)
) -> Iterator[Tensor]:
    """Tokens (s, d) of each frame in turn, from consecutive pieces of features (steps, layers + 1, d).

    Steps are outermost in s, layers innermost. Pieces are read as they are needed and dropped when passed.
    """
    pieces = iter(pieces)
    held, position = next(pieces), 0
    for frame in range(n_frames):
        steps = window_indices(frame, rate, context, n_steps)
        while steps[-1] >= position + len(held):
            held = torch.cat([held[max(0, steps[0] - position) :], next(pieces)])
            position = max(position, steps[0])
        yield held[torch.from_numpy(steps - position)].flatten(0, 1)


class Audio2Feature:
    """Features of Whisper's encoder at 50 steps a second, and the windows of them that video frames read.

    Args:
        model_path: a checkpoint in OpenAI's format.
        device: of the encoder; the GPU where there is one if None.
        audio_embeds_cache_dir: keeps the features of `audio2feat` by content; None keeps nothing.
        num_frames: length of a training window.
        audio_feat_length: frames of context before and after.
        segmentation: how recordings over 30 s are cut.

    Raises CheckpointError where the file is not a Whisper model.
    """

    def __init__(
        self,
        model_path: str | Path = "checkpoints/whisper/tiny.pt",
        device: str | torch.device | None = None,
        audio_embeds_cache_dir: str | Path | None = None,
        num_frames: int = 16,
        audio_feat_length: Sequence[int] = (2, 2),
        *,
        segmentation: Segmentation = OVERLAPPING,
    ) -> None:
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        checkpoint = load_state(model_path)
        if "dims" not in checkpoint.extra:
            raise CheckpointError(
                f"{model_path}: expected a Whisper model in OpenAI's format (dims, model_state_dict); "
                "run setup_env.sh to fetch whisper/tiny.pt"
            )
        dims = ModelDimensions(**checkpoint.extra["dims"])
        with torch.device("meta"):
            self.model = build_encoder(dims).eval()
        encoder = {
            key.removeprefix("encoder."): value
            for key, value in checkpoint.state.items()
            if key.startswith("encoder.")
        }
        load_module(self.model, replace(checkpoint, state=encoder), dtype=torch.float32, device=device)
        self.model_path = Path(model_path)
        self.embedding_dim = dims.n_audio_state
        self.states = dims.n_audio_layer + 1
        self.cache_dir = Path(audio_embeds_cache_dir) if audio_embeds_cache_dir else None
        self.num_frames = num_frames
        self.audio_feat_length = tuple(audio_feat_length)
        self.segmentation = segmentation

    @property
    def tokens_per_frame(self) -> int:
        return 2 * (sum(self.audio_feat_length) + 1) * self.states

    def stream(self, samples: np.ndarray, n_frames: int, rate: Fraction) -> Iterator[Tensor]:
        """Tokens (s, d) float32 of each of `n_frames` frames; `samples` (n,) int16 or float32 at 16 kHz."""
        samples = pad_short(samples)
        pieces = stream_features(self.model, samples, self.segmentation)
        return stream_windows(pieces, len(samples) // 320, n_frames, rate, self.audio_feat_length)

    def features(self, samples: np.ndarray) -> Tensor:
        """(T, layers + 1, d) float32 of a whole recording, T = samples // 320."""
        return torch.cat(list(stream_features(self.model, pad_short(samples), self.segmentation)))

    def audio2feat(self, audio_path: str | Path) -> Tensor:
        """(T, layers + 1, d) float32 of a file's sound. Raises MediaError where it has none."""
        with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
            samples = decode_audio(Path(audio_path), Path(folder))
            if self.cache_dir is None:
                return self.features(samples)
            return self._cached_features(samples)

    def fingerprint(self) -> str:
        """A digest of all that features depend on besides the sound: the weights, and how recordings are cut."""
        digest = hashlib.sha256(repr(self.segmentation).encode())
        for value in self.model.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _cached_features(self, samples: np.ndarray) -> Tensor:
        key = hashlib.sha256(np.ascontiguousarray(samples).data)
        key.update(self.fingerprint().encode())
        path = self.cache_dir / f"{key.hexdigest()[:32]}.pt"
        if path.exists():
            return torch.load(path, weights_only=True)
        features = self.features(samples)
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            torch.save(features, temporary)
        return features

    def get_sliced_feature(self, feature_array: Tensor, vid_idx: int, fps: float = 25) -> tuple[Tensor, list[int]]:
        """Tokens (s, d) of one frame, and the feature steps they come from."""
        rate = Fraction(fps).limit_denominator(100_000)
        steps = window_indices(vid_idx, rate, self.audio_feat_length, len(feature_array))
        return feature_array[steps].flatten(0, 1), steps.tolist()

    def feature2chunks(self, feature_array: Tensor, fps: float) -> list[Tensor]:
        """Tokens of every frame, as many as the public version makes: up to two more than the sound lasts."""
        chunks, frame = [], 0
        while True:
            chunks.append(self.get_sliced_feature(feature_array, frame, fps)[0])
            if int(frame * (50.0 / fps)) > len(feature_array):
                return chunks
            frame += 1

    def crop_overlap_audio_window(self, audio_feat: Tensor, start_index: int) -> Tensor:
        """Tokens (num_frames, s, d) of a training clip that starts at frame `start_index`, at 25 fps."""
        frames = range(start_index, start_index + self.num_frames)
        return torch.stack([self.get_sliced_feature(audio_feat, frame)[0] for frame in frames])


def pad_short(samples: np.ndarray) -> np.ndarray:
    missing = MIN_SAMPLES - len(samples)
    return np.pad(samples, (0, missing)) if missing > 0 else samples


__all__ = ["ABUTTING", "OVERLAPPING", "Audio2Feature", "stream_windows", "window_indices"]
