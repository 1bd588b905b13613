"""Half radii, mass segregation and elongation of a cluster that `king` has fitted.

Stars count by their membership (`king_members`), about the profile's centre. Half-light radius,
radii by magnitude and the segregation ratio need magnitudes, the angle to the proper motion needs
proper motions; what the table lacks is left out.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxcluster.catalogue.tables import Reader, read_table
from jaxcluster.jobs.king_field import Field
from jaxcluster.jobs.king_fit import Found
from jaxcluster.structure.positions import enough
from jaxcluster.structure.segregation import half_radius, radii_by_magnitude, segregation_ratio
from jaxcluster.structure.shape import angle_between, galactic_plane_angle, motion_angle, shape

BINS = 4  # of magnitude
BAND = "G"


class Columns(NamedTuple):
    """What a table knows of the field's stars beside their places."""

    band: str | None  # the column of magnitudes
    magnitudes: Float[np.ndarray, " n"] | None
    motion: Float[np.ndarray, "2 n"] | None  # proper motion [mas/yr]


def read_columns(source: Any, field: Field, magnitude: str | None) -> Columns:
    """Read magnitudes and proper motions.

    Args:
        source: the table or its path.
        field: from `read_field`, of that table.
        magnitude: column of magnitudes; by default Gaia's G, if the table has it.

    Raises:
        ValueError: without a column of that name, or fewer than 10 stars with a magnitude.
    """
    read = Reader(read_table(source))
    if (band := magnitude) is None and read.column(BAND):
        band = BAND
    magnitudes = motion = None
    if band is not None:
        if (name := read.column(band)) is None:
            read.missing("--magnitude", [band])
            read.raise_absent()
        magnitudes = read.numbers(name or "", None)[field.rows]
        known = int(np.isfinite(magnitudes).sum())
        enough(known, f"with a magnitude in {band}", "name another column by --magnitude")
    if read.column("pmra") and read.column("pmdec"):
        motion = np.stack([read.value(name)[field.rows] for name in ("pmra", "pmdec")])
    return Columns(band, magnitudes, motion)


class Structure(NamedTuple):
    """What `structure` measures, and the stars with a magnitude."""

    summary: dict[str, Any]
    away: Float[np.ndarray, " m"]  # [arcmin]
    magnitudes: Float[np.ndarray, " m"]
    weights: Float[np.ndarray, " m"]


def structure(
    found: Found, membership: Float[np.ndarray, " n"], columns: Columns, rng: np.random.Generator
) -> Structure:
    """Measure half radii, segregation and elongation.

    Args:
        found: from `jobs.king`.
        membership: of each star of the field.
        columns: of the same stars.
        rng: of resamplings and random sets.

    Raises:
        ValueError: fewer than 10 members, from `segregation_ratio`.
    """
    x, w = found.field.x - found.centre, membership
    one = shape(x, rng=rng, weights=w)
    plane = angle_between(one.position_angle, galactic_plane_angle(found.field.centre))
    path = None
    if columns.motion is not None:
        known = np.isfinite(columns.motion).all(axis=0)
        if w[known].sum() > 0:
            motion = np.average(columns.motion[:, known], axis=1, weights=w[known])
            path = angle_between(one.position_angle, motion_angle(*motion))
    summary: dict[str, Any] = {
        "half_number_radius": half_radius(x, rng=rng, weights=w)._asdict(),
        "shape": {**one._asdict(), "angle_to_galactic_plane": plane, "angle_to_motion": path},
        "magnitude": columns.band,
    }
    if columns.magnitudes is None:
        return Structure(summary, *np.zeros((3, 0)))
    known = np.isfinite(columns.magnitudes)
    x, m, w = x[known], columns.magnitudes[known], w[known]
    summary |= {
        "half_light_radius": half_radius(x, rng=rng, weights=w, magnitudes=m)._asdict(),
        "radii_by_magnitude": _rows(radii_by_magnitude(x, m, rng=rng, weights=w, bins=BINS)),
        "segregation_ratio": _rows(segregation_ratio(x, m, rng=rng, weights=w)),
    }
    return Structure(summary, np.hypot(*x.T), m, w)


def _rows(table):
    return [{name: np.asarray(row[name]).item() for name in table.colnames} for row in table]
