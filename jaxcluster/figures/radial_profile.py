"""Figure of the binned way: densities in rings, the profiles fitted to them, residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxcluster.figures.style import POSTERIOR, PRIOR, draw_credit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcluster.structure.radial_profile import RadialProfile

COLOURS = {1: PRIOR, 2: POSTERIOR}
SHIFT = {1: 0.985, 2: 1.015}  # of the residuals' radii, apart from each other


def radial_profile_figure(profile: RadialProfile, credit: str | None = None) -> Figure:
    """Density against radius with Poisson errors, each β's fit and background, residuals in σ.

    Args:
        profile: from `radial_profile`.
        credit: line at the bottom, by default that of Gaia.
    """
    from matplotlib.figure import Figure

    rings = profile.rings
    r, n, sigma = (np.asarray(rings[c]) for c in ("radius", "density", "density_error"))
    figure = Figure(figsize=(7.0, 6.6), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    radii = np.geomspace(0.5 * r[0], np.asarray(rings["outer"])[-1], 300)
    below = np.minimum(sigma, 0.999 * n)  # a logarithm has no place for less
    upper.errorbar(r, n, [below, sigma], fmt="o", color="black", ms=4, lw=1.0, label="rings")
    lower.axhspan(-1, 1, color="0.92", lw=0)
    lower.axhline(0, color="0.5", lw=1.0)
    for fit in profile.fits:
        colour, words = (
            COLOURS[fit.beta],
            rf"$\beta={fit.beta}$, $\chi^2_\nu={fit.reduced_chi2:.2f}$",
        )
        upper.plot(radii, fit(radii), color=colour, lw=1.5, label=f"{words}: {_radii(fit)}")
        background = fit.parameters["background_density"]
        if background > 0:
            upper.axhline(background, color=colour, lw=1.0, ls="--")
        for name in ("r_core", "r_tidal"):
            upper.axvline(fit.parameters[name], color=colour, lw=0.8, ls=":")
        lower.plot(r * SHIFT[fit.beta], (n - fit(r)) / sigma, "o", color=colour, ms=4)
    upper.set(xscale="log", yscale="log", ylabel="stars per arcmin$^2$")
    upper.set_ylim(0.5 * n[n > 0].min(), 1.6 * (n + sigma).max())
    upper.set_xlim(radii[0], 1.05 * radii[-1])
    upper.set_title("dashed: background, dotted: $r_c$ and $r_{cl}$", fontsize=9, color="0.4")
    upper.legend(fontsize=9, loc="lower left", framealpha=0.9, edgecolor="none")
    lower.set(xlabel="radius [arcmin]", ylabel="(rings − fit)\n/ error", ylim=(-4, 4))
    draw_credit(figure, ("G",), credit)
    return figure


def _radii(fit):
    """Both radii with errors, in words."""
    return ", ".join(
        f"{text} = {fit.parameters[name]:.3g} ± {fit.errors[name]:.2g}′"
        if np.isfinite(fit.errors[name])
        else f"{text} at a bound"
        if name in fit.at_bound
        else f"{text} = {fit.parameters[name]:.3g}′"
        for name, text in (("r_core", "$r_c$"), ("r_tidal", "$r_{cl}$"))
    )
