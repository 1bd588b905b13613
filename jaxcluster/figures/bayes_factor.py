"""Figures of a Bayes factor: colour-magnitude diagram and corner plot; all figures as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from jaxcluster.density.mixture import Mixture
from jaxcluster.density.stars import Stars
from jaxcluster.figures.run import run_figure, verdict
from jaxcluster.figures.style import LABELS, POSTERIOR, PRIOR, draw_credit
from jaxcluster.population.cmd import EQUAL_PAIR, PopulationDensity, plane_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcluster.jobs.bayes_factor import Result

LINE, FIELD = "#c4302b", "0.55"
# Two points of an isochrone more than JUMP apart (colour, magnitude / 4) are not joined where less
# than EMPTY of the mass lies between them per unit length: the helium flash and phases that the
# grid filled. Red giants have 5e-5, the flash below 2e-5; PARSEC's main sequence has steps of 3 mag
# at some ages, but they are full of stars.
JUMP, EMPTY = 0.1, 3e-5
N_DRAWS = 20
SHARES = (0.95, 0.8, 0.5, 0.2)  # of field stars inside the contours


def save_figures(result: Result, folder: str | Path, credit: str | None = None) -> list[Path]:
    """Write every figure of a run as a PNG file.

    Args:
        result: from `bayes_factor`.
        folder: made where it does not exist.
        credit: as in `cmd_figure`.

    Returns:
        Paths of cmd.png, corner.png and run.png.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "cmd": cmd_figure(result, credit),
        "corner": corner_figure(result, credit=credit),
        "run": run_figure(result, credit),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    return [folder / f"{name}.png" for name in figures]


# --- colour-magnitude diagram --------------------------------------------------------------------


