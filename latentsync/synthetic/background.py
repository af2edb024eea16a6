"""Calm surroundings behind a speaker: rooms, walls, foliage, streets, out of focus as a lens would show them.

Scenes are painted in linear light, where a lamp may be forty times as bright as the wall, and spread over the lens's
disc of confusion before they are exposed: that alone makes bokeh. Coordinates are metres from the picture's middle,
x to the right and y downwards, at the distance of the scene.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from .srgb import decode, encode

SHORT_SIDE = 360  # pixels of the internal picture; all of it is blurred, so 4K shows no more
MARGIN = 36  # around the internal picture: what lies outside shines in; as large as the largest disc
SHOULDER = 0.6  # linear exposure above which highlights are compressed

WALLS = ("#d9d3c7", "#c9ccca", "#b7bec2", "#cbbfae", "#a9b2a6", "#8f9aa1", "#d8c9b8", "#9c8f84", "#c2b6b8", "#7f8b86")
BACKDROPS = (
    "#8a8d90",
    "#6f757b",
    "#a39c93",
    "#5c6670",
    "#b8b5b0",
    "#7d7468",
    "#4a4f56",
    "#8b9aa6",
    "#a08f8a",
    "#3c4a52",
)
WOODS = ("#6b4a32", "#8a6444", "#4b3527", "#a88560", "#c0a27c", "#37302b", "#e3ded5")
FABRICS = ("#6f7f8c", "#8c8577", "#59646b", "#9a8c80", "#7a5f53", "#5f6e5d", "#a7a29a", "#424a55")
BOOKS = (
    *("#6d2f2a", "#2f4858", "#7a6a4f", "#d5cbb8", "#39463b", "#8d7b68", "#a3927a", "#4a3b4f", "#b08d57", "#22303c"),
    *("#c4b9a8", "#5c3d2e", "#707a80", "#e0d9cb", "#3b2b26", "#89564a", "#52655a"),
)
BRICKS = ("#7d4a3a", "#8a5a46", "#6e463b", "#94705c", "#b9b2a8", "#d6d1c9")
LEAVES = ("#3f5a2c", "#4f6b35", "#2f4a2a", "#5f7a45", "#6b7f3f", "#38523a")
WARM, NEUTRAL, DAYLIGHT = np.float32([1.18, 0.99, 0.76]), np.float32([1.06, 1.0, 0.92]), np.float32([0.93, 1.0, 1.1])


def background(rng: np.random.Generator, width: int, height: int, kind: str | None = None) -> np.ndarray:
    """A picture (height, width, 3) uint8 RGB of one of KINDS (None: any).

    The same generator state gives the same picture at every size with the same ratio of sides.
    """
    if kind is None:
        kind = KINDS[rng.choice(len(KINDS), p=_SHARES)]
    stage = _stage(rng, width, height)
    PAINTERS[kind](stage)
    return _finished(stage, width, height)


# The stage


@dataclass
class Stage:
    """What a painter paints on: layers from back to front, in linear light."""

    rng: np.random.Generator
    width: int  # of the internal picture with its margins, pixels
    height: int
    metres: float  # that the short side shows
    blur: float  # radius of the disc of confusion at the back, in parts of the short side
    layers: list[tuple[np.ndarray, float]] = field(default_factory=list)  # premultiplied (h, w, 4); blur, as above
    exposure: float = 1.0

    @property
    def scale(self) -> float:
        """Pixels per metre."""
        return SHORT_SIDE / self.metres

    @property
    def half_width(self) -> float:
        """Metres from the middle to the side, margin included."""
        return self.width / 2 / self.scale

    @property
    def half_height(self) -> float:
        return self.height / 2 / self.scale

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """x (1, w) and y (h, 1) of the pixels, metres."""
        x = (np.arange(self.width, dtype=np.float32) - (self.width - 1) / 2) / self.scale
        y = (np.arange(self.height, dtype=np.float32) - (self.height - 1) / 2) / self.scale
        return x[None], y[:, None]

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) in metres as fixed-point pixels for OpenCV, 4 bits of fraction."""
        middle = ((self.width - 1) / 2, (self.height - 1) / 2)
        return np.round((np.asarray(points) * self.scale + middle) * 16).astype(np.int32)

    def layer(self, blur: float | None = None, colour: np.ndarray | None = None) -> np.ndarray:
        """A new layer (h, w, 4) in front of the others: empty, or filled with a colour (3,) or picture (h, w, 3)."""
        rgba = np.zeros((self.height, self.width, 4), np.float32)
        if colour is not None:
            rgba[..., :3] = colour
            rgba[..., 3] = 1
        self.layers.append((rgba, self.blur if blur is None else blur))
        return rgba

    def polygon(self, layer: np.ndarray, points: np.ndarray, colour: np.ndarray) -> None:
        cv2.fillPoly(layer, [self.pixels(points)], _opaque(colour), shift=4)

    def box(self, layer: np.ndarray, x0: float, y0: float, x1: float, y1: float, colour: np.ndarray) -> None:
        self.polygon(layer, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), colour)

    def ellipse(
        self, layer: np.ndarray, x: float, y: float, rx: float, ry: float, colour: np.ndarray, angle: float = 0.0
    ) -> None:
        """A filled ellipse; the angle is in degrees, clockwise."""
        (centre,) = self.pixels(np.array([(x, y)])).tolist()
        axes = (max(1, round(rx * self.scale * 16)), max(1, round(ry * self.scale * 16)))
        cv2.ellipse(layer, centre, axes, angle, 0, 360, _opaque(colour), cv2.FILLED, shift=4)

    def pick(self, palette: tuple[str, ...], spread: float = 0.08) -> np.ndarray:
        """A colour (3,) of a palette in linear light, a little lighter or darker."""
        colour = linear(palette[self.rng.integers(len(palette))])
        return (colour * np.exp(self.rng.normal(0, spread))).astype(np.float32)

    def mottle(self, cells: float, amount: float, aspect: float = 1.0) -> np.ndarray:
        """Smooth random brightness (h, w) around 1: `cells` per metre, `amount` the standard deviation."""
        rows = max(2, round(self.height / self.scale * cells)) + 2
        columns = max(2, round(self.width / self.scale * cells * aspect)) + 2
        coarse = self.rng.normal(0, amount, (rows, columns)).astype(np.float32)
        return 1 + cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC)


