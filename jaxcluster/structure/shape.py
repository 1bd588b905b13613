"""Elongation of a cluster from its second moments, and where it points.

    C = Σ w_i (x_i − x̄)(x_i − x̄)ᵀ / Σ w_i,     e = 1 − √(λ₂/λ₁)

with λ₁ ≥ λ₂ its eigenvalues; the major axis is the first eigenvector. Moments weigh the outskirts
most; in a circular footprint, and with field stars in it, they are rounder than the cluster is.
A round cluster is never found round: of n stars e is √(π/2n) times a factor of the profile's, so
the e that turning each star about the centre by a random angle gives stands beside.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxcluster.structure.positions import as_weights, positions

RESAMPLINGS = 500


class Shape(NamedTuple):
    """Elongation of a cluster.

    Args:
        ellipticity: e.
        ellipticity_error: by the bootstrap.
        position_angle: of the major axis, from north through east, 0 to 180 [deg].
        position_angle_error: by the bootstrap [deg]; 52 says that there is no direction.
        round_ellipticity: the median e of the same stars turned at random.
        chance: share of those as elongated.
        centre: x̄ [arcmin].
        semi_axes: √λ₁ and √λ₂ [arcmin].
    """

    ellipticity: float
    ellipticity_error: float
    position_angle: float
    position_angle_error: float
    round_ellipticity: float
    chance: float
    centre: tuple[float, float]
    semi_axes: tuple[float, float]


def shape(
    x: Float[np.ndarray, "n 2"],
    *,
    rng: np.random.Generator,
    weights: Float[np.ndarray, " n"] | None = None,
    radius: float | None = None,
    resamplings: int = RESAMPLINGS,
) -> Shape:
    """Measure the elongation.

    Args:
        x: positions, to the east and north [arcmin].
        rng: of resamplings and turns.
        weights: memberships, 1 by default.
        radius: only stars within it about the origin [arcmin]: less of it is the field's.
        resamplings: of the stars, and as many turns.

    Raises:
        ValueError: from `positions` and `as_weights`, or all stars on a line through the centre.
    """
    x = positions(x)
    w = as_weights(weights, len(x))
    if radius is not None:
        near = np.hypot(*x.T) < radius
        x, w = positions(x[near]), as_weights(w[near], int(near.sum()))
    n = len(x)
    e, angle, centre, axes = _moments(x, w)
    if axes[1] < 1e-9 * axes[0]:
        raise ValueError(
            "x: all stars are on a line, expected a field around a cluster; look at the columns"
        )
    again = []
    for _ in range(resamplings):
        counts = np.bincount(rng.integers(0, n, n), minlength=n)
        if np.count_nonzero(counts * w) > 2:
            again.append(_moments(x, counts * w)[:2])
    ellipticities, angles = np.array(again).T
    away, turned = np.hypot(*(x - centre).T), []
    for _ in range(resamplings):
        turn = rng.uniform(0, 2 * np.pi, n)
        turned.append(_moments(away[:, None] * np.stack([np.sin(turn), np.cos(turn)], -1), w)[0])
    return Shape(
        e,
        float(ellipticities.std()),
        angle,
        float(about_mean(angles).std()),
        float(np.median(turned)),
        float(np.mean(np.array(turned) >= e)),
        (float(centre[0]), float(centre[1])),
        axes,
    )


def _moments(x, w):
    """Ellipticity, position angle [deg], mean and semi-axes."""
    share = w / w.sum()
    centre = share @ x
    d = x - centre
    values, vectors = np.linalg.eigh((share[:, None] * d).T @ d)
    minor, major = np.sqrt(np.maximum(values, 0.0))
    east, north = vectors[:, 1]
    angle = float(np.degrees(np.arctan2(east, north)) % 180.0)
    return float(1.0 - minor / major) if major > 0 else 0.0, angle, centre, (major, minor)


def about_mean(angles: np.ndarray) -> np.ndarray:
    """Angles of axes [deg] within 90 of their mean, which lies from 0 to 180."""
    double = np.radians(2.0 * angles)
    mean = np.degrees(0.5 * np.arctan2(np.sin(double).mean(), np.cos(double).mean())) % 180.0
    return mean + (angles - mean + 90.0) % 180.0 - 90.0


def galactic_plane_angle(centre: tuple[float, float]) -> float:
    """Position angle of the direction of constant Galactic latitude, 0 to 180 [deg].

    Args:
        centre: (ra, dec) [deg].
    """
    from astropy.coordinates import SkyCoord

    here: Any = SkyCoord(*centre, unit="deg")
    pole: Any = SkyCoord(l=0.0, b=90.0, unit="deg", frame="galactic").icrs
    return float((here.position_angle(pole).deg + 90.0) % 180.0)


def motion_angle(pmra: float, pmdec: float) -> float:
    """Position angle of a proper motion, from north through east, 0 to 360 [deg].

    As seen from the Sun, whose own motion is in it: the cluster's path in the Galaxy is another.

    Args:
        pmra: μ_α cos δ [mas/yr].
        pmdec: μ_δ [mas/yr].

    Raises:
        ValueError: both are 0 or not finite.
    """
    if not 0 < np.hypot(pmra, pmdec) < np.inf:
        raise ValueError(
            f"pmra, pmdec: found {pmra} and {pmdec}, expected a mean proper motion in mas/yr"
        )
    return float(np.degrees(np.arctan2(pmra, pmdec)) % 360.0)


def angle_between(axis: float, direction: float) -> float:
    """Angle from a direction to an axis [deg], more than −90 and at most 90; east is positive.

    Args:
        axis: position angle of the axis [deg].
        direction: of what it is compared with [deg].
    """
    return 90.0 - (90.0 - (axis - direction)) % 180.0
