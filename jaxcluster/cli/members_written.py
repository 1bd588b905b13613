"""What `jaxcluster members` leaves behind."""

from pathlib import Path

import numpy as np

from jaxcluster.catalogue.files import write_table
from jaxcluster.figures.members import components_figure, members_figure
from jaxcluster.jobs.field_search import FieldSearch


def write(result: FieldSearch, path: Path) -> None:
    """Write the table with its new columns, and figures of the same name beside it."""
    found, comparison, summary = result
    table = found.table.copy()
    table.meta = {
        **({} if summary["cluster"] is None else {"cluster": summary["cluster"]}),
        "jaxcluster": {n: summary[n] for n in ("columns", "n_components", "seed", "versions")},
        "preparation": summary["preparation"],
    }
    write_table(table, path)
    parts = () if found.cluster is None else found.cluster.parts
    figure = members_figure(
        found.stars, found.fit.mixture, parts, np.asarray(found.probability), found.table
    )
    figure.savefig(path.with_suffix(".png"), dpi=150)
    if comparison is not None:
        components_figure(comparison).savefig(path.with_suffix(".components.png"), dpi=150)
