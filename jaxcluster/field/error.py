"""What the number of field stars leaves open in a Bayes factor: fits to halves of the field.

Another density φ' in place of φ changes a Bayes factor of cluster + field against field alone by

    BF' / BF = ⟨ Π_i [1 + P_si (φ(x_i) / φ'(x_i) − 1)] ⟩_s

exactly, with P_si the membership of star i at draw s of the posterior with φ: of the likelihood's
factors (1 − f) c + f φ' the cluster's share stays, the field's goes with φ', and field alone is the
product of the φ'. To first order it is −Σ P̄_i δ ln φ_i, which for a null tends to 0, and has the
wrong sign: what φ' leaves thin, a cluster takes.

So the whole of φ is fitted to random halves of the field (with the kernels' rule and the number of
Gaussians that all of it chose). Their scatter is the standard error, since of n stars a half
differs from all as all differ from the truth (the delete-half jackknife, right for estimators that
are not smooth; Shao & Wu 1989). Their mean is a bias: what φ lacks falls as 1/n, so that ln BF is
by as much off as halves are off it. `benchmarks/field_density coverage` has how true both are.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray
from scipy.special import logsumexp

from jaxcluster.density.keys import generator
from jaxcluster.density.mixture import GaussianMixture
from jaxcluster.density.stars import Stars
from jaxcluster.field.density import LEAST, FieldDensity, average, stack
from jaxcluster.field.floor import log_uniform
from jaxcluster.field.gaussians import FOLDS, evaluate, refit_gaussians
from jaxcluster.field.kernels import adaptive_kernels, to_mixture

HALVES = 20


class FieldError(NamedTuple):
    """Error of ln BF that the field's density causes, see the module."""

    scatter: float  # standard error
    bias: float  # of ln BF with half of the field, against all of it

    @property
    def total(self) -> float:
        """√(scatter² + bias²)."""
        return math.hypot(self.scatter, self.bias)


def log_change(
    memberships: Float[np.ndarray, "draws n"], log_ratio: Float[np.ndarray, " n"]
) -> float:
    """Ln BF' / BF of the module's docstring.

    Args:
        memberships: P_si.
        log_ratio: ln φ' / φ of each star.
    """
    changes = np.log1p(memberships * np.expm1(-log_ratio)).sum(axis=1)
    return float(np.asarray(logsumexp(changes))) - math.log(len(changes))


def halves(
    field: FieldDensity,
    stars: Stars,
    *,
    rows: Int[np.ndarray, " n"] | None = None,
    key: PRNGKeyArray | int = 0,
) -> Float[np.ndarray, "h n"]:
    """Return ln φ of the sample's stars by fits to halves of the field.

    Args:
        field: from `fit_field`.
        stars: the sample.
        rows: index of each in the field that was fitted, −1 for stars that are not in it; halves
            are made of the others, if there are enough.
        key: random key or seed, for the halves.

    Raises:
        ValueError: a density that is not from `fit_field`.
    """
    neighbours, metric, scale, components, kde_weight = field.hyperparameters
    if components == 0:
        raise ValueError("field: expected a density from fit_field, found published_kde's")
    rng = generator(key)
    low, high = np.asarray(field.limits).tolist()
    x, at = np.asarray(field.x), np.asarray(stars.x, float)
    if rows is not None:
        inside = np.cumsum(np.isfinite(np.asarray(field.leave_one_out))) - 1
        others = np.delete(x, inside[np.asarray(rows)[np.asarray(rows) >= 0]], axis=0)
        x = others if len(others) >= LEAST else x
    uniform = np.exp(log_uniform(at, np.asarray(field.box)))
    n, found, begin = len(x) // 2, [], _gaussians(field)
    for _ in range(HALVES // 2):
        order = rng.permutation(len(x))
        both = np.stack([x[order[:n]], x[order[-n:]]])
        # each from another of the five, so that it is no matter where they began
        starts = np.concatenate([rng.permutation(FOLDS), rng.permutation(FOLDS)])
        label = np.stack([rng.permutation(n) % FOLDS for _ in both])
        fits = refit_gaussians(
            np.repeat(both, FOLDS, axis=0),
            (low, high),
            jax.tree.map(lambda a: a[starts], begin),  # noqa: B023
            (label[:, None] != np.arange(FOLDS)[:, None]).reshape(-1, n),
        )
        for number, half in enumerate(both):
            few, own = min(neighbours, n - 2), slice(number * FOLDS, (number + 1) * FOLDS)
            kernels = adaptive_kernels(half, (low, high), few, metric, scale)
            gaussians = average(jax.tree.map(lambda a: a[own], fits))  # noqa: B023
            parts = evaluate(at, to_mixture(kernels, (low, high))), evaluate(at, gaussians)
            found.append(stack(*parts, kde_weight, uniform, n))
    return np.array(found)


def field_error(
    field: FieldDensity,
    stars: Stars,
    memberships: Float[np.ndarray, "draws n"],
    *,
    log_field: Float[np.ndarray, " n"] | None = None,
    rows: Int[np.ndarray, " n"] | None = None,
    key: PRNGKeyArray | int = 0,
) -> FieldError:
    """Return the error of ln BF that `field` causes.

    Args:
        field: from `fit_field`.
        stars: the sample.
        memberships: of each star at each draw of the posterior.
        log_field: ln φ of each star as the posterior had it, by default `field(stars)`.
        rows: see `halves`.
        key: random key or seed, for the halves.

    Raises:
        ValueError: from `halves`.

    Example:
        >>> field_error(density, stars, posterior.memberships).total  # doctest: +SKIP
    """
    here = np.asarray(field(stars) if log_field is None else log_field, float)
    changes = [
        log_change(memberships, log_phi - here)
        for log_phi in halves(field, stars, rows=rows, key=key)
    ]
    return FieldError(float(np.std(changes, ddof=1)), float(np.mean(changes)))


def _gaussians(field: FieldDensity) -> GaussianMixture:
    """Mixtures of the five fits, stacked, weights not normalised."""
    k = field.hyperparameters.components
    first = field.n_kernels
    return jax.tree.map(
        lambda a: np.asarray(a)[first : first + FOLDS * k].reshape(FOLDS, k, *a.shape[1:]),
        field.kernels,
    )
