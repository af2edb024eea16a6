"""The skin of a person as a texture: colour, gloss and relief, painted where the features lie on that head."""

from dataclasses import dataclass

import cv2
import numpy as np

from .hair import hairline
from .identity import Identity
from .raster import FAR, rasterise

WIDTH, HEIGHT = 1024, 768  # texels; around the head, and from its top to the neck's base
TOP, BOTTOM = 15.0, -20.0  # y in centimetres
AXIS_Z = -8.6  # of the cylinder around which the texture is wrapped
CM_U = 2 * np.pi * 9.0 / WIDTH  # centimetres of a texel on the face
CM_V = (TOP - BOTTOM) / HEIGHT


def texture_coordinates(points: np.ndarray) -> np.ndarray:
    """Texels (n, 2) float32 of points (n, 3) of the head at rest."""
    angle = np.arctan2(points[:, 0], points[:, 2] - AXIS_Z)
    u = (angle / (2 * np.pi) + 0.5) * (WIDTH - 1)
    v = (TOP - points[:, 1]) / (TOP - BOTTOM) * (HEIGHT - 1)
    return np.stack([u, v], axis=1).astype(np.float32)


def noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise (height, width) float32 of unit variance; `cell` is the size of its grains in pixels."""
    coarse = rng.standard_normal((int(height / cell) + 3, int(width / cell) + 3)).astype(np.float32)
    field = cv2.resize(
        coarse, (int(coarse.shape[1] * cell) + 1, int(coarse.shape[0] * cell) + 1), interpolation=cv2.INTER_CUBIC
    )
    field = field[:height, :width]
    return (field - field.mean()) / field.std()


@dataclass(frozen=True)
class Patch:
    """A mask of a part of the texture."""

    rows: slice
    columns: slice
    mask: np.ndarray  # float32, 0 ... 1

    def spread(self) -> np.ndarray:
        """The mask on the whole texture (HEIGHT, WIDTH)."""
        whole = np.zeros((HEIGHT, WIDTH), np.float32)
        whole[self.rows, self.columns] = self.mask
        return whole


class Painter:
    """Masks over the texture, in terms of the head's own points."""

    def __init__(self, points: np.ndarray, triangles: np.ndarray) -> None:
        """`points` (m, 3) of the fine mesh at rest."""
        uv = texture_coordinates(points)
        across = np.ptp(uv[triangles, 0], axis=1) < WIDTH / 2  # not over the seam at the back
        triangles = triangles[across]
        screen = np.concatenate([uv, points[:, 2:] * 0.01], axis=1).astype(np.float32)
        ids = np.full((HEIGHT, WIDTH), -1, np.int32)
        rasterise(screen, triangles, np.full((HEIGHT, WIDTH), FAR, np.float32), ids, 0, True)
        self.rows, self.columns = np.nonzero(ids >= 0)
        self._corners = triangles[ids[self.rows, self.columns]]
        a, b, c = (uv[self._corners[:, k]] for k in range(3))
        p = np.stack([self.columns, self.rows], axis=1).astype(np.float32)
        area = np.cross(b - a, c - a)
        self._wa, self._wb = np.cross(b - p, c - p) / area, np.cross(c - p, a - p) / area
        self.xyz = self.spread(points.astype(np.float32))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Per-vertex values (m,) or (m, c) on the texels, (HEIGHT, WIDTH[, c]) float32; 0 where no skin is."""
        a, b, c = (values[self._corners[:, k]] for k in range(3))
        shape = (-1,) + (1,) * (values.ndim - 1)
        wa, wb = self._wa.reshape(shape), self._wb.reshape(shape)
        out = np.zeros((HEIGHT, WIDTH, *values.shape[1:]), np.float32)
        out[self.rows, self.columns] = wa * a + wb * b + (1 - wa - wb) * c
        return out

    def spot(self, centre: np.ndarray, radius: tuple[float, float, float]) -> "Patch":
        """A soft spot, 1 at `centre` (3,), radii in centimetres."""
        centre, radius = np.asarray(centre, np.float32), np.asarray(radius, np.float32)
        u, v = texture_coordinates(centre[None])[0]
        # Radii along the head's surface; near its sides a texel is narrower in x.
        wide = 3.2 * max(radius[0], radius[2]) / CM_U * 1.3
        rows = slice(max(int(v - 3.2 * radius[1] / CM_V), 0), max(int(v + 3.2 * radius[1] / CM_V) + 1, 0))
        columns = slice(max(int(u - wide), 0), max(int(u + wide) + 1, 0))
        d = (self.xyz[rows, columns] - centre) / radius
        return Patch(rows, columns, np.exp(-0.5 * (d[..., 0] ** 2 + d[..., 1] ** 2 + d[..., 2] ** 2)))

    def stroke(self, path: np.ndarray, width: float) -> np.ndarray:
        """A soft line (HEIGHT, WIDTH) along points (k, 3); width in centimetres."""
        uv = texture_coordinates(np.asarray(path))
        steps = np.linspace(0, len(uv) - 1, 12 * len(uv))
        dense = np.stack([np.interp(steps, np.arange(len(uv)), uv[:, k]) for k in range(2)], axis=1)
        layer = np.zeros((HEIGHT, WIDTH), np.float32)
        cv2.polylines(layer, [np.round(dense * 16).astype(np.int32)], False, 1.0, 1, cv2.LINE_AA, 4)
        layer = cv2.GaussianBlur(layer, (0, 0), sigmaX=width / CM_U, sigmaY=width / CM_V)
        return layer / max(float(layer.max()), 1e-6)


def paint(identity: Identity, points: np.ndarray, triangles: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The texture (HEIGHT, WIDTH, 6) float32 as raster.shade takes it.

    `points` (m, 3) and `triangles` are the fine mesh at rest; masks (m, 3) are 1 on the lips, in the mouth and
    on the lids' rims.
    """
    rng = np.random.default_rng([identity.seed, 0x5C1])
    painter = Painter(points, triangles)
    skin, age = identity.skin, identity.age
    dark = 1 - float(skin.mean()) / 0.6
    broad, middle, fine = (noise(rng, HEIGHT, WIDTH, cell) for cell in (72, 18, 4))
    grain = rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    colour = np.ones((HEIGHT, WIDTH, 3), np.float32) * skin.astype(np.float32)
    # Melanin varies with broad patches, blood with finer ones.
    colour *= (1 + 0.035 * broad + 0.02 * middle)[..., None]
    colour *= 1 + (0.02 * fine + 0.025 * middle)[..., None] * np.array([0.3, -1.0, -0.8], np.float32)

    def tint(patch: Patch, factor: tuple[float, float, float], strength: float) -> None:
        weight = np.clip(patch.mask * strength, 0, 1)[..., None]
        colour[patch.rows, patch.columns] *= 1 + weight * (np.asarray(factor, np.float32) - 1)

    def whole(mask: np.ndarray) -> Patch:
        return Patch(slice(None), slice(None), mask)

    face = points
    red, blush = (1.06, 0.80, 0.78), identity.blush
    for cheek in (50, 280):
        tint(painter.spot(face[cheek] + (0, -0.2, 0), (1.6, 1.2, 2.5)), red, 0.75 * blush)
    tint(painter.spot(face[4], (0.9, 0.9, 1.5)), red, 0.55 * blush)
    tint(painter.spot(face[199], (1.2, 0.8, 1.5)), red, 0.35 * blush)
    for left in (0, 1):
        lid = [(159, 144, 145, 230), (386, 373, 374, 450)][left]
        tint(painter.spot(face[lid[0]] + (0, 0.3, 0), (1.4, 0.45, 1.5)), (0.82, 0.70, 0.70), 0.65)
        tint(painter.spot(face[lid[3]] + (0, 0.1, 0), (1.2, 0.42, 1.5)), (0.84, 0.76, 0.80), 0.35 + 0.5 * age)
        tint(painter.spot(face[(130, 359)[left]], (0.5, 0.4, 1)), (0.85, 0.72, 0.70), 0.5)
        tint(painter.spot(face[(244, 464)[left]], (0.45, 0.6, 1)), (0.82, 0.70, 0.70), 0.5)
        wing = face[(102, 331)[left]]
        tint(painter.spot(wing, (0.25, 0.5, 1)), (0.78, 0.62, 0.58), 0.6)
        nostril = face[[[20, 60, 238], [250, 290, 458]][left]].mean(axis=0)
        tint(painter.spot(nostril, (0.36, 0.22, 0.5)), (0.10, 0.05, 0.05), 1.25)
    tint(painter.spot((0, 8.2, 0.5), (5, 1.6, 6)), (0.97, 0.95, 0.90), 0.6)
    has_skin = (painter.xyz != 0).any(axis=2)
    beard_zone = beard_mask(identity, painter.xyz, face) * has_skin
    if identity.beard != "none":
        # Hair under the skin: seen before it is felt.
        shadow = np.clip(beard_zone * (0.75 + 0.15 * grain), 0, 1)
        tint(
            whole(shadow),
            tuple(0.55 + 0.3 * identity.hair / max(identity.hair.max(), 0.05)),
            0.45 * identity.beard_density,
        )
    _spots(identity, rng, painter, colour)
    scalp = (
        np.clip((hairline(painter.xyz.reshape(-1, 3), identity).reshape(HEIGHT, WIDTH) + 0.4 * middle) / 0.9, 0, 1)
        * has_skin
    )
    if identity.hair_style not in ("covered", "bald"):
        weight = (0.9 * scalp)[..., None]
        colour = colour * (1 - weight) + identity.hair.astype(np.float32) * 0.6 * (1 + 0.2 * grain)[..., None] * weight
    relief = 0.004 * fine + 0.008 * cv2.GaussianBlur(grain, (0, 0), 0.8)
    pores = painter.spot(face[4], (2.6, 2.6, 3)).spread() + 0.4
    relief = relief * np.clip(pores, 0, 1)
    for path, depth, start in _wrinkles(face, rng):
        strength = depth * np.clip((age - start) / 0.5, 0.12 if start == 0 else 0, 1)
        if strength > 0:
            line = painter.stroke(path, 0.07)
            relief = relief - 0.09 * strength * line
            tint(whole(line), (0.80, 0.70, 0.66), 0.45 * strength)
    lips, inner, rims = np.moveaxis(np.clip(painter.spread(masks.astype(np.float32)), 0, 1), -1, 0)
    lips = cv2.GaussianBlur(lips, (0, 0), 1.2)
    edge = np.clip((lips - 0.28) / 0.45, 0, 1)[..., None]
    creases = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), sigmaX=0.9, sigmaY=9)
    creases /= creases.std()
    lip_colour = identity.lips.astype(np.float32) * (1 + 0.025 * creases + 0.03 * middle)[..., None]
    under = (painter.xyz[..., 1] < face[13, 1]).astype(np.float32)[..., None]
    lip_colour = lip_colour * (0.94 + 0.06 * cv2.GaussianBlur(under, (0, 0), 3)[..., None])
    colour = colour * (1 - 0.92 * edge) + lip_colour * 0.92 * edge
    relief = relief * (1 - edge[..., 0]) + edge[..., 0] * 0.006 * creases
    colour *= 1 - 0.72 * np.clip(inner * 1.2 - 0.2, 0, 1)[..., None] * np.array([0.85, 1.0, 1.0], np.float32)
    colour *= 1 - 0.55 * np.clip(rims * 1.3 - 0.3, 0, 1)[..., None] * np.array([0.7, 0.9, 0.9], np.float32)
    gloss = (
        0.30
        + 0.22 * painter.spot(face[4] + (0, 1, 0), (1.0, 2.2, 2)).spread()
        + 0.16 * painter.spot((0, 6.5, 1.8), (3, 1.6, 3)).spread()
    )
    gloss = gloss * (1 - 0.15 * age + 0.2 * dark) * (1 + 0.10 * middle + 0.08 * grain)
    gloss = gloss * (1 - 0.6 * beard_zone * (identity.beard != "none")) * (1 - edge[..., 0]) + edge[..., 0] * 0.5
    slopes = (np.gradient(relief, axis=1) / CM_U, -np.gradient(relief, axis=0) / CM_V)
    layers = [np.clip(colour, 0.004, 1), np.clip(gloss, 0, 1)[..., None], *(s[..., None] for s in slopes)]
    return np.ascontiguousarray(np.concatenate(layers, axis=2), dtype=np.float32)


