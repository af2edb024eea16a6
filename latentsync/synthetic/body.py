"""Shoulders, clothes and ears."""

import cv2
import numpy as np

from .features import grid
from .identity import Identity
from .skin import noise

COLUMNS = 96
BASE = -15.5  # y of the neck's root, centimetres
CLOTH_SIDE = 768  # texels of the torso's texture, seen from the front
CLOTH_CM = 76.0  # its width
CLOTH_TOP = -10.0  # y of its first row


def torso(identity: Identity) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (n, 3), triangles and texels (n, 2) float32 of neck's root, shoulders and chest."""
    f = 1.0 if identity.feminine else 0.0
    wide = 1.0 - 0.11 * f
    # y, half width, half depth, z of the middle: collar, slope of the shoulders, arms, chest
    rows = np.array(
        [
            *((-11.0, 5.7, 6.0, -8.6), (-12.4, 6.4, 6.6, -8.5), (-13.6, 8.4, 7.2, -8.4), (-14.8, 11.4, 7.8, -8.3)),
            *((-16.0, 14.6, 8.4, -8.2), (-17.6, 17.4, 9.0, -8.1), (-19.6, 19.6, 9.7, -8.0), (-22.4, 21.1, 10.4, -7.8)),
            *((-27.4, 22.0, 11.4, -7.4), (-36.0, 22.0, 12.0, -7.2), (-60.0, 21.0, 12.4, -7.0)),
        ]
    )
    steps = np.linspace(0, len(rows) - 1, 44)
    y, width, depth, z = (np.interp(steps, np.arange(len(rows)), c)[:, None] for c in rows.T)
    width = np.where(width > 7, 7 + (width - 7) * wide, width)
    angle = np.linspace(-np.pi, np.pi, COLUMNS)[None, :]
    sine, cosine = np.sin(angle), np.cos(angle)
    squareness = np.clip((width - 7) / 12, 0, 1) * 0.18
    x = width * np.sign(sine) * np.abs(sine) ** (1 - squareness)
    zz = z + depth * np.sign(cosine) * np.abs(cosine) ** (1 - squareness)
    slope = 2.2 * np.clip(cosine, 0, 1) * np.exp(-(((y + 12.0) / 3.0) ** 2))  # the collar dips in front
    chest = f * 1.6 * np.exp(-(((np.abs(x) - 7.5) / 5.0) ** 2) - (((y + 36) / 6.0) ** 2)) * np.clip(cosine, 0, 1)
    points = np.stack(np.broadcast_arrays(x, y - slope, zz + chest), axis=-1).reshape(-1, 3)
    u = (points[:, 0] / CLOTH_CM + 0.5) * (CLOTH_SIDE - 1)
    v = (CLOTH_TOP - points[:, 1]) / CLOTH_CM * (CLOTH_SIDE - 1)
    return points, grid(44, COLUMNS), np.stack([u, v], axis=1).astype(np.float32)


