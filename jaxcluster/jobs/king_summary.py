"""What the posterior of a profile says in numbers: quantiles, limits where the prior ends, odds.

A posterior that has not fallen off where its prior ends says no more than "at least so much": a
tidal radius beyond the footprint, a core that is too small to be seen. Such a number is given as a
limit, and not as a median that the prior has chosen.
"""

import math
from typing import Any

import numpy as np

from jaxcluster.inference.model import trace_of
from jaxcluster.inference.posterior import HEAVIEST
from jaxcluster.jobs.king_fit import Found
from jaxcluster.structure.profiles import PROFILES, parameters_of
from jaxcluster.structure.shape import about_mean

LEVEL = 0.95  # of a limit
BINS = 10  # of the prior's probability
FALLEN = 0.05  # of its highest density: a posterior that is lower at the end of its prior has ended
SIDES = ("lower", "upper")
# what inherits a limit: a larger tidal radius is a larger cluster
FOLLOWS = {"r_tidal": ("concentration", "n_cluster"), "gamma": ()}
ORDER = (  # after the profile's own
    "beta",
    "n_inside",
    "n_cluster",
    "central_density",
    "background_density",
    "density_contrast",
    "concentration",
    "ellipticity",
    "position_angle",
    "x_centre",
    "y_centre",
    "gradient",
)


def limits(found: Found) -> dict[str, str]:
    """Parameters that the data bound on one side only: "lower" or "upper" limits, by name.

    The density of the draws relative to their prior's, in tenths of the prior's probability: where
    that of the last tenth is more than 5 % of the highest, the value is a lower limit; where that
    of the first is, an upper one. Both together: the data say nothing, and that is "no" limit.
    """
    sites, draws = trace_of(found.model.prior), found.draws
    bounded = {}
    for name in _free(found):
        share = np.asarray(sites[name]["fn"].cdf(draws[name]))
        counts, _ = np.histogram(share, BINS, (0.0, 1.0))
        first, last = counts[[0, -1]] > FALLEN * counts.max()
        if first or last:
            bounded[name] = "no" if first and last else SIDES[int(first)]
            for other in FOLLOWS.get(name, ()):
                if other in draws:
                    bounded[other] = bounded[name]
    return bounded


def _free(found: Found) -> list[str]:
    return [p.name for p in parameters_of(found.profile, found.beta)]


def table_of(found: Found) -> dict[str, dict[str, Any]]:
    """Median, 16 and 84 % quantiles of each parameter; None where there is a limit instead.

    A limit is `lower_limit` or `upper_limit`, of 95 % probability. A tidal radius that is bounded,
    but mostly outside the footprint, has both. Angles are about their mean.
    """
    bounded = limits(found)
    table: dict[str, dict[str, Any]] = {}
    order = [*(p.name for p in PROFILES[found.profile].parameters), *ORDER]
    for name, draws in sorted(found.draws.items(), key=lambda item: order.index(item[0])):
        if name == "position_angle":
            draws = about_mean(draws)
        columns = (
            {name: draws}
            if draws.ndim == 1
            else {f"{name}[{i}]": column for i, column in enumerate(draws.T)}
        )
        for key, values in columns.items():
            table[key] = _row(values, bounded.get(name))
    if beyond(found, bounded):
        table["r_tidal"]["lower_limit"] = float(np.quantile(found.draws["r_tidal"], 1.0 - LEVEL))
    return table


def beyond(found: Found, bounded: dict[str, str]) -> bool:
    """Whether most of the posterior of r_t, though bounded, lies outside the footprint."""
    tidal = found.draws.get("r_tidal")
    if tidal is None or "r_tidal" in bounded:
        return False
    return bool(np.median(tidal) > found.field.footprint.radius)


def _row(draws, bounded):
    if bounded is not None or not np.isfinite(draws).all():
        row: dict[str, Any] = dict.fromkeys(("median", "q16", "q84"))
        finite = np.isfinite(draws).all()
        if bounded in SIDES and finite:
            share = 1.0 - LEVEL if bounded == "lower" else LEVEL
            row[f"{bounded}_limit"] = float(np.quantile(draws, share))
        return row
    low, middle, high = np.quantile(draws, [0.16, 0.5, 0.84])
    return {"median": float(middle), "q16": float(low), "q84": float(high)}


