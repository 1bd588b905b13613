"""The one kernel: a Gaussian mixture convolved with each star's own noise.

    p(x_i) = Σ_k w_k N(x_i | μ_k, T_ik),        T_ik = V_k + S_i

Everything else in the package constructs its arguments. The backward pass needs three sums
over stars, with r_ik = g_i w_k N_ik / p_i and u_ik = T_ik⁻¹ (x_i − μ_k):

    Q_k = Σ_i r_ik        A1_k = Σ_i r_ik u_ik        A2_k = Σ_i r_ik (u_ik u_ikᵀ − T_ik⁻¹)

which are the gradient (∂/∂w = Q/w, ∂/∂μ = A1, ∂/∂V = A2/2) and the M step of extreme
deconvolution (Bovy, Hogg & Roweis 2011, eq. 16). Their terms are written once, in
`_pair_terms`.

Pairs (star × component) are never all in memory: stars go through in chunks of about
`PAIRS_IN_FLIGHT` pairs, which stay in cache. Plain autodiff of the dense formula stores n × k
arrays and costs 15 to 20 values per gradient at n = 1228, k = 2000; these sums cost three.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float

from jaxcluster.density.backend import on_cpu

# 64 kB a float32 temporary: the dozen that a gradient needs fit a 1 MB second-level cache. At
# n = 1228, k = 2600 the three sums took 14, 20, 23, 26 ms with chunks of 4, 8, 16, 32 stars.
PAIRS_IN_FLIGHT = 16_384


def _as_it_is(arrays):
    return arrays


def _ldl(t: list[list[Array]], once: Callable = _as_it_is):
    """Return L⁻¹ (unit lower triangle) and 1/D of T = L D Lᵀ, elimination written out.

    `t[a][b]`, b ≤ a, are the entries as arrays over pairs, so for d ≤ 3 this is the closed form.
    `once` sees lists of intermediate arrays that many others need: `materialise`, where these are
    short and d is large.
    """
    d = len(t)
    low: list[list[Array]] = [[] for _ in range(d)]
    inverse_diagonal: list[Array] = []
    pivots: list[Array] = []
    for a in range(d):
        row: list[Array] = []  # row[b] = L_ab D_b
        for b in range(a):
            row.append(t[a][b] - sum((row[c] * low[b][c] for c in range(b)), start=0.0))
        low[a] = once([row[b] * inverse_diagonal[b] for b in range(a)])
        pivots.append(t[a][a] - sum((row[b] * low[a][b] for b in range(a)), start=0.0))
        inverse_diagonal.append(1.0 / pivots[a])
    inverse: list[list[Array]] = [[] for _ in range(d)]
    for a in range(d):
        for b in range(a):
            inner = sum((low[a][c] * inverse[c][b] for c in range(b + 1, a)), start=0.0)
            inverse[a].append(-(low[a][b] + inner))
        inverse[a] = once(inverse[a])
    return inverse, inverse_diagonal


def _whiten(diff: list[Array], t: list[list[Array]], once: Callable = _as_it_is):
    """Return L⁻¹, 1/D, y = L⁻¹(x − μ) and ½ yᵀ D⁻¹ y for entries of x − μ and of T over pairs."""
    d = len(diff)
    inverse, inverse_diagonal = _ldl(t, once)
    y = [diff[a] + sum((inverse[a][b] * diff[b] for b in range(a)), start=0.0) for a in range(d)]
    y = once(y)
    half_chi2 = once(0.5 * sum(inverse_diagonal[a] * y[a] ** 2 for a in range(d)))
    return inverse, inverse_diagonal, y, half_chi2


def _pairs(x, noise, means, covs):
    """Entries of x − μ and of T = V + S over all pairs [c, k] of a chunk of stars."""
    d = x.shape[-1]
    diff = [x[:, None, a] - means[None, :, a] for a in range(d)]
    t = [[noise[:, None, a, b] + covs[None, :, a, b] for b in range(a + 1)] for a in range(d)]
    return diff, t


def _root_determinant(inverse_diagonal):
    """Return |T|^(−½); roots of pairs, as six variances of 1e-7 multiply to float32's overflow."""
    root = 1.0
    for a in range(0, len(inverse_diagonal), 2):
        root = root * jnp.sqrt(math.prod(inverse_diagonal[a : a + 2]))
    return root


def _bounded_ratio(exponent, root_determinant):
    """exp(exponent) |T|^(−½), bounded: e⁸⁰ × 10⁶ is inf in float32, and 0 × inf is NaN.

    Only components without weight can be that much likelier than the star's whole mixture. Weights
    down to 1e-34 (float32), 1e-277 (float64) keep their exact derivatives. The exponent is bounded
    as well, for autodiff of the dense formula.
    """
    bound = float(jnp.finfo(exponent.dtype).max) ** 0.9
    return jnp.minimum(jnp.exp(jnp.minimum(exponent, math.log(bound))) * root_determinant, bound)


