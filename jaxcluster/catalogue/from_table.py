"""How a table becomes `Stars`.

A table gives errors σ_s of *sources* s, independent (bands) or correlated (astrometry). Each column
is a linear combination x_c = Σ_s L_cs e_s of sources, so the noise covariance of star i,

    S_i = L diag(σ_i) R_i diag(σ_i) Lᵀ            R_i: correlations of the sources

holds for every choice of columns: (G, BP−RP) shares nothing, (Ks, J−Ks) shares −σ²(Ks).
"""

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np

from jaxcluster.catalogue.impossible import (
    check_bands,
    check_colours,
    check_noise,
    check_unique,
)
from jaxcluster.catalogue.tables import (
    ASTROMETRIC,
    ASTROMETRY,
    Reader,
    corrected_excess,
    read_table,
)
from jaxcluster.density.stars import Stars


def from_table(
    source: object,
    columns: Iterable[str] = ("G", "BP-RP"),
    *,
    names: Mapping[str, str] | None = None,
    colour_error_floor: float | int = 0.0,
    limits: tuple[float | int, float | int] | None = None,
    max_ruwe: float | int | None = None,
    max_excess: float | int | None = None,
    keep_incomplete: bool = False,
) -> Stars:
    """Stars from a table, with units checked and stripped.

    Columns are found under their names in the Gaia archive, VizieR and 2MASS, in any case; without
    a unit they are in the archive's. The error of a magnitude is its error column, else
    1.0857/(flux over error), else 1.0857 flux_error/flux; that of a colour comes from its two
    bands, else from its own error column. A row with a missing value or error is dropped and
    counted, unless incomplete ones are wanted.

    Args:
        source: What `read_table` takes.
        columns: Any of the bands G, BP, RP, J, H, Ks and their colours such as BP-RP or J-Ks [mag],
            ra, dec [deg], parallax [mas], pmra, pmdec [mas/yr], radial_velocity [km/s]. The noise
            of ra is that of the coordinate itself: the catalogue's divided by cos(dec). Any other
            name is a band of that name, as isochrones have it: PS_g, PS_g-PS_i.
        names: Column to read a band from, by band: {"PS_g": "gmag"}, or one corrected for crowding.
            Its error is ``<column>_error`` (or ``e_<column>`` …), else the band's.
        colour_error_floor: Lower bound on the error of colours [mag].
        limits: Brightest and faintest magnitude of the first band, both included [mag].
        max_ruwe: Largest ruwe; a star without one is dropped.
        max_excess: N in |C*| <= N σ(G), σ(G) = 0.0059898 + 8.817481e-12 G^7.618399
            (`corrected_excess`; Riello et al. 2021, eq. 18).
        keep_incomplete: Keep rows with some of the columns; the others are NaN in `x`, which
            `jaxcluster.xd.deconvolution` takes for coordinates that were not measured.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A column is missing, not numeric or in a wrong unit; a magnitude is outside
            [-30, 40]; an error is not positive, or those of a band have a median above 1 mag;
            correlations are impossible; a source_id appears twice, or a tenth of the rows repeat
            others; colours are bluer than stars, or G is not between BP and RP, as where bands are
            exchanged; no star is left. The message names the column, the count and the remedy.

    Warns:
        UserWarning: Rows without a source_id have the same values in all columns used.
    """
    table, columns = read_table(source), tuple(columns)
    _check_columns(columns)
    bands = {band for c in columns if c not in ASTROMETRIC for band in c.split("-")}
    first = next((c for c in columns if c in bands), None)
    if first is None and limits:
        raise ValueError(f"limits need a band in columns, found {columns}")
    if strange := [band for band in names or {} if band not in bands]:
        raise ValueError(
            f"names: {', '.join(strange)} is none of the bands of columns, {', '.join(columns)}"
        )
    if limits and not limits[0] < limits[1]:
        raise ValueError(f"limits: expected (brightest, faintest), found {limits}")
    if not 0 <= colour_error_floor < 1:
        raise ValueError(f"colour_error_floor: expected 0 to 1 mag, found {colour_error_floor:g}")
    read = Reader(table, bands, names)

    x = np.stack([read.value(c) for c in columns], axis=-1)
    terms = [read.sources(c) for c in columns]
    sources = {s: (name, sigma) for t in terms for s, (_, name, sigma) in t.items()}
    order = list(sources)
    L = np.array([[t[s][0] if s in t else 0.0 for s in order] for t in terms])
    sigma = np.stack([sigma for _, sigma in sources.values()], axis=-1)
    R = np.tile(np.eye(len(order)), (len(table), 1, 1))
    for a, b in combinations([c for c in ASTROMETRY if c in columns], 2):
        i, j = order.index(a), order.index(b)
        R[:, i, j] = R[:, j, i] = read.correlation(a, b)

    unknown = np.isnan(x) | (np.isnan(sigma) @ (L != 0).T)
    if keep_incomplete:
        missing = {"missing all columns": unknown.all(axis=1)}
        x = np.where(unknown, np.nan, x)
        apart = np.isnan(sigma)[:, :, None] | np.isnan(sigma)[:, None, :]
        R = np.where(apart, np.eye(len(order)), R)
        sigma = np.where(np.isnan(sigma), 1.0, sigma)  # nobody looks at it
    else:
        missing = {f"missing {c}": np.isnan(x[:, i]) for i, c in enumerate(columns)}
        missing |= {f"missing error of {s}": np.isnan(sigma[:, i]) for i, s in enumerate(order)}
    missing |= {"missing correlation": np.isnan(R).any((1, 2))}
    cuts = {}
    if max_ruwe is not None:
        cuts[f"ruwe > {max_ruwe:g} or missing"] = ~(read.value("ruwe") <= max_ruwe)
    if max_excess is not None:
        excess = corrected_excess(read.value("excess factor"), read.value("BP-RP"))
        width = 0.0059898 + 8.817481e-12 * np.abs(read.value("G")) ** 7.618399
        cuts[f"|C*| > {max_excess:g} sigma or missing"] = ~(abs(excess) <= max_excess * width)
    if limits is not None and first is not None:
        m, (lo, hi) = x[:, columns.index(first)], limits
        cuts[f"outside {first} limits [{lo:g}, {hi:g}]"] = ~((m >= lo) & (m <= hi))
    read.raise_absent()

    keep, dropped = np.ones(len(table), bool), []
    for reason, bad in (missing | cuts).items():
        count = int(np.sum(keep & bad))
        if count or reason in cuts:  # a cut that drops nothing stays on record
            dropped.append((reason, count))
        keep &= ~bad
    if not keep.any():
        reasons = "".join(f"\n  {count:8d}  {reason}" for reason, count in dropped)
        raise ValueError(f"no star is left of {len(table)}; dropped were:{reasons}")
    x, sigma, R = x[keep], sigma[keep], R[keep]
    check_noise({s: name for s, (name, _) in sources.items()}, sigma, R)
    check_unique(table, keep, np.concatenate([x, sigma], axis=1))
    if not names:  # those may be dereddened, or absolute magnitudes
        check_bands(read, columns, keep)

    A = L * sigma[:, None, :]
    noise = A @ R @ A.transpose(0, 2, 1)
    colours = [i for i, c in enumerate(columns) if "-" in c]
    noise[:, colours, colours] = np.maximum(noise[:, colours, colours], colour_error_floor**2)
    check_colours(x, noise, columns)
    return Stars(x, noise, columns, np.flatnonzero(keep), tuple(dropped))


def _check_columns(columns: tuple[str, ...]) -> None:
    rows, every = [], sorted({part for c in columns for part in c.split("-")})
    for c in columns:
        a, *b = c.split("-")
        if not all((a, *b)) or len(b) > 1 or (b and {a, *b} & ASTROMETRIC.keys()):
            raise ValueError(
                f"columns: {c!r} is no band as G, no colour as BP-RP, nor one of "
                f"{', '.join(ASTROMETRIC)}"
            )
        rows.append([float(s == a) - float(s in b) for s in every])
    if not columns or np.linalg.matrix_rank(np.array(rows)) < len(columns):
        raise ValueError(
            f"columns: {columns} are none, or one follows from the others and the noise is singular"
        )
