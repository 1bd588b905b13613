"""The text of PARSEC (CMD), MIST and BaSTI isochrone files, as their web sites deliver them.

`parse` tells the family by content and returns one `PublishedIsochrone` per age and metallicity;
`jaxcluster.population.files` makes a grid of them. Thermal pulses and all that follows are dropped:
0.08 % in initial mass at 1 Gyr (PARSEC).
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# The Sun, nominal values of IAU 2015 B3: log₁₀(GM/R²) in cgs and log₁₀(5772 K)
_LOG_G_SUN, _LOG_TEFF_SUN = 4.43807, 3.76133

# The ends of the early AGB; then thermal pulses, and in PARSEC a last row with magnitudes near 30
_LAST_MIST_EEP = 808
_LAST_PARSEC_PHASE = 7


class PublishedIsochrone(NamedTuple):
    """One isochrone of a file, row by row."""

    family: str  # PARSEC, MIST or BaSTI
    metallicity: float  # [M/H], dex
    log_age: float  # log₁₀ of years
    eep: Int[np.ndarray, " r"]  # for PARSEC the phase label, until resampled
    initial_mass: Float[np.ndarray, " r"]  # solar masses
    log_teff: Float[np.ndarray, " r"]  # log₁₀ of K
    log_g: Float[np.ndarray, " r"]  # log₁₀ of cm/s²
    magnitudes: dict[str, Float[np.ndarray, " r"]]  # absolute, in the file's system


_PRESENT = ("EDR3", "DR3")  # Gaia's releases whose passbands are called G, BP, RP

_Columns = dict[str, Float[np.ndarray, " r"]]


def parse(path: Path) -> list[PublishedIsochrone]:
    """All isochrones of a file of PARSEC (CMD 3.3 or later), MIST (`.iso.cmd`) or BaSTI (`.isc`).

    Raises:
        ValueError: content of no known family; missing or damaged columns; reddened magnitudes.
    """
    text = path.read_text(errors="replace")
    # Users cut headers off, so PARSEC is known by its column names, not by its first line.
    families = {
        r"^#?\s*Zini\s+MH\s+logAge\s+Mini\b": _parsec,
        r"^# MIST version number": _mist,
        r"^# .*BaSTI": _basti,
    }
    known = [f for signature, f in families.items() if re.search(signature, text, re.MULTILINE)]
    if not known:
        raise ValueError(
            f"{path}: not a known isochrone file; it begins with {text[:60]!r}. Expected a line "
            "'# Zini MH logAge Mini ...' (PARSEC isochrone tables of CMD 3.3 or later), "
            "'# MIST version number ...' (.iso.cmd) or '# Isochrone from BaSTI-IAC ...' (.isc)"
        )
    # CMD and MIST both write "extinction … Av= 0.5", CMD only where it is not zero.
    reddened = re.search(r"^#.*extinction.*\bAv\s*=\s*([\d.]*\d)", text, re.MULTILINE)
    if reddened and float(reddened[1]) != 0:
        raise ValueError(
            f"{path}: the magnitudes include extinction, Av = {reddened[1]}; expected Av = 0. "
            "Download the file again without it: the grid adds its own"
        )
    isochrones = [_of_header(isochrone, text) for isochrone in known[0](path, text)]
    if not isochrones:
        raise ValueError(f"{path}: a header but no rows; download it again")
    return isochrones


def _blocks(
    path: Path, text: str, names_in: Callable[[list[str]], str]
) -> Iterator[tuple[list[str], _Columns]]:
    """Header lines and columns of each run of rows; `names_in` finds the line of column names."""
    header: list[str] = []
    rows: list[str] = []
    for line in [*text.splitlines(), "# end"]:
        # CMD 3.7 writes the first line of column names without its '#'.
        if line.startswith("#") or line.lstrip()[:1].isalpha():
            if rows:
                names = names_in(header).split()
                try:
                    table = np.loadtxt(rows, ndmin=2)
                except ValueError as error:
                    raise ValueError(
                        f"{path}: damaged table ({error}); download it again"
                    ) from error
                if table.shape[1] != len(names):
                    raise ValueError(
                        f"{path}: {table.shape[1]} columns of numbers, {len(names)} names "
                        f"({' '.join(names)}): download it again"
                    )
                yield header, dict(zip(names, table.T, strict=True))
                header, rows = [], []
            header.append(line.lstrip("#").strip())
        elif line.strip():
            rows.append(line)


def _require(path: Path, columns: _Columns, *names: str) -> None:
    """Refuse a file without these columns, or with something else than numbers in them."""
    if missing := [name for name in names if name not in columns]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(columns)}. "
            "Download the full isochrone table"
        )
    for name in names:
        if bad := np.sum(~np.isfinite(columns[name])):
            raise ValueError(f"{path}: {bad} values of {name} are not finite; remove these rows")


def _isochrone(
    family: str,
    path: Path,
    node: tuple[float, float],
    columns: _Columns,
    names: str,
    bands: list[str],
) -> PublishedIsochrone:
    """`node`: [M/H] and log age; `names`: the columns of eep, initial mass, log Teff, log g."""
    if not bands:
        raise ValueError(
            f"{path}: no magnitudes; found {', '.join(columns)}. Download a table with a "
            "photometric system (of MIST the .iso.cmd file, not .iso)"
        )
    for column in [*names.split(), *bands]:
        if bad := np.sum(~np.isfinite(columns[column])):
            raise ValueError(
                f"{path}: {bad} values of {column} are not finite at [M/H] = {node[0]:g}, "
                f"log age = {node[1]:g}; remove these rows"
            )
    eep, mass, log_teff, log_g = (columns[name] for name in names.split())
    magnitudes = {_band(band): columns[band] for band in bands}
    return PublishedIsochrone(family, *node, eep.astype(int), mass, log_teff, log_g, magnitudes)


def _band(column: str) -> str:
    """The project's name: Gmag, G_BPmag, G_BPftmag, 2MASS_Ks, VISTA_J → G, BP, BP, Ks, J_VISTA.

    Of Gaia's in MIST: Gaia_G_EDR3 → G, Gaia_G_DR2Rev → G_DR2Rev.
    """
    column = column.removesuffix("mag")
    if gaia := re.fullmatch(r"Gaia_(G|BP|RP)_(\w+)", column):
        return gaia[1] if gaia[2] in _PRESENT else f"{gaia[1]}_{gaia[2]}"
    if vista := re.fullmatch(r"VISTA_(J|H|Ks)", column):
        return f"{vista[1]}_VISTA"
    found = re.fullmatch(r"2MASS_(J|H|Ks)|G_(BP|RP)(?:ft)?", column)
    return next(filter(None, found.groups())) if found else column


def _of_header(isochrone: PublishedIsochrone, text: str) -> PublishedIsochrone:
    """Name bands by what the header tells of their passbands: another release, or not 2MASS's."""
    names = {}
    release = re.search(r"^#.*\bGaia(?:'s)?[ -](E?DR\d)", text, re.MULTILINE | re.IGNORECASE)
    if release and release[1].upper() not in _PRESENT:
        names = {band: f"{band}_{release[1].upper()}" for band in ("G", "BP", "RP")}
    system = re.search(r"^#\s*photometric system\s*[:=](.*)", text, re.MULTILINE | re.IGNORECASE)
    if system and "2MASS" not in system[1] and (first := re.search(r"\w+", system[1])):
        # CMD writes Jmag in any of them
        names |= {band: f"{band}_{first[0]}" for band in ("J", "H", "Ks")}
    magnitudes = {names.get(band, band): m for band, m in isochrone.magnitudes.items()}
    return isochrone._replace(magnitudes=magnitudes)


