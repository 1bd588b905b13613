"""A background without a cluster: how likely positions are by it alone.

    ln Z = ln ∫∫ p(b) p(g) Π_i [b (1 + g·x_i/R)]^w_i exp(−b A(g)) db dg
    A(g) = ∫ f (1 + g·x/R) dA

the Poisson process of `surface` without its cluster, over the same priors of the background's
density b and of its gradient g: what a Bayes factor compares with. Three dimensions at most, so
Gauss-Legendre quadrature about the maximum does it, to 1e-6 in ln Z.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpyro.distributions import Distribution
from scipy.optimize import minimize
from scipy.special import logsumexp

from jaxcluster.structure.footprint import Footprint

NODES = 32  # in b, and in each coordinate of g
REACH = 7.0  # standard deviations on each side of the maximum
STEEPEST = 1.0  # of g: beyond, a background is negative within the circle


def log_evidence(
    x: Float[np.ndarray, "n 2"],
    weights: Float[np.ndarray, " n"],
    footprint: Footprint,
    density: Distribution,
    gradient: Distribution | None = None,
) -> float:
    """Return ln Z of positions by the background alone.

    Args:
        x: positions [arcmin], in the footprint.
        weights: w_i of each.
        footprint: where stars would have been seen.
        density: prior of b [arcmin⁻²].
        gradient: prior of g, of shape [2]; a level background by default.
    """
    n = float(weights.sum())
    if gradient is None:
        return float(_over_density(n, np.array([float(footprint.area)]), density)[0])
    u = np.asarray(x) / footprint.radius
    tilt = np.asarray(footprint.moments) / footprint.radius
    low, high = _interval(gradient, -STEEPEST, STEEPEST)

    def height(g):  # ln L at the best b, and its slope
        rise, area = 1.0 + u @ g, float(footprint.area) + tilt @ g
        slope = (weights / rise) @ u - n * tilt / area
        return n * np.log(area) - weights @ np.log(rise), -slope

    inside = (0.999 * low, 0.999 * high)  # where ln of nothing has no slope
    top = minimize(height, np.zeros(2), jac=True, bounds=[inside, inside]).x
    rise = (u / (1.0 + u @ top)[:, None]) * np.sqrt(weights)[:, None]
    sigma = np.sqrt(np.diag(np.linalg.pinv(rise.T @ rise)))
    axes = [
        _legendre(max(low, t - REACH * s), min(high, t + REACH * s))
        for t, s in zip(top, sigma, strict=True)
    ]
    g = np.stack(np.meshgrid(*(nodes for nodes, _ in axes), indexing="ij"), axis=-1).reshape(-1, 2)
    log_weight = np.log(np.outer(*(weight for _, weight in axes))).ravel()
    tilted = np.array([weights @ np.log(np.maximum(1.0 + u @ one, 1e-300)) for one in g])
    prior = np.asarray(gradient.log_prob(jnp.asarray(g)))
    level = _over_density(n, float(footprint.area) + g @ tilt, density)
    return float(np.asarray(logsumexp(log_weight + prior + tilted + level)))


def _over_density(n, area, prior):
    """Return ln ∫ p(b) bⁿ exp(−b A) db at each area A: a gamma distribution, cut by the prior."""
    low, high = _interval(prior, 0.0, np.inf)
    width = REACH * np.sqrt(n + 1.0) + 20.0
    start = np.maximum(low, (n + 1.0 - width) / area)
    stop = np.minimum(high, (n + 1.0 + width) / area)
    beyond = start >= stop  # the prior lies off the data: what counts is its end next to them
    start = np.where(beyond, low, start)[:, None]
    stop = np.where(beyond, np.minimum(high, low + width / area), stop)[:, None]
    b, weight = _legendre(start, stop, 4 * NODES)
    log_p = np.asarray(prior.log_prob(jnp.asarray(b)))
    terms = np.log(weight) + log_p + n * np.log(b) - b * area[:, None]
    return np.asarray(logsumexp(terms, axis=1))


def _interval(prior, low, high):
    """Ends of a prior's support, as far as they are within these."""
    support = getattr(prior.support, "base_constraint", prior.support)
    bounds = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    lower, upper = (None if b is None else np.asarray(b, float) for b in bounds)
    return (
        low if lower is None else max(low, float(lower.min())),
        high if upper is None else min(high, float(upper.max())),
    )


def _legendre(low, high, n=NODES):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return low + 0.5 * (high - low) * (nodes + 1.0), 0.5 * (high - low) * weights
