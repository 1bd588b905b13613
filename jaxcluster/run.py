"""From two tables on disk to a Bayes factor and its summary: what the command line runs."""

import time
from functools import partial
from typing import Any

CHECKPOINT = "checkpoint"  # folder inside a run's folder


def finite(value: Any) -> Any:
    """Return the same with None for NaN: JSON has none."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, float) and value != value:
        return None
    return value


def sampler_of(method: str, live: int, out: Any = None):
    """Return the sampler of this name; it keeps its checkpoint in the folder `out`."""
    from jaxcluster.fast import fast
    from jaxcluster.nested_sampling import nested
    from jaxcluster.no_u_turn import nuts

    if method == "nuts":
        return nuts
    samplers = {"fast": fast, "nested": nested}
    if method not in samplers:
        raise ValueError(f"--method {method!r}: expected fast, nested or nuts")
    if live < 20:
        raise ValueError(f"--live {live}: at least 20")
    return partial(
        samplers[method], live=live, checkpoint=None if out is None else out / CHECKPOINT
    )


def read_stars(path: Any, reading: dict[str, Any]):
    """Return the table and its stars; errors name the file."""
    from jaxcluster.stars import from_table
    from jaxcluster.table import read_table

    table = read_table(path)
    try:
        return table, from_table(table, **reading)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _same_star(sample, field):
    """Index in the field of each star of the sample, −1 where it is not there; None if unknown."""
    import numpy as np

    from jaxcluster.table import source_ids

    ids, field_ids = source_ids(sample), source_ids(field)
    if ids is None or field_ids is None:
        return None
    index = {identity: i for i, identity in enumerate(field_ids.tolist())}
    return np.array([index.get(identity, -1) for identity in ids.tolist()])


def run_bayes_factor(
    sample: Any,
    field: Any,
    *,
    seed: int,
    method: str = "fast",
    live: int = 400,
    model: str = "mimo_cmd",
    bands: str = "G,BP-RP",
    magnitude_column: str | None = None,
    colour_error_floor: float = 0.0,
    limits: str | None = None,
    prior: list[str] | None = None,
    grid: str = "parsec",
    max_ruwe: float | None = None,
    max_excess: float | None = None,
    out: Any = None,
    say=None,
    **options: Any,
):
    """Read two tables and run `jaxcluster.bayes_factor`; returns the result and its summary."""
    import jax
    import numpy as np

    from jaxcluster.bayes_factor import bayes_factor
    from jaxcluster.model_files import load_model
    from jaxcluster.typed import distribution, magnitude_limits

    begin = time.process_time()
    sampler = sampler_of(method, live, out)
    build = load_model(model)
    reading: dict[str, Any] = {
        "columns": tuple(bands.split(",")),
        "magnitude_column": magnitude_column,
        "colour_error_floor": colour_error_floor,
        "max_ruwe": max_ruwe,
        "max_excess": max_excess,
    }
    table, stars = read_stars(sample, reading)
    field_table, field_stars = read_stars(field, reading)
    same = _same_star(table, field_table)
    if same is not None:
        kept = {int(row): i for i, row in enumerate(np.asarray(field_stars.rows))}
        rows = np.asarray(stars.rows, int)
        same = np.array([kept.get(int(j), -1) for j in same[rows]])
        if not (same >= 0).any():
            same = None
    if prior:
        options["prior"] = dict(distribution(text) for text in prior)
    if grid != "parsec" or model == "mimo_cmd":
        options["grid"] = grid
    result = bayes_factor(
        stars,
        field_stars,
        key=jax.random.key(seed),
        build=build,
        limits=magnitude_limits(limits),
        same_star=same,
        sampler=sampler,
        progress=say,
        **options,
    )
    summary = result.summary()
    summary["n_dropped_sample"] = dict(stars.dropped)
    summary["n_dropped_field"] = dict(field_stars.dropped)
    summary["n_in_field_too"] = 0 if same is None else int((same >= 0).sum())
    summary.update(seed=seed, grid=grid, model=model, bands=bands)
    # the whole job, reading and field included
    spent = time.process_time() - begin + result.posterior["posterior"].attrs["resumed_seconds"]
    summary["cpu_seconds"] = spent - summary["compile_seconds"]
    if summary["log_evidence"] is None:
        summary["why_no_evidence"] = "NUTS gives no evidence; use --method fast"
    return result, summary


def print_summary(summary: dict[str, Any], truth: dict[str, float] | None = None) -> None:
    """Print a summary for a person."""
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    if summary.get("log10_bayes_factor") is not None:
        out.print(
            f"log10 Bayes factor (cluster + field : field)  "
            f"[bold]{summary['log10_bayes_factor']:.2f} ± "
            f"{summary['log10_bayes_factor_error']:.2f}[/] (sampling) "
            f"± {summary['log10_bayes_factor_field_error']:.2f} (density of the field)",
            soft_wrap=True,
        )
        out.print(
            f"ln Z = {summary['log_evidence']:.2f} ± {summary['log_evidence_error']:.2f}, "
            f"field alone {summary['log_evidence_field']:.2f}"
        )
    elif summary.get("why_no_evidence"):
        out.print(f"no Bayes factor: {summary['why_no_evidence']}")
    if "n_field" in summary:
        out.print(
            f"{summary['n_stars']} stars ({summary['n_dropped']} dropped), "
            f"{summary['n_field']} field stars, {summary['n_members']} members with P > 0.5"
        )
    table = Table("parameter", "median", "16 %", "84 %", "prior", *(["truth"] if truth else []))
    for name, row in summary["parameters"].items():
        cells = [f"{row[k]:.4f}" for k in ("median", "q16", "q84")]
        cells.append(summary["priors"].get(name.split("[")[0], ""))
        if truth:
            cells.append(f"{truth[name]:.4f}" if name in truth else "")
        table.add_row(name, *cells)
    out.print(table)
    out.print(
        f"{summary['method']}: {summary['evaluations']} evaluations, "
        f"{summary['cpu_seconds']:.0f} CPU s + {summary['compile_seconds']:.0f} s of compilation"
    )
    if summary.get("fallback"):
        out.print(f"[bold yellow]nested sampling was needed:[/] {summary['fallback']}")
    if summary.get("field_flag"):
        out.print(f"[bold yellow]field:[/] {summary['field_flag']}")
