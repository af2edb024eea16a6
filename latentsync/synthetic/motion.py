"""How a head and a camera move: smooth, and a pure function of seed and time, so that frame rates sample one motion.

Angles in radians, times in seconds from the start of the clip, lengths in frame pixels or in sizes of the face. The
signs are those of `Pose`.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from ..face.warp import to_3x3
from .pose import Pose
from .seeds import stream

Span = tuple[float, float]  # first and last moment, seconds

_DEGREE = math.pi / 180

STRONG = 1.6  # the amplitude of a lively speaker

# Sway: standard deviations at amplitude 1, and the bands in Hz that hold most of a talking head's movement.
_YAW, _PITCH, _ROLL = 5.0 * _DEGREE, 2.8 * _DEGREE, 2.2 * _DEGREE
_SHIFT = 0.035  # of the face's size
_SLOW, _QUICK = (0.06, 0.5), (0.6, 2.0)
_QUICK_SHARE = 0.12
_LIMITS = {"yaw": 60 * _DEGREE, "pitch": 35 * _DEGREE, "roll": 35 * _DEGREE}  # approached, never passed

_NOD_S, _NOD_SHARE = 0.4, 0.45  # of a stressed syllable: how long it lasts, how many have one

# Blinks of people who talk: about 20 in a minute, lids close twice as fast as they open (Stern et al. 1984).
_CLOSE_S, _CLOSED_S, _OPEN_S = 0.08, 0.03, 0.18

# Saccades: their length in time grows with the angle (Carpenter 1988).
_SACCADE_S, _SACCADE_S_PER_RADIAN = 0.021, 0.0022 / _DEGREE
_GAZE_LIMITS = 28 * _DEGREE, 18 * _DEGREE  # of the eyes in the head; the head does the rest

_TURN_S = 0.7  # from the front to a profile
_PROFILE = 70 * _DEGREE, 90 * _DEGREE
_WALK_S = 0.6  # out of the picture
_OUTSIDE = 2.2  # sizes of the face between its middle and the border: no shoulder is left in the picture

_ZOOM_BAND, _SHAKE_BAND = (0.02, 0.08), (0.3, 3.0)
_SHAKE_ROLL = 0.6  # radians per picture height of shift

T = TypeVar("T")


def ease(share: float) -> float:
    """From 0 to 1 with the least jerk, flat at both ends and beyond."""
    s = min(max(share, 0.0), 1.0)
    return s * s * s * (10 + s * (6 * s - 15))


def pulse(time_s: float, rise_s: float, hold_s: float, fall_s: float) -> float:
    """Up to 1 and back to 0, from time 0 on."""
    return min(ease(time_s / rise_s), 1 - ease((time_s - rise_s - hold_s) / fall_s))


def plateau(time_s: float, span: Span, ramp_s: float) -> float:
    """1 within the span, 0 beyond its ramps, which lie outside."""
    start, end = span
    return min(ease((time_s - start) / ramp_s + 1), 1 - ease((time_s - end) / ramp_s))


def _bounded(value: float, limit: float) -> float:
    return limit * math.tanh(value / limit)


class Wander:
    """A smooth random signal with mean 0 and standard deviation 1 over long times, within a band in Hz."""

    def __init__(self, rng: np.random.Generator, band: tuple[float, float], n: int = 6) -> None:
        low, high = band
        self._frequencies = low * (high / low) ** ((np.arange(n) + rng.random(n)) / n)  # one in each part of the band
        weights = rng.uniform(0.5, 1.0, n) * self._frequencies**-0.5
        self._weights = weights * math.sqrt(2 / (weights**2).sum())
        self._phases = rng.uniform(0, 2 * math.pi, n)

    def __call__(self, time_s: float) -> float:
        return float(self._weights @ np.sin(2 * math.pi * self._frequencies * time_s + self._phases))


class Events(Generic[T]):
    """Things that happen one after another, without end; drawn as they are needed, always the same ones."""

    def __init__(self, rng: np.random.Generator, gap: Callable[[], float], draw: Callable[[], T], first: T) -> None:
        self._gap, self._draw = gap, draw
        self._times, self._events = [-60.0], [first]  # by 0 the chain no longer shows where it began
        self._last = rng.uniform(-12.0, -10.0)

    def before(self, time_s: float, n: int) -> list[tuple[float, T]]:
        """The latest `n` events at the time, the newest first, each with the seconds since it began."""
        while self._times[-1] <= time_s:
            self._times.append(self._last)
            self._events.append(self._draw())
            self._last += self._gap()
        end = bisect_right(self._times, time_s)
        return [(time_s - self._times[i], self._events[i]) for i in range(end - 1, max(end - 1 - n, -1), -1)]


class Blinks:
    """How far the lids are closed, 0 ... 1."""

    def __init__(self, rng: np.random.Generator) -> None:
        def gap() -> float:
            if rng.random() < 0.08:
                return rng.uniform(0.35, 0.5)  # a double blink
            return float(np.clip(rng.lognormal(math.log(2.5), 0.6), 0.7, 9.0))

        self._events = Events(rng, gap, lambda: 1.0 if rng.random() < 0.9 else rng.uniform(0.5, 0.9), 0.0)

    def __call__(self, time_s: float) -> float:
        return max(depth * pulse(age, _CLOSE_S, _CLOSED_S, _OPEN_S) for age, depth in self._events.before(time_s, 2))


class Gaze:
    """Where the eyes look in the room, (x, y) radians from the camera: fixations with saccades between them."""

    def __init__(self, rng: np.random.Generator) -> None:
        listener = rng.normal(0, 2 * _DEGREE, 2)  # most people speak to somebody beside the lens
        wanders = rng.uniform(0.1, 0.4)

        def draw() -> tuple[float, float]:
            if rng.random() < wanders:
                return rng.normal(0, 10 * _DEGREE), rng.normal(0, 6 * _DEGREE)
            x, y = listener + rng.normal(0, 0.8 * _DEGREE, 2)
            return float(x), float(y)

        def gap() -> float:
            return float(np.clip(rng.lognormal(math.log(0.8), 0.7), 0.2, 4.0))

        self._events = Events(rng, gap, draw, (0.0, 0.0))

    def __call__(self, time_s: float) -> tuple[float, float]:
        (age, target), (_, source) = self._events.before(time_s, 2)
        way = math.dist(target, source)
        share = ease(age / (_SACCADE_S + _SACCADE_S_PER_RADIAN * way))
        return tuple(a + share * (b - a) for a, b in zip(source, target, strict=True))


class Mimic:
    """Brows in -1 ... 1 or smiles in 0 ... 1: a resting value and movements that come and go."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        every_s: float,
        size: Callable[[], float],
        shape_s: tuple[float, float, float],  # rise, hold, fall
        rest: float,
        lowest: float,
    ) -> None:
        rise, hold, fall = shape_s
        self._rest, self._lowest = rest, lowest
        self._sway = Wander(rng, (0.1, 0.6))

        def draw() -> tuple[float, float, float, float]:
            stretch = rng.uniform(0.7, 1.5, 3)
            return size(), rise * stretch[0], hold * stretch[1], fall * stretch[2]

        longest = 1.5 * (rise + hold + fall)  # so that two never overlap
        self._events = Events(rng, lambda: longest + rng.exponential(every_s), draw, (0.0, rise, hold, fall))

    def __call__(self, time_s: float) -> float:
        ((age, (size, *shape)),) = self._events.before(time_s, 1)
        value = self._rest + 0.05 * self._sway(time_s) + size * pulse(age, *shape)
        return min(max(value, self._lowest), 1.0)


