"""L-BFGS (Nocedal 1980) for extreme deconvolution, preconditioned by EM.

Were every star's component and true position known, the Hessian would be that of N w_k stars of a
Gaussian: V_k / (N w_k) times the gradient by μ_k is EM's step. L-BFGS begins with this inverse and
corrects it by the last `PAIRS` steps: what noise and overlap take from the information is few
directions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcluster.xd.coordinates import diagonal, flat, parts_of
from jaxcluster.xd.sums import Parameters

PAIRS = 20  # steps remembered
PLAIN = 4  # passes of EM before the first step
LONGEST = 1.0  # step, in widths of the components (root mean square over stars)


class History(NamedTuple):
    """The last steps and the gradient's changes, newest last; `curvature` is 0 where none is."""

    steps: Float[Array, "m t"]
    changes: Float[Array, "m t"]
    curvature: Float[Array, " m"]


class Seen(NamedTuple):
    """What is known after a pass over the stars."""

    here: Parameters
    root: Float[Array, "k d d"]  # Cholesky factors of the covariances
    theta: Float[Array, " t"]  # coordinates
    slope: Float[Array, " t"]  # the gradient by them
    theta_before: Float[Array, " t"]  # those of the pass before
    slope_before: Float[Array, " t"]
    count: Float[Array, ""]  # of stars
    passes: Array  # before this one


def begin(theta: Float[Array, " t"]) -> History:
    """Return what is remembered before the first step."""
    zero = jnp.zeros((PAIRS, len(theta)), theta.dtype)
    return History(zero, zero, zero[:, 0])


def propose(history: History, seen: Seen):
    """Return θ after a step from `seen.here`, whether it is of use, and what is remembered now."""
    step, change = seen.theta - seen.theta_before, seen.slope_before - seen.slope
    history = _remembered(history, step, change, seen.passes > 0)
    step, rise = _direction(history, seen)
    return seen.theta + step, (rise > 0) & (seen.passes >= PLAIN), history


def _like_em(slope, seen):
    """Inverse Hessian of stars that are known, times a gradient."""
    mixture, root = seen.here, seen.root
    by_weights, by_means, by_diagonal, below = parts_of(slope, mixture)
    per = jnp.maximum(seen.count * mixture.weights, 1.0)[:, None]
    eye = jnp.eye(root.shape[1])
    by_root = below + (by_diagonal / diagonal(root))[:, :, None] * eye
    inner = jnp.tril(root.mT @ by_root) / (per[..., None] * (1.0 + eye))
    return flat(
        by_weights / per[:, 0],
        (mixture.covs @ by_means[..., None])[..., 0] / per,
        diagonal(inner),
        jnp.tril(root @ inner, -1),
    )


def _remembered(history: History, step, change, valid) -> History:
    """Add a step and the gradient's fall along it, if the function is curved downwards there."""
    curvature = step @ change
    curved = valid & (curvature > 1e-8 * jnp.sqrt((step @ step) * (change @ change)))
    new = (step, change, curvature)
    longer = History(
        *(jnp.concatenate([a[1:], b[None]]) for a, b in zip(history, new, strict=True))
    )
    return jax.tree.map(lambda a, b: jnp.where(curved, a, b), longer, history)


def _direction(history: History, seen):
    """Step from `seen.here` along which the function rises, and how much by its slope."""
    mixture, slope = seen.here, seen.slope
    per = jnp.where(history.curvature > 0, 1.0 / jnp.maximum(history.curvature, 1e-300), 0.0)

    def back(rest, pair):
        step, change, per = pair
        part = per * (step @ rest)
        return rest - part * change, part

    def forth(rest, pair):
        (step, change, per), part = pair
        return rest + step * (part - per * (change @ rest)), None

    pairs = (history.steps, history.changes, per)
    rest, parts = jax.lax.scan(back, slope, pairs, reverse=True)
    last = history.changes[-1]
    size = history.curvature[-1] / (last @ _like_em(last, seen))
    size = jnp.where(per[-1] > 0, jnp.clip(size, 0.2, 10.0), 1.0)
    rest, _ = jax.lax.scan(forth, size * _like_em(rest, seen), (pairs, parts))
    log_weights, means, log_diagonal, _ = parts_of(rest, mixture)
    widths = means / jnp.sqrt(diagonal(mixture.covs))
    moved = log_weights**2 + (widths**2).sum(axis=1) + 2.0 * (log_diagonal**2).sum(axis=1)
    length = jnp.sqrt((mixture.weights * moved).sum())
    return rest * jnp.minimum(1.0, LONGEST / jnp.maximum(length, 1e-300)), rest @ slope
