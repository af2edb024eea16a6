"""Seams that are drawn into pictures."""

import cv2
import numpy as np
import pytest

from latentsync.face.mask import fixed_mask
from latentsync.face.paste import paste_weight
from latentsync.metrics.seam import seam

SIDE = 128
WEIGHT = paste_weight(fixed_mask(SIDE))
HOLE = (WEIGHT >= 1)[None, :, :, None]


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Three smooth pictures (3, SIDE, SIDE, 3) with a sensor's noise, and a strong edge across the border."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(100, 140, (3, 6, 6, 3)).astype(np.float32)
    pictures = np.stack([cv2.resize(c, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for c in coarse])
    pictures[:, 110:] -= 80
    return np.clip(pictures + rng.normal(0, 1.5, pictures.shape), 0, 255).astype(np.uint8)


def with_step(truth: np.ndarray, levels: float, where=HOLE) -> np.ndarray:
    return np.clip(truth + levels * where, 0, 255).astype(np.uint8)


def test_the_truth_has_no_seam_and_what_changes_inside_makes_none(truth):
    assert seam(truth, truth, WEIGHT) == 1
    inside = truth.copy()
    inside[:, 70:90, 50:80] = 30
    assert seam(inside, truth, WEIGHT) == pytest.approx(1, abs=0.02)


def test_a_drawn_seam_is_found_and_a_stronger_one_is_stronger(truth):
    found = [seam(with_step(truth, levels), truth, WEIGHT) for levels in (4, 8, 16)]
    assert 1.1 < found[0] < found[1] < found[2]


def test_a_seam_along_a_part_of_the_border_counts_by_that_part(truth):
    left = np.arange(SIDE)[None, None, :, None] < SIDE // 2
    assert 1.1 < seam(with_step(truth, 16, HOLE & left), truth, WEIGHT) < seam(with_step(truth, 16), truth, WEIGHT)


def test_another_brightness_everywhere_is_no_seam(truth):
    assert seam(with_step(truth, 9, 1), truth, WEIGHT) == pytest.approx(1, abs=0.02)
