"""The coarse control mesh of a head: a face of 468 vertices in the order of MediaPipe's mesh, and the skull behind it.

Right-handed, in centimetres: x to the picture's right, y up, z towards the camera; the origin lies in the middle
of the face, which is 18 cm high. `face_template.npz` is the mean of what the mesh network answers for drawn frontal
faces, made symmetric, with the triangles of its tessellation; no person's face went into it.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

FACE_HEIGHT = 18.0
TEMPLATE = Path(__file__).with_name("face_template.npz")
# Clockwise in the picture from the top of the forehead.
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
# From the corner left in the picture to the right one, the edge of the lips first, their touching line last.
UPPER_LIP = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
)
LOWER_LIP = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
# The eye left in the picture, from its outer to its inner corner: lids' margins, then rings further out.
UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LOWER_LID = (33, 7, 163, 144, 145, 153, 154, 155, 133)
UPPER_LID_SKIN = (130, 247, 30, 29, 27, 28, 56, 190, 243)
UPPER_LID_CREASE = (226, 113, 225, 224, 223, 222, 221, 189, 244)
LOWER_LID_SKIN = (130, 25, 110, 24, 23, 22, 26, 112, 243)
RINGS = 13  # from the oval over the skull to the neck's base
COLUMNS = len(OVAL)
EYE_RADIUS = 1.6  # of the front of an eyeball
HINGE = np.array([-15.0, 3.5])  # (y, z) of the axis about which the rings' planes turn


@dataclass(frozen=True)
class Cage:
    """The control mesh. Vertices: 468 of the face, then what lies behind the lips and lids, then the skull."""

    vertices: np.ndarray  # (n, 3) float64
    triangles: np.ndarray  # (t, 3) int32, counter-clockwise seen from outside
    creases: np.ndarray  # (c, 2) edges that stay sharp: lips' touching line and lids' margins
    mirror: np.ndarray  # (468,) the vertex on the other side
    mouth_inside: np.ndarray  # (20,) vertices behind the touching line, in the order of mouth_ring()
    lids_inside: np.ndarray  # (2, 16) behind the lids' margins, in the order of eye_ring()
    sockets: np.ndarray  # (2,) the vertex in which what lies behind an eye's lids comes together
    skull: np.ndarray  # (RINGS, COLUMNS) vertices


def mouth_ring() -> np.ndarray:
    """The 20 vertices of the lips' touching line: upper lip from left to right, then the lower one back."""
    return np.array([*UPPER_LIP[3], *LOWER_LIP[3][-2:0:-1]])


def eye_ring(side: int, mirror: np.ndarray) -> np.ndarray:
    """The 16 vertices of an eye's margins; side 0 is left in the picture."""
    ring = np.array([*UPPER_LID, *LOWER_LID[-2:0:-1]])
    return ring if side == 0 else mirror[ring]


@lru_cache
def cage() -> Cage:
    """The average head."""
    with np.load(TEMPLATE) as file:
        face, triangles, mirror = file["v"].astype(np.float64), file["t"], file["mirror"]
    face[:, 2] -= 0.11 * np.clip(face[:, 1] - 6.0, 0, None) ** 2  # the template's forehead ends in a ridge
    touching = np.array(UPPER_LIP[3]), np.array(LOWER_LIP[3])
    face[touching[0]] = face[touching[1]] = (face[touching[0]] + face[touching[1]]) / 2  # closed at rest
    parts, faces, n = [face], [triangles], len(face)
    mouth = mouth_ring()
    inside = face[mouth] * (0.93, 1, 1) + (0, 0, -1.0)
    inside[1:10, 1] += 0.55
    inside[11:, 1] -= 0.55
    parts.append(inside)
    mouth_inside = np.arange(n, n + 20)
    faces.append(_ribbon(mouth, mouth_inside))
    creases = [_loop(mouth)]
    n += 20
    lids, sockets = [], []
    for side in (0, 1):
        ring = eye_ring(side, mirror)
        centre = face[ring].mean(axis=0)
        parts.append(centre + (face[ring] - centre) * (1.0, 1.12, 1) - (0, 0, 0.35))
        lids.append(np.arange(n, n + 16))
        faces.append(_ribbon(ring, lids[-1]) if side == 0 else _ribbon(lids[-1], ring))
        creases.append(_loop(ring))
        n += 16
        parts.append((centre - (0, 0, EYE_RADIUS))[None])  # within the eyeball: beside it, flesh and no hole
        faces.append(_fan(lids[-1], n) if side == 0 else _fan(lids[-1][::-1], n))
        sockets.append(n)
        n += 1
    rings = _skull(face[list(OVAL)])
    parts.append(rings.reshape(-1, 3))
    skull = np.arange(n, n + RINGS * COLUMNS).reshape(RINGS, COLUMNS)
    for front, back in zip([np.array(OVAL), *skull[:-1]], skull, strict=True):
        faces.append(_ribbon(back, front))
    vertices, triangles = np.concatenate(parts), np.concatenate(faces).astype(np.int32)
    return Cage(
        vertices,
        triangles,
        np.concatenate(creases),
        mirror,
        mouth_inside,
        np.array(lids),
        np.array(sockets),
        skull,
    )


