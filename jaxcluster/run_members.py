"""From a raw table to its members, the cluster's row and a figure: what `members` runs."""

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jaxcluster.cluster_component import MIN_STARS
from jaxcluster.members import SURE

SAMPLE, FIELD = 0.5, 0.1  # least probability of the sample, and what is above the field's


def position(text: str | None) -> tuple[float, float] | None:
    """Read RA,DEC in degrees; None for None."""
    if text is None:
        return None
    try:
        ra, dec = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--near {text!r}: expected RA,DEC in degrees, such as 121.7,-28.2"
        ) from None
    if not -90 <= dec <= 90:
        raise ValueError(f"--near {text!r}: declination {dec:g} is not between -90 and 90")
    return ra, dec


def run_members(
    path: Any,
    *,
    columns: str,
    components: int,
    near: str | None,
    bootstrap: int,
    zero_point: bool,
    seed: int,
    out: Path | None,
    say,
):
    """Find the members of a table and write them; returns what was found and its summary."""
    import jax

    from jaxcluster.catalogue import correct_parallax, preparation
    from jaxcluster.cluster_table import cluster_row
    from jaxcluster.members import find_members
    from jaxcluster.sample import PACKAGES
    from jaxcluster.table import read_table

    begin = time.process_time()
    where = position(near)
    if out is not None and out.suffix not in (".parquet", ".ecsv", ".fits", ".csv", ".vot"):
        raise ValueError(f"--out {out}: expected a .parquet, .ecsv, .fits, .csv or .vot file")
    table = read_table(path)
    if zero_point:
        table = correct_parallax(table)
    try:
        found = find_members(
            table,
            tuple(columns.split(",")),
            key=jax.random.key(seed),
            components=components,
            resamplings=bootstrap,
            near=where,
            progress=say,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    cluster = cluster_row(found)
    summary = {
        "cluster": cluster,
        "why_none": None if cluster else _reason(found.ranking),
        "ranking": [one._asdict() for one in found.ranking],
        "columns": list(found.stars.columns),
        "n_stars": len(found.stars),
        "n_dropped": dict(found.stars.dropped),
        "n_components": components,
        "n_bootstrap": bootstrap,
        "n_frequent": None if found.bootstrap is None else int((found.frequency >= SURE).sum()),
        "mean_log_likelihood": found.fit.mean_log_likelihood,
        "passes": found.fit.passes,
        "converged": found.fit.converged,
        "preparation": preparation(found.table),
        "seed": seed,
        "versions": {name: version(name) for name in PACKAGES},
    }
    if out is not None:
        say(f"writing {out}")
        write(found, summary, out)
    summary["cpu_seconds"] = time.process_time() - begin
    return found, summary


def _reason(ranking) -> str:
    """What speaks against the most compact component that is more than a few stars."""
    return next((one for one in ranking if one.n_stars >= MIN_STARS), ranking[0]).refused


def write(found: Any, summary: dict[str, Any], path: Path) -> None:
    """Write the table with its new columns, and a figure of the same name beside it."""
    from jaxcluster.plot_members import members_figure

    path.parent.mkdir(parents=True, exist_ok=True)
    table = found.table.copy()
    # formats keep little of a table's notes; these are short
    table.meta = {
        "jaxcluster": {n: summary[n] for n in ("columns", "n_components", "seed", "versions")},
        "preparation": summary["preparation"],
    }
    scratch = path.with_name(f".{path.stem}-part{path.suffix}")
    if path.suffix == ".parquet":
        table.to_pandas().to_parquet(scratch)
    else:
        form = {".ecsv": "ascii.ecsv", ".csv": "csv", ".vot": "votable", ".fits": "fits"}
        table.write(scratch, format=form[path.suffix], overwrite=True)
    scratch.replace(path)
    component = None if found.cluster is None else found.cluster.component
    figure = members_figure(
        found.stars, found.fit.mixture, component, np.asarray(found.probability), found.table
    )
    figure.savefig(path.with_suffix(".png"), dpi=150)


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
    ranking = Table("component", "entropy", "stars", "σ_μ [mas/yr]", "contrast", "")
    for one in summary["ranking"][:5]:
        ranking.add_row(
            str(one["component"]),
            f"{one['entropy']:.2f}",
            f"{one['n_stars']:.1f}",
            f"{one['dispersion']:.3f}",
            f"{one['contrast']:.3g}",
            one["refused"] or "a cluster",
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
