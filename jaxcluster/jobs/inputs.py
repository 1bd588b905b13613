"""A sample and its field, from tables or as they are."""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table
from jaxtyping import Int

from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.tables import read_table, source_ids
from jaxcluster.density.stars import Stars
from jaxcluster.jobs.stellar import DESCRIPTIONS, UNITS


def default_limits(field: Stars) -> tuple[float, float]:
    """Magnitudes that the field covers; never the sample's own extremes."""
    return float(field.x[:, 0].min()), float(field.x[:, 0].max())


def inside(stars: Stars, limits: tuple[float, float]) -> Int[np.ndarray, " m"]:
    """Which stars are between the limits, in order of magnitude (the kernel skips pairs then)."""
    magnitude = np.asarray(stars.x[:, 0])
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
    table: Table, stars: Stars, field_table: Table, field: Stars
) -> Int[np.ndarray, " n"] | None:
    """Index in the field of each star of the sample, by `source_id`; None where none is known.

    Args:
        table: the sample's.
        stars: read from it.
        field_table: the field's.
        field: read from it.

    Returns:
        −1 where a star is not in the field.
    """
    ids, field_ids = source_ids(table), source_ids(field_table)
    if ids is None or field_ids is None:
        return None
    none = (0, "")  # masked ids, as `merge` with outer=True makes them
    index = {identity: i for i, identity in enumerate(field_ids[np.asarray(field.rows)].tolist())}
    own = [
        -1 if identity in none else index.get(identity, -1)
        for identity in ids[np.asarray(stars.rows)].tolist()
    ]
    return np.array(own) if max(own) >= 0 else None


def members_table(table: Table | None, stars: Stars, found: dict[str, np.ndarray]) -> Table:
    """Return the table's rows of these stars (or their own columns) and what was found out."""
    if table is None:
        out: Any = Table({name: np.asarray(stars.x[:, a]) for a, name in enumerate(stars.columns)})
    else:
        out = table[np.asarray(stars.rows)]
    for name, values in found.items():
        out[name] = Column(values, unit=UNITS.get(name), description=DESCRIPTIONS.get(name))
    return out
