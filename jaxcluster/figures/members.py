"""Figures of a cluster found by a mixture: its members in every projection; how many components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table
from jaxtyping import Array, Float

from jaxcluster.catalogue.tables import Reader
from jaxcluster.density.mixture import GaussianMixture
from jaxcluster.density.stars import Stars
from jaxcluster.figures.projections import ellipse_of, expected_counts, marginal_covs, sky_offsets
from jaxcluster.figures.style import POSTERIOR, PRIOR, draw_credit
from jaxcluster.xd.cluster_component import SURE, moments

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLUSTER, COMPONENT = "#c4302b", "0.5"
COLOURS = ["#c0c0c0", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154"]  # viridis from grey
INSET = 0.44  # side, as a share of the panel's


def members_figure(
    stars: Stars,
    mixture: GaussianMixture,
    cluster: Sequence[int],
    membership: Float[np.ndarray, " n"] | Float[Array, " n"],
    table: Table,
    credit: str | None = None,
) -> Figure:
    """Stars by membership: proper motions, parallaxes, on the sky and in colour and magnitude.

    Ellipses are of the intrinsic covariances; the curves over the histogram of parallaxes are the
    mixture as the stars' noise blurs it. What the table lacks, its panel says.

    Args:
        stars: with the columns pmra, pmdec [mas/yr] and, for its panel, parallax [mas].
        mixture: in the columns of `stars`.
        cluster: its components; none where there is no cluster.
        membership: that each star is a member; zeros where there is no cluster.
        table: that `stars` was read from, with ra, dec [deg], G and BP-RP [mag].
        credit: line at the bottom; by default that of Gaia where the table is Gaia's.

    Raises:
        ValueError: stars without proper motions, or arguments that do not fit each other.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    membership, n = np.asarray(membership, float), len(stars)
    rows = _checked_rows(stars, mixture, cluster, membership, table)
    read = Reader(table)
    figure = Figure(figsize=(9.6, 8.8), layout="constrained")
    (motions, parallaxes), (sky, diagram) = axes = figure.subplots(2, 2)
    _draw_motions(motions, stars, mixture, cluster, membership)
    _draw_parallaxes(parallaxes, stars, mixture, cluster)

    offsets = sky_offsets(read.value("ra")[rows], read.value("dec")[rows])
    if _scatter(sky, offsets, membership, "no positions in the table"):
        sky.set(xlabel=r"$\Delta\alpha\,\cos\delta$ [arcmin]", ylabel=r"$\Delta\delta$ [arcmin]")
        sky.set(aspect="equal", xlim=sky.get_xlim()[::-1])  # east to the left
    photometry = np.stack([read.value("BP-RP")[rows], read.value("G")[rows]], axis=-1)
    if _scatter(diagram, photometry, membership, "no G and BP − RP in the table"):
        colour = photometry[np.isfinite(photometry).all(axis=1), 0]
        diagram.set(xlim=_range(colour, 0.2, 0.1), xlabel="BP − RP [mag]", ylabel="G [mag]")
        diagram.invert_yaxis()

    title = f"no cluster found in {n} stars"
    if cluster:
        bar = {"label": "membership probability", "aspect": 45, "pad": 0.02}
        figure.colorbar(ScalarMappable(cmap=_colours()), ax=axes, **bar)
        title = rf"{(membership >= SURE).sum()} stars with $P \geq {SURE}$, of {n}"
    figure.suptitle(title, fontsize=12)
    gaia = read.column("G") or read.column("ruwe")
    draw_credit(figure, ("G",), credit if credit is not None or gaia else "")
    return figure


