"""Extreme deconvolution: the Gaussian mixture that noise has blurred (Bovy, Hogg & Roweis 2011).

    p(x_i) = Σ_k w_k N(x_i | R_i μ_k, R_i V_k R_iᵀ + S_i)

by expectation maximisation (`xd_pass`), whose steps are extrapolated by SQUAREM (Varadhan & Roland
2008): two updates r = θ₁ − θ₀ and v = (θ₂ − θ₁) − r say how slowly EM creeps, and θ₀ − 2αr + α²v
with α = −|r|/|v| goes there at once. Where that is no better than θ₁, θ₂ is taken: the likelihood
never falls. θ are ln w, μ and the Cholesky factors of V with ln of their diagonals, so that every
extrapolation is a mixture.

Priors, both off by default (Bovy, Hogg & Roweis 2011, sec. 4.1): `covariance_prior` W changes the
update to V ← (Q V + W) / (Q + 1), the maximum of L Π_k |V_k|^(−½) exp(−½ tr W V_k⁻¹);
`weight_prior` a adds a stars to every component, the maximum of L Π_k w_k^a.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from scipy.cluster.vq import kmeans2

from jaxcluster.density import GaussianMixture
from jaxcluster.stars import Stars
from jaxcluster.xd_pass import Observed, Parameters, observe, sums

AT_ONCE = 20_000  # stars whose noise is checked, for the memory
SHORT = 20  # passes after which the best of several starts goes on
SMALLEST = 1e-12  # eigenvalue of V, in units of the sample's variance
NARROWEST = 1e-10  # and of the component's largest one


class Prior(NamedTuple):
    """What acts on the update besides the stars; see the module."""

    weight: Float[Array, ""]
    covariance: Float[Array, "d d"]
    fixed: Parameters  # of booleans: what is kept


def smallest_variance(stars: Stars) -> Float[Array, ""]:
    """Least eigenvalue that components may have, against rounding."""
    return SMALLEST * (jnp.nanvar(stars.x, axis=0).min() + 1e-30)


class Fit(NamedTuple):
    """A fitted mixture.

    `log_likelihood` is Σ_i ln p(x_i), `mean_log_likelihood` that per star, both of `mixture`
    itself; `passes` counts the updates, those of starts given up included; `converged` says that a
    pass gained less than the tolerance.
    """

    mixture: GaussianMixture
    mean_log_likelihood: float
    log_likelihood: float
    passes: int
    converged: bool


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


def _update(observed: Observed, old: Parameters, prior: Prior, smallest):
    """One pass: the log posterior of `old` (without constants), and the update."""
    log_p, q, a1, a2 = sums(observed, old)
    some = jnp.where(q > 0, q, 1.0)[:, None]
    delta = jnp.where(
        prior.fixed.means[:, None], 0.0, jnp.einsum("kab,kb->ka", old.covs, a1) / some
    )
    spread = old.covs + old.covs @ a2 @ old.covs / some[..., None]
    spread = spread - delta[:, :, None] * delta[:, None, :]
    with_prior = (q[:, None, None] * spread + prior.covariance) / (q[:, None, None] + 1.0)
    spread = jnp.where(jnp.any(prior.covariance > 0), with_prior, spread)
    covs = jnp.where(prior.fixed.covs[:, None, None], old.covs, _positive(spread, smallest))
    share = jnp.where(prior.fixed.weights, 0.0, q + prior.weight)
    left = 1.0 - jnp.where(prior.fixed.weights, old.weights, 0.0).sum()
    weights = jnp.where(prior.fixed.weights, old.weights, left * share / share.sum())
    return log_p + _log_prior(old, prior), Parameters(weights, old.means + delta, covs)


def _log_prior(mixture: Parameters, prior: Prior):
    log_weights = jnp.where(prior.weight > 0, jnp.log(mixture.weights), 0.0)
    penalty = -0.5 * jnp.linalg.slogdet(mixture.covs)[1] - 0.5 * jnp.einsum(
        "ab,kba->k", prior.covariance, jnp.linalg.inv(mixture.covs)
    )
    penalty = jnp.where(jnp.any(prior.covariance > 0), penalty, 0.0)
    return prior.weight * log_weights.sum() + penalty.sum()


def _to_plane(mixture: Parameters):
    """θ of the module, from which any linear combination is a mixture again."""
    root = jnp.linalg.cholesky(mixture.covs)
    diagonal = jnp.diagonal(root, axis1=1, axis2=2)
    below = jnp.tril(root, -1)
    return jnp.log(jnp.maximum(mixture.weights, 1e-300)), mixture.means, jnp.log(diagonal), below


def _from_plane(theta, old: Parameters, fixed: Parameters):
    log_weights, means, log_diagonal, below = theta
    root = below + jnp.exp(log_diagonal)[:, :, None] * jnp.eye(means.shape[1])
    covs = jnp.where(fixed.covs[:, None, None], old.covs, root @ root.mT)
    left = 1.0 - jnp.where(fixed.weights, old.weights, 0.0).sum()
    share = jnp.where(fixed.weights, 0.0, jnp.exp(log_weights))
    return Parameters(
        jnp.where(fixed.weights, old.weights, left * share / share.sum()), means, covs
    )


def _norm(tree):
    return jnp.sqrt(sum(jnp.sum(a**2) for a in jax.tree.leaves(tree)))


class _State(NamedTuple):
    """Between two passes: `here` is where the next one goes."""

    here: Parameters
    anchor: Parameters  # one update before `here`, where `second` says so
    value: Float[Array, ""]  # log posterior at the anchor
    fallback: Parameters  # an update, no worse than `floor`
    floor: Float[Array, ""]  # log posterior that `here` must reach if it was extrapolated
    longest: Float[Array, ""]  # |α| allowed
    second: Bool[Array, ""]  # whether the next pass is the second update of a step
    passes: Array
    converged: Bool[Array, ""]


def _iterate(observed, start, prior, smallest, tolerance, max_passes, *, accelerate: bool):
    """Passes until one gains less than `tolerance` in all, where that is positive.

    Returns the mixture, Σ_i n_i ln p(x_i), passes and whether the tolerance was reached.
    """

    def gained_little(gain):
        return (tolerance > 0) & (gain < tolerance)

    def first(state: _State, value, new: Parameters) -> _State:
        on = state._replace(here=new, anchor=state.here, value=value, second=jnp.asarray(True))
        if not accelerate:
            return on._replace(
                second=jnp.asarray(False), converged=gained_little(value - state.value)
            )
        back = state._replace(
            here=state.fallback,
            floor=jnp.asarray(-jnp.inf),
            longest=jnp.maximum(state.longest / 4.0, 1.0),
        )
        return jax.tree.map(partial(jnp.where, value >= state.floor), on, back)

    def second(state: _State, value, new: Parameters) -> _State:
        at = [_to_plane(m) for m in (state.anchor, state.here, new)]
        r = jax.tree.map(jnp.subtract, at[1], at[0])
        v = jax.tree.map(lambda a, b, c: a - 2.0 * b + c, at[2], at[1], at[0])
        step = jnp.clip(_norm(r) / jnp.maximum(_norm(v), 1e-300), 1.0, state.longest)
        theta = jax.tree.map(lambda a, b, c: a + 2.0 * step * b + step**2 * c, at[0], r, v)
        far = _from_plane(theta, new, prior.fixed)
        usable = jnp.stack([jnp.isfinite(a).all() for a in far]).all() & (step > 1.0)
        converged = gained_little(value - state.value)
        return state._replace(
            here=jax.tree.map(partial(jnp.where, usable & ~converged), far, new),
            fallback=new,
            floor=value,
            longest=jnp.where(step == state.longest, 4.0 * step, state.longest),
            second=jnp.asarray(False),
            converged=converged,
        )

    def one(state: _State) -> _State:
        value, new = _update(observed, state.here, prior, smallest)
        if accelerate:
            after = jax.lax.cond(state.second, second, first, state, value, new)
        else:
            after = first(state, value, new)
        return after._replace(passes=state.passes + 1)

    lowest, no = jnp.asarray(-jnp.inf), jnp.asarray(False)
    longest, zero = jnp.asarray(4.0), jnp.zeros((), int)
    state = _State(start, start, lowest, start, lowest, longest, no, zero, no)
    state = jax.lax.while_loop(lambda s: ~s.converged & (s.passes < max_passes), one, state)
    if not accelerate:
        return state.here, sums(observed, state.here)[0], state.passes, state.converged
    # an extrapolation that no pass has been to yet
    ends = [state.here, state.fallback]
    values = jnp.stack([sums(observed, end)[0] + _log_prior(end, prior) for end in ends])
    mixture = jax.tree.map(partial(jnp.where, values[0] >= values[1]), *ends)
    log_likelihood = values.max() - _log_prior(mixture, prior)
    return mixture, log_likelihood, state.passes, state.converged


_run = jax.jit(_iterate, static_argnames=("accelerate",))


def starts_of(stars: Stars, k: int, n: int, rng: np.random.Generator) -> list[GaussianMixture]:
    """Mixtures to begin with, by k-means++ (Arthur & Vassilvitskii 2007) and Lloyd's algorithm.

    On at most 20 000 stars, coordinates in units of their robust width and cut at four of them, so
    that neither one far star nor a wide tail takes the components; missing ones are put at the
    median. Covariances are those of the stars of each mean, noise included: EM shrinks quickly.
    """
    x = np.asarray(stars.x)
    if len(x) > 20_000:
        x = x[rng.choice(len(x), 20_000, replace=False)]
    low, centre, high = np.nanpercentile(x, [16, 50, 84], axis=0)
    width = np.where(high > low, 0.5 * (high - low), 1.0)
    z = np.clip(np.nan_to_num((x - centre) / width), -4.0, 4.0)
    z = z + 1e-6 * rng.normal(size=z.shape)  # k-means++ divides by distances
    mixtures = []
    for _ in range(n):
        _, label = kmeans2(z, k, iter=10, minit="++", rng=rng)
        means, covs, weights = [], [], []
        for j in range(k):
            some = z[label == j] if (label == j).sum() > 1 else z[rng.choice(len(z), 1)]
            means.append(some.mean(axis=0))
            covs.append(
                np.cov(some.T).reshape(z.shape[1], -1)
                if len(some) > 1
                else 0.0 * np.eye(z.shape[1])
            )
            weights.append(len(some))
        covs = np.array(covs) + 0.01 * np.eye(z.shape[1])
        mixtures.append(
            GaussianMixture(
                jnp.asarray(weights) / np.sum(weights),
                jnp.asarray(centre + np.array(means) * width),
                jnp.asarray(covs * np.outer(width, width)),
            )
        )
    return mixtures


def fit(
    stars: Stars,
    k: int,
    *,
    key: PRNGKeyArray,
    init: GaussianMixture | None = None,
    method: str = "squarem",
    max_passes: int = 1000,
    tolerance: float = 1e-6,
    starts: int = 5,
    covariance_prior: Float[Array, "d d"] | float = 0.0,
    weight_prior: float = 0.0,
    fixed: Mapping[str, Bool[np.ndarray, " k"]] | None = None,
    projection: Float[Array, "n p d"] | None = None,
    pairs: jnp.dtype | type | None = None,
) -> Fit:
    """Fit a mixture of k Gaussians to stars, each with its own noise.

    Args:
        stars: what was measured; NaN in `x` is a missing coordinate, and its noise does not matter.
        k: components.
        key: random key of the starts.
        init: where to begin; by default the best of `starts` k-means++ after 20 passes each.
        method: "squarem", or "em" for plain EM, which needs three times the passes.
        max_passes: passes over all stars at most.
        tolerance: stop when a pass gains less ln L per star; 0 takes all `max_passes`. Plain EM
            creeps: at 1e-5 per star it stops 2e-4 below where it would end.
        starts: k-means++ starts, where there is no `init`.
        covariance_prior: W of the module's docstring, a matrix, or a number for W = w 1, in the
            square of the columns' units. Bovy's w.
        weight_prior: stars added to each component.
        fixed: of any of "weights", "means" and "covs", which of the k components keep theirs.
        projection: R_i of each star, from the d coordinates of the components to the columns
            measured; needs `init`.
        pairs: dtype of the pair arithmetic; float32 takes a quarter off the time.

    Returns:
        The mixture, its likelihood, and how many passes it took.

    Raises:
        ValueError: More components than stars, no or infinite coordinates, noise that is not
            positive definite, or arguments that do not fit each other.
    """
    _check(stars, k, init, method, fixed, projection)
    observed = observe(stars.x, stars.noise, projection, pairs)
    d = stars.x.shape[1] if init is None else init.means.shape[1]
    total, kept = jnp.result_type(stars.x), dict(fixed or {})
    unit = jnp.eye(d) if jnp.ndim(covariance_prior) == 0 else jnp.ones((d, d))
    prior = Prior(
        jnp.asarray(weight_prior, total),
        jnp.asarray(covariance_prior, total) * unit,
        Parameters(*[jnp.asarray(kept.get(n, np.zeros(k, bool))) for n in Parameters._fields]),
    )
    run = partial(
        _run,
        observed,
        prior=prior,
        smallest=smallest_variance(stars),
        accelerate=method == "squarem",
    )
    spent = 0
    if init is None:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
        tried = []
        for one in starts_of(stars, k, starts, rng):
            end, value, passes, _ = run(parameters_of(one), tolerance=0.0, max_passes=SHORT)
            spent += int(passes)
            tried.append((float(value), end))
        begin = max(tried, key=lambda pair: pair[0])[1]
    else:
        begin = parameters_of(init)
    mixture, value, passes, converged = run(
        begin, tolerance=tolerance * len(stars), max_passes=max_passes
    )
    return Fit(
        GaussianMixture(*mixture),
        float(value) / len(stars),
        float(value),
        spent + int(passes),
        bool(converged),
    )


def parameters_of(mixture: GaussianMixture) -> Parameters:
    """Weights that add up to 1, means, and a covariance of each component."""
    k, d = mixture.means.shape
    return Parameters(
        mixture.weights / mixture.weights.sum(),
        mixture.means,
        jnp.broadcast_to(mixture.covs, (k, d, d)),
    )


def _check(stars, k, init, method, fixed, projection) -> None:
    n, p = stars.x.shape
    if not 0 < k <= n:
        raise ValueError(f"k: {k} components for {n} stars; expected 1 to {n}")
    if method not in ("squarem", "em"):
        raise ValueError(f'method: expected "squarem" or "em", found {method!r}')
    if init is None and projection is not None:
        raise ValueError("projection: components in other coordinates than the stars' need `init`")
    if unknown := set(fixed or {}) - set(Parameters._fields):
        raise ValueError(f"fixed: expected any of {Parameters._fields}, found {sorted(unknown)}")
    d = p if init is None else init.means.shape[1]
    if init is not None and (init.means.shape[0] != k or (projection is None and d != p)):
        raise ValueError(
            f"init: expected {k} components of {p} columns {stars.columns}, found means of shape "
            f"{init.means.shape}"
        )
    if projection is not None and projection.shape != (n, p, d):
        raise ValueError(f"projection: expected shape {(n, p, d)}, found {projection.shape}")
    x, noise = np.asarray(stars.x), np.asarray(stars.noise)
    if count := int(np.isinf(x).any(axis=1).sum()):
        raise ValueError(
            f"x: {count} of {n} stars have an infinite coordinate; expected NaN or a number"
        )
    missing = np.isnan(x)
    if count := int(missing.all(axis=1).sum()):
        raise ValueError(f"x: {count} of {n} stars have no coordinate at all; leave them out")
    if empty := [c for a, c in enumerate(stars.columns) if missing[:, a].all()]:
        raise ValueError(f"x: no star has {empty}; leave the column out")
    bad, first = 0, n
    for start in range(0, n, AT_ONCE):
        wrong = _not_a_covariance(noise[start:][:AT_ONCE], missing[start:][:AT_ONCE])
        if wrong.any():
            bad, first = bad + int(wrong.sum()), min(first, start + int(np.argmax(wrong)))
    if bad:
        raise ValueError(
            f"noise: {bad} of {n} stars have a covariance that is not finite or not positive "
            f"definite (first: star {first}); correct or drop them"
        )


def _not_a_covariance(noise, missing):
    """Which stars' noise [n, p, p] is none between the coordinates that they have."""
    whole = ~(missing[:, :, None] | missing[:, None, :])
    noise = np.where(whole, noise, 0.0) + np.eye(missing.shape[1]) * missing[:, None, :]
    finite = np.isfinite(noise).all(axis=(1, 2))
    smallest = np.full(len(noise), -1.0)
    smallest[finite] = np.linalg.eigvalsh(noise[finite])[:, 0]
    return smallest < 0
