"""The minimum spanning tree of points in the plane: the shortest set of lines that joins them all.

Its lines are among those of the Delaunay triangulation (Preparata & Shamos 1985), of which there
are less than 3n; all n²/2 pairs are looked at only where n is small.
"""

import numpy as np
from jaxtyping import Float

DENSE = 40  # points up to which all pairs are sooner done than a triangulation
SAME = 1e-10  # of the extent: points nearer than that are one
LINE = 1e-8  # of the length: points that are less wide lie on a line


def tree_length(x: Float[np.ndarray, "n 2"]) -> float:
    """Total length of the tree, in the unit of x; 0 for fewer than two points.

    Points at one place are joined at no length.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial import Delaunay
    from scipy.spatial.distance import pdist, squareform

    x = np.asarray(x, float)
    if len(x) < 2 or not (size := np.ptp(x, axis=0).max()) > 0:
        return 0.0
    # scipy takes a length of 0 for no line at all, and points that are all but one confuse a
    # triangulation
    x = x - x.mean(axis=0)
    _, first = np.unique(np.round(x / (size * SAME)), axis=0, return_index=True)
    x, n = x[first], len(first)
    if n <= DENSE:
        return float(minimum_spanning_tree(squareform(pdist(x))).sum())
    _, spread, axes = np.linalg.svd(x, full_matrices=False)
    if spread[1] < LINE * spread[0]:  # no triangles
        return float(np.ptp(x @ axes[0]))
    corners = Delaunay(x).simplices
    a, b = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).T
    a, b = np.unique(np.sort([a, b], axis=0), axis=1)
    length = np.hypot(*(x[a] - x[b]).T)
    tree = minimum_spanning_tree(coo_array((length, (a, b)), shape=(n, n)).tocsr())
    if tree.nnz < n - 1:  # points may be left out of a triangulation
        tree = minimum_spanning_tree(squareform(pdist(x)))
    return float(tree.sum())
