"""Importance sampling of a `Model`: evidence from twenty to a hundred thousand likelihoods.

Estimates of ln Z, which count draws of their own, each from a proposal fitted to all draws before
(`estimate`), the first two and most of the others after a search from the prior (`search`).

How it knows that it fails. An estimate holds if an earlier one confirms it, to within their errors,
and a search that was made between the two has then found nothing new (`estimate.answer`); else
there is another search and estimate, up to `MOST`. One whose weights say nothing is followed
by another without a search, as its draws are what a better proposal is fitted to. A mode that
nobody sampled cannot show in the weights of its own pool; that all searches miss it is what
remains. Errors are larger by a quarter where weights have no variance (Pareto k̂ > 0.5; Vehtari et
al. 2024); those with a heavy tail (k̂ > 0.7), as many have for fields without a cluster, confirm,
and hold only after the last estimate. If the one that holds has not reached the error that was
asked for, it is the answer all the same, up to `LARGEST` times that error, and `Posterior.flags`
says so: nested sampling, which costs ten times as much, would not do better.
"""

import math
import time
from pathlib import Path

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, PRNGKeyArray
from scipy.special import logsumexp

from jaxcluster.density.draws import systematic
from jaxcluster.density.keys import as_key, generator
from jaxcluster.inference.checkpoint import Checkpoint
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.estimate import (
    APART,
    LARGEST,
    Estimate,
    answer,
    apart,
    confirming,
    estimate,
    usable,
)
from jaxcluster.inference.evaluate import BATCH, LOWEST, Evaluate
from jaxcluster.inference.finish import as_rows, finish, require_finite
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.model import Model
from jaxcluster.inference.posterior import HEAVIEST, Posterior, Progress
from jaxcluster.inference.search import BEGIN, CLIPPED, FIRST, Search, proposal_for, search
from jaxcluster.inference.weighted_draws import Draws

MOST = 6  # estimates


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
    confirm_nulls: bool = True,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Importance sampling with Student-t mixtures.

    Args:
        model: what to sample.
        key: random key or seed.
        tolerance: error of ln Z to reach.
        draws: equally weighted posterior draws to keep; as many effective ones are reached, or as
            the error of ln Z needs where no proposal fits well (see `ess`).
        confirm_nulls: whether an estimate below `model.null`, with which the field alone is the
            likelier, needs a second search to confirm it as others do. Without, it costs half, has
            `UNCONFIRMED` more of an error, and only the effective draws that its error needs.
        checkpoint: folder that keeps the likelihoods so far, so that a killed run can go on.
        progress: called with a line of text about once a second.

    Returns:
        The posterior with its evidence; of its `quality`, `tail_index` is the Pareto k̂ of the
        weights behind the evidence, and `disagreement` how far the estimate that confirms it
        is, in standard errors or tolerances, whichever is larger; it lacks where none does.

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
    rough = None if model.rough is None else Flat(model, rough=True)
    evaluate = Evaluate(flat, rough, prior.unravel, watch, first)
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
        confirm_nulls=confirm_nulls,
    )
    evaluate.keep(kept)
    scales = flat.scales(prior.unravel(first[0]))
    searches: list[Search] = []
    estimates: list[Estimate] = []
    all_draws = Draws(evaluate, prior, BATCH)
    unlikely = -math.inf if confirm_nulls or model.null is None else model.null
    found, done = None, False
    while not done and len(estimates) < MOST:
        # one that says nothing is followed by another, which knows its draws
        last = estimates[-1] if estimates else None
        if last is None or (
            usable(last, tolerance) and confirming(last, estimates, tolerance) is None
        ):
            stage = f"search {len(searches) + 1}"
            pool = Draws(evaluate.rough, prior, FIRST)
            searches.append(search(pool, evaluate.gradient, scales, rng, say))
            if model.rough is None:
                all_draws.join(pool)
            else:  # the search's own draws have another likelihood
                all_draws.add(proposal_for(pool, searches[-1].hills, CLIPPED, rng), BEGIN, rng)
        stage = f"estimate {len(estimates) + 1}"
        hills, least = [one.hills for one in searches], draws if len(searches) > 1 else 0
        estimates.append(estimate(all_draws, hills, rng, tolerance, least, say))
        found = answer(estimates, tolerance)
        done = found is not None and found[0].error < tolerance and found[0].tail_index < HEAVIEST
        last = estimates[-1]
        if found is None and usable(last, tolerance) and last.log_evidence < unlikely:
            estimates[-1] = last.unconfirmed()
            found, done = (estimates[-1], None), True
    if found is None:
        account = {**watch.record(), "resumed_seconds": watch.resumed}
        raise NotConvergedError(
            _why(estimates, tolerance), {**account, "evaluations": evaluate.count}
        )

    one, other = found
    weights = np.exp(one.log_weights - logsumexp(one.log_weights))
    chosen = rng.permutation(systematic(weights, draws, rng))
    rounds = [each for every in estimates for each in every.rounds]
    attributes = {
        "method": "importance",
        "log_evidence": one.log_evidence,
        "log_evidence_error": one.error,
        "information": float(weights @ one.log_likelihood) - one.log_evidence,
        "evaluations": evaluate.count,
        "rough_evaluations": evaluate.count_rough,
        "ess": one.ess,
        "tail_index": one.tail_index,
        "tolerance": tolerance,
        **({} if other is None else {"disagreement": abs(apart(one, other, tolerance))}),
        "search_power": np.concatenate([each.powers for each in searches]),
        "search_length": [len(each.powers) for each in searches],
        "estimate_log_evidence": [each.log_evidence for each in estimates],
        "estimate_error": [each.error for each in estimates],
        "estimate_tail_index": [each.tail_index for each in estimates],
        "estimates_too_low": sum(
            usable(each, tolerance) and apart(each, one, tolerance) > APART for each in estimates
        ),
        "estimate_that_holds": [each is one for each in estimates].index(True),
        "estimate_rounds": [len(each.rounds) for each in estimates],
        "round_log_evidence": [value for value, _, _ in rounds],
        "round_log_evidence_error": [value for _, value, _ in rounds],
        "round_counts": [int(counts) for _, _, counts in rounds],
        "round_log_weight": one.log_weights,
    }
    kept_draws = jax.tree.map(lambda a: a[None], evaluate.describe(one.z[chosen]))
    statistics = {"log_likelihood_total": one.log_likelihood[chosen][None]}
    return finish(flat, kept_draws, statistics, attributes, watch)


def _drawn(flat: Flat, keys):
    return jax.vmap(flat.draw)(keys)


class Prior:
    """Draws from a model's prior as rows, never the same twice."""

    def __init__(self, flat: Flat, key: PRNGKeyArray, watch: Stopwatch):
        keys = jax.random.split(key, FIRST)
        self._key, self._run = key, watch.compile(Partial(_drawn, flat), keys)
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
        f"{one.ess:.0f} effective draws"
        for one in estimates
    ]
    return (
        f"{len(each)} estimates did not confirm each other with errors below "
        f"{LARGEST * tolerance:g}: {'; '.join(each)}"
    )
