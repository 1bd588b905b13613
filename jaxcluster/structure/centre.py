"""The centre of a cluster: where the smoothed density of its stars is highest.

    n(c) = Σ_i w_i exp(−|x_i − c|²/2h²)

from the highest cell of a map, and then by its own gradient (mean shift; Comaniciu & Meer 2002),
each c the mean of the stars weighted by the terms of n(c), until it stays.
"""

import numpy as np
from jaxtyping import Float

from jaxcluster.structure.positions import as_weights, positions

CELLS = 4  # of the map in a scale
STEPS = 500


def density_centre(
    x: Float[np.ndarray, "n 2"],
    scale: float,
    weights: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "2"]:
    """Return the place of the highest density [arcmin].

    A hole in the footprint, or its edge, has no stars: a cluster within a scale of one is found too
    far from it.

    Args:
        x: positions [arcmin].
        scale: h, the standard deviation of the kernel [arcmin]; about the core's radius is best.
        weights: of each star, such as membership probabilities.

    Raises:
        ValueError: a scale that is not positive, or from `positions` and `as_weights`.
    """
    from scipy.ndimage import gaussian_filter

    positions(x)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale: expected a positive size in arcmin, found {scale}")
    w = as_weights(weights, len(x))
    low, high = x.min(axis=0), x.max(axis=0)
    number = np.clip(np.ceil(CELLS * (high - low) / scale), 1, 1000).astype(int)
    edges = [
        np.linspace(a, b + 1e-9 * scale, k + 1) for a, b, k in zip(low, high, number, strict=True)
    ]
    counts, *_ = np.histogram2d(*x.T, bins=edges, weights=w)
    width = np.array([e[1] - e[0] for e in edges])
    counts = gaussian_filter(counts, np.minimum(scale / width, number), mode="constant")
    highest = np.unravel_index(counts.argmax(), counts.shape)
    centre = np.array([0.5 * (e[i] + e[i + 1]) for e, i in zip(edges, highest, strict=True)])
    for _ in range(STEPS):
        near = w * np.exp(-0.5 * ((x - centre) ** 2).sum(axis=1) / scale**2)
        after = near @ x / near.sum()
        done = np.hypot(*(after - centre)) < 1e-7 * scale
        centre = after
        if done:
            break
    return centre
