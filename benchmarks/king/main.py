"""Structure of clusters: against a reference, simulated truth, the binned fit, and the literature.

    python -m benchmarks.king.main reference  the maximum of king_synthetic.npz
    python -m benchmarks.king.main simulations [N]  maximum likelihood and rings on truth
    python -m benchmarks.king.main coverage [N] [SAMPLER]  68 and 95 % intervals at fixed truths
    python -m benchmarks.king.main ranks [N] [SAMPLER] [FIRST]  of truths drawn from the prior
    python -m benchmarks.king.main tails [N]  what NUTS finds and fast leaves out
    python -m benchmarks.king.main limits [N] [SAMPLER]  how often r_t is a limit, a right one
    python -m benchmarks.king.main time  a likelihood, NUTS, evidence; bars
    python -m benchmarks.king.main clusters [NAME]  real ones, such as NGC_2682

N clusters of each kind (100), SAMPLER nuts or fast, FIRST the first seed. Real ones stand beside
Hunt & Reffert (2024). Set-up of simulations: a circle of R = 30′, r_c 3′, background 0.2 arcmin⁻²
(565 stars), N stars of the cluster expected in the circle, r_t 18′ (0.6 R) or 60′ (2 R), numbers
Poisson's. Priors are the default ones, but their largest number of stars is from the expected
number, not the found one: all clusters of a kind share one prior and one compilation. Measured
2026-11-23, one thread.
"""

import argparse
import resource
import time
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from numpyro.distributions import Uniform
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import kstest

import jaxcluster as jc
from benchmarks.shared import DATA, REFERENCE, keep_compiled, timed
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.maximum import maximum_likelihood
from jaxcluster.jobs.king_field import Field, read_field
from jaxcluster.jobs.king_fit import Found, fit_profile
from jaxcluster.jobs.king_summary import table_of, warnings_of
from jaxcluster.jobs.members import find_members
from jaxcluster.jobs.model_files import load_model
from jaxcluster.structure.footprint import circle
from jaxcluster.structure.profiles import King
from jaxcluster.structure.surface import SurfaceDensity

RADIUS = 30.0  # of the footprint [arcmin]
CORE = 3.0
BACKGROUND = 0.2  # [arcmin⁻²]: 565 stars, a field after cuts in proper motion and parallax
INSIDE, OUTSIDE = 0.6 * RADIUS, 2.0 * RADIUS  # tidal radii
RINGS = 20  # of the binned fit
SHAPE = {"ellipticity": 0.2, "position_angle": 40.0, "x_centre": 0.5, "y_centre": -0.3}
SHOWN = ("r_core", "r_tidal", "n_inside", "background_density")
FOOTPRINT = circle(RADIUS)
SAMPLERS = {"nuts": jc.nuts, "fast": jc.fast}
build = load_model("king_profile")


class Setting(NamedTuple):
    """Simulated clusters of one kind."""

    name: str
    truth: dict[str, float]

    @property
    def most(self) -> float:
        """Stars that the prior allows, from the expected number, so that all clusters share it."""
        n = self.truth["n_inside"] + self.truth["background_density"] * float(FOOTPRINT.area)
        return n + 5 * n**0.5 + 10

    @property
    def prior(self) -> dict[str, Uniform]:
        """The default one, but of the expected number of stars: one compilation serves all."""
        area = float(FOOTPRINT.area)
        return {
            "n_inside": Uniform(0.0, self.most),
            "background_density": Uniform(0.0, self.most / area),
        }


def setting(n: float, tidal: float, background: float = BACKGROUND) -> Setting:
    name = f"N {n:g}, r_t {tidal:g}′" + ("" if background == BACKGROUND else f", b {background:g}")
    truth = {"n_inside": n, "background_density": background, "r_core": CORE, "r_tidal": tidal}
    return Setting(name, {**truth, **SHAPE})


SIX = [setting(n, tidal) for tidal in (INSIDE, OUTSIDE) for n in (50, 300, 1500)]


def stars_of(x) -> jc.Stars:
    return jc.Stars(x, np.zeros((len(x), 2, 2)), ("x", "y"))


