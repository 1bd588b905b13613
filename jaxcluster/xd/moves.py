"""Components moved to where there are more stars than the mixture has.

EM moves a component to the nearest maximum; a cluster that no start has a component at is never
found (`benchmarks/simulated_fields`). So count the stars within 2 σ of each star's place, σ that
of the median noise S, and beside it what the mixture, drawn with the stars' noise, has there. Where
the excess is most significant one component is put, of covariance S/4, taken from where it is
needed least, by what it adds to ln L,

    Σ_i ln [p(x_i) / p(x_i without k)] = −Σ_i ln [(1 − P_ik) / (1 − w_k)].

Split-and-merge EM (Ueda et al. 2000) moves components too, but splits them where they fit worst,
which a few stars in a component of thousands do not show.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxcluster.xd.sums import Parameters

MOST = 20_000  # stars that are counted
DRAWS = 10  # of the mixture for each of them
RADIUS = 2.0  # σ
SMALLEST = 1e-300  # P, against ln 0


class Excess(NamedTuple):
    """Where stars exceed a mixture most.

    Args:
        place: of a star.
        share: of all stars, what the mixture lacks there.
        cov: median noise.
    """

    place: Float[np.ndarray, " d"]
    share: float
    cov: Float[np.ndarray, "d d"]


def largest_excess(
    x: Float[np.ndarray, "n d"],
    noise: Float[np.ndarray, "n d d"],
    mixture: Parameters,
    rng: np.random.Generator,
) -> Excess | None:
    """The excess of n stars over e expected ones with the largest (n − e) / √max(e, 1).

    Args:
        x: of the stars; those with a NaN are left out, and of more than 20 000 some.
        noise: their covariances.
        mixture: what they are compared with.
        rng: of the draws from the mixture, and of the choice of stars.

    Returns:
        None where no star has more stars near than expected, or the median noise has no width.
    """
    from scipy.spatial import KDTree  # late: the package's import does without

    whole = np.flatnonzero(np.isfinite(x).all(axis=1))
    if len(whole) < 2:
        return None
    if len(whole) > MOST:
        whole = np.sort(rng.choice(whole, MOST, replace=False))
    x, noise = x[whole], noise[whole]
    cov = np.median(noise, axis=0)
    scales, axes = np.linalg.eigh(cov)
    if not scales[0] > 0:
        return None
    whiten = axes / np.sqrt(scales)
    n, d = x.shape
    weights, means, covs = (np.asarray(a, float) for a in mixture)
    label = rng.choice(len(weights), DRAWS * n, p=weights / weights.sum())
    root = np.linalg.cholesky(covs[label] + noise[rng.integers(0, n, DRAWS * n)])
    drawn = means[label] + np.einsum("nab,nb->na", root, rng.normal(size=(DRAWS * n, d)))
    here = x @ whiten
    found, expected = (
        KDTree(points @ whiten).query_ball_point(here, RADIUS, return_length=True)
        for points in (x, drawn)
    )
    expected = expected / DRAWS
    significance = (found - expected) / np.sqrt(np.maximum(expected, 1.0))
    top = int(np.argmax(significance))
    if significance[top] <= 0:
        return None
    return Excess(x[top], (found[top] - expected[top]) / n, cov)


def gain(
    membership: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " k"], parts: Sequence[int]
) -> float:
    """What some components together add to ln L; see the module."""
    others = np.delete(np.arange(len(weights)), parts)  # 1 − P would round to 0
    without = np.maximum(membership[:, others].sum(axis=1), SMALLEST)
    return float(
        len(membership) * np.log(max(weights[others].sum(), SMALLEST)) - np.log(without).sum()
    )


def least_needed(
    membership: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " k"]
) -> list[int]:
    """Components in the order of what they add to ln L, the least first."""
    return sorted(range(len(weights)), key=lambda k: gain(membership, weights, [k]))


def moved(mixture: Parameters, component: int, excess: Excess) -> Parameters:
    """The mixture with a component at the excess instead of where it was."""
    weights = np.array(mixture.weights)
    weights[component] = 0.0
    weights *= (1.0 - excess.share) / weights.sum()
    weights[component] = excess.share
    return Parameters(
        jnp.asarray(weights),
        mixture.means.at[component].set(excess.place),
        mixture.covs.at[component].set(0.25 * excess.cov),
    )
