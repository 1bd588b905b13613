"""Parallaxes of field stars that a window around a candidate's parallax has let through.

    p(u | x) = exp(a(x) u − b(x) u²/2) / ∫_{−U}^{U} exp(a(x) u' − b(x) u'²/2) du'       |u| < U

of u = (ϖ − ϖ₀) / w in units of the window's own σ, w: a normal distribution cut off at its edges,
or one that is hollow (b < 0). What stars of a window have is neither flat nor the same for all: the
narrow windows of bright stars show a slope, those of faint ones the whole of the field's
distribution, and blue stars are farther than red ones. So a and b are linear in ln w and colour,
six numbers, of which the likelihood has one maximum (an exponential family). Of 50 random places
they gain 67 nats over a flat distribution in the mean, after 2 for each number that is fitted,
without colour 57, without either 53 (330 field stars; magnitude beside them 68, all products of two
76, with numbers enough to follow chance; how it was counted is in `benchmarks/validation`).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

NODES = 32  # of the integral
LEAST = 50  # field stars
WIDE = 10.0  # standard deviation of the prior of each number, so that few stars make none infinite


class FieldParallaxes(NamedTuple):
    """Density of u, see the module.

    Args:
        coefficients: of a and b by 1, ln w and colour.
        ranges: of ln w and colour among the field's stars; beyond, those at the ends count.
        within: U.
    """

    coefficients: Float[np.ndarray, "3 2"]
    ranges: Float[np.ndarray, "2 2"]
    within: float

    def __call__(
        self,
        u: Float[np.ndarray, " n"],
        w: Float[np.ndarray, " n"],
        colour: Float[np.ndarray, " n"],
    ) -> Float[np.ndarray, " n"]:
        """Ln p(ϖ) of each star [ln mas⁻¹]; −inf outside the window.

        Args:
            u: (ϖ − ϖ₀) / w.
            w: [mas].
            colour: [mag].
        """
        a, b = (_features(w, colour, self.ranges) @ self.coefficients).T
        log_p = a * u - 0.5 * b * u**2 - _log_norm(a, b, self.within)[0] - np.log(w)
        return np.where(np.abs(u) <= self.within, log_p, -np.inf)


def fit_parallaxes(
    u: Float[np.ndarray, " n"],
    w: Float[np.ndarray, " n"],
    colour: Float[np.ndarray, " n"],
    within: float,
) -> FieldParallaxes:
    """Most likely density of the field's parallaxes.

    Args:
        u: (ϖ − ϖ₀) / w of field stars, none beyond `within`.
        w: σ of the window [mas].
        colour: [mag].
        within: U.

    Raises:
        ValueError: fewer than 50 stars, or some outside the window.

    Example:
        >>> fit_parallaxes(u, w, colour, 3.0)(u, w, colour).sum()  # doctest: +SKIP
    """
    from scipy.optimize import minimize  # 0.07 s, not at import of the package

    if len(u) < LEAST:
        raise ValueError(f"field: {len(u)} stars with a parallax in the window, expected {LEAST}")
    if outside := int(np.sum(~(np.abs(u) <= within))):
        raise ValueError(f"field: {outside} of {len(u)} stars are outside of ± {within:g} σ")
    ranges = np.array([[np.log(w).min(), np.log(w).max()], [colour.min(), colour.max()]])
    features, both = _features(w, colour, ranges), np.stack([u, -0.5 * u**2], axis=-1)

    def minus_log_posterior(flat):
        coefficients = flat.reshape(3, 2)
        a, b = (features @ coefficients).T
        log_norm, means = _log_norm(a, b, within)
        log_p = (both * np.stack([a, b], axis=-1)).sum() - log_norm.sum()
        gradient = features.T @ (both - means)
        return -log_p + 0.5 * ((flat / WIDE) ** 2).sum(), -gradient.ravel() + flat / WIDE**2

    found = minimize(minus_log_posterior, np.zeros(6), jac=True, method="BFGS")
    return FieldParallaxes(found.x.reshape(3, 2), ranges, within)


def _features(w, colour, ranges):
    """1, ln w and colour, from −1 to 1 between the ends of their ranges."""
    columns = [np.ones(len(w))]
    for values, (low, high) in zip((np.log(w), colour), ranges, strict=True):
        width = high - low if high > low else 1.0
        columns.append(2.0 * (np.clip(values, low, high) - low) / width - 1.0)
    return np.stack(columns, axis=-1)


def _log_norm(a, b, within):
    """Ln of the integral, and the means of u and −u²/2."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    nodes, weights = within * nodes, within * weights
    statistics = np.stack([nodes, -0.5 * nodes**2], axis=-1)
    logs = np.stack([a, b], axis=-1) @ statistics.T
    log_norm = np.asarray(logsumexp(logs, b=weights, axis=1))
    return log_norm, (weights * np.exp(logs - log_norm[:, None])) @ statistics
