"""Figures of many candidates: their Bayes factors, by number of members too, and their cost."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxcluster.figures.style import draw_credit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THRESHOLD = 2.0  # of log10 BF (Li, Li & Shao 2025)
TICKS = np.array([-100, -10, -3, -1, 0, 1, 2, 4, 10, 30, 100, 300, 1000, 10_000], float)
COUNTS = 1, 2, 5, 10, 20, 30, 40, 50, 100, 200, 500, 1000, 2000, 5000
MOST_REASONS = 6  # of failures
COLOURS = ("#1f4e79", "#d08700", "#5a8f5a", "0.5")


def histogram_figure(
    found: Mapping[str, Float[np.ndarray, " n"]], credit: str | None = None
) -> Figure:
    """Histograms of arcsinh(log10 BF), the scale of Li, Li & Shao (2025, Figure 2), by kind.

    Args:
        found: log10 Bayes factors of each kind, such as "clusters" and "random fields".
        credit: line at the bottom; by default that of Gaia.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.add_subplot()
    finite = {kind: values[np.isfinite(values)] for kind, values in found.items()}
    scaled = np.arcsinh(np.concatenate([*finite.values(), [-1.0, THRESHOLD]]))
    edges = np.linspace(scaled.min() - 0.1, scaled.max() + 0.1, 41)
    for (kind, values), colour in zip(finite.items(), COLOURS, strict=False):
        label = f"{kind}: {(values > THRESHOLD).sum()} of {len(values)} above {THRESHOLD:g}"
        ax.hist(
            np.arcsinh(values), edges, histtype="stepfilled", alpha=0.6, color=colour, label=label
        )
    ax.axvline(np.arcsinh(THRESHOLD), color="0.2", ls=":", lw=1.2)
    _bayes_factor_axis(ax.xaxis, edges[[0, -1]])
    ax.set_ylabel("candidates")
    ax.legend(frameon=False, fontsize=8)
    draw_credit(figure, ("G",), credit)
    return figure


def members_figure(rows: Any, credit: str | None = None) -> Figure:
    """Bayes factors against numbers of members, coloured by field fraction (their Figure 4).

    Args:
        rows: a table of `batch`.
        credit: line at the bottom; by default that of Gaia.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.add_subplot()
    value = np.asarray(rows["log10_bayes_factor"], float)
    error = np.asarray(rows["log10_bayes_factor_total_error"], float)
    members = np.maximum(np.asarray(rows["n_members"].astype(float)), 0.5)
    known = np.isfinite(value)
    low, high = np.arcsinh(value - error), np.arcsinh(value + error)
    ax.vlines(members[known], low[known], high[known], color="0.7", lw=0.8, zorder=1)
    points = ax.scatter(
        members[known],
        np.arcsinh(value[known]),
        c=np.asarray(rows.get("field_fraction_median", np.nan * value), float)[known],
        vmin=0,
        vmax=1,
        cmap="viridis",
        s=18,
        zorder=2,
    )
    figure.colorbar(points, ax=ax, label="field fraction, posterior median", aspect=30, pad=0.02)
    ax.axhline(np.arcsinh(THRESHOLD), color="0.2", ls=":", lw=1.2)
    ax.set_xscale("log")
    _plain_ticks(ax.xaxis)
    ax.set_xlabel("members with P > 0.5 (none: at 0.5)")
    _bayes_factor_axis(ax.yaxis, ax.get_ylim())
    draw_credit(figure, ("G",), credit)
    return figure


def cost_figure(rows: Any) -> Figure:
    """CPU seconds against stars, by method, and why candidates failed.

    Args:
        rows: a table of `batch`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    times, reasons = figure.subplots(1, 2, width_ratios=(2, 1))
    done = rows[rows["method"].notna()]
    for colour, (method, some) in zip(COLOURS, done.groupby("method"), strict=False):
        seconds = some["cpu_seconds"]
        label = f"{method}: {len(some)}, median {seconds.median():.0f} s"
        times.scatter(some["n_stars"].astype(float), seconds, s=14, color=colour, label=label)
    times.set(xscale="log", yscale="log", xlabel="stars of the sample")
    times.set_ylabel("CPU seconds, compiling not included")
    for axis in (times.xaxis, times.yaxis):
        _plain_ticks(axis)
    if len(done):
        times.legend(frameon=False, fontsize=8)
    failed = rows[rows["status"] != "done"]
    said = [_reason(*both) for both in zip(failed["candidate"], failed["message"], strict=True)]
    common = Counter(said).most_common(MOST_REASONS)
    words = ["\n".join(textwrap.wrap(reason, 24, max_lines=4)) for reason, _ in common]
    reasons.barh(words, [count for _, count in common], 0.5, color="0.6")
    reasons.invert_yaxis()
    reasons.tick_params(axis="y", labelsize=7, length=0)
    reasons.xaxis.get_major_locator().set_params(integer=True)
    reasons.set(xlabel="candidates", title=f"{len(said)} of {len(rows)} failed")
    if not len(said):
        reasons.set_axis_off()
    return figure


def _reason(candidate: str, message: str | None) -> str:
    """What went wrong, without what is the candidate's own: its name, files and numbers."""
    words = (message or "no message").replace(f"{candidate}: ", "")
    first = re.split(r"[;(]", words)[0]
    return " ".join(word for word in first.split() if not re.search(r"[/\d]|\.\w", word))


def _plain_ticks(axis) -> None:
    """Few round numbers on a logarithmic axis, written out."""
    low, high = axis.get_view_interval()
    shown = [n for n in COUNTS if low <= n <= high]
    shown = shown[:: 1 + len(shown) // 8]
    axis.set_ticks(shown, [str(n) for n in shown])
    axis.set_ticks([], minor=True)


def _bayes_factor_axis(axis, span) -> None:
    ticks = TICKS[(np.arcsinh(TICKS) >= span[0]) & (np.arcsinh(TICKS) <= span[1])]
    axis.set_ticks(np.arcsinh(ticks), [f"{tick:g}" for tick in ticks])
    axis.set_label_text("log₁₀ Bayes factor (arcsinh scale)")
