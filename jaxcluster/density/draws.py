"""Draws from weighted points and from mixtures of Gaussians, in numpy."""

from collections.abc import Callable

import numpy as np
from jaxtyping import ArrayLike, Float

MOST_BATCHES = 1000


def draw_between(
    mixture: tuple[ArrayLike, ArrayLike, ArrayLike],
    limits: Float[ArrayLike, " 2"],
    n: int,
    rng: np.random.Generator,
    noise: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, "n d d"]] | None = None,
) -> Float[np.ndarray, "n d"]:
    """Draw n stars of a mixture whose first column lies between the limits.

    Args:
        mixture: weights [k] of any sum, means [k d] and covariances [k d d].
        limits: of the first column.
        n: how many.
        rng: for all draws.
        noise: covariances of stars of given values in the first column; none by default.

    Raises:
        ValueError: of a thousand batches too few lie between the limits.

    Example:
        >>> one = np.ones(1), np.zeros((1, 2)), np.eye(2)[None]
        >>> x = draw_between(one, np.array([0.0, 1.0]), 5, np.random.default_rng(0))
        >>> bool(((x[:, 0] > 0) & (x[:, 0] < 1)).all())
        True
    """
    weights, means, covs = (np.asarray(part, float) for part in mixture)
    low, high = np.asarray(limits, float)
    found = np.empty((0, means.shape[1]))
    for _ in range(MOST_BATCHES):
        k = rng.choice(len(weights), size=2 * n, p=weights / weights.sum())
        cov = covs[k] if noise is None else covs[k] + noise(means[k, 0])
        normal = rng.normal(size=(len(k), means.shape[1], 1))
        x = means[k] + (np.linalg.cholesky(cov) @ normal)[..., 0]
        inside = (x[:, 0] >= low) & (x[:, 0] <= high)
        found = np.concatenate([found, x[inside]])
        if len(found) >= n:
            return found[:n]
    raise ValueError(
        f"limits: {len(found)} of {MOST_BATCHES * 2 * n} draws are between {low:g} and "
        f"{high:g}, {n} were asked for"
    )


def systematic(weights: Float[np.ndarray, " n"], size: int, rng: np.random.Generator) -> np.ndarray:
    """Indices in proportion to weights, by systematic resampling: least added noise."""
    edges = np.cumsum(weights)
    places = (np.arange(size) + rng.uniform()) / size
    return np.minimum(np.searchsorted(edges / edges[-1], places), len(weights) - 1)
