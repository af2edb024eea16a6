"""Things that come between a camera and a mouth: a hand, microphones. Drawn once, pasted into frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from .relief import NOWHERE, Patch, Relief
from .srgb import decode

KINDS = ("hand", "handheld microphone", "studio microphone")
SCALE = 760  # pixels per unit while a solid is built; the sprite has half of it
SHADOW_SHRINK = 16  # a shadow is soft, so its mask is this much smaller than the sprite
CLOTHS = ("#3d4650", "#6f7378", "#8a8173", "#2c3038", "#7b8894", "#5a4f49", "#c9c6bf", "#47544b")


@dataclass(frozen=True, eq=False)
class Occluder:
    """A picture of a thing, to be pasted so that its anchor lies where it is wanted."""

    sprite: np.ndarray  # (h, w, 4) float32 premultiplied sRGB in [0, 1]
    anchor: tuple[float, float]  # x, y in sprite pixels: what comes in front of the mouth
    unit: float  # sprite pixels in the length of a hand, which is about a face's height

    @cached_property
    def levels(self) -> list[np.ndarray]:
        """The sprite, and ever halved copies for small frames."""
        levels = [self.sprite]
        while min(levels[-1].shape[:2]) > 32:
            rows, columns = (side // 2 for side in levels[-1].shape[:2])
            levels.append(cv2.resize(levels[-1], (columns, rows), interpolation=cv2.INTER_AREA))
        return levels

    @cached_property
    def shadow(self) -> np.ndarray:
        """(h, w) float32 in [0, 1]: the cover, blurred, at 1 / SHADOW_SHRINK of the sprite's size, with a margin."""
        height, width = self.sprite.shape[:2]
        size = (max(1, width // SHADOW_SHRINK), max(1, height // SHADOW_SHRINK))
        cover = cv2.resize(np.ascontiguousarray(self.sprite[..., 3]), size, interpolation=cv2.INTER_AREA)
        cover = cv2.copyMakeBorder(cover, 4, 4, 4, 4, cv2.BORDER_CONSTANT)
        return cv2.GaussianBlur(cover, (0, 0), 1.6)


def make_occluder(
    kind: str,
    rng: np.random.Generator,
    skin_rgb: Sequence[int],
    *,
    light: tuple[float, float] = (-0.45, -0.6),
) -> Occluder:
    """One of KINDS, of a random build, in the person's skin colour (sRGB, 0 to 255).

    `light` is where the lamp stands, x to the right and y down; 1 is as far aside as in front.
    """
    if kind not in _MAKERS:
        raise ValueError(f"expected one of {', '.join(KINDS)}, got {kind}")
    skin = decode(np.asarray(skin_rgb, np.float32) / 255).astype(np.float32)
    return _MAKERS[kind](rng, skin, (*light, 1.0))


# Pasting


def paste(
    frame: np.ndarray,
    occluder: Occluder,
    x: float,
    y: float,
    scale: float,
    angle: float = 0.0,
    view: np.ndarray | None = None,
    *,
    shadow: float = 0.3,
) -> None:
    """Draw an occluder over a picture (h, w, 3) uint8 RGB, in place.

    Its anchor comes to (x, y) and a hand's length takes `scale`, both in frame pixels; `angle` turns it clockwise,
    radians. `view` (2, 3) maps frame pixels to the picture's (None: they are the same). `shadow` is the share of
    light that the thing takes from what lies close behind it.
    """
    cos, sin = np.cos(angle) * scale / occluder.unit, np.sin(angle) * scale / occluder.unit
    ax, ay = occluder.anchor
    placed = np.array([(cos, -sin, x - cos * ax + sin * ay), (sin, cos, y - sin * ax - cos * ay), (0, 0, 1)])
    if view is not None:
        placed = np.vstack([np.asarray(view, np.float64), (0, 0, 1)]) @ placed
    if shadow:
        _darken(frame, occluder, placed, shadow)
    zoom = np.sqrt(abs(np.linalg.det(placed[:2, :2])))
    levels = occluder.levels
    level = int(np.clip(np.floor(np.log2(1 / max(zoom, 1e-6)) + 0.25), 0, len(levels) - 1))
    sprite = levels[level]
    warped, rows, columns = _warped(sprite, placed @ _from_level(occluder.sprite, sprite), frame.shape[:2])
    if warped is not None:
        part = frame[rows, columns]
        part[:] = np.clip(part * (1 - warped[..., 3:]) + warped[..., :3] * 255 + 0.5, 0, 255)


def _from_level(full: np.ndarray, small: np.ndarray) -> np.ndarray:
    """(3, 3): pixels of a smaller copy as pixels of the full sprite, centres at integers."""
    fx, fy = full.shape[1] / small.shape[1], full.shape[0] / small.shape[0]
    return np.array([(fx, 0, (fx - 1) / 2), (0, fy, (fy - 1) / 2), (0, 0, 1)])


def _warped(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray | None, slice, slice]:
    """The part of a picture of (height, width) `size` that an image covers, and which part that is."""
    height, width = image.shape[:2]
    corners = matrix[:2] @ np.array([(-1, -1, 1), (width, -1, 1), (-1, height, 1), (width, height, 1)]).T
    x0, y0 = np.maximum(np.floor(corners.min(axis=1)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 1, (size[1], size[0]))
    rows, columns = slice(int(y0), int(y1)), slice(int(x0), int(x1))
    if x0 >= x1 or y0 >= y1:
        return None, rows, columns
    shifted = matrix[:2].copy()
    shifted[:, 2] -= (x0, y0)
    return cv2.warpAffine(image, shifted, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR), rows, columns


def _darken(frame: np.ndarray, occluder: Occluder, placed: np.ndarray, depth: float) -> None:
    fx, fy = (occluder.sprite.shape[i] / (occluder.shadow.shape[i] - 8) for i in (1, 0))
    reach = 0.05 * occluder.unit  # below the thing
    lift = np.array([(fx, 0, (fx - 1) / 2 - 4 * fx), (0, fy, (fy - 1) / 2 - 4 * fy + reach), (0, 0, 1)])
    warped, rows, columns = _warped(occluder.shadow, placed @ lift, frame.shape[:2])
    if warped is not None:
        part = frame[rows, columns]
        part[:] = part * (1 - depth * warped[..., None]) + 0.5


# Moving


@dataclass(frozen=True)
class Placement:
    """Where an occluder is, seen from the mouth."""

    x: float  # of its anchor from the middle of the mouth, face heights, > 0 to the right
    y: float  # > 0 below
    angle: float  # radians, clockwise


@dataclass(frozen=True)
class Track:
    """A movement into the picture, in front of the mouth or the chin, and out again; a pure function of time."""

    start_s: float
    end_s: float
    rise_s: float  # how long it takes to come; it leaves in 0.8 of that
    away: tuple[float, float]  # from where it comes, from the mouth, face heights
    rest: tuple[float, float]  # where it stays
    turn: float  # radians that it turns on its way
    phases: tuple[float, ...]  # of the small movements while it stays

    def at(self, time_s: float) -> Placement | None:
        """Where it is; None before it comes and after it has gone."""
        if not self.start_s < time_s < self.end_s:
            return None
        room = self.end_s - self.start_s
        rise, fall = min(self.rise_s, room * 0.5), min(0.8 * self.rise_s, room * 0.45)
        there = _eased((time_s - self.start_s) / rise) * _eased((self.end_s - time_s) / fall)
        sway = [
            np.sin(2 * np.pi * hertz * time_s + phase)
            for hertz, phase in zip((0.31, 0.43, 0.37), self.phases, strict=True)
        ]
        x, y = (a + (b - a) * there for a, b in zip(self.away, self.rest, strict=True))
        x += 0.35 * there * (1 - there) * (self.rest[0] - self.away[0])  # arms swing on an arc
        return Placement(
            float(x + 0.012 * sway[0] * there),
            float(y + 0.012 * sway[1] * there),
            float(self.turn * (1 - there) + 0.025 * sway[2] * there),
        )


def _eased(share: float) -> float:
    """Minimum jerk, as hands move: 0 to 1."""
    share = float(np.clip(share, 0, 1))
    return share**3 * (10 - 15 * share + 6 * share**2)


def track(rng: np.random.Generator, start_s: float, end_s: float, *, cover: float = 1.0, away: float = 2.6) -> Track:
    """A random movement that lasts from `start_s` to `end_s`.

    `cover` says how much of the mouth it hides: 1 stays in front of it, 0 on the chin; `away` is how far below
    the mouth it waits, in face heights.
    """
    if end_s <= start_s:
        raise ValueError(f"expected an end after the start, got {start_s} s to {end_s} s")
    side = rng.choice((-1, 1))
    return Track(
        start_s=start_s,
        end_s=end_s,
        rise_s=float(rng.uniform(0.35, 0.7)),
        away=(float(side * rng.uniform(0.2, 0.7)), away),
        rest=(float(rng.normal(0, 0.04)), float(0.3 * (1 - cover) + rng.normal(0, 0.03))),
        turn=float(side * rng.uniform(0.1, 0.45)),
        phases=tuple(float(phase) for phase in rng.uniform(0, 2 * np.pi, 3)),
    )


# Hands

#: Finger by finger, index first: knuckle (x, y up from the wrist, z), length of the three bones together, radii of the
#: knuckle, the joints and the tip.
_KNUCKLES = np.array([(-0.148, 0.525, 0.0), (-0.045, 0.545, 0.018), (0.055, 0.52, 0.01), (0.145, 0.465, -0.015)])
_LENGTHS = (0.385, 0.43, 0.40, 0.315)
_RADII = (
    (0.060, 0.050, 0.043, 0.035),
    (0.062, 0.051, 0.044, 0.036),
    (0.058, 0.048, 0.042, 0.034),
    (0.051, 0.042, 0.036, 0.030),
)
_THUMB_RADII = (0.085, 0.06, 0.049, 0.038)
_BONES = (0.48, 0.3, 0.22)
_THUMB, _SLEEVE = 5, 9  # parts of a relief; 1 to 4 are the fingers, 0 is the rest of the hand


def _finger(knuckle: np.ndarray, length: float, spread: float, curl: Sequence[float]) -> np.ndarray:
    """Joints (4, 3) of a finger that points upwards, bent by `curl` radians at each, away from the camera."""
    points, bend = [knuckle], 0.0
    for bone, more in zip(_BONES, curl, strict=True):
        bend += more
        step = np.array((np.sin(spread) * np.cos(bend), np.cos(spread) * np.cos(bend), -np.sin(bend)))
        points.append(points[-1] + bone * length * step)
    return np.array(points)


def _hand(rng: np.random.Generator, skin: np.ndarray, light: tuple[float, float, float]) -> Occluder:
    """The back of a hand and a sleeve, the arm coming from below and aside."""
    mirror = float(rng.choice((-1, 1)))
    tilt = mirror * rng.uniform(0.25, 0.95)
    girth = rng.uniform(0.94, 1.06)
    relief = Relief(-1.3, -0.7, 1.3, 1.5, SCALE)

    def placed(points: Sequence[Sequence[float]]) -> np.ndarray:
        """Points (n, 3) with y up from the wrist as the relief's, turned around the middle of the hand."""
        x, y, z = np.asarray(points, np.float64).T
        x, y = x * mirror, 0.5 - y
        return np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt), z], axis=1)

    wrist = [(-0.07, 0.03, -0.03), (-0.025, 0.02, -0.02), (0.025, 0.02, -0.02), (0.065, 0.03, -0.03)]
    palm = [
        relief.cones(placed([start, knuckle]), (0.068 * girth, radii[0] * 1.08), flat=0.9)
        for start, knuckle, radii in zip(wrist, _KNUCKLES, _RADII, strict=True)
    ]
    palm.append(relief.cones(placed([(-0.085, 0.28, -0.05), (0.06, 0.24, -0.05)]), (0.09, 0.08)))
    palm.append(relief.cones(placed([(0, 0.1, -0.03), (0.01, -0.45, -0.06)]), (0.127 * girth, 0.132 * girth), flat=0.6))
    out = rng.uniform(-0.03, 0.1)
    thumb = placed(
        [
            (-0.065, 0.14, -0.1),
            (-0.175 - 0.4 * out, 0.29, -0.085),
            (-0.21 - out, 0.44, -0.07),
            (-0.21 - 1.3 * out, 0.545, -0.06),
        ]
    )
    relief.add(relief.smoothed(palm, 0.035), skin, skin=1)
    relief.add(relief.cones(thumb, np.array(_THUMB_RADII) * girth), skin, melt=0.06, part=_THUMB, skin=1)
    relaxed, fan = rng.uniform(0.12, 0.42), rng.uniform(0.02, 0.075)
    fingers = []
    for i, knuckle in enumerate(_KNUCKLES):
        curl = relaxed * (1 + 0.18 * i) * np.array((0.7, 1.0, 0.6)) * rng.uniform(0.8, 1.2, 3)
        length = _LENGTHS[i] * rng.uniform(0.97, 1.03)
        fingers.append(placed(_finger(knuckle, length, (i - 1.3) * fan + rng.normal(0, 0.012), curl)))
        relief.add(relief.cones(fingers[-1], np.array(_RADII[i]) * girth), skin, melt=0.02, part=i + 1, skin=1)
    for joint in (thumb[0], (thumb[0] + thumb[1]) / 2):
        relief.soften(joint, 0.13, 0.03)
    for i, points in enumerate(fingers):
        for share, reach in ((-0.08, 0.075), (0.12, 0.05)):
            relief.soften(points[0] + share * (points[1] - points[0]), reach, 0.02)
        _ridge(relief, placed([wrist[i]])[0], points[0], width=0.014, height=0.008)  # a tendon
    _skin_details(relief, rng, skin, [*fingers, thumb], [*_RADII, _THUMB_RADII])
    _sleeve(relief, rng, placed([(0.0, -0.16, -0.06), (0.03, -1.3, -0.1)]), (0.165, 0.23))
    return _occluder(relief, light, (0.0, -0.1))


