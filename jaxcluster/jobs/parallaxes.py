"""What a candidate's parallaxes say of its distance, as a likelihood of each star or as a prior.

Where sample and field went through the same window of parallax, each star's own is data: of a
member it is that of the cluster's distance, of the field what its own stars have in the window.
Elsewhere, as in a sample of likely members, a field's parallaxes are not those of the field stars
in the sample, and the distance modulus gets a prior from the sample's median.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import ArrayLike, Float
from numpyro.distributions import Normal

from jaxcluster.catalogue.candidates import PARALLAX_SCATTER
from jaxcluster.catalogue.tables import Reader
from jaxcluster.catalogue.windows import WITHIN, ParallaxWindow
from jaxcluster.catalogue.zero_point import OtherReleaseError, zero_points
from jaxcluster.density.stars import Stars
from jaxcluster.field.parallax import LEAST, fit_parallaxes
from jaxcluster.population.parallax import Parallaxes

# mas: of G 13 to 18 (Lindegren et al. 2021), and corrected (Maíz Apellániz et al. 2021: 0.0103)
ZERO_POINT, CORRECTED = (-0.03, 0.02), (0.0, 0.01)
CALIBRATED = 0.5  # share of the stars, from which on they are corrected
FEWEST = 5  # stars of a median
ALIKE = 0.9  # share of the sample near its median, or it is no sample of one distance
SURE = 5.0  # errors that a parallax must be above 0


class Told(NamedTuple):
    """What the model is told of parallaxes, and how, in words."""

    words: str
    options: Mapping[str, Any] = {}  # of the model


def told_of_parallaxes(
    build: Callable[..., Any],
    sample: tuple[Table | None, Stars],
    field: tuple[Table | None, Stars],
    window: ParallaxWindow | None,
    prior: Mapping[str, Any] | None,
) -> Told:
    """Return what a model is to be told of a sample's parallaxes.

    Args:
        build: the model file's function; one that takes no `parallaxes` is told nothing.
        sample: its table and its stars, cut to the magnitude limits.
        field: the same.
        window: what both were cut to; None where they were not, or where nobody knows.
        prior: what was asked for; a distance modulus among it stands.

    Raises:
        ValueError: stars of the sample outside the window.
    """
    if "parallaxes" not in inspect.signature(build).parameters:
        return Told("not used: the model takes none")
    if "distance_modulus" in (prior or {}):
        return Told("not used: the distance modulus has a prior")
    table, stars = sample
    read = None if table is None else Reader(table)
    if table is None or read is None or not (read.column("parallax") and read.error("parallax")):
        return Told("not used: the sample has none")
    used: Any = table[np.asarray(stars.rows)]
    zero_point, of_each, whose = ZERO_POINT, np.zeros(len(stars)), ""
    if read.column("parallax_zero_point") is not None:
        zero_point = CORRECTED
    else:
        try:
            if (found := _zero_points(used)) is not None:
                zero_point, of_each = CORRECTED, found
                whose = " beside that of Lindegren et al. (2021)"
        except OtherReleaseError as other:
            whose = f" (of DR3; {str(other).partition(',')[0]})"
    if window is not None and field[0] is not None:
        found = _of_each(table, stars, *field, window, of_each, zero_point)  # pyright: ignore[reportArgumentType]
        if found is not None:
            known = int(np.isfinite(found.errors).sum())
            return Told(
                f"of each star ({known} of {len(stars)}), zero point {zero_point[0]:g} ± "
                f"{zero_point[1]:g} mas{whose}",
                {"parallaxes": found},
            )
    found = distance_modulus(used, zero_point, of_each)
    if isinstance(found, str):
        return Told(f"not used: {found}")
    return Told(
        f"a prior of the distance modulus from their median, {found[0]:.3f} ± {found[1]:.3f} mag, "
        f"zero point {zero_point[0]:g} ± {zero_point[1]:g} mas{whose}",
        {"prior": {**(prior or {}), "distance_modulus": Normal(*found)}},
    )


def _of_each(
    table: Table,
    stars: Stars,
    field_table: Table,
    field: Stars,
    window: ParallaxWindow,
    of_each: Float[np.ndarray, " n"],
    zero_point: tuple[float, float],
) -> Parallaxes | None:
    """Parallaxes of the sample's stars and their density by the field's; None of too few.

    The field's is of parallaxes as they were cut: what is subtracted from a star's own changes no
    density.
    """
    u, w = (values[np.asarray(field.rows)] for values in window.offsets(field_table))
    inside = np.abs(u) <= WITHIN
    if inside.sum() < LEAST:
        return None
    colour = np.asarray(field.x)[:, 1]
    density = fit_parallaxes(u[inside], w[inside], colour[inside], WITHIN)
    u, w = (values[np.asarray(stars.rows)] for values in window.offsets(table))
    known = np.isfinite(u)
    if outside := int(np.sum(np.abs(u[known]) > WITHIN)):
        raise ValueError(
            f"parallax: {outside} of {len(u)} stars of the sample are not within {WITHIN:g} σ of "
            f"{window.centre:g} mas (σ {window.scatter:g} mas at least), the window that sample "
            "and field were said to be cut to; correct its numbers, or leave parallaxes out"
        )
    log_field = np.zeros(len(u))
    log_field[known] = density(u[known], w[known], np.asarray(stars.x)[known, 1])
    values = np.where(known, window.centre + u * w - of_each, 0.0)
    return Parallaxes(values, np.where(known, w, np.inf), log_field, zero_point)


def _zero_points(sample: Table) -> Float[np.ndarray, " n"] | None:
    """Z of each star [mas], where it has none that of the median one; None where few have.

    Raises:
        OtherReleaseError: it is not known.
    """
    try:
        found = zero_points(sample)
    except OtherReleaseError:
        raise
    except ValueError:  # columns that it needs lack
        return None
    known = np.isfinite(found)
    if known.mean() < CALIBRATED:
        return None
    return np.where(known, found, np.median(found[known]))


def distance_modulus(
    sample: Table,
    zero_point: tuple[float, float] = ZERO_POINT,
    of_each: Float[ArrayLike, " n"] | float = 0.0,
) -> tuple[float, float] | str:
    """Distance modulus and its error [mag] from a sample's parallaxes, or why there is none.

    10 − 5 lg (ϖ − z) with ϖ the median, stars weighted by 1/σ² with their errors and 0.05 mas, and
    z the zero point. A median, as a mean goes with the field's stars in the sample.

    Args:
        sample: with parallaxes and their errors.
        zero_point: z and its error [mas].
        of_each: what is subtracted from each star's parallax beforehand [mas].
    """
    read = Reader(sample)
    values, found = read.value("parallax") - np.asarray(of_each), read.error("parallax")
    sigma = np.full(len(values), np.nan) if found is None else np.hypot(found[1], PARALLAX_SCATTER)
    known = np.isfinite(values * sigma)
    values, sigma = values[known], sigma[known]
    if len(values) < FEWEST:
        return f"{len(values)} stars have one"
    order, weight = np.argsort(values), sigma**-2.0
    below = np.cumsum(weight[order]) - 0.5 * weight[order]
    middle = float(np.interp(0.5 * weight.sum(), below, values[order]))
    alike = float(np.mean(np.abs(values - middle) < WITHIN * sigma))
    if alike < ALIKE:
        return f"{100 * (1 - alike):.0f} % of the sample are at other distances"
    # a median scatters by √(π/2) of a mean
    error = math.hypot(math.sqrt(0.5 * math.pi / weight.sum()), zero_point[1])
    if (parallax := middle - zero_point[0]) < SURE * error:
        return f"their median, {parallax:.3f} ± {error:.3f} mas, says too little"
    return 10.0 - 5.0 * math.log10(parallax), 5.0 / math.log(10.0) * error / parallax
