"""The constrained slice moves of nested sampling: blackjax's, put together for CPUs.

One copy of the likelihood where blackjax compiles four, and chains that do not wait for each
other; on one device or several the numbers are the same.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxcluster.inference.compile import over_chains
from jaxcluster.inference.flat import Flat


def _step_out(rng_key, in_slice, width, max_expansions):
    """Neal's (2003, fig. 3) stepping out, both sides in one loop.

    Does what `blackjax.mcmc.slice.stepping_out` does with one copy of the likelihood in place of
    four: the compiler inlines every copy, and they are most of the compile time.
    """
    place_key, share_key = jax.random.split(rng_key)
    left = -width * jax.random.uniform(place_key)
    on_left = jnp.floor(max_expansions * jax.random.uniform(share_key)).astype(int)
    budget = jnp.stack([on_left, max_expansions - 1 - on_left])

    def step(carry):
        ends, left_over, side = carry
        expand = in_slice(ends[side]) & (left_over[side] > 0)
        outwards = jnp.where(side == 0, -width, width)
        ends = ends.at[side].add(jnp.where(expand, outwards, 0.0))
        return ends, left_over.at[side].add(-expand.astype(int)), side + (~expand).astype(int)

    start = (jnp.stack([left, left + width]), budget, jnp.zeros((), int))
    ends, left_over, _ = jax.lax.while_loop(lambda carry: carry[2] < 2, step, start)
    return ends[0], ends[1], (budget - left_over).sum(), lambda t: jnp.asarray(True)


def slice_sampler(flat: Flat, n_steps: int, n_delete: int):
    """Return blackjax's nested slice sampling, (init, step), put together from its parts."""
    # imported here: blackjax computes on import, after which the number of CPU devices is fixed
    from blackjax.mcmc.slice import build_kernel
    from blackjax.ns import from_mcmc, nss
    from blackjax.ns.base import init_state_strategy

    particle = partial(
        init_state_strategy, logprior_fn=flat.log_prior, loglikelihood_fn=flat.log_likelihood
    )
    walk = nss.slice_constrained_step(
        particle, build_kernel(interval=_step_out), nss.covariance_proposal
    )
    step = from_mcmc.build_kernel(
        walk,
        n_steps,
        nss.live_covariance_factor,
        n_delete,
        update_strategy=_chains_apart,
    )

    def start(positions):
        return nss.init(
            positions,
            init_state_fn=lambda z: jax.lax.map(particle, z),
            update_inner_kernel_params_fn=nss.live_covariance_factor,
        )

    return start, step


def _chains_apart(step, n_steps, n_delete):
    """Blackjax's update with chains run one after the other, shared among CPU devices."""

    def chain(chain, shared):
        chain_key, state = chain
        threshold, parameters = shared

        def one(state, step_key):
            return step(step_key, state, loglikelihood_0=threshold, **parameters)

        return jax.lax.scan(one, state, jax.random.split(chain_key, n_steps))

    run = over_chains(chain, n_delete)

    def update(rng_key, state, loglikelihood_0, **parameters):
        pick_key, walk_key = jax.random.split(rng_key)
        alive = (state.particles.loglikelihood > loglikelihood_0).astype(float)
        alive = jnp.where(alive.sum() > 0, alive, 1.0)
        start = jax.random.choice(pick_key, alive.size, (n_delete,), p=alive / alive.sum())
        particles = jax.tree.map(lambda a: a[start], state.particles)
        keys = jax.random.split(walk_key, n_delete)
        new, info = run((keys, particles), (loglikelihood_0, parameters))
        born = jnp.full_like(new.loglikelihood_birth, loglikelihood_0)
        return new._replace(loglikelihood_birth=born), info

    return update
