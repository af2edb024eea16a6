"""What people wear: it covers what it should, and nothing else."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from latentsync.face.detect import MediaPipeDetector
from latentsync.synthetic import head as heads
from latentsync.synthetic.body import CLOTH_SIDE, Torso, angles, dress, texels
from latentsync.synthetic.cage import LOWER_LID, UPPER_LID, cage
from latentsync.synthetic.canvas import Canvas
from latentsync.synthetic.identity import CLOTHES, person
from latentsync.synthetic.pose import Pose
from latentsync.synthetic.rig import Rig
from latentsync.synthetic.wear import Heights, beanie, glasses, headscarf

POSE = Pose(160, 150, 170)
STYLES = ("round", "square", "half")


def rest_of(identity):
    matrix, _ = heads.surface()
    return np.asarray(matrix @ Rig(identity).cage_points(np.zeros(7), Pose(0, 0, 1)))


def talking_head(monkeypatch, seed, **changes):
    monkeypatch.setattr(heads, "person", lambda seed: replace(person(seed), **changes))
    return heads.TalkingHead(seed)


def drawn(head, pose=POSE):
    canvas = Canvas(320, 320)
    canvas.clear(np.full((320, 320, 3), 128, np.uint8))
    truth = head.draw(canvas, np.zeros(7), pose)
    return canvas.picture(), truth


@pytest.mark.parametrize("style", STYLES)
def test_glasses_clear_the_face(style):
    identity = replace(person(31), glasses=style)
    rest = rest_of(identity)
    triangles = heads.surface()[1]
    piece = glasses(identity, rest, triangles)
    before = piece.points[np.abs(piece.points[:, 0]) < 5.5]
    gap = before[:, 2] - Heights(rest, triangles, (0, 1, 2)).under(before)
    assert gap.min() > -0.05 and gap.min() < 1.0  # it does not float away either


@pytest.mark.parametrize("style", STYLES)
def test_faces_with_glasses_are_found_where_they_are(monkeypatch, style):
    head = talking_head(monkeypatch, 12, glasses=style, hair_style="tied")
    with MediaPipeDetector() as detector:
        for yaw in (-0.5, 0.0, 0.5):
            picture, truth = drawn(head, replace(POSE, yaw=yaw))
            (face,) = detector(picture)
            error = np.linalg.norm(face.landmarks - truth.landmarks, axis=1).mean()
            assert error < 0.05 * POSE.size, (yaw, error)


def test_only_frames_are_drawn_before_the_eyes(monkeypatch):
    bare, truth = drawn(talking_head(monkeypatch, 12, glasses=None, hair_style="tied"))
    for style in STYLES:
        picture, _ = drawn(talking_head(monkeypatch, 12, glasses=style, hair_style="tied"))
        for pick in (lambda row: list(row), lambda row: cage().mirror[list(row)]):
            mask = np.zeros(bare.shape[:2], np.uint8)
            ring = truth.landmarks[[*pick(UPPER_LID), *pick(LOWER_LID)[::-1]]]
            cv2.fillPoly(mask, [np.round(ring).astype(np.int32)], 1)
            mask = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
            change = np.abs(picture[mask].astype(int) - bare[mask])
            assert mask.sum() > 20 and change.mean() < 25, style  # their shadow may fall there


def test_headscarves_leave_the_face_and_hide_the_rest(monkeypatch):
    changes = dict(hair_style="covered", feminine=True, beard="none", glasses=None)
    scarf = talking_head(monkeypatch, 12, headwear="scarf", fabric_2=np.array([0.02, 0.5, 0.02]), **changes)
    for pose in (POSE, replace(POSE, yaw=0.6), replace(POSE, pitch=-0.3, roll=0.3)):
        picture, truth = drawn(scarf, pose)
        green = (picture[..., 1].astype(int) - picture[..., 0]) > 25
        features = np.round(truth.landmarks[[13, 14, 61, 291, 4, 33, 263, 105, 334, 50, 280]]).astype(int)
        assert not green[features[:, 1], features[:, 0]].any()
    _, truth = drawn(scarf)
    green = (drawn(scarf)[0].astype(int) @ (-1, 1, 0)) > 25
    top = np.round(truth.landmarks[10]).astype(int)
    assert green[top[1] - 14 : top[1] - 4, top[0] - 25 : top[0] + 25].mean() > 0.98  # hair would be here
    assert not scarf.ears


def test_a_cap_lies_on_the_hair(monkeypatch):
    head = talking_head(
        monkeypatch, 31, hair_style="cropped", headwear="beanie", glasses=None, fabric_2=np.array([0.02, 0.5, 0.02])
    )
    picture, truth = drawn(head)
    green = (picture.astype(int) @ (-1, 1, 0)) > 15
    top = np.round(truth.landmarks[10]).astype(int)
    assert green[top[1] - 20 : top[1] - 4, top[0] - 30 : top[0] + 30].mean() > 0.98
    brows = np.round(truth.landmarks[[105, 334]]).astype(int)
    assert not green[brows[:, 1], brows[:, 0]].any()


@pytest.mark.parametrize("clothes", CLOTHES)
def test_clothes_are_those_of_the_seed(clothes):
    identity = replace(person(5), clothes=clothes)
    rest = rest_of(identity)
    first, second = dress(identity, rest), dress(identity, rest)
    assert first[0].material == "skin"
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.points, b.points) and np.array_equal(a.texture, b.texture)
        assert np.isfinite(a.points).all() and a.triangles.max() < len(a.points)
    assert sum(len(piece.triangles) for piece in first) < 24000


def test_headwear_is_that_of_the_seed():
    identity = person(9)
    rest = rest_of(identity)
    for make in (headscarf, beanie):
        assert np.array_equal(make(identity, rest).points, make(identity, rest).points)


def test_only_people_without_visible_hair_wear_scarves():
    people = [person(seed) for seed in range(300)]
    assert any(p.headwear == "scarf" for p in people)
    assert all((p.headwear == "scarf") == (p.hair_style == "covered") for p in people)


def test_the_front_of_a_body_is_found_again():
    identity = person(3)
    torso = Torso(identity, rest_of(identity))
    points = torso.at(np.linspace(3, 9, 7)[:, None], np.linspace(-0.8, 0.8, 9)[None, :])
    again = torso.front(points[..., 0], points[..., 1], 0.0)
    assert np.abs(again - points).max() < 0.35
    assert (np.diff(angles(81)) > 0).all()
    assert texels(np.array([0.0, -8.0])) == pytest.approx([(CLOTH_SIDE - 1) / 2, 0])
