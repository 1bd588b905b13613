"""A barrier that XLA's CPU compiler respects."""

from typing import TypeVar

import jax
import jax.numpy as jnp

from jaxcluster.density.backend import on_cpu

T = TypeVar("T")


@jax.custom_vjp
def materialise(arrays: T) -> T:
    """Return arrays as they are, worked out once; so too their cotangents.

    XLA fuses what is cheap (products, gathers) into each of its consumers and works it out anew
    there. `optimization_barrier` does not keep it from that (jax 0.10.2); a conditional does, at
    the price of a copy. On a GPU a conditional waits for the host, and nothing is kept.
    """
    if not jax.tree.leaves(arrays) or not on_cpu():
        return arrays
    first = jnp.asarray(jax.tree.leaves(arrays)[0].ravel()[0], float)
    never = first > jnp.inf  # nor for NaN; XLA does not know
    return jax.lax.cond(never, lambda a: jax.tree.map(jnp.negative, a), lambda a: a, arrays)


materialise.defvjp(lambda arrays: (materialise(arrays), None), lambda _, g: (materialise(g),))
