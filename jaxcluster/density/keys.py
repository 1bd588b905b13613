"""Random keys from integers, and numpy's generators from keys."""

import jax
import numpy as np
from jaxtyping import PRNGKeyArray


def as_key(key: PRNGKeyArray | int) -> PRNGKeyArray:
    """Return a JAX key: the one given, or that of an integer seed.

    Example:
        >>> as_key(1) == as_key(jax.random.key(1))
        Array(True, dtype=bool)

    Raises:
        TypeError: neither of them.
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return jax.random.key(int(key))
    if isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    raise TypeError(f"key: expected an integer seed or jax.random.key(seed), found {key!r}")


def generator(key: PRNGKeyArray | int) -> np.random.Generator:
    """Return numpy's generator of a JAX key or an integer seed, for what is not compiled.

    Raises:
        TypeError: neither of them.
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(as_key(key))).ravel())
