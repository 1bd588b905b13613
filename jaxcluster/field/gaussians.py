"""Gaussian mixtures in (magnitude, colours), truncated at limits in magnitude.

    p(x) = Σ_k π_k N(x | μ_k, V_k) / Z_k,        Z_k = Φ((hi − μ_k) / σ_k) − Φ((lo − μ_k) / σ_k)

inside lo ≤ magnitude ≤ hi, σ_k² = V_k[0, 0], by EM: the M step puts back the moments that the
truncation removes. A plain fit, normalised afterwards, is 0.03 to 0.13 nat per star worse with 100
to 500 field stars, whose counts rise up to the faint limit.

Lee & Scott (2012), Computational Statistics & Data Analysis 56, 2816.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import ndtr

from jaxcluster.density.backend import as_array
from jaxcluster.density.gaussian import log_density
from jaxcluster.density.mixture import GaussianMixture

FOLDS = 5
ROUND = 512  # points or Gaussians that are worked on together
NARROWEST = 1e-3  # mag; below Gaia's errors. Stars listed several times have distance 0
SHORT, LONG = 30, 500  # steps of EM, at most (Biernacki et al. 2003)
AGAIN = 60  # where it begins at a fit to stars of the same kind


def inside(
    means: Float[np.ndarray, "*k"],
    variances: Float[np.ndarray, "*#k"],
    limits: tuple[float, float] | Float[np.ndarray, "2 ..."],
) -> Float[np.ndarray, "*k"]:
    """Return Z, the probability of 1-d Gaussians between the limits (mag, variances mag²)."""
    sigma = np.sqrt(variances)
    return ndtr((limits[1] - means) / sigma) - ndtr((limits[0] - means) / sigma)


@jax.jit
def log_density_at(x: Float[Array, "n d"], mixture: GaussianMixture) -> Float[Array, " n"]:
    """Return the mixture's log density at points without noise, its weights taken as given."""
    noise = jnp.zeros((*x.shape, x.shape[1]), x.dtype)
    return log_density(x, noise, mixture.weights, mixture.means, mixture.covs)


def evaluate(x: Float[np.ndarray, "n d"], mixture: GaussianMixture) -> Float[np.ndarray, " n"]:
    """Return the density at points, as many as to `filled_up`."""
    log_p = log_density_at(jnp.asarray(_repeated(x)), filled_up(mixture))
    return np.exp(np.asarray(log_p, float)[: len(x)])


def filled_up(mixture: GaussianMixture) -> GaussianMixture:
    """Add Gaussians of weight 0 up to a multiple of `ROUND`, so that few numbers compile."""
    weights = np.pad(np.asarray(mixture.weights), (0, -len(mixture.weights) % ROUND))
    means, covs = _repeated(mixture.means), _repeated(mixture.covs)
    return GaussianMixture(as_array(weights), as_array(means), as_array(covs))


def _repeated(a) -> np.ndarray:
    a = np.asarray(a)
    return np.concatenate([a, np.repeat(a[:1], -len(a) % ROUND, axis=0)])


def fit_gaussians(
    x: Float[np.ndarray, "n d"],
    limits: tuple[float, float],
    numbers: Iterable[int],
    rng: np.random.Generator,
) -> GaussianMixture:
    """Fit truncated mixtures of each number of Gaussians; return the one of least BIC.

    Args:
        x: (magnitude, colours) of the stars, mag, all inside the limits.
        limits: (lo, hi) of the magnitudes.
        numbers: of Gaussians, tried in order until two in a row do not improve on the best.
        rng: for the starts, three of each number; the best after a short EM goes on.

    Returns:
        The mixture with weights π_k / Z_k, so that it integrates to 1 inside the limits.
    """
    centre, unit, t, bounds = _standardised(x, limits)
    best, worse = (np.inf, None), 0
    for k in numbers:
        starts = [_start(t, k, rng) for _ in range(3 if k > 1 else 1)]
        together = tuple(map(np.stack, zip(*starts, strict=True)))
        n = len(starts)
        log_like, short = _em(np.stack([t] * n), together, np.stack([bounds] * n), SHORT)
        first = [log_like.argmax()]
        (log_like,), parameters = _em(t[None], tuple(p[first] for p in short), bounds[None], LONG)
        parameters = tuple(p[0] for p in parameters)
        free = 1 + t.shape[1] + _lower(t.shape[1])[0].size  # numbers of each Gaussian
        bic = (free * k - 1) * np.log(len(t)) - 2 * log_like
        best, worse = ((bic, parameters), 0) if bic < best[0] else (best, worse + 1)
        if worse == 2:
            break
    assert best[1] is not None  # numbers is never empty
    return _in_magnitudes(best[1], centre, unit, bounds)


