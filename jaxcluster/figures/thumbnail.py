"""A colour-magnitude diagram as small as a stamp, for tables of many candidates."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from jaxcluster.figures.cmd import LINE, sequence

if TYPE_CHECKING:
    from jaxcluster.jobs.bayes_factor_result import BayesFactor

SIZE, DPI = (1.6, 1.8), 75  # inches


def thumbnail(result: BayesFactor) -> bytes:
    """Return a PNG of some kilobytes: stars by membership, and the likeliest isochrone.

    Colour and magnitude run as usual, within the magnitude limits, without any axis.
    """
    from matplotlib.figure import Figure

    x = np.asarray(result.stars.x)
    membership = np.asarray(result.members["membership"])
    order = np.argsort(membership)
    figure = Figure(figsize=SIZE)
    ax = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    ax.scatter(
        x[order, 1], x[order, 0], c=membership[order], s=4, cmap="viridis_r", vmin=0, vmax=1, lw=0
    )
    if (line := sequence(result)) is not None:
        points = line(result.posterior.likeliest)
        ax.plot(points[:, 1], points[:, 0], color=LINE, lw=0.8)
    ax.set_xlim(x[:, 1].min() - 0.1, x[:, 1].max() + 0.1)
    ax.set_ylim(result.limits[1], result.limits[0])
    ax.set_xticks([])
    ax.set_yticks([])
    file = io.BytesIO()
    figure.savefig(file, dpi=DPI, format="png")
    return file.getvalue()
