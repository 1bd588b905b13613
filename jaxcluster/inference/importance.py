"""Importance sampling of a `Model`: evidence from twenty to a hundred thousand likelihoods.

Estimates of ln Z, which count draws of their own, each from a proposal fitted to all draws before
(`estimate`), the first two and most of the others after a search from the prior (`search`).

How it knows that it fails. The highest estimate must be confirmed by another one, to within their
errors, and a search that was made between the two has then found nothing new; else there is another
search and estimate, up to `MOST`. An estimate far below has missed something and does not count. A
mode that nobody sampled cannot show in the weights of its own pool; that all searches miss it is
what remains. Estimates that agree give Z together; those whose weights have a heavy tail (Pareto
k̂ > 0.7; Vehtari et al. 2024), as many have for fields without a cluster, only where all do after
the last one. Errors are larger by a quarter where weights have no variance (k̂ > 0.5), and where
estimates scatter by more than their weights say, that is the error. If they agree but have not
reached the error or the effective draws that were asked for, they are the answer all the same, up
to `LARGEST` times that error, and `Posterior.flags` says so: nested sampling, which costs ten times
as much, would not do better.
"""

import math
import time
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.special import logsumexp

from jaxcluster.density.keys import as_key, generator
from jaxcluster.inference.checkpoint import Checkpoint
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.estimate import (
    LARGEST,
    Estimate,
    agreeing,
    disagreement,
    estimate,
    lightest,
    together,
)
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
from jaxcluster.inference.search import BEGIN, CLIPPED, FIRST, Search, proposal_for, search
from jaxcluster.inference.weighted_draws import Draws, effective

MOST = 6  # estimates
HARD = 0.2  # of the effective draws asked for, which do where no proposal fits well


class NotConvergedError(RuntimeError):
    """Importance sampling did not reach its bar: the message says which, `account` the cost."""

    def __init__(self, reason: str, account: dict[str, float]):
        super().__init__(reason)
        self.account = account


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
            fifth where no proposal fits well, or fewer after the last estimate (see `ess`).
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
    rng = generator(seed_key)
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
    agree: list[Estimate] = []
    best: list[Estimate] = []  # of those that agree
    all_draws = Draws(evaluate, prior, BATCH)
    mean, done = None, False
    while not done and len(estimates) < MOST:
        if not agree:
            stage = f"search {len(searches) + 1}"
            pool = Draws(evaluate.rough, prior, FIRST)
            searches.append(search(pool, evaluate.gradient, rng, say))
            if model.rough is None:
                all_draws.join(pool)
            else:  # the search's own draws have another likelihood
                all_draws.add(proposal_for(pool, searches[-1].hills, CLIPPED, rng), BEGIN, rng)
        stage = f"estimate {len(estimates) + 1}"
        hills, least = [one.hills for one in searches], math.ceil(draws / 2)
        wanted = tolerance * math.sqrt(2.0)
        estimates.append(estimate(all_draws, hills, rng, wanted, least, say))
        if agree := agreeing(estimates, tolerance):
            best = lightest(agree)
            mean = together(best)
            enough = mean.error < tolerance and mean.ess >= HARD * draws
            done = enough and best[0].tail_index < HEAVIEST  # so are the others then
    if mean is None or not agree or mean.error > LARGEST * tolerance:
        account = {**watch.record(), "resumed_seconds": watch.resumed}
        raise NotConvergedError(
            _why(estimates, tolerance), {**account, "evaluations": evaluate.count}
        )

    log_l = np.concatenate([one.log_likelihood for one in best])
    weights = np.exp(mean.log_weights - logsumexp(mean.log_weights))
    chosen = rng.permutation(systematic(weights, draws, rng))
    rounds = [one for each in estimates for one in each.rounds]
    attributes = {
        "method": "importance",
        "log_evidence": mean.log_evidence,
        "log_evidence_error": mean.error,
        "information": float(weights @ log_l) - mean.log_evidence,
        "evaluations": evaluate.count,
        "rough_evaluations": evaluate.count_rough,
        "ess": mean.ess,
        "tail_index": mean.tail_index,
        "tolerance": tolerance,
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
        "round_log_weight": mean.log_weights,
    }
    z = np.concatenate([one.z for one in best])[chosen]
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


def _why(estimates: list[Estimate], tolerance: float) -> str:
    """What was not reached."""
    each = [
        f"{one.log_evidence:.2f} ± {one.error:.2f}, Pareto k {one.tail_index:.2f}, "
        f"{effective(one.log_weights):.0f} effective draws"
        for one in estimates
    ]
    return (
        f"{len(each)} estimates did not confirm each other with errors below "
        f"{LARGEST * tolerance:g}: {'; '.join(each)}"
    )