def refit_gaussians(
    x: Float[np.ndarray, "f n d"],
    limits: tuple[float, float],
    mixtures: GaussianMixture,
    real: Bool[np.ndarray, "f n"],
) -> GaussianMixture:
    """Fit as many Gaussians to other stars of the same kind, beginning at mixtures of before.

    Args:
        x: (magnitude, colours) of the stars of each fit, mag, all inside the limits.
        limits: (lo, hi) of the magnitudes.
        mixtures: from `fit_gaussians`, one for each fit, stacked; weights need not be normalised.
        real: which stars each fit takes.
    """
    each = [_standardised(one[those], limits) for one, those in zip(x, real, strict=True)]
    centre, unit, bounds = (np.stack([one[part] for one in each]) for part in (0, 1, 3))
    means = (np.asarray(mixtures.means) - centre[:, None]) / unit[:, None]
    covs = np.asarray(mixtures.covs) / (unit[:, None, :, None] * unit[:, None, None, :])
    weights = np.asarray(mixtures.weights) * _inside_of_each(means, covs, bounds)
    begin = weights / weights.sum(axis=1, keepdims=True), means, covs
    t = (x - centre[:, None]) / unit[:, None]
    _, found = _em(t, begin, bounds, AGAIN, real)
    fits = [
        _in_magnitudes(tuple(p[f] for p in found), centre[f], unit[f], bounds[f])
        for f in range(len(x))
    ]
    return jax.tree.map(lambda *a: np.stack(a), *fits)


def _standardised(x, limits):
    """Mean and scatter of the stars, and stars and limits in their units."""
    centre, unit = x.mean(0), np.maximum(x.std(0), NARROWEST)
    return centre, unit, (x - centre) / unit, (np.asarray(limits) - centre[0]) / unit[0]


def _in_magnitudes(parameters, centre, unit, bounds) -> GaussianMixture:
    """Return the mixture of parameters in those units, its weights divided by Z."""
    weights, means, covs = parameters
    return GaussianMixture(
        weights=as_array(weights / inside(means[:, 0], covs[:, 0, 0], bounds)),
        means=as_array(centre + means * unit),
        covs=as_array(covs * unit[:, None] * unit),
    )


class Folds(NamedTuple):
    """Fits to all stars but a fifth, five times.

    Attributes:
        mixtures: one of each fold, stacked.
        left_out: density at each star of the mixture that has not seen it.
    """

    mixtures: GaussianMixture
    left_out: Float[np.ndarray, " n"]


def fit_folds(
    x: Float[np.ndarray, "n d"],
    limits: tuple[float, float],
    components: int,
    rng: np.random.Generator,
) -> Folds:
    """Fit Gaussians to the stars outside each fifth of them.

    Args:
        x: (magnitude, colours) of the stars, mag, all inside the limits.
        limits: (lo, hi) of the magnitudes.
        components: number of Gaussians.
        rng: for the folds and the starts.
    """
    left_out, label = np.empty(len(x)), rng.permutation(len(x)) % FOLDS
    fits = []
    for f in range(FOLDS):
        out = label == f
        fits.append(fit_gaussians(x[~out], limits, [components], rng))
        left_out[out] = evaluate(x[out], fits[-1])
    return Folds(jax.tree.map(lambda *a: np.stack(a), *fits), left_out)


def _em(t, parameters: Any, limits, steps: int, real=None) -> tuple[np.ndarray, Any]:
    """Return log likelihood and parameters of fits of Gaussians truncated at the limits.

    Several fits at once, the leading axis f of all, since of some hundred stars a step is a hundred
    small operations: stars t [f, n, d], parameters [f, k, …], limits [f, 2]. `real` [f, n] is false
    for stars that a fit leaves out.
    """
    ones = np.ones(t.shape[:2]) if real is None else real.astype(float)
    a, b = _lower(t.shape[-1])
    features = np.concatenate([np.ones((*t.shape[:2], 1)), t, t[..., a] * t[..., b]], -1)
    best: Any = np.full(len(t), -np.inf), tuple(np.array(p) for p in parameters)
    on = np.arange(len(t))  # fits that go on
    for _ in range(steps):
        seen, weight = features[on], ones[on]
        log_terms = _coefficients(*parameters, limits[on]) @ seen.swapaxes(-1, -2)
        shift = log_terms.max(axis=1)
        terms = np.exp(log_terms - shift[:, None])
        total = terms.sum(axis=1)
        log_like = ((np.log(total) + shift) * weight).sum(axis=1)
        gain = log_like - best[0][on]
        better = gain > 0
        best[0][on[better]] = log_like[better]
        for kept, found in zip(best[1], parameters, strict=True):
            kept[on[better]] = found[better]
        going = gain >= 1e-5 * weight.sum(axis=1)
        if not going.any():
            break
        on, limited = on[going], limits[on[going]]
        share = (terms * (weight / total)[:, None])[going]
        weights, means, covs = (p[going] for p in parameters)
        parameters = _maximise(share @ seen[going], weights, means, covs, limited)
    return best


