"""NGC 2682 (M 67): convergence of the cells, posterior with both grids, NUTS, and the cost.

    python -m benchmarks.ngc2682.main converge         cells doubled in mass and in mass ratio
    python -m benchmarks.ngc2682.main grids [LIVE [GRID]]  PARSEC and MIST, nested sampling
    python -m benchmarks.ngc2682.main nuts             NUTS beside the nested posterior of `grids`
    python -m benchmarks.ngc2682.main pull             which stars pull [M/H]
    python -m benchmarks.ngc2682.main field [SEEDS]    its density at the sample, by seed of the fit
    python -m benchmarks.ngc2682.main cost             time of a value, and of a value and gradient

The stars are those of MiMO's authors (ngc2682/ of the data, 1228 + 4857).
"""

import resource
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxcluster as jc
from benchmarks.shared import DATA, between, timed
from jaxcluster.field.error import field_error
from jaxcluster.inference.climb import climb, gradients
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.flat import Flat
from jaxcluster.jobs.model_files import load_model
from jaxcluster.jobs.stellar import cluster_of
from jaxcluster.population import grids
from jaxcluster.population.cells import RUN

LIMITS = (8.0, 18.0)
BEST = {  # start of the climb: near the published solution
    "log_age": 9.6,
    "metallicity": 0.15,
    "distance_modulus": 9.6,
    "a_v": 0.08,
    "mass_slope": -1.3,
    "binary_fraction": 0.5,
    "field_fraction": 0.06,
    "model_scatter": 0.02,
}
ABOUT = {  # how far about it the cells are tried
    "log_age": 0.01,
    "metallicity": 0.03,
    "distance_modulus": 0.03,
    "a_v": 0.02,
    "mass_slope": 0.2,
    "binary_fraction": 0.1,
    "field_fraction": 0.02,
    "model_scatter": 0.004,
}


def read():
    """Return the sample inside the limits and the field stars."""
    folder = DATA / "ngc2682"
    return (
        between(jc.from_table(folder / "cluster.parquet"), LIMITS),
        jc.from_table(folder / "field.parquet"),
    )


def best_fit(stars, field, limits=LIMITS, **options):
    """Return the maximum a posteriori parameters of a model with these options."""
    flat = Flat(load_model("mimo_cmd")(stars, field=field, limits=limits, **options))
    # errors of colours begin at 0
    start = {n: b.inv(jnp.asarray(BEST.get(n, 0.0))) for n, b in flat.bijections.items()}
    row, unravel = ravel_pytree(start)
    rows = np.asarray(row)[None]
    ends = climb(gradients(flat, unravel, rows, Stopwatch()), rows, 300)
    return flat.parameters(unravel(ends[0]))


def converge(stars, field):
    """Print ln L at the best fit and five points about it against cells, and against dwarfs."""
    best = best_fit(stars, field)
    print({name: round(float(value), 4) for name, value in best.items()})
    rng = np.random.default_rng(0)
    points = [best] + [
        {n: jnp.abs(v + ABOUT.get(n, 0.01) * rng.normal()) * jnp.sign(v) for n, v in best.items()}
        for _ in range(5)
    ]

    def at_points(masses, ratios):
        model = load_model("mimo_cmd")(
            stars, field=field, limits=LIMITS, n_masses=masses, n_mass_ratios=ratios
        )
        run = jax.jit(lambda p: model.log_likelihood(p))  # a bound method has no hash
        return np.array([float(run(p)) for p in points])

    finest = at_points(1280, 32)
    print(f"{'masses':>7} {'ratios':>7} {'cells':>7} {'ln L':>10}  less the finest's, six points")
    for masses, ratios in ((96, 6), (128, 8), (200, 14), (400, 14), (200, 28), (320, 30)):
        found = at_points(masses, ratios)
        print(
            f"{masses:7d} {ratios:7d} {masses * (ratios + RUN):7d} {found[0]:10.3f}  "
            f"{np.round(found - finest, 2)}",
            flush=True,
        )
    print(f"{1280:7d} {32:7d} {1280 * (32 + RUN):7d} {finest[0]:10.3f}")
    usual = at_points(200, 14)
    for number in (480, 240, 160):
        grids.N_DWARFS = number
        jc.load_grid.cache_clear()
        print(f"{number} dwarfs: {np.round(at_points(200, 14) - usual, 2)}", flush=True)


def cost(stars, field):
    """Print the CPU time of cells, value, and value and gradient at the best fit, of 60 calls."""
    best = best_fit(stars, field)
    for masses, ratios in ((200, 14), (128, 8)):
        options = {"n_masses": masses, "n_mass_ratios": ratios}
        model = load_model("mimo_cmd")(stars, field=field, limits=LIMITS, **options)
        functions = {
            "cells": lambda p, m=model: cluster_of(m.density(p)).cells,
            "value": model.log_likelihood,
            "value and gradient": jax.value_and_grad(model.log_likelihood),
        }
        for name, function in functions.items():
            watch = Stopwatch()
            times = timed(watch.compile(function, best), best, calls=60)
            print(
                f"{masses} x {ratios} {name:>18}: {1e3 * np.median(times):6.2f} ms, quickest "
                f"{1e3 * min(times):6.2f}, compiling {watch.compiling:.1f} s",
                flush=True,
            )


