"""Which component of a mixture of proper motions and parallaxes is a cluster, if any.

The paper's is the most compact component, that of lowest differential entropy

    H_k = ½ ln((2πe)^d |V_k|)        (Ahmed & Gokhale 1989; Jaehnig et al. 2021)

By itself that also picks two stars with like noise, and finds a "cluster" in every field; and a
cluster with binaries and escaping stars is not Gaussian, so that two components may share it. So
components as narrow as clusters are, whose means are as near as their widths (3 σ), are `parts` of
one, and a component is a cluster only if with those it holds `MIN_STARS` and stands out:

    σ_μ = |V_μμ|^¼ ≤ max(0.25 mas/yr, ϖ 1 km/s / 4.74)
    Σ_parts w_j N(μ_k | μ_j, V_j) ≥ 40 Σ_others w_j N(μ_k | μ_j, V_j)

without noise, as it would be for bright stars; and the stars must ask for it: ln L has to gain more
by it (`xd.moves.gain`) than BIC charges (Schwarz 1978) for the p = 1 + d + d (d + 1) / 2 numbers of
each of its m parts, and ln n besides, since its place has been searched for:

    Σ_i ln [p(x_i) / p(x_i without the parts)] ≥ (½ m p + 1) ln n.

`benchmarks/members` counts what that finds in 46 fields with a cluster and in fields without.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxcluster.density.mixture import GaussianMixture
from jaxcluster.density.stars import Stars
from jaxcluster.xd.deconvolution import membership
from jaxcluster.xd.moves import gain

SURE = 0.9  # least membership of a sure member
MIN_STARS = 10.0
WIDEST = 0.25  # mas/yr: binaries and stars of the field widen far clusters to 0.21
FASTEST = 1.0  # km/s, one-dimensional dispersion; matters nearer than 840 pc
KM_S = 4.740470463533349  # of 1 mas/yr at a parallax of 1 mas
MIN_CONTRAST = 40.0
NEAR = 3.0  # σ between the means of parts of one cluster


class Candidate(NamedTuple):
    """A component of the mixture; see the module.

    Args:
        parts: those that are one cluster, itself first.
        entropy: H, in units of the columns.
        n_stars: n Σ w of the parts.
        dispersion: σ_μ [mas/yr].
        contrast: density of the parts at its centre over that of all others.
        gain: what the parts add to ln L, over what they must.
        refused: why it is no cluster, "" for one.
    """

    parts: tuple[int, ...]
    entropy: float
    n_stars: float
    dispersion: float
    contrast: float
    gain: float
    refused: str

    @property
    def component(self) -> int:
        """Its index."""
        return self.parts[0]


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
    k, d = means.shape
    covs = np.broadcast_to(np.asarray(mixture.covs), (k, d, d))
    belongs = membership(stars, mixture)
    motion = [columns.index("pmra"), columns.index("pmdec")]
    dispersions = np.linalg.det(covs[:, motion][:, :, motion]) ** 0.25
    widest = np.full(k, WIDEST)
    if "parallax" in columns:
        parallaxes = means[:, columns.index("parallax")]
        widest = np.maximum(WIDEST, parallaxes * FASTEST / KM_S)
    narrow = dispersions <= widest
    # what a mean is uncertain by counts too: intrinsic widths may be next to nothing
    noise = np.nanmedian(np.asarray(stars.noise), axis=0)
    spread = covs + noise / np.maximum(weights * n, 1.0)[:, None, None]
    away = means[:, None] - means
    both = spread[:, None] + spread
    apart = (away * np.linalg.solve(both, away[..., None])[..., 0]).sum(axis=-1)
    near = (apart <= NEAR**2) & narrow & narrow[:, None]
    chi2 = (away * np.linalg.solve(covs, away[..., None])[..., 0]).sum(axis=-1)
    log_weights = np.log(np.maximum(weights, 1e-300))
    here = log_weights - 0.5 * (chi2 + np.linalg.slogdet(covs)[1])
    found = []
    for j in range(k):
        parts = (j, *(int(i) for i in np.flatnonzero(near[j]) if i != j))
        rest = np.delete(np.arange(k), parts)
        own, others = (float(np.logaddexp.reduce(here[j, list(some)])) for some in (parts, rest))
        contrast = math.exp(min(own - others, 700.0))
        charge = (0.5 * len(parts) * (1 + d + d * (d + 1) / 2) + 1.0) * math.log(n)
        adds = gain(belongs, weights, parts)
        why = []
        if (number := weights[list(parts)].sum() * n) < min_stars:
            why.append(f"{number:.1f} stars, fewer than {min_stars:g}")
        if not narrow[j]:
            why.append(f"dispersion {dispersions[j]:.2f} mas/yr, more than {widest[j]:.2f}")
        if contrast < min_contrast:
            why.append(f"contrast {contrast:.1f}, less than {min_contrast:g}")
        if adds < charge:
            why.append(f"ln L gains {adds:.1f}, less than {charge:.1f}")
        found.append(
            Candidate(
                parts,
                entropy(covs[j]),
                float(number),
                float(dispersions[j]),
                float(contrast),
                adds / charge,
                "; ".join(why),
            )
        )
    return sorted(found, key=lambda one: one.entropy)


def moments(mixture: Any, parts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean […, d] and covariance […, d, d] of some components together.

    Args:
        mixture: what has weights […, k], means […, k, d] and covs […, k, d, d].
        parts: which.
    """
    some = list(parts)
    weights, means, covs = (
        np.asarray(mixture.weights)[..., some],
        np.asarray(mixture.means)[..., some, :],
        np.asarray(mixture.covs)[..., some, :, :],
    )
    share = (weights / weights.sum(axis=-1, keepdims=True))[..., None]
    mean = (share * means).sum(axis=-2)
    away = means - mean[..., None, :]
    covs = covs + away[..., :, None] * away[..., None, :]
    return mean, (share[..., None] * covs).sum(axis=-3)