def _stage(rng: np.random.Generator, width: int, height: int) -> Stage:
    unit = SHORT_SIDE / min(width, height)
    return Stage(
        rng=rng,
        width=round(width * unit) + 2 * MARGIN,
        height=round(height * unit) + 2 * MARGIN,
        metres=float(rng.uniform(1.7, 2.5)),
        blur=float(np.exp(rng.uniform(np.log(0.016), np.log(0.034)))),
    )


def linear(colour: str) -> np.ndarray:
    """A "#rrggbb" of sRGB as linear light (3,) float32 in [0, 1]."""
    return decode(np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255).astype(np.float32)


def _opaque(colour: np.ndarray) -> tuple[float, float, float, float]:
    return (float(colour[0]), float(colour[1]), float(colour[2]), 1.0)


def disc(radius: float) -> np.ndarray:
    """The lens's disc of confusion as a kernel (n, n) float32 of sum 1; its rim is a little brighter."""
    reach = int(np.ceil(radius + 0.5))
    at = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = np.hypot(at[None], at[:, None])
    kernel = np.clip(radius + 0.5 - distance, 0, 1) * (0.85 + 0.3 * np.minimum(distance / max(radius, 1e-3), 1) ** 4)
    return (kernel / kernel.sum()).astype(np.float32)


