"""Where the sample has more or fewer stars than cluster + field expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxcluster.figures.style import axis_label, draw_credit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcluster.jobs.bayes_factor_result import BayesFactor

MOST = 4.0  # standard deviations of the colour scale


def fit_figure(result: BayesFactor, credit: str | None = None) -> Figure:
    """Cells of the (first) diagram that expect the same number of stars, by how many they have.

    Args:
        result: from `bayes_factor`, with a `goodness`.
        credit: see `cmd_figure`.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    fit, stars = result.goodness, result.stars
    assert fit is not None
    magnitude, colour = np.asarray(stars.x)[:, :2].T
    figure = Figure(figsize=(6.4, 7.0), layout="constrained")
    ax = figure.add_subplot()
    corners = [_corners(cell) for cell in fit.cells]
    values = np.array([(c.found - c.expected) / np.sqrt(c.expected) for c in fit.cells])
    cells = PolyCollection(corners, cmap="RdBu_r", edgecolors="0.75", linewidths=0.4)
    cells.set(array=values, clim=(-MOST, MOST))
    ax.add_collection(cells)
    ax.plot(colour, magnitude, ".", color="black", ms=float(np.clip(60 / len(stars) ** 0.5, 1, 4)))
    figure.colorbar(
        cells, ax=ax, label=r"(stars − expected) / $\sqrt{\mathrm{expected}}$", aspect=35, pad=0.02
    )
    pad = 0.05 * np.ptp(colour)
    ax.set_xlim(colour.min() - pad, colour.max() + pad)
    ax.set_ylim(result.limits[1], result.limits[0])
    ax.set_ylabel(axis_label(stars.columns[0]))
    ax.set_xlabel(axis_label(stars.columns[1]))
    ax.set_title(
        f"{len(fit.cells)} cells, each expecting {fit.cells[0].expected:.1f} of {len(stars)} stars"
        f"\n{fit.misplaced:.0%} misplaced, p = {fit.p_value:.2g}",
        fontsize=10,
    )
    draw_credit(figure, stars.columns, credit)
    return figure


def _corners(cell) -> list[tuple[float, float]]:
    (bright, faint), (blue, red) = cell.magnitudes, cell.colours
    return [(blue, bright), (red, bright), (red, faint), (blue, faint)]
