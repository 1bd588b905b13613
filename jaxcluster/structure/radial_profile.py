"""The binned way to a cluster's structure: densities in rings, fitted by weighted least squares.

    f(r) = k [1/√(1+(r/r_c)²) − 1/√(1+(r_cl/r_c)²)]^β + n_bg,     β = 1, 2

at the rings' radii r = ⅔ (R₂³−R₁³)/(R₂²−R₁²), each ring's Poisson error √N_i/A_i its weight, and

    N_cl = Σ (N_i − n_bg A_i) over rings that begin inside r_cl,
    C = r_cl/r_c,     δ_c = 1 + n₀/n_bg,     n₀ = f(0) − n_bg

as Ahmed, Canbay & Çınar (2026) do; β = 2 is King's (1962) profile. It is here to compare with the
literature: `king_profile`, star by star, has no rings to choose, no √N of a count that happens to
be small, and no mean radius in place of a ring's integral. What it costs is in
`benchmarks/king_binned`. For β = 1 and rings that all lie inside r_cl, k/√(1+(r_cl/r_c)²) and
n_bg are one constant: r_cl is then wherever the rings end, and has no error.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from jaxcluster.structure.centre import density_centre
from jaxcluster.structure.footprint import Footprint
from jaxcluster.structure.positions import as_weights, positions
from jaxcluster.structure.rings import LEAST, reach, ring_edges, ring_table

NAMES: tuple[str, ...] = ("amplitude", "r_core", "r_tidal", "background_density")
DERIVED: tuple[str, ...] = ("central_density", "concentration", "density_contrast")
SCALE = 0.1  # of the density map, in radii of the footprint
GRID = 60  # radii of each kind to look at first
STARTS = 4
ONE_SIDED = 2.71  # Δχ² of a 95 % limit


class LeastSquares(NamedTuple):
    """A profile fitted to rings.

    Args:
        beta: β.
        parameters: `NAMES`, `DERIVED` and n_cluster; arcmin and arcmin⁻².
        errors: standard deviations; NaN at a bound. Those of N_cl are of the counts and of n_bg.
        covariance: of `NAMES`.
        chi2: χ².
        degrees: of freedom.
        at_bound: parameters that ended at the bound of what was allowed.
        tidal_limit: 95 % lower limit of r_cl [arcmin], where Δχ² = 2.71 below the best.
    """

    beta: int
    parameters: dict[str, float]
    errors: dict[str, float]
    covariance: Float[np.ndarray, "4 4"]
    chi2: float
    degrees: int
    at_bound: tuple[str, ...]
    tidal_limit: float

    @property
    def reduced_chi2(self) -> float:
        """χ² per degree of freedom."""
        return self.chi2 / self.degrees

    def __call__(self, radius: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        """Density at radii [arcmin⁻²]."""
        return density(np.array([self.parameters[n] for n in NAMES]), radius, self.beta)


class RadialProfile(NamedTuple):
    """Rings and what was fitted to them.

    Args:
        centre: of the rings [arcmin].
        rings: as from `ring_table`.
        fits: one for each β.
    """

    centre: Float[np.ndarray, "2"]
    rings: Table
    fits: tuple[LeastSquares, ...]

    @property
    def best(self) -> LeastSquares:
        """The fit of the smallest χ²; all have four parameters."""
        return min(self.fits, key=lambda fit: fit.chi2)


def radial_profile(
    x: Float[np.ndarray, "n 2"],
    footprint: Footprint,
    *,
    centre: tuple[float, float] | Float[np.ndarray, "2"] | None = None,
    scale: float | None = None,
    edges: Float[np.ndarray, " k"] | None = None,
    least: int = LEAST,
    weights: Float[np.ndarray, " n"] | None = None,
    betas: Sequence[int] = (1, 2),
) -> RadialProfile:
    """Count in rings and fit.

    Args:
        x: positions [arcmin].
        footprint: where stars would have been seen.
        centre: of the rings [arcmin]; by default where a density map is highest.
        scale: of that map [arcmin]; a tenth of the footprint's radius by default.
        edges: of the rings [arcmin]; by default equal steps of ln r, up to where circles leave the
            footprint.
        least: stars in each ring, of the default edges.
        weights: of each star, such as membership probabilities.
        betas: β of each fit, 1 or 2.

    Raises:
        ValueError: too few stars or rings, a centre outside, or from `positions`.
    """
    x = positions(x)
    weights = None if weights is None else as_weights(weights, len(x))
    inside = footprint.contains(x)
    x, w = positions(x[inside]), None if weights is None else weights[inside]
    if centre is None:
        centre = density_centre(x, SCALE * footprint.radius if scale is None else scale, w)
    middle = np.asarray(centre, float)
    if not footprint.outer.contains(middle[None])[0]:
        raise ValueError(
            f"centre: {middle[0]:.4g}, {middle[1]:.4g} arcmin is outside the footprint; expected a "
            "place inside it"
        )
    if edges is None:
        edges = ring_edges(np.hypot(*(x - middle).T), reach(footprint, middle), least)
    elif not ((edges := np.asarray(edges, float))[0] >= 0 and (np.diff(edges) > 0).all()):
        raise ValueError(
            f"edges: found {edges}; expected radii in arcmin, ascending from 0 or more"
        )
    rings = ring_table(x, footprint, edges, middle, w)
    return RadialProfile(middle, rings, tuple(fit_rings(rings, beta) for beta in betas))


def density(
    parameters: Float[np.ndarray, "4"], radius: Float[np.ndarray, " k"], beta: int
) -> Float[np.ndarray, " k"]:
    """f(r) of k, r_c, r_cl, n_bg; plain numpy, as the least squares call it for one ring set."""
    k, core, tidal, background = parameters
    return k * _shape(radius, core, tidal, beta) + background


def _shape(radius, core, tidal, beta):
    base = (1 + (radius / core) ** 2) ** -0.5 - (1 + (tidal / core) ** 2) ** -0.5
    return np.maximum(base, 0.0) ** beta


def fit_rings(rings: Table, beta: int) -> LeastSquares:
    """Fit one profile to a table of rings by weighted least squares.

    Bounds: r_c from 1/300 to 1 of the last ring's outer radius R, r_cl from R/30 to 10 R, k and
    n_bg not below 0. From the best of a grid of both radii, where k and n_bg follow from linear
    equations; errors are [Jᵀ W J]⁻¹ of what is not at a bound, Poisson's errors taken as they are.

    Args:
        rings: as from `ring_table`.
        beta: 1 or 2.

    Raises:
        ValueError: fewer than five rings, or another β.
    """
    from scipy.optimize import least_squares

    if beta not in (1, 2):
        raise ValueError(f"beta: found {beta}, expected 1 or 2")
    if len(rings) <= len(NAMES):
        raise ValueError(
            f"rings: found {len(rings)}, expected 5 or more for four parameters; take fewer stars "
            "in each ring, or the fit without rings (`jaxcluster king`)"
        )
    r, n, sigma = (np.asarray(rings[c]) for c in ("radius", "density", "density_error"))
    reach = float(np.asarray(rings["outer"])[-1])
    low = np.array([0.0, reach / 300, reach / 30, 0.0])
    high = np.array([np.inf, reach, 10 * reach, np.inf])
    cores, tidals, k, background, chi2 = _grid(r, n, sigma, low, high, beta)

    def residuals(scaled):
        return (density(scaled * unit, r, beta) - n) / sigma

    # of each r_cl its best r_c; the best of those, well apart
    tracks = chi2.argmin(axis=0)
    order = np.argsort(chi2.min(axis=0))[:: max(GRID // 20, 1)][:STARTS]
    ends = []
    for j in order:
        i = tracks[j]
        unit = np.array([max(k[i, j], 1e-9), cores[i], tidals[j], max(n.max(), 1e-9)])
        start = np.array([1.0, 1.0, 1.0, background[i, j] / unit[3]])
        start = np.clip(start, low / unit * (1 + 1e-9), high / unit * (1 - 1e-9))
        start[3] = max(start[3], 1e-6)
        end = least_squares(residuals, start, bounds=(low / unit, high / unit), jac="3-point")
        ends.append((2 * end.cost, end.x * unit, end.jac / unit, end.active_mask))
    best, parameters, jacobian, active = min(ends, key=lambda end: end[0])
    near = np.isclose(parameters, high, rtol=0.01) | np.isclose(parameters, low, rtol=0.01)
    near[3] |= parameters[3] < 1e-6 * n.max()
    bound = near | (active != 0)
    parameters[3] *= not bound[3]
    covariance = np.full((4, 4), np.nan)
    free = np.flatnonzero(~bound)
    square = jacobian[:, free].T @ jacobian[:, free]
    if np.linalg.cond(square / np.sqrt(np.outer(*2 * [np.diag(square) + 1e-300]))) < 1e12:
        covariance[np.ix_(free, free)] = np.linalg.inv(square)
    values, errors = _derived(parameters, covariance, beta, free)
    values["n_cluster"], errors["n_cluster"] = _members(rings, parameters, covariance)
    allowed = chi2.min(axis=0) < best + ONE_SIDED
    return LeastSquares(
        beta,
        values,
        errors,
        covariance,
        float(best),
        len(rings) - len(NAMES),
        tuple(name for name, at in zip(NAMES, bound, strict=True) if at),
        float(tidals[allowed.argmax()]) if allowed.any() else float(parameters[2]),
    )


def _grid(r, n, sigma, low, high, beta):
    """χ² at each r_c and r_cl, with the k ≥ 0 and n_bg ≥ 0 that are best there."""
    cores = np.geomspace(low[1], high[1], GRID)
    tidals = np.geomspace(low[2], high[2], GRID)
    s = _shape(r, cores[:, None, None], tidals[:, None], beta)
    w = sigma**-2
    ss, s1, one, sn, total = (s**2) @ w, s @ w, w.sum(), s @ (w * n), w @ n
    ss = np.maximum(ss, 1e-300)
    determinant = np.maximum(ss * one - s1**2, 1e-12 * ss * one)
    k, background = (sn * one - s1 * total) / determinant, (ss * total - s1 * sn) / determinant
    k, background = (
        np.where(k < 0, 0.0, np.where(background < 0, sn / ss, k)),
        np.where(k < 0, total / one, np.maximum(background, 0.0)),
    )
    chi2 = ((k[..., None] * s + background[..., None] - n) ** 2) @ w
    return cores, tidals, k, background, chi2


def _derived(parameters, covariance, beta, free):
    """Values and errors of the parameters and of what follows from them, by name."""

    def numbers(p):
        central = density(np.array([*p[:3], 0.0]), np.zeros(1), beta)[0]
        contrast = 1.0 + central / p[3] if p[3] > 0 else np.inf
        return np.array([*p, central, p[2] / p[1], contrast])

    values = numbers(parameters)
    slopes = np.zeros((len(values), 4))
    for i in free:
        step = np.zeros(4)
        step[i] = 1e-5 * parameters[i]
        with np.errstate(invalid="ignore"):
            slopes[:, i] = (numbers(parameters + step) - numbers(parameters - step)) / (2 * step[i])
    # what depends on a parameter at a bound has no error, as that has none
    known = np.isfinite(np.diag(covariance))
    errors = np.sqrt(np.einsum("ai,ij,aj->a", slopes, np.nan_to_num(covariance), slopes))
    needs = np.zeros((len(values), 4), bool)
    needs[range(4), range(4)] = True
    needs[4:, :] = [[1, 1, 1, 0], [0, 1, 1, 0], [1, 1, 1, 1]]
    errors[(needs & ~known).any(axis=1)] = np.nan
    names = (*NAMES, *DERIVED)
    return (
        dict(zip(names, map(float, values), strict=True)),
        dict(zip(names, map(float, errors), strict=True)),
    )


def _members(rings, parameters, covariance):
    """N_cl and its error."""
    within = np.asarray(rings["inner"]) < parameters[2]
    n, area = (np.asarray(rings[c])[within] for c in ("n", "area"))
    counted = (np.asarray(rings["density_error"])[within] * area) ** 2
    variance = counted.sum() + area.sum() ** 2 * np.nan_to_num(covariance[3, 3])
    return float((n - parameters[3] * area).sum()), float(np.sqrt(variance))
