"""Clusters of known truth in simulated fields: purity, completeness and reliability of P.

    python -m benchmarks.simulated_fields.main DATA [--figure FILE] [--contrasts C ...] [--each N]

DATA is the folder of gaia_fields; notebooks/simulated_fields.png is the figure of the defaults.

Set-up. Four crowded hosts of gaia_fields. Of a host's mixture of ten Gaussians what may be a
cluster is dropped (`field_weights` of members.py); 5000 field stars
are drawn from the rest, more than a host has, so that C = 0.3 is not a handful. The cluster is
where the field is densest, the hardest place, 0.5 km/s wide in each proper motion (0.012 to 0.030
mas/yr; the median noise is 0.05 to 0.08) and 1e-4 mas in parallax. Every star, member or not, gets
the noise covariance of a random star of the host, so members are as faint as the field. The
contrast C is that of proper motions,

    C = members / field stars with (x_i − μ)ᵀ (V_c + S_i)⁻¹ (x_i − μ) ≤ 4,

both expected; 86 % of the members are inside, 75 to 86 field stars are. Five seeds a host: 20
samples of a contrast. The field being a Gaussian mixture and the noise known, the model of
jaxcluster is right: these are upper limits for real fields. Positions are not used by any method.

Methods, all in proper motions and parallax:
- true densities: P from what was simulated, the best that any method can do.
- jaxcluster: `xd.fit` of ten components and the rule of `find_members`, defaults.
- jaxcluster, no moves: the same with what k-means++ starts come to alone (`moves=0`).
- jaxcluster, from truth: the same, begun at what was simulated instead of k-means++.
- Gaussian mixture: scikit-learn's, ten components without deconvolution, n_init = 5, columns in
  units of their robust width; the same rule on its covariances, its responsibilities as P.
- Gaussian mixture, from truth: begun at the truth blurred by the mean noise, and told which
  component is right, as below, in place of the rule.
- HDBSCAN, told: scikit-learn's, columns scaled likewise, min_cluster_size 10, 20, 40 and 80 (and
  min_samples the same, the default), "eom" and "leaf"; `probabilities_` as P, which is not meant to
  be one. CPU seconds are those of one of the eight.
Told: of all components or labels (of all eight runs) that are found as below, that of the best F1
of the stars with P ≥ 0.5, which nobody has without the truth.

A cluster is claimed where Σ P ≥ 5, found where moreover the mean of the stars weighted by P is
within 0.1 mas/yr and 0.1 mas of the truth and their spread at most 0.25 mas/yr in each proper
motion. Everything else pools all stars of all samples, with P = 0 where nothing is claimed. Brier
is Σ (P − t)² over that of P = 0 for all (1: as good as nothing); calibr. is the mean |mean P − true
share| of the five bins from 0.1, weighted by their stars. Error bars of the figure are binomial
(68 %), too short where samples differ.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from scipy.stats import beta

import jaxcluster as jc
from benchmarks.members.main import field_weights
from benchmarks.shared import keep_compiled
from jaxcluster import xd
from jaxcluster.figures.style import POSTERIOR, PRIOR, draw_credit
from jaxcluster.jobs.members import COLUMNS
from jaxcluster.xd.cluster_component import KM_S, candidates

HOSTS = ("IC166", "NGC2301", "NGC2324", "NGC6834")
CONTRASTS = (5.0, 1.0, 0.3)
FIELD_STARS = 5000
K = 10
DISPERSION = 0.5  # km/s
THICKNESS = 1e-4  # mas
WITHIN_2_SIGMA = 1.0 - np.exp(-2.0)  # of a Gaussian in two dimensions
CLOSE, WIDE = 0.1, 0.25  # of a cluster found, in mas/yr (and mas) from the truth and in mas/yr
SIZES, SELECTIONS = (10, 20, 40, 80), ("eom", "leaf")  # of HDBSCAN
EDGES = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
STYLES = {
    "true densities": {"color": "black", "ls": ":"},
    "jaxcluster": {"color": POSTERIOR},
    "jaxcluster, no moves": {"color": POSTERIOR, "ls": ":"},
    "jaxcluster, from truth": {"color": POSTERIOR, "ls": "--"},
    "Gaussian mixture": {"color": PRIOR},
    "Gaussian mixture, from truth": {"color": PRIOR, "ls": "--"},
    "HDBSCAN, told": {"color": "#2e8b57", "ls": "--"},
}


# --- what is simulated ---------------------------------------------------------------------------


class Host(NamedTuple):
    """A field to put clusters in: its intrinsic mixture, the stars' noise, and the cluster's place.

    `inside` is how many of `FIELD_STARS` are expected within 2 σ of the cluster.
    """

    field: jc.GaussianMixture
    noise: np.ndarray
    cluster: jc.GaussianMixture
    inside: float


class Sample(NamedTuple):
    """One realisation."""

    host: Host
    stars: jc.Stars
    member: np.ndarray


def drawn(mixture: jc.GaussianMixture, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One star of the mixture for each noise covariance, measured with it."""
    label = rng.choice(len(mixture.weights), len(noise), p=np.asarray(mixture.weights))
    root = np.linalg.cholesky(np.asarray(mixture.covs)[label] + noise)
    away = np.einsum("nab,nb->na", root, rng.normal(size=(len(noise), 3)))
    return np.asarray(mixture.means)[label] + away