def field_at_sample(stars, field_stars, seeds):
    """Print the sum of ln φ at the sample by seed; halves of the field against the error said."""
    for seed in range(seeds):
        begin = time.process_time()
        fit = jc.fit_field(field_stars, LIMITS, n_stars=len(stars), key=jax.random.key(seed))
        spent = time.process_time() - begin
        said = field_error(fit, stars, np.ones((1, len(stars))))
        print(
            f"{seed}: {float(fit(stars).sum()):.1f} ± {said.scatter:.1f}, bias {-said.bias:.1f}, "
            f"{fit.hyperparameters}, {spent:.1f} CPU s",
            flush=True,
        )
    rng = np.random.default_rng(0)
    samples = {len(stars): stars, 100: stars[np.sort(rng.permutation(len(stars))[:100])]}
    squares = {n: [] for n in samples}
    for seed in range(seeds):
        halves = np.array_split(rng.permutation(len(field_stars)), 2)
        fits = [
            jc.fit_field(
                field_stars[np.sort(half)],
                LIMITS,
                n_stars=len(stars),
                key=jax.random.key(2 * seed + i),
            )
            for i, half in enumerate(halves)
        ]
        for n, some in samples.items():
            sums = [float(fit(some).sum()) for fit in fits]
            errors = [field_error(fit, some, np.ones((1, n))).scatter for fit in fits]
            squares[n].append(((sums[0] - sums[1]) ** 2, errors[0] ** 2 + errors[1] ** 2))
    for n, pairs in squares.items():
        found, said = np.sqrt(np.mean(pairs, axis=0))
        print(f"two halves of the field at {n} stars: differ by {found:.1f}, said {said:.1f} (rms)")


def line(result, wall):
    """Print one run as a row."""
    s = result.summary()
    cells = [
        f"{n} {r['median']:.3f} ({r['q16']:.3f}, {r['q84']:.3f})"
        for n, r in s["parameters"].items()
    ]
    print("; ".join(cells))
    if s["log10_bayes_factor"] is not None:
        print(
            f"log10 BF {s['log10_bayes_factor']:.1f} ± {s['log10_bayes_factor_error']:.2f}, ln Z "
            f"{s['log_evidence']:.2f} ± {s['log_evidence_error']:.2f}, information "
            f"{s['information']:.1f}, rank p {s['insertion_rank_p']:.3f}"
        )
    print(
        f"{s['evaluations']} evaluations, {s['cpu_seconds']:.0f} CPU s + "
        f"{s['compile_seconds']:.0f} s compiling, {wall:.0f} s wall, peak memory "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB",
        flush=True,
    )


def main() -> None:
    """Run what the command line asks for."""
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    stars, field_stars = read()
    say = partial(print, file=sys.stderr, flush=True)
    run = partial(jc.bayes_factor, stars, field_stars, limits=LIMITS, progress=say)
    if what == "converge":
        converge(
            stars, jc.fit_field(field_stars, LIMITS, n_stars=len(stars), key=jax.random.key(0))
        )
    elif what == "field":
        field_at_sample(stars, field_stars, int(sys.argv[2]) if len(sys.argv) > 2 else 5)
    elif what == "cost":
        cost(stars, jc.fit_field(field_stars, LIMITS, n_stars=len(stars), key=jax.random.key(0)))
    elif what == "grids":
        live = int(sys.argv[2]) if len(sys.argv) > 2 else 200
        for grid in sys.argv[3:] or ("parsec", "mist"):
            begin = time.monotonic()
            print(f"\n{grid}, {live} live points")
            sampler = partial(jc.nested, live=live)
            line(run(key=jax.random.key(1), sampler=sampler, grid=grid), time.monotonic() - begin)
    elif what == "nuts":
        begin = time.monotonic()
        line(
            run(key=jax.random.key(2), sampler=partial(jc.nuts, warmup=400, draws=400)),
            time.monotonic() - begin,
        )
    elif what == "pull":
        field = jc.fit_field(field_stars, LIMITS, n_stars=len(stars), key=jax.random.key(0))
        best = best_fit(stars, field)
        model = load_model("mimo_cmd")(stars, field=field, limits=LIMITS)
        at = jax.jit(lambda m: model.pointwise({**best, "metallicity": m}))
        step, here = 0.01, best["metallicity"]
        slope = np.asarray(at(here + step) - at(here - step)) / (2 * step)
        print("ln L per dex of [M/H] by magnitude; positive pulls up")
        for low in range(8, 18):
            chosen = np.asarray((stars.x[:, 0] >= low) & (stars.x[:, 0] < low + 1))
            print(f"G {low}-{low + 1}: {chosen.sum():4d} stars, {slope[chosen].sum():8.1f}")
        print("best fit without the faint stars, and without the bright ones")
        for limits in (LIMITS, (8.0, 16.0), (13.0, 18.0), (8.0, 15.0)):
            for grid in ("parsec", "mist"):
                some, others = between(stars, limits), between(field_stars, limits)
                field = jc.fit_field(others, limits, n_stars=len(some), key=jax.random.key(0))
                best = best_fit(some, field, limits, grid=grid)
                shown = {n: round(float(v), 3) for n, v in best.items()}
                print(
                    f"G {limits[0]:g}-{limits[1]:g} {grid} {len(some)} stars: {shown}", flush=True
                )
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
