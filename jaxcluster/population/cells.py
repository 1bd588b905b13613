"""From an isochrone to weighted cells of the colour-magnitude plane.

A stellar population is a mass function along an isochrone; a share f_b of its systems has a
companion on the same isochrone, with mass ratio N(q) ∝ q^γ on [q_min, 1]. The isochrone is cut into
intervals, short where stars are and can be seen. An interval is a *cell* of single stars; a run of
intervals and a step in q are one of binaries. Its weight is the integral of the mass function (and
of the mass-ratio law) over it, and its Gaussian has its mean and covariance. After Li & Shao
(2022), who use points.

Four things make few cells enough (`benchmarks/cells`): what a companion adds changes slowly along
the isochrone, so that it is worked out at the ends of runs alone, on top of single stars of more
intervals, half of all systems on one line; the isochrone is cut where it matters (`cutting`); mean
and covariance across a cell in q are by quadrature, since a companion's light is no straight line
in q; mass ratios are cut where companions show.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.density.materialise import materialise
from jaxcluster.population.cutting import between, cut_isochrone, locate
from jaxcluster.population.isochrone import Isochrone
from jaxcluster.population.mass_function import MassFunction, power_integral

MIN_MASS_RATIO = 0.1  # without a lower limit γ ≤ −1 does not normalise
MAG = 1.0857362047581296  # 2.5 / ln 10: magnitudes per e-fold of flux
# A chain of Gaussians of variance v at steps of h ripples by 2 exp(−2π² v / h²): by 39 % with the
# h²/12 of a uniform cell, by 17 % with half as much again, by 1.4 % with three times as much, as of
# single stars, half of all systems on one line (a scatter of 0.003 mag, 400 stars: with ½ for both
# ln L is 0.8 ± 1.2 too low, so 0.2 ± 0.6); a scatter of h/2 hides the steps by itself.
SMOOTHING_OF_SINGLES, SMOOTHING_OF_PAIRS = 2.0, 0.5
RUN = 3  # intervals: cells of single stars for each of binaries, along the isochrone


class Cells(NamedTuple):
    """Weighted pieces of the colour-magnitude plane, each a Gaussian; see the module."""

    weights: Float[Array, " k"]  # intrinsic: sums to 1 over the masses that the cells cover
    means: Float[Array, "k d"]
    covs: Float[Array, "k d d"]
    mass: Float[Array, " k"]  # of the primary, at the cell's centre [solar]
    mass_ratio: Float[Array, " k"]  # 0 for single stars


def brightening(ratio: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Magnitudes by which a companion of `ratio` times a star's flux makes it brighter.

    2.5 lg 2 = 0.7526 mag for equal ones. The logarithm is a float32 one (error 1e-7 mag).
    """
    return MAG * jnp.log((1.0 + ratio).astype(jnp.float32)).astype(ratio.dtype)


def mass_ratio_edges(n: int) -> Float[np.ndarray, " e"]:
    """Edges of n cells in q, equidistant in 0.7 q² + 0.3 q¹⁶.

    q² suits dwarfs; giants are outshone only by companions within a few per cent of their mass.
    """
    q = np.linspace(MIN_MASS_RATIO, 1.0, 4001)
    u = 0.7 * q**2 + 0.3 * q**16
    return np.interp(np.linspace(u[0], u[-1], n + 1), u, q)


def _brightened(isochrone: Isochrone, primary, magnitudes, q) -> list[Float[Array, "... p"]]:
    """Magnitudes by which companions of q [...] times their mass brighten primaries, by band.

    Args:
        isochrone: of the companions.
        primary: masses, [p].
        magnitudes: of the primaries, [b p].
        q: mass ratios, [...].
    """
    mass = isochrone.initial_mass
    companion = q[..., None] * primary
    index, fraction = locate(companion, mass)
    lit, fraction = companion >= mass[0], materialise(fraction)
    added = []
    for table, own in zip(isochrone.magnitudes.T, magnitudes, strict=True):
        light = jnp.where(lit, between(fraction, index, jnp.exp(-table / MAG)), 0.0)
        # worked out once: XLA would take the exponential anew for each mass ratio
        added.append(brightening(light * materialise(jnp.exp(own / MAG))))
    return materialise(added)


