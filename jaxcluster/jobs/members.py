"""From a raw field to a cluster and its members, by extreme deconvolution.

After Peña Ramírez et al. (2022, The VVV Open Cluster Project II): a mixture of ten Gaussians, of
which one, or several together, are the cluster (`cluster_component`), with the probability

    P_i = Σ_cluster w_k N(x_i | μ_k, V_k + S_i) / Σ_k w_k N(x_i | μ_k, V_k + S_i)

and its stability, the share of 200 resamplings of the stars in which P_i > ½.

The paper takes that share for the membership, and the most compact component. Of several that can
be a cluster we take that which adds most to ln L: small clumps beside a cluster
(`benchmarks/members fields` shows them) may be more compact than it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from astropy.table import MaskedColumn, Table
from jaxtyping import Float, PRNGKeyArray

from jaxcluster import xd
from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.tables import Reader, read_table
from jaxcluster.density.stars import Stars
from jaxcluster.xd.bootstrap import Bootstrap, bootstrap_mixture
from jaxcluster.xd.cluster_component import Candidate, candidates

COLUMNS = ("pmra", "pmdec", "parallax")


class Members(NamedTuple):
    """A field taken apart.

    Args:
        table: all rows of the source with `probability` and, if asked for, `stability`;
            masked for stars without any of the columns used.
        stars: those that were used.
        fit: the mixture.
        ranking: its components, the most compact first.
        cluster: of those that nothing speaks against the one that adds most to ln L, or None.
        probability: of each of `stars`, 0 where there is no cluster.
        bootstrap: resamplings, or None.
    """

    table: Table
    stars: Stars
    fit: xd.Fit
    ranking: list[Candidate]
    cluster: Candidate | None
    probability: Float[np.ndarray, " n"]
    bootstrap: Bootstrap | None

    @property
    def stability(self) -> Float[np.ndarray, " n"]:
        """Share of the resamplings in which each of `stars` is of the cluster (P > ½).

        It says how sure it is on which side of ½ the probability lies, and is no probability.
        """
        if self.bootstrap is None or self.cluster is None:
            return np.zeros(len(self.stars))
        return self.bootstrap.stability


def find_members(
    source: object,
    columns: tuple[str, ...] = COLUMNS,
    *,
    key: PRNGKeyArray,
    components: int = 10,
    resamplings: int = 200,
    near: tuple[float, float] | None = None,
    progress: Callable[[str], None] | None = None,
    **options,
) -> Members:
    """Find the cluster in a field.

    Args:
        source: what `read_table` takes: ra, dec and the columns, with errors and correlations.
        columns: pmra, pmdec [mas/yr], and any others of `from_table`; positions are not needed. A
            star that lacks some of them counts with the others.
        key: random key of the starts and the resamplings.
        components: of the mixture; 10 as in the paper.
        resamplings: of the stars, 0 for none.
        near: (ra, dec) [deg]; of several clusters the one most concentrated there is taken, by
            default that which adds most to ln L.
        progress: called with a line of text now and then.
        options: of `xd.fit`.

    Raises:
        ValueError: from `read_table`, `from_table` and `xd.fit`.
    """
    table = read_table(source).copy()
    stars = from_table(table, columns, keep_incomplete=True)
    fit_key, draw_key = jax.random.split(key)
    if progress is not None:
        progress(f"{components} components for {len(stars)} stars")
    fit = xd.fit(stars, components, key=fit_key, **options)
    ranking = candidates(fit.mixture, stars)
    belongs = xd.membership(stars, fit.mixture)

    def of(one: Candidate):
        return belongs[:, list(one.parts)].sum(axis=1)

    good = [one for one in ranking if not one.refused]
    if near is not None and good:
        distance = _distance(table, stars, near)
        good.sort(key=lambda one: np.average(distance, weights=of(one)))
    elif good:
        good.sort(key=lambda one: -one.gain)
    cluster = good[0] if good else None
    probability = np.zeros(len(stars)) if cluster is None else of(cluster)
    resampled = None
    if cluster is not None and resamplings:
        resampled = bootstrap_mixture(
            stars,
            fit.mixture,
            resamplings,
            cluster=cluster.parts,
            key=draw_key,
            progress=progress,
        )
    found = Members(table, stars, fit, ranking, cluster, probability, resampled)
    _write(table, "probability", stars, probability, "of the cluster (jaxcluster members)")
    if resamplings:
        words = "share of resamplings with probability > 0.5: how sure that verdict is"
        _write(table, "stability", stars, found.stability, words)
    return found


def _distance(table: Table, stars: Stars, near) -> Float[np.ndarray, " n"]:
    """Distance of each star from a position [arcmin]."""
    from astropy.coordinates import SkyCoord  # late: nothing else of the package's import needs it

    read = Reader(table)
    ra, dec = (read.value(c)[np.asarray(stars.rows)] for c in ("ra", "dec"))
    read.raise_absent()
    centre = SkyCoord(*near, unit="deg")
    points: Any = SkyCoord(ra, dec, unit="deg")
    return points.separation(centre).arcmin


def _write(table: Table, name: str, stars: Stars, values, description: str) -> None:
    column = np.ma.masked_all(len(table))
    column[np.asarray(stars.rows)] = values
    table[name] = MaskedColumn(column, description=description)
