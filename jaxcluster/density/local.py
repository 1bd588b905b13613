"""The kernel where components and stars are local: pairs too far apart to matter are skipped.

In the colour-magnitude plane a star six standard deviations from a cell adds nothing, and most
pairs are further apart. Stars come in blocks and components in chunks, in the order given; the
tiles (block × chunk) within reach of each other are listed and computed in groups; the loop over
groups ends with the list.

Tried and left: a loop over the chunks of each block (too little work an iteration), a list of fixed
length, chosen from three (three times the compiling), and sorting the components, which takes as
long as the pairs.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxcluster.density.backend import on_cpu
from jaxcluster.density.gaussian import (
    _assemble,
    _log_2pi,
    _pair_terms,
    _per_point,
    _root_determinant,
    _whiten,
    log_density,
)

BLOCK = 32  # stars, fewer in small samples: a block should not span the whole diagram
CHUNK = 8  # components
TILES = 128  # of a group: 32 000 pairs, whose sums stay in the cache


def _block_size(n: int) -> int:
    return min(BLOCK, max(8, n // 32))


def _cut(array, size, fill):
    """Cut the leading axis into [m, size, …], filled up with `fill`."""
    missing = -array.shape[0] % size
    tail = jnp.broadcast_to(jnp.asarray(fill, array.dtype), (missing, *array.shape[1:]))
    return jnp.concatenate([array, tail]).reshape(-1, size, *array.shape[1:])


def _live_tiles(x, noise, real, weights, means, covs, reach):
    """Which block (row) and chunk (column) are within reach of each other in every coordinate."""
    used, live = weights > 0, jnp.asarray(True)
    for a in range(x.shape[-1]):
        extent = reach * jnp.sqrt(covs[..., a, a])
        low = jnp.where(used, means[..., a] - extent, jnp.inf).min(axis=1)
        high = jnp.where(used, means[..., a] + extent, -jnp.inf).max(axis=1)
        # √V + √S, not √(V + S), so that a block is one interval for all chunks
        extent = reach * jnp.sqrt(noise[..., a, a])
        first = jnp.where(real, x[..., a] - extent, jnp.inf).min(axis=1)
        last = jnp.where(real, x[..., a] + extent, -jnp.inf).max(axis=1)
        live &= (low[None, :] <= last[:, None]) & (high[None, :] >= first[:, None])
    return live


def _running_total(counts):
    """Inclusive cumulative sum of [n] float32 by products with a triangle: vectors, not a chain."""
    n, width = counts.shape[0], 32
    rows = jnp.pad(counts, (0, -n % width)).reshape(-1, width)
    inner = rows @ jnp.triu(jnp.ones((width, width), counts.dtype))
    if len(inner) > 1:
        inner = inner + (_running_total(inner[:, -1]) - inner[:, -1])[:, None]
    return inner.ravel()[:n]


def _over_tiles(live, size, start, add):
    """Fold `sums = add(sums, blocks, chunks)` over the live tiles, `size` at a time.

    Block m, which is none, fills the last group up. The loop is as long as there are live tiles.

    The bisection is a sum of power-of-two steps, each used once by the next. One that carries both
    ends of its interval (`jnp.searchsorted`) uses each several times a level, and since jaxlib 0.11
    LLVM's vectoriser walks every path of uses: 3.5 times as many a level, 64 s of compiling at
    1000 stars and more than 8 minutes at 4000, against 6 s at any number (`benchmarks/compile`).
    """
    n_chunks = live.shape[1]
    rank = _running_total(live.ravel().astype(jnp.float32))  # exact up to 2²⁴ live tiles
    levels = live.size.bit_length()
    padded = jnp.pad(rank, (0, 2**levels - 1 - live.size), constant_values=jnp.inf)

    def group(i, sums):
        wanted = (i * size + jnp.arange(size)).astype(rank.dtype)
        tile = jnp.zeros(size, jnp.int32)
        for step in (2**level for level in reversed(range(levels))):
            there = padded.at[tile + step - 1].get(mode="promise_in_bounds")
            tile = tile + jnp.where(there <= wanted, step, 0)
        return add(sums, tile // n_chunks, jnp.where(tile < live.size, tile % n_chunks, 0))

    groups = (rank[-1].astype(int) + size - 1) // size
    return jax.lax.fori_loop(0, groups, group, start)


def _density(x, noise, real, weights, means, covs, reach):
    """Linear density of blocks of stars [m, b, …]; 0 where no component is within reach."""
    d = x.shape[-1]
    lower = [(a, b) for a in range(d) for b in range(a + 1)]

    def add(density, blocks, chunks):
        # one array per entry, [tile, star] and [tile, component]: strided entries do not vectorise
        stars = [x[..., a][blocks] for a in range(d)]
        noises = {(a, b): noise[..., a, b][blocks] for a, b in lower}
        m = [means[..., a][chunks] for a in range(d)]
        v = {(a, b): covs[..., a, b][chunks] for a, b in lower}
        w = weights[chunks]
        # Written out over the chunk: XLA's CPU reductions are scalar, a sum of terms vectorises
        # over the stars (1.0 against 2.6 ns a pair).
        total = jnp.zeros_like(stars[0])
        for j in range(CHUNK):
            one = slice(j, j + 1)
            diff = [stars[a] - m[a][:, one] for a in range(d)]
            t = [[noises[a, b] + v[a, b][:, one] for b in range(a + 1)] for a in range(d)]
            *_, inverse_diagonal, _, half_chi2 = _whiten(diff, t)
            root = _root_determinant(inverse_diagonal)
            total = total + w[:, one] * jnp.exp(-half_chi2) * root
        return density.at[blocks].add(total, mode="drop")

    live = _live_tiles(x, noise, real, weights, means, covs, reach)
    return _over_tiles(live, TILES, jnp.zeros(x.shape[:2], x.dtype), add)


class _Sums(NamedTuple):
    """The sums of `gaussian` over the pairs of live tiles; blocks of stars, chunks of components.

    Those over stars and those over components are two passes: a model whose stars have no
    parameters needs the first only, and inside jit the second falls away. Each goes through one
    side of a tile in a loop and holds the other in vectors, since XLA's CPU reductions are scalar.
    """

    live: Array
    stars: list[Array]  # x, lower triangle of S, g, ln p: each [block, star]
    components: list[Array]  # w, μ, lower triangle of V: each [chunk, component]
    d: int

    @classmethod
    def of(cls, x, noise, real, g, log_p, weights, means, covs, reach):
        d = x.shape[-1]
        lower = [(a, b) for a in range(d) for b in range(a + 1)]
        return cls(
            _live_tiles(x, noise, real, weights, means, covs, reach),
            [*(x[..., a] for a in range(d)), *(noise[..., a, b] for a, b in lower), g, log_p],
            [weights, *(means[..., a] for a in range(d)), *(covs[..., a, b] for a, b in lower)],
            d,
        )

    @property
    def _n_sums(self) -> int:
        return 1 + self.d + self.d * (self.d + 1) // 2

    def _terms(self, stars, components):
        d = self.d
        weight, mean = components[0], components[1 : 1 + d]
        *entries, g, log_p = stars
        x, upper = entries[:d], iter(zip(entries[d:], components[1 + d :], strict=True))
        t = [[sum(next(upper)) for _ in range(a + 1)] for a in range(d)]
        ratio, ru, curvature = _pair_terms([x[a] - mean[a] for a in range(d)], t, weight, g, log_p)
        return [ratio, *ru, *curvature.values()]

    def _looped(self, blocks, chunks, over_stars):
        """Sum terms over one side of each tile [T, …], one step of a loop for each member."""
        blocks = jnp.minimum(blocks, self.live.shape[0] - 1)
        stars, components = [a[blocks] for a in self.stars], [a[chunks] for a in self.components]
        stars, components = [a.T for a in stars], [a.T for a in components]
        through, held = (stars, components) if over_stars else (components, stars)

        def step(sums, members):
            one = [a[None, :] for a in members]
            terms = self._terms(one, held) if over_stars else self._terms(held, one)
            return [s + term for s, term in zip(sums, terms, strict=True)], None

        start = [jnp.zeros_like(held[0])] * self._n_sums
        return [a.T for a in jax.lax.scan(step, start, through)[0]]

    def over_stars(self, total):
        """Q [k], A1 [k, d] and A2 [k, d, d], added up in dtype `total`."""

        def add(sums, blocks, chunks):
            real = (blocks < self.live.shape[0])[:, None]
            new = self._looped(blocks, chunks, True)
            return [
                a.at[chunks].add(jnp.where(real, b, 0.0).astype(total))
                for a, b in zip(sums, new, strict=True)
            ]

        start = [jnp.zeros(self.components[0].shape, total)] * self._n_sums
        q, *rest = (a.ravel() for a in _over_tiles(self.live, TILES, start, add))
        return q, *self._split(rest)

    def over_components(self):
        """Σ_k r u [n, d] and Σ_k r (u uᵀ − T⁻¹) [n, d, d] of each star."""

        def add(sums, blocks, chunks):
            new = self._looped(blocks, chunks, False)
            return [a.at[blocks].add(b, mode="drop") for a, b in zip(sums, new, strict=True)]

        start = [jnp.zeros_like(self.stars[0])] * self._n_sums
        _, *rest = (a.ravel() for a in _over_tiles(self.live, TILES, start, add))
        return self._split(rest)

    def _split(self, sums):
        lower = [(a, b) for a in range(self.d) for b in range(a + 1)]
        return _assemble(sums[: self.d], dict(zip(lower, sums[self.d :], strict=True)))


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _log_density(x, noise, real, weights, means, covs, reach, pairs):
    return _forward(x, noise, real, weights, means, covs, reach, pairs)[0]


def _prepare(x, noise, real, weights, means, covs, pairs):
    """Blocks of stars and chunks of components about a common centre, in the pairs' dtype."""
    centre = jnp.mean(x, axis=0)
    x, means = x - centre, means - centre
    size = _block_size(x.shape[0])
    stars = (_cut(x, size, x[-1]), _cut(noise, size, noise[-1]))
    packed = (_cut(weights, CHUNK, 0.0), _cut(means, CHUNK, 0.0), _cut(covs, CHUNK, covs[-1]))
    stars, packed = (tuple(a.astype(pairs) for a in arrays) for arrays in (stars, packed))
    return (*stars, _cut(real, size, False)), packed