@dataclass(frozen=True)
class Framing:
    """Where a face lies in the picture while nothing moves, in frame pixels."""

    x: float
    y: float
    size: float  # as in Pose
    width: int  # of the picture


class HeadMotion:
    """The movements of one head.

    Args:
        seed: of everything; two heads with one seed move alike.
        amplitude: of the sway; 1 is a calm speaker, 2 and more a lively one. Mimic and eyes do not depend on it.
        beats: moments of stressed syllables; some of them get a nod.
        profile: the head is seen from the side within this span, but for the turns at its ends.
        away: it is out of the picture within these spans; it leaves before and returns after.
    """

    def __init__(
        self,
        seed: int,
        *,
        amplitude: float = 1.0,
        beats: Sequence[float] = (),
        profile: Span | None = None,
        away: Sequence[Span] = (),
    ) -> None:
        self._amplitude, self._profile, self._away = amplitude, profile, tuple(away)
        rest = stream(seed, "rest")
        self._rest = {
            "yaw": rest.normal(0, 5 * _DEGREE),
            "pitch": rest.normal(0, 2.5 * _DEGREE),
            "roll": rest.normal(0, 1.5 * _DEGREE),
        }
        self._side = int(rest.choice((-1, 1)))
        self._turned = self._side * rest.uniform(*_PROFILE)
        self._nod_size = rest.uniform(1.5, 3.5) * _DEGREE
        self._slow = {name: Wander(stream(seed, name), _SLOW) for name in ("yaw", "pitch", "roll", "x", "y", "size")}
        self._quick = {name: Wander(stream(seed, name, "quick"), _QUICK) for name in ("yaw", "pitch", "roll")}
        self._nods = [
            (time, share)
            for i, time in enumerate(sorted(beats))
            if (share := stream(seed, "nod", i).random() / _NOD_SHARE) < 1
        ]
        self._blinks = Blinks(stream(seed, "blink"))
        self._gaze = Gaze(stream(seed, "gaze"))
        brow, smile = stream(seed, "brow"), stream(seed, "smile")
        self._brow = Mimic(
            brow,
            every_s=3.0,
            size=lambda: brow.uniform(0.3, 0.9) if brow.random() < 0.8 else brow.uniform(-0.7, -0.3),
            shape_s=(0.18, 0.4, 0.35),
            rest=brow.normal(0, 0.1),
            lowest=-1.0,
        )
        self._smile = Mimic(
            smile,
            every_s=6.0,
            size=lambda: smile.uniform(0.2, 0.8),
            shape_s=(0.5, 1.5, 0.8),
            rest=0.4 * smile.beta(1.2, 5.0),
            lowest=0.0,
        )

    def pose(self, time_s: float, framing: Framing) -> Pose:
        """The pose at a time of a head that rests at `framing`."""
        yaw = self._angle("yaw", time_s, _YAW)
        if self._profile:
            start, end = self._profile
            ramp = min(_TURN_S, (end - start) / 3)
            turned = plateau(time_s, (start + ramp, end - ramp), ramp)
            yaw += turned * (self._turned - yaw)
        pitch = self._angle("pitch", time_s, _PITCH) - self._nod(time_s)
        look_x, look_y = self._gaze(time_s)
        shift = self._amplitude * _SHIFT * framing.size
        return Pose(
            x=self._walked(time_s, framing, framing.x + shift * self._slow["x"](time_s)),
            y=framing.y + 0.7 * shift * self._slow["y"](time_s),
            size=framing.size * math.exp(0.4 * self._amplitude * _SHIFT * self._slow["size"](time_s)),
            yaw=yaw,
            pitch=pitch,
            roll=self._angle("roll", time_s, _ROLL),
            blink=self._blinks(time_s),
            gaze_x=_bounded(look_x - yaw, _GAZE_LIMITS[0]),  # the eyes keep their target while the head turns
            gaze_y=_bounded(look_y - pitch, _GAZE_LIMITS[1]),
            brow=self._brow(time_s),
            smile=self._smile(time_s),
        )

    def _angle(self, name: str, time_s: float, deviation: float) -> float:
        sway = self._slow[name](time_s) + _QUICK_SHARE * self._quick[name](time_s)
        return _bounded(self._rest[name] + self._amplitude * deviation * sway, _LIMITS[name])

    def _nod(self, time_s: float) -> float:
        """How far nods turn the head down."""
        shape = [share * pulse(time_s - time, _NOD_S / 2, 0, _NOD_S / 2) for time, share in self._nods]
        return self._nod_size * max(shape, default=0.0)

    def _walked(self, time_s: float, framing: Framing, x: float) -> float:
        """`x`, moved out of the picture while the head is away: over the nearer border, or any from the middle."""
        off_centre = framing.x - framing.width / 2
        side = math.copysign(1, off_centre) if abs(off_centre) > framing.width / 8 else self._side
        outside = framing.width + _OUTSIDE * framing.size if side > 0 else -_OUTSIDE * framing.size
        gone = max((plateau(time_s, span, _WALK_S) for span in self._away), default=0.0)
        return x + gone * (outside - x)


