"""Evidence: samplers against analytic values, mock clusters, and dynesty on the shipped mock.

    python -m benchmarks.evidence.main analytic [SEEDS]  7 parameters, closed forms
    python -m benchmarks.evidence.main nested [SEEDS [LIVE [INNER]]]  the same, nested sampling
    python -m benchmarks.evidence.main mocks [SEEDS]  two mock clusters, scatter of `fast`
    python -m benchmarks.evidence.main searches [N]  what single searches on them miss
    python -m benchmarks.evidence.main dynesty [LIVE]  the cluster of `jaxcluster demo`

Problems: a correlated Gaussian of about 17 nats; two Gaussians of weights 0.3 and 0.7, five
widths apart in each of two coordinates; a curved one, x1 ~ N(0, 1), x2 | x1 ~ N(x1²/2, 0.2), and
five narrow Gaussians. All in boxes, so ln Z is minus the log of the box's volume.
"""

import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from numpyro.distributions import Uniform

import jaxcluster as jc
from benchmarks.shared import between, header
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.evaluate import BATCH, Evaluate
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.importance import Prior
from jaxcluster.inference.posterior import Posterior
from jaxcluster.inference.search import FIRST, search
from jaxcluster.inference.weighted_draws import Draws, mean_and_error
from jaxcluster.jobs.model_files import load_model
from jaxcluster.population.grids import DATA as SHIPPED
from jaxcluster.population.simulate import TRUTH, simulate_pair

LIMITS = (10.0, 18.0)  # of the mock clusters
DIMENSIONS, HALF = 7, 10.0
WIDTH = 0.4  # of the Gaussians; 7 (ln 20 − ln(0.4 √(2πe))) = 17.5 nats


def root_of_correlated():
    """Lower Cholesky factor of its covariance."""
    index = np.arange(DIMENSIONS)
    cov = WIDTH**2 * 0.8 ** np.abs(index[:, None] - index)
    return np.linalg.cholesky(cov / np.exp(np.linalg.slogdet(cov)[1] / DIMENSIONS) * WIDTH**2)


def correlated(x):
    """Correlated Gaussian, correlation 0.8 between neighbours."""
    root = root_of_correlated()
    y = jnp.linalg.solve(jnp.asarray(root), x)
    return norm.logpdf(y).sum() - np.log(np.diag(root)).sum()


def two_modes(x):
    """Weights 0.3 and 0.7 at ±2.5 widths (of 1) in two coordinates."""
    rest = norm.logpdf(x[2:], scale=WIDTH).sum()
    modes = [norm.logpdf(x[:2], loc=s * 2.5 * WIDTH, scale=WIDTH).sum() for s in (-1, 1)]
    return logsumexp(jnp.stack(modes), b=jnp.array([0.3, 0.7])) + rest


def curved(x):
    """Banana in two coordinates, Gaussian in the rest."""
    banana = norm.logpdf(x[0]) + norm.logpdf(x[1], loc=0.5 * x[0] ** 2, scale=0.2)
    return banana + norm.logpdf(x[2:], scale=WIDTH).sum()


PROBLEMS = {"correlated": correlated, "two modes": two_modes, "curved": curved}