def _coefficients(weights, means, covs, limits):
    """Return ln [π N(x) / Z] of each Gaussian as a quadratic in the features."""
    p = np.linalg.inv(covs)
    slope = np.einsum("...ij,...j->...i", p, means)
    unit = (2 * np.pi) ** (0.5 * means.shape[-1])
    norm = unit * np.sqrt(np.linalg.det(covs)) * _inside_of_each(means, covs, limits)
    constant = np.log(weights / norm) - 0.5 * (slope * means).sum(-1)
    a, b = _lower(means.shape[-1])
    quadratic = np.where(a == b, -0.5, -1.0) * p[..., a, b]
    return np.concatenate([constant[..., None], slope, quadratic], -1)


def _inside_of_each(means, covs, limits):
    """Z of the Gaussians of each fit."""
    return inside(means[..., 0], covs[..., 0, 0], limits.T[..., None])


def _maximise(moments, weights, means, covs, limits):
    """M step: from the moments Σ_i r_ik (1, x, xxᵀ) to new parameters.

    A prior of one star's worth of a small round Gaussian prevents collapse.
    """
    count = moments[..., 0] + 1e-10
    d = means.shape[-1]
    seen = moments[..., 1 : 1 + d] / count[..., None]
    sigma = np.sqrt(covs[..., 0, 0])
    low, high = limits.T[..., None]
    from_low, to_high = (low - means[..., 0]) / sigma, (high - means[..., 0]) / sigma
    at_low, at_high = (np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) for z in (from_low, to_high))
    norm = _inside_of_each(means, covs, limits)
    shift = (at_low - at_high) / norm  # E z and E z² − 1 of the truncated unit normal
    spread = (from_low * at_low - to_high * at_high) / norm
    along = covs[..., 0] / sigma[..., None]
    offset = along * shift[..., None]
    new = seen - offset
    a, b = _lower(d)
    second = np.empty_like(covs)
    second[..., a, b] = second[..., b, a] = moments[..., 1 + d :] / count[..., None]
    cov = second - _outer(seen) + _outer(offset) - _outer(along) * spread[..., None, None]
    cov = (count[..., None, None] * cov + 0.03 * np.eye(d)) / (count + 1)[..., None, None]
    values, vectors = np.linalg.eigh(cov)
    cov = (vectors * np.maximum(values, 1e-4)[..., None, :]) @ vectors.swapaxes(-1, -2)
    # further out than one width the mean and the width of what is inside are degenerate
    width = np.sqrt(cov[..., 0, 0])
    new[..., 0] = np.clip(new[..., 0], low - width, high + width)
    return count / count.sum(axis=-1, keepdims=True), new, cov


def _lower(d: int):
    """Rows and columns of a symmetric matrix's different entries."""
    return np.tril_indices(d)


def _outer(v):
    return v[..., :, None] * v[..., None, :]


def _start(t, k: int, rng):
    """Gaussians of k clusters of points: k-means++ (Arthur & Vassilvitskii 2007), five rounds."""
    from scipy.cluster.vq import kmeans2  # late: the package's import does without

    apart = t + 1e-6 * rng.normal(size=t.shape)  # k-means++ divides by distances
    centres, label = kmeans2(apart, k, iter=5, minit="++", rng=rng)
    count = np.bincount(label, minlength=k) + 1.0
    d = t.shape[1]
    enough = d + 2  # stars; count has one more
    covs = [np.cov(t[label == j].T) if count[j] > enough else np.eye(d) / k for j in range(k)]
    return count / count.sum(), centres, np.array(covs) + 0.01 * np.eye(d)
