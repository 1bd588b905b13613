"""SQUAREM (Varadhan & Roland 2008): two updates of EM extrapolated.

r = θ₁ − θ₀ and v = (θ₂ − θ₁) − r say how slowly EM creeps, and θ₀ + 2αr + α²v with α = |r|/|v|
goes there at once.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcluster.xd.coordinates import to_plane


def begin(theta: Float[Array, " t"]) -> Float[Array, ""]:
    """Return the largest α allowed at first."""
    return jnp.asarray(4.0, theta.dtype)


def propose(longest: Float[Array, ""], seen):
    """Return θ of the extrapolation, whether it is of use, and the largest α allowed."""
    before, here = seen.theta_before, seen.theta
    new = to_plane(seen.update, jnp.linalg.cholesky(seen.update.covs))
    r, v = here - before, new - 2.0 * here + before
    norms = jnp.sqrt(r @ r), jnp.sqrt(v @ v)
    length = jnp.clip(norms[0] / jnp.maximum(norms[1], 1e-300), 1.0, longest)
    far = before + 2.0 * length * r + length**2 * v
    usable = seen.by_update & (length > 1.0)
    return far, usable, jnp.where(usable & (length == longest), 4.0 * longest, longest)


def refused(longest: Float[Array, ""]) -> Float[Array, ""]:
    """Return the largest α allowed after one that led down."""
    return jnp.maximum(longest / 4.0, 1.0)
