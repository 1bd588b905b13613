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

    @property
    def expected(self) -> Float[Array, ""] | None:
        """Number of stars expected, which ln L of a Poisson process loses; None of a density."""
        return None


class AbstractMixture(AbstractDensity):
    """A density that is a sum of parts, of which the first is the cluster: Σ_j w_j p_j(x)."""

    @abc.abstractmethod
    def with_first(self, stars: Stars) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Log density of each star, and the log of the first part's share in it, ln w_0 p_0(x)."""

    @abc.abstractmethod
    def membership(self, stars: Stars) -> Float[Array, "n j"]:
        """Probability that each star belongs to each part, w_j p_j(x) / p(x); rows sum to 1."""


class Known(AbstractDensity):
    """A density without parameters, of which ln p of each star is known: `stars.known[name]`.

    A field that was fitted beforehand is evaluated once, not at every draw.

    Args:
        name: under which the stars have it.

    Example:
        >>> stars = stars.knowing(field=density(stars))  # doctest: +SKIP
        >>> Known("field")(stars)  # doctest: +SKIP
    """

    name: str = eqx.field(static=True)

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Raise: it is known at stars, not at any place."""
        raise TypeError(f"Known({self.name!r}): has no density elsewhere than at its stars")

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Log density of each star.

        Raises:
            KeyError: the stars do not have it.
        """
        if self.name not in stars.known:
            raise KeyError(
                f"Known({self.name!r}): the stars know {sorted(stars.known)}; use "
                f"stars.knowing({self.name}=…)"
            )
        return stars.known[self.name]


class GaussianMixture(AbstractMixture):
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

    def with_first(self, stars: Stars) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Log density of each star, and ln w_0 N(x | μ_0, V_0 + S)."""
        first = log_density(stars.x, stars.noise, self.weights[:1], self.means[:1], self.covs[:1])
        return self(stars), first

    def membership(self, stars: Stars) -> Float[Array, "n k"]:
        """Probability that each star belongs to each component; rows sum to 1.

        q_ik = w_k N(x_i | μ_k, V_k + S_i) / p(x_i), Bovy, Hogg & Roweis (2011), eq. 16.
        """

        def component(weight, mean, cov):
            return log_density(stars.x, stars.noise, weight[None], mean[None], cov[None])

        covs = jnp.broadcast_to(self.covs, (self.means.shape[0], *self.covs.shape[1:]))
        log_terms = jax.lax.map(lambda part: component(*part), (self.weights, self.means, covs))
        return jax.nn.softmax(log_terms.T, axis=1)


class Mixture(AbstractMixture):
    """Σ_j w_j p_j(x): cluster + field, or any densities of the same columns."""

    weights: Float[Array, " j"] = eqx.field(converter=jnp.asarray)
    parts: tuple[AbstractDensity, ...] = eqx.field(converter=tuple)

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star."""
        return _mix(self.weights, jnp.stack([p.log_prob(x, noise) for p in self.parts]))

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Log density of each star."""
        return self.with_first(stars)[0]

    def with_first(self, stars: Stars) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Log density of each star, and ln w_0 p_0(x)."""
        log_parts = jnp.stack([p(stars) for p in self.parts])
        return _mix(self.weights, log_parts), jnp.log(self.weights[0]) + log_parts[0]

    def membership(self, stars: Stars) -> Float[Array, "n j"]:
        """Probability that each star belongs to each part; rows sum to 1."""
        log_parts = jnp.stack([p(stars) for p in self.parts], axis=-1)
        return self.weights * jnp.exp(log_parts - _mix(self.weights, log_parts.T)[:, None])


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
