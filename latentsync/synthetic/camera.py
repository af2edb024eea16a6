"""What a camera makes of a picture: lens, exposure and sensor, the same for the same seed and frame number."""

from dataclasses import dataclass

import cv2
import numpy as np

REFERENCE_SIDE = 512  # the short side of a frame that pixel sizes are given for
TILE = 1024  # side of the square of noise that frames are cut from
NOISE_UNIT = 24  # a standard deviation in the stored noise


@dataclass(frozen=True)
class Camera:
    """A camera; the defaults change nothing. Blur and grain are in pixels of a frame whose short side is 512."""

    seed: int = 0
    noise: float = 0.0  # standard deviation in the middle tones, levels of 255
    grain: float = 0.6  # size of the noise's grain, pixels (sigma)
    chroma: float = 0.5  # how much of the noise is colour: 0 grey ... 1 independent channels
    blur: float = 0.0  # of the lens and the focus, sigma in pixels
    chroma_blur: float = 0.0  # of colour alone, as after 4:2:0 and a small sensor, sigma in pixels
    vignette: float = 0.0  # light that the corners lose, 0 ... 1
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of red, green and blue: white balance and exposure
    contrast: float = 1.0  # around the middle grey
    sharpening: float = 0.0  # as webcams and phones do, share of the detail added again

    def expose(
        self, frame: np.ndarray, index: int, *, motion: tuple[float, float] = (0.0, 0.0), zoom: float | None = None
    ) -> np.ndarray:
        """A frame (h, w, 3) uint8 RGB as this camera records it; `index` is the frame's number.

        `motion` is how far the picture moves while the shutter is open, its own pixels. For a crop, `zoom` is its
        pixels per pixel of the reference frame (None: it is a whole frame): a crop has no vignette, and its noise
        has the grain of its own pixels, as if the sensor had taken just that.
        """
        height, width = frame.shape[:2]
        scale = min(height, width) / REFERENCE_SIDE if zoom is None else zoom
        picture = _moved(frame, motion)
        if self.blur * scale > 0.15:
            picture = _blurred(picture, self.blur * scale)
        if self.chroma_blur * scale > 0.3:
            picture = _soft_colour(picture, self.chroma_blur * scale)
        if self.sharpening and scale > 0.4:
            picture = cv2.addWeighted(picture, 1 + self.sharpening, _blurred(picture, 1.1 * scale), -self.sharpening, 0)
        if self._recolours:
            picture = cv2.LUT(picture, self._curves())
        if self.vignette and zoom is None:
            picture = cv2.multiply(picture, _vignette(height, width, self.vignette), scale=1 / 255)
        if self.noise:
            picture = self._noisy(picture, index, max(1.0, scale) if zoom is None else 1.0)
        return frame.copy() if picture is frame else picture

    @property
    def _recolours(self) -> bool:
        return self.gains != (1.0, 1.0, 1.0) or self.contrast != 1.0

    def _curves(self) -> np.ndarray:
        """A table (256, 1, 3) uint8 from levels to levels; gains act on linear light, highlights bend."""
        level = np.linspace(0, 1, 256)[:, None]
        light = level**2.2 * np.array(self.gains)
        if max(self.gains) > 1:  # what would clip is bent instead
            light = np.where(light > 0.75, 0.75 + 0.25 * np.tanh((light - 0.75) / 0.25), light)
        curved = light ** (1 / 2.2)
        curved = curved + (self.contrast - 1) * (curved - 0.45) * 4 * curved * (1 - curved)
        return np.clip(255 * curved + 0.5, 0, 255).astype(np.uint8)[:, None]

    def _noisy(self, picture: np.ndarray, index: int, scale: float) -> np.ndarray:
        """Noise of the seed and the frame's number; photons make it grow with the light, the curve shrink it again."""
        height, width = picture.shape[:2]
        fine = scale**0.5  # larger frames come from sensors with more pixels, whose noise is finer
        small = (int(np.ceil(height / fine)), int(np.ceil(width / fine)))
        tile = _tile(self.seed, round(self.grain * 20), round(self.chroma * 20))
        noise = _cut(tile, small, np.random.default_rng((self.seed, index)))
        if fine > 1:
            noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        # In linear light the variance is read noise plus photons; the tone curve divides by its slope there.
        level = np.arange(256) / 255
        deviation = np.sqrt(0.15 + level**2.2 * 2.2) / (0.35 + 1.3 * level**1.2)
        deviation *= self.noise / np.interp(0.45, level, deviation)
        strength = cv2.LUT(picture, np.round(deviation * 32).astype(np.int16))
        added = cv2.multiply(noise, strength, scale=1 / (32 * NOISE_UNIT))
        return cv2.add(picture, added, dtype=cv2.CV_8U)


