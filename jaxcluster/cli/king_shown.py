"""What `jaxcluster king` prints."""

from typing import Any

from rich.console import Console
from rich.table import Table

from jaxcluster.jobs.king_summary import SIDES


def print_king(summary: dict[str, Any]) -> None:
    """Print a summary for a person."""
    out = Console(highlight=False)
    centre = summary["centre"]
    dropped = ", ".join(f"{n} {why}" for why, n in summary["n_dropped"].items() if n)
    out.print(
        f"{summary['n_stars']} stars within {summary['radius']:.4g} arcmin of ra "
        f"{centre['ra']:.4f}, dec {centre['dec']:.4f} deg" + (f" ({dropped})" if dropped else ""),
        soft_wrap=True,
    )
    table = Table("parameter", "median", "16 %", "84 %", "unit", "prior")
    for name, row in summary["parameters"].items():
        cells = ["" if row[k] is None else f"{row[k]:.4g}" for k in ("median", "q16", "q84")]
        for side, sign in zip(SIDES, "><", strict=True):
            if row["median"] is None and (value := row.get(f"{side}_limit")) is not None:
                cells[0] = f"{sign} {value:.4g}"
        unit = summary["units"].get(name, "").replace("-2", "⁻²")
        table.add_row(name, *cells, unit, summary["priors"].get(name, ""))
    out.print(table)
    if summary["comparison"]:
        odds = Table("profile", "β", "ln Z", "error", "ln BF", "log10 BF")
        for row in summary["comparison"]:
            numbers = (
                f"{row['log_evidence']:.2f}",
                f"{row['log_evidence_error']:.2f}",
                f"{row['log_bayes_factor']:.2f}",
                f"{row['log10_bayes_factor']:.2f}",
            )
            odds.add_row(row["profile"], str(row["beta"] or ""), *numbers)
        out.print(odds)
    elif summary["log_evidence"] is not None:
        out.print(
            f"ln Z = {summary['log_evidence']:.2f} ± {summary['log_evidence_error']:.2f}, of a "
            f"uniform field {summary['log_evidence_uniform']:.2f}"
        )
    out.print(f"sum of memberships {summary['sum_of_memberships']:.0f}")
    if summary["binned"] is not None:
        print_binned(summary["binned"], summary["units"])
    if summary["structure"] is not None:
        print_structure(summary["structure"])
    for line in summary["warnings"]:
        out.print(f"[bold yellow]warning:[/] {line}", soft_wrap=True)
    out.print(
        f"{summary['method']}: {summary['evaluations']} evaluations, "
        f"{summary['cpu_seconds']:.0f} CPU s + {summary['compile_seconds']:.0f} s of compilation"
    )


def print_structure(summary: dict[str, Any]) -> None:
    """Print what `structure` measured for a person."""
    out = Console(highlight=False)
    for words in ("half_number_radius", "half_light_radius"):
        if half := summary.get(words):
            out.print(f"{words}: {half['value']:.3g} ± {half['error']:.2g} arcmin")
    if rows := summary.get("radii_by_magnitude"):
        table = Table(f"{summary['magnitude']} (mag)", "members", "half-number radius (arcmin)")
        for row in rows:
            cells = f"{row['bright']:.2f} to {row['faint']:.2f}", f"{row['expected']:.0f}"
            table.add_row(*cells, f"{row['r50']:.3g} ± {row['error']:.2g}")
        out.print(table)
    if rows := summary.get("segregation_ratio"):
        table = Table("brightest", "Λ (Allison et al. 2009)", "share of random sets as close")
        for row in rows:
            ratio = f"{row['ratio']:.3g} ± {row['error']:.2g}"
            table.add_row(str(row["n"]), ratio, f"{row['chance']:.3f}")
        out.print(table)
    one = summary["shape"]
    line = (
        f"elongation {one['ellipticity']:.3f} ± {one['ellipticity_error']:.3f} (a round cluster's "
        f"{one['round_ellipticity']:.3f}; as much by chance: {one['chance']:.3f}), major axis at "
        f"{one['position_angle']:.0f} ± {one['position_angle_error']:.0f} deg, "
        f"{one['angle_to_galactic_plane']:+.0f} to the Galactic plane"
    )
    if one["angle_to_motion"] is not None:
        line += f", {one['angle_to_motion']:+.0f} to the proper motion"
    out.print(line, soft_wrap=True)


def print_binned(binned: dict[str, Any], units: dict[str, str]) -> None:
    """Print the summary of a binned fit for a person."""
    out = Console(highlight=False)
    centre = binned["centre"]
    out.print(
        f"least squares in {binned['n_rings']} rings about ra {centre['ra']:.4f}, dec "
        f"{centre['dec']:.4f} deg; beta {binned['preferred_beta']} is preferred",
        soft_wrap=True,
    )
    table = Table("parameter", *(f"beta {fit['beta']}" for fit in binned["fits"]), "unit")
    for name in binned["fits"][0]["parameters"]:
        cells = [_cell(fit["parameters"][name]) for fit in binned["fits"]]
        table.add_row(name, *cells, units.get(name, "").replace("-2", "⁻²"))
    chi2 = [f"{fit['reduced_chi2']:.3g} ({fit['degrees_of_freedom']})" for fit in binned["fits"]]
    table.add_row("reduced χ² (degrees)", *chi2, "")
    out.print(table)
    for line in binned["warnings"]:
        out.print(f"[bold yellow]warning:[/] {line}", soft_wrap=True)


def _cell(row):
    if row["value"] is None:
        return f"> {row['lower_limit']:.4g}" if "lower_limit" in row else ""
    error = "" if row["error"] is None else f" ± {row['error']:.2g}"
    return f"{row['value']:.4g}{error}"
