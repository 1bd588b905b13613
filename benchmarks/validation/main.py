"""Vetting by `jaxcluster batch` on real data: 46 clusters, random samples of field stars, places.

    python -m benchmarks.validation.main list OUT          OUT/{clusters,fields,places}.csv
    jaxcluster batch OUT/clusters.csv --out OUT/clusters   and so on, for hours
    python -m benchmarks.validation.main alike OUT         how like their fields places' samples are
    python -m benchmarks.validation.main summary OUT       rates, names of failures, figures

`clusters`: those of gaia_fields, by the motions of Hunt & Reffert (2024). `fields`: 600 samples of
20 to 500 stars, at most a quarter of the field, drawn from what the selection leaves as the field
of a cluster, of any motion (of NGC 2682 the published one), the rest their field. `places`: 200
random stars' positions and motions through the clusters' own windows, where no cluster of Hunt &
Reffert is within half a degree and these windows, twenty of a field at most.
"""

import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from astropy.table import Table
from matplotlib.figure import Figure
from scipy.stats import ks_2samp

import jaxcluster as jc
from benchmarks.shared import DATA, between, header
from jaxcluster.catalogue.candidates import Candidate, read_candidates
from jaxcluster.catalogue.windows import MOST_FIELD, WITHIN, Selection, select
from jaxcluster.figures.catalogue import THRESHOLD, histogram_figure
from jaxcluster.figures.style import CREDIT
from jaxcluster.jobs.rows import Rows
from jaxcluster.jobs.vet import FAILED, PARAMETERS

FIELDS, PLACES = 600, 200
SIZES = 20, 500  # stars of a random sample
LEAST_FIELD = 100
LABELS = {
    "log_age": "log₁₀ age [yr]",
    "distance_modulus": "distance modulus [mag]",
    "a_v": "A_V [mag]",
}
# columns of clusters.csv; those of Hunt & Reffert (2024) end in _hr
LITERATURE = {"Cantat-Gaudin+ 2020": "{}", "Hunt & Reffert 2024": "{}_hr"}
THRESHOLDS = (0.0, 1.0, 2.0, 3.0, 4.0)
LEAST_FIELDS = (0, 300, 1000, 3001)  # edges
RARE = (0.001, 0.05)
R50 = 3.0  # arcmin, of a place
TRIES, MOST_PLACES = 6000, 20  # places that are looked at, and that are taken of a field


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
        assert isinstance(one, Candidate)
        field = select(one.stars, one, least_field=MOST_FIELD).field
        known = np.isfinite(np.asarray(field["bp_rp"], float))
        if known.sum() >= LEAST_FIELD:
            found[one.candidate] = field[known]
    found["NGC2682"] = jc.read_table(DATA / "ngc2682" / "field.parquet")
    return found


