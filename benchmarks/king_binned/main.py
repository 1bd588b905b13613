"""What rings and least squares make of a cluster, beside its truth and beside the literature.

    python -m benchmarks.king_binned.main  # simulated clusters, then NGC 2168
    python -m benchmarks.king_binned.main --only simulated --likelihood --times 15  # without rings
    python -m benchmarks.king_binned.main --only ngc2168

Simulated: a King (1962) profile of core 3′ in a field of 30′ radius and 0.3 stars per arcmin²,
100 times in each setting; median of fitted over true value, and the share of the fits whose truth
is within one error (68 % if the errors were right), where there is an error.

NGC 2168: the 1794 members of Gaia Collaboration (Babusiaux et al.) 2018, fitted with β = 1 and 2 in
footprints from 30′ to 66′, beside r_c = 7.97 ± 1.20′, r_cl = 36.69 ± 1.86′ of Ahmed, Canbay & Çınar
(2026, Table 2), who prefer β = 1.
"""

import argparse

import numpy as np

from benchmarks.shared import DATA
from jaxcluster.density.stars import Stars
from jaxcluster.inference.maximum import maximum_likelihood
from jaxcluster.jobs.king_field import read_field
from jaxcluster.jobs.model_files import load_model
from jaxcluster.structure.footprint import circle
from jaxcluster.structure.profiles import King
from jaxcluster.structure.radial_profile import radial_profile
from jaxcluster.structure.surface import SurfaceDensity

CORE, RADIUS, BACKGROUND = 3.0, 30.0, 0.3
NAMES = ("r_core", "r_tidal", "background_density", "n_cluster")


def draw(rng, n, tidal):
    profile = King(CORE, tidal)
    r = np.linspace(0, tidal, 4000)
    inside = np.asarray(profile.cumulative(r))
    r = np.interp(rng.uniform(0, inside[-1], rng.poisson(n)), inside, r)
    turn = rng.uniform(0, 2 * np.pi, len(r))
    cluster = r[:, None] * np.stack([np.cos(turn), np.sin(turn)], -1)
    field = rng.uniform(-RADIUS, RADIUS, (rng.poisson(4 * RADIUS**2 * BACKGROUND), 2))
    x = np.concatenate([cluster, field])
    return x[np.hypot(*x.T) < RADIUS]


def likelihood(x, seed):
    """Values and errors of `NAMES` without rings; whether one has none or ended at a bound."""
    stars = Stars(x, np.zeros((len(x), 2, 2)), ("x", "y"))
    footprint = circle(RADIUS)
    model = load_model("king_profile")(stars, footprint=footprint, max_ellipticity=0)

    def derived(parameters):
        return SurfaceDensity.of(parameters, footprint).derived()

    found = maximum_likelihood(model, key=seed, search=100, starts=2, derived=derived)
    failed = bool(found.at_bound) or not np.isfinite(found.errors["r_tidal"])
    return [(float(found.parameters[k]), float(found.errors[k])) for k in NAMES], failed


def binned(x, seed):
    """The same with rings."""
    fit = radial_profile(x, circle(RADIUS), betas=(2,)).fits[0]
    failed = bool(fit.at_bound) or not np.isfinite(fit.covariance).all()
    return [(fit.parameters[k], fit.errors[k]) for k in NAMES], failed


def simulated(times, fitted):
    print("stars  r_t  bounds or none" + "".join(f"{n:>28}" for n in NAMES))
    for n in (50, 300, 1500):
        for tidal in (18.0, 60.0):
            rows, failed = [], 0
            for seed in range(times):
                x = draw(np.random.default_rng([n, int(tidal), seed]), n, tidal)
                row, bad = fitted(x, seed)
                rows.append(row)
                failed += bad
            truth = np.array([CORE, tidal, BACKGROUND, n])
            value, error = np.array(rows).transpose(2, 0, 1)
            known = np.isfinite(error)
            within = (np.abs(value - truth) < error) & known
            words = [
                f"{np.median(v):>16.2f} ({100 * w.sum() / max(k.sum(), 1):3.0f} %)"
                for v, w, k in zip((value / truth).T, within.T, known.T, strict=True)
            ]
            print(f"{n:>5} {tidal:>4.0f} {failed:>10}    " + "    ".join(words), flush=True)


def ngc2168():
    path = DATA / "ngc2168" / "dr2_member_positions.parquet"
    print("radius  rings   beta 1: χ²ν, r_c, r_cl, n_bg         beta 2: χ²ν, r_c, r_cl, n_bg")
    for radius in (30, 36, 40, 45, 50, 55, 60, 66):
        for rings in ("ln r", "2′"):
            field = read_field(path, radius=float(radius))
            edges = None if rings == "ln r" else np.arange(0.0, radius + 0.1, 2.0)
            found = radial_profile(field.x, field.footprint, edges=edges)
            words = []
            for fit in found.fits:
                p, e = fit.parameters, fit.errors
                words.append(
                    f"{fit.reduced_chi2:5.2f} {p['r_core']:6.2f} ± {e['r_core']:4.2f} "
                    f"{p['r_tidal']:7.2f} ± {e['r_tidal']:5.2f} {p['background_density']:6.3f}"
                )
            print(f"{radius:>4}    {rings:<5}  " + "   ".join(words), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=("simulated", "ngc2168"))
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--likelihood", action="store_true", help="simulated ones without rings")
    options = parser.parse_args()
    if options.only != "ngc2168":
        simulated(options.times, likelihood if options.likelihood else binned)
    if options.only != "simulated":
        ngc2168()
