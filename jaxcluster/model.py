"""A model: a prior over named parameters and a likelihood of the data given them.

Prior and likelihood stay two functions until a sampler joins them. `Flat` carries both to
numpyro's unconstrained space, where samplers work; the Jacobian is in the prior.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import Distribution
from numpyro.distributions.transforms import biject_to
from numpyro.infer.util import log_density

from jaxcluster.density import AbstractDensity

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

    A parameter that `pointwise` asks for and the prior lacks is a KeyError; a prior that
    `pointwise` never reads is a ValueError when sampling starts.
    """

    prior: Mapping[str, Distribution] | Callable[[], Parameters] = eqx.field(static=True)
    pointwise: Callable[[Parameters, Any], Float[Array, " n"]]
    null: Callable[[Any], Float[Array, ""]] | None = None
    cluster: Callable[[Parameters], Any] | None = None

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
        return {name: numpyro.sample(name, prior) for name, prior in self.prior.items()}

    def log_likelihood(self, parameters: Parameters, data: Any) -> Float[Array, ""]:
        """Σ_i ln p(x_i | parameters)."""
        return self.pointwise(parameters, data).sum()

    def describe_prior(self) -> dict[str, str]:
        """Return the prior of each sampled site in words, to record with results."""
        return {
            name: describe(site["fn"])
            for name, site in _trace(self).items()
            if site["type"] == "sample"
        }


def describe(prior: Distribution) -> str:
    """Write a numpyro distribution the way it is typed: Uniform(6.2,10.15)."""
    while hasattr(prior, "base_dist") and type(prior).__name__ in ("ExpandedDistribution",):
        prior = prior.base_dist
    values = [f"{float(v):.6g}" for v in _arguments(prior) if jnp.ndim(v) == 0]
    return f"{type(prior).__name__}({','.join(values)})"


def _arguments(prior):
    return [getattr(prior, name) for name in prior.arg_constraints if hasattr(prior, name)]


def _trace(model: Model) -> dict:
    seeded = numpyro.handlers.seed(model.program, jax.random.key(0))
    return numpyro.handlers.trace(seeded).get_trace()


class _Read(dict):
    """Parameters that remember which of them were asked for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        if name not in self:
            raise KeyError(f"the likelihood needs a parameter {name!r}; the prior has {list(self)}")
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)


class Flat:
    """A model's prior and likelihood as functions of one unconstrained dict of arrays.

    Args:
        model: what to sample.
        data: what the model's `pointwise` takes.

    Raises:
        ValueError: without float64, for priors that the likelihood never reads, and where the
            log likelihood at a prior draw is NaN.
    """

    def __init__(self, model: Model, data: Any):
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                "sampling needs float64: put jax.config.update('jax_enable_x64', True) before "
                "any other use of jax"
            )
        self.model, self.data = model, data
        sites = {n: s for n, s in _trace(model).items() if s["type"] == "sample"}
        self.bijections = {n: biject_to(s["fn"].support) for n, s in sites.items()}
        self._check_reads()

    def _check_reads(self):
        read = _Read()

        def evaluate(key):
            read.update(numpyro.handlers.seed(self.model.program, key)())
            return self.model.log_likelihood(read, self.data)

        jax.eval_shape(evaluate, jax.random.key(0))
        unread = [name for name in read if name not in read.names]
        if unread:
            raise ValueError(
                f"prior of {', '.join(unread)}: the likelihood never reads it; it reads "
                f"{', '.join(sorted(read.names))}. Take it out or correct the name"
            )

    def constrain(self, z: Parameters) -> dict[str, Array]:
        """Sampled sites from unconstrained values."""
        return {name: bijection(z[name]) for name, bijection in self.bijections.items()}

    def parameters(self, z: Parameters) -> dict[str, Array]:
        """What the prior's program returns at z."""
        program = numpyro.handlers.substitute(self.model.program, data=self.constrain(z))
        return dict(numpyro.handlers.seed(program, jax.random.key(0))())

    def log_prior(self, z: Parameters) -> Float[Array, ""]:
        """Log prior density of z, Jacobian included."""
        sites = self.constrain(z)
        program = numpyro.handlers.seed(self.model.program, jax.random.key(0))
        total, _ = log_density(program, (), {}, sites)
        for name, bijection in self.bijections.items():
            total = total + jnp.sum(bijection.log_abs_det_jacobian(z[name], sites[name]))
        return total

    def log_likelihood(self, z: Parameters) -> Float[Array, ""]:
        """Log likelihood at z; −inf where it is NaN, or a sampler would stop there for good."""
        value = self.model.log_likelihood(self.parameters(z), self.data)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    def draw(self, key: PRNGKeyArray) -> dict[str, Array]:
        """One draw from the prior, unconstrained."""
        seeded = numpyro.handlers.seed(self.model.program, key)
        trace = numpyro.handlers.trace(seeded).get_trace()
        return {name: b.inv(trace[name]["value"]) for name, b in self.bijections.items()}
