"""What the lips in a video do: how far they are apart, when they close, how much their picture changes.

Openings are curves (f,) in heights of the face, nan in frames where no face was found.
"""


from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

#: Pairs of mesh points, upper and lower, on the inner edges of the lips: the middle, and a third aside.
INNER_LIPS = ((13, 14), (82, 87), (312, 317))
EYE_CORNERS = (33, 263)


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
    """How far the lips of meshes (f, 468, 2) are apart, (f,) pixels; < 0 where they cross.

    The mean over three pairs of points, along the face's own vertical: one pair is noisier, and what lips move
    sideways is no opening.
    """
    across = landmarks[:, EYE_CORNERS[1]] - landmarks[:, EYE_CORNERS[0]]
    across = across / np.linalg.norm(across, axis=1, keepdims=True)
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)
    upper, lower = np.array(INNER_LIPS).T
    return ((landmarks[:, lower] - landmarks[:, upper]).mean(axis=1) * down).sum(axis=1)


def lip_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of the corresponding points (n, 2) of two pairs of lips, in their units.

    The "landmark distance" of Chen et al., "Lip movements generation at a glance" (2018).
    """
    return float(np.linalg.norm(a - b, axis=1).mean())


# Closed lips

CLOSED, OPEN = 0.004, 0.02  # heights of the face: the truth's lips touch below, and are surely apart above
REACH = 0.5  # frames before and after a p, b or m in which the lips may be found closed


def closed_below(measured: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """The measured opening below which a person's lips are closed: what best tells the truth's CLOSED from its OPEN.

    Curves (f,) of videos whose truth is known, at best several of the same person. It is the middle of what tells them
    equally well. Raises ValueError where the lips are never closed or never open.
    """
    found, known = np.concatenate(measured), np.concatenate(truth)
    closed, opened = (np.sort(found[frames & np.isfinite(found)]) for frames in (known < CLOSED, known > OPEN))
    if not (len(closed) and len(opened)):
        raise ValueError("expected lips that close and open, found only one of them; use longer clips")
    edges = np.unique(np.concatenate([closed, opened]))
    between = np.concatenate([edges[:1] - 1e-6, (edges[1:] + edges[:-1]) / 2, edges[-1:] + 1e-6])
    wrong = 1 - np.searchsorted(closed, between) / len(closed) + np.searchsorted(opened, between) / len(opened)
    best = between[wrong <= wrong.min() + 1e-9]
    return float((best[0] + best[-1]) / 2)


@dataclass(frozen=True)
class Closures:
    """Counts, which several clips can add up."""

    wanted: int  # p, b and m that the clip shows
    found: int  # of these, with closed lips
    shut: int  # frames with closed lips while words are spoken
    right: int  # of these, where the truth's lips are closed or nearly so

    def __add__(self, other: "Closures") -> "Closures":
        return Closures(
            self.wanted + other.wanted, self.found + other.found, self.shut + other.shut, self.right + other.right
        )

    @property
    def recall(self) -> float:
        """The share of p, b and m that close the lips."""
        return self.found / self.wanted if self.wanted else float("nan")

    @property
    def precision(self) -> float:
        """The share of frames with closed lips that are right; 0 where lips never close."""
        return self.right / self.shut if self.shut else 0.0


def closures(
    measured: np.ndarray,
    truth: np.ndarray,
    closed_s: Sequence[tuple[float, float]],
    spoken: np.ndarray,
    *,
    threshold: float,
    fps: float = 25,
) -> Closures:
    """How well a measured opening (f,) closes where it should.

    A p, b or m is found where the opening is below `threshold` (see `closed_below`) in any frame of its span, half a
    frame more at either end. Precision counts frames, not closures, or lips that stay closed for ever would be one
    closure that is right; and only frames in which words are `spoken` (f,) bool, as closed lips in pauses are no art.
    One is right where the truth is below OPEN in it or a neighbour: an f or s brings lips together, too.
    """
    shut = measured < threshold  # False where nothing was found
    times = np.arange(len(truth)) + 0.5  # frames
    spans = [(a * fps, b * fps) for a, b in closed_s]
    shown = [(a, b) for a, b in spans if ((times >= a) & (times < b)).any()]
    found = [shut[(times >= a - REACH) & (times < b + REACH)].any() for a, b in shown]
    padded = np.pad(truth, 1, constant_values=np.inf)
    near = np.minimum(np.minimum(padded[:-2], padded[2:]), truth) < OPEN
    counted = shut & spoken
    return Closures(len(shown), int(np.sum(found)), int(counted.sum()), int((counted & near).sum()))


# Pictures

MOUTH = (0.52, 0.80), (0.27, 0.73)  # rows and columns of the aligned square where lips and the jaw's front lie
DETAIL = 1 / 128  # of the square, standard deviation: what is finer is noise of the sensor, which no network repeats


def mouth_change(squares: np.ndarray) -> float:
    """Mean change of the mouth from frame to frame, grey levels, of aligned squares (f, r, r, 3) uint8."""
    side = squares.shape[1]
    rows, columns = (slice(round(a * side), round(b * side)) for a, b in MOUTH)
    smooth = [cv2.GaussianBlur(square.astype(np.float32), (0, 0), DETAIL * side)[rows, columns] for square in squares]
    return float(np.mean([np.abs(b - a).mean() for a, b in pairwise(smooth)]))


def region_psnr(result: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float:
    """Peak signal to noise, dB, of squares (f, r, r, 3) uint8 within a region (r, r) bool; at most 100."""
    pairs = zip(result, truth, strict=True)
    error = np.mean([np.square(a[region].astype(np.float64) - b[region]).mean() for a, b in pairs])
    return float(10 * np.log10(255**2 / max(error, 255**2 * 1e-10)))
