"""Which way a kernel goes: on CPUs loops that stay in the caches, on devices few launches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def on_cpu() -> bool:
    """Whether what is traced now will run on a CPU.

    There loops are cheap, caches small, and vmap breaks fusion. On a GPU each step of a loop is a
    launch: a running sum of 360 steps was the whole 12 ms of a likelihood there, whether of 1 or
    960 points (one H200).
    """
    return jax.default_backend() == "cpu"


def as_array(values: Any) -> Any:
    """Make jax's array of one; of numpy's `jnp.asarray` compiles each shape, 20 ms."""
    return jax.device_put(values) if isinstance(values, np.ndarray) else jnp.asarray(values)
