"""Mass functions: how many stars of which initial mass."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class MassFunction(eqx.Module):
    """Broken power law dN/dM ∝ M^slope, continuous at the breaks; slope −2.35 is Salpeter's.

    Args:
        slopes: one more than breaks, from low to high mass.
        breaks: masses [solar] where the slope changes, increasing.
    """

    slopes: tuple[Float[Array, ""] | float, ...]
    breaks: tuple[float, ...] = eqx.field(static=True, default=())

    def integral(self, lower: Float[Array, " c"], upper: Float[Array, " c"]) -> Float[Array, " c"]:
        """∫ dN/dM dM from `lower` to `upper` [solar masses]; unnormalised, never negative."""
        total, scale = jnp.zeros_like(lower), 1.0
        edges = (0.0, *self.breaks, jnp.inf)
        for i, slope in enumerate(self.slopes):
            if i > 0:
                scale = scale * edges[i] ** (self.slopes[i - 1] - slope)
            a = jnp.clip(lower, edges[i], edges[i + 1])
            b = jnp.clip(upper, edges[i], edges[i + 1])
            total = total + scale * power_integral(a, b, slope)
        return total


def power_integral(a, b, slope):
    """∫_a^b M^s dM = a^(s+1) L φ((s+1)L) with L = ln(b/a), φ(z) = (eᶻ − 1)/z."""
    positive = (b > a) & (a > 0)
    a, b = jnp.where(positive, a, 1.0), jnp.where(positive, b, 1.0)
    log_ratio = jnp.log1p((b - a) / a)
    z = (slope + 1.0) * log_ratio
    small = jnp.abs(z) < 1e-4
    safe = jnp.where(small, 1.0, z)
    phi = jnp.where(small, 1.0 + z / 2.0 + z * z / 6.0, jnp.expm1(safe) / safe)
    return a ** (slope + 1.0) * log_ratio * phi


def kroupa() -> MassFunction:
    """Kroupa (2001, eq. 2): slopes −0.3, −1.3, −2.3 with breaks at 0.08 and 0.5 solar masses."""
    return MassFunction((-0.3, -1.3, -2.3), (0.08, 0.5))