def draw(rng, truth) -> np.ndarray:
    """Positions of a cluster and a uniform field in the footprint; numbers are Poisson's."""
    centre = np.array([truth["x_centre"], truth["y_centre"]])
    q, angle = 1.0 - truth["ellipticity"], np.radians(truth["position_angle"])
    core, tidal = truth["r_core"], truth["r_tidal"]
    farthest = min(tidal, (RADIUS + np.hypot(*centre)) / q**0.5)
    grid = core * np.expm1(np.linspace(0.0, np.log1p(farthest / core), 4000))
    inside = np.asarray(King(core, tidal).cumulative(grid))
    wanted, cluster = rng.poisson(truth["n_inside"]), np.zeros((0, 2))
    while len(cluster) < wanted:
        r = np.interp(rng.uniform(0.0, inside[-1], 4 * wanted), inside, grid)
        turn = rng.uniform(0.0, 2 * np.pi, len(r))
        major, minor = r * np.cos(turn) / q**0.5, r * np.sin(turn) * q**0.5
        east = major * np.sin(angle) + minor * np.cos(angle)
        north = major * np.cos(angle) - minor * np.sin(angle)
        x = np.stack([east, north], axis=-1) + centre
        cluster = np.concatenate([cluster, x[np.hypot(*x.T) < RADIUS]])
    n = rng.poisson(truth["background_density"] * np.pi * RADIUS**2)
    r, turn = RADIUS * rng.uniform(size=n) ** 0.5, rng.uniform(0.0, 2 * np.pi, n)
    field = np.stack([r * np.cos(turn), r * np.sin(turn)], axis=-1)
    return np.concatenate([cluster[:wanted], field])


def binned(x, centre) -> tuple[dict[str, float], dict[str, float], bool]:
    """The fit of the literature: rings, Poisson errors, weighted least squares.

    Ring densities at r = ⅔ (R₂³ − R₁³)/(R₂² − R₁²), as far as whole rings fit into the footprint;
    n_inside from the fitted profile, without an error.
    """
    reach = RADIUS - np.hypot(*centre)
    edges = np.linspace(0.0, reach, RINGS + 1)
    counts, _ = np.histogram(np.hypot(*(x - centre).T), edges)
    area = np.pi * np.diff(edges**2)
    r = 2 / 3 * np.diff(edges**3) / np.diff(edges**2)
    density, error = counts / area, np.sqrt(np.maximum(counts, 1)) / area
    low, high = [0.0, RADIUS / 300, RADIUS / 30, 0.0], [1e4, RADIUS, 10 * RADIUS, 1e2]

    def profile(r, k, core, tidal, background):
        base = 1 / np.sqrt(1 + (r / core) ** 2) - 1 / np.sqrt(1 + (tidal / core) ** 2)
        return background + k * np.maximum(base, 0.0) ** 2

    best, chi2 = None, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        for core in (0.5, 1.0, 2.0):
            for tidal in (5.0, 12.0):
                start = [density[0] + 1e-3, core * CORE, tidal * CORE, density[-5:].mean()]
                try:
                    found = curve_fit(
                        profile, r, density, start, error, absolute_sigma=True, bounds=(low, high)
                    )
                except RuntimeError:  # did not converge
                    continue
                value = (((density - profile(r, *found[0])) / error) ** 2).sum()
                if value < chi2:
                    best, chi2 = found, value
    if best is None:
        return {}, {}, True
    k, core, tidal, background = best[0]
    errors = np.sqrt(np.diag(best[1]))
    values = {"r_core": core, "r_tidal": tidal, "background_density": background}
    names = ("r_core", "r_tidal", "background_density")
    quoted: dict[str, float] = dict(zip(names, errors[1:], strict=True))
    values["n_inside"] = k * float(FOOTPRINT.integral(King(core, tidal), centre))
    scaled = (best[0] - low) / (np.array(high) - low)
    railed = ((scaled < 1e-4) | (scaled > 1 - 1e-4))[[1, 2]].any()
    return values, quoted, bool(railed or not np.isfinite(errors).all())


