"""What people wear on their heads: glasses, headscarves and knitted caps."""

from dataclasses import replace

import cv2
import numpy as np

from .body import Piece, Torso, tube
from .cage import OVAL, cage
from .features import grid, plain
from .hair import Strands
from .identity import Identity
from .raster import FAR, rasterise
from .skin import noise

INNER_OVAL = (  # the ring of the face's mesh inside of OVAL, in its order
    *(151, 337, 299, 333, 298, 301, 368, 264, 447, 366, 401, 435, 367, 364, 394, 395, 369, 396),
    *(175, 171, 140, 170, 169, 135, 138, 215, 177, 137, 227, 34, 139, 71, 68, 104, 69, 108),
)
MAP = 0.1  # centimetres of a pixel of a map of heights


def wear(identity: Identity, rest: np.ndarray, triangles: np.ndarray) -> list[Piece]:
    """Everything on the head; `rest` (m, 3) and `triangles` are the fine mesh at rest."""
    pieces = []
    if identity.headwear == "scarf":
        pieces.append(headscarf(identity, rest))
    elif identity.headwear == "beanie":
        pieces.append(beanie(identity, rest))
    if identity.glasses:
        pieces.append(glasses(identity, rest, triangles))
    return pieces


class Heights:
    """How far the head reaches along one axis, as seen along it."""

    def __init__(self, rest: np.ndarray, triangles: np.ndarray, axes: tuple[int, int, int], sign: float = 1.0) -> None:
        """`axes`: the map's columns, its rows, and the axis that is looked up, which counts times `sign`."""
        self._axes, self._sign = axes, sign
        screen = np.stack([rest[:, axes[0]] / MAP + 200, rest[:, axes[1]] / MAP + 200, sign * rest[:, axes[2]]], axis=1)
        self._map = np.full((400, 400), FAR, np.float32)
        rasterise(screen.astype(np.float32), triangles, self._map, np.empty((400, 400), np.int32), 0, True)

    def under(self, points: np.ndarray) -> np.ndarray:
        """The heights (...) at points (..., 3), times `sign`; very low beside the head."""
        j, i = (np.clip(np.round(points[..., k] / MAP + 200).astype(int), 0, 399) for k in self._axes[:2])
        return self._map[i, j]


def _rim(style: str, width: float, height: float, bend: float) -> np.ndarray:
    """A lens's outline (k, 2) around its middle; x grows towards the temple."""
    turn = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    power = {"round": 2.1, "square": 4.2, "half": 3.2}[style]
    c, s = np.cos(turn), np.sin(turn)
    x = width * np.sign(c) * np.abs(c) ** (2 / power)
    y = height * np.sign(s) * np.abs(s) ** (2 / power)
    x = x * (1 + bend * 0.10 * y / height)  # narrower below
    return np.stack([x, y + bend * 0.14 * np.clip(x / width, 0, 1) * (y > 0)], axis=1)


def glasses(identity: Identity, rest: np.ndarray, triangles: np.ndarray) -> Piece:
    """Rims around both eyes, a bridge over the nose, and temples to the ears; they turn with the head."""
    rng = np.random.default_rng([identity.seed, 0x61A])
    style = identity.glasses
    corners = rest[[33, 133, 263, 362]]
    middle, level = corners[:, 0].mean(), corners[:, 1].mean()
    apart = np.abs(corners[:, 0] - middle)
    inner = 1.15 + rng.uniform(-0.05, 0.15)
    outer = apart[[0, 2]].mean() + rng.uniform(0.75, 1.15)
    width = (outer - inner) / 2
    height = {"round": 0.86, "square": 0.72, "half": 0.66}[style] * width * rng.uniform(0.95, 1.06)
    thick = {"round": rng.uniform(0.10, 0.20), "square": rng.uniform(0.15, 0.25), "half": 0.16}[style]
    brow = rest[[52, 282], 1].mean()
    drop = min(level - 0.25, brow + 0.25 - height) - level
    outline = _rim(style, width, height, {"round": 0.4, "square": 1.0, "half": 0.8}[style])
    front = Heights(rest, triangles, (0, 1, 2))
    rims = []
    for side in (-1, 1):
        rim = np.empty((len(outline), 3))
        rim[:, 0] = middle + side * ((inner + outer) / 2 + outline[:, 0])
        rim[:, 1] = level + drop + outline[:, 1]
        lean = 0.08 * (rim[:, 1] - level)  # the lower edge is nearer to the cheeks
        rim[:, 2] = lean - 0.030 * (rim[:, 0] - middle) ** 2
        rims.append(rim)
    both = np.concatenate(rims)
    clear = front.under(both) + thick + 0.22 - both[:, 2]
    off = clear.max()
    parts = []
    for rim in rims:
        rim[:, 2] += off
        top = rim[:, 1] > level + drop - 0.1 * height
        radius = thick * (np.where(top, 1.0, 0.32) if style == "half" else 1.0)
        parts.append(tube(rim, radius, True, 7, 1.15))
    parts.append(tube(_bridge(rims, middle, front, thick, rng.uniform(0.25, 0.6)), thick * 0.9, False))
    for side, rim in zip((-1, 1), rims, strict=True):
        parts.append(tube(_temple(side, rim, rest, triangles), thick * np.linspace(1.0, 0.75, 20), False, 6))
    points = np.concatenate([p for p, _ in parts])
    first = np.cumsum([0, *(len(p) for p, _ in parts)])
    faces = np.concatenate([t + n for (_, t), n in zip(parts, first, strict=False)]).astype(np.int32)
    metal = style != "square" and thick < 0.15
    texture = plain(identity.glasses_colour * (1.6 if metal else 1.0), 1.0 if metal else 0.55)
    return Piece(points, faces, np.zeros((len(points), 2), np.float32), texture, "frame", np.ones(len(points)))


