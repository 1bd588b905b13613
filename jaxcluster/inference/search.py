"""The search of importance sampling: one way from the prior to the posterior.

It begins with draws from the prior. A narrow maximum is found by gradient or not at all: of 9600
draws one lies in the mode of the weak candidate of `benchmarks/evidence`, and populations that are
tempered lose it (ln Z of ten thousands of likelihoods scatters by 1.5). So climbs start from all
over the prior, where L^β has `SPREAD` effective draws, and different ends go on.

Where age, metallicity, distance and extinction make up for each other, maxima lie on a ridge, whose
crest goes up and down: by some nats for 100 stars, by 30 for 466 (NGC 2420), where the highest has
all of the posterior. Climbs from the prior end in any of them. What lies between two ends, or
beyond them, is near the ridge again, so further climbs start on lines through pairs of ends, round
after round, until a round brings nothing higher. They take small steps, as a maximum 0.02 wide is
left by steps of 0.1, and enough of them: after 60 of a crest the highest of NGC 2420 stands 60 nats
too low, below others. Of ten searches all find it, six with lines half as long, of fourteen before
these rounds five (`benchmarks/evidence`).

Where a scale of the model is small, as the width of a sequence, maxima are narrow and their slopes
short: climbs go past them, and from ends of others no line leads there. So in each round further
climbs begin on those lines where one of the scales is among the smaller of its prior's draws, with
steps of 0.03. Half of the posterior of Berkeley 20, 36 stars, is in such maxima 0.001 to 0.007
wide, 8 nats above a wide one: no climb of 1600 from the prior finds them, none of 400 from lines,
from there up to 28 of 400; all of 18 searches, where none of 12 did (`benchmarks/evidence`). Every
maximum that by its height and width has mass keeps a component for good.

Then, again and again, a Student-t mixture is fitted to all draws, weighted towards prior × L^β, and
a batch is drawn from it, with β as large as `FEW` effective draws allow, until it is 1. Draws count
by the mixture of all proposals so far (Owen & Zhou 2000; Cornuet et al. 2012), and the largest
weights are clipped for the fit, or a single draw that finds something better would be all that the
next proposal knows (Koblents & Míguez 2015).

L is the model's `rough` one where it has one; draws of searches are then used no further.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logsumexp

from jaxcluster.density.draws import systematic
from jaxcluster.inference.climb import Gradient, Height, climb, curvature
from jaxcluster.inference.evaluate import BATCH
from jaxcluster.inference.student_mixture import NUMBERS, StudentMixture, fit_mixture, mixed
from jaxcluster.inference.weighted_draws import Draws, effective

FIRST = 1920  # draws from the prior
SPREAD = 400  # effective ones that climbs start from
# Climbs, the steps after which fewer go on, and the first step where the prior is about 1 wide:
RACE = ((192, 8, 0.2), (40, 30, 0.2), (12, 100, 0.1))  # from the prior
CREST = ((40, 20, 0.05), (12, 80, 0.05))  # from lines through pairs of ends
SHARP = ((48, 20, 0.03), (12, 150, 0.03))  # from there, where a scale of the model is small
SMALL = 0.45  # of the prior of a scale
PARENTS, BEYOND = 8, 1.0  # ends that make pairs; how far lines go on, in distances of the two
ROUNDS, RISE = (2, 6), 1.0  # of those climbs; nats by which another round must be higher
ROOT = 0.5  # power of L
APART = 0.1  # rms distance of different ends
LOW = 0.25  # as many more go on, the highest `summits` of the others
NEAR = 2  # higher ones that each is compared with
LIGHT = 7.0  # nats of mass below the heaviest maximum, where others do not count
KEPT = 0.1  # share of a proposal about the maxima
TEMPERED = 0.3  # share of a proposal that is fitted to prior × √L
FEW, CLIPPED = 60, 40  # effective draws that a search keeps, and that its fit sees at least
BEGIN = 480  # draws about the ends of climbs, and that rounds begin with
WIDER = 3.0  # half of the draws around ends of climbs; ends so near a higher one are no others
MOST_STEPS = 150


def _bisect(low, high, enough):
    """Largest number for which `enough` holds, as it does at `low`."""
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def power(draws: Draws, least: int) -> float:
    """Largest power of L, 1 at most, with which `least` draws are effective."""
    enough = lambda x: effective(draws.log_weights(math.exp(x))) >= least  # noqa: E731
    return 1.0 if enough(0.0) else math.exp(_bisect(math.log(1e-14), 0.0, enough))


def clipped(draws: Draws, beta: float, least: int) -> Float[np.ndarray, " n"]:
    """Weights towards prior × L^β, the largest clipped so that `least` draws are effective."""
    log_w = draws.log_weights(beta)
    if effective(log_w) < least:
        low = np.sort(log_w)[-least]
        log_w = np.minimum(
            log_w, _bisect(low, log_w.max(), lambda c: effective(np.minimum(log_w, c)) >= least)
        )
    return np.exp(log_w - logsumexp(log_w))


def _fit(draws: Draws, beta: float, least: int, rng, numbers=NUMBERS) -> StudentMixture:
    """Proposal from all draws, towards prior × L^β."""
    weights = clipped(draws, beta, least)
    return fit_mixture(draws.z, weights, draws.log_prior, rng, numbers).widened()


def starts(draws: Draws, beta: float, n: int, rng) -> Float[np.ndarray, "n d"]:
    """Draws of prior × L^β."""
    weights = clipped(draws, beta, SPREAD)
    return draws.z[rng.permutation(systematic(weights, n, rng))]


def summits(
    height: Height,
    ends: Float[np.ndarray, "n d"],
    heights: Float[np.ndarray, " n"],
    some: Int[np.ndarray, " m"],
) -> Bool[np.ndarray, " m"]:
    """Which of some ends a valley parts from each of the nearest `NEAR` higher ones.

    A valley is where the middle between the two is lower than both. Without one they are presumably
    on the way to the same maximum. The highest of all, or all of one height, are none.
    """
    away = ((ends[some, None] - ends) ** 2).sum(axis=-1)
    away[heights[some, None] >= heights] = np.inf
    nearest = np.argsort(away, axis=1)[:, :NEAR]
    middle = 0.5 * (ends[nearest] + ends[some, None])
    valley = height(middle.reshape(-1, ends.shape[1])).reshape(nearest.shape) < heights[some, None]
    none = np.isinf(np.take_along_axis(away, nearest, axis=1))
    return np.asarray((valley | none).all(axis=1) & ~none[:, 0])


def different(ends: Float[np.ndarray, "n d"], most: int) -> list[int]:
    """The first ones that are `APART` from all before."""
    chosen: list[int] = []
    for one in range(len(ends)):
        away = ((ends[chosen] - ends[one]) ** 2).mean(axis=1)
        if len(chosen) < most and (away > APART**2).all():
            chosen.append(one)
    return chosen


def between(ends: Float[np.ndarray, "m d"], n: int, rng) -> Float[np.ndarray, "n d"]:
    """Places on lines through pairs of ends, as far as `BEYOND` them."""
    one = rng.integers(len(ends), size=n)
    other = (one + rng.integers(1, len(ends), size=n)) % len(ends)
    where = rng.uniform(-BEYOND, 1.0 + BEYOND, size=(n, 1))
    return ends[one] + where * (ends[other] - ends[one])


def sharpened(
    places: Float[np.ndarray, "n d"], small: Float[np.ndarray, "m k"], scales: list[int], rng
) -> Float[np.ndarray, "n d"]:
    """Places where one of the scales is small, another one each time.

    Args:
        places: rows.
        small: values of the k scales to take from.
        scales: their coordinates.
        rng: for the choice.
    """
    places, one = places.copy(), rng.integers(len(scales), size=len(places))
    value = small[rng.integers(len(small), size=len(places)), one]
    places[np.arange(len(places)), np.asarray(scales)[one]] = value
    return places


def race(
    gradient: Gradient,
    height: Height,
    ends: Float[np.ndarray, "n d"],
    rounds: tuple[tuple[int, int, float], ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Climb in rounds of ever fewer; return the ends, the highest first, and heights.

    The highest of all that are different go on, so that the many that end low cost little, and
    others that are `summits`, as those of a narrow maximum are low for long.
    """
    heights = np.zeros(len(ends))
    for number, steps, first in rounds:
        order = np.argsort(-heights, kind="stable")
        ends, heights = ends[order], heights[order]
        chosen = different(ends, number)
        others = np.setdiff1d(np.arange(len(ends)), chosen)
        if len(others):
            others = others[summits(height, ends, heights, others)][: int(LOW * number)]
        ends = climb(gradient, ends[[*chosen, *others]], steps, first)
        heights = height(ends)
    order = np.argsort(-heights)
    return ends[order], heights[order]


