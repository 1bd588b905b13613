"""From a table of positions to the structure of its cluster."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxcluster.catalogue.sky import to_sky
from jaxcluster.catalogue.tables import read_table
from jaxcluster.density.keys import as_key
from jaxcluster.density.precision import require_float64
from jaxcluster.inference.samplers import sampler_of
from jaxcluster.jobs.king_field import read_field
from jaxcluster.jobs.king_fit import Shape, fit_profile, label
from jaxcluster.jobs.king_members import king_membership, members_table
from jaxcluster.jobs.king_result import KingFit, units_of
from jaxcluster.jobs.king_rings import binned_summary
from jaxcluster.jobs.king_structure import read_columns, structure
from jaxcluster.jobs.king_summary import comparison, table_of, uniform_of, warnings_of
from jaxcluster.structure.radial_profile import radial_profile

COMPARED = (("king62", None), ("generalised", 1), ("eff", None), ("plummer", None))
PURE = 0.8  # of members: in a raw field half radii and segregation are those of P itself


def king(
    source: Any,
    *,
    profile: str = "king62",
    beta: int | None = None,
    centre: tuple[float, float] | None = None,
    radius: float | None = None,
    holes: Sequence[tuple[float, float, float]] = (),
    membership: str | None = None,
    gradient: bool = False,
    compare: bool = False,
    binned: bool = False,
    structural: bool = False,
    magnitude: str | None = None,
    method: str = "fast",
    key: PRNGKeyArray | int = 0,
    checkpoint: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> KingFit:
    """Structure of a cluster: radii, densities and shape, from the positions of stars.

    Args:
        source: table or path with ra and dec [deg].
        profile: one of `PROFILES`.
        beta: 1 or 2 of the generalised profile; None leaves it free.
        centre: (ra, dec) of the footprint [deg]; by default the median position.
        radius: of the footprint [arcmin]; by default that of the largest circle about the centre
            inside the stars' convex hull.
        holes: circles left out, (ra, dec, radius) [deg, deg, arcmin].
        membership: column of membership probabilities, as weights.
        gradient: whether the background may change linearly.
        compare: whether to fit the other profiles too, for their evidence.
        binned: whether to fit rings by least squares too.
        structural: whether to measure half radii, mass segregation and elongation too.
        magnitude: column of magnitudes for these; by default Gaia's G.
        method: "fast", "nested" or "nuts".
        key: random key or seed.
        checkpoint: folder of the samplers' checkpoints.
        progress: called with lines of text while it runs.

    Raises:
        ValueError: of the table or an argument; the message names it.

    Example:
        >>> found = king("members.parquet", membership="membership")  # doctest: +SKIP
        >>> found.table()  # doctest: +SKIP
    """
    require_float64()
    begin, say = time.process_time(), progress or (lambda line: None)
    if magnitude is not None and not structural:
        raise ValueError("--magnitude: it is of --structure; give that too")
    if compare and method == "nuts":
        raise ValueError("--method nuts: it gives no evidence to --compare; take fast or nested")
    try:
        table = read_table(source)
        options = {"centre": centre, "radius": radius, "holes": holes, "membership": membership}
        field = read_field(table, **options)
        columns = read_columns(table, field, magnitude) if structural else None
        rings = None
        if binned:  # about a given centre as it is, else about the densest place
            at = (0.0, 0.0) if centre else None
            rings = radial_profile(field.x, field.footprint, centre=at, weights=field.weights)
    except ValueError as error:
        text = f"{source}: {error}" if isinstance(source, str | Path) else str(error)
        raise ValueError(text) from error
    say(f"{len(field.x)} stars within {field.radius:.4g} arcmin")
    chosen: Shape = (profile, beta)
    results = []
    for shape in [chosen, *(one for one in COMPARED if compare and one != chosen)]:
        name = label(*shape)
        folder = None if checkpoint is None else checkpoint / name.replace(" ", "_")
        sampler, note = sampler_of(method, checkpoint=folder), partial(_prefixed, say, name)
        results.append(fit_profile(field, shape, sampler, as_key(key), note, gradient))
    found = results[0]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(as_key(key))).ravel()[-1])
    belongs = king_membership(found)
    measured, said = None, []
    if columns is not None:
        try:
            measured = structure(found, belongs, columns, rng)
        except ValueError as error:  # such as too few members: the fit is worth having all the same
            said = [f"--structure: {error}"]
        if (pure := float((belongs**2).sum() / belongs.sum())) < PURE:
            said.append(
                f"--structure: a star counted as a member is one with membership {pure:.2f}, by "
                "its place; select stars by astrometry first, such as with `members`"
            )
    posterior = found.posterior
    n = len(field.x)
    summary: dict[str, Any] = {
        "parameters": table_of(found),
        "units": units_of(profile),
        "profile": found.profile,
        "beta": found.beta,
        "centre": {"ra": field.centre[0], "dec": field.centre[1]},
        "fitted_centre": _fitted_centre(found),
        "radius": field.radius,
        "area": float(field.footprint.area),
        "n_stars": n,
        "sum_of_weights": None if field.weights is None else float(field.weights.sum()),
        "n_dropped": field.dropped,
        "log_evidence": posterior.log_evidence,
        "log_evidence_error": posterior.log_evidence_error,
        "log_evidence_uniform": uniform_of(found),
        "comparison": comparison(results) if compare else None,
        "binned": None if rings is None else binned_summary(rings, field),
        "sum_of_memberships": float(belongs.sum()),
        "structure": None if measured is None else measured.summary,
        "warnings": [*field.doubts, *warnings_of(results), *said],
        "priors": _priors(found.model),
        "method": posterior.method,
        "evaluations": sum(f.posterior.evaluations for f in results),
        "seed": key if isinstance(key, int) else str(key),
        "versions": posterior.versions,
    }
    summary["compile_seconds"] = sum(f.posterior.compile_seconds for f in results)
    spent = time.process_time() - begin + sum(f.posterior.resumed_seconds for f in results)
    summary["cpu_seconds"] = spent - summary["compile_seconds"]
    return KingFit(found, members_table(found, belongs, table), rings, measured, summary)


def _priors(model):
    """Priors in words; of the two normal numbers behind the shape, what they stand for."""
    words = model.describe_prior()
    if words.pop("shape_", None):
        words |= {"ellipticity": "Uniform(0,0.8)", "position_angle": "Uniform(-90,90)"}
    return words


def _fitted_centre(found):
    ((ra, dec),) = to_sky(found.centre[None], found.field.centre)
    return {"ra": float(ra), "dec": float(dec)}


def _prefixed(say, name, line):
    say(f"{name}: {line}")