def beard_mask(identity: Identity, points: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Where beard grows at points (..., 3) at rest, 0 ... 1, for the identity's style; `face` is the fine mesh."""
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    mouth, nose, chin = face[13, 1], face[2, 1], face[152, 1]
    curve = mouth + 0.4 + 0.02 * x**2 - 0.9 * np.exp(-((x / 2.0) ** 2))  # the cheek's edge, lower beside the mouth
    jaw = _step((curve - y) / 1.2) * _step((y - (chin - 3.2)) / 1.6) * (z > -9.0) * _step((8.2 - x) / 1.0)
    side = _step((-4.4 - z) / 0.9) * _step((y - mouth + 1) / 2) * _step((3.2 - y) / 1.5) * (z > -7.6)  # sideburns
    lip = np.exp(-0.5 * (((y - (nose + mouth) / 2 - 0.22) / 0.27) ** 2)) * (0.35 + 0.65 * np.exp(-((x / 1.7) ** 2)))
    lip = lip * _step((face[291, 0] + 0.3 - x) / 1.2)
    chin_patch = np.exp(-0.5 * ((x / 1.5) ** 2 + ((y - (chin + 1.0)) / 1.3) ** 2))
    zones = {
        "none": np.zeros_like(y),
        "stubble": np.maximum.reduce([jaw, 0.8 * side, lip]),
        "moustache": lip,
        "goatee": np.maximum(chin_patch, lip),
        "full": np.maximum.reduce([jaw, side, lip]),
    }
    return np.clip(zones[identity.beard], 0, 1).astype(np.float32)


def _step(x: np.ndarray) -> np.ndarray:
    t = np.clip(x, 0, 1)
    return t * t * (3 - 2 * t)


def _spots(identity: Identity, rng: np.random.Generator, painter: Painter, colour: np.ndarray) -> None:
    """Freckles over nose and cheeks, and a few moles."""
    layer = np.zeros((HEIGHT, WIDTH), np.float32)
    for _ in range(int(420 * identity.freckles)):
        u, v = rng.normal(WIDTH / 2, WIDTH * 0.075), rng.normal(0.427, 0.04) * HEIGHT
        cv2.circle(
            layer,
            (int(u * 16), int(v * 16)),
            int(rng.uniform(7, 17)),
            float(rng.uniform(0.15, 0.6)),
            -1,
            cv2.LINE_AA,
            4,
        )
    for _ in range(rng.poisson(2 + 2 * identity.age)):
        u, v = rng.normal(WIDTH / 2, WIDTH * 0.1), rng.uniform(0.2, 0.75) * HEIGHT
        cv2.circle(
            layer,
            (int(u * 16), int(v * 16)),
            int(rng.uniform(11, 26)),
            float(rng.uniform(0.4, 0.8)),
            -1,
            cv2.LINE_AA,
            4,
        )
    layer = cv2.GaussianBlur(layer, (0, 0), 0.8)[..., None]
    colour *= 1 - layer * np.array([0.45, 0.62, 0.70], np.float32)


def _wrinkles(face: np.ndarray, rng: np.random.Generator):
    """Lines of the face: points (k, 3), how deep they may get, and the age at which they start."""
    for left in (0, 1):
        fold = [(129, 203, 206, 216, 212), (358, 423, 426, 436, 432)][left]
        yield face[list(fold)], 1.0, 0.0
        bag = [(244, 232, 231, 230, 229), (464, 452, 451, 450, 449)][left]
        yield face[list(bag)], 0.5, 0.1
        mouth = [(61, 43, 106), (291, 273, 335)][left]
        yield face[list(mouth)], 0.5, 0.5
        outer = face[(33, 263)[left]]
        for k in range(3):
            away = np.array([(-1, 1)[left] * (0.5 + 0.25 * k), 0.35 - 0.35 * k, -0.5])
            start = outer + 0.55 * away
            yield np.stack([start, start + away, start + 1.7 * away + (0, -0.1 * k, -0.4)]), 0.45, 0.35
        frown = face[(107, 336)[left]] + ((0.45, -0.45)[left], -0.3, 0.2)
        yield frown + np.array([(0, 0, 0), (0, 0.6, 0), ((-0.1, 0.1)[left], 1.2, 0)]), 0.4, 0.4
    for k in range(3):
        height = 6.3 + 0.75 * k + rng.normal(0, 0.1)
        wave = rng.normal(0, 0.12, 7)
        yield np.array([(x, height + w, 1.5) for x, w in zip(np.linspace(-2.8, 2.8, 7), wave, strict=True)]), 0.5, 0.35
