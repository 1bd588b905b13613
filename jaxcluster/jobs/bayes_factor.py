"""Is this candidate a cluster? Cluster + field against field alone, on the same stars.

    ln BF = ln Z(cluster + field) − Σ_i ln φ(x_i)

over the same stars, columns and magnitude limits. log₁₀ BF > 2 is the published threshold
(Li, Li & Shao 2025). The field's density φ is estimated from field stars and decides how far the
number can be trusted: its share of the error is given apart, and `BayesFactor.flags` says what
speaks against it.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Int, PRNGKeyArray

from jaxcluster.catalogue.windows import ParallaxWindow
from jaxcluster.density.keys import as_key, generator
from jaxcluster.density.mixture import AbstractMixture
from jaxcluster.density.precision import require_float64
from jaxcluster.field.density import fit_field, require_finite_columns
from jaxcluster.field.error import field_error
from jaxcluster.field.mismatch import compare
from jaxcluster.inference.compile import Stopwatch, cpu_time
from jaxcluster.inference.fast import fast
from jaxcluster.inference.model import Model, Prior, parameters_of, trace_of
from jaxcluster.inference.posterior import Progress
from jaxcluster.inference.tracing import Recent, structure
from jaxcluster.jobs.bayes_factor_result import BayesFactor
from jaxcluster.jobs.goodness_of_fit import goodness_of_fit
from jaxcluster.jobs.inputs import default_limits, inside, members_table, read_stars, shared_stars
from jaxcluster.jobs.model_files import load_model
from jaxcluster.jobs.parallaxes import Told, told_of_parallaxes
from jaxcluster.jobs.plausible import input_oddities, parallax_oddities
from jaxcluster.jobs.stellar import populations, stellar_parameters
from jaxcluster.population.colour_error import NAMES, learnt_of, load_colour_error

_kinds = Recent()  # of densities, by the structure of their models
LEAST_STARS = 5


def bayes_factor(
    sample: Any,
    field: Any,
    *,
    columns: Sequence[str] = ("G", "BP-RP"),
    names: Mapping[str, str] | None = None,
    colour_error_floor: float = 0.0,
    max_ruwe: float | None = None,
    max_excess: float | None = None,
    limits: tuple[float, float] | None = None,
    model: str | Callable[..., Model] = "mimo_cmd",
    parallax: ParallaxWindow | bool = True,
    same_star: Int[np.ndarray, " n"] | None = None,
    sampler: Callable[..., Any] = fast,
    key: PRNGKeyArray | int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> BayesFactor:
    """Bayes factor of cluster + field against field alone, with posterior and members.

    Args:
        sample: the candidate's stars: a table or its path, or `Stars` of (magnitude, colours).
        field: field stars of the same kind, best from outside the sample.
        columns: magnitude and colours to read from tables.
        names: see `from_table`, as the next three.
        colour_error_floor: least error of colours [mag].
        max_ruwe: of tables' stars.
        max_excess: of tables' stars [σ].
        limits: magnitudes (lo, hi) between which sample and field are complete; by default
            those of the field. Both are cut to them.
        model: name or path of a model file, or its function (stars, field=, limits=, **options).
        parallax: whether tables' parallaxes count, where the model takes them: those of each star
            where it is the window that sample and field were cut to, else as a prior of the
            distance modulus from the sample's median (see `jaxcluster.jobs.parallaxes`). The
            result's `parallax` says what was done.
        same_star: for each of `sample` its index in `field`, −1 where it is not in it; a star is
            then left out of the density that it is compared with. By default those of equal
            `source_id`, or of equal values where there is none.
        sampler: `fast`, `nested`, `nuts` (gives no evidence) or one with options filled in.
        key: random key or seed.
        progress: called with lines of text while it runs.
        **options: for the model, such as grid="mist" or prior={"a_v": Normal(0.1, 0.05)}.

    Raises:
        ValueError: fewer than 5 stars inside the limits, different columns, too few field stars,
            none of which is outside the sample.

    Warns:
        UserWarning: what is odd about sample and field, see `jaxcluster.jobs.plausible`; the
            result's `oddities` has it too.

    Example:
        >>> result = bayes_factor("cluster.parquet", "field.parquet", key=1)  # doctest: +SKIP
        >>> result.log10_bayes_factor  # doctest: +SKIP
    """
    require_float64()
    begin, say = cpu_time(), progress or (lambda line: None)
    build = load_model(model) if isinstance(model, str) else model
    reading: dict[str, Any] = {
        "columns": tuple(columns),
        "names": names,
        "colour_error_floor": colour_error_floor,
        "max_ruwe": max_ruwe,
        "max_excess": max_excess,
    }
    table, stars = read_stars(sample, reading)
    field_table, others = read_stars(field, reading)
    if stars.columns != others.columns:
        raise ValueError(
            f"sample has columns {stars.columns}, field {others.columns}: use the same"
        )
    for each in (stars, others):
        require_finite_columns(each)
    if same_star is None:
        same_star = shared_stars(table, stars, field_table, others)
    oddities = input_oddities(stars, others, same_star, colour_error_floor)
    for sentence in oddities:
        warnings.warn(sentence, stacklevel=2)
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
    own = None if same_star is None else np.asarray(same_star)[kept]
    log_field = density(stars) if own is None else density.without(stars, jnp.asarray(own))
    told = Told("not used: nobody asked for them")
    if parallax is not False:
        window = parallax if isinstance(parallax, ParallaxWindow) else None
        near = field_table, others[inside(others, limits)]
        told = told_of_parallaxes(build, (table, stars), near, window, options.get("prior"))
        options = {**options, **told.options}
    built = build(stars, field=lambda stars: log_field, limits=limits, **options)
    null = _null_of(built)
    isochrones, systematic = _told_of_isochrones(build, options, stars.columns)
    posterior = sampler(built, key=sample_key, progress=progress)
    say("members")
    watch, memberships = Stopwatch(), posterior.memberships
    assert memberships is not None
    found = {"membership": memberships.mean(axis=0)}
    drawn = populations(built, posterior, watch)
    found |= stellar_parameters(drawn)
    compiling = posterior.compile_seconds + watch.compiling
    say("error of the field's density")
    of_field = field_error(
        density,
        stars,
        memberships,
        log_field=np.asarray(log_field),
        rows=own,
        key=jax.random.fold_in(field_key, 1),
    )
    ln10, scatter = np.log(10.0), float(np.median(posterior.draws.get("model_scatter", 0.0)))
    if table is not None and (moduli := posterior.draws.get("distance_modulus")) is not None:
        far = parallax_oddities(table, stars, found["membership"], np.asarray(moduli))
        for sentence in far:
            warnings.warn(sentence, stacklevel=2)
        oddities = [*oddities, *far]
    evidence, error = posterior.log_evidence, posterior.log_evidence_error
    # the whole job, reading and field included
    spent = cpu_time() - begin + posterior.resumed_seconds
    rng = generator(jax.random.fold_in(field_key, 2))
    return BayesFactor(
        log10_bayes_factor=None if evidence is None else float((evidence - null) / ln10),
        log10_bayes_factor_error=None if error is None else float(error / ln10),
        log10_bayes_factor_field_error=of_field.total / ln10,
        log10_bayes_factor_field_bias=of_field.bias / ln10,
        log_evidence_field=null,
        posterior=posterior,
        members=members_table(table, stars, found),
        stars=stars,
        field=density,
        log_field=np.asarray(log_field),
        mismatch=compare(density, stars, float(found["membership"].sum()), scatter),
        goodness=None if drawn is None else goodness_of_fit(stars, density, drawn, rng),
        limits=limits,
        n_outside=n_given - len(stars),
        n_in_field_too=0 if same_star is None else int((np.asarray(same_star) >= 0).sum()),
        oddities=tuple(oddities),
        n_dropped={"sample": dict(stars.dropped), "field": dict(others.dropped)},
        build=model,
        options=options,
        parallax=told.words,
        isochrones=isochrones,
        systematic=systematic,
        seed=key if isinstance(key, int) else str(key),
        cpu_seconds=spent - compiling,
        compile_seconds=compiling,
    )


def _told_of_isochrones(
    build: Callable[..., Model], options: Mapping[str, Any], columns: tuple[str, ...]
) -> tuple[str | None, Mapping[str, float]]:
    """What a model that knows of errors of colours makes of them, and what is systematic."""
    if "isochrone_error" not in signature(build).parameters:
        return None, {}
    given = options.get("isochrone_error"), options.get("grid", "parsec"), columns
    if (error := load_colour_error(*given)) is None:
        return "their colours are trusted", {}
    if error.names == NAMES:
        return f"each of their colours may be wrong by {error.widths[0]:g} mag", {}
    of_each = (learnt_of(*given) or {}).get("systematic", {})
    words = "their colours lack what well-known clusters say"
    if not error.names:
        return words, of_each.get("mean", {})
    return f"{words}, and differ as these do", of_each.get("learnt", {})


def _density(prior: Prior, density: Callable, sites: Mapping[str, Any]) -> Any:
    return density(parameters_of(prior, sites))


def _null_of(model: Model) -> float:
    """Return ln Z of the field alone, of a model that has cluster and field.

    Raises:
        ValueError: it has not, and sampling it would be in vain.
    """
    values = {n: s["value"] for n, s in trace_of(model.prior).items() if s["type"] == "sample"}
    function = Partial(_density, model.prior, model.density)
    known = structure(function, values)
    kind = _kinds.once(known, lambda: type(jax.eval_shape(function, values)))
    if not issubclass(kind, AbstractMixture) or model.null is None:
        raise ValueError(
            "model: a Bayes factor needs the log likelihood `null` of the field alone and a "
            f"mixture whose first part is the cluster, such as Mixture([1 − f, f], [cluster, "
            f"field]); found null = {model.null} and {kind.__name__}. `fit` samples any "
            "model"
        )
    return float(model.null)
