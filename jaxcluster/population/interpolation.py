"""Cubic interpolation weights that are C¹ across nodes (piecewise cubic Hermite).

On [x_i, x_i+1] the value is h00 f_i + h10 h f'_i + h01 f_i+1 + h11 h f'_i+1, the slope f'_i being
that of the parabola through three neighbouring nodes (Keys 1981 where nodes are equidistant).
The result is linear in f, so it is four weights on four consecutive nodes.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def _slope_matrix(nodes: np.ndarray) -> np.ndarray:
    """Row i holds the weights of the slope at node i: parabolic inside, secants at the ends."""
    n = len(nodes)
    matrix = np.zeros((n, n))
    h = np.diff(nodes)
    for i in range(n):
        if i in (0, n - 1):
            j = min(i, n - 2)
            matrix[i, j : j + 2] = np.array([-1.0, 1.0]) / h[j]
        else:
            left, right = h[i - 1], h[i]
            matrix[i, i - 1] = -right / (left * (left + right))
            matrix[i, i + 1] = left / (right * (left + right))
            matrix[i, i] = -matrix[i, i - 1] - matrix[i, i + 1]
    return matrix


def cubic_stencil(
    x, nodes, xp=jnp
) -> tuple[Int[Array | np.ndarray, "..."], Float[Array | np.ndarray, "... s"]]:
    """First node and weights of the C¹ cubic at x, for f(x) ≈ Σ_s weight_s f[first + s].

    Args:
        x: where to interpolate; values beyond the end nodes are moved to them.
        nodes: increasing, concrete (numpy) node positions, any number ≥ 1.
        xp: `jax.numpy` inside a model, `numpy` where a table is made once.

    Returns:
        Indices of the first node, and min(4, number of nodes) weights each.
    """
    nodes = np.asarray(nodes, float)
    n, width = len(nodes), min(len(nodes), 4)
    if n == 1:
        return xp.zeros(xp.shape(x), int), xp.ones((*xp.shape(x), 1))
    first = np.clip(np.arange(n - 1) - 1, 0, n - width)
    slopes, unit = _slope_matrix(nodes), np.eye(n)
    basis = np.zeros((4, n - 1, width))  # what h00, h10, h01, h11 multiply, interval by interval
    for i in range(n - 1):
        h, window = nodes[i + 1] - nodes[i], slice(first[i], first[i] + width)
        rows = (unit[i], h * slopes[i], unit[i + 1], h * slopes[i + 1])
        basis[:, i] = [row[window] for row in rows]
    x = xp.clip(x, nodes[0], nodes[-1])
    # counted: a bisection is a loop, which a device should not have for eighty nodes
    i = xp.clip((xp.asarray(nodes) <= x[..., None]).sum(axis=-1) - 1, 0, n - 2)
    lower = xp.asarray(nodes)[i]
    t = ((x - lower) / (xp.asarray(nodes)[i + 1] - lower))[..., None]
    hermite = (
        (1 + 2 * t) * (1 - t) ** 2,
        t * (1 - t) ** 2,
        t**2 * (3 - 2 * t),
        t**2 * (t - 1),
    )
    weights = sum(h * xp.asarray(b)[i] for h, b in zip(hermite, basis, strict=True))
    return xp.asarray(first)[i], xp.asarray(weights)
