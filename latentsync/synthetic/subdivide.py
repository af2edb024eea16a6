"""Loop subdivision as a matrix: a smooth surface whose every point is a fixed mix of a coarse mesh's vertices.

C. Loop, "Smooth subdivision surfaces based on triangles", 1987; creases and borders after H. Hoppe et al., 1994.
"""

import numpy as np
from scipy import sparse


def subdivide(triangles: np.ndarray, n: int, creases: np.ndarray, levels: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """The matrix (m, n) float32 from coarse to fine vertices, and the fine triangles (t, 3) int32.

    `triangles` is (t, 3), `creases` (c, 2) holds edges that stay sharp; borders stay sharp by themselves.
    The first n fine vertices are the coarse ones, moved to where the smooth surface has them.
    """
    total = sparse.identity(n, format="csr")
    for _ in range(levels):
        step, triangles, creases = _once(triangles, total.shape[0], creases)
        total = step @ total
    return total.astype(np.float32).tocsr(), triangles.astype(np.int32)


def edges_of(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unique edges (e, 2) with the smaller vertex first, the edge of each triangle side (t, 3), and use counts."""
    sides = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, index, counts = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    return edges, index.reshape(-1, 3), counts


def _once(triangles: np.ndarray, n: int, creases: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    edges, side_edge, counts = edges_of(triangles)
    e = len(edges)
    sharp = counts == 1
    if len(creases):
        known = {tuple(edge) for edge in np.sort(creases, axis=1)}
        sharp |= np.array([tuple(edge) in known for edge in edges])
    matrix = sparse.vstack([_old_vertices(edges, sharp, n), _new_vertices(triangles, edges, side_edge, sharp, n)])
    a, b, c = triangles.T
    ab, bc, ca = (side_edge + n).T
    fine = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    split = np.flatnonzero(sharp)
    middle = split + n
    sharp_edges = np.concatenate([np.stack([edges[split, side], middle], 1) for side in (0, 1)])
    assert matrix.shape == (n + e, n)
    return matrix.tocsr(), fine, sharp_edges


def _old_vertices(edges: np.ndarray, sharp: np.ndarray, n: int) -> sparse.csr_matrix:
    """Smooth vertices: the 1-ring with Warren's weights. On a crease: the curve's own rule. Corners stay."""
    both = np.concatenate([edges, edges[:, ::-1]])
    sharp_both = np.concatenate([sharp, sharp])
    valence = np.bincount(both[:, 0], minlength=n)
    sharp_valence = np.bincount(both[sharp_both, 0], minlength=n)
    on_crease = sharp_valence == 2
    smooth = sharp_valence < 2
    beta = np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 1)))
    weight = np.where(smooth[both[:, 0]], beta[both[:, 0]], np.where(on_crease[both[:, 0]] & sharp_both, 1 / 8, 0.0))
    own = np.where(smooth, 1 - valence * beta, np.where(on_crease, 3 / 4, 1.0))
    rows = np.concatenate([both[:, 0], np.arange(n)])
    columns = np.concatenate([both[:, 1], np.arange(n)])
    return sparse.csr_matrix((np.concatenate([weight, own]), (rows, columns)), shape=(n, n))


def _new_vertices(
    triangles: np.ndarray, edges: np.ndarray, side_edge: np.ndarray, sharp: np.ndarray, n: int
) -> sparse.csr_matrix:
    """Middles of edges: 3/8 of the ends and 1/8 of the two opposite vertices; on a crease 1/2 of the ends."""
    e = len(edges)
    ends = np.where(sharp, 1 / 2, 3 / 8)
    opposite = triangles[:, [2, 0, 1]]  # opposite to the sides ab, bc, ca
    keep = ~sharp[side_edge]
    rows = np.concatenate([np.arange(e), np.arange(e), side_edge[keep]])
    columns = np.concatenate([edges[:, 0], edges[:, 1], opposite[keep]])
    values = np.concatenate([ends, ends, np.full(int(keep.sum()), 1 / 8)])
    return sparse.csr_matrix((values, (rows, columns)), shape=(e, n))
