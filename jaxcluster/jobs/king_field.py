"""A table's stars inside a footprint, in the plane about a centre."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxcluster.catalogue.sky import (
    ARCMIN,
    check_positions,
    middle,
    plane_radius,
    to_plane,
)
from jaxcluster.catalogue.tables import Reader, read_table
from jaxcluster.structure.footprint import Footprint, circle, largest_circle
from jaxcluster.structure.positions import enough

CROWDED = 100.0  # stars in an arcmin²: Gaia has 70 in Baade's window


class Field(NamedTuple):
    """Stars in a footprint, in the plane about a centre."""

    x: Float[np.ndarray, "n 2"]  # arcmin, to the east and north
    weights: Float[np.ndarray, " n"] | None
    footprint: Footprint
    centre: tuple[float, float]  # ra, dec [deg]
    radius: float  # of the footprint, on the sky [arcmin]
    dropped: dict[str, int]
    rows: Int[np.ndarray, " n"]  # of the table
    doubts: tuple[str, ...] = ()  # what speaks against the table


def read_field(
    path: Any,
    *,
    centre: tuple[float, float] | None = None,
    radius: float | None = None,
    holes: Sequence[tuple[float, float, float]] = (),
    membership: str | None = None,
) -> Field:
    """Read positions, project them and cut them to a circular footprint.

    Raises:
        ValueError: fewer than 10 stars, all at one place, a centre outside the field, holes that
            cover it, positions that are not on the sky, or probabilities that are none.
    """
    if radius is not None and not 0 < radius <= 60 * 90:
        raise ValueError(f"--radius {radius:g}: expected arcmin, more than 0 and at most 5400")
    read = Reader(read_table(path))
    ra, dec = read.value("ra"), read.value("dec")
    read.raise_absent()
    check_positions(ra, dec)
    known = np.isfinite(ra) & np.isfinite(dec)
    dropped = {"without a position": int((~known).sum())}
    weights = None
    if membership is not None:
        if read.column(membership) is None:
            read.missing("--membership", [membership])
            read.raise_absent()
        weights = read.numbers(read.column(membership) or "", None)
        if (wrong := (weights < 0) | (weights > 1)).any():
            raise ValueError(
                f"--membership {membership}: {wrong.sum()} values are not between 0 and 1 (found "
                f"{weights[wrong][0]:g}); expected membership probabilities"
            )
        if not (weights > 0).any():
            raise ValueError(
                f"--membership {membership}: all {len(weights)} values are 0 or missing; "
                "expected some members"
            )
        dropped["without a membership"] = int((known & ~np.isfinite(weights)).sum())
        known &= np.isfinite(weights)
    remedy = "look at the table, --centre, --radius and --hole"
    what = "a position and a membership" if membership else "a position"
    enough(int(known.sum()), f"with {what}", remedy)
    at = centre or middle(ra[known], dec[known])
    about = (at[0] % 360, at[1])
    x = to_plane(ra[known], dec[known], about)
    inscribed = largest_circle(x)  # also says whether the centre is among the stars
    size = inscribed if radius is None else plane_radius(radius)
    places = [
        (*to_plane(np.array([a]), np.array([d]), about)[0], plane_radius(r)) for a, d, r in holes
    ]
    footprint = circle(size, holes=places)
    inside = footprint.contains(x)
    dropped["outside the footprint"] = int((~inside).sum())
    where = f"within {size:.4g} arcmin of {about[0]:.4f}, {about[1]:.4f} deg"
    enough(int(inside.sum()), where, remedy)
    return Field(
        x[inside],
        None if weights is None else weights[known][inside],
        footprint,
        about,
        2 * ARCMIN * float(np.arcsin(0.5 * size / ARCMIN)),
        dropped,
        np.flatnonzero(known)[inside],
        tuple(_doubts(ra[known][inside], dec[known][inside], float(footprint.area))),
    )


def _doubts(ra, dec, area):
    """Sentences on positions that are hardly what they seem."""
    n = len(ra)
    if more := n - len(np.unique(np.stack([ra, dec]), axis=1).T):
        yield (
            f"ra, dec: {more} of {n} stars are at the very place of another; a row that is there "
            "twice counts twice, so keep one of each (DataFrame.drop_duplicates)"
        )
    radians = (np.abs(ra) <= 2 * np.pi).all() and (np.abs(dec) <= 0.5 * np.pi).all()
    if radians and n > CROWDED * area:
        yield (
            f"ra, dec: {n} stars in {area:.3g} arcmin² are more than any survey resolves; are "
            "these radians? Give the columns their unit, or degrees"
        )