def _forward(x, noise, real, weights, means, covs, reach, pairs):
    stars, packed = _prepare(x, noise, real, weights, means, covs, pairs)
    density = _per_point(partial(_density, reach=reach))(*stars, *packed)
    log_p = jnp.log(density.ravel()[: x.shape[0]].astype(x.dtype)) - _log_2pi(x.shape[1])
    return log_p, (x, noise, real, weights, means, covs, log_p)


def _backward(reach, pairs, residuals, g):
    x, noise, real, weights, means, covs, log_p = residuals
    n = x.shape[0]
    stars, packed = _prepare(x, noise, real, weights, means, covs, pairs)
    seen = jnp.isfinite(log_p)
    size = _block_size(n)
    per_star = tuple(_cut(jnp.where(seen, a, 0.0).astype(pairs), size, 0.0) for a in (g, log_p))
    over_stars = _per_point(lambda *a: _Sums.of(*a, reach=reach).over_stars(x.dtype))
    over_components = _per_point(lambda *a: _Sums.of(*a, reach=reach).over_components())
    q, a1, a2 = (a[: weights.shape[0]] for a in over_stars(*stars, *per_star, *packed))
    first, second = (a[:n] for a in over_components(*stars, *per_star, *packed))
    gradients = (q, a1, 0.5 * a2)
    gradients = (d.astype(a.dtype) for d, a in zip(gradients, (weights, means, covs), strict=True))
    return (-first).astype(x.dtype), (0.5 * second).astype(x.dtype), None, *gradients


