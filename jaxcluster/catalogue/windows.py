"""A candidate's sample and field, cut out of a table of stars around it.

    sample   inside 2.5 r50, and proper motion and parallax within 3 σ of the candidate's
    field    the same parallax; outside 5 r50, or of another proper motion

σ is each star's own error, but at least the candidate's own scatter: 0.12 mas/yr and 0.05 mas
where the list says nothing else. Sample and field have no star in common.

Of the field those are taken whose proper motions are nearest to the candidate's, in units of σ:
`TIMES` as many as the sample has, `LEAST_FIELD` at least. Stars of any motion are not what the
window lets through: faint ones have wide windows, and each population its own motions. Of 200
windows at random places without a known cluster, sample and 3000 stars of the field differ with
p < 0.001 (Kolmogorov and Smirnov) in colour in 12.5 % and in magnitude in 5.5 %, sample and 300 of
them in 7 and 4.5 % (`benchmarks.validation.main alike`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float, Int

from jaxcluster.catalogue.sky import to_plane
from jaxcluster.catalogue.tables import Reader, read_table

if TYPE_CHECKING:
    from jaxcluster.catalogue.candidates import Candidate

WITHIN = 3.0  # standard deviations
SAMPLE, FIELD = 2.5, 5.0  # r50
# Fewer are more like the sample (200: 5.5 and 2.5 % differ), but say less: Σ ln φ of the samples of
# 50 places gained 1.9 nats over 3000 with 300, 2.5 with 200. Some of 330 lack a colour, and below
# 300 the field's error decides (`needed_stars`).
TIMES, LEAST_FIELD, MOST_FIELD = 4, 330, 3000
# what rows depend on: those of other numbers must not be taken for these
RULES = WITHIN, SAMPLE, FIELD, TIMES, LEAST_FIELD, MOST_FIELD
ASTROMETRY = ("pmra", "pmdec", "parallax")


class ParallaxWindow(NamedTuple):
    """What sample and field have of parallaxes: |ϖ − centre| < `WITHIN` σ.

    Args:
        centre: of the candidate [mas].
        scatter: least σ, which is each star's own error elsewhere [mas].
    """

    centre: float
    scatter: float

    def offsets(self, table: Any) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """How far each star of a table is from the centre in units of σ, and σ [mas].

        NaN where a star has no parallax.

        Raises:
            ValueError: a table without parallaxes or their errors.
        """
        read = Reader(table)
        found = _offsets(read, "parallax", *self)
        read.raise_absent()
        return found


@dataclass(frozen=True)
class Selection:
    """A candidate's sample and field, and how many stars each cut has left."""

    sample: Table
    field: Table
    counts: Mapping[str, int]


def select(source: object, candidate: Candidate, least_field: int = LEAST_FIELD) -> Selection:
    """Cut a candidate's sample and field out of a table of stars; see the module.

    Args:
        source: a table or its path, with positions, proper motions and parallaxes and their errors
            under any name that `from_table` knows.
        candidate: where to look.
        least_field: stars of the field, where there are so many.

    Raises:
        ValueError: columns that are missing, or no star left.

    Example:
        >>> select("field.parquet", candidate).counts  # doctest: +SKIP
    """
    table: Any = read_table(source)
    read = Reader(table)
    position = read.value("ra"), read.value("dec")
    moving, far = candidate.pm_scatter, candidate.parallax_scatter
    off = {
        name: np.abs(_offsets(read, name, getattr(candidate, name), scatter)[0])
        for name, scatter in zip(ASTROMETRY, (moving, moving, far), strict=True)
    }
    read.raise_absent()
    away = np.hypot(*to_plane(*position, (candidate.ra, candidate.dec)).T)
    motion, alike = np.maximum(off["pmra"], off["pmdec"]), off["parallax"] < WITHIN
    moves, inside = motion < WITHIN, away < SAMPLE * candidate.r50_arcmin
    outside = away > FIELD * candidate.r50_arcmin
    known = np.isfinite(away + motion + off["parallax"])
    sample = np.flatnonzero(known & alike & moves & inside)
    field = np.flatnonzero(known & alike & (outside | ~moves))
    field_all = len(field)
    field = field[nearest(motion[field], len(sample), least_field)]
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
                f"{int((known & alike).sum())} have its parallax and "
                f"{int((known & moves).sum())} its proper motion"
            )
    return Selection(table[sample], table[field], counts)


def nearest(
    motion: Float[np.ndarray, " n"], n_sample: int, least: int = LEAST_FIELD
) -> Int[np.ndarray, " m"]:
    """Rows of a sample's field: those of the nearest proper motions, `TIMES` as many as it has.

    Args:
        motion: how far proper motions are from the sample's, in standard deviations.
        n_sample: stars of the sample.
        least: rows, where there are so many; `MOST_FIELD` at most.
    """
    most = min(max(TIMES * n_sample, least), MOST_FIELD)
    return np.sort(np.argsort(motion, kind="stable")[:most])


def _offsets(
    read: Reader, name: str, centre: float, scatter: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """How far each star is from a value in its own standard deviations, and these."""
    found = read.error(name)
    error = read.missing(f"error of {name}", [f"{name}_error"]) if found is None else found[1]
    sigma = np.maximum(error, scatter)
    return (read.value(name) - centre) / sigma, sigma
