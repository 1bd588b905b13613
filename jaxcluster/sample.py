"""What all samplers share: the cost account, loops over chains, and ArviZ data as the result.

Samplers work in numpyro's unconstrained space. Progress is reported from outside jitted chunks; the
posterior's `attrs` record cost, seed and versions.
"""

import hashlib
import math
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float

from jaxcluster.flat import Flat

Progress = Callable[[str], None]
PIECE = 250  # draws
KEPT = 32  # executables, some megabytes each
_compiled: dict[str, Any] = {}  # executables by the digest of their text, the oldest first
# XLA takes half of AVX-512's width by default, which makes pairs half as slow again. An option and
# no more: processors with narrower vectors take theirs.
WIDE: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512}
PACKAGES = ("jaxcluster", "jax", "numpyro", "blackjax", "numpy", "arviz")


def versions() -> dict[str, str]:
    """Of the packages that results depend on."""
    return {name: version(name) for name in PACKAGES}


class Stopwatch:
    """CPU seconds of all threads of this process, and those of them spent compiling.

    Those of a run that was killed, and that this one goes on with, are in both, and in `resumed`.
    """

    def __init__(self):
        self.start, self.compiling, self.resumed = time.process_time(), 0.0, 0.0

    def resume(self, spent: float, compiling: float) -> None:
        """Add what an earlier run has spent in all, and on compiling."""
        self.start -= spent
        self.compiling += compiling
        self.resumed += spent

    def compile(self, function, *arguments):
        """Compile a function for these arguments, on the compile account.

        Arrays that the function closes over (stars, isochrones) become arguments, so that one
        compilation serves all data of the same shapes: in this process, and on disk where JAX's
        compilation cache is on.
        """
        begin = time.process_time()
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        evaluate = jax.core.eval_jaxpr  # pyright: ignore[reportAttributeAccessIssue]
        flat = jax.jit(lambda constants, *leaves: evaluate(closed.jaxpr, constants, *leaves))
        lowered = flat.lower(closed.consts, *jax.tree.leaves(arguments))
        text = hashlib.sha256(lowered.as_text().encode()).hexdigest()
        if text not in _compiled:
            on_cpu = jax.default_backend() == "cpu"
            _compiled[text] = lowered.compile(compiler_options=WIDE if on_cpu else None)
            if len(_compiled) > KEPT:
                _compiled.pop(next(iter(_compiled)))
        run = _compiled[text]
        constants = jax.device_put(closed.consts, run.input_shardings[0][0])
        self.compiling += time.process_time() - begin

        def call(*arguments):
            leaves = run(constants, *jax.tree.leaves(arguments))
            return jax.tree.unflatten(jax.tree.structure(shape), leaves)

        return call

    def record(self) -> dict[str, float]:
        """Return both accounts; the second is not contained in the first."""
        total = time.process_time() - self.start
        return {"cpu_seconds": total - self.compiling, "compile_seconds": self.compiling}


def over_chains(run: Callable, n_chains: int) -> Callable:
    """Return `(chains, shared) -> run(chain, shared)` of each; chains are leading axes.

    On CPUs one after the other, shared among devices: under vmap all chains wait for the slowest,
    and half the likelihoods of slices or trajectories are thrown away.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(run, in_axes=(0, None))

    def one_by_one(chains, shared):
        return jax.lax.map(lambda chain: run(chain, shared), chains)

    devices = math.gcd(n_chains, len(jax.devices()))
    if devices == 1:
        return one_by_one
    split, same = PartitionSpec("chains"), PartitionSpec()
    return jax.shard_map(
        one_by_one,
        mesh=Mesh(np.array(jax.devices()[:devices]), ("chains",)),
        in_specs=(split, same),
        out_specs=split,
        check_vma=False,
    )


def as_rows(z) -> tuple[np.ndarray, Callable]:
    """Numbers of each of many points (leading axes of the leaves), and what undoes one row."""
    _, unravel = ravel_pytree(jax.tree.map(lambda a: a[0], z))
    return np.asarray(jax.vmap(lambda one: ravel_pytree(one)[0])(z)), unravel


def systematic(weights: Float[np.ndarray, " n"], size: int, rng: np.random.Generator) -> np.ndarray:
    """Indices in proportion to weights, by systematic resampling: least added noise."""
    edges = np.cumsum(weights)
    places = (np.arange(size) + rng.uniform()) / size
    return np.minimum(np.searchsorted(edges / edges[-1], places), len(weights) - 1)


def require_finite(log_likelihoods: np.ndarray) -> None:
    """Raise a ValueError where no draw from the prior has a finite likelihood."""
    if not np.isfinite(log_likelihoods).any():
        raise ValueError("no prior draw has a finite likelihood: check limits, errors and priors")


def from_groups(groups: dict[str, Any]):
    """Return ArviZ data of these groups of arrays [chain, draw, …]; the call changed with 1.0."""
    import arviz

    one = int(version("arviz").split(".")[0]) >= 1
    return arviz.from_dict(groups) if one else arviz.from_dict(**groups)


def constrained(flat: Flat, z, watch: Stopwatch):
    """Return the parameters, and the log likelihood of each datum, of draws z [chain, draw].

    In pieces of one length, so that one compilation serves every number of draws.
    """
    chains, n = jax.tree.leaves(z)[0].shape[:2]
    rows = jax.tree.map(lambda a: np.reshape(a, (chains * n, *a.shape[2:])), z)
    pieces = [
        jax.tree.map(lambda a, i=i: np.resize(a[i : i + PIECE], (PIECE, *a.shape[1:])), rows)
        for i in range(0, chains * n, PIECE)
    ]
    run = watch.compile(lambda z: jax.lax.map(flat.describe, z), pieces[0])
    done = [jax.device_get(run(piece)) for piece in pieces]
    return jax.tree.map(
        lambda *a: np.concatenate(a)[: chains * n].reshape(chains, n, *a[0].shape[1:]), *done
    )


def to_arviz(flat: Flat, parameters, pointwise, statistics, attributes, watch: Stopwatch):
    """Build ArviZ data from parameters and log likelihoods of draws [chain, draw]."""
    if (real := flat.model.real) is not None:
        pointwise = pointwise[..., np.asarray(real)]
    groups = {
        "posterior": parameters,
        "sample_stats": statistics,
        "log_likelihood": {"stars": pointwise},
    }
    out = from_groups(groups)
    out["posterior"].attrs.update(
        attributes,
        **watch.record(),
        resumed_seconds=watch.resumed,
        priors=str(flat.model.describe_prior()),
        versions=str(versions()),
    )
    return out
