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

from jaxcluster.catalogue.tables import read_table

SAMPLE, FIELD = 0.5, 0.1  # least membership of the sample, and what is above the field's
WITHIN = 2.0  # standard deviations of parallax
OWN = 0.03  # mas; of Gaia's zero point over the sky and the sample's own scatter
LEAST, TIMES = 300, 3  # field stars that a density needs, and as many times those of the sample


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
    membership = np.ma.filled(np.ma.asarray(table["membership"], float), np.nan)
    sample, field = table[membership >= SAMPLE], table[membership < FIELD]
    for name, part, bar in (("sample", sample, f"P ≥ {SAMPLE}"), ("field", field, f"P < {FIELD}")):
        if len(part) == 0:
            raise ValueError(f"{source}: no star has {bar}, the {name} is empty")
    named = {"parallax", "parallax_error"} <= set(table.colnames)
    if not named or not np.isfinite(_numbers(sample, "parallax")).any():
        warnings.warn(
            f"no parallax and parallax_error of the sample: the field is every star with P < "
            f"{FIELD}, of any distance, and may make a cluster of what the selection let through",
            stacklevel=2,
        )
        return sample, field
    return sample, field[of_like_parallax(sample, field)]


def of_like_parallax(sample: Table, field: Table) -> np.ndarray:
    """Rows of the field whose parallax is the sample's to within `WITHIN` standard deviations.

    Where they are fewer than 300, or than three times the sample, the nearest ones up to that
    number: a density from too few stars is worse than one from other distances.

    Args:
        sample: with `parallax` and `parallax_error` [mas].
        field: the same.
    """
    values, errors = (_numbers(sample, name) for name in ("parallax", "parallax_error"))
    known = np.isfinite(values) & (errors > 0)
    mean = np.average(values[known], weights=1.0 / (errors[known] ** 2 + OWN**2))
    away = np.abs(_numbers(field, "parallax") - mean)
    away = away / np.hypot(_numbers(field, "parallax_error"), OWN)
    away = np.where(np.isfinite(away), away, np.inf)
    needed = min(max(LEAST, TIMES * len(sample)), int(np.isfinite(away).sum()))
    return np.flatnonzero(away <= max(WITHIN, np.sort(away)[needed - 1] if needed else np.inf))


def _numbers(table: Table, name: str) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(table[name], float), np.nan)
