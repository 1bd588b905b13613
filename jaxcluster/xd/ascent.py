"""Expectation maximisation of the deconvolved mixture, plain or with longer steps between.

The update is that of `xd.sums`. The longer steps of `xd.lbfgs` are only tried: where one leads to a
lower likelihood, the update of where it began takes its place, which never does.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxcluster.xd.coordinates import diagonal, from_plane, gradient, parts_of, size_of, to_plane
from jaxcluster.xd.lbfgs import History, Seen, begin, propose
from jaxcluster.xd.sums import Observed, Parameters, sums

METHODS = ("lbfgs", "em")
NARROWEST = 1e-10  # eigenvalue of V in units of the component's largest one


class Prior(NamedTuple):
    """What acts on the update besides the stars; see `xd`."""

    weight: Float[Array, ""]
    covariance: Float[Array, "d d"] | None
    fixed: Parameters  # of booleans: what is kept


class Pass(NamedTuple):
    """What a pass over the stars at one mixture gives."""

    value: Float[Array, ""]  # log posterior, without constants
    update: Parameters
    share: Float[Array, " k"]  # stars of each component, with those of the prior
    by_means: Float[Array, "k d"]  # derivative of the log posterior
    by_covs: Float[Array, "k d d"]


def _positive(cov, smallest):
    """Symmetric part of [k, d, d]; eigenvalues that rounding has made too small are raised.

    A component that reaches for a star 10⁶ widths away is ten digits longer than wide, and the
    next update would be of rounding only.
    """
    cov = 0.5 * (cov + cov.mT)
    values, vectors = jnp.linalg.eigh(jnp.where(jnp.isfinite(cov), cov, 0.0))
    floor = jnp.maximum(smallest, NARROWEST * values[:, -1:])
    raised = (vectors * jnp.maximum(values, floor)[:, None, :]) @ vectors.mT
    return jnp.where((values[:, :1] < floor)[..., None], raised, cov)


def _pass(observed: Observed, at: Parameters, prior: Prior, smallest) -> Pass:
    fixed = prior.fixed
    log_p, q, a1, a2 = sums(observed, at)
    some = jnp.where(q > 0, q, 1.0)[:, None]
    delta = jnp.where(fixed.means[:, None], 0.0, jnp.einsum("kab,kb->ka", at.covs, a1) / some)
    spread = at.covs + at.covs @ a2 @ at.covs / some[..., None]
    spread = spread - delta[:, :, None] * delta[:, None, :]
    by_covs = 0.5 * a2
    if prior.covariance is not None:
        number, inverse = q[:, None, None], jnp.linalg.inv(at.covs)
        spread = (number * spread + prior.covariance) / (number + 1.0)
        by_covs = by_covs + 0.5 * (inverse @ prior.covariance @ inverse - inverse)
    covs = jnp.where(fixed.covs[:, None, None], at.covs, _positive(spread, smallest))
    share = jnp.where(fixed.weights, 0.0, q + prior.weight)
    left = 1.0 - jnp.where(fixed.weights, at.weights, 0.0).sum()
    weights = jnp.where(fixed.weights, at.weights, left * share / share.sum())
    new = Parameters(weights, at.means + delta, covs)
    return Pass(log_p + log_prior(at, prior), new, share, a1, by_covs)


def log_prior(mixture: Parameters, prior: Prior) -> Float[Array, ""]:
    """Log of both priors, without constants."""
    log_weights = jnp.where(prior.weight > 0, jnp.log(mixture.weights), 0.0)
    total = prior.weight * log_weights.sum()
    if prior.covariance is None:
        return total
    inverse = jnp.linalg.inv(mixture.covs)
    penalty = jnp.linalg.slogdet(mixture.covs)[1] + jnp.einsum(
        "ab,kba->k", prior.covariance, inverse
    )
    return total - 0.5 * penalty.sum()


class _State(NamedTuple):
    """Between two passes: `here` is where the next one goes."""

    here: Parameters
    best: Parameters  # where the last pass that was not given up went
    value: Float[Array, ""]  # log posterior there
    theta: Float[Array, " t"]  # its coordinates
    slope: Float[Array, " t"]  # the gradient by them
    update: Parameters  # and its EM update
    tried: Bool[Array, ""]  # whether `here` is a longer step
    history: History
    little: Array  # passes in a row that gained little
    passes: Array
    converged: Bool[Array, ""]


def ascend(observed, start, prior, smallest, tolerance, max_passes, *, method: str):
    """Passes until they gain less than `tolerance` in all, where that is positive.

    Of longer steps two in a row must, the second of them the update: a short step says nothing.

    Returns:
        The mixture, Σ_i n_i ln p(x_i) there, passes and whether the tolerance was reached.
    """
    plain = method == "em"

    def on(state: _State, found: Pass) -> _State:
        here = state.here
        little = jnp.where(found.value - state.value < tolerance, state.little + 1, 0)
        state = state._replace(
            here=found.update, best=here, value=found.value, update=found.update, little=little
        )
        if plain:
            return state._replace(converged=(tolerance > 0) & (little >= 1))
        root = jnp.linalg.cholesky(here.covs)
        theta = to_plane(here, root)
        slope = gradient(here, root, found.share, found.by_means, found.by_covs, prior.fixed)
        seen = Seen(
            here,
            root,
            theta,
            slope,
            state.theta,
            state.slope,
            observed.count.sum().astype(found.value.dtype),
            state.passes,
        )
        far_theta, usable, history = propose(state.history, seen)
        far = from_plane(far_theta, here, prior.fixed)
        # what rounding would make of longer ones, `_positive` does for the update only
        narrowest = jnp.exp(2.0 * parts_of(far_theta, here)[2]).min(axis=1)
        floor = jnp.maximum(smallest, 10.0 * NARROWEST * diagonal(far.covs).max(axis=1))
        usable &= (prior.fixed.covs | (narrowest >= floor)).all() & jnp.isfinite(far_theta).all()
        tried = usable & (little == 0)
        return state._replace(
            here=jax.tree.map(partial(jnp.where, tried), far, found.update),
            theta=theta,
            slope=slope,
            tried=tried,
            history=history,
            converged=(tolerance > 0) & (little >= 2),
        )

    def back(state: _State, _: Pass) -> _State:
        return state._replace(here=state.update, tried=jnp.asarray(False))

    def one(state: _State) -> _State:
        found = _pass(observed, state.here, prior, smallest)
        given_up = state.tried & ~(found.value >= state.value)
        after = on(state, found) if plain else jax.lax.cond(given_up, back, on, state, found)
        return after._replace(passes=state.passes + 1)

    lowest, no, zero = jnp.asarray(-jnp.inf), jnp.asarray(False), jnp.zeros((), int)
    nowhere = jnp.zeros(size_of(start), start.means.dtype)
    history = begin(nowhere)
    state = _State(start, start, lowest, nowhere, nowhere, start, no, history, zero, zero, no)
    # the last pass only says how good the last step was
    state = jax.lax.while_loop(lambda s: ~s.converged & (s.passes <= max_passes), one, state)
    log_likelihood = state.value - log_prior(state.best, prior)
    return state.best, log_likelihood, state.passes - 1, state.converged
