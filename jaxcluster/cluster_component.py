"""Which component of a mixture of proper motions and parallaxes is a cluster, if any.

A cluster is the most compact component, that of lowest differential entropy

    H_k = ½ ln((2πe)^d |V_k|)        (Ahmed & Gokhale 1989; Jaehnig et al. 2021)

By itself that also picks two stars with like noise, and finds a "cluster" in every field. So a
component must also hold `MIN_STARS`, be no wider than clusters are, and stand out:

    σ_μ = |V_μμ|^¼ ≤ max(0.25 mas/yr, ϖ 1 km/s / 4.74)
    w_k N(μ_k | μ_k, V_k) ≥ 40 Σ_{j≠k} w_j N(μ_k | μ_j, V_j)

without noise, as it would be for bright stars; and the stars must ask for it: ln L has to gain more
by it (`xd_moves.gains`) than BIC charges for its p = 1 + d + d (d + 1) / 2 numbers (Schwarz 1978),
and ln n besides, since its place has been searched for:

    Σ_i ln [p(x_i) / p(x_i without k)] ≥ (½ p + 1) ln n.

`benchmarks/members.py` counts what that finds in 46 fields with a cluster and in fields without.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from jaxcluster.density import GaussianMixture
from jaxcluster.stars import Stars
from jaxcluster.xd import membership
from jaxcluster.xd_moves import gains

MIN_STARS = 10.0
WIDEST = 0.25  # mas/yr: binaries and stars of the field widen far clusters to 0.21
FASTEST = 1.0  # km/s, one-dimensional dispersion; matters nearer than 840 pc
KM_S = 4.740470463533349  # of 1 mas/yr at a parallax of 1 mas
MIN_CONTRAST = 40.0


class Candidate(NamedTuple):
    """A component of the mixture; see the module.

    Args:
        component: its index.
        entropy: H, in units of the columns.
        n_stars: w_k n.
        dispersion: σ_μ [mas/yr].
        contrast: its density at its centre over that of all others.
        gain: what it adds to ln L, over what it must.
        refused: why it is no cluster, "" for one.
    """

    component: int
    entropy: float
    n_stars: float
    dispersion: float
    contrast: float
    gain: float
    refused: str


def entropy(cov: Float[np.ndarray, "d d"]) -> float:
    """Differential entropy of a Gaussian, ½ ln((2πe)^d |V|) (Ahmed & Gokhale 1989)."""
    return float(0.5 * np.linalg.slogdet(2.0 * math.pi * math.e * cov)[1])


def candidates(
    mixture: GaussianMixture,
    stars: Stars,
    *,
    min_stars: float = MIN_STARS,
    min_contrast: float = MIN_CONTRAST,
) -> list[Candidate]:
    """All components, the most compact first, each with what speaks against it.

    Args:
        mixture: from `jaxcluster.xd.fit`.
        stars: that it was fitted to, pmra and pmdec [mas/yr] and perhaps parallax [mas] among
            their columns.
        min_stars: that a cluster must have.
        min_contrast: of densities at its centre.

    Raises:
        ValueError: pmra or pmdec is missing.
    """
    n, columns = len(stars), stars.columns
    if missing := {"pmra", "pmdec"} - set(columns):
        raise ValueError(f"columns: a cluster is told by its proper motions; {missing} missing")
    weights, means = np.asarray(mixture.weights), np.asarray(mixture.means)
    d = means.shape[1]
    charge = (0.5 * (1 + d + d * (d + 1) / 2) + 1.0) * math.log(n)
    gain = gains(membership(stars, mixture), weights)
    covs = np.broadcast_to(mixture.covs, (*means.shape, means.shape[1]))
    motion = [columns.index("pmra"), columns.index("pmdec")]
    log_weights = np.log(np.maximum(weights, 1e-300))
    found = []
    for k in range(len(weights)):
        away = means[k] - means
        chi2 = (away * np.linalg.solve(covs, away[..., None])[..., 0]).sum(axis=1)
        here = log_weights - 0.5 * (chi2 + np.linalg.slogdet(covs)[1])
        contrast = np.exp(min(here[k] - logsumexp(np.delete(here, k)), 700.0))
        dispersion = np.linalg.det(covs[k][np.ix_(motion, motion)]) ** 0.25
        widest = WIDEST
        if "parallax" in columns:
            widest = max(WIDEST, means[k][columns.index("parallax")] * FASTEST / KM_S)
        why = []
        if (number := weights[k] * n) < min_stars:
            why.append(f"{number:.1f} stars, fewer than {min_stars:g}")
        if dispersion > widest:
            why.append(f"dispersion {dispersion:.2f} mas/yr, more than {widest:.2f}")
        if contrast < min_contrast:
            why.append(f"contrast {contrast:.1f}, less than {min_contrast:g}")
        if gain[k] < charge:
            why.append(f"ln L gains {gain[k]:.1f}, less than {charge:.1f}")
        found.append(
            Candidate(
                k,
                entropy(covs[k]),
                float(number),
                float(dispersion),
                float(contrast),
                float(gain[k] / charge),
                "; ".join(why),
            )
        )
    return sorted(found, key=lambda one: one.entropy)
