"""Adaptive importance sampling of a `Model`: evidence from ten to twenty thousand likelihoods.

Searches (`search`) come first, each on its own, from draws of the prior.

Rounds: draws of all searches' proposals give a proposal, which gives a round of draws, which
improve the proposal, until a round says ln Z = ln ⟨prior L / q⟩ twice as well as asked. Those after
it count: their proposals q were fixed before, so Z and the posterior are unbiased, and they were
not chosen for a small error. (The first round of a small error, or all draws, make ln Z of the
curved problem of `benchmarks/evidence` too low. All draws make a posterior too narrow: a tail
counts for less where it is found, since proposals then go there, and for nothing where it is not;
see `benchmarks/king tails`. For the same reason each round counts by its own proposal, not by
the mixture of all that count.) A posterior that no mixture fits well, as that of most fields
without a cluster, gets there by larger rounds, which count from the ninth on, and with a fifth of
the effective draws.

How it knows that it fails: at least 90 % of the posterior must lie where two searches, which know
nothing of each other, have both been, and none counts whose draws all lie `LOWER` nats below the
best of another, else there is a further search, up to four; error and number of effective draws
must be reached within `MOST_ROUNDS`. A round whose weights have too heavy a tail (Pareto k̂ > 0.7;
Vehtari et al. 2024) does not count as good, but k̂ of those that count is only reported.
"""

import math
import time
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
    Posterior,
    Progress,
    as_rows,
    finish,
    require_finite,
    systematic,
)
from jaxcluster.inference.search import BEGIN, CLIPPED, FIRST, LOWER, proposal_for, search
from jaxcluster.inference.student_mixture import StudentMixture
from jaxcluster.inference.weighted_draws import Draws, effective, mean_and_error, tail_index

# How many there are:
MOST_SEARCHES = 4
SEEN_TWICE = 0.9  # share of the posterior that two searches must have found
# Where a search's proposal has more than this share of the last one's density it has been: six
# standard deviations from a component in eight dimensions, so that tails are not taken for modes.
MEETS = 1e-7
# Rounds:
ROUND, MOST_ROUNDS = 960, 24  # draws of each, four times as many once patience is over
PATIENCE = 8  # of them are spent on a better proposal only
HARD = 0.2  # of the effective draws asked for, which do where patience was in vain
HEAVIEST = 0.7  # Pareto k̂: beyond, a mean has not the error that its variance says


class NotConvergedError(RuntimeError):
    """Importance sampling did not reach its bar: the message says which, `account` the cost."""

    def __init__(self, reason: str, account: dict[str, float]):
        super().__init__(reason)
        self.account = account


def seen_twice(draws: Draws, found: list[StudentMixture], last: StudentMixture) -> float:
    """Share of the posterior where at least two of the searches' proposals would have drawn."""
    log_w = draws.log_weights()
    weights = np.exp(log_w - logsumexp(log_w))
    likely = weights > 1e-3 / len(weights)
    here = last.log_density(draws.z[likely]) + math.log(MEETS)
    times = np.zeros(likely.sum())
    for proposal in found:
        times += proposal.log_density(draws.z[likely]) > here
    return float(weights[likely] @ (times >= 2) / weights[likely].sum())


class Rounds(NamedTuple):
    """What rounds of draws said."""

    log_evidence: float
    error: float
    tail_index: float  # Pareto k̂ of the weights
    log_weights: Float[np.ndarray, " n"]  # prior L / q of the rounds that count, the last draws
    counted: int  # rounds
    each: list[tuple[float, float]]  # ln Z and error of each round
    proposal: StudentMixture  # the last one
    enough: bool  # whether error and effective draws are as asked


def rounds(pool: Draws, rng, tolerance: float, least: int, say) -> Rounds:
    """Draw rounds, each from a proposal fitted to all before, until those that count suffice."""
    counted, each, settled = [], [], False
    while True:
        proposal = proposal_for(pool, 5 * CLIPPED, rng)
        size = ROUND if settled or len(each) < PATIENCE else 4 * ROUND
        log_w = pool.add(proposal, proposal.draw(rng, size))
        each.append(mean_and_error(log_w))
        if settled or len(each) > PATIENCE:
            counted.append(log_w)
            log_w = np.concatenate(counted)
        log_z, error = mean_and_error(log_w)
        k_hat, ess = tail_index(log_w), effective(log_w)
        say(f"ln Z = {log_z:.2f} ± {error:.2f}, {ess:.0f} effective draws")
        patient = settled and len(each) < MOST_ROUNDS
        wanted = least if patient else HARD * least
        enough = len(counted) > 0 and error < tolerance and ess > wanted
        if enough or len(each) == MOST_ROUNDS:
            return Rounds(log_z, error, k_hat, log_w, len(counted), each, proposal, enough)
        settled = settled or (error < 0.5 * tolerance and k_hat < HEAVIEST)


