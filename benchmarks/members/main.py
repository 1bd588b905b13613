"""Clusters found in raw fields: 46 with one, and fields without.

    python -m benchmarks.members.main DATA fields [SEED]  the 46 of gaia_fields, beside clusters.csv
    python -m benchmarks.members.main DATA null [FIELDS]
        simulated from those fields' other components
    python -m benchmarks.members.main DATA cap  the Galactic cap of null_fields, six seeds
    python -m benchmarks.members.main DATA ngc2323  with 200 resamplings: CPU, and how converged

DATA is the folder of gaia_fields and the others. `fields` gives the distance of the cluster's mean
from Hunt & Reffert (2024; DR2 where they have none) in the worse proper motion [mas/yr] and in
parallax [mas], and how concentrated members (P ≥ 0.9) are on the sky, which the fit does not know:
their surface density within r50 over that beyond 2.5 r50, in units of the other stars' (nan where
fewer than five of those are on either side; > and what 95 % of its posterior is above where no
member is that far out). With `--figure FILE` it is drawn with 68 % intervals: the figure
notebooks/members_concentration.png, of seed 0.
"""

import argparse
import time
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

import jaxcluster as jc
from benchmarks.shared import keep_compiled
from jaxcluster import xd
from jaxcluster.figures.style import POSTERIOR, draw_credit
from jaxcluster.jobs.members import COLUMNS, find_members
from jaxcluster.xd.bootstrap import bootstrap_mixture
from jaxcluster.xd.cluster_component import SURE, candidates, moments

FEWEST = 5  # other stars within and beyond, for the areas
LIMIT = 0.05  # quantile that is a lower limit


def reference(row) -> np.ndarray:
    """Proper motion and parallax of a line of clusters.csv."""
    at = np.array([row.pmra_hr, row.pmdec_hr, row.parallax_hr])
    return at if np.isfinite(at).all() else np.array([row.pmra, row.pmdec, row.parallax])


class Concentration(NamedTuple):
    """Stars within r50 of a cluster's centre and beyond 2.5 r50, members (P ≥ 0.9) and others."""

    inner: int
    outer: int
    other_inner: int
    other_outer: int

    @property
    def told(self) -> bool:
        """Whether the field is large enough for the other stars to measure the areas."""
        return min(self.other_inner, self.other_outer) >= FEWEST

    @property
    def ratio(self) -> float:
        """Members' density within over beyond, in units of the others'; inf if none is beyond."""
        if not self.told:
            return np.nan
        # the other stars measure the areas, whatever the field's shape
        expected = self.other_inner / self.other_outer
        return self.inner / self.outer / expected if self.outer else np.inf

    def quantiles(self, *shares: float) -> np.ndarray:
        """Of the posterior of `ratio`, the four counts Poisson with Jeffreys' prior."""
        means = np.random.default_rng(0).gamma(np.array(self) + 0.5, size=(100_000, 4))
        return np.quantile(means[:, 0] / means[:, 1] / (means[:, 2] / means[:, 3]), shares)

    def __str__(self) -> str:
        if self.told and not self.outer:
            return f"> {self.quantiles(LIMIT)[0]:.1f}"
        return f"{self.ratio:.1f}"


def concentration(found, row) -> Concentration:
    rows = np.asarray(found.stars.rows)
    sky = SkyCoord(found.members["ra"][rows], found.members["dec"][rows], unit="deg")
    away = sky.separation(SkyCoord(row.ra, row.dec, unit="deg")).arcmin
    radius = row.r50_hr_arcmin if np.isfinite(row.r50_hr_arcmin) else row.r50_arcmin
    sure, inner, outer = found.membership >= SURE, away < radius, away > 2.5 * radius
    parts = (sure & inner, sure & outer, ~sure & inner, ~sure & outer)
    return Concentration(*(int(part.sum()) for part in parts))


