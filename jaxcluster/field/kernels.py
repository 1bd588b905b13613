"""Adaptive Gaussian kernels, one per star, and each star's density with itself left out.

    K_j(x) = Σ_m N(x | c_jm, diag v_j) / Z_j,        v_j = (scale d_j)² (metric², 1, …)

c_jm: the star and its mirror image at the nearer magnitude limit, where stars are cut off and not
rare; Z_j: the sum's integral inside the limits; d_j: distance to the `neighbours`-th star, where
`metric` mag in magnitude count as 1 mag in colour. The three numbers maximise the leave-one-out
likelihood.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from jaxcluster.density.backend import as_array
from jaxcluster.density.mixture import GaussianMixture
from jaxcluster.field.gaussians import NARROWEST, evaluate, inside

# Eleven of twelve samples of 500 real field stars choose 0.25 to 0.5 of the distance to the 48th
# neighbour, which fluctuates less than all of the distance to a near one: SCALES = (1,) loses
# 0.016, 0.010, 0.006 nat on stars held out (Berkeley 25, 26, NGC 2682), the 4th neighbour added.
NEIGHBOURS = (6, 12, 24, 48)
METRICS = (1.5, 3.0, 6.0, 10.0)
SCALES = (0.25, 0.35, 0.5, 0.7, 1.0)


class Kernels(NamedTuple):
    """K_j of n stars, m Gaussians each; mag and mag².

    Attributes:
        centres: c_jm; m = 2 with the mirror image, 1 without.
        variances: v_j.
        without_one: v_j if one of the neighbours were not there.
        neighbours: index of the stars within d_j.
    """

    centres: Float[np.ndarray, "n m d"]
    variances: Float[np.ndarray, "n d"]
    without_one: Float[np.ndarray, "n d"]
    neighbours: Int[np.ndarray, "n k"]


def nearest(
    x: Float[np.ndarray, "n d"], neighbours: int, metric: float
) -> tuple[Float[np.ndarray, "n m"], Int[np.ndarray, "n m"]]:
    """Distances (mag of colour) and indices of each star itself and its k + 1 nearest others."""
    scaled = x / _units(metric, x.shape[1])
    distance, index = KDTree(scaled).query(scaled, neighbours + 2)
    return np.asarray(distance), np.asarray(index)


def _units(metric: float, d: int) -> Float[np.ndarray, " d"]:
    """What counts as much as 1 mag of colour, in magnitude and colours [mag]."""
    return np.array([metric, *[1.0] * (d - 1)])


def published_kernels(x: Float[np.ndarray, "n d"], errors2: Float[np.ndarray, "n d"]) -> Kernels:
    """Kernels of Li, Li & Shao (2025): N(x_j, diag(d_j² + σ_j²)), d_j to the 10th neighbour.

    Args:
        x: (magnitude, colours) of the stars, mag.
        errors2: σ_j², mag².
    """
    distance, index = nearest(x, 10, 1.0)
    used, without_one = (distance[:, k, None] ** 2 + errors2 for k in (10, 11))
    return Kernels(x[:, None], used, without_one, index[:, 1:11])


def adaptive_kernels(
    x: Float[np.ndarray, "n d"],
    limits: tuple[float, float],
    neighbours: int,
    metric: float,
    scale: float,
    near: tuple[np.ndarray, np.ndarray] | None = None,
) -> Kernels:
    """Return the kernels of the module's docstring.

    Args:
        x: (magnitude, colours) of the stars, mag.
        limits: (lo, hi) of the magnitudes.
        neighbours: which neighbour sets the width.
        metric: mag in magnitude that count as 1 mag in colour.
        scale: width in units of the distance.
        near: `nearest` with this metric and at least as many neighbours, where it is known.
    """
    distance, index = nearest(x, neighbours, metric) if near is None else near
    width = scale * np.maximum(distance[:, neighbours : neighbours + 2], NARROWEST)
    units = _units(metric, x.shape[1])
    used, without_one = ((width[:, i, None] * units) ** 2 for i in (0, 1))
    lo, hi = limits
    edge = np.where(x[:, 0] < 0.5 * (lo + hi), lo, hi)
    image = np.column_stack([2 * edge - x[:, 0], x[:, 1:]])
    return Kernels(np.stack([x, image], 1), used, without_one, index[:, 1 : neighbours + 1])


def to_mixture(kernels: Kernels, limits: tuple[float, float]) -> GaussianMixture:
    """Return Σ_j K_j / n, which integrates to 1 inside the limits."""
    n, m, d = kernels.centres.shape
    norm = inside(kernels.centres[..., 0], kernels.variances[:, :1], limits).sum(1)
    covs = kernels.variances[:, :, None] * np.eye(d)
    return GaussianMixture(
        weights=as_array(np.repeat(1 / n / norm, m)),
        means=as_array(kernels.centres.reshape(-1, d)),
        covs=as_array(np.repeat(covs, m, axis=0)),
    )


def leave_one_out(
    kernels: Kernels,
    x: Float[np.ndarray, "n d"],
    limits: tuple[float, float],
) -> Float[np.ndarray, " n"]:
    """Return Σ_{j≠i} K_j(x_i) / (n − 1) of each star i, K_j as wide as if i did not exist.

    A star among the neighbours that set a kernel's width draws it towards itself. Leaving out
    only its own kernel therefore favours near neighbours: for 500 stars of Berkeley 26's field
    the 6th, 0.012 nat worse on stars held out, or the 3rd, were it on offer, 0.06 nat worse.
    """
    n = len(x)
    near = x[kernels.neighbours]
    change = _each(near, kernels.centres, kernels.without_one, limits)
    change -= _each(near, kernels.centres, kernels.variances, limits)
    total = np.zeros(n)
    np.add.at(total, kernels.neighbours, change)
    total -= _each(x[:, None], kernels.centres, kernels.variances, limits)[:, 0]
    others = n * evaluate(x, to_mixture(kernels, limits)) + total
    return np.maximum(others, 0.0) / (n - 1)


def _each(x, centres, variances, limits):
    """Return K_j(x) for x [n, k, d], j = 0 … n − 1."""
    norm = inside(centres[..., 0], variances[:, :1], limits).sum(1)
    d2 = (x[:, :, None] - centres[:, None]) ** 2 / variances[:, None, None]
    peak = 1 / ((2 * np.pi) ** (0.5 * x.shape[2]) * np.sqrt(variances.prod(1)) * norm)
    return peak[:, None] * np.exp(-0.5 * d2.sum(-1)).sum(-1)


def choose_widths(
    x: Float[np.ndarray, "n d"],
    limits: tuple[float, float],
    uniform: Float[np.ndarray, " n"],
) -> tuple[int, float, float]:
    """Return the (neighbours, metric, scale) that maximise the leave-one-out likelihood.

    One of the three is varied at a time until none improves it, which takes a quarter of the work
    of trying all 80.

    Args:
        x: (magnitude, colours) of the stars, mag.
        limits: (lo, hi) of the magnitudes.
        uniform: the floor's density at each star, mag⁻²; it has one star's weight.
    """
    n = len(x)
    numbers = [k for k in NEIGHBOURS if k <= n - 2]
    near = {metric: nearest(x, numbers[-1], metric) for metric in METRICS}

    def likelihood(widths):
        kernels = adaptive_kernels(x, limits, *widths, near=near[widths[1]])
        return np.log(n * leave_one_out(kernels, x, limits) + uniform).sum()

    choices = (numbers, METRICS, SCALES)
    best = [options[len(options) // 2] for options in choices]
    highest, unchanged = likelihood(best), 0
    for axis in itertools.cycle((2, 1, 0)):
        for value in choices[axis]:
            trial = [*best[:axis], value, *best[axis + 1 :]]
            if value != best[axis] and (found := likelihood(trial)) > highest:
                best, highest, unchanged = trial, found, 0
        unchanged += 1
        if unchanged > len(choices):
            break
    neighbours, metric, scale = best
    return int(neighbours), metric, scale
