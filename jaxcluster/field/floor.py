"""The floor of a field's density: flat where the field is, and nowhere nothing.

Between the magnitude limits and over the colours of the field's stars; redder and bluer it falls by
e in `TAIL` of each colour, so that no star inside the limits has a density of 0.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

TAIL = 1.0  # mag


def log_uniform(x, box):
    """Return ln u: flat in magnitude and over the box's colours, then e-folding by TAIL in each.

    In numpy where it has values, or jax would compile for each number of stars.
    """
    np_or_jnp: Any = np if isinstance(x, np.ndarray) else jnp
    colours, (lo, hi), (blue, red) = x[:, 1:], box[0], box[1:].T
    beyond = np_or_jnp.maximum(colours - red, 0) + np_or_jnp.maximum(blue - colours, 0)
    volume = (hi - lo) * np_or_jnp.prod(red - blue + 2 * TAIL)
    return -beyond.sum(axis=1) / TAIL - np_or_jnp.log(volume)


def draw_uniform(
    n: int, box: Float[np.ndarray, "d 2"], rng: np.random.Generator
) -> Float[np.ndarray, "n d"]:
    """Draw (magnitude, colours) of n stars."""
    tails = np.array([0.0, *[TAIL] * (len(box) - 1)])  # each has as much as TAIL of the box
    flat = rng.uniform(box[:, 0] - tails, box[:, 1] + tails, size=(n, len(box)))
    nearest = np.clip(flat, *box.T)
    return nearest + np.sign(flat - nearest) * rng.exponential(TAIL, flat.shape)
