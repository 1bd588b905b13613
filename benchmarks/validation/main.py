"""Vetting by `jaxcluster batch` on real data: 46 clusters, random samples of field stars, places.

    python -m benchmarks.validation.main list OUT          OUT/{clusters,fields,places}.csv
    jaxcluster batch OUT/clusters.csv --out OUT/clusters   and so on, for hours
    python -m benchmarks.validation.main summary OUT       rates, names of failures, figures

`clusters`: those of gaia_fields, by the motions of Hunt & Reffert (2024). `fields`: 600 samples of
20 to 500 stars, at most a quarter of the field, drawn from what the selection leaves as the field
of a cluster (of NGC 2682 the published one), the rest their field. `places`: 200 random positions
and motions through the clusters' own windows, those of the star nearest to a random place.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.table import Table
from matplotlib.figure import Figure

import jaxcluster as jc
from benchmarks.shared import DATA
from jaxcluster.catalogue.candidates import Candidate, read_candidates
from jaxcluster.catalogue.windows import select
from jaxcluster.figures.catalogue import THRESHOLD, histogram_figure
from jaxcluster.figures.style import CREDIT

FIELDS, PLACES = 600, 200
SIZES = 20, 500  # stars of a random sample
LEAST_FIELD = 100
LITERATURE = {
    "log_age": "log₁₀ age [yr]",
    "distance_modulus": "distance modulus [mag]",
    "a_v": "A_V [mag]",
}
R50 = 3.0  # arcmin, of a place


def clusters() -> pd.DataFrame:
    """The list of the 46."""
    table = pd.read_csv(DATA / "gaia_fields" / "clusters.csv")
    newer = table["pmra_hr"].notna()
    motions = {n: table[f"{n}_hr"].where(newer, table[n]) for n in ("pmra", "pmdec", "parallax")}
    return pd.DataFrame(
        {
            "candidate": table["file"].str.removesuffix(".parquet"),
            "stars": [str(DATA / "gaia_fields" / file) for file in table["file"]],
            "ra": table["ra"],
            "dec": table["dec"],
            **motions,
            "r50_arcmin": table["r50_arcmin"],
        }
    )


def whole_fields(list_of: Path) -> dict[str, Table]:
    """Field of each cluster as the selection leaves it, those large enough, and NGC 2682's."""
    found = {}
    for one in read_candidates(list_of):
        field = one.cut().field
        known = np.isfinite(np.asarray(field["bp_rp"], float))
        if known.sum() >= LEAST_FIELD:
            found[one.candidate] = field[known]
    found["NGC2682"] = jc.read_table(DATA / "ngc2682" / "field.parquet")
    return found


