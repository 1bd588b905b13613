"""A model and its data as functions of one unconstrained dict of arrays, where samplers work.

The space is numpyro's, but for intervals; the Jacobian is in the prior.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from jax.scipy.special import ndtr, ndtri
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import constraints
from numpyro.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ParameterFreeTransform,
    biject_to,
)
from numpyro.infer.util import log_density

from jaxcluster.inference.model import Model, Parameters, trace_of


class _Read(Mapping):
    """Parameters that remember which of them were asked for, by name or all at once."""

    def __init__(self, parameters: Parameters):
        self.parameters, self.names = parameters, set()

    def __getitem__(self, name):
        self.names.add(name)
        if name not in self.parameters:
            raise KeyError(
                f"the likelihood needs a parameter {name!r}; the prior has {list(self.parameters)}"
            )
        return self.parameters[name]

    def __iter__(self):
        return iter(self.parameters)

    def __len__(self):
        return len(self.parameters)


class NormalDistributionFunction(ParameterFreeTransform):
    """Φ, from the real line to (0, 1)."""

    domain = constraints.real  # pyright: ignore[reportAssignmentType]
    codomain = constraints.unit_interval  # pyright: ignore[reportAssignmentType]

    def __call__(self, x):
        """Φ(x)."""
        return ndtr(x)

    def _inverse(self, y):
        return ndtri(y)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        """Log of the normal density at x."""
        return norm.logpdf(x)


def _bijection(support):
    """From the real line to a support; intervals through Φ, the others as numpyro does.

    Numpyro takes the logistic function, under which a posterior against its bound (no extinction)
    falls off like eᶻ. Under Φ it falls off like a Gaussian, and a uniform prior is one.
    """
    if isinstance(support, constraints._Interval):  # pyright: ignore[reportAttributeAccessIssue]
        low, high = support.lower_bound, support.upper_bound
        stretch = AffineTransform(low, high - low, domain=constraints.unit_interval)
        return ComposeTransform([NormalDistributionFunction(), stretch])
    return biject_to(support)


class Flat:
    """A model's prior and likelihood as functions of one unconstrained dict of arrays.

    Args:
        model: what to sample.
        data: what the model's `pointwise` takes.

    Raises:
        ValueError: without float64, for priors that the likelihood never reads, and for sites
            whose support depends on other sites.
        KeyError: for a parameter that the likelihood asks for and the prior lacks.
    """

    def __init__(self, model: Model, data: Any):
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                "sampling needs float64: put jax.config.update('jax_enable_x64', True) before "
                "any other use of jax"
            )
        self.model, self.data = model, data
        sites = {n: s for n, s in trace_of(model).items() if s["type"] == "sample"}
        # one bijection serves all draws, so a support must not move with another site's value
        again = trace_of(model, seed=1)
        moved = [n for n, s in sites.items() if s["fn"].support != again[n]["fn"].support]
        if moved:
            raise ValueError(
                f"prior of {', '.join(moved)}: its support depends on other sites; sample it on "
                "fixed limits and rescale it, such as a = top * sample('share', Uniform(0, 1))"
            )
        self.bijections: dict[str, Any] = {n: _bijection(s["fn"].support) for n, s in sites.items()}
        self._check_reads()

    def _check_reads(self):
        given, asked = set(), set()

        def evaluate(key):
            with numpyro.handlers.seed(rng_seed=key):
                read = _Read(self.model.program())
            value = self.model.log_likelihood(read, self.data)
            given.update(read)
            asked.update(read.names)
            return value

        jax.eval_shape(evaluate, jax.random.key(0))
        if unread := given - asked:
            raise ValueError(
                f"prior of {', '.join(sorted(unread))}: the likelihood never reads it; it reads "
                f"{', '.join(sorted(asked))}. Take it out or correct the name"
            )

    def constrain(self, z: Parameters) -> dict[str, Array]:
        """Sampled sites from unconstrained values."""
        return {name: bijection(z[name]) for name, bijection in self.bijections.items()}

    def parameters(self, z: Parameters) -> dict[str, Array]:
        """What the prior's program returns at z."""
        seed = numpyro.handlers.seed(rng_seed=jax.random.key(0))
        with seed, numpyro.handlers.substitute(data=self.constrain(z)):
            return dict(self.model.program())

    def describe(self, z: Parameters) -> tuple[dict[str, Array], Float[Array, " n"]]:
        """Parameters at z, and the log likelihood of each datum (and of what fills up)."""
        parameters = self.parameters(z)
        return parameters, self.model.pointwise(parameters, self.data)

    def log_prior(self, z: Parameters) -> Float[Array, ""]:
        """Log prior density of z, Jacobian included."""
        sites = self.constrain(z)
        program = numpyro.handlers.seed(self.model.program, jax.random.key(0))
        total, _ = log_density(program, (), {}, sites)
        for name, bijection in self.bijections.items():
            total = total + jnp.sum(bijection.log_abs_det_jacobian(z[name], sites[name]))
        return jnp.asarray(total)

    def log_likelihood(self, z: Parameters) -> Float[Array, ""]:
        """Log likelihood at z; −inf where it is NaN, or a sampler would stop there for good."""
        value = self.model.log_likelihood(self.parameters(z), self.data)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    def potential(self, z: Parameters) -> Float[Array, ""]:
        """Minus the log posterior density of z, up to the evidence."""
        return -self.log_prior(z) - self.log_likelihood(z)

    def start(self) -> dict[str, Array] | None:
        """The model's `start`, unconstrained; None where it has none.

        Raises:
            ValueError: for names or shapes that are not those of the sampled sites, and where the
                posterior is zero.
        """
        if (given := self.model.start) is None:
            return None
        if set(given) != set(self.bijections):
            raise ValueError(
                f"start: expected a value of each of {', '.join(sorted(self.bijections))}, found "
                f"{', '.join(sorted(given))}; give the sampled sites of the prior, no others"
            )
        values = {name: jnp.asarray(given[name], float) for name in self.bijections}
        sites = trace_of(self.model)
        for name, value in values.items():
            if value.shape != (expected := sites[name]["value"].shape):
                raise ValueError(
                    f"start of {name}: expected shape {expected}, found {value.shape}; give what "
                    "one draw from the prior looks like"
                )

        @jax.jit  # one compilation instead of that of each operation
        def at(values):
            z = {name: b.inv(values[name]) for name, b in self.bijections.items()}
            inside = {
                name: jnp.all(sites[name]["fn"].support(values[name])) & jnp.isfinite(a).all()
                for name, a in z.items()
            }
            return z, inside, self.potential(z)

        z, inside, potential = at(values)
        bad = [name for name, so in inside.items() if not so]
        if bad or not jnp.isfinite(potential):
            where = f"at {', '.join(sorted(bad))}" if bad else "of the whole"
            raise ValueError(
                f"start: expected a finite log posterior, found none {where}; move it "
                "within the bounds of the prior, to where the likelihood is not zero"
            )
        return z

    def draw(self, key: PRNGKeyArray) -> dict[str, Array]:
        """One draw from the prior, unconstrained."""
        seeded = numpyro.handlers.seed(self.model.program, key)
        trace = numpyro.handlers.trace(seeded).get_trace()
        return {name: b.inv(trace[name]["value"]) for name, b in self.bijections.items()}
