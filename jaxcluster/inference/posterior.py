"""What all samplers end with: ArviZ data whose `attrs` record cost, seed and versions.

Samplers work in numpyro's unconstrained space; progress is reported from outside jitted chunks.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.flat import Flat

Progress = Callable[[str], None]
PIECE = 250  # draws
PACKAGES = ("jaxcluster", "jax", "numpyro", "blackjax", "numpy", "arviz")


def versions() -> dict[str, str]:
    """Of the packages that results depend on."""
    return {name: version(name) for name in PACKAGES}


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
