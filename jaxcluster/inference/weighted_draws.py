"""Draws from several proposals, and what their weights are worth.

Each draw counts by prior × likelihood over the mixture of all proposals that were drawn from, by
whichever it was drawn itself (Owen & Zhou 2000; Cornuet et al. 2012).
"""

import math

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from jaxcluster.inference.student_mixture import StudentMixture


class Draws:
    """Draws from a prior and from proposals fitted one after the other.

    Attributes:
        z: all draws [n, d].
        log_prior, log_likelihood: of each.
        log_q: ln Σ_j n_j q_j at each, over the prior and the proposals, with n_j draws of each.
    """

    def __init__(self, evaluate, z: Float[np.ndarray, "n d"]):
        self._evaluate, self.z, self._proposals = evaluate, z, []
        self.log_prior, self.log_likelihood = evaluate(z)
        self._n_prior = len(z)
        self.log_q = self.log_prior + math.log(len(z))

    def _log_fitted(self, z):
        """Return ln Σ_j n_j q_j(z) over the proposals."""
        terms = [math.log(n) + q.log_density(z) for n, q in self._proposals]
        terms.append(np.full(len(z), -np.inf))
        return np.asarray(logsumexp(np.array(terms), axis=0))

    def add(self, proposal: StudentMixture, z: Float[np.ndarray, "n d"]) -> np.ndarray:
        """Evaluate draws from a proposal; returns their own ln (prior × L / proposal)."""
        log_prior, log_likelihood = self._evaluate(z)
        self._proposals.append((len(z), proposal))
        new = np.logaddexp(log_prior + math.log(self._n_prior), self._log_fitted(z))
        old = np.logaddexp(self.log_q, math.log(len(z)) + proposal.log_density(self.z))
        self._append(z, log_prior, log_likelihood, old, new)
        return log_prior + log_likelihood - proposal.log_density(z)

    def join(self, other: "Draws") -> None:
        """Take in the draws of another; each then counts by the mixture of both's proposals."""
        counts = math.log(self._n_prior), math.log(other._n_prior)
        old = np.logaddexp(self.log_q, other._log_fitted(self.z))
        new = np.logaddexp(other.log_q, self._log_fitted(other.z))
        old = np.logaddexp(old, self.log_prior + counts[1])
        new = np.logaddexp(new, other.log_prior + counts[0])
        self._append(other.z, other.log_prior, other.log_likelihood, old, new)
        self._n_prior += other._n_prior
        self._proposals += other._proposals

    def _append(self, z, log_prior, log_likelihood, old, new):
        self.z = np.concatenate([self.z, z])
        self.log_prior = np.concatenate([self.log_prior, log_prior])
        self.log_likelihood = np.concatenate([self.log_likelihood, log_likelihood])
        self.log_q = np.concatenate([old, new])

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
