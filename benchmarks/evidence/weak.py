"""Importance sampling where it is hard: narrow modes, spikes, tails, weak candidates and nulls.

    python -m benchmarks.evidence.weak targets SEEDS [NAME ...]     closed forms, 7 or 8 dimensions
    python -m benchmarks.evidence.weak nested SEEDS [NAME ...]      the same, nested sampling
    python -m benchmarks.evidence.weak candidates SEEDS [NAME ...]  ten weak, ten nulls, five real
    python -m benchmarks.evidence.weak reference LIVE [NAME ...]    nested sampling on any of these

SEEDS is how many, or the first and last (20-29). Names are those below; `weak` and `null`, 100
simulated stars, are candidates too, as are `Berkeley_20` and `NGC2420` as `batch` has them.

Targets, in a box of half side H = 10: two Gaussians of width 1 at ∓5, the second with 30 % and
narrower by a factor in some of the dimensions; a slab with a spike of σ = 0.03 H that has 90 %; a
product of Cauchys; a banana; a ridge of thirteen narrow maxima; six effects of a common scale
(funnels, `FUNNELS`). `weak`: 17 true members of 100 (key 102), `null`: none (key 100), one field
density each. `candidates`: 7 to 30 expected members of 100 (`weak 7` to `weak 30`), ten nulls, and
five real ones: 18 stars of a cluster's selection by parallax and motion in 82 of its field.
But for `nested` and `reference` it is importance sampling alone; what it refuses the default gives
to nested sampling.
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from astropy.table import Table, vstack
from jax.scipy.special import logsumexp
from jax.scipy.stats import cauchy, norm
from numpyro.distributions import HalfCauchy, HalfNormal, LogNormal, LogUniform, Normal, Uniform
from numpyro.handlers import reparam
from numpyro.infer.reparam import LocScaleReparam
from scipy.integrate import quad
from scipy.stats import cauchy as exact_cauchy

import jaxcluster as jc
from benchmarks.evidence.main import LIMITS
from benchmarks.robustness.main import select
from benchmarks.shared import between, header, keep_compiled
from benchmarks.validation.main import clusters
from jaxcluster.catalogue.candidates import read_candidates
from jaxcluster.inference.importance import NotConvergedError
from jaxcluster.jobs.model_files import load_model
from jaxcluster.jobs.vet import key_of
from jaxcluster.population.simulate import TRUTH, simulate_pair

D, H = 8, 10.0
BOX = -D * np.log(2 * H)  # log density of the prior
MISSED = 0.2  # nats


def two_modes(narrower: float, dimensions: int):
    """The mode with 70 % and the narrow one."""
    width = jnp.where(jnp.arange(D) < dimensions, 1.0 / narrower, 1.0)

    def density(x):
        logs = [norm.logpdf(x, -5.0).sum(), norm.logpdf(x, 5.0, width).sum()]
        return logsumexp(jnp.stack(logs), b=jnp.array([0.7, 0.3]))

    return density, BOX


def spike(x):
    """Slab of 10 % and the spike."""
    top = norm.logpdf(x, 0.3 * H, 0.03 * H).sum()
    return jnp.logaddexp(jnp.log(0.1) + BOX, jnp.log(0.9) + top)


def banana(x):
    """Bent in two coordinates, Gaussian in the rest."""
    bent = norm.logpdf(x[0]) + norm.logpdf(x[1], 0.5 * x[0] ** 2, 0.2)
    return bent + norm.logpdf(x[2:], 0.0, 0.4).sum()


BEADS = np.linspace(-6.0, 6.0, 13)
HEAVY = np.random.default_rng(0).dirichlet(np.ones(len(BEADS)))


def ridge(x):
    """Narrow maxima in a row along a diagonal, too far apart to touch."""
    each = norm.logpdf(x, BEADS[:, None], 0.15).sum(axis=1)
    return logsumexp(each, b=jnp.asarray(HEAVY))


INSIDE = np.diff(exact_cauchy(2.0, 0.3).cdf([-H, H]))[0]
TARGETS = {
    "equal": two_modes(1, 0),
    "2 of 8, 5x": two_modes(5, 2),
    "3 of 8, 4x": two_modes(4, 3),
    "8 of 8, 2x": two_modes(2, 8),
    "8 of 8, 5x": two_modes(5, 8),
    "spike": (spike, BOX),
    "banana": (banana, BOX),
    "ridge": (ridge, BOX),
    "cauchys": (lambda x: cauchy.logpdf(x, 2.0, 0.3).sum(), BOX + D * np.log(INSIDE)),
}


MEASURED = np.array([0.3, -1.2, 0.8, 0.1, -0.5, 1.6])
# prior of the scale, error of the measurements, and whether the effects are sampled in its units
LOGARITHMIC = LogUniform(1e-4, 10.0)
FUNNELS = {
    "funnel": (LOGARITHMIC, 1.0, False),
    "non-centred": (LOGARITHMIC, 1.0, True),
    "error 3": (LOGARITHMIC, 3.0, False),
    "error 0.1": (LOGARITHMIC, 0.1, False),
    "half-normal": (HalfNormal(1.0), 1.0, False),
    "half-Cauchy": (HalfCauchy(1.0), 3.0, False),
    "log-normal": (LogNormal(0.0, 2.0), 0.1, False),
}


def funnel(scale, error: float, apart: bool) -> tuple[jc.Model, float]:
    """Model of the effects, and ln Z by quadrature over ln of their scale."""

    def prior():
        tau = numpyro.sample("scale", scale)
        return {"effects": numpyro.sample("effects", Normal(jnp.zeros(6), tau).to_event(1))}

    def at(log_scale):
        tau = np.exp(log_scale)
        log_p = scale.log_prob(tau) + norm.logpdf(MEASURED, 0.0, np.hypot(error, tau)).sum()
        return float(tau * jnp.exp(log_p))

    def terms(p):
        return norm.logpdf(MEASURED, p["effects"], error)

    ends = (1.000001e-4, 9.99999) if scale is LOGARITHMIC else (np.exp(-25.0), np.exp(12.0))
    truth = quad(at, *np.log(ends), limit=500, epsabs=0.0)[0]
    program = reparam(prior, config={"effects": LocScaleReparam(0)}) if apart else prior
    return jc.Model.from_likelihood(program, terms), float(np.log(truth))


def target(name: str) -> tuple[jc.Model, float]:
    """Model of a target and its ln Z."""
    if name in FUNNELS:
        return funnel(*FUNNELS[name])
    density, truth = TARGETS[name]
    prior = {"x": Uniform(-H, H).expand([D]).to_event(1)}
    return jc.Model.from_likelihood(prior, lambda p: density(p["x"])[None]), truth


WEAK = {f"weak {n}": (200 + i, n) for i, n in enumerate([7, 9, 12, 14, 17, 19, 22, 25, 27, 30])}
NULLS = {f"null {i}": (300 + i, 0) for i in range(10)}
SIMULATED = {**WEAK, **NULLS, "weak": (102, 17), "null": (100, 0)}  # key, expected members of 100
REAL = ("Haffner_6", "NGC2509", "NGC3293", "NGC6649", "NGC6834")
SELECTED = 18  # stars of 100
WHOLE = {"Berkeley_20": True, "NGC2420": False}  # clusters as `batch` has them; with parallaxes?


def simulated(name: str) -> tuple[Table, Table]:
    """Sample and field of one of `SIMULATED`."""
    key, members = SIMULATED[name]
    truth = {**TRUTH, "field_fraction": 1.0 - members / 100}
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    return simulate_pair(jax.random.key(key), 100, 1000, truth, grid, LIMITS)


def real(name: str) -> tuple[Table, Table]:
    """Sample and field of one of `REAL`: a few stars of the cluster's selection in its field."""
    rng = np.random.default_rng(0)
    shuffled = [table[rng.permutation(len(table))] for table in map(complete, select(name))]
    (selected, field), others = shuffled, 100 - SELECTED
    return vstack([selected[:SELECTED], field[:others]]), field[others:]


