"""Faces that differ, and faces that move: displacements of the cage's vertices, in centimetres.

A displacement is given for the few vertices that define it and continued over the rest of the head as the
smoothest field that keeps the fixed ones (the bi-Laplacian surface of Botsch and Kobbelt, 2004).
"""

from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from .cage import (
    COLUMNS,
    EYE_RADIUS,
    LOWER_LID,
    LOWER_LID_SKIN,
    LOWER_LIP,
    OVAL,
    RINGS,
    UPPER_LID,
    UPPER_LID_CREASE,
    UPPER_LID_SKIN,
    UPPER_LIP,
    cage,
)
from .identity import Identity
from .pose import Pose
from .subdivide import edges_of

JAW_AXIS = np.array([0.4, -8.3])  # y, z of the joint before the ears
STILL_ABOVE = 1.2  # centimetres
JAW_OPEN = 0.30  # radians at jaw = 1
SHAPES = ("wide", "pucker", "upper", "tuck", "press", "smile", "brow")


@lru_cache
def shapes() -> np.ndarray:
    """Displacements (len(SHAPES), n, 3) of the whole cage at full strength."""
    s = np.linspace(-1, 1, 11)
    middle = 1 - s**2
    rows: list[dict[int, tuple[float, float, float]]] = [{} for _ in SHAPES]
    vertices = cage().vertices
    for lips, sign in ((UPPER_LIP, 1.0), (LOWER_LIP, -1.0)):
        for ring, row in enumerate(lips):
            outer = 1 - ring / 3  # 1 on the lips' edge, 0 where they touch
            for j, vertex in enumerate(row):
                x, y, _ = vertices[vertex]
                line = vertices[UPPER_LIP[3][j]][1]
                slit = 0.20 * middle[j] * (sign < 0)
                rows[0][vertex] = (0.45 * s[j], slit + 0.12 * (line - y) + 0.06 * abs(s[j]), -0.28 * s[j] ** 2)
                forward = 0.50 + 0.30 * middle[j] + 0.12 * np.sin(np.pi * min(ring, 2) / 2)
                apart = sign * (0.15 if sign > 0 else 0.32) * middle[j]
                rows[1][vertex] = (-0.16 * x, apart + 0.04 * (y - line), forward)
                raised = (0.34 - 0.04 * outer) * (0.35 + 0.65 * middle[j]) if sign > 0 else 0.0
                rows[2][vertex] = (0.0, raised, 0.06 if raised else 0.0)
                tucked = 0.35 + 0.65 * middle[j]
                in_and_up = (0.12 - 0.04 * outer, -(0.55 - 0.40 * outer)) if sign < 0 else (0.20, 0.05)
                rows[3][vertex] = (0.0, in_and_up[0] * tucked, in_and_up[1] * tucked)
                rows[4][vertex] = (0.0, 0.30 * (line - y), -0.16 * (1 - 0.6 * outer) * (0.4 + 0.6 * middle[j]))
                rows[5][vertex] = (0.50 * s[j] ** 3, 0.55 * s[j] ** 2 - 0.05, -0.35 * s[j] ** 2)
    for index in (105, 66, 107, 63, 70, 52, 65, 55, 53, 46, 334, 296, 336, 293, 300, 282, 295, 285, 283, 276):
        rows[6][index] = (0.0, 0.45, 0.05)
    for index in (50, 280, 205, 425):
        rows[5][index] = (0.08 * np.sign(vertices[index, 0]), 0.28, 0.18)
    still = _still()
    mouth_still = still | _fixed(1, 4, 5, 195, 197, 6, 168, 98, 327, 48, 278, 64, 294, *_eyes())
    low = np.flatnonzero(vertices[:, 1] < STILL_ABOVE).tolist()
    brow_still = _fixed(6, 197, 195, 5, *low, *_eyes(), *_skull_rings(0, RINGS))
    return np.stack(
        [_smoothest(row, brow_still if name == "brow" else mouth_still) for name, row in zip(SHAPES, rows, strict=True)]
    )