class _Runs(NamedTuple):
    """Moments of single stars in runs of intervals; t, −½ to ½, goes evenly through intervals."""

    number: Float[Array, " n"]
    mean: Float[Array, "d n"]
    cov: Float[Array, "d d n"]
    t: Float[Array, " n"]  # mean
    t2: Float[Array, " n"]  # variance
    x_t: Float[Array, "d n"]  # covariance with place


def _runs(number: Float[Array, " i"], points: Float[Array, "d e"], length: int) -> _Runs:
    """Moments of runs of `length` intervals, exact for stars spread evenly along each interval."""
    number = number.reshape(-1, length)
    total = number.sum(axis=-1, keepdims=True)
    # a run without a star: as if each interval had as many
    share = jnp.where(total > 0, number / jnp.where(total > 0, total, 1.0), 1.0 / length)
    x = (0.5 * (points[:, 1:] + points[:, :-1])).reshape(len(points), -1, length)
    h = (points[:, 1:] - points[:, :-1]).reshape(x.shape)
    t, dt = (np.arange(length) + 0.5) / length - 0.5, 1.0 / length
    mean, t_mean = (share * x).sum(axis=-1), (share * t).sum(axis=-1)
    x, t = x - mean[..., None], t - t_mean[..., None]
    return _Runs(
        total[:, 0],
        mean,
        (share * (x[:, None] * x + h[:, None] * h / 12.0)).sum(axis=-1),
        t_mean,
        (share * (t**2 + dt**2 / 12.0)).sum(axis=-1),
        (share * (x * t + h * dt / 12.0)).sum(axis=-1),
    )


def _widened(cov, smoothing, scatter2):
    """Lower half {(a, b): …} of covariances, overlapping enough, and with the model's scatter."""
    size = sum(v for (a, b), v in cov.items() if a == b)
    factor = 1.0 + smoothing * size / (size + 4.0 * scatter2 + 1e-12)
    return {(a, b): v * factor + (scatter2 if a == b else 0.0) for (a, b), v in cov.items()}


def _middle(ends, run):
    """Means of the two ends of each run, along the last axis."""
    return 0.5 * (ends[..., run::run] + ends[..., :-run:run])


def _joined(singles, pairs):
    """Cells of singles [i], then of pairs [q, n]: by sequence, each in order of mass (`local`)."""
    return jnp.concatenate([singles, pairs.ravel()])


