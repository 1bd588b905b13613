"""NUTS of a `Model`: posteriors by gradients."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxcluster.density.keys import as_key
from jaxcluster.inference.climb import climb, curvature, gradients
from jaxcluster.inference.compile import Stopwatch, over_chains
from jaxcluster.inference.finish import as_rows, described, finish, require_finite
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.model import Model
from jaxcluster.inference.posterior import Posterior, Progress

STEPS = 300  # of each climb
PER_CHUNK = 20  # steps of each chain between two reports of progress
DENSE = 100  # parameters up to which the mass matrix is a full one


def nuts(
    model: Model,
    *,
    key: PRNGKeyArray | int = 0,
    warmup: int = 700,
    draws: int = 1000,
    chains: int = 2,
    search: int = 1000,
    starts: int = 16,
    progress: Progress | None = None,
) -> Posterior:
    """No-U-turn sampling (Hoffman & Gelman 2014; numpyro), chains started near the best mode.

    That is the highest point that climbs from prior draws reach, or the model's `start` where it
    has one; then nothing is searched, and other modes are not looked for.

    Args:
        model: what to sample.
        key: random key or seed.
        warmup: steps of adaptation per chain.
        draws: kept per chain.
        chains: run one after the other, or on as many devices as there are.
        search: prior draws to look at, where the model has no `start`.
        starts: the best of those, to climb from; all chains begin at the highest point reached. A
            mode that none of them is near is not found: nested sampling is the check, and
            `progress` says how many climbs came to the same height.
        progress: called with a line of text at each stage, and about once a second.

    Returns:
        The posterior, without an evidence: NUTS does not give one. `evaluations`
        are the likelihoods of the search and the gradients of climbs and trees.

    Raises:
        ValueError: from `Flat`, for an impossible `start`, or where no prior draw has a finite
            likelihood.
    """
    # imported here for the time it takes
    from numpyro.infer import NUTS

    watch, key = Stopwatch(), as_key(key)
    flat = Flat(model)
    say = progress or (lambda line: None)
    search_key, run_key = jax.random.split(key)
    steps = f"{chains} × ({warmup} + {draws}) steps"
    if model.start is not None:
        given = flat.start(model.start)
        rows, unravel = as_rows(jax.tree.map(lambda a: a[None], given))
        gradient = gradients(flat, unravel, rows, watch)
        top, spent = rows[0], 1
        say(f"NUTS from the model's start, ln posterior = {gradient(rows)[0][0]:.1f}: {steps}")
    else:
        z = jax.vmap(flat.draw)(jax.random.split(search_key, search))
        say(f"looking at {search} prior draws")
        look = watch.compile(lambda z: jax.lax.map(flat.log_likelihood, z), z)
        values = np.asarray(look(z))
        require_finite(values)
        best = np.argsort(-np.where(np.isfinite(values), values, -np.inf))[:starts]
        z = jax.tree.map(lambda a: a[best], z)
        rows, unravel = as_rows(z)
        gradient = gradients(flat, unravel, rows, watch)
        say(f"climbing from {len(best)} of them, ln L = {values[best].max():.1f} and less")
        ends = climb(gradient, rows, STEPS)
        values = gradient(ends)[0]
        top, spent = ends[values.argmax()], search + len(best) * STEPS
        say(
            f"NUTS from ln posterior = {values.max():.1f}, which "
            f"{(values > values.max() - 5).sum()} climbs came within 5 of: {steps}"
        )
    # age, distance and extinction are correlated and narrow: trees are long until NUTS knows
    full = top.size <= DENSE
    metric = None
    if full:

        def height(rows):
            return gradient(rows)[0]

        metric = jnp.asarray(curvature(gradient, height, top, height(top[None])[0]))
    kernel = NUTS(potential_fn=flat.potential, dense_mass=full, inverse_mass_matrix=metric)

    def begin(chain, _):
        chain_key, z = chain
        return kernel.init(chain_key, warmup, z, (), {})

    def go_on(state, _):
        def step(state, _):
            state = kernel.sample(state, (), {})
            return state, (state.z, state.diverging, state.num_steps, -state.potential_energy)

        return jax.lax.scan(step, state, None, length=PER_CHUNK)

    z = jax.tree.map(lambda a: jnp.repeat(a[None], chains, axis=0), unravel(top))
    start = (jax.random.split(run_key, chains), z)
    state = watch.compile(over_chains(begin, chains), start, None)(start, None)
    run = watch.compile(over_chains(go_on, chains), state, None)
    parts, said = [], time.monotonic()
    for done in range(math.ceil((warmup + draws) / PER_CHUNK)):
        state, part = run(state, None)
        parts.append(jax.device_get(part))
        if time.monotonic() - said > 1.0:
            said = time.monotonic()
            at = (done + 1) * PER_CHUNK
            stage = "warm-up" if at <= warmup else "draws"
            say(
                f"{stage}: step {at} of {warmup + draws}, {part[2].mean():.0f} gradients a step, "
                f"ln posterior = {part[3].mean():.1f}"
            )
    joined = jax.tree.map(lambda *a: np.concatenate(a, axis=1), *parts)
    samples, diverging, n_steps, lp = jax.tree.map(lambda a: a[:, warmup : warmup + draws], joined)
    statistics = {"diverging": diverging, "n_steps": n_steps, "lp": lp}
    evaluations = spent + int(joined[2].sum())
    attributes = {"method": "nuts", "evaluations": evaluations}
    return finish(flat, described(flat, samples, watch), statistics, attributes, watch)
