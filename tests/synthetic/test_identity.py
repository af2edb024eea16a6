"""People of seeds, and where their hair grows."""

import cv2
import numpy as np
import pytest

from latentsync.synthetic import rig
from latentsync.synthetic.cage import LOWER_LIP, UPPER_LIP, cage, eye_ring
from latentsync.synthetic.hair import hairline, scalp_hair
from latentsync.synthetic.head import surface
from latentsync.synthetic.identity import BEARDS, CLOTHES, HAIR_STYLES, Identity, linear, person
from latentsync.synthetic.pose import Pose
from latentsync.synthetic.raster import vertex_normals

HAIRY = tuple(style for style in HAIR_STYLES if style != "covered")


@pytest.fixture(scope="module")
def people() -> list[Identity]:
    return [person(seed) for seed in range(301)]


def test_srgb_becomes_linear_light():
    np.testing.assert_allclose(linear((0, 188, 255)), (0, 0.503, 1), atol=1e-3)


def test_a_seed_is_one_person(people):
    again = person(7)
    np.testing.assert_array_equal(again.vertices, people[7].vertices)
    np.testing.assert_array_equal(again.light, people[7].light)
    assert again.hair_style == people[7].hair_style


def test_colours_are_colours(people):
    names = ("skin", "lips", "iris", "teeth", "hair", "glasses_colour", "fabric", "fabric_2")
    colours = np.array([[getattr(one, name) for name in names] for one in people])
    assert colours.shape == (len(people), len(names), 3)
    assert np.isfinite(colours).all() and colours.min() >= 0 and colours.max() <= 1
    assert (np.diff(colours[:, 0], axis=1) < 0).all()  # skin is red before green before blue


def test_light_comes_from_where_it_should(people):
    lights = np.array([one.light for one in people])
    assert lights.dtype == np.float32 and lights[:, [1, 3, 4, 5, 7]].min() >= 0
    np.testing.assert_allclose(np.linalg.norm(lights[:, [0, 2, 6]], axis=2), 1, atol=1e-5)
    assert (lights[:, 0, 1:] > 0).all()  # the key light from above and in front
    assert (lights[:, 6, 2] < 0).all()  # the rim from behind
    assert (lights[:, 0, 0] * lights[:, 2, 0] < 0).all()  # the fill from the other side


def test_all_kinds_of_people_occur(people):
    for kinds, name in ((HAIR_STYLES, "hair_style"), (CLOTHES, "clothes"), (BEARDS, "beard")):
        assert {getattr(one, name) for one in people} == set(kinds)
    assert {one.feminine for one in people} == {True, False} and {one.glasses for one in people} >= {None, "round"}
    assert len({one.vertices.tobytes() for one in people}) == len(people)
    assert not any(one.feminine and one.beard != "none" for one in people)


def test_shapes_stay_faces(people):
    average = cage().vertices
    for one in people:
        away = np.linalg.norm(one.vertices - average, axis=1)
        assert away.max() < 3 and away[:468].mean() < 1
        ring = one.vertices[eye_ring(0, cage().mirror)]
        assert np.ptp(ring[:, 0]) > 2 * np.ptp(ring[:, 1]) * 0.6
        upper, lower = (one.vertices[list(lips[3])] for lips in (UPPER_LIP, LOWER_LIP))
        np.testing.assert_allclose(upper, lower, atol=1e-9)
        assert one.eyes[0, 0] < 0 < one.eyes[1, 0] and (one.eyes[:, 2] < ring[:, 2].max()).all()


# Hair


@pytest.fixture(scope="module", params=HAIRY)
def grown(request, people):
    """A person of a hair style, the fine mesh at rest, and hairs (s, k, 3)."""
    hairs: list = []
    for one in (one for one in people if one.hair_style == request.param):
        matrix, triangles = surface()
        rest = np.asarray(matrix @ rig.Rig(one).cage_points(np.zeros(7), Pose(0, 0, 1)))
        normals = np.empty(rest.shape, np.float32)
        vertex_normals(rest.astype(np.float32), triangles, normals)
        hairs = scalp_hair(one, rest, normals, triangles)
        if hairs:
            break
    roots = np.einsum("sr,src->sc", hairs[0].weights, rest[hairs[0].roots])
    return one, rest, hairs[0], roots, roots[:, None] + hairs[0].offsets


def test_hair_grows_above_the_hairline(grown):
    one, _, _, roots, _ = grown
    above = hairline(roots, one)
    assert above.min() > -0.8 and (above > -0.2).mean() > 0.99  # it is no sharp line


def test_hairs_are_whole(grown):
    _, rest, strands, _, hairs = grown
    count, steps, _ = strands.offsets.shape
    assert strands.roots.min() >= 0 and strands.roots.max() < len(rest)
    np.testing.assert_allclose(strands.weights.sum(axis=1), 1, atol=1e-5)
    assert strands.thickness.shape == strands.occlusion.shape == (count, steps) and strands.thickness.min() > 0
    assert np.isfinite(hairs).all() and strands.colours.min() >= 0 and strands.colours.max() <= 1
    assert np.linalg.norm(np.diff(hairs, axis=1), axis=2).max() < 6
    for array in (strands.weights, strands.offsets, strands.colours, strands.occlusion, strands.thickness):
        assert array.dtype == np.float32 and array.flags.c_contiguous


def test_no_hair_hangs_before_eyes_or_mouth(grown):
    _, rest, _, _, hairs = grown
    mouth = [*UPPER_LIP[0], *LOWER_LIP[0][-2:0:-1]]
    for ring in (eye_ring(0, cage().mirror), eye_ring(1, cage().mirror), mouth):
        mask = np.zeros((400, 400), np.uint8)  # half a millimetre per pixel
        cv2.fillPoly(mask, [np.round(rest[ring, :2] * 20 + 200).astype(np.int32)], 1)
        place = np.round(hairs[..., :2] * 20 + 200).astype(int)
        within = (np.abs(place - 200) < 200).all(axis=-1) & (hairs[..., 2] > rest[ring, 2].min())
        assert mask[place[within][:, 1], place[within][:, 0]].mean() < 1e-4 if within.any() else True
