"""How many searches find the narrow maximum of the weak candidate, which has half of its posterior.

    python -m benchmarks.evidence.searches N [FIRST]     N searches, each from draws of its own

It lies on a ridge at log age 9.02, [M/H] -0.1, 0.02 standard deviations of the prior wide in age
and distance, beside wider ones at 9.2 to 9.5. A search has found it if it keeps a component there;
prints the places of all components, and the share of the pool's weights. Estimates start from two
searches at least, and find more.
"""

import sys
import time

import jax
import numpy as np

from benchmarks.evidence.weak import candidate
from benchmarks.shared import header, keep_compiled
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.evaluate import BATCH, Evaluate
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.importance import Prior
from jaxcluster.inference.search import FIRST, search
from jaxcluster.inference.weighted_draws import Draws

NAMES = ("log_age", "distance_modulus", "metallicity")
LOW, HIGH = (0.535, -0.02), (0.595, 0.035)  # age and distance, in standard deviations of the prior


def main() -> None:
    """Search N times."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    n, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    keep_compiled()
    flat, watch = Flat(candidate("weak")), Stopwatch()
    prior = Prior(flat, jax.random.key(first), watch)
    evaluate = Evaluate(flat, None, prior.unravel, watch, prior(BATCH))
    order = [sorted(flat.bijections).index(name) for name in NAMES]

    def there(z):
        place = z[:, order[:2]]
        return ((place > LOW) & (place < HIGH)).all(axis=1)

    row = header("seed", "found", "share", "evaluations", "CPU s", "places")
    hits = 0
    for seed in range(first, first + n):
        pool = Draws(evaluate.rough, prior, FIRST)  # not counted
        before, begin = evaluate.count, time.process_time()
        rng = np.random.default_rng(seed)
        hills = search(pool, evaluate.gradient, rng, lambda line: None).hills
        weights = np.exp(pool.log_weights() - pool.log_weights().max())
        found = there(hills.means).any()
        hits += found
        row(
            seed,
            "yes" if found else "no",
            f"{weights[there(pool.z)].sum() / weights.sum():.2f}",
            evaluate.count - before,
            f"{time.process_time() - begin:.1f}",
            np.unique(hills.means[:, order].round(2), axis=0).tolist(),
        )
    print(f"{hits} of {n}")


if __name__ == "__main__":
    main()