def about(
    gradient: Gradient,
    height: Height,
    ends: Float[np.ndarray, "n d"],
    heights: Float[np.ndarray, " n"],
) -> StudentMixture:
    """Proposal around ends of climbs, half of it `WIDER` than the posterior falls off there.

    Maxima whose mass, height × width (Laplace's approximation), is small are left out: a low broad
    one may have the most.

    Args:
        gradient: log posterior and its gradient at rows.
        height: log posterior at rows.
        ends: the highest first. Those within `WIDER` standard deviations, on average over the
            parameters, of a higher one are the same maximum, and left out.
        heights: log posterior there.
    """
    means, covs, mass = [], [], []
    while len(ends):
        means.append(ends[0])
        covs.append(curvature(gradient, height, ends[0], heights[0]))
        mass.append(heights[0] + 0.5 * np.linalg.slogdet(covs[-1])[1])
        away = ends - ends[0]
        chi2 = (away * np.linalg.solve(covs[-1], away.T).T).mean(axis=1)
        # standard deviations are 1 at most, so that no mass is larger than its height
        other = (chi2 > WIDER**2) & (heights > max(mass) - LIGHT)
        ends, heights = ends[other], heights[other]
    heavy = np.array(mass) > max(mass) - LIGHT
    n = int(heavy.sum())
    roots = np.linalg.cholesky(np.array(covs)[heavy])
    return StudentMixture(np.full(n, 1 / n), np.array(means)[heavy], roots).widened(0.5, WIDER)


