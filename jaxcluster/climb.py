"""The nearest maximum of a posterior from many starts, by gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcluster.model import Flat
from jaxcluster.sample import Stopwatch, over_chains

STEPS = 300


def climber(flat: Flat, like, watch: Stopwatch, steps: int = STEPS) -> Callable:
    """Compile Adam (Kingma & Ba 2015) on the log posterior, each start by itself.

    Args:
        flat: the model in unconstrained space.
        like: as many starts as there will be, leading axes of the leaves.
        watch: account that compiling goes to.
        steps: gradients of each climb, over which the step size falls from 0.1 to 0.

    Returns:
        A function of starts, that returns the ends and the log posterior there.
    """
    import optax  # half a second, which only a run should take

    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, steps))
    value = jax.value_and_grad(flat.potential)

    def climb(z, _):
        def step(carry, _):
            z, state = carry
            loss, gradient = value(z)
            gradient = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0.0), gradient)
            update, state = optimiser.update(gradient, state)
            return (optax.apply_updates(z, update), state), loss

        (z, _), losses = jax.lax.scan(step, (z, optimiser.init(z)), None, length=steps)
        return z, -losses[-1]

    run = watch.compile(over_chains(climb, len(jax.tree.leaves(like)[0])), like, None)
    return lambda z: jax.device_get(run(z, None))
