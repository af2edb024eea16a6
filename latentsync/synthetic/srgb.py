"""The transfer function between pictures' values and light, IEC 61966-2-1. Both in [0, 1], any shape."""

import numpy as np


def decode(encoded: np.ndarray) -> np.ndarray:
    """Linear light (float64) of sRGB values."""
    encoded = np.asarray(encoded, np.float64)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def encode(light: np.ndarray) -> np.ndarray:
    """sRGB values of linear light, which is clipped; float32 stays float32."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-6) ** (1 / 2.4) - 0.055)
