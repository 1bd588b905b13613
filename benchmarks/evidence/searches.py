"""How many searches find the narrow maximum that has most of a posterior.

    python -m benchmarks.evidence.searches N [FIRST] [NAME]     N searches, of draws of their own

`weak` (the default): half of the weak candidate's, at log age 9.02, [M/H] -0.1, on a ridge with
wider ones at 9.2 to 9.5. `weak 17`: a fifth, a ridge of metal-poor ones at 9.6 whose scatter is
below 0.007 mag. `Berkeley_20`: 36 stars of `gaia_fields` and their parallaxes, half, at modulus
14.6 or 14.85 with a scatter of 0.01 mag, 8 nats above a wide one with 0.13. `NGC2420`: 466 stars,
magnitudes and colours alone, at distance modulus 12.07 and log age 9.31; those at 11.68 and 11.90
are 30 nats lower. A search has found it if it keeps a component there; prints the places of all
components, and the share of the pool's weights. Estimates start from two searches at least, and
find more.
"""

import sys
import time

import jax
import numpy as np
from scipy.special import logsumexp

from benchmarks.evidence.weak import candidate
from benchmarks.shared import header, keep_compiled
from jaxcluster.density.draws import systematic
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.evaluate import BATCH, Evaluate
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.importance import Prior
from jaxcluster.inference.search import FIRST, search
from jaxcluster.inference.weighted_draws import Draws

NAMES = ("distance_modulus", "log_age", "metallicity")
SOME = 200  # draws that tell the share
PLACES = {  # distance modulus and log age of the maximum, from and to
    "weak": ((10.40, 8.98), (10.68, 9.06)),
    "weak 17": ((9.5, 9.57), (9.9, 9.69)),
    "Berkeley_20": ((14.4, 9.53), (14.9, 9.75)),
    "NGC2420": ((12.04, 9.28), (12.1, 9.34)),
}


def main() -> None:
    """Search N times."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    n, first, name = [*sys.argv[1:], *("0", "weak")[len(sys.argv) - 2 :]]
    seeds = range(int(first), int(first) + int(n))
    low, high = PLACES[name]
    keep_compiled()
    model, watch = candidate(name), Stopwatch()
    prior = Prior(flat := Flat(model), jax.random.key(seeds[0]), watch)
    rough = None if model.rough is None else Flat(model, rough=True)
    evaluate = Evaluate(flat, rough, prior.unravel, watch, prior(BATCH))

    scales = flat.scales(prior.unravel(prior(1)[0]))

    def places(z):
        parameters = evaluate.describe(z)[0]
        return np.stack([np.asarray(parameters[name]) for name in NAMES], axis=-1)

    def there(place):
        return ((place[:, :2] > low) & (place[:, :2] < high)).all(axis=1)

    row = header("seed", "found", "share", "evaluations", "CPU s", "places")
    hits = 0
    for seed in seeds:
        pool = Draws(evaluate.rough, prior, FIRST)  # not counted
        before, begin = evaluate.count, time.process_time()
        rng = np.random.default_rng(seed)
        hills = places(search(pool, evaluate.gradient, scales, rng, lambda line: None).hills.means)
        spent, counted = time.process_time() - begin, evaluate.count - before
        log_w = pool.log_weights()
        weights = np.exp(log_w - logsumexp(log_w))
        hits += there(hills).any()
        row(
            seed,
            "yes" if there(hills).any() else "no",
            f"{there(places(pool.z[systematic(weights, SOME, rng)])).mean():.2f}",
            counted,
            f"{spent:.1f}",
            np.unique(hills.round(2), axis=0).tolist(),
        )
    print(f"{hits} of {len(seeds)}")


if __name__ == "__main__":
    main()
