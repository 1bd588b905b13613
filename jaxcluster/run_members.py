"""From a raw table to its members, the cluster's row and a figure: what `members` runs."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxcluster.cluster_component import MIN_STARS
from jaxcluster.members import SURE
from jaxcluster.typed import numbers, position

SAMPLE, FIELD = 0.5, 0.1  # least probability of the sample, and what is above the field's


def numbers_of_components(text: str) -> range:
    """Read N, or LO-HI."""
    low, separator, high = text.partition("-")
    try:
        sizes = range(int(low), int(high if separator else low) + 1)
    except ValueError:
        sizes = range(0)
    if not sizes or sizes.start < 1:
        raise ValueError(f"--components {text!r}: expected a number such as 10, or LO-HI as 5-15")
    return sizes


def run_members(
    path: Any,
    *,
    columns: str,
    components: str,
    near: str | None,
    bootstrap: int,
    zero_point: bool,
    cut: float | None,
    cut_centre: str | None,
    max_magnitude_error: float | None,
    seed: int,
    out: Path | None,
    say,
):
    """Find the members of a table and write them; returns what was found and its summary."""
    import jax

    from jaxcluster.catalogue import correct_parallax, cut_outliers, preparation
    from jaxcluster.cluster_table import cluster_row
    from jaxcluster.members import find_members
    from jaxcluster.number_of_components import best_number, compare_components
    from jaxcluster.sample import versions
    from jaxcluster.stars import from_table
    from jaxcluster.table import format_of, read_table

    begin = time.process_time()
    where, sizes = position("--near", near), numbers_of_components(components)
    centre: Any = numbers("--cut-centre", cut_centre, "PMRA,PMDEC", "-1.2,5.5 (mas/yr)")
    if centre is not None and cut is None:
        raise ValueError("--cut-centre: is of no use without --cut")
    if out is not None:
        format_of(out)
    names, key, comparison = tuple(columns.split(",")), jax.random.key(seed), None
    try:
        table = read_table(path)
        if zero_point:
            table = correct_parallax(table)
        if cut is not None or max_magnitude_error is not None:
            table = cut_outliers(
                table,
                centre=centre,
                n_sigma=cut,
                max_magnitude_error=max_magnitude_error,
            )
        n_components = sizes.start
        if len(sizes) > 1:
            stars = from_table(table, names, keep_incomplete=True)
            comparison = compare_components(
                stars, sizes, key=jax.random.fold_in(key, 1), progress=say
            )
            n_components = best_number(comparison)
        found = find_members(
            table,
            names,
            key=key,
            components=n_components,
            resamplings=bootstrap,
            near=where,
            progress=say,
        )
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from error
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
        "n_bootstrap": bootstrap,
        "n_frequent": None if found.bootstrap is None else int((found.frequency >= SURE).sum()),
        "mean_log_likelihood": found.fit.mean_log_likelihood,
        "passes": found.fit.passes,
        "converged": found.fit.converged,
        "preparation": preparation(found.table),
        "seed": seed,
        "versions": versions(),
    }
    if out is not None:
        say(f"writing {out}")
        write(found, summary, out, comparison)
    summary["cpu_seconds"] = time.process_time() - begin
    return found, summary


def _reason(ranking) -> str:
    """What speaks against the most compact component that is more than a few stars."""
    return next((one for one in ranking if one.n_stars >= MIN_STARS), ranking[0]).refused


def write(found: Any, summary: dict[str, Any], path: Path, comparison: Any = None) -> None:
    """Write the table with its new columns, and figures of the same name beside it."""
    from jaxcluster.plot_members import components_figure, members_figure
    from jaxcluster.table import write_table

    table = found.table.copy()
    # formats keep little of a table's notes; these are short
    table.meta = {
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


def print_members(summary: dict[str, Any]) -> None:
    """Print a summary for a person."""
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    cluster = summary["cluster"]
    if cluster is None:
        out.print(
            f"[bold]no cluster[/] in {summary['n_stars']} stars; the most compact component: "
            f"{summary['why_none']}"
        )
    else:
        frequent = summary["n_frequent"]
        also = (
            ""
            if frequent is None
            else f", {frequent} in 90 % of {summary['n_bootstrap']} resamplings"
        )
        out.print(
            f"[bold]cluster[/] at ra {cluster['ra']:.4f}, dec {cluster['dec']:.4f} deg, r50 "
            f"{cluster['r50']:.1f} arcmin: {cluster['n_members']} stars with P ≥ 0.9"
            f"{also}, of {summary['n_stars']}",
            soft_wrap=True,
        )
        table = Table("column", "mean", "error", "intrinsic dispersion", "error", "median", "MAD")
        for name in summary["columns"]:
            cells = [
                cluster[f"{name}{end}"]
                for end in ("", "_error", "_dispersion", "_dispersion_error", "_median", "_mad")
            ]
            table.add_row(name, *("" if v is None else f"{v:.4f}" for v in cells))
        out.print(table)
    if summary["comparison"] is not None:
        sizes = Table("components", "BIC", "AIC", "mean ln L of unseen stars", "")
        for one in summary["comparison"]:
            taken = "taken" if one["k"] == summary["n_components"] else ""
            cells = [f"{one['bic']:.1f}", f"{one['aic']:.1f}", f"{one['held_out']:.4f}", taken]
            sizes.add_row(str(one["k"]), *cells)
        out.print(sizes)
    for line in summary["preparation"]:
        out.print(line, soft_wrap=True)
    ranking = Table("component", "entropy", "stars", "σ_μ [mas/yr]", "contrast", "gain", "")
    for one in summary["ranking"][:5]:
        ranking.add_row(
            str(one["parts"][0]),
            f"{one['entropy']:.2f}",
            f"{one['n_stars']:.1f}",
            f"{one['dispersion']:.3f}",
            f"{one['contrast']:.3g}",
            f"{one['gain']:.2f}",
            one["refused"] or " + ".join(["a cluster", *map(str, one["parts"][1:])]),
        )
    out.print(ranking)
    out.print(
        f"mean ln L = {summary['mean_log_likelihood']:.6f} after {summary['passes']} passes, "
        f"{summary['cpu_seconds']:.0f} CPU s"
    )


def split(path: Any):
    """Sample and field of a table from `members`: P ≥ 0.5, and P < 0.1."""
    from jaxcluster.table import read_table

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
