"""Does the field explain the sample's field stars? A field from elsewhere passes for a cluster.

Against field stars of another distance the sample is nothing but a cluster that is not there:
log10 BF is 5 to 444 for 200 field stars, -1.6 with the right field (`benchmarks/robustness`;
Li, Li & Shao 2025 found 84.9 and -1.0). What such a "cluster" cannot hide is its width: its
model scatter is 0.07 to 0.11 mag, that of clusters is 0.01 to 0.05. It can be
more, as where dust is patchy: four of 16 real clusters are flagged, at 0.06 to 0.12 mag.

Tried and left: whether the stars that are no members are distributed as the field. They are not in
NGC 2682 either, whose blue stragglers no isochrone explains, and they are in most of the fields
from elsewhere, where the cluster takes what is odd.
"""

from typing import NamedTuple

import numpy as np

from jaxcluster.density.stars import Stars
from jaxcluster.field.density import FieldDensity, require_finite_columns

WIDEST = 0.06  # mag of model scatter
FEWEST = 5  # expected members


class Mismatch(NamedTuple):
    """A sample against its field, see `compare`; nat per star."""

    gap: float
    gap_error: float
    uncovered: float
    flags: tuple[str, ...]


def compare(
    field: FieldDensity,
    stars: Stars,
    n_members: float = 0.0,
    model_scatter: float = 0.0,
) -> Mismatch:
    """Compare the sample's ln φ with that of the field's stars left out of the fit.

    Args:
        field: the density φ.
        stars: the sample.
        n_members: expected number of members; below 5 no population is judged.
        model_scatter: of the population that was found, mag.

    Returns:
        gap: mean leave-one-out ln φ of the field minus mean ln φ of the sample; zero within
            `gap_error` for a sample of field stars, positive where the sample lies in parts of
            the diagram that the field leaves thin (or holds a cluster).
        gap_error: its standard error.
        uncovered: fraction of the sample whose φ is mostly floor; of 600 stars of NGC 2682's own
            field at most 0.3 %, with 50 field stars or with 4253.
        flags: sentences on more than 5 % (and 5 ε) uncovered stars, each of which adds about
            ln n_field to the odds of any cluster; and on a population wider than 0.06 mag.

    Raises:
        ValueError: stars outside the magnitude limits, or values that are not finite.
    """
    lo, hi = (float(limit) for limit in field.limits)
    require_finite_columns(stars)
    magnitude = np.asarray(stars.x)[:, 0]
    outside = int(((magnitude < lo) | (magnitude > hi)).sum())
    if outside:
        raise ValueError(
            f"{stars.columns[0]}: {outside} of {len(stars)} stars lie outside the limits "
            f"({lo:g}, {hi:g}) of the field; cut sample and field to the same limits"
        )
    both = field.parts(stars.filled_up().x)
    kernels, floor = (np.asarray(part, float)[: len(stars)] for part in both)
    here = np.logaddexp(kernels, floor)
    mean, field_error = field.mean_left_out
    uncovered = float(np.mean(floor > kernels))
    flags = []
    if uncovered > max(0.05, 5 * float(field.floor)):
        flags.append(
            f"{uncovered:.0%} of the {len(stars)} stars lie where the field has none: take a "
            "field that covers their magnitudes and colours"
        )
    if n_members > FEWEST and model_scatter > WIDEST:
        flags.append(
            f"the population is {model_scatter:.2f} mag wide, clusters are 0.01 to 0.05: field "
            "stars look like this against a field of other distances, extinction or selection "
            "(patchy extinction makes clusters wide too)"
        )
    error = float(np.hypot(here.std() / np.sqrt(max(len(here) - 1, 1)), field_error))
    return Mismatch(mean - float(here.mean()), error, uncovered, tuple(flags))
