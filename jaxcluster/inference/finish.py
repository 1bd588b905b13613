"""What all samplers end with: from draws in unconstrained space to a `Posterior`."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.ends import at_ends
from jaxcluster.inference.flat import Described, Flat
from jaxcluster.inference.model import describe_sites
from jaxcluster.inference.modes import several_modes
from jaxcluster.inference.posterior import Posterior, versions

PIECE = 250  # draws


def as_rows(z) -> tuple[np.ndarray, Callable]:
    """Numbers of each of many points (leading axes of the leaves), and what undoes one row."""
    _, unravel = ravel_pytree(jax.tree.map(lambda a: a[0], z))
    return np.asarray(jax.vmap(lambda one: ravel_pytree(one)[0])(z)), unravel


def require_finite(log_likelihoods: np.ndarray) -> None:
    """Raise a ValueError where no draw from the prior has a finite likelihood."""
    if not np.isfinite(log_likelihoods).any():
        raise ValueError("no prior draw has a finite likelihood: check limits, errors and priors")


def from_groups(groups: dict[str, Any]):
    """Return ArviZ data of these groups of arrays [chain, draw, …]; the call changed with 1.0."""
    import arviz

    one = int(version("arviz").split(".")[0]) >= 1
    return arviz.from_dict(groups) if one else arviz.from_dict(**groups)


def _described(flat: Flat, z):
    return jax.lax.map(flat.describe, z)


def described(flat: Flat, z, watch: Stopwatch) -> Described:
    """Return what is to be known of draws z [chain, draw].

    In pieces of one length, so that one compilation serves every number of draws.
    """
    chains, n = jax.tree.leaves(z)[0].shape[:2]
    rows = jax.tree.map(lambda a: np.reshape(a, (chains * n, *a.shape[2:])), z)
    pieces = [
        jax.tree.map(lambda a, i=i: np.resize(a[i : i + PIECE], (PIECE, *a.shape[1:])), rows)
        for i in range(0, chains * n, PIECE)
    ]
    run = watch.compile(Partial(_described, flat), pieces[0])
    done = [jax.device_get(run(piece)) for piece in pieces]
    return jax.tree.map(
        lambda *a: np.concatenate(a)[: chains * n].reshape(chains, n, *a[0].shape[1:]), *done
    )


def finish(
    flat: Flat,
    draws: Described,
    statistics: dict[str, Any],
    record: dict[str, Any],
    watch: Stopwatch,
) -> Posterior:
    """Build the posterior from what is known of draws [chain, draw].

    Args:
        flat: what was sampled.
        draws: from `described`.
        statistics: of each draw.
        record: what the sampler notes of its run.
        watch: its account.
    """
    real = slice(None) if flat.real is None else np.asarray(flat.real)
    if draws.membership is not None:
        statistics = {**statistics, "membership": draws.membership[..., real]}
    data = from_groups(
        {
            "posterior": draws.parameters,
            "sample_stats": statistics,
            "log_likelihood": {"stars": draws.log_likelihood[..., real]},
        }
    )
    data["posterior"].attrs.update(
        record,
        prior_flag="; ".join(at_ends(flat.prior, draws.parameters)),
        modes_flag="; ".join(several_modes(draws.parameters)),
        **watch.record(),
        resumed_seconds=watch.resumed,
        priors=str(describe_sites(flat.prior)),
        versions=str(versions()),
    )
    return Posterior(data)
