"""Moving faces: what closes, what opens, and what stays still."""

from dataclasses import replace

import numpy as np
import pytest

from latentsync.synthetic import rig
from latentsync.synthetic.cage import LOWER_LIP, UPPER_LIP, cage
from latentsync.synthetic.head import surface
from latentsync.synthetic.identity import person
from latentsync.synthetic.mouth import JAW, PARAMETERS, PRESS, WIDE
from latentsync.synthetic.pose import Pose

AHEAD = Pose(0, 0, 18)
SHUT = np.zeros(len(PARAMETERS))
SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope="module", params=SEEDS)
def one(request) -> rig.Rig:
    return rig.Rig(person(request.param))


def random_mouths(n: int) -> np.ndarray:
    """Mouths (n, 7) from everywhere that speech may take them, and a bit beyond."""
    mouths = np.random.default_rng(0).uniform(0, 1.1, (n, len(PARAMETERS)))
    mouths[:, WIDE] = mouths[:, WIDE] * 2 - 1
    mouths[:, PRESS] **= 2  # often none
    return mouths


def gaps(points: np.ndarray) -> np.ndarray:
    """From the lower lip to the upper one (11, 3), along the line where they touch."""
    return points[list(UPPER_LIP[3])] - points[list(LOWER_LIP[3])]


def lid_gap(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[[159, 386]] - points[[145, 374]], axis=1).mean())


def test_lips_touch_at_rest(one):
    assert np.abs(gaps(one.cage_points(SHUT, AHEAD))).max() < 1e-9


def test_pressed_lips_touch_whatever_the_jaw_does(one):
    for mouth in random_mouths(40):
        mouth[PRESS] = 1
        assert np.abs(gaps(one.cage_points(mouth, replace(AHEAD, smile=0.5)))).max() < 1e-9


def test_closed_lips_are_closed_on_the_smooth_surface(one):
    smooth = surface()[0] @ one.cage_points(SHUT, AHEAD)
    np.testing.assert_allclose(smooth[list(UPPER_LIP[3])], smooth[list(LOWER_LIP[3])], atol=1e-6)


def test_lips_never_cross(one):
    pose = replace(AHEAD, smile=0.7)
    assert min(gaps(one.cage_points(mouth, pose))[:, 1].min() for mouth in random_mouths(100)) > -1e-9


def test_the_jaw_opens_steadily(one):
    opened = [gaps(one.cage_points(SHUT + jaw * (np.arange(7) == JAW), AHEAD))[5, 1] for jaw in np.linspace(0, 1, 9)]
    assert np.diff(opened).min() > 0.05 and opened[-1] > 1.5


def test_pressing_closes_steadily(one):
    mouths = np.repeat(np.array([[0.8, 0, 0, 0.3, 0, 0, 0]]), 9, axis=0)
    mouths[:, PRESS] = np.linspace(0.2, 1, 9)
    assert np.diff([gaps(one.cage_points(mouth, AHEAD))[5, 1] for mouth in mouths]).max() < 0


def test_a_blink_closes_the_eyes(one):
    opened, half, shut = (lid_gap(one.cage_points(SHUT, replace(AHEAD, blink=blink))) for blink in (0, 0.5, 1))
    assert 0.6 < opened < 1.6 and 0.2 * opened < half < 0.8 * opened and shut < 0.05


def test_lids_follow_the_glance(one):
    up, ahead, down = (lid_gap(one.cage_points(SHUT, replace(AHEAD, gaze_y=g))) for g in (0.3, 0, -0.3))
    assert up > ahead > down


def test_mouths_move_the_lower_face_alone(one):
    high = cage().vertices[:, 1] > rig.STILL_ABOVE
    pose = replace(AHEAD, brow=0.3, smile=0.4, blink=0.2)
    still = one.cage_points(SHUT, pose)
    moved = np.stack([one.cage_points(mouth, pose) for mouth in random_mouths(30)])
    np.testing.assert_array_equal(moved[:, high], np.broadcast_to(still[high], moved[:, high].shape))
    assert np.ptp(moved[:, [14, 152]], axis=0)[:, 1].min() > 1


def test_brows_move_the_upper_face_alone(one):
    low = cage().vertices[:, 1] < rig.STILL_ABOVE
    still, raised, frowning = (one.cage_points(SHUT, replace(AHEAD, brow=brow)) for brow in (0, 1, -1))
    np.testing.assert_array_equal(raised[low], still[low])
    assert raised[105, 1] > still[105, 1] + 0.2 > frowning[105, 1] + 0.4
    assert lid_gap(raised) == pytest.approx(lid_gap(still), abs=0.05)


def test_shapes_are_symmetric():
    face = rig.shapes()[:, :468]
    np.testing.assert_allclose(face[:, cage().mirror], face * (-1, 1, 1), atol=0.02)
    weights = rig.jaw_weights()
    assert weights.min() >= 0 and weights.max() == 1
    np.testing.assert_allclose(weights[:468][cage().mirror], weights[:468], atol=0.02)
