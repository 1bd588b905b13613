"""Nested slice sampling of a `Model`: evidence and posterior."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxcluster.density.draws import systematic
from jaxcluster.density.keys import as_key, generator
from jaxcluster.inference.checkpoint import Checkpoint
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.evidence import integrate
from jaxcluster.inference.finish import described, finish, require_finite
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.model import Model
from jaxcluster.inference.posterior import Posterior, Progress
from jaxcluster.inference.slice_sampling import slice_sampler

MOST_DRAWN = 50  # times the live points, draws from the prior to begin with


def nested(
    model: Model,
    *,
    key: PRNGKeyArray | int = 0,
    live: int = 400,
    inner_steps: int | None = None,
    remaining: float = 0.01,
    draws: int = 2000,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Nested slice sampling (Yallup, Kroupa & Handley 2026; `blackjax.nss`).

    Args:
        model: what to sample.
        key: random key or seed.
        live: number of live points; the error of ln Z falls as its root.
        inner_steps: slices between a new point and its start; by default three times the number of
            parameters. With 50 live points ln Z of a curved 7-d problem is 0.6 too high then, the
            error quoted, and with five times that number 0.3 (mean of 100 seeds).
        remaining: stop when the live points' share of Z is below this.
        draws: equally weighted posterior draws that are kept, at most the effective number.
        checkpoint: folder that keeps the state, so that a killed run can go on.
        progress: called with a line of text about once a second.

    Returns:
        The posterior with its evidence.

    Raises:
        ValueError: from `Flat`, where fewer than one of 50 prior draws has a finite likelihood or
            all have the same one, or for the checkpoint of another run.
    """
    watch, key = Stopwatch(), as_key(key)
    flat = Flat(model)
    batch = 4 * math.ceil(live / 80)  # whatever the number of devices, so is the answer
    init_key, run_key, draw_key = jax.random.split(key, 3)
    first = jax.vmap(flat.draw)(jax.random.split(init_key, live))
    size = sum(leaf[0].size for leaf in jax.tree.leaves(first))
    init, move = slice_sampler(flat, inner_steps or max(5, 3 * size), batch)
    start = watch.compile(init, first)
    state, impossible, evaluations = _possible(flat, start, start(first), init_key)
    if _level(state):
        height = float(state.particles.loglikelihood[0])
        raise ValueError(
            f"log likelihood: found {height:.6g} at each of {live} draws from the prior; nested "
            "sampling climbs, and where nothing rises it can neither find a spike nor say that "
            "there is none. Expected a likelihood that depends on the parameters nearly everywhere"
        )

    def chunk(state, keys):
        def step(state, step_key):
            state, info = move(step_key, state)
            walk = info.update_info
            evaluations = (2 + walk.num_expansions + walk.num_shrink).sum()
            dead = info.particles
            return state, (
                dead.position,
                dead.loglikelihood,
                dead.loglikelihood_birth,
                evaluations,
            )

        return jax.lax.scan(step, state, keys)

    per_chunk = 5
    run = watch.compile(chunk, state, jax.random.split(run_key, per_chunk))
    dead, said = [], time.monotonic()
    kept = Checkpoint(
        checkpoint,
        "nested",
        flat,
        key,
        np.asarray(state.particles.loglikelihood),
        watch,
        live=live,
        inner_steps=inner_steps,
        remaining=remaining,
    )
    dead_like = state.particles.position, 0, 0
    if (stored := kept.load()) is not None:
        state = _unpack("state", stored, state)
        run_key = jax.random.wrap_key_data(jnp.asarray(stored["key"]))
        together = _unpack("dead", stored, dead_like)
        dead = [jax.tree.map(lambda a, i=i: a[i], together) for i in range(len(together[1]))]
        evaluations = int(stored["evaluations"])
    while True:
        run_key, chunk_key = jax.random.split(run_key)
        state, (positions, log_l, birth, count) = run(state, jax.random.split(chunk_key, per_chunk))
        dead.append(jax.device_get((positions, log_l, birth)))
        evaluations += int(count.sum())
        if kept.due:
            kept.save(
                key=jax.random.key_data(run_key),
                evaluations=evaluations,
                **_pack("state", state),
                **_pack("dead", jax.tree.map(lambda *parts: np.stack(parts), *dead)),
            )
        log_z, log_z_live = float(state.integrator.logZ), float(state.integrator.logZ_live)
        if progress is not None and time.monotonic() - said > 1.0:
            said = time.monotonic()
            share = 1.0 / (1.0 + np.exp(np.clip(log_z - log_z_live, -700, 700)))
            progress(
                f"{len(dead) * per_chunk * batch} dead points, {evaluations} evaluations, "
                f"ln Z = {np.logaddexp(log_z, log_z_live):.2f}, live share {share:.3f}"
            )
        if log_z_live - log_z < np.log(remaining) or _level(state):
            break
    positions = jax.tree.map(
        lambda *leaves: np.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves]),
        *[part[0] for part in dead],
    )
    alive = jax.device_get(state.particles)
    positions = jax.tree.map(lambda a, b: np.concatenate([a, b]), positions, alive.position)
    log_l = np.concatenate([*[part[1].ravel() for part in dead], alive.loglikelihood])
    birth = np.concatenate([*[part[2].ravel() for part in dead], alive.loglikelihood_birth])
    birth = np.where(np.isnan(birth), -np.inf, birth)
    order = np.argsort(log_l, kind="stable")
    rng = generator(draw_key)
    result = integrate(log_l[order], birth[order], rng, impossible)

    n = int(min(draws, max(result.ess, 100)))
    chosen = rng.permutation(systematic(np.exp(result.log_weights), n, rng))
    z = jax.tree.map(lambda a: a[order][chosen], positions)
    attributes = {
        "method": "nested",
        "log_evidence": result.log_evidence,
        "log_evidence_error": result.log_evidence_error,
        "information": result.information,
        "evaluations": evaluations,
        "ess": result.ess,
        "insertion_rank_p": result.insertion_rank_p,
        "live": live,
        "impossible": impossible,
        "dead_log_likelihood": log_l[order],
        "dead_log_weight": result.log_weights,
        "dead_birth": birth[order],
    }
    z = jax.tree.map(lambda a: a[None], z)
    statistics = {"log_likelihood_total": log_l[order][chosen][None]}
    return finish(flat, described(flat, z, watch), statistics, attributes, watch)


