"""From an isochrone to weighted cells of the colour-magnitude plane.

A stellar population is a mass function along an isochrone; a share f_b of its systems has a
companion on the same isochrone, with mass ratio N(q) ∝ q^γ on [q_min, 1]. Between neighbouring
masses, and between neighbouring mass ratios for binaries, lies a *cell*: a segment or quadrilateral
whose weight is the exact integral of the mass function (and of the mass-ratio law) over it, and
whose Gaussian has its mean and covariance. After Li & Shao (2022), who use points.

Four things make few cells enough (`benchmarks/ngc2682 converge`): mean and covariance across a
cell in q by quadrature, since a companion's light is no straight line in q; mass ratios cut where
companions show; cuts in mass that differ from one mass ratio to the next, so that ripples cancel;
and twice as many for single stars, half of all systems on one line.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxcluster.density.backend import on_cpu
from jaxcluster.density.materialise import materialise
from jaxcluster.population.isochrone import Isochrone
from jaxcluster.population.mass_function import MassFunction, power_integral

MIN_MASS_RATIO = 0.1  # without a lower limit γ ≤ −1 does not normalise
GOLDEN = 0.6180339887498949
MAG = 1.0857362047581296  # 2.5 / ln 10: magnitudes per e-fold of flux


class Cells(NamedTuple):
    """Weighted pieces of the colour-magnitude plane, each a Gaussian; see the module."""

    weights: Float[Array, " k"]  # intrinsic: sums to 1 over the masses that the cells cover
    means: Float[Array, "k d"]
    covs: Float[Array, "k d d"]
    mass: Float[Array, " k"]  # of the primary, at the cell's centre [solar]
    mass_ratio: Float[Array, " k"]  # 0 for single stars


def combine(magnitude: Float[Array, "*#s"], flux: Float[Array, "*#s"]) -> Float[Array, "*#s"]:
    """Magnitude of a star together with a companion of this `flux` = 10^(−0.4 m).

    −2.5 lg 2 = −0.7526 mag for equal ones. The logarithm is a float32 one (error 1e-7 mag).
    """
    ratio = flux * jnp.exp(magnitude / MAG)
    brighter = MAG * jnp.log((1.0 + ratio).astype(jnp.float32))
    return magnitude - brighter.astype(ratio.dtype)


def mass_ratio_edges(n: int) -> Float[np.ndarray, " e"]:
    """Edges of n cells in q, equidistant in 0.7 q² + 0.3 q¹⁶.

    q² suits dwarfs; giants are outshone only by companions within a few per cent of their mass.
    """
    q = np.linspace(MIN_MASS_RATIO, 1.0, 4001)
    u = 0.7 * q**2 + 0.3 * q**16
    return np.interp(np.linspace(u[0], u[-1], n + 1), u, q)


def _locate(x, nodes):
    """Interval of increasing nodes, and fraction of it, at x; nodes may repeat (no extent).

    Bisection written out over a flat array: `jnp.searchsorted` takes two to three times as long.
    """
    wanted = materialise(jax.lax.stop_gradient(x).ravel())
    steps = [2**i for i in reversed(range(max(nodes.shape[0] - 2, 1).bit_length()))]
    padded = jnp.pad(nodes[:-1], (0, 2 * steps[0] - nodes.shape[0] + 1), constant_values=jnp.inf)
    index = jnp.zeros(wanted.shape, jnp.int32)
    for step in steps:
        there = padded.at[index + step].get(mode="promise_in_bounds")
        index = index + jnp.where(there <= wanted, step, 0)  # each used once: see `local`
    index = materialise(index).reshape(x.shape)
    lower, width = nodes[index], nodes[index + 1] - nodes[index]
    fraction = jnp.where(width > 0, (x - lower) / jnp.where(width > 0, width, 1.0), 0.0)
    return index, jnp.clip(fraction, 0.0, 1.0)


def _between(fraction, index, table):
    """Linear interpolation of a table of nodes."""
    fraction = fraction.reshape(fraction.shape + (1,) * (table.ndim - 1))
    return table[index] + fraction * (table[index + 1] - table[index])


def _outer(a, b):
    return a[..., :, None] * b[..., None, :]


def _lower(d: int) -> list[tuple[int, int]]:
    """Rows and columns of the lower half of a d × d matrix."""
    return [(a, b) for a in range(d) for b in range(a + 1)]


def _moments(
    stars: Float[Array, "..."],
    share: Float[Array, "p ..."],
    start: list[list[Float[Array, "..."]]],
    step: list[list[Float[Array, "..."]]],
    t: Float[Array, "..."] | float,
) -> list[Float[Array, "..."]]:
    """Number up to fraction t of segments, Σx, and the lower half of Σx xᵀ: 1 + d + d (d + 1) / 2.

    Args:
        stars: on each whole segment, evenly along it.
        share: of them, on each of p curves.
        start: of each curve, the coordinates where its segment begins.
        step: and the way to its end.
        t: fraction of the segment.
    """
    lower = _lower(d := len(start[0]))
    first, second = ([jnp.zeros(())] * n for n in (d, len(lower)))
    for w, x, whole_step in zip(share, start, step, strict=True):
        w, h = stars * w * t, [0.5 * t * y for y in whole_step]
        for a in range(d):
            first[a] += w * (x[a] + h[a])
        for i, (a, b) in enumerate(lower):
            second[i] += w * (x[a] * (x[b] + h[b]) + h[a] * (x[b] + h[b] * (4.0 / 3.0)))
    return [stars * t, *first, *second]


def _sum_before(whole: Float[Array, "s ..."]) -> Float[Array, "s ..."]:
    """Sum of all rows before each: on CPUs by a loop, as `jnp.cumsum` takes six times as long."""
    if on_cpu():
        return jax.lax.scan(lambda c, x: (c + x, c), jnp.zeros_like(whole[0]), whole)[1]
    return jnp.concatenate([jnp.zeros_like(whole[:1]), jnp.cumsum(whole, axis=0)[:-1]])


def _cut(
    number: Float[Array, " segments"],
    points: list[Float[Array, "p e s"]],
    share: Float[Array, "p s"],
    index: Int[Array, "s cuts"],
    t: Float[Array, "s cuts"],
) -> tuple[Float[Array, "s n"], Float[Array, "s n d"], Float[Array, "s n d d"]]:
    """Stars between neighbouring cuts of each sequence: their number, mean and covariance.

    Exact for stars spread evenly along each segment, so that a red clump (most of its stars in a
    few hundredths of a magnitude) is right in a cell of any length.

    Args:
        number: stars of each of the e − 1 segments.
        points: of each coordinate the e nodes of s sequences, each of p curves.
        share: of a sequence's stars that each of its curves holds.
        index: segment that each cut lies in.
        t: fraction of the segment where it lies.
    """
    d = len(points)
    # one array [e − 1, s] for each curve and coordinate; arrays of arrays are slow on a CPU
    start = [[x[p, :-1] for x in points] for p in range(len(share))]
    step = [[x[p, 1:] - x[p, :-1] for x in points] for p in range(len(share))]
    stars = jnp.broadcast_to(number[:, None], start[0][0].shape)
    whole = jnp.stack(_moments(stars, share, start, step, 1.0), axis=1)
    before = materialise(jnp.swapaxes(_sum_before(whole), 0, 1))
    column = jnp.arange(index.shape[0])[:, None]
    tables = jax.tree.map(lambda a: a[index, column], (list(before), start, step))
    # fewer tables than the polynomials' coefficients: gathers, and their gradients, take longest
    (before, start, step), stars, t = materialise((tables, number[index], t))
    within = _moments(stars, share[..., None], start, step, t)
    upto = [b + more for b, more in zip(before, within, strict=True)]
    n, *sums = [a[:, 1:] - a[:, :-1] for a in upto]
    n = jnp.maximum(n, 0.0)  # −1e-16 by rounding, at one in 10⁴ points of the prior
    # cells with hardly a star (a phase that takes no time): differences of sums would be noise
    enough = n > 1e-9 * number.sum()
    safe = jnp.where(enough, n, 1.0)
    mean = [
        jnp.where(enough, m / safe, x[0, index[:, 1:], 0])
        for m, x in zip(sums, points, strict=False)
    ]
    cov = {
        (a, b): jnp.where(enough, sums[d + i] / safe - mean[a] * mean[b], 0.0)
        for i, (a, b) in enumerate(_lower(d))
    }
    rows = [jnp.stack([cov[max(a, b), min(a, b)] for b in range(d)], axis=-1) for a in range(d)]
    return n, jnp.stack(mean, axis=-1), jnp.stack(rows, axis=-2)


def _arc(number, points, seen):
    """Length of a polyline measured so that cells are short where stars are, [e] from 0 to 1.

    Its density is (stars / length)^⅓ + a constant. `seen` [e − 1] weights the segments, so that
    few cuts are spent where no star can be seen.
    """
    step2 = ((points[1:] - points[:-1]) ** 2).sum(axis=-1)
    length = jnp.where(step2 > 0, jnp.sqrt(jnp.where(step2 > 0, step2, 1.0)), 0.0)
    share = number * seen
    share = share / jnp.maximum(share.sum(), 1e-30)
    reach = length * seen
    reach = reach / jnp.maximum(reach.sum(), 1e-30)
    product = share * reach**2
    measure = jnp.where(product > 0, jnp.cbrt(jnp.where(product > 0, product, 1.0)), 0.0)
    measure = measure + 0.3 * reach + 1e-9
    arc = jnp.concatenate([jnp.zeros(1), jnp.cumsum(measure)])
    return arc / arc[-1]


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
    n_masses: int = 240,
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
        n_masses: cells along the isochrone for each mass ratio; single stars have twice as many.
        n_mass_ratios: cells in q.

    Companions below the isochrone's lowest mass add no light.
    """
    d = to_plane.shape[0]
    binary_fraction = jnp.asarray(binary_fraction, float)
    scatter2 = jnp.asarray(model_scatter, float) ** 2
    mass = isochrone.initial_mass
    number = mass_function.integral(mass[:-1], mass[1:])
    number = number / number.sum()

    edges = jnp.asarray(mass_ratio_edges(n_mass_ratios))
    ratio_step = power_integral(edges[:-1], edges[1:], mass_ratio_slope)
    # two Gauss-Legendre points: mean and covariance across the cell of any smooth curve
    middle, half = 0.5 * (edges[1:] + edges[:-1]), 0.5 * (edges[1:] - edges[:-1])
    q = middle + half * jnp.array([[-1.0], [1.0]]) / 3.0**0.5
    share = q**mass_ratio_slope
    # Sequences: single stars, q = 0, as two halves of one line, and one of each mass ratio. In
    # eights, as processors count: 12 columns take longer than 16. What is added weighs nothing.
    spare = (2, -(n_mass_ratios + 2) % 8)
    weight = jnp.pad(binary_fraction * ratio_step / ratio_step.sum(), spare)
    weight = weight.at[:2].set(1.0 - binary_fraction)
    middle, q = jnp.pad(middle, spare), jnp.pad(q, ((0, 0), spare))
    share = jnp.pad(share / share.sum(axis=0), ((0, 0), spare), constant_values=0.5)

    # magnitudes [point in q's cell, mass, q] of each band
    bands = [m[None, :, None] for m in isochrone.magnitudes.T]
    companion_mass = mass[:, None] * q[:, None]
    index, fraction = _locate(companion_mass, mass)
    lit = companion_mass >= mass[0]
    pairs = [
        combine(m, jnp.where(lit, _between(fraction, index, 10 ** (-0.4 * m[0, :, 0])), 0.0))
        for m in bands
    ]
    # else XLA would work the logarithms out anew wherever they are used
    pairs = materialise(pairs)
    nothing = jnp.zeros(())
    points = [sum((row[b] * m for b, m in enumerate(pairs)), start=nothing) for row in to_plane]

    # primaries beyond the window: a cell that reaches out of it would leak in
    magnitude = points[0][0, :, 0]
    out = (magnitude < window[0]) | (magnitude > window[1])
    number = jnp.where(out[1:] & out[:-1], 0.0, number)
    centre = 0.5 * (magnitude[1:] + magnitude[:-1])
    # a soft edge: cuts must not jump when an isochrone point crosses it
    seen = jax.nn.sigmoid((centre - window[0]) / 0.1) * jax.nn.sigmoid((window[1] - centre) / 0.1)
    arc = _arc(number, jnp.stack([x[0, :, 0] for x in points], axis=-1), seen)
    # second moments about a near point, against rounding
    origin = jnp.zeros(d).at[0].set(jnp.mean(jnp.asarray(window)))
    points = [x - o for x, o in zip(points, origin, strict=True)]

    # Cuts, equidistant along `arc` but for the first and last. Those of neighbouring sequences lie
    # between each other, so that their ripples cancel; single stars have twice as many.
    n = n_masses
    phase = np.concatenate([[0.0, -n], np.arange(1, len(middle) - 1) * GOLDEN % 1.0])
    steps = np.where(np.arange(len(middle)) < 2, 2 * n - 1, n - 1)
    cuts = np.clip((np.arange(n + 1) - phase[:, None]) / steps[:, None], 0.0, 1.0)
    index, t = _locate(jnp.asarray(cuts), arc)
    stars, mean, cov = _cut(number, points, share, index, t)
    # A chain of Gaussians of variance v at steps of h ripples by 2 exp(−2π² v / h²): by 39 % with
    # the h²/12 of a uniform cell, by 17 % with half as much again, by 1.4 % with three times as
    # much, as of single stars (a scatter of 0.003 mag, 400 stars: with ½ for both ln L is 0.8 ± 1.2
    # too low, so 0.2 ± 0.6); a scatter of h/2 hides the steps by itself.
    smoothing = np.where(np.arange(len(middle)) < 2, 2.0, 0.5)[:, None]
    size = jnp.trace(cov, axis1=-2, axis2=-1)
    widen = 1.0 + smoothing * size / (size + 4.0 * scatter2 + 1e-12)
    cov = cov * widen[..., None, None] + scatter2 * jnp.eye(d)
    if extinction_scatter is not None:
        reddening = _between(t, index, isochrone.reddening @ to_plane.T)
        reddening = 0.5 * (reddening[:, 1:] + reddening[:, :-1])
        cov = cov + extinction_scatter**2 * _outer(reddening, reddening)
    edge = _between(t, index, mass)
    primary = 0.5 * (edge[:, 1:] + edge[:, :-1])
    middle = jnp.broadcast_to(middle[:, None], primary.shape)
    cells = Cells(weight[:, None] * stars, mean + origin, cov, primary, middle)
    # sequence by sequence, each in order of mass: neighbours stay close (see `local`)
    return jax.tree.map(lambda a: a[: n_mass_ratios + 2].reshape(-1, *a.shape[2:]), cells)
