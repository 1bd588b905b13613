"""Preparing a catalogue before membership: cutting outliers, correcting Gaia's parallaxes.

Each function, and `jaxcluster.merge`, returns a copy of its table with all columns and adds
what it did, in sentences, to ``table.meta["preparation"]``. Of the file formats ECSV keeps that.
"""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Column, MaskedColumn, Table
from jaxtyping import Float

from jaxcluster.catalogue.tables import BANDS, Reader, read_table
from jaxcluster.catalogue.zero_point import CALIBRATED, parameters_solved, zero_points

_ZERO_POINT = "parallax_zero_point"
_MOTION = ("pmra", "pmdec")


def cut_outliers(
    table: object,
    *,
    centre: tuple[float | int, float | int] | None = None,
    n_sigma: float | int | None = 10.0,
    max_magnitude_error: float | int | None = None,
    bands: Iterable[str] | None = None,
) -> Table:
    """The stars without those far off in proper motion or badly measured in a band.

    A star is dropped where d > n_sigma,

        d² = Σ_k ((μ_k − c_k) / s_k)²,    s_k = 1.4826 median |μ_k − c_k|,    k: pmra, pmdec

    so sigma is the robust dispersion of this sample about the centre, field and errors included. It
    is wider the further a given centre is from the bulk, and the cluster's own where that is half
    of the stars: in NGC 2243 10 sigma are 3 mas/yr, a third of the stars is cut. After the cuts of
    Peña Ramírez et al. 2022, MNRAS 513, 5799. A star without a proper motion, or without an error
    in a band, fails no cut and is kept: extreme deconvolution takes missing values.

    Args:
        table: What `read_table` takes.
        centre: c, in pmra and pmdec [mas/yr]; the median if not given.
        n_sigma: Largest distance from the centre; None for any.
        max_magnitude_error: Largest photometric error [mag].
        bands: Which of G, BP, RP, J, H, Ks that applies to; all that have errors if not given.

    Raises:
        ValueError: A column is missing or an error not positive; an argument is not possible; half
            of the stars have one proper motion, which leaves no dispersion; no star is left.
    """
    result = read_table(table).copy()
    read = Reader(result)
    if n_sigma is not None:
        check_positive("n_sigma", n_sigma)
    motion = np.stack([read.value(c) for c in _MOTION], axis=-1)
    sigmas = {}
    if max_magnitude_error is not None:
        check_positive("max_magnitude_error", max_magnitude_error)
        chosen = [b for b in BANDS if read.error(b)] or BANDS if bands is None else tuple(bands)
        check_names("bands", chosen, BANDS)
        sigmas = {b: read.sources(b)[b][1:] for b in chosen}
    elif bands is not None:
        raise ValueError(f"bands: found {bands} without max_magnitude_error; give both")
    read.raise_absent()

    cuts, about = {}, ""
    if n_sigma is not None:
        c, s = _centre_and_dispersion(motion, centre)
        far = (((motion - c) / s) ** 2).sum(1) > n_sigma**2
        cuts[f"further than {n_sigma:g} sigma"] = far
        about = f"centre pmra {c[0]:.4f}, pmdec {c[1]:.4f}, sigma {s[0]:.4f}, {s[1]:.4f} mas/yr; "
    for band, (name, sigma) in sigmas.items():
        check_errors(name, sigma[~np.isnan(sigma)])
        cuts[f"error of {band} > {max_magnitude_error:g} mag"] = sigma > max_magnitude_error

    keep, dropped = np.ones(len(result), bool), []
    for reason, bad in cuts.items():
        dropped.append(f"{np.sum(keep & bad)} {reason}")
        keep &= ~bad
    if not keep.any():
        raise ValueError(f"no star is left of {len(keep)}; dropped were: {', '.join(dropped)}")
    unknown = {"proper motion": np.isnan(motion).any(1)}
    unknown |= {f"error of {b}": np.isnan(sigma) for b, (_, sigma) in sigmas.items()}
    return record(
        Table(result[keep]),
        f"cut_outliers: dropped of {len(keep)}: {', '.join(dropped)}; {about}kept "
        + ", ".join(f"{np.sum(keep & none)} without {what}" for what, none in unknown.items()),
    )


