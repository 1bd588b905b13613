"""One row for a cluster: where it is, how it moves, how wide it is; rows of many stack to a table.

Of each column of the mixture: mean and intrinsic dispersion of the cluster's components, their
errors from the resamplings; of the stars with P ≥ 0.9 the median, the median absolute deviation
times 1.4826 (what noise and dispersion make together), and the mean weighted by 1 / (σ² +
dispersion²).
"""

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from jaxcluster.catalogue.sky import middle
from jaxcluster.catalogue.tables import UNITS, Reader
from jaxcluster.xd.cluster_component import SURE, moments

if TYPE_CHECKING:
    from jaxcluster.jobs.members_result import Members


def cluster_row(found: "Members") -> dict[str, float | int | None] | None:
    """Return the row of a field's cluster, None where there is none.

    Position [deg], `r50` [arcmin], half the sure members' distance from it; entropy, contrast and
    the expected number of members Σ P.
    """
    if (cluster := found.cluster) is None:
        return None
    stars, boot = found.stars, found.bootstrap
    sure = found.membership >= SURE
    if not sure.any():
        sure = found.membership >= min(0.5, found.membership.max())
    read = Reader(found.members)
    ra, dec = (read.value(c)[np.asarray(stars.rows)][sure] for c in ("ra", "dec"))
    read.raise_absent()
    centre = middle(ra, dec)
    points: Any = SkyCoord(ra, dec, unit="deg")
    away = points.separation(SkyCoord(*centre, unit="deg")).arcmin
    row: dict[str, float | int | None] = {
        "ra": centre[0],
        "dec": centre[1],
        "r50": float(np.median(away)),
        "n_members": int((found.membership >= SURE).sum()),
        "n_expected": float(found.membership.sum()),
        "entropy": cluster.entropy,
        "contrast": cluster.contrast,
    }
    mean, cov = moments(found.fit.mixture, cluster.parts)
    means, covs = (None, None) if boot is None else moments(boot.mixtures, cluster.parts)
    for a, name in enumerate(stars.columns):
        measured = sure & np.isfinite(stars.x[:, a])
        x, variance = np.asarray(stars.x)[measured, a], np.asarray(stars.noise)[measured, a, a]
        weights = 1.0 / (variance + cov[a, a])
        row |= {
            name: float(mean[a]),
            f"{name}_error": None,
            f"{name}_dispersion": float(np.sqrt(cov[a, a])),
            f"{name}_dispersion_error": None,
            f"{name}_median": float(np.median(x)),
            f"{name}_mad": float(1.4826 * np.median(abs(x - np.median(x)))),
            f"{name}_weighted": float(np.average(x, weights=weights)),
            f"{name}_weighted_error": float(weights.sum() ** -0.5),
        }
        if means is not None and covs is not None:
            row[f"{name}_error"] = float(np.std(means[:, a]))
            row[f"{name}_dispersion_error"] = float(np.std(np.sqrt(covs[:, a, a])))
    return row


def stack(rows: dict[str, dict]) -> Table:
    """Return a table of clusters by name, with units, from rows of the same columns."""
    names = list(dict.fromkeys(n for row in rows.values() for n in row))
    table: Any = Table({"cluster": list(rows)})
    for name in names:
        values = [row.get(name) for row in rows.values()]
        table[name] = np.array([np.nan if v is None else v for v in values])
        if (base := name.split("_")[0]) in UNITS and name != "n_members":
            table[name].unit = UNITS[base]
    if "r50" in names:
        table["r50"].unit = u.arcmin
    return table
