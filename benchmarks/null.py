"""False alarms: log10 Bayes factors of samples that are field and nothing else.

    python benchmarks/null.py DATA real [DRAWS] [STARS]       stars left out of NGC 2682's field
    python benchmarks/null.py DATA density [DRAWS] [STARS]    stars drawn from the estimated density

DATA is the folder of NGC 2682 (field.parquet). Theory: E[BF | field] = 1, so of samples drawn from
the density itself at most 1 % have BF > 100, whatever the model; what real field stars show beyond
that is the error of the density. MiMO's own code has log10 BF = -0.56 ± 0.10 for 400 real ones.

`fast`, 96 × 6 cells, 100 stars: density, 8 draws: median -1.32, largest -0.90, 10 000 to 24 000
evaluations, 20 to 48 CPU s a draw on a busy core.

Measured before by nested sampling with 50 live points, 8 slices, 96 × 6 cells, 400 stars (60 to 100
CPU s a draw on a busy core, some 35 000 evaluations):

    real     10 draws: median -1.78, largest -0.77, none above 2
    density  20 draws: median -1.74, largest -1.02, none above 2
"""

import sys
import time
from functools import partial
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jaxcluster"))

import numpy as np  # noqa: E402

import jaxcluster as jc  # noqa: E402
from jaxcluster.bayes_factor import inside  # noqa: E402
from jaxcluster.model_files import load_model  # noqa: E402

LIMITS = (8.0, 18.0)
LIVE = 50  # where importance sampling fails
CELLS = {"n_masses": 96, "n_mass_ratios": 6}


def draw_from(density: jc.FieldDensity, like: jc.Stars, n: int, rng, limits=LIMITS) -> jc.Stars:
    """Draw n stars from the estimated density, with errors of real stars of like magnitude.

    By rejection from its own kernels (and floor) inside the limits.
    """
    g = density.kernels
    weights = np.asarray(g.weights) / np.asarray(g.weights).sum()
    floor = float(density.floor)
    (low, high), (blue, red) = np.asarray(density.box)
    x = np.empty((0, 2))
    while len(x) < n:
        k = rng.choice(len(weights), size=4 * n, p=weights)
        roots = np.linalg.cholesky(np.asarray(g.covs)[k])
        part = np.asarray(g.means)[k] + np.einsum("nij,nj->ni", roots, rng.normal(size=(4 * n, 2)))
        uniform = rng.uniform(size=4 * n) < floor
        part[uniform] = rng.uniform((low, blue), (high, red), size=(int(uniform.sum()), 2))
        x = np.concatenate([x, part[(part[:, 0] > limits[0]) & (part[:, 0] < limits[1])]])
    x = x[rng.permutation(len(x))[:n]]
    nearest = np.abs(np.asarray(like.x)[None, :, 0] - x[:, None, 0]).argmin(axis=1)
    return jc.Stars(x=x, noise=np.asarray(like.noise)[nearest], columns=like.columns)


def log10_bf(stars, density, key):
    """Bayes factor of these stars against this density, with its error and evaluations."""
    stars = inside(stars, LIMITS)
    model = load_model("mimo_cmd")(stars, field=density, limits=LIMITS, **CELLS)
    run = jc.fast(model, stars, key=key, live=LIVE)["posterior"].attrs
    if run["fallback"]:
        print(run["fallback"])
    null = float(model.null(stars))
    values = (run["log_evidence"] - null, run["log_evidence_error"])
    return *(v / np.log(10) for v in values), run["evaluations"], run["cpu_seconds"]


def main() -> None:
    """Print one row a draw, then the summary."""
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    field = inside(jc.from_table(Path(sys.argv[1]) / "field.parquet"), LIMITS)
    what = sys.argv[2]
    draws = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    n = int(sys.argv[4]) if len(sys.argv) > 4 else 400
    fit = partial(jc.fit_field, limits=LIMITS, n_stars=n)
    whole = fit(field, key=jax.random.key(0)) if what == "density" else None
    found = []
    for seed in range(draws):
        rng, key, begin = np.random.default_rng(seed), jax.random.key(seed), time.monotonic()
        if whole is not None:
            stars, density = draw_from(whole, field, n, rng), whole
        else:
            order = rng.permutation(len(field))
            stars, density = field[order[:n]], fit(field[order[n:]], key=key)
        value, error, evaluations, cpu = log10_bf(stars, density, key)
        found.append(value)
        print(
            f"{what} {seed}: log10 BF {value:6.2f} ± {error:.2f}  {evaluations} evaluations "
            f"{cpu:.0f} CPU s {time.monotonic() - begin:.0f} s wall",
            flush=True,
        )
    print(
        f"{what}: {n} stars, {draws} draws: median {np.median(found):.2f}, "
        f"largest {max(found):.2f}, {sum(v > 2 for v in found)} above 2"
    )


if __name__ == "__main__":
    main()
