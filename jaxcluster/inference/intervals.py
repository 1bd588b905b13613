"""From the real line to where a parameter can be: intervals through Φ, the rest as numpyro does.

numpyro takes the logistic function. Under that a posterior against its bound (no extinction) falls
off like eᶻ, under Φ like a Gaussian, and a uniform prior is one. A prior uniform in the logarithm
is one if Φ is taken of that: through Φ of x, four of the five decades of LogUniform(1e-4, 10) lie
beyond z = −1.28, in a tail that no Gaussian has.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jax.scipy.stats import norm
from jaxtyping import Array
from numpyro.distributions import (
    Distribution,
    ExpandedDistribution,
    Independent,
    LogUniform,
    MaskedDistribution,
    Normal,
    constraints,
)
from numpyro.distributions.transforms import AffineTransform, ExpTransform, biject_to


class Interval(NamedTuple):
    """From the real line to an interval through Φ: x = low + (high − low) Φ(z)."""

    low: Any
    high: Any

    def at(self, share: Array) -> Array:
        """Value of a share of the interval; low + (high − low) can round to more than high."""
        return jnp.clip(self.low + (self.high - self.low) * share, self.low, self.high)

    def __call__(self, z: Array) -> Array:
        """Value of z."""
        return self.at(ndtr(z))

    def inv(self, value: Array) -> Array:
        """Return z of a value."""
        return ndtri((value - self.low) / (self.high - self.low))

    def log_abs_det_jacobian(self, z: Array, value: Array) -> Array:
        """Log of the density of a value uniform in the interval, over that of z."""
        return jnp.log(jnp.abs(self.high - self.low)) + norm.logpdf(z)


class LogInterval(NamedTuple):
    """The same of the logarithm: ln x = ln low + (ln high − ln low) Φ(z)."""

    low: Any
    high: Any

    @property
    def _log(self) -> Interval:
        return Interval(jnp.log(self.low), jnp.log(self.high))

    def at(self, share: Array) -> Array:
        """Value of a share of the interval of ln x."""
        return jnp.clip(jnp.exp(self._log.at(share)), self.low, self.high)

    def __call__(self, z: Array) -> Array:
        """Value of z."""
        return self.at(ndtr(z))

    def inv(self, value: Array) -> Array:
        """Return z of a value."""
        return self._log.inv(jnp.log(value))

    def log_abs_det_jacobian(self, z: Array, value: Array) -> Array:
        """Log |dx / dz|."""
        return jnp.log(value) + self._log.log_abs_det_jacobian(z, value)


def bijection(distribution: Distribution, again: Distribution) -> Any:
    """From the real line to the support of a distribution, entry by entry for intervals.

    Args:
        distribution: of a site, in one draw from the prior.
        again: in another draw. A normal one that is the same in both, and so depends on no other
            site, is in its own units: searches expect a prior about 1 wide.
    """
    if type(distribution) is type(again) is Normal and all(
        np.array_equal(getattr(distribution, n), getattr(again, n)) for n in ("loc", "scale")
    ):
        normal: Any = distribution
        return AffineTransform(normal.loc, normal.scale)
    support: Any = distribution.support
    entries = getattr(support, "base_constraint", support)
    if not isinstance(entries, constraints._Interval):  # pyright: ignore[reportAttributeAccessIssue]
        return biject_to(support)
    while isinstance(distribution, ExpandedDistribution | Independent | MaskedDistribution):
        distribution = distribution.base_dist
    kind = LogInterval if isinstance(distribution, LogUniform) else Interval
    return kind(entries.lower_bound, entries.upper_bound)


def is_scale(to_support: Any) -> bool:
    """Whether a bijection's values are positive and equal steps are equal factors: of a scale."""
    to_support = getattr(to_support, "base_transform", to_support)  # of a site with many entries
    return isinstance(to_support, LogInterval | ExpTransform)
