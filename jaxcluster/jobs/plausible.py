"""What is odd about a sample and its field, told before sampling and beside the result.

Magnitudes and their errors say much of one another: what a survey measures of a star depends on its
magnitude and colour, so a sample and its field have the same errors at the same place. Thresholds
are from 93 pairs: 46 clusters of `gaia_fields` (stars within 3 σ of the cluster's proper motion and
parallax, against those of like parallax and other motion, and against all others), NGC 2682 and a
simulated one. Of the right pairs none is odd, nor of 20 others taken afterwards (deep fields, the
field without a cluster). With errors in per cent, or magnitudes that are 1 or 5 mag too faint in
the sample, all 93 are; 1 mag too bright 90, 5 mag 92.

Parallaxes: none of 1244 clusters is odd at the isochrone distances of Dias et al. (2021); 1 mag
further 99 % are of those within 1 kpc, 66 % between 1 and 2 kpc, 4 % beyond
(`benchmarks/plausible` counts all of this).
"""

import numpy as np
from astropy.table import Table
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from jaxcluster.catalogue.tables import Reader
from jaxcluster.density.stars import Stars
from jaxcluster.population.simulate import GAIA_BANDS, gaia_error

FROM_LAW = 15.0  # errors over Gaia's; right: 0.09 to 2.5, in per cent: 9 to 250
FROM_FIELD = 1.6  # over the field's at the same place; right: 0.8 to 1.45, 1 mag brighter: 2.0
NEAREST = 11  # field stars
BEYOND = 0.1  # share beyond the field's magnitudes; right: at most 0.08, 1 mag fainter: 0.13 to 0.8
FEWEST = 5  # stars that say anything
DISTANCE = 0.1  # of the distance, 0.2 mag: what isochrones may be wrong by
ZERO_POINT = 0.05  # mas
TENSION = 3.0  # σ


def input_oddities(
    sample: Stars,
    field: Stars,
    own: Int[np.ndarray, " n"] | None = None,
    floor: float = 0.0,
) -> list[str]:
    """Return sentences on what sample and field, before the cut to the limits, cannot both be.

    Args:
        sample: columns magnitude and colour [mag].
        field: the same.
        own: index in the field of each star of the sample, −1 where it is not there.
        floor: least error of colours that was asked for [mag].
    """
    found = [*_errors_and_magnitudes("sample", sample, floor)]
    found += _errors_and_magnitudes("field", field, floor)
    return [*found, *_errors_of_both(sample, field), *_magnitudes(sample, field, own)]


def _errors(stars: Stars) -> Float[np.ndarray, "n d"]:
    return np.sqrt(np.diagonal(np.asarray(stars.noise), axis1=1, axis2=2))


def _errors_and_magnitudes(which: str, stars: Stars, floor: float) -> list[str]:
    """Errors against what Gaia's are at these magnitudes, where the bands are Gaia's."""
    magnitude, ratios = np.asarray(stars.x)[:, 0], {}
    for name, errors in zip(stars.columns, _errors(stars).T, strict=True):
        bands = name.split("-")
        if stars.columns[0] == "G" and set(bands) <= set(GAIA_BANDS):
            expected = np.sqrt(sum(gaia_error(magnitude, band) ** 2 for band in bands))
            expected = np.maximum(expected, floor if len(bands) > 1 else 0.0)
            ratios[name] = float(np.median(errors / expected)), float(np.median(errors))
    odd = {n: r for n, r in ratios.items() if not 1 / FROM_LAW < r[0] < FROM_LAW}
    return [
        f"the errors of {name} of the {which} are {ratio:.3g} times those of Gaia at these "
        f"magnitudes (median {error:.2g} mag at G = {np.median(magnitude):.1f}): are they in mmag "
        "or per cent, or the magnitudes shifted?"
        for name, (ratio, error) in list(odd.items())[:1]
    ]


def _errors_of_both(sample: Stars, field: Stars) -> list[str]:
    """The sample's errors of colour against those of the field stars nearest in the diagram.

    They double from one magnitude to the next where no floor hides it. Those of a magnitude are
    not looked at: they do not, and variable stars have larger ones (1.8 times in NGC 1502).
    """
    near = KDTree(np.asarray(field.x)).query(np.asarray(sample.x), k=min(NEAREST, len(field)))[1]
    there = np.median(_errors(field)[near.reshape(len(sample), -1), 1], axis=1)
    ratio = float(np.median(_errors(sample)[:, 1] / there))
    if 1 / FROM_FIELD < ratio < FROM_FIELD:
        return []
    return [
        f"the errors of {sample.columns[1]} of the sample are {ratio:.2g} times those of field "
        "stars of the same magnitude and colour: is one of another survey or unit, or are its "
        "magnitudes shifted?"
    ]


def _magnitudes(sample: Stars, field: Stars, own: Int[np.ndarray, " n"] | None) -> list[str]:
    name, found = sample.columns[0], []
    x, there = np.asarray(sample.x)[:, 0], np.asarray(field.x)[:, 0]
    low, high = there.min(), there.max()
    for word, count in (("fainter", np.sum(x > high)), ("brighter", np.sum(x < low))):
        if count >= FEWEST and count > BEYOND * len(x):
            found.append(
                f"{count} of {len(x)} stars of the sample are {word} than all of the field "
                f"({name} {low:.2f} to {high:.2f}): the two were not selected alike, or the "
                "magnitudes of one are shifted"
            )
    n_own = 0 if own is None else len(np.unique(own[own >= 0]))
    if n_own > len(field) / 2:
        found.append(
            f"{n_own} of {len(field)} field stars are in the sample: take a field from outside it"
        )
    return found


def parallax_oddities(
    table: Table,
    stars: Stars,
    membership: Float[np.ndarray, " n"],
    distance_modulus: Float[np.ndarray, " s"],
) -> list[str]:
    """Return a sentence where the members' parallaxes are not those of the distance found.

    The median of those with P > 0.5 is compared with 10^(2 − μ/5) mas. Allowed for are its error,
    that of the posterior, 0.05 mas of zero-point, and 10 % that isochrones may be wrong by.

    Args:
        table: the sample's.
        stars: read from it.
        membership: of each.
        distance_modulus: draws of the posterior, μ [mag].
    """
    read = Reader(table)
    if read.column("parallax") is None:
        return []
    parallax = read.value("parallax")[np.asarray(stars.rows)][membership > 0.5]
    parallax = parallax[np.isfinite(parallax)]
    if len(parallax) < FEWEST:
        return []
    middle = float(np.median(parallax))
    error = 1.2533 * 1.4826 * np.median(abs(parallax - middle)) / np.sqrt(len(parallax))
    draws = 10 ** (2 - np.asarray(distance_modulus) / 5)
    expected = float(np.median(draws))
    sigma = np.sqrt(error**2 + draws.std() ** 2 + ZERO_POINT**2 + (DISTANCE * expected) ** 2)
    if abs(middle - expected) < TENSION * sigma:
        return []
    return [
        f"{len(parallax)} members have a median parallax of {middle:.3f} mas, the distance modulus "
        f"of {np.median(distance_modulus):.2f} is one of {expected:.3f} mas: are magnitudes, "
        "errors or the grid's bands right, or is the cluster a chance of the diagram?"
    ]