def statistics(values, errors, truth: float, logarithm: bool) -> str:
    """Bias over scatter, scatter over quoted error, shares within 1 and 2 errors."""
    values, errors = np.asarray(values, float), np.asarray(errors, float)
    if len(values) < 3:
        return "  " + "-" * 24
    away, quoted = values - truth, errors
    if logarithm:
        away, quoted = np.log(values / truth), errors / values
    scatter = away.std(ddof=1)
    line = f"{away.mean() / scatter:+8.2f}"
    if np.isnan(quoted).all():
        return line + " " * 20
    pull = np.abs(away / quoted)
    ratio = scatter / np.median(quoted)
    return f"{line}{ratio:8.2f}{100 * (pull < 1).mean():6.0f}{100 * (pull < 2).mean():6.0f}"


def simulations(n: int) -> None:
    """Maximum likelihood against truth, and the binned fit beside it, circular clusters."""
    print(f"{n} clusters each; bias/scatter, scatter/quoted, within 1 and 2 errors [%]")
    print(f"{'':22}{'':>20}  {'unbinned':>28}{'binned':>34}")
    for one in SIX:
        truth = {**one.truth, "ellipticity": 0.0}
        ours, theirs, failed = [], [], [0, 0]
        begin = time.process_time()
        for seed in range(n):
            x = draw(np.random.default_rng(seed), truth)
            model = build(stars_of(x), footprint=FOOTPRINT, max_ellipticity=0, prior=one.prior)
            found = maximum_likelihood(model, key=seed)
            p, e = found.parameters, found.errors
            if found.at_bound or not np.isfinite([e[name] for name in SHOWN]).all():
                failed[0] += 1
            else:
                ours.append((p, e))
            centre = np.array([truth["x_centre"], truth["y_centre"]])
            values, errors, bad = binned(x, centre)
            if bad:
                failed[1] += 1
            else:
                theirs.append((values, errors))
        spent = (time.process_time() - begin) / n
        print(
            f"{one.name}: no maximum within bounds {failed[0]}, binned {failed[1]}; "
            f"{spent:.2f} CPU s each",
            flush=True,
        )
        for name in SHOWN:
            line = f"{name:>42}"
            for results in (ours, theirs):
                values = [p[name] for p, _ in results]
                errors = [e.get(name, np.nan) for _, e in results]
                line += "  " + statistics(values, errors, truth[name], name.startswith("r_"))
            print(line, flush=True)


def posterior(x, prior, sampler, seed):
    """Draws of the default model, and the summary's table."""
    stars = stars_of(x)
    model = build(stars, footprint=FOOTPRINT, prior=prior)
    found = sampler(model, key=seed)
    field = Field(x, None, FOOTPRINT, (0.0, 0.0), RADIUS, {}, np.arange(len(x)))
    table = table_of(Found("king62", None, False, field, found, found.draws))
    return found, table


def report(ranks: dict[str, list[float]], uniform: bool) -> None:
    for name, values in ranks.items():
        r = np.array(values)
        line = f"{name:>22}{r.mean():8.2f} ± {12**-0.5 / len(r) ** 0.5:.2f}"
        for level in (0.68, 0.95):
            line += f"{100 * (np.abs(r - 0.5) < 0.5 * level).mean():8.0f}"
        if uniform:
            line += f"{kstest(r, 'uniform').pvalue:10.2f}"
        print(line, flush=True)


WATCHED = (*SHOWN, "ellipticity", "x_centre")


def coverage(n: int, sampler: str, settings=(SIX[1], SIX[5])) -> None:
    """Coverage of central intervals at fixed truths."""
    for one in settings:
        ranks: dict[str, list[float]] = {name: [] for name in WATCHED}
        begin = time.process_time()
        for seed in range(n):
            x = draw(np.random.default_rng(1000 + seed), one.truth)
            draws = posterior(x, one.prior, SAMPLERS[sampler], seed)[0].draws
            for name in ranks:
                ranks[name].append((draws[name] < one.truth[name]).mean())
        spent = (time.process_time() - begin) / n
        print(f"{one.name}, {n} clusters, {sampler}, {spent:.1f} CPU s each")
        print(f"{'':>22}{'rank':>8}{'68 %':>14}{'95 %':>8}")
        report(ranks, False)


FROM_PRIOR = {"n_inside": (30.0, 150.0), "background_density": (0.1, 0.2)}


PRIOR = {name: Uniform(*ends) for name, ends in FROM_PRIOR.items()}


