"""A sample and its field, from tables or as they are."""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table
from jaxtyping import Int
from scipy.spatial import KDTree

from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.tables import add_column, read_table, source_ids
from jaxcluster.density.stars import Stars
from jaxcluster.jobs.stellar import DESCRIPTIONS, UNITS

SAME = 1e-5  # mag; see `shared_stars`


def default_limits(field: Stars) -> tuple[float, float]:
    """Magnitudes that the field covers; never the sample's own extremes."""
    magnitude = np.asarray(field.x)[:, 0]
    return float(magnitude.min()), float(magnitude.max())


def inside(stars: Stars, limits: tuple[float, float]) -> Int[np.ndarray, " m"]:
    """Which stars are between the limits, in order of magnitude (the kernel skips pairs then)."""
    magnitude = np.asarray(stars.x)[:, 0]
    kept = np.flatnonzero((magnitude >= limits[0]) & (magnitude <= limits[1]))
    return kept[np.argsort(magnitude[kept], kind="stable")]


def read_stars(source: Any, reading: dict[str, Any]) -> tuple[Table | None, Stars]:
    """Return the table and its stars, or `Stars` as they are; errors name the file."""
    if isinstance(source, Stars):
        return None, source
    table = read_table(source)
    try:
        return table, from_table(table, **reading)
    except ValueError as error:
        named = f"{source}: {error}" if isinstance(source, str | Path) else str(error)
        raise ValueError(named) from error


def shared_stars(
    table: Table | None, stars: Stars, field_table: Table | None, field: Stars
) -> Int[np.ndarray, " n"] | None:
    """Index in the field of each star of the sample, −1 where it is not there; None if none is.

    Stars are told by `source_id`; those without one, and all where a table has none, by values
    within 1e-5 mag (files of single precision keep 2e-6; strangers that near are one in 10⁷).

    Args:
        table: the sample's, if there is one.
        stars: read from it.
        field_table: the field's.
        field: read from it.

    Raises:
        ValueError: the sample has all of the field's stars.
    """
    ids, field_ids = _ids(table, stars), _ids(field_table, field)
    if not (any(ids) and any(field_ids)):
        ids, field_ids = [None] * len(stars), [None] * len(field)
    index = {identity: i for i, identity in enumerate(field_ids) if identity}
    own = np.array([index.get(identity, -1) if identity else -1 for identity in ids])
    rows, field_rows = (np.flatnonzero([not i for i in each]) for each in (ids, field_ids))
    if len(rows) and len(field_rows):
        away, near = KDTree(np.asarray(field.x)[field_rows]).query(np.asarray(stars.x)[rows])
        own[rows] = np.where(away < SAME, field_rows[near], -1)
    if len(shared := np.unique(own[own >= 0])) == len(field):
        raise ValueError(
            f"field: all of its {len(field)} stars are in the sample too; expected stars from "
            "outside the sample, or all of a region in which the sample is"
        )
    return own if len(shared) else None


def _ids(table: Table | None, stars: Stars) -> list:
    """Identifier of each star; None, 0 or "" where there is none (see `source_ids`)."""
    ids = None if table is None else source_ids(table)
    return [None] * len(stars) if ids is None else ids[np.asarray(stars.rows)].tolist()


def members_table(table: Table | None, stars: Stars, found: dict[str, np.ndarray]) -> Table:
    """Return the table's rows of these stars (or their own columns) and what was found out."""
    if table is None:
        out: Any = Table({name: np.asarray(stars.x[:, a]) for a, name in enumerate(stars.columns)})
    else:
        out = table[np.asarray(stars.rows)]
    for name, values in found.items():
        column = Column(values, unit=UNITS.get(name), description=DESCRIPTIONS.get(name))
        add_column(out, name, column)
    return out
