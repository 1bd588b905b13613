"""The search of importance sampling: one way from the prior to the posterior.

It begins with draws from the prior; again and again a Student-t mixture is fitted to all its draws,
weighted towards prior × L^β, and a batch is drawn from it, with β as large as `FEW` effective draws
allow, until it is 1. Draws count by the mixture of all proposals so far
(Owen & Zhou 2000; Cornuet et al. 2012), and the largest weights are clipped for the fit, or a
single draw that finds something better would be all that the next proposal knows (Koblents &
Míguez 2015). That goes where a maximum is broad, and may lose a narrow higher one. So each search
then climbs by gradient from the best of its first draws, adds draws about the highest ends, shaped
as the posterior falls off there, and if these change the weights goes through the powers again. L
is the model's `rough` one where it has one; draws of searches are then used no further.
`benchmarks/evidence searches` counts what single searches miss.

A proposal is fitted to prior × L, and for a part to prior × √L with one or two components: that is
as wide as the prior where the likelihood says little, wider than the posterior where it says much,
and it reaches along ridges beyond the last of many narrow components (a defensive mixture;
Hesterberg 1995).
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from jaxcluster.inference.climb import Gradient, climb, curvature
from jaxcluster.inference.evaluate import BATCH
from jaxcluster.inference.student_mixture import NUMBERS, StudentMixture, fit_mixture
from jaxcluster.inference.weighted_draws import Draws, effective

FIRST = 960  # draws from the prior
TEMPERED = 0.3  # share of a proposal that is fitted to prior × √L
FEW, CLIPPED = 60, 40  # effective draws that it keeps, and that its fit sees at least
CLIMBS, STEPS = 12, 100  # from the best draws, and how long each
LOWER = 10.0  # nats below the highest one, where other ends, and searches, do not count
BEGIN = 480  # draws about the ends of climbs, and that rounds begin with
WIDER = 3.0  # half of the draws around ends of climbs
MOST_STEPS = 150


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


def proposal_for(draws: Draws, least: int, rng) -> StudentMixture:
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
        proposal = proposal_for(draws, CLIPPED, rng)
    return Search(proposal, powers, float((draws.log_prior + draws.log_likelihood).max()))
