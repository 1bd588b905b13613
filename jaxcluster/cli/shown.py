"""What `bayes-factor`, `fit` and `demo` print."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

FLAGS = {
    "sampling_flag": "evidence",
    "prior_flag": "prior",
    "modes_flag": "posterior",
    "input_flag": "sample and field",
    "field_flag": "field",
    "fit_flag": "fit",
}


def print_summary(summary: dict[str, Any], truth: dict[str, float] | None = None) -> None:
    """Print a summary for a person."""
    out = Console(highlight=False)
    if summary.get("log10_bayes_factor") is not None:
        out.print(
            f"log10 Bayes factor (cluster + field : field)  "
            f"[bold]{summary['log10_bayes_factor']:.2f} ± "
            f"{summary['log10_bayes_factor_total_error']:.2f}[/] (sampling "
            f"{summary['log10_bayes_factor_error']:.2f}, density of the field "
            f"{summary['log10_bayes_factor_field_error']:.2f})",
            soft_wrap=True,
        )
        out.print(f"[bold]{summary['decision']}[/]", soft_wrap=True)
        out.print(
            f"ln Z = {summary['log_evidence']:.2f} ± {summary['log_evidence_error']:.2f}, "
            f"field alone {summary['log_evidence_field']:.2f}"
        )
    elif summary.get("why_no_evidence"):
        out.print(f"no Bayes factor: {summary['why_no_evidence']}")
    elif summary.get("log_evidence") is not None:
        null = summary.get("log_evidence_null")
        beside = "" if null is None else f", of the model without cluster {null:.2f}"
        value, error = summary["log_evidence"], summary["log_evidence_error"]
        out.print(f"[bold]ln Z = {value:.2f} ± {error:.2f}[/]{beside}")
    if "r_hat" in summary:
        out.print(
            f"largest R-hat {summary['r_hat']:.3f}, least effective draws {summary['ess']:.0f}, "
            f"{summary['divergences']} divergences"
        )
    if "n_field" in summary:
        out.print(
            f"{summary['n_stars']} stars ({summary['n_dropped']} dropped), "
            f"{summary['n_field']} field stars, {summary['n_members']} members with P > 0.5"
        )
        if "parallax" in summary:
            out.print(f"parallaxes: {summary['parallax']}")
        if summary.get("isochrones"):
            out.print(f"isochrones: {summary['isochrones']}")
        if summary.get("fit_p_value") is not None:
            out.print(
                f"goodness of fit: p = {summary['fit_p_value']:.2g}, "
                f"{summary['fit_misplaced']:.0%} of the stars misplaced"
            )
    elif "n_stars" in summary:
        some = summary.get("n_members")
        members = "" if some is None else f", {some} members with P > 0.5"
        out.print(f"{summary['n_stars']} stars{members}")
    units, derived = summary.get("units", {}), summary.get("derived", {})
    systematic = summary.get("systematic")
    prior = Column("prior", overflow="fold")
    more = [*(["± system."] if systematic else []), prior, *(["truth"] if truth else [])]
    table = _table("parameter", "median", "16 %", "84 %", *more)
    for name, row in {**summary["parameters"], **derived}.items():
        error = [systematic[name]] if systematic and name in systematic else []
        cells = _numbers([*(row[k] for k in ("median", "q16", "q84")), *error])
        if systematic and not error:
            cells.append("")
        cells.append(summary["priors"].get(name.split("[")[0], ""))
        if truth:
            cells.append(f"{truth[name]:.4f}" if name in truth else "")
        unit = f" [{units[name]}]" if name in units else ""
        table.add_row(escape(name + unit), *cells)
    out.print(table)
    if systematic:
        from jaxcluster.jobs.results import SYSTEMATIC  # not before `--help`

        out.print(f"± system.: {SYSTEMATIC}", soft_wrap=True)
    out.print(
        f"{summary['method']}: {summary['evaluations']} evaluations, "
        f"{summary['cpu_seconds']:.0f} CPU s + {summary['compile_seconds']:.0f} s of compilation"
    )
    for flag, of in FLAGS.items():
        if summary.get(flag):
            out.print(f"[bold yellow]{of}:[/] {summary[flag]}", soft_wrap=True)


def print_across_grids(summary: dict[str, Any]) -> None:
    """Print what several grids of isochrones say of one candidate."""
    out, grids = Console(highlight=False), summary["grids"]
    weights = summary["weights_by_evidence"] or {}
    for grid, each in grids.items():
        if each["log10_bayes_factor"] is None:
            out.print(f"{grid}: no Bayes factor: {each['why_no_evidence']}")
            continue
        out.print(
            f"{grid}: log10 BF [bold]{each['log10_bayes_factor']:.2f} ± "
            f"{each['log10_bayes_factor_total_error']:.2f}[/], ln Z = {each['log_evidence']:.2f} ± "
            f"{each['log_evidence_error']:.2f}, weight by evidence {weights[grid]:.2g}"
        )
        for flag in FLAGS:
            if each.get(flag):
                out.print(f"[bold yellow]{grid}:[/] {each[flag]}", soft_wrap=True)
    table = _table("parameter", "median", "16 %", "84 %", "± grids", *grids)
    units = summary["units"]
    for name, row in summary["combined"].items():
        own = [{**each["parameters"], **each["derived"]}[name]["median"] for each in grids.values()]
        values = [row[k] for k in ("median", "q16", "q84", "systematic")]
        unit = f" [{units[name]}]" if name in units else ""
        table.add_row(escape(name + unit), *_numbers([*values, *own]))
    out.print(table)
    out.print(
        "median and interval: all grids with equal weights; ± grids: half the distance between "
        "their medians. Weights by evidence say which isochrones have the smaller residuals, and "
        "little of which are right",
        soft_wrap=True,
    )


def _table(*columns: str | Column) -> Table:
    """A table whose priors, units and truths fit into 80 columns."""
    return Table(*columns, box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)


def _numbers(values: list[float]) -> list[str]:
    """Four digits after the point, one where they are large."""
    digits = 4 if max(map(abs, values)) < 100.0 else 1
    return [f"{value:.{digits}f}" for value in values]