class CameraMotion:
    """The movements of a hand-held or zooming camera.

    Args:
        shake: standard deviation of the shift, in heights of the picture.
        zoom: standard deviation of the logarithm of the magnification.
    """

    def __init__(self, seed: int, *, shake: float = 0.0, zoom: float = 0.0) -> None:
        self._shake, self._zoom = shake, zoom
        self._x, self._y, self._roll = (Wander(stream(seed, "shake", name), _SHAKE_BAND) for name in "xyr")
        self._size = Wander(stream(seed, "zoom"), _ZOOM_BAND)

    @property
    def still(self) -> bool:
        return not (self._shake or self._zoom)

    def matrix(self, time_s: float, width: int, height: int) -> np.ndarray:
        """The similarity (2, 3) float64 from the picture of a still camera to this one's, in frame pixels."""
        scale = math.exp(self._zoom * self._size(time_s))
        angle = _SHAKE_ROLL * self._shake * self._roll(time_s)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        shift = self._shake * height * np.array([self._x(time_s), self._y(time_s)])
        return np.column_stack([linear, centre - linear @ centre + shift])


def seen_through(pose: Pose, camera: np.ndarray) -> Pose:
    """The pose in the picture of a camera whose similarity (2, 3) maps the still one's pixels."""
    x, y, _ = to_3x3(camera) @ (pose.x, pose.y, 1.0)
    scale, angle = math.hypot(camera[0, 0], camera[1, 0]), math.atan2(camera[1, 0], camera[0, 0])
    return replace(pose, x=float(x), y=float(y), size=pose.size * scale, roll=pose.roll + angle)
