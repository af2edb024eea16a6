"""Hands and microphones: what they look like is looked at; here is where they go and what they leave alone."""

import numpy as np
import pytest

from latentsync.synthetic.occluder import KINDS, Occluder, make_occluder, paste, track

SKIN = (201, 150, 120)


@pytest.fixture(scope="module")
def occluders() -> dict[str, Occluder]:
    return {kind: make_occluder(kind, np.random.default_rng(2), SKIN) for kind in KINDS}


@pytest.fixture
def square() -> Occluder:
    """A white square of 40 x 40 in 60 x 60, its unit and anchor at the middle."""
    sprite = np.zeros((60, 60, 4), np.float32)
    sprite[10:50, 10:50] = 1
    return Occluder(sprite, (29.5, 29.5), 60.0)


@pytest.mark.parametrize("kind", KINDS)
def test_sprites_are_premultiplied_and_have_their_anchor_inside(kind, occluders):
    one = occluders[kind]
    height, width = one.sprite.shape[:2]
    colour, cover = one.sprite[..., :3], one.sprite[..., 3]
    assert one.sprite.dtype == np.float32
    assert cover.min() == 0 and cover.max() == pytest.approx(1)
    assert (colour >= 0).all() and (colour <= cover[..., None] + 1e-5).all()
    assert 0 <= one.anchor[0] < width and 0 <= one.anchor[1] < height
    assert cover[round(one.anchor[1]), round(one.anchor[0])] > 0.95, "the anchor covers the mouth"


def test_an_occluder_is_a_function_of_its_seed():
    one, same, other = (make_occluder("hand", np.random.default_rng(seed), SKIN).sprite for seed in (1, 1, 2))
    assert one.shape == same.shape and (one == same).all()
    assert one.shape != other.shape or (one != other).any()


@pytest.mark.parametrize("skin", [(240, 205, 186), (196, 150, 118), (92, 62, 48)])
def test_a_hand_has_the_skin_that_it_is_given(skin):
    hand = make_occluder("hand", np.random.default_rng(0), skin)
    x, y = (round(value) for value in hand.anchor)
    patch = np.median(hand.sprite[y - 8 : y + 9, x - 8 : x + 9, :3].reshape(-1, 3), axis=0) * 255
    assert np.abs(patch - skin).max() < 55
    assert patch[0] > patch[1] > patch[2]


def test_what_cannot_be_made_is_named():
    with pytest.raises(ValueError, match=r"expected one of hand, .*, got spoon"):
        make_occluder("spoon", np.random.default_rng(0), SKIN)


def test_the_anchor_comes_to_the_place_and_the_scale_is_a_hand(square):
    frame = np.zeros((100, 120, 3), np.uint8)
    paste(frame, square, 70.0, 40.0, 30.0, shadow=0)
    rows, columns = np.nonzero(frame[..., 0] > 127)
    assert columns.mean() == pytest.approx(70, abs=0.3) and rows.mean() == pytest.approx(40, abs=0.3)
    assert (frame[..., 0] / 255).sum() == pytest.approx(20 * 20, rel=0.03)


def test_a_turn_is_clockwise():
    sprite = np.zeros((9, 41, 4), np.float32)
    sprite[2:7, 2:39] = 1
    bar = Occluder(sprite, (4.0, 4.0), 40.0)  # points to the right from its anchor
    frame = np.zeros((100, 100, 3), np.uint8)
    paste(frame, bar, 50.0, 50.0, 40.0, np.pi / 2, shadow=0)
    assert frame[70, 50, 0] > 200 and frame[30, 50, 0] == 0 and frame[50, 70, 0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_shows_what_the_frame_shows(kind, occluders):
    frame = np.full((240, 240, 3), 128, np.uint8)
    paste(frame, occluders[kind], 120.0, 110.0, 90.0, 0.2)
    view = np.array([(2.0, 0.0, -140.5), (0.0, 2.0, -120.5)])  # the double of frame pixels 70.5... and 60.5...
    crop = np.full((200, 200, 3), 128, np.uint8)
    paste(crop, occluders[kind], 120.0, 110.0, 90.0, 0.2, view)
    halved = crop.reshape(100, 2, 100, 2, 3).mean(axis=(1, 3))
    # Pixel (j, i) of the halved crop has its centre at 2 j + 0.5, which is frame column j + 70.5.
    frame = frame.astype(np.float64)
    between = (frame[60:160] + frame[61:161]) / 2
    between = (between[:, 70:170] + between[:, 71:171]) / 2
    assert np.abs(halved - between).mean() < 2.5


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_covered_or_in_the_shadow_changes(kind, occluders):
    frame = np.full((400, 300, 3), 200, np.uint8)
    paste(frame, occluders[kind], 150.0, 300.0, 60.0)
    assert (frame[:180] == 200).all()
    assert (frame[295:305, 145:155] != 200).any()


def test_outside_the_frame_nothing_is_drawn(square):
    frame = np.full((50, 50, 3), 90, np.uint8)
    for x, y in ((-300.0, 20.0), (400.0, 20.0), (20.0, -300.0), (20.0, 500.0)):
        paste(frame, square, x, y, 30.0)
    assert (frame == 90).all()


def test_a_small_hand_is_the_large_one_averaged(occluders):
    large, small = np.full((384, 384, 3), 100, np.uint8), np.full((48, 48, 3), 100, np.uint8)
    paste(large, occluders["hand"], 195.5, 195.5, 240.0, shadow=0)
    paste(small, occluders["hand"], 24.0, 24.0, 30.0, shadow=0)
    halved = large.reshape(48, 8, 48, 8, 3).mean(axis=(1, 3))
    assert np.abs(halved - small).mean() < 4


def test_a_track_comes_stays_and_goes():
    movement = track(np.random.default_rng(4), 1.0, 4.0)
    assert movement.at(0.9) is None and movement.at(4.01) is None
    first, middle, last = movement.at(1.001), movement.at(2.5), movement.at(3.999)
    assert first.y > 2 and last.y > 2
    assert abs(middle.x) < 0.2 and abs(middle.y) < 0.15
    assert movement.at(2.5) == middle, "a pure function of time"
    assert movement == track(np.random.default_rng(4), 1.0, 4.0)


def test_a_track_moves_without_jumps():
    movement = track(np.random.default_rng(5), 0.0, 3.0)
    times_s = np.arange(0.001, 3.0, 0.01)
    y = np.array([movement.at(time_s).y for time_s in times_s])
    assert np.abs(np.diff(y)).max() < 0.2


def test_a_track_to_the_chin_leaves_the_mouth_free():
    rests = [track(np.random.default_rng(seed), 0.0, 4.0, cover=0.0).at(2.0).y for seed in range(8)]
    assert np.mean(rests) == pytest.approx(0.3, abs=0.06)


def test_a_track_needs_time():
    with pytest.raises(ValueError, match="end after the start"):
        track(np.random.default_rng(0), 2.0, 2.0)