def host_of(path: Path) -> Host:
    rng = np.random.default_rng(0)
    stars = jc.from_table(path, COLUMNS)
    fitted = xd.fit(stars, K, key=jax.random.key(0)).mixture
    field = jc.GaussianMixture(field_weights(fitted, stars), fitted.means, fitted.covs)
    noise = np.asarray(stars.noise)
    # the densest of 3000 places, as a star of median noise would see it
    places = drawn(field, np.zeros((3000, 3, 3)), rng)
    blur = np.broadcast_to(np.median(noise, axis=0), (len(places), 3, 3))
    mean = places[np.argmax(field(jc.Stars(places, blur, COLUMNS)))]
    width = DISPERSION / KM_S * mean[2]
    cov = np.diag([width, width, THICKNESS]) ** 2
    noises = noise[rng.integers(0, len(noise), 200_000)]
    away = (drawn(field, noises, rng) - mean)[:, :2]
    motion = (cov + noises)[:, :2, :2]
    chi2 = (away * np.linalg.solve(motion, away[..., None])[..., 0]).sum(axis=1)
    cluster = jc.GaussianMixture(np.ones(1), mean[None], cov[None])
    return Host(field, noise, cluster, FIELD_STARS * float((chi2 <= 4.0).mean()))


def sample_of(host: Host, contrast: float, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    members = round(contrast * host.inside / WITHIN_2_SIGMA)
    noise = host.noise[rng.integers(0, len(host.noise), FIELD_STARS + members)]
    x = np.concatenate(
        [
            drawn(host.field, noise[:FIELD_STARS], rng),
            drawn(host.cluster, noise[FIELD_STARS:], rng),
        ]
    )
    return Sample(host, jc.Stars(x, noise, COLUMNS), np.arange(len(x)) >= FIELD_STARS)


# --- methods -------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """Probability of each star, zeros where there is no cluster; ln L of mixtures with noise."""

    probability: np.ndarray
    log_likelihood: float = np.nan


def is_claimed(probability: np.ndarray) -> bool:
    return bool(probability.sum() >= 5.0)


def is_found(sample: Sample, probability: np.ndarray) -> bool:
    """Whether what the probabilities pick is the cluster: see the module."""
    if not is_claimed(probability):
        return False
    x, truth = np.asarray(sample.stars.x), np.asarray(sample.host.cluster.means[0])
    mean = np.average(x, axis=0, weights=probability)
    spread = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=probability))
    return bool((np.abs(mean - truth) <= CLOSE).all() and (spread[:2] <= WIDE).all())


def best_told(sample: Sample, answers: list[np.ndarray]) -> np.ndarray:
    """Of the answers that are the cluster that of the best F1 at P ≥ 0.5; zeros if none is."""

    def f1(probability):
        taken = probability >= 0.5
        return 2.0 * (taken & sample.member).sum() / max(taken.sum() + sample.member.sum(), 1)

    right = [one for one in answers if is_found(sample, one)]
    return max(right, key=f1) if right else np.zeros(len(sample.member))


def by_rule(mixture: jc.GaussianMixture, stars: jc.Stars, belongs: np.ndarray) -> np.ndarray:
    """Probability of the component that jaxcluster takes for a cluster, zeros if there is none."""
    ranking = candidates(mixture, stars)
    good = [one for one in ranking if not one.refused]
    if not good:
        return np.zeros(len(belongs))
    cluster = max(good, key=lambda one: one.gain)
    return belongs[:, list(cluster.parts)].sum(axis=1)


