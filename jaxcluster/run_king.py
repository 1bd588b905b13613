"""From a table of positions to the structure of its cluster: what `king` runs."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxcluster.footprint import Footprint
from jaxcluster.positions import enough
from jaxcluster.typed import numbers, position

COMPARED = (("king62", None), ("generalised", 1), ("eff", None), ("plummer", None))
PURE = 0.8  # of members: in a raw field half radii and segregation are those of P itself
UNITS = {
    "r_core": "arcmin",
    "r_tidal": "arcmin",
    "amplitude": "arcmin-2",
    "x_centre": "arcmin",
    "y_centre": "arcmin",
    "central_density": "arcmin-2",
    "background_density": "arcmin-2",
    "position_angle": "deg",
}


class Field(NamedTuple):
    """Stars in a footprint, in the plane about a centre."""

    x: Float[np.ndarray, "n 2"]  # arcmin, to the east and north
    weights: Float[np.ndarray, " n"] | None
    footprint: Footprint
    centre: tuple[float, float]  # ra, dec [deg]
    radius: float  # of the footprint, on the sky [arcmin]
    dropped: dict[str, int]
    rows: Int[np.ndarray, " n"]  # of the table


class Found(NamedTuple):
    """Posterior of one profile."""

    profile: str
    beta: int | None
    field: Field
    posterior: Any  # ArviZ data
    draws: dict[str, np.ndarray]  # parameters, derived ones too

    @property
    def centre(self) -> Float[np.ndarray, "2"]:
        """Median of the cluster's centre [arcmin]; the origin where it was held there."""
        if "x_centre" not in self.draws:
            return np.zeros(2)
        return np.array([np.median(self.draws[name]) for name in ("x_centre", "y_centre")])

    def some_draws(self, n: int) -> dict[str, np.ndarray]:
        """About n of the draws, evenly taken."""
        step = max(len(self.draws["r_core"]) // n, 1)
        return {name: values[::step] for name, values in self.draws.items()}

    def surface(self, parameters):
        """Return the surface density of parameters by name."""
        from jaxcluster.surface_density import SurfaceDensity

        return SurfaceDensity.of(parameters, self.field.footprint, self.profile, self.beta)


def read_field(
    path: Any,
    *,
    centre: str | None = None,
    radius: float | None = None,
    holes: list[str] | None = None,
    probability: str | None = None,
) -> Field:
    """Read positions, project them and cut them to a circular footprint.

    Raises:
        ValueError: fewer than 10 stars, all at one place, a centre outside the field, holes that
            cover it, or probabilities that are none.
    """
    from jaxcluster.footprint import circle, largest_circle
    from jaxcluster.sky_plane import ARCMIN, middle, plane_radius, to_plane
    from jaxcluster.table import Reader, read_table

    if radius is not None and not 0 < radius <= 60 * 90:
        raise ValueError(f"--radius {radius:g}: expected arcmin, more than 0 and at most 5400")
    read = Reader(read_table(path))
    ra, dec = read.value("ra"), read.value("dec")
    read.raise_absent()
    known = np.isfinite(ra) & np.isfinite(dec)
    dropped = {"without a position": int((~known).sum())}
    weights = None
    if probability is not None:
        if read.column(probability) is None:
            read.missing("--probability", [probability])
            read.raise_absent()
        weights = read.numbers(read.column(probability) or "", None)
        if (wrong := (weights < 0) | (weights > 1)).any():
            raise ValueError(
                f"--probability {probability}: {wrong.sum()} values are not between 0 and 1 (found "
                f"{weights[wrong][0]:g}); expected membership probabilities"
            )
        dropped["without a probability"] = int((known & ~np.isfinite(weights)).sum())
        known &= np.isfinite(weights)
    remedy = "look at the table, --centre, --radius and --hole"
    what = "a position and a probability" if probability else "a position"
    enough(int(known.sum()), f"with {what}", remedy)
    at = position("--centre", centre) or middle(ra[known], dec[known])
    about = (at[0] % 360, at[1])
    x = to_plane(ra[known], dec[known], about)
    inscribed = largest_circle(x)  # also says whether the centre is among the stars
    size = inscribed if radius is None else plane_radius(radius)
    example = "92.1,24.1,5 (degrees and arcmin)"
    cut: Any = [numbers("--hole", hole, "RA,DEC,R", example) for hole in holes or []]
    places = [
        (*to_plane(np.array([a]), np.array([d]), about)[0], plane_radius(r)) for a, d, r in cut
    ]
    footprint = circle(size, holes=places)
    inside = footprint.contains(x)
    dropped["outside the footprint"] = int((~inside).sum())
    where = f"within {size:.4g} arcmin of {about[0]:.4f}, {about[1]:.4f} deg"
    enough(int(inside.sum()), where, remedy)
    return Field(
        x[inside],
        None if weights is None else weights[known][inside],
        footprint,
        about,
        2 * ARCMIN * float(np.arcsin(0.5 * size / ARCMIN)),
        dropped,
        np.flatnonzero(known)[inside],
    )


def shape_of(profile: str | None, beta: str | None) -> tuple[str, int | None]:
    """Profile and fixed β from the two options; β alone means the generalised profile."""
    from jaxcluster.king import PROFILES

    if beta not in (None, "1", "2", "free"):
        raise ValueError(f"--beta {beta!r}: expected 1, 2 or free")
    name = profile or ("king62" if beta is None else "generalised")
    if name not in PROFILES:
        raise ValueError(f"--profile {name!r}: expected one of {', '.join(PROFILES)}")
    if name == "king62" and beta not in (None, "2"):
        raise ValueError(f"--beta {beta}: king62 has beta 2; take --profile generalised")
    if name not in ("king62", "generalised") and beta is not None:
        raise ValueError(f"--beta {beta}: profile {name} has none; leave it out")
    return name, int(beta) if name == "generalised" and beta in ("1", "2") else None


def fit_profile(field: Field, shape: tuple[str, int | None], sampler, key, say, gradient=False):
    """Return the posterior of one profile, and its model."""
    import jax
    import jax.numpy as jnp

    from jaxcluster.model_files import load_model
    from jaxcluster.stars import Stars
    from jaxcluster.surface_density import SurfaceDensity

    profile, beta = shape
    stars = Stars(field.x, np.zeros((len(field.x), 2, 2)), ("x", "y"))
    options = {"profile": profile, "beta": beta, "weights": field.weights, "gradient": gradient}
    model = load_model("king_profile")(stars, footprint=field.footprint, **options)
    posterior = sampler(model, stars, key=key, progress=say)
    draws = {
        str(name): jnp.asarray(values).reshape(-1, *values.shape[2:])
        for name, values in posterior["posterior"].data_vars.items()
    }

    def derived(parameters):
        return SurfaceDensity.of(parameters, field.footprint, profile, beta).derived()

    draws |= jax.jit(jax.vmap(derived))(draws)
    found = Found(profile, beta, field, posterior, {n: np.asarray(a) for n, a in draws.items()})
    return found, model


def run_king(
    path: Any,
    *,
    profile: str | None = None,
    beta: str | None = None,
    centre: str | None = None,
    radius: float | None = None,
    holes: list[str] | None = None,
    probability: str | None = None,
    gradient: bool = False,
    compare: bool = False,
    binned: bool = False,
    structural: bool = False,
    magnitude: str | None = None,
    method: str = "fast",
    seed: int,
    out: Path | None = None,
    say,
):
    """Fit a table and write what was found; returns that and its summary."""
    import ast
    from functools import partial

    import jax

    from jaxcluster.king_members import king_membership, members_table
    from jaxcluster.king_output import binned_summary, write
    from jaxcluster.king_structure import read_columns, structure
    from jaxcluster.king_summary import comparison, table_of, warnings_of
    from jaxcluster.radial_profile import radial_profile
    from jaxcluster.run import CHECKPOINT, sampler_of
    from jaxcluster.table import read_table

    begin = time.process_time()
    chosen = shape_of(profile, beta)
    if magnitude is not None and not structural:
        raise ValueError("--magnitude: it is of --structure; give that too")
    if compare and method == "nuts":
        raise ValueError("--method nuts: it gives no evidence to --compare; take fast or nested")
    try:
        table = read_table(path)
        options = {"centre": centre, "radius": radius, "holes": holes, "probability": probability}
        field = read_field(table, **options)
        columns = read_columns(table, field, magnitude) if structural else None
        rings = None
        if binned:  # about a given centre as it is, else about the densest place
            at = (0.0, 0.0) if centre else None
            rings = radial_profile(field.x, field.footprint, centre=at, weights=field.weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    say(f"{len(field.x)} stars within {field.radius:.4g} arcmin")
    key, results = jax.random.key(seed), []
    for shape in [chosen, *(one for one in COMPARED if compare and one != chosen)]:
        name = label(*shape)
        sampler = sampler_of(method, 400, None)
        if out is not None and method != "nuts":
            sampler = partial(sampler, checkpoint=out / CHECKPOINT / name.replace(" ", "_"))
        note = partial(_prefixed, say, name)
        results.append(fit_profile(field, shape, sampler, key, note, gradient))
    found, model = results[0]
    belongs = king_membership(found)
    measured, said = None, []
    if columns is not None:
        try:
            measured = structure(found, belongs, columns, seed)
        except ValueError as error:  # such as too few members: the fit is worth having all the same
            said = [f"--structure: {error}"]
        if (pure := float((belongs**2).sum() / belongs.sum())) < PURE:
            said.append(
                f"--structure: a star counted as a member is one with probability {pure:.2f}, by "
                "its place; select stars by astrometry first, such as with `members`"
            )
    attributes = found.posterior["posterior"].attrs
    n = len(field.x)
    summary: dict[str, Any] = {
        "parameters": table_of(found, model),
        "units": UNITS,
        "profile": found.profile,
        "beta": found.beta,
        "centre": {"ra": field.centre[0], "dec": field.centre[1]},
        "fitted_centre": _fitted_centre(found),
        "radius": field.radius,
        "area": float(field.footprint.area),
        "n_stars": n,
        "sum_of_weights": None if field.weights is None else float(field.weights.sum()),
        "n_dropped": field.dropped,
        "log_evidence": attributes.get("log_evidence"),
        "log_evidence_error": attributes.get("log_evidence_error"),
        "log_evidence_uniform": float(model.null(None)),  # pyright: ignore[reportOptionalCall]
        "comparison": comparison(results) if compare else None,
        "binned": None if rings is None else binned_summary(rings, field),
        "sum_of_memberships": float(belongs.sum()),
        "structure": None if measured is None else measured.summary,
        "warnings": warnings_of(results) + said,
        "priors": _priors(model),
        "method": attributes["method"],
        "evaluations": sum(int(f.posterior["posterior"].attrs["evaluations"]) for f, _ in results),
        "seed": seed,
        "versions": ast.literal_eval(attributes["versions"]),
    }
    accounts = [f.posterior["posterior"].attrs for f, _ in results]
    summary["compile_seconds"] = sum(a["compile_seconds"] for a in accounts)
    spent = time.process_time() - begin + sum(a["resumed_seconds"] for a in accounts)
    summary["cpu_seconds"] = spent - summary["compile_seconds"]
    if out is not None:
        say(f"writing {out}")
        write(found, summary, members_table(found, belongs, table), out, rings, measured)
    return found, summary


def _priors(model):
    """Priors in words; of the two normal numbers behind the shape, what they stand for."""
    words = model.describe_prior()
    if words.pop("shape", None):
        words |= {"ellipticity": "Uniform(0,0.8)", "position_angle": "Uniform(-90,90)"}
    return words


def _fitted_centre(found):
    from jaxcluster.sky_plane import to_sky

    ((ra, dec),) = to_sky(found.centre[None], found.field.centre)
    return {"ra": float(ra), "dec": float(dec)}


def label(profile: str, beta: int | None) -> str:
    """Name of a profile for a person."""
    if profile == "generalised":
        return f"generalised beta {'free' if beta is None else beta}"
    return profile


def _prefixed(say, name, line):
    say(f"{name}: {line}")