def random_fields(out: Path) -> None:
    """Write samples of field stars and what is left of each field."""
    fields, rng, rows = whole_fields(out / "clusters.csv"), np.random.default_rng(0), []
    parallaxes = {
        one.candidate: one.parallax_window for one in read_candidates(out / "clusters.csv")
    }
    names = sorted(fields)
    for number in range(FIELDS):
        name = names[number % len(names)]
        field = fields[name]
        most = min(SIZES[1], len(field) // 4)
        n = int(np.exp(rng.uniform(np.log(SIZES[0]), np.log(max(most, SIZES[0] + 1)))))
        order = rng.permutation(len(field))
        window = parallaxes.get(name)  # NGC 2682's field has no parallaxes
        row: dict[str, Any] = {"candidate": f"{number:03d}-{name}"}
        row["parallax"] = None if window is None else window.centre
        for kind, some in (("sample", order[:n]), ("field", order[n:])):
            row[kind] = f"fields/{number:03d}-{kind}.parquet"
            jc.write_table(field[np.sort(some)], out / row[kind])
        rows.append(row)
    pd.DataFrame(rows).to_csv(out / "fields.csv", index=False)


def places(out: Path) -> None:
    """Write random places with the motion and parallax of a star there."""
    rng, rows, known, taken = np.random.default_rng(1), [], known_clusters(), set()
    listed = {one.candidate: one for one in read_candidates(out / "clusters.csv")}
    tables = {name: jc.read_table(one.stars) for name, one in listed.items()}
    usual = {name: complete(table) for name, table in tables.items()}
    for name in rng.choice(sorted(listed), TRIES):
        if len(rows) == PLACES or sum(name == of for of, _ in taken) == MOST_PLACES:
            continue
        star = usual[name].iloc[rng.integers(len(usual[name]))]
        near = {n: float(star[n]) for n in ("ra", "dec", "pmra", "pmdec", "parallax")}
        one = Candidate(
            candidate=f"{len(rows):03d}-{name}", stars=listed[name].stars, **near, r50_arcmin=R50
        )
        try:
            chosen = select(tables[name], one)
        except ValueError:
            continue
        enough = len(chosen.sample) >= SIZES[0] and len(chosen.field) >= LEAST_FIELD
        new = enough and (name, star.name) not in taken
        if new and not of_a_cluster(chosen.sample, one, known):
            taken.add((name, star.name))
            rows.append(one.record())
    pd.DataFrame(rows).to_csv(out / "places.csv", index=False)


@cache
def whole(path: str) -> Table:
    """A table of stars, which many places have in common."""
    return jc.read_table(path)


def complete(table: Table) -> pd.DataFrame:
    """Stars brighter than G = 17 with all that a place needs."""
    frame = table["ra", "dec", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp"].to_pandas()
    return frame[frame["phot_g_mean_mag"] < 17.0].dropna()


def known_clusters() -> pd.DataFrame:
    """Those of Hunt & Reffert (2024), and the 46."""
    table = pd.read_csv(DATA / "literature" / "hunt_reffert_2024.csv")
    names = {"RA_ICRS": "ra", "DE_ICRS": "dec", "pmRA": "pmra", "pmDE": "pmdec"}
    return pd.concat([table.rename(columns=names)[list(names.values())], clusters()])


def of_a_cluster(sample: Table, place: Candidate, known: pd.DataFrame) -> bool:
    """Whether a known cluster within half a degree may be in the sample.

    Its motion is then nearer than 0.3 mas/yr, a cluster's own, and the window of the median star.
    """
    east = (known["ra"] - place.ra) * np.cos(np.radians(place.dec))
    near = np.hypot(east, known["dec"] - place.dec) < 0.5
    off = np.hypot(known["pmra"] - place.pmra, known["pmdec"] - place.pmdec)
    sigma = np.maximum(np.asarray(sample["pmra_error"], float), place.pm_scatter)
    return bool((near & (off < 0.3 + WITHIN * np.median(sigma))).any())


def alike(out: Path) -> None:
    """Print how often sample and field of a place differ, for fields of other sizes.

    By Kolmogorov and Smirnov's test in magnitude and in colour: without a cluster, and selected
    alike, p < 0.001 is one in a thousand. And how much better the field's density explains the
    samples of every fourth place than that of the largest field, Σ ln φ in nats.
    """
    names = (f"{w}, p < {p}" for w in ("G", "BP-RP") for p in RARE)
    row = header("field", "stars", *names, "Σ ln φ gained")
    listed = read_candidates(out / "places.csv")
    first = None
    for least in (MOST_FIELD, 1000, 600, 300, 200):
        found, sizes, explained = [], [], []
        for number, one in enumerate(listed):
            assert isinstance(one, Candidate)
            chosen = select(whole(one.stars), one, least_field=least)
            both = [
                t["phot_g_mean_mag", "bp_rp"].to_pandas() for t in (chosen.sample, chosen.field)
            ]
            sample, field = (frame.dropna().to_numpy() for frame in both)
            sizes.append(len(field))
            found.append([ks_2samp(*pair).pvalue for pair in zip(sample.T, field.T, strict=True)])
            if number % 4 == 0:
                explained.append(explains(chosen, select(whole(one.stars), one, MOST_FIELD).field))
        first = np.array(explained) if first is None else first
        shares = [share(np.array(p) < rare) for p in zip(*found, strict=True) for rare in RARE]
        gain = np.array(explained) - first
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        row(least, int(np.median(sizes)), *shares, f"{gain.mean():.2f} ± {error:.2f}")


def explains(chosen: Selection, largest: Table) -> float:
    """Σ ln φ of a sample, by the density of its field, inside the limits of the largest."""
    magnitude = np.asarray(largest["phot_g_mean_mag"], float)
    limits = float(np.nanmin(magnitude)), float(np.nanmax(magnitude))
    sample, field = (between(jc.from_table(t), limits) for t in (chosen.sample, chosen.field))
    density = jc.fit_field(field, limits, n_stars=len(sample), key=jax.random.key(0))
    return float(density(sample).sum())


def rows_of(folder: Path) -> pd.DataFrame:
    """Rows of a run, which need not have come to its end, that are done."""
    rows = Rows(folder, PARAMETERS).read()
    failed = rows[rows["status"] == FAILED]
    for _, row in failed.iterrows():
        print(f"    {row['candidate']} failed: {row['message']}")
    return rows[rows["status"] != FAILED].reset_index(drop=True)


def share(above: Any) -> str:
    """A share and its binomial error, by Wilson's interval of 68 %."""
    n, k = len(above), int(above.sum())
    middle, half = (k + 0.5) / (n + 1), np.sqrt(k * (n - k) / max(n, 1) + 0.25) / (n + 1)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return f"{k} of {n} ({100 * k / max(n, 1):.1f} %, {100 * low:.1f} to {100 * high:.1f})"


def summary(out: Path) -> None:
    """Rates above thresholds with binomial errors, names, costs, and figures."""
    found = {}
    for kind in ("clusters", "fields", "places"):
        if not (out / kind / "parts").is_dir():
            continue
        print(kind)
        rows = rows_of(out / kind)
        value = rows["log10_bayes_factor"]
        found[kind] = value.to_numpy()
        for threshold in THRESHOLDS:
            print(f"    above {threshold:g}: {share(value > threshold)}")
        above = value > THRESHOLD
        for low, high in pairwise(LEAST_FIELDS):
            some = rows["n_field"].between(low, high - 1)
            print(f"    above {THRESHOLD:g}, {low} to {high - 1} field stars: {share(above[some])}")
        wrong = rows[~above if kind == "clusters" else above]
        for _, row in wrong.iterrows():
            print(
                f"    {row['candidate']}: {row['log10_bayes_factor']:.2f} ± "
                f"{row['log10_bayes_factor_total_error']:.2f}, {row['n_stars']} stars, "
                f"{row['n_field']} field; {row['message'] or row['flags'] or ''}"
            )
        seconds, compiling = rows["cpu_seconds"], rows["compile_seconds"]
        print(
            f"    median and largest: {value.median():.2f}, {value.max():.2f}; CPU s "
            f"{seconds.median():.0f}, {seconds.max():.0f}, up to 500 stars "
            f"{seconds[rows['n_stars'] <= 500].max():.0f}; compiling {compiling.median():.1f}, "
            f"{compiling.max():.1f}, {rows['programs'].sum()} programs; "
            f"{(rows['method'] == 'nested').sum()} by nested sampling, "
            f"{rows['memory'].max():.1f} GB"
        )
        if kind == "clusters":
            against_literature(rows).savefig(out / "literature.png", dpi=150)
    histogram_figure(found, CREDIT).savefig(out / "bayes_factors.png", dpi=150)


def literature() -> pd.DataFrame:
    """What others say of the 46, with the moduli of their distances."""
    table = pd.read_csv(DATA / "gaia_fields" / "clusters.csv")
    table["candidate"] = table["file"].str.removesuffix(".parquet")
    table["distance_modulus_hr"] = 5.0 * np.log10(table["distance_pc_hr"]) - 5.0
    return table


def against_literature(rows: pd.DataFrame) -> Figure:
    """Print differences to what others found, who give no errors of all; draw them."""
    both = rows.merge(literature(), on="candidate")
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    panels = figure.subplots(len(LITERATURE), len(LABELS), squeeze=False)
    for (who, column), line in zip(LITERATURE.items(), panels, strict=True):
        for (name, label), ax in zip(LABELS.items(), line, strict=True):
            if column.format(name) not in both:
                ax.set_axis_off()
                continue
            theirs, ours = both[column.format(name)], both[f"{name}_median"]
            low, high = both[f"{name}_q16"], both[f"{name}_q84"]
            off = ours - theirs
            scatter = 1.4826 * (off - off.median()).abs().median()
            ends = [min(theirs.min(), ours.min()), max(theirs.max(), ours.max())]
            ax.plot(ends, ends, color="0.6", lw=0.8)
            bars = np.clip([ours - low, high - ours], 0.0, None)
            ax.errorbar(theirs, ours, yerr=bars, fmt="o", ms=3, lw=0.7, color="#1f4e79")
            ax.set_xlabel(f"{label}, {who}")
            ax.set_ylabel(f"{label}, jaxcluster")
            ax.set_title(
                f"difference: median {off.median():+.2f}, scatter {scatter:.2f}", fontsize=9
            )
            far = both[(off - off.median()).abs() > 4 * scatter]
            print(
                f"    {name}, {who}: median difference {off.median():+.3f}, scatter {scatter:.3f} "
                f"({off.notna().sum()} clusters); beyond four of it: "
                f"{', '.join(f'{c} {off[i]:+.2f}' for i, c in far['candidate'].items())}"
            )
    return figure


def main() -> None:
    """Run what the command line asks for."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("list", "alike", "summary"):
        raise SystemExit(__doc__)
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    if sys.argv[1] != "list":
        {"alike": alike, "summary": summary}[sys.argv[1]](out)
        return
    clusters().to_csv(out / "clusters.csv", index=False)
    random_fields(out)
    places(out)


if __name__ == "__main__":
    main()
