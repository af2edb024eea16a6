"""Loop subdivision, on surfaces whose limits are known."""

import numpy as np
import pytest

from latentsync.synthetic.subdivide import edges_of, subdivide

from .meshes import NO_CREASES, icosahedron, plate


def sides(triangles: np.ndarray) -> list[tuple[int, int]]:
    return [(a, b) for t in triangles.tolist() for a, b in zip(t, (*t[1:], t[0]), strict=True)]


def test_edges_are_counted():
    edges, side_edge, counts = edges_of(np.array([(0, 1, 2), (2, 1, 3)]))
    assert edges.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert counts.tolist() == [1, 1, 2, 1, 1]
    np.testing.assert_array_equal(edges[side_edge[1]], [(1, 2), (1, 3), (2, 3)])


@pytest.mark.parametrize("creases", [NO_CREASES, np.array([(5, 6), (6, 7)])])
def test_every_point_is_a_mean_of_coarse_ones(creases):
    points, triangles = plate(5)
    matrix, _ = subdivide(triangles, len(points), creases, 2)
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)), 1, atol=1e-6)
    assert matrix.data.min() >= 0 and matrix.dtype == np.float32


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_each_level_splits_triangles_in_four(levels):
    points, triangles = plate(3)
    edges = len(edges_of(triangles)[0])
    vertices, faces = len(points), len(triangles)
    for _ in range(levels):
        vertices, edges, faces = vertices + edges, 2 * edges + 3 * faces, 4 * faces
    matrix, fine = subdivide(triangles, len(points), NO_CREASES, levels)
    assert matrix.shape == (vertices, len(points)) and fine.shape == (faces, 3)
    assert set(fine.ravel().tolist()) == set(range(vertices))


def test_a_plane_stays_a_plane_and_keeps_its_area():
    rng = np.random.default_rng(0)
    points, triangles = plate(6)
    points = np.column_stack([points, np.zeros(len(points))])
    inner = (points[:, :2] > 0).all(axis=1) & (points[:, :2] < 5).all(axis=1)
    points[inner, :2] += rng.uniform(-0.2, 0.2, (inner.sum(), 2))
    points[:, 2] = 2 - points[:, 0] + 3 * points[:, 1]
    matrix, fine = subdivide(triangles, len(points), NO_CREASES, 2)
    smooth = matrix @ points
    np.testing.assert_allclose(smooth[:, 2], 2 - smooth[:, 0] + 3 * smooth[:, 1], atol=1e-5)
    a, b, c = smooth[fine][..., :2].transpose(1, 0, 2)
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert areas.min() > 0  # none folds over


def test_orientation_survives():
    points, triangles = icosahedron()
    matrix, fine = subdivide(triangles, len(points), NO_CREASES, 2)
    directed = sides(fine)
    assert len(set(directed)) == len(directed) and {(b, a) for a, b in directed} == set(directed)
    a, b, c = (matrix @ points)[fine].transpose(1, 0, 2)
    assert ((np.cross(b - a, c - a) * a).sum(axis=1) > 0).all()


def test_an_icosahedron_becomes_round_and_smooth():
    points, triangles = icosahedron()
    matrix, fine = subdivide(triangles, len(points), NO_CREASES, 3)
    smooth = matrix @ points
    radii = np.linalg.norm(smooth, axis=1)
    assert np.ptp(radii) < 0.04 * radii.mean()
    normals = np.cross(*(smooth[fine[:, k]] - smooth[fine[:, 0]] for k in (1, 2)))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    faces_of: dict[tuple[int, int], list[int]] = {}
    for index, t in enumerate(fine.tolist()):
        for side in sides(np.array([t])):
            faces_of.setdefault(tuple(sorted(side)), []).append(index)
    bends = [float(normals[a] @ normals[b]) for a, b in faces_of.values()]
    assert np.degrees(np.arccos(min(bends))) < 10  # 41.8 between the icosahedron's own


def test_a_crease_depends_on_its_own_vertices_alone():
    points, triangles = plate(7)
    row = np.arange(21, 28)  # across the middle
    creases = np.stack([row[:-1], row[1:]], axis=1)
    matrix, _ = subdivide(triangles, len(points), creases, 2)
    smooth = matrix @ points
    on_crease = np.flatnonzero(np.abs(smooth[:, 1] - 3) < 1e-6)
    assert len(on_crease) == 6 * 4 + 1
    others = np.setdiff1d(np.arange(len(points)), row)
    assert abs(matrix[on_crease][:, others]).max() == 0
    without, _ = subdivide(triangles, len(points), NO_CREASES, 2)
    assert abs(without[on_crease][:, others]).max() > 0


def test_a_border_depends_on_the_border_alone():
    points, triangles = plate(4)
    matrix, _ = subdivide(triangles, len(points), NO_CREASES, 2)
    border = (points == 0).any(axis=1) | (points == 3).any(axis=1)
    on_border = np.flatnonzero(abs(matrix[:, ~border]).sum(axis=1) == 0)
    assert len(on_border) == 12 * 4
    smooth = (matrix @ points)[on_border]
    away = np.minimum(smooth, 3 - smooth).min(axis=1)
    assert away.min() >= 0 and np.median(away) == 0 and away.max() < 0.3  # only corners are rounded
