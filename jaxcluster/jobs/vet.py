"""One candidate of a catalogue, one row of a table: what `batch` does ten thousand times.

A pure function of stars, field and key. A failure is a row with a status and a message, so that no
candidate ends a run; the columns are the same whatever happens, those of `meta`.
"""

import json
import platform
import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxcluster.catalogue.candidates import Listed
from jaxcluster.catalogue.tables import Reader, read_table, source_ids
from jaxcluster.catalogue.windows import ASTROMETRY
from jaxcluster.density.keys import as_key
from jaxcluster.figures.thumbnail import thumbnail
from jaxcluster.inference.compile import Program, cpu_time
from jaxcluster.inference.fast import fast
from jaxcluster.jobs.bayes_factor import bayes_factor
from jaxcluster.jobs.bayes_factor_result import BayesFactor

if TYPE_CHECKING:
    import pandas as pd

PARAMETERS = (
    *("log_age", "metallicity", "distance_modulus", "a_v", "mass_slope"),
    *("binary_fraction", "field_fraction", "model_scatter"),
    *("distance", "age", "e_bv"),
)
DONE, FAILED = "done", "failed"
TEXTS = (
    "candidate",
    "status",
    "message",
    "method",
    "parallax",
    "isochrones",
    "flags",
    "seed",
    "versions",
    "host",
)
COUNTS = (
    *("n_table", "n_without_astrometry", "n_inside", "n_selected", "n_field_selected"),
    *("n_stars", "n_field", "n_members", "searches", "evaluations", "programs"),
)
NUMBERS = (
    *("log10_bayes_factor", "log10_bayes_factor_total_error", "log10_bayes_factor_error"),
    *("log10_bayes_factor_field_error", "log10_bayes_factor_field_bias"),
    *("log_evidence", "log_evidence_error", "log_evidence_field", "bright", "faint"),
    *("mean_pmra", "mean_pmdec", "mean_parallax"),
    *("ess", "tail_index", "disagreement", "field_gap", "fit_p_value", "fit_misplaced"),
    *("cpu_seconds", "compile_seconds", "memory"),
)
QUANTILES = ("median", "q16", "q84")
UNITS = {
    **{"bright": "mag", "faint": "mag", "cpu_seconds": "s", "compile_seconds": "s", "memory": "GB"},
    **{"mean_pmra": "mas/yr", "mean_pmdec": "mas/yr", "mean_parallax": "mas"},
    **{f"{name}_{q}": unit for name, unit in BayesFactor.units.items() for q in QUANTILES},
}


def meta(parameters: Sequence[str] = PARAMETERS) -> "pd.DataFrame":
    """Return a frame of `vet`'s columns without any row, what Dask and LSDB ask for as `meta`.

    Args:
        parameters: of the model.
    """
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns(parameters).items()})


def columns(parameters: Sequence[str] = PARAMETERS) -> dict[str, str]:
    """Name and pandas' dtype of each column, in order."""
    quantiles = [f"{name}_{q}" for name in parameters for q in QUANTILES]
    return {
        **dict.fromkeys(TEXTS[:3], "object"),
        **dict.fromkeys(COUNTS, "Int64"),
        **dict.fromkeys([*NUMBERS, *quantiles], "float64"),
        **dict.fromkeys(TEXTS[3:], "object"),
        # of each star of the sample, the most probable member first
        **dict.fromkeys(["star", "membership", "cmd_png"], "object"),
    }


def key_of(candidate: str, seed: PRNGKeyArray | int) -> PRNGKeyArray:
    """Fold a name into a key, so that a candidate's numbers do not depend on its row."""
    key = as_key(seed)
    for start in range(0, len(data := candidate.encode()), 4):
        key = jax.random.fold_in(key, int.from_bytes(data[start : start + 4], "little"))
    return key


