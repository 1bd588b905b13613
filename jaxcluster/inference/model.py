"""A model: a prior over named parameters, a density of one star, and the stars.

They stay apart until a sampler joins them in `flat.Flat`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, ArrayLike, Float, Int
from numpyro.distributions import Distribution, Normal

from jaxcluster.density.mixture import AbstractDensity
from jaxcluster.density.stars import Stars
from jaxcluster.inference.priors import describe

Parameters = Mapping[str, Array]
Prior = Mapping[str, Distribution] | Callable[[], Parameters]


def _uncompiled(prior: Prior) -> Prior:
    """Make arrays of the numbers of normal priors, as each candidate has its own.

    jax writes single numbers into a program, but passes arrays to it.
    """
    if not isinstance(prior, Mapping):
        return prior
    return {
        name: Normal(*jnp.array([one.loc, one.scale], float))
        if type(one) is Normal and one.shape() == ()
        else one
        for name, one in prior.items()
    }


class Model(eqx.Module):
    """A prior over named parameters, and the density of the stars that it owns.

        ln L(θ) = Σ_i w_i ln p(x_i | θ) − n(θ)

    with n(θ) the expected number of stars where p is the rate of a Poisson process, else 0.

    Args:
        prior: distributions by parameter name, or a numpyro program without arguments that
            returns the parameters of `density` by name (hierarchies, simplexes, transforms). All
            that it samples or returns is in the posterior, but for names that end in "_".
        density: parameters → density of one star. Where that is a mixture (`AbstractMixture`) its
            first part is the cluster: posteriors have each star's membership of it, and
            `bayes_factor` asks for one. Where it is a pytree, `Partial(function, arrays)` of
            `jax.tree_util` instead of a closure, what is traced for one candidate serves all.
        stars: the data.
        weights: w_i of each star, such as membership probabilities; 1 by default.
        null: log likelihood of the same stars by a competitor without parameters; it makes a Bayes
            factor out of an evidence.
        rough: a hint to samplers, a quicker `density` that is right to some nats: `importance`
            searches with it.
        start: a hint to `nuts`, value of each sampled site of the prior (those that
            `describe_prior` names), where it is to begin instead of searching, for instance the
            maximum that another method has found. It is no part of the posterior.

    A parameter that `density` asks for and the prior lacks is a KeyError when sampling starts, a
    site of the prior that neither the likelihood nor another site's distribution reads a
    ValueError.

    Example:
        >>> import jaxcluster as jc  # doctest: +SKIP
        >>> model = jc.Model(  # doctest: +SKIP
        ...     {"centre": Normal(0.0, 10.0)},
        ...     lambda p: jc.GaussianMixture([1.0], p["centre"][None, None], [[[1.0]]]),
        ...     stars,
        ... )
    """

    prior: Prior = eqx.field(converter=_uncompiled)
    density: Callable[[Parameters], AbstractDensity]
    stars: Stars | None
    weights: Float[Array, " n"] | None = eqx.field(
        default=None, converter=lambda w: None if w is None else jnp.asarray(w)
    )
    null: float | None = None
    rough: Callable[[Parameters], AbstractDensity] | None = None
    start: Mapping[str, ArrayLike] | None = None

    def __check_init__(self):
        """A weight of each star."""
        if self.weights is None or not hasattr(self.weights, "shape"):
            return
        n = None if self.stars is None else len(self.stars)
        if self.weights.shape != (n,):
            raise ValueError(f"weights: expected shape ({n},), found {self.weights.shape}")

    @classmethod
    def from_likelihood(
        cls,
        prior: Prior,
        terms: Callable[[Parameters], Float[Array, " n"]],
        null: float | None = None,
        rough: Callable[[Parameters], Float[Array, " n"]] | None = None,
        start: Mapping[str, ArrayLike] | None = None,
    ) -> "Model":
        """Make a model of any likelihood, for what is no density of single stars.

        Args:
            prior: as above.
            terms: parameters → log likelihood of each datum [n].
            null: as above.
            rough: the same as `terms`, quicker.
            start: as above.

        Example:
            >>> Model.from_likelihood(  # doctest: +SKIP
            ...     {"a": Normal(0.0, 10.0)}, lambda p: Normal(p["a"], errors).log_prob(measured)
            ... )
        """
        less = None if rough is None else lambda parameters: _Terms(rough(parameters))
        return cls(
            prior, lambda parameters: _Terms(terms(parameters)), None, None, null, less, start
        )

    def pointwise(self, parameters: Parameters) -> Float[Array, " n"]:
        """Log likelihood of each star; the expected number is shared among them."""
        return log_terms(self.density(parameters), self.stars, self.weights)

    def log_likelihood(self, parameters: Parameters) -> Float[Array, ""]:
        """Ln L(θ)."""
        return self.pointwise(parameters).sum()

    def describe_prior(self) -> dict[str, str]:
        """Return the prior of each sampled site in words, to record with results."""
        return describe_sites(self.prior)


def sample_prior(prior: Prior) -> Parameters:
    """Sample a model's prior as a numpyro program; returns the parameters by name."""
    if callable(prior):
        return prior()
    return {n: numpyro.sample(n, one) for n, one in prior.items()}  # pyright: ignore[reportReturnType]


