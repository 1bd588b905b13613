"""Is the field's error of ln BF true? Independent fields of one density that is known exactly.

    python -m benchmarks.field_density.coverage [N_FIELD ...] [--fields R]

The density is that of NGC 2682's 4853 field stars; fields of 300, 1000 and 4000 stars are drawn
from it. Samples of 120 stars: 60 of a red (log age 9.6), blue (7.5) and giant-rich (9.3 at
4 kpc) cluster, 14 of TRUTH ("weak") and none ("null"), the rest from the same density. For each a
posterior with the known density, by nested sampling; ln BF with a fitted one then differs by
`log_change` of that posterior's memberships, which needs no further sampling.

off: ln BF with the fitted density less that with the known one, its mean and scatter over fields;
scatter, bias: what `field_error` says from one field, rms and mean; 1 σ, 2 σ: how often off is
within once and twice the total.
"""

import argparse
import time

import jax
import numpy as np

import jaxcluster as jc
from benchmarks.field_density.main import FIELDS, read
from benchmarks.null.main import CELLS, draw_from
from benchmarks.shared import DATA, header, keep_compiled
from jaxcluster.field.error import field_error, log_change
from jaxcluster.jobs.model_files import load_model
from jaxcluster.population.simulate import TRUTH, simulate_cluster

LIMITS = (8.0, 18.0)
STARS, LIVE = 120, 50
CLUSTERS = {
    "red": (60, {"log_age": 9.6, "distance_modulus": 9.7, "a_v": 0.2}),
    "blue": (60, {"log_age": 7.5, "distance_modulus": 10.5, "a_v": 0.2, "mass_slope": -1.5}),
    "giants": (60, {"log_age": 9.3, "distance_modulus": 13.0, "a_v": 0.6}),
    "weak": (14, {}),
    "null": (0, {}),
}


def sample_of(name: str, density: jc.FieldDensity, like: jc.Stars) -> jc.Stars:
    """Members and field stars, in order of magnitude."""
    number, changes = CLUSTERS[name]
    stars = draw_from(density, like, STARS - number, np.random.default_rng(5))
    x, noise = np.asarray(stars.x), np.asarray(stars.noise)
    if number:
        grid = jc.load_grid("parsec", ("G", "BP", "RP"))
        truth = {**TRUTH, **changes, "field_fraction": 0.0}
        members = jc.from_table(simulate_cluster(jax.random.key(7), number, truth, grid, LIMITS))
        x, noise = np.concatenate([x, members.x]), np.concatenate([noise, members.noise])
    order = np.argsort(x[:, 0])
    return jc.Stars(x[order], noise[order], like.columns)


def memberships_of(stars: jc.Stars, density: jc.FieldDensity) -> np.ndarray:
    """Of each star at each draw of the posterior."""
    model = load_model("mimo_cmd")(stars, field=density, limits=LIMITS, isochrone_error=0, **CELLS)
    found = jc.nested(model, key=1, live=LIVE).memberships
    assert found is not None
    return found


def with_another(p: np.ndarray, log_ratio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Memberships at draws of the posterior with another field density, ln φ'/φ of each star."""
    log_w = np.log1p(p * np.expm1(-log_ratio)).sum(axis=1)
    weights = np.exp(log_w - log_w.max())
    drawn = p[rng.choice(len(p), 1000, p=weights / weights.sum())]
    return drawn / (drawn + (1.0 - drawn) * np.exp(log_ratio))


def main() -> None:
    """Print a table for each number of field stars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_field", type=int, nargs="*", default=[300, 1000, 4000])
    parser.add_argument("--fields", type=int, default=20)
    asked = parser.parse_args()
    keep_compiled()
    real = read(DATA / FIELDS["NGC 2682"], LIMITS)
    truth = jc.fit_field(real, LIMITS, n_stars=STARS, key=jax.random.key(0))
    samples = {}
    for name in CLUSTERS:
        stars = sample_of(name, truth, real)
        samples[name] = stars, memberships_of(stars, truth)
        print(f"{name}: {samples[name][1].mean(axis=0).sum():.1f} members expected", flush=True)
    columns = "mean off", "scatter", "said: scatter", "bias", "1 σ", "2 σ"
    for n in asked.n_field:
        print(f"\n{n} field stars")
        row, spent = header("sample", *columns), []
        rows = {name: [] for name in samples}
        for seed in range(asked.fields):
            rng = np.random.default_rng(100 + seed)
            field = draw_from(truth, real, n, rng)
            fitted = jc.fit_field(field, LIMITS, n_stars=STARS, key=jax.random.key(seed))
            for name, (stars, p) in samples.items():
                ratio = np.asarray(fitted(stars) - truth(stars))
                begin = time.process_time()
                said = field_error(fitted, stars, with_another(p, ratio, rng), key=seed)
                spent.append(time.process_time() - begin)
                rows[name].append((log_change(p, ratio), said.scatter, said.bias))
        for name, found in rows.items():
            off, scatter, bias = np.array(found).T
            within = [np.mean(np.abs(off) < k * np.hypot(scatter, bias)) for k in (1, 2)]
            values = off.mean(), off.std(ddof=1), np.sqrt((scatter**2).mean()), bias.mean()
            row(name, *(f"{value:.2f}" for value in (*values, *within)))
        print(f"{np.median(spent):.1f} CPU s an error", flush=True)


if __name__ == "__main__":
    main()
