"""Meshes with known answers."""

import numpy as np

NO_CREASES = np.zeros((0, 2), int)


def icosahedron() -> tuple[np.ndarray, np.ndarray]:
    """Points (12, 3) on the unit sphere and triangles (20, 3), counter-clockwise seen from outside."""
    g = (1 + 5**0.5) / 2
    points = np.array([(0, s, t * g) for s in (-1, 1) for t in (-1, 1)])
    points = np.concatenate([np.roll(points, shift, axis=1) for shift in range(3)])
    near = np.abs(np.linalg.norm(points[:, None] - points[None], axis=-1) - 2) < 1e-6
    triangles = np.array(
        [(a, b, c) for a in range(12) for b in range(a) for c in range(b) if near[a, b] and near[b, c] and near[a, c]]
    )
    a, b, c = points[triangles].transpose(1, 0, 2)
    inwards = (np.cross(b - a, c - a) * a).sum(axis=1) < 0
    triangles[inwards] = triangles[inwards][:, ::-1]
    return points / np.linalg.norm(points[0]), triangles


def plate(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat grid of n x n points, a unit apart: points (n * n, 2) and triangles."""
    points = np.array([(x, y) for y in range(n) for x in range(n)], float)
    a = np.array([y * n + x for y in range(n - 1) for x in range(n - 1)])
    return points, np.concatenate([np.stack([a, a + 1, a + n], 1), np.stack([a + 1, a + n + 1, a + n], 1)])
