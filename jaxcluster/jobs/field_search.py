"""From a raw table to its members and the cluster's row, and from there to sample and field."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.preparation import correct_parallax, cut_outliers, preparation
from jaxcluster.catalogue.tables import read_table
from jaxcluster.density.keys import as_key
from jaxcluster.inference.posterior import versions
from jaxcluster.jobs.cluster_table import cluster_row
from jaxcluster.jobs.members import Members, find_members
from jaxcluster.xd.cluster_component import MIN_STARS, SURE
from jaxcluster.xd.number_of_components import best_number, compare_components

SAMPLE, FIELD = 0.5, 0.1  # least probability of the sample, and what is above the field's


class FieldSearch(NamedTuple):
    """What was found in a prepared table."""

    found: Members
    comparison: Any  # table of numbers of components tried, or None
    summary: dict[str, Any]  # numbers as `jaxcluster members --json` prints them


def search(
    source: Any,
    columns: Sequence[str],
    *,
    components: range,
    near: tuple[float, float] | None = None,
    resamplings: int = 200,
    zero_point: bool = False,
    cut: float | None = None,
    cut_centre: tuple[float, float] | None = None,
    max_magnitude_error: float | None = None,
    key: PRNGKeyArray | int = 0,
    progress: Callable[[str], None] | None = None,
) -> FieldSearch:
    """Prepare a table, choose the number of components and find the cluster's members.

    Args:
        source: table or path.
        columns: of the mixture.
        components: numbers of Gaussians to choose from; one of length 1 is taken as it is.
        near: see `find_members`.
        resamplings: see `find_members`.
        zero_point: whether to correct Gaia's parallaxes.
        cut: stars further off in proper motion than so many robust σ are dropped.
        cut_centre: what `cut` is about [mas/yr]; the median by default.
        max_magnitude_error: stars with a larger one in any band are dropped [mag].
        key: random key or seed.
        progress: called with lines of text while it runs.

    Raises:
        ValueError: of the table or an argument; the message names it.
    """
    begin = time.process_time()
    if cut_centre is not None and cut is None:
        raise ValueError("--cut-centre: is of no use without --cut")
    names, seed, comparison = tuple(columns), key, None
    key = as_key(key)
    try:
        table = read_table(source)
        if zero_point:
            table = correct_parallax(table)
        if cut is not None or max_magnitude_error is not None:
            table = cut_outliers(
                table,
                centre=cut_centre,
                n_sigma=cut,
                max_magnitude_error=max_magnitude_error,
            )
        n_components = components.start
        if len(components) > 1:
            stars = from_table(table, names, keep_incomplete=True)
            comparison = compare_components(
                stars, components, key=jax.random.fold_in(key, 1), progress=progress
            )
            n_components = best_number(comparison)
        found = find_members(
            table,
            names,
            key=key,
            components=n_components,
            resamplings=resamplings,
            near=near,
            progress=progress,
        )
    except ValueError as error:
        text = str(error)
        if isinstance(source, str | Path) and not text.startswith(str(source)):
            text = f"{source}: {text}"
        raise ValueError(text) from error
    cluster = cluster_row(found)
    summary = {
        "cluster": cluster,
        "why_none": None if cluster else _reason(found.ranking),
        "ranking": [one._asdict() for one in found.ranking],
        "columns": list(found.stars.columns),
        "n_stars": len(found.stars),
        "n_dropped": dict(found.stars.dropped),
        "n_incomplete": int(np.isnan(found.stars.x).any(axis=1).sum()),
        "n_components": n_components,
        "comparison": None if comparison is None else [dict(row) for row in comparison],
        "n_bootstrap": resamplings,
        "n_stable": None if found.bootstrap is None else int((found.stability >= SURE).sum()),
        "mean_log_likelihood": found.fit.mean_log_likelihood,
        "passes": found.fit.passes,
        "converged": found.fit.converged,
        "preparation": preparation(found.table),
        "seed": seed if isinstance(seed, int) else str(seed),
        "versions": versions(),
    }
    summary["cpu_seconds"] = time.process_time() - begin
    return FieldSearch(found, comparison, summary)


def _reason(ranking) -> str:
    """What speaks against the most compact component that is more than a few stars."""
    return next((one for one in ranking if one.n_stars >= MIN_STARS), ranking[0]).refused


def split(path: Any):
    """Sample and field of a table from `members`: P ≥ 0.5, and P < 0.1."""
    table = read_table(path)
    if "probability" not in table.colnames:
        raise ValueError(
            f"{path}: no column `probability`; --field-from-members takes what "
            "`jaxcluster members … --out` wrote"
        )
    probability = np.ma.filled(np.ma.asarray(table["probability"], float), np.nan)
    sample, field = table[probability >= SAMPLE], table[probability < FIELD]
    for name, part, bar in (("sample", sample, f"P ≥ {SAMPLE}"), ("field", field, f"P < {FIELD}")):
        if len(part) == 0:
            raise ValueError(f"{path}: no star has {bar}, the {name} is empty")
    return sample, field