def complete(table: Table) -> Table:
    """Stars with colours inside the limits."""
    magnitude, colour = (np.asarray(table[c], float) for c in ("phot_g_mean_mag", "bp_rp"))
    return table[(magnitude > LIMITS[0]) & (magnitude < LIMITS[1]) & np.isfinite(colour)]


class Built(Exception):
    """Carries the model that `bayes_factor` would have sampled."""


def whole(name: str) -> jc.Model:
    """One of `WHOLE`, by the selection, limits, field density and parallaxes of `batch`."""

    def stop(model, **_):
        raise Built(model)

    listed = Table.from_pandas(clusters())
    one = read_candidates(listed[listed["candidate"] == name])[0]
    chosen, parallax = one.cut(), WHOLE[name] and one.parallax_window
    options = {"parallax": parallax, "isochrone_error": 0, "sampler": stop}
    try:
        jc.bayes_factor(chosen.sample, chosen.field, key=key_of(name, 0), **options)
    except Built as built:
        return built.args[0]
    raise AssertionError("bayes_factor calls its sampler")


def candidate(name: str) -> jc.Model:
    """One of `SIMULATED`, `REAL` or `WHOLE`."""
    if name in WHOLE:
        return whole(name)
    sample, field = real(name) if name in REAL else simulated(name)
    stars = between(jc.from_table(sample), LIMITS)
    density = jc.fit_field(jc.from_table(field), LIMITS, n_stars=len(stars), key=jax.random.key(0))
    cells = {"n_masses": 96, "n_mass_ratios": 6, "isochrone_error": 0}
    return load_model("mimo_cmd")(stars, field=density, limits=LIMITS, **cells)


