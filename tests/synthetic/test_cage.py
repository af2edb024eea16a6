"""The control mesh: whole, closed and symmetric."""

import numpy as np
import pytest

from latentsync.synthetic.cage import (
    COLUMNS,
    FACE_HEIGHT,
    LOWER_LIP,
    OVAL,
    RINGS,
    UPPER_LIP,
    cage,
    eye_ring,
    mouth_ring,
    skull_distance,
)

BEHIND = ("mouth_inside", "lids_inside", "sockets", "skull")


@pytest.fixture(scope="module")
def sides() -> list[tuple[int, int]]:
    return [(a, b) for t in cage().triangles.tolist() for a, b in zip(t, (*t[1:], t[0]), strict=True)]


def test_the_face_comes_first_and_every_vertex_is_used():
    control = cage()
    assert len(control.vertices) == 468 + len(mouth_ring()) + 2 * (16 + 1) + RINGS * COLUMNS
    assert set(control.triangles.ravel().tolist()) == set(range(len(control.vertices)))
    np.testing.assert_array_equal(
        np.sort(np.concatenate([getattr(control, name).ravel() for name in BEHIND])),
        np.arange(468, len(control.vertices)),
    )
    assert np.ptp(control.vertices[list(OVAL), 1]) == pytest.approx(FACE_HEIGHT, rel=0.05)


def test_triangles_are_oriented_alike(sides):
    assert len(set(sides)) == len(sides)


def test_the_head_is_open_only_in_the_mouth_and_the_neck(sides):
    control = cage()
    known = set(sides)
    border = {frozenset(side) for side in sides if side[::-1] not in known}
    rings = [control.mouth_inside, control.skull[-1]]
    assert border == {frozenset(edge) for ring in rings for edge in zip(ring, np.roll(ring, -1), strict=True)}


def test_triangles_face_outwards():
    control = cage()
    skull = control.triangles[(control.triangles >= control.skull[2, 0]).all(axis=1)]
    skull = skull[(control.vertices[skull, 1] > 0).all(axis=1)]
    a, b, c = control.vertices[skull].transpose(1, 0, 2)
    _, outwards = skull_distance((a + b + c) / 3)
    assert ((np.cross(b - a, c - a) * outwards).sum(axis=1) > 0).all()
    nose = control.triangles[(control.triangles == 4).any(axis=1)]
    a, b, c = control.vertices[nose].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_both_sides_are_mirror_images():
    control = cage()
    mirror, face = control.mirror, control.vertices[:468]
    np.testing.assert_array_equal(mirror[mirror], np.arange(468))
    np.testing.assert_allclose(face[mirror], face * (-1, 1, 1), atol=1e-9)
    assert all(mirror[a] == b for row in (*UPPER_LIP, *LOWER_LIP) for a, b in zip(row, row[::-1], strict=True))
    assert all(mirror[a] == b for a, b in zip(OVAL[1:], OVAL[:0:-1], strict=True))
    left, right = (face[eye_ring(side, mirror)] for side in (0, 1))
    assert left[:, 0].max() < 0 < right[:, 0].min()


def test_lips_touch_at_rest():
    upper, lower = (cage().vertices[list(lips[3])] for lips in (UPPER_LIP, LOWER_LIP))
    np.testing.assert_array_equal(upper, lower)


def test_creases_close():
    ends = np.sort(cage().creases.ravel())
    np.testing.assert_array_equal(ends[::2], ends[1::2])
    np.testing.assert_array_equal(
        ends[::2], np.sort(np.concatenate([mouth_ring(), *(eye_ring(s, cage().mirror) for s in (0, 1))]))
    )


def test_skull_distance_grows_outwards():
    inside, beside = np.array([[0.0, 4.0, -8.0]]), np.array([[0.0, 16.0, -8.0], [12.0, 4.0, -8.0], [0.0, 4.0, -25.0]])
    assert skull_distance(inside)[0] < 0
    distance, outwards = skull_distance(beside)
    assert (distance > 1).all()
    np.testing.assert_allclose(np.linalg.norm(outwards, axis=1), 1, atol=1e-6)
    assert (((beside - (0, 4, -8)) * outwards).sum(axis=1) > 0).all()
    assert (skull_distance(beside + outwards)[0] > distance).all()
