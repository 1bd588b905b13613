"""Tables of catalogues: the one place that knows column names, units and quality."""

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from jaxcluster.catalogue.files import read_file

# Names of one quantity, the first found wins: Gaia archive, VizieR, 2MASS archive, common files.
# Case and punctuation do not count: BP-RP, bp_rp and BP_RP (a VOTable identifier) are one name.
_NAMES = {
    "G": ("phot_g_mean_mag", "Gmag"),
    "BP": ("phot_bp_mean_mag", "BPmag"),
    "RP": ("phot_rp_mean_mag", "RPmag"),
    "J": ("j_m", "Jmag", "2MASS_J"),
    "H": ("h_m", "Hmag", "2MASS_H"),
    "Ks": ("ks_m", "k_m", "Ksmag", "Kmag", "2MASS_Ks"),
    "ra": ("ra", "RA_ICRS", "RAdeg", "RAJ2000"),
    "dec": ("dec", "DE_ICRS", "DEdeg", "DEJ2000"),
    "parallax": ("parallax", "Plx"),
    "pmra": ("pmra",),
    "pmdec": ("pmdec", "pmDE"),
    "radial_velocity": ("radial_velocity", "RV"),
    "ruwe": ("ruwe",),
    "excess factor": ("phot_bp_rp_excess_factor", "E(BP/RP)", "E(BR/RP)"),
    "nu_eff": ("nu_eff_used_in_astrometry", "nueff"),
    "pseudocolour": ("pseudocolour", "pscol"),
    "ecl_lat": ("ecl_lat", "ELAT"),
    "parameters solved": ("astrometric_params_solved", "Solved"),
    "source_id": ("source_id", "Source", "dr3_source_id"),
}
BANDS = ("G", "BP", "RP", "J", "H", "Ks")
_FLUXES = {b: (f"phot_{b.lower()}_mean_flux", f"F{b}") for b in ("G", "BP", "RP")}
_RATIOS = ("{}_over_error", "R{}")  # of flux and its error
_ERRORS = ("{}_error", "e_{}", "{}_err", "err_{}", "{}sigcom")
ASTROMETRIC = {
    "ra": u.deg,
    "dec": u.deg,
    "parallax": u.mas,
    "pmra": u.mas / u.yr,
    "pmdec": u.mas / u.yr,
    "radial_velocity": u.km / u.s,
}
UNITS = {b: u.mag for b in BANDS} | ASTROMETRIC
# Gaia's order of the five parameters, with VizieR's short names: pmra_pmdec_corr is pmRApmDEcor.
ASTROMETRY = {"ra": "RA", "dec": "DE", "parallax": "Plx", "pmra": "pmRA", "pmdec": "pmDE"}


def read_table(source: object) -> Table:
    """A table from what users have.

    Args:
        source: astropy Table or QTable, pandas DataFrame, or path to a VOTable (.vot, .votable,
            .xml), FITS (.fits, .fit), ECSV, CSV or parquet file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The suffix is unknown, the file cannot be read, or the table has no rows.
    """
    if isinstance(source, Table):
        table = Table(source, copy=False)  # a QTable's quantities become columns with a unit
    elif isinstance(source, (str, PathLike)):
        table = read_file(Path(source))
    elif hasattr(source, "iloc"):
        table = Table.from_pandas(source)
    else:
        raise ValueError(f"expected a Table, a DataFrame or a path, found {type(source).__name__}")
    if len(table) == 0:
        which = f"{source}: " if isinstance(source, (str, PathLike)) else ""
        raise ValueError(f"{which}the table has no rows; check the query that made it")
    return table


def add_column(table: Table, name: str, column: Any) -> None:
    """Add what was found of each row; a column of that name, as of a step before, is NAME_given."""
    if name in table.colnames:
        table[f"{name}_given"] = table[name]
    table[name] = column


