"""Two catalogues of the same stars as one: a match that knows proper motions, a weighted mean.

2MASS is deep at the bright end and VVV at the faint one; Gaia's astrometry ends where VIRAC's goes
on. Where both measure, both count.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import Table, vstack
from jaxtyping import Float, Int

from jaxcluster.catalogue.preparation import (
    check_errors,
    check_names,
    check_positive,
    preparation,
    record,
    write_column,
)
from jaxcluster.catalogue.tables import ASTROMETRY, BANDS, UNITS, Reader, read_table

_BLOCK = ("parallax", "pmra", "pmdec")  # one vector, in the order of ASTROMETRY


def merge(
    table: object,
    other: object,
    *,
    epoch: float | int,
    other_epoch: float | int,
    radius: float | int = 1.0,
    quantities: Iterable[str] | None = None,
    offset: Mapping[str, float | int] | None = None,
    outer: bool = False,
) -> Table:
    """Two catalogues of the same stars as one, averaged with inverse (co)variances as weights.

        C⁻¹ = C₁⁻¹ + C₂⁻¹,    x = C (C₁⁻¹ x₁ + C₂⁻¹ (x₂ + offset))

    that is x = (x₁/σ₁² + x₂/σ₂²)/(1/σ₁² + 1/σ₂²) for each band. Parallax, pmra and pmdec are one
    vector: C₁ and C₂ have the catalogues' correlations, 0 where missing, and errors and
    correlations are written back, those with ra, dec or a parallax that is not averaged as well
    (C_ab ← C_ab C₁⁻¹ C). Where one catalogue has no value or no error the other's is taken; a
    parallax that only one has then still moves with the proper motions it correlates with.

    Stars match if each is the other's nearest within the radius. A pair is compared at the other's
    epoch, where the star of `table` has gone by its proper motion; if it has none, at the epoch of
    `table` by the other's; if neither has one, unmoved.

    The two must have measured independently: of two releases of one survey take the later.

    Stars of `table` without a match stay as they are. Colours of merged bands follow; columns
    derived otherwise (fluxes, parallax_over_error) do not. The record has, for each quantity, χ² of
    x₁ − x₂ per degree of freedom (near 1 if errors and systems agree) and the median difference.

    Args:
        table: What `read_table` takes; names and units of its columns are those of the result.
        other: The same, of the other catalogue.
        epoch: Of the positions of `table`, in Julian years (Gaia DR3: 2016.0).
        other_epoch: Of the positions of `other` (2MASS: about 1999, VIRAC: 2014.0).
        radius: Largest separation of a match [arcsec].
        quantities: Which of G, BP, RP, J, H, Ks, parallax, pmra, pmdec; all that `other` has with
            an error if not given. What `table` does not have becomes a new column.
        offset: Of a quantity, added to the other's values before averaging [mag, mas, mas/yr], for
            example to bring relative proper motions to Gaia's.
        outer: Whether unmatched stars of `other` are appended, with their position moved to `epoch`
            and the quantities; other columns are masked.

    Raises:
        ValueError: A column is missing; an error is not positive or correlations are impossible; an
            argument is not possible; no star matches.
    """
    check_positive("radius", radius)
    for name, year in (("epoch", epoch), ("other_epoch", other_epoch)):
        if not 1800 < year < 2200:
            raise ValueError(f"{name}: expected Julian years such as 2016.0, found {year}")
    result, second = read_table(table).copy(), read_table(other)
    read, read2 = Reader(result), Reader(second)
    every = (*BANDS, *_BLOCK)
    if quantities is None:
        quantities = [q for q in every if read2.column(q) and read2.error(q)]
    chosen, offset = tuple(dict.fromkeys(quantities)), dict(offset or {})
    check_names("quantities", chosen, every)
    check_names("offset", offset, chosen)
    if not chosen:
        raise ValueError(f"quantities: other has none of {', '.join(every)} with an error")

    places, places2 = _places(read, "table"), _places(read2, "other")
    years = other_epoch - epoch
    i, j, separation = _match(places, places2, years, radius)
    if len(i) == 0:
        raise ValueError(
            f"no star of {len(result)} has a match within {radius:g} arcsec among {len(second)}; "
            "check the epochs and that both are of one field, or give a larger radius"
        )
    text = (
        f"merge: {len(i)} of {len(result)} stars matched with {len(second)} of epoch "
        f"{other_epoch:g} within {radius:g} arcsec, median separation "
        f"{np.median(separation):.3f} arcsec"
    )
    if outer:
        new = np.setdiff1d(np.flatnonzero(np.isfinite(places2[:, :2]).all(1)), j)
        text += f"; {len(new)} others appended"
        if len(new):
            i, j = np.append(i, len(result) + np.arange(len(new))), np.append(j, new)
            result = _append(read, places, _moved(places2[new], -years))
            read = Reader(result)
    record(result, text)
    for block in (*((b,) for b in BANDS), _BLOCK):
        if block := tuple(q for q in block if q in chosen):
            _merge_block(read, read2, block, i, j, offset)
    _follow(read, [b for b in BANDS if b in chosen], i)
    for line in preparation(second):
        record(result, f"of the other: {line}")
    return result


def _places(read: Reader, which: str) -> Float[np.ndarray, "n 4"]:
    """Columns ra, dec [deg], pmra, pmdec [mas/yr]; both of the latter NaN where one is missing."""
    position = [read.value(c) for c in ("ra", "dec")]
    _raise_absent(read, which)
    motion = [read.value(c) if read.column(c) else np.nan * position[0] for c in ("pmra", "pmdec")]
    known = np.isfinite(motion).all(0)
    return np.stack([*position, *np.where(known, motion, np.nan)], axis=-1)


def _raise_absent(read: Reader, which: str) -> None:
    try:
        read.raise_absent()
    except ValueError as error:
        raise ValueError(f"{which}: {error}") from None


def _moved(places: Float[np.ndarray, "n 4"], years: float | int) -> SkyCoord:
    """Positions after some years of proper motion along a great circle, 0 where unknown."""
    ra, dec, pmra, pmdec = np.nan_to_num(places).T
    start = SkyCoord(ra, dec, unit="deg")
    angle, path = np.arctan2(pmra, pmdec) * u.rad, np.hypot(pmra, pmdec) * years * u.mas
    return start.directional_offset_by(angle, path)


def _match(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"], years, radius) -> tuple:
    """Rows of a, rows of b and separation [arcsec] of the pairs that are mutually nearest."""
    here, there = (np.isfinite(p[:, :2]).all(1) for p in (a, b))
    moves = np.isfinite(a).all(1)
    found = []
    for rows, years_a, years_b in ((moves, years, 0.0), (here & ~moves, 0.0, -years)):
        sky_a, sky_b = _moved(a[rows], years_a), _moved(b[there], years_b)
        i, j, separation, _ = search_around_sky(sky_a, sky_b, radius * u.arcsec)
        found.append((np.flatnonzero(rows)[i], np.flatnonzero(there)[j], separation.arcsec))
    i, j, separation = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(separation, kind="stable")
    i, j, separation = i[order], j[order], separation[order]
    first_i, first_j = (np.unique(rows, return_index=True)[1] for rows in (i, j))
    pairs = np.intersect1d(first_i, first_j)
    return i[pairs], j[pairs], separation[pairs]


def _append(read: Reader, places: Float[np.ndarray, "n 4"], sky: Any) -> Table:
    """The table with a row for each of these positions, masked in all other columns."""
    names = [read.column(c) or c for c in ("ra", "dec")]
    rows = Table({name: np.zeros(len(sky)) for name in names})
    result = vstack([read.table, rows], metadata_conflicts="silent")
    for name, old, new in zip(names, places.T, (sky.ra.deg, sky.dec.deg), strict=False):
        write_column(result, name, np.append(old, new), u.deg)
    return result


def _measured(read: Reader, block: tuple[str, ...], which: str) -> tuple:
    """Values, errors and covariances [n, d (, d)]; a value without an error is NaN."""
    n, d = len(read.table), len(block)
    x, sigma, R = np.full((n, d), np.nan), np.full((n, d), np.nan), np.tile(np.eye(d), (n, 1, 1))
    for k, q in enumerate(block):
        if which == "other" or read.column(q):
            x[:, k] = read.value(q)
            _, name, sigma[:, k] = read.sources(q)[q]
            check_errors(f"{which}: {name}", sigma[~np.isnan(x[:, k] + sigma[:, k]), k])
    _raise_absent(read, which)
    for k, m in combinations(range(d), 2):
        R[:, k, m] = R[:, m, k] = np.nan_to_num(read.correlation(block[k], block[m]))
    if bad := int(np.sum(np.linalg.eigvalsh(R)[:, 0] <= 0)):
        raise ValueError(
            f"{which}: correlations of {', '.join(block)} of {bad} stars make a matrix that is not "
            "positive definite; expected |corr| < 1: mask or correct those values"
        )
    x[np.isnan(sigma)] = np.nan
    return x, sigma, sigma[:, :, None] * R * sigma[:, None, :]


def _information(x: Float[np.ndarray, "n d"], C: Float[np.ndarray, "n d d"]) -> np.ndarray:
    """C⁻¹ of what is measured, 0 for what is not."""
    seen = np.isfinite(x)
    both = seen[:, :, None] & seen[:, None, :]
    return np.where(both, np.linalg.inv(np.where(both, C, np.eye(x.shape[1]))), 0.0)


def _average(x1, C1, x2, C2) -> tuple:
    """Mean and covariance with C⁻¹ = C₁⁻¹ + C₂⁻¹, NaN for what neither has, and C₁⁻¹ C."""
    J1, J2 = _information(x1, C1), _information(x2, C2)
    b = np.einsum("nij,nj->ni", J1, np.nan_to_num(x1)) + np.einsum(
        "nij,nj->ni", J2, np.nan_to_num(x2)
    )
    x = np.where(np.isfinite(x1) | np.isfinite(x2), 0.0, np.nan)
    C = _information(x, J1 + J2)
    return x + np.einsum("nij,nj->ni", C, b), C, J1 @ C


def _merge_block(
    read: Reader,
    read2: Reader,
    block: tuple[str, ...],
    i: Int[np.ndarray, " p"],
    j: Int[np.ndarray, " p"],
    offset: dict,
) -> None:
    """Averages pairs (i, j), writes values, errors and correlations and records how they agree."""
    table = read.table
    x1, sigma1, C1 = _measured(read, block, "table")
    x2, sigma2, C2 = _measured(read2, block, "other")
    x2 = x2 + np.array([offset.get(q, 0.0) for q in block])
    pairs = np.isfinite(x2[j]).any(1)
    i, j = i[pairs], j[pairs]
    x, C, J1C = _average(x1[i], C1[i], x2[j], C2[j])
    s = np.sqrt(np.diagonal(C, axis1=1, axis2=2))
    s[np.isnan(x)] = np.nan

    changes = {(a, b): C[:, k, m] / (s[:, k] * s[:, m])
               for (k, a), (m, b) in combinations(enumerate(block), 2)}  # fmt: skip
    for n in [n for n in ASTROMETRY if set(block) <= set(_BLOCK) and n not in block]:
        keys = [tuple(sorted((n, b), key=list(ASTROMETRY).index)) for b in block]
        r = [np.broadcast_to(np.nan_to_num(read.correlation(*k)), len(table))[i] for k in keys]
        covariance = np.stack(r, axis=-1) * np.nan_to_num(sigma1[i])  # over the error of n
        new = np.einsum("pk,pkm->pm", covariance, J1C) / s
        changes |= dict(zip(keys, new.T, strict=True))
    for (a, b), new in changes.items():
        name = read.correlation_column(a, b)
        if name or np.any(abs(new) > 1e-12):
            old = np.array(np.broadcast_to(read.correlation(a, b), len(table)))
            _put(table, name or f"{a}_{b}_corr", old, i, new, None)

    for k, q in enumerate(block):
        difference = x1[i, k] - x2[j, k]
        both = np.isfinite(difference)
        text = f"{np.sum(both)} averaged"
        if both.any():
            chi2 = difference**2 / (sigma1[i, k] ** 2 + sigma2[j, k] ** 2)
            text += f", chi2/dof {chi2[both].mean():.3f}, median of table - other "
            text += f"{np.median(difference[both]):+.4f} {UNITS[q]}"
        taken = np.sum(np.isnan(x1[i, k]) & np.isfinite(x2[j, k]))
        text += f" (offset {offset[q]:+g} added to other)" if q in offset else ""
        record(table, f"merge: {q}: {text}; {taken} taken from the other")
        old = read.value(q) if read.column(q) else x1[:, k]
        name = read.column(q) or read.names.get(q, (q,))[0]
        error = read.error_column(q) or f"{name}_error"
        _put(table, name, old, i, x[:, k], UNITS[q])
        _put(table, error, sigma1[:, k], i, s[:, k], UNITS[q])


def _put(table, name: str, old, rows: Int[np.ndarray, " p"], new, unit) -> None:
    """Writes a column with new values in some rows, where they are not NaN."""
    values = np.array(old)
    values[rows] = np.where(np.isnan(new), values[rows], new)
    write_column(table, name, values, unit)


def _follow(read: Reader, bands: list[str], rows: Int[np.ndarray, " p"]) -> None:
    """Makes columns of colours those of the merged bands."""
    for a, b in combinations(BANDS, 2):
        for first, second in ((a, b), (b, a)):
            name = read.column(f"{first}-{second}")
            if name and {a, b} & set(bands) and read.column(a) and read.column(b):
                new = (read.value(first) - read.value(second))[rows]
                _put(read.table, name, read.numbers(name, u.mag), rows, new, u.mag)
