"""Sample and field of the Bayes factor from what `members` found."""

from typing import Any

import numpy as np
from astropy.table import Table

from jaxcluster.catalogue.tables import read_table

SAMPLE, FIELD = 0.5, 0.1  # least membership of the sample, and what is above the field's


def split(source: Any) -> tuple[Table, Table]:
    """Return the rows with P ≥ 0.5 and those with P < 0.1.

    Args:
        source: table or path, with the column `membership` that `members` writes.

    Raises:
        ValueError: no such column, or one of the two is empty.
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
    return sample, field
