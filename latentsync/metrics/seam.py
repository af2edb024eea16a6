"""Whether the border of what was pasted can be seen, in aligned squares (f, r, r, 3) uint8."""

import cv2
import numpy as np

SECTORS = 48  # of the border, seen from the middle of what is pasted
INSIDE = 0.02  # of the square: how far inside the blend's end a hard edge may lie
SMOOTHING = 1 / 128  # of the square, standard deviation: what is finer is noise of the sensor


def seam(result: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> float:
    """How much stronger the result's edges along the border are than the truth's: 1 as strong, 2 twice.

    Pictures change across the border without any seam, most where the chin ends. So the border, where the pasting
    `weight` (r, r) falls from 1 to 0, is cut into sectors; in each the energy of the gradient across it is summed over
    time and compared with the truth's. It is the mean of the ratios' roots: a seam along a part of the border counts by
    that part, and a strong edge of the scene hides no other place.
    """
    places, normals, sector = _border(weight)
    energies = [_energy(squares, places, normals, sector) for squares in (result, truth)]
    ratios = np.sqrt((energies[0] + 1e-9) / (energies[1] + 1e-9))
    return float(ratios[np.unique(sector)].mean())


def _border(weight: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], np.ndarray]:
    """The border's pixels (rows, columns), their unit normals (x, y), and the sectors they lie in."""
    side = len(weight)
    depth = cv2.distanceTransform((weight >= 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    places = np.nonzero((weight > 0.02) & (depth <= INSIDE * side))
    smooth = cv2.GaussianBlur(weight.astype(np.float32), (0, 0), side / 64)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order)[places] for order in ((1, 0), (0, 1)))
    length = np.hypot(across, down) + 1e-9
    y, x = (np.asarray(p) - middle for p, middle in zip(places, np.argwhere(weight >= 1).mean(axis=0), strict=True))
    sector = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    return places, (across / length, down / length), sector


def _energy(squares: np.ndarray, places: tuple, normals: tuple, sector: np.ndarray) -> np.ndarray:
    """Of the gradient across the border, summed over each sector, frames and colours: (SECTORS,)."""
    total = np.zeros(len(sector))
    for square in squares:
        smooth = cv2.GaussianBlur(square.astype(np.float32), (0, 0), SMOOTHING * len(square))
        across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order)[places] for order in ((1, 0), (0, 1)))
        total += np.square(across * normals[0][:, None] + down * normals[1][:, None]).sum(axis=1)
    return np.bincount(sector, total, SECTORS)