def describe_sites(prior: Prior) -> dict[str, str]:
    """Return each sampled site of a prior in words."""
    return {
        name: describe(site["fn"])
        for name, site in trace_of(prior).items()
        if site["type"] == "sample"
    }


class _Terms(AbstractDensity):
    """Log likelihoods that `Model.from_likelihood` was given."""

    values: Float[Array, "..."]

    def __check_init__(self):
        """One number of each datum: a sum is no likelihood of each, and ln Z would be wrong."""
        shape = getattr(self.values, "shape", (1,))
        if len(shape) != 1:
            raise ValueError(
                f"log likelihood: found shape {shape}, expected [n], one number of each datum"
            )

    def log_prob(self, x, noise):
        raise TypeError("a model from a likelihood has no density of one star")

    def __call__(self, stars: Any) -> Float[Array, " n"]:
        return self.values


def log_terms(
    density: AbstractDensity,
    stars: Stars | None,
    weights: Float[Array, " n"] | None = None,
    n: Int[Array, ""] | int | None = None,
) -> Float[Array, " n"]:
    """w_i ln p(x_i) − n(θ)/n of each star: what adds up to ln L.

    Args:
        density: of one star.
        stars: the data.
        weights: of each, 1 by default.
        n: number of stars, where some of them only fill up.
    """
    return weighed(density, density(stars), weights, n)  # pyright: ignore[reportArgumentType]


def weighed(
    density: AbstractDensity,
    log_p: Float[Array, " n"],
    weights: Float[Array, " n"] | None,
    n: Int[Array, ""] | int | None,
) -> Float[Array, " n"]:
    """Return the same of stars whose ln p(x_i) is known."""
    if weights is not None:
        log_p = weights * log_p
    expected = density.expected
    return log_p if expected is None else log_p - expected / (len(log_p) if n is None else n)


def trace_of(
    prior: Prior, seed: int = 0, substitute: Mapping[str, Array] | None = None
) -> dict[str, Any]:
    """Sites of a draw from the prior, by name (numpyro's trace); some may have given values."""
    program = partial(sample_prior, prior)
    program = numpyro.handlers.substitute(program, data=dict(substitute or {}))
    seeded = numpyro.handlers.seed(program, jax.random.key(seed))
    return numpyro.handlers.trace(seeded).get_trace()


def parameters_of(prior: Prior, sites: Mapping[str, Array]) -> dict[str, Array]:
    """What the prior's program samples and returns, with given values of its sites."""
    seed = numpyro.handlers.seed(rng_seed=jax.random.key(0))
    with seed, numpyro.handlers.substitute(data=dict(sites)):
        return {**sites, **sample_prior(prior)}
