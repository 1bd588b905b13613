"""The nearest maxima of a posterior from many starts, and how it falls off about them.

Points are rows of numbers. Gradients are compiled, all else is numpy: some hundred calls.
"""

from collections.abc import Callable

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.flat import Flat

Gradient = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Height = Callable[[np.ndarray], np.ndarray]  # log posterior at rows

FALL = 2.0  # nats, over which the width of a maximum is measured
DISTANCES = 3.0 ** np.arange(-5.0, 1.0)  # where it is looked for
IMPOSSIBLE = 1e20  # nats below a maximum
PASSES = 2  # to find the axes


def gradients(flat: Flat, unravel: Callable, like: np.ndarray, watch: Stopwatch) -> Gradient:
    """Compile the log posterior and its gradient.

    Args:
        flat: the model in unconstrained space.
        unravel: one row to what `flat` takes.
        like: as many rows as a launch takes at most.
        watch: account that compiling goes to.

    Returns:
        A function of any number of rows [n, d], that returns values [n] and gradients [n, d].
    """
    run = watch.rows(Partial(_with_gradient, flat, unravel), like)

    def at(rows):
        values, slopes = run(rows)
        return np.nan_to_num(values, nan=-np.inf, neginf=-np.inf), np.nan_to_num(
            slopes, posinf=0.0, neginf=0.0
        )

    return at


def _with_gradient(flat: Flat, unravel: Callable, row):
    return jax.value_and_grad(lambda row: -flat.potential(unravel(row)))(row)


def climb(
    gradient: Gradient, starts: Float[np.ndarray, "n d"], steps: int, first: float = 0.1
) -> Float[np.ndarray, "n d"]:
    """Adam (Kingma & Ba 2015), each start by itself, steps that fall from `first` to 0.

    Returns the highest place of each way: a step may leave a narrow maximum for good.

    The curvature of a posterior jumps at every node of the isochrones, and methods that learn it on
    the way stop there. Six lines of numpy: those of optax take 0.1 s to import and 0.2 s to
    compile, in each search anew.
    """
    z, mean, square = starts, np.zeros_like(starts), np.zeros_like(starts)
    best, highest = starts, np.full(len(starts), -np.inf)
    for step in range(steps):
        value, slope = gradient(z)
        best = np.where((value > highest)[:, None], z, best)
        highest = np.maximum(value, highest)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        rate = 0.5 * first * (1.0 + np.cos(np.pi * step / steps)) / (1.0 - 0.9 ** (step + 1))
        z = z + rate * mean / (np.sqrt(square / (1.0 - 0.999 ** (step + 1))) + 1e-8)
    return best


def differences(
    function: Callable[[np.ndarray], np.ndarray],
    at: Float[np.ndarray, "n d"],
    step: Float[np.ndarray, "n d"],
) -> Float[np.ndarray, "n d m"]:
    """Central differences of a function of rows, [·, d] → [·, m], along each coordinate."""
    n, d = at.shape
    offset = step[..., None] * np.eye(d)
    up, down = (function((at[:, None] + s * offset).reshape(-1, d)) for s in (1, -1))
    return (up - down).reshape(n, d, -1) / (2.0 * step[..., None])


def steepness(
    height: Height,
    top: Float[np.ndarray, " d"],
    highest: float,
    directions: Float[np.ndarray, "k d"],
    widest: float,
) -> Float[np.ndarray, " k"]:
    """Second derivative, downwards, of the parabola that has fallen by `FALL` where p has.

    The mean of both sides, along unit vectors. Second derivatives at the top itself are those of
    the ripples on it: of the weak candidate's maxima (`benchmarks/evidence`) hills that fall off
    by those are five times too wide in age and distance, and have half as many effective draws.
    A side where everything is impossible says nothing.
    """
    both = np.concatenate([directions, -directions])
    rows = (top + DISTANCES[:, None, None] * both).reshape(-1, len(top))
    fell = highest - height(rows).reshape(len(DISTANCES), len(both))
    fell = np.where(fell < IMPOSSIBLE, fell, -np.inf)
    far = fell > FALL
    first = np.where(far.any(axis=0), far.argmax(axis=0), len(DISTANCES) - 1)
    there = np.maximum(fell[first, np.arange(len(both))], 1e-300)
    before = np.concatenate([[0.0], DISTANCES])[first]
    length = np.clip(DISTANCES[first] * np.sqrt(FALL / there), before, widest * (2 * FALL) ** 0.5)
    return FALL * (length.reshape(2, -1) ** -2.0).sum(axis=0)


def curvature(
    gradient: Gradient,
    height: Height,
    top: Float[np.ndarray, " d"],
    highest: float,
    widest: float = 1.0,
) -> Float[np.ndarray, "d d"]:
    """Covariance of the Gaussian that falls off like the posterior about a maximum.

    Its axes are those of differences of gradients, over steps of a standard deviation, its widths
    those of `steepness` along them.

    Args:
        gradient: from `gradients`.
        height: log posterior at rows; cheaper than with its gradient.
        top: the maximum.
        highest: log posterior there.
        widest: standard deviation where the posterior hardly falls.
    """
    d = len(top)
    root = np.diag(steepness(height, top, highest, np.eye(d), widest) ** -0.5)
    for _ in range(PASSES):
        slopes = gradient(np.concatenate([top + root.T, top - root.T]))[1] @ root
        hessian = slopes[d:] - slopes[:d]
        axes = root @ np.linalg.eigh(hessian + hessian.T)[1]
        axes /= np.linalg.norm(axes, axis=0)
        root = axes * steepness(height, top, highest, axes.T, widest) ** -0.5
    return root @ root.T
