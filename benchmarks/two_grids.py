"""Mock clusters made with one grid and fitted with both: how far the widths are honest.

    python benchmarks/two_grids.py [STARS [LIVE]]

Posterior widths contain the noise, not the isochrones' own error. Here the truth comes from one
set of tracks and the model from the other; the columns are median, half the 68 % interval, and
their difference from the truth in units of it.

`300 50`, 200 000 evaluations and 340 CPU s a fit on a busy core, differences in widths:

    made    fitted  ln Z            log age  [M/H]   A_V  distance  slope   f_b  field  scatter
    parsec  parsec  -272.55 ± 0.79     -0.9    1.0  -0.6       1.4    0.0  -0.6    0.9      0.7
    parsec  mist    -283.51 ± 0.75     -3.4   -3.2   2.5      -0.2   -0.6  -0.6    0.7      1.3
    mist    parsec  -251.00 ± 0.73      9.6   -3.5  -0.2      -4.5    1.8  -1.5    1.3      0.6
    mist    mist    -248.10 ± 0.80      1.2   -0.6  -0.0      -1.4    1.4  -1.2    1.1      0.2

So the grid's own error is 3 to 10 widths in age and three in metallicity, already for 300 stars
to G = 18 with the model scatter free, and hardly shows in the scatter: add it to any width quoted.
"""

import sys
from functools import partial

import jax

jax.config.update("jax_enable_x64", True)

import jaxcluster as jc  # noqa: E402
from jaxcluster.jobs.bayes_factor import bayes_factor  # noqa: E402
from jaxcluster.population.simulate import TRUTH, simulate_pair  # noqa: E402

LIMITS = (10.0, 18.0)
CELLS = {"n_masses": 128, "n_mass_ratios": 8}


def main() -> None:
    """Print one block for each pair of grids."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    live = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    for made in ("parsec", "mist"):
        grid = jc.load_grid(made, ("G", "BP", "RP"))
        tables = simulate_pair(jax.random.key(5), n, 4 * n, TRUTH, grid, LIMITS)
        stars, field = (jc.from_table(t) for t in tables)
        for fitted in ("parsec", "mist"):
            result = bayes_factor(
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
