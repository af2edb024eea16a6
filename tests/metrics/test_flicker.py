"""Flicker of pictures whose movement is known."""

import math

import numpy as np
import pytest
import torch

from latentsync.metrics.flicker import Flicker


def flicker(pictures, indices=None) -> float:
    found = Flicker()
    for i, picture in enumerate(pictures):
        found.add(indices[i] if indices else i, torch.from_numpy(np.asarray(picture, np.uint8)).expand(3, 64, 64))
    return found.value()


def test_steady_pictures_and_steady_change_do_not_flicker():
    assert flicker(np.full((5, 1, 1, 1), 100)) == 0
    assert flicker(np.arange(10, 60, 10)[:, None, None, None]) == pytest.approx(0, abs=1e-4)


def test_every_other_frame_brighter_is_flicker_of_that_much():
    assert flicker([np.full((1, 1, 1), 100 + 8 * (i % 2)) for i in range(6)]) == pytest.approx(8)


def test_a_jump_in_time_is_no_flicker():
    levels = [np.full((1, 1, 1), level) for level in (100, 100, 100, 200, 200, 200)]
    assert flicker(levels, [0, 1, 2, 7, 8, 9]) == 0 < flicker(levels)


def test_what_is_not_the_mouth_does_not_count():
    top = np.zeros((6, 1, 64, 64))
    top[::2, :, :16] = 200
    assert flicker(top) == 0


def test_two_frames_say_nothing():
    assert math.isnan(flicker(np.zeros((2, 1, 1, 1))))
