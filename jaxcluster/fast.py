"""The default sampler: importance sampling, and nested sampling where that says that it failed."""

import time
from pathlib import Path
from typing import Any

from jaxtyping import PRNGKeyArray

from jaxcluster.importance_sampling import NotConvergedError, importance
from jaxcluster.model import Model
from jaxcluster.nested_sampling import nested
from jaxcluster.sample import Progress


def fast(
    model: Model,
    data: Any,
    *,
    key: PRNGKeyArray,
    tolerance: float = 0.1,
    draws: int = 1000,
    live: int = 400,
    inner_steps: int | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
):
    """Evidence and posterior from some twenty thousand likelihoods, or else from nested sampling.

    Args:
        model: prior and likelihood.
        data: what the likelihood takes.
        key: random key, of both samplers.
        tolerance: error of ln Z that importance sampling is to reach.
        draws: posterior draws that are kept at most.
        live: live points, where nested sampling is needed.
        inner_steps: its slices.
        checkpoint: folder that keeps the state, so that a killed run can go on.
        progress: called with a line of text about once a second, and when it falls back.

    Returns:
        ArviZ data of the sampler that gave the answer (see `importance`, `nested`); the `attrs` of
        the posterior say in `fallback` why that was nested sampling, and is "" where it was not.

    Raises:
        ValueError: from `Flat`, where no prior draw has a finite likelihood, or for the checkpoint
            of another run.
    """
    begin = time.process_time()
    try:
        result = importance(
            model,
            data,
            key=key,
            tolerance=tolerance,
            draws=draws,
            checkpoint=checkpoint,
            progress=progress,
        )
        result["posterior"].attrs["fallback"] = ""
        return result
    except NotConvergedError as failure:
        reason, spent = str(failure), failure.evaluations
    lost = time.process_time() - begin
    if progress is not None:
        progress(f"importance sampling failed: {reason}. Nested sampling instead")
    result = nested(
        model,
        data,
        key=key,
        live=live,
        inner_steps=inner_steps,
        draws=draws,
        checkpoint=checkpoint,
        progress=progress,
    )
    attributes = result["posterior"].attrs
    attributes["fallback"] = reason
    attributes["evaluations"] += spent
    attributes["cpu_seconds"] += lost
    return result
