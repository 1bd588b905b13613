"""Compiled functions that serve all data of the same shapes, and what compiling them cost."""

import hashlib
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxcluster.density.backend import on_cpu

KEPT = 32  # executables, some megabytes each
_compiled: dict[str, Any] = {}  # executables by the digest of their text, the oldest first
# XLA takes half of AVX-512's width by default, which makes pairs half as slow again. An option and
# no more: processors with narrower vectors take theirs.
WIDE: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512}


class Stopwatch:
    """CPU seconds of all threads of this process, and those of them spent compiling.

    Those of a run that was killed, and that this one goes on with, are in both, and in `resumed`.
    """

    programs = 0  # large functions that this process has compiled, or read from disk, so far

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
        # the text does not have arguments that nothing uses, which a call must fit all the same
        whole = f"{lowered.in_avals}{lowered.as_text()}"
        text = hashlib.sha256(whole.encode()).hexdigest()
        if text not in _compiled:
            _compiled[text] = lowered.compile(compiler_options=WIDE if on_cpu() else None)
            Stopwatch.programs += 1
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
    if not on_cpu():
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
