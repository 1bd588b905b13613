"""The samplers by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jaxcluster.inference.fast import fast
from jaxcluster.inference.nested import nested
from jaxcluster.inference.nuts import nuts

SAMPLERS: dict[str, Callable[..., Any]] = {"fast": fast, "nested": nested, "nuts": nuts}
LEAST_LIVE = 20


def sampler_of(method: str, live: int = 400, checkpoint: Path | None = None) -> Callable[..., Any]:
    """Return the sampler of this name.

    Args:
        method: "fast", "nested" or "nuts".
        live: points, where nested sampling is wanted or needed.
        checkpoint: folder in which it keeps its state, where it has one.

    Raises:
        ValueError: no such sampler, or fewer than 20 live points.
    """
    if method not in SAMPLERS:
        raise ValueError(f"--method {method!r}: expected {', '.join(SAMPLERS)}")
    if method == "nuts":
        return nuts
    if live < LEAST_LIVE:
        raise ValueError(f"--live {live}: at least {LEAST_LIVE}")
    return partial(SAMPLERS[method], live=live, checkpoint=checkpoint)
