"""Whether JAX computes with 64 bits, which likelihoods of many stars need."""

import jax


def require_float64() -> None:
    """Say what to add where JAX computes with 32 bits.

    Raises:
        ValueError: it does.
    """
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            "jaxcluster needs float64: put jax.config.update('jax_enable_x64', True) before "
            "any other use of jax"
        )