def from_prior(seed: int) -> tuple[np.ndarray, dict[str, float]]:
    """Positions of a cluster whose parameters are drawn from the prior, and these."""
    rng = np.random.default_rng(seed)
    truth = {name: rng.uniform(*ends) for name, ends in FROM_PRIOR.items()}
    truth["r_core"] = RADIUS / 300 * 300 ** rng.uniform()
    truth["r_tidal"] = RADIUS / 30 * 300 ** rng.uniform()
    for name in ("x_centre", "y_centre"):
        truth[name] = RADIUS * rng.uniform(-0.25, 0.25)
    u, v = rng.normal(size=2)
    truth["ellipticity"] = -0.8 * np.expm1(-0.5 * (u**2 + v**2))
    truth["position_angle"] = np.degrees(0.5 * np.arctan2(v, u))
    return draw(rng, truth), truth


def ranks(n: int, sampler: str, first: int = 2000) -> None:
    """Ranks of truths drawn from the prior: uniform, and coverage exact, if all is right."""
    found: dict[str, list[float]] = {name: [] for name in WATCHED}
    begin = time.process_time()
    for seed in range(n):
        x, truth = from_prior(first + seed)
        draws = posterior(x, PRIOR, SAMPLERS[sampler], seed)[0].draws
        for name in found:
            found[name].append((draws[name] < truth[name]).mean())
    spent = (time.process_time() - begin) / n
    print(f"truths from the prior, {n} clusters, {sampler}, {spent:.1f} CPU s each")
    print(f"{'':>22}{'rank':>8}{'68 %':>14}{'95 %':>8}{'p':>10}")
    report(found, True)


def tails(n: int, first: int = 4000) -> None:
    """What of NUTS's draws lies outside fast's 95 % intervals, and fast's widths over NUTS's."""
    outside, width, cost, indices = [], [], [], []
    for seed in range(n):
        x, _ = from_prior(first + seed)
        found = {name: posterior(x, PRIOR, run, seed)[0] for name, run in SAMPLERS.items()}
        draws = {name: one.draws for name, one in found.items()}
        scaled = {
            name: np.array([np.log(d[p]) if p.startswith("r_") else d[p] for p in WATCHED])
            for name, d in draws.items()
        }
        low, high = np.quantile(scaled["fast"], [0.025, 0.975], axis=1)[..., None]
        outside.append(((scaled["nuts"] < low) | (scaled["nuts"] > high)).mean(axis=1))
        width.append(scaled["fast"].std(axis=1) / scaled["nuts"].std(axis=1))
        fast = found["fast"]
        cost.append([fast.evaluations, fast.cpu_seconds])
        indices.append(fast.quality.get("tail_index"))  # None by nested sampling
    mean, error = 100 * np.mean(outside, axis=0), 100 * np.std(outside, axis=0) / n**0.5
    evaluations, seconds = np.median(cost, axis=0)
    print(
        f"{n} clusters from the prior; fast: {evaluations:.0f} evaluations, {seconds:.1f} CPU s, "
        f"k > 0.7 in {sum(k is not None and k > 0.7 for k in indices)}, nested sampling in "
        f"{indices.count(None)}"
    )
    print(f"{'':>22}{'outside 95 % [%]':>18}{'width':>8}{'least':>7}{'most':>7}")
    for i, name in enumerate(WATCHED):
        w = np.array(width)[:, i]
        print(
            f"{name:>22}{mean[i]:12.1f} ± {error[i]:.1f}{w.mean():9.2f}{w.min():7.2f}{w.max():7.2f}"
        )


SWALLOWED = setting(300, 0.9 * RADIUS, 2.0)


def limits(n: int, sampler: str) -> None:
    """How often r_t comes as a limit, and whether that is below the truth."""
    print(f"{'':>24}{'limit':>8}{'< truth':>9}{'both':>8}{'< truth':>9}{'nothing':>9}{'value':>7}")
    for one in (*SIX[3:], SWALLOWED, SIX[0], SIX[2]):
        kinds = {"limit": [], "both": [], "nothing": [], "value": []}
        for seed in range(n):
            x = draw(np.random.default_rng(3000 + seed), one.truth)
            row = posterior(x, one.prior, SAMPLERS[sampler], seed)[1]["r_tidal"]
            low, median = row.get("lower_limit"), row["median"]
            kind = "value" if low is None else "limit" if median is None else "both"
            kind = "nothing" if low is None and median is None else kind
            kinds[kind].append(low is not None and low < one.truth["r_tidal"])
        right = {name: f"{sum(k)}/{len(k)}" if k else "-" for name, k in kinds.items()}
        print(
            f"{one.name:>24}{len(kinds['limit']):8}{right['limit']:>9}{len(kinds['both']):8}"
            f"{right['both']:>9}{len(kinds['nothing']):9}{len(kinds['value']):7}",
            flush=True,
        )