def _level(state: Any) -> bool:
    """Whether no live point is higher than another: nothing is left to climb."""
    return bool(np.ptp(np.asarray(state.particles.loglikelihood)) == 0.0)


def _possible(flat: Flat, start: Callable, state: Any, key: PRNGKeyArray) -> tuple[Any, int, int]:
    """Replace live points of likelihood zero by further draws from the prior.

    A live point of likelihood zero is wasted, and a prior half of which is impossible (periods
    longer than the data, negative variances) is common.

    Returns:
        The state, how many draws had a likelihood of zero before the last that has not, and how
        many likelihoods it took.
    """
    live = len(state.particles.loglikelihood)
    drawn = [state.particles]
    while True:
        together = jax.tree.map(lambda *parts: jnp.concatenate(parts), *drawn)
        log_l = np.asarray(together.loglikelihood)
        possible = np.flatnonzero(np.isfinite(log_l))[:live]
        if len(possible) == live:
            if len(drawn) == 1:
                return state, 0, live
            # again, for the step lengths that go with them
            chosen = jax.tree.map(lambda a, rows=possible: a[rows], together.position)
            return start(chosen), int(possible[-1]) + 1 - live, len(log_l) + live
        if len(drawn) == MOST_DRAWN:
            require_finite(log_l)
            raise ValueError(
                f"log likelihood: {len(log_l) - len(possible)} of {len(log_l)} draws from the "
                "prior have a likelihood of zero; narrow the prior to where it is not"
            )
        more = jax.vmap(flat.draw)(jax.random.split(jax.random.fold_in(key, len(drawn)), live))
        drawn.append(start(more).particles)


def _pack(name: str, tree: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a tree under numbered names."""
    return {f"{name}_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}


def _unpack(name: str, arrays: dict[str, np.ndarray], like: Any) -> Any:
    """Return the tree of `_pack`, of the structure of `like`."""
    structure = jax.tree.structure(like)
    return jax.tree.unflatten(
        structure, [arrays[f"{name}_{i}"] for i in range(structure.num_leaves)]
    )
