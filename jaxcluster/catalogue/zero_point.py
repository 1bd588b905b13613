"""The zero point of Gaia's parallaxes: Z(G, ν_eff, β) of Lindegren et al. 2021, A&A 649, A4.

For (E)DR3, eq. A.3 to A.5 with the coefficients of their Tables 9 and 10, by the package
gaiadr3-zeropoint. Calibrated for 6 < G < 21 and 1.1 < ν_eff < 1.9 (five parameters) or
1.24 < pseudocolour < 1.72 (six).
"""

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
from jaxtyping import Float

from jaxcluster.catalogue.tables import Reader, read_table

CALIBRATED = FIVE, SIX = 31, 95  # parameters solved for, as Gaia counts them
EPOCH = 2016.0  # of (E)DR3


class OtherReleaseError(ValueError):
    """The table is of another data release than (E)DR3."""


def parameters_solved(read: Reader) -> Float[np.ndarray, " n"]:
    """Gaia's astrometric_params_solved; where missing, by ν_eff or a pseudocolour, else 3."""
    nu_eff, pseudocolour = read.value("nu_eff"), read.value("pseudocolour")
    guess = np.where(np.isfinite(nu_eff), FIVE, np.where(np.isfinite(pseudocolour), SIX, 3))
    if read.column("parameters solved") is None:
        return guess.astype(float)
    solved = read.value("parameters solved")
    return np.where(np.isnan(solved), guess, solved)


def zero_points(table: object) -> Float[np.ndarray, " n"]:
    """Z of each star [mas]; NaN where it is not calibrated, or the star has no parallax.

    Args:
        table: what `read_table` takes, with parallax, phot_g_mean_mag, nu_eff_used_in_astrometry,
            pseudocolour [1/µm] under Gaia's or VizieR's names. Where ecl_lat is missing it is
            computed from ra and dec (BarycentricMeanEcliptic of J2000, to 0.01″ Gaia's).

    Raises:
        ValueError: a column is missing.
        OtherReleaseError: ref_epoch is another than (E)DR3's.

    Example:
        >>> parallax = table["parallax"] - zero_points(table)  # doctest: +SKIP
    """
    from zero_point import zpt  # reads its tables, not at import of the package

    table = read_table(table)
    if "ref_epoch" in table.colnames:
        epoch = np.asarray(np.ma.filled(np.ma.asarray(table["ref_epoch"], float), np.nan))
        if (other := np.abs(epoch - EPOCH) > 0.01).any():
            raise OtherReleaseError(
                f"ref_epoch: found {epoch[other][0]:g}, expected {EPOCH:g}: the zero point of "
                "Lindegren et al. (2021) is that of Gaia (E)DR3 alone"
            )
    read = Reader(table)
    parallax, g, nu_eff, pseudocolour = (
        read.value(entry) for entry in ("parallax", "G", "nu_eff", "pseudocolour")
    )
    latitude, solved = _ecliptic_latitude(read), parameters_solved(read)
    read.raise_absent()
    zpt.load_tables()
    has = np.isfinite(parallax) & np.isin(solved, CALIBRATED)
    found = np.full(len(table), np.nan)
    found[has] = zpt.get_zpt(
        g[has], nu_eff[has], pseudocolour[has], latitude[has], solved[has], _warnings=False
    )
    return found


def _ecliptic_latitude(read: Reader) -> Float[np.ndarray, " n"]:
    """Of each star [deg]."""
    name = read.column("ecl_lat")
    latitude = np.full(len(read.table), np.nan) if name is None else read.numbers(name, u.deg)
    if not np.isnan(latitude).any():
        return latitude
    sky: Any = SkyCoord(read.value("ra"), read.value("dec"), unit="deg")
    ecliptic = sky.transform_to(BarycentricMeanEcliptic(equinox="J2000")).lat.deg
    return np.where(np.isnan(latitude), ecliptic, latitude)
