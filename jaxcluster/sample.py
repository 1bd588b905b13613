"""What all samplers share: the cost account, loops over chains, and ArviZ data as the result.

Samplers work in numpyro's unconstrained space. Progress is reported from outside jitted chunks; the
posterior's `attrs` record cost, seed and versions.
"""

import math
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxcluster.model import Flat

Progress = Callable[[str], None]
PACKAGES = ("jaxcluster", "jax", "numpyro", "blackjax", "numpy", "arviz")


class Stopwatch:
    """CPU seconds of all threads of this process, and those of them spent compiling."""

    def __init__(self):
        self.start, self.compiling = time.process_time(), 0.0

    def compile(self, function, *arguments):
        """Compile a jitted function for these arguments, on the compile account."""
        begin = time.process_time()
        compiled = function.lower(*arguments).compile()
        self.compiling += time.process_time() - begin
        return compiled

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


def require_finite(log_likelihoods: np.ndarray) -> None:
    """Raise a ValueError where no draw from the prior has a finite likelihood."""
    if not np.isfinite(log_likelihoods).any():
        raise ValueError(
            f"none of {len(log_likelihoods)} prior draws has a finite likelihood: check limits, "
            "errors and priors"
        )


def from_groups(groups: dict[str, Any]):
    """Return ArviZ data of these groups of arrays [chain, draw, …]; the call changed with 1.0."""
    import arviz

    one = int(version("arviz").split(".")[0]) >= 1
    return arviz.from_dict(groups) if one else arviz.from_dict(**groups)


def to_arviz(flat: Flat, z, statistics, attributes, watch: Stopwatch):
    """Build ArviZ data from unconstrained draws [chain, draw]."""

    def constrain(z):
        parameters = flat.parameters(z)
        return parameters, flat.model.pointwise(parameters, flat.data)

    shape = jax.tree.leaves(z)[0].shape[:2]
    rows = jax.tree.map(lambda a: jnp.asarray(a).reshape(-1, *a.shape[2:]), z)
    constrained = watch.compile(jax.jit(lambda z: jax.lax.map(constrain, z)), rows)
    parameters, pointwise = jax.device_get(constrained(rows))
    groups = {
        "posterior": {k: v.reshape(*shape, *v.shape[1:]) for k, v in parameters.items()},
        "sample_stats": statistics,
        "log_likelihood": {"stars": pointwise.reshape(*shape, -1)},
    }
    out = from_groups(groups)
    out["posterior"].attrs.update(
        attributes,
        **watch.record(),
        priors=str(flat.model.describe_prior()),
        versions=str({name: version(name) for name in PACKAGES}),
    )
    return out
