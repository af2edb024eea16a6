"""The camera: noise that a frame's number decides, and no more than it is told to do."""

import numpy as np
import pytest

from latentsync.synthetic.camera import NOISE_UNIT, Camera, _tile, random_camera

GREY = np.full((128, 160, 3), 120, np.uint8)


def picture(width: int = 160, height: int = 128) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def test_the_default_changes_nothing_and_returns_its_own_copy():
    frame = picture()
    exposed = Camera().expose(frame, 3)
    assert (exposed == frame).all() and not np.shares_memory(exposed, frame)


def test_a_frame_depends_on_seed_and_number_alone():
    camera = random_camera(np.random.default_rng(1))
    one = camera.expose(GREY, 5)
    camera.expose(GREY, 6)
    assert (one == camera.expose(GREY, 5)).all()
    assert (one != camera.expose(GREY, 6)).any()
    assert (one != random_camera(np.random.default_rng(2)).expose(GREY, 5)).any()


@pytest.mark.parametrize("shape", [(64, 48), (256, 256), (720, 405), (2160, 3840)])
def test_frames_keep_their_size_and_are_not_changed(shape):
    frame = np.full((*shape, 3), 90, np.uint8)
    exposed = random_camera(np.random.default_rng(3)).expose(frame, 0, motion=(4.0, -2.5))
    assert exposed.shape == frame.shape and exposed.dtype == np.uint8
    assert (frame == 90).all()


@pytest.mark.parametrize("level", [40, 120, 200])
def test_noise_has_no_mean_and_about_the_deviation_it_is_given(level):
    noisy = Camera(seed=1, noise=3.0).expose(np.full((256, 256, 3), level, np.uint8), 0).astype(np.float64)
    assert noisy.mean() == pytest.approx(level, abs=0.15)
    assert 2.0 < noisy.std() < 4.5


def test_the_channels_noise_is_alike_but_not_the_same():
    noisy = Camera(noise=3.0, chroma=0.5).expose(GREY, 0).astype(np.float64)
    assert 0.5 < np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1] < 0.95


def test_noise_of_two_frames_is_unrelated():
    a, b = (Camera(noise=3.0).expose(GREY, index).astype(np.float64).ravel() for index in (0, 1))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


def test_the_noise_tile_has_its_unit():
    assert _tile(4, 12, 10).std() == pytest.approx(NOISE_UNIT, rel=0.02)


def test_a_crop_has_no_vignette_and_the_grain_of_its_own_pixels():
    camera = Camera(vignette=0.3)
    assert camera.expose(GREY, 0)[0, 0, 0] < 100
    assert (camera.expose(GREY, 0, zoom=1.0) == GREY).all()
    large = np.full((1024, 1024, 3), 120, np.uint8)

    def along(noisy: np.ndarray) -> float:
        values = noisy[..., 1].astype(np.float64)
        return float(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1])

    noisy = Camera(noise=3.0)
    assert along(noisy.expose(large, 0)) > along(noisy.expose(large, 0, zoom=2.0)) + 0.1


def test_blur_follows_the_size_of_the_frame():
    point = np.zeros((1024, 1024, 3), np.uint8)
    point[512, 512] = 255
    camera = Camera(blur=1.0)
    assert camera.expose(point, 0).max() < camera.expose(point[256:768, 256:768], 0).max()


def test_motion_blur_lies_along_the_motion_and_stays_in_place():
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    moved = Camera().expose(point, 0, motion=(8.0, 0.0))[..., 0].astype(np.float64)
    x, y = np.arange(41), np.arange(41)
    assert (moved.sum(axis=0) * x).sum() / moved.sum() == pytest.approx(20, abs=0.1)
    assert (moved.sum(axis=1) * y).sum() / moved.sum() == pytest.approx(20, abs=0.1)
    assert (moved[20] > 0).sum() >= 8 and (moved[:, 20] > 0).sum() == 1


def test_gains_warm_a_picture_and_do_not_clip_it():
    warm = Camera(gains=(1.2, 1.0, 0.85)).expose(GREY, 0)[0, 0].astype(int)
    assert warm[0] > 120 > warm[2] and warm[1] == pytest.approx(120, abs=1)
    bright = np.full((8, 8, 3), 240, np.uint8)
    assert Camera(gains=(1.3, 1.3, 1.3)).expose(bright, 0).max() < 255


@pytest.mark.parametrize("seed", range(6))
def test_random_cameras_are_ordinary(seed):
    frame = picture(96, 96) // 2 + 64
    camera = random_camera(np.random.default_rng(seed))
    assert 0.3 < camera.noise < 4 and camera.blur <= 1.1
    assert abs(camera.expose(frame, 0).astype(np.float64).mean() - frame.mean()) < 35
