"""Picture quality without weights: how sharp the pictures are, and how much of them is neither black nor white.

Sharpness is one minus the blur of Crete et al., "The blur effect: perception and estimation with a new no-reference
perceptual blur metric" (2007), which compares a picture with a blurred copy of itself.
"""

import cv2
import numpy as np
from skimage.measure import blur_effect

_SIDE = 256  # pixels; blur is judged at one size, whatever the clip's
_DARKEST, _BRIGHTEST = 4, 251  # grey levels; beyond them there is no detail


def sharpness_score(frame: np.ndarray) -> float:
    """Of a (h, w, 3) uint8 RGB picture, 0 to 100; a sharp, well lit face has 60 or more."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if min(grey.shape) > _SIDE:
        scale = _SIDE / min(grey.shape)
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    exposed = float(((grey >= _DARKEST) & (grey <= _BRIGHTEST)).mean())
    return 100 * (1 - float(blur_effect(grey))) * exposed