def _loop(ring: np.ndarray) -> np.ndarray:
    return np.stack([ring, np.roll(ring, -1)], axis=1)


def _ribbon(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Triangles between two closed rings of equal length."""
    a1, b1 = np.roll(a, -1), np.roll(b, -1)
    return np.concatenate([np.stack([a, b, a1], 1), np.stack([a1, b, b1], 1)])


def _fan(ring: np.ndarray, middle: int) -> np.ndarray:
    """Triangles from a closed ring to one vertex."""
    return np.stack([ring, np.full_like(ring, middle), np.roll(ring, -1)], axis=1)


def _inside(p: np.ndarray) -> np.ndarray:
    """A smooth function of points (..., 3) that is negative inside skull, jaw and neck; roughly centimetres."""

    def ellipsoid(centre, radii):
        return (np.linalg.norm((p - centre) / radii, axis=-1) - 1) * min(radii)

    skull = ellipsoid((0, 4.3, -7.7), (7.6, 9.2, 10.2))
    jaw = ellipsoid((0, -3.4, -6.2), (6.3, 6.0, 6.2))
    axis_z = -8.6 - 0.16 * (p[..., 1] + 12)  # the neck leans forward
    neck = (np.hypot(p[..., 0] / 5.5, (p[..., 2] - axis_z) / 5.5) - 1) * 5.5
    neck = np.maximum(neck, p[..., 1] - 1.0)
    return _smooth_min(_smooth_min(skull, jaw, 2.0), neck, 1.6)


def skull_distance(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """About how far outside the head points (n, 3) lie, centimetres, and the way out (n, 3)."""
    distance = _inside(points)
    step = 0.05
    slope = np.stack([_inside(points + step * axis) - distance for axis in np.eye(3)], axis=1) / step
    slope /= np.linalg.norm(slope, axis=1, keepdims=True) + 1e-9
    return distance, slope


def _smooth_min(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    h = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return b + (a - b) * h - width * h * (1 - h)


def _skull(oval: np.ndarray) -> np.ndarray:
    """Rings (RINGS, COLUMNS, 3) that continue the face's oval over the skull down to the neck's base.

    Each ring lies near a plane through HINGE: upright at the face, level at the neck. In it, rays leave the middle
    of the head's section and stop at its surface.
    """
    height, depth = oval[:, 1] - HINGE[0], oval[:, 2] - HINGE[1]
    start = np.arctan2(-depth, height)  # 0: straight up, pi / 2: straight back
    end = np.radians(107)
    polar = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    rings = []
    for k in range(1, RINGS + 1):
        t = (k / RINGS) ** 0.92
        angle = start + (end - start) * t
        plane = np.radians(15) + (end - np.radians(15)) * t
        low, high = _section(plane)
        middle = (low + high) / 2
        first = np.arctan2(oval[:, 0], np.hypot(height, depth) - _middle_of(oval))
        turn = np.angle(np.exp(1j * (first - polar))) * (1 - t) + polar
        rings.append(_surface(turn, angle, middle))
    rings = np.array(rings)
    for _ in range(3):  # no kink where the face ends
        before = np.concatenate([oval[None], rings[:3]])
        rings[:3] = 0.5 * rings[:3] + 0.25 * (before[:3] + rings[1:4])
    return rings


def _middle_of(oval: np.ndarray) -> float:
    distance = np.hypot(oval[:, 1] - HINGE[0], oval[:, 2] - HINGE[1])
    return float((distance.max() + distance.min()) / 2)


def _at(x: np.ndarray, distance: np.ndarray, angle: np.ndarray) -> np.ndarray:
    y = HINGE[0] + distance * np.cos(angle)
    z = HINGE[1] - distance * np.sin(angle)
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


def _section(angle: float) -> tuple[float, float]:
    """Where the middle line of the plane at `angle` enters and leaves the head, as distances from the hinge."""
    distance = np.linspace(2, 34, 1601)
    inside = distance[_inside(_at(np.zeros(1), distance, np.array(angle))) < 0]
    return float(inside.min()), float(inside.max())


def _surface(turn: np.ndarray, angle: np.ndarray, middle: float) -> np.ndarray:
    """The surface's points along rays from the section's middle; turn 0 goes away from the hinge."""
    reach = np.linspace(0, 20, 801)
    x = np.sin(turn)[:, None] * reach
    distance = middle + np.cos(turn)[:, None] * reach
    values = _inside(_at(x, distance, angle[:, None]))
    last = np.array([np.flatnonzero(row < 0).max(initial=0) for row in values])
    rows = np.arange(len(turn))
    return _at(x[rows, last], distance[rows, last], angle)
