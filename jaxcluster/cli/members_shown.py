"""What `jaxcluster members` prints."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_members(summary: dict[str, Any]) -> None:
    """Print a summary for a person."""
    out = Console(highlight=False)
    cluster = summary["cluster"]
    if cluster is None:
        out.print(
            f"[bold]no cluster[/] in {summary['n_stars']} stars; the most compact component: "
            f"{summary['why_none']}"
        )
    else:
        stable = summary["n_stable"]
        also = (
            ""
            if stable is None
            else f", {stable} with P > 0.5 in 90 % of {summary['n_bootstrap']} resamplings"
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
