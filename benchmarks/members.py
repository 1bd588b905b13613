"""Clusters found in raw fields: 46 with one, and fields without.

    python benchmarks/members.py DATA fields [SEED]    the 46 of gaia_fields, beside clusters.csv
    python benchmarks/members.py DATA null [FIELDS]    simulated from those fields' other components
    python benchmarks/members.py DATA cap              the Galactic cap of null_fields, six seeds
    python benchmarks/members.py DATA ngc2323          with 200 resamplings: CPU, and how converged

DATA is the folder of gaia_fields and the others. `fields` gives the distance of the cluster's mean
from Hunt & Reffert (2024; DR2 where they have none) in the worse proper motion [mas/yr] and in
parallax [mas], and how concentrated members (P ≥ 0.9) are on the sky, which the fit does not know:
their surface density within r50 over that beyond 2.5 r50, in units of the other stars' (nan where
fewer than five of those are on either side).

`fields`, 2026-11-23: seed 0 44, seed 1 45 of 46 (bar: 42), 0.3 to 4 CPU s a field, compiling
included. AM 2 (29 members of 452 stars) has no component narrower than 0.31 mas/yr with seed 0;
NGC 1980 is 0.101 mas/yr from the reference with seed 0. NGC 2158's field has M 35 as a second
cluster at (2.27, -2.96, 1.15). Members are 4 (NGC 2506, which fills its field) to 500 times as
concentrated as the other stars.
`null`: 1 of 100 fields without a cluster has one (32 stars of NGC 225's field, 0.34 mas/yr wide).
`cap`: no cluster with any of six seeds.
`ngc2323`: 19 CPU s, 27 with compiling (bar 30), 719 members with P ≥ 0.9 and 841 in 90 % of the
resamplings; these take 28 passes in the median and 20 of them are within 0.001 nats of a maximum.
"""

import os
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
os.environ.setdefault("NPROC", "1")  # of XLA's threads
jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jaxcluster"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from astropy.coordinates import SkyCoord  # noqa: E402

import jaxcluster as jc  # noqa: E402
from jaxcluster import xd  # noqa: E402
from jaxcluster.bootstrap import bootstrap_mixture  # noqa: E402
from jaxcluster.cluster_component import candidates  # noqa: E402
from jaxcluster.members import COLUMNS, SURE, find_members  # noqa: E402


def reference(row) -> np.ndarray:
    """Proper motion and parallax of a line of clusters.csv."""
    at = np.array([row.pmra_hr, row.pmdec_hr, row.parallax_hr])
    return at if np.isfinite(at).all() else np.array([row.pmra, row.pmdec, row.parallax])


def concentration(found, row) -> float:
    """Density of members within r50 over that beyond 2.5 r50, in units of that of all stars."""
    rows = np.asarray(found.stars.rows)
    sky = SkyCoord(found.table["ra"][rows], found.table["dec"][rows], unit="deg")
    away = sky.separation(SkyCoord(row.ra, row.dec, unit="deg")).arcmin
    radius = row.r50_hr_arcmin if np.isfinite(row.r50_hr_arcmin) else row.r50_arcmin
    sure, inner, outer = found.probability >= SURE, away < radius, away > 2.5 * radius
    other = ~sure
    if (other & inner).sum() < 5 or (other & outer).sum() < 5:
        return np.nan
    # the other stars measure the areas, whatever the field's shape
    expected = (other & inner).sum() / (other & outer).sum()
    return (sure & inner).sum() / max((sure & outer).sum(), 1) / expected


def fields(folder: Path, seed: int) -> None:
    right = 0
    print(f"{'field':>14}{'stars':>7}{'P>0.9':>7}{'Δ pm':>8}{'Δ plx':>8}{'inner/outer':>13}  CPU s")
    table = pd.read_csv(folder / "gaia_fields" / "clusters.csv")
    for _, row in table.iterrows():
        begin, name = time.process_time(), row.file.removesuffix(".parquet")
        found = find_members(
            folder / "gaia_fields" / row.file, key=jax.random.key(seed), resamplings=0
        )
        spent = time.process_time() - begin
        if found.cluster is None:
            ranked = [one for one in found.ranking if one.n_stars >= 10]
            print(f"{name:>14}{len(found.stars):7}  no cluster: {ranked[0].refused}", flush=True)
            continue
        away = np.abs(found.fit.mixture.means[found.cluster.component] - reference(row))
        ok = away[:2].max() < 0.1 and away[2] < 0.1
        right += ok
        others = [one for one in found.ranking if not one.refused and one != found.cluster]
        also = "".join(
            f"  also {np.round(np.asarray(found.fit.mixture.means[one.component]), 2)}"
            for one in others
        )
        print(
            f"{name:>14}{len(found.stars):7}{(found.probability >= SURE).sum():7}"
            f"{away[:2].max():8.3f}{away[2]:8.3f}{concentration(found, row):13.1f}{spent:7.1f}"
            f"{'' if ok else '  NOT THE ONE'}{also}",
            flush=True,
        )
    print(f"{right} of {len(table)} within 0.1 mas/yr and 0.1 mas")


