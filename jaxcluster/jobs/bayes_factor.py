"""Is this candidate a cluster? Cluster + field against field alone, on the same stars.

    ln BF = ln Z(cluster + field) − Σ_i ln φ(x_i)

over the same stars, columns and magnitude limits. log₁₀ BF > 2 is the published threshold
(Li, Li & Shao 2025). The field's density φ is estimated from field stars and decides how far the
number can be trusted: its share of the error is given apart, and `Result.flags` says what speaks
against it.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import Table
from jaxtyping import Int, PRNGKeyArray

from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.tables import read_table, source_ids
from jaxcluster.density.keys import as_key
from jaxcluster.density.mixture import AbstractDensity, AbstractMixture, Mixture
from jaxcluster.density.stars import Stars
from jaxcluster.field.density import FieldDensity, fit_field
from jaxcluster.field.mismatch import Mismatch, compare
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.fast import fast
from jaxcluster.inference.model import Model, parameters_of, trace_of
from jaxcluster.inference.posterior import Posterior, Progress
from jaxcluster.jobs.model_files import load_model
from jaxcluster.population.cmd import PopulationDensity

LEAST_STARS = 5


class Result(NamedTuple):
    """A candidate's Bayes factor, posterior and members."""

    log10_bayes_factor: float | None  # None where the sampler gives no evidence
    log10_bayes_factor_error: float | None  # of the sampler
    log10_bayes_factor_field_error: float  # of the field's density, see `standard_error`
    log_evidence_field: float
    posterior: Posterior
    members: dict[str, np.ndarray]  # by star, in the order of `stars`; see `stellar_parameters`
    stars: Stars  # those used, in order of magnitude; `rows` counts the rows of `table`
    table: Table | None  # the sample's, where it was one
    field: FieldDensity
    mismatch: Mismatch  # the field's density at its own stars and at the sample's
    limits: tuple[float, float]
    n_outside: int  # stars of the sample outside the limits
    n_in_field_too: int  # stars of the sample that the field has too
    n_dropped: dict[str, dict[str, int]]  # of sample and field, by reason
    model: Model
    asked: dict[str, Any]  # seed, model, bands and grid
    cpu_seconds: float  # of the whole job, without compiling
    compile_seconds: float

    @property
    def flags(self) -> list[str]:
        """What speaks against the field's density."""
        return [flag for flag in (self.field.flag, *self.mismatch.flags) if flag is not None]

    def summary(self) -> dict[str, Any]:
        """Numbers for a table or JSON: the evidence, parameters, cost and provenance."""
        posterior = self.posterior
        return {
            "log10_bayes_factor": self.log10_bayes_factor,
            "log10_bayes_factor_error": self.log10_bayes_factor_error,
            "log10_bayes_factor_field_error": self.log10_bayes_factor_field_error,
            **posterior.summary(),
            "log_evidence_field": self.log_evidence_field,
            "n_stars": len(self.stars),
            "n_dropped": self.stars.n_dropped + self.n_outside,
            "n_outside_limits": self.n_outside,
            "limits": list(self.limits),
            "n_members": int((self.members["membership"] > 0.5).sum()),
            "n_field": self.field.n_field,
            "field_flag": "; ".join(self.flags) or None,
            "field_gap": self.mismatch.gap,
            "field_gap_error": self.mismatch.gap_error,
            "field_remaining_bias": float(self.field.remaining_bias),
            "cpu_seconds": self.cpu_seconds,
            "compile_seconds": self.compile_seconds,
            "n_dropped_sample": self.n_dropped["sample"],
            "n_dropped_field": self.n_dropped["field"],
            "n_in_field_too": self.n_in_field_too,
            **self.asked,
            **(
                {"why_no_evidence": "NUTS gives no evidence; use --method fast"}
                if self.log10_bayes_factor is None
                else {}
            ),
        }


def default_limits(field: Stars) -> tuple[float, float]:
    """Magnitudes that the field covers; never the sample's own extremes."""
    return float(field.x[:, 0].min()), float(field.x[:, 0].max())


def inside(stars: Stars, limits: tuple[float, float]) -> Int[np.ndarray, " m"]:
    """Which stars are between the limits, in order of magnitude (the kernel skips pairs then)."""
    magnitude = np.asarray(stars.x[:, 0])
    kept = np.flatnonzero((magnitude >= limits[0]) & (magnitude <= limits[1]))
    return kept[np.argsort(magnitude[kept], kind="stable")]


