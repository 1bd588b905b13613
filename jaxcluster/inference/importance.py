"""Adaptive importance sampling of a `Model`: evidence from ten to twenty thousand likelihoods.

Search: each search begins with draws from the prior; again and again a Student-t mixture is fitted
to all its draws, weighted towards prior × L^β, and a batch is drawn from it, with β as large as
`FEW` effective draws allow, until it is 1. Draws count by the mixture of all proposals so far
(Owen & Zhou 2000; Cornuet et al. 2012), and the largest weights are clipped for the fit, or a
single draw that finds something better would be all that the next proposal knows (Koblents &
Míguez 2015). That goes where a maximum is broad, and may lose a narrow higher one. So each search
then climbs by gradient from the best of its first draws, adds draws about the highest ends, shaped
as the posterior falls off there, and if these change the weights goes through the powers again. L
is the model's `rough` one where it has one; draws of searches are then used no further.
`benchmarks/evidence searches` counts what single searches miss.

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

A proposal is fitted to prior × L, and for a part to prior × √L with one or two components: that is
as wide as the prior where the likelihood says little, wider than the posterior where it says much,
and it reaches along ridges beyond the last of many narrow components (a defensive mixture;
Hesterberg 1995).

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
from jaxcluster.inference.climb import Gradient, climb, curvature
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
from jaxcluster.inference.student_mixture import NUMBERS, StudentMixture, fit_mixture
from jaxcluster.inference.weighted_draws import Draws, effective, mean_and_error, tail_index

FIRST = 960  # draws from the prior that a search begins with
TEMPERED = 0.3  # share of a proposal that is fitted to prior × √L
BEGIN = 480  # draws from the prior, and from each search's proposal, that rounds begin with
ROUND = 960  # draws of a round, and four times as many once patience is over
CLIMBS = 12  # from the best of these
STEPS = 100  # of each
LOWER = 10.0  # nats below the highest one, where other ends, and searches, do not count
WIDER = 3.0  # half of the draws around ends of climbs
FEW = 60  # effective draws that a search keeps
CLIPPED = 40  # effective draws that its fit sees at least, and a round's five times as many
MOST_STEPS = 150  # of a search
MOST_SEARCHES = 4
MOST_ROUNDS = 24
PATIENCE = 8  # rounds that are spent on a better proposal only
HARD = 0.2  # of the effective draws asked for, which do where patience was in vain
# Where a search's proposal has more than this share of the last one's density it has been: six
# standard deviations from a component in eight dimensions, so that tails are not taken for modes.
MEETS = 1e-7
HEAVIEST = 0.7  # Pareto k̂: beyond, a mean has not the error that its variance says
SEEN_TWICE = 0.9  # share of the posterior that two searches must have found


class NotConvergedError(RuntimeError):
    """Importance sampling did not reach its bar: the message says which, `account` the cost."""

    def __init__(self, reason: str, account: dict[str, float]):
        super().__init__(reason)
        self.account = account


def _bisect(low, high, enough):
    """Largest number for which `enough` holds, as it does at `low`."""
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def _fit(draws: Draws, beta: float, least: int, rng, numbers=NUMBERS) -> StudentMixture:
    """Proposal from all draws, the largest weights clipped so that `least` are effective."""
    log_w = draws.log_weights(beta)
    if effective(log_w) < least:
        low = np.sort(log_w)[-least]
        log_w = np.minimum(
            log_w, _bisect(low, log_w.max(), lambda c: effective(np.minimum(log_w, c)) >= least)
        )
    return fit_mixture(draws.z, np.exp(log_w - logsumexp(log_w)), rng, numbers).widened()


def about(gradient: Gradient, ends: Float[np.ndarray, "n d"]) -> StudentMixture:
    """Proposal around ends of climbs, half of it `WIDER` than the posterior falls off there.

    Args:
        gradient: log posterior and its gradient at rows.
        ends: the highest first. Those within a standard deviation, on average over the
            parameters, of a higher one are the same maximum, and left out.
    """
    means, covs = [], []
    while len(ends):
        means.append(ends[0])
        covs.append(curvature(gradient, ends[:1])[0])
        away = ends - ends[0]
        ends = ends[(away * np.linalg.solve(covs[-1], away.T).T).mean(axis=1) > 1.0]
    n = len(means)
    mixture = StudentMixture(np.full(n, 1 / n), np.array(means), np.linalg.cholesky(covs))
    return mixture.widened(0.5, WIDER)


def _proposal(draws: Draws, least: int, rng) -> StudentMixture:
    """Proposal for the posterior, `TEMPERED` of it for prior × √L."""
    parts = [_fit(draws, 1.0, least, rng), _fit(draws, 0.5, least, rng, (1, 2))]
    weights = [s * q.weights for s, q in zip((1.0 - TEMPERED, TEMPERED), parts, strict=True)]
    means, roots = ([getattr(q, name) for q in parts] for name in ("means", "roots"))
    return StudentMixture(*(np.concatenate(a) for a in (weights, means, roots)))


class Search(NamedTuple):
    """One way from the prior to the posterior."""

    proposal: StudentMixture | None  # for the posterior, None where that was not reached
    powers: list[float]  # of L, of each batch
    best: float  # log posterior of its draws


def temper(draws: Draws, rng, say) -> list[float]:
    """Add batches by rising powers of L, until `FEW` draws are effective without any.

    Returns the power of each batch.
    """
    beta, powers = 1e-14, []
    while effective(draws.log_weights()) < FEW and len(powers) < MOST_STEPS:
        enough = lambda x: effective(draws.log_weights(math.exp(x))) >= FEW  # noqa: E731
        if enough(math.log(beta)):
            beta = math.exp(_bisect(math.log(beta), 0.0, enough))
        proposal = _fit(draws, beta, CLIPPED, rng)
        draws.add(proposal, proposal.draw(rng, BATCH))
        powers.append(beta)
        say(f"power of L {beta:.2g}, highest ln L {draws.log_likelihood.max():.1f}")
    return powers


def search(draws: Draws, gradient: Gradient, rng, say) -> Search:
    """Add to draws from the prior until they reach the posterior.

    Args:
        draws: from the prior.
        gradient: log posterior and its gradient at rows.
        rng: for all draws.
        say: called with a line of text after each batch.
    """
    starts = draws.z[np.argsort(-draws.log_likelihood)[:CLIMBS]]
    powers = temper(draws, rng, say)
    say(f"{CLIMBS} climbs by gradient")
    ends, height = climb(gradient, starts, STEPS)
    ends = ends[np.argsort(-height)][: (height >= height.max() - LOWER).sum()]
    hills = about(gradient, ends)
    draws.add(hills, hills.draw(rng, BEGIN))
    powers += temper(draws, rng, say)
    proposal = None
    if effective(draws.log_weights()) >= FEW:
        proposal = _proposal(draws, CLIPPED, rng)
    return Search(proposal, powers, float((draws.log_prior + draws.log_likelihood).max()))


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
        proposal = _proposal(pool, 5 * CLIPPED, rng)
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

    first = jax.vmap(flat.draw)(jax.random.split(prior_key, MOST_SEARCHES * FIRST + BEGIN))
    rows, unravel = as_rows(first)
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