def null(folder: Path, n: int) -> None:
    """Mixtures of the fields without what may be a cluster, drawn with the stars' own noise."""
    rng, alarms = np.random.default_rng(0), 0
    files = sorted((folder / "gaia_fields").glob("*.parquet"))
    for i in range(n):
        path = files[i % len(files)]
        stars = jc.from_table(path, COLUMNS)
        mixture = xd.fit(stars, 10, key=jax.random.key(0)).mixture
        weights = np.array(mixture.weights)
        # a cluster may be shared by two components, which then contrast little
        for one in candidates(mixture, stars, min_contrast=0.0):
            if not one.refused:
                weights[one.component] = 0.0
        most_compact = min(
            (one for one in candidates(mixture, stars) if one.n_stars >= 10),
            key=lambda one: one.entropy,
        )
        weights[most_compact.component] = 0.0
        label = rng.choice(len(weights), len(stars), p=weights / weights.sum())
        cov = np.asarray(mixture.covs)[label] + np.asarray(stars.noise)
        x = np.asarray(mixture.means)[label]
        x = x + np.einsum("nab,nb->na", np.linalg.cholesky(cov), rng.normal(size=x.shape))
        drawn = jc.Stars(x, stars.noise, stars.columns)
        again = xd.fit(drawn, 10, key=jax.random.key(i)).mixture
        found = [one for one in candidates(again, drawn) if not one.refused]
        if found:
            alarms += 1
            print(f"{path.stem} {i}: {found[0]}", flush=True)
    print(f"{alarms} of {n} fields without a cluster have one")


def cap(folder: Path) -> None:
    path = next((folder / "null_fields").glob("*.parquet"))
    for seed in range(6):
        found = find_members(path, key=jax.random.key(seed), resamplings=0)
        first = next(one for one in found.ranking if one.n_stars >= 10)
        print(f"seed {seed}: {found.cluster or 'no cluster: ' + first.refused}")


def ngc2323(folder: Path) -> None:
    path = folder / "ngc2323" / "edr3_cone_42arcmin.parquet"
    for again in ("compiling too", "compiled"):
        begin = time.process_time()
        found = find_members(path, key=jax.random.key(0), resamplings=200)
        print(f"{again}: {time.process_time() - begin:.1f} CPU s")
    boot = found.bootstrap
    print(f"passes: median {np.median(boot.passes):.0f}, most {boot.passes.max()}")
    print(f"{(found.probability >= SURE).sum()} with P ≥ 0.9, {(found.frequency >= SURE).sum()} in")
    print("90 % of the resamplings; how far below a maximum 20 of them are:")
    from jaxcluster import bootstrap

    bootstrap.TO_GO, bootstrap.MOST_PASSES = 1e-6, 1000
    jax.clear_caches()
    draw_key = jax.random.split(jax.random.key(0))[1]
    best = bootstrap_mixture(found.stars, found.fit.mixture, 20, key=draw_key)
    below = best.log_likelihood - boot.log_likelihood[:20]
    print(f"median {np.median(below):.3f} nats, most {below.max():.3f}")


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[2] not in ("fields", "null", "cap", "ngc2323"):
        raise SystemExit(__doc__)
    folder, what = Path(sys.argv[1]), sys.argv[2]
    number = int(sys.argv[3]) if len(sys.argv) > 3 else None
    if what == "fields":
        fields(folder, number or 0)
    elif what == "null":
        null(folder, number or 100)
    elif what == "cap":
        cap(folder)
    else:
        ngc2323(folder)


if __name__ == "__main__":
    main()
