"""Coordinates in which mixtures may be moved, and the gradient of ln L by them.

θ are ln w, μ and the Cholesky factors L of V with ln of their diagonals: every θ is a mixture. The
sums of a pass give the gradient besides the update,

    ∂/∂ln w_k = Q_k − w_k Σ_j Q_j      ∂/∂μ_k = A1_k      ∂/∂V_k = A2_k / 2
"""

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxcluster.xd.sums import Parameters


def diagonal(matrices: Float[Array, "k d d"]) -> Float[Array, "k d"]:
    """The diagonal of each matrix."""
    return jnp.diagonal(matrices, axis1=1, axis2=2)


def flat(*parts: Float[Array, "..."]) -> Float[Array, " t"]:
    """θ from what `parts_of` returns."""
    return ravel_pytree(parts)[0]


def parts_of(theta: Float[Array, " t"], like: Parameters):
    """θ apart: ln w [k], μ [k, d], ln of the diagonal of L [k, d] and L below it [k, d, d]."""
    k, d = like.means.shape
    ends = [k, k + k * d, k + 2 * k * d]
    first, *rest = jnp.split(theta, ends)
    return first, *(a.reshape(k, *s) for a, s in zip(rest, ((d,), (d,), (d, d)), strict=True))


def size_of(mixture: Parameters) -> int:
    """Length of θ: L takes d² places, those above its diagonal are 0."""
    k, d = mixture.means.shape
    return k * (1 + 2 * d + d * d)


def to_plane(mixture: Parameters, root: Float[Array, "k d d"]) -> Float[Array, " t"]:
    """θ of a mixture; `root` are the Cholesky factors of its covariances."""
    log_weights = jnp.log(jnp.maximum(mixture.weights, 1e-300))
    return flat(log_weights, mixture.means, jnp.log(diagonal(root)), jnp.tril(root, -1))


def from_plane(theta: Float[Array, " t"], old: Parameters, fixed: Parameters) -> Parameters:
    """Mixture at `theta`; what is fixed is that of `old`."""
    log_weights, means, log_diagonal, below = parts_of(theta, old)
    root = jnp.tril(below, -1) + jnp.exp(log_diagonal)[:, :, None] * jnp.eye(means.shape[1])
    left = 1.0 - jnp.where(fixed.weights, old.weights, 0.0).sum()
    share = jnp.where(fixed.weights, 0.0, jnp.exp(log_weights - log_weights.max()))
    return Parameters(
        jnp.where(fixed.weights, old.weights, left * share / share.sum()),
        jnp.where(fixed.means[:, None], old.means, means),
        jnp.where(fixed.covs[:, None, None], old.covs, root @ root.mT),
    )


def gradient(
    mixture: Parameters,
    root: Float[Array, "k d d"],
    share: Float[Array, " k"],
    by_means: Float[Array, "k d"],
    by_covs: Float[Array, "k d d"],
    fixed: Parameters,
) -> Float[Array, " t"]:
    """∂ ln L/∂θ at a mixture, 0 along what is fixed.

    Args:
        mixture: at which it is taken.
        root: Cholesky factors L of its covariances.
        share: Q_k, the stars of each component.
        by_means: ∂ ln L/∂μ.
        by_covs: ∂ ln L/∂V.
        fixed: booleans, true for what keeps its value.
    """
    free = jnp.where(fixed.weights, 0.0, mixture.weights)
    share = jnp.where(fixed.weights, 0.0, share)
    by_root = jnp.where(fixed.covs[:, None, None], 0.0, 2.0 * by_covs @ root)
    return flat(
        share - free / jnp.maximum(free.sum(), 1e-300) * share.sum(),
        jnp.where(fixed.means[:, None], 0.0, by_means),
        diagonal(by_root) * diagonal(root),
        jnp.tril(by_root, -1),
    )
