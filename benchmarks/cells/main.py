"""What the cells of `mimo_cmd` cost in ln L, against far finer ones.

    python -m benchmarks.cells.main [MASSES RATIOS ...]    96 6, 128 8, 200 14 and 320 30 by default

4000 stars are simulated in each case, Gaia's errors, G 8 to 18, and ln [(1 − f) p + f/40], f = ¼,
is compared star by star with that of 1280 × 56 cells. Columns are for 400 stars: 400 times the mean
difference, 20 times its standard deviation, the largest difference of ten samples of 400; and CPU
milliseconds of a likelihood of the 4000, quickest of six.
"""

import sys

import jax
import numpy as np

import jaxcluster as jc
from benchmarks.shared import header, keep_compiled, state, timed
from jaxcluster.population.simulate import TRUTH, simulate_cluster

LIMITS = (8.0, 18.0)
FIELD = 0.25, 1.0 / 40.0  # share, density
FINEST = (1280, 56)
CASES = {
    "log age 8": {"log_age": 8.0, "distance_modulus": 11.5, "model_scatter": 0.003},
    "log age 6.8": {"log_age": 6.8, "distance_modulus": 10.0, "model_scatter": 0.004},
    "near": {"log_age": 8.5, "distance_modulus": 6.0, "model_scatter": 0.003},
    "log age 9.6": {"log_age": 9.6, "distance_modulus": 9.5, "model_scatter": 0.005},
    "usual": {},
}


def main() -> None:
    """Print a line for each case and number of cells."""
    keep_compiled()
    numbers = [int(text) for text in sys.argv[1:]] or [96, 6, 128, 8, 200, 14, 320, 30]
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    print(state())
    row = header("case", "cells", "mean", "scatter", "largest", "ms")
    for name, change in CASES.items():
        truth = {**TRUTH, **change}
        stars = jc.from_table(simulate_cluster(jax.random.key(0), 4000, truth, grid, LIMITS))

        def compiled(masses, ratios, stars=stars):
            population = jc.PopulationModel(
                grid=grid,
                errors=jc.ErrorModel.of(stars),
                columns=stars.columns,
                limits=LIMITS,
                n_masses=masses,
                n_mass_ratios=ratios,
            )
            return jax.jit(lambda p: population(p)(stars))

        def log_p(values):
            return np.logaddexp(np.log1p(-FIELD[0]) + values, np.log(FIELD[0] * FIELD[1]))

        finest = log_p(compiled(*FINEST)(truth))
        for masses, ratios in zip(numbers[::2], numbers[1::2], strict=True):
            function = compiled(masses, ratios)
            error = log_p(function(truth)) - finest
            milliseconds = 1e3 * timed(function, truth, calls=6).min()
            row(
                name,
                f"{masses} × {ratios}",
                f"{400 * error.mean():.2f}",
                f"{20 * error.std():.2f}",
                f"{np.abs(error.reshape(10, 400).sum(axis=1)).max():.2f}",
                f"{milliseconds:.0f}",
            )


if __name__ == "__main__":
    main()