def true_densities(sample: Sample, seed: int) -> dict[str, Answer]:
    host, members = sample.host, sample.member.sum()
    log_p = [np.asarray(one(sample.stars)) for one in (host.field, host.cluster)]
    odds = np.exp(log_p[1] - log_p[0]) * members / FIELD_STARS
    return {"true densities": Answer(odds / (1.0 + odds))}


def deconvolved(sample: Sample, seed: int) -> dict[str, Answer]:
    """As `find_members` does, which wants a table."""
    return {"jaxcluster": answer_of(xd.fit(sample.stars, K, key=jax.random.key(seed)), sample)}


def not_moved(sample: Sample, seed: int) -> dict[str, Answer]:
    fit = xd.fit(sample.stars, K, key=jax.random.key(seed), moves=0)
    return {"jaxcluster, no moves": answer_of(fit, sample)}


def answer_of(fit: xd.Fit, sample: Sample) -> Answer:
    belongs = xd.membership(sample.stars, fit.mixture)
    return Answer(by_rule(fit.mixture, sample.stars, belongs), fit.log_likelihood)


def truth_of(sample: Sample) -> jc.GaussianMixture:
    """What was simulated, `K` components; of no cluster, as if it had 30 members."""
    host, share = sample.host, max(sample.member.sum(), 30) / len(sample.member)
    kept = np.flatnonzero(np.asarray(host.field.weights) > 0)
    return jc.GaussianMixture(
        np.append((1.0 - share) * np.asarray(host.field.weights)[kept], share),
        np.concatenate([host.field.means[kept], host.cluster.means]),
        np.concatenate([host.field.covs[kept], host.cluster.covs]),
    )


def from_truth(sample: Sample, seed: int) -> dict[str, Answer]:
    begin, key = truth_of(sample), jax.random.key(seed)
    fit = xd.fit(sample.stars, len(begin.weights), key=key, init=begin)
    return {"jaxcluster, from truth": answer_of(fit, sample)}


def plain_mixture(sample: Sample, seed: int) -> dict[str, Answer]:
    from sklearn.mixture import GaussianMixture

    z, centre, width = scaled(sample.stars)
    fit = GaussianMixture(K, n_init=5, max_iter=1000, random_state=seed).fit(z)
    mixture = jc.GaussianMixture(
        fit.weights_, centre + fit.means_ * width, fit.covariances_ * np.outer(width, width)
    )
    return {"Gaussian mixture": Answer(by_rule(mixture, sample.stars, fit.predict_proba(z)))}


def plain_mixture_from_truth(sample: Sample, seed: int) -> dict[str, Answer]:
    from sklearn.mixture import GaussianMixture

    z, centre, width = scaled(sample.stars)
    truth = truth_of(sample)
    noise = np.mean(np.asarray(sample.stars.noise), axis=0)
    precisions = np.linalg.inv((np.asarray(truth.covs) + noise) / np.outer(width, width))
    fit = GaussianMixture(
        len(truth.weights),
        weights_init=np.asarray(truth.weights),
        means_init=(np.asarray(truth.means) - centre) / width,
        precisions_init=precisions,
        max_iter=1000,
        random_state=seed,
    )
    belongs = fit.fit(z).predict_proba(z)
    return {"Gaussian mixture, from truth": Answer(best_told(sample, list(belongs.T)))}


def hdbscan(sample: Sample, seed: int) -> dict[str, Answer]:
    from sklearn.cluster import HDBSCAN

    z, answers = scaled(sample.stars)[0], []
    for size in SIZES:
        for selection in SELECTIONS:
            tree = HDBSCAN(min_cluster_size=size, cluster_selection_method=selection, copy=True)
            tree.fit(z)
            for label in range(tree.labels_.max() + 1):
                answers.append(np.where(tree.labels_ == label, tree.probabilities_, 0.0))
    return {"HDBSCAN, told": Answer(best_told(sample, answers))}


