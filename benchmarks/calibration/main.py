"""Simulation-based calibration: ranks and coverage of posteriors, reliability of memberships.

    python -m benchmarks.calibration.main run FILE FIRST LAST [MADE]
        mocks of these seeds, a line each
    python -m benchmarks.calibration.main summary FILE...  what the lines say

Parameters are drawn from `PRIOR`, which the fit uses too; numbers of stars are given, 50 to 1000;
field stars are drawn from the very density that the fit is given; no mock is left out. Then the
rank of each truth among its posterior draws is uniform (Talts et al. 2018), and P of the stars with
membership P are members. Tests of single parameters at 0.3 % each: p < 0.003 says that something is
wrong, 2.4 % of the time for nothing in eight parameters. With MADE = mist the clusters come from
MIST's tracks, with what its colours lack of real stars', and the fit takes PARSEC with what that
lacks: what is off then is model error. Such intervals are counted with what is systematic too.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from numpyro.distributions import LogUniform, Uniform
from scipy.stats import binomtest, kstest

import jaxcluster as jc
from benchmarks.null.main import draw_from
from benchmarks.shared import between, keep_compiled
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.jobs.goodness_of_fit import goodness_of_fit
from jaxcluster.jobs.model_files import load_model
from jaxcluster.jobs.stellar import populations
from jaxcluster.population.colour_error import learnt_of
from jaxcluster.population.simulate import simulate_cluster, simulate_field

LIMITS = (10.0, 18.0)
NUMBERS = (50, 100, 200, 400, 700, 1000)
CELLS = {"n_masses": 160, "n_mass_ratios": 8}
PRIOR = {
    "log_age": Uniform(8.0, 9.6),
    "metallicity": Uniform(-0.5, 0.4),
    "distance_modulus": Uniform(9.0, 12.0),
    "a_v": Uniform(0.0, 1.5),
    "mass_slope": Uniform(-3.0, -1.0),
    "binary_fraction": Uniform(0.1, 0.9),
    "field_fraction": Uniform(0.05, 0.8),
    "model_scatter": LogUniform(0.005, 0.05),
}


def mock(seed: int, grid, density, like, colour_error=None):
    """Stars of a sample made with `grid`, which of them are members, and the true parameters."""
    keys = jax.random.split(jax.random.key(seed), len(PRIOR) + 1)
    truth = {n: float(p.sample(k)) for (n, p), k in zip(PRIOR.items(), keys[1:], strict=True)}
    rng = np.random.default_rng(seed)
    n = NUMBERS[seed % len(NUMBERS)]
    n_field = int(rng.binomial(n, truth["field_fraction"]))
    parts = [draw_from(density, like, n_field, rng)] if n_field else []
    if n_field < n:
        alone = {**truth, "field_fraction": 0.0}
        table = simulate_cluster(keys[0], n - n_field, alone, grid, LIMITS, colour_error)
        parts.append(jc.from_table(table))
    x, noise = (np.concatenate([np.asarray(getattr(p, a)) for p in parts]) for a in ("x", "noise"))
    order = np.argsort(x[:, 0], kind="stable")
    stars = jc.Stars(x=x[order], noise=noise[order], columns=like.columns)
    return stars, (np.arange(n) >= n_field)[order], truth


def run(file: Path, first: int, last: int, made: str = "parsec") -> None:
    """Append a line for each seed."""
    tracks = jc.load_grid(made, ("G", "BP", "RP"))
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    like = between(jc.from_table(simulate_field(jax.random.key(0), 3000, grid, LIMITS)), LIMITS)
    density = jc.fit_field(like, LIMITS, n_stars=1000, key=jax.random.key(0))
    options = {"field": density, "limits": LIMITS, "prior": PRIOR, **CELLS}
    options["isochrone_error"] = 0 if made == "parsec" else "mean"
    error = jc.load_colour_error(options["isochrone_error"], made)
    for seed in range(first, last):
        stars, member, truth = mock(seed, tracks, density, like, error)
        model = load_model("mimo_cmd")(stars, **options)
        posterior = jc.fast(model, key=seed, live=100)
        draws, memberships = posterior.draws, posterior.memberships
        assert memberships is not None
        rng = np.random.default_rng(seed)
        ranks = {}
        for name, value in truth.items():
            ties = rng.uniform() * (draws[name] == value).sum()
            ranks[name] = float(((draws[name] < value).sum() + ties) / len(draws[name]))
        p = memberships.mean(axis=0)
        edges = np.linspace(0.0, 1.0, 11)
        found = populations(model, posterior, Stopwatch())
        assert found is not None
        fit = goodness_of_fit(stars, density, found, rng)
        assert fit is not None
        line = {
            "seed": seed,
            "fit_p_value": fit.p_value,
            "fit_misplaced": fit.misplaced,
            "n": len(stars),
            "made": made,
            "truth": truth,
            "ranks": ranks,
            "interval": {n: np.quantile(draws[n], (0.16, 0.5, 0.84)).tolist() for n in truth},
            "stars": np.histogram(p, edges)[0].tolist(),
            "expected": np.histogram(p, edges, weights=p)[0].tolist(),
            "members": np.histogram(p[member], edges)[0].tolist(),
            "log_evidence": posterior.log_evidence,
            "log_evidence_error": posterior.log_evidence_error,
            "evaluations": posterior.evaluations,
            "cpu_seconds": posterior.cpu_seconds,
            "method": posterior.method,
            "fallback": posterior.fallback,
        }
        with file.open("a") as out:
            out.write(json.dumps(line) + "\n")
        print(
            f"{seed}: {len(stars)} stars, {posterior.method}, {posterior.evaluations} evaluations, "
            f"{posterior.cpu_seconds:.0f} CPU s {posterior.fallback}",
            flush=True,
        )


def summary(files: list[Path]) -> None:
    """Print p-values of uniform ranks, coverages and reliability."""
    lines = [json.loads(text) for file in files for text in file.read_text().splitlines()]
    n = len(lines)
    print(
        f"{n} mocks, {sum(bool(line['fallback']) for line in lines)} needed nested sampling; "
        f"median {np.median([line['evaluations'] for line in lines]):.0f} evaluations, "
        f"{np.median([line['cpu_seconds'] for line in lines]):.0f} CPU s"
    )
    print(
        f"{'parameter':>17} {'KS p':>7} {'68 %':>6} {'p':>6} {'95 %':>6} {'p':>6} {'mean rank':>9}"
    )
    for name in PRIOR:
        ranks = np.array([line["ranks"][name] for line in lines])
        row = [f"{name:>17} {kstest(ranks, 'uniform').pvalue:7.3f}"]
        for level in (0.6827, 0.9545):
            within = int((np.abs(ranks - 0.5) < 0.5 * level).sum())
            row.append(f"{within / n:6.3f} {binomtest(within, n, level).pvalue:6.3f}")
        print(" ".join(row) + f" {ranks.mean():9.3f}")
    told = [line for line in lines if line.get("made", "parsec") != "parsec"]
    known = learnt_of("mean", "parsec", ("G", "BP-RP"))
    assert known is not None
    for name, sigma in known["systematic"]["mean"].items() if told else ():
        low, middle, high = np.array([line["interval"][name] for line in told]).T
        off = np.abs(middle - [line["truth"][name] for line in told])
        half = 0.5 * (high - low)
        alone, both = (off < half).mean(), (off < np.hypot(half, sigma)).mean()
        print(
            f"{name:>17}: {np.median(off):.3f} off, ± {np.median(half):.3f} holds {alone:.2f}, "
            f"with ± {sigma:g} {both:.2f}"
        )
    fits = np.array([[x["fit_p_value"], x["fit_misplaced"]] for x in lines if "fit_p_value" in x])
    if len(fits):
        p, misplaced = fits.T
        shares = ", ".join(f"{np.mean(p < x):.3f} below {x:g}" for x in (0.5, 0.1, 0.05, 0.01))
        print(
            f"p-value of the fit, {len(fits)} mocks: {shares}, least {p.min():.2g}; "
            f"misplaced {misplaced.mean():.3f} in the mean, at most {misplaced.max():.3f}"
        )
    stars, expected, members = (
        np.sum([line[k] for line in lines], axis=0) for k in ("stars", "expected", "members")
    )
    print("membership: mean P, share of members, its binomial error, stars")
    for number, p, m in zip(stars, expected, members, strict=True):
        if number:
            share = m / number
            error = np.sqrt(max(share * (1 - share), 1e-9) / number)
            print(f"  {p / number:.3f} {share:.3f} ± {error:.3f} {number}")


def main() -> None:
    """Run what the command line asks for."""
    keep_compiled()
    if len(sys.argv) in (5, 6) and sys.argv[1] == "run":
        run(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
    elif len(sys.argv) > 2 and sys.argv[1] == "summary":
        summary([Path(a) for a in sys.argv[2:]])
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