def like_band(band: str) -> str:
    """The band whose extinction this one has, nearly: G of G_DR1 and G_DR2Rev, J of J_VISTA."""
    found = re.fullmatch(r"(?:(G|BP|RP)_(?:E?DR\d|MAW)|(J|H|Ks)_)\w*", band)
    return next(filter(None, found.groups())) if found else band


def _parsec(path: Path, text: str) -> Iterator[PublishedIsochrone]:
    def names_in(header: list[str]) -> str:
        return next((line for line in reversed(header) if line.startswith("Zini")), "")

    for _, columns in _blocks(path, text, names_in):
        _require(path, columns, "Zini", "MH", "logAge", "Mini", "logTe", "logg", "label")
        bands = [column for column in columns if column.endswith("mag") and column != "mbolmag"]
        nodes = np.stack([columns[axis] for axis in ("Zini", "MH", "logAge")], axis=1)
        starts = np.flatnonzero((nodes[1:] != nodes[:-1]).any(axis=1)) + 1
        for rows in np.split(np.arange(len(nodes)), starts):
            # 20 of the 30 isochrones at hand go back and forth (0 1 0 0 1 1 …) between phases.
            phase = np.maximum.accumulate(columns["label"][rows])
            keep = phase <= _LAST_PARSEC_PHASE
            star = {name: values[rows][keep] for name, values in columns.items()}
            star["label"] = phase[keep]
            _, metallicity, log_age = nodes[rows[0]].tolist()
            node = metallicity, log_age
            yield _isochrone("PARSEC", path, node, star, "label Mini logTe logg", bands)