def population_cells(
    isochrone: Isochrone,
    to_plane: Float[Array, "d b"],
    window: tuple[Float[Array, ""] | float, Float[Array, ""] | float],
    mass_function: MassFunction,
    *,
    binary_fraction: Float[Array, ""] | float,
    mass_ratio_slope: Float[Array, ""] | float = 0.0,
    model_scatter: Float[Array, ""] | float = 0.0,
    extinction_scatter: Float[Array, ""] | float | None = None,
    joints: tuple[int, ...] = (),
    n_masses: int = 200,
    n_mass_ratios: int = 14,
) -> Cells:
    """Cells of single stars and of unresolved binaries.

    Args:
        isochrone: from `IsochroneGrid.isochrone`, magnitudes already apparent.
        to_plane: rows that make each coordinate of the plane from the bands, magnitude first.
        window: the magnitudes of primaries that can matter; the others get no weight, though they
            count in the normalisation.
        mass_function: of single stars and of primaries.
        binary_fraction: share of systems, by primary mass and before any magnitude cut, that are
            binaries. Li, Li & Shao (2025, eq. A2) normalise each part inside the limits instead.
        mass_ratio_slope: γ of N(q) ∝ q^γ on [0.1, 1].
        model_scatter: σ of the isochrone in each coordinate [mag], added to every cell.
        extinction_scatter: σ of A_V from star to star [mag], smears along the reddening vector.
        joints: points of the isochrone at which runs end, of `IsochroneGrid.joints`.
        n_masses: cells of binaries along the isochrone; of single stars RUN times as many.
        n_mass_ratios: cells in q.

    Companions below the isochrone's lowest mass add no light.

    Raises:
        ValueError: for not more runs than joints.
    """
    if n_masses <= len(joints):
        raise ValueError(
            f"n_masses: found {n_masses}, expected more than the {len(joints)} joints at which "
            "cells end; mimo_cmd takes 96 or more"
        )
    d = to_plane.shape[0]
    lower = [(a, b) for a in range(d) for b in range(a + 1)]
    binary_fraction = jnp.asarray(binary_fraction, float)
    scatter2 = jnp.asarray(model_scatter, float) ** 2
    if extinction_scatter is None:  # of no band: `materialise` would have it worked out
        isochrone = isochrone._replace(reddening=isochrone.reddening[:, :0])
    cut = cut_isochrone(isochrone, to_plane, window, mass_function, n_masses, RUN, joints)
    points = to_plane @ cut.magnitudes
    single, runs = _runs(cut.number, points, 1), _runs(cut.number, points, RUN)

    edges = jnp.asarray(mass_ratio_edges(n_mass_ratios))
    ratio_step = power_integral(edges[:-1], edges[1:], mass_ratio_slope)
    weight = binary_fraction * ratio_step / ratio_step.sum()
    # two Gauss-Legendre points: mean and covariance across the cell of any smooth curve
    middle, half = 0.5 * (edges[1:] + edges[:-1]), 0.5 * (edges[1:] - edges[:-1])
    q = middle + half * jnp.array([[-1.0], [1.0]]) / 3.0**0.5
    share = q**mass_ratio_slope
    share = (share / share.sum(axis=0))[..., None]

    # what companions add, x = x_single + Δ with Δ straight across a run: [point in q, q, run]
    added = _brightened(isochrone, cut.mass[::RUN], cut.magnitudes[:, ::RUN], q)
    ends = [-sum((r[b] * m for b, m in enumerate(added)), start=jnp.zeros(())) for r in to_plane]
    step = [x[..., 1:] - x[..., :-1] for x in ends]
    delta = [0.5 * (x[..., 1:] + x[..., :-1]) + runs.t * h for x, h in zip(ends, step, strict=True)]
    mean_step = [(share * h).sum(axis=0) for h in step]
    apart = [x[1] - x[0] for x in delta]
    pairs = {
        (a, b): runs.cov[a, b]
        + runs.x_t[a] * mean_step[b]
        + runs.x_t[b] * mean_step[a]
        + runs.t2 * (share * step[a] * step[b]).sum(axis=0)
        + share[0] * share[1] * apart[a] * apart[b]
        for a, b in lower
    }
    pairs = _widened(pairs, SMOOTHING_OF_PAIRS, scatter2)
    singles = {(a, b): single.cov[a, b] for a, b in lower}
    singles = _widened(singles, SMOOTHING_OF_SINGLES, scatter2)
    if extinction_scatter is not None:
        for part, step_of_cell in ((singles, 1), (pairs, RUN)):
            r = _middle(to_plane @ cut.reddening, step_of_cell)
            for a, b in lower:
                part[a, b] += extinction_scatter**2 * r[a] * r[b]

    mean = [
        _joined(single.mean[a], runs.mean[a] + (share * delta[a]).sum(axis=0)) for a in range(d)
    ]
    cov = {key: _joined(singles[key], pairs[key]) for key in lower}
    rows = [jnp.stack([cov[max(a, b), min(a, b)] for b in range(d)], axis=-1) for a in range(d)]
    shape = (n_mass_ratios, n_masses)
    primary = jnp.broadcast_to(_middle(cut.mass, RUN), shape)
    return Cells(
        weights=_joined((1.0 - binary_fraction) * single.number, weight[:, None] * runs.number),
        means=jnp.stack(mean, axis=-1),
        covs=jnp.stack(rows, axis=-2),
        mass=_joined(_middle(cut.mass, 1), primary),
        mass_ratio=_joined(jnp.zeros(n_masses * RUN), jnp.broadcast_to(middle[:, None], shape)),
    )