def concentration_figure(by_name: dict[str, Concentration | None]):
    """A row a cluster, the most concentrated on top; None where no cluster was found."""
    from matplotlib.figure import Figure

    told = {name: one for name, one in by_name.items() if one is not None and one.told}
    names = sorted(told, key=lambda name: told[name].quantiles(0.5)[0])
    figure = Figure(figsize=(7.2, 0.19 * len(names) + 1.7), layout="constrained")
    ax, notes = figure.subplots(), []
    style = {"color": POSTERIOR, "ms": 4}
    beside = {"transform": ax.get_yaxis_transform(), "fontsize": 7, "va": "center"}
    for y, name in enumerate(names):
        one = told[name]
        ax.axhline(y, color="0.93", lw=0.6, zorder=0)
        if one.outer:
            low, high = one.quantiles(0.16, 0.84)
            ax.plot([low, high], [y, y], color=POSTERIOR, lw=1.2)
            ax.plot(one.ratio, y, "o", **style)
        else:
            limit = one.quantiles(LIMIT)[0]
            ax.plot(limit, y, "|", mew=1.2, **{**style, "ms": 7})
            arrow = {"arrowstyle": "->", "color": POSTERIOR, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", (2.2 * limit, y), (limit, y), arrowprops=arrow)
        ax.text(1.01, y, f"{one.inner} / {one.outer}", **beside)
    ax.text(1.01, len(names), "within / beyond", **beside)
    ax.axvline(1.0, color="0.4", lw=1.0, ls="--")
    ax.text(1.05, len(names), "the other stars", fontsize=8, va="center", color="0.4")
    ax.plot([], [], "o-", label="with 68 % interval", lw=1.2, **style)
    ax.plot(
        [], [], "|", mew=1.2, label="no member beyond: 95 % lower limit →", **{**style, "ms": 7}
    )
    ax.legend(loc="lower right", fontsize=8)
    ax.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    ax.set(xscale="log", ylim=(-0.8, len(names) + 0.6), xlim=(0.7, None))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel(
        "surface density of members ($P \\geq 0.9$) within $r_{50}$ over that beyond "
        "$2.5\\,r_{50}$,\nin units of the same ratio of the other stars"
    )
    small = [name for name, one in by_name.items() if one is not None and not one.told]
    for words, left_out in (
        (f"Fewer than {FEWEST} other stars within $r_{{50}}$ or beyond $2.5\\,r_{{50}}$", small),
        ("No cluster found", [name for name, one in by_name.items() if one is None]),
    ):
        if left_out:
            notes.append(f"{words}: {', '.join(name.replace('_', ' ') for name in left_out)}.")
    under = "\n".join(fill(note, 110) for note in notes)
    away = {"xytext": (-80, -46), "textcoords": "offset points", "va": "top", "fontsize": 8}
    ax.annotate(under, (0, 0), xycoords="axes fraction", annotation_clip=False, **away)
    draw_credit(figure, ("G",), None)
    return figure


def fields(folder: Path, seed: int, figure: Path | None = None) -> None:
    right, concentrations = 0, {}
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
            concentrations[name] = None
            continue
        away = np.abs(moments(found.fit.mixture, found.cluster.parts)[0] - reference(row))
        ok = away[:2].max() < 0.1 and away[2] < 0.1
        right += ok
        concentrations[name] = concentration(found, row)
        parts = found.cluster.parts
        good = [one for one in found.ranking if not one.refused]
        others = [one for one in good if one.component not in parts]
        also = "".join(
            f"  also {np.round(np.asarray(found.fit.mixture.means[one.component]), 2)}"
            for one in others
        )
        print(
            f"{name:>14}{len(found.stars):7}{(found.membership >= SURE).sum():7}"
            f"{away[:2].max():8.3f}{away[2]:8.3f}{concentrations[name]!s:>13}{spent:7.1f}"
            f"{'' if ok else '  NOT THE ONE'}{also}",
            flush=True,
        )
    print(f"{right} of {len(table)} within 0.1 mas/yr and 0.1 mas")
    if figure is not None:
        concentration_figure(concentrations).savefig(figure, dpi=150)


def field_weights(mixture: jc.GaussianMixture, stars: jc.Stars) -> np.ndarray:
    """Weights of a mixture without the components that are as narrow as clusters, 1 in all.

    Also of those that are none by themselves: a cluster may be shared by several.
    """
    weights = np.array(mixture.weights)
    for one in candidates(mixture, stars):
        if "dispersion" not in one.refused:
            weights[one.component] = 0.0
    return weights / weights.sum()


def null(folder: Path, n: int) -> None:
    """Mixtures of the fields without what may be a cluster, drawn with the stars' own noise."""
    rng, alarms = np.random.default_rng(0), 0
    files = sorted((folder / "gaia_fields").glob("*.parquet"))
    for i in range(n):
        path = files[i % len(files)]
        stars = jc.from_table(path, COLUMNS)
        mixture = xd.fit(stars, 10, key=jax.random.key(0)).mixture
        weights = field_weights(mixture, stars)
        label = rng.choice(len(weights), len(stars), p=weights)
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
    print(f"{(found.membership >= SURE).sum()} with P ≥ 0.9, {(found.stability >= SURE).sum()} in")
    print("90 % of the resamplings; how far below a maximum 20 of them are:")
    from jaxcluster.xd import bootstrap

    bootstrap.TO_GO, bootstrap.MOST_PASSES = 1e-6, 1000
    jax.clear_caches()
    draw_key = jax.random.split(jax.random.key(0))[1]
    parts = found.cluster.parts
    best = bootstrap_mixture(found.stars, found.fit.mixture, 20, cluster=parts, key=draw_key)
    below = best.log_likelihood - boot.log_likelihood[:20]
    print(f"median {np.median(below):.3f} nats, most {below.max():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("command", choices=("fields", "null", "cap", "ngc2323"))
    parser.add_argument("number", type=int, nargs="?", help="seed of `fields`, fields of `null`")
    parser.add_argument("--figure", type=Path, help="of `fields`: where to draw concentrations")
    arguments = parser.parse_args()
    folder, number = arguments.data, arguments.number
    if arguments.command != "ngc2323":  # which shows what compiling takes
        keep_compiled()
    if arguments.command == "fields":
        fields(folder, number or 0, arguments.figure)
    elif arguments.command == "null":
        null(folder, number or 100)
    elif arguments.command == "cap":
        cap(folder)
    else:
        ngc2323(folder)


if __name__ == "__main__":
    main()