def components_figure(rows: Table) -> Figure:
    """Criteria for the number of components, as differences to their best, which is ringed.

    Args:
        rows: columns k, bic, aic (−2 ln L + penalty: the least is best) and held_out (mean ln L
            of a held-out star: the largest is best); NaN where not known.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    k = np.asarray(rows["k"])
    figure = Figure(figsize=(5.6, 5.6), layout="constrained")
    criteria, held_out = figure.subplots(2, sharex=True)
    for ax, name, label, sign, colour in (
        (criteria, "bic", "BIC", 1, POSTERIOR),
        (criteria, "aic", "AIC", 1, PRIOR),
        (held_out, "held_out", "held-out stars", -1, POSTERIOR),
    ):
        value = sign * np.ma.filled(np.ma.asarray(rows[name]).astype(float), np.nan)
        known = [i for i in np.argsort(k) if np.isfinite(value[i])]
        if known:
            best = int(np.nanargmin(value))
            label = f"{label}, best with {k[best]}"
            style = {"color": colour, "ms": 4, "lw": 1.3, "clip_on": False}
            ax.plot(k[known], sign * (value[known] - value[best]), "o-", label=label, **style)
            ax.plot(k[best], 0.0, "o", mfc="none", mec=colour, ms=11, mew=1.5, clip_on=False)
    for ax, label, threshold in (
        (criteria, "difference to the best", 10.0),
        (held_out, "mean ln L of a star,\ndifference to the best", 1e-3),
    ):
        if ax.lines:
            ax.set_yscale("symlog", linthresh=threshold)
            ax.set_ylabel(label)
            ax.legend(fontsize=9, frameon=False)
        else:
            _say(ax, "not computed")
    held_out.set_xlabel("components")
    held_out.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    return figure


# --- what is drawn -------------------------------------------------------------------------------


def _draw_motions(ax, stars, mixture, cluster, membership):
    from matplotlib.patches import Ellipse

    axes = [stars.columns.index(name) for name in ("pmra", "pmdec")]
    x, means = np.asarray(stars.x)[:, axes], np.asarray(mixture.means)[:, axes]
    covs = marginal_covs(mixture, axes)
    ranges = np.array([_range(column, 2.0, 0.2) for column in x.T])
    middle, half = ranges.mean(axis=1), 0.5 * np.ptp(ranges, axis=1).max()
    views = []
    if cluster:
        members = membership >= min(0.5, membership.max())
        noise = np.sqrt(np.nanmedian(np.asarray(stars.noise)[members][:, axes, axes]))
        centre, cov = moments(mixture, cluster)
        centre, cov = centre[axes], cov[np.ix_(axes, axes)]
        near = max(6 * ellipse_of(cov)[0], 5 * noise)
        half = max(half, (np.abs(centre - middle) + 1.2 * near).max())
        if near < half / 4:
            shares = (np.vstack([centre, x]) - middle) / (2 * half) + 0.5
            views = [(_inset(ax, shares, near), centre, near)]
    for panel, at, size in [(ax, middle, half), *views]:
        _scatter(panel, x, membership)
        for j in sorted(range(len(means)), key=lambda j: j in cluster):
            colour, lw = (CLUSTER, 1.4) if j in cluster else (COMPONENT, 0.6)
            style = {"color": colour, "lw": lw, "zorder": 3, "fill": False}
            long, short, angle = ellipse_of(covs[j])
            for s in (2, 4):  # diameters of 1 and 2 sigma
                panel.add_patch(Ellipse(tuple(means[j]), s * long, s * short, angle=angle, **style))
        limits = at[:, None] + size * np.array([-1, 1])
        panel.set(xlim=limits[0], ylim=limits[1], aspect="equal")
    for inset in ax.child_axes:
        ax.indicate_inset_zoom(inset, edgecolor="black", alpha=0.8, lw=0.8)
    words = "" if not cluster else ", the cluster in red"
    ax.set_title(f"ellipses: intrinsic 1 and 2 σ{words}", fontsize=9)
    ax.set(xlabel=r"$\mu_{\alpha*}$ [mas yr$^{-1}$]", ylabel=r"$\mu_\delta$ [mas yr$^{-1}$]")


def _inset(ax, shares, near):
    """Axes in the emptiest corner but that of `shares[0]`; a bar for a scale 2 `near` wide."""
    corners = np.array([(1, 1), (0, 1), (1, 0), (0, 0)])
    inside = np.abs(shares - corners[:, None]).max(axis=-1) < INSET + 0.05
    corner = corners[np.argmin(inside.sum(axis=1) + len(shares) * inside[:, 0])]
    inset = ax.inset_axes((*(0.015 + corner * (0.97 - INSET)), INSET, INSET), zorder=5)
    inset.set(xticks=[], yticks=[])  # numbers would lie on the stars around
    power = 10.0 ** np.floor(np.log10(0.8 * near))
    bar = power * max(step for step in (1, 2, 5) if step * power <= 0.8 * near)
    style = {"transform": inset.transAxes, "zorder": 6}
    inset.plot([0.06, 0.06 + bar / (2 * near)], [0.06, 0.06], color="black", lw=2, **style)
    style["bbox"] = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
    inset.text(0.06, 0.09, rf"{bar:g} mas yr$^{{-1}}$", fontsize=8, **style)
    return inset


def _draw_parallaxes(ax, stars, mixture, cluster):
    if "parallax" not in stars.columns:
        _say(ax, "no parallax among the columns")
        return
    axis = stars.columns.index("parallax")
    x, variance = np.asarray(stars.x)[:, axis], np.asarray(stars.noise)[:, axis, axis]
    sigma, x = np.sqrt(variance[np.isfinite(x)]), x[np.isfinite(x)]
    low, high = _range(x, 1.0, 0.15)
    if cluster:
        low, high = np.sort([low, float(moments(mixture, cluster)[0][axis]), high])[[0, 2]]
    edges = np.linspace(low, high, int(np.clip(2 * np.sqrt(len(x)), 30, 60)) + 1)
    width, at = edges[1] - edges[0], np.linspace(low, high, 400)
    counts = expected_counts(at, float(width), mixture, axis, sigma)
    ax.hist(x, bins=edges, color="0.82", label="stars")
    ax.plot(at, counts.sum(axis=0), color=POSTERIOR, lw=1.5, label="mixture with noise")
    if cluster:
        ax.plot(
            at, counts[list(cluster)].sum(axis=0), color=CLUSTER, lw=1.5, label="cluster with noise"
        )
    ax.set(xlim=(low, high), xlabel="parallax [mas]", ylabel=f"stars per {width:.2g} mas")
    ax.legend(fontsize=9, frameon=False)


def _scatter(ax, x, membership, otherwise=""):
    """Stars by membership, members on top and larger; False where no star has a place."""
    order = np.argsort(membership, kind="stable")
    order = order[np.isfinite(x[order]).all(axis=1)]
    if not len(order):
        _say(ax, otherwise)
        return False
    p, size = membership[order], float(np.clip(12_000 / len(x), 1.5, 14))
    ax.scatter(
        *x[order].T,
        c=p,
        s=size + (max(1.5 * size, 10.0) - size) * p,
        cmap=_colours(),
        vmin=0,
        vmax=1,
        linewidths=0.25 * p,
        edgecolors="white",
        rasterized=True,
    )
    return True


def _colours():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("membership", COLOURS)


def _range(values, share, pad):
    """Percentiles `share` and 100 − `share`, widened by `pad` of their distance."""
    low, high = np.nanpercentile(values, [share, 100 - share])
    return low - pad * max(high - low, 1e-3), high + pad * max(high - low, 1e-3)


def _say(ax, words):
    ax.text(0.5, 0.5, words, ha="center", va="center", color="0.4", transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])


def _checked_rows(stars, mixture, cluster, membership, table):
    n, k = len(stars), len(mixture.weights)
    rows = np.arange(n) if stars.rows is None else np.asarray(stars.rows)
    if not {"pmra", "pmdec"} <= set(stars.columns):
        raise ValueError(f"stars: expected pmra and pmdec among the columns, found {stars.columns}")
    if mixture.means.shape[1] != len(stars.columns):
        raise ValueError(f"mixture: its coordinates are not the stars' columns {stars.columns}")
    if not set(cluster) <= set(range(k)):
        raise ValueError(f"cluster: expected components from 0 to {k - 1}, found {list(cluster)}")
    if len(membership) != n or not np.isfinite(membership).all():
        raise ValueError(f"membership: expected a number for each of the {n} stars")
    if rows.max() >= len(table) or (stars.rows is None and n != len(table)):
        raise ValueError(f"table: {len(table)} rows are not those the {n} stars were read from")
    return rows