def scaled(stars: jc.Stars) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns in units of half the distance of their 16 and 84 % quantiles, from the median."""
    x = np.asarray(stars.x)
    low, centre, high = np.quantile(x, [0.16, 0.5, 0.84], axis=0)
    width = 0.5 * (high - low)
    return (x - centre) / width, centre, width


# --- what comes out ------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What a method says of all samples of one contrast."""

    probability: np.ndarray
    member: np.ndarray
    claimed: int
    found: int
    log_likelihood: np.ndarray  # of each sample
    seconds: float  # of CPU, median

    def above(self, least: float) -> tuple[float, float]:
        """Purity and completeness of the stars with P ≥ `least`."""
        taken = self.probability >= least
        right = (taken & self.member).sum()
        return right / taken.sum() if taken.any() else np.nan, right / self.member.sum()

    @property
    def brier(self) -> float:
        """Σ (P − t)² over that of P = 0 for all stars; t is 1 for members."""
        return ((self.probability - self.member) ** 2).sum() / self.member.sum()

    @property
    def calibration_error(self) -> float:
        """Mean |mean P − share of members| of the bins but the first, weighted by their stars."""
        stars, mean, share = (column[1:] for column in self.reliability())
        some = stars > 0
        weights = stars[some] / max(stars.sum(), 1)
        return float((weights * np.abs(mean[some] - share[some])).sum()) if some.any() else np.nan

    def reliability(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stars, mean P and share of members in each bin."""
        bins = np.clip(
            np.searchsorted(EDGES, self.probability, side="right") - 1, 0, len(EDGES) - 2
        )
        stars, p, right = (
            np.bincount(bins, weights, minlength=len(EDGES) - 1)
            for weights in (None, self.probability, self.member)
        )
        some = np.where(stars > 0, stars, np.nan)
        return stars, p / some, right / some

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Completeness and purity as the threshold falls from 1 to 0.01."""
        order = np.argsort(-self.probability, kind="stable")
        p, right = self.probability[order], np.cumsum(self.member[order])
        last = np.append(p[1:] < p[:-1], True) & (p >= 0.01)  # stars of one P come together
        return right[last] / self.member.sum(), right[last] / (np.flatnonzero(last) + 1)


def outcomes(samples: list[Sample], method: Callable, runs: int = 1) -> dict[str, Outcome]:
    """Of each answer of `method`, which fits `runs` times."""
    answers, seconds = [], []
    for seed, sample in enumerate(samples):
        begin = time.process_time()
        answers.append(method(sample, seed))
        seconds.append((time.process_time() - begin) / runs)
    members = np.concatenate([sample.member for sample in samples])
    found = {}
    for name in answers[0]:
        each = [answer[name] for answer in answers]
        found[name] = Outcome(
            np.concatenate([one.probability for one in each]),
            members,
            sum(is_claimed(one.probability) for one in each),
            sum(is_found(s, one.probability) for s, one in zip(samples, each, strict=True)),
            np.array([one.log_likelihood for one in each]),
            float(np.median(seconds)),
        )
    return found


METHODS = (
    true_densities,
    deconvolved,
    not_moved,
    from_truth,
    plain_mixture,
    plain_mixture_from_truth,
)


def everything(samples: list[Sample]) -> dict[str, Outcome]:
    found = {}
    for method in METHODS:
        found |= outcomes(samples, method)
    return found | outcomes(samples, hdbscan, runs=len(SIZES) * len(SELECTIONS))


def show(contrast: float, samples: list[Sample], found: dict[str, Outcome]) -> None:
    counts = ", ".join(str(n) for n in sorted({int(one.member.sum()) for one in samples}))
    print(f"\ncontrast {contrast:g}: {len(samples)} samples, members {counts}")
    columns = ("found", "claimed", "purity .5", "compl. .5", "purity .9", "compl. .9")
    columns = (*columns, "Brier", "calibr.", "CPU s")
    print(f"{'':30}" + "".join(f"{column:>10}" for column in columns))
    for name, one in found.items():
        numbers = (*one.above(0.5), *one.above(0.9), one.brier, one.calibration_error)
        cells = [str(one.found), str(one.claimed), *(f"{a:.3f}" for a in numbers)]
        print(f"{name:30}" + "".join(f"{a:>10}" for a in [*cells, f"{one.seconds:.2f}"]))
    print(f"{'mean P: share (stars)':30}", end="")
    print("".join(f"{f'{a:g} to {b:g}':>20}" for a, b in pairwise(EDGES)))
    for name, one in found.items():
        bins = zip(*one.reliability(), strict=True)
        cells = [f"{p:.3f}: {share:.3f} ({n})" if n else "-" for n, p, share in bins]
        print(f"{name:30}" + "".join(f"{cell:>20}" for cell in cells))
    ours = found["jaxcluster"].log_likelihood
    gain = found["jaxcluster, from truth"].log_likelihood - ours
    print(
        f"ln L from the truth above that of jaxcluster: in {(gain > 0).sum()} of {len(gain)}, "
        f"median {np.median(gain):.1f}, from {gain.min():.1f} to {gain.max():.1f}",
        flush=True,
    )


def figure_of(results: dict[float, dict[str, Outcome]]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 8.0), layout="constrained")
    axes = figure.subplots(2, len(results))
    for (above, below), (contrast, found) in zip(axes.T, results.items(), strict=True):
        above.plot([0, 1], [0, 1], color="0.75", lw=1)
        for name, one in found.items():
            style = {"lw": 1.4, **STYLES[name]}
            stars, p, share = one.reliability()
            right = np.round(np.nan_to_num(share * stars))
            low, high = beta.ppf([[0.16], [0.84]], right + 0.5, stars - right + 0.5)
            some = stars >= 10
            bars = np.maximum([share - low, high - share], 0.0)[:, some]
            above.errorbar(p[some], share[some], bars, marker="o", ms=4, elinewidth=1, **style)
            below.plot(*one.curve(), **style)
            for least, marker in ((0.5, "o"), (0.9, "s")):
                purity, complete = one.above(least)
                below.plot(complete, purity, marker, color=style["color"], ms=6)
        above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        above.set_title(f"contrast {contrast:g}", fontsize=11)
        above.set_xlabel("membership probability P, mean of a bin")
        below.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="completeness")
    axes[0, 0].set_ylabel("true share of members in the bin")
    axes[1, 0].set_ylabel("purity, as the least P falls from 1 to 0.01")
    for name, style in STYLES.items():
        counts = ", ".join(str(found[name].found) for found in results.values())
        below.plot([], [], label=f"{name}: {counts}", **style)
    below.plot([], [], "o", color="0.4", label="P ≥ 0.5")
    below.plot([], [], "s", color="0.4", label="P ≥ 0.9")
    n = len(next(iter(results.values()))["jaxcluster"].log_likelihood)
    title = f"with the number of samples, of {n}, in which the cluster is found at each contrast"
    legend = {"loc": "outside upper center", "ncols": 3, "fontsize": 9, "frameon": False}
    figure.legend(*below.get_legend_handles_labels(), title=title, title_fontsize=9, **legend)
    draw_credit(figure, ("G",), None)
    figure.get_layout_engine().set(rect=(0, 0.025, 1, 0.975))  # the credit below the labels
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder of gaia_fields and the others")
    parser.add_argument("--figure", type=Path, help="where to draw it")
    parser.add_argument("--contrasts", type=float, nargs="+", default=CONTRASTS)
    parser.add_argument("--each", type=int, default=5, help="realisations of each host")
    arguments = parser.parse_args()
    keep_compiled()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of scikit-learn's: waiting takes CPU time
    try:
        import sklearn
    except ImportError:
        sys.exit("scikit-learn is absent: pip install 'jaxcluster[dev]', or scikit-learn>=1.5")
    print(f"jaxcluster {jc.__version__}, scikit-learn {sklearn.__version__}")
    hosts = []
    for name in HOSTS:
        host = host_of(arguments.data / "gaia_fields" / f"{name}.parquet")
        hosts.append(host)
        print(
            f"{name}: cluster at {np.round(np.asarray(host.cluster.means[0]), 2)}, dispersion "
            f"{np.sqrt(float(host.cluster.covs[0, 0, 0])):.3f} mas/yr, {host.inside:.1f} field "
            f"stars of {FIELD_STARS} within 2 σ; median noise "
            f"{np.sqrt(np.median(host.noise[:, 0, 0])):.3f} mas/yr"
        )
    results = {}
    for contrast in arguments.contrasts:
        samples = [sample_of(host, contrast, i) for i in range(arguments.each) for host in hosts]
        found = everything(samples)
        results[contrast] = found
        show(contrast, samples, found)
    samples = [sample_of(host, 0.0, i) for i in range(arguments.each) for host in hosts]
    print(f"\nno cluster: {len(samples)} samples; claimed, and found where one might be")
    for name, one in everything(samples).items():
        print(f"{name:30}{one.claimed:10}{one.found:10}", flush=True)
    if arguments.figure is not None:
        figure_of(results).savefig(arguments.figure, dpi=150)


if __name__ == "__main__":
    main()