def cloth(identity: Identity) -> np.ndarray:
    """The torso's texture (CLOTH_SIDE, CLOTH_SIDE, 6) float32: what the person wears."""
    rng = np.random.default_rng([identity.seed, 0xC10])
    side = CLOTH_SIDE
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    x, y = (x / (side - 1) - 0.5) * CLOTH_CM, CLOTH_TOP - y / (side - 1) * CLOTH_CM
    weave = rng.standard_normal((side, side)).astype(np.float32)
    knit = np.sin(x * 14) * np.sin(y * 14)
    folds = noise(rng, side, side, 90) + 0.5 * noise(rng, side, side, 38)
    stretched = cv2.warpAffine(folds, np.float32([[1, 0.35, 0], [0, 2.2, 0]]), (side, side), borderMode=cv2.BORDER_REFLECT)
    relief = 0.34 * cv2.GaussianBlur(stretched, (0, 0), 4) + 0.006 * weave + 0.008 * knit
    fabric, second = identity.fabric.astype(np.float32), identity.fabric_2.astype(np.float32)
    colour = np.ones((side, side, 3), np.float32) * fabric
    a = np.abs(x)
    neck = np.hypot(x / 6.8, (y + 14.2) / 3.6)  # 1 at a crew neck's edge
    deep = np.maximum(a / 5.2, 0) + (-14.6 - y) / 11.0  # 1 along a V

    def lay(mask: np.ndarray, new: np.ndarray, lift: float = 0.0) -> None:
        nonlocal colour, relief
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.9)
        colour = colour * (1 - soft[..., None]) + np.asarray(new, np.float32) * soft[..., None]
        relief = relief + lift * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.6)

    if rng.random() < 0.22 and identity.clothes in ("crew", "hoodie"):
        lay((np.mod(y, 5.0) < 2.2) & (y < -20), second)
    light = np.array([0.80, 0.80, 0.78], np.float32) * (0.75 + 0.25 * rng.random())
    if identity.clothes == "crew":
        lay(neck < 1.28, fabric * 0.86, 0.10)
    elif identity.clothes == "vneck":
        lay((deep < 1.12) & (y > -27), fabric * 0.85, 0.12)
    elif identity.clothes == "shirt":
        lay(np.abs(x) < 1.6, fabric * 1.02, 0.10)
        for k in range(5):
            lay(np.hypot(x, y + 21 + 7 * k) < 0.5, fabric * 0.4 + 0.2, 0.1)
        collar = (np.abs(a - 3.9 - 0.25 * (y + 16)) < 2.6) & (y > -21.5 + 0.35 * a) & (y < -11)
        lay(collar, np.minimum(fabric * 1.08, 1), 0.30)
    elif identity.clothes == "blazer":
        shirt = (a / 8.0 + (-14.0 - y) / 24.0 < 1.0)
        lay(shirt, light, -0.25)
        tie = rng.random() < (0.1 if identity.feminine else 0.45)
        if tie:
            lay((a < 1.1 + 0.09 * (-15 - y)) & (y < -15.5), second * 0.8, 0.2)
        lapel = (np.abs(a / 8.0 + (-14.0 - y) / 24.0 - 1.22) < 0.22) & (y < -15)
        lay(lapel, fabric * 1.12, 0.25)
        lay((np.abs(a / 8.0 + (-14.0 - y) / 24.0 - 1.0) < 0.012), fabric * 0.5)
    else:
        lay(neck < 1.75, fabric * 0.94, 0.45)
        for left in (-1, 1):
            lay((np.abs(x - left * (2.6 + 0.03 * y)) < 0.28) & (y < -18) & (y > -33), light * 0.9, 0.25)
    if identity.clothes in ("vneck",):
        lay((deep < 1.0) & (y > -26), identity.skin * 0.96)
    colour *= (1 + 0.05 * weave + 0.02 * knit)[..., None]
    slopes = (np.gradient(relief, axis=1) * side / CLOTH_CM, -np.gradient(relief, axis=0) * side / CLOTH_CM)
    gloss = np.full((side, side, 1), 0.12, np.float32)
    layers = [np.clip(colour, 0.003, 0.9), gloss, *(np.clip(s, -0.6, 0.6)[..., None] for s in slopes)]
    return np.ascontiguousarray(np.concatenate(layers, axis=2), dtype=np.float32)


def ears(identity: Identity, rest: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Points (n, 3), triangles and relative occlusion (n,) of both ears; `rest` is the fine mesh at rest."""
    rng = np.random.default_rng([identity.seed, 0xEA2])
    size, out = rng.uniform(0.82, 1.0), rng.uniform(0.22, 0.48)
    rows, columns = 17, 41
    r = np.linspace(0, 1, rows)[:, None]
    turn = np.linspace(0, 2 * np.pi, columns)[None, :]
    # The outline: round above, narrow at the lobe; y up, x backwards.
    y = 3.25 * size * (np.cos(turn) - 0.06 * np.cos(2 * turn))
    x = 1.75 * size * np.sin(turn) * (1 + 0.24 * np.cos(turn)) + 0.15 * y
    rim = np.exp(-(((r - 0.88) / 0.09) ** 2)) * np.clip(0.55 + 0.6 * np.cos(turn - 0.7), 0, 1)
    fold = np.exp(-(((r - 0.56 - 0.06 * np.cos(turn)) / 0.10) ** 2)) * np.clip(np.sin(turn - 0.1) + 0.25, 0, 1)
    bowl = np.exp(-((((x * r - 0.1) / 0.75) ** 2 + ((y * r + 0.25) / 1.05) ** 2)))
    tragus = np.exp(-((((x * r + 1.15) / 0.35) ** 2 + ((y * r + 0.5) / 0.55) ** 2)))
    height = 0.42 * rim + 0.34 * fold - 0.75 * bowl + 0.55 * tragus - 0.25 * np.clip((r - 0.93) / 0.07, 0, 1) * 1.6
    occlusion = np.clip(1 - 0.55 * bowl - 0.25 * np.exp(-(((r - 0.74) / 0.06) ** 2)) * (1 - 0.5 * fold), 0.25, 1)
    result = []
    triangles = grid(rows, columns)
    for side, vertex in ((-1, 234), (1, 454)):
        anchor = rest[vertex] + np.array([side * -0.05, 0.0, -2.1])
        local = np.stack(np.broadcast_arrays(-x * r * np.cos(out), y * r, height + np.clip(x * r + 1.2, 0, None) * np.sin(out)), axis=-1)
        points = np.empty((rows, columns, 3))
        points[..., 2] = anchor[2] + local[..., 0] + 0.10 * local[..., 1] * -1
        points[..., 1] = anchor[1] + 0.25 + local[..., 1]
        points[..., 0] = anchor[0] + side * local[..., 2] + side * 0.06 * local[..., 1]
        order = triangles if side > 0 else triangles[:, ::-1].copy()
        result.append((points.reshape(-1, 3), order, occlusion.ravel().astype(np.float32)))
    return result
