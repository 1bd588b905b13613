"""Sample and field of the Bayes factor from what `members` found.

An astrometric selection lets stars of one parallax through, within errors that grow with magnitude.
What it leaves over are stars of all parallaxes: with these as field, 80 field stars of one place in
proper motion and parallax are 0.30 to 0.37 nat each worse explained than by those of like parallax
(24 random places in three real fields, `benchmarks/null places`), up to 30 nat that a
cluster could take which is not there.
"""

import warnings
from typing import Any

import numpy as np
from astropy.table import Table

from jaxcluster.catalogue.tables import Reader, read_table
from jaxcluster.field.density import needed_stars

SAMPLE, FIELD = 0.5, 0.1  # least membership of the sample, and what is above the field's
WITHIN = 2.0  # standard deviations of parallax
OWN = 0.03  # mas; of Gaia's zero point over the sky and the sample's own scatter


def split(source: Any) -> tuple[Table, Table]:
    """Return the rows with P ≥ 0.5, and of those with P < 0.1 the ones of like parallax.

    Args:
        source: table or path, with the column `membership` that `members` writes.

    Raises:
        ValueError: no such column, or one of the two is empty.

    Warns:
        UserWarning: no parallaxes, so that the field is all that was left over.
    """
    table: Any = read_table(source)
    if "membership" not in table.colnames:
        raise ValueError(
            f"{source}: no column `membership`; --field-from-members takes what "
            "`jaxcluster members … --out` wrote"
        )
    membership = Reader(table).numbers("membership", None)
    sample, field = table[membership >= SAMPLE], table[membership < FIELD]
    for name, part, bar in (("sample", sample, f"P ≥ {SAMPLE}"), ("field", field, f"P < {FIELD}")):
        if len(part) == 0:
            raise ValueError(f"{source}: no star has {bar}, the {name} is empty")
    if not all(np.isfinite(np.divide(*_parallaxes(part))).any() for part in (sample, field)):
        warnings.warn(
            "no parallaxes with their errors: the field is every star with P < "
            f"{FIELD}, of any distance, and may make a cluster of what the selection let through",
            stacklevel=2,
        )
        return sample, field
    return sample, field[of_like_parallax(sample, field)]


def of_like_parallax(sample: Table, field: Table) -> np.ndarray:
    """Rows of the field whose parallax is the sample's to within `WITHIN` standard deviations.

    Where they are fewer than `needed_stars`, the nearest ones up to that number: a density from
    too few stars is worse than one from other distances.

    Args:
        sample: with parallaxes and their errors, under any name that `from_table` knows.
        field: the same.
    """
    values, errors = _parallaxes(sample)
    known = np.isfinite(values / errors)
    mean = np.average(values[known], weights=1.0 / (errors[known] ** 2 + OWN**2))
    values, errors = _parallaxes(field)
    away = np.abs(values - mean) / np.hypot(errors, OWN)
    away = np.where(np.isfinite(away), away, np.inf)
    needed = min(needed_stars(len(sample)), int(np.isfinite(away).sum()))
    return np.flatnonzero(away <= max(WITHIN, np.sort(away)[needed - 1]))


def _parallaxes(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Parallaxes and their errors [mas], NaN where there are none (errors: none above 0)."""
    read = Reader(table)
    found = read.error("parallax")
    error = np.full(len(table), np.nan) if found is None else found[1]
    return read.value("parallax"), np.where(error > 0, error, np.nan)