def _ridge(relief: Relief, a: np.ndarray, b: np.ndarray, *, width: float, height: float) -> None:
    """Raise the surface along a line, most towards its end."""
    window = relief.window(*(np.minimum(a, b)[:2] - 3 * width), *(np.maximum(a, b)[:2] + 3 * width))
    along, across = relief.along(window, a, b - a)
    share = np.clip(along / np.linalg.norm((b - a)[:2]), 0, 1.1)
    rise = height * share * np.clip((1.1 - share) * 5, 0, 1) * np.exp(-((across / width) ** 2))
    relief.height[window] += np.where(relief.height[window] > -1, rise, 0)


def _sleeve(relief: Relief, rng: np.random.Generator, points: np.ndarray, radii: Sequence[float]) -> None:
    """A sleeve along points (n, 3), open at the first, with folds and a cuff."""
    cloth = CLOTHS[rng.integers(len(CLOTHS))]
    colour = decode(np.array([int(cloth[i : i + 2], 16) for i in (1, 3, 5)]) / 255).astype(np.float32)
    patch = relief.cones(points, radii, flat=0.75)
    along, across = relief.along(patch.window, points[0], points[1] - points[0])
    folds = np.zeros_like(patch.height)
    for _ in range(6):
        slant, wave, where = rng.uniform(-1.6, 1.6), rng.uniform(14, 34), rng.uniform(0.15, 0.9)
        phase = wave * (along + slant * across * (0.6 + across)) + rng.uniform(0, 6)
        folds += 0.009 * np.sin(phase) * np.exp(-(((along - where) / 0.22) ** 2))
    hem = 0.085  # the cuff's width
    folds = np.where(along < hem, 0.007 + 0.25 * folds, folds) - 0.006 * np.exp(-(((along - hem) / 0.005) ** 2))
    mouth = -0.03 + 0.9 * across**2  # the opening is round, and seen a little from above
    rounded = 0.012 * np.clip((along - mouth) / 0.02, 0, 1) ** 0.5
    inside = patch.solid & (along > mouth)
    patch.height = np.where(inside, patch.height + folds + rounded, patch.height.min()).astype(np.float32)
    weave = 1 + 0.05 * rng.standard_normal(patch.height.shape).astype(np.float32)[..., None]
    relief.add(patch, colour * weave, gloss=0.0, part=_SLEEVE)