def reference() -> None:
    """The synthetic cluster whose maximum is on record."""
    given = np.load(REFERENCE / "king_synthetic.npz")
    x, footprint = np.stack([given["x"], given["y"]], axis=-1), circle(40.0)
    k, core, tidal, background = given["ml"]
    profile = King(core, tidal)
    density = SurfaceDensity(profile, footprint, k * footprint.integral(profile), background)
    value = float(jc.Model({}, lambda p: density, stars_of(x)).log_likelihood({}))
    print(f"ln L at the recorded maximum {value:.6f}, recorded {float(given['lnL']):.6f}")
    model = build(stars_of(x), footprint=footprint, max_ellipticity=0, free_centre=False)

    def amplitude(p):
        return {"k": SurfaceDensity.of(p, footprint).amplitude}

    for again in ("compiling too", "compiled"):
        begin = time.process_time()
        found = maximum_likelihood(model, key=0, derived=amplitude)
        print(f"{again}: {time.process_time() - begin:.2f} CPU s, {found.agree} of 6 climbs agree")
    print(f"ln L at our maximum {found.log_likelihood:.6f}")
    names = ("k", "r_core", "r_tidal", "background_density")
    print(f"{'':>20}{'maximum':>10}{'recorded':>10}{'error':>9}{'recorded':>10}{'truth':>8}")
    rows = zip(names, given["ml"], given["ml_err"], given["truth"], strict=True)
    for name, value, error, truth in rows:
        print(
            f"{name:>20}{found.parameters[name]:10.4f}{value:10.4f}"
            f"{found.errors[name]:9.4f}{error:10.4f}{truth:8.2f}"
        )