_log_density.defvjp(_forward, _backward)


def log_density_local(
    x: Float[Array, "n d"],
    noise: Float[Array, "n d d"],
    weights: Float[Array, " k"],
    means: Float[Array, "k d"],
    covs: Float[Array, "k d d"],
    *,
    real: Bool[Array, " n"] | None = None,
    reach: float = 6.0,
    pairs: jnp.dtype | type | None = None,
) -> Float[Array, " n"]:
    """`jaxcluster.density.gaussian.log_density` without the pairs that lie far apart.

    Args:
        x: stars, fastest when neighbours in the list are neighbours in the first coordinate.
        noise: covariance of each star.
        weights: w_k ≥ 0.
        means: μ_k; here too neighbours in the list should be close in the first coordinate.
        covs: V_k, one per component.
        real: whether a star counts, all by default; what others are told means nothing.
        reach: pairs further apart than this many standard deviations in any coordinate may be
            left out; 6 of them are worth e⁻¹⁸.
        pairs: dtype of the pair arithmetic, by default that of `x`.

    Returns:
        One log density per star; −inf for a star without any component in reach, so use it where
        another density (a field) is added. Gradients are exact for the pairs computed. On a device
        no pair is left out: a list of those in reach takes loops, and all of them one launch.
    """
    dtype = jnp.result_type(x) if pairs is None else jnp.dtype(pairs)
    if not on_cpu():
        return log_density(x, noise, weights, means, covs, pairs=dtype)
    real = jnp.ones(x.shape[0], bool) if real is None else real
    return _log_density(x, noise, real, weights, means, covs, reach, dtype)
