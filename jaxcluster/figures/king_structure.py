"""Figure of mass segregation: where members of each magnitude are, and the segregation ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxcluster.figures.style import POSTERIOR, draw_credit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcluster.jobs.king_structure import Structure


def structure_figure(found: Structure, credit: str | None = None) -> Figure:
    """Share of members within each radius by magnitude, and Λ of the brightest with its error.

    Args:
        found: from `structure`, with magnitudes.
        credit: line at the bottom, by default that of Gaia.
    """
    import matplotlib
    from matplotlib.figure import Figure

    bins, ratios = (found.summary[k] for k in ("radii_by_magnitude", "segregation_ratio"))
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.85, len(bins)))
    order, band = np.argsort(found.away), found.summary["magnitude"]
    for row, colour in zip(bins, colours, strict=True):
        m = found.magnitudes[order]
        w = found.weights[order] * (m >= row["bright"]) * (m < row["faint"])
        label = f"{band} {row['bright']:.1f} to {row['faint']:.1f} ({row['expected']:.0f})"
        left.plot(found.away[order], np.cumsum(w) / w.sum(), color=colour, label=label)
    left.axhline(0.5, color="0.7", lw=0.8, zorder=0)
    left.set(xlabel="radius [arcmin]", ylabel="share of the members within", ylim=(0, 1.02))
    left.set_xlim(0, found.away.max())
    left.legend(fontsize=9, title="magnitude (members)", title_fontsize=9)
    n, ratio, error = (np.array([row[k] for row in ratios]) for k in ("n", "ratio", "error"))
    right.errorbar(n, ratio, error, fmt="o", color=POSTERIOR)
    right.axhline(1.0, color="0.5", lw=1.0, ls="--")
    right.set(
        xscale="log", xlabel=f"brightest stars in {band}", ylabel=r"segregation ratio $\Lambda$"
    )
    right.set_xticks(n, [str(k) for k in n])
    right.minorticks_off()
    right.text(0.98, 0.97, "above 1: nearer to each other\nthan members at random", ha="right",
               va="top", transform=right.transAxes, fontsize=9, color="0.4")  # fmt: skip
    draw_credit(figure, ("G",), credit)
    return figure
