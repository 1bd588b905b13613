"""Whether the posterior of a parameter has several modes, between which a median says little."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

NARROW = 0.5  # of Silverman's width, which is that of a single mode
VALLEY = 0.5  # of the lower peak's height, at most
SHARE = 0.1  # of the draws, that a mode has at least
POINTS = 400


def several_modes(draws: Mapping[str, Any]) -> list[str]:
    """Say of which parameters the posterior has modes with a valley between them.

    Args:
        draws: of parameters by name [chain, draw, …]; those that are one number each are looked at.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> two = np.concatenate([rng.normal(9.1, 0.01, 300), rng.normal(9.5, 0.02, 700)])
        >>> several_modes({"log_age": two[None]})
        ['the posterior of log_age has 2 modes, about 9.10 (30 %) and 9.50 (70 %)']
    """
    said = []
    for name, values in draws.items():
        found = _modes(np.ravel(values).astype(float)) if np.ndim(values) == 2 else []
        if len(found) < 2:
            continue
        *first, last = (f"{median:.2f} ({100 * share:.0f} %)" for median, share in found)
        said.append(
            f"the posterior of {name} has {len(found)} modes, about {', '.join(first)} and {last}"
        )
    return said


def _modes(values: Float[np.ndarray, " n"]) -> list[tuple[float, float]]:
    """Median and share of each mode, in order."""
    from scipy.signal import find_peaks  # 0.4 s with scipy.stats, not when importing the package
    from scipy.stats import gaussian_kde

    if np.ptp(values) == 0.0:
        return []
    kernels = gaussian_kde(values, lambda kde: NARROW * kde.silverman_factor())
    margin = 3.0 * float(np.sqrt(kernels.covariance[0, 0]))
    x = np.linspace(values.min() - margin, values.max() + margin, POINTS)
    height = kernels(x)
    peaks, about = find_peaks(height, prominence=0.0)
    peaks = peaks[about["prominences"] >= (1.0 - VALLEY) * height[peaks]]
    cuts = [a + np.argmin(height[a:b]) for a, b in pairwise(peaks)]
    ordered = np.sort(values)
    parts = np.split(ordered, np.searchsorted(ordered, x[cuts]))
    return [
        (float(np.median(part)), len(part) / len(values))
        for part in parts
        if len(part) >= SHARE * len(values)
    ]
