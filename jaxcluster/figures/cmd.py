"""Figures of a Bayes factor: colour-magnitude diagram and corner plot; all figures as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from jaxcluster.density.mixture import Mixture
from jaxcluster.density.stars import Stars
from jaxcluster.figures.style import axis_label, draw_credit
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.population.cmd import EQUAL_PAIR, PopulationDensity, plane_of
from jaxcluster.population.isochrone import Isochrone

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcluster.jobs.bayes_factor_result import BayesFactor

LINE, FIELD = "#c4302b", "0.55"
# Two points of an isochrone more than JUMP apart (colour, magnitude / 4) are not joined where less
# than EMPTY of the mass lies between them per unit length: the helium flash and phases that the
# grid filled. Red giants have 5e-5, the flash below 2e-5; PARSEC's main sequence has steps of 3 mag
# at some ages, but they are full of stars.
JUMP, EMPTY = 0.1, 3e-5
N_DRAWS = 20
SHARES = (0.95, 0.8, 0.5, 0.2)  # of field stars inside the contours


def cmd_figure(result: BayesFactor, credit: str | None = None) -> Figure:
    """Stars by membership over the field's density, with the posterior's isochrones, by colour.

    Isochrones (where the cluster is a `PopulationDensity`): of the likeliest posterior draw, of 20
    draws, and of pairs of equal stars, 0.75 mag brighter than the likeliest. Error bars at the
    left are medians of the stars around that magnitude.

    Args:
        result: from `bayes_factor`.
        credit: line at the bottom; by default that of Gaia where the bands are Gaia's.
    """
    from matplotlib.figure import Figure

    stars, limits = result.stars, result.limits
    colours = stars.columns[1:]
    figure = Figure(figsize=(6.4 + 4.8 * (len(colours) - 1), 7.6), layout="constrained")
    axes = figure.subplots(1, len(colours), sharey=True, squeeze=False)[0]
    lines = _lines(result)
    drawn = [_draw_diagram(ax, result, number, lines) for number, ax in enumerate(axes, 1)]
    points, handles = drawn[0]
    figure.colorbar(points, ax=axes, label="membership probability", aspect=35, pad=0.02)
    pad = 0.03 * (limits[1] - limits[0])
    axes[0].set_ylim(limits[1] + pad, limits[0] - pad)
    axes[0].set_ylabel(axis_label(stars.columns[0]))
    alone = len(colours) == 1
    axes[0].set_title(result.verdict, fontsize=10, loc="center" if alone else "left")
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    draw_credit(figure, stars.columns, credit)
    return figure


def _lines(result: BayesFactor) -> list[np.ndarray]:
    """Isochrones of some draws and, last, of the likeliest; none where there is no population."""
    if (line_of := sequence(result)) is None:
        return []
    draws = {name: values.ravel() for name, values in result.posterior.scalars.items()}
    n = len(next(iter(draws.values())))
    some = np.linspace(0, n - 1, min(n, N_DRAWS)).astype(int)
    drawn = [line_of({name: values[i] for name, values in draws.items()}) for i in some]
    return [*drawn, line_of(result.posterior.likeliest)]


def _draw_diagram(ax, result, number, lines):
    """Draw magnitude against one of the colours; return its points and what the legend shows."""
    from matplotlib.lines import Line2D

    stars = result.stars
    magnitude, colour = np.asarray(stars.x[:, 0]), np.asarray(stars.x[:, number])
    width = max(float(np.ptp(colour)), 0.5)
    edges = (colour.min() - 0.16 * width, colour.max() + 0.06 * width)
    handles = [*_draw_field(ax, result, number, edges)]
    membership = np.asarray(result.members["membership"])
    order = np.argsort(membership)
    points = ax.scatter(
        colour[order],
        magnitude[order],
        c=membership[order],
        s=float(np.clip(3000 / len(stars), 8, 22)),
        cmap="viridis_r",
        vmin=0,
        vmax=1,
        linewidths=0.2,
        edgecolors="0.3",
        zorder=2,
    )
    _draw_errors(ax, stars, number, edges[0] + 0.06 * width)
    if lines:
        *drawn, likeliest = lines
        for line in drawn:
            ax.plot(line[:, number], line[:, 0], color=LINE, lw=0.6, alpha=0.25, zorder=3)
        x, y = likeliest[:, number], likeliest[:, 0]
        ax.plot(x, y, color=LINE, lw=1.3, zorder=4)
        ax.plot(x, y - EQUAL_PAIR, color=LINE, lw=1.0, ls="--", zorder=4)
        handles += [
            Line2D([], [], color=LINE, lw=1.3, label="isochrone, likeliest draw"),
            Line2D([], [], color=LINE, lw=0.6, alpha=0.5, label="posterior draws"),
            Line2D([], [], color=LINE, lw=1.0, ls="--", label="equal-mass binaries"),
        ]
    for limit in result.limits:
        ax.axhline(limit, color="0.2", lw=0.9, ls=":")
    handles.append(Line2D([], [], color="0.2", lw=0.9, ls=":", label="magnitude limits"))
    ax.set_xlim(*edges)
    ax.set_xlabel(axis_label(stars.columns[number]))
    return points, handles


def _draw_field(ax, result, number, edges):
    """Draw contours that hold given shares of the field; return what the legend shows of them."""
    from matplotlib.lines import Line2D

    magnitude, colour = np.linspace(*result.limits, num=161), np.linspace(*edges, num=121)
    grid = np.stack(np.meshgrid(magnitude, colour, indexing="ij"), axis=-1)
    points = grid.reshape(-1, 2)
    noise = np.zeros((len(points), 2, 2))
    columns = result.stars.columns[0], result.stars.columns[number]
    log_density = result.field.marginal(number)(Stars(points, noise, columns))
    density = np.exp(np.asarray(log_density, float)).reshape(grid.shape[:2])
    sorted_ = np.sort(density, axis=None)[::-1]
    held = np.cumsum(sorted_)
    levels = sorted_[[np.searchsorted(held, share * held[-1]) for share in SHARES]]
    levels = np.unique(levels)  # matplotlib wants them to increase
    ax.contour(colour, magnitude, density, levels=levels, colors=FIELD, linewidths=0.8, zorder=1)
    shares = ", ".join(f"{share:.0%}"[:-1] for share in SHARES[::-1])
    return [Line2D([], [], color=FIELD, lw=0.8, label=f"{shares} % of the field")]


def _draw_errors(ax, stars, number, where):
    magnitude = np.asarray(stars.x[:, 0])
    errors = np.sqrt(np.diagonal(np.asarray(stars.noise), axis1=1, axis2=2))
    groups = np.array_split(np.argsort(magnitude), min(5, len(stars)))
    typical = np.array([[np.median(magnitude[g]), *np.median(errors[g], axis=0)] for g in groups])
    ax.errorbar(
        np.full(len(typical), where),
        typical[:, 0],
        xerr=typical[:, 1 + number],
        yerr=typical[:, 1],
        fmt="none",
        ecolor="black",
        elinewidth=0.9,
        capsize=1.5,
    )
    ax.annotate(
        "typical\nerrors",
        (where, typical[0, 0]),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )


def sequence(
    result: BayesFactor,
) -> Callable[[Mapping[str, Any]], Float[np.ndarray, "e d"]] | None:
    """Return parameters → (magnitude, colours) of single stars, NaN where no line is to be drawn.

    None where the cluster is not a stellar population.
    """
    one = {name: values[0, 0] for name, values in result.posterior.scalars.items()}
    compiled = Stopwatch().compile(Partial(_isochrone, result.model.density), one)
    if compiled(one) is None:
        return None
    _, matrix = plane_of(result.stars.columns)

    def line(parameters):
        found = compiled(parameters)
        points = np.asarray(found.magnitudes) @ matrix.T
        mass = np.asarray(found.initial_mass)
        length = np.linalg.norm(np.diff(points, axis=0) / [4.0, *[1.0] * (len(matrix) - 1)], axis=1)
        empty = (length > JUMP) & (np.diff(mass) < EMPTY * length * mass[1:])
        return np.insert(points, np.flatnonzero(empty) + 1, np.nan, axis=0)

    return line


def _isochrone(density: Callable, parameters: Mapping[str, Any]) -> Isochrone | None:
    mixture = density(parameters)
    cluster = mixture.parts[0] if isinstance(mixture, Mixture) else None
    return cluster.isochrone if isinstance(cluster, PopulationDensity) else None
