"""From dead points to ln Z, its error, weights, information and a test of the sampler.

Point i dies at likelihood L_i among n_i live ones, so the prior volume shrinks by t_i with
ln t_i = −Exp(1)/n_i (Skilling 2006), and Z = Σ L_i (X_i−1 − X_i). The volumes are simulated, which
gives ln Z and its error together (Higson et al. 2018; Handley 2019), final live points included.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp


class Evidence(NamedTuple):
    """What a nested-sampling run says, apart from where its points lie."""

    log_evidence: float
    log_evidence_error: float
    information: float  # Kullback–Leibler divergence of posterior from prior, nat
    log_weights: np.ndarray  # of each dead point, normalised; mean over simulated volumes
    ess: float  # Kish's effective number of posterior draws
    insertion_rank_p: float


def live_counts(log_likelihood: np.ndarray, birth: np.ndarray) -> np.ndarray:
    """Number of live points when each point dies; points in order of log-likelihood.

    A point is alive between its birth contour and its own likelihood; −∞ marks prior draws. Points
    of equal likelihood die one after the other, so a plateau shrinks the volume as it should
    (Fowlie, Handley & Su 2021).
    """
    born = np.searchsorted(np.sort(birth), log_likelihood, side="left")
    born = np.maximum(born, np.isneginf(birth).sum())  # before a likelihood of zero too
    dead_before = np.arange(len(log_likelihood))
    return np.maximum(born - dead_before, 1)


def integrate(
    log_likelihood: np.ndarray,
    birth: np.ndarray,
    rng: np.random.Generator,
    impossible: int = 0,
    n_simulations: int = 200,
) -> Evidence:
    """Evidence of a finished run.

    Args:
        log_likelihood: of every point, the last live ones included, in increasing order.
        birth: log-likelihood above which each point was drawn, −∞ for draws from the prior.
        rng: simulates prior volumes.
        impossible: draws from the prior with a likelihood of zero, which are in neither of the two
            and were set aside until the last of the others was drawn. The share of the prior that
            is left has a Beta distribution.
        n_simulations: of the volumes.
    """
    live = live_counts(log_likelihood, birth)
    shrinkage = rng.exponential(size=(n_simulations, len(live))) / live
    start = np.zeros((n_simulations, 1))
    if impossible:
        possible = int((~np.isfinite(birth)).sum())
        start = np.log(rng.beta(possible, impossible + 1, size=(n_simulations, 1)))
    log_volume = start - np.cumsum(shrinkage, axis=1)
    before = np.concatenate([start, log_volume[:, :-1]], axis=1)
    log_shell = before + np.log(-np.expm1(-shrinkage))
    log_terms = log_shell + log_likelihood
    log_z = np.asarray(logsumexp(log_terms, axis=1))
    log_weights = logsumexp(log_terms - log_z[:, None], axis=0) - np.log(n_simulations)
    weights = np.exp(log_weights)
    finite = weights > 0
    log_evidence = float(log_z.mean())
    return Evidence(
        log_evidence=log_evidence,
        log_evidence_error=float(log_z.std(ddof=1)),
        information=float((weights[finite] * log_likelihood[finite]).sum() - log_evidence),
        log_weights=log_weights,
        ess=float(1.0 / (weights**2).sum()),
        insertion_rank_p=insertion_rank_p(log_likelihood, birth, rng),
    )


def insertion_ranks(
    log_likelihood: np.ndarray, birth: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Where each point came in among the survivors of its contour, from 0 to 1.

    Place k of the m + 1 among m survivors (born below the contour, above it in likelihood) becomes
    (k + u)/(m + 1), u uniform: the ranks of exact draws are then uniform, and not only on a grid.

    Args:
        log_likelihood: of every point.
        birth: log-likelihood above which each point was drawn, −∞ for draws from the prior.
        rng: of u.

    Returns:
        Ranks of the points with a finite birth, in their order; draws from the prior have none.
    """
    drawn = np.isfinite(birth)
    new, contours = log_likelihood[drawn], birth[drawn]
    ranks = np.empty(len(new))
    for contour in np.unique(contours):
        survivors = np.sort(log_likelihood[(birth < contour) & (log_likelihood > contour)])
        batch = contours == contour
        place = np.searchsorted(survivors, new[batch])
        ranks[batch] = (place + rng.uniform(size=batch.sum())) / (len(survivors) + 1)
    return ranks


def insertion_rank_p(
    log_likelihood: np.ndarray, birth: np.ndarray, rng: np.random.Generator
) -> float:
    """p-value of uniform insertion ranks (Fowlie, Handley & Su 2020), one per batch of births.

    A new point's likelihood should be exchangeable with those of the points that were above its
    contour when it was drawn. Small values: the walks did not forget where they started. Points
    born together share a contour, so one of each batch is used to keep the test's size; the test
    is Kolmogorov and Smirnov's, and NaN for fewer than 20 batches.
    """
    from scipy.stats import kstest  # a second of import time

    contours = birth[np.isfinite(birth)]
    order = rng.permutation(len(contours))
    _, first = np.unique(contours[order], return_index=True)
    if len(first) < 20:
        return float("nan")
    ranks = insertion_ranks(log_likelihood, birth, rng)
    return float(kstest(ranks[order[first]], "uniform").pvalue)
