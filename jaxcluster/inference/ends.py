"""Whether a posterior lies at an end of its prior, where there may be more of it beyond."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpyro.distributions import Distribution

TAIL = 0.02  # of the prior, at either end
MUCH = 0.2  # of the posterior, ten times as much as where data say nothing
NATURAL = 0.0, 1.0  # ends that are none of somebody's choice: of shares, extinctions, scatters


def at_ends(prior: Mapping[str, Distribution] | Callable, draws: Mapping[str, Any]) -> list[str]:
    """Say of which parameters much of the posterior is where little of the prior is.

    With F the prior's cumulative distribution, where more than `MUCH` of the draws have F < `TAIL`
    or F > 1 − `TAIL`. So it tells of a prior, or of a grid of isochrones, that ends before the
    posterior does, and of a prior that the data contradict. Ends at 0 and 1 are left out, and
    programs, whose sites have no one distribution.

    Args:
        prior: of a model.
        draws: of its parameters by name; those that are one number each are looked at.
    """
    if not isinstance(prior, Mapping):
        return []
    said = []
    for name, one in prior.items():
        values = np.asarray(draws[name], float)
        if one.shape() != ():
            continue
        share, support = np.asarray(one.cdf(values), float), one.support
        for end, much, word in (
            (getattr(support, "lower_bound", None), (share < TAIL).mean(), "lowest"),
            (getattr(support, "upper_bound", None), (share > 1.0 - TAIL).mean(), "highest"),
        ):
            if much > MUCH and (end is None or float(end) not in NATURAL):
                said.append(
                    f"{100 * much:.0f} % of the posterior of {name} is in the {word} "
                    f"{100 * TAIL:g} % of its prior"
                )
    return said