def random_camera(rng: np.random.Generator) -> Camera:
    """A webcam or a phone in ordinary light."""
    warmth, exposure = rng.normal(0, 0.045), np.exp(rng.normal(0, 0.1))
    green = np.exp(rng.normal(0, 0.012))
    return Camera(
        seed=int(rng.integers(2**31)),
        noise=float(np.clip(np.exp(rng.normal(np.log(1.4), 0.5)), 0.4, 3.5)),
        grain=float(rng.uniform(0.45, 1.0)),
        chroma=float(rng.uniform(0.2, 0.7)),
        blur=float(np.clip(abs(rng.normal(0.35, 0.3)), 0, 1.1)),
        chroma_blur=float(rng.uniform(0, 1.5)),
        vignette=float(rng.uniform(0, 0.16)),
        gains=(float(exposure * np.exp(warmth)), float(exposure * green), float(exposure * np.exp(-warmth))),
        contrast=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)),
        sharpening=float(max(0.0, rng.normal(0.1, 0.2))),
    )


# Lens


def _blurred(frame: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; OpenCV's own kernel for 8 bits would be longer than can be seen."""
    side = 2 * int(np.ceil(2.2 * sigma)) + 1
    return cv2.GaussianBlur(frame, (side, side), sigma)


def _moved(frame: np.ndarray, motion: tuple[float, float]) -> np.ndarray:
    """The mean of the frame over a straight movement, its middle where the frame was."""
    dx, dy = motion
    reach = float(np.hypot(dx, dy))
    if reach < 0.3:
        return frame
    half = int(np.ceil(max(abs(dx), abs(dy)) / 2)) + 1
    steps = np.linspace(-0.5, 0.5, max(3, int(reach * 4)))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for share in steps:  # each point of the path, shared among the four pixels around it
        x, y = half + dx * share, half + dy * share
        left, top = int(x), int(y)
        fx, fy = x - left, y - top
        kernel[top : top + 2, left : left + 2] += np.outer((1 - fy, fy), (1 - fx, fx))
    return cv2.filter2D(frame, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _soft_colour(frame: np.ndarray, sigma: float) -> np.ndarray:
    """The frame with its colour, not its brightness, blurred."""
    yuv = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)
    luma, red, blue = cv2.split(yuv)
    red, blue = (_blurred(plane, sigma) for plane in (red, blue))
    return cv2.cvtColor(cv2.merge((luma, red, blue)), cv2.COLOR_YCrCb2RGB)


_kept: dict[tuple, np.ndarray] = {}  # the last vignette and noise of each kind of question, at most a few


def _keep(key: tuple, value: np.ndarray) -> np.ndarray:
    if len(_kept) >= 8:
        _kept.pop(next(iter(_kept)))
    _kept[key] = value
    return value


def _vignette(height: int, width: int, depth: float) -> np.ndarray:
    """Factors (h, w, 3) uint8, 255 in the middle of the frame."""
    key = ("vignette", height, width, round(depth, 4))
    if key in _kept:
        return _kept[key]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * height
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] * width
    squared = (x * x + y * y) / (height**2 + width**2)
    factors = (1 - depth * squared * (0.4 + 0.6 * squared)) ** 0.9
    return _keep(key, np.repeat(np.round(255 * factors).astype(np.uint8)[..., None], 3, axis=2))


# Sensor


def _tile(seed: int, grain: int, chroma: int) -> np.ndarray:
    """Noise (TILE, TILE, 3) int16 of standard deviation NOISE_UNIT; grain and chroma in twentieths."""
    key = ("noise", seed, grain, chroma)
    if key in _kept:
        return _kept[key]
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((TILE, TILE, 3), np.float32)
    share = chroma / 20
    grey = rng.standard_normal((TILE, TILE, 1), np.float32)
    noise = share * mixed + np.sqrt(1 - share**2) * grey
    if grain > 4:
        noise = cv2.GaussianBlur(noise, (0, 0), grain / 20)
    noise *= NOISE_UNIT / noise.std()
    return _keep(key, np.round(noise).astype(np.int16))


def _cut(tile: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A part (h, w, 3) of the tile from a random place on; the tile repeats where it must."""
    height, width = size
    repeats = (-(-(2 * height) // TILE), -(-(2 * width) // TILE), 1) if max(size) > TILE // 2 else (1, 1, 1)
    tile = np.tile(tile, repeats) if max(repeats) > 1 else tile
    top, left = (int(rng.integers(min(TILE, room - side + 1))) for room, side in zip(tile.shape, size, strict=False))
    return tile[top : top + height, left : left + width]
