"""A model as functions of one unconstrained dict of arrays, where samplers work.

The space is numpyro's, but for intervals (`intervals`); the Jacobian is in the prior.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.extend.core import Var
from jax.flatten_util import ravel_pytree
from jax.scipy.special import ndtr
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray
from numpyro.infer.util import log_density

from jaxcluster.density.mixture import AbstractDensity, AbstractMixture
from jaxcluster.density.precision import require_float64
from jaxcluster.density.stars import Stars
from jaxcluster.inference.intervals import Interval, LogInterval, bijection, is_scale
from jaxcluster.inference.model import (
    Model,
    Parameters,
    Prior,
    log_terms,
    parameters_of,
    sample_prior,
    trace_of,
    weighed,
)
from jaxcluster.inference.tracing import Recent, structure

_checked = Recent()  # structures of models that need no second check


class _Read(dict):
    """Parameters that remember which of them were asked for."""

    def __init__(self, parameters: Parameters):
        super().__init__(parameters)
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)

    def __missing__(self, name):
        raise KeyError(f"the likelihood needs a parameter {name!r}; the prior has {list(self)}")


class Described(NamedTuple):
    """A draw of a posterior: parameters, and what they say of each star (and of what fills up)."""

    parameters: dict[str, Array]
    log_likelihood: Float[Array, " n"]  # terms that add up to `total`
    membership: Float[Array, " n"] | None  # of a mixture's first part
    total: Float[Array, ""]


class Flat(eqx.Module):
    """A model's prior and likelihood as functions of one unconstrained dict of arrays.

    Stars are filled up to a round number with copies that do not count, so that models of like
    many stars compile once (`Stars.filled_up`). What of a model is in arrays is in leaves of this,
    so that models of the same structure are traced once too (`Stopwatch.compile`).

    Args:
        model: what to sample.
        rough: whether to take its quicker density.

    Raises:
        ValueError: without float64, for sites of the prior that nothing reads, and for sites whose
            support depends on other sites.
        KeyError: for a parameter that the likelihood asks for and the prior lacks.
    """

    prior: Prior
    density: Callable[[Parameters], AbstractDensity]
    stars: Stars | None
    weights: Float[Array, " n"] | None
    bijections: dict[str, Any]

    def __init__(self, model: Model, rough: bool = False):
        require_float64()
        self.prior = model.prior
        self.density = model.rough if rough and model.rough is not None else model.density
        self.stars, self.weights = model.stars, model.weights
        if model.stars is not None:
            self.stars = replace(model.stars.filled_up(), rows=None, dropped=())
            if model.weights is not None:
                self.weights = jnp.asarray(np.resize(model.weights, len(self.stars)))
        sites = {n: s for n, s in trace_of(model.prior).items() if s["type"] == "sample"}
        # one bijection serves all draws, so a support must not move with another site's value
        again = trace_of(model.prior, seed=1)
        moved = [n for n, s in sites.items() if s["fn"].support != again[n]["fn"].support]
        if moved:
            raise ValueError(
                f"prior of {', '.join(moved)}: its support depends on other sites; sample it on "
                "fixed limits and rescale it, such as a = top * sample('share', Uniform(0, 1))"
            )
        self.bijections = {n: bijection(s["fn"], again[n]["fn"]) for n, s in sites.items()}
        values = {name: site["value"] for name, site in sites.items()}
        _checked.once(structure(self, values), lambda: self._check_reads(values))

    @property
    def real(self) -> Bool[Array, " n"] | None:
        """False for stars that only fill up; None without stars."""
        return None if self.stars is None else self.stars.real

    def _check_reads(self, values):
        """Raise for sites that neither the likelihood nor another site's distribution reads."""
        asked: set[str] = set()

        def evaluate(values):
            trace = trace_of(self.prior, substitute=values)
            read = _Read(parameters_of(self.prior, values))
            log_likelihood = self._total(self._terms(self.density(read)))
            asked.update(read.names)
            return {n: trace[n]["fn"].log_prob(values[n]).sum() for n in values}, log_likelihood

        jaxpr = jax.make_jaxpr(evaluate)(values).jaxpr
        names = sorted(values)
        sources = dict(zip(names, _grouped(jaxpr.invars, values), strict=True))
        unread = []
        for number, name in enumerate(names):
            others = [out for i, out in enumerate(jaxpr.outvars) if i != number]
            if not sources[name] & _ancestors(jaxpr, others):
                unread.append(name)
        if unread:
            raise ValueError(
                f"prior of {', '.join(unread)}: the likelihood never reads it; it reads "
                f"{', '.join(sorted(asked))}. Take it out or correct the name"
            )

    def _terms(self, density):
        return log_terms(density, self.stars, self.weights, self._count())

    def _count(self):
        return None if self.real is None else self.real.sum()

    def _total(self, terms):
        return (terms if self.real is None else jnp.where(self.real, terms, 0.0)).sum()

    def constrain(self, z: Parameters) -> dict[str, Array]:
        """Sampled sites from unconstrained values.

        Φ of all intervals at once: of one site after the other it is a tenth of what there is to
        compile.
        """
        intervals = {
            n: z[n] for n, b in self.bijections.items() if isinstance(b, Interval | LogInterval)
        }
        flat, unravel = ravel_pytree(intervals)
        shares = unravel(ndtr(flat))
        return {n: b.at(shares[n]) if n in shares else b(z[n]) for n, b in self.bijections.items()}

    def parameters(self, z: Parameters) -> dict[str, Array]:
        """What the prior's program samples and returns at z."""
        return parameters_of(self.prior, self.constrain(z))

    def describe(self, z: Parameters) -> "Described":
        """What is to be known of a draw."""
        parameters = self.parameters(z)
        density, membership = self.density(parameters), None
        if isinstance(density, AbstractMixture) and self.stars is not None:
            log_p, first = density.with_first(self.stars)
            membership = jnp.where(jnp.isfinite(log_p), jnp.exp(first - log_p), 0.0)
            terms = weighed(density, log_p, self.weights, self._count())
        else:
            terms = self._terms(density)
        recorded = {name: values for name, values in parameters.items() if name[-1] != "_"}
        return Described(recorded, terms, membership, self._total(terms))

    def log_prior(self, z: Parameters) -> Float[Array, ""]:
        """Log prior density of z, Jacobian included."""
        sites = self.constrain(z)
        program = numpyro.handlers.seed(partial(sample_prior, self.prior), jax.random.key(0))
        total, _ = log_density(program, (), {}, sites)
        for name, to_support in self.bijections.items():
            total = total + jnp.sum(to_support.log_abs_det_jacobian(z[name], sites[name]))
        return jnp.asarray(total)

    def log_likelihood(self, z: Parameters) -> Float[Array, ""]:
        """Log likelihood at z; −inf where it is NaN, or a sampler would stop there for good."""
        value = self._total(self._terms(self.density(self.parameters(z))))
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    def potential(self, z: Parameters) -> Float[Array, ""]:
        """Minus the log posterior density of z, up to the evidence."""
        return -self.log_prior(z) - self.log_likelihood(z)

    def start(self, given: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """A model's `start`, unconstrained.

        Raises:
            ValueError: for names or shapes that are not those of the sampled sites, and where the
                posterior is zero.
        """
        if set(given) != set(self.bijections):
            raise ValueError(
                f"start: expected a value of each of {', '.join(sorted(self.bijections))}, found "
                f"{', '.join(sorted(given))}; give the sampled sites of the prior, no others"
            )
        values = {name: jnp.asarray(given[name], float) for name in self.bijections}
        sites = trace_of(self.prior)
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

    def scales(self, z: Parameters) -> list[int]:
        """Which numbers of a raveled z are scales: positive, or uniform in the logarithm.

        A posterior may have narrow maxima where a scale is small, that are far below others where
        it is not.
        """
        one = {n: jnp.full(jnp.shape(z[n]), is_scale(b)) for n, b in self.bijections.items()}
        return np.flatnonzero(ravel_pytree(one)[0]).tolist()

    def draw(self, key: PRNGKeyArray) -> dict[str, Array]:
        """One draw from the prior, unconstrained."""
        seeded = numpyro.handlers.seed(partial(sample_prior, self.prior), key)
        trace = numpyro.handlers.trace(seeded).get_trace()
        return {name: b.inv(trace[name]["value"]) for name, b in self.bijections.items()}


def _grouped(variables, tree):
    """Sets of the variables of each leaf-bearing entry of a dict, in the order of its names."""
    counts = [len(jax.tree.leaves(tree[name])) for name in sorted(tree)]
    edges = np.cumsum([0, *counts])
    return [set(variables[a:b]) for a, b in pairwise(edges)]


def _ancestors(jaxpr, outputs):
    """Variables that some outputs depend on; a nested function's depend on all its arguments."""
    needed = {v for v in outputs if isinstance(v, Var)}
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(v for v in equation.invars if isinstance(v, Var))
    return needed
