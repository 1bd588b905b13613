"""Does the field explain the sample's field stars? A field from elsewhere passes for a cluster.

Against field stars of another distance the sample is nothing but a cluster that is not there:
log10 BF = 84 and more for 200 field stars, -1.7 with the right field (`benchmarks/robustness.py`;
Li, Li & Shao 2025 found 84.9 and -1.0). What such a "cluster" cannot hide is its width: its
model scatter is 0.07 to 0.11 mag, that of clusters is 0.01 to 0.04 unless dust is patchy. And the
stars that it leaves to the field are not distributed as the field is.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxcluster.field import FieldDensity, require_finite_columns
from jaxcluster.stars import Stars

WIDEST = 0.06  # mag of model scatter
LEAST_LEFT_OVER = -3.5
FEWEST = 5  # expected members


class Mismatch(NamedTuple):
    """A sample against its field, see `compare`; nat per star."""

    gap: float
    gap_error: float
    uncovered: float
    left_over: float
    flags: tuple[str, ...]


def compare(
    field: FieldDensity,
    stars: Stars,
    membership: Float[np.ndarray, " n"] | None = None,
    model_scatter: float = 0.0,
) -> Mismatch:
    """Compare the sample's ln φ with that of the field's stars left out of the fit.

    Args:
        field: the density φ.
        stars: the sample.
        membership: P_i of each star; without it `left_over` is that of a sample of field stars.
        model_scatter: of the population that was found, mag.

    Returns:
        gap: mean leave-one-out ln φ of the field minus mean ln φ of the sample; zero within
            `gap_error` for a sample of field stars, positive where the sample lies in parts of
            the diagram that the field leaves thin (or holds a cluster).
        gap_error: its standard error.
        uncovered: fraction of the sample whose φ is mostly floor; of 600 stars of NGC 2682's own
            field at most 0.3 %, with 50 field stars or with 4253.
        left_over: Σ (1 − P_i)(ln φ_i − m) in units of its error, with the field's own mean m; if
            the model is right it is 0 ± 1, cluster or not, since then E[(1 − P) g] = f E_φ[g].
        flags: sentences on more than 5 % (and 5 ε) uncovered stars, each of which adds about
            ln n_field to the odds of any cluster; a population wider than 0.06 mag; left-over
            stars below -3.5.

    Raises:
        ValueError: stars outside the magnitude limits, or values that are not finite.
    """
    lo, hi = (float(limit) for limit in field.limits)
    require_finite_columns(stars)
    outside = int(((stars.x[:, 0] < lo) | (stars.x[:, 0] > hi)).sum())
    if outside:
        raise ValueError(
            f"{stars.columns[0]}: {outside} of {len(stars)} stars lie outside the limits "
            f"({lo:g}, {hi:g}) of the field; cut sample and field to the same limits"
        )
    kernels, floor = field.parts(stars.x)
    here = np.asarray(jnp.logaddexp(kernels, floor), float)
    there = np.asarray(field.leave_one_out, float)
    there = there[np.isfinite(there)]
    mean, field_error = field.mean_left_out
    uncovered = float(jnp.mean(floor > kernels))
    weight = np.ones(len(here)) if membership is None else 1.0 - np.asarray(membership)
    noise = there.std() * np.sqrt((weight**2).sum() + weight.sum() ** 2 / len(there))
    left_over = float(weight @ (here - mean) / noise)
    flags = []
    if uncovered > max(0.05, 5 * float(field.floor)):
        flags.append(
            f"{uncovered:.0%} of the {len(stars)} stars lie where the field has none: take a "
            "field that covers their magnitudes and colours"
        )
    if membership is not None and membership.sum() > FEWEST:
        if model_scatter > WIDEST:
            flags.append(
                f"the population is {model_scatter:.2f} mag wide, clusters are 0.01 to 0.04: field "
                "stars look like this against a field of other distances or another selection "
                "(patchy extinction makes clusters wide too)"
            )
        if left_over < LEAST_LEFT_OVER:
            flags.append(
                f"the stars that are no members are not distributed as the field ({left_over:.1f} "
                "sigma): take a field of the same distances, selection and extinction"
            )
    error = float(np.hypot(here.std() / np.sqrt(max(len(here) - 1, 1)), field_error))
    return Mismatch(mean - float(here.mean()), error, uncovered, left_over, tuple(flags))
