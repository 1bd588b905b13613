"""A list of candidates: each with a place to cut its stars out of, or with its own tables."""

import abc
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from jaxcluster.catalogue.hats import is_hats, read_cone
from jaxcluster.catalogue.tables import Reader, read_table
from jaxcluster.catalogue.windows import ASTROMETRY, ParallaxWindow, Selection, select

TABLES = ("sample", "field")
POSITIVE = ("r50_arcmin", "pm_scatter", "parallax_scatter")
AROUND = 30.0  # arcmin
PARALLAX_SCATTER = 0.05  # mas
OF_GIVEN = "bright", "faint", "parallax", "parallax_scatter"
OPTIONAL = {
    "pm_scatter": u.mas / u.yr,
    "parallax_scatter": u.mas,
    "bright": u.mag,
    "faint": u.mag,
    "radius_arcmin": u.arcmin,
}


@dataclass(frozen=True, kw_only=True)
class Listed(abc.ABC):
    """A row of a list.

    Args:
        candidate: its name, of which there is one.
        bright: least magnitude of sample and field [mag]; that of the field by default.
        faint: largest magnitude; both or none.
    """

    candidate: str
    bright: float | None = None
    faint: float | None = None

    @abc.abstractmethod
    def cut(self) -> Selection:
        """Return sample and field.

        Raises:
            ValueError: for numbers that are missing or make no sense, or where no star is left.
        """

    @property
    def limits(self) -> tuple[float, float] | None:
        """Magnitudes of sample and field, None where the field's own are to be taken."""
        if (self.bright is None) != (self.faint is None):
            raise ValueError(
                f"bright and faint of {self.candidate}: found one of the two; give both or none"
            )
        if self.bright is None or self.faint is None:
            return None
        return self.bright, self.faint

    @property
    @abc.abstractmethod
    def parallax_window(self) -> ParallaxWindow | None:
        """What sample and field have of parallaxes, None where that is not known."""

    def record(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Given(Listed):
    """A candidate whose sample and field are files already.

    Args:
        sample: file of its stars.
        field: file of field stars.
        parallax: where both were cut to a `ParallaxWindow`, its centre [mas].
        parallax_scatter: and its least σ [mas].
    """

    sample: str
    field: str
    parallax: float | None = None
    parallax_scatter: float = PARALLAX_SCATTER

    @property
    def parallax_window(self) -> ParallaxWindow | None:
        """That of its numbers."""
        if self.parallax is None:
            return None
        return ParallaxWindow(self.parallax, self.parallax_scatter)

    def cut(self) -> Selection:
        """Return the two tables."""
        sample, field = read_table(self.sample), read_table(self.field)
        return Selection(sample, field, {"n_selected": len(sample), "n_field_selected": len(field)})


@dataclass(frozen=True, kw_only=True)
class Candidate(Listed):
    """A place and a motion.

    Args:
        stars: file of a table of its field, or a HATS catalogue (`hats`).
        ra: right ascension [deg].
        dec: declination [deg].
        pmra: proper motion in right ascension, μ_α cos δ [mas/yr].
        pmdec: in declination [mas/yr].
        parallax: in the system of the stars' [mas].
        r50_arcmin: radius of half of its members [arcmin].
        pm_scatter: least σ of a proper motion, the candidate's own [mas/yr].
        parallax_scatter: least σ of a parallax [mas].
        radius_arcmin: of the stars to take out of a HATS catalogue [arcmin]; by default 10 r50, or
            `AROUND` if that is more.
    """

    stars: str
    ra: float
    dec: float
    pmra: float
    pmdec: float
    parallax: float
    r50_arcmin: float
    pm_scatter: float = 0.12
    parallax_scatter: float = PARALLAX_SCATTER
    radius_arcmin: float | None = None

    @property
    def parallax_window(self) -> ParallaxWindow:
        """About its own parallax."""
        return ParallaxWindow(self.parallax, self.parallax_scatter)

    def cut(self) -> Selection:
        """Cut them out of the table (`windows`)."""
        for name in ("ra", "dec", *ASTROMETRY, "r50_arcmin"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} of {self.candidate} is missing; the list must have it")
        radius = self.radius_arcmin
        if radius is None:
            radius = max(10.0 * self.r50_arcmin, AROUND)
        positive = {name: getattr(self, name) for name in POSITIVE} | {"radius_arcmin": radius}
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(
                    f"{name} of {self.candidate}: expected a positive number, found {value:g}"
                )
        if is_hats(self.stars):
            return select(read_cone(self.stars, self.ra, self.dec, radius), self)
        path = Path(self.stars)
        return select(_table(path, path.stat().st_mtime_ns if path.is_file() else 0), self)


@lru_cache(maxsize=1)
def _table(path: Path, changed: int) -> Any:
    """A table of stars; that of the candidate before is kept, as many have one in common."""
    return read_table(path)


def read_candidates(source: object, stars: str | Path | None = None) -> list[Listed]:
    """Read a list, one row a candidate.

    Args:
        source: a table or its path, with the columns of `Candidate`, or of `Given`; those with a
            default may be absent, or empty in some rows.
        stars: one table or HATS catalogue for all, where the list has no column `stars`. Paths in
            it count from the folder of the list.

    Raises:
        ValueError: columns that are missing, or names that appear more than once.
    """
    table: Any = read_table(source)
    read = Reader(table)
    given = all(read.column(name) for name in TABLES)
    numbers = {} if given else {name: read.value(name) for name in ("ra", "dec", *ASTROMETRY)}
    for name, unit in {**({} if given else {"r50_arcmin": u.arcmin}), **OPTIONAL}.items():
        if column := read.column(name):
            numbers[name] = read.numbers(column, unit)
        elif name not in OPTIONAL:
            read.missing(name, [name])
    files = TABLES if given else () if stars else ("stars",)
    texts = {}
    for name in ("candidate", *files):
        if column := read.column(name):
            filled = np.ma.filled(np.ma.asarray(table[column]).astype(str), "")
            texts[name] = [str(value).strip() for value in filled]
        else:
            read.missing(name, [name])
    read.raise_absent()
    _check_names(texts["candidate"])
    folder = Path(source).parent if isinstance(source, str | Path) else Path()
    for name in files:
        texts[name] = [_absolute(path, folder) for path in texts[name]]
    if not given and stars:
        texts["stars"] = [_absolute(str(stars), Path())] * len(table)
    if given:
        if read.column("parallax"):
            numbers["parallax"] = read.value("parallax")
        numbers = {name: values for name, values in numbers.items() if name in OF_GIVEN}
    rows: list[Listed] = []
    for number in range(len(table)):
        row: dict[str, Any] = {name: values[number] for name, values in texts.items()}
        for name, values in numbers.items():
            if np.isfinite(values[number]) or not (given or name in OPTIONAL):
                row[name] = float(values[number])
        rows.append(Given(**row) if given else Candidate(**row))
    return rows


def _absolute(path: str, folder: Path) -> str:
    """The path in words that mean the same in any folder; an address does already."""
    return path if "://" in path else str((folder / path).resolve())


def _check_names(names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"candidate: {', '.join(map(repr, twice[:5]))} appear more than once; give each a name "
            "of its own, results are kept by it"
        )
    if not all(names):
        raise ValueError(f"candidate: {names.count('')} rows have no name; give each one")
