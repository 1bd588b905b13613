"""Sample and field of the Bayes factor from what `members` found.

An astrometric selection lets stars of one parallax and proper motion through, within errors that
grow with magnitude. What it leaves over are stars of all parallaxes and motions: with these as
field, 80 field stars of one place in proper motion and parallax are worse explained, by up to 30
nat that a cluster could take which is not there (`benchmarks/null places`).
"""

import warnings
from typing import Any

import numpy as np
from astropy.table import Table

from jaxcluster.catalogue.candidates import Candidate
from jaxcluster.catalogue.tables import Reader, read_table
from jaxcluster.catalogue.windows import nearest
from jaxcluster.field.density import needed_stars

SAMPLE, FIELD = 0.5, 0.1  # least membership of the sample, and what is above the field's
WITHIN = 2.0  # standard deviations of parallax
# of Gaia's zero point over the sky and the sample's own scatter; of motions as in a `Candidate`
OWN = {"parallax": 0.03, "pmra": Candidate.pm_scatter, "pmdec": Candidate.pm_scatter}  # mas, mas/yr


def split(source: Any) -> tuple[Table, Table]:
    """Return the rows with P ≥ 0.5, and of those with P < 0.1 the ones of `like` astrometry.

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
    if not all(np.isfinite(np.divide(*_measured(p, "parallax"))).any() for p in (sample, field)):
        warnings.warn(
            "no parallaxes with their errors: the field is every star with P < "
            f"{FIELD}, of any distance, and may make a cluster of what the selection let through",
            stacklevel=2,
        )
        return sample, field
    return sample, field[like(sample, field)]


def like(sample: Table, field: Table) -> np.ndarray:
    """Rows of the field whose parallax is the sample's, and of those the `nearest` in motion.

    Within `WITHIN` standard deviations of parallax; where they are fewer than `needed_stars`, the
    nearest ones up to that number: a density from too few stars is worse than one from other
    distances. Without proper motions all of them.

    Args:
        sample: with parallaxes and their errors, under any name that `from_table` knows.
        field: the same.
    """
    away = _away(sample, field, "parallax")
    needed = min(needed_stars(len(sample)), int(np.isfinite(away).sum()))
    rows = np.flatnonzero(away <= max(WITHIN, np.sort(away)[needed - 1]))
    motion = np.maximum(_away(sample, field, "pmra"), _away(sample, field, "pmdec"))
    return rows[nearest(motion[rows], len(sample))] if np.isfinite(motion[rows]).any() else rows


def _away(sample: Table, field: Table, name: str) -> np.ndarray:
    """How far a column of the field is from the sample's mean, in standard deviations, or inf."""
    values, errors = _measured(sample, name)
    known = np.isfinite(values / errors)
    if not known.any():
        return np.full(len(field), np.inf)
    mean = np.average(values[known], weights=1.0 / (errors[known] ** 2 + OWN[name] ** 2))
    values, errors = _measured(field, name)
    away = np.abs(values - mean) / np.hypot(errors, OWN[name])
    return np.where(np.isfinite(away), away, np.inf)


def _measured(table: Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A column and its errors, NaN where there are none (errors: none above 0)."""
    read = Reader(table)
    found = read.error(name)
    error = np.full(len(table), np.nan) if found is None else found[1]
    return read.value(name), np.where(error > 0, error, np.nan)
