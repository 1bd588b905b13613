"""Draws from several proposals, and what their weights are worth.

Each draw counts by prior × likelihood over the mixture of all proposals that were drawn from, by
whichever it was drawn itself (Owen & Zhou 2000; Cornuet et al. 2012).
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from jaxcluster.inference.student_mixture import StudentMixture


class Draws:
    """Draws from a prior and from proposals fitted one after the other.

    Args:
        evaluate: rows → log prior and log likelihood of each.
        prior: how many → draws from the prior.
        n: of them to begin with.

    Attributes:
        z: all draws [n, d].
        log_prior, log_likelihood: of each.
        log_q: ln Σ_j n_j q_j at each, over the prior and the proposals, with n_j draws of each.
    """

    def __init__(self, evaluate: Callable, prior: Callable[[int], np.ndarray], n: int):
        self._evaluate, self._prior, self._proposals = evaluate, prior, []
        self.z = prior(n)
        self.log_prior, self.log_likelihood = evaluate(self.z)
        self._n_prior = n
        self.log_q = self.log_prior + math.log(n)

    def add(self, proposal: StudentMixture, n: int, rng: np.random.Generator) -> np.ndarray:
        """Evaluate draws from a proposal; returns their own ln (prior × L / proposal)."""
        z = proposal.draw(rng, n, self._prior)
        log_prior, log_likelihood = self._evaluate(z)
        own = proposal.log_density(z, log_prior)
        self.log_q = np.logaddexp(
            self.log_q, math.log(n) + proposal.log_density(self.z, self.log_prior)
        )
        terms = [math.log(m) + q.log_density(z, log_prior) for m, q in self._proposals]
        terms += [math.log(self._n_prior) + log_prior, math.log(n) + own]
        self._proposals.append((n, proposal))
        self.z = np.concatenate([self.z, z])
        self.log_prior = np.concatenate([self.log_prior, log_prior])
        self.log_likelihood = np.concatenate([self.log_likelihood, log_likelihood])
        self.log_q = np.concatenate([self.log_q, np.asarray(logsumexp(terms, axis=0))])
        return log_prior + log_likelihood - own

    def log_weights(self, beta: float = 1.0) -> np.ndarray:
        """Return ln (prior × L^β / mixture of everything that was drawn from)."""
        return self.log_prior + beta * self.log_likelihood - (self.log_q - math.log(len(self.z)))


def effective(log_weights: np.ndarray) -> float:
    """Kish's effective number of draws."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum())


def mean_and_error(log_weights: np.ndarray) -> tuple[float, float]:
    """Log of the mean weight, and its standard error."""
    n = len(log_weights)
    log_mean = float(np.asarray(logsumexp(log_weights))) - math.log(n)
    return log_mean, float(np.sqrt(np.mean(np.expm1(log_weights - log_mean) ** 2) / (n - 1)))


def tail_index(log_weights: np.ndarray) -> float:
    """Pareto k̂ of the largest weights (Vehtari et al. 2024); above 0.7 a mean is not to be trusted.

    Args:
        log_weights: of independent draws from one proposal.
    """
    from scipy.stats import genpareto  # half a second, which only a run should take

    n = len(log_weights)
    top = np.sort(log_weights)[-int(min(0.2 * n, 3 * math.sqrt(n))) - 1 :]
    beyond = np.exp(top[1:] - top[-1]) - np.exp(top[0] - top[-1])
    return float(genpareto.fit(beyond, floc=0)[0])
