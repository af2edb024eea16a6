"""Solids as seen from far in front: a height for every pixel, built from rounded cones, then shaded softly.

Coordinates: x to the right, y down, z towards the camera, in units of a hand's length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .srgb import encode

NOWHERE = -1e3  # height where nothing is


@dataclass
class Patch:
    """The height of one solid in the part of a relief that it lies in."""

    height: np.ndarray  # (h, w) float32 units, NOWHERE outside
    window: tuple[slice, slice]  # its rows and columns in the relief

    @property
    def solid(self) -> np.ndarray:
        return self.height > NOWHERE / 2


class Relief:
    """Solids over a rectangle (x0, y0, x1, y1) in units, `scale` pixels each; every one has a colour and a gloss."""

    def __init__(self, x0: float, y0: float, x1: float, y1: float, scale: float):
        self.origin, self.scale = (x0, y0), scale
        shape = (round((y1 - y0) * scale), round((x1 - x0) * scale))
        self.height = np.full(shape, NOWHERE, np.float32)
        self.albedo = np.zeros((*shape, 3), np.float32)  # linear
        self.gloss = np.zeros(shape, np.float32)  # 0 cloth ... 1 lacquer
        self.skin = np.zeros(shape, np.float32)  # 1 where light enters and leaves a little further on, reddened
        self.cover = np.ones(shape, np.float32)  # < 1 where holes are too fine to be drawn
        self.owner = np.full(shape, -1, np.int16)  # which part a pixel shows

    # Places

    def pixels(self, point: Sequence[float]) -> tuple[float, float]:
        """(x, y) of a point in pixels."""
        return (point[0] - self.origin[0]) * self.scale - 0.5, (point[1] - self.origin[1]) * self.scale - 0.5

    def window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """Rows and columns of a rectangle in units, as far as it lies inside."""
        (left, top), (right, bottom) = self.pixels((x0, y0)), self.pixels((x1, y1))
        rows, columns = self.height.shape
        top, bottom = max(0, int(top)), min(rows, int(bottom) + 2)
        left, right = max(0, int(left)), min(columns, int(right) + 2)
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    def around(self, point: Sequence[float], reach: float) -> tuple[slice, slice]:
        return self.window(point[0] - reach, point[1] - reach, point[0] + reach, point[1] + reach)

    def along(
        self, window: tuple[slice, slice], start: Sequence[float], axis: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distances (h, w) in units of a window's pixels from `start` along a direction and to the right of it."""
        x = (
            self.origin[0]
            + (np.arange(window[1].start, window[1].stop, dtype=np.float32) + 0.5) / self.scale
            - start[0]
        )
        y = (
            self.origin[1]
            + (np.arange(window[0].start, window[0].stop, dtype=np.float32) + 0.5) / self.scale
            - start[1]
        )
        ax, ay = (np.float32(value) for value in axis[:2] / np.linalg.norm(axis[:2]))
        return x[None] * ax + y[:, None] * ay, y[:, None] * ax - x[None] * ay

    # Solids

    def cones(self, points: np.ndarray, radii: Sequence[float], flat: float = 1.0) -> Patch:
        """A chain of rounded cones along points (n, 3); `flat` squeezes it in depth."""
        points, radii = np.asarray(points, np.float64), np.asarray(radii, np.float64)
        reach = radii[:, None]
        window = self.window(*(points[:, :2] - reach).min(axis=0), *(points[:, :2] + reach).max(axis=0))
        patch = Patch(np.full(self.height[window].shape, NOWHERE, np.float32), window)
        for i in range(len(points) - 1):
            n = max(2, int(np.ceil(12 * np.linalg.norm(points[i + 1] - points[i]) / min(radii[i], radii[i + 1]))))
            for share in np.linspace(0, 1, n):
                centre = points[i] + (points[i + 1] - points[i]) * share
                self._ball(patch, centre, radii[i] + (radii[i + 1] - radii[i]) * share, flat)
        return patch

    def _ball(self, patch: Patch, centre: np.ndarray, radius: float, flat: float) -> None:
        x, y = self.pixels(centre)
        x, y, reach = x - patch.window[1].start, y - patch.window[0].start, radius * self.scale
        x0, x1 = max(0, int(x - reach)), min(patch.height.shape[1], int(x + reach) + 2)
        y0, y1 = max(0, int(y - reach)), min(patch.height.shape[0], int(y + reach) + 2)
        if x0 >= x1 or y0 >= y1:
            return
        dx = (np.arange(x0, x1, dtype=np.float32) - np.float32(x))[None]
        dy = (np.arange(y0, y1, dtype=np.float32) - np.float32(y))[:, None]
        rest = np.float32(reach * reach) - dx * dx - dy * dy
        part = patch.height[y0:y1, x0:x1]
        up = np.float32(centre[2]) + np.sqrt(np.maximum(rest, 0)) * np.float32(flat / self.scale)
        np.maximum(part, np.where(rest > 0, up, NOWHERE), out=part)

    def smoothed(self, patches: Sequence[Patch], sigma: float) -> Patch:
        """The union of patches, its surface smoothed over `sigma` units; its outline stays."""
        rows = slice(min(p.window[0].start for p in patches), max(p.window[0].stop for p in patches))
        columns = slice(min(p.window[1].start for p in patches), max(p.window[1].stop for p in patches))
        union = np.full((rows.stop - rows.start, columns.stop - columns.start), NOWHERE, np.float32)
        for patch in patches:
            (r, c) = patch.window
            part = union[r.start - rows.start : r.stop - rows.start, c.start - columns.start : c.stop - columns.start]
            np.maximum(part, patch.height, out=part)
        solid = union > NOWHERE / 2
        cover = solid.astype(np.float32)
        near = np.where(solid, union, 0)
        for sigma_px in (sigma * self.scale, 0.5 * sigma * self.scale):
            weight = cv2.GaussianBlur(cover, (0, 0), sigma_px)
            smooth = cv2.GaussianBlur(near, (0, 0), sigma_px) / np.maximum(weight, 1e-3)
            # Near the outline the surface keeps its roundness.
            inner = np.clip(2 * weight - 1, 0, 1) ** 0.5
            near = np.where(solid, near + inner * (smooth - near), 0)
        return Patch(np.where(solid, near, NOWHERE).astype(np.float32), (rows, columns))

    def add(
        self,
        patch: Patch,
        colour: np.ndarray,
        *,
        gloss: float = 0.3,
        melt: float = 0.0,
        part: int = 0,
        skin: float = 0.0,
        cover: float | np.ndarray = 1.0,
    ) -> None:
        """Unite with a solid of a linear colour (3,) or (h, w, 3); the seam is rounded over `melt` units."""
        old, new, window = self.height[patch.window], patch.height, patch.window
        front = new > old
        share, bulge = front.astype(np.float32), 0
        if melt:
            both = patch.solid & (old > NOWHERE / 2)
            share = np.clip(0.5 + 0.5 * (new - old) / melt, 0, 1)
            bulge = np.where(both, melt * share * (1 - share), 0)
        self.albedo[window] += share[..., None] * (np.asarray(colour, np.float32) - self.albedo[window])
        for field, value in ((self.gloss, gloss), (self.skin, skin), (self.cover, cover)):
            field[window] += share * (value - field[window])
        self.height[window] = np.maximum(new, old) + bulge
        self.owner[window][front] = part

    def soften(self, at: Sequence[float], reach: float, sigma: float) -> None:
        """Smooth the surface over `sigma` units around a point; outlines stay."""
        window = self.around(at, reach)
        old = self.height[window]
        solid = old > NOWHERE / 2
        weight = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), sigma * self.scale)
        smooth = cv2.GaussianBlur(np.where(solid, old, 0), (0, 0), sigma * self.scale) / np.maximum(weight, 1e-3)
        along, across = self.along(window, at, np.array((1.0, 0.0)))
        near = np.clip(1.5 * (1 - (along**2 + across**2) / reach**2), 0, 1) * np.clip(2 * weight - 1, 0, 1) ** 0.5
        self.height[window] = np.where(solid, old + near * (smooth - old), old)

    @property
    def solid(self) -> np.ndarray:
        """(h, w) bool: where something is."""
        return self.height > NOWHERE / 2

    # Light

    def shaded(self, light: Sequence[float]) -> np.ndarray:
        """Premultiplied sRGB (h / 2, w / 2, 4) float32 in [0, 1] under a large lamp in direction `light` (3,)."""
        solid = self.solid
        cover = solid.astype(np.float32)
        z = cv2.GaussianBlur(np.where(solid, self.height, self._falling(cover)) * self.scale, (0, 0), 1.2)
        slope = np.stack([cv2.Sobel(z, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(z, cv2.CV_32F, 0, 1, scale=1 / 8)], -1)
        up = 1 / np.sqrt(1 + (slope * slope).sum(axis=-1, keepdims=True))  # z of the normal
        normal = -slope * up
        lamp = np.asarray(light, np.float32) / np.float32(np.linalg.norm(light))
        facing = normal @ lamp[:2, None] + up * lamp[2]
        open_sky = self._openness(z, cover)[..., None]
        skin = self.skin[..., None]
        wrap = skin * np.float32([0.36, 0.2, 0.14])
        direct = np.maximum((facing + wrap) / (1 + wrap), 0)
        ambient = (0.31 - 0.11 * normal[..., 1:]) * open_sky  # more light comes from above
        # Light that bounces between folds of skin takes on its colour.
        ambient = ambient * (1 + 1.2 * skin * (1 - open_sky) * self.albedo)
        half = lamp + np.float32([0, 0, 1])
        half /= np.linalg.norm(half)
        shine = np.maximum(normal @ half[:2, None] + up * half[2], 1e-4)
        rough = 6 + 50 * self.gloss[..., None]
        spot = 0.16 * self.gloss[..., None] * shine**rough * np.sqrt(rough / 20) * open_sky
        rim = 0.03 * (1 - up) ** 3 * open_sky
        colour = encode(self.albedo * (0.82 * direct * (0.45 + 0.55 * open_sky) + ambient) + spot + rim)
        cover *= self.cover
        rgba = np.concatenate([colour * cover[..., None], cover[..., None]], axis=-1).astype(np.float32)
        rows, columns = (side // 2 for side in solid.shape)
        return cv2.resize(rgba[: rows * 2, : columns * 2], (columns, rows), interpolation=cv2.INTER_AREA)

    def _falling(self, cover: np.ndarray) -> np.ndarray:
        """Height (h, w) that falls away around the solids, so that outlines have normals."""
        near = np.where(cover > 0, self.height, 0)
        weight = cv2.blur(cover, (9, 9))
        return cv2.blur(near, (9, 9)) / np.maximum(weight, 1e-3) - 4.5 / self.scale * (1 - weight)

    def _openness(self, z: np.ndarray, cover: np.ndarray) -> np.ndarray:
        """(h, w) in [0, 1]: how much of the sky a place sees, from how deep it lies below its surroundings."""
        shadow = np.zeros_like(z)
        for reach in (0.012, 0.035, 0.09):
            sigma = reach * self.scale
            factor = max(1, int(sigma / 3))
            size = (z.shape[1] // factor, z.shape[0] // factor)
            weight = cv2.GaussianBlur(cv2.resize(cover, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / factor)
            mean = cv2.GaussianBlur(cv2.resize(z * cover, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / factor)
            around = cv2.resize(mean / np.maximum(weight, 1e-3), (z.shape[1], z.shape[0]))
            shadow += np.clip((around - z) / sigma, 0, 1.2)
        return np.exp(-0.75 * shadow)