def vet(
    stars: Any,
    field: Any,
    *,
    key: PRNGKeyArray | int = 0,
    candidate: str = "",
    tolerance: float = 0.1,
    live: int = 400,
    confirm_nulls: bool = False,
    picture: bool = True,
    parameters: Sequence[str] = PARAMETERS,
    **options: Any,
) -> dict[str, Any]:
    """Return a candidate's row: Bayes factor, posterior, members, or why there is none.

    Args:
        stars: the sample: a table, its path, or `Stars` of (magnitude, colour).
        field: field stars of the same kind.
        key: random key or seed.
        candidate: its name.
        tolerance: error of ln Z to reach.
        live: points of nested sampling, where that is needed.
        confirm_nulls: whether a candidate that the field alone explains better has its evidence
            confirmed by a second search, as every other has (`importance`): twice the cost for an
            error of 0.03 in log10 BF where it is 0.1.
        picture: whether to draw a small colour-magnitude diagram, `cmd_png`.
        parameters: of the model, or `derived` from them, whose quantiles are told.
        **options: of `bayes_factor`, such as `model`, and of the model.

    Returns:
        A value of each of `columns`; None or NaN where it has none. `star` is each star's
        source_id, or the row of its table where there is none, `memory` what the process holds
        after it [GB], `programs` the number of large functions that were compiled, or read from
        disk, for it: none where another candidate of the process had the same sizes.

    Example:
        >>> vet("cluster.parquet", "field.parquet", candidate="M 67")["status"]  # doctest: +SKIP
        'done'
    """
    import psutil  # not at import of the package

    begin, before = cpu_time(), Program.made
    row = _empty(candidate, key, parameters)
    sampler = partial(fast, tolerance=tolerance, live=live, confirm_nulls=confirm_nulls)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # they are among the flags
            result = bayes_factor(stars, field, key=key, sampler=sampler, **options)
        row |= _found(result, parameters)
        row["cmd_png"] = thumbnail(result) if picture else None
        row["status"] = DONE
    except Exception as error:  # whatever a candidate's stars do, the others go on
        row["message"] = f"{type(error).__name__}: {error}"
    row["cpu_seconds"] = cpu_time() - begin - (row["compile_seconds"] or 0.0)
    row["programs"] = Program.made - before
    row["memory"] = psutil.Process().memory_info().rss / 1e9
    return row


def vet_candidate(
    candidate: Listed,
    *,
    seed: PRNGKeyArray | int = 0,
    parallax: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Cut a candidate's sample and field out of its table, and return its row.

    Args:
        candidate: of `read_candidates`.
        seed: random key or seed, into which its name is folded.
        parallax: whether the stars' parallaxes count, see `bayes_factor`; the row says how.
        **options: of `vet`.
    """
    try:
        chosen, limits = candidate.cut(), candidate.limits
    except Exception as error:
        row = _empty(candidate.candidate, seed, options.get("parameters", PARAMETERS))
        return row | {"message": f"{type(error).__name__}: {error}"}
    key = key_of(candidate.candidate, seed)
    if limits is not None:
        options["limits"] = limits
    options["parallax"] = parallax and (candidate.parallax_window or True)
    row = vet(chosen.sample, chosen.field, key=key, candidate=candidate.candidate, **options)
    return row | {**chosen.counts, "seed": _in_words(seed)}


def _empty(candidate: str, seed: PRNGKeyArray | int, parameters: Sequence[str]) -> dict[str, Any]:
    """The row of a candidate that has failed."""
    row: dict[str, Any] = dict.fromkeys(columns(parameters))
    known = {"candidate": candidate, "seed": _in_words(seed), "host": platform.node()}
    return row | known | {"status": FAILED}


def _in_words(seed: PRNGKeyArray | int) -> str:
    return str(seed if isinstance(seed, int) else np.asarray(jax.random.key_data(seed)).tolist())


def _found(result: BayesFactor, parameters: Sequence[str]) -> dict[str, Any]:
    """What of the row is in the result."""
    summary = result.summary()
    row = {name: summary[name] for name in (*COUNTS, *NUMBERS) if name in summary}
    row["bright"], row["faint"] = summary["limits"]
    known = {**summary["parameters"], **summary["derived"]}
    lacking = [name for name in parameters if name not in known]
    if lacking and tuple(parameters) != PARAMETERS:  # those that nobody asked for may lack
        raise ValueError(
            f"parameters: the model has no {', '.join(lacking)}; its are {', '.join(known)}"
        )
    for name in parameters:
        quantiles = known.get(name, {})
        row |= {f"{name}_{q}": quantiles.get(q) for q in QUANTILES}
    row |= {name: summary[name] for name in ("method", "parallax", "isochrones")}
    said = [f"{name}: {flag}" for name, every in result.flagged.items() for flag in every]
    row["flags"] = "; ".join(said) or None
    row["versions"] = json.dumps(summary["versions"])
    table, membership = result.members, np.asarray(result.members["membership"], float)
    order = np.argsort(-membership, kind="stable")
    ids = source_ids(table)
    star = np.asarray(result.stars.rows) if ids is None else ids
    row["star"], row["membership"] = star[order].tolist(), membership[order].round(5).tolist()
    return row | _means(table, membership)


def _means(table: Any, membership: np.ndarray) -> dict[str, float]:
    """Mean proper motion and parallax of the members, of what the table has."""
    read = Reader(read_table(table))
    found = {f"mean_{name}": _mean(read, name, membership) for name in ASTROMETRY}
    return {name: each for name, each in found.items() if each is not None}


def _mean(read: Reader, name: str, membership: np.ndarray) -> float | None:
    """Mean by membership and each star's error; None where nothing is known."""
    if read.column(name) is None or (found := read.error(name)) is None:
        return None
    values, weight = read.value(name), membership * found[1] ** -2.0
    known = np.isfinite(values * weight)
    if not weight[known].sum() > 0:
        return None
    return float(np.average(values[known], weights=weight[known]))
