"""An isochrone cut into intervals, short where stars are, can be seen, and change in number.

Runs of intervals end at the isochrone's joints too (`joints`), where the number of stars jumps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.density.materialise import materialise
from jaxcluster.population.isochrone import Isochrone
from jaxcluster.population.mass_function import MassFunction


def locate(x, nodes):
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


def between(fraction, index, table):
    """Linear interpolation of a table of nodes."""
    fraction = fraction.reshape(fraction.shape + (1,) * (table.ndim - 1))
    return table[index] + fraction * (table[index + 1] - table[index])


class Intervals(NamedTuple):
    """An isochrone in intervals."""

    number: Float[Array, " i"]  # of stars in the window, share of all
    mass: Float[Array, " e"]  # at the ends, i + 1
    magnitudes: Float[Array, "b e"]
    reddening: Float[Array, "_ e"]  # of each band, where extinction scatters


def _arc(number, points, seen):
    """Length of a polyline measured so that cells are short where stars are, [e] from 0 to 1.

    Its density is (stars / length)^⅓ + a constant, up to three times as much where the number of
    stars along the line changes, as at the end of a red clump; and nothing where no star is, so
    that no cell reaches beyond the last one. `seen` [e − 1] weights the segments, so that few cuts
    are spent where no star can be seen.
    """
    step2 = ((points[:, 1:] - points[:, :-1]) ** 2).sum(axis=0)
    length = jnp.where(step2 > 0, jnp.sqrt(jnp.where(step2 > 0, step2, 1.0)), 0.0)
    share = number * seen
    share = share / jnp.maximum(share.sum(), 1e-30)
    reach = length * seen
    reach = reach / jnp.maximum(reach.sum(), 1e-30)
    product = share * reach**2
    measure = jnp.where(product > 0, jnp.cbrt(jnp.where(product > 0, product, 1.0)), 0.0)
    density = jnp.log((share + 1e-12) / (reach + 1e-9))
    change = jnp.minimum(jnp.abs(density[1:] - density[:-1]), 1.0)
    change = jnp.where((number[1:] > 0) & (number[:-1] > 0), change, 0.0)
    change = jnp.maximum(jnp.pad(change, (0, 1)), jnp.pad(change, (1, 0)))
    # without the changes (benchmarks/cells) NGC 2682's ln L is 3.7 too high, so 1.2
    measure = (measure + 0.3 * reach) * (1.0 + 2.0 * change)
    measure = jnp.where(number > 0, measure + 1e-9, 0.0)
    arc = jnp.concatenate([jnp.zeros(1), jnp.cumsum(measure)])
    return arc / jnp.maximum(arc[-1], 1e-30)


def cut_isochrone(
    isochrone: Isochrone,
    to_plane: Float[Array, "d b"],
    window,
    mass_function: MassFunction,
    n: int,
    run: int,
    joints: tuple[int, ...],
) -> Intervals:
    """Cut an isochrone into n runs of intervals, equidistant along `_arc` and at its joints.

    Args:
        isochrone: magnitudes apparent.
        to_plane: rows that make each coordinate of the plane from the bands, magnitude first.
        window: the magnitudes of primaries that can matter; the others are not in `number`.
        mass_function: of primaries.
        n: runs, more than there are joints.
        run: intervals of a run, equidistant between its ends.
        joints: points of the isochrone at which runs end.
    """
    mass, magnitudes = isochrone.initial_mass, isochrone.magnitudes.T
    number = mass_function.integral(mass[:-1], mass[1:])
    number = number / number.sum()
    points = to_plane @ magnitudes
    # primaries beyond the window: a cell that reaches out of it would leak in
    out = (points[0] < window[0]) | (points[0] > window[1])
    number = jnp.where(out[1:] & out[:-1], 0.0, number)
    centre = 0.5 * (points[0, 1:] + points[0, :-1])
    # a soft edge: cuts must not jump when an isochrone point crosses it
    seen = jax.nn.sigmoid((centre - window[0]) / 0.1) * jax.nn.sigmoid((window[1] - centre) / 0.1)
    arc = _arc(number, points, seen)
    # the last cut is where the last star is, and not at the end of what comes after
    last = 1.0 - 1e-12
    even = jnp.linspace(0.0, last, n + 1 - len(joints))
    ends = even
    for joint in joints:  # each put in where it belongs; with a sort all takes 0.082 ms, not 0.074
        end = jnp.minimum(arc[joint], last)
        ends = jnp.clip(
            end, jnp.pad(ends, (1, 0), constant_values=-1), jnp.pad(ends, (0, 1), constant_values=2)
        )
    within = np.arange(run) / run
    cuts = (ends[:-1, None] + (ends[1:] - ends[:-1])[:, None] * within).ravel()
    index, fraction = locate(jnp.append(cuts, ends[-1]), arc)
    stars = jnp.concatenate([jnp.zeros(1), jnp.cumsum(number)])
    tables = (stars, mass, isochrone.magnitudes, isochrone.reddening)
    at = materialise(tuple(between(fraction, index, table).T for table in tables))
    return Intervals(jnp.maximum(at[0][1:] - at[0][:-1], 0.0), *at[1:])