def _blotches(rng: np.random.Generator, shape: tuple[int, int], cells: int, amount: float) -> np.ndarray:
    coarse = rng.normal(0, amount, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _skin_details(
    relief: Relief,
    rng: np.random.Generator,
    skin: np.ndarray,
    fingers: Sequence[np.ndarray],
    radii: Sequence[Sequence[float]],
) -> None:
    """Redder joints and tips, creases, nails and blotches. The thumb comes last; its first bone is in the palm."""
    shape = relief.height.shape
    relief.albedo *= np.exp(_blotches(rng, shape, 24, 0.05) + _blotches(rng, shape, 110, 0.03))[..., None]
    for i, (points, sizes) in enumerate(zip(fingers, radii, strict=True)):
        part = i + 1
        if part < _THUMB:
            _tint(relief, points[0], sizes[0], (0.97, 0.84, 0.82))
            _crease(relief, points[0], points[1], sizes[1], 0.004, part)
        _tint(relief, points[1], sizes[1], (0.97, 0.86, 0.84))
        _tint(relief, points[3], sizes[3] * 1.2, (1.02, 0.88, 0.88))
        _crease(relief, points[1], points[2], sizes[2], 0.0025, part)
        _nail(relief, points[2], points[3], sizes[3], skin, part)


def _tint(relief: Relief, at: np.ndarray, radius: float, ratio: Sequence[float]) -> None:
    """Multiply the colour around a point by a ratio, fading outwards."""
    window = relief.around(at, 2.5 * radius)
    along, across = relief.along(window, at, np.array((1.0, 0.0)))
    near = np.exp(-(along**2 + across**2) / radius**2)
    relief.albedo[window] *= 1 + near[..., None] * (np.float32(ratio) - 1)


def _of_part(relief: Relief, window: tuple[slice, slice], part: int) -> np.ndarray:
    """(h, w) in [0, 1]: where a window shows a part, with a soft edge."""
    return cv2.blur((relief.owner[window] == part).astype(np.float32), (3, 3))


def _crease(relief: Relief, a: np.ndarray, b: np.ndarray, radius: float, depth: float, part: int) -> None:
    """Fine folds of skin across a finger at joint `b`, which the bone from `a` leads to."""
    if np.linalg.norm((b - a)[:2]) < 0.03:
        return
    window = relief.around(b, 1.6 * radius)
    along, across = relief.along(window, b, b - a)
    fade = np.exp(-((across / (0.75 * radius)) ** 4)) * _of_part(relief, window, part)
    for shift, strength in ((-0.018, 0.6), (0.0, 1.0), (0.016, 0.7)):
        bow = shift + 0.25 * shift * (across / radius) ** 2
        dent = depth * strength * np.exp(-(((along - bow) / 0.0045) ** 2)) * fade
        relief.height[window] -= dent
        relief.albedo[window] *= (1 - 9 * dent)[..., None]


def _nail(relief: Relief, joint: np.ndarray, tip: np.ndarray, radius: float, skin: np.ndarray, part: int) -> None:
    length = np.linalg.norm((tip - joint)[:2])
    if length < 0.02:
        return
    window = relief.around(tip, 1.6 * radius)
    along, across = relief.along(window, tip, tip - joint)
    along = (along - 0.1 * radius) / (radius * 0.95 * min(1, length / 0.06))
    across = across / (radius * 0.68)
    mine = _of_part(relief, window, part)
    outline = np.abs(along) ** 3 + np.abs(across) ** 3  # 1 on the nail's edge
    inside = np.clip((1 - outline) * 6, 0, 1) * mine
    edge = np.exp(-(((outline - 1) / 0.22) ** 2)) * mine
    white = np.clip((along - 0.72) * 8, 0, 1)[..., None]
    colour = np.minimum(skin * (1.12, 1.02, 1.04) + 0.03, 1) * (1 - white) + white * (0.25 + 0.65 * skin)
    relief.albedo[window] += 0.75 * inside[..., None] * (colour.astype(np.float32) - relief.albedo[window])
    relief.albedo[window] *= (1 - 0.16 * edge)[..., None]
    relief.height[window] -= 0.0025 * edge
    relief.gloss[window] += 0.6 * inside * (0.9 - relief.gloss[window])


# Microphones


def _handheld(rng: np.random.Generator, skin: np.ndarray, light: tuple[float, float, float]) -> Occluder:
    """A dynamic microphone in a fist, its head in front of the mouth."""
    mirror = float(rng.choice((-1, 1)))
    tilt = mirror * rng.uniform(-0.1, 0.45)
    girth = rng.uniform(0.95, 1.05)
    relief = Relief(-1.5, -0.4, 1.5, 1.7, SCALE)

    def placed(points: Sequence[Sequence[float]]) -> np.ndarray:
        """Points (n, 3) of an upright microphone with its head at the origin as the relief's."""
        x, y, z = np.asarray(points, np.float64).T
        x = x * mirror
        return np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt), z], axis=1)

    body = np.float32(decode(np.full(3, rng.choice((0.16, 0.2, 0.32)))))
    if rng.random() < 0.6:
        cable = placed([(0, 0.8, 0), (0.01, 1.0, -0.03), (0.07, 1.3, -0.05), (0.2, 1.75, -0.05)])
        relief.add(relief.cones(cable, (0.03, 0.018, 0.018, 0.018)), np.float32([0.012] * 3), gloss=0.3)
    relief.add(relief.cones(placed([(0, 0.13, 0), (0, 0.3, 0), (0, 0.85, 0)]), (0.112, 0.085, 0.06)), body, gloss=0.35)
    steel = np.float32([0.3, 0.3, 0.31]) * rng.uniform(0.6, 1.3)
    _grille(relief, placed([(0, 0.035, 0), (0, -0.005, 0)]), (0.122, 0.134), steel)
    turn = np.linspace(0, np.pi, 13)
    band = np.stack([0.121 * np.cos(turn), np.full(13, 0.07), 0.121 * np.sin(turn)], axis=1)
    relief.add(relief.cones(placed(band), (0.017,) * 13), steel * 0.7, gloss=0.8)

    rows = [0.37 + 0.1 * i for i in range(4)]
    knuckles = [(-0.15 - 0.01 * abs(i - 1), y + 0.025, 0.05) for i, y in enumerate(rows)]
    wrist = [(-0.41, 0.77, -0.05), (-0.405, 0.82, -0.04), (-0.395, 0.87, -0.04), (-0.38, 0.91, -0.05)]
    palm = [
        relief.cones(placed([start, knuckle]), (0.068 * girth, radii[0] * 1.05), flat=0.9)
        for start, knuckle, radii in zip(wrist, knuckles, _RADII, strict=True)
    ]
    palm.append(
        relief.cones(placed([(-0.37, 0.8, -0.05), (-0.8, 1.27, -0.08)]), (0.127 * girth, 0.135 * girth), flat=0.6)
    )
    palm.append(relief.cones(placed([(-0.24, 0.58, -0.02), (-0.27, 0.7, -0.03)]), (0.1, 0.1)))
    relief.add(relief.smoothed(palm, 0.03), skin, skin=1)
    fingers = []
    for i in (3, 2, 1, 0):
        y = rows[i] + rng.normal(0, 0.004)
        thin = np.array(_RADII[i]) * girth
        points = placed([knuckles[i], (-0.035, y - 0.012, 0.15), (0.082, y, 0.115), (0.088, y + 0.004, 0.02)])
        fingers.insert(0, points)
        relief.add(relief.cones(points, thin), skin, melt=0.012, part=i + 1, skin=1)
    thumb = placed([(-0.31, 0.62, -0.02), (-0.2, 0.4, 0.05), (-0.095, 0.28, 0.115), (-0.01, 0.235, 0.135)])
    relief.add(relief.cones(thumb, np.array(_THUMB_RADII) * girth), skin, melt=0.03, part=_THUMB, skin=1)
    relief.soften(thumb[0], 0.14, 0.03)
    for i, points in enumerate(fingers):
        relief.soften(points[0], 0.07, 0.02)
        _ridge(relief, placed([wrist[i]])[0], points[0], width=0.014, height=0.006)
    _skin_details(relief, rng, skin, [*fingers, thumb], [*_RADII, _THUMB_RADII])
    _sleeve(relief, rng, placed([(-0.52, 0.96, -0.06), (-1.3, 1.8, -0.1)]), (0.165, 0.24))
    return _occluder(relief, light, (0.0, 0.0))


