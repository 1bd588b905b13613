"""Are the bright stars of a cluster nearer to its centre, or to each other, than the others?

Half radii hold half of a cluster's members, or of their light,

    Σ_{r_i < r₅₀} w_i l_i = ½ Σ w_i l_i,     l_i = 1, or 10^(−0.4 m_i)

w_i the memberships; of all stars or by bins of magnitude. The segregation ratio needs no centre
(Allison et al. 2009, MNRAS 395, 1449, eq. 1): with l the length of the minimum spanning tree,

    Λ = ⟨l_random⟩/l_bright ± σ_random/l_bright

of the n brightest members and of many sets of n among the same members. Λ > 1: they are nearer to
each other. Magnitude stands for mass: binaries, giants and crowding, which hides faint stars in the
middle, all look like segregation.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from jaxcluster.structure.positions import LEAST, as_weights, positions
from jaxcluster.structure.spanning_tree import tree_length

RESAMPLINGS, SETS = 500, 500
MEMBER = 0.5  # probability


class HalfRadius(NamedTuple):
    """Radius that holds half, with its error by the bootstrap [arcmin]."""

    value: float
    error: float
    low: float  # 16 %
    high: float  # 84 %


def half_radius(
    x: Float[np.ndarray, "n 2"],
    *,
    rng: np.random.Generator,
    centre: tuple[float, float] | Float[np.ndarray, "2"] = (0.0, 0.0),
    weights: Float[np.ndarray, " n"] | None = None,
    magnitudes: Float[np.ndarray, " n"] | None = None,
    resamplings: int = RESAMPLINGS,
) -> HalfRadius:
    """Half-number radius, or half-light radius where magnitudes are given.

    Where field stars are left among the members and the footprint is wide, it is theirs: take
    weights from the joint model of position and astrometry (`joint_membership`). Of light it is
    often that of a few giants, and its error is large.

    Args:
        x: positions [arcmin].
        rng: of the resamplings.
        centre: about which [arcmin]; it is held fixed.
        weights: memberships, 1 by default.
        magnitudes: [mag], of one band.
        resamplings: of the stars.

    Raises:
        ValueError: from `positions` and `as_weights`, or magnitudes that are none.
    """
    x = positions(x)
    w = as_weights(weights, len(x))
    if magnitudes is not None:
        m = _magnitudes(magnitudes, len(x))
        w = w * 10.0 ** (-0.4 * (m - m.min()))
    away = np.hypot(*(x - np.asarray(centre, float)).T)
    order = np.argsort(away)
    away, w, n = away[order], w[order], len(x)
    resampled = []
    for _ in range(resamplings):
        counts = np.bincount(rng.integers(0, n, n), minlength=n)
        if (counts * w).sum() > 0:
            resampled.append(_half(away, counts * w))
    low, high = np.quantile(resampled, [0.16, 0.84])
    return HalfRadius(_half(away, w), float(np.std(resampled)), float(low), float(high))


def _half(away, w):
    """Weighted median of sorted radii, that of numpy where the weights are equal."""
    some = w > 0
    away, w = away[some], w[some]
    return float(np.interp(0.5 * w.sum(), np.cumsum(w) - 0.5 * w, away))


def radii_by_magnitude(
    x: Float[np.ndarray, "n 2"],
    magnitudes: Float[np.ndarray, " n"],
    *,
    rng: np.random.Generator,
    bins: int | Float[np.ndarray, " k"] = 5,
    centre: tuple[float, float] | Float[np.ndarray, "2"] = (0.0, 0.0),
    weights: Float[np.ndarray, " n"] | None = None,
    resamplings: int = RESAMPLINGS,
) -> Table:
    """Half-number radius of the stars in each bin of magnitude.

    Columns bright, faint [mag], n (stars), expected (Σw), r50, error, low, high [arcmin]; NaN in
    bins of fewer than 10 stars.

    Args:
        x: positions [arcmin].
        magnitudes: [mag].
        rng: of the resamplings.
        bins: edges [mag], ascending, or how many bins of equal Σw.
        centre: about which [arcmin].
        weights: memberships, 1 by default.
        resamplings: of the stars.

    Raises:
        ValueError: as from `half_radius`, or edges that do not ascend.
    """
    x = positions(x)
    m, w = _magnitudes(magnitudes, len(x)), as_weights(weights, len(x))
    if isinstance(bins, int):
        order = np.argsort(m)
        share = (np.cumsum(w[order]) - 0.5 * w[order]) / w.sum()
        edges = np.interp(np.linspace(0, 1, bins + 1), share, m[order])
        edges[-1] = np.nextafter(m.max(), np.inf)
    else:
        edges = np.asarray(bins, float)
    if not (len(edges) > 1 and (np.diff(edges) > 0).all()):
        raise ValueError(
            f"bins: found edges {edges}, expected ascending magnitudes; take fewer bins, or give "
            "the edges"
        )
    rows: list[dict[str, float]] = []
    for bright, faint in pairwise(edges):
        here = (m >= bright) & (m < faint)
        row = {"bright": bright, "faint": faint, "n": int(here.sum()), "expected": w[here].sum()}
        half = HalfRadius(*4 * [np.nan])
        if (here & (w > 0)).sum() >= LEAST and np.ptp(x[here], axis=0).max() > 0:
            options = {"centre": centre, "weights": w[here], "resamplings": resamplings}
            half = half_radius(x[here], rng=rng, **options)
        rows.append(row | {"r50": half.value} | dict(list(half._asdict().items())[1:]))
    table: Any = Table(rows)
    for name, unit in (("bright", "mag"), ("faint", "mag"), *((c, "arcmin") for c in _RADII)):
        table[name].unit = unit
    return table


_RADII = ("r50", "error", "low", "high")


def segregation_ratio(
    x: Float[np.ndarray, "n 2"],
    magnitudes: Float[np.ndarray, " n"],
    *,
    rng: np.random.Generator,
    numbers: tuple[int, ...] = (10, 20, 50, 100, 200),
    weights: Float[np.ndarray, " n"] | None = None,
    sets: int = SETS,
) -> Table:
    """Λ of the n brightest members, for some n.

    Columns n, faint (magnitude of the faintest of them), ratio (Λ), error (σ_random/l_bright), low
    and high (Λ with the 16 and 84 % quantile of l_random), chance (the share of the random sets
    with a tree as short).

    Args:
        x: positions [arcmin].
        magnitudes: [mag].
        rng: of the random sets.
        numbers: n; those of half of the members and more are left out.
        weights: memberships: bright stars and random sets are both of those of 0.5 and more, each
            as likely as the next. Random sets from all stars by weight reach farther out than any
            star that counts as a member, and a cluster without segregation had Λ(50) = 1.46.
        sets: random sets for each n.

    Raises:
        ValueError: fewer than 10 members, no n that is small enough, or as from `half_radius`.
    """
    x = positions(x)
    m, w = _magnitudes(magnitudes, len(x)), as_weights(weights, len(x))
    members = np.flatnonzero(w >= MEMBER) if weights is not None else np.arange(len(x))
    positions(x[members], "x of the stars with a weight of 0.5 or more")
    chosen = [n for n in numbers if 2 <= n <= len(members) / 2]
    if not chosen:
        raise ValueError(
            f"numbers: found {numbers}, expected some from 2 to {len(members) // 2}, half of the "
            f"{len(members)} members"
        )
    ranked = members[np.argsort(m[members], kind="stable")]
    rows = []
    for n in chosen:
        bright = tree_length(x[ranked[:n]])
        if bright == 0:
            raise ValueError(
                f"x: the {n} brightest stars are at one place, which gives no ratio; expected "
                "single stars, so look for one source in several rows"
            )
        draws = [rng.choice(members, n, replace=False) for _ in range(sets)]
        lengths = np.array([tree_length(x[draw]) for draw in draws])
        low, high = np.quantile(lengths, [0.16, 0.84]) / bright
        rows.append(
            {
                "n": n,
                "faint": m[ranked[n - 1]],
                "ratio": lengths.mean() / bright,
                "error": lengths.std() / bright,
                "low": low,
                "high": high,
                "chance": (lengths <= bright).mean(),
            }
        )
    table: Any = Table(rows)
    table["faint"].unit = "mag"
    return table


def _magnitudes(magnitudes, n):
    m = np.asarray(magnitudes, float)
    if m.shape != (n,):
        raise ValueError(f"magnitudes: found shape {m.shape}, expected [{n}], one for each star")
    if not np.isfinite(m).any():
        raise ValueError(
            f"magnitudes: none of {n} is finite, expected some in mag; name the right column"
        )
    if bad := int((~np.isfinite(m)).sum()):
        raise ValueError(f"magnitudes: {bad} of {n} are not finite; drop those stars")
    return m