def source_ids(source: object) -> np.ndarray | None:
    """Identifiers of all rows, int64 or strings (0 or "" where masked); None if there are none.

    ``source_ids(table)[stars.rows]`` are those of the stars.

    Raises:
        ValueError: The identifiers were read as floats that cannot hold them.
    """
    table = read_table(source)
    name = _find(table, _NAMES["source_id"])
    if name is None:
        return None
    column = np.ma.asarray(table[name])
    if column.dtype.kind not in "iuf":
        return np.asarray(np.ma.filled(column.astype(str), ""))
    if column.dtype.kind == "f":
        column = np.ma.masked_invalid(column)
        if np.ma.filled(abs(column), 0.0).max() > 2**53:
            raise ValueError(
                f"{name}: found {column.dtype}, which rounds ids above 2^53, expected int64; "
                "read the column as integers (pandas: dtype 'Int64')"
            )
    return np.asarray(np.ma.filled(column, 0), np.int64)


def corrected_excess(excess: np.ndarray, bp_rp: np.ndarray) -> np.ndarray:
    """Corrected BP/RP flux excess factor C* = C − f(BP−RP), near 0 for a well-behaved source.

    Riello et al. 2021, A&A 649, A3, eq. 6 and Table 2; for Gaia EDR3 and DR3.

    Args:
        excess: C, the archive's ``phot_bp_rp_excess_factor``.
        bp_rp: Colour [mag].
    """
    f = np.polynomial.polynomial.polyval
    blue = f(bp_rp, (1.154360, 0.033772, 0.032277))
    middle = f(bp_rp, (1.162004, 0.011464, 0.049255, -0.005879))
    red = f(bp_rp, (1.057572, 0.140537))
    return excess - np.where(bp_rp < 0.5, blue, np.where(bp_rp < 4.0, middle, red))