def memory() -> float:
    """Most memory of this process so far [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def times() -> None:
    """Cost of a likelihood, a posterior and evidences."""
    rng = np.random.default_rng(0)
    print(f"peak memory after imports {memory():.0f} MB")
    for n, background in ((2000, 0.53), (100_000, 35.0)):
        truth = {**SIX[1].truth, "n_inside": n / 4, "background_density": background}
        x = np.concatenate([draw(rng, truth) for _ in range(2)])[rng.permutation(n)]
        stars = stars_of(x)
        model = build(stars, footprint=FOOTPRINT)
        flat = Flat(model)
        z = flat.draw(jax.random.key(1))
        for name, function in (
            ("likelihood", flat.log_likelihood),
            ("and gradient", jax.value_and_grad(flat.log_likelihood)),
        ):
            watch = Stopwatch()
            run = watch.compile(function, z)
            jax.block_until_ready(run(z))
            spent = 1e3 * timed(run, z, calls=100).mean()
            print(f"{n} stars, {name}: {spent:.2f} ms CPU, compile {watch.compiling:.1f} s")
        print(f"peak memory {memory():.0f} MB", flush=True)
        if n > 2000:
            break
        shapes = {"king62": ("king62", None), "beta 1": ("generalised", 1)}
        for again in ("first", "again"):
            spent = 0.0
            account(f"nuts, {again}", jc.nuts(model, key=0))
            for name, (profile, beta) in shapes.items():
                one = build(stars, footprint=FOOTPRINT, profile=profile, beta=beta)
                run = jc.fast(one, key=0)
                account(f"fast, {name}, {again}", run)
                spent += run.cpu_seconds
            print(f"evidence of two profiles, {again}: {spent:.1f} CPU s")
        print(f"peak memory {memory():.0f} MB", flush=True)


def account(what: str, run: jc.Posterior) -> None:
    words = f"{run.cpu_seconds:.1f} CPU s + {run.compile_seconds:.1f} s of compiling"
    print(f"{what}: {words}, {run.evaluations} evaluations, {run!r}", flush=True)


def clusters(only: str | None) -> None:
    """Real clusters beside the literature, β = 2 against 1."""
    table = pd.read_csv(DATA / "literature" / "hunt_reffert_2024.csv").set_index("Name")
    selected = ("NGC_2323 P>0.5", "NGC_2682 P>0.5")
    cases = {
        "NGC_2168": DATA / "ngc2168" / "dr2_member_positions.parquet",
        "NGC_2682": DATA / "ngc2682" / "dr3_cone_30arcmin.parquet",
        selected[1]: DATA / "ngc2682" / "dr3_cone_30arcmin.parquet",
        selected[0]: DATA / "ngc2323" / "edr3_cone_42arcmin.parquet",
        "Melotte_22": DATA / "pleiades_dance" / "members.csv",
    }
    radii = {"NGC_2682": 30.0, selected[1]: 30.0, selected[0]: 42.0, "Melotte_22": 330.0}
    chosen = [name for name in cases if only is None or only in name]
    if not chosen:
        raise SystemExit(f"no cluster {only!r}; expected part of one of {', '.join(cases)}")
    for name in chosen:
        path = cases[name]
        hunt = table.loc[name.split()[0]]
        source = path
        if name in selected:
            found = find_members(path, key=jax.random.key(0), resamplings=0)
            rows = np.asarray(found.stars.rows)[found.membership >= 0.5]
            source = found.members["ra", "dec"][rows]
        centre = (float(hunt.RA_ICRS), float(hunt.DE_ICRS))
        field = read_field(source, centre=centre, radius=radii.get(name))
        begin, results = time.process_time(), []
        for shape in (("king62", None), ("generalised", 1)):
            results.append(fit_profile(field, shape, jc.fast, jax.random.key(0), lambda line: None))
        spent = time.process_time() - begin
        print(
            f"{name}: {len(field.x)} stars within {field.radius:.1f}′; Hunt & Reffert 2024: "
            f"r_c {60 * hunt.rc:.1f}′, r_t {60 * hunt.rt:.1f}′, r_50 {60 * hunt.r50:.1f}′, N "
            f"{hunt.N}; {spent:.0f} CPU s"
        )
        for found in results:
            rows, run = table_of(found), found.posterior
            print(
                f"  β {found.beta or 2}: ln Z {run.log_evidence:.2f} ± "
                f"{run.log_evidence_error:.2f} {run.fallback}"
            )
            for one in ("r_core", "r_tidal", "n_inside", "background_density", "ellipticity"):
                print(f"    {one:>20} {written(rows[one])}")
        for line in warnings_of(results):
            print(f"  {line}")
        print(flush=True)


def written(row: dict[str, Any]) -> str:
    """One row of the summary."""
    parts = []
    if row["median"] is not None:
        up, down = row["q84"] - row["median"], row["median"] - row["q16"]
        parts.append(f"{row['median']:.4g} + {up:.2g} − {down:.2g}")
    for side, sign in (("lower", ">"), ("upper", "<")):
        if (value := row.get(f"{side}_limit")) is not None:
            parts.append(f"{sign} {value:.4g}")
    return ", ".join(parts) or "no limit"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("reference")
    commands.add_parser("simulations").add_argument("n", type=int, nargs="?", default=100)
    for name in ("coverage", "ranks", "limits", "tails"):
        one = commands.add_parser(name)
        one.add_argument("n", type=int, nargs="?", default=100)
        if name == "tails":
            continue
        one.add_argument("sampler", choices=SAMPLERS, nargs="?", default="nuts")
        if name == "ranks":
            one.add_argument("first", type=int, nargs="?", default=2000)
    commands.add_parser("time")
    one = commands.add_parser("clusters")
    one.add_argument("only", nargs="?")
    given = parser.parse_args()
    if given.what != "time":  # which shows what compiling takes
        keep_compiled()
    if given.what == "reference":
        reference()
    elif given.what == "simulations":
        simulations(given.n)
    elif given.what == "time":
        times()
    elif given.what == "clusters":
        clusters(given.only)
    elif given.what == "tails":
        tails(given.n)
    elif given.what == "ranks":
        ranks(given.n, given.sampler, given.first)
    else:
        {"coverage": coverage, "limits": limits}[given.what](given.n, given.sampler)


if __name__ == "__main__":
    main()
