"""What colours of isochrones are wrong by, learnt from clusters that others know.

    python -m benchmarks.colour_error.main fit GRID OUT [NAME ...]   each cluster by itself
    python -m benchmarks.colour_error.main combine OUT              what is shipped, and all but one
    python -m benchmarks.colour_error.main try GRID OUT [NAME ...]   posteriors without and with it
    python -m benchmarks.colour_error.main systematic GRID OUT      by how much these are off

`fit` gives each cluster seven values of the colour's error (`population.colour_error`) with wide
priors, `WIDE`, and what others say of it: the distance modulus of its parallaxes, [M/H] of
high-resolution spectroscopy (`spectroscopy.csv`; the mean's error, 0.02 at least), age and
extinction of Cantat-Gaudin et al. (2020) ± 0.2 dex and 0.03 mag + 15 %. It climbs to the maximum,
and takes the covariance of the information in stars' own gradients there: second derivatives at a
maximum are those of ripples. Stars are members of Dias et al. (2021) and Almeida et al. (2023);
nearer than 500 pc each one's magnitude is brought to the mean parallax by its own. Outliers have a
density that is the same everywhere.

`combine` takes values of different clusters for draws of one normal distribution, fitted by EM
(covariance: a scale matrix of (0.01 mag)² that counts as one cluster), with the priors of 7000 K
and hotter left in, as extinction is the same to their stars. Its mean and the largest of
its principal axes are shipped, `population/data/colour_errors.json`, and without each cluster
written to OUT. `try` samples posteriors by the default sampler, of stars and their parallaxes, as
`jaxcluster bayes-factor` does with a list of members: the model that trusts colours, one with the
mean error of the other clusters, and one with their differences too. `systematic` takes from these
what each parameter has to be given beyond its interval for 68 % of clusters to be as others say,
and ships it. What others say has errors as well, which are in it.

Parallaxes of these lists are corrected by Lindegren et al.'s (2021) zero point of each star (those
of NGC 1817 and NGC 2420 less Gaia's are that to 1e-6 mas in the median); ± 0.01 mas stay.
"""

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from astropy.table import Table
from jax.flatten_util import ravel_pytree
from numpyro.distributions import Normal

import jaxcluster as jc
from benchmarks.shared import DATA, between, keep_compiled
from jaxcluster.inference.climb import climb, differences, gradients
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.flat import Flat
from jaxcluster.jobs.model_files import load_model
from jaxcluster.jobs.parallaxes import CORRECTED
from jaxcluster.population.colour_error import AT, LEARNT, NAMES

SPECTROSCOPY = Path(__file__).parent / "spectroscopy.csv"
FAINT = 18.0  # of fainter red stars BP is too bright (Riello et al. 2021)
NEAR = 2.0  # mas: from which on stars' own parallaxes say how much nearer than the mean they are
WIDE = np.array([0.1, 0.1, 0.1, 0.05, 0.02, 0.02, 0.1])  # mag: hot stars are trusted more
TAKEN_OUT = np.array([1, 1, 1, 1, 0, 0, 1])  # where `combine` takes that prior out again
DEPTH = 3.0  # pc, along the line of sight
AGE, METALLICITY = 0.2, 0.02  # errors of what others say; of [M/H] the least
A_V = 0.03, 0.15  # mag, and a share of it
START = {"mass_slope": -1.5, "binary_fraction": 0.4, "field_fraction": 0.05, "model_scatter": 0.03}
STARTS, STEPS, ABOUT = 6, 250, 0.2  # climbs, and how far about what others say they begin
STEP = 0.03  # of differences, in widths of the prior
REGULAR = 0.01  # mag
LEAST = 0.015  # mag: axes of less are left to the model's scatter


def uniform(stars):
    """Log density of outliers: the same everywhere in the sample's own frame."""
    return np.full(len(stars), -np.log(np.ptp(np.asarray(stars.x), axis=0)).sum())


