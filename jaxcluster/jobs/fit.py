"""Sample any model of a table's stars."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from astropy.table import Table
from jaxtyping import PRNGKeyArray

from jaxcluster.density.keys import as_key
from jaxcluster.density.precision import require_float64
from jaxcluster.density.stars import Stars
from jaxcluster.field.density import fit_field
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.model import Model
from jaxcluster.inference.nuts import nuts
from jaxcluster.inference.posterior import Posterior, Progress
from jaxcluster.jobs.inputs import default_limits, inside, members_table, read_stars
from jaxcluster.jobs.model_files import load_model
from jaxcluster.jobs.results import Sampled
from jaxcluster.jobs.stellar import populations, stellar_parameters


@dataclass(frozen=True, repr=False, eq=False)
class Fit(Sampled):
    """The posterior of a model."""

    posterior: Posterior
    members: Table | None  # rows of `stars`, where the model is a mixture
    stars: Stars
    build: str | Callable[..., Model]  # name or path of the model file, or its function
    options: dict[str, Any]  # of that
    seed: int | str
    cpu_seconds: float  # of the whole job, without compiling
    compile_seconds: float

    @cached_property
    def model(self) -> Model:
        """The model that was sampled, made again where the result was loaded."""
        build = load_model(self.build) if isinstance(self.build, str) else self.build
        return build(self.stars, **self.options)

    @property
    def verdict(self) -> str:
        """Ln Z or how well the chains agree, and the number of stars."""
        posterior, quality = self.posterior, self.posterior.quality
        if posterior.log_evidence is None:
            words = f"largest R̂ = {quality['r_hat']:.3f}, {quality['divergences']} divergences"
        else:
            words = f"ln Z = {posterior.log_evidence:.2f} ± {posterior.log_evidence_error:.2f}"
        return f"{words}; {len(self.stars)} stars"

    def summary(self) -> dict[str, Any]:
        """Numbers for JSON: parameters, evidence, quality, cost and provenance."""
        named = self.build if isinstance(self.build, str) else self.build.__name__
        some = None if self.members is None else np.asarray(self.members["membership"]) > 0.5
        return {
            **self.posterior.summary(),
            "n_stars": len(self.stars),
            "n_dropped": dict(self.stars.dropped),
            "n_members": None if some is None else int(some.sum()),
            "log_evidence_null": self.model.null,
            "cpu_seconds": self.cpu_seconds,
            "compile_seconds": self.compile_seconds,
            "seed": self.seed,
            "model": named,
        }


def fit(
    model: str | Callable[..., Model],
    sample: Any,
    *,
    field: Any = None,
    columns: Sequence[str] = ("G", "BP-RP"),
    names: Mapping[str, str] | None = None,
    colour_error_floor: float = 0.0,
    limits: tuple[float, float] | None = None,
    sampler: Callable[..., Posterior] = nuts,
    key: PRNGKeyArray | int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Fit:
    """Sample a model file, or the function in it: build(stars, field=…, limits=…, **options).

    Args:
        model: name or path of a model file, or its function.
        sample: table, path or `Stars`.
        field: of field stars; the model's options then have their density and the limits.
        columns: to read from tables.
        names: see `from_table`.
        colour_error_floor: least error of colours [mag].
        limits: magnitudes between which stars are taken, where there is a field.
        sampler: `nuts`, `fast`, `nested` or one with options filled in.
        key: random key or seed.
        progress: called with lines of text while it runs.
        **options: of the model.

    Raises:
        ValueError: of the tables, the model or the sampler; the message names which.

    Example:
        >>> fit("xd_membership", "field.parquet", columns=("pmra", "pmdec"), k=2)  # doctest: +SKIP
    """
    require_float64()
    begin = time.process_time()
    reading: dict[str, Any] = {
        "columns": tuple(columns),
        "names": names,
        "colour_error_floor": colour_error_floor,
    }
    table, stars = read_stars(sample, reading)
    field_key, sample_key = jax.random.split(as_key(key))
    if field is not None:
        _, others = read_stars(field, reading)
        limits = limits or default_limits(others)
        stars = stars[inside(stars, limits)]
        density = fit_field(others, limits, n_stars=len(stars), key=field_key)
        options = {**options, "field": density, "limits": limits}
    build = load_model(model) if isinstance(model, str) else model
    built = build(stars, **options)
    posterior = sampler(built, key=sample_key, progress=progress)
    watch, members = Stopwatch(), None
    if (memberships := posterior.memberships) is not None:
        found = {"membership": memberships.mean(axis=0)}
        found |= stellar_parameters(populations(built, posterior, watch))
        members = members_table(table, stars, found)
    compiling = posterior.compile_seconds + watch.compiling
    spent = time.process_time() - begin + posterior.resumed_seconds
    return Fit(
        posterior=posterior,
        members=members,
        stars=stars,
        build=model,
        options=options,
        seed=key if isinstance(key, int) else str(key),
        cpu_seconds=spent - compiling,
        compile_seconds=compiling,
    )
