"""CPU seconds of compiling the likelihood of n stars, which must not grow with n.

    python -m benchmarks.compile.main [N ...]    1000, 4000 and 16 000 by default

`mimo_cmd` on its simulated cluster, 96 × 6 cells: 96 values of the likelihood, and 12 values and
gradients, as the samplers ask for them. Nothing is read from a compilation cache. On JAX 0.11 and
0.12 the first took 64 CPU s for 1000 stars and more than 8 minutes for 4000, before the search of
tiles in `density.local` was written as a sum (0.10: 7).
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxcluster as jc
from benchmarks.shared import between, header, state
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.jobs.model_files import load_model
from jaxcluster.population.simulate import TRUTH, simulate_pair

LIMITS = (10.0, 18.0)
CELLS = {"n_masses": 96, "n_mass_ratios": 6, "isochrone_error": 0}
VALUES, GRADIENTS = 96, 12


def model_of(n: int) -> jc.Model:
    """Model of n simulated stars."""
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    tables = simulate_pair(jax.random.key(0), n, 500, TRUTH, grid, LIMITS)
    stars, field = (between(jc.from_table(table), LIMITS) for table in tables)
    density = jc.fit_field(field, LIMITS, n_stars=len(stars), key=jax.random.key(0))
    return load_model("mimo_cmd")(stars, field=density, limits=LIMITS, **CELLS)


def main() -> None:
    """Print a line for each n: seconds of compiling, of one call, and its value."""
    print(state())
    row = header("n", "96 values", "run [s]", "12 gradients", "run [s]", "ln L")
    for n in [int(text) for text in sys.argv[1:]] or [1000, 4000, 16_000]:
        model = model_of(n)
        cells = []
        for many, function in (
            (VALUES, model.log_likelihood),
            (GRADIENTS, jax.value_and_grad(model.log_likelihood)),
        ):
            points = {k: jnp.full(many, v) for k, v in TRUTH.items()}
            watch = Stopwatch()
            run = watch.compile(lambda p, f=function: jax.lax.map(f, p), points)
            run(points)
            begin = time.process_time()
            values = jax.block_until_ready(run(points))
            cells += [f"{watch.compiling:.1f}", f"{time.process_time() - begin:.2f}"]
        row(n, *cells, f"{np.asarray(values[0])[0]:.6f}")


if __name__ == "__main__":
    main()
