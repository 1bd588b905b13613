"""Rings about a centre: their edges, the area of a footprint in them, stars and densities.

A ring's area is that of the footprint inside it, holes and completeness and all; rings may be
elliptical, of the radii of `structure.footprint.elliptical_square`. The radius of a ring is the
mean over its area,

    r = ⅔ (R₂³ − R₁³)/(R₂² − R₁²)
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from astropy.table import Table
from jaxtyping import Array, ArrayLike, Float

from jaxcluster.structure.footprint import Footprint, elliptical_square
from jaxcluster.structure.profiles import AbstractProfile

LEAST = 10  # stars in a ring
STEPS = 24  # at most so many rings
_TINY = 1e-12


class Constant(AbstractProfile):
    """Density 1 everywhere.

    Args:
        core: a length, of the quadrature under a completeness alone.
    """

    core: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def at(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Return 1."""
        return jnp.ones_like(square)

    def half_mean(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Return ½."""
        return jnp.full_like(square, 0.5)

    @property
    def edge_square(self) -> Float[Array, ""]:
        """Infinite."""
        return jnp.asarray(jnp.inf)


class Within(AbstractProfile):
    """A profile inside a radius R, 0 outside: its integral over a footprint is what R encloses.

    ∫₀¹ s(t √v) t dt stops at t √v = R: for v > R² it is R²/v times that at R².

    Args:
        profile: s.
        radius: R.
    """

    profile: AbstractProfile
    radius: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    @property
    def core(self) -> Float[Array, ""]:
        """Scale of the profile."""
        return self.profile.core

    def at(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Density s at squared radii v."""
        return jnp.where(square < self.radius**2, self.profile.at(square), 0.0)

    def half_mean(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """∫₀¹ s(t √v) t dt."""
        square = jnp.maximum(square, _TINY * self.core**2)
        inner = jnp.minimum(square, self.radius**2)
        return self.profile.half_mean(inner) * inner / square

    @property
    def edge_square(self) -> Float[Array, ""]:
        """R², or the profile's own."""
        return jnp.minimum(self.radius**2, self.profile.edge_square)


def ring_integrals(
    footprint: Footprint,
    edges: Float[np.ndarray, " k"],
    profile: AbstractProfile | None = None,
    centre: Float[ArrayLike, "2"] | tuple[float, float] = (0.0, 0.0),
    ellipticity: float | Float[ArrayLike, ""] = 0.0,
    position_angle: float | Float[ArrayLike, ""] = 0.0,
) -> Float[np.ndarray, " rings"]:
    """∫ f s dA over the part of each ring that is in the footprint.

    Where an edge crosses the outline, the integrand along that has a kink: there the error is some
    10⁻⁴ of the area, else that of rounding.

    Args:
        footprint: with its completeness f.
        edges: radii [arcmin], ascending.
        profile: s; by default 1, for areas [arcmin²].
        centre: of the rings [arcmin].
        ellipticity: of the rings.
        position_angle: of their major axis [deg].
    """
    density = Constant(max(footprint.radius, 1e-3)) if profile is None else profile
    place = [jnp.asarray(v, float) for v in (centre, ellipticity, position_angle)]
    enclosed = [
        float(_enclosed(footprint, density, jnp.asarray(r, float), *place)) if r > 0 else 0.0
        for r in edges
    ]
    return np.diff(enclosed)


@eqx.filter_jit
def _enclosed(footprint, profile, radius, centre, ellipticity, position_angle):
    """∫ f s dA within a radius; compiled once for a footprint."""
    # pyright counts the abstract core, a property here, among the arguments
    inside = Within(profile, radius)  # pyright: ignore[reportCallIssue]
    return footprint.integral(inside, centre, ellipticity, position_angle)


def reach(footprint: Footprint, centre: Float[ArrayLike, "2"] | tuple[float, float]) -> float:
    """Radius [arcmin] of circles about a centre in the footprint, at least half of its own."""
    return max(footprint.radius - float(np.hypot(*np.asarray(centre))), 0.5 * footprint.radius)


def ring_edges(
    away: Float[np.ndarray, " n"], most: float, least: int = LEAST, steps: int = STEPS
) -> Float[np.ndarray, " k"]:
    """Edges from 0 to `most` in equal steps of ln r, wider where there are too few stars.

    Args:
        away: distance of each star from the centre [arcmin].
        most: last edge [arcmin].
        least: stars in each ring; of fewer stars there is one ring.
        steps: largest number of rings.

    Raises:
        ValueError: no star within `most`.
    """
    inside = np.sort(away[away < most])
    if not len(inside):
        raise ValueError(
            f"stars: none within {most:.4g} arcmin of the centre; give a centre among them"
        )
    first = max(inside[min(least, len(inside) - 1)], 0.003 * most)
    edges = [0.0]
    for edge in np.geomspace(min(first, most), most, steps):
        if np.diff(np.searchsorted(inside, [edges[-1], edge]))[0] >= least:
            edges.append(float(edge))
    if edges[-1] < most:  # the few stars at the end go to the last ring
        edges = [*edges[: max(len(edges) - 1, 1)], most]
    return np.array(edges)


def ring_table(
    x: Float[np.ndarray, "n 2"],
    footprint: Footprint,
    edges: Float[np.ndarray, " k"],
    centre: Float[ArrayLike, "2"] | tuple[float, float] = (0.0, 0.0),
    weights: Float[np.ndarray, " n"] | None = None,
) -> Table:
    """Stars in circular rings: N_i, A_i, density N_i/A_i and Poisson's error √N_i/A_i.

    Columns inner, outer, radius [arcmin], area [arcmin²], n (the sum of weights, if there are any),
    density and density_error [arcmin⁻²]; rings without any area are left out. The error of
    weighted stars is √Σw²/A_i, that of an empty ring 1/A_i.

    Args:
        x: positions [arcmin]; those outside the footprint are not counted.
        footprint: where stars would have been seen.
        edges: radii [arcmin], ascending.
        centre: of the rings [arcmin].
        weights: of each star.
    """
    edges = np.asarray(edges, float)
    area = ring_integrals(footprint, edges, centre=centre)
    seen = footprint.contains(x)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, float)
    which = ring_of(x, edges, centre)
    seen &= which >= 0
    n, square = (np.bincount(which[seen], v[seen], minlength=len(area)) for v in (w, w**2))
    error = np.sqrt(np.where(square > 0, square, 1.0))
    columns = {
        "inner": edges[:-1],
        "outer": edges[1:],
        "radius": 2 / 3 * np.diff(edges**3) / np.diff(edges**2),
        "area": area,
        "n": n,
    }
    there = area > 1e-6 * np.diff(np.pi * edges**2)
    table: Any = Table({name: column[there] for name, column in columns.items()})
    table["density"] = table["n"] / table["area"]
    table["density_error"] = error[there] / table["area"]
    for name in ("inner", "outer", "radius"):
        table[name].unit = "arcmin"
    table["area"].unit = "arcmin2"
    for name in ("density", "density_error"):
        table[name].unit = "arcmin-2"
    return table


def ring_of(
    x: Float[ArrayLike, "n 2"],
    edges: Float[np.ndarray, " k"],
    centre: Float[ArrayLike, "2"] | tuple[float, float] = (0.0, 0.0),
    ellipticity: float | Float[ArrayLike, ""] = 0.0,
    position_angle: float | Float[ArrayLike, ""] = 0.0,
):
    """Index of the ring that each star is in, −1 for none; arguments as in `ring_integrals`."""
    d = np.asarray(x, float) - np.asarray(centre, float)
    away = np.hypot(*d.T)
    if np.any(np.asarray(ellipticity) != 0):  # else without jax, which compiles for each n
        square = elliptical_square(jnp.asarray(d), ellipticity, position_angle)
        away = np.sqrt(np.asarray(square))
    which = np.searchsorted(edges, away, side="right") - 1
    return np.where((which >= 0) & (which < len(edges) - 1), which, -1)
