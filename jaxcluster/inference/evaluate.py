"""A model's likelihood at many points, counted and kept for a run that goes on after a kill."""

from collections.abc import Callable
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from jaxcluster.density.backend import on_cpu
from jaxcluster.inference.checkpoint import Checkpoint
from jaxcluster.inference.climb import gradients
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.flat import Flat

BATCH = 96  # points
CLIMBS = 192  # gradients of a launch at most
# On a device a launch of so many takes hardly longer than one of a few; what is missing is filled
# up. On one H200 96 and 960 likelihoods of NGC 2682 took the same time.
ON_DEVICE = 960
LOWEST = -1e30  # instead of ln 0, which has no multiples


def _evaluated(flat: Flat, unravel: Callable, row):
    """Log prior and log likelihood of a row, and what it says of each star."""
    z = unravel(row)
    described = flat.describe(z)
    total = jnp.nan_to_num(described.total, nan=LOWEST)
    return (flat.log_prior(z), jnp.maximum(total, LOWEST)), described


class Evaluate:
    """A model at rows of numbers, many at a time on all devices, and its rough one."""

    def __init__(
        self, flat: Flat, rough: Flat | None, unravel: Callable, watch: Stopwatch, like: np.ndarray
    ):
        rows = np.resize(like, (BATCH if on_cpu() else ON_DEVICE, like.shape[1]))
        self._run = watch.rows(Partial(_evaluated, flat, unravel), rows)
        other, self._rough = flat, None
        if rough is not None:
            other, self._rough = rough, watch.rows(Partial(_evaluated, rough, unravel), rows)
        # compiled by the first one: a run that goes on after a kill may need none
        climbs = np.resize(like, (CLIMBS, like.shape[1]))
        self._gradients = cache(lambda: gradients(other, unravel, climbs, watch))
        self.count = self.count_rough = 0  # all, and the rough ones of them
        self._checkpoint: Checkpoint | None = None
        self._done, self._known = [], np.empty((0, like.shape[1] + 2))

    def keep(self, checkpoint: Checkpoint) -> None:
        """Note all evaluations from now on, and take those that a killed run has noted.

        All else follows from them and the key in a few seconds, so that nothing else is kept.
        """
        self._checkpoint = checkpoint
        if (stored := checkpoint.load()) is not None:
            self._known = stored["evaluations"]

    def __call__(self, z: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the log prior and log likelihood of each row."""
        return self._noted(self._run, z)

    def rough(self, z: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of the model's rough one, or of itself where it has none."""
        if self._rough is None:
            return self(z)
        self.count_rough += len(z)
        return self._noted(self._rough, z)

    def gradient(self, z: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the rough log posterior of each row and its gradient; counts as one evaluation."""
        n = len(z)
        self.count += n
        self.count_rough += 0 if self._rough is None else n
        known, self._known = self._known[: 2 * n], self._known[2 * n :]
        if np.array_equal(known[:n, :-2], z):
            value, slope = known[:n, -1], known[n:, :-2]
        else:
            self._known = self._known[:0]
            value, slope = self._gradients()(z)
        self._note(np.concatenate([z, slope]), np.zeros(2 * n), np.tile(value, 2))
        return value, slope

    def describe(self, z: Float[np.ndarray, "n d"]):
        """Return what is to be known of each row (`Flat.describe`)."""
        return self._run(z, lambda found: found[1])

    def _noted(self, run, z):
        n = len(z)
        self.count += n
        known, self._known = self._known[:n], self._known[n:]
        if np.array_equal(known[:, :-2], z):
            log_prior, log_likelihood = known[:, -2:].T
        else:
            self._known = self._known[:0]
            log_prior, log_likelihood = run(z, lambda found: found[0])
        self._note(z, log_prior, log_likelihood)
        return log_prior, log_likelihood

    def _note(self, rows, one, other):
        if self._checkpoint is not None:
            self._done.append(np.column_stack([rows, one, other]))
            # not before all that a killed run has noted is here again
            if self._checkpoint.due and len(self._known) == 0:
                self._checkpoint.save(evaluations=np.concatenate(self._done))
