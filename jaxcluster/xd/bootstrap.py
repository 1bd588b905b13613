"""Resamplings of the stars, a mixture fitted again to each.

The scatter of the components' parameters is their error, and how often a star is of the cluster
(P > ½) is the *stability* of that verdict. Peña Ramírez et al. (2022) take it for a membership
probability, which it is not: a star of P = 0.6 is on the same side of ½ in more than nine of ten
resamplings, and it is a member in six of ten cases all the same. Fits begin at the mixture found,
so that component k stays component k.

There the likelihood of a resampling falls off nearly as that of all stars does. So its Hessian,
worked out once from differences of gradients, makes Newton steps for all of them, BFGS (Nocedal &
Wright 2006, eq. 6.17) mends it on the way, and half the squared Newton step says how far ln L is
below the maximum. `benchmarks/members ngc2323` counts passes, some twenty a resampling.

Coordinates are offsets of ln w, of the mean in units of the component's width, and of the factor M
in V = L M Mᵀ Lᵀ, V₀ = L Lᵀ, with ln of its diagonal.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxcluster.density.keys import generator
from jaxcluster.density.mixture import GaussianMixture
from jaxcluster.density.stars import Stars
from jaxcluster.xd.deconvolution import parameters_of
from jaxcluster.xd.sums import Observed, Parameters, observe, responsibilities, sums

# nats below the maximum by half the squared Newton step, which says too little where a blurred
# component leaves the likelihood flat: hence far below the half nat that is wanted
TO_GO = 1e-4
MOST_PASSES = 300
STEP = 1e-4  # of the differences
LONGEST = 1.0  # of any coordinate in one step
AT_A_TIME = 20


class Bootstrap(NamedTuple):
    """What resamplings say.

    Args:
        stability: share of the resamplings in which star i is of the cluster, against all else.
        mixtures: parameters of each resampling, leading axis.
        log_likelihood: of the resampled stars, in each.
        passes: of each fit.
    """

    stability: Float[np.ndarray, " n"]
    mixtures: Parameters
    log_likelihood: Float[np.ndarray, " b"]
    passes: np.ndarray


def _near(base: Parameters, theta) -> Parameters:
    """The mixture at the module's coordinates from `base`."""
    log_weights, means, log_diagonal, below = theta
    root = jnp.linalg.cholesky(base.covs)
    factor = jnp.tril(below, -1) + jnp.exp(log_diagonal)[:, :, None] * jnp.eye(means.shape[1])
    root, means = root @ factor, base.means + jnp.einsum("kab,kb->ka", root, means)
    log_weights = jnp.log(jnp.maximum(base.weights, 1e-300)) + log_weights
    return Parameters(jax.nn.softmax(log_weights), means, root @ root.mT)


def _zero(base: Parameters):
    k, d = base.means.shape
    theta = (jnp.zeros(k), jnp.zeros((k, d)), jnp.zeros((k, d)), jnp.zeros((k, d, d)))
    return ravel_pytree(theta)


def _slope(observed: Observed, base: Parameters, row):
    """Return ln L and its gradient in the module's coordinates: one pass."""
    unravel = _zero(base)[1]
    mixture, back = jax.vjp(lambda row: _near(base, unravel(row)), row)
    value, q, a1, a2 = sums(observed, mixture)
    weights = jnp.where(mixture.weights > 0, mixture.weights, 1.0)
    return value, back(Parameters(q / weights, a1, 0.5 * a2))[0]


def _inverse_curvature(observed: Observed, base: Parameters):
    """Inverse of −∂² ln L at `base`; no direction wider than one."""
    row, _ = _zero(base)
    steps = STEP * jnp.eye(len(row))
    gradient = lambda step: _slope(observed, base, row + step)[1]  # noqa: E731
    difference = jax.lax.map(lambda step: gradient(-step) - gradient(step), steps)
    hessian = difference / (2.0 * STEP)
    values, vectors = jnp.linalg.eigh(0.5 * (hessian + hessian.T))
    return (vectors / jnp.maximum(jnp.abs(values), 1.0)) @ vectors.T


class _State(NamedTuple):
    at: Float[Array, " p"]
    value: Float[Array, ""]
    slope: Float[Array, " p"]
    inverse: Float[Array, "p p"]  # of the curvature
    length: Float[Array, ""]  # of the next step, in Newton steps
    passes: Array

    @property
    def to_go(self):
        return 0.5 * self.slope @ self.inverse @ self.slope

    @property
    def done(self) -> Bool[Array, ""]:
        return self.to_go < TO_GO