def exact(problem: str, n: int = 100_000) -> np.ndarray:
    """Draws [n, 7] from a problem itself."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, DIMENSIONS))
    if problem == "correlated":
        return x @ root_of_correlated().T
    rest = WIDTH * x
    if problem == "two modes":
        rest[:, :2] += 2.5 * WIDTH * np.where(rng.uniform(size=(n, 1)) < 0.3, -1, 1)
    else:
        rest[:, 0], rest[:, 1] = x[:, 0], 0.5 * x[:, 0] ** 2 + 0.2 * x[:, 1]
    return rest


def left_out(run: Posterior, x: np.ndarray) -> float:
    """Share of exact draws outside the central 95 % interval of a run, mean of parameters [%]."""
    z = np.stack([run.draws[f"x{i}"] for i in range(DIMENSIONS)], axis=-1)
    low, high = np.quantile(z, [0.025, 0.975], axis=0)
    return float(100 * ((x < low) | (x > high)).mean())


COLUMNS = ("error", "scatter", "quoted", "ratio", "worst", "evaluations", "CPU s", "compile")


def means(runs: list[Posterior], truth: float | None = None) -> list[str]:
    """Cells of a row, means over seeds; without a truth the error is counted from the mean."""
    found = np.array([run.log_evidence for run in runs])
    error = found - (found.mean() if truth is None else truth)
    quoted = np.array([run.log_evidence_error for run in runs])
    typical, scatter = np.sqrt((quoted**2).mean()), error.std(ddof=1)
    costs = ("evaluations", "cpu_seconds", "compile_seconds")
    count, running, compiling = (np.mean([getattr(run, k) for run in runs]) for k in costs)
    return [
        *(f"{value:.3f}" for value in (error.mean(), scatter, typical)),
        *(f"{value:.2f}" for value in (scatter / typical, np.abs(error / quoted).max())),
        *(f"{count:.0f}", f"{running:.1f}", f"{compiling:.1f}"),
        str(sum(bool(run.fallback) for run in runs)),
    ]


def analytic(seeds: int, sampler) -> None:
    """Error, quoted error, evaluations and cost of each problem."""
    prior = {f"x{i}": Uniform(-HALF, HALF) for i in range(DIMENSIONS)}
    row = header("problem", *COLUMNS, "fallbacks")
    for name, density in PROBLEMS.items():
        model = jc.Model.from_likelihood(
            prior, lambda p, f=density: f(jnp.stack([p[k] for k in prior]))[None]
        )
        runs = [sampler(model, key=seed) for seed in range(seeds)]
        row(name, *means(runs, -DIMENSIONS * np.log(2 * HALF)))
        outside = [left_out(run, exact(name)) for run in runs]
        error = np.std(outside) / seeds**0.5
        print(f"{'':>11} outside 95 % intervals {np.mean(outside):.2f} ± {error:.2f} %", flush=True)


def shipped_mock():
    """Model of the cluster that `jaxcluster demo` takes, at 96 × 6 cells."""
    return _modelled(jc.from_table(SHIPPED / "mock_cluster.ecsv"), SHIPPED / "mock_field.ecsv")


def contaminated_mock():
    """An old, distant cluster of 160 stars in 240 of the field."""
    truth = {**TRUTH, "log_age": 9.5, "distance_modulus": 12.0, "field_fraction": 0.6}
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    sample, field = simulate_pair(jax.random.key(5), 400, 2000, truth, grid, LIMITS)
    return _modelled(jc.from_table(sample), field)


def _modelled(stars, field):
    stars = between(stars, LIMITS)
    density = jc.fit_field(jc.from_table(field), LIMITS, n_stars=len(stars), key=jax.random.key(0))
    cells = {"n_masses": 96, "n_mass_ratios": 6, "isochrone_error": 0}
    return load_model("mimo_cmd")(stars, field=density, limits=LIMITS, **cells)


def mocks(seeds: int) -> None:
    """Scatter of `fast` on two mock clusters."""
    row = header("problem", *COLUMNS, "fallbacks")
    for name, model in (("shipped", shipped_mock()), ("in field", contaminated_mock())):
        runs = [jc.fast(model, key=seed) for seed in range(seeds)]
        row(name, *means(runs))
        found = np.array([run.log_evidence for run in runs])
        for seed in np.flatnonzero(np.abs(found - np.median(found)) > 1.0):
            print(f"    seed {seed}: ln Z {found[seed]:.2f}, median {np.median(found):.2f}")


def searches(number: int) -> None:
    """Count single searches on the two mocks that miss half of the evidence or more."""
    for name, model in (("shipped", shipped_mock()), ("in field", contaminated_mock())):
        truth = jc.fast(model, key=0).log_evidence
        assert truth is not None
        flat = Flat(model)
        prior = Prior(flat, jax.random.key(1), Stopwatch())
        evaluate = Evaluate(flat, None, prior.unravel, Stopwatch(), prior(BATCH))
        found, begin = [], time.process_time()
        for seed in range(number):
            draws = Draws(evaluate.rough, prior, FIRST)
            search(draws, evaluate.gradient, np.random.default_rng(seed), lambda line: None)
            found.append(mean_and_error(draws.log_weights())[0])
        wrong = np.array(found) < truth - np.log(2)
        print(
            f"{name}: ln Z {truth:.2f}, less by ln 2 or more in {wrong.sum()} of {number}, "
            f"the lowest {min(found):.2f}; {evaluate.count / number:.0f} evaluations, "
            f"{(time.process_time() - begin) / number:.1f} CPU s each",
            flush=True,
        )


def against_dynesty(live: int) -> None:
    """Evidence of the shipped mock by `fast` and dynesty, from the same likelihood."""
    import dynesty

    model = shipped_mock()
    ours = jc.fast(model, key=1)
    print(
        f"fast: ln Z {ours.log_evidence:.2f} ± {ours.log_evidence_error:.2f}, "
        f"{ours.evaluations} evaluations ({ours.record['rough_evaluations']} rough), "
        f"{ours.cpu_seconds:.0f} CPU s + {ours.compile_seconds:.0f} s of compiling "
        f"{ours.fallback}",
        flush=True,
    )
    flat = Flat(model)
    names = list(flat.bijections)
    likelihood = jax.jit(lambda theta: model.log_likelihood(dict(zip(names, theta, strict=True))))

    cube = jax.jit(
        lambda u: jnp.stack([model.prior[n].icdf(v) for n, v in zip(names, u, strict=True)])
    )

    for options in ({"sample": "rwalk"}, {"sample": "rslice", "slices": 6}):
        begin = time.process_time()
        sampler = dynesty.NestedSampler(
            lambda theta: float(likelihood(jnp.asarray(theta))),
            lambda u: np.asarray(cube(u)),
            len(names),
            nlive=live,
            rstate=np.random.default_rng(0),
            **options,
        )
        sampler.run_nested(dlogz=0.01, print_progress=False)
        found = sampler.results
        difference = ours.log_evidence - found.logz[-1]
        error = np.hypot(ours.log_evidence_error, found.logzerr[-1])
        print(
            f"dynesty {options}: ln Z {found.logz[-1]:.2f} ± {found.logzerr[-1]:.2f}, "
            f"{int(np.sum(found.ncall))} evaluations, {time.process_time() - begin:.0f} CPU s; "
            f"fast differs by {difference:.2f} = {difference / error:.1f} quoted errors",
            flush=True,
        )


def main() -> None:
    """Run what the command line asks for."""
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what == "analytic":
        analytic(int(sys.argv[2]) if len(sys.argv) > 2 else 20, jc.fast)
    elif what == "nested":
        seeds, live, inner = [*map(int, sys.argv[2:]), *(5, 400, 0)[len(sys.argv) - 2 :]]
        analytic(seeds, partial(jc.nested, live=live, inner_steps=inner or None))
    elif what == "mocks":
        mocks(int(sys.argv[2]) if len(sys.argv) > 2 else 20)
    elif what == "searches":
        searches(int(sys.argv[2]) if len(sys.argv) > 2 else 20)
    elif what == "dynesty":
        against_dynesty(int(sys.argv[2]) if len(sys.argv) > 2 else 200)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
