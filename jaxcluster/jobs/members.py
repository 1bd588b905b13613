"""From a raw field to a cluster and its members, by extreme deconvolution.

After Peña Ramírez et al. (2022, The VVV Open Cluster Project II): a mixture of ten Gaussians, of
which one, or several together, are the cluster (`cluster_component`), with the membership

    P_i = Σ_cluster w_k N(x_i | μ_k, V_k + S_i) / Σ_k w_k N(x_i | μ_k, V_k + S_i)

and its stability, the share of 200 resamplings of the stars in which P_i > ½.

The paper takes that share for the membership, and the most compact component. Of several that can
be a cluster we take that which adds most to ln L: small clumps beside a cluster
(`benchmarks/members fields` shows them) may be more compact than it.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from astropy.table import MaskedColumn, Table
from jaxtyping import Float, PRNGKeyArray

from jaxcluster import xd
from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.preparation import correct_parallax, cut_outliers
from jaxcluster.catalogue.tables import Reader, add_column, read_table
from jaxcluster.density.keys import as_key
from jaxcluster.density.precision import require_float64
from jaxcluster.density.stars import Stars
from jaxcluster.jobs.members_result import Members
from jaxcluster.xd.bootstrap import bootstrap_mixture
from jaxcluster.xd.cluster_component import Candidate, candidates
from jaxcluster.xd.number_of_components import best_number, compare_components

COLUMNS = ("pmra", "pmdec", "parallax")


def find_members(
    source: object,
    columns: Sequence[str] = COLUMNS,
    *,
    key: PRNGKeyArray | int = 0,
    components: int | range = 10,
    resamplings: int = 200,
    near: tuple[float, float] | None = None,
    zero_point: bool = False,
    cut: float | None = None,
    cut_centre: tuple[float, float] | None = None,
    max_magnitude_error: float | None = None,
    progress: Callable[[str], None] | None = None,
    **options,
) -> Members:
    """Find the cluster in a field.

    Args:
        source: what `read_table` takes: ra, dec and the columns, with errors and correlations.
        columns: pmra, pmdec [mas/yr], and any others of `from_table`; positions are not needed. A
            star that lacks some of them counts with the others.
        key: random key or seed of the starts and the resamplings.
        components: of the mixture, 10 as in the paper; of a range that which describes unseen
            stars best.
        resamplings: of the stars, 0 for none.
        near: (ra, dec) [deg]; of several clusters the one most concentrated there is taken, by
            default that which adds most to ln L.
        zero_point: whether to correct Gaia's parallaxes first (Lindegren et al. 2021).
        cut: stars further off in proper motion than so many robust σ are dropped first.
        cut_centre: what `cut` is about [mas/yr]; the median by default.
        max_magnitude_error: stars with a larger one in any band are dropped first [mag].
        progress: called with a line of text now and then.
        options: of `xd.fit`.

    Raises:
        ValueError: of the table or an argument; the message names file, column or argument.

    Example:
        >>> found = jc.find_members("gaia_field.parquet", key=1)  # doctest: +SKIP
        >>> found.members["membership"]  # doctest: +SKIP
    """
    require_float64()
    if resamplings < 0:
        raise ValueError(f"--bootstrap (resamplings): expected 0 or more, found {resamplings}")
    if cut_centre is not None and cut is None:
        raise ValueError("--cut-centre (cut_centre): is of no use without --cut (cut)")
    try:
        table = read_table(source).copy()
        if zero_point:
            table = correct_parallax(table)
        if cut is not None or max_magnitude_error is not None:
            table = cut_outliers(
                table, centre=cut_centre, n_sigma=cut, max_magnitude_error=max_magnitude_error
            )
        return _find(table, columns, key, components, resamplings, near, progress, options)
    except ValueError as error:
        text = str(error)
        if isinstance(source, str | Path) and not text.startswith(str(source)):
            text = f"{source}: {text}"
        raise ValueError(text) from error


def _find(table, columns, seed, components, resamplings, near, progress, options) -> Members:
    begin, key, comparison = time.process_time(), as_key(seed), None
    stars = from_table(table, tuple(columns), keep_incomplete=True)
    if isinstance(components, range):
        if len(components) > 1:
            compare_key = jax.random.fold_in(key, 1)
            comparison = compare_components(stars, components, key=compare_key, progress=progress)
        components = components.start if comparison is None else best_number(comparison)
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
    membership = np.zeros(len(stars)) if cluster is None else of(cluster)
    _write(table, "membership", stars, membership, "of the cluster (jaxcluster members)")
    resampled = None
    if cluster is not None and resamplings:
        parts = cluster.parts
        resampled = bootstrap_mixture(
            stars, fit.mixture, resamplings, cluster=parts, key=draw_key, progress=progress
        )
    found = Members(
        members=table,
        stars=stars,
        fit=fit,
        ranking=ranking,
        cluster=cluster,
        membership=membership,
        bootstrap=resampled,
        n_resamplings=resamplings,
        comparison=comparison,
        seed=seed if isinstance(seed, int) else str(seed),
        cpu_seconds=time.process_time() - begin,
    )
    if resamplings:
        words = "share of resamplings with membership > 0.5: how sure that verdict is"
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
    add_column(table, name, MaskedColumn(column, description=description))
