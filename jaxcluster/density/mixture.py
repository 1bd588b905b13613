"""Densities of one star, and the ways of putting them together.

An author writes `log_prob(x, noise)` of *one* star; calling a density on `Stars` maps it over all
of them. A class overrides `__call__` only where the kernel is faster than the map. Densities know
no priors and no samplers.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcluster.density.gaussian import log_density
from jaxcluster.density.stars import Stars


class AbstractDensity(eqx.Module):
    """A probability density of one star, given its measurement noise."""

    @abc.abstractmethod
    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star measured at `x` with noise covariance `noise`."""

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Log density of each star."""
        return jax.vmap(self.log_prob)(stars.x, stars.noise)


class GaussianMixture(AbstractDensity):
    """Σ_k w_k N(x | μ_k, V_k + S), the intrinsic mixture convolved with the star's noise S.

    Args:
        weights: w_k ≥ 0; the density integrates to their sum.
        means: μ_k, in the units of the stars' columns.
        covs: V_k, or one covariance for all components (leading axis 1).

    Bovy, Hogg & Roweis (2011), eq. 4.
    """

    weights: Float[Array, " k"] = eqx.field(converter=jnp.asarray)
    means: Float[Array, "k d"] = eqx.field(converter=jnp.asarray)
    covs: Float[Array, "#k d d"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        """Shapes must agree: k weights, k × d means, k (or 1) × d × d covariances."""
        shapes: list[Any] = [
            getattr(a, "shape", None) for a in (self.weights, self.means, self.covs)
        ]
        if any(s is None for s in shapes) or len(shapes[0]) != 1:
            return  # a tree transformation holds other leaves, or a batch axis
        (k,), means, covs = shapes
        if (
            len(means) != 2
            or means[0] != k
            or covs not in ((k, *means[1:] * 2), (1, *means[1:] * 2))
        ):
            raise ValueError(
                f"GaussianMixture: {k} weights go with means of shape ({k}, d) and covs of shape "
                f"({k}, d, d) or (1, d, d); found {means} and {covs}"
            )

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star."""
        return log_density(x[None], noise[None], self.weights, self.means, self.covs)[0]

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Log density of each star, through the chunked kernel."""
        return log_density(stars.x, stars.noise, self.weights, self.means, self.covs)

    def membership(self, stars: Stars) -> Float[Array, "n k"]:
        """Probability that each star belongs to each component; rows sum to 1.

        q_ik = w_k N(x_i | μ_k, V_k + S_i) / p(x_i), Bovy, Hogg & Roweis (2011), eq. 16.
        """

        def component(weight, mean, cov):
            return log_density(stars.x, stars.noise, weight[None], mean[None], cov[None])

        covs = jnp.broadcast_to(self.covs, (self.means.shape[0], *self.covs.shape[1:]))
        log_terms = jax.lax.map(lambda part: component(*part), (self.weights, self.means, covs))
        return jax.nn.softmax(log_terms.T, axis=1)


class Mixture(AbstractDensity):
    """Σ_j w_j p_j(x): cluster + field, or any densities of the same columns."""

    weights: Float[Array, " j"]
    parts: tuple[AbstractDensity, ...]

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star."""
        return _mix(self.weights, jnp.stack([p.log_prob(x, noise) for p in self.parts]))

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Log density of each star."""
        return _mix(self.weights, jnp.stack([p(stars) for p in self.parts]))

    def membership(self, stars: Stars) -> Float[Array, "n j"]:
        """Probability that each star belongs to each part; rows sum to 1."""
        log_terms = jnp.stack([p(stars) for p in self.parts], axis=-1)
        return self.weights * jnp.exp(log_terms - _mix(self.weights, log_terms.T)[:, None])


def _mix(weights, log_parts):
    """Return ln Σ_j w_j exp(l_j) along the first axis; weights may be 0.

    `logsumexp` drops parts of weight 0, and with them their derivative exp(l_j − ln p) in w_j.
    """
    weights = weights.reshape((-1,) + (1,) * (log_parts.ndim - 1))
    shift = jnp.where(weights > 0, log_parts, -jnp.inf).max(axis=0)
    shift = jax.lax.stop_gradient(jnp.where(jnp.isfinite(shift), shift, 0.0))
    largest = 0.9 * math.log(jnp.finfo(log_parts.dtype).max)  # 0 × inf would be NaN
    return jnp.log((weights * jnp.exp(jnp.minimum(log_parts - shift, largest))).sum(axis=0)) + shift


class Subspace(AbstractDensity):
    """A density of some of the columns, e.g. proper motion out of (pmra, pmdec, G, BP-RP)."""

    axes: tuple[int, ...] = eqx.field(static=True)
    density: AbstractDensity

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star."""
        axes = jnp.asarray(self.axes)
        return self.density.log_prob(x[axes], noise[jnp.ix_(axes, axes)])

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Log density of each star."""
        columns = tuple(stars.columns[a] for a in self.axes)
        axes = jnp.asarray(self.axes)
        noise = stars.noise[:, axes[:, None], axes[None, :]]
        return self.density(Stars(x=stars.x[:, axes], noise=noise, columns=columns))


class Product(AbstractDensity):
    """Π_j p_j(x): independent blocks, each usually a `Subspace`, of a joint model."""

    parts: tuple[AbstractDensity, ...]

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star."""
        return sum((p.log_prob(x, noise) for p in self.parts), start=jnp.zeros(()))

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Log density of each star."""
        return sum((p(stars) for p in self.parts), start=jnp.zeros(()))