def compare(row, name: str, model: jc.Model, seeds: range, truth: float | None, sampler) -> None:
    """One row; without a truth, ln Z is that over the null, and errors count from the median."""
    runs, refused = [], []
    for seed in seeds:
        try:
            runs.append(sampler(model, key=seed))
        except NotConvergedError as failure:
            refused.append(failure.account["cpu_seconds"])
        except ValueError as error:
            print(f"{name}: {error}", flush=True)
            return
    if not runs:
        print(f"{name}: all of {len(refused)} refused", flush=True)
        return
    found = np.array([run.log_evidence for run in runs]) - (truth or model.null or 0.0)
    error = found if truth is not None else found - np.median(found)
    quoted = np.sqrt(np.mean([run.log_evidence_error**2 for run in runs]))
    costs = [np.mean([getattr(run, k) for run in runs]) for k in ("evaluations", "cpu_seconds")]
    row(
        name,
        f"{found.mean():.3f}",
        f"{error.std(ddof=1):.3f}" if len(runs) > 1 else "",
        f"{quoted:.3f}",
        f"{(np.abs(error) > MISSED).sum()} of {len(runs)}",
        len(refused),
        f"{costs[0]:.0f}",
        f"{costs[1]:.1f}",
        f"{np.mean(refused):.0f}" if refused else "",
    )


def told(model: jc.Model, key: int) -> jc.Posterior:
    """Importance sampling; prints ln Z over the null of the run and of each of its estimates."""
    run = jc.importance(model, key=key)
    found = [run.record[f"estimate_{what}"] for what in ("log_evidence", "error", "tail_index")]
    each = [f"{z - model.null:.2f} ± {e:.2f} k {k:.2f}" for z, e, k in zip(*found, strict=True)]
    print(
        f"seed {key}: {run.log_evidence - model.null:.3f} ± {run.log_evidence_error:.3f}, "
        f"{len(run.record['search_length'])} searches, estimates {', '.join(each)}",
        flush=True,
    )
    return run


def main() -> None:
    """Run what the command line asks for."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("targets", "nested", "candidates", "reference"):
        raise SystemExit(__doc__)
    what, seeds, *names = sys.argv[1:]
    first, _, last = seeds.rpartition("-")
    number = range(int(first), int(last) + 1) if first else range(int(last))
    keep_compiled()
    columns = (
        "mean",
        "scatter",
        "quoted",
        "missed",
        "refused",
        "evaluations",
        "CPU s",
        "of refused",
    )
    row = header("problem", *columns)
    if what in ("targets", "nested"):
        sampler = jc.nested if what == "nested" else jc.importance
        for name in names or [*TARGETS, *FUNNELS]:
            model, truth = target(name)
            compare(row, name, model, number, truth, sampler)
    elif what == "candidates":
        for name in names or [*WEAK, *NULLS, *REAL]:
            compare(row, name, candidate(name), number, None, told)
    else:
        nested = partial(jc.nested, live=int(seeds))
        for name in names or [*SIMULATED, *REAL]:
            compare(row, name, candidate(name), range(1), None, nested)


if __name__ == "__main__":
    main()
