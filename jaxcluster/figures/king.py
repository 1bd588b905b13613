"""Figures of a cluster's structure: density against radius, and the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcluster.figures.style import POSTERIOR, PRIOR, draw_credit
from jaxcluster.structure.profiles import PROFILES

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

    from jaxcluster.jobs.king_fit import Found

BACKGROUND = "0.45"
N_DRAWS, N_RADII, N_ANGLES = 300, 150, 24
LABELS = {  # before and after the profile's own
    "n_inside": "stars in the\nfootprint",
    "background_density": "background\n[arcmin$^{-2}$]",
    "ellipticity": "ellipticity",
}


def profile_figure(found: Found, summary: dict[str, Any], credit: str | None = None) -> Figure:
    """Density in rings with Poisson errors, bands of the posterior, and residuals.

    Rings are about the posterior's centre, of equal steps in ln r, and hold 10 stars or more; the
    last ends where circles leave the footprint. Curves are means over the angle.

    Args:
        found: from `jobs.king`.
        summary: its summary.
        credit: line at the bottom, by default that of Gaia.
    """
    from matplotlib.figure import Figure

    centre = found.centre
    rings = ring_counts(found, centre)
    r, area, n, bottoms, tops = (
        np.asarray(rings[c]) for c in ("radius", "area", "density", "low", "high")
    )
    radii = np.geomspace(0.5 * r[0], np.asarray(rings["outer"])[-1], N_RADII)
    total, field = densities(found, centre, radii)
    figure = Figure(figsize=(7.0, 6.6), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    low2, low, middle, high, high2 = np.quantile(total, [0.025, 0.16, 0.5, 0.84, 0.975], axis=0)
    upper.fill_between(radii, low2, high2, color=POSTERIOR, alpha=0.2, lw=0, label="95 %")
    upper.fill_between(radii, low, high, color=POSTERIOR, alpha=0.35, lw=0, label="68 %")
    upper.plot(radii, middle, color=POSTERIOR, lw=1.5, label=f"{name_of(found)}, median")
    bottom, base, top = np.quantile(field, [0.16, 0.5, 0.84])
    upper.axhspan(bottom, top, color=BACKGROUND, alpha=0.3, lw=0)
    upper.axhline(base, color=BACKGROUND, lw=1.0, ls="--", label="background")
    style = {"fmt": "o", "color": "black", "ms": 4, "lw": 1.0}
    upper.errorbar(r, n, [n - bottoms, tops - n], label="stars", **style)
    _mark_radii(upper, summary, radii[[0, -1]])
    floor = 0.5 * min(base, bottoms[bottoms > 0].min(initial=base))
    upper.set(xscale="log", yscale="log", ylabel="stars per arcmin$^2$")
    upper.set_ylim(max(floor, 1e-3 * middle.max()), 1.6 * max(high2.max(), tops.max()))
    upper.legend(fontsize=9, loc="lower left", framealpha=0.9, edgecolor="none")

    expected = np.interp(r, radii, middle)
    w = found.field.weights
    # weighted stars scatter by Σw²/Σw more than Poisson's
    sigma = np.sqrt(expected / area * (1.0 if w is None else (w**2).sum() / w.sum()))
    lower.axhspan(-1, 1, color="0.92", lw=0)
    lower.axhline(0, color=POSTERIOR, lw=1.0)
    lower.plot(r, (n - expected) / sigma, "ko", ms=4)
    lower.set(xlabel="radius [arcmin]", ylabel="(stars − median)\n/ Poisson σ", ylim=(-4, 4))
    lower.set_xlim(radii[0], 1.05 * radii[-1])
    words = [f"{counted(summary)} within {summary['radius']:.4g}′"]
    if summary["log_evidence"] is not None:
        words.append(rf"$\ln Z = {summary['log_evidence']:.1f}$")
    upper.set_title(", ".join(words), fontsize=10)
    draw_credit(figure, ("G",), credit)
    return figure


def ring_counts(found: Found, centre: np.ndarray) -> Table:
    """Rings about a centre, as `ring_table` makes them, with the 68 % interval of their density.

    Columns low and high [arcmin⁻²] are those of a Poisson variable (Garwood 1936); for weighted
    stars ± their error.
    """
    from scipy.stats import chi2

    from jaxcluster.structure.rings import reach, ring_edges, ring_table

    footprint, x, w = found.field.footprint, found.field.x, found.field.weights
    edges = ring_edges(np.hypot(*(x - centre).T), reach(footprint, centre))
    rings: Any = ring_table(x, footprint, edges, centre, w)
    n, area, density = (np.asarray(rings[c]) for c in ("n", "area", "density"))
    if w is None:
        rings["low"] = np.nan_to_num(chi2.ppf(0.16, 2 * n) / 2) / area
        rings["high"] = chi2.ppf(0.84, 2 * n + 2) / 2 / area
    else:
        error = np.asarray(rings["density_error"])
        rings["low"], rings["high"] = density - error, density + error
    return rings


def densities(found: Found, centre, radii) -> tuple[np.ndarray, np.ndarray]:
    """Mean density on circles about a centre [draws, radii], and the background's [draws]."""
    import jax
    import jax.numpy as jnp

    angle = 2 * np.pi * (np.arange(N_ANGLES) + 0.5) / N_ANGLES
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    x = jnp.asarray((centre + radii[:, None, None] * ring).reshape(-1, 2))

    def one(parameters):
        density = found.surface(parameters)
        total = density.cluster(x) + density.field(x)
        return total.reshape(len(radii), -1).mean(axis=1), density.background

    total, field = jax.jit(lambda draws: jax.lax.map(one, draws))(found.some_draws(N_DRAWS))
    return np.asarray(total), np.asarray(field)