@lru_cache
def jaw_weights() -> np.ndarray:
    """How far each vertex (n,) follows the jaw, 0 ... 1."""
    known: dict[int, tuple[float, float, float]] = {}
    follow = (0.38, 0.72, 0.92, 1.0, 1.0, 1.0, 1.0, 1.0, 0.92, 0.72, 0.38)
    for ring, row in enumerate(LOWER_LIP):
        for j, vertex in enumerate(row):
            known[vertex] = (follow[j] * (1 - 0.02 * ring), 0, 0)
    for ring, row in enumerate(UPPER_LIP):
        for j, vertex in enumerate(row[1:-1], 1):
            known[vertex] = ((0.16, 0.05, 0.0)[min(min(j, 10 - j) - 1, 2)] * (ring > 0 or j in (1, 9)), 0, 0)
    for vertex in (152, 148, 377, 176, 400, 175, 171, 396, 199, 200, 208, 428, 201, 421, 18, 83, 313):
        known[vertex] = (1.0, 0, 0)
    for vertex, weight in {149: 0.98, 150: 0.93, 136: 0.82, 172: 0.66, 58: 0.42, 132: 0.18}.items():
        known[vertex] = known[int(cage().mirror[vertex])] = (weight, 0, 0)
    for ring, weight in ((0, 0.85), (1, 0.5), (2, 0.2)):
        for column in range(15, 22):
            known[int(cage().skull[ring, column])] = (weight, 0, 0)
    still = _still() | _fixed(93, 323, *(v for row in (1, 2, 98, 327, 97, 326, 164) for v in (row,)), *_eyes())
    return np.clip(_smoothest(known, still)[:, 0], 0, 1)


@lru_cache
def lip_columns() -> tuple[np.ndarray, np.ndarray]:
    """How far each vertex (n, 11) goes with the touching line of upper and of lower lip, column by column."""
    total = []
    for lips, share in ((UPPER_LIP, (0.62, 0.85, 0.96, 1.0)), (LOWER_LIP, (0.70, 0.88, 0.96, 1.0))):
        weights = np.zeros((len(cage().vertices), 11))
        for j in range(1, 10):
            known = {row[j]: (weight, 0, 0) for row, weight in zip(lips, share, strict=True)}
            others = {row[k]: (0.0, 0, 0) for row in (*UPPER_LIP, *LOWER_LIP) for k in range(11) if row[k] not in known}
            weights[:, j] = _smoothest(known | others, _still() | _fixed(2, 94, 1, 152, 199, *_eyes()))[:, 0]
        total.append(weights)
    for ring, inside in zip(range(1, 10), cage().mouth_inside[1:10], strict=True):
        total[0][inside] = 0
        total[0][inside, ring] = 1
    for ring, inside in zip(range(9, 0, -1), cage().mouth_inside[11:], strict=True):
        total[1][inside] = 0
        total[1][inside, ring] = 1
    return total[0], total[1]


def lid_vertices(side: int) -> tuple[np.ndarray, ...]:
    """Upper margin, lower margin, skin above, crease above, skin below; each (9,), side 0 is left in the picture."""
    rows = (UPPER_LID, LOWER_LID, UPPER_LID_SKIN, UPPER_LID_CREASE, LOWER_LID_SKIN)
    return tuple(np.array(row) if side == 0 else cage().mirror[list(row)] for row in rows)


def _still() -> set[int]:
    """What no mouth moves: the skull, the oval but for the jaw, and all from the lower lids up.

    So two mouths on one head differ in the lower face alone.
    """
    high = np.flatnonzero(cage().vertices[:, 1] > STILL_ABOVE).tolist()
    return set(high) | set(_skull_rings(3, RINGS)) | set(np.array(OVAL)[np.r_[0:10, 27:36]].tolist())


def _skull_rings(first: int, last: int) -> list[int]:
    return cage().skull[first:last, :COLUMNS].ravel().tolist()


def _eyes() -> list[int]:
    return [int(v) for side in (0, 1) for row in lid_vertices(side) for v in row]


def _fixed(*vertices: int) -> set[int]:
    return {int(v) for v in vertices}


@lru_cache
def _laplacian() -> sparse.csc_matrix:
    edges, _, _ = edges_of(cage().triangles)
    n = len(cage().vertices)
    both = np.concatenate([edges, edges[:, ::-1]])
    adjacency = sparse.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(n, n))
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    return (sparse.identity(n) - sparse.diags(1 / degree) @ adjacency).tocsc()