def sample(name: str):
    """Members of a cluster inside the limits, these, and their table."""
    rows = pd.read_parquet(DATA / "members_1319_clusters" / "members.parquet")
    rows = rows[(rows.cluster == name) & rows.phot_bp_mean_mag.notna()]
    rows = rows[rows.phot_g_mean_mag < FAINT].reset_index(drop=True)
    mean = np.average(rows.parallax, weights=rows.parallax_error**-2.0)
    if mean > NEAR:
        rows = rows[np.abs(rows.parallax / mean - 1.0) < 0.3]
        nearer = 5.0 * np.log10(rows.parallax / mean)
        for band in ("g", "bp", "rp"):
            rows[f"phot_{band}_mean_mag"] += nearer
    table = Table.from_pandas(rows)
    stars = jc.from_table(table)
    limits = float(np.floor(np.asarray(stars.x)[:, 0].min())), FAINT
    return between(stars, limits), limits, table


def said(name: str, table: Table) -> dict[str, Normal]:
    """What others say of a cluster."""
    catalogue = pd.read_csv(DATA / "literature" / "cantat_gaudin_2020.csv").set_index("Cluster")
    spectra = pd.read_csv(SPECTROSCOPY).set_index("cluster").loc[name]
    a_v = catalogue.loc[name, "AVNN"]
    return {
        "distance_modulus": by_parallaxes(table),
        "metallicity": Normal(
            spectra.metallicity, max(spectra.error / np.sqrt(spectra.stars), METALLICITY)
        ),
        "log_age": Normal(catalogue.loc[name, "AgeNN"], AGE),
        "a_v": Normal(a_v, np.hypot(A_V[0], A_V[1] * a_v)),
    }


def by_parallaxes(table: Table) -> Normal:
    """Distance modulus of members' median parallax, weighted by their errors and `DEPTH`.

    `jobs.parallaxes.distance_modulus` has 0.05 mas for the depth, less than that of clusters nearer
    than 250 pc: it refuses the Pleiades.
    """
    values = np.asarray(table["parallax"])
    depth = DEPTH * np.median(values) ** 2 / 1000.0  # mas
    weight = (np.asarray(table["parallax_error"]) ** 2 + depth**2) ** -1.0
    order = np.argsort(values)
    below = np.cumsum(weight[order]) - 0.5 * weight[order]
    middle = np.interp(0.5 * weight.sum(), below, values[order])
    error = np.sqrt(0.5 * np.pi / weight.sum() + CORRECTED[1] ** 2)
    return Normal(10.0 - 5.0 * np.log10(middle), 5.0 / np.log(10.0) * error / middle)


def maximum(model: jc.Model, first: dict[str, float], seed: int = 0):
    """The highest of some climbs: values of parameters, and their covariance.

    Returns:
        Values by name, covariance in the order of names, and the share of climbs that end there.
    """
    flat = Flat(model)
    first = dict.fromkeys(flat.bijections, 0.0) | START | first
    row, unravel = ravel_pytree(
        {n: b.inv(jnp.asarray(first[n])) for n, b in flat.bijections.items()}
    )
    rows = np.tile(np.asarray(row), (STARTS, 1))
    rows[1:] += ABOUT * np.random.default_rng(seed).normal(size=rows[1:].shape)
    gradient = gradients(flat, unravel, rows, Stopwatch())
    ends = climb(gradient, rows, STEPS)
    heights = gradient(ends)[0]
    best = ends[np.argmax(heights)]

    def of_stars(row):
        return flat.density(flat.parameters(unravel(row)))(flat.stars)

    def in_order(row):
        values = flat.parameters(unravel(row))
        return jnp.stack([values[n] for n in flat.bijections])

    step = np.full((1, len(best)), STEP)
    slopes = differences(jax.jit(jax.vmap(of_stars)), best[None], step)[0].T[: len(model.stars)]
    of_prior = jax.hessian(lambda row: flat.log_prior(unravel(row)))(jnp.asarray(best))
    turn = np.asarray(jax.jacobian(in_order)(jnp.asarray(best)))
    covariance = turn @ np.linalg.inv(slopes.T @ slopes - np.asarray(of_prior)) @ turn.T
    values = dict(zip(flat.bijections, np.asarray(in_order(best)).tolist(), strict=True))
    return values, covariance, float(np.mean(heights > heights.max() - 1.0))


def told(values: dict[str, float], covariance: np.ndarray, names) -> str:
    """Values and errors of some of the parameters."""
    errors = dict(zip(values, np.sqrt(np.diag(covariance)), strict=True))
    return " ".join(f"{n} {values[n]:.3f} ± {errors[n]:.3f}" for n in names)


