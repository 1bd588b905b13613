"""Draws from weighted points and from mixtures of Gaussians, in numpy."""

from collections.abc import Callable

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.special import ndtr, ndtri


def draw_between(
    mixture: tuple[ArrayLike, ArrayLike, ArrayLike],
    limits: Float[ArrayLike, " 2"],
    n: int,
    rng: np.random.Generator,
    noise: Callable[[Float[np.ndarray, " k"]], Float[np.ndarray, "k d d"]] | None = None,
) -> Float[np.ndarray, "n d"]:
    """Draw n stars of a mixture whose first column lies between the limits.

    A Gaussian k is drawn by w_k P(lo < x_0 < hi | k), its x_0 from the normal distribution cut off
    there, the others given x_0; without rejection, so that limits may hide almost all of it.

    Args:
        mixture: weights [k] of any sum, means [k d] and covariances [k d d].
        limits: of the first column.
        n: how many.
        rng: for all draws.
        noise: covariances of stars of given values in the first column, asked for at the means;
            none by default.

    Raises:
        ValueError: all Gaussians are 38 standard deviations from the limits, or further.

    Example:
        >>> one = np.ones(1), np.zeros((1, 2)), np.eye(2)[None]
        >>> x = draw_between(one, np.array([20.0, 21.0]), 5, np.random.default_rng(0))
        >>> bool(((x[:, 0] > 20) & (x[:, 0] < 21)).all())
        True
    """
    weights, means, covs = (np.asarray(part, float) for part in mixture)
    ends = np.asarray(limits, float)
    roots = np.linalg.cholesky(covs if noise is None else covs + noise(means[:, 0]))
    low, high = ((end - means[:, 0]) / roots[:, 0, 0] for end in ends)
    above = low > 0  # Φ is exact in its lower tail alone
    low, high = np.where(above, -high, low), np.where(above, -low, high)
    inside = ndtr(high) - ndtr(low)
    if n > 0 and not (total := (weights * inside).sum()) > 0:
        raise ValueError(
            f"limits: the mixture has nothing between {ends[0]:g} and {ends[1]:g}; its means "
            f"are {means[:, 0].min():g} to {means[:, 0].max():g}"
        )
    k = rng.choice(len(weights), size=n, p=weights * inside / total) if n > 0 else np.arange(0)
    z = rng.normal(size=(n, means.shape[1], 1))
    cut = ndtri(ndtr(low[k]) + rng.uniform(size=n) * inside[k])
    z[:, 0, 0] = np.where(above[k], -cut, cut)
    return means[k] + (roots[k] @ z)[..., 0]


def systematic(weights: Float[np.ndarray, " n"], size: int, rng: np.random.Generator) -> np.ndarray:
    """Indices in proportion to weights, by systematic resampling: least added noise."""
    edges = np.cumsum(weights)
    places = (np.arange(size) + rng.uniform()) / size
    return np.minimum(np.searchsorted(edges / edges[-1], places), len(weights) - 1)
