"""One estimate of ln Z from a proposal that is improved until it fits, and several together.

A proposal q is fitted to all draws so far, until a round of draws says ln Z = ln ⟨prior L / q⟩
nearly as well as asked, or `FITS` times. From then on q is fixed and draws count: they are
independent, and were not chosen for a small error. Two biases of Z and of the posterior remain,
both low: the largest weights are smoothed (`weighted_draws.smoothed`), and estimates without a
heavy tail are preferred (`lightest`). A product of Cauchys in 8 dimensions is 0.12 too low where
0.05 is quoted.

All draws, those that counted too, are what the next estimate's proposals are fitted to. An
estimate of all of them together, by the mixture of their proposals, would be too low where
proposals follow what they have found: by 0.3 for the null of `benchmarks/evidence`, by 1.0 for its
weak candidate.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxcluster.inference.posterior import HEAVIEST, Progress
from jaxcluster.inference.search import CLIPPED, proposal_for
from jaxcluster.inference.student_mixture import StudentMixture, mixed
from jaxcluster.inference.weighted_draws import Draws, effective, mean_and_error, smoothed

ROUND = 960  # draws
FITS = 6  # proposals, before draws count in any case
MOST_ROUNDS = 8  # that count
APART = 2.0  # standard errors, rms difference of estimates that still agree
LARGEST = 2.0  # tolerances, error of an estimate that can be used: what nested sampling reaches
NO_VARIANCE = 0.5  # Pareto k̂: beyond, weights have none, and draws do not show how they scatter
INFLATED = 1.25  # error then: estimates of the weak candidate scatter by 1.3 to 1.7 without


class Estimate(NamedTuple):
    """One estimate of ln Z, from draws of one fixed proposal."""

    log_evidence: float
    error: float  # `INFLATED` beyond `NO_VARIANCE`
    tail_index: float  # Pareto k̂ of the weights
    z: Float[np.ndarray, "n d"]  # draws
    log_likelihood: Float[np.ndarray, " n"]
    log_weights: Float[np.ndarray, " n"]  # prior L / q, as they are
    rounds: list[tuple[float, float, bool]]  # ln Z and error of each round, and whether it counts
    searches: int  # before it


class Mean(NamedTuple):
    """What weights say of ln Z."""

    log_evidence: float
    error: float  # `INFLATED` beyond `NO_VARIANCE`
    tail_index: float  # Pareto k̂
    log_weights: Float[np.ndarray, " n"]  # smoothed
    ess: float  # effective draws, by these


def mean_of(log_weights: Float[np.ndarray, " n"]) -> Mean:
    """Ln Z of weights, its error and k̂."""
    weights, k_hat = smoothed(log_weights)
    value, error = mean_and_error(weights)
    error *= INFLATED if k_hat > NO_VARIANCE else 1.0
    return Mean(value, error, k_hat, weights, effective(weights))


def estimate(
    pool: Draws,
    hills: list[StudentMixture],
    rng: np.random.Generator,
    tolerance: float,
    least: int,
    say: Progress,
) -> Estimate:
    """Improve a proposal until it fits, then draw from it until error and draws are as asked.

    Args:
        pool: all draws so far, to which those of the rounds are added.
        hills: about all maxima of each search.
        rng: for all draws.
        tolerance: error to reach.
        least: effective draws.
        say: called with a line of text after each round.
    """
    rounds, about = [], mixed([(1 / len(hills), one) for one in hills])

    def note(log_w: np.ndarray, counts: bool) -> None:
        value, error = mean_and_error(log_w)
        rounds.append((value, error, counts))
        say(f"ln Z = {value:.2f} ± {error:.2f}, {effective(log_w):.0f} effective draws")

    for _ in range(FITS):
        proposal = proposal_for(pool, about, 5 * CLIPPED, rng)
        log_w = pool.add(proposal, ROUND, rng)
        note(log_w, False)
        if mean_and_error(log_w)[1] < tolerance and smoothed(log_w)[1] < HEAVIEST:
            break
    else:
        proposal = proposal_for(pool, about, 5 * CLIPPED, rng)
    done = []
    for _ in range(MOST_ROUNDS):
        done.append(pool.draw(proposal, ROUND, rng))
        note(done[-1][-1], True)
        z, log_prior, log_likelihood, log_w = map(np.concatenate, zip(*done, strict=True))
        mean = mean_of(log_w)
        if mean.error < tolerance and mean.ess >= least:
            break
    pool.include(proposal, z, log_prior, log_likelihood)
    found = (mean.log_evidence, mean.error, mean.tail_index)
    return Estimate(*found, z, log_likelihood, log_w, rounds, len(hills))


def agreeing(estimates: list[Estimate], tolerance: float) -> list[Estimate]:
    """The highest ones that confirm each other, or an empty list.

    Those whose weights have no mean (k̂ ≥ 1) say nothing. What all know from the same searches is no
    confirmation: there must have been one between the first and the last of them, which has then
    found nothing new.
    """
    usable = [one for one in estimates if one.error < LARGEST * tolerance and one.tail_index < 1.0]
    agree: list[Estimate] = []
    for one in sorted(usable, key=lambda one: -one.log_evidence):
        if not agree or disagreement([*agree, one]) < APART:
            agree.append(one)
        elif len(agree) == 1:
            break  # the highest one is not confirmed
    return agree if len({one.searches for one in agree}) > 1 else []


def lightest(estimates: list[Estimate]) -> list[Estimate]:
    """Those whose weights have no heavy tail, or all: one that has it confirms, and no more."""
    return [one for one in estimates if one.tail_index < HEAVIEST] or estimates


def together(estimates: list[Estimate]) -> Mean:
    """Ln Z of several estimates."""
    mean = mean_of(np.concatenate([one.log_weights for one in estimates]))
    if len(estimates) == 1:
        return mean
    values = [one.log_evidence for one in estimates]
    scatter = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    # of two it is half of the difference; their errors say as much in two of three cases
    return mean._replace(error=max(mean.error, scatter)) if scatter > 1.5 * mean.error else mean


def disagreement(estimates: list[Estimate]) -> float:
    """Root mean square difference from the weighted mean, in standard errors."""
    values = np.array([one.log_evidence for one in estimates])
    weights = np.array([one.error for one in estimates]) ** -2.0
    chi2 = weights @ (values - weights @ values / weights.sum()) ** 2
    return math.sqrt(chi2 / (len(estimates) - 1))
