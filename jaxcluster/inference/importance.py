"""Importance sampling of a `Model`: evidence from some twenty thousand likelihoods.

Two *estimates* of ln Z that share no draws, the second of which knows where the first found maxima,
so that it can confirm them: a `search`, then rounds of draws, each from a proposal fitted to all
draws of this estimate, until a round says ln Z = ln ⟨prior L / q⟩ nearly as well as asked. From
then on q is fixed and draws count: they are independent, and were not chosen for a small error, so
Z and the posterior are unbiased. Where `FITS` proposals fit badly, as where modes are many and
narrow, a population walks (`walk`) with jumps from the proposal, which is fitted anew to where it
has been until its draws say so.

How it knows that it fails. The highest estimate must be confirmed by another one, to within their
errors, else there is a further one, up to five. One far below has missed something and does not
count. A mode that nobody sampled cannot show in the weights of its own pool; that two estimates
miss the same one is what remains. All that agree give Z together, and have to reach error and
effective draws. Where they scatter by more than their weights say, that is the error, and where the
tail of weights is too heavy for errors to be believed (Pareto k̂ > 0.7; Vehtari et al. 2024), as
for most fields without a cluster, the error is doubled.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.special import logsumexp

from jaxcluster.density.keys import as_key
from jaxcluster.inference.checkpoint import Checkpoint
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.evaluate import BATCH, LOWEST, Evaluate
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.model import Model
from jaxcluster.inference.posterior import (
    HEAVIEST,
    Posterior,
    Progress,
    as_rows,
    finish,
    require_finite,
    systematic,
)
from jaxcluster.inference.search import (
    BEGIN,
    CLIPPED,
    FIRST,
    KEPT,
    Search,
    clip,
    clipped,
    proposal_for,
    search,
)
from jaxcluster.inference.student_mixture import StudentMixture, fit_mixture, mixed
from jaxcluster.inference.walk import Walkers, walk
from jaxcluster.inference.weighted_draws import Draws, effective, mean_and_error, tail_index

MOST = 5  # estimates
ROUND = 960  # draws
# Proposals fitted to weighted draws, then to walkers, then again to what did not do as a count
FITS, WALKS, REFITS = 2, 2, 2
WALKERS, STEPS = 480, 18
# Rounds that count: as many as reach error and effective draws, and where `PATIENCE` were in vain
# only the error, but `SMALLER`, so that heavy tails may double it
PATIENCE, MOST_ROUNDS, SMALLER = 8, 32, 0.4
APART = 2.0  # standard errors, rms difference of estimates that still agree
LARGEST = 3.0  # tolerances, error of an estimate that can be used
HARD = 0.2  # of the effective draws asked for, which do where so many rounds were in vain
INFLATED = 2.0  # error of one whose weights have a heavy tail


class NotConvergedError(RuntimeError):
    """Importance sampling did not reach its bar: the message says which, `account` the cost."""

    def __init__(self, reason: str, account: dict[str, float]):
        super().__init__(reason)
        self.account = account


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

    def counted(proposal: StudentMixture, most: int) -> tuple[Estimate, np.ndarray]:
        done = []
        while True:
            z = proposal.draw(rng, ROUND, prior)
            log_prior, log_likelihood = evaluate(z)
            own = log_prior + log_likelihood - proposal.log_density(z, log_prior)
            done.append((z, log_likelihood, note(own, True), log_prior))
            z, log_likelihood, log_w, log_prior = map(np.concatenate, zip(*done, strict=True))
            value, error = mean_and_error(log_w)
            patient = len(done) < PATIENCE
            enough = error < tolerance and effective(log_w) >= least
            if enough or (not patient and error < SMALLER * tolerance) or len(done) == most:
                break
        k_hat = tail_index(log_w)
        error *= INFLATED if k_hat > HEAVIEST else 1.0
        return Estimate(value, error, k_hat, z, log_likelihood, log_w, rounds), log_prior

    def walked(proposal: StudentMixture) -> StudentMixture:
        z = pool.z[systematic(clipped(pool, 1.0, CLIPPED), WALKERS, rng)]
        walkers = Walkers(z, *evaluate(z))
        for _ in range(WALKS):
            places, log_w = walk(walkers, STEPS, proposal, evaluate, prior, rng)
            if _settled(note(log_w, False), 0.7 * tolerance):
                break
            z, log_prior = (np.concatenate([one[i] for one in places]) for i in (0, 1))
            fitted = fit_mixture(z, np.full(len(z), 1 / len(z)), log_prior, rng)
            proposal = mixed([(1.0 - KEPT, fitted.widened()), (KEPT, hills)])
        return proposal

    for _ in range(FITS):
        proposal = proposal_for(pool, hills, 5 * CLIPPED, rng)
        if _settled(note(pool.add(proposal, ROUND, rng), False), tolerance):
            break
    else:
        proposal = walked(proposal)
    for _ in range(REFITS):
        one, log_prior = counted(proposal, PATIENCE)
        if one.tail_index <= HEAVIEST and one.error < tolerance:
            return one
        # a draw of large weight says where the proposal is too thin
        rounds[-len(one.z) // ROUND :] = [
            (*each[:2], False) for each in rounds[-len(one.z) // ROUND :]
        ]
        fitted = fit_mixture(one.z, clip(one.log_weights, 5 * CLIPPED), log_prior, rng)
        proposal = mixed([(1.0 - KEPT, fitted.widened()), (KEPT, hills)])
    return counted(proposal, MOST_ROUNDS)[0]


def agreeing(estimates: list[Estimate], tolerance: float) -> list[Estimate]:
    """The highest ones that confirm each other; one alone is confirmed by none."""
    usable = [one for one in estimates if one.error < LARGEST * tolerance]
    agree: list[Estimate] = []
    for one in sorted(usable, key=lambda one: -one.log_evidence):
        if not agree or disagreement([*agree, one]) < APART:
            agree.append(one)
        elif len(agree) == 1:
            break  # the highest one is not confirmed
    light = [one for one in agree if one.tail_index <= HEAVIEST]
    return light if len(light) > 1 else agree  # one with a heavy tail has confirmed the others


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


def importance(
    model: Model,
    *,
    key: PRNGKeyArray | int = 0,
    tolerance: float = 0.1,
    draws: int = 1000,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Importance sampling with Student-t mixtures.

    Args:
        model: what to sample.
        key: random key or seed.
        tolerance: error of ln Z to reach.
        draws: equally weighted posterior draws to keep; as many effective ones are reached, or a
            fifth (see `ess`) where no proposal fits well.
        checkpoint: folder that keeps the likelihoods so far, so that a killed run can go on.
        progress: called with a line of text about once a second.

    Returns:
        The posterior with its evidence; of its `quality`, `tail_index` is the Pareto k̂ of the
        weights behind the evidence, and `disagreement` the rms difference of the estimates that
        count, in standard errors.

    Raises:
        NotConvergedError: a bar of the module's docstring was not reached.
        ValueError: from `Flat`, where no prior draw has a finite likelihood, or for the checkpoint
            of another run.
    """
    watch, key = Stopwatch(), as_key(key)
    flat = Flat(model)
    prior_key, seed_key = jax.random.split(key)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(seed_key)).ravel())
    said, stage = time.monotonic(), ""

    def say(line: str) -> None:
        nonlocal said
        if progress is not None and time.monotonic() - said > 1.0:
            said = time.monotonic()
            progress(f"{stage}: {evaluate.count} evaluations, {line}")

    prior = Prior(flat, prior_key, watch)
    first = prior(BATCH)
    evaluate = Evaluate(flat, prior.unravel, watch, first)
    log_likelihood = evaluate(first)[1]
    require_finite(log_likelihood[log_likelihood > LOWEST])
    kept = Checkpoint(
        checkpoint,
        "importance",
        flat,
        key,
        np.concatenate([log_likelihood, evaluate.rough(first)[1]]),
        watch,
        tolerance=tolerance,
        draws=draws,
    )
    evaluate.keep(kept)
    searches: list[Search] = []
    estimates: list[Estimate] = []
    while True:
        if len(searches) == MOST:
            account = {**watch.record(), "resumed_seconds": watch.resumed}
            raise NotConvergedError(
                _why(estimates, tolerance, draws), {**account, "evaluations": evaluate.count}
            )
        stage = f"search {len(searches) + 1}"
        pool = Draws(evaluate.rough, prior, FIRST)
        searches.append(search(pool, evaluate.gradient, rng, say))
        if (proposal := searches[-1].proposal) is None:
            continue
        if model.rough is not None:
            pool = Draws(evaluate, prior, BATCH)
        pool.add(proposal, BEGIN, rng)
        stage = f"estimate {len(searches)}"
        hills = mixed([(1 / len(searches), one.hills) for one in searches])
        least = math.ceil(draws / 2)
        wanted = tolerance * math.sqrt(2.0)
        estimates.append(estimate(pool, hills, prior, evaluate, rng, wanted, least, say))
        if len(agree := agreeing(estimates, tolerance)) < 2:
            continue
        log_z, error = together(agree)
        log_w = np.concatenate([one.log_weights for one in agree])
        if error < tolerance and effective(log_w) >= HARD * draws:
            break

    log_l = np.concatenate([one.log_likelihood for one in agree])
    weights = np.exp(log_w - logsumexp(log_w))
    chosen = rng.permutation(systematic(weights, draws, rng))
    rounds = [one for each in estimates for one in each.rounds]
    attributes = {
        "method": "importance",
        "log_evidence": log_z,
        "log_evidence_error": error,
        "information": float(weights @ log_l) - log_z,
        "evaluations": evaluate.count,
        "rough_evaluations": evaluate.count_rough,
        "ess": effective(log_w),
        "tail_index": max(one.tail_index for one in agree),
        "disagreement": disagreement(agree),
        "search_power": np.concatenate([one.powers for one in searches]),
        "search_length": [len(one.powers) for one in searches],
        "estimate_log_evidence": [one.log_evidence for one in estimates],
        "estimate_error": [one.error for one in estimates],
        "estimate_tail_index": [one.tail_index for one in estimates],
        "estimates_that_count": len(agree),
        "estimate_rounds": [len(one.rounds) for one in estimates],
        "round_log_evidence": [value for value, _, _ in rounds],
        "round_log_evidence_error": [value for _, value, _ in rounds],
        "round_counts": [int(counts) for _, _, counts in rounds],
        "round_log_weight": log_w,
    }
    z = np.concatenate([one.z for one in agree])[chosen]
    kept_draws = jax.tree.map(lambda a: a[None], evaluate.describe(z))
    statistics = {"log_likelihood_total": log_l[chosen][None]}
    return finish(flat, kept_draws, statistics, attributes, watch)


