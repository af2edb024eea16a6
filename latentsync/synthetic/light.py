"""How much of the room's light reaches each point of a still scene, and views along a direction."""

import numpy as np

from .raster import FAR, rasterise, transform, vertex_normals

MIDDLE = np.array([0.0, -1.0, -6.0])  # of a head with its shoulders, centimetres


def occlusion(meshes: list[tuple[np.ndarray, np.ndarray]], directions: int = 32) -> list[np.ndarray]:
    """How open to the room each point of meshes of points (n, 3) and triangles is, (n,) each, 0 ... 1.

    The share of directions in which nothing is in the way: neither a point's own mesh nor another one.
    """
    side, width = 176, 44.0
    normals = [np.empty_like(points) for points, _ in meshes]
    for (points, triangles), normal in zip(meshes, normals, strict=True):
        vertex_normals(points, triangles, normal)
    open_share, total = ([np.zeros(len(points), np.float32) for points, _ in meshes] for _ in range(2))
    k = np.arange(directions) + 0.5
    height = 1 - 1.5 * k / directions  # more from above: little light comes from the floor
    turn = np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - height**2)
    for d in np.stack([radius * np.cos(turn), height, radius * np.sin(turn)], axis=1).astype(np.float32):
        view = view_along(d, side, width)
        depth = np.full((side, side), FAR, np.float32)
        ids = np.empty((side, side), np.int32)
        places = [np.empty_like(points) for points, _ in meshes]
        for (points, triangles), place in zip(meshes, places, strict=True):
            transform(points, view, place)
            rasterise(place, triangles, depth, ids, 0, True)
        for i, place in enumerate(places):
            facing = np.clip(normals[i] @ d, 0, 1)
            column, row = (np.clip(np.round(place[:, axis]).astype(int), 0, side - 1) for axis in (0, 1))
            seen = np.clip((place[:, 2] + 0.7 - depth[row, column]) / 0.35, 0, 1)
            open_share[i] += facing * seen
            total[i] += facing
    shares = zip(open_share, total, strict=True)
    return [np.clip(seen / np.maximum(faced, 1e-3), 0.05, 1).astype(np.float32) for seen, faced in shares]


def _axes(direction: np.ndarray) -> np.ndarray:
    """A right-handed frame (3, 3) float32 whose third row points along `direction`."""
    z = direction / np.linalg.norm(direction)
    x = np.cross((0, 1, 0), z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z]).astype(np.float32)


def view_along(direction: np.ndarray, side: int, width: float) -> np.ndarray:
    """The map (3, 4) float32 from centimetres to pixels and depth of a square picture seen from `direction`."""
    axes = _axes(direction)
    scale = np.array([[side / width], [-side / width], [1.0]])
    view = np.column_stack([axes, -axes @ MIDDLE]) * scale
    view[:2, 3] += side / 2
    return view.astype(np.float32)