def _log_2pi(d: int) -> float:
    return 0.5 * d * 1.8378770664093453


def _chunk_density(x, noise, weights, means, covs):
    """Log density of one chunk of stars, the largest exponent taken out."""
    *_, inverse_diagonal, _, half_chi2 = _whiten(*_pairs(x, noise, means, covs))
    shift = jnp.min(jnp.where(weights > 0, half_chi2, jnp.inf), axis=1, keepdims=True)
    shift = jnp.where(jnp.isfinite(shift), shift, 0.0)  # no component has weight: log 0 = −inf
    # a component without weight may be nearer than the nearest that has some: 0 × exp(+600)
    terms = weights * _bounded_ratio(shift - half_chi2, _root_determinant(inverse_diagonal))
    return jnp.log(terms.sum(axis=1)) - shift[:, 0] - _log_2pi(x.shape[-1])


def _pair_terms(diff, t, weights, g, log_p):
    """Return g N / p, r u (one entry a coordinate) and r (u uᵀ − T⁻¹) (lower triangle) of pairs."""
    inverse, inverse_diagonal, y, half_chi2 = _whiten(diff, t)
    exponent = -half_chi2 - (log_p + _log_2pi(len(diff)))
    ratio = _bounded_ratio(exponent, _root_determinant(inverse_diagonal)) * g
    r = ratio * weights
    return ratio, *_weighted(r, inverse, inverse_diagonal, y)


def _weighted(r, inverse, inverse_diagonal, y):
    """Return r u and r (u uᵀ − T⁻¹) of pairs, as `_pair_terms`, from what `_whiten` returns."""
    d = len(y)
    scaled = [inverse_diagonal[a] * y[a] for a in range(d)]
    column = [[*inverse[c], None] for c in range(d)]  # L⁻¹[c][b]; the diagonal is 1

    def entry(c: int, a: int):
        return 1.0 if c == a else column[c][a]

    u = [sum(entry(c, a) * scaled[c] for c in range(a, d)) for a in range(d)]
    ru = [r * u[a] for a in range(d)]
    curvature = {
        (a, b): ru[a] * u[b]
        - r * sum(entry(c, a) * inverse_diagonal[c] * entry(c, b) for c in range(a, d))
        for a in range(d)
        for b in range(a + 1)
    }
    return ru, curvature


def _assemble(first, lower):
    """Stack the entries of a vector and of a symmetric matrix, given by its lower triangle."""
    d = len(first)
    full = [[lower[max(a, b), min(a, b)] for b in range(d)] for a in range(d)]
    rows = [jnp.stack(line, axis=-1) for line in full]
    return jnp.stack(first, axis=-1), jnp.stack(rows, axis=-2)


def _chunk_sums(x, noise, g, log_p, weights, means, covs):
    """Return the sums of the module's docstring over one chunk of stars, and over components."""
    pairs = _pairs(x, noise, means, covs)
    ratio, ru, curvature = _pair_terms(*pairs, weights, g[:, None], log_p[:, None])

    def summed(axis: int):
        lower = {entry: term.sum(axis) for entry, term in curvature.items()}
        return _assemble([term.sum(axis) for term in ru], lower)

    return (ratio.sum(0), *summed(0)), summed(1)


def _chunks(array: Array, size: int, fill: Array | float) -> Array:
    """Cut the leading axis into [m, size, …], the last chunk filled up."""
    missing = -array.shape[0] % size
    tail = jnp.broadcast_to(jnp.asarray(fill, array.dtype), (missing, *array.shape[1:]))
    return jnp.concatenate([array, tail]).reshape(-1, size, *array.shape[1:])


