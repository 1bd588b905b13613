"""Masses, mass ratios and binaries among a sample's stars, averaged over a posterior."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

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


def stellar_parameters(
    model: Model, posterior: Posterior, watch: Stopwatch, n_draws: int = 100
) -> dict[str, np.ndarray]:
    """Mass and mass ratio of each star were it a member, averaged over the posterior.

    From `n_draws` draws, which count by the star's membership in each.

    Returns:
        mass, mass_error [solar], mass_ratio, mass_ratio_error (of a binary), binary_probability;
        NaN where no draw's population reaches the star. Nothing where the cluster is no
        `PopulationDensity`.
    """
    memberships, stars = posterior.memberships, model.stars
    assert memberships is not None
    assert stars is not None
    chosen = np.linspace(0, len(memberships) - 1, n_draws).astype(int)
    probability = memberships[chosen]
    draws = {name: jnp.asarray(values[chosen]) for name, values in posterior.draws.items()}
    filled = replace(stars.filled_up(), rows=None, dropped=())
    run = watch.compile(Partial(_stellar, model.density, filled), draws)
    if (found := jax.device_get(run(draws))) is None:
        return {}
    stellar = jax.tree.map(lambda a: a[:, : len(stars)], found)

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


def _stellar(density: Callable, stars: Stars, draws) -> StellarParameters | None:
    """Of each draw's population, None where the cluster is none."""

    def of(parameters):
        cluster = cluster_of(density(parameters))
        if not isinstance(cluster, PopulationDensity):
            return None
        return cluster.stellar_parameters(stars)

    return jax.lax.map(of, draws)


def cluster_of(density: AbstractDensity) -> AbstractDensity | None:
    """The first part of a mixture."""
    return density.parts[0] if isinstance(density, Mixture) else None
