"""Fréchet distance of two sets of features, such as those of I3D for videos: FVD (Unterthiner et al. 2018)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from latentsync.errors import MeasureError


@torch.inference_mode()
def clip_features(network: Callable[..., Tensor], clips: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """What I3D, which is on `device`, makes of clips (n, f, 224, 224, 3) uint8 RGB: (n, 400) float32."""
    videos = torch.from_numpy(clips).to(device).permute(0, 4, 1, 2, 3).float() / 255
    return network(videos, rescale=False, resize=False, return_features=True).float().cpu().numpy()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """How far apart the Gaussians are that fit two sets of features (n, d) and (m, d), in squared units of them.

    It is |mean a - mean b|^2 + trace(A + B - 2 sqrt(A B)) with the covariances A and B (Dowson & Landau 1982), whose
    divisors are n - 1 and m - 1. Raises MeasureError for less than two features on a side or features that are not
    finite, ValueError for sets of different widths.
    """
    a, b = (_checked(features, side) for features, side in ((a, "first"), (b, "second")))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected features of one width, got {a.shape[1]} and {b.shape[1]}")
    between = a.mean(axis=0) - b.mean(axis=0)
    x, y = _root(a), _root(b)
    # The square roots of the eigenvalues of A B are the singular values of x y^T. A square root of the matrix A B
    # itself is complex, or no number, where there are fewer features than d.
    trace = np.square(x).sum() + np.square(y).sum() - 2 * np.linalg.norm(x @ y.T, "nuc")
    return float(between @ between + max(trace, 0.0))


def _checked(features: np.ndarray, side: str) -> np.ndarray:
    """The same in float64."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2:
        raise ValueError(f"expected features (n, d), got {features.shape}")
    if len(features) < 2:
        raise MeasureError(f"the {side} set: expected two videos or more, got {len(features)}; add videos")
    if not np.isfinite(features).all():
        raise MeasureError(f"the {side} set: expected finite features, got others; look for damaged videos")
    return features


def _root(features: np.ndarray) -> np.ndarray:
    """A matrix x (min(n, d), d) with x^T x the covariance of features (n, d)."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.linalg.qr(centred, mode="r")
