"""What `jaxcluster.jobs.plausible` says of right samples and fields, and of mistaken ones.

    python -m benchmarks.plausible.main

Right pairs: of each of the 46 fields of gaia_fields the stars within 3 σ of the cluster's proper
motion and parallax, against those of like parallax and other motion, and against all others; NGC
2682; the simulated pair that is shipped. The thresholds were chosen on them. Others, taken
afterwards: of the deep fields and the one without a cluster a random tenth, the slow, the central,
the fast and the near stars, against the rest. Mistakes are made in the sample alone or, "both", in
the field too.
Parallaxes: members of Hunt & Reffert's clusters, at the isochrone distances of Dias et al. (2021).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from astropy.table import Table

import jaxcluster as jc
from benchmarks.shared import DATA, state
from jaxcluster.jobs.plausible import input_oddities, parallax_oddities
from jaxcluster.population.grids import DATA as SHIPPED

Pair = tuple[str, jc.Stars, jc.Stars]


def right_pairs() -> Iterator[Pair]:
    """Those that the thresholds were chosen on."""
    clusters = pd.read_csv(DATA / "gaia_fields" / "clusters.csv").set_index("file")
    for path in sorted((DATA / "gaia_fields").glob("*.parquet")):
        table, cluster = pd.read_parquet(path), clusters.loc[path.name]

        def away(name, width, table=table, cluster=cluster):
            hunt = cluster[f"{name}_hr"]
            value = hunt if np.isfinite(hunt) else cluster[name]
            return ((table[name] - value) / np.hypot(table[f"{name}_error"], width)) ** 2

        motion, alike = away("pmra", 0.1) + away("pmdec", 0.1), away("parallax", 0.03) < 9
        member = alike & (motion < 9)
        for other in (alike & (motion > 30), ~member):
            if member.sum() >= 10 and other.sum() >= 40:
                yield path.stem, jc.from_table(table[member]), jc.from_table(table[other])
    for name, folder, ends in (
        ("NGC 2682", DATA / "ngc2682", ("cluster.parquet", "field.parquet")),
        ("simulated", SHIPPED, ("mock_cluster.ecsv", "mock_field.ecsv")),
    ):
        sample, field = (jc.from_table(folder / end) for end in ends)
        yield name, sample, field


def other_pairs() -> Iterator[Pair]:
    """Those taken afterwards."""
    rng = np.random.default_rng(0)
    paths = sorted((DATA / "gaia_fields_deep").glob("*.parquet"))
    for path in [*paths, DATA / "null_fields" / "dr3_ra45_dec0_30arcmin.parquet"]:
        table = pd.read_parquet(path)
        motion = np.hypot(table.pmra - table.pmra.median(), table.pmdec - table.pmdec.median())
        east = (table.ra - table.ra.median()) * np.cos(np.radians(table.dec))
        radius = np.hypot(east, table.dec - table.dec.median())
        for chosen in (
            rng.uniform(size=len(table)) < 0.1,
            motion < 1.0,
            radius < radius.quantile(0.1),
            motion > motion.quantile(0.9),
            table.parallax > table.parallax.quantile(0.9),
        ):
            yield path.stem, jc.from_table(table[chosen]), jc.from_table(table[~chosen])


def shifted(stars: jc.Stars, by: float) -> jc.Stars:
    return jc.Stars(np.asarray(stars.x) + np.array([by, 0.0]), stars.noise, stars.columns)


def with_errors(stars: jc.Stars, times: float) -> jc.Stars:
    return jc.Stars(stars.x, np.asarray(stars.noise) * times**2, stars.columns)


MISTAKES = {
    "none": lambda s, f: (s, f),
    **{f"{by:+.0f} mag": lambda s, f, by=by: (shifted(s, by), f) for by in (1, -1, 5, -5)},
    "errors in per cent": lambda s, f: (with_errors(s, 100), f),
    "errors in per cent, both": lambda s, f: (with_errors(s, 100), with_errors(f, 100)),
}


def parallaxes() -> None:
    """Print how many clusters are odd at the distances of Dias et al., and 1 mag further."""
    members = pd.read_parquet(DATA / "members_1319_clusters" / "members.parquet")
    dias = pd.read_csv(DATA / "literature" / "dias_2021.csv").drop_duplicates("Cluster")
    dias, rng, found = dias.set_index("Cluster"), np.random.default_rng(0), []
    for name, group in members.groupby("cluster", observed=True):
        if str(name) not in dias.index:
            continue
        row, n = dias.loc[str(name)], len(group)
        stars = jc.Stars(np.zeros((n, 1)), np.ones((n, 1, 1)), ("G",), np.arange(n))
        table = Table({"parallax": group.parallax.to_numpy(float)})
        draws = rng.normal(5 * np.log10(row.Dist) - 5, max(2.17 * row.e_Dist / row.Dist, 0.02), 200)
        membership = np.asarray(group.probability, float)
        odd = [bool(parallax_oddities(table, stars, membership, draws + by)) for by in (0, 1)]
        found.append((1000.0 / row.Dist, *odd))
    parallax, right, further = np.array(found).T
    print(f"distances of Dias et al.: odd {int(right.sum())} of {len(right)}; 1 mag further:")
    for low, high in ((1.0, np.inf), (0.5, 1.0), (0.0, 0.5)):
        some = (parallax >= low) & (parallax < high)
        print(f"  {low} to {high} mas: {100 * further[some].mean():.0f} % of {some.sum()}")


def main() -> None:
    """Print how often something is said of each kind of pair."""
    print(state())
    for kind, pairs in (("right", list(right_pairs())), ("other", list(other_pairs()))):
        for mistake, make in MISTAKES.items():
            odd = [name for name, s, f in pairs if input_oddities(*make(s, f))]
            print(f"{kind} pairs, {mistake}: odd {len(odd)} of {len(pairs)}", flush=True)
    parallaxes()


if __name__ == "__main__":
    main()
