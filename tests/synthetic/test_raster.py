"""The renderer against slow and simple answers."""

import math

import cv2
import numpy as np
import pytest

from latentsync.synthetic.raster import (
    FAR,
    draw_strands,
    lay_over,
    light_strands,
    lit,
    place_strands,
    project,
    rasterise,
    shade,
    transform,
    vertex_normals,
)
from latentsync.synthetic.subdivide import subdivide

from .meshes import NO_CREASES, icosahedron, plate

F = np.float32


def buffers(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((height, width), FAR, F), np.full((height, width), -1, np.int32)


def seen(screen: np.ndarray, triangles: np.ndarray, size: tuple[int, int], *, two_sided: bool, first: int = 0):
    depth, ids = buffers(*size)
    rasterise(np.asarray(screen, F), np.asarray(triangles, np.int32), depth, ids, first, two_sided)
    return depth, ids


def sphere() -> tuple[np.ndarray, np.ndarray]:
    points, triangles = icosahedron()
    matrix, triangles = subdivide(triangles, 12, NO_CREASES, 3)
    points = matrix @ points
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(F), triangles


# Triangles


def reference(screen: np.ndarray, triangles: np.ndarray, size: tuple[int, int], *, two_sided: bool):
    """Depth and id of each pixel, and which pixels lie so close to an edge or a tie that either answer is right."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    depth, ids, unsure = np.full(size, float(FAR)), np.full(size, -1), np.zeros(size, bool)
    for t, (a, b, c) in enumerate(screen[triangles].astype(float)):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area > 0 and not two_sided:
            continue
        wa = ((b[0] - x) * (c[1] - y) - (c[0] - x) * (b[1] - y)) / area
        wb = ((c[0] - x) * (a[1] - y) - (a[0] - x) * (c[1] - y)) / area
        wc = 1 - wa - wb
        least = np.minimum.reduce([wa, wb, wc])
        z = wa * a[2] + wb * b[2] + wc * c[2]
        unsure |= (np.abs(least) < 1e-3) | ((least > 0) & (np.abs(z - depth) < 1e-3))
        nearer = (least >= 0) & (z > depth)
        depth[nearer], ids[nearer] = z[nearer], t
    return depth, ids, unsure


@pytest.mark.parametrize("two_sided", [False, True])
def test_triangles_are_drawn_as_by_hand(two_sided):
    rng = np.random.default_rng(1)
    size = (31, 47)
    screen = np.column_stack([rng.uniform(-12, 60, 60), rng.uniform(-12, 44, 60), rng.uniform(-3, 3, 60)]).astype(F)
    triangles = np.arange(60).reshape(20, 3)
    depth, ids = seen(screen, triangles, size, two_sided=two_sided, first=100)
    expected_depth, expected_ids, unsure = reference(screen, triangles, size, two_sided=two_sided)
    sure = ~unsure
    assert sure.mean() > 0.8 and len(np.unique(ids)) > 6
    np.testing.assert_array_equal(ids[sure], np.where(expected_ids < 0, -1, expected_ids + 100)[sure])
    np.testing.assert_allclose(depth[sure], expected_depth[sure], rtol=1e-3, atol=1e-3)


def test_back_faces_are_dropped():
    corners = np.array([(2, 2, 0), (2, 20, 0), (20, 2, 0)])  # y down: counter-clockwise as seen
    assert (seen(corners, [(0, 1, 2)], (24, 24), two_sided=False)[1] == 0).any()
    assert (seen(corners, [(0, 2, 1)], (24, 24), two_sided=False)[1] == -1).all()
    assert (seen(corners, [(0, 2, 1)], (24, 24), two_sided=True)[1] == 0).any()


def test_nothing_beyond_the_picture_or_without_area_is_drawn():
    screen = np.array([(-9, -9, 0), (-9, -1, 0), (-1, -9, 0), (50, 5, 0), (60, 5, 0), (50, 9, 0), (3, 3, 0)])
    depth, ids = seen(screen, [(0, 1, 2), (3, 4, 5), (6, 6, 6), (6, 6, 0)], (20, 20), two_sided=True)
    assert (ids == -1).all() and (depth == FAR).all()


@pytest.mark.parametrize("jitter", [0.0, 0.15, 0.4])
@pytest.mark.parametrize("spacing", [0.7, 3.0, 40.0])
def test_neighbours_leave_no_cracks(jitter, spacing):
    rng = np.random.default_rng(2)
    points, triangles = plate(12)
    points = points + rng.uniform(-jitter, jitter, points.shape)
    screen = np.column_stack([points * spacing, np.zeros(len(points))])
    side = math.floor(11 * spacing)
    _, ids = seen(screen, triangles[:, ::-1], (side, side), two_sided=False)
    edge = math.ceil(spacing * jitter)
    assert (ids[edge : side - edge, edge : side - edge] >= 0).all()


def test_normals_of_a_sphere_point_away_from_its_middle():
    points, triangles = sphere()
    normals = np.full_like(points, 7)  # what was there before does not count
    vertex_normals(points, triangles, normals)
    np.testing.assert_allclose(normals, points, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


# Places


def test_projection_is_a_pinhole_camera_seen_through_a_view():
    rng = np.random.default_rng(3)
    points = rng.uniform(-10, 10, (50, 3)).astype(F)
    view = np.array([[1.5, 0.2, 7], [-0.3, 1.2, -4]])
    camera = np.array([80, 9, 120, 90, *view.ravel()], F)
    screen, box = np.empty_like(points), np.empty(4, F)
    project(points, camera, screen, box)
    k = 9 * 80 / (80 - points[:, 2])
    frame = np.stack([120 + points[:, 0] * k, 90 - points[:, 1] * k, np.ones(50)], axis=1)
    np.testing.assert_allclose(screen[:, :2], frame @ view.T, rtol=1e-4)
    np.testing.assert_array_equal(screen[:, 2], points[:, 2])
    np.testing.assert_array_equal(box, [*screen[:, :2].min(axis=0), *screen[:, :2].max(axis=0)])


def test_affine_maps():
    rng = np.random.default_rng(4)
    points, matrix = rng.standard_normal((9, 3)).astype(F), rng.standard_normal((3, 4)).astype(F)
    out = np.empty_like(points)
    transform(points, matrix, out)
    np.testing.assert_allclose(out, points @ matrix[:, :3].T + matrix[:, 3], rtol=1e-4, atol=1e-5)


def test_hairs_stand_at_their_roots_and_turn():
    rng = np.random.default_rng(5)
    points, offsets = rng.standard_normal((9, 3)).astype(F), rng.standard_normal((6, 4, 3)).astype(F)
    roots, weights = rng.integers(0, 9, (6, 4)).astype(np.int32), rng.random((6, 4)).astype(F)
    rotation, out = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(F), np.empty_like(offsets)
    place_strands(points, roots, weights, offsets, rotation, out)
    expected = np.einsum("sr,src->sc", weights, points[roots])[:, None] + offsets @ rotation.T
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


# Light


@pytest.fixture(scope="module")
def moments() -> np.ndarray:
    """What a light sees: a plate 10 above the ground, over the middle of the left half."""
    depth = np.zeros((64, 64), F)
    depth[16:48, 4:28] = 10
    return cv2.blur(np.dstack([depth, depth * depth]), (5, 5))


def test_a_point_behind_a_plate_is_dark_and_one_beside_it_is_lit(moments):
    assert lit(moments, F(16), F(32), F(0)) < 0.01
    assert lit(moments, F(48), F(32), F(0)) == 1
    assert lit(moments, F(16), F(32), F(10)) == 1  # on the plate
    assert lit(moments, F(16), F(32), F(14)) == 1  # in front of it


def test_shadows_have_soft_edges(moments):
    shares = [lit(moments, F(u), F(32), F(0)) for u in np.linspace(16, 48, 65)]
    assert np.diff(shares).min() >= 0 and any(0.1 < share < 0.9 for share in shares)


def test_beyond_the_shadow_map_all_is_lit(moments):
    assert all(lit(moments, F(u), F(v), F(-50)) == 1 for u, v in ((-1, 5), (5, -0.1), (63, 5), (5, 1000)))


def light_of(strength: float) -> np.ndarray:
    """Key from the right, fill from the left, rim from behind; colours of one strength."""
    rows = np.full((8, 3), strength)
    rows[0], rows[2], rows[6] = (0.8, 0.0, 0.6), (-0.8, 0.0, 0.6), (0.0, 0.6, -0.8)
    return rows.astype(F)


def lit_sphere(light: np.ndarray, *, gloss: float = 0.5, texel: float = 0.4, occlusion: float = 1.0) -> np.ndarray:
    points, triangles = sphere()
    screen = np.column_stack([points[:, 0] * 30 + 32, 32 - points[:, 1] * 30, points[:, 2]]).astype(F)
    attributes = np.zeros((len(points), 9), F)
    attributes[:, :3], attributes[:, 5], attributes[:, 6:8] = points, occlusion, -1  # outside the shadow map
    texture = np.zeros((4, 4, 6), F)
    texture[..., :3], texture[..., 3] = texel, gloss
    depth, ids = buffers(64, 64)
    rasterise(screen, triangles, depth, ids, 5, False)
    picture = np.full((64, 64, 3), -1, F)
    box = np.array([0, 0, 64, 64], np.int32)
    material = np.array([0.5, 0.28, 0.2, 0.5, 30, 1, 0, 0], F)
    shade(picture, ids, 5, screen, triangles, attributes, texture, np.zeros((8, 8, 2), F), light, material, box)
    assert ((picture < 0).any(axis=2) == (ids < 0)).all()  # every pixel of the part, and no other
    return picture


@pytest.mark.parametrize("strength", [0.0, 1e-6, 1.0, 1e4])
@pytest.mark.parametrize("texel", [0.0, 1.0])
def test_colours_stay_within_bounds(strength, texel):
    picture = lit_sphere(light_of(strength), gloss=1.0, texel=texel)
    inside = picture[(picture >= 0).all(axis=2)]
    assert np.isfinite(picture).all() and inside.min() >= 0 and inside.max() <= 1
    assert strength or inside.max() == 0


def test_the_lit_side_is_the_brighter_one():
    light = light_of(0.0)
    light[1], light[4], light[5] = 1, 0.2, 0.1
    picture = lit_sphere(light)
    assert picture[32, 50].mean() > picture[32, 32].mean() > picture[32, 12].mean() > 0
    assert picture[10, 20].mean() > picture[54, 20].mean()  # more light comes from above
    assert lit_sphere(light, occlusion=0.2)[32, 12].mean() < picture[32, 12].mean()


@pytest.mark.parametrize("strength", [0.0, 1.0, 1e4])
def test_colours_of_hair_stay_within_bounds(strength):
    rng = np.random.default_rng(6)
    strands = rng.standard_normal((50, 5, 3)).astype(F)
    strands[0] = 0  # of no length
    colours = np.full_like(strands, np.nan)
    base, occlusion = rng.random((50, 3)).astype(F), rng.random((50, 5)).astype(F)
    light_strands(strands, strands * 20, base, occlusion, np.zeros((8, 8, 2), F), light_of(strength), colours)
    assert np.isfinite(colours).all() and colours.min() >= 0 and colours.max() <= 1


# Hair


def layer_of(strands: list, colours: list, width: float, depth: np.ndarray | None = None, opacity: float = 1.0):
    screen = np.array(strands, F)
    count, steps, _ = screen.shape
    depth = np.full((40, 50), FAR, F) if depth is None else depth
    layer = np.zeros((*depth.shape, 4), F)
    each = np.repeat(np.array(colours, F)[:, None], steps, axis=1)
    draw_strands(layer, depth, screen, each, np.full((count, steps), width, F), np.full(count, opacity, F), F(0.12))
    return layer


LEVEL, UPRIGHT = [(5, 20, 0), (20, 20, 0), (45, 20, 0)], [(25, 5, -1), (25, 20, -1), (25, 35, -1)]
RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def test_a_thick_opaque_hair_covers_its_width_exactly():
    layer = layer_of([LEVEL], [RED], 6)
    cover = layer[..., 3]
    np.testing.assert_allclose(cover[:, 5:45].sum(axis=0), 6, atol=1e-4)
    np.testing.assert_array_equal(cover[18:23, 5:45], 1)
    np.testing.assert_allclose(cover[[17, 23], 5:45], 0.5, atol=1e-5)
    assert cover[:17].max() == cover[24:].max() == cover[:, :5].max() == cover[:, 45:].max() == 0
    np.testing.assert_allclose(layer[..., :3], cover[..., None] * np.array(RED, F), atol=1e-5)


def test_an_upright_hair_is_a_level_one_turned():
    level, upright = layer_of([LEVEL], [RED], 3), layer_of([[(y, x, z) for x, y, z in LEVEL]], [RED], 3)
    np.testing.assert_array_equal(upright[:40, :40], level[:40, :40].transpose(1, 0, 2))


@pytest.mark.parametrize("width", [0.2, 0.5])
def test_a_thin_hair_is_faint(width):
    np.testing.assert_allclose(layer_of([LEVEL], [RED], width)[:, 5:45, 3].sum(axis=0), width, atol=1e-4)


def test_front_hair_hides_hair_behind_it():
    layer = layer_of([LEVEL, UPRIGHT], [RED, BLUE], 5)
    np.testing.assert_allclose(layer[20, 25], [*RED, 1], atol=1e-5)
    np.testing.assert_allclose(layer[30, 25], [*BLUE, 1], atol=1e-5)
    half = layer_of([LEVEL, UPRIGHT], [RED, BLUE], 5, opacity=0.6)
    np.testing.assert_allclose(half[20, 25, :3], 0.6 * np.array(RED) + 0.4 * 0.6 * np.array(BLUE), atol=1e-4)


def test_hair_behind_a_surface_is_hidden():
    depth = np.full((40, 50), FAR, F)
    depth[:, 25:] = 1
    cover = layer_of([LEVEL], [RED], 5, depth)[..., 3]
    assert cover[20, 10] == 1 and cover[:, 25:].max() == 0
    depth[:, 25:] = 0.05  # a hair may sink in by the lift
    assert layer_of([LEVEL], [RED], 5, depth)[20, 30, 3] == 1


def test_hair_that_leaves_the_picture_is_cut():
    layer = layer_of(
        [[(-30, 20, 0), (80, 20, 0)], [(25, -30, 0), (25, 80, 0)], [(90, 90, 0), (99, 99, 0)]], [RED] * 3, 4
    )
    assert (layer[20, :, 3] == 1).all() and (layer[:, 25, 3] == 1).all() and layer[0, 0, 3] == 0


def test_laying_over_empties_the_layer():
    picture = np.full((40, 50, 3), 0.5, F)
    layer = layer_of([LEVEL], [RED], 6)
    lay_over(picture, layer, np.array([0, 0, 50, 40], np.int32))
    assert not layer.any()
    np.testing.assert_allclose(picture[20, 25], RED, atol=1e-6)
    np.testing.assert_allclose(picture[17, 25], (np.array(RED) + 0.5) / 2, atol=1e-5)
    np.testing.assert_array_equal(picture[:17], 0.5)
