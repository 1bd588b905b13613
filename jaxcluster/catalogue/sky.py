"""From the sky to a plane and back, areas unchanged.

Lambert's zenithal equal-area projection about a centre,

    ρ = 2 sin(θ/2),    x = ρ sin φ to the east,   y = ρ cos φ to the north

so that a density per solid angle is one per area of the plane, uniform where the sky's is, and a
circle about the centre a circle. A tangent plane has neither: at θ = 5° its areas are 1.1 % too
large. Distances from the centre are shortened by θ²/24, 3·10⁻⁴ at 5° and 5·10⁻⁴ at 6°. Right
ascension across 0h and the poles are like everywhere else.
"""

import numpy as np
from jaxtyping import Float

ARCMIN = 60 * 180 / np.pi  # in a radian


def _directions(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _basis(centre):
    """East, north and outwards at the centre; at a pole, where its right ascension says."""
    ra = np.radians(centre[0])
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    out = _directions(*centre)
    return np.stack([east, np.cross(out, east), out])


def to_plane(
    ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"], centre: tuple[float, float]
) -> Float[np.ndarray, "n 2"]:
    """Positions to the east and north of a centre [arcmin]; NaN where ra or dec is.

    Args:
        ra: right ascension [deg].
        dec: declination [deg].
        centre: (ra, dec) [deg].
    """
    across = _directions(ra, dec) @ _basis(centre).T
    stretch = np.sqrt(2.0 / np.maximum(1.0 + across[:, 2:], 1e-12))
    return ARCMIN * stretch * across[:, :2]


def to_sky(x: Float[np.ndarray, "n 2"], centre: tuple[float, float]) -> Float[np.ndarray, "n 2"]:
    """Right ascension (0 to 360) and declination [deg] of positions in the plane [arcmin]."""
    x = x / ARCMIN
    square = (x**2).sum(axis=-1, keepdims=True)
    across = np.concatenate([x * np.sqrt(1.0 - 0.25 * square), 1.0 - 0.5 * square], axis=-1)
    a, b, c = (across @ _basis(centre)).T
    return np.degrees(np.stack([np.arctan2(b, a) % (2 * np.pi), np.arctan2(c, np.hypot(a, b))], -1))


def check_positions(ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"]) -> None:
    """Check that positions are on the sky; NaN, of a star without one, passes.

    Args:
        ra: right ascension [deg], from −180 to 360.
        dec: declination [deg].

    Raises:
        ValueError: the message names the column, how many rows, and the first of them.
    """
    for name, values, low, high in (("ra", ra, -180.0, 360.0), ("dec", dec, -90.0, 90.0)):
        wrong = np.flatnonzero((values < low) | (values > high))
        if len(wrong):
            raise ValueError(
                f"{name}: {len(wrong)} of {len(values)} values are not between {low:g} and "
                f"{high:g} deg (first in row {wrong[0]}: {values[wrong[0]]:g}); mask fillers such "
                "as -999, or correct the column's unit"
            )


def middle(ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Median position (ra, dec) [deg] in the plane about the mean direction."""
    mean = _directions(ra, dec).mean(axis=0)
    if not np.linalg.norm(mean) > 1e-6:
        raise ValueError("positions: they are spread over the whole sky; expected one field")
    about = np.degrees([np.arctan2(mean[1], mean[0]), np.arctan2(mean[2], np.hypot(*mean[:2]))])
    there = to_sky(np.median(to_plane(ra, dec, tuple(about)), axis=0)[None], tuple(about))
    return float(there[0, 0]), float(there[0, 1])


def plane_radius(separation: float) -> float:
    """Distance from the centre in the plane [arcmin] of what is that far on the sky [arcmin]."""
    return 2.0 * ARCMIN * float(np.sin(0.5 * separation / ARCMIN))
