"""A list of candidates, and each one's sample and field, cut out of a table around it.

    sample   inside 2.5 r50, and proper motion and parallax within 3 σ of the candidate's
    field    the same parallax; outside 5 r50, or of another proper motion

σ is each star's own error, but at least the candidate's own scatter: 0.12 mas/yr and 0.05 mas
where the list says nothing else. Sample and field have no star in common. Of a larger field the
`MOST_FIELD` stars nearest to the candidate are taken, where extinction and populations are its own.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table
from jaxtyping import Bool

from jaxcluster.catalogue.sky import to_plane
from jaxcluster.catalogue.tables import Reader, read_table

WITHIN = 3.0  # standard deviations
SAMPLE, FIELD = 2.5, 5.0  # r50
MOST_FIELD = 3000
ASTROMETRY = ("pmra", "pmdec", "parallax")


@dataclass(frozen=True)
class Candidate:
    """What a list says of one candidate.

    Args:
        candidate: its name, of which there is one.
        stars: file of a table of its field.
        ra: right ascension [deg].
        dec: declination [deg].
        pmra: proper motion in right ascension, μ_α cos δ [mas/yr].
        pmdec: in declination [mas/yr].
        parallax: in the system of the stars' [mas].
        r50_arcmin: radius of half of its members [arcmin].
        pm_scatter: least σ of a proper motion, the candidate's own [mas/yr].
        parallax_scatter: least σ of a parallax [mas].
        bright: least magnitude of sample and field [mag]; that of the field by default.
        faint: largest magnitude; both or none.
    """

    candidate: str
    stars: str
    ra: float
    dec: float
    pmra: float
    pmdec: float
    parallax: float
    r50_arcmin: float
    pm_scatter: float = 0.12
    parallax_scatter: float = 0.05
    bright: float | None = None
    faint: float | None = None

    def check(self) -> None:
        """Raise a ValueError for a number that is missing or makes no sense."""
        for name in ("ra", "dec", *ASTROMETRY, "r50_arcmin"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} of {self.candidate} is missing; the list must have it")
        for name in ("r50_arcmin", "pm_scatter", "parallax_scatter"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name} of {self.candidate}: expected a positive number, found "
                    f"{getattr(self, name):g}"
                )
        if (self.bright is None) != (self.faint is None):
            raise ValueError(
                f"bright and faint of {self.candidate}: found one of the two; give both or none"
            )

    @property
    def limits(self) -> tuple[float, float] | None:
        """Magnitudes of sample and field, None where the field's own are to be taken."""
        if self.bright is None or self.faint is None:
            return None
        return self.bright, self.faint

    def record(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


OPTIONAL = {
    "pm_scatter": u.mas / u.yr,
    "parallax_scatter": u.mas,
    "bright": u.mag,
    "faint": u.mag,
}


def read_candidates(source: object, stars: str | Path | None = None) -> list[Candidate]:
    """Read a list, one row a candidate.

    Args:
        source: a table or its path, with the columns of `Candidate`; those with a default may be
            absent, or empty in some rows.
        stars: one table for all, where the list has no column `stars`. Paths in it count from the
            folder of the list.

    Raises:
        ValueError: columns that are missing, or names that appear more than once.
    """
    table: Any = read_table(source)
    read = Reader(table)
    numbers = {name: read.value(name) for name in ("ra", "dec", *ASTROMETRY)}
    for name, unit in {"r50_arcmin": u.arcmin, **OPTIONAL}.items():
        if column := read.column(name):
            numbers[name] = read.numbers(column, unit)
        elif name not in OPTIONAL:
            read.missing(name, [name])
    texts = {}
    for name in ("candidate", *(() if stars else ("stars",))):
        if column := read.column(name):
            texts[name] = [
                str(value).strip() for value in np.ma.filled(table[column].astype(str), "")
            ]
        else:
            read.missing(name, [name])
    read.raise_absent()
    folder = Path(source).parent if isinstance(source, str | Path) else Path()
    texts["stars"] = [
        str(folder / path)
        for path in texts.get("stars", [str(Path(stars or "").resolve())] * len(table))
    ]
    names = texts["candidate"]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"candidate: {', '.join(map(repr, twice[:5]))} appear more than once; give each a name "
            "of its own, results are kept by it"
        )
    if not all(names):
        raise ValueError(f"candidate: {names.count('')} rows have no name; give each one")
    rows = []
    for number in range(len(table)):
        given = {name: values[number] for name, values in texts.items()}
        for name, values in numbers.items():
            if name not in OPTIONAL or np.isfinite(values[number]):
                given[name] = float(values[number])
        rows.append(Candidate(**given))
    return rows


@dataclass(frozen=True)
class Selection:
    """A candidate's sample and field, and how many stars each cut has left."""

    sample: Table
    field: Table
    counts: Mapping[str, int]


def select(source: object, candidate: Candidate) -> Selection:
    """Cut a candidate's sample and field out of a table of stars; see the module.

    Args:
        source: a table or its path, with positions, proper motions and parallaxes and their errors
            under any name that `from_table` knows.
        candidate: where to look.

    Raises:
        ValueError: columns that are missing, or no star left.

    Example:
        >>> select("field.parquet", candidate).counts  # doctest: +SKIP
    """
    table: Any = read_table(source)
    read = Reader(table)
    position = read.value("ra"), read.value("dec")
    moving, far = candidate.pm_scatter, candidate.parallax_scatter
    near = {
        name: _near(read, name, getattr(candidate, name), scatter)
        for name, scatter in zip(ASTROMETRY, (moving, moving, far), strict=True)
    }
    read.raise_absent()
    away = np.hypot(*to_plane(*position, (candidate.ra, candidate.dec)).T)
    moves, inside = near["pmra"] & near["pmdec"], away < SAMPLE * candidate.r50_arcmin
    outside = away > FIELD * candidate.r50_arcmin
    known = np.isfinite(away) & _known(read)
    sample = np.flatnonzero(known & near["parallax"] & moves & inside)
    field = np.flatnonzero(known & near["parallax"] & (outside | ~moves))
    field_all = len(field)
    field = np.sort(field[np.argsort(away[field], kind="stable")[:MOST_FIELD]])
    counts = {
        "n_table": len(table),
        "n_without_astrometry": int((~known).sum()),
        "n_inside": int((known & inside).sum()),
        "n_selected": len(sample),
        "n_field_selected": field_all,
    }
    for name, rows in (("sample", sample), ("field", field)):
        if len(rows) == 0:
            raise ValueError(
                f"{candidate.candidate}: no star in its {name}; of {len(table)} in the table "
                f"{counts['n_inside']} are within {SAMPLE * candidate.r50_arcmin:g} arcmin, "
                f"{int((known & near['parallax']).sum())} have its parallax and "
                f"{int((known & moves).sum())} its proper motion"
            )
    return Selection(table[sample], table[field], counts)


def _known(read: Reader) -> Bool[np.ndarray, " n"]:
    values = [read.value(name) for name in ASTROMETRY]
    return np.isfinite(np.sum(values, axis=0))


def _near(read: Reader, name: str, centre: float, scatter: float) -> Bool[np.ndarray, " n"]:
    """Which stars are within `WITHIN` standard deviations of a value."""
    found = read.error(name)
    error = read.missing(f"error of {name}", [f"{name}_error"]) if found is None else found[1]
    return np.abs(read.value(name) - centre) < WITHIN * np.maximum(error, scatter)
