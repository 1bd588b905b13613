"""What a colour of isochrones is wrong by: a smooth function of effective temperature.

    Δ(T) = Σ_j ε_j h_j(log T)

with hat functions h_j: straight lines between values ε_j [mag] at `KELVIN`, constant beyond the
last ones. A fit that trusts colours which are wrong makes up for it by extinction, metallicity and
distance: of NGC 2682, ln Z rises by 161 with such an error (`benchmarks/ngc2682`). The ε_j are
parameters of a model, `NAMES`.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.population.isochrone import Isochrone

KELVIN = 3200, 3600, 4250, 5200, 7000, 12600  # from M to B stars, 0.05 to 0.25 dex apart
NAMES = tuple(f"colour_error_{kelvin}" for kelvin in KELVIN)


def hats(log_teff: Float[Array, " e"]) -> Float[Array, "j e"]:
    """The functions h_j at temperatures [log₁₀ K]; they add up to 1."""
    knots = np.log10(KELVIN)
    share = jnp.clip((log_teff - knots[:-1, None]) / np.diff(knots)[:, None], 0.0, 1.0)
    beyond = jnp.concatenate([jnp.ones_like(share[:1]), share])
    return beyond - jnp.concatenate([share, jnp.zeros_like(share[:1])])


def with_colour_error(
    isochrone: Isochrone,
    to_plane: Float[np.ndarray, "d b"],
    parameters: Mapping[str, Float[Array, ""] | float],
) -> Isochrone:
    """Add an error to the colour of an isochrone, half of it to either band.

    Args:
        isochrone: with the effective temperatures of its stars.
        to_plane: rows that make a magnitude and a colour from the bands. The magnitude stays as it
            is, unless its band is in the colour.
        parameters: ε_j [mag], each of `NAMES`.

    Raises:
        ValueError: isochrones without temperatures, or more colours than one.
    """
    if isochrone.log_teff is None or len(to_plane) != 2:
        raise ValueError(
            f"colour_error: expected isochrones with effective temperatures and one colour, found "
            f"{'no temperatures' if isochrone.log_teff is None else f'{len(to_plane) - 1} colours'}"
            "; leave isochrone_error out"
        )
    error = jnp.stack([jnp.asarray(parameters[name]) for name in NAMES])
    bands = jnp.asarray(np.linalg.pinv(to_plane[1:]))
    shift = bands * (error @ hats(isochrone.log_teff))
    return isochrone._replace(magnitudes=isochrone.magnitudes + shift.T)