def fit(grid: str, out: Path, name: str) -> None:
    """Write a cluster's values of the colour's error, and their covariance."""
    begin = time.process_time()
    stars, limits, table = sample(name)
    others = said(name, table)
    prior = others | {n: Normal(0.0, width) for n, width in zip(NAMES, WIDE, strict=True)}
    model = load_model("mimo_cmd")(
        stars, field=uniform, limits=limits, grid=grid, prior=prior, isochrone_error=0.1
    )
    values, covariance, share = maximum(model, first_of(others))
    where = [list(values).index(n) for n in NAMES]
    found = np.array([values[n] for n in NAMES])
    np.savez(out / f"{grid}-{name}.npz", mean=found, covariance=covariance[np.ix_(where, where)])
    print(
        f"{name}: {len(stars)} stars, {share:.0%} of {STARTS} climbs at the highest, "
        f"{time.process_time() - begin:.0f} CPU s\n   ",
        told(values, covariance, NAMES),
        "\n   ",
        told(values, covariance, others),
        *(f"({n} {float(d.loc):.3f} ± {float(d.scale):.3f})" for n, d in others.items()),
        f"scatter {values['model_scatter']:.3f}",
        flush=True,
    )


def first_of(others: dict[str, Normal]) -> dict[str, float]:
    """Where climbs begin."""
    first = {n: float(d.loc) for n, d in others.items()}
    return first | {"a_v": max(first["a_v"], 0.02)}


