"""One pass of extreme deconvolution: all stars against all components, and the update.

With q_ik = n_i w_k N(x_i | R_i μ_k, T_ik) / p(x_i), T_ik = R_i V_k R_iᵀ + S_i and
u_ik = R_iᵀ T_ik⁻¹ (x_i − R_i μ_k), the pass adds up

    Q_k = Σ_i q_ik        A1_k = Σ_i q_ik u_ik        A2_k = Σ_i q_ik (u_ik u_ikᵀ − R_iᵀ T_ik⁻¹ R_i)

(the sums of `gaussian`, times w_k), and the update is that of Bovy, Hogg & Roweis (2011, eq. 16):

    w_k = Q_k / N     δ_k = V_k A1_k / Q_k     μ_k += δ_k     V_k += V_k A2_k V_k / Q_k − δ_k δ_kᵀ

A star counts n_i times (once; bootstrap), and R_i is the identity unless a projection is given. A
missing coordinate leaves the star's T, χ² and sums: a row of R_i less.

The floor: 10⁶ pairs (10⁵ stars, 10 components) take some 150 (3-d) and 400 (5-d) operations each.
XLA works cheap intermediate results out again wherever they are used, so they are materialised, in
chunks that stay in the cache. `benchmarks/xd pass` times it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.density.backend import on_cpu
from jaxcluster.density.gaussian import (
    _as_it_is,
    _assemble,
    _bounded_ratio,
    _log_2pi,
    _root_determinant,
    _weighted,
    _whiten,
)
from jaxcluster.density.materialise import materialise

CHUNK = 256  # stars


class Parameters(NamedTuple):
    """Weights, means and covariances of the mixture."""

    weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    covs: Float[Array, "k d d"]


class Observed(NamedTuple):
    """Stars in chunks [m, …, c], the star last: one array an entry vectorises over stars.

    Where nothing is missing `seen` is None, where nothing is projected `projection` is.
    """

    x: Float[Array, "m p c"]
    noise: Float[Array, "m t c"]  # lower triangle, row by row
    count: Float[Array, "m c"]  # how often the star counts; 0 for those that fill up the last chunk
    seen: Float[Array, "m p c"] | None  # 1, and 0 where a coordinate is missing
    projection: Float[Array, "m p d c"] | None

    def counted(self, count: Float[Array, " n"]) -> "Observed":
        """Return the same stars, each counted so many times."""
        missing = self.count.size - len(count)
        return self._replace(count=jnp.pad(count, (0, missing)).reshape(self.count.shape))


def observe(
    x: Float[Array, "n p"],
    noise: Float[Array, "n p p"],
    projection: Float[Array, "n p d"] | None = None,
    dtype: jnp.dtype | type | None = None,
) -> Observed:
    """Pack stars; NaN in `x` is a missing coordinate, whose noise is not looked at.

    The number of chunks is one of 8, 9, …, 15, 16, 18, …, so that samples of like many stars share
    what is compiled.
    """
    n, p = x.shape
    unit = max(1, 1 << max((-(-n // CHUNK)).bit_length() - 4, 0)) * CHUNK
    dtype = x.dtype if dtype is None else dtype
    # in numpy: a million stars are held once more, and nothing is compiled
    values, covs = np.asarray(x), np.asarray(noise)
    missing = np.isnan(values)
    some = missing.any()

    def chunks(*entries):
        packed = np.zeros((-(-n // unit) * (unit // CHUNK), len(entries), CHUNK), dtype)
        column = np.zeros(packed[:, 0].size, dtype)
        for i, entry in enumerate(entries):
            column[:n] = entry()
            packed[:, i] = column.reshape(-1, CHUNK)
        return jnp.asarray(packed)

    def of_noise(a, b):
        apart = missing[:, a] | missing[:, b]
        return np.where(apart, 0.0, covs[:, a, b]) if some else covs[:, a, b]

    def of_x(a):
        return np.where(missing[:, a], 0.0, values[:, a]) if some else values[:, a]

    projected = None
    if projection is not None:
        entries = np.asarray(projection).reshape(n, -1).T
        projected = chunks(*[partial(np.asarray, entry) for entry in entries])
        projected = projected.reshape(-1, *projection.shape[1:], CHUNK)
    return Observed(
        chunks(*[partial(of_x, a) for a in range(p)]),
        chunks(*[partial(of_noise, a, b) for a in range(p) for b in range(a + 1)]),
        chunks(lambda: 1.0)[:, 0],
        chunks(*[partial(np.logical_not, column) for column in missing.T]) if some else None,
        projected,
    )


def _difference(part: Observed, means, covs):
    """Entries of x − R μ and of the lower triangle of T, over pairs [k, c] of a chunk."""
    p, noise = len(part.x), iter(part.noise)
    if part.projection is None:
        project = lambda a: means[:, a, None]  # noqa: E731
        spread = lambda a, b: covs[:, a, b, None]  # noqa: E731
    else:
        R, d = part.projection, means.shape[1]
        half = [
            [sum(R[a, c] * covs[:, c, e, None] for c in range(d)) for e in range(d)]
            for a in range(p)
        ]
        project = lambda a: sum(R[a, c] * means[:, c, None] for c in range(d))  # noqa: E731
        spread = lambda a, b: sum(half[a][e] * R[b, e] for e in range(d))  # noqa: E731
    diff = [part.x[a] - project(a) for a in range(p)]
    t = [[next(noise) + spread(a, b) for b in range(a + 1)] for a in range(p)]
    if (seen := part.seen) is not None:
        # a missing coordinate has variance 1, no covariance and no difference
        diff = [diff[a] * seen[a] for a in range(p)]
        t = [[t[a][b] * seen[a] * seen[b] for b in range(a + 1)] for a in range(p)]
        t = [[*row[:-1], row[-1] + (1.0 - seen[a])] for a, row in enumerate(t)]
    return diff, t


def _back(part: Observed, ru, curvature, r):
    """From the stars' coordinates to those of the components: Rᵀ u and Rᵀ (u uᵀ − T⁻¹) R."""
    if (seen := part.seen) is not None:
        # u is 0 where a coordinate is missing, T⁻¹ is 1 there
        curvature = {
            (a, b): term + r * (1.0 - seen[a]) if a == b else term
            for (a, b), term in curvature.items()
        }
    if (R := part.projection) is None:
        return ru, curvature
    p, d = R.shape[:2]
    full = [[curvature[max(a, b), min(a, b)] for b in range(p)] for a in range(p)]
    half = [[sum(full[a][b] * R[b, e] for b in range(p)) for e in range(d)] for a in range(p)]
    back = {
        (c, e): sum(R[a, c] * half[a][e] for a in range(p)) for c in range(d) for e in range(c + 1)
    }
    return [sum(R[a, c] * ru[a] for a in range(p)) for c in range(d)], back