def _grille(relief: Relief, points: np.ndarray, radii: Sequence[float], colour: np.ndarray) -> None:
    """Woven wire over a rounded body along points (n, 3)."""
    patch = relief.cones(points, radii)
    along, across = relief.along(patch.window, points[-1], points[-1] - points[0])
    x = np.arcsin(np.clip(across / radii[-1], -1, 1))
    y = np.where(along > 0, np.arcsin(np.clip(along / radii[-1], 0, 1)), along / radii[-1])  # a dome on a tube
    strands = [np.abs(np.sin(22 * (x + sign * y))) for sign in (-1, 1)]
    wire = np.clip(1.5 - 2.4 * np.minimum(*strands), 0, 1)
    patch.height = patch.height + 0.004 * wire * patch.solid
    relief.add(patch, colour * (0.07 + 0.93 * wire)[..., None], gloss=0.75)


def _studio(rng: np.random.Generator, skin: np.ndarray, light: tuple[float, float, float]) -> Occluder:
    """A condenser microphone on an arm that comes from below, a pop filter behind it."""
    mirror = float(rng.choice((-1, 1)))
    relief = Relief(-1.7, -0.75, 1.7, 1.75, SCALE)
    black = np.float32([0.02, 0.02, 0.021])
    steel = np.float32([0.32, 0.31, 0.3]) * rng.uniform(0.5, 1.2)
    body = (black * 1.5, steel * 0.9, np.float32([0.17, 0.165, 0.15]))[rng.integers(3)]

    def placed(points: Sequence[Sequence[float]]) -> np.ndarray:
        return np.asarray(points, np.float64) * (mirror, 1, 1)

    lift = rng.uniform(-0.05, 0.08)
    _pop_filter(relief, (mirror * rng.uniform(-0.12, 0.0), -0.12 + lift), (rng.uniform(0.26, 0.34), 0.36), black)
    neck = placed([(-0.05, 0.24 + lift, -0.25), (-0.12, 0.5, -0.28), (-0.3, 0.7, -0.25), (-0.42, 0.82, -0.2)])
    relief.add(relief.cones(neck, (0.014,) * 4), black, gloss=0.5)
    arm = placed([(0, 0.5, -0.1), (-0.25, 0.72, -0.15), (-1.9, 1.75, -0.1)])
    relief.add(relief.cones(arm, (0.035, 0.032, 0.032)), black * 1.3, gloss=0.5)
    for share in (0.16, 0.32):  # springs and joints of the arm
        joint = arm[1] + share * (arm[2] - arm[1])
        relief.add(
            relief.cones([joint, joint + np.array((0.03 * mirror, 0.02, 0.02))], (0.05, 0.05)), black * 2, gloss=0.4
        )
    relief.add(_cylinder(relief, 0.06, 0.43, 0.115), body, gloss=0.55)
    relief.add(_cylinder(relief, 0.42, 0.52, 0.07), black * 1.5, gloss=0.4)
    _grille(relief, np.array([(0, 0.05, 0), (0, -0.15, 0)]), (0.115, 0.115), steel * 1.1)
    for y in (0.05, -0.13):
        relief.add(_cylinder(relief, y - 0.012, y + 0.012, 0.119), steel * 0.8, gloss=0.8)
    badge = relief.cones(np.array([(0, 0.15, 0.105)] * 2), (0.02, 0.02), flat=0.7)
    relief.add(badge, np.float32([0.4, 0.36, 0.25]), gloss=0.8)
    for y, side in ((0.14, 0.18), (0.38, 0.18)):  # the rings that it hangs in
        turn = np.linspace(0, np.pi, 9)
        ring = np.stack([side * np.cos(turn), y + 0.03 * np.sin(turn), 0.15 * np.sin(turn)], axis=1)
        relief.add(relief.cones(ring, (0.013,) * 9), black * 1.5, gloss=0.5)
    for x in (-0.18, 0.18):
        relief.add(relief.cones(np.array([(x, 0.14, 0), (x, 0.38, 0)]), (0.013, 0.013)), black * 1.5, gloss=0.5)
    return _occluder(relief, light, (0.0, -0.12))


