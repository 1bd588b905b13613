"""What a population's distance says of its stars' parallaxes.

    p(ϖ_i | member) = N(ϖ_i | 10^(2 − μ/5) + z, w_i²)

with μ the distance modulus, z Gaia's zero point [mas], which all stars of a field share, and w_i
the star's error, at least the cluster's own scatter. It is a factor of the member's density beside
that of magnitude and colour; the field has its own (`jaxcluster.field.parallax`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, ArrayLike, Float

from jaxcluster.density.stars import Stars

VALUE, ERROR = "parallax", "parallax_error"  # [mas], what stars know


class Parallaxes(NamedTuple):
    """Parallaxes of a sample, for a model that knows distances.

    Args:
        values: ϖ_i [mas].
        errors: w_i [mas]; infinite where a star has none, which then says nothing.
        log_field: ln p(ϖ_i) of the field [ln mas⁻¹], 0 for stars without one.
        zero_point: mean and standard deviation of the prior of z [mas].
    """

    values: Float[ArrayLike, " n"]
    errors: Float[ArrayLike, " n"]
    log_field: Float[ArrayLike, " n"]
    zero_point: tuple[float, float]

    def known_by(self, stars: Stars) -> Stars:
        """The stars, each with its parallax."""
        return stars.knowing(**{VALUE: self.values, ERROR: self.errors})


def expected_parallax(
    parameters: Mapping[str, Float[Array, ""] | float],
) -> Float[Array, ""] | float | None:
    """Parallax that Gaia would measure [mas]; None where parameters lack parallax_zero_point."""
    if "parallax_zero_point" not in parameters:
        return None
    return 10.0 ** (2.0 - parameters["distance_modulus"] / 5.0) + parameters["parallax_zero_point"]


def log_parallax(stars: Stars, expected: Float[Array, ""] | float) -> Float[Array, " n"]:
    """Log density of each star's parallax [ln mas⁻¹], were it a member; 0 where it has none.

    Raises:
        KeyError: the stars know no parallaxes.
    """
    if missing := [name for name in (VALUE, ERROR) if name not in stars.known]:
        raise KeyError(
            f"parallax_zero_point: stars know no {' and '.join(missing)}, only "
            f"{sorted(stars.known)}; use Parallaxes.known_by, or leave the parameter out"
        )
    error = stars.known[ERROR]
    measured = jnp.isfinite(error)
    log_p = norm.logpdf(stars.known[VALUE], expected, jnp.where(measured, error, 1.0))
    return jnp.where(measured, log_p, 0.0)