def _terms(part: Observed, mixture: Parameters, once):
    """Whitened differences, w N over the largest exponential, and ln p of each star."""
    weights, means, covs = mixture
    whitened = _whiten(*_difference(part, means, covs), once)
    _, inverse_diagonal, _, half_chi2 = whitened
    used = weights[:, None] > 0
    shift = jnp.min(jnp.where(used, half_chi2, jnp.inf), axis=0)
    root = _root_determinant(inverse_diagonal)
    terms = weights[:, None] * _bounded_ratio(shift - half_chi2, root)
    total = terms.sum(axis=0)
    p = jnp.asarray(len(part.x)) if part.seen is None else part.seen.sum(axis=0)
    log_p = jnp.log(total) - shift - _log_2pi(1) * p
    return whitened, terms / total, log_p


def responsibilities(observed: Observed, mixture: Parameters) -> Float[Array, "m k c"]:
    """Probability that each star belongs to each component."""
    mixture = Parameters(*(a.astype(observed.x.dtype) for a in mixture))

    def of(part):
        return _terms(part, mixture, _as_it_is)[1]

    return jax.lax.map(of, observed) if on_cpu() else jax.vmap(of)(observed)


def sums(observed: Observed, mixture: Parameters):
    """Return Σ_i n_i ln p(x_i), Q [k], A1 [k, d] and A2 [k, d, d]; see the module.

    Added up in the dtype of the mixture, whatever that of the stars.
    """
    total = mixture.weights.dtype
    mixture = Parameters(*(a.astype(observed.x.dtype) for a in mixture))
    k, d = mixture.means.shape

    def of(part):
        (inverse, inverse_diagonal, y, _), q, log_p = _terms(part, mixture, materialise)
        r = q * part.count
        # a star that fills up has no noise and may have no density either
        log_likelihood = jnp.where(part.count > 0, part.count * log_p, 0.0).sum()
        ru, curvature = _back(part, *_weighted(r, inverse, inverse_diagonal, y), r)
        return log_likelihood, *(jnp.sum(a, axis=-1) for a in (r, *ru, *curvature.values()))

    lower = [(a, b) for a in range(d) for b in range(a + 1)]
    if on_cpu():
        start = [jnp.zeros((), total)] + [jnp.zeros(k, total)] * (1 + d + len(lower))
        added, _ = jax.lax.scan(
            lambda so_far, part: (
                [a + b.astype(total) for a, b in zip(so_far, of(part), strict=True)],
                None,
            ),
            start,
            observed,
        )
    else:  # each sum over all stars at once, sums of chunks in the stars' dtype
        added = [a.astype(total).sum(axis=0) for a in jax.vmap(of)(observed)]
    log_likelihood, q, *rest = added
    second = dict(zip(lower, rest[d:], strict=True))
    return log_likelihood, q, *_assemble(rest[:d], second)
