"""What shows through the openings of a face: eyeballs, teeth and tongue."""

from dataclasses import dataclass

import numpy as np

from .identity import Identity
from .skin import noise

EYE_RINGS, EYE_SPOKES = 26, 40
EYE_REACH = 1.45  # radians from the iris's middle to the mesh's edge
EYE_TEXTURE = 256  # texels, square, the eyeball seen from the front
IRIS, PUPIL = 0.40, 0.15  # of the eyeball's radius


def grid(rows: int, columns: int) -> np.ndarray:
    """Triangles (t, 3) int32 of a grid of rows x columns points."""
    i, j = (a.ravel() for a in np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij"))
    a, b, c, d = i * columns + j, (i + 1) * columns + j, i * columns + j + 1, (i + 1) * columns + j + 1
    return np.concatenate([np.stack([a, b, c], 1), np.stack([c, b, d], 1)]).astype(np.int32)


def plain(colour: np.ndarray, gloss: float = 0.0, side: int = 4) -> np.ndarray:
    """A texture (side, side, 6) float32 of one linear colour."""
    texture = np.zeros((side, side, 6), np.float32)
    texture[..., :3] = colour
    texture[..., 3] = gloss
    return texture


def eyeball_mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The front of a unit sphere with a cornea: points (n, 3), triangles, texels (n, 2) float32."""
    polar, turn = np.meshgrid(
        np.linspace(0.0, EYE_REACH, EYE_RINGS), np.linspace(0, 2 * np.pi, EYE_SPOKES), indexing="ij"
    )
    x, y, z = np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    coordinates = (points[:, :2] * (0.5, -0.5) + 0.5) * (EYE_TEXTURE - 1)
    triangles = grid(EYE_RINGS, EYE_SPOKES)
    return points, triangles, coordinates.astype(np.float32)


def eyeball_texture(identity: Identity) -> np.ndarray:
    """White with fine veins, iris with fibres and a dark rim, pupil."""
    rng = np.random.default_rng([identity.seed, 0xE7E])
    y, x = np.mgrid[0:EYE_TEXTURE, 0:EYE_TEXTURE] / (EYE_TEXTURE - 1) * 2 - 1
    r, turn = np.hypot(x, y), np.arctan2(y, x)
    texture = plain(np.array([0.72, 0.69, 0.66]), 1.0, EYE_TEXTURE)
    veins = np.clip(noise(rng, EYE_TEXTURE, EYE_TEXTURE, 14), 0, 2) * np.clip((r - 0.5) / 0.5, 0, 1)
    texture[..., :3] *= 1 - veins[..., None] * np.array([0.03, 0.12, 0.12], np.float32)
    texture[..., :3] *= (1 - np.clip((r - 0.62) / 0.4, 0, 1)[..., None] * np.array([0.10, 0.42, 0.40])).astype(
        np.float32
    )
    fibres = sum(np.cos(turn * k + rng.uniform(0, 6.28)) for k in rng.integers(9, 70, 9)) / 3
    inner = np.clip((r - PUPIL) / (IRIS - PUPIL), 0, 1)
    shade = (1 + 0.22 * fibres) * (1.25 - 0.75 * inner**3) * (0.8 + 0.5 * np.exp(-(((inner - 0.25) / 0.2) ** 2)))
    iris = identity.iris * shade[..., None]
    weight = _edge(IRIS, r, 0.035)[..., None]
    texture[..., :3] = texture[..., :3] * (1 - weight) + iris * weight
    weight = _edge(PUPIL, r, 0.02)[..., None]
    texture[..., :3] = texture[..., :3] * (1 - weight) + 0.004 * weight
    return np.ascontiguousarray(texture)


def _edge(radius: float, r: np.ndarray, softness: float) -> np.ndarray:
    t = np.clip((radius + softness - r) / (2 * softness), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class MouthPart:
    """A mesh in the mouth at rest; `jaw` is its share of the jaw's movement, `tongue` of the tongue's."""

    points: np.ndarray  # (n, 3) centimetres
    triangles: np.ndarray
    coordinates: np.ndarray  # (n, 2) float32 texels
    texture: np.ndarray
    occlusion: np.ndarray  # (n,) float32: teeth in the corners are darker
    jaw: float
    tongue: float = 0.0


def mouth_parts(identity: Identity, lips: np.ndarray) -> list[MouthPart]:
    """Teeth with gums and the tongue, for lips whose middle (3,) touches at rest."""
    rng = np.random.default_rng([identity.seed, 0x7EE])
    length = rng.uniform(0.80, 1.0)
    show = rng.uniform(0.08, 0.22)  # how far the upper teeth reach below the closed lips' line
    upper = _arch(identity, rng, lips + np.array([0, -show, -0.52]), length, 1.0)
    lower = _arch(identity, rng, lips + np.array([0, -show - 0.40, -0.95]), -0.85 * length, 0.92)
    return [MouthPart(*upper, 0.0), MouthPart(*lower, 0.92), _tongue(lips)]


def _arch(identity: Identity, rng: np.random.Generator, edge: np.ndarray, length: float, width: float):
    """A row of teeth with its gum; `edge` (3,) is where the middle ones end, `length` > 0 goes up from there."""
    columns, rows = 161, 13
    s = np.linspace(-1, 1, columns)[None, :]
    v = np.linspace(0, 1.7, rows)[:, None]  # 0 the biting edge, 1 the gum's edge
    widths = np.array([0.84, 0.66, 0.76, 0.70, 0.68, 0.95, 0.95]) * (1 if length > 0 else 0.8)
    borders = np.concatenate([[0], np.cumsum(widths)]) / widths.sum()
    tooth = np.clip(np.searchsorted(borders, np.abs(s), side="right") - 1, 0, 6)
    inside = (np.abs(s) - borders[tooth]) / (borders[tooth + 1] - borders[tooth]) * 2 - 1
    angle = s * 1.22
    x = 2.55 * width * np.sin(angle) / np.sin(1.22)
    z = -2.7 * (1 - np.cos(angle)) / (1 - np.cos(1.22))
    bulge = 0.11 * np.sqrt(np.clip(1 - inside**2, 0, 1)) * (v < 1) + 0.10 * np.sin(np.pi * np.clip(v, 0, 1)) - 0.06
    reach = np.interp(np.abs(s), (0, 0.12, 0.3, 0.45, 1), (0, 0.0, 0.06, 0.02, 0.25)) + 0.07 * np.abs(inside) ** 6
    reach = reach + rng.normal(0, 0.012, 7)[tooth]
    y = length * v + reach * np.clip(1 - v, 0, 1) ** 2 * np.sign(length)
    gum = np.clip((v - 1.0 + 0.12 * (1 - inside**2)) / 0.08, 0, 1)
    points = np.stack(np.broadcast_arrays(x, y, z + bulge), axis=-1) + edge
    colour = identity.teeth * np.ones((rows, columns, 1))
    gap = np.clip((np.abs(inside) - 0.86) / 0.14, 0, 1) ** 2 * (v < 1.05)
    colour = colour * (1 - 0.55 * gap[..., None] * np.array([0.8, 1.0, 1.0]))
    colour = colour * (1 - np.clip(v - 0.5, 0, 0.5)[..., None] * np.array([0.1, 0.2, 0.35]))
    gum_colour = np.array([0.42, 0.13, 0.12])
    colour = colour * (1 - gum[..., None]) + gum_colour * gum[..., None]
    texture = np.zeros((rows, columns, 6), np.float32)
    texture[..., :3], texture[..., 3] = colour, 0.6
    u, w = np.meshgrid(np.arange(columns), np.arange(rows))
    coordinates = np.stack([u, w], axis=-1).reshape(-1, 2).astype(np.float32)
    occlusion = (1 - 0.75 * np.abs(s) ** 1.6) * np.ones((rows, 1))
    triangles = grid(rows, columns)
    if length > 0:
        triangles = triangles[:, ::-1].copy()
    return points.reshape(-1, 3), triangles, coordinates, texture, occlusion.ravel().astype(np.float32)


def _ellipsoid(rows: int = 18, columns: int = 28) -> tuple[np.ndarray, np.ndarray]:
    polar, turn = np.meshgrid(np.linspace(0.01, np.pi - 0.01, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    points = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], axis=-1)
    return points.reshape(-1, 3), grid(rows, columns)


def _tongue(lips: np.ndarray) -> MouthPart:
    sphere, triangles = _ellipsoid()
    points = sphere * (1.7, 0.5, 2.3) + lips + (0, -1.15, -3.7)
    points[:, 1] -= 0.12 * np.exp(-((sphere[:, 0] / 0.3) ** 2)) * (sphere[:, 1] > 0)  # the furrow
    zeros = np.zeros((len(points), 2), np.float32)
    occlusion = 0.5 * np.clip(0.2 + 0.8 * sphere[:, 2], 0.1, 1).astype(np.float32)
    return MouthPart(points, triangles, zeros, plain(np.array([0.46, 0.16, 0.15]), 0.5), occlusion, 0.8, 1.0)


def cavity(rim: np.ndarray) -> np.ndarray:
    """The mouth's inner wall (41, 3) behind the inner edge of the lips, whose `rim` is (20, 3)."""
    middle = rim.mean(axis=0)
    away = rim - middle
    mouth = middle + away * (1.06, 1.10, 1) + (0, 0, 0.06)  # overlaps the lips: nothing shows between them
    wall = middle + away * (1.18, 1.0, 1) + np.sign(away) * (0, 0.8, 0) + (0, 0, -1.8)
    return np.concatenate([mouth, wall, [middle + np.array([0, -0.4, -6.0])]])


def cavity_triangles() -> np.ndarray:
    """Triangles (60, 3) int32 of `cavity`, to be seen from both sides."""
    ring = np.arange(20)
    following = np.roll(ring, -1)
    between = [np.stack(t, 1) for t in ((ring, ring + 20, following), (following, ring + 20, following + 20))]
    return np.concatenate([*between, np.stack([ring + 20, np.full(20, 40), following + 20], 1)]).astype(np.int32)