def proposal_for(draws: Draws, hills: StudentMixture, least: int, rng) -> StudentMixture:
    """Proposal for the posterior, parts of it for prior × √L and about all maxima.

    The one with √L is as wide as the prior where the likelihood says little, wider than the
    posterior where it says much, and it reaches along ridges beyond the last of many narrow
    components.
    """
    fitted, wide = _fit(draws, 1.0, least, rng), _fit(draws, ROOT, least, rng, (1, 2))
    return mixed([(1.0 - TEMPERED - KEPT, fitted), (TEMPERED, wide), (KEPT, hills)])


def temper(draws: Draws, rng, say) -> list[float]:
    """Add batches by rising powers of L, until `FEW` draws are effective with L itself.

    Returns the power of each batch.
    """
    powers = []
    while effective(draws.log_weights()) < FEW and len(powers) < MOST_STEPS:
        powers.append(power(draws, FEW))
        draws.add(_fit(draws, powers[-1], CLIPPED, rng), BATCH, rng)
        say(f"power of L {powers[-1]:.2g}, highest ln L {draws.log_likelihood.max():.1f}")
    return powers


class Search(NamedTuple):
    """One way from the prior to the posterior."""

    hills: StudentMixture  # about the maxima
    powers: list[float]  # of L, of each batch


def search(draws: Draws, gradient: Gradient, scales: list[int], rng, say) -> Search:
    """Add to draws from the prior until they reach the posterior.

    Args:
        draws: from the prior.
        gradient: log posterior and its gradient at rows.
        scales: coordinates that are scales of the model, `Flat.scales`.
        rng: for all draws.
        say: called with a line of text after each batch.
    """

    def height(rows):
        log_prior, log_likelihood = draws.evaluate(rows)
        return log_prior + log_likelihood

    say(f"{RACE[0][0]} climbs by gradient from the prior")
    small = np.sort(draws.z[:, scales], axis=0)[: int(SMALL * len(draws.z))]
    first = starts(draws, power(draws, SPREAD), RACE[0][0], rng)
    ends, heights = race(gradient, height, first, RACE)
    for number in range(ROUNDS[1]):
        parents, highest = ends[different(ends, PARENTS)], heights[0]
        if len(parents) < 2:
            break
        say(f"{CREST[0][0]} climbs from between {len(parents)} ends, the highest {highest:.1f}")
        more = [race(gradient, height, between(parents, CREST[0][0], rng), CREST)]
        if scales:
            sharp = sharpened(between(parents, SHARP[0][0], rng), small, scales, rng)
            more.append(race(gradient, height, sharp, SHARP))
        ends = np.concatenate([ends, *(one for one, _ in more)])
        heights = np.concatenate([heights, *(one for _, one in more)])
        order = np.argsort(-heights, kind="stable")
        ends, heights = ends[order], heights[order]
        if number + 1 >= ROUNDS[0] and heights[0] < highest + RISE:
            break
    hills = about(gradient, height, ends, heights)
    draws.add(hills, BEGIN, rng)
    return Search(hills, temper(draws, rng, say))
