"""Crops of frames whose pixels tell where they were."""

import numpy as np
import pytest
from scipy.signal import medfilt

from latentsync.metrics.crops import crop, places, track_crops
from latentsync.metrics.tracks import FaceTrack, TrackOptions

OPTIONS = TrackOptions()
HEIGHT, WIDTH = 200, 250
PLACES = np.stack([*np.mgrid[:HEIGHT, :WIDTH], np.zeros((HEIGHT, WIDTH))], axis=2).astype(np.uint8)  # y, x, 0
GREY = [110, 110, 110]


def by_border(frame: np.ndarray, x: float, y: float, half: float) -> np.ndarray:
    """The rule as it is written: the frame gets a border, then rows and columns of that are taken."""
    border = int(1.8 * half)
    wide = np.pad(frame, ((border, border), (border, border), (0, 0)), constant_values=110)
    y, x = y + border, x + border
    return wide[int(y - half) : int(y + 1.8 * half), int(x - 1.4 * half) : int(x + 1.4 * half)]


def test_a_crop_is_the_face_and_what_is_below_and_beside():
    found = crop(PLACES, 120, 80, 50, OPTIONS)
    assert found.shape == (140, 140, 3)
    assert found[0, 0].tolist() == [30, 50, 0] and found[-1, -1].tolist() == [169, 189, 0]


@pytest.mark.parametrize("place", [(120.4, 80.7, 33.3), (3.2, 5.9, 51.9), (240.6, 195.1, 60.2), (125, 100, 190.5)])
def test_it_is_that_of_the_public_rule_to_the_pixel(place):
    np.testing.assert_array_equal(crop(PLACES, *place, OPTIONS), by_border(PLACES, *place))


def test_what_is_not_in_the_frame_is_grey():
    found = crop(PLACES, 10, 190, 40, OPTIONS)
    assert found.shape == (112, 112, 3)
    assert found[0, 0].tolist() == GREY and found[0, 46].tolist() == [150, 0, 0] and found[0, 45].tolist() == GREY
    assert found[49, 46].tolist() == [199, 0, 0] and found[50, 46].tolist() == GREY


@pytest.mark.parametrize("place", [(-90, -90, 30), (700, 900, 30), (20, 20, 0.01)])
def test_a_face_beside_the_frame_or_of_no_size_is_still_a_picture(place):
    assert 0 not in crop(PLACES, *place, OPTIONS).shape


def random_boxes(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    corners = rng.normal(100, 5, (n, 2))
    return np.concatenate([corners, corners + rng.normal(80, 5, (n, 2))], axis=1)


def raw(boxes: np.ndarray) -> np.ndarray:
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([centre, np.maximum(width, height)[:, None] / 2], axis=1)


def test_places_are_medians_over_thirteen_frames():
    boxes = random_boxes(60)
    found, values = places(boxes, OPTIONS), raw(boxes)
    np.testing.assert_allclose(found[20], np.median(values[14:27], axis=0))
    np.testing.assert_allclose(found[0], np.median(np.concatenate([values[:1].repeat(6, axis=0), values[:7]]), axis=0))


def test_the_public_median_sees_zeros_beyond_the_ends():
    boxes = random_boxes(60)
    expected = np.stack([medfilt(column, 13) for column in raw(boxes).T], axis=1)
    np.testing.assert_allclose(places(boxes, TrackOptions.reference()), expected)
    np.testing.assert_allclose(places(boxes, OPTIONS)[6:-6], expected[6:-6])


def test_a_face_that_stays_has_one_place_however_short_the_track():
    np.testing.assert_array_equal(places(np.array([[10.0, 20, 50, 40]] * 6), OPTIONS), [[30, 30, 20]] * 6)


def test_crops_of_a_track_follow_it():
    boxes = np.array([[60.0 + i, 50, 120 + i, 110] for i in range(9)])
    track = FaceTrack(first=40, boxes=boxes)
    found = list(track_crops([PLACES] * 9, track, TrackOptions(median=1)))
    assert all(picture.shape == (224, 224, 3) and picture.dtype == np.uint8 for picture in found)
    columns, rows = ([int(picture[80, 112, axis]) for picture in found] for axis in (1, 0))
    np.testing.assert_allclose(columns, range(90, 99), atol=1)
    assert set(rows) == {80}