def _mist(path: Path, text: str) -> Iterator[PublishedIsochrone]:
    found = re.search(r"\[a/Fe\].*\n#(?:\s+\S+){3}\s+(\S+)", text)
    # [M/H] of [Fe/H] and [α/Fe]: Salaris, Chieffi & Straniero 1993, ApJ 414, 580
    enhancement = np.log10(0.638 * 10 ** float(found[1]) + 0.362) if found else 0.0
    names = "EEP initial_mass log_Teff log_g"
    for _, columns in _blocks(path, text, lambda header: "".join(header[-1:])):
        if "isochrone_age_yr" in columns:
            columns["log10_isochrone_age_yr"] = np.log10(columns["isochrone_age_yr"])
        _require(path, columns, *names.split(), "log10_isochrone_age_yr", "[Fe/H]_init", "phase")
        after = list(columns).index("[Fe/H]_init") + 1
        others = ("[Fe/H]", "phase", "log10_isochrone_age_yr")
        bands = [column for column in list(columns)[after:] if column not in others]
        # Rounded so that the nodes of several files agree: 12 Gyr is 1.2000000000000093E+010.
        ages = np.round(columns["log10_isochrone_age_yr"], 5)
        metallicity = float(np.round(columns["[Fe/H]_init"][0] + enhancement, 5))
        keep = (columns["EEP"] <= _LAST_MIST_EEP) & (columns["phase"] < 6)
        for age in np.unique(ages).tolist():
            star = {name: values[keep & (ages == age)] for name, values in columns.items()}
            yield _isochrone("MIST", path, (metallicity, age), star, names, bands)


def _basti(path: Path, text: str) -> Iterator[PublishedIsochrone]:
    physics = ("M/Mo(ini)", "M/Mo(fin)", "log(L/Lo)", "logTe")
    for header, columns in _blocks(path, text, lambda header: "".join(header[-2:-1])):
        _require(path, columns, *physics)
        bands = [column for column in columns if column not in physics]
        node = re.search(r"\[M/H\]\s*=\s*(\S+).*Age \(Myr\)\s*=\s*(\S+)", "\n".join(header))
        if node is None:
            raise ValueError(f"{path}: no comment '[M/H] = ... Age (Myr) = ...' in the header")
        # log g/g☉ = log M − log R², R² = L / T⁴
        columns["log_g"] = (
            _LOG_G_SUN
            + np.log10(columns["M/Mo(fin)"])
            + 4 * (columns["logTe"] - _LOG_TEFF_SUN)
            - columns["log(L/Lo)"]
        )
        columns["row"] = np.arange(len(columns["logTe"]), dtype=float)
        log_age = float(np.round(np.log10(float(node[2]) * 1e6), 5))
        names = "row M/Mo(ini) logTe log_g"
        yield _isochrone("BaSTI", path, (float(node[1]), log_age), columns, names, bands)
