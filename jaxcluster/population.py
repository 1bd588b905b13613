"""From an isochrone to weighted cells of the colour-magnitude plane.

A stellar population is a mass function along an isochrone; a share f_b of its systems has a
companion on the same isochrone, with mass ratio N(q) ∝ q^γ on [q_min, 1]. Between neighbouring
masses, and between neighbouring mass ratios for binaries, lies a *cell*: a segment or quadrilateral
whose weight is the exact integral of the mass function (and of the mass-ratio law) over it, and
whose Gaussian has its centre and covariance. After Li & Shao (2022), who use points.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcluster.isochrone import Isochrone

MIN_MASS_RATIO = 0.1  # without a lower limit γ ≤ −1 does not normalise

# A uniform cell of length h has variance h²/12, but a chain of such Gaussians at steps of h ripples
# by 39 %; of h²/6 (linear interpolation between nodes) by 7 %. So cells get twice their variance:
# it only smooths *along* the sequence.
CELL_VARIANCE = 1.5
MAG = 1.0857362047581296  # 2.5 / ln 10: magnitudes per e-fold of flux


class MassFunction(eqx.Module):
    """Broken power law dN/dM ∝ M^slope, continuous at the breaks; slope −2.35 is Salpeter's.

    Args:
        slopes: one more than breaks, from low to high mass.
        breaks: masses [solar] where the slope changes, increasing.
    """

    slopes: tuple[Float[Array, ""] | float, ...]
    breaks: tuple[float, ...] = eqx.field(static=True, default=())

    def integral(self, lower: Float[Array, " c"], upper: Float[Array, " c"]) -> Float[Array, " c"]:
        """∫ dN/dM dM from `lower` to `upper` [solar masses]; unnormalised, never negative."""
        total, scale = jnp.zeros_like(lower), 1.0
        edges = (0.0, *self.breaks, jnp.inf)
        for i, slope in enumerate(self.slopes):
            if i > 0:
                scale = scale * edges[i] ** (self.slopes[i - 1] - slope)
            a = jnp.clip(lower, edges[i], edges[i + 1])
            b = jnp.clip(upper, edges[i], edges[i + 1])
            total = total + scale * _power_integral(a, b, slope)
        return total


def _power_integral(a, b, slope):
    """∫_a^b M^slope dM = a^(s+1) L φ((s+1)L) with L = ln(b/a), φ(z) = (eᶻ − 1)/z."""
    positive = (b > a) & (a > 0)
    a, b = jnp.where(positive, a, 1.0), jnp.where(positive, b, 1.0)
    log_ratio = jnp.log1p((b - a) / a)
    z = (slope + 1.0) * log_ratio
    small = jnp.abs(z) < 1e-4
    safe = jnp.where(small, 1.0, z)
    phi = jnp.where(small, 1.0 + z / 2.0 + z * z / 6.0, jnp.expm1(safe) / safe)
    return a ** (slope + 1.0) * log_ratio * phi


def kroupa() -> MassFunction:
    """Kroupa (2001, eq. 2): slopes −0.3, −1.3, −2.3 with breaks at 0.08 and 0.5 solar masses."""
    return MassFunction((-0.3, -1.3, -2.3), (0.08, 0.5))


class Cells(NamedTuple):
    """Weighted pieces of the colour-magnitude plane, each a Gaussian; see the module."""

    weights: Float[Array, " k"]  # intrinsic: sums to 1 over the masses that the cells cover
    means: Float[Array, "k d"]
    covs: Float[Array, "k d d"]
    mass: Float[Array, " k"]  # of the primary, at the cell's centre [solar]
    mass_ratio: Float[Array, " k"]  # 0 for single stars


def combine(first: Float[Array, "*#s"], second: Float[Array, "*#s"]) -> Float[Array, "*#s"]:
    """Magnitude of two stars together; −2.5 lg 2 = −0.7526 mag for equal ones."""
    brighter, fainter = jnp.minimum(first, second), jnp.maximum(first, second)
    return brighter - jnp.log1p(jnp.exp((brighter - fainter) / MAG)) * MAG


def _interpolate(x, nodes, values):
    """Piecewise linear at x; nodes may repeat (phases without extent), unlike in jnp.interp."""
    index = jnp.clip(jnp.searchsorted(nodes, x, side="right") - 1, 0, nodes.shape[0] - 2)
    lower, upper = nodes[index], nodes[index + 1]
    width = upper - lower
    fraction = jnp.where(width > 0, (x - lower) / jnp.where(width > 0, width, 1.0), 0.0)
    return _between(jnp.clip(fraction, 0.0, 1.0), index, values)


def _between(position, index, table):
    """Linear interpolation of a table of nodes at node number `index` + `position`."""
    position = position.reshape(position.shape + (1,) * (table.ndim - 1))
    return table[index] + position * (table[index + 1] - table[index])


def _outer(a, b):
    return a[..., :, None] * b[..., None, :]


class _Moments(NamedTuple):
    """∫dN, ∫x dN and ∫x xᵀ dN along the isochrone, up to some point of it."""

    number: Array
    first: Array
    second: Array


def _segment_moments(number, start, stop):
    """Moments of `number` stars spread uniformly from `start` to `stop` [..., d]."""
    total = start + stop
    second = (_outer(start, start) + _outer(stop, stop) + _outer(total, total)) / 6.0
    number = number.reshape(number.shape + (1,) * (start.ndim - number.ndim))
    return number * total / 2.0, number[..., None] * second


def _cut(number, points, index, position):
    """Mean and covariance of the stars between cuts of a polyline, each cut at index + position.

    Exact for stars spread evenly along each segment, so that a red clump (most of its stars in a
    few hundredths of a magnitude) is right in a cell of any length. `number` [e − 1] are the stars
    of each segment, `points` [e, …, d] its nodes.
    """
    first, second = _segment_moments(number, points[:-1], points[1:])
    cumulative = _Moments(
        *(
            jnp.concatenate([jnp.zeros_like(m[:1]), jnp.cumsum(m, axis=0)])
            for m in (number, first, second)
        )
    )
    cut = _between(position, index, points)
    part = position * number[index]
    extra = _segment_moments(part, points[index], cut)
    moments = _Moments(
        cumulative.number[index] + part,
        cumulative.first[index] + extra[0],
        cumulative.second[index] + extra[1],
    )
    n, m1, m2 = (m[1:] - m[:-1] for m in moments)
    n = jnp.maximum(n, 0.0)  # −1e-16 by rounding, at one in 10⁴ points of the prior
    # cells with hardly a star (a phase that takes no time): differences of sums would be noise
    enough = n > 1e-9 * cumulative.number[-1]
    safe = jnp.where(enough, n, 1.0)
    shape = (-1,) + (1,) * (cut.ndim - 1)
    mean = jnp.where(enough.reshape(shape), m1 / safe.reshape(shape), (cut[1:] + cut[:-1]) / 2.0)
    shape += (1,)
    cov = jnp.where(enough.reshape(shape), m2 / safe.reshape(shape) - _outer(mean, mean), 0.0)
    return n, mean, cov


def _place_cuts(number, points, masses_seen, n):
    """Cut a polyline into n pieces where stars are: density of cuts ∝ (stars / length)^⅓.

    Returns index and position of n + 1 cuts. `masses_seen` [e − 1] weights the segments, so that
    few cuts are spent where no star can be seen.
    """
    step2 = ((points[1:] - points[:-1]) ** 2).sum(axis=-1)
    length = jnp.where(step2 > 0, jnp.sqrt(jnp.where(step2 > 0, step2, 1.0)), 0.0)
    share = number * masses_seen
    share = share / jnp.maximum(share.sum(), 1e-30)
    reach = length * masses_seen
    reach = reach / jnp.maximum(reach.sum(), 1e-30)
    product = share * reach**2
    measure = jnp.where(product > 0, jnp.cbrt(jnp.where(product > 0, product, 1.0)), 0.0)
    measure = measure + 0.2 * reach + 1e-9
    arc = jnp.concatenate([jnp.zeros(1), jnp.cumsum(measure)])
    x = jnp.linspace(0.0, 1.0, n + 1) * arc[-1]
    index = jnp.clip(jnp.searchsorted(arc, x, side="right") - 1, 0, arc.shape[0] - 2)
    position = jnp.clip((x - arc[index]) / (arc[index + 1] - arc[index]), 0.0, 1.0)
    return index, position


def population_cells(
    isochrone: Isochrone,
    to_plane: Float[Array, "d b"],
    window: tuple[Float[Array, ""] | float, Float[Array, ""] | float],
    mass_function: MassFunction,
    *,
    binary_fraction: Float[Array, ""] | float,
    mass_ratio_slope: Float[Array, ""] | float = 0.0,
    n_masses: int = 256,
    n_mass_ratios: int = 12,
    extinction_scatter: Float[Array, ""] | float | None = None,
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
        n_masses: cells along the isochrone, placed where the stars are.
        n_mass_ratios: cells in q; their edges are equidistant in q³, as light goes with a high
            power of the companion's mass.
        extinction_scatter: σ of A_V from star to star [mag], smears along the reddening vector.

    Companions below the isochrone's lowest mass add no light.
    """
    binary_fraction = jnp.asarray(binary_fraction, float)
    mass = isochrone.initial_mass
    number = mass_function.integral(mass[:-1], mass[1:])
    number = number / number.sum()

    q = jnp.linspace(MIN_MASS_RATIO**3, 1.0, n_mass_ratios + 1) ** (1.0 / 3.0)
    ratio_step = _power_integral(q[:-1], q[1:], mass_ratio_slope)
    ratio_step = ratio_step / ratio_step.sum()
    companion_mass = mass[:, None] * q[None, :-1]
    companion = _interpolate(companion_mass, mass, isochrone.magnitudes)
    dark = companion_mass < mass[0]
    companion = jnp.where(dark[..., None], companion + 100.0, companion)
    pairs = combine(isochrone.magnitudes[:, None], companion)
    # q = 1 by itself: on the giant branch masses differ by 1e-5 and interpolation would be noise
    equal = combine(isochrone.magnitudes, isochrone.magnitudes)[:, None]
    sequences = jnp.concatenate([isochrone.magnitudes[:, None], pairs, equal], axis=1) @ to_plane.T

    # primaries beyond the window: a cell that reaches out of it would leak in
    magnitude = sequences[:, 0, 0]
    out = (magnitude < window[0]) | (magnitude > window[1])
    number = jnp.where(out[1:] & out[:-1], 0.0, number)
    middle = 0.5 * (magnitude[1:] + magnitude[:-1])
    # a soft edge: cuts must not jump when an isochrone point crosses it
    seen = jax.nn.sigmoid((middle - window[0]) / 0.1) * jax.nn.sigmoid((window[1] - middle) / 0.1)
    index, position = _place_cuts(number, sequences[:, 0], seen, n_masses)
    origin = jnp.mean(jnp.asarray(window))  # second moments about a near point, against rounding
    offset = jnp.zeros(to_plane.shape[0]).at[0].set(origin)
    step, mean, cov = _cut(number, sequences - offset, index, position)
    mean, cov = mean + offset, CELL_VARIANCE * cov

    v = mean[:, 2:] - mean[:, 1:-1]  # across q; q's own cell is uniform, variance v²/12
    binary_mean = 0.5 * (mean[:, 2:] + mean[:, 1:-1])
    binary_cov = 0.5 * (cov[:, 2:] + cov[:, 1:-1]) + CELL_VARIANCE / 12.0 * _outer(v, v)
    covs = jnp.concatenate([cov[:, :1], binary_cov], axis=1)
    if extinction_scatter is not None:
        reddening = _between(position, index, isochrone.reddening @ to_plane.T)
        reddening = 0.5 * (reddening[1:] + reddening[:-1])
        covs = covs + extinction_scatter**2 * _outer(reddening, reddening)[:, None]
    share = jnp.concatenate([(1.0 - binary_fraction)[None], binary_fraction * ratio_step])
    cut_mass = _between(position, index, mass)
    middle_q = jnp.concatenate([jnp.zeros(1), 0.5 * (q[1:] + q[:-1])])

    def listed(table):
        """Sequence by sequence, each in order of mass: neighbours stay close (see `local`)."""
        return jnp.swapaxes(table, 0, 1).reshape(-1, *table.shape[2:])

    shape = (n_masses, 1 + n_mass_ratios)
    return Cells(
        weights=listed(step[:, None] * share),
        means=listed(jnp.concatenate([mean[:, :1], binary_mean], axis=1)),
        covs=listed(covs),
        mass=listed(jnp.broadcast_to(0.5 * (cut_mass[1:] + cut_mass[:-1])[:, None], shape)),
        mass_ratio=listed(jnp.broadcast_to(middle_q, shape)),
    )
