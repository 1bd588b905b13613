"""Random places in real fields without a cluster: is the field from what is left over right?

    python -m benchmarks.null.places [PLACES [FACTORS]]

A place is a random star brighter than G = 16.5 of Berkeley 25, 26 or 73's box (outside of 0.06
degrees, where the cluster is); its sample are the 80 stars nearest in proper motion and parallax,
in units of their errors (and 0.3 mas/yr, 0.03 mas), as an astrometric selection of a cluster there
would have them. The field are of what is left over the stars of like parallax, before, and of those
the ones of the nearest proper motions (`split`, what `--field-from-members` takes), after. Printed:
mean ln φ of the samples' stars, and log10 BF of the first FACTORS places of each field.
"""

import sys

import jax
import numpy as np
import pandas as pd
from astropy.table import Table

import jaxcluster as jc
from benchmarks.null.main import log10_bf
from benchmarks.shared import DATA, header, keep_compiled
from jaxcluster.field.density import fit_field
from jaxcluster.jobs.split import like

LIMITS = (8.0, 18.5)
STARS = 80
FIELDS = ("Berkeley_25", "Berkeley_26", "Berkeley_73")
OWN = {"pmra": 0.3, "pmdec": 0.3, "parallax": 0.03}  # mas/yr, mas


def read(name: str) -> pd.DataFrame:
    """Stars with astrometry and colours, outside of the cluster."""
    table = pd.read_parquet(DATA / f"gaia_fields_deep/{name}.parquet")
    table = table.dropna(subset=[*OWN, "bp_rp", "phot_g_mean_mag"])
    ra, dec = table["ra"].median(), table["dec"].median()
    away = np.hypot((table["ra"] - ra) * np.cos(np.radians(dec)), table["dec"] - dec)
    return table[(away > 0.06) & table["phot_g_mean_mag"].between(*LIMITS)].reset_index(drop=True)


def place(table: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sample and what is left over of a place that has as many stars within 3 σ."""
    while True:
        star = table.iloc[rng.integers(len(table))]
        if star["phot_g_mean_mag"] > 16.5:
            continue
        chi2 = sum(
            (table[c] - star[c]) ** 2 / (table[f"{c}_error"] ** 2 + s**2) for c, s in OWN.items()
        )
        rows = np.argsort(np.asarray(chi2))[:STARS]
        if chi2[rows[-1]] < 9.0:
            return table.iloc[rows], table.drop(index=rows)


def main() -> None:
    """Print one row a field."""
    places, factors = ([*map(int, sys.argv[1:]), *(34, 0)[len(sys.argv) - 1 :]])[:2]
    keep_compiled()
    row = header("field", "places", "ln φ before", "after", "gain", "least gain", "field after")
    for name in FIELDS:
        table, rng, found = read(name), np.random.default_rng(0), []
        for number in range(places):
            sample, others = place(table, rng)
            ours, theirs = Table.from_pandas(sample), Table.from_pandas(others)
            of_parallax = others.iloc[like(ours["parallax", "parallax_error"], theirs)]
            nearest = others.iloc[like(ours, theirs)]
            stars = jc.from_table(sample)
            fits = [
                fit_field(jc.from_table(f), LIMITS, n_stars=STARS, key=jax.random.key(number))
                for f in (of_parallax, nearest)
            ]
            found.append((*(float(phi(stars).mean()) for phi in fits), len(nearest)))
            if number < factors:
                values = [log10_bf(stars, phi, LIMITS, jax.random.key(number))[0] for phi in fits]
                print(
                    f"{name} {number}: log10 BF {values[0]:.2f} before, {values[1]:.2f} after",
                    flush=True,
                )
        before, after, n = np.array(found).T
        gain = after - before
        cells = before.mean(), after.mean(), gain.mean(), gain.min()
        row(name, places, *(f"{value:.3f}" for value in cells), f"{n.mean():.0f}")


if __name__ == "__main__":
    main()
