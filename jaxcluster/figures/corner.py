"""The posterior in pairs of parameters, with the prior over each marginal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcluster.figures.style import LABELS, POSTERIOR, PRIOR, draw_credit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcluster.jobs.results import Sampled

TRUTH = "#c4302b"


def corner_figure(
    result: Sampled, truth: Mapping[str, float] | None = None, credit: str | None = None
) -> Figure:
    """Posterior of the scalar parameters in pairs, with the prior over each marginal.

    Histograms and priors are densities on the same scale, so that an uninformed parameter shows.

    Args:
        result: of a job; its posterior, its model's prior and its verdict are drawn.
        truth: values by parameter name, to be marked.
        credit: line at the bottom; by default that of Gaia where the columns are Gaia's.

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
        truth_color=TRUTH,
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
        handles.append(Line2D([], [], color=TRUTH, marker="s", ms=4, label="truth"))
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
        title=result.verdict.replace("; ", "\n"),
        loc="upper right",
        bbox_to_anchor=(0.98, 1 - 0.15 / height),
        fontsize=8 if small else 12,
        title_fontsize=8 if small else 12,
        frameon=False,
    )
    stars = result.model.stars
    draw_credit(figure, () if stars is None else stars.columns, credit)
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
