"""The nearest maxima of a posterior from many starts, and how it falls off about them.

Points are rows of numbers. Gradients are compiled, all else is numpy: some hundred calls.
"""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float

from jaxcluster.inference.compile import Stopwatch, over_chains
from jaxcluster.inference.flat import Flat

Gradient = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def gradients(flat: Flat, unravel: Callable, like: np.ndarray, watch: Stopwatch) -> Gradient:
    """Compile the log posterior and its gradient.

    Args:
        flat: the model in unconstrained space.
        unravel: one row to what `flat` takes.
        like: as many rows as are worked on at a time.
        watch: account that compiling goes to.

    Returns:
        A function of any number of rows [n, d], that returns values [n] and gradients [n, d].
    """
    value = jax.value_and_grad(lambda row: -flat.potential(unravel(row)))
    run = watch.compile(over_chains(lambda row, _: value(row), len(like)), like, None)

    def at(rows):
        n = len(rows)
        padded = np.concatenate([rows, np.repeat(rows[-1:], -n % len(like), axis=0)])
        parts = [
            jax.device_get(run(some, None)) for some in np.split(padded, len(padded) // len(like))
        ]
        values, slopes = (np.concatenate(part)[:n] for part in zip(*parts, strict=True))
        return np.nan_to_num(values, nan=-np.inf, neginf=-np.inf), np.nan_to_num(
            slopes, posinf=0.0, neginf=0.0
        )

    return at


def climb(
    gradient: Gradient, starts: Float[np.ndarray, "n d"], steps: int, first: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Adam (Kingma & Ba 2015), each start by itself, steps that fall from `first` to 0.

    The curvature of a posterior jumps at every node of the isochrones, and methods that learn it on
    the way stop there. Six lines of numpy: those of optax take 0.1 s to import and 0.2 s to
    compile, in each search anew.

    Returns:
        The ends [n, d], and the log posterior at each.
    """
    z, mean, square = starts, np.zeros_like(starts), np.zeros_like(starts)
    for step in range(steps):
        _, slope = gradient(z)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        rate = 0.5 * first * (1.0 + np.cos(np.pi * step / steps)) / (1.0 - 0.9 ** (step + 1))
        z = z + rate * mean / (np.sqrt(square / (1.0 - 0.999 ** (step + 1))) + 1e-8)
    return z, gradient(z)[0]


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


def curvature(
    gradient: Gradient, tops: Float[np.ndarray, "n d"], widest: float = 1.0
) -> Float[np.ndarray, "n d d"]:
    """Covariance of the Gaussian that falls off like the posterior about each maximum.

    From differences of gradients. Each step is about what lowers ln posterior by one, so that
    neither rounding nor a kink decides.

    Args:
        gradient: from `gradients`.
        tops: maxima.
        widest: variance of flat directions, and of those that a kink turns downwards.
    """
    step = np.full(tops.shape, 0.01)
    for _ in range(2):
        hessian = -differences(lambda rows: gradient(rows)[1], tops, step)
        hessian = 0.5 * (hessian + hessian.transpose(0, 2, 1))
        steepness = np.maximum(np.diagonal(hessian, axis1=1, axis2=2), 1.0 / widest)
        step = np.sqrt(2.0 / steepness)
    values, vectors = np.linalg.eigh(hessian)
    values = np.maximum(values, 1.0 / widest)
    return (vectors / values[:, None]) @ vectors.transpose(0, 2, 1)