class Reader:
    """Reads quantities under any of their names; what is absent is collected and told at once.

    Args:
        table: The table to read.
        bands: Those beside `BANDS`, of any photometric system.
        names: Column to read a band from, its error too if it has one, by band.
    """

    def __init__(
        self, table: Table, bands: Iterable[str] = (), names: Mapping[str, str] | None = None
    ):
        self.table = table
        self.bands = {*BANDS, *bands}
        self.names = dict(_NAMES)
        self.absent: dict[str, str] = {}
        for band, name in (names or {}).items():
            self.names[band] = (name, *_NAMES.get(band, (band,)))
            if _find(self.table, [name]) is None:
                self.missing(f"column of {band}", [name])

    def column(self, entry: str) -> str | None:
        """The column an entry is read from, None if the table has none."""
        return _find(self.table, self.names.get(entry, (entry,)))

    def error_column(self, entry: str) -> str | None:
        """The column that gives the error of an entry as such, None if the table has none."""
        names = self.names.get(entry, (entry,))
        return _find(self.table, [e.format(n) for n in names for e in _ERRORS])

    def correlation_column(self, a: str, b: str) -> str | None:
        """The column of the correlation of two astrometric ones, None if the table has none."""
        return _find(self.table, (f"{a}_{b}_corr", f"{ASTROMETRY[a]}{ASTROMETRY[b]}cor"))

    def known(self) -> list[str]:
        """All columns that something can be read from, in the table's order."""
        pairs = itertools.permutations(ASTROMETRY, 2)
        found = {self.correlation_column(a, b) for a, b in pairs}
        for entry in [*self.names, "BP-RP", "bp_rp"]:
            found |= {self.column(entry), self.error_column(entry)}
        for flux in itertools.chain.from_iterable(_FLUXES.values()):
            found |= {_find(self.table, [e.format(flux)]) for e in ("{}", *_RATIOS, *_ERRORS)}
        names: list[str] = self.table.colnames
        return [name for name in names if name in found]

    def value(self, entry: str) -> np.ndarray:
        """Values of a band, a colour, an astrometric or a quality column; NaN where missing."""
        a, *b = entry.split("-")
        names = self.names.get(entry, (entry,))
        name = _find(self.table, names)
        if name is None:
            bands = [self.names.get(band, (band,)) for band in (a, *b)] if b else []
            if b and all(_find(self.table, band) for band in bands):
                return self.value(a) - self.value(b[0])
            return self.missing(entry, [*names, *(n for band in bands for n in band)])
        values = self.numbers(name, u.mag if a in self.bands else UNITS.get(a))
        cannot = (values < -30) | (values > 40)
        if a in self.bands and cannot.any():
            raise ValueError(
                f"{name}: {cannot.sum()} of {len(values)} values cannot be magnitudes (found "
                f"{values[cannot][0]:g}, expected -30 to 40); give magnitudes, not fluxes, and "
                "mask fillers such as 99"
            )
        return values

    def sources(self, entry: str) -> dict[str, tuple[float, str, np.ndarray]]:
        """The noise sources of an entry: coefficient, column and sigma of each."""
        parts = entry.split("-")
        found = {part: self.error(part) for part in parts}
        if None in found.values():
            looked = [f"{n}_error" for part in parts for n in self.names.get(part, (part,))]
            looked += [f"{n}_over_error" for part in parts for n in _FLUXES.get(part, ())]
            found = {entry: self.error(entry) or ("", self.missing(f"error of {entry}", looked))}
        return {p: (c, *f) for (p, f), c in zip(found.items(), (1.0, -1.0), strict=False) if f}

    @np.errstate(divide="ignore", invalid="ignore")
    def error(self, entry: str) -> tuple[str, np.ndarray] | None:
        """The column an error comes from, and the error, NaN where missing."""
        fluxes = _FLUXES.get(entry, ())
        if name := self.error_column(entry):
            if entry not in ("ra", "dec"):
                return name, self.numbers(name, UNITS.get(entry, u.mag))
            sigma = self.numbers(name, u.mas) / 3.6e6  # catalogues give mas, ra and dec are in deg
            return name, sigma / np.cos(np.radians(self.value("dec"))) if entry == "ra" else sigma
        ratios = [e.format(f) for f in fluxes for e in _RATIOS]
        if name := _find(self.table, ratios):
            return name, 1.0857362 / self.numbers(name, None)  # 2.5 / ln 10
        flux = _find(self.table, fluxes)
        name = _find(self.table, [e.format(f) for f in fluxes for e in _ERRORS])
        if flux and name:
            return name, 1.0857362 * self.numbers(name, None) / self.numbers(flux, None)
        return None

    def correlation(self, a: str, b: str) -> np.ndarray | float:
        """Correlation of two astrometric columns, 0 if the table has no such column."""
        name = self.correlation_column(a, b)
        return 0.0 if name is None else self.numbers(name, None)

    def numbers(self, name: str, unit: u.UnitBase | None) -> np.ndarray:
        """A column as float64 in `unit`, masked values NaN."""
        column: Any = self.table[name]
        if column.dtype.kind == "c":
            raise ValueError(
                f"{name}: found complex numbers, expected real ones; give the real part if that is "
                "what is meant"
            )
        try:
            values = np.asarray(np.ma.filled(np.ma.asarray(column).astype(float), np.nan))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: expected numbers, {error}") from error
        found = getattr(column, "unit", None)
        if unit is None or found is None or found == u.dimensionless_unscaled:
            return values
        try:
            return found.to(unit, values)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name}: found unit {found}, expected {unit} or what converts to it; correct the "
                "column's unit, or remove it if the numbers are right"
            ) from error

    def missing(self, what: str, names: Iterable[str]) -> np.ndarray:
        """Notes what was looked for, with the nearest names there are; stands in with NaN."""
        names, present = list(names), {_plain(c): c for c in self.table.colnames}
        near = [m for n in names for m in difflib.get_close_matches(_plain(n), present, 2, 0.7)]
        near = ", ".join(dict.fromkeys(present[m] for m in near)) or "nothing near"
        other = [n for n in UNITS if n.casefold() == what.casefold() and n != what]
        meant = f"; is {other[0]} meant?" if other else ""
        self.absent[what] = f"looked for {', '.join(names)}; the table has {near}{meant}"
        return np.full(len(self.table), np.nan)

    def raise_absent(self) -> None:
        """Raises one ValueError for all that was looked for and not found."""
        if self.absent:
            lines = "".join(f"\n  {what}: {line}" for what, line in self.absent.items())
            raise ValueError(f"columns are missing from the table{lines}")


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name.casefold())


def _find(table: Table, names: Iterable[str]) -> str | None:
    """The first of `names` that the table has; beside gmag (SDSS, Pan-STARRS), Gmag is Gmag."""
    for name in names:
        same = [c for c in table.colnames if _plain(c) == _plain(name)]
        if len(same) > 1 and name not in same:
            raise ValueError(f"columns {same} all read as {name}; rename or remove all but one")
        if same:
            return name if name in same else same[0]
    return None
