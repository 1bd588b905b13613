"""A model: a prior over named parameters and a likelihood of the data given them.

Prior and likelihood stay two functions until a sampler joins them in `flat.Flat`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, ArrayLike, Bool, Float
from numpyro.distributions import (
    Distribution,
    ExpandedDistribution,
    Independent,
    Uniform,
)

from jaxcluster.density.mixture import AbstractDensity

Parameters = Mapping[str, Array]


class Model(eqx.Module):
    """A prior and a likelihood.

    Args:
        prior: distributions by parameter name, or a numpyro program without arguments that
            returns the parameters by name (hierarchies, simplexes, transformed sites).
        pointwise: log likelihood of each datum, (parameters, data) → [n].
        null: log likelihood of a competing model without parameters, data → scalar; it makes
            a Bayes factor out of an evidence.
        cluster: density of the cluster's stars alone, parameters → density; it makes masses and
            mass ratios of stars out of a posterior.
        real: which entries of `pointwise` are data, all by default. The others, at the end, only
            fill it up to a round number, so that models of like many stars compile once (see
            `Stars.filled_up`).
        rough: the same with a quicker likelihood, which is to be right to some nats: `importance`
            searches with it.
        start: value of each sampled site of the prior (those that `describe_prior` names), where
            `nuts` is to begin instead of searching, for instance the maximum that another method
            has found. It is no part of the posterior, and the other samplers take no notice.

    A parameter that `pointwise` asks for and the prior lacks is a KeyError; a prior that
    `pointwise` never reads is a ValueError when sampling starts.
    """

    prior: Mapping[str, Distribution] | Callable[[], Parameters]
    pointwise: Callable[[Parameters, Any], Float[Array, " n"]]
    null: Callable[[Any], Float[Array, ""]] | None = None
    cluster: Callable[[Parameters], Any] | None = None
    real: Bool[Array, " n"] | None = None
    rough: "Model | None" = None
    start: Mapping[str, ArrayLike] | None = None

    @classmethod
    def from_density(
        cls,
        prior: Mapping[str, Distribution] | Callable[[], Parameters],
        density: Callable[[Parameters], AbstractDensity],
        null: AbstractDensity | None = None,
    ) -> "Model":
        """Make a model of independent stars from parameters → density of one star."""
        return cls(
            prior,
            lambda parameters, stars: density(parameters)(stars),
            None if null is None else lambda stars: null(stars).sum(),
        )

    def program(self) -> Parameters:
        """Sample the prior as a numpyro program; returns the parameters by name."""
        if callable(self.prior):
            return self.prior()
        sites: dict[str, Any] = {n: numpyro.sample(n, prior) for n, prior in self.prior.items()}
        return sites

    def log_likelihood(self, parameters: Parameters, data: Any) -> Float[Array, ""]:
        """Σ_i ln p(x_i | parameters)."""
        return self.total(self.pointwise(parameters, data))

    def total(self, pointwise: Float[Array, " n"]) -> Float[Array, ""]:
        """Sum over the data."""
        return (pointwise if self.real is None else jnp.where(self.real, pointwise, 0.0)).sum()

    def describe_prior(self) -> dict[str, str]:
        """Return the prior of each sampled site in words, to record with results."""
        return {
            name: describe(site["fn"])
            for name, site in trace_of(self).items()
            if site["type"] == "sample"
        }


def within(
    prior: Mapping[str, Distribution],
    bounds: Mapping[str, tuple[float, float]],
    given: Mapping[str, Distribution] | None = None,
) -> tuple[dict[str, Distribution], dict[str, float]]:
    """Fit a prior to what a table covers.

    Uniform defaults are narrowed to the bounds; a parameter whose bounds are one value (a single
    isochrone) is fixed there.

    Args:
        prior: the defaults by parameter name.
        bounds: (lowest, highest) value of some of the parameters.
        given: replaces or adds to the defaults.

    Returns:
        The prior, and the fixed parameters.

    Raises:
        ValueError: a given Uniform prior that reaches beyond the bounds, or a default that lies
            outside altogether.
    """
    given = given or {}
    merged, fixed = {**prior, **given}, {}
    for name, (low, high) in bounds.items():
        distribution = merged.get(name)
        if low == high and name not in given:
            fixed[name] = low
            merged.pop(name, None)
        elif isinstance(distribution, Uniform):
            start, stop = map(float, _arguments(distribution))  # low, high
            if (name in given and (start < low or stop > high)) or start >= high or stop <= low:
                raise ValueError(
                    f"prior of {name}: {describe(distribution)} reaches beyond the isochrones, "
                    f"which cover {low:g} to {high:g}; narrow it or use another grid"
                )
            merged[name] = Uniform(max(start, low), min(stop, high))
    return merged, fixed


def describe(prior: Distribution) -> str:
    """Write a numpyro distribution the way it is typed: Uniform(6.2,10.15), Normal([0,1],[3,3]).

    Matrices are left out.
    """
    while isinstance(prior, ExpandedDistribution | Independent):
        prior = prior.base_dist
    values = [_typed(v) for v in _arguments(prior) if jnp.ndim(v) < 2]
    return f"{type(prior).__name__}({','.join(values)})"


def _typed(value) -> str:
    if jnp.ndim(value) == 0:
        return f"{float(value):.6g}"
    return f"[{','.join(_typed(v) for v in value)}]"


def _arguments(prior):
    return [getattr(prior, name) for name in prior.arg_constraints if hasattr(prior, name)]


def trace_of(model: Model, seed: int = 0) -> dict:
    """Sites of a draw from the prior, by name (numpyro's trace)."""
    seeded = numpyro.handlers.seed(model.program, jax.random.key(seed))
    return numpyro.handlers.trace(seeded).get_trace()
