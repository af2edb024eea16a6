"""Surroundings: the same for a seed, at every size, and nobody in them."""

import numpy as np
import pytest

from latentsync.face.detect import MediaPipeDetector
from latentsync.synthetic.background import KINDS, background, disc


def scene(seed: int, width: int = 96, height: int = 96, kind: str | None = None) -> np.ndarray:
    return background(np.random.default_rng(seed), width, height, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_is_a_function_of_the_seed(kind):
    picture = scene(3, kind=kind)
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    assert (picture == scene(3, kind=kind)).all()
    assert (picture != scene(4, kind=kind)).any()


@pytest.mark.parametrize(("width", "height"), [(64, 128), (128, 64), (101, 67), (3840, 2160)])
def test_scenes_have_the_size_that_is_asked_for(width, height):
    assert scene(1, width, height).shape == (height, width, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_looks_the_same_at_every_size(kind):
    small, large = scene(5, 90, 160, kind), scene(5, 180, 320, kind)
    halved = large.reshape(160, 2, 90, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small).mean() < 2.5
    assert np.abs(halved - small)[4:-4, 4:-4].max() < 45


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_are_muted_and_neither_black_nor_white(kind):
    pictures = np.stack([scene(seed, kind=kind) for seed in range(4)]).astype(np.float64)
    assert 15 < pictures.mean() < 225
    chroma = pictures.max(axis=-1) - pictures.min(axis=-1)
    assert chroma.mean() < 75


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_are_out_of_focus(kind):
    picture = scene(7, 512, 512, kind).astype(np.float64).mean(axis=-1)
    neighbours = np.concatenate([np.abs(np.diff(picture, axis=axis)).ravel() for axis in (0, 1)])
    assert np.percentile(neighbours, 99.9) < 48  # the rims of bright discs


def test_the_disc_of_confusion_keeps_the_light():
    kernel = disc(7.3)
    assert kernel.sum() == pytest.approx(1, abs=1e-5) and kernel.shape == (17, 17)
    assert kernel[0, 0] == 0 and kernel[8, 8] > 0


def test_nobody_is_seen_in_a_scene():
    with MediaPipeDetector() as detector:
        for seed in range(24):
            picture = scene(seed, 320, 320)
            assert not [found for found in detector.boxes(picture) if detector.accepts(found)], seed
            assert not detector(picture), seed