def _bridge(rims: list[np.ndarray], middle: float, front: Heights, thick: float, up: float) -> np.ndarray:
    """From rim to rim over the nose."""
    height = np.ptp(rims[0][:, 1]) / 2
    y = rims[0][:, 1].mean() + up * height
    ends = [rim[np.argmin(np.abs(rim[:, 1] - y) + 0.5 * np.abs(rim[:, 0] - middle))] for rim in rims]
    s = np.linspace(0, 1, 15)[:, None]
    path = ends[0] * (1 - s) + ends[1] * s
    arch = np.sin(np.pi * s[:, 0])
    path[:, 1] += 0.18 * arch
    above = max(float((front.under(path) + thick + 0.08 - path[:, 2]).max()), 0.0)
    path[:, 2] += max(above, 0.12) * np.sqrt(arch)
    return path


def _temple(side: int, rim: np.ndarray, rest: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """From a rim's outer end back over the ear and down behind it."""
    start = rim[np.argmax(side * rim[:, 0] + 0.6 * rim[:, 1])]
    ear = rest[234 if side < 0 else 454]
    back, top = ear[2] - 2.2, ear[1] + 2.9
    z = np.concatenate([np.linspace(start[2], back, 15), back - np.array([0.5, 1.0, 1.4, 1.7, 1.9])])
    y = np.concatenate([np.linspace(start[1], top, 15), top - np.array([0.15, 0.6, 1.2, 1.9, 2.6])])
    ahead = np.clip((start[2] - z) / 1.2, 0, 1)
    x = side * (np.abs(start[0]) + 0.42 * ahead)
    path = np.stack([x, y, z], axis=1)
    sideways = Heights(rest, triangles, (2, 1, 0), float(side))
    reach = np.stack([sideways.under(path + np.array([0, dy, 0])) for dy in (-0.3, 0, 0.3)]).max(axis=0)
    hidden = np.clip((back + 0.6 - z) / 2.0, 0, 1)
    path[:, 0] = side * np.maximum(np.abs(path[:, 0]), reach + 0.22 - 0.35 * hidden)
    smooth = path.copy()
    smooth[1:-1, 0] = side * np.maximum(np.abs(path[1:-1, 0]), np.abs(path[:-2, 0] + path[2:, 0]) / 2)
    return smooth


def _ball(p: np.ndarray, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    return (np.linalg.norm((p - centre) / radii, axis=-1) - 1) * min(radii)


def _blend(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    h = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return b + (a - b) * h - width * h * (1 - h)


def _out_to(surface, points: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Points (..., 3) moved away from `middle` to where `surface`, a signed distance, is zero."""
    ray = points - middle
    low, high = np.zeros(points.shape[:-1]), np.full(points.shape[:-1], 4.0)
    for _ in range(26):
        half = (low + high) / 2
        inside = surface(middle + ray * half[..., None]) < 0
        low, high = np.where(inside, half, low), np.where(inside, high, half)
    return middle + ray * low[..., None]


def _finer(values: np.ndarray, rows: np.ndarray, columns: int) -> np.ndarray:
    """A grid (r, c, k), closed along its columns, at `rows` and evenly at `columns` + 1 columns."""
    from scipy.interpolate import CubicSpline

    r, c = values.shape[:2]
    closed = np.concatenate([values, values[:, :1]], axis=1)
    across = CubicSpline(np.arange(c + 1), closed, axis=1, bc_type="periodic")(np.linspace(0, c, columns + 1))
    return CubicSpline(np.arange(r), across, axis=0)(rows)


def headscarf(identity: Identity, rest: np.ndarray) -> Piece:
    """A cloth around the face, over hair, ears and neck, that comes to rest on the shoulders."""
    rng = np.random.default_rng([identity.seed, 0x5CA])
    control = cage()
    oval, inside = rest[list(OVAL)], rest[list(INNER_OVAL)]
    k = len(oval)
    polar = np.linspace(0, 2 * np.pi, k, endpoint=False)  # 0 at the top, pi at the chin
    chin = np.clip(-np.cos(polar), 0, 1) ** 4
    beside = np.abs(np.sin(polar)) ** 2
    inset = 0.30 + 0.20 * beside - 0.62 * chin
    edge = oval + (inside - oval) * np.clip(inset, 0, 1)[:, None]
    edge = edge + chin[:, None] * (0, -0.42, -0.75)
    edge = edge + (1 - chin)[:, None] * _outward(edge) * 0.12

    torso = Torso(identity, rest)
    scale = np.abs(oval[:, 0]).max() / 7.6

    def hull(p: np.ndarray) -> np.ndarray:
        skull = _ball(p, (0, 4.2, -8.0), (9.5 * scale, 9.9, 10.9))
        jaw = _ball(p, (0, -3.2, -7.0), (9.9 * scale, 9.6, 8.4))
        y = p[..., 1]
        wide = 7.6 + 6 * max(torso.neck - 1.05, 0) + 0.12 * np.clip(-4 - y, 0, 12)
        neck = np.hypot(p[..., 0] / wide, (p[..., 2] + 8.0) / 7.4) * 7.4 - 7.4
        neck = np.maximum(neck, y - 2.0)
        return _blend(_blend(skull, jaw, 2.5), neck, 3.0)

    skull = rest[control.skull]
    rings = []
    for j in range(10):
        middle = skull[j].mean(axis=0)
        rings.append(_out_to(hull, skull[j], middle))
    rings = np.array(rings)
    # In front the cloth hangs from the chin to the chest.
    top, low = edge + np.array([0, -0.3, 0.25]), rings[-1]
    for j in range(10):
        s = ((j + 1) / 10) ** 0.9
        hang = top * (1 - s) + low * s + np.array([0, -0.2, 0.9]) * np.sin(np.pi * s)
        rings[j] = rings[j] * (1 - chin[:, None]) + hang * chin[:, None]
    azimuth = np.arctan2(rings[-1][:, 0], rings[-1][:, 2] + 8.4)
    ahead = np.cos(azimuth)
    skirt = []
    over = 2.2 if identity.clothes == "blazer" else 1.5
    for s in (0.25, 0.6, 1.0):
        t = 2.6 + (2.0 + 1.6 * np.clip(ahead, 0, 1) + 0.5 * np.sin(azimuth * 2 + rng.uniform(0, 6))) * s
        skirt.append(torso.lifted(t, azimuth, np.full(k, over + 0.9 * (1 - s) ** 2)))
    tucked = torso.lifted(t, azimuth, np.full(k, 0.2))
    under = edge - _outward(edge) * 0.5
    roll = edge + _outward(edge) * 0.42 + (rings[0] - edge) * 0.16
    nodes = np.stack([under, edge, roll, *rings[:5], *skirt, tucked])
    for _ in range(2):  # cloth has no dents
        nodes[3:-2] = 0.5 * nodes[3:-2] + 0.25 * (nodes[2:-3] + nodes[4:-1])
        nodes[3:-1] = 0.6 * nodes[3:-1] + 0.2 * (np.roll(nodes[3:-1], 1, axis=1) + np.roll(nodes[3:-1], -1, axis=1))
    rows = np.concatenate(
        [[0, 0.5, 1, 1.5, 2, 2.5], np.linspace(3, len(nodes) - 2, 40), [len(nodes) - 1.5, len(nodes) - 1]]
    )
    columns = 84
    share = np.clip(1 - np.arange(len(nodes)) / 8.0, 0, 1)[:, None] * np.ones(k)
    y = nodes[..., 1]
    turns = np.clip((y + 15.0) / (np.interp(nodes[..., 2], (-13, -3.5), (-5.5, -10.0)) + 15.0), 0, 1)
    turns = turns * turns * (3 - 2 * turns)
    points = _finer(nodes, rows, columns)
    extra = np.clip(_finer(np.stack([share, turns], axis=-1), rows, columns), 0, 1)
    points = (points + _drape(rng, points, rows, columns))[:, :-1]
    extra = extra[:, :-1]
    nearest = np.array(OVAL)[np.round(np.linspace(0, k, columns, endpoint=False)).astype(int) % k]
    follows = np.tile(nearest, len(rows))
    texture, where = _woven(rng, identity.fabric_2 if rng.random() < 0.7 else identity.fabric, points)
    row, column = np.divmod(grid(len(rows), columns + 1)[:, ::-1], columns + 1)
    triangles = (row * columns + column % columns).astype(np.int32)  # closed
    return Piece(
        *(points.reshape(-1, 3), triangles, where, texture, "cloth"),
        *(extra[..., 1].ravel(), follows, (extra[..., 0] * 0.9).ravel()),
    )


def _outward(ring: np.ndarray) -> np.ndarray:
    """Away from the face (k, 3): forward and to the side."""
    away = (ring - ring.mean(axis=0)) * (0.5, 0.3, 0)
    out = away / (np.linalg.norm(away, axis=1, keepdims=True) + 1e-6) * 0.75 + (0, 0, 0.65)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def _drape(rng: np.random.Generator, points: np.ndarray, rows: np.ndarray, columns: int) -> np.ndarray:
    """Displacements (r, c, 3) of folds: slings under the chin, pleats at the temples."""
    polar = np.linspace(0, 2 * np.pi, columns + 1)[None, :]
    r = rows[:, None]
    wander = 0.5 * np.sin(polar + rng.uniform(0, 6)) + 0.35 * np.sin(2 * polar + rng.uniform(0, 6))
    low = np.clip((-np.cos(polar) + 0.55) / 1.1, 0, 1) * np.clip((r - 3.0) / 2.0, 0, 1)
    slings = np.sin(r * rng.uniform(1.9, 2.4) + 1.3 * wander + rng.uniform(0, 6))
    slings = slings + 0.5 * np.sin(r * rng.uniform(3.2, 3.9) - 1.6 * wander + rng.uniform(0, 6))
    high = np.clip((np.cos(polar) + 0.3) / 1.0, 0, 1) * np.clip((r - 2.5) / 3.0, 0, 1) * np.clip((8 - r) / 3, 0, 1)
    pleats = np.sin(r * 1.1 + 2.5 * np.sin(polar + rng.uniform(0, 6)) + rng.uniform(0, 6))
    crossed = (polar - np.pi) * rng.choice((-1, 1)) * 1.5 + (r - rng.uniform(6.8, 7.6)) * 0.5
    crossed = (
        np.clip(-1.4 * np.cos(polar), 0, 1) * np.clip((r - 4) / 2, 0, 1) / (1 + np.exp(-crossed / 0.10))
    )  # one end lies over the other
    height = 0.22 * low * slings + 0.10 * high * pleats + 0.40 * crossed
    down = np.gradient(points, axis=0)
    along = np.gradient(points, axis=1)
    along[:, [0, -1]] = ((points[:, 1] - points[:, -2]) / 2)[:, None]
    normal = np.cross(along, down)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    if (normal[len(rows) // 3] * (points[len(rows) // 3] - (0, 0, -8))).sum() < 0:
        normal = -normal
    return normal * height[..., None]


def _woven(rng: np.random.Generator, colour: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    side = 384
    texture = plain(colour, 0.16, side)
    thread = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), sigmaX=0.6, sigmaY=2.0)
    texture[..., :3] *= (1 + 0.02 * thread / thread.std() + 0.015 * noise(rng, side, side, 40))[..., None]
    angle = np.arctan2(points[..., 0], points[..., 2] + 8.4)
    where = np.stack([(angle / (2 * np.pi) + 0.5) * (side - 1), (14 - points[..., 1]) / 40 * (side - 1)], axis=-1)
    return np.clip(texture, 0.003, 0.9), where.reshape(-1, 2).astype(np.float32)


class _Cap:
    """The shape of a knitted cap: an ellipsoid above a rim."""

    def __init__(self, identity: Identity, rest: np.ndarray) -> None:
        rng = np.random.default_rng([identity.seed, 0xBEA1])
        self.middle = np.array([0, 4.6, -8.2])
        crown = rest[:, 1].max() + rng.uniform(1.4, 2.6) - 4.6
        self.radii = np.array([8.45 * np.abs(rest[:468, 0]).max() / 7.6, crown, 10.6])
        self._front = max(rest[[105, 334], 1].max() + 1.35, 7.3)

    def rim(self, turn: np.ndarray) -> np.ndarray:
        """The rim's height at angles from the front."""
        front = self._front
        return np.interp(np.abs(turn), (0, 1.0, 1.6, 2.2, np.pi), (front, front - 0.5, 4.4, 0.0, -2.5))


def beanie(identity: Identity, rest: np.ndarray) -> Piece:
    """A knitted cap down to the middle of the forehead, with a turned-up edge; it turns with the head."""
    rng = np.random.default_rng([identity.seed, 0xBEA2])
    cap = _Cap(identity, rest)
    columns, rise = 64, cap.radii[1]
    turn = np.linspace(-np.pi, np.pi, columns + 1)[None, :]
    s = np.concatenate([[-0.02, 0.0, 0.02, 0.06, 0.16, 0.27, 0.31, 0.34], np.linspace(0.40, 1, 14)])[:, None]
    low = np.arcsin(np.clip((cap.rim(turn) - cap.middle[1]) / rise, -0.9, 0.95))
    polar = low + (np.pi / 2 - low) * np.clip(s, 0, 1)
    direction = np.stack(
        np.broadcast_arrays(np.cos(polar) * np.sin(turn), np.sin(polar), np.cos(polar) * np.cos(turn)), axis=-1
    )
    cuff = np.interp(
        s, (-0.02, 0.0, 0.02, 0.06, 0.27, 0.31, 0.34, 1), (-0.06, 0.0, 0.045, 0.055, 0.055, 0.05, 0.0, 0.0)
    )
    points = cap.middle + direction * cap.radii * (1 + cuff)[..., None]
    rows, across = 128, 768
    v, u = np.mgrid[0:rows, 0:across]
    wave = u * (2 * np.pi * 60 / (across - 1))
    stitch = np.abs(np.sin(v * 0.8 + 1.4 * np.abs(np.sin(wave / 2))))
    texture = np.zeros((rows, across, 6), np.float32)
    shade = 0.80 + 0.16 * np.cos(wave) + 0.12 * stitch + 0.05 * rng.standard_normal((rows, across))
    texture[..., :3] = identity.fabric_2 * shade[..., None]
    texture[..., 3] = 0.05
    texture[..., 4] = -0.45 * np.sin(wave)
    where = np.stack(
        np.broadcast_arrays((turn / (2 * np.pi) + 0.5) * (across - 1), np.clip(s, 0, 1) * (rows - 1)), axis=-1
    )
    flat = points.reshape(-1, 3)
    return Piece(
        *(flat, grid(len(s), columns + 1)[:, ::-1].copy(), where.reshape(-1, 2).astype(np.float32)),
        *(np.clip(texture, 0.003, 0.9), "cloth", np.ones(len(flat))),
    )


def under_cap(identity: Identity, rest: np.ndarray, strands: list[Strands]) -> list[Strands]:
    """Hair, pressed down where a cap lies on it."""
    if identity.headwear != "beanie":
        return strands
    cap = _Cap(identity, rest)
    pressed = []
    for hair in strands:
        roots = np.einsum("sk,skc->sc", hair.weights, rest[hair.roots])[:, None]
        p = roots + hair.offsets
        turn = np.arctan2(p[..., 0], p[..., 2] - cap.middle[2])
        reach = np.linalg.norm((p - cap.middle) / cap.radii, axis=-1)
        wanted = np.where(p[..., 1] > cap.rim(turn), np.minimum(reach, 0.97), reach)
        p = cap.middle + (p - cap.middle) * (wanted / reach)[..., None]
        level = np.linalg.norm(((p - cap.middle) / cap.radii)[..., [0, 2]], axis=-1)
        below = np.clip(cap.rim(turn) - p[..., 1], 0, None)  # and it spreads slowly from there
        squeeze = np.where(below > 0, np.minimum(1, (0.95 + 0.012 * below) / level), 1)
        p[..., [0, 2]] = cap.middle[[0, 2]] + (p - cap.middle)[..., [0, 2]] * squeeze[..., None]
        before = (np.abs(p[..., 0]) < 6.9) & (p[..., 2] > -5) & (p[..., 1] > -9) & (p[..., 1] < cap.rim(turn))
        keep = ~before.any(axis=1)  # no fringe
        hair = replace(hair, offsets=(p - roots).astype(np.float32))
        names = ("roots", "weights", "offsets", "colours", "occlusion", "thickness", "opacity")
        pressed.append(replace(hair, **{name: np.ascontiguousarray(getattr(hair, name)[keep]) for name in names}))
    return pressed
