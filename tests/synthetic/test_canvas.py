"""Pictures through views: what is put in comes out, and a crop is a piece of the whole."""

import cv2
import numpy as np
import pytest

from latentsync.synthetic.canvas import DISPLAY, LINEAR, Canvas
from latentsync.synthetic.pose import Pose
from latentsync.synthetic.raster import FAR


def smooth(height: int, width: int, cells: int = 6) -> np.ndarray:
    """A colourful picture (height, width, 3) uint8 without fine detail."""
    coarse = np.random.default_rng(0).integers(0, 256, (cells, cells, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def through(canvas: Canvas, background: np.ndarray) -> np.ndarray:
    canvas.clear(background)
    return canvas.picture()


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b)


def test_every_level_survives_linear_light():
    levels = np.arange(256)
    np.testing.assert_allclose(DISPLAY[np.round(LINEAR * 4096).astype(int)], levels, atol=1)


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (255, 301), (301, 777)])
def test_a_background_alone_stays_as_it_is(size):
    background = smooth(*size)
    picture = through(Canvas(size[1], size[0]), background)
    assert picture.shape == background.shape and picture.dtype == np.uint8
    assert difference(picture, background).mean() < 1 and difference(picture, background).max() <= 6


@pytest.mark.parametrize("level", [0, 1, 40, 128, 255])
def test_a_plain_background_keeps_its_level(level):
    picture = through(Canvas(61, 43), np.full((43, 61, 3), level, np.uint8))
    assert difference(picture, np.full_like(picture, level)).max() <= 1


def test_a_view_that_shifts_shows_the_crop():
    background = smooth(200, 240)
    picture = through(Canvas(101, 77, np.array([[1.0, 0, -60], [0, 1, -33]])), background)
    assert difference(picture, background[33:110, 60:161]).max() <= 3


def test_a_view_that_scales_shows_what_warping_shows():
    background, view = smooth(120, 160), np.array([[2.0, 0, -70], [0, 2, -40]])
    picture = through(Canvas(128, 96, view), background)
    assert difference(picture, cv2.warpAffine(background, view, (128, 96))).max() <= 3


def test_a_view_beyond_the_frame_repeats_its_edge():
    background = smooth(60, 60)
    picture = through(Canvas(80, 60, np.array([[1.0, 0, 20], [0, 1, 0]])), background)
    assert difference(picture[:, :15], np.repeat(background[:, :1], 15, axis=1)).max() <= 3


def test_clearing_forgets_what_was_drawn():
    canvas = Canvas(64, 48)
    canvas.clear(smooth(48, 64))
    canvas.depth[:], canvas.colour[:] = 3, 0.7
    canvas.clear(np.zeros((48, 64, 3), np.uint8))
    assert (canvas.depth == FAR).all() and not canvas.picture().any()


def test_a_head_through_a_view_is_a_crop_of_the_whole(head_of):
    head, pose, mouth = head_of(1), Pose(400, 330, 200, yaw=0.2, roll=0.1), np.array([0.6, 0.2, 0, 0.2, 0, 0, 0])
    background = smooth(640, 800)
    whole, crop = Canvas(800, 640), Canvas(256, 256, np.array([[1.0, 0, -272], [0, 1, -202]]))
    pictures, truths = [], []
    for canvas in (whole, crop):
        canvas.clear(background)
        truths.append(head.draw(canvas, mouth, pose))
        pictures.append(canvas.picture())
    apart = difference(pictures[0][202:458, 272:528], pictures[1])
    assert apart.mean() < 2 and np.percentile(apart, 99) < 30
    np.testing.assert_array_equal(truths[0].landmarks, truths[1].landmarks)  # of the frame, not of the canvas


def test_a_turned_view_turns_the_picture(head_of):
    head, pose = head_of(1), Pose(150, 150, 130)
    background, view = smooth(300, 300), cv2.getRotationMatrix2D((150, 150), 20, 1.2)
    pictures = []
    for canvas in (Canvas(300, 300), Canvas(300, 300, view)):
        canvas.clear(background)
        head.draw(canvas, np.zeros(7), pose)
        pictures.append(canvas.picture())
    turned = cv2.warpAffine(pictures[0], view, (300, 300), borderMode=cv2.BORDER_REPLICATE)
    assert difference(turned, pictures[1]).mean() < 4