def _chunk_size(n: int, k: int) -> int:
    """Stars that fit a CPU's cache; on a device all, so that there is no loop."""
    return max(1, min(n, PAIRS_IN_FLIGHT // max(k, 1))) if on_cpu() else n


def _per_point(function: Callable) -> Callable:
    """Batch by looping on CPUs: vmap would break the fusion of a chunk (seven times slower)."""
    return sequential_vmap(function) if on_cpu() else function


def _density(x, noise, weights, means, covs):
    n, d = x.shape
    size = _chunk_size(n, weights.shape[0])
    if size >= n:
        return _chunk_density(x, noise, weights, means, covs)
    parts = (_chunks(x, size, 0.0), _chunks(noise, size, jnp.eye(d)))
    return jax.lax.map(
        lambda part: _chunk_density(*part, weights=weights, means=means, covs=covs), parts
    ).ravel()[:n]


def _sums(x, noise, g, log_p, weights, means, covs, total):
    """Sum over all stars in dtype `total`, over components in the pairs' own."""
    n, d = x.shape
    size = _chunk_size(n, weights.shape[0])
    parts = (
        _chunks(x, size, 0.0),
        _chunks(noise, size, jnp.eye(d)),
        _chunks(g, size, 0.0),
        _chunks(log_p, size, 0.0),
    )

    def step(carry, part):
        over_stars, over_components = _chunk_sums(*part, weights=weights, means=means, covs=covs)
        return jax.tree.map(lambda a, b: a + b.astype(total), carry, over_stars), over_components

    if size >= n:
        over_stars, over_components = _chunk_sums(
            *(a[0] for a in parts), weights=weights, means=means, covs=covs
        )
        return jax.tree.map(lambda a: a.astype(total), over_stars), over_components
    k = weights.shape[0]
    start = (jnp.zeros(k, total), jnp.zeros((k, d), total), jnp.zeros((k, d, d), total))
    over_stars, over_components = jax.lax.scan(step, start, parts)
    flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], over_components)
    return over_stars, flat


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _log_density(x, noise, weights, means, covs, pairs):
    return _forward(x, noise, weights, means, covs, pairs)[0]


def _pair_arrays(x, noise, weights, means, covs, pairs):
    """Cast to the pairs' dtype about a common centre: 18 mag in float32 is only good to 1e-6."""
    centre = jnp.mean(x, axis=0)
    arrays = (x - centre, noise, weights, means - centre, covs)
    return tuple(a.astype(pairs) for a in arrays)


def _forward(x, noise, weights, means, covs, pairs):
    arrays = _pair_arrays(x, noise, weights, means, covs, pairs)
    log_p = _per_point(_density)(*arrays).astype(x.dtype)
    return log_p, (x, noise, weights, means, covs, log_p)


def _backward(pairs, residuals, g):
    x, noise, weights, means, covs, log_p = residuals
    xs, ss, ws, ms, vs = _pair_arrays(x, noise, weights, means, covs, pairs)
    safe_log_p = jnp.where(jnp.isfinite(log_p), log_p, 0.0).astype(pairs)
    sums = _per_point(lambda *arrays: _sums(*arrays, total=x.dtype))
    over_stars, over_components = sums(xs, ss, g.astype(pairs), safe_log_p, ws, ms, vs)
    d_weights, d_means, d_covs = over_stars[0], over_stars[1], 0.5 * over_stars[2]
    if covs.shape[0] == 1:  # one covariance shared by all components
        d_covs = d_covs.sum(axis=0, keepdims=True)
    d_x, d_noise = -over_components[0], 0.5 * over_components[1]
    if noise.shape[0] == 1:
        d_noise = d_noise.sum(axis=0, keepdims=True)
    gradients = zip((d_x, d_noise, d_weights, d_means, d_covs), residuals[:5], strict=True)
    return tuple(d.astype(a.dtype) for d, a in gradients)


_log_density.defvjp(_forward, _backward)


def log_density(
    x: Float[Array, "n d"],
    noise: Float[Array, "n d d"],
    weights: Float[Array, " k"],
    means: Float[Array, "k d"],
    covs: Float[Array, "#k d d"],
    *,
    pairs: jnp.dtype | type | None = None,
) -> Float[Array, " n"]:
    """Log density ln Σ_k w_k N(x_i | μ_k, V_k + S_i) of n stars, in bounded memory.

    Args:
        x: what was measured, in any units that `noise`, `means` and `covs` share.
        noise: covariance S_i of each star, symmetric; zero where the components are observed
            positions already.
        weights: w_k ≥ 0, zeros allowed (not their logarithms: ln 0 makes NaN gradients). They
            are used as given, normalised or not.
        means: μ_k.
        covs: V_k, symmetric, or one for all components (leading axis 1). V_k + S_i must be
            positive definite.
        pairs: dtype of the star × component arithmetic; float32 halves the time at an error of
            some 1e-5 per star, sums over stars stay in the dtype of `x`. By default that of `x`.

    Returns:
        One log density per star; −inf where all weights are zero.

    Reverse-mode derivatives with respect to all five arrays are exact and cost about three
    values. For forward mode and second derivatives use `log_density_dense`.
    """
    dtype = jnp.result_type(x) if pairs is None else jnp.dtype(pairs)
    n, d = x.shape
    return _log_density(x, jnp.broadcast_to(noise, (n, d, d)), weights, means, covs, dtype)


def log_density_dense(
    x: Float[Array, "n d"],
    noise: Float[Array, "n d d"],
    weights: Float[Array, " k"],
    means: Float[Array, "k d"],
    covs: Float[Array, "#k d d"],
) -> Float[Array, " n"]:
    """`log_density` with n × k arrays and no custom derivative: any order, either mode."""
    return _chunk_density(x, noise, weights, means, covs)