def _finished(stage: Stage, width: int, height: int) -> np.ndarray:
    """Blur the layers, put them over each other, expose, and enlarge to (height, width, 3) uint8."""
    light = np.zeros((stage.height, stage.width, 3), np.float32)
    for rgba, blur in stage.layers:
        blurred = cv2.filter2D(rgba, -1, disc(blur * SHORT_SIDE), borderType=cv2.BORDER_REPLICATE)
        light = light * (1 - blurred[..., 3:]) + blurred[..., :3]
    light = light[MARGIN:-MARGIN, MARGIN:-MARGIN] * (stage.exposure * _vignette(stage))
    over = np.maximum(light - SHOULDER, 0) / (1 - SHOULDER)
    light = np.where(over > 0, SHOULDER + (1 - SHOULDER) * (1 - np.exp(-over)), light)
    picture = cv2.resize((255 * encode(light)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    # Half a level of noise: without it, walls show the steps of 8 bits.
    tile = np.random.default_rng(0).random((256, 256, 1), np.float32)
    picture += np.tile(tile, (-(-height // 256), -(-width // 256), 1))[:height, :width]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _vignette(stage: Stage) -> np.ndarray:
    """(h, w, 1) of the picture without margins: how much of the light reaches the corners."""
    height, width = stage.height - 2 * MARGIN, stage.width - 2 * MARGIN
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    return (1 / (1 + stage.rng.uniform(0.05, 0.22) * (x * x + y * y) / 2) ** 2)[..., None]


# Light


def _side_light(stage: Stage, contrast: float) -> np.ndarray:
    """(h, w, 1): light from one side and above, `contrast` the ratio of the bright to the dark end of two metres."""
    x, y = stage.grid()
    angle = stage.rng.choice((-1, 1)) * stage.rng.uniform(0.5, 1.3)  # from straight above
    along = x * np.sin(angle) - y * np.cos(angle)
    slope = np.log(contrast) / 2
    return np.exp(slope * 1.4 * np.tanh(along / 1.4))[..., None].astype(np.float32)


def _pool(stage: Stage, x: float, y: float, distance: float, stretch: float = 1.0) -> np.ndarray:
    """(h, w, 1): light of a lamp at `distance` metres in front of the wall; 1 in the middle."""
    across, down = stage.grid()
    squared = (across - x) ** 2 + ((down - y) / stretch) ** 2
    return ((1 + squared / distance**2) ** -1.5)[..., None].astype(np.float32)


def _soft_shadow(stage: Stage, boxes: list[np.ndarray], reach: float, depth: float) -> np.ndarray:
    """(h, w, 1) in [0, 1]: what polygons, shifted by `reach` metres, leave of a wall's light."""
    mask = np.zeros((stage.height, stage.width), np.float32)
    for points in boxes:
        cv2.fillPoly(mask, [stage.pixels(points + np.array((reach * 0.6, reach)))], 1.0, shift=4)
    width = max(3, round(reach * stage.scale))
    for _ in range(2):
        mask = cv2.blur(mask, (width, width))
    return 1 - depth * mask[..., None]


def _corners(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


# Plain surfaces


def _studio_wall(stage: Stage) -> None:
    rng = stage.rng
    x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.2)
    share = rng.uniform(0.3, 0.75)  # of the light that comes from the lamp
    light = 1 - share + share * _pool(stage, x, y, rng.uniform(0.9, 1.8))
    light = rng.uniform(0.75, 1.05) * light * _side_light(stage, rng.uniform(1.15, 2.4))
    texture = stage.mottle(1.5, 0.02) * stage.mottle(7, 0.012)
    stage.layer(colour=stage.pick(WALLS) * light * texture[..., None])


def _paper(stage: Stage) -> None:
    """Seamless paper: the sweep to the floor is a broad gradient, a lamp from behind the speaker a wide glow."""
    rng = stage.rng
    glow = _pool(stage, rng.uniform(-0.25, 0.25), rng.uniform(-0.2, 0.35), rng.uniform(0.7, 1.4), stretch=1.25)
    _, y = stage.grid()
    sweep = 1 + rng.uniform(-0.25, 0.35) / (1 + np.exp(-(y - rng.uniform(0.4, 1.0)) / 0.25))
    light = (rng.uniform(0.25, 0.5) + rng.uniform(0.5, 1.0) * glow) * sweep[..., None].astype(np.float32)
    stage.layer(colour=stage.pick(BACKDROPS, 0.2) * light)


def _canvas(stage: Stage) -> None:
    """A hand-painted cloth, as portrait photographers hang up."""
    rng = stage.rng
    base, second = stage.pick(BACKDROPS, 0.2), stage.pick(BACKDROPS, 0.2)
    strokes = stage.mottle(1.6, 0.35) + 0.5 * (stage.mottle(4, 0.3) - 1) + 0.25 * (stage.mottle(11, 0.3) - 1)
    share = np.clip(0.5 + 0.45 * (strokes - 1), 0, 1)[..., None]
    light = 0.28 + 0.8 * _pool(stage, rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.2), rng.uniform(0.7, 1.1))
    cloth = base * (1 - 0.6 * share) + 0.6 * second * share
    stage.layer(colour=cloth * light * (0.8 + 0.2 * strokes[..., None]))


def _curtain(stage: Stage) -> None:
    rng = stage.rng
    x, y = stage.grid()
    drift = 0.05 * np.sin(y * rng.uniform(0.5, 1.2) + rng.uniform(0, 6)) * np.sin(x * 1.3 + rng.uniform(0, 6))
    pitch = rng.uniform(0.16, 0.3)  # metres from fold to fold
    warp = x + drift + 0.35 * pitch * np.sin(2 * np.pi * x / (3.7 * pitch) + rng.uniform(0, 6))
    phase = 2 * np.pi * warp / pitch + rng.uniform(0, 6)
    small = 0.18 * np.sin(2.3 * phase + rng.uniform(0, 6) + 0.4 * y)
    slope = np.cos(phase) + 0.25 * np.cos(2 * phase + 1.0) + small
    depth = np.sin(phase)
    lit = rng.choice((-1, 1))
    if rng.random() < 0.4:  # sheer, the day behind it
        colour = linear("#e4e3de") * (DAYLIGHT if rng.random() < 0.6 else NEUTRAL)
        shade = 0.62 + 0.13 * depth + 0.05 * lit * slope
    else:
        colour = stage.pick(FABRICS)
        shade = 0.75 + 0.18 * lit * slope + 0.2 * depth
    light = _side_light(stage, rng.uniform(1.2, 2.2))
    cloth = stage.layer(colour=colour * np.maximum(shade, 0.08)[..., None].astype(np.float32) * light)
    stage.layers[-1] = (cloth, stage.blur * 0.85)


def _bricks(stage: Stage) -> None:
    rng = stage.rng
    wall = stage.layer(colour=linear("#9a948b") * rng.uniform(0.5, 1.0))
    base = stage.pick(BRICKS)
    long, high, gap = 0.245, 0.077, 0.012
    varied = 0.06 if base.min() > 0.3 else 0.16  # painted walls are even
    if varied < 0.1:
        wall[..., :3] = base * 0.82
    for row in range(int(-stage.half_height / high) - 1, int(stage.half_height / high) + 2):
        shift = long / 2 * (row % 2)
        for column in range(int(-stage.half_width / long) - 2, int(stage.half_width / long) + 2):
            x0, y0 = column * long + shift, row * high
            colour = base * np.exp(rng.normal(0, varied)) * (1 + rng.normal(0, 0.02, 3))
            stage.box(wall, x0, y0, x0 + long - gap, y0 + high - gap, colour)
    light = _side_light(stage, rng.uniform(1.3, 2.6)) * (NEUTRAL if rng.random() < 0.6 else DAYLIGHT)
    wall[..., :3] *= light * (stage.mottle(2, 0.06) * stage.mottle(20, 0.05))[..., None] * rng.uniform(0.7, 1.1)
    stage.layers[-1] = (wall, stage.blur * 0.45)


# Rooms


def _bookshelf(stage: Stage) -> None:
    rng = stage.rng
    wood = stage.pick(WOODS)
    shelf = stage.layer(colour=wood * 0.3)
    shade = np.ones((stage.height, stage.width, 1), np.float32)
    _, y = stage.grid()
    pitch, board = rng.uniform(0.31, 0.37), 0.025
    top = -stage.half_height - rng.uniform(0, pitch)
    while top < stage.half_height:
        bottom = top + pitch - board
        _books(stage, shelf, -stage.half_width, stage.half_width, bottom, pitch - board)
        inside = (y > top) & (y < bottom)
        shade = np.where((inside)[..., None], (0.45 + 0.55 * np.clip((y - top) / 0.16, 0, 1))[..., None], shade)
        stage.box(shelf, -stage.half_width, bottom, stage.half_width, bottom + board, wood)
        top += pitch
    bay = rng.uniform(0.75, 1.0)
    left = -stage.half_width + rng.uniform(-bay, 0)
    while left < stage.half_width:
        stage.box(shelf, left, -stage.half_height, left + 0.03, stage.half_height, wood * 0.9)
        left += bay
    tint = WARM if rng.random() < 0.5 else NEUTRAL
    light = _side_light(stage, rng.uniform(1.2, 2.2)) * tint * rng.uniform(0.5, 0.95)
    shelf[..., :3] *= light * shade


def _books(stage: Stage, layer: np.ndarray, x0: float, x1: float, floor: float, room: float) -> None:
    """Books, and here and there a thing, along a shelf from x0 to x1 whose upper side is `floor`."""
    rng = stage.rng
    x = x0
    while x < x1:
        series = stage.pick(BOOKS)
        alike, tall = rng.random() < 0.3, rng.uniform(0.55, 0.92)
        for _ in range(rng.integers(3, 9)):
            width = rng.uniform(0.016, 0.05)
            high = room * min(0.95, tall * (1 if alike else rng.uniform(0.85, 1.12)))
            colour = series * np.exp(rng.normal(0, 0.12)) if alike else stage.pick(BOOKS)
            if x + width > x1:
                return
            stage.box(layer, x, floor - high, x + width - 0.003, floor, colour)
            band = rng.uniform(0.6, 0.85)
            if rng.random() < 0.4:
                label = colour * 0.4 + 0.25
                stage.box(layer, x, floor - high * band, x + width - 0.003, floor - high * (band - 0.1), label)
            x += width
        gap = rng.random()
        if gap < 0.2:
            _thing(stage, layer, x + 0.1, floor, room)
            x += 0.2
        elif gap < 0.45:
            x += rng.uniform(0.03, 0.12)


def _thing(stage: Stage, layer: np.ndarray, x: float, floor: float, room: float) -> None:
    """A vase or a box on a shelf."""
    colour = stage.pick(("#d8d2c6", "#9c8468", "#5b6b70", "#b7a58c", "#6f7a5c"))
    high = room * stage.rng.uniform(0.35, 0.65)
    if stage.rng.random() < 0.5:
        stage.ellipse(layer, x, floor - high * 0.45, high * 0.3, high * 0.45, colour)
        stage.box(layer, x - high * 0.12, floor - high * 1.1, x + high * 0.12, floor - high * 0.5, colour * 0.8)
    else:
        stage.box(layer, x - high * 0.35, floor - high * 0.7, x + high * 0.35, floor, colour)


def _room(stage: Stage) -> None:
    """A wall of an office or a living room with what stands and hangs there."""
    rng = stage.rng
    wall = stage.layer(colour=stage.pick(WALLS))
    half_width, half_height = stage.half_width, stage.half_height
    floor = rng.uniform(0.75, 1.3)
    side = rng.choice((-1, 1))
    evening = rng.random() < 0.3
    slots = _slots(stage)
    kinds = [*rng.permutation(["shelves", "frames", "door", "cupboard", "plant", "frames", "lamp"])]
    kinds = [kinds[i % len(kinds)] for i in range(len(slots))]
    window = rng.random() < 0.6
    if window:
        kinds[0 if side < 0 else -1] = "window"
    elif "lamp" not in kinds and rng.random() < 0.5:
        kinds[0 if side < 0 else -1] = "lamp"
    day = _side_light_from(stage, side, rng.uniform(1.3, 2.2) if window and not evening else 1.15)
    tint = WARM if evening else (DAYLIGHT if window else NEUTRAL)
    light = day * (tint * (0.42 if evening else 0.72))

    solid = [_footprint(kind, x0, x1, floor) for kind, (x0, x1) in zip(kinds, slots, strict=True)]
    wall[..., :3] *= _soft_shadow(stage, [points for points in solid if points is not None], 0.06, 0.35)
    if floor < half_height:
        stage.box(wall, -half_width, floor, half_width, half_height, stage.pick(WOODS) * 0.8)
    stage.box(wall, -half_width, floor - 0.08, half_width, floor, linear("#dedad2"))
    shining: list[Callable[[], None]] = []
    for kind, (x0, x1) in zip(kinds, slots, strict=True):
        if kind == "window":
            shining.append(lambda x0=x0, x1=x1: _window(stage, wall, x0, x1, floor, evening))
        elif kind == "lamp":
            x, y = (x0 + x1) / 2, rng.uniform(-0.5, 0.0)
            strength = 1.6 if evening else 0.5
            light = light + strength * _pool(stage, x, y + 0.05, 0.42, stretch=1.3) * WARM
            shining.append(lambda x=x, y=y: _lamp(stage, wall, x, y, floor, 2.6 if evening else 1.5))
        else:
            _FURNITURE[kind](stage, wall, x0, x1, floor)
    wall[..., :3] *= light
    for paint in shining:
        paint()
    if rng.random() < 0.25:  # the back of a sofa, nearer than the wall
        _sofa(stage, light)


def _side_light_from(stage: Stage, side: int, contrast: float) -> np.ndarray:
    x, y = stage.grid()
    return np.exp(np.log(contrast) / 2 * np.tanh(side * x - 0.25 * y))[..., None].astype(np.float32)


def _slots(stage: Stage) -> list[tuple[float, float]]:
    """Widths of wall, from left to right, that each hold one piece of furniture."""
    slots, x = [], -stage.half_width + stage.rng.uniform(-0.3, 0.05)
    while x < stage.half_width:
        width = stage.rng.uniform(0.6, 1.0)
        slots.append((x, x + width))
        x += width + stage.rng.uniform(0.06, 0.25)
    return slots


def _footprint(kind: str, x0: float, x1: float, floor: float) -> np.ndarray | None:
    """What throws a shadow on the wall."""
    if kind == "cupboard":
        return _corners(x0, floor - 0.8, x1, floor)
    return None


def _frames(stage: Stage, wall: np.ndarray, x0: float, x1: float, floor: float) -> None:
    rng = stage.rng
    frame = stage.pick(("#2b2724", "#e6e2da", "#7a5a3c", "#b49a6c"))
    n = rng.integers(1, 3)
    for i in range(n):
        middle = x0 + (x1 - x0) * (i + 0.5) / n
        width = min((x1 - x0) / n - 0.08, rng.uniform(0.3, 0.55)) / 2
        high, y = width * rng.uniform(0.8, 1.4), rng.uniform(-0.6, -0.25)
        shadow = _soft_shadow(stage, [_corners(middle - width, y - high, middle + width, y + high)], 0.03, 0.4)
        wall[..., :3] *= shadow
        stage.box(wall, middle - width, y - high, middle + width, y + high, frame)
        stage.box(
            wall, middle - width + 0.02, y - high + 0.02, middle + width - 0.02, y + high - 0.02, linear("#dcd8cf")
        )
        width, high = width * 0.68, high * 0.68
        sky, land = stage.pick(FABRICS), stage.pick(FABRICS) * 0.6
        stage.box(wall, middle - width, y - high, middle + width, y + high, sky)
        horizon = y + high * rng.uniform(-0.2, 0.5)
        hill = horizon - high * rng.uniform(0, 0.4)
        points = [(-width, horizon), (width * rng.uniform(-0.5, 0.5), hill), (width, horizon), (width, 0), (-width, 0)]
        outline = np.array(points) + np.array((middle, 0))
        outline[3:, 1] = y + high
        stage.polygon(wall, outline, land)


def _door(stage: Stage, wall: np.ndarray, x0: float, x1: float, floor: float) -> None:
    colour = stage.pick(WOODS)
    top, middle = floor - 2.02, (x0 + x1) / 2
    x0, x1 = middle - 0.42, middle + 0.42
    stage.box(wall, x0 - 0.07, top - 0.07, x1 + 0.07, floor, np.minimum(colour * 1.25, 0.85))
    stage.box(wall, x0, top, x1, floor, colour)
    for y0, y1 in ((top + 0.12, top + 0.95), (top + 1.08, floor - 0.15)):
        stage.box(wall, x0 + 0.11, y0, x1 - 0.11, y1, colour * 0.8)
        stage.box(wall, x0 + 0.125, y0 + 0.015, x1 - 0.11, y1, colour * 0.95)
    stage.ellipse(wall, x1 - 0.06, floor - 1.02, 0.02, 0.02, linear("#cfc8b8") * 1.4)


def _cupboard(stage: Stage, wall: np.ndarray, x0: float, x1: float, floor: float) -> None:
    colour = stage.pick(WOODS)
    top = floor - stage.rng.uniform(0.75, 1.1)
    stage.box(wall, x0, top, x1, floor, colour)
    stage.box(wall, x0, top, x1, top + 0.03, colour * 1.3)
    n = int(stage.rng.integers(2, 4))
    for i in range(n):
        left = x0 + (x1 - x0) * i / n
        stage.box(wall, left, top + 0.03, left + 0.012, floor, colour * 0.5)
    _thing(stage, wall, x0 + 0.2 * (x1 - x0), top, 0.4)
    if stage.rng.random() < 0.7:
        _leaves(stage, wall, x0 + 0.7 * (x1 - x0), top - 0.08, 0.22, 26)


def _shelves(stage: Stage, wall: np.ndarray, x0: float, x1: float, floor: float) -> None:
    wood = stage.pick(WOODS)
    y = stage.rng.uniform(-0.75, -0.5)
    while y < floor - 0.4:
        board = _corners(x0, y, x1, y + 0.03)
        wall[..., :3] *= _soft_shadow(stage, [board], 0.06, 0.45)
        left, right = sorted(stage.rng.uniform(x0, x1, 2))
        _books(stage, wall, left, min(right + 0.15, x1), y, 0.3)
        if left - x0 > 0.22:
            _thing(stage, wall, x0 + 0.11, y, 0.32)
        stage.polygon(wall, board, wood)
        y += stage.rng.uniform(0.36, 0.45)


def _plant(stage: Stage, wall: np.ndarray, x0: float, x1: float, floor: float) -> None:
    x, high = (x0 + x1) / 2, stage.rng.uniform(0.9, 1.5)
    pot = stage.pick(("#b9b2a6", "#8a5a44", "#4b4f52", "#d8d4cc"))
    stage.polygon(
        wall, np.array([(x - 0.17, floor - 0.3), (x + 0.17, floor - 0.3), (x + 0.13, floor), (x - 0.13, floor)]), pot
    )
    stage.polygon(
        wall,
        np.array([(x - 0.01, floor - high), (x + 0.01, floor - high), (x + 0.015, floor), (x - 0.015, floor)]),
        linear("#4b3d2c"),
    )
    _leaves(stage, wall, x, floor - high, min(0.42, (x1 - x0) * 0.5), 80)


def _leaves(stage: Stage, layer: np.ndarray, x: float, y: float, radius: float, n: int) -> None:
    """A bush of pointed leaves that grow away from (x, y), the lower ones first and darker."""
    rng = stage.rng
    green = stage.pick(LEAVES)
    for depth in np.linspace(0, 1, n):
        direction = rng.uniform(-np.pi, np.pi)
        reach = radius * np.sqrt(rng.random())
        cx, cy = x + reach * np.cos(direction), y + reach * np.sin(direction)
        long, wide = radius * rng.uniform(0.22, 0.4), radius * rng.uniform(0.06, 0.12)
        lightness = (0.35 + 0.75 * depth) * (1 - 0.35 * np.sin(direction)) * rng.uniform(0.7, 1.25)
        angle = np.degrees(direction) + rng.normal(0, 25)
        stage.ellipse(layer, cx, cy, long, wide, green * lightness, angle)


_FURNITURE = {"frames": _frames, "door": _door, "cupboard": _cupboard, "shelves": _shelves, "plant": _plant}


def _window(stage: Stage, wall: np.ndarray, x0: float, x1: float, floor: float, evening: bool) -> None:
    rng = stage.rng
    top, bottom = floor - rng.uniform(2.2, 2.5), floor - rng.uniform(0.75, 0.95)
    white = linear("#dad8d2") * (0.3 if evening else 0.7)
    stage.box(wall, x0, top, x1, bottom, white)
    glow = rng.uniform(1.2, 2.4)
    sky = linear("#27405f") * 0.6 if evening else linear("#dfe8f0") * glow
    inner = (x0 + 0.06, top + 0.06, x1 - 0.06, bottom - 0.06)
    stage.box(wall, *inner, sky)
    horizon = bottom - rng.uniform(0.3, 0.7)
    tree = linear("#0f1a20") if evening else stage.pick(LEAVES) * 1.6
    for _ in range(22):
        x = rng.uniform(inner[0] + 0.08, inner[2] - 0.08)
        y = rng.uniform(horizon, inner[3] - 0.06)
        radius = min(rng.uniform(0.05, 0.12), x - inner[0], inner[2] - x, inner[3] - y)
        stage.ellipse(wall, x, y, radius, radius * 0.8, tree * rng.uniform(0.6, 1.5))
    middle = (x0 + x1) / 2
    stage.box(wall, middle - 0.025, top, middle + 0.025, bottom, white)
    if rng.random() < 0.6:
        bar = top + (bottom - top) * 0.35
        stage.box(wall, x0, bar - 0.02, x1, bar + 0.02, white)
    stage.box(wall, x0 - 0.05, bottom, x1 + 0.05, bottom + 0.05, white * 1.1)
    if rng.random() < 0.7:  # curtains at both sides
        cloth = stage.pick(FABRICS) * (0.3 if evening else 0.8)
        for edge in (x0, x1):
            for i in range(6):
                left = edge - 0.14 + i * 0.047
                shade = 0.75 + 0.35 * np.sin(i * 2.1 + edge)
                stage.box(wall, left, top - 0.12, left + 0.047, floor, cloth * shade)


def _lamp(stage: Stage, wall: np.ndarray, x: float, y: float, floor: float, glow: float) -> None:
    """A floor lamp whose cloth shade shines."""
    stage.box(wall, x - 0.01, y + 0.1, x + 0.01, floor, linear("#3a352f"))
    for i in range(8):
        top, bottom = y - 0.13 + i * 0.0325, y - 0.13 + (i + 1) * 0.0325
        w0, w1 = 0.12 + 0.05 * i / 8, 0.12 + 0.05 * (i + 1) / 8
        shine = glow * (0.75 + 0.25 * np.sin(np.pi * (i + 0.5) / 8)) * np.float32([1.0, 0.8, 0.52])
        stage.polygon(wall, np.array([(x - w0, top), (x + w0, top), (x + w1, bottom), (x - w1, bottom)]), shine)


def _sofa(stage: Stage, light: np.ndarray) -> None:
    rng = stage.rng
    layer = stage.layer(blur=stage.blur * 0.75)
    cloth, top, corner = stage.pick(FABRICS), rng.uniform(0.3, 0.55), 0.07
    width, n = rng.uniform(0.6, 0.75), int(rng.integers(2, 4))
    left = rng.uniform(-0.7, 0.1) - n * width / 2
    stage.box(layer, left - 0.02, top + corner, left + n * width, stage.half_height, cloth * 0.55)
    for x in left + width * np.arange(n):
        stage.box(layer, x, top + corner, x + width - 0.012, stage.half_height, cloth)
        stage.box(layer, x + corner, top, x + width - corner, stage.half_height, cloth)
        for cx in (x + corner, x + width - corner - 0.012):
            stage.ellipse(layer, cx, top + corner, corner, corner, cloth)
    for x in (left - 0.22, left + n * width - 0.02):  # the arms
        stage.box(layer, x, top + 0.3, x + 0.24, stage.half_height, cloth * 0.85)
        stage.ellipse(layer, x + 0.12, top + 0.3, 0.12, 0.08, cloth * 0.95)
    _, y = stage.grid()
    layer[..., :3] *= (
        np.broadcast_to(light, (*layer.shape[:2], 3)) * (1.25 - 0.6 * np.clip((y - top) / 0.5, 0, 1))[..., None]
    )


# Outdoors


def _foliage(stage: Stage) -> None:
    """A garden: dark depth, leaves in the light, and the sky through the gaps as discs."""
    rng = stage.rng
    stage.metres *= 1.5
    green = stage.pick(LEAVES)
    _, y = stage.grid()
    sunny = rng.uniform(0.7, 1.25)
    height = np.clip(0.5 - y / (2 * stage.half_height), 0, 1)
    depth = (0.25 + 0.9 * height**1.5)[..., None] * (stage.mottle(1.2, 0.3) * stage.mottle(3, 0.25))[..., None]
    base = green * np.maximum(depth, 0.05) * sunny
    lawn = stage.half_height  # its upper edge
    if rng.random() < 0.5:
        lawn = rng.uniform(0.25, 0.6) * stage.half_height
        share = 1 / (1 + np.exp(-(y - lawn) / 0.08))[..., None]
        base = base * (1 - share) + share * linear("#6d7f47") * (0.75 * sunny)
    far = stage.layer(blur=stage.blur * 1.25, colour=base.astype(np.float32))
    bough = rng.uniform(-1, 1, (5, 2)) * (stage.half_width, 0.6 * stage.half_height) - (0, 0.3 * stage.half_height)
    for _ in range(rng.integers(20, 60)):  # gaps to the sky and glints on leaves, in groups
        cx, cy = bough[rng.integers(len(bough))] + rng.normal(0, 0.55, 2)
        radius = 0.012 * np.exp(rng.normal(0, 0.4))
        sky = rng.random() < 0.3
        tint = np.float32([0.95, 1.0, 0.9]) if sky else green / green.max() * 0.6 + np.float32([0.35, 0.4, 0.12])
        stage.ellipse(far, cx, cy, radius, radius, tint * np.exp(rng.normal(1.5 if sky else 1.0, 0.8)) * sunny)
    for blur, n in ((1.1, 6), (0.8, 5)):
        near = stage.layer(blur=stage.blur * blur)
        for _ in range(rng.integers(n - 2, n + 3)):
            cx, cy = rng.uniform(-1, 1) * stage.half_width, rng.uniform(-stage.half_height, lawn - 0.6)
            tone = stage.pick(LEAVES, 0.2) * (0.55 + 0.5 * (0.5 - cy / (2 * stage.half_height))) * sunny
            _crown(stage, near, cx, cy, 0.75, tone)
    stage.exposure = rng.uniform(0.9, 1.2)


def _crown(stage: Stage, layer: np.ndarray, x: float, y: float, radius: float, tone: np.ndarray, n: int = 70) -> None:
    """Leaves of a tree or bush in clumps, each lit from above."""
    rng = stage.rng
    clumps = rng.normal(0, 0.42, (7, 2)) * radius
    for cx, cy in clumps[np.argsort(-clumps[:, 1])]:
        for dx, dy in rng.normal(0, 0.2, (n // 7, 2)) * radius:
            lightness = np.exp(rng.normal(0, 0.3)) * (1.0 - 1.6 * dy / radius) * (1 - 0.35 * cy / radius)
            rx = radius * rng.uniform(0.035, 0.08)
            stage.ellipse(
                layer, x + cx + dx, y + cy + dy, rx, rx * 0.5, tone * max(lightness, 0.25), rng.uniform(0, 180)
            )


def _evening(stage: Stage) -> None:
    """City lights after sunset."""
    rng = stage.rng
    stage.metres *= 10
    stage.blur = max(stage.blur, 0.022) * 1.15
    _, y = stage.grid()
    horizon = rng.uniform(0.1, 0.5) * stage.half_height
    up = np.clip((horizon - y) / stage.half_height, -1, 1.5)[..., None]
    sky = linear("#1d2c44") * 0.7 + np.exp(-np.maximum(up, 0) * 3) * linear("#a06a4e") * rng.uniform(0.2, 0.8)
    base = np.where(up > 0, sky, linear("#20242b") * 0.6).astype(np.float32)
    town = stage.layer(colour=np.broadcast_to(base, (stage.height, stage.width, 3)))
    lights: list[tuple[float, float, float, np.ndarray]] = []
    colours = [np.float32(c) for c in ((1.0, 0.72, 0.38), (1.0, 0.85, 0.62), (0.85, 0.93, 1.0), (1.0, 0.6, 0.25))]
    x = -stage.half_width
    while x < stage.half_width:
        width, high = rng.uniform(2.0, 5.0), rng.uniform(0.3, 1.1) * (horizon + stage.half_height)
        stage.box(town, x, horizon - high, x + width, horizon, linear("#1c222c") * rng.uniform(0.5, 1.3))
        lit = rng.uniform(0.03, 0.1)
        for wx in np.arange(x + 0.6, x + width - 0.4, 1.3):
            for wy in np.arange(horizon - high + 0.7, horizon - 0.5, 1.6):
                if rng.random() < lit:
                    lights.append((wx, wy, 0.13, colours[rng.integers(3)] * rng.uniform(1.5, 6)))
        x += width + rng.uniform(0, 1.0)
    for _ in range(rng.integers(10, 22)):  # street lamps
        cx, cy = rng.uniform(-1, 1) * stage.half_width, horizon - abs(rng.normal(0, 1.6)) - 0.3
        lights.append((cx, cy, 0.12, colours[rng.choice((0, 3, 2))] * rng.uniform(12, 40)))
    for _ in range(rng.integers(6, 16)):  # cars
        cx, cy = rng.uniform(-1, 1) * stage.half_width, horizon + rng.uniform(0.0, 0.9)
        tint = np.float32([1.0, 0.16, 0.1]) if rng.random() < 0.45 else np.float32([1.0, 0.92, 0.78])
        lights.append((cx, cy, 0.1, tint * rng.uniform(8, 26)))
    for cx, cy, radius, colour in lights:
        stage.ellipse(town, cx, cy, radius, radius, colour)
        if colour.max() > 8:  # on the wet road
            mirrored = horizon + 0.6 + (horizon + 0.6 - cy) * 0.6
            stage.ellipse(town, cx, mirrored, radius, 1.6, colour * 0.018 + linear("#20242b") * 0.6)
    stage.exposure = rng.uniform(0.9, 1.3)


def _street(stage: Stage) -> None:
    """A street by day that leads away from the camera."""
    rng = stage.rng
    stage.metres *= 4
    half_width, half_height = stage.half_width, stage.half_height
    horizon, vanish = rng.uniform(-0.05, 0.25) * half_height, rng.uniform(-0.25, 0.25) * half_width
    _, y = stage.grid()
    up = np.clip((horizon - y) / half_height, 0, 1)[..., None]
    sky = linear("#eef0ee") * (1 - up) + linear(("#b9cbdc", "#cfd4d8", "#e2d9cc")[rng.integers(3)]) * up
    view = stage.layer(colour=np.broadcast_to(sky * 1.15, (stage.height, stage.width, 3)))
    road = linear("#8d8a86") * (0.55 + 0.45 * np.clip((y - horizon) / half_height, 0, 1))[..., None]
    view[..., :3] = np.where(y[..., None] > horizon, road * stage.mottle(0.35, 0.07, 0.3)[..., None], view[..., :3])

    def from_afar(x: float, y: float, share: float) -> tuple[float, float]:
        """A point at the picture's plane, moved towards the vanishing point."""
        return vanish + (x - vanish) * share, horizon + (y - horizon) * share

    for side in (-1, 1):
        edge = vanish + side * rng.uniform(0.75, 1.1) * half_width
        near, sunlit = 1.5, rng.uniform(0.55, 1.0)
        while near > 0.18:
            far = near * rng.uniform(0.55, 0.75)
            roof, ground = horizon - rng.uniform(1.2, 2.0) * half_height, horizon + 0.55 * half_height
            front = stage.pick(WALLS + BRICKS) * sunlit * (0.85 if side < 0 else 0.7)
            haze = np.clip(1 - near, 0, 0.7) * 0.5
            front = front * (1 - haze) + linear("#dfe3e4") * haze
            outline = [
                from_afar(edge, roof, near),
                from_afar(edge, roof, far),
                from_afar(edge, ground, far),
                from_afar(edge, ground, near),
            ]
            stage.polygon(view, np.array(outline), front)
            for row in np.linspace(0.08, 0.75, 4):
                for column in (0.2, 0.5, 0.8):
                    s0, s1 = near + (far - near) * (column - 0.09), near + (far - near) * (column + 0.09)
                    y0, y1 = roof + (ground - roof) * row, roof + (ground - roof) * (row + 0.11)
                    pane = linear("#3b444c") * rng.uniform(0.5, 1.3) + (0.5 if rng.random() < 0.08 else 0)
                    stage.polygon(
                        view,
                        np.array(
                            [
                                from_afar(edge, y0, s0),
                                from_afar(edge, y0, s1),
                                from_afar(edge, y1, s1),
                                from_afar(edge, y1, s0),
                            ]
                        ),
                        pane,
                    )
            near = far * 0.98
        pavement = [from_afar(edge, ground, s) for s in (1.6, 0.15)] + [
            from_afar(edge - side * 0.35 * half_width, ground, s) for s in (0.15, 1.6)
        ]
        stage.polygon(view, np.array(pavement), linear("#a9a59d") * 0.85)
    trees = stage.layer(blur=stage.blur * 0.9)
    for _ in range(rng.integers(1, 4)):
        x, size = vanish + rng.choice((-1, 1)) * rng.uniform(0.35, 0.9) * half_width, rng.uniform(0.5, 1.1)
        stage.box(trees, x - 0.1 * size, horizon - 1.2 * size, x + 0.1 * size, horizon + 0.9 * size, linear("#3d3329"))
        _crown(stage, trees, x, horizon - 1.9 * size, 1.5 * size, stage.pick(LEAVES) * 0.95, 160)
    for _ in range(rng.integers(0, 5)):  # lamps of cars, far off
        x, y = vanish + rng.uniform(-0.3, 0.3) * half_width, horizon + rng.uniform(0.02, 0.15) * half_height
        stage.ellipse(
            trees,
            x,
            y,
            0.05,
            0.05,
            np.float32([1.0, 0.3, 0.2]) * 6 if rng.random() < 0.5 else np.float32([1, 0.95, 0.85]) * 8,
        )
    stage.exposure = rng.uniform(0.65, 0.95)


PAINTERS: dict[str, Callable[[Stage], None]] = {
    "studio wall": _studio_wall,
    "paper": _paper,
    "canvas": _canvas,
    "curtain": _curtain,
    "bricks": _bricks,
    "bookshelf": _bookshelf,
    "room": _room,
    "foliage": _foliage,
    "evening": _evening,
    "street": _street,
}
KINDS = tuple(PAINTERS)
_SHARES = np.array([3, 2, 1, 1.5, 1.5, 2, 5, 2, 1.5, 1.5]) / 21
