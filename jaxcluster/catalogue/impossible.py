"""What no table of stars has, and so a mistake in it: refused before anything is computed.

Colours: no star is bluer than the hottest, and light between us reddens. Bands: G's passband holds
BP's and RP's, so G lies between the two. (G − RP)/(BP − RP) has a median of 0.47 to 0.60 in each of
52 real fields; with G and BP exchanged it is 1.7 to 2.1, with G and RP −0.9 to −1.5.
"""

import warnings
from typing import Any

import numpy as np
from astropy.table import Table
from jaxtyping import Bool, Float

from jaxcluster.catalogue.tables import ASTROMETRIC, UNITS, Reader, source_ids

# Magnitudes of the hottest stars less G, in order of wavelength: the bluest colours of the PARSEC
# grid at any age and [M/H].
HOTTEST = {"BP": -0.20, "G": 0.0, "RP": 0.40, "J": 0.90, "H": 1.05, "Ks": 1.16}
TOLERANCE = 0.1  # mag; and 3 σ
TOO_BLUE = 0.2  # of the stars; real at most 0.0004 in BP−RP, 0.06 in BP−G (BP of red faint stars)
REPEATED = 0.1  # of the rows
LEAST = 5  # stars


def check_noise(names: dict[str, str], sigma: Float[np.ndarray, "n s"], R: np.ndarray) -> None:
    """Raise a ValueError for errors and correlations that nothing measured can have.

    Args:
        names: column that each source's error is from.
        sigma: the errors.
        R: correlation matrix of each star.
    """
    for (source, name), errors in zip(names.items(), sigma.T, strict=True):
        if bad := int(np.sum(~((errors > 0) & np.isfinite(errors)))):
            raise ValueError(
                f"{name}: {bad} of {len(errors)} stars have an error that is not positive and "
                "finite; mask those values (the stars are dropped and counted) or correct them"
            )
        band = source.split("-")[0] not in ASTROMETRIC
        if band and (median := np.median(errors)) > 1:
            raise ValueError(
                f"{name}: the errors of {source} of {len(errors)} stars have a median of "
                f"{median:.3g} mag, expected less than 1; if they are in mmag or per cent, give "
                "the column its unit or divide it by 1000 or 100"
            )
    if bad := int(np.sum(np.linalg.eigvalsh(R)[:, 0] <= 0)):
        raise ValueError(
            f"correlations: {bad} of {len(R)} stars have a matrix that is not positive definite; "
            "expected |corr| < 1: check the correlation columns, or drop those rows"
        )


def check_unique(
    table: Table, keep: Bool[np.ndarray, " n"], measured: Float[np.ndarray, "m c"]
) -> None:
    """Raise a ValueError for stars that are in the table twice: they would count twice.

    Rows without a source_id that repeat another's values are refused if they are repeated in all
    columns and more than a tenth of the stars; else there is a warning, for values of few digits
    may agree.

    Args:
        table: the whole.
        keep: which rows are used.
        measured: values and errors of those.
    """
    import pandas as pd

    ids = source_ids(table)
    rows, nameless = np.flatnonzero(keep), np.ones(int(keep.sum()), bool)
    if ids is not None:
        nameless = ids[keep] == ids.dtype.type()  # 0 and "" are no identifier
        unique, counts = np.unique(ids[keep][~nameless], return_counts=True)
        twice = unique[counts > 1]
        if len(twice):
            shown = ", ".join(str(i) for i in twice[:2])
            raise ValueError(
                f"source_id: {len(twice)} appear more than once (first {shown}), and a star "
                "counted twice is twice the evidence; keep one row of each "
                "(DataFrame.drop_duplicates)"
            )
    rows, values = rows[nameless], pd.DataFrame(measured[nameless])
    again = values.duplicated().to_numpy()
    if not again.any():
        return
    alike: Any = table[rows[values.duplicated(keep=False).to_numpy()]]
    alike.keep_columns([name for name in alike.colnames if alike[name].ndim == 1])
    whole = int(alike.to_pandas().duplicated().sum())
    first = int(rows[again][0])
    remedy = "keep one row of each star (DataFrame.drop_duplicates), or give them a source_id"
    if whole >= LEAST and whole > REPEATED * len(rows):
        raise ValueError(
            f"rows: {whole} of {len(table)} repeat an earlier one in all columns (first row "
            f"{first}), and a star counted twice is twice the evidence; {remedy}"
        )
    warnings.warn(
        f"rows: {again.sum()} of {len(table)} without a source_id have the values of an earlier "
        f"one in all columns used (first row {first}); if they are the same stars, {remedy}",
        stacklevel=3,
    )


def check_colours(
    x: Float[np.ndarray, "n d"], noise: Float[np.ndarray, "n d d"], columns: tuple[str, ...]
) -> None:
    """Raise a ValueError where more than a fifth of the stars are bluer than stars can be."""
    order = list(HOTTEST)
    for a, name in enumerate(columns):
        first, *second = name.split("-")
        if not second or not {first, *second} <= HOTTEST.keys():
            continue
        sign = 1.0 if order.index(first) < order.index(second[0]) else -1.0
        bluest = sign * (HOTTEST[first] - HOTTEST[second[0]])
        known = np.isfinite(x[:, a])
        colour, sigma = sign * x[known, a], np.sqrt(noise[known, a, a])
        beyond = int(np.sum(colour < bluest - TOLERANCE - 3 * sigma))
        if beyond >= LEAST and beyond > TOO_BLUE * known.sum():
            raise ValueError(
                f"{name}: {beyond} of {known.sum()} stars are bluer than any star, whose {name} is "
                f"{'above' if sign > 0 else 'below'} {sign * bluest:.2f}; the median is "
                f"{np.median(sign * colour):.2f}. Are {first} and {second[0]} exchanged?"
            )


def check_bands(read: Reader, columns: tuple[str, ...], keep: Bool[np.ndarray, " n"]) -> None:
    """Raise a ValueError where G lies outside BP and RP in most of the stars."""
    used = {band for c in columns for band in c.split("-")} & {"G", "BP", "RP"}
    names = {band: read.column(band) for band in ("G", "BP", "RP")}
    if len(used) < 2 or None in names.values():
        return
    g, bp, rp = (read.numbers(str(name), UNITS["G"])[keep] for name in names.values())
    clear = abs(bp - rp) > 0.3  # mag; NaN is not
    outside = int(np.sum(clear & ((g - bp) * (g - rp) > 0)))
    if outside >= LEAST and outside > 0.5 * clear.sum():
        raise ValueError(
            f"{', '.join(map(str, names.values()))}: in {outside} of {clear.sum()} stars G is not "
            "between BP and RP, which it must be; are two of these columns exchanged?"
        )
