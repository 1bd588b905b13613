"""A cluster in bands that are not Gaia's, through the command: Pan-STARRS, simulated.

    python -m benchmarks.bands.main OUT        OUT/cluster.ecsv and field.ecsv, 240 and 1500 stars
    jaxcluster bayes-factor OUT/cluster.ecsv --field OUT/field.ecsv --grid ISOCHRONES \
        --columns PS_i,PS_g-PS_i --column PS_g=gmag --column PS_i=imag --limits 14,20

ISOCHRONES is the MIST file of `shared/data/isochrone_files`: one isochrone, of 12 Gyr and [M/H]
-1.35, so that age and metallicity are fixed. Columns have the names of VizieR. 200 of the 240 are
members; the field are stars of that isochrone at all distances, behind extinction that grows.
"""

import sys
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

import jaxcluster as jc
from benchmarks.shared import DATA
from jaxcluster.population.simulate import draw_systems

ISOCHRONES = DATA / "isochrone_files" / "mist_v1.2_panstarrs.iso.cmd"
TRUTH = {
    "distance_modulus": 12.5,
    "a_v": 0.6,
    "mass_slope": -2.0,
    "binary_fraction": 0.3,
    "model_scatter": 0.01,
}
LIMITS = 14.0, 20.0  # i
FAINTEST = 23.0
MEMBERS, OTHERS, FIELD = 200, 40, 1500


def observe(rng, magnitudes: np.ndarray, scatter: float) -> Table:
    """Magnitudes (g, i) as measured, errors growing with the magnitude."""
    magnitudes = magnitudes[magnitudes.max(axis=1) < FAINTEST]  # beyond, errors are magnitudes
    table = Table()
    for name, true in zip(("gmag", "imag"), magnitudes.T, strict=True):
        error = np.hypot(0.005, 0.01 * 10.0 ** (0.3 * (true - 19.0)))
        table[name] = true + np.hypot(error, scatter) * rng.normal(size=len(true))
        table[f"e_{name}"] = error
    return table


def inside(table: Table, n: int) -> Table:
    """The first n between the limits."""
    magnitude = np.asarray(table["imag"])
    chosen = table[(magnitude > LIMITS[0]) & (magnitude < LIMITS[1])]
    assert len(chosen) >= n
    return chosen[:n]


def field_stars(rng, grid: jc.IsochroneGrid, n: int) -> Table:
    """Stars at distances d² dd to 8 kpc, 0.2 mag of A_V a kpc."""
    parts = []
    for _ in range(200):
        distance = 8.0 * rng.uniform() ** (1 / 3)  # kpc
        one = grid.isochrone(10.08, -1.35, min(0.2 * distance, 6.0))
        place = {"distance_modulus": 5.0 * np.log10(100.0 * distance), "mass_slope": -2.0}
        stars = draw_systems(rng, 2000, one, {**place, "binary_fraction": 0.3})
        parts.append(observe(rng, stars["magnitudes"], 0.0))
    everything = vstack(parts)
    return inside(everything[rng.permutation(len(everything))], n)


def main() -> None:
    """Write the tables."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out, rng = Path(sys.argv[1]), np.random.default_rng(1)
    out.mkdir(parents=True, exist_ok=True)
    grid = jc.load_grid(str(ISOCHRONES), ("PS_g", "PS_i"))
    isochrone = grid.isochrone(10.08, -1.35, TRUTH["a_v"])
    stars = draw_systems(rng, 20_000, isochrone, TRUTH)
    members = inside(observe(rng, stars["magnitudes"], TRUTH["model_scatter"]), MEMBERS)
    others = field_stars(rng, grid, OTHERS + FIELD)
    vstack([members, others[:OTHERS]]).write(out / "cluster.ecsv", overwrite=True)
    others[OTHERS:].write(out / "field.ecsv", overwrite=True)
    print(f"truth {TRUTH}, field fraction {OTHERS / (MEMBERS + OTHERS):.3f}; {ISOCHRONES}")


if __name__ == "__main__":
    main()
