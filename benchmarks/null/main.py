"""False alarms: log10 Bayes factors of samples that are field and nothing else.

    python -m benchmarks.null.main FIELD real DRAWS STARS N_FIELD [FAINT [FIRST]]
        stars of the field
    python -m benchmarks.null.main FIELD density DRAWS STARS N_FIELD [FAINT [FIRST]]

FIELD is a table of field stars (NGC 2682's, or one of gaia_fields_deep), FAINT the faint limit
(18). `real` leaves STARS of them out at random and estimates the density from N_FIELD others;
`density` draws the stars from the density estimated from N_FIELD. Theory: E[BF | field] = 1, so of
samples drawn from the density itself at most 1 % have BF > 100, whatever the model; what real field
stars show beyond that is the error of the density. MiMO's own code has log10 BF = -0.56 ± 0.10 for
400 real ones of NGC 2682.
"""

import sys
import time
from functools import partial

import jax
import numpy as np

import jaxcluster as jc
from benchmarks.shared import between, keep_compiled
from jaxcluster.jobs.model_files import load_model

BRIGHT = 8.0
LIVE = 50  # where importance sampling fails
CELLS = {"n_masses": 96, "n_mass_ratios": 6}


def draw_from(density: jc.FieldDensity, like: jc.Stars, n: int, rng) -> jc.Stars:
    """Draw n stars from the estimated density, with errors of real stars of like magnitude."""
    x = density.sample(n, rng)
    nearest = np.abs(np.asarray(like.x)[None, :, 0] - x[:, None, 0]).argmin(axis=1)
    return jc.Stars(x=x, noise=np.asarray(like.noise)[nearest], columns=like.columns)


def log10_bf(stars, density, limits, key):
    """Bayes factor of these stars against this density, and the posterior."""
    stars = between(stars, limits)
    model = load_model("mimo_cmd")(stars, field=density, limits=limits, **CELLS)
    run = jc.fast(model, key=key, live=LIVE, tolerance=0.2, confirm_nulls=False)  # as `batch`
    return (run.log_evidence - model.null) / np.log(10), run


def main() -> None:
    """Print one row a draw, then the summary."""
    if len(sys.argv) < 6:
        raise SystemExit(__doc__)
    keep_compiled()
    what, numbers = sys.argv[2], [int(a) for a in sys.argv[3:6]]
    faint = float(sys.argv[6]) if len(sys.argv) > 6 else 18.0
    first = int(sys.argv[7]) if len(sys.argv) > 7 else 0
    draws, n, n_field = numbers
    limits = (BRIGHT, faint)
    field = between(jc.from_table(sys.argv[1]), limits)
    n_field = min(n_field, len(field) - n if what == "real" else len(field))
    fit = partial(jc.fit_field, limits=limits, n_stars=n)
    found = []
    for seed in range(first, first + draws):
        rng, key, begin = np.random.default_rng(seed), jax.random.key(seed), time.process_time()
        order = rng.permutation(len(field))
        density = fit(field[np.sort(order[n : n + n_field])], key=key)
        real = what == "real"
        stars = field[np.sort(order[:n])] if real else draw_from(density, field, n, rng)
        value, run = log10_bf(stars, density, limits, key)
        found.append(value)
        print(
            f"{what} {seed}: log10 BF {value:6.2f} ± {run.log_evidence_error / np.log(10):.2f}  "
            f"{run.evaluations} evaluations {time.process_time() - begin:.0f} CPU s "
            f"{run.fallback}",
            flush=True,
        )
    print(
        f"{what}: {n} stars, {n_field} field stars, {draws} draws: median {np.median(found):.2f}, "
        f"largest {max(found):.2f}, {sum(v > 2 for v in found)} above 2"
    )


if __name__ == "__main__":
    main()
