"""One estimate of ln Z from a proposal that is improved until it fits, and several together.

A proposal q is fitted to all draws so far, until a round of draws says ln Z = ln ⟨prior L / q⟩
nearly as well as asked. From then on q is fixed and draws count: they are independent, and were not
chosen for a small error, so Z and the posterior are unbiased. Where `FITS` proposals fit badly, as
where modes are many and narrow, a population walks (`walk`) with jumps from the proposal, which is
fitted anew to where it has been until its draws say so.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxcluster.inference.posterior import HEAVIEST, Progress, systematic
from jaxcluster.inference.search import CLIPPED, KEPT, clipped, proposal_for
from jaxcluster.inference.student_mixture import StudentMixture, fit_mixture, mixed
from jaxcluster.inference.walk import Walkers, walk
from jaxcluster.inference.weighted_draws import Draws, effective, mean_and_error, tail_index

ROUND = 960  # draws
# Proposals fitted to weighted draws, and then to walkers. With two of these, a proposal fitted anew
# where counts had a heavy tail, and such estimates left out where two others agreed, one of four
# seeds lost 0.8 nat of the weak candidate, at the same cost
FITS, WALKS = 2, 5
WALKERS, STEPS = 480, 18
# Rounds that count: as many as reach error and effective draws, and where `PATIENCE` were in vain
# only the error, but `SMALLER`, so that heavy tails may double it
PATIENCE, MOST_ROUNDS, SMALLER = 8, 32, 0.4
APART = 2.0  # standard errors, rms difference of estimates that still agree
LARGEST = 3.0  # tolerances, error of an estimate that can be used
INFLATED = 2.0  # error of one whose weights have a heavy tail


class Estimate(NamedTuple):
    """One estimate of ln Z, from draws of one fixed proposal."""

    log_evidence: float
    error: float  # `INFLATED` where the tail is heavy
    tail_index: float  # Pareto k̂ of the weights
    z: Float[np.ndarray, "n d"]  # draws
    log_likelihood: Float[np.ndarray, " n"]
    log_weights: Float[np.ndarray, " n"]  # prior L / q
    rounds: list[tuple[float, float, bool]]  # ln Z and error of each round, and whether it counts


def _settled(log_w: np.ndarray, tolerance: float) -> bool:
    """Whether draws say that their proposal fits."""
    return mean_and_error(log_w)[1] < tolerance and tail_index(log_w) < HEAVIEST


def estimate(
    pool: Draws,
    hills: StudentMixture,
    prior: Callable[[int], np.ndarray],
    evaluate: Callable,
    rng: np.random.Generator,
    tolerance: float,
    least: int,
    say: Progress,
) -> Estimate:
    """Improve a proposal until it fits, then draw from it until error and draws are as asked.

    Args:
        pool: draws of the search, to which those of the rounds are added.
        hills: about all maxima.
        prior: how many → draws from the prior.
        evaluate: rows → log prior and log likelihood of each.
        rng: for all draws.
        tolerance: error to reach.
        least: effective draws.
        say: called with a line of text after each round.
    """
    rounds = []

    def note(log_w: np.ndarray, counts: bool) -> np.ndarray:
        value, error = mean_and_error(log_w)
        rounds.append((value, error, counts))
        say(f"ln Z = {value:.2f} ± {error:.2f}, {effective(log_w):.0f} effective draws")
        return log_w

    def counted(proposal: StudentMixture) -> Estimate:
        done = []
        while True:
            z = proposal.draw(rng, ROUND, prior)
            log_prior, log_likelihood = evaluate(z)
            own = log_prior + log_likelihood - proposal.log_density(z, log_prior)
            done.append((z, log_likelihood, note(own, True)))
            z, log_likelihood, log_w = (np.concatenate(part) for part in zip(*done, strict=True))
            value, error = mean_and_error(log_w)
            patient = len(done) < PATIENCE
            enough = error < tolerance and effective(log_w) >= least
            if enough or (not patient and error < SMALLER * tolerance) or len(done) == MOST_ROUNDS:
                break
        k_hat = tail_index(log_w)
        error *= INFLATED if k_hat > HEAVIEST else 1.0
        return Estimate(value, error, k_hat, z, log_likelihood, log_w, rounds)

    for _ in range(FITS):
        proposal = proposal_for(pool, hills, 5 * CLIPPED, rng)
        if _settled(note(pool.add(proposal, ROUND, rng), False), tolerance):
            return counted(proposal)
    z = pool.z[systematic(clipped(pool, 1.0, CLIPPED), WALKERS, rng)]
    walkers = Walkers(z, *evaluate(z))
    for _ in range(WALKS):
        places, log_w = walk(walkers, STEPS, proposal, evaluate, prior, rng)
        if _settled(note(log_w, False), 0.7 * tolerance):
            break
        z, log_prior = (np.concatenate([one[i] for one in places]) for i in (0, 1))
        fitted = fit_mixture(z, np.full(len(z), 1 / len(z)), log_prior, rng)
        proposal = mixed([(1.0 - KEPT, fitted.widened()), (KEPT, hills)])
    return counted(proposal)


def agreeing(estimates: list[Estimate], tolerance: float) -> list[Estimate]:
    """The highest ones that confirm each other; one alone is confirmed by none."""
    usable = [one for one in estimates if one.error < LARGEST * tolerance]
    agree: list[Estimate] = []
    for one in sorted(usable, key=lambda one: -one.log_evidence):
        if not agree or disagreement([*agree, one]) < APART:
            agree.append(one)
        elif len(agree) == 1:
            break  # the highest one is not confirmed
    return agree


def together(estimates: list[Estimate]) -> tuple[float, float]:
    """Ln Z of several estimates and its error."""
    value, error = mean_and_error(np.concatenate([one.log_weights for one in estimates]))
    if max(one.tail_index for one in estimates) > HEAVIEST:
        error *= INFLATED
    # of two it is half of the difference; their errors say as much in two of three cases
    scatter = np.std([one.log_evidence for one in estimates], ddof=1) / math.sqrt(len(estimates))
    return value, max(error, float(scatter)) if scatter > 1.5 * error else error


def disagreement(estimates: list[Estimate]) -> float:
    """Root mean square difference from the weighted mean, in standard errors."""
    values = np.array([one.log_evidence for one in estimates])
    weights = np.array([one.error for one in estimates]) ** -2.0
    chi2 = weights @ (values - weights @ values / weights.sum()) ** 2
    return math.sqrt(chi2 / (len(estimates) - 1))
