"""Masses, mass ratios and binaries among a sample's stars, averaged over a posterior.

And the populations of the posterior's draws themselves.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxcluster.density.mixture import AbstractDensity, Mixture
from jaxcluster.density.stars import Stars
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.model import Model
from jaxcluster.inference.posterior import Posterior
from jaxcluster.population.cmd import PopulationDensity, StellarParameters

DESCRIPTIONS = {
    "membership": "probability of being a member of the cluster",
    "mass": "of the primary, if a member",
    "mass_error": "standard deviation of mass",
    "binary_probability": "of being a binary, if a member",
    "mass_ratio": "of secondary to primary, if a binary",
    "mass_ratio_error": "standard deviation of mass_ratio",
}
UNITS = {"mass": "solMass", "mass_error": "solMass"}


class Populations(NamedTuple):
    """Of some draws of a posterior, a leading axis; see `populations`."""

    membership: Float[np.ndarray, "draws n"]  # of each star
    stellar: StellarParameters
    cluster: PopulationDensity
    share: Float[np.ndarray, " draws"]  # of the cluster in the sample


def populations(
    model: Model, posterior: Posterior, watch: Stopwatch, n_draws: int = 100
) -> Populations | None:
    """Populations of `n_draws` draws, evenly over all; None where the cluster is none."""
    memberships, stars = posterior.memberships, model.stars
    assert memberships is not None
    assert stars is not None
    chosen = np.linspace(0, len(memberships) - 1, n_draws).astype(int)
    draws = {name: jnp.asarray(values[chosen]) for name, values in posterior.draws.items()}
    filled = replace(stars.filled_up(), rows=None, dropped=())
    run = watch.compile(Partial(_populations, model.density, filled), draws)
    if (found := jax.device_get(run(draws))) is None:
        return None
    stellar, cluster, share = found
    stellar = jax.tree.map(lambda a: a[:, : len(stars)], stellar)
    return Populations(memberships[chosen], stellar, cluster, share)


def stellar_parameters(found: Populations | None) -> dict[str, np.ndarray]:
    """Mass and mass ratio of each star were it a member, averaged over the posterior.

    Draws count by the star's membership in each.

    Returns:
        mass, mass_error [solar], mass_ratio, mass_ratio_error (of a binary), binary_probability;
        NaN where no draw's population reaches the star. Nothing of None.
    """
    if found is None:
        return {}
    probability, stellar = found.membership, found.stellar

    def average(value, weight):
        weight = np.where(np.isfinite(value), weight, 0.0)
        total = weight.sum(axis=0)
        mean = (weight * np.nan_to_num(value)).sum(axis=0) / np.where(total > 0, total, 1.0)
        return np.where(total > 0, mean, np.nan)

    def moments(mean, square, weight):
        first, second = average(mean, weight), average(square, weight)
        return first, np.sqrt(np.maximum(second - first**2, 0.0))

    mass, mass_error = moments(stellar.mass, stellar.mass2, probability)
    weight = probability * np.nan_to_num(stellar.binary)
    ratio, ratio_error = moments(stellar.mass_ratio, stellar.mass_ratio2, weight)
    return {
        "mass": mass,
        "mass_error": mass_error,
        "binary_probability": average(stellar.binary, probability),
        "mass_ratio": ratio,
        "mass_ratio_error": ratio_error,
    }


def _populations(
    density: Callable, stars: Stars, draws
) -> tuple[StellarParameters, PopulationDensity, Array] | None:
    """Of each draw, None where the cluster is no population."""

    def of(parameters):
        mixture = density(parameters)
        cluster = cluster_of(mixture)
        if not isinstance(cluster, PopulationDensity):
            return None
        return cluster.stellar_parameters(stars), cluster, mixture.weights[0]

    return jax.lax.map(of, draws)


def cluster_of(density: AbstractDensity) -> AbstractDensity | None:
    """The first part of a mixture."""
    return density.parts[0] if isinstance(density, Mixture) else None