def _centre_and_dispersion(motion: Float[np.ndarray, "n 2"], centre: object) -> tuple:
    known = motion[np.isfinite(motion).all(1)]
    if len(known) == 0:
        raise ValueError("pmra, pmdec: no star has both; expected some, check the columns")
    c = np.median(known, axis=0) if centre is None else np.asarray(centre, float)
    if c.shape != (2,) or not np.isfinite(c).all():
        raise ValueError(f"centre: expected (pmra, pmdec) in mas/yr, found {centre}")
    s = 1.4826 * np.median(abs(known - c), axis=0)
    if not (s > 0).all():
        raise ValueError(
            f"pmra, pmdec: found a dispersion of {s[0]:g}, {s[1]:g} mas/yr over {len(known)} "
            "stars, expected more than 0; mask values that stand for missing ones"
        )
    return c, s


def correct_parallax(table: object) -> Table:
    """The stars with the zero-point of Gaia's parallaxes subtracted: ϖ − Z(G, ν_eff, β).

    Z is that of `jaxcluster.catalogue.zero_point`. A parallax stays as it is, and is counted, where
    Z is not calibrated. What was subtracted is in the column ``parallax_zero_point`` [mas], 0
    for those. Errors, correlations and parallax_over_error stay as they are. Correct before
    averaging parallaxes with `merge`.

    Args:
        table: What `read_table` takes, with parallax [mas] and what `zero_points` needs.

    Raises:
        ValueError: The table is corrected already; a column is missing; no parallax can be
            corrected; from `zero_points`.
    """
    result = read_table(table).copy()
    earlier = [s for s in preparation(result) if s.startswith("correct_parallax")]
    if earlier or _ZERO_POINT in result.colnames:
        raise ValueError(
            f"parallax: corrected already ({(earlier or ['column ' + _ZERO_POINT])[0]}); expected "
            f"the catalogue's own; start from that, or rename {_ZERO_POINT} if it is another's"
        )
    read = Reader(result)
    plx, zero = read.value("parallax"), zero_points(result)
    has = np.isfinite(plx) & np.isin(parameters_solved(read), CALIBRATED)
    done = np.isfinite(zero)
    if not done.any():
        raise ValueError(
            f"parallax: none of {len(zero)} can be corrected ({has.sum()} with five or six "
            "parameters); expected 6 < G < 21 and a nu_eff or pseudocolour in range"
        )
    write_column(
        result, read.column("parallax") or "parallax", np.where(done, plx - zero, plx), u.mas
    )
    result[_ZERO_POINT] = Column(np.where(done, zero, 0.0), unit=u.mas)
    return record(
        result,
        f"correct_parallax: zero-point of Lindegren et al. 2021 (gaiadr3-zeropoint "
        f"{version('gaiadr3-zeropoint')}) subtracted from {done.sum()} of {len(zero)} parallaxes, "
        f"median correction {np.median(-zero[done]):+.4f} mas; left uncorrected: "
        f"{np.sum(has & ~done)} outside its range, {np.sum(~has)} without a parallax",
    )


def preparation(table: Table) -> list[str]:
    """What was done to a table, in sentences: ``table.meta["preparation"]``."""
    return list(dict(table.meta or {}).get("preparation", ()))


def record(table: Table, sentence: str) -> Table:
    """Adds a sentence to ``table.meta["preparation"]``."""
    table.meta = {**(table.meta or {}), "preparation": [*preparation(table), sentence]}
    return table


def write_column(
    table: Table, name: str, values: Float[np.ndarray, " n"], unit: u.UnitBase | None
) -> None:
    """Puts numbers in `unit` into a column, new (NaN masked) or in its own unit."""
    old: Any = table[name] if name in table.colnames else Column(name=name, unit=unit)
    if unit is not None and old.unit not in (None, u.dimensionless_unscaled):
        values = values * unit.to(old.unit)
    missing = np.isnan(values)
    masked = isinstance(old, MaskedColumn) or name not in table.colnames
    about = {"unit": old.unit, "description": old.description, "meta": old.meta}
    if masked and missing.any():
        table[name] = MaskedColumn(values, mask=missing, **about)
    else:
        table[name] = Column(values, **about)


def check_positive(name: str, value: float | int) -> None:
    """Raises a ValueError for an argument that is not above 0."""
    if not value > 0:
        raise ValueError(f"{name}: expected more than 0, found {value}")


def check_names(argument: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises a ValueError for names that are none of those known."""
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{argument}: found {unknown}, expected some of {', '.join(known)}")


def check_errors(name: str, sigma: Float[np.ndarray, " n"]) -> None:
    """Raises a ValueError for errors that are not positive."""
    if bad := int(np.sum(~(sigma > 0))):
        raise ValueError(
            f"{name}: {bad} of {len(sigma)} errors are not positive; mask or correct those values"
        )
