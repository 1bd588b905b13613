"""Which stars belong to a profile: memberships of `king`, and the literature's cut.

A star at x belongs to the cluster with

    P = ⟨ λ_c(x) / (λ_c(x) + λ_f(x)) ⟩

over the posterior, λ_c and λ_f the densities of cluster and background; with probabilities q from
astrometry the two are multiplied (`jaxcluster.structure.cut`, which has the cut too).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxcluster.jobs.king_fit import Found
from jaxcluster.structure.cut import Cut, membership_at, probability_cut

DRAWS = 200


def king_membership(found: Found) -> Float[np.ndarray, " n"]:
    """P of each star of the field, mean of 200 posterior draws.

    Args:
        found: from `jobs.king`; the field's weights are q.
    """
    x, weights = jnp.asarray(found.field.x), found.field.weights
    draws = {name: jnp.asarray(values) for name, values in found.some_draws(DRAWS).items()}
    n = len(draws["r_core"])

    def add(i, total):
        surface = found.surface({name: values[i] for name, values in draws.items()})
        q = surface.n_inside / surface.expected if weights is None else jnp.asarray(weights)
        return total + membership_at(surface, x, q) / n

    return np.asarray(jax.jit(lambda: jax.lax.fori_loop(0, n, add, jnp.zeros(len(x))))())


def king_cut(found: Found) -> Cut:
    """Members by the cut that changes with radius, of the posterior's median profile.

    Args:
        found: from `jobs.king`, of a field with probabilities.
    """
    from jaxcluster.structure.rings import reach, ring_edges
    from jaxcluster.structure.shape import about_mean

    field = found.field
    assert field.weights is not None
    middle = {name: np.median(values, axis=0) for name, values in found.draws.items()}
    if "position_angle" in middle:
        middle["position_angle"] = np.median(about_mean(found.draws["position_angle"]))
    median = {name: jnp.asarray(value) for name, value in middle.items()}
    away = np.hypot(*(field.x - found.centre).T)
    edges = ring_edges(away, reach(field.footprint, found.centre))
    return probability_cut(field.x, field.weights, found.surface(median), edges)


def members_table(found: Found, membership: Float[np.ndarray, " n"], source: Any) -> Any:
    """Return the sample's own table, cut to the footprint, the most probable members first.

    New columns are membership, radius (from the cluster's centre [arcmin]) and, where there are
    probabilities, cut (whether a star is a member by `king_cut`).

    Args:
        found: from `jobs.king`.
        membership: from `king_membership`.
        source: the table or its path.
    """
    from astropy.table import Column

    from jaxcluster.catalogue.tables import add_column, read_table

    away = np.hypot(*(found.field.x - found.centre).T)
    table: Any = read_table(source)[found.field.rows]
    add_column(table, "membership", membership)
    add_column(table, "radius", Column(away, unit="arcmin"))
    if found.field.weights is not None:
        add_column(table, "cut", king_cut(found).member)
    return table[np.argsort(-membership, kind="stable")]
