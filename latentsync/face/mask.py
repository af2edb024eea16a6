"""The fixed mask of the aligned square: 1 = keep, 0 = generate."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError

MASK_FILE = Path(__file__).with_name("mask.png")  # 256 x 256
PUBLIC_PATH = ("latentsync", "utils", "mask.png")  # what public configurations name


def fixed_mask(resolution: int, path: str | Path | None = None) -> Tensor:
    """The mask (1, r, r) float32 in [0, 1]; enlarged from 8 bits, so its edges are soft above 256.

    `path` None, or a missing file that ends in latentsync/utils/mask.png, is the package's own mask.
    Raises ConfigError where another file is missing, cannot be read, or is coloured.
    """
    grey = cv2.resize(_read(mask_file(path)), (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
    return torch.from_numpy((grey / 255).astype(np.float32))[None]


def mask_file(path: str | Path | None) -> Path:
    """Where the mask of `fixed_mask` lies."""
    if path is None:
        return MASK_FILE
    path = Path(path)
    if path.is_file():
        return path
    if path.parts[-3:] == PUBLIC_PATH:
        return MASK_FILE
    raise ConfigError(f"no mask image at {path}; correct data.mask_image_path or leave it at its default")


def _read(path: Path) -> np.ndarray:
    """The grey levels (h, w) uint8 of an image whose channels are equal."""
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ConfigError(f"{path} is not an image; a mask is a grey picture, white where pixels are kept")
    if (image != image[..., :1]).any():
        raise ConfigError(f"{path} is coloured; a mask is a grey picture, white where pixels are kept")
    return np.ascontiguousarray(image[..., 0])
