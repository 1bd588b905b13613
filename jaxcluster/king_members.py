"""Which stars belong to a profile: memberships of `king`, and the literature's cut.

A star at x belongs to the cluster with

    P = ⟨ λ_c(x) / (λ_c(x) + λ_f(x)) ⟩

over the posterior, λ_c and λ_f the densities of cluster and background; with probabilities q from
astrometry the two are multiplied (`jaxcluster.probability_cut`, which has the cut too).
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxcluster.probability_cut import Cut, probability_cut
from jaxcluster.surface_density import SurfaceDensity

if TYPE_CHECKING:
    from jaxcluster.run_king import Found

DRAWS = 200


def king_membership(found: "Found") -> Float[np.ndarray, " n"]:
    """P of each star of the field, mean of 200 posterior draws.

    Args:
        found: from `run_king`; the field's weights are q.
    """
    field, x = found.field, jnp.asarray(found.field.x)
    q = 0.5 if field.weights is None else jnp.asarray(field.weights)

    def of_draw(parameters):
        surface = SurfaceDensity.of(parameters, field.footprint, found.profile, found.beta)
        cluster, background = surface.cluster(x), surface.field(x)
        if field.weights is not None:  # shapes only: q has the numbers
            cluster = cluster / surface.n_inside
            background = background / (surface.expected - surface.n_inside)
        return q * cluster / (q * cluster + (1.0 - q) * background + 1e-300)

    step = max(len(found.draws["r_core"]) // DRAWS, 1)
    draws = {name: jnp.asarray(values[::step]) for name, values in found.draws.items()}
    n = len(draws["r_core"])

    def add(i, total):
        return total + of_draw({name: values[i] for name, values in draws.items()}) / n

    return np.asarray(jax.jit(lambda: jax.lax.fori_loop(0, n, add, jnp.zeros(len(x))))())


def king_cut(found: "Found") -> Cut:
    """Members by the cut that changes with radius, of the posterior's median profile.

    Args:
        found: from `run_king`, of a field with probabilities.
    """
    from jaxcluster.plot_king import centre_of
    from jaxcluster.rings import reach, ring_edges
    from jaxcluster.shape import about_mean

    field = found.field
    assert field.weights is not None
    middle = {name: np.median(values, axis=0) for name, values in found.draws.items()}
    if "position_angle" in middle:
        middle["position_angle"] = np.median(about_mean(found.draws["position_angle"]))
    median = {name: jnp.asarray(value) for name, value in middle.items()}
    surface = SurfaceDensity.of(median, field.footprint, found.profile, found.beta)
    centre = centre_of(found)
    edges = ring_edges(np.hypot(*(field.x - centre).T), reach(field.footprint, centre))
    return probability_cut(field.x, field.weights, surface, edges)


def members_table(found: "Found", membership: Float[np.ndarray, " n"], source: Any) -> Any:
    """Return the sample's own table, cut to the footprint, the most probable members first.

    New columns are membership, radius (from the cluster's centre [arcmin]) and, where there are
    probabilities, cut (whether a star is a member by `king_cut`).

    Args:
        found: from `run_king`.
        membership: from `king_membership`.
        source: the table or its path.
    """
    from astropy.table import Column

    from jaxcluster.plot_king import centre_of
    from jaxcluster.table import read_table

    away = np.hypot(*(found.field.x - centre_of(found)).T)
    table = read_table(source)[found.field.rows]
    table["membership"] = membership
    table["radius"] = Column(away, unit="arcmin")
    if found.field.weights is not None:
        table["cut"] = king_cut(found).member
    return table[np.argsort(-membership, kind="stable")]
