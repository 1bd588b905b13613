"""Do the flags tell a spoilt run from a sound one? Misses and false alarms, counted.

    python -m benchmarks.trust.main spoilt LIST [NAME ...]   four clusters, each spoilt five ways
    python -m benchmarks.trust.main rows ROWS [ROWS ...]     the flags of rows that `batch` wrote

LIST is the clusters.csv of `benchmarks.validation.main list`. The ways, of sample and field as
`batch` cuts them out:

    sound        nothing
    passbands    G of both fainter by 0.1 (BP − RP), BP − RP of both 0.93 of itself: other filters
    field        the field is that of the next of the four clusters
    prior        distance moduli between 0.7 and 3 mag beyond that of the mean parallax
    two          as many stars of the next cluster's sample as this one's have, 1.5 mag fainter
    shifted      magnitudes of the sample alone 0.2 mag brighter

ROWS is results.parquet of a run: clusters, random fields.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.table import Table, vstack

import jaxcluster as jc
from benchmarks.shared import header, keep_compiled
from jaxcluster.catalogue.candidates import Candidate, read_candidates
from jaxcluster.jobs.bayes_factor_result import BayesFactor

CLUSTERS = "NGC2506", "NGC2243", "M36", "NGC1817"
WAYS = "sound", "passbands", "field", "prior", "two", "shifted"
MAGNITUDES = "phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag", "bp_rp"
FLAGS = "input", "field", "prior", "modes", "fit", "sampling"


def spoilt(way: str, one: Candidate, other: Candidate) -> BayesFactor:
    """Run one cluster, spoilt in one way, with the help of another."""
    chosen, options = one.cut(), {}
    sample, field = chosen.sample.copy(), chosen.field.copy()
    if way == "passbands":
        for table in (sample, field):
            colour = np.array(table["bp_rp"], float)
            table["phot_g_mean_mag"] = np.array(table["phot_g_mean_mag"], float) + 0.1 * colour
            table["phot_rp_mean_mag"] = np.array(table["phot_rp_mean_mag"], float) + 0.07 * colour
            table["bp_rp"] = 0.93 * colour
    elif way == "field":
        field = other.cut().field
    elif way == "prior":
        modulus = 10.0 - 5.0 * np.log10(one.parallax)
        low, high = modulus + 0.7, modulus + 3.0
        options = {"prior": {"distance_modulus": f"Uniform({low:.2f}, {high:.2f})"}}
    elif way == "two":
        more: Table = other.cut().sample[: len(sample)]
        for name in MAGNITUDES[:3]:
            more[name] = np.array(more[name], float) + 1.5
        sample = vstack([sample, more[sample.colnames]], metadata_conflicts="silent")
    elif way == "shifted":
        for name in MAGNITUDES[:3]:
            sample[name] = np.array(sample[name], float) - 0.2
    # the windows of other stars' parallaxes are not those of the likelihood
    parallax = one.parallax_window if way in ("sound", "passbands", "shifted") else True
    return jc.bayes_factor(sample, field, key=0, parallax=parallax, **options)


def run(listed: Path, names: list[str]) -> None:
    """A line a run, then what each way made the flags say."""
    known = {one.candidate: one for one in read_candidates(listed) if isinstance(one, Candidate)}
    told = Counter()
    columns = "stars", "log10 BF", "p", "misplaced", "modulus", "CPU s"
    row = header("run", *columns, "flags", first=20)
    for number, name in enumerate(CLUSTERS):
        if names and name not in names:
            continue
        other = CLUSTERS[(number + 1) % len(CLUSTERS)]
        for way in WAYS:
            result = spoilt(way, known[name], known[other])
            summary = result.summary()
            flags = [name for name, said in result.flagged.items() if said]
            told.update((way, flag) for flag in [*flags, *(["any"] if flags else [])])
            row(
                f"{name} {way}",
                len(result.stars),
                f"{result.log10_bayes_factor:.1f}",
                f"{summary['fit_p_value']:.1g}",
                f"{summary['fit_misplaced']:.2f}",
                f"{summary['parameters']['distance_modulus']['median']:.2f}",
                f"{result.cpu_seconds:.0f}",
                ", ".join(flags) or "none",
            )
    for way in WAYS:
        counts = ", ".join(f"{flag} {n}" for (of, flag), n in sorted(told.items()) if of == way)
        print(f"{way}: {counts or 'none'}")


def rows(files: list[Path]) -> None:
    """Shares of rows with each flag, and quantiles of the goodness of fit."""
    row = header("rows", "number", *FLAGS, "any", "p < 1e-3", "misplaced", first=30)
    for file in files:
        table = pd.read_parquet(file)
        table = table[table["status"] == "done"]
        above = table["log10_bayes_factor"] > 2.0
        for words, some in (("log10 BF > 2", table[above]), ("others", table[~above])):
            if some.empty:
                continue
            text = some["flags"].fillna("")
            kinds = [text.str.contains(rf"(?:^|; ){name}: ", regex=True) for name in FLAGS]
            misplaced = some["fit_misplaced"].quantile([0.5, 0.9])
            row(
                f"{file.parent.parent.name or file.parent.name}, {words}",
                len(some),
                *(int(kind.sum()) for kind in kinds),
                int((text != "").sum()),
                int((some["fit_p_value"] < 1e-3).sum()),
                f"{misplaced[0.5]:.2f}, {misplaced[0.9]:.2f}",
            )


def main() -> None:
    """Run what the command line asks for."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("spoilt", "rows"):
        raise SystemExit(__doc__)
    keep_compiled()
    if sys.argv[1] == "rows":
        rows([Path(file) for file in sys.argv[2:]])
    else:
        run(Path(sys.argv[2]), sys.argv[3:])


if __name__ == "__main__":
    main()
