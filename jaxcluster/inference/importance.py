"""Importance sampling of a `Model`: evidence from some twenty thousand likelihoods.

Two estimates of ln Z that share no draws: a `search`, then draws from a proposal fitted to them
(`estimate`). The second one's proposals know where the first found maxima, so that it can confirm
them.

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
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.special import logsumexp

from jaxcluster.density.keys import as_key, generator
from jaxcluster.inference.checkpoint import Checkpoint
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.estimate import Estimate, agreeing, disagreement, estimate, together
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
from jaxcluster.inference.search import (
    BEGIN,
    FIRST,
    Search,
    search,
)
from jaxcluster.inference.student_mixture import mixed
from jaxcluster.inference.weighted_draws import Draws, effective

MOST = 5  # estimates
HARD = 0.2  # of the effective draws asked for, which do where so many rounds were in vain


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