def combined(fits: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the normal distribution that clusters' values come from.

    Args:
        fits: mean and covariance of each cluster's posterior, with the prior `WIDE`.
    """
    known, pulls = [], []
    for mean, covariance in fits:
        precision = np.linalg.inv(covariance)
        size, axes = np.linalg.eigh(precision - np.diag(TAKEN_OUT * WIDE**-2.0))
        known.append(axes * np.maximum(size, 0.0) @ axes.T)  # what the stars say, without it
        pulls.append(precision @ mean)
    centre, spread = np.zeros(len(WIDE)), np.diag(WIDE**2)
    for _ in range(2000):
        inverse = np.linalg.inv(spread)
        posts = [np.linalg.inv(inverse + one) for one in known]
        values = np.array([v @ (inverse @ centre + h) for v, h in zip(posts, pulls, strict=True)])
        centre = values.mean(axis=0)
        off = values - centre
        total = sum(posts) + off.T @ off + REGULAR**2 * np.eye(len(WIDE))
        spread = total / (len(fits) + 1)
    return centre, spread


def as_shapes(centre: np.ndarray, spread: np.ndarray) -> dict:
    """Mean, and the principal axes of more than `LEAST`, the largest entry of each 1."""
    size, axes = np.linalg.eigh(spread)
    kept = [k for k in np.argsort(-size) if np.sqrt(size[k]) * np.abs(axes[:, k]).max() > LEAST]
    peaks = [axes[np.argmax(np.abs(axes[:, k])), k] for k in kept]
    return {
        "mean": np.round(centre, 4).tolist(),
        "shapes": [np.round(axes[:, k] / p, 4).tolist() for k, p in zip(kept, peaks, strict=True)],
        "widths": [
            round(float(np.sqrt(size[k]) * abs(p)), 4) for k, p in zip(kept, peaks, strict=True)
        ],
    }


def combine(out: Path) -> None:
    """Write the shipped file, and for each cluster one of all others."""
    fits: dict[str, dict[str, tuple]] = {}
    for file in sorted(out.glob("*-*.npz")):
        grid, name = file.stem.split("-", 1)
        with np.load(file) as one:
            fits.setdefault(grid, {})[name] = one["mean"], one["covariance"]

    def write(path: Path, without: str = "") -> dict:
        grids = {
            grid: as_shapes(*combined([one for name, one in of.items() if name != without]))
            for grid, of in fits.items()
        }
        clusters = sorted({name for of in fits.values() for name in of} - {without})
        known = {"columns": ["G", "BP-RP"], "at": AT, "clusters": clusters, "grids": grids}
        path.write_text(json.dumps(known, indent=1) + "\n")
        return grids

    def write_mean(name: str) -> None:
        known = json.loads((out / f"without-{name}.json").read_text())
        for one in known["grids"].values():
            one["shapes"] = one["widths"] = []
        (out / f"mean-without-{name}.json").write_text(json.dumps(known))

    for grid, one in write(LEARNT).items():
        print(f"{grid}, {len(fits[grid])} clusters [mag]")
        print(f"{'K':>16}", *(f"{k:>7}" for k in AT))
        rows = {
            "mean": one["mean"],
            **dict(zip(map(str, one["widths"]), one["shapes"], strict=True)),
        }
        rows["standard dev."] = np.sqrt(np.diag(combined(list(fits[grid].values()))[1]))
        for name, row in rows.items():
            print(f"{name:>16}", *(f"{x:7.3f}" for x in row))
    for name in {name for of in fits.values() for name in of}:
        write(out / f"without-{name}.json", name)
        write_mean(name)


def attempt(grid: str, out: Path, name: str) -> None:
    """Print posteriors without the error, with its mean, and with all of it; a row of each."""
    stars, limits, table = sample(name)
    others = said(name, table)
    prior = {"distance_modulus": others["distance_modulus"]}
    files = {"mean": f"mean-without-{name}.json", "learnt": f"without-{name}.json"}
    errors = {"trusted": 0, **{label: str(out / file) for label, file in files.items()}}
    for label, error in errors.items():
        model = load_model("mimo_cmd")(
            stars, field=uniform, limits=limits, grid=grid, prior=prior, isochrone_error=error
        )
        posterior = jc.fast(model, key=0)
        found = {"cluster": name, "grid": grid, "options": label, "stars": len(stars)}
        for parameter, known in others.items():
            low, median, high = np.quantile(posterior.draws[parameter], (0.16, 0.5, 0.84))
            found |= {
                parameter: median,
                f"{parameter}_low": low,
                f"{parameter}_high": high,
                f"{parameter}_known": float(known.loc),
                f"{parameter}_known_error": float(known.scale),
            }
        found["log_evidence"] = posterior.log_evidence
        print(
            f"{name:13} {label:9}",
            *(f"{n} {found[n]:.3f} ({found[f'{n}_known']:.3f})" for n in others),
            f"scatter {np.median(posterior.draws['model_scatter']):.3f}",
            f"ln Z {posterior.log_evidence:.1f} {posterior.cpu_seconds:.0f} CPU s",
            flush=True,
        )
        kept = out / f"{grid}-tried.csv"
        pd.DataFrame([found]).to_csv(kept, mode="a", header=not kept.exists(), index=False)


def beyond(off: np.ndarray, half: np.ndarray) -> float:
    """σ that 68 % of differences need beyond half of their intervals: |Δ|² < half² + σ²."""
    return float(np.sqrt(max(np.quantile(off**2 - half**2, 0.683), 0.0)))


def systematic(grid: str, out: Path) -> None:
    """Print σ of each parameter, and write it to the shipped file."""
    tried = pd.read_csv(out / f"{grid}-tried.csv")
    parameters = [c.removesuffix("_known") for c in tried if c.endswith("_known")]
    known = json.loads(LEARNT.read_text())
    found = known["grids"][grid]["systematic"] = {}
    for label, rows in tried.groupby("options", sort=False):
        sigma = {}
        for name in parameters:
            off = (rows[name] - rows[f"{name}_known"]).to_numpy()
            half = 0.5 * (rows[f"{name}_high"] - rows[f"{name}_low"]).to_numpy()
            others = [beyond(np.delete(off, i), np.delete(half, i)) for i in range(len(off))]
            held = int((np.abs(off) < np.hypot(half, others)).sum())
            sigma[name] = round(beyond(off, half), 3)
            print(
                f"{label:>8} {name:>17}: {sigma[name]:.3f} beyond ± {np.median(half):.3f}; of "
                f"{len(off)} clusters {int((np.abs(off) < half).sum())} are within their own "
                f"interval, {held} with the σ of the others"
            )
        if label != "trusted":
            found[label] = sigma
    LEARNT.write_text(json.dumps(known, indent=1) + "\n")


def main() -> None:
    """Run what the command line asks for."""
    what, *rest = sys.argv[1:] or [""]
    if what not in ("fit", "combine", "try", "systematic") or len(rest) < 1 + (what != "combine"):
        raise SystemExit(__doc__)
    keep_compiled()
    if what == "combine":
        return combine(Path(rest[0]))
    grid, out, *names = rest
    if what == "systematic":
        return systematic(grid, Path(out))
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in names or pd.read_csv(SPECTROSCOPY).cluster:
        (fit if what == "fit" else attempt)(grid, Path(out), name)


if __name__ == "__main__":
    main()