def _smoothest(known: dict[int, tuple[float, float, float]], still: set[int]) -> np.ndarray:
    """The smoothest field (n, 3) with the known values, and zero where `still` says so."""
    n = len(cage().vertices)
    field = np.zeros((n, 3))
    for vertex, value in known.items():
        field[vertex] = value
    fixed = np.zeros(n, bool)
    fixed[list(known)] = True
    fixed[[v for v in still if v not in known]] = True
    laplacian = _laplacian()
    system = (laplacian.T @ laplacian).tocsr()
    free = np.flatnonzero(~fixed)
    right = -(system[free][:, fixed] @ field[fixed])
    field[free] = splu(system[free][:, free].tocsc()).solve(right)
    return field


class Rig:
    """One person's cage in motion."""

    def __init__(self, identity: Identity) -> None:
        self._base = identity.vertices
        self._eyes = identity.eyes
        self._jaw_axis = JAW_AXIS

    def cage_points(self, mouth: np.ndarray, pose: Pose) -> np.ndarray:
        """The cage (n, 3) before the head turns; `mouth` (7,): jaw, wide, pucker, upper, tuck, press, tongue."""
        jaw, wide, pucker, upper, tuck, press, _ = (float(v) for v in mouth)
        closing = float(np.clip((press - 0.2) / 0.8, 0, 1))
        strengths = np.array([wide, pucker, upper * (1 - closing), tuck, closing * press, pose.smile, pose.brow])
        points = self._base + np.tensordot(strengths, shapes(), axes=1)
        turned = self.with_jaw(points, jaw * (1 - 0.72 * closing))
        weight = jaw_weights()[:, None]
        points = points * (1 - weight) + turned * weight
        self._close_lips(points, closing)
        for side in (0, 1):
            self._close_lids(points, side, pose)
        return points

    def with_jaw(self, points: np.ndarray, jaw: float) -> np.ndarray:
        """Points (n, 3) that move wholly with the jaw; it turns about its joint and slides a little forward."""
        angle = JAW_OPEN * jaw
        y, z = points[:, 1] - JAW_AXIS[0], points[:, 2] - JAW_AXIS[1]
        out = points.copy()
        out[:, 1] = JAW_AXIS[0] + y * np.cos(angle) - z * np.sin(angle)
        out[:, 2] = JAW_AXIS[1] + z * np.cos(angle) + y * np.sin(angle) + 0.25 * jaw
        return out

    def _close_lips(self, points: np.ndarray, closing: float) -> None:
        """Bring the lips together by `closing`, and always where they would pass through each other."""
        upper, lower = points[list(UPPER_LIP[3])], points[list(LOWER_LIP[3])]
        gap = upper - lower
        share = np.maximum(closing, gap[:, 1] < 0)[:, None]
        upper_weight, lower_weight = lip_columns()
        points += upper_weight @ (-0.38 * share * gap) + lower_weight @ (0.62 * share * gap)

    def _close_lids(self, points: np.ndarray, side: int, pose: Pose) -> None:
        """Draw the upper lid over the eye, along the eyeball; it also follows a glance up or down."""
        margin, below, skin, crease, skin_below = lid_vertices(side)
        open_gap = points[margin] - points[below]
        drop = np.clip(pose.blink, 0, 1) * 1.0
        follow = np.clip(-pose.gaze_y, -0.4, 0.6) * 0.55
        share = np.clip(drop + follow * (1 - drop), -0.2, 1)
        points[below[1:-1], 1] += 0.10 * drop * open_gap[1:-1, 1]
        move = -(points[margin] - points[below]) * share
        points[margin[1:-1]] += move[1:-1]
        points[skin[1:-1]] += 0.80 * move[1:-1] + (0, -0.10 * drop, 0)
        points[crease[1:-1]] += 0.25 * move[1:-1]
        inside = cage().lids_inside[side]
        points[inside[1:8]] += move[1:-1]
        for row, lift in ((margin, 0.03), (skin, 0.14), (below, 0.03), (skin_below, 0.10)):
            self._over_eyeball(points, row, side, lift)

    def _over_eyeball(self, points: np.ndarray, row: np.ndarray, side: int, lift: float) -> None:
        p = points[row]
        d = p[:, :2] - self._eyes[side, :2]
        inside = np.clip((EYE_RADIUS + lift) ** 2 - (d**2).sum(axis=1), 0, None)
        points[row, 2] = np.maximum(p[:, 2], self._eyes[side, 2] + np.sqrt(inside))