def random_fields(out: Path) -> None:
    """Write samples of field stars and what is left of each field."""
    fields, rng, rows = whole_fields(out / "clusters.csv"), np.random.default_rng(0), []
    names = sorted(fields)
    for number in range(FIELDS):
        name = names[number % len(names)]
        field = fields[name]
        most = min(SIZES[1], len(field) // 4)
        n = int(np.exp(rng.uniform(np.log(SIZES[0]), np.log(max(most, SIZES[0] + 1)))))
        order = rng.permutation(len(field))
        row = {"candidate": f"{number:03d}-{name}"}
        for kind, some in (("sample", order[:n]), ("field", order[n:])):
            row[kind] = f"fields/{number:03d}-{kind}.parquet"
            jc.write_table(field[np.sort(some)], out / row[kind])
        rows.append(row)
    pd.DataFrame(rows).to_csv(out / "fields.csv", index=False)


def places(out: Path) -> None:
    """Write random places with the motion and parallax of a star there."""
    rng, rows = np.random.default_rng(1), []
    listed = {one.candidate: one for one in read_candidates(out / "clusters.csv")}
    tables = {name: jc.read_table(one.stars) for name, one in listed.items()}
    usual = {name: complete(table) for name, table in tables.items()}
    while len(rows) < PLACES:
        name = rng.choice(sorted(listed))
        star = usual[name].iloc[rng.integers(len(usual[name]))]
        near = {n: float(star[n]) for n in ("ra", "dec", "pmra", "pmdec", "parallax")}
        one = Candidate(
            candidate=f"{len(rows):03d}-{name}", stars=listed[name].stars, **near, r50_arcmin=R50
        )
        if is_cluster(one, listed[name]):
            continue
        try:
            chosen = select(tables[name], one)
        except ValueError:
            continue
        if len(chosen.sample) >= SIZES[0] and len(chosen.field) >= LEAST_FIELD:
            rows.append(one.record())
    pd.DataFrame(rows).to_csv(out / "places.csv", index=False)


def complete(table: Table) -> pd.DataFrame:
    """Stars brighter than G = 17 with all that a place needs."""
    frame = table["ra", "dec", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp"].to_pandas()
    return frame[frame["phot_g_mean_mag"] < 17.0].dropna()


def is_cluster(place: Candidate, cluster: Candidate) -> bool:
    """Whether the place's motion is the cluster's, within what its window lets through."""
    off = np.hypot(place.pmra - cluster.pmra, place.pmdec - cluster.pmdec)
    return off < 1.0 and abs(place.parallax - cluster.parallax) < 0.3


def summary(out: Path) -> None:
    """Rates above the threshold with binomial errors, names, and the figure."""
    found = {}
    for kind in ("clusters", "fields", "places"):
        path = out / kind / "results.parquet"
        if not path.is_file():
            continue
        rows = pd.read_parquet(path)
        value = rows["log10_bayes_factor"]
        above = value > THRESHOLD
        found[kind] = value.to_numpy()
        share = above.mean()
        error = np.sqrt(share * (1 - share) / len(rows))
        print(
            f"{kind}: {above.sum()} of {len(rows)} above {THRESHOLD:g} ({share:.3f} ± {error:.3f})"
        )
        wrong = rows[~above if kind == "clusters" else above]
        for _, row in wrong.iterrows():
            print(
                f"    {row['candidate']}: {row['log10_bayes_factor']:.2f} ± "
                f"{row['log10_bayes_factor_total_error']:.2f}, {row['n_stars']} stars, "
                f"{row['n_field']} field; {row['message'] or row['flags'] or ''}"
            )
        seconds = rows["cpu_seconds"]
        print(
            f"    CPU s: median {seconds.median():.0f}, largest {seconds.max():.0f}; "
            f"{(rows['method'] == 'nested').sum()} by nested sampling"
        )
        if kind == "clusters":
            against_literature(rows).savefig(out / "literature.png", dpi=150)
    histogram_figure(found, CREDIT).savefig(out / "bayes_factors.png", dpi=150)


def against_literature(rows: pd.DataFrame) -> Figure:
    """Print differences to Cantat-Gaudin et al. (2020), who give no errors; draw them."""
    table = pd.read_csv(DATA / "gaia_fields" / "clusters.csv")
    table["candidate"] = table["file"].str.removesuffix(".parquet")
    both = rows.merge(table, on="candidate")
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for number, (name, label) in enumerate(LITERATURE.items(), 1):
        ax = figure.add_subplot(1, 3, number)
        theirs, ours = both[name], both[f"{name}_median"]
        low, high = both[f"{name}_q16"], both[f"{name}_q84"]
        off = ours - theirs
        scatter = 1.4826 * (off - off.median()).abs().median()
        ends = [min(theirs.min(), ours.min()), max(theirs.max(), ours.max())]
        ax.plot(ends, ends, color="0.6", lw=0.8)
        bars = np.clip([ours - low, high - ours], 0.0, None)
        ax.errorbar(theirs, ours, yerr=bars, fmt="o", ms=3, lw=0.7, color="#1f4e79")
        ax.set_xlabel(f"{label}, Cantat-Gaudin+ 2020")
        ax.set_ylabel(f"{label}, jaxcluster")
        ax.set_title(f"difference: median {off.median():+.2f}, scatter {scatter:.2f}", fontsize=9)
        far = both[(off - off.median()).abs() > 4 * scatter]
        print(
            f"    {name}: median difference {off.median():+.3f}, scatter {scatter:.3f} "
            f"({off.notna().sum()} clusters); beyond four of it: "
            f"{', '.join(f'{c} {off[i]:+.2f}' for i, c in far['candidate'].items())}"
        )
    return figure


def main() -> None:
    """Run what the command line asks for."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("list", "summary"):
        raise SystemExit(__doc__)
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    if sys.argv[1] == "summary":
        summary(out)
        return
    clusters().to_csv(out / "clusters.csv", index=False)
    random_fields(out)
    places(out)


if __name__ == "__main__":
    main()