def _cylinder(relief: Relief, top: float, bottom: float, radius: float) -> Patch:
    """An upright cylinder around x = 0, seen a little from above."""
    patch = relief.cones(np.array([(0, top, 0), (0, bottom, 0)]), (radius, radius))
    down, left = relief.along(patch.window, (0.0, 0.0), np.array((0.0, 1.0)))
    bow = 0.12 * np.sqrt(np.maximum(radius**2 - left**2, 0))
    inside = patch.solid & (down > top + bow) & (down < bottom + bow)
    patch.height = np.where(inside, np.sqrt(np.maximum(radius**2 - left**2, 0)), NOWHERE).astype(np.float32)
    return patch


def _pop_filter(relief: Relief, centre: tuple[float, float], axes: tuple[float, float], colour: np.ndarray) -> None:
    """Thin cloth in a ring, seen from a little aside; one looks through the cloth."""
    turn = np.linspace(0, 2 * np.pi, 49)
    ring = np.stack(
        [centre[0] + axes[0] * np.cos(turn), centre[1] + axes[1] * np.sin(turn), np.full(49, -0.25)], axis=1
    )
    window = relief.window(centre[0] - axes[0], centre[1] - axes[1], centre[0] + axes[0], centre[1] + axes[1])
    right, down = relief.along(window, centre, np.array((1.0, 0.0)))
    inside = (right / axes[0]) ** 2 + (down / axes[1]) ** 2 < 1
    cloth = Patch(np.where(inside, np.float32(-0.26), np.float32(NOWHERE)), window)
    relief.add(cloth, colour * 1.4, gloss=0.0, cover=0.5)
    relief.add(relief.cones(ring, (0.02,) * 49), colour, gloss=0.5)


def _occluder(relief: Relief, light: tuple[float, float, float], anchor: tuple[float, float]) -> Occluder:
    """The sprite without its empty borders; the anchor is given in units."""
    sprite = relief.shaded(light)
    x, y = relief.pixels(anchor)
    rows, columns = (np.flatnonzero(sprite[..., 3].any(axis=axis)) for axis in (1, 0))
    top, left = max(rows[0] - 2, 0), max(columns[0] - 2, 0)
    cut = np.ascontiguousarray(sprite[top : rows[-1] + 3, left : columns[-1] + 3])
    return Occluder(cut, ((x - 0.5) / 2 - left, (y - 0.5) / 2 - top), relief.scale / 2)


_MAKERS = {"hand": _hand, "handheld microphone": _handheld, "studio microphone": _studio}
