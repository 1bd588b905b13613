"""A cluster on the sky: its stars with the ellipses of its profile, and what that leaves over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxcluster.figures.king import counted, name_of
from jaxcluster.figures.members import CLUSTER
from jaxcluster.figures.style import draw_credit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcluster.jobs.king_fit import Found

N_CELLS = 120


def sky_figure(found: Found, summary: dict[str, Any], credit: str | None = None) -> Figure:
    """Stars with the footprint and the ellipses of r_c and r_t; what the profile leaves over.

    The right panel is (stars − expected)/√expected of counts in a Gaussian window, whose width is
    that within which 10 stars are expected on average, expected being the posterior's mean.

    Args:
        found: from `jobs.king`.
        summary: its summary.
        credit: line at the bottom, by default that of Gaia.
    """
    from matplotlib.figure import Figure

    footprint, x = found.field.footprint, found.field.x
    figure = Figure(figsize=(10.4, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    size = float(np.clip(6000 / len(x), 0.4, 8))
    w = np.ones(len(x)) if found.field.weights is None else found.field.weights
    left.scatter(*x.T, s=size * np.maximum(w, 0.1), color="black", lw=0, rasterized=True)
    significance, half = residual_map(found)
    extent = (-half, half, -half, half)
    image = right.imshow(
        significance, extent=extent, origin="lower", cmap="RdBu_r", vmin=-5, vmax=5
    )
    figure.colorbar(
        image, ax=right, label="(stars − expected) / Poisson σ", pad=0.02, extend="both"
    )
    turn = np.linspace(0, 2 * np.pi, 200)
    middle = {n: np.median(v) for n, v in found.draws.items() if v.ndim == 1}
    angle = np.radians((summary["parameters"].get("position_angle") or {}).get("median") or 0.0)
    q = 1.0 - middle.get("ellipticity", 0.0)
    centre = found.centre
    for ax in (left, right):
        for shape in (footprint.outer, *footprint.holes):
            line = np.array([shape.x, shape.y]) + shape.radius * np.stack(
                [np.cos(turn), np.sin(turn)], -1
            )
            ax.plot(*line.T, color="0.3", lw=1.0)
        for name, dash, text in (("r_core", "-", "$r_c$"), ("r_tidal", "--", "$r_t$")):
            row = summary["parameters"].get(name)
            if row is None or row["median"] is None:
                continue
            a, b = (
                row["median"] / np.sqrt(q) * np.cos(turn),
                row["median"] * np.sqrt(q) * np.sin(turn),
            )
            east = a * np.sin(angle) + b * np.cos(angle)
            north = a * np.cos(angle) - b * np.sin(angle)
            colour = {"color": CLUSTER, "lw": 1.5, "ls": dash}
            ax.plot(centre[0] + east, centre[1] + north, label=text, **colour)
        ax.set(xlabel=r"$\Delta\alpha\,\cos\delta$ [arcmin]", aspect="equal")
    left.set(ylabel=r"$\Delta\delta$ [arcmin]", xlim=(1.03 * half, -1.03 * half))
    left.set_ylim(-1.03 * half, 1.03 * half)
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=9, loc="upper right")
    at = summary["centre"]
    left.set_title(
        rf"{counted(summary)} about $\alpha$ {at['ra']:.4f}°, $\delta$ {at['dec']:.4f}°",
        fontsize=10,
    )
    right.set_title(f"what {name_of(found)} leaves over", fontsize=10)
    draw_credit(figure, ("G",), credit)
    return figure


def residual_map(found: Found) -> tuple[Float[np.ndarray, "g g"], float]:
    """Residuals in units of their Poisson error, NaN outside the footprint; half the width."""
    import jax
    import jax.numpy as jnp
    from scipy.ndimage import gaussian_filter

    footprint, x = found.field.footprint, found.field.x
    half = footprint.radius
    w = np.ones(len(x)) if found.field.weights is None else found.field.weights
    edges = np.linspace(-half, half, N_CELLS + 1)
    counts, _, _ = np.histogram2d(x[:, 1], x[:, 0], bins=[edges, edges], weights=w)
    at = 0.5 * (edges[1:] + edges[:-1])
    places = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)

    def one(parameters):
        density = found.surface(parameters)
        return density.cluster(jnp.asarray(places)) + density.field(jnp.asarray(places))

    mean = jax.jit(lambda d: jax.lax.map(one, d))(found.some_draws(60)).mean(axis=0)
    inside = footprint.contains(places).reshape(N_CELLS, N_CELLS)
    cell = (edges[1] - edges[0]) ** 2
    expected = np.where(inside, np.asarray(mean).reshape(N_CELLS, N_CELLS) * cell, 0.0)
    counts = np.where(inside, counts, 0.0)
    sigma = float(np.clip(np.sqrt(10 / (4 * np.pi) * inside.sum() / w.sum()), 1.5, 12))
    excess = gaussian_filter(counts - expected, sigma, mode="constant")
    # Σ g² λ: variance of a smoothed count, the window g a Gaussian narrower by √2
    variance = gaussian_filter(expected, sigma / np.sqrt(2), mode="constant") / (
        4 * np.pi * sigma**2
    )
    noise = np.sqrt(np.maximum(variance * (w**2).sum() / w.sum(), 1e-12))
    return np.where(inside, excess / noise, np.nan), half
