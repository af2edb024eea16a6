"""Shoulders, clothes and ears."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

from .cage import cage
from .features import grid, plain
from .identity import Identity
from .raster import FAR, rasterise
from .skin import noise

AXIS_Z = -8.4  # of the torso, as seen from above
CLOTH_SIDE = 768  # texels of a garment's texture, seen from the front
CLOTH_CM = 76.0  # its width
CLOTH_TOP = -8.0  # y of its first row
ROWS = np.array(  # from inside the neck down: half width, its y; then reach and y in front, and at the back
    [
        *(
            (4.3, -10.2, 4.3, -12.8, 4.4, -9.0),
            (5.2, -11.5, 4.75, -14.9, 5.0, -11.0),
            (6.2, -12.7, 5.15, -16.0, 5.7, -12.2),
        ),
        *(
            (7.8, -13.8, 5.6, -16.9, 6.5, -13.6),
            (10.2, -14.7, 6.3, -18.3, 7.6, -15.2),
            (13.2, -15.5, 7.0, -20.0, 8.6, -17.0),
        ),
        *(
            (16.4, -16.4, 7.9, -22.3, 9.3, -19.5),
            (19.0, -17.9, 8.7, -24.8, 9.8, -22.0),
            (20.8, -20.4, 9.3, -27.6, 10.2, -25.0),
        ),
        *(
            (21.9, -24.5, 9.8, -31.0, 10.4, -29.0),
            (22.5, -31.0, 10.1, -38.0, 10.4, -38.0),
            (22.6, -42.0, 10.2, -47.0, 10.2, -47.0),
        ),
        (22.0, -62.0, 10.0, -62.0, 10.0, -62.0),
    ]
)
LAST = len(ROWS) - 1.0
Neckline = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Piece:
    """A mesh that a person wears or shows below the head; centimetres, at rest."""

    points: np.ndarray  # (n, 3)
    triangles: np.ndarray
    texels: np.ndarray  # (n, 2) float32
    texture: np.ndarray
    material: str  # "skin", "cloth" or "frame"
    turns: np.ndarray | None = None  # (n,) how far it turns with the head, 0 ... 1; None: it stays
    follows: np.ndarray | None = None  # (n,) vertices of the fine mesh whose movement it shares
    share: np.ndarray | None = None  # (n,) how much of it


class Torso:
    """The body's surface from the neck's root down, at heights counted in ROWS and angles from the front."""

    def __init__(self, identity: Identity, rest: np.ndarray) -> None:
        """`rest` is the fine mesh of the head at rest."""
        rows = ROWS.copy()
        narrow = 0.11 * identity.feminine + 0.04 * np.clip((identity.age - 0.5) * 2, 0, 1)
        for k in (0, 2, 4):
            rows[:, k] = np.where(rows[:, k] > 7, 7 + (rows[:, k] - 7) * (1 - narrow), rows[:, k])
        ring = rest[cage().skull[9]]
        self.neck = float(np.abs(ring[:, 0]).max() / 5.1)  # its width, 1 on average
        fit = (self.neck - 1) * np.clip((6 - np.arange(len(rows))) / 4, 0, 1)
        rows[:, [0, 2, 4]] *= 1 + fit[:, None]
        self._profile = PchipInterpolator(np.arange(len(rows)), rows)
        self._bosom = 1.7 if identity.feminine else 0.35
        t, angle = np.linspace(0, LAST, 90)[:, None], np.linspace(-2, 2, 121)[None, :]
        side = CLOTH_SIDE // 2
        self._height = np.full((side, side), FAR, np.float32)
        screen = self.at(t, angle).reshape(-1, 3).astype(np.float32)
        screen[:, :2] = texels(screen) / 2
        rasterise(screen, grid(90, 121), self._height, np.empty((side, side), np.int32), 0, True)

    def at(self, t: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the surface."""
        t, angle = np.broadcast_arrays(t, angle)
        side, side_y, front, front_y, back, back_y = np.moveaxis(self._profile(t), -1, 0)
        sine, cosine = np.sin(angle), np.cos(angle)
        power = 1 - 0.30 * np.clip((t - 3) / 5, 0, 1)
        ahead = cosine > 0
        x = side * np.sign(sine) * np.abs(sine) ** power
        z = AXIS_Z + np.where(ahead, front, back) * np.sign(cosine) * np.abs(cosine) ** power
        y = side_y * sine**2 + np.where(ahead, front_y, back_y) * cosine**2
        a, facing = np.abs(x), np.clip(cosine * 3, 0, 1)
        bone = np.clip((a - 0.7) / 1.6, 0, 1) * np.clip((13 - a) / 6, 0, 1)
        ridge = y + 17.3 - 0.13 * a
        z = z + facing * bone * (0.26 * np.exp(-((ridge / 0.6) ** 2)) - 0.14 * np.exp(-(((ridge - 1.5) / 1.0) ** 2)))
        z = z + facing * self._bosom * np.exp(-(((a - 7.5) / 5.0) ** 2) - (((y + 35) / 6.5) ** 2))
        arm = np.clip((-21.5 - y) / 5, 0, 1)  # the crease between arm and chest
        z = z - facing * arm * 1.5 * np.exp(-(((a - 15.6 + 0.04 * (y + 22)) / 1.1) ** 2))
        return np.stack([x, y, z], axis=-1)

    def lifted(self, t: np.ndarray, angle: np.ndarray, lift: np.ndarray | float) -> np.ndarray:
        """Points (..., 3) so many centimetres outside of the surface."""
        t, angle = np.broadcast_arrays(t, angle)
        e = 0.04
        down = self.at(np.clip(t + e, 0, LAST), angle) - self.at(np.clip(t - e, 0, LAST), angle)
        along = self.at(t, angle + e) - self.at(t, angle - e)
        normal = np.cross(down, along)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
        return self.at(t, angle) + normal * np.asarray(lift)[..., None]

    def front(self, x: np.ndarray, y: np.ndarray, lift: np.ndarray | float) -> np.ndarray:
        """Points (..., 3) that are seen at x, y from the front, `lift` centimetres before the surface."""
        x, y = np.broadcast_arrays(x, y)
        u, v = np.moveaxis(texels(np.stack([x, y], axis=-1)) / 2, -1, 0)
        z = cv2.remap(
            self._height, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.stack([x, y, z.reshape(x.shape) + lift], axis=-1)

    def edge(self, opens: Neckline, angle: np.ndarray) -> np.ndarray:
        """At each angle the last height at which `opens`, of points, is positive."""
        t = np.linspace(1.0, 0.9 * LAST, 600)
        is_open = opens(self.at(t[:, None], angle[None, :])) > 0
        last = len(t) - 1 - np.argmax(is_open[::-1], axis=0)
        return np.where(is_open.any(axis=0), t[last], t[0])


def texels(points: np.ndarray) -> np.ndarray:
    """Where (..., 2 or 3) centimetres lie in a garment's texture, (..., 2) float32."""
    u = (points[..., 0] / CLOTH_CM + 0.5) * (CLOTH_SIDE - 1)
    v = (CLOTH_TOP - points[..., 1]) / CLOTH_CM * (CLOTH_SIDE - 1)
    return np.stack([u, v], axis=-1).astype(np.float32)


def angles(columns: int) -> np.ndarray:
    """Angles around the body (columns,), closest in front."""
    u = np.linspace(-1, 1, columns)
    return np.pi * (0.30 * u + 0.70 * u**3)


def dress(identity: Identity, rest: np.ndarray) -> list[Piece]:
    """The bare neck's root and what the person wears; `rest` is the fine mesh of the head at rest."""
    rng = np.random.default_rng([identity.seed, 0xC10])
    torso = Torso(identity, rest)
    fabric, second = identity.fabric, identity.fabric_2
    clothes = identity.clothes
    scarf = identity.headwear == "scarf"  # which hides necklines: they stay simple
    low = 0.9 * rng.random() * identity.feminine  # how far a neckline is cut out
    crew = _round(13.5 + low, 6.6 * torso.neck + 0.8 * low, 2.75 + 1.6 * low)
    if scarf:
        crew = _round(14.4, 9.0 * torso.neck, 3.6)
        clothes = "blazer" if clothes == "blazer" else "crew"
    light = np.array([0.80, 0.80, 0.78]) * (0.72 + 0.28 * rng.random())
    if clothes == "crew":
        pieces, line = _shell(torso, crew, lambda xy: cloth(identity, rng, fabric, xy, "crew"), smooth=12)
    elif clothes == "vneck":
        pieces, line = _shell(
            torso, _vee(6.3 * torso.neck, -13.4, -21.5 - 3 * low), lambda xy: cloth(identity, rng, fabric, xy, "vneck")
        )
    elif clothes == "shirt":
        opening = _vee(5.8 * torso.neck, -12.8, -18.8 - 1.2 * rng.random())
        pieces, line = _shell(torso, opening, lambda xy: cloth(identity, rng, fabric, xy, "shirt"))
        pieces += _collar(torso, fabric, 0.36)
    elif clothes == "blazer":
        pieces, line = _blazer(identity, rng, torso, crew, light, second, collar=not scarf)
    else:
        high = _round(13.2, 6.4 * torso.neck, 2.9)
        pieces, line = _shell(torso, high, lambda xy: cloth(identity, rng, fabric, xy, "hoodie"), smooth=12)
        pieces += [_hood(torso, pieces[0].texture), *_cords(torso, rng, light)]
    return pieces if scarf else [_bust(torso, identity, line), *pieces]


def _round(y: float, half_width: float, depth: float) -> Neckline:
    """A neckline that is an arc in front, from the neck's side at -y centimetres."""

    def opens(p: np.ndarray) -> np.ndarray:
        x, y_, z = np.moveaxis(p, -1, 0)
        ahead = 1 - np.hypot(x / half_width, np.minimum(y_ + y, 0) / depth)
        behind = 1 - np.hypot(x / half_width, (z - AXIS_Z) / (half_width - 0.3))
        return np.where(z > AXIS_Z, ahead, np.minimum(behind, y_ + y + 0.6))

    return opens


def _vee(half_width: float, top: float, tip: float) -> Neckline:
    """A neckline whose sides run straight from the neck to a point in front."""
    behind = _round(-top, half_width, 2.5)

    def opens(p: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(p, -1, 0)
        bow = 0.35 * np.sin(np.pi * np.clip((top - y) / (top - tip), 0, 1))  # never quite straight
        vee = (y - tip) / (top - tip) - np.abs(x) / (half_width + bow)
        return np.where((z > AXIS_Z) & (y < top), vee, behind(p))

    return opens


def _bust(torso: Torso, identity: Identity, line: np.ndarray) -> Piece:
    columns, rows = len(line), 16
    angle = angles(columns)[None, :]
    t = np.linspace(0, 1, rows)[:, None] * (line[None, :] + 0.35)
    points = torso.at(t, angle).reshape(-1, 3)
    rng = np.random.default_rng([identity.seed, 0xB05])
    side = 128
    texture = plain(identity.skin, 0.3, side)
    texture[..., :3] *= 1 + (0.03 * noise(rng, side, side, 20) + 0.02 * noise(rng, side, side, 6))[..., None]
    uv = np.clip((points[:, :2] - (0, -19)) * (side / 40.0, -side / 40.0) + side / 2, 0, side - 1)
    return Piece(points, grid(rows, columns), uv.astype(np.float32), texture, "skin")


def _shell(
    torso: Torso, opens: Neckline, paint: Callable, *, lift: float = 0.35, ease: float = 1.0, smooth: int = 0
) -> tuple[list[Piece], np.ndarray]:
    """A garment around the torso with the neckline `opens`, and that line's heights (columns,).

    `paint` makes the texture, of the neckline's points (k, 2).
    """
    columns = 73
    angle = angles(columns)
    line = torso.edge(opens, angle)
    for _ in range(smooth):
        line[1:-1] = 0.25 * line[:-2] + 0.5 * line[1:-1] + 0.25 * line[2:]
    s = np.linspace(0, 1, 36)[:, None] ** 1.3
    t = line[None, :] + (LAST - line[None, :]) * s
    t = np.concatenate([t[:1] + 0.05, t[:1] - 0.02, t], axis=0)
    lifts = np.concatenate([[-0.15, lift * 0.75], np.full(36, lift)])[:, None]
    lifts[2:5, 0] += (0.12, 0.08, 0.02)  # the band at the edge is thicker
    points = torso.lifted(t, angle[None, :], lifts)
    texture, folded = paint(points[2, np.abs(angle) < 2.0, :2])
    where = texels(points)
    fold = cv2.remap(folded, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    front = np.clip(np.cos(angle) * 4, 0, 1) * np.clip((np.arange(38) - 3) / 6, 0, 1)[:, None]
    flat = torso.lifted(t, angle[None, :], lifts + ease * fold * front).reshape(-1, 3)
    return [Piece(flat, grid(38, columns), texels(flat), texture, "cloth")], line


def _collar(torso: Torso, fabric: np.ndarray, gap: float, lift: float = 0.6, size: float = 1.0) -> list[Piece]:
    """A shirt's collar: a stand around the neck, from whose edge two leaves fall, `gap` radians apart in front."""
    columns = 25
    u = np.linspace(0, 1, columns)  # from the nape to the front
    texture = plain(np.minimum(fabric * 1.06, 0.85), 0.1, 64)
    texture[49:52, :, :3] *= 0.86  # the seam
    texture[61:, :, :3] *= 0.45  # under the edge
    row = np.array([0, 2, 4, 8, 20, 34, 48, 58, 63])
    pieces = []
    for side in (-1, 1):
        angle = side * (np.pi * (1 - u) + gap * u)
        ring = torso.neck * np.interp(u, (0, 0.45, 0.8, 1), (6.0, 6.0, 6.25, 6.35))
        fold_y = np.interp(u, (0, 0.3, 0.55, 0.8, 1), (-10.6, -11.0, -12.0, -13.8, -15.7 - 1.2 * gap))
        fold = np.stack([ring * np.sin(angle), fold_y, AXIS_Z + 0.1 + 0.93 * ring * np.cos(angle)], axis=-1)
        fold[:, 2] -= 0.5 * np.clip(u - 0.5, 0, 1)
        foot = fold * (0.99, 1, 1) - (0, 3.2, 0)
        foot[:, 2] = AXIS_Z + (foot[:, 2] - AXIS_Z) * 0.97
        reach = 2.0 + size * np.interp(u, (0, 0.4, 0.7, 0.88, 1), (1.1, 1.0, 1.3, 2.2, 3.1))
        spread = side * size * np.interp(u, (0, 0.6, 1), (0, 0.10, 0.30))
        edge, under = (torso.lifted(reach, angle + spread, lift - tuck) for tuck in (0, 0.28))
        middle = (fold + edge) / 2 + (edge - fold) * (0.12, 0, 0.12) + (0, 0.45, 0.25)
        s = np.array([0.1, 0.3, 0.55, 0.8, 1.0])[:, None, None]
        leaf = fold * (1 - s) ** 2 + middle * 2 * s * (1 - s) + edge * s**2
        points = np.concatenate([foot[None], 0.5 * (foot + fold)[None], fold[None] + (0, 0.05, 0), leaf, under[None]])
        triangles = grid(len(points), columns)
        flat = points.reshape(-1, 3)
        where = np.stack(np.broadcast_arrays(u[None, :] * 62, row[:, None]), axis=-1).reshape(-1, 2).astype(np.float32)
        order = triangles if side < 0 else triangles[:, ::-1].copy()
        pieces.append(Piece(flat, order, where, texture, "cloth"))
    return pieces


def _blazer(
    identity: Identity,
    rng: np.random.Generator,
    torso: Torso,
    crew: Neckline,
    light: np.ndarray,
    second: np.ndarray,
    *,
    collar: bool,
) -> tuple[list[Piece], np.ndarray]:
    tie = collar and rng.random() < (0.0 if identity.feminine else 0.5)
    shirt = collar and (tie or rng.random() < 0.5)
    opening = _vee(5.7 * torso.neck, -12.6, -16.4 if tie else -19.5) if shirt else crew
    pieces, line = _shell(
        torso,
        opening,
        lambda xy: cloth(identity, rng, light, xy, "shirt" if shirt else "crew"),
        lift=0.2,
        ease=0.25,
        smooth=0 if shirt else 12,
    )
    if shirt:
        pieces += _collar(torso, light, 0.16 if tie else 0.36, 0.42, 0.55)
    if tie:
        pieces.append(_tie(torso, rng, second))
    tip = -rng.uniform(33, 38)
    jacket, _ = _shell(
        torso,
        _vee(6.9 * torso.neck, -13.3, tip),
        lambda xy: cloth(identity, rng, identity.fabric, xy, "blazer"),
        lift=0.75,
    )
    texture = jacket[0].texture
    for side in (-1, 1):
        # Down the opening: first the collar, then after a notch the lapel.
        for first, last, widths in ((-13.2, -18.6, (2.2, 3.6)), (-18.4, tip + 0.5, (5.4, 0.5))):
            y = np.linspace(first, last, 14)[None, :]
            inner = 6.9 * torso.neck * np.clip((y - tip) / (-13.3 - tip), 0, 1) - 0.15
            across = np.array([-0.05, 0.0, 0.3, 0.65, 0.94, 1.0, 1.0])[:, None]
            wide = np.linspace(widths[0], widths[1], 14)[None, :]
            x = inner + across * wide
            drop = -0.10 * across * wide if first > -14 else 0.16 * across * wide
            lifts = 0.9 + np.array([-0.5, 0.25, 0.42, 0.38, 0.30, 0.22, -0.1])[:, None] + (0.12 if first > -14 else 0)
            points = torso.front(
                side * x, y + drop * (1 - np.linspace(0, 1, 14)[None, :]) - 0.35 * across * wide * (first > -14), lifts
            )
            flat = points.reshape(-1, 3)
            triangles = grid(7, 14)
            order = triangles if side < 0 else triangles[:, ::-1].copy()
            jacket.append(Piece(flat, order, texels(flat), texture, "cloth"))
    return [*pieces, *jacket], line


def _tie(torso: Torso, rng: np.random.Generator, colour: np.ndarray) -> Piece:
    y = np.array([-15.6, -15.8, -16.4, -17.2, -17.9, -18.2, -18.6, -20, -24, -30, -40, -60])[:, None]
    wide = np.array([1.2, 1.35, 1.35, 1.15, 0.95, 0.75, 0.95, 1.15, 1.6, 2.2, 3.0, 4.0])[:, None]
    s = np.linspace(-1, 1, 7)[None, :]
    lift = np.array([0.3, 0.8, 0.95, 0.95, 0.8, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])[:, None] * (1 - 0.55 * s**4) + 0.2
    points = torso.front(wide * s, y + 0.25 * s**2 * (y > -18), lift).reshape(-1, 3)
    side = 192
    texture = plain(colour * 0.8, 0.35, side)
    yy, xx = np.mgrid[0:side, 0:side]
    if rng.random() < 0.5:
        stripe = np.mod(xx + yy, 22) < 5
        texture[stripe, :3] = colour * 0.35 + 0.25 * rng.random()
    uv = np.stack([(points[:, 0] + 4) * 12, (-15 - points[:, 1]) * 12], axis=1)
    return Piece(points, grid(12, 7), np.clip(uv, 0, side - 1).astype(np.float32), texture, "cloth")


def tube(
    path: np.ndarray, radius: np.ndarray | float, closed: bool, sides: int = 7, flat: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A tube along points (k, 3): points and triangles. `flat` squeezes it along z."""
    k = len(path)
    ahead, before = (
        (np.roll(path, -1, 0), np.roll(path, 1, 0))
        if closed
        else (path[[*range(1, k), k - 1]], path[[0, *range(k - 1)]])
    )
    tangent = ahead - before
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    reference = np.where(np.abs(tangent[:, 2:]) > 0.9, np.array([[0.0, 1, 0]]), np.array([[0.0, 0, 1]]))
    a = np.cross(tangent, reference)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(a, tangent)
    turn = np.linspace(0, 2 * np.pi, sides + 1)[:, None, None]
    radius = np.broadcast_to(radius, (k,))[None, :, None]
    points = path + radius * (np.cos(turn) * a + flat * np.sin(turn) * b)
    if closed:
        points = np.concatenate([points, points[:, :1]], axis=1)
    return points.reshape(-1, 3), grid(sides + 1, points.shape[1])[:, ::-1].copy()


def _hood(torso: Torso, texture: np.ndarray) -> Piece:
    """The hood that lies in a roll around the neck, thick behind."""
    angle = np.linspace(-np.pi, np.pi, 49)
    away = np.abs(angle) / np.pi
    ring = torso.neck * np.interp(away, (0, 0.2, 0.5, 1), (6.5, 6.9, 7.6, 8.2))
    y = np.interp(away, (0, 0.12, 0.35, 0.6, 1), (-17.3, -16.4, -13.6, -11.6, -10.8))
    path = np.stack([ring * np.sin(angle), y, AXIS_Z + 0.92 * ring * np.cos(angle)], axis=1)
    thick = np.interp(away, (0, 0.1, 0.4, 0.7, 1), (0.55, 0.9, 1.35, 2.0, 2.4)) * (1 + 0.08 * np.sin(angle * 9 + 1))
    points, triangles = tube(path, thick, False, 11)
    where = points.copy()
    where[:, 0] = np.where(where[:, 0] < 0, -1, 1) * (np.abs(where[:, 0]) + 4)
    where[:, 1] -= 8
    return Piece(points, triangles, texels(where), texture, "cloth")


def _cords(torso: Torso, rng: np.random.Generator, colour: np.ndarray) -> list[Piece]:
    pieces = []
    for side in (-1, 1):
        y = np.linspace(-17.2, -27 - rng.uniform(0, 5), 22)
        x = side * (2.5 + 0.12 * rng.normal() + 0.25 * np.sin((y + 17) / rng.uniform(2.5, 4)))
        path = torso.front(x, y, 0.55)
        radius = np.where(y < y[-1] + 1.2, 0.26, 0.2)
        points, triangles = tube(path, radius, False, 6)
        pieces.append(
            Piece(points, triangles, np.zeros((len(points), 2), np.float32), plain(colour * 0.9, 0.1), "cloth")
        )
    return pieces


def folds(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Heights in centimetres of the folds that pull at a garment, at x, y centimetres."""
    height = np.zeros_like(x)
    for side in (-1, 1):
        starts = [((15.0, -23.0), rng.uniform(-2.9, -2.2)) for _ in range(5)]  # from the armpit to the waist
        starts += [((15.5, -22.0), rng.uniform(2.5, 3.1)) for _ in range(3)]  # and over the chest
        starts += [((rng.uniform(8, 13), -17.0), rng.uniform(-1.9, -1.3)) for _ in range(3)]  # from the shoulder
        starts += [((18.5, -25.0), rng.uniform(-1.8, -0.9)) for _ in range(3)]  # the sleeve
        for (sx, sy), direction in starts:
            px, py = side * x - sx - rng.normal(0, 0.8), y - sy - rng.normal(0, 1.2)
            along = px * np.cos(direction) + py * np.sin(direction)
            across = -px * np.sin(direction) + py * np.cos(direction) - rng.normal(0, 0.02) * along**2
            length = rng.uniform(5, 13)
            width = 0.55 + 0.09 * np.clip(along, 0, 20)
            window = np.clip(along / 2.0 + 0.2, 0, 1) * np.exp(-((np.clip(along, 0, None) / length) ** 2))
            height += rng.uniform(0.15, 0.42) * window * np.exp(-((across / width) ** 2))
    return height


def cloth(
    identity: Identity, rng: np.random.Generator, fabric: np.ndarray, seam: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """A garment's texture (CLOTH_SIDE, CLOTH_SIDE, 6) float32 and its broad folds' heights in centimetres.

    `seam` (k, 2) runs along its neckline.
    """
    side = CLOTH_SIDE
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    x, y = (x / (side - 1) - 0.5) * CLOTH_CM, CLOTH_TOP - y / (side - 1) * CLOTH_CM
    stiff = {"blazer": 0.45, "shirt": 0.8, "hoodie": 1.15}.get(kind, 1.0)
    small = (slice(None, None, 2), slice(None, None, 2))
    coarse = (
        folds(rng, x[small], y[small])
        + 0.10 * noise(rng, side // 2, side // 2, 34)
        + 0.03 * noise(rng, side // 2, side // 2, 12)
    )
    relief = stiff * cv2.resize(coarse.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    weave = rng.standard_normal((side, side)).astype(np.float32)
    hollow = np.clip(cv2.GaussianBlur(relief, (0, 0), 14) - relief, -0.1, 0.3)
    broad = cv2.GaussianBlur(relief, (0, 0), 7)
    relief = relief - broad
    colour = np.ones((side, side, 3), np.float32) * fabric.astype(np.float32)
    a = np.abs(x)
    line = np.round(texels(seam) * 16).astype(np.int32)

    def along(width: float) -> np.ndarray:
        """1 within `width` centimetres of the neckline."""
        mask = np.zeros((side, side), np.float32)
        cv2.polylines(mask, [line], False, 1.0, max(1, round(2 * width * side / CLOTH_CM)), cv2.LINE_AA, 4)
        return mask

    def lay(mask: np.ndarray, new: np.ndarray | None, lift: float = 0.0) -> None:
        nonlocal colour, relief
        mask = mask.astype(np.float32)
        if new is not None:
            soft = cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None]
            colour = colour * (1 - soft) + np.asarray(new, np.float32) * soft
        if lift:
            relief = relief + lift * cv2.GaussianBlur(mask, (0, 0), 1.3)

    if kind in ("crew", "hoodie") and rng.random() < 0.25:
        wide = rng.uniform(1.2, 3.0)
        lay((np.mod(y + 0.02 * x * x * 0.3, 2 * wide + rng.uniform(0.5, 3)) < wide) & (y < -19), identity.fabric_2)
    elif kind == "shirt" and rng.random() < 0.35:
        period = rng.uniform(0.9, 1.8)
        tone_ = 0.6 * fabric + 0.4 * identity.fabric_2
        lay(np.mod(x, period) < 0.22, tone_)
        if rng.random() < 0.4:
            lay(np.mod(y, period) < 0.22, tone_)
    elif kind == "blazer" and rng.random() < 0.3:
        colour = colour * (1 + 0.10 * ((np.mod(x, 2.4) < 0.14) | (np.mod(y, 3.0) < 0.14)))[..., None].astype(np.float32)
    if kind in ("crew", "vneck", "hoodie"):
        width = 1.9 if kind != "vneck" else 1.4
        band = along(width)
        turn = np.arctan2(x, -(y + 11.5))
        lay(band > 0.5, None, 0.06)
        relief = relief + 0.022 * band * np.sin(turn * 150)
        colour = colour * (1 - band[..., None] * (0.05 + 0.05 * np.sin(turn * 150)[..., None]))
        lay((along(width + 0.12) > 0.5) & (band < 0.5), fabric * 0.66, -0.05)
    elif kind == "shirt":
        lay(a < 1.5, None, 0.05)
        lay(np.abs(a - 1.5) < 0.07, fabric * 0.72)
        for k in range(6):
            spot = np.hypot(x, y + 21.5 + 8 * k)
            lay(spot < 0.52, fabric * 0.45 + 0.18, 0.08)
            lay(np.hypot(a - 0.12, y + 21.5 + 8 * k) < 0.08, fabric * 0.25)
        lay(np.abs(a - 16.4 + 0.10 * (y + 18)) < 0.07, fabric * 0.8, -0.04)
    if kind in ("crew", "vneck", "hoodie", "blazer"):
        lay(
            (np.abs(a - 16.0 + 0.12 * (y + 18)) < 0.09) & (y > -26), fabric * 0.75, -0.06
        )  # where the sleeve is sewn on
    fine = 0.010 if kind == "blazer" else 0.006
    colour *= (1 + (0.06 if kind in ("hoodie", "blazer") else 0.035) * weave - 0.5 * hollow)[..., None]
    relief = relief + fine * weave
    slopes = (np.gradient(relief, axis=1) * side / CLOTH_CM, -np.gradient(relief, axis=0) * side / CLOTH_CM)
    gloss = np.full((side, side, 1), 0.10, np.float32)
    layers = [np.clip(colour, 0.003, 0.9), gloss, *(np.clip(s, -0.7, 0.7)[..., None] for s in slopes)]
    return np.ascontiguousarray(np.concatenate(layers, axis=2), dtype=np.float32), broad


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
    bowl = np.exp(-(((x * r - 0.1) / 0.75) ** 2 + ((y * r + 0.25) / 1.05) ** 2))
    tragus = np.exp(-(((x * r + 1.15) / 0.35) ** 2 + ((y * r + 0.5) / 0.55) ** 2))
    height = 0.42 * rim + 0.34 * fold - 0.75 * bowl + 0.55 * tragus - 0.25 * np.clip((r - 0.93) / 0.07, 0, 1) * 1.6
    occlusion = np.clip(1 - 0.55 * bowl - 0.25 * np.exp(-(((r - 0.74) / 0.06) ** 2)) * (1 - 0.5 * fold), 0.25, 1)
    result = []
    triangles = grid(rows, columns)
    for side, vertex in ((-1, 234), (1, 454)):
        anchor = rest[vertex] + np.array([side * -0.05, 0.0, -2.1])
        local = np.stack(
            np.broadcast_arrays(-x * r * np.cos(out), y * r, height + np.clip(x * r + 1.2, 0, None) * np.sin(out)),
            axis=-1,
        )
        points = np.empty((rows, columns, 3))
        points[..., 2] = anchor[2] + local[..., 0] + 0.10 * local[..., 1] * -1
        points[..., 1] = anchor[1] + 0.25 + local[..., 1]
        points[..., 0] = anchor[0] + side * local[..., 2] + side * 0.06 * local[..., 1]
        order = triangles if side < 0 else triangles[:, ::-1].copy()
        result.append((points.reshape(-1, 3), order, occlusion.ravel().astype(np.float32)))
    return result
