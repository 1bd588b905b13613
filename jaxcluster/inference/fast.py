"""The default sampler: importance sampling, and nested sampling where that says that it failed."""

from pathlib import Path
from typing import Any

from jaxtyping import PRNGKeyArray

from jaxcluster.inference.importance import NotConvergedError, importance
from jaxcluster.inference.model import Model
from jaxcluster.inference.nested import nested
from jaxcluster.inference.posterior import Posterior, Progress


def fast(
    model: Model,
    *,
    key: PRNGKeyArray | int = 0,
    tolerance: float = 0.1,
    draws: int = 1000,
    live: int = 400,
    confirm_nulls: bool = True,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Evidence and posterior from some twenty thousand likelihoods, or else from nested sampling.

    Args:
        model: what to sample.
        key: random key or seed, of both samplers.
        tolerance: error of ln Z that importance sampling is to reach.
        draws: posterior draws that are kept at most.
        live: live points, where nested sampling is needed.
        confirm_nulls: whether evidence below that of the field alone is confirmed by a second
            search as well (`importance`).
        checkpoint: folder that keeps the state, so that a killed run can go on.
        progress: called with a line of text about once a second, and when it falls back.

    Returns:
        The posterior of the sampler that gave the answer (see `importance`, `nested`); `fallback`
        says why that was nested sampling, and is "" where it was not.

    Raises:
        ValueError: from `Flat`, where no prior draw has a finite likelihood, or for the checkpoint
            of another run.
    """
    common: dict[str, Any] = {
        "key": key,
        "draws": draws,
        "checkpoint": checkpoint,
        "progress": progress,
    }
    try:
        result = importance(model, tolerance=tolerance, confirm_nulls=confirm_nulls, **common)
        result.record["fallback"] = ""
        return result
    except NotConvergedError as error:
        failure = error
    if progress is not None:
        progress(f"importance sampling failed: {failure}. Nested sampling instead")
    result = nested(model, live=live, **common)
    attributes = result.record
    attributes["fallback"] = str(failure)
    for name, spent in failure.account.items():
        attributes[name] += spent
    return result
