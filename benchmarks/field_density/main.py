"""Mean ln φ of held-out field stars: the published recipe beside `fit_field` and its parts."""

import sys
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from benchmarks.shared import DATA
from jaxcluster.density.stars import Stars
from jaxcluster.field.density import FieldDensity, fit_field, published_kde
from jaxcluster.field.gaussians import FOLDS

FIELDS = {
    "NGC 2682": "ngc2682/field.parquet",
    "Berkeley 25": "gaia_fields_deep/Berkeley_25.parquet",
    "Berkeley 26": "gaia_fields_deep/Berkeley_26.parquet",
}
# (8, 18) leaves NGC 2682 DESIGN.md's 4253 + 600 stars; to G = 18 Berkeley 25 has only 279 + 600
LIMITS = {"NGC 2682": (8.0, 18.0), "Berkeley 25": (8.0, 19.0), "Berkeley 26": (8.0, 19.0)}
SIZES = (50, 100, 200, 500, None)
HELD_OUT = 600
# DESIGN.md, "The colour-magnitude model", item 6: published, kernels, Gaussians, stack
DESIGN = {
    ("NGC 2682", 100): (-2.55, -2.36, -2.32, -2.30),
    ("NGC 2682", 500): (-2.22, -2.23, -2.19, -2.17),
    ("NGC 2682", None): (-2.10, -2.16, -2.11, -2.10),
    ("Berkeley 25", 100): (-1.92, -1.76, -1.77, -1.73),
    ("Berkeley 25", 500): (-1.64, -1.61, -1.70, -1.61),
    ("Berkeley 26", 100): (-1.84, -1.71, -1.75, -1.69),
    ("Berkeley 26", 500): (-1.59, -1.62, -1.60, -1.57),
}


def read(path: Path, limits) -> Stars:
    table = pd.read_parquet(path)
    if "bp_rp_error" not in table:
        bp, rp = table["phot_bp_mean_mag_error"], table["phot_rp_mean_mag_error"]
        table["bp_rp_error"] = np.hypot(bp, rp)
    table = table[["phot_g_mean_mag", "bp_rp", "phot_g_mean_mag_error", "bp_rp_error"]].dropna()
    table = table[table["phot_g_mean_mag"].between(*limits)].to_numpy(float)
    return Stars(table[:, :2], table[:, 2:, None] ** 2 * np.eye(2), ("G", "BP-RP"))


def parts(phi: FieldDensity, stars: Stars) -> tuple[float, float]:
    """Mean ln φ of the kernels alone and of the Gaussians alone, each with the floor."""
    k, n = FOLDS * phi.hyperparameters.components, phi.n_field
    m = phi.n_kernels
    share = (1 - phi.floor) * phi.hyperparameters.kde_weight
    floor = phi.floor * 1 / (np.ptp(phi.box[0]) * (np.ptp(phi.box[1]) + 2.0))
    means = []
    for rows, weight in ((slice(0, m), share), (slice(m, m + k), 1 - phi.floor - share)):
        part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], phi.kernels)
        density = np.exp(part(Stars(stars.x, 0 * stars.noise, stars.columns))) / weight
        means.append(float(np.log(n / (n + 1) * density + floor).mean()))
    return means[0], means[1]


def main(data: Path, splits: int):
    print("field       stars  published  kernels  Gaussians   stack  CPU s   DESIGN.md")
    for name, path in FIELDS.items():
        stars = read(data / path, LIMITS[name])
        for size in SIZES:
            n = min(size or len(stars), len(stars) - HELD_OUT)
            if size and n < size:
                continue
            rows = []
            for seed in range(splits if size else max(1, splits // 4)):
                order = np.random.default_rng(seed).permutation(len(stars))
                test, train = stars[order[:HELD_OUT]], stars[order[HELD_OUT:][:n]]
                published = published_kde(train, LIMITS[name])
                start = time.process_time()
                phi = fit_field(train, LIMITS[name], n_stars=100, key=jax.random.key(seed))
                cpu = time.process_time() - start
                old = float(published(test).mean())
                new = float(phi(test).mean())
                rows.append((old, *parts(phi, test), new, cpu))
            old, kernels, gaussians, new, cpu = np.mean(rows, axis=0)
            trial = " ".join(f"{v:.2f}" for v in DESIGN.get((name, size), ()))
            print(
                f"{name:11s} {n:5d}  {old:9.3f}  {kernels:7.3f}  {gaussians:9.3f}  {new:6.3f}"
                f"  {cpu:5.1f}   {trial}",
                flush=True,
            )


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else DATA,
        int(sys.argv[2]) if len(sys.argv) > 2 else 8,
    )
