"""Mock clusters made with one grid and fitted with both: how far the widths are honest.

    python -m benchmarks.two_grids.main [STARS [LIVE]]

Posterior widths contain the noise, not the isochrones' own error. Here the truth comes from one
set of tracks and the model from the other; the columns are median, half the 68 % interval, and
their difference from the truth in units of it.
"""

import sys
from functools import partial

import jax

import jaxcluster as jc
from benchmarks.shared import keep_compiled
from jaxcluster.population.simulate import TRUTH, simulate_pair

LIMITS = (10.0, 18.0)
CELLS = {"n_masses": 128, "n_mass_ratios": 8, "isochrone_error": 0}


def main() -> None:
    """Print one block for each pair of grids."""
    keep_compiled()
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    live = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    for made in ("parsec", "mist"):
        grid = jc.load_grid(made, ("G", "BP", "RP"))
        tables = simulate_pair(jax.random.key(5), n, 4 * n, TRUTH, grid, LIMITS)
        stars, field = (jc.from_table(t) for t in tables)
        for fitted in ("parsec", "mist"):
            result = jc.bayes_factor(
                stars,
                field,
                key=jax.random.key(1),
                limits=LIMITS,
                sampler=partial(jc.nested, live=live),
                grid=fitted,
                **CELLS,
            )
            s = result.summary()
            print(
                f"\nmade with {made}, fitted with {fitted}: ln Z {s['log_evidence']:.2f} ± "
                f"{s['log_evidence_error']:.2f}, log10 BF {s['log10_bayes_factor']:.1f}, "
                f"{s['evaluations']} evaluations, {s['cpu_seconds']:.0f} CPU s"
            )
            for name, row in s["parameters"].items():
                width = 0.5 * (row["q84"] - row["q16"])
                off = (row["median"] - TRUTH[name]) / width
                print(
                    f"  {name:17} {row['median']:8.3f} ± {width:.3f}   truth {TRUTH[name]:6.3f}"
                    f"   {off:+5.1f} widths",
                    flush=True,
                )


if __name__ == "__main__":
    main()