def cmd_figure(result: Result, credit: str | None = None) -> Figure:
    """Stars by membership over the field's density, with the posterior's isochrones.

    Isochrones (where the cluster is a `PopulationDensity`): at the median of each
    parameter, at 20 posterior draws, and of pairs of equal stars, 0.75 mag brighter. Error bars at
    the left are medians of the stars around that magnitude.

    Args:
        result: from `bayes_factor`.
        credit: line at the bottom; by default that of Gaia where the bands are Gaia's.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    stars, limits = result.stars, result.limits
    magnitude, colour = np.asarray(stars.x[:, 0]), np.asarray(stars.x[:, 1])
    width = max(float(np.ptp(colour)), 0.5)
    edges = (colour.min() - 0.16 * width, colour.max() + 0.06 * width)

    figure = Figure(figsize=(6.4, 7.6), layout="constrained")
    ax = figure.add_subplot()
    handles = [*_draw_field(ax, result, edges)]
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
    figure.colorbar(points, ax=ax, label="membership probability", aspect=35, pad=0.02)
    _draw_errors(ax, stars, edges[0] + 0.06 * width)

    if (sequence := _sequence(result)) is not None:
        draws = {name: values.ravel() for name, values in result.posterior.scalars.items()}
        n = len(next(iter(draws.values())))
        for i in np.linspace(0, n - 1, min(n, N_DRAWS)).astype(int):
            line = sequence({name: values[i] for name, values in draws.items()})
            ax.plot(line[:, 1], line[:, 0], color=LINE, lw=0.6, alpha=0.25, zorder=3)
        line = sequence({name: np.median(values) for name, values in draws.items()})
        ax.plot(line[:, 1], line[:, 0], color=LINE, lw=1.3, zorder=4)
        ax.plot(line[:, 1], line[:, 0] - EQUAL_PAIR, color=LINE, lw=1.0, ls="--", zorder=4)
        handles += [
            Line2D([], [], color=LINE, lw=1.3, label="isochrone, posterior median"),
            Line2D([], [], color=LINE, lw=0.6, alpha=0.5, label="posterior draws"),
            Line2D([], [], color=LINE, lw=1.0, ls="--", label="equal-mass binaries"),
        ]
    for limit in limits:
        ax.axhline(limit, color="0.2", lw=0.9, ls=":")
    handles.append(Line2D([], [], color="0.2", lw=0.9, ls=":", label="magnitude limits"))

    pad = 0.03 * (limits[1] - limits[0])
    ax.set_xlim(*edges)
    ax.set_ylim(limits[1] + pad, limits[0] - pad)
    ax.set_ylabel(_axis_label(stars.columns[0]))
    ax.set_xlabel(_axis_label(stars.columns[1]))
    ax.set_title(verdict(result), fontsize=10)
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    draw_credit(figure, stars.columns, credit)
    return figure


def _draw_field(ax, result, edges):
    """Draw contours that hold given shares of the field; return what the legend shows of them."""
    from matplotlib.lines import Line2D

    magnitude, colour = np.linspace(*result.limits, num=161), np.linspace(*edges, num=121)
    grid = np.stack(np.meshgrid(magnitude, colour, indexing="ij"), axis=-1)
    points = grid.reshape(-1, 2)
    noise = np.zeros((len(points), 2, 2))
    log_density = result.field(Stars(points, noise, result.stars.columns))
    density = np.exp(np.asarray(log_density, float)).reshape(grid.shape[:2])
    sorted_ = np.sort(density, axis=None)[::-1]
    held = np.cumsum(sorted_)
    levels = sorted_[[np.searchsorted(held, share * held[-1]) for share in SHARES]]
    levels = np.unique(levels)  # matplotlib wants them to increase
    ax.contour(colour, magnitude, density, levels=levels, colors=FIELD, linewidths=0.8, zorder=1)
    shares = ", ".join(f"{share:.0%}"[:-1] for share in SHARES[::-1])
    return [Line2D([], [], color=FIELD, lw=0.8, label=f"{shares} % of the field")]


def _draw_errors(ax, stars, where):
    magnitude = np.asarray(stars.x[:, 0])
    errors = np.sqrt(np.diagonal(np.asarray(stars.noise), axis1=1, axis2=2))
    groups = np.array_split(np.argsort(magnitude), min(5, len(stars)))
    typical = np.array([[np.median(magnitude[g]), *np.median(errors[g], axis=0)] for g in groups])
    ax.errorbar(
        np.full(len(typical), where),
        typical[:, 0],
        xerr=typical[:, 2],
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


def _sequence(
    result: Result,
) -> Callable[[Mapping[str, Any]], Float[np.ndarray, "e 2"]] | None:
    """Return parameters → (magnitude, colour) of single stars, NaN where no line is to be drawn.

    None where the cluster is not a stellar population.
    """

    def isochrone(parameters):
        mixture = result.model.density(parameters)
        cluster = mixture.parts[0] if isinstance(mixture, Mixture) else None
        return cluster.isochrone if isinstance(cluster, PopulationDensity) else None

    one = {name: values[0, 0] for name, values in result.posterior.scalars.items()}
    if jax.eval_shape(isochrone, one) is None:
        return None
    compiled, (_, matrix) = jax.jit(isochrone), plane_of(result.stars.columns)

    def line(parameters):
        found = compiled(parameters)
        points = np.asarray(found.magnitudes) @ matrix.T
        mass = np.asarray(found.initial_mass)
        length = np.hypot(np.diff(points[:, 0]) / 4, np.diff(points[:, 1]))
        empty = (length > JUMP) & (np.diff(mass) < EMPTY * length * mass[1:])
        return np.insert(points, np.flatnonzero(empty) + 1, np.nan, axis=0)

    return line


def _axis_label(column: str) -> str:
    return f"{column.replace('-', ' − ')} [mag]"


# --- corner plot ---------------------------------------------------------------------------------


def corner_figure(
    result: Result, truth: Mapping[str, float] | None = None, credit: str | None = None
) -> Figure:
    """Posterior of the scalar parameters in pairs, with the prior over each marginal.

    Histograms and priors are densities on the same scale, so that an uninformed parameter shows.

    Args:
        result: from `bayes_factor`.
        truth: values by parameter name, to be marked.
        credit: as in `cmd_figure`.

    Raises:
        ValueError: a truth that is no scalar parameter, or a posterior in which none varies.
    """
    import corner
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    truth = truth or {}
    draws = {name: values.ravel() for name, values in result.posterior.scalars.items()}
    if unknown := [name for name in truth if name not in draws]:
        raise ValueError(f"truth: {unknown} are not scalar parameters; those are {list(draws)}")
    order = sorted(draws, key=lambda name: [*LABELS, name].index(name))
    draws = {name: draws[name] for name in order if np.ptp(draws[name]) > 0}
    if not draws:
        raise ValueError("posterior: no scalar parameter varies, there is nothing to draw")
    names, table = list(draws), np.stack(list(draws.values()), axis=-1)
    ranges = [_range(draws[name], truth.get(name)) for name in names]
    n = len(names)

    small = n <= 4  # then the legend needs room of its own above the panels
    figure = Figure(figsize=(1.3 * n + 1.4, 1.3 * n + 1.4 + 1.1 * small))
    corner.corner(
        table,
        fig=figure,
        labels=[LABELS.get(name, name) for name in names],
        label_kwargs={"fontsize": 11},
        labelpad=0.12,
        range=ranges,
        bins=24,
        color=POSTERIOR,
        levels=(0.68, 0.95),
        smooth=1.0,
        plot_datapoints=True,
        data_kwargs={"alpha": 0.15, "ms": 1.5},
        hist_kwargs={"density": True, "lw": 1.3},
        truths=[truth.get(name) for name in names] if truth else None,
        truth_color=LINE,
        max_n_ticks=4,
    )
    axes = np.array(figure.axes).reshape(n, n)
    prior = result.model.prior
    for i, name in enumerate(names):
        axes[i, i].set_title(_interval(draws[name]), fontsize=11)
        if isinstance(prior, Mapping) and name in prior:
            x = np.linspace(*ranges[i], 200)
            support: Any = prior[name].support  # numpyro's log_prob is finite outside as well
            inside = np.asarray(support(x))
            density = np.zeros(len(x))
            density[inside] = np.exp(np.asarray(prior[name].log_prob(x[inside])))
            axes[i, i].plot(x, density, color=PRIOR, lw=1.3, ls="--")
            axes[i, i].set_ylim(0, max(axes[i, i].get_ylim()[1], 1.1 * density.max()))
    for ax in figure.axes:
        ax.tick_params(labelsize=9)
        for axis in (ax.xaxis, ax.yaxis):  # labels of neighbouring panels must not meet
            low, high = axis.get_view_interval()
            inner = (np.array(axis.get_majorticklocs()) - low) / (high - low)
            axis.set_ticks(low + (high - low) * inner[(inner > 0.12) & (inner < 0.88)])
    handles = [
        Line2D([], [], color=POSTERIOR, label="posterior; 68, 95 % contours"),
        Line2D([], [], color=PRIOR, ls="--", label="prior"),
    ]
    if truth:
        handles.append(Line2D([], [], color=LINE, marker="s", ms=4, label="truth"))
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=1.2 / width,
        bottom=1.2 / height,
        top=1 - (0.5 + 1.1 * small) / height,
        wspace=0.09,
        hspace=0.09,
    )
    figure.legend(
        handles=handles,
        title=verdict(result).replace("; ", "\n"),
        loc="upper right",
        bbox_to_anchor=(0.98, 1 - 0.15 / height),
        fontsize=8 if small else 12,
        title_fontsize=8 if small else 12,
        frameon=False,
    )
    draw_credit(figure, result.stars.columns, credit)
    return figure


def _range(values, truth):
    """Range of the draws, widened to show a truth that lies outside."""
    low, high = values.min(), values.max()
    if truth is not None:
        low, high = min(low, truth), max(high, truth)
    return low - 0.02 * (high - low), high + 0.02 * (high - low)


def _interval(values):
    low, middle, high = np.quantile(values, [0.16, 0.5, 0.84])
    digits = int(np.clip(1 - np.floor(np.log10(max(min(high - middle, middle - low), 1e-6))), 0, 6))
    return f"${middle:.{digits}f}^{{+{high - middle:.{digits}f}}}_{{-{middle - low:.{digits}f}}}$"