def _climb(observed: Observed, base: Parameters, inverse) -> _State:
    def one(state: _State) -> _State:
        step = state.inverse @ state.slope
        step = step * state.length * jnp.minimum(1.0, LONGEST / jnp.abs(step).max())
        value, slope = _slope(observed, base, state.at + step)
        better = value >= state.value + 1e-4 * step @ state.slope
        # a component without width in one direction has a likelihood, and no slope
        better &= jnp.isfinite(slope).all()
        change = state.slope - slope
        along = step @ change
        # BFGS: what the step has shown of the curvature
        left = jnp.eye(len(step)) - jnp.outer(step, change) / along
        mended = left @ state.inverse @ left.T + jnp.outer(step, step) / along
        usable = along > 1e-10 * jnp.linalg.norm(step) * jnp.linalg.norm(change)
        on = _State(
            state.at + step,
            value,
            slope,
            jnp.where(usable, mended, state.inverse),
            jnp.ones(()),
            state.passes,
        )
        back = state._replace(length=0.25 * state.length)
        new = jax.tree.map(partial(jnp.where, better), on, back)
        return new._replace(passes=state.passes + 1)

    row, _ = _zero(base)
    value, slope = _slope(observed, base, row)
    start = _State(row, value, slope, inverse, jnp.ones(()), jnp.ones((), int))
    return jax.lax.while_loop(lambda s: ~s.done & (s.passes < MOST_PASSES), one, start)


@jax.jit
def _top(observed: Observed, base: Parameters):
    """The maximum of all stars next to `base`, and the inverse curvature there.

    EM stops short of it, by 10 nats of 16 000 stars where a component is blurred.
    """
    end = _climb(observed, base, _inverse_curvature(observed, base))
    top = _near(base, _zero(base)[1](end.at))
    return top, _inverse_curvature(observed, top)


@jax.jit
def _refit(observed: Observed, base: Parameters, inverse, cluster, counts):
    """How often each star is of the `cluster` (which components are), and every fit."""
    unravel = _zero(base)[1]

    def add(total, count):
        end = _climb(observed.counted(count), base, inverse)
        mixture = _near(base, unravel(end.at))
        q = responsibilities(observed, mixture)
        return total + (jnp.einsum("ckn,k->cn", q, cluster) > 0.5), (
            mixture,
            end.value,
            end.passes,
            end.done,
        )

    chunks, size = observed.count.shape
    return jax.lax.scan(add, jnp.zeros((chunks, size), int), counts)


def bootstrap_mixture(
    stars: Stars,
    mixture: GaussianMixture,
    n: int,
    *,
    cluster: Sequence[int],
    key: PRNGKeyArray,
    progress: Callable[[str], None] | None = None,
) -> Bootstrap:
    """Fit a mixture to n resamplings of the stars, without priors.

    Args:
        stars: that the mixture was fitted to.
        mixture: near a maximum of their likelihood; fits begin at that maximum.
        n: resamplings.
        cluster: components that are the cluster.
        key: random key of the draws.
        progress: called with a line of text now and then.

    A warning tells how many fits are not at their maximum after 300 passes.
    """
    base, k = parameters_of(mixture), len(mixture.weights)
    rng = generator(key)
    observed, size = observe(stars.x, stars.noise), len(stars)
    belongs = jnp.zeros(k).at[jnp.asarray(cluster)].set(1.0)
    base, inverse = _top(observed, base)
    total, parts = np.zeros(0), []
    for begin in range(0, n, AT_A_TIME):
        counts = rng.multinomial(size, np.full(size, 1.0 / size), min(AT_A_TIME, n - begin))
        chosen, fits = _refit(observed, base, inverse, belongs, jnp.asarray(counts.astype(float)))
        total = np.asarray(chosen) if begin == 0 else total + np.asarray(chosen)
        parts.append(jax.tree.map(np.asarray, fits))
        if progress is not None:
            progress(f"{begin + len(counts)} of {n} resamplings")
    mixtures, log_likelihood, passes, done = jax.tree.map(lambda *a: np.concatenate(a), *parts)
    if not done.all():
        warnings.warn(
            f"{(~done).sum()} of {n} resamplings are not at their maximum after {MOST_PASSES} "
            "passes; their components are less certain than the others say",
            stacklevel=2,
        )
    return Bootstrap(total.ravel()[:size] / n, mixtures, log_likelihood, passes)
