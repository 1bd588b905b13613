"""Bayes factors against the wrong field, with few and many field stars, and what warns of them.

    python -m benchmarks.robustness.main distances [SEEDS [FIGURE]]  fields of other distances
    python -m benchmarks.robustness.main fractions [SEEDS [FIGURE]]
        100 members in more and more field
    python -m benchmarks.robustness.main alarms [CLUSTER...]  real ones, such as NGC2509: no alarm

The experiments of Li, Li & Shao (2025) on simulations, 96 × 6 cells. `distances`: 200 field stars
1.5 to 2.5 kpc away and no cluster; the field of the same distances, and four others. `fractions`:
the same 100 members with field fractions from 0 to 0.9. `alarms`: stars of gaia_fields within 3 σ
of a cluster's proper motion and parallax, the field those of like parallax and other proper motion.
"""

import sys
from functools import partial

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from astropy.table import Table, vstack

import jaxcluster as jc
from benchmarks.shared import DATA, keep_compiled
from jaxcluster.jobs.bayes_factor_result import BayesFactor
from jaxcluster.population.simulate import TRUTH, simulate_cluster, simulate_field

LIMITS = (10.0, 18.0)
CELLS = {"n_masses": 96, "n_mass_ratios": 6}
SAMPLE = (1.5, 2.5)  # kpc
FIELDS = ((1.5, 2.5), (0.3, 1.0), (0.8, 1.5), (2.5, 4.0), (0.0, 8.0))
FRACTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)
MEMBERS, N_FIELD = 100, 2000
CLUSTERS = (  # of gaia_fields, with a field beside them
    *("Berkeley_17", "IC166", "King_5", "King_11", "M36", "Mel_66", "NGC1817", "NGC2141"),
    *("NGC2204", "NGC2243", "NGC2301", "NGC2324", "NGC2420", "NGC2506", "NGC2509", "NGC7044"),
)
OPTIONS = {"limits": LIMITS, "sampler": partial(jc.fast, live=50), **CELLS}


def row(tag: str, seed: int, result: BayesFactor) -> float:
    """Print a line; returns log10 BF."""
    scatter = float(np.median(result.posterior.draws["model_scatter"]))
    print(
        f"{tag:>14} {seed:4d} {result.log10_bayes_factor:8.2f} "
        f"± {result.log10_bayes_factor_error:.2f} ± {result.log10_bayes_factor_field_error:5.2f} "
        f"{result.mismatch.gap:7.2f} {scatter:8.3f} "
        f"{result.members['membership'].sum():8.1f} {len(result.stars):5d} "
        f"{result.field.n_field:6d}  {len(result.mismatch.flags)} flags",
        flush=True,
    )
    return float(result.log10_bayes_factor or np.nan)


HEADER = f"{'':>14} seed  log10 BF ± sampling ± field   gap  scatter  members stars  field"


def distances(seeds: int, figure: str | None) -> None:
    """Fields of other distances, no cluster."""
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    found = np.empty((seeds, len(FIELDS)))
    fig, axes = plt.subplots(1, len(FIELDS) + 1, figsize=(18, 3.6), layout="constrained")
    print(HEADER)
    for seed in range(seeds):
        near = simulate_field(jax.random.key(seed), 200 + N_FIELD, grid, LIMITS, distances=SAMPLE)
        for i, where in enumerate(FIELDS):
            other = simulate_field(
                jax.random.key(100 + seed), N_FIELD, grid, LIMITS, distances=where
            )
            others = jc.from_table(near[200:] if where == SAMPLE else other)
            sample = jc.from_table(near[:200])
            result = jc.bayes_factor(sample, others, key=jax.random.key(seed), **OPTIONS)
            found[seed, i] = row(f"{where[0]}-{where[1]} kpc", seed, result)
            if seed == 0:
                ax = axes[1 + i]
                for stars, style in ((others, "C7,"), (result.stars, "C3.")):
                    ax.plot(stars.x[:, 1], stars.x[:, 0], style, ms=3)
                ax.set(ylim=LIMITS[::-1], xlim=(-0.5, 4), xlabel="BP − RP [mag]")
                ax.set_title(f"field at {where[0]}–{where[1]} kpc", fontsize=9)
    axes[1].set_ylabel("G [mag]")
    axes[0].plot(np.arange(len(FIELDS)), found.T, "o", color="C0")
    axes[0].axhline(2.0, ls=":", color="k")
    axes[0].set_yscale("symlog", linthresh=2.0)
    axes[0].set_xticks(range(len(FIELDS)), [f"{a}–{b}" for a, b in FIELDS], fontsize=8)
    axes[0].set_ylim(-10, 2000)
    axes[0].set(xlabel="distances of the field [kpc]", ylabel="log₁₀ Bayes factor")
    axes[0].set_title("200 field stars at 1.5–2.5 kpc (red)", fontsize=9)
    if figure:
        fig.savefig(figure, dpi=130)