class Prior:
    """Draws from a model's prior as rows, never the same twice."""

    def __init__(self, flat: Flat, key: PRNGKeyArray, watch: Stopwatch):
        keys = jax.random.split(key, FIRST)
        self._key, self._run = key, watch.compile(jax.vmap(flat.draw), keys)
        self._rows, self.unravel = as_rows(self._run(keys))

    def __call__(self, n: int) -> Float[np.ndarray, "n d"]:
        """Return the next n."""
        while len(self._rows) < n:
            self._key = jax.random.fold_in(self._key, 1)
            more, _ = as_rows(self._run(jax.random.split(self._key, FIRST)))
            self._rows = np.concatenate([self._rows, more])
        drawn, self._rows = self._rows[:n], self._rows[n:]
        return drawn


def _why(estimates: list[Estimate], tolerance: float, draws: int) -> str:
    """What was not reached."""
    each = [
        f"{one.log_evidence:.2f} ± {one.error:.2f}, Pareto k {one.tail_index:.2f}, "
        f"{effective(one.log_weights):.0f} effective draws"
        for one in estimates
    ]
    return (
        f"{MOST} independent searches did not confirm each other to within {tolerance:g}, or gave "
        f"fewer than {HARD * draws:.0f} effective draws: {'; '.join(each) or 'none got anywhere'}"
    )
