"""Extreme deconvolution: the Gaussian mixture that noise has blurred (Bovy, Hogg & Roweis 2011).

    p(x_i) = Σ_k w_k N(x_i | R_i μ_k, R_i V_k R_iᵀ + S_i)

by expectation maximisation (`xd.sums`, `xd.ascent`), whose steps L-BFGS (`xd.lbfgs`) lengthens; the
likelihood never falls.

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

from jaxcluster.density.keys import generator
from jaxcluster.density.mixture import GaussianMixture
from jaxcluster.density.stars import Stars
from jaxcluster.xd.ascent import METHODS, Prior, ascend
from jaxcluster.xd.moves import largest_excess, least_needed, moved
from jaxcluster.xd.sums import Parameters, observe, responsibilities, sums

AT_ONCE = 20_000  # stars whose noise is checked, for the memory
SHORT = 20  # passes after which the best of several starts goes on
TAKEN_FROM = 3  # components that may be moved, those that are needed least
SMALLEST = 1e-12  # eigenvalue of V, in units of the sample's variance


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


_run = jax.jit(ascend, static_argnames=("method",))


def starts_of(stars: Stars, k: int, n: int, rng: np.random.Generator) -> list[GaussianMixture]:
    """Mixtures to begin with, by k-means++ (Arthur & Vassilvitskii 2007) and Lloyd's algorithm.

    On at most 20 000 stars, coordinates in units of their robust width and cut at four of them, so
    that neither one far star nor a wide tail takes the components; missing ones are put at the
    median. Covariances are those of the stars of each mean, noise included: EM shrinks quickly.
    """
    from scipy.cluster.vq import kmeans2  # late: the package's import does without

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
    method: str = "lbfgs",
    max_passes: int = 1000,
    tolerance: float = 1e-6,
    starts: int = 5,
    moves: int | None = None,
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
        method: "lbfgs"; "em" needs several times as many passes.
        max_passes: passes over all stars at most, and again after each move.
        tolerance: stop when a pass gains less ln L per star; 0 takes all `max_passes`. Plain EM
            creeps: at 1e-5 per star it stops 2e-4 below where it would end.
        starts: k-means++ starts, where there is no `init`.
        moves: how often a component may go to where the stars exceed the mixture (`xd.moves`), as
            long as ln L rises; 3, or 0 with `init` or `fixed`.
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
    covariance = None
    if np.any(np.asarray(covariance_prior)):
        unit = jnp.eye(d) if jnp.ndim(covariance_prior) == 0 else jnp.ones((d, d))
        covariance = jnp.asarray(covariance_prior, total) * unit
    # in numpy: jax would compile ten small functions
    smallest = SMALLEST * (np.nanvar(np.asarray(stars.x), axis=0).min() + 1e-30)
    prior = Prior(
        jnp.asarray(weight_prior, total),
        covariance,
        Parameters(*[jnp.asarray(kept.get(n, np.zeros(k, bool))) for n in Parameters._fields]),
    )
    run = partial(
        _run,
        observed,
        prior=prior,
        smallest=jnp.asarray(smallest, total),
        method=method,
    )
    if moves is None:
        moves = 0 if init is not None or kept else 3
    total_tolerance, spent = tolerance * len(stars), 0
    rng = generator(key)
    if init is None:
        tried = []
        for one in starts_of(stars, k, starts, rng):
            end, value, passes, _ = run(parameters_of(one), tolerance=0.0, max_passes=SHORT)
            spent += int(passes)
            tried.append((float(value), end))
        begin = max(tried, key=lambda pair: pair[0])[1]
    else:
        begin = parameters_of(init)
    mixture, value, passes, converged = run(begin, tolerance=total_tolerance, max_passes=max_passes)
    for _ in range(moves if k > 1 else 0):
        excess = largest_excess(np.asarray(stars.x), np.asarray(stars.noise), mixture, rng)
        if excess is None:
            break
        belongs, tried = _by_star(_responsibilities(observed, mixture), len(stars)), []
        for component in least_needed(belongs, np.asarray(mixture.weights))[:TAKEN_FROM]:
            end, higher, more, _ = run(
                moved(mixture, component, excess), tolerance=0.0, max_passes=2 * SHORT
            )
            spent += int(more)
            tried.append((float(higher), end))
        best = max(tried, key=lambda pair: pair[0])
        if not best[0] > value + total_tolerance:
            break
        spent += int(passes)
        mixture, value, passes, converged = run(
            best[1], tolerance=total_tolerance, max_passes=max_passes
        )
    return Fit(
        GaussianMixture(*mixture),
        float(value) / len(stars),
        float(value),
        spent + int(passes),
        bool(converged),
    )


def log_likelihood(stars: Stars, mixture: GaussianMixture) -> float:
    """Σ_i ln p(x_i); a coordinate that is NaN was not measured."""
    return float(_sums(observe(stars.x, stars.noise), parameters_of(mixture))[0])


def membership(stars: Stars, mixture: GaussianMixture) -> Float[np.ndarray, "n k"]:
    """Probability that each star belongs to each component, by the coordinates that it has."""
    q = _responsibilities(observe(stars.x, stars.noise), parameters_of(mixture))
    return _by_star(q, len(stars))


def _by_star(q: Float[Array, "m k c"], n: int) -> Float[np.ndarray, "n k"]:
    return np.moveaxis(np.asarray(q), 1, -1).reshape(-1, q.shape[1])[:n]


_sums, _responsibilities = jax.jit(sums), jax.jit(responsibilities)


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
    if method not in METHODS:
        raise ValueError(f"method: expected {' or '.join(METHODS)}, found {method!r}")
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