def corner_figure(found: Found, summary: dict[str, Any], credit: str | None = None) -> Figure:
    """Corner plot of the parameters.

    Args:
        found: from `jobs.king`.
        summary: its summary.
        credit: line at the bottom, by default that of Gaia.
    """
    import corner
    from matplotlib.figure import Figure

    own = {p.name: p.label for p in PROFILES[found.profile].parameters}
    first = ("n_inside", "background_density")
    words = {**{n: LABELS[n] for n in first}, **own, **LABELS}
    names = [n for n in words if n in found.draws and np.ptp(found.draws[n]) > 0]
    columns = [np.log10(found.draws[n]) if n.startswith("r_") else found.draws[n] for n in names]
    labels = [rf"$\log_{{10}}$ {words[n]}" if n.startswith("r_") else words[n] for n in names]
    figure = Figure(figsize=(1.7 * len(names) + 0.8, 1.7 * len(names) + 0.8))
    corner.corner(
        np.stack(columns, axis=1),
        labels=labels,
        fig=figure,
        color=POSTERIOR,
        quantiles=[0.16, 0.5, 0.84],
        levels=(0.68, 0.95),
        plot_datapoints=False,
        fill_contours=True,
        smooth=0.8,
        label_kwargs={"fontsize": 9},
    )
    draw_credit(figure, ("G",), credit)
    return figure


def _mark_radii(ax, summary, shown):
    """Draw r_c and r_t with their 68 %, limits dotted; what lies outside the axes is said."""
    from matplotlib.transforms import blended_transform_factory

    place = blended_transform_factory(ax.transData, ax.transAxes)
    beyond = []
    for name, text in (("r_core", "$r_c$"), ("r_tidal", "$r_t$")):
        row = summary["parameters"].get(name, {"median": None})
        value = row["median"]
        limit = row.get("lower_limit") if value is None else None
        if value is None and limit is None:
            continue
        words = f"{text} = {value:.3g}′" if limit is None else f"{text} > {limit:.3g}′ (95 %)"
        at = value if limit is None else limit
        if not shown[0] < at < shown[1]:
            beyond.append(words)
            continue
        if limit is None:
            ax.axvspan(row["q16"], min(row["q84"], shown[1]), color=PRIOR, alpha=0.2, lw=0)
        ax.axvline(at, color=PRIOR, lw=1.0, ls="-" if limit is None else ":")
        left = at > np.sqrt(shown[0] * shown[1])
        style = {"color": PRIOR, "va": "top", "ha": "right" if left else "left", "fontsize": 9}
        height = 0.97 if name == "r_core" else 0.91
        ax.text(at, height, f" {words} ", transform=place, **style)
    if beyond:
        style = {"color": PRIOR, "va": "top", "ha": "right", "fontsize": 9}
        ax.text(
            0.985, 0.91, "\n".join(f"{one} →" for one in beyond), transform=ax.transAxes, **style
        )


def counted(summary: dict[str, Any]) -> str:
    """Number of stars in words, with the sum of their weights."""
    total = summary["sum_of_weights"]
    words = f"{summary['n_stars']} stars"
    return words if total is None else f"{words} of weight {total:.0f}"


def name_of(found: Found) -> str:
    """Name of the profile."""
    return found.label.replace("beta", "β")