def warnings_of(results: list[Found]) -> list[str]:
    """What a reader must know before the numbers of the first profile are used."""
    found, others = results[0], results[1:]
    said, radius = [], found.field.radius
    bounded = limits(found)
    for name, side in bounded.items():
        if name not in _free(found):
            continue
        if side == "no":
            said.append(f"{name}: the data do not tell; the posterior is as wide as the prior")
            continue
        value = np.quantile(found.draws[name], 1.0 - LEVEL if side == "lower" else LEVEL)
        unit = " arcmin" if name.startswith("r_") else ""
        sign, end = (">", "upper") if side == "lower" else ("<", "lower")
        why = ""
        if name == "r_core" and side == "lower":
            why = (
                ": what is described is as wide as the footprint, structure of the field perhaps; "
                "select stars by proper motion and parallax first, such as with `members`"
            )
        if name == "r_tidal":
            why = (
                f": the edge is not seen inside the footprint of {radius:.4g} arcmin, or is lost "
                "in the background"
            )
        said.append(
            f"{name} {sign} {value:.3g}{unit} is a {side} limit (95 %), the posterior goes on to "
            f"the {end} end of its prior{why}"
        )
    if beyond(found, bounded):
        tidal = found.draws["r_tidal"]
        share = 100 * (tidal > found.field.footprint.radius).mean()
        said.append(
            f"r_tidal > {np.quantile(tidal, 1.0 - LEVEL):.3g} arcmin is a lower limit (95 %): "
            f"{share:.0f} % of the posterior lie beyond the footprint of {radius:.4g} arcmin, and "
            "its median assumes that the profile keeps its form there"
        )
    if (empty := empty_edge(found)) > 0:
        said.append(
            f"--radius: the outer {empty:.0f} arcmin² of the footprint have no stars, and just "
            "inside there are many; if the table ends there, take a smaller radius"
        )
    if not np.isfinite(found.draws["n_cluster"]).all():
        said.append(
            "n_cluster: the whole profile holds infinitely many stars; n_inside counts those in "
            "the footprint"
        )
    posterior, uniform = found.posterior, uniform_of(found)
    value = posterior.log_evidence
    if value is not None and value < uniform + math.log(100):
        said.append(
            f"no cluster for sure: ln Z = {value:.1f}, that of a uniform field {uniform:.1f}"
        )
    if (heavy := posterior.quality.get("tail_index", 0.0)) > HEAVIEST:
        said.append(
            f"tails: the weights of the posterior's draws have Pareto k = {heavy:.2f}, more than "
            f"{HEAVIEST}; 95 % intervals may be too narrow, --method nuts or nested knows better"
        )
    if why := posterior.fallback:
        said.append(f"nested sampling was needed: {why}")
    if value is not None and others:
        best = max(others, key=lambda one: _evidence(one)[0])
        if (more := _evidence(best)[0] - value) > math.log(100):
            said.append(
                f"{best.profile}{'' if best.beta is None else f', beta {best.beta}'} "
                f"describes the stars better, by {more:.1f} in ln Z"
            )
        if found.field.weights is not None:
            said.append(
                "weights make ln L that of fewer stars, not of the data: Bayes factors are a guide"
            )
    return said


def empty_edge(found: Found) -> float:
    """Area of the footprint outside the stars' convex hull [arcmin²], 0 where that is no wonder.

    At the density of the outer half of the largest circle in the hull, whatever the fit says: it
    may take the table's end for that of the cluster. Of n uniform stars in a circle 3.4 n^⅓ would
    lie outside the hull of as many others (Rényi & Sulanke 1963); three times that number is
    allowed, and ten.
    """
    from scipy.spatial import ConvexHull

    footprint, x = found.field.footprint, found.field.x
    hull, away = ConvexHull(x), np.hypot(*x.T)
    outside = np.pi * footprint.radius**2 - hull.volume
    edge = -float(hull.equations[:, -1].max())
    outer = ((away > edge * 0.5**0.5) & (away < edge)).sum()
    stars = outside * outer / (0.5 * np.pi * edge**2)
    return outside if stars > 10 + 10 * len(x) ** (1 / 3) else 0.0


def _evidence(found: Found) -> tuple[float, float]:
    posterior = found.posterior
    assert posterior.log_evidence is not None
    assert posterior.log_evidence_error is not None
    return posterior.log_evidence, posterior.log_evidence_error


def uniform_of(found: Found) -> float:
    """Return ln Z of the same stars without a cluster."""
    assert found.model.null is not None
    return float(found.model.null)


def comparison(results: list[Found]) -> list[dict[str, Any]]:
    """Return ln Z of each profile and of a uniform field, Bayes factors to the best, best first."""
    rows: list[dict[str, Any]] = [
        {"profile": "uniform", "beta": None, "log_evidence": uniform_of(results[0])}
    ]
    rows[0]["log_evidence_error"] = 0.0
    for one in results:
        value, error = _evidence(one)
        beta = 2 if one.profile == "king62" else one.beta
        shape = {"profile": one.profile, "beta": beta}
        rows.append({**shape, "log_evidence": value, "log_evidence_error": error})
    rows.sort(key=lambda row: -row["log_evidence"])
    for row in rows:
        row["log_bayes_factor"] = row["log_evidence"] - rows[0]["log_evidence"]
        row["log10_bayes_factor"] = row["log_bayes_factor"] / math.log(10)
    return rows
