"""How many Gaussians: information criteria and stars that the fit has not seen.

    AIC = 2p − 2 ln L        BIC = p ln n − 2 ln L        p = K − 1 + K d + K d (d + 1) / 2

(Akaike 1974; Schwarz 1978). Both presume that no component is a few stars, which extreme
deconvolution with many of them does make; stars left out presume nothing, so they judge.
"""

import math
from collections.abc import Callable, Iterable

import jax
import numpy as np
from astropy.table import Table
from jaxtyping import PRNGKeyArray

from jaxcluster import xd
from jaxcluster.density.stars import Stars


def number_of_parameters(k: int, d: int) -> int:
    """Free numbers of a mixture of k Gaussians in d dimensions."""
    return k - 1 + k * d + k * d * (d + 1) // 2


def best_number(rows: Table) -> int:
    """The size whose fits say most of stars that they have not seen."""
    return int(np.asarray(rows["k"])[np.argmax(np.asarray(rows["held_out"]))])


def compare_components(
    stars: Stars,
    numbers: Iterable[int],
    *,
    key: PRNGKeyArray,
    folds: int = 5,
    progress: Callable[[str], None] | None = None,
    **options,
) -> Table:
    """Fit mixtures of several sizes; `figures.members.components_figure` draws the table.

    Args:
        stars: to be fitted.
        numbers: of components.
        key: random key of starts and folds.
        folds: parts of the stars, each left out once.
        progress: called with a line of text after each size.
        options: of `xd.fit`.

    Returns:
        A row for each size: k, log_likelihood, aic, bic, and held_out, the mean ln L of a star by
        the fit without its fold.

    Raises:
        ValueError: Fewer than two folds or no sizes; from `xd.fit`.
    """
    numbers, n = list(numbers), len(stars)
    if not numbers or not 2 <= folds <= n:
        raise ValueError(f"expected sizes and 2 to {n} folds, found {numbers} and {folds}")
    fold_key, key = jax.random.split(key)
    fold = np.asarray(jax.random.permutation(fold_key, np.arange(n) % folds))
    rows = []
    for k in numbers:
        whole = xd.fit(stars, k, key=key, **options)
        held_out = 0.0
        for part in range(folds):
            mixture = xd.fit(stars[fold != part], k, key=key, **options).mixture
            held_out += xd.log_likelihood(stars[fold == part], mixture)
        p = number_of_parameters(k, stars.x.shape[1])
        deviance = -2.0 * whole.log_likelihood
        rows.append(
            {
                "k": k,
                "log_likelihood": whole.log_likelihood,
                "aic": deviance + 2.0 * p,
                "bic": deviance + p * math.log(n),
                "held_out": held_out / n,
            }
        )
        if progress is not None:
            progress(f"{k} components: BIC {rows[-1]['bic']:.1f}, left out {held_out / n:.4f}")
    return Table(rows)
