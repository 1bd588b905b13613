"""What `king` leaves in its folder, and the numbers of its binned fit."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table

    from jaxcluster.king_structure import Structure
    from jaxcluster.radial_profile import RadialProfile
    from jaxcluster.run_king import Field, Found


def write(
    found: "Found",
    summary: dict[str, Any],
    members: "Table",
    folder: Path,
    binned: "RadialProfile | None" = None,
    measured: "Structure | None" = None,
) -> None:
    """Write posterior.nc, members.ecsv, summary.json and the figures.

    A binned fit has rings.ecsv and binned.png too, a structure with magnitudes structure.png.

    Args:
        found: from `run_king`.
        summary: its summary.
        members: from `members_table`.
        folder: made where it does not exist.
        binned: from `radial_profile`.
        measured: from `structure`.
    """
    from jaxcluster.output import save_posterior, whole
    from jaxcluster.plot_king import corner_figure, profile_figure
    from jaxcluster.plot_king_sky import sky_figure
    from jaxcluster.plot_king_structure import structure_figure
    from jaxcluster.plot_radial_profile import radial_profile_figure
    from jaxcluster.run import finite

    with whole(folder) as scratch:
        if "log_likelihood" in found.posterior:  # of each star at each draw: a gigabyte at 10⁵
            del found.posterior["log_likelihood"]
        save_posterior(found.posterior, scratch)
        members.write(scratch / "members.ecsv", format="ascii.ecsv")
        (scratch / "summary.json").write_text(json.dumps(finite(summary), indent=2))
        for name, draw in (
            ("profile", profile_figure),
            ("sky", sky_figure),
            ("corner", corner_figure),
        ):
            draw(found, summary).savefig(scratch / f"{name}.png", dpi=150)
        if binned is not None:
            binned.rings.write(scratch / "rings.ecsv", format="ascii.ecsv")
            radial_profile_figure(binned).savefig(scratch / "binned.png", dpi=150)
        if measured is not None and len(measured.magnitudes):
            structure_figure(measured).savefig(scratch / "structure.png", dpi=150)


def binned_summary(binned: "RadialProfile", field: "Field") -> dict[str, Any]:
    """Return the numbers of a binned fit by name, as `king --json` prints them.

    Each parameter has value and error, one at a bound neither; a limiting radius that the rings do
    not reach has a `lower_limit` (95 %) too.
    """
    from jaxcluster.sky_plane import to_sky

    ((ra, dec),) = to_sky(binned.centre[None], field.centre)
    reach, fits, said = float(np.asarray(binned.rings["outer"])[-1]), [], []
    for fit in binned.fits:
        rows: dict[str, dict[str, float | None]] = {}
        beyond = fit.parameters["r_tidal"] > reach or "r_tidal" in fit.at_bound
        # β = 1: inside its limiting radius that and the background are one constant
        blurred = np.isnan(fit.covariance).all()
        for name, value in fit.parameters.items():
            follows = name == "concentration" and "r_tidal" in fit.at_bound
            follows |= blurred and name not in ("amplitude", "r_core")
            hidden = name in fit.at_bound or follows
            error = fit.errors[name]
            known = np.isfinite(error) and not hidden
            rows[name] = {
                "value": None if hidden or not np.isfinite(value) else value,
                "error": error if known else None,
            }
        if beyond:
            rows["r_tidal"]["lower_limit"] = fit.tidal_limit
            said.append(
                f"binned, beta {fit.beta}: r_tidal > {fit.tidal_limit:.3g} arcmin is a lower limit "
                f"(95 %), the rings end at {reach:.4g} arcmin"
            )
        if blurred:
            said.append(
                f"binned, beta {fit.beta}: the rings do not tell its edge from a background"
            )
        said += [
            f"binned, beta {fit.beta}: {name} is at the bound of what was allowed"
            for name in fit.at_bound
            if name != "r_tidal"
        ]
        fits.append(
            {
                "beta": fit.beta,
                "parameters": rows,
                "chi2": fit.chi2,
                "degrees_of_freedom": fit.degrees,
                "reduced_chi2": fit.reduced_chi2,
                "at_bound": list(fit.at_bound),
            }
        )
    return {
        "centre": {"ra": float(ra), "dec": float(dec)},
        "n_rings": len(binned.rings),
        "preferred_beta": binned.best.beta,
        "fits": fits,
        "warnings": said,
    }


def print_binned(binned: dict[str, Any], units: dict[str, str]) -> None:
    """Print the summary of a binned fit for a person."""
    from rich.console import Console
    from rich.table import Table

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