def bayes_factor(
    sample: Any,
    field: Any,
    *,
    columns: Sequence[str] = ("G", "BP-RP"),
    magnitude_column: str | None = None,
    colour_error_floor: float = 0.0,
    max_ruwe: float | None = None,
    max_excess: float | None = None,
    limits: tuple[float, float] | None = None,
    model: str | Callable[..., Model] = "mimo_cmd",
    same_star: Int[np.ndarray, " n"] | None = None,
    sampler: Callable[..., Any] = fast,
    key: PRNGKeyArray | int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Bayes factor of cluster + field against field alone, with posterior and members.

    Args:
        sample: the candidate's stars: a table or its path, or `Stars` of (magnitude, colour).
        field: field stars of the same kind, best from outside the sample.
        columns: magnitude and colour to read from tables.
        magnitude_column: see `from_table`, as the next three.
        colour_error_floor: least error of colours [mag].
        max_ruwe: of tables' stars.
        max_excess: of tables' stars [σ].
        limits: magnitudes (lo, hi) between which sample and field are complete; by default
            those of the field. Both are cut to them.
        model: name or path of a model file, or its function (stars, field=, limits=, **options).
        same_star: for each of `sample` its index in `field`, −1 where it is not in it; a star is
            then left out of the density that it is compared with. Tables say so by `source_id`.
        sampler: `fast`, `nested`, `nuts` (gives no evidence) or one with options filled in.
        key: random key or seed.
        progress: called with lines of text while it runs.
        **options: for the model, such as grid="mist" or prior={"a_v": Normal(0.1, 0.05)}.

    Raises:
        ValueError: fewer than 5 stars inside the limits, different columns, too few field stars.

    Example:
        >>> result = bayes_factor("cluster.parquet", "field.parquet", key=1)  # doctest: +SKIP
        >>> result.log10_bayes_factor  # doctest: +SKIP
    """
    begin, say = time.process_time(), progress or (lambda line: None)
    build = load_model(model) if isinstance(model, str) else model
    reading: dict[str, Any] = {
        "columns": tuple(columns),
        "magnitude_column": magnitude_column,
        "colour_error_floor": colour_error_floor,
        "max_ruwe": max_ruwe,
        "max_excess": max_excess,
    }
    table, stars = read_stars(sample, reading)
    field_table, others = read_stars(field, reading)
    if same_star is None and table is not None and field_table is not None:
        same_star = shared_stars(table, stars, field_table, others)
    if stars.columns != others.columns:
        raise ValueError(
            f"sample has columns {stars.columns}, field {others.columns}: use the same"
        )
    if limits is None:
        limits = default_limits(others)
    n_given, kept = len(stars), inside(stars, limits)
    if len(kept) < LEAST_STARS:
        raise ValueError(
            f"{len(kept)} of {n_given} stars are between the {stars.columns[0]} limits "
            f"{limits[0]:.2f} and {limits[1]:.2f}; a Bayes factor needs at least {LEAST_STARS}. "
            "Widen the limits (--limits LO,HI) or use a field that covers the sample"
        )
    stars = stars[kept]
    field_key, sample_key = jax.random.split(as_key(key))
    say(f"field density from {len(others)} stars")
    density = fit_field(others, limits, n_stars=len(stars), key=field_key)
    at_stars: Callable = density
    if same_star is not None:
        own = jnp.asarray(np.asarray(same_star)[kept])
        at_stars = lambda stars: density.without(stars, own)  # noqa: E731
    built = build(stars, field=at_stars, limits=limits, **options)
    null = _null_of(built)
    posterior = sampler(built, key=sample_key, progress=progress)
    say("members")
    watch = Stopwatch()
    members = {"membership": posterior.memberships.mean(axis=0)}
    members |= stellar_parameters(built, posterior, watch)
    compiling = posterior.compile_seconds + watch.compiling
    evidence = posterior.log_evidence
    ln10 = np.log(10.0)
    scatter = float(np.median(posterior.draws.get("model_scatter", 0.0)))
    # the whole job, reading and field included
    spent = time.process_time() - begin + posterior.resumed_seconds
    return Result(
        log10_bayes_factor=None if evidence is None else float((evidence - null) / ln10),
        log10_bayes_factor_error=(
            None if evidence is None else float(posterior.log_evidence_error / ln10)
        ),
        log10_bayes_factor_field_error=float(
            density.standard_error(stars, members["membership"]) / ln10
        ),
        log_evidence_field=null,
        posterior=posterior,
        members=members,
        stars=stars,
        table=table,
        field=density,
        mismatch=compare(density, stars, float(members["membership"].sum()), scatter),
        limits=limits,
        n_outside=n_given - len(stars),
        n_in_field_too=0 if same_star is None else int((np.asarray(same_star) >= 0).sum()),
        n_dropped={"sample": dict(stars.dropped), "field": dict(others.dropped)},
        model=built,
        asked={
            "seed": key if isinstance(key, int) else str(key),
            "model": model if isinstance(model, str) else getattr(model, "__name__", str(model)),
            "bands": ",".join(stars.columns),
            **({"grid": options["grid"]} if "grid" in options else {}),
        },
        cpu_seconds=spent - compiling,
        compile_seconds=compiling,
    )


def _null_of(model: Model) -> float:
    """Return ln Z of the field alone, of a model that has cluster and field.

    Raises:
        ValueError: it has not, and sampling it would be in vain.
    """
    values = {n: s["value"] for n, s in trace_of(model).items() if s["type"] == "sample"}
    density = jax.eval_shape(lambda v: model.density(parameters_of(model, v)), values)
    if not isinstance(density, AbstractMixture) or model.null is None:
        raise ValueError(
            "model: a Bayes factor needs the log likelihood `null` of the field alone and a "
            f"mixture whose first part is the cluster, such as Mixture([1 − f, f], [cluster, "
            f"field]); found null = {model.null} and {type(density).__name__}. `fit` samples any "
            "model"
        )
    return float(model.null)


def read_stars(source: Any, reading: dict[str, Any]) -> tuple[Table | None, Stars]:
    """Return the table and its stars, or `Stars` as they are; errors name the file."""
    if isinstance(source, Stars):
        return None, source
    table = read_table(source)
    try:
        return table, from_table(table, **reading)
    except ValueError as error:
        named = f"{source}: {error}" if isinstance(source, str | Path) else str(error)
        raise ValueError(named) from error


def shared_stars(
    table: Table, stars: Stars, field_table: Table, field: Stars
) -> Int[np.ndarray, " n"] | None:
    """Index in the field of each star of the sample, by `source_id`; None where none is known.

    Args:
        table: the sample's.
        stars: read from it.
        field_table: the field's.
        field: read from it.

    Returns:
        −1 where a star is not in the field.
    """
    ids, field_ids = source_ids(table), source_ids(field_table)
    if ids is None or field_ids is None:
        return None
    none = (0, "")  # masked ids, as `merge` with outer=True makes them
    index = {identity: i for i, identity in enumerate(field_ids[np.asarray(field.rows)].tolist())}
    own = [
        -1 if identity in none else index.get(identity, -1)
        for identity in ids[np.asarray(stars.rows)].tolist()
    ]
    return np.array(own) if max(own) >= 0 else None


def stellar_parameters(
    model: Model, posterior: Posterior, watch: Stopwatch, n_draws: int = 100
) -> dict[str, np.ndarray]:
    """Mass and mass ratio of each star were it a member, averaged over the posterior.

    From `n_draws` draws, which count by the star's membership in each.

    Returns:
        mass, mass_error [solar], mass_ratio, mass_ratio_error (of a binary), binary_probability;
        NaN where no draw's population reaches the star. Nothing where the cluster is no
        `PopulationDensity`.
    """
    memberships, stars = posterior.memberships, model.stars
    assert memberships is not None
    assert stars is not None
    chosen = np.linspace(0, len(memberships) - 1, n_draws).astype(int)
    probability = memberships[chosen]
    draws = {name: jnp.asarray(values[chosen]) for name, values in posterior.draws.items()}
    filled = stars.filled_up()

    def of(parameters):
        cluster = cluster_of(model.density(parameters))
        if not isinstance(cluster, PopulationDensity):
            return None
        return cluster.stellar_parameters(filled)

    if jax.eval_shape(of, jax.tree.map(lambda a: a[0], draws)) is None:
        return {}
    run = watch.compile(lambda draws: jax.lax.map(of, draws), draws)
    stellar = jax.tree.map(lambda a: a[:, : len(stars)], jax.device_get(run(draws)))

    def average(value, weight):
        weight = np.where(np.isfinite(value), weight, 0.0)
        total = weight.sum(axis=0)
        mean = (weight * np.nan_to_num(value)).sum(axis=0) / np.where(total > 0, total, 1.0)
        return np.where(total > 0, mean, np.nan)

    def moments(mean, square, weight):
        first, second = average(mean, weight), average(square, weight)
        return first, np.sqrt(np.maximum(second - first**2, 0.0))

    mass, mass_error = moments(stellar.mass, stellar.mass2, probability)
    weight = probability * np.nan_to_num(stellar.binary)
    ratio, ratio_error = moments(stellar.mass_ratio, stellar.mass_ratio2, weight)
    return {
        "mass": mass,
        "mass_error": mass_error,
        "binary_probability": average(stellar.binary, probability),
        "mass_ratio": ratio,
        "mass_ratio_error": ratio_error,
    }


def cluster_of(density: AbstractDensity) -> AbstractDensity | None:
    """The first part of a mixture."""
    return density.parts[0] if isinstance(density, Mixture) else None
