"""What `main` found: errors by temperature, and parameters less what others say.

    python -m benchmarks.colour_error.summary GRID OUT FILE.png   of `fit` and `try` in OUT

Prints median and scatter (1.48 MAD) of the differences, how many are within one error, theirs and
ours, the median difference and the one that 68 % are below, all clusters and without the Pleiades.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.colour_error.main import combined
from jaxcluster.figures.style import CREDIT
from jaxcluster.population.colour_error import KELVIN

GIANT = 4800.0  # K, where the figure has giants
PARAMETERS = {
    "distance_modulus": "distance\nmodulus [mag]",
    "metallicity": "[M/H]",
    "log_age": "log₁₀ age",
    "a_v": "$A_V$ [mag]",
}


def _error(rows: pd.DataFrame, name: str) -> pd.Series:
    """Errors of differences: half of a 68 % interval, and what others quote."""
    half = 0.5 * (rows[f"{name}_high"] - rows[f"{name}_low"])
    return np.hypot(half, rows[f"{name}_known_error"])


def told(tried: pd.DataFrame) -> None:
    """Print the differences."""
    for option, rows in tried.groupby("options", sort=False):
        print(f"{option}, {len(rows)} clusters")
        for name in PARAMETERS:
            off = rows[name] - rows[f"{name}_known"]
            error = _error(rows, name)
            scatter = 1.4826 * np.median(np.abs(off - off.median()))
            print(
                f"{name:>18} {off.median():+.3f} {scatter:.3f} {(off.abs() < error).sum():3d} "
                f"|Δ| {off.abs().median():.3f} 68 % {off.abs().quantile(0.68):.3f}"
            )


def figure(grid: str, out: Path) -> Figure:
    """Draw the errors of each cluster and what they share, and parameters without and with it."""
    page = Figure(figsize=(11.0, 6.5), layout="constrained")
    left, right = page.subfigures(1, 2, width_ratios=(1.0, 1.1))
    axes = left.subplots()
    fits = []
    for file in sorted(out.glob(f"{grid}-*.npz")):
        with np.load(file) as one:
            fits.append((one["mean"], one["covariance"]))
        mean, error = fits[-1][0], np.sqrt(np.diag(fits[-1][1]))
        known = error < 0.05  # of the others the prior is all that is known
        axes.plot(np.array(KELVIN)[known[:-1]], mean[:-1][known[:-1]], "-", lw=0.8, color="0.6")
        if known[-1]:
            axes.plot(GIANT, mean[-1], "_", ms=12, color="C3", alpha=0.5)
    centre, spread = combined(fits)
    sigma = np.sqrt(np.diag(spread))
    low, high = (centre + by * sigma for by in (-1.0, 1.0))
    axes.fill_between(KELVIN, low[:-1], high[:-1], color="C0", alpha=0.25, lw=0)
    axes.plot(KELVIN, centre[:-1], "o-", color="C0", label=f"dwarfs of {len(fits)} clusters")
    axes.errorbar(GIANT, centre[-1], sigma[-1], fmt="D", color="C3", label="their giants")
    axes.axhline(0.0, color="k", lw=0.6)
    axes.set_xscale("log")
    axes.set_xticks(KELVIN, [f"{k}" for k in KELVIN], fontsize=8)
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.set_xlabel("effective temperature [K]")
    axes.set_ylabel(f"error of BP − RP of {grid} [mag], observed less isochrone")
    axes.legend(frameon=False)
    tried = pd.read_csv(out / f"{grid}-tried.csv").sort_values(
        "distance_modulus_known", kind="stable"
    )
    right.suptitle("less what parallaxes, spectra, Cantat-Gaudin et al. (2020) say", fontsize=9)
    panels = right.subplots(len(PARAMETERS), 1)
    for panel, (name, label) in zip(panels, PARAMETERS.items(), strict=True):
        for number, (option, rows) in enumerate(tried.groupby("options", sort=False)):
            off = rows[name] - rows[f"{name}_known"]
            error = _error(rows, name)
            place = np.arange(len(rows)) + 0.2 * number
            panel.errorbar(
                place, off, error, fmt="o", ms=4, color=("0.5", "C1", "C0")[number], label=option
            )
        panel.axhline(0.0, color="k", lw=0.6)
        panel.set_ylabel(label, fontsize=8)
        panel.set_xticks(np.arange(len(rows)), [])
    panels[-1].set_xticks(np.arange(len(rows)), rows["cluster"], rotation=90, fontsize=7)
    panels[0].legend(frameon=False, ncols=3, fontsize=7)
    page.supxlabel(CREDIT, fontsize=6)
    return page


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    tried = pd.read_csv(Path(sys.argv[2]) / f"{sys.argv[1]}-tried.csv")
    told(tried)
    told(tried[tried.cluster != "Melotte_22"])
    figure(sys.argv[1], Path(sys.argv[2])).savefig(sys.argv[3], dpi=150)