def fractions(seeds: int, figure: str | None) -> None:
    """The same members in more and more field."""
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    found = np.empty((seeds, len(FRACTIONS)))
    print(HEADER)
    for seed in range(seeds):
        alone = {**TRUTH, "field_fraction": 0.0}
        members = simulate_cluster(jax.random.key(seed), MEMBERS, alone, grid, LIMITS)
        most = int(MEMBERS * FRACTIONS[-1] / (1 - FRACTIONS[-1]) + 0.5)
        around = simulate_field(jax.random.key(100 + seed), most + N_FIELD, grid, LIMITS)
        for i, f in enumerate(FRACTIONS):
            n = int(MEMBERS * f / (1 - f) + 0.5)
            sample = vstack([members[around.colnames], around[:n]])
            result = jc.bayes_factor(
                jc.from_table(sample),
                jc.from_table(around[most:]),
                key=jax.random.key(seed),
                **OPTIONS,
            )
            found[seed, i] = row(f"f = {f:.1f}", seed, result)
    fig, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    ax.plot(FRACTIONS, found.T, "o-", color="C0", alpha=0.7)
    ax.axhline(2.0, ls=":", color="k")
    ax.set(xlabel="field fraction", ylabel="log₁₀ Bayes factor", ylim=(0, None))
    ax.set_title(f"the same {MEMBERS} members, more and more field", fontsize=9)
    if figure:
        fig.savefig(figure, dpi=130)


def select(name: str) -> tuple[Table, Table]:
    """Candidate and field stars of one real cluster."""
    clusters = pd.read_csv(DATA / "gaia_fields" / "clusters.csv").set_index("file")
    cluster = clusters.loc[f"{name}.parquet"]
    table = pd.read_parquet(DATA / "gaia_fields" / f"{name}.parquet")

    def near(column, value, intrinsic):
        error = np.hypot(table[f"{column}_error"], intrinsic)
        return ((table[column] - value) / error) ** 2

    motion = near("pmra", cluster["pmra_hr"], 0.1) + near("pmdec", cluster["pmdec_hr"], 0.1)
    distant = near("parallax", cluster["parallax_hr"], 0.03)
    alike = distant < 9
    sample, field = table[alike & (motion < 9)], table[alike & (motion > 30)]
    return Table.from_pandas(sample), Table.from_pandas(field)


def alarms(names: tuple[str, ...]) -> None:
    """Real clusters beside field stars of like parallax."""
    print(HEADER)
    for name in names:
        sample, field = (jc.from_table(table) for table in select(name))
        try:
            result = jc.bayes_factor(sample, field, key=jax.random.key(0), **OPTIONS)
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        row(name, 0, result)
        for flag in result.flags:
            print(f"               {flag}")


def main() -> None:
    """Run what the command line asks for."""
    keep_compiled()
    experiments = {"distances": distances, "fractions": fractions}
    if len(sys.argv) > 1 and sys.argv[1] in experiments:
        figure = sys.argv[3] if len(sys.argv) > 3 else None
        experiments[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 3, figure)
    elif len(sys.argv) > 1 and sys.argv[1] == "alarms":
        alarms(tuple(sys.argv[2:]) or CLUSTERS)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