def importance(
    model: Model,
    *,
    key: PRNGKeyArray | int = 0,
    tolerance: float = 0.1,
    draws: int = 1000,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Adaptive importance sampling with Student-t mixtures.

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
        weights behind the evidence, and `seen_twice` the share of the posterior that two searches
        found independently.

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

    keys = jax.random.split(prior_key, MOST_SEARCHES * FIRST + BEGIN)
    rows, unravel = as_rows(watch.compile(jax.vmap(flat.draw), keys)(keys))
    prior = np.split(rows[BEGIN:], MOST_SEARCHES)
    evaluate = Evaluate(flat, unravel, watch, rows[:BATCH])

    def failed(reason: str) -> NotConvergedError:
        account = {**watch.record(), "resumed_seconds": watch.resumed}
        return NotConvergedError(reason, {**account, "evaluations": evaluate.count})

    pool = Draws(evaluate, rows[:BEGIN])
    require_finite(pool.log_likelihood[pool.log_likelihood > LOWEST])
    kept = Checkpoint(
        checkpoint,
        "importance",
        flat,
        key,
        np.concatenate([pool.log_likelihood, evaluate.rough(rows[:BATCH])[1]]),
        watch,
        tolerance=tolerance,
        draws=draws,
    )
    evaluate.keep(kept)
    searches, each = [], []
    twice = 0.0
    while twice < SEEN_TWICE:
        if len(searches) == MOST_SEARCHES:
            raise failed(
                f"only {100 * twice:.0f} % of the posterior was found by two of {len(searches)} "
                "searches: there may be more modes"
            )
        stage = f"search {len(searches) + 1}"
        part = Draws(evaluate.rough, prior[len(searches)])
        searches.append(search(part, evaluate.gradient, rng, say))
        if model.rough is None:
            pool.join(part)
        if (proposal := searches[-1].proposal) is not None:
            pool.add(proposal, proposal.draw(rng, BEGIN))
        highest = max(one.best for one in searches)
        right = [one for one in searches if one.best > highest - LOWER]
        found = [one.proposal for one in right if one.proposal is not None]
        if len(found) < 2:
            continue
        stage = "rounds"
        done = rounds(pool, rng, tolerance, draws, say)
        each += done.each
        if not done.enough:
            raise failed(
                f"after {MOST_ROUNDS} rounds ln Z = {done.log_evidence:.2f} ± {done.error:.2f} "
                f"(asked: {tolerance:g}), Pareto k {done.tail_index:.2f}, "
                f"{effective(done.log_weights):.0f} effective draws (asked: {draws})"
            )
        twice = seen_twice(pool, found, done.proposal)

    log_w, counted = done.log_weights, np.arange(len(pool.z))[-len(done.log_weights) :]
    weights = np.exp(log_w - logsumexp(log_w))
    chosen = counted[rng.permutation(systematic(weights, draws, rng))]
    attributes = {
        "method": "importance",
        "log_evidence": done.log_evidence,
        "log_evidence_error": done.error,
        "information": float(weights @ pool.log_likelihood[counted]) - done.log_evidence,
        "evaluations": evaluate.count,
        "rough_evaluations": evaluate.count_rough,
        "ess": effective(log_w),
        "tail_index": done.tail_index,
        "seen_twice": twice,
        "searches": len(searches),
        "search_power": np.concatenate([one.powers for one in searches]),
        "search_length": [len(one.powers) for one in searches],
        "round_log_evidence": [value for value, _ in each],
        "round_log_evidence_error": [value for _, value in each],
        "rounds_counted": done.counted,
        "round_log_weight": done.log_weights,
    }
    statistics = {"log_likelihood_total": pool.log_likelihood[chosen][None]}
    kept_draws = jax.tree.map(lambda a: a[None], evaluate.describe(pool.z[chosen]))
    return finish(flat, kept_draws, statistics, attributes, watch)
