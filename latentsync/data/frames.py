"""Frames of training clips in any order, from the frame cache or from the clips themselves."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..diffusion.latents import resize_pictures
from ..errors import ConfigError, MediaError
from .clips import TrainingClip

_BLOCK = 32  # frames decoded at once where all are wanted
_TRIED_KEY_FRAMES = 4


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """decord's reader of a file; whatever it finds wrong with it, here or in the body, is a MediaError."""
    try:
        import decord
    except ImportError as error:
        raise ConfigError(
            "training reads clips by decord, which has no wheel for this system; train on Linux or Windows (x86_64), "
            "or pip install decord==0.6.0 from its source"
        ) from error
    try:
        # One thread: the loader's processes already share out the processors.
        yield decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0].split("Check failed: ")[-1] if str(error) else type(error).__name__
        raise MediaError(f"{path} cannot be decoded by decord ({reason}); copy it again or encode it again") from error


def _blocks(reader: Any) -> Iterator[np.ndarray]:
    """All frames in turn, (n, h, w, 3) uint8 RGB."""
    for start in range(0, len(reader), _BLOCK):
        yield reader.get_batch(range(start, min(start + _BLOCK, len(reader)))).asnumpy()


def count_frames(path: Path) -> int:
    """The number of frames, each of which was decoded.

    Raises MediaError where one cannot be, or where jumping to a frame gives another one than playing up to it,
    as it does for open groups of pictures.
    """
    with _opened(path) as reader:
        sums = [zlib.crc32(frame) for block in _blocks(reader) for frame in block]
        for key in reader.get_key_indices()[1 : 1 + _TRIED_KEY_FRAMES]:
            if zlib.crc32(reader.get_batch([key]).asnumpy()[0]) != sums[key]:
                raise MediaError(f"{path} shows wrong pictures after jumps (open GOP); run the resample stage")
        return len(sums)


def decode_resized(path: Path, resolution: int) -> Iterator[np.ndarray]:
    """All frames of a clip in blocks (n, r, r, 3) uint8 RGB. Raises MediaError."""
    for block in _played(path):
        yield rearrange(_resized(block, resolution), "n c h w -> n h w c").numpy()


def decode_spread(path: Path, n_frames: int, count: int, resolution: int) -> np.ndarray:
    """`count` of the `n_frames` frames of a clip at even distances, its first and last among them, or all where it
    has fewer: (n, r, r, 3) uint8 RGB. Raises MediaError."""
    indices = np.linspace(0, n_frames - 1, min(count, n_frames)).round().astype(int)
    with _opened(path) as reader:
        frames = reader.get_batch(indices.tolist()).asnumpy()
    return rearrange(_resized(frames, resolution), "n c h w -> n h w c").numpy()


def _played(path: Path) -> Iterator[np.ndarray]:
    with _opened(path) as reader:
        yield from _blocks(reader)


def _resized(frames: np.ndarray, resolution: int) -> Tensor:
    return resize_pictures(rearrange(torch.from_numpy(frames), "n h w c -> n c h w"), resolution)


def read_frames(clip: TrainingClip, indices: Sequence[int], resolution: int) -> Tensor:
    """The frames of those numbers, (n, 3, r, r) uint8 RGB.

    Raises MediaError where the clip, which was usable when it was prepared, cannot be read any more.
    """
    if clip.frames is None:
        with _opened(clip.clip.path) as reader:
            frames = reader.get_batch(list(indices)).asnumpy()
        return _resized(frames, resolution).contiguous()
    try:
        cached = np.load(clip.frames, mmap_mode="r")[indices]
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise MediaError(
            f"{clip.clip.path}: its cached frames {clip.frames} cannot be read ({error}); start again to make them"
        ) from error
    if cached.shape[1] != resolution:
        raise ValueError(f"expected frames cached at {resolution} pixels, got {cached.shape[1]} in {clip.frames}")
    return _resized(cached, resolution).contiguous()
