"""What figures show of mixtures and stars: ellipses, counts along one axis, offsets on the sky."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from jaxcluster.catalogue.sky import middle, to_plane
from jaxcluster.density.mixture import GaussianMixture

N_NOISES = 2000  # stars over whose noise the model is averaged


def marginal_covs(mixture: GaussianMixture, axes: Sequence[int]) -> Float[np.ndarray, "k a a"]:
    """Intrinsic covariance of each component in some of the coordinates.

    Args:
        mixture: its covariances may be one for all components.
        axes: which coordinates.
    """
    (k, d), some = mixture.means.shape, list(axes)
    return np.broadcast_to(np.asarray(mixture.covs), (k, d, d))[:, some][:, :, some]


def ellipse_of(cov: Float[np.ndarray, "2 2"]) -> tuple[float, float, float]:
    """Semi-axes of the 1 sigma ellipse, the long one first, and the angle of the long one [deg].

    Args:
        cov: covariance; the angle is from its first coordinate towards its second.
    """
    values, vectors = np.linalg.eigh(cov)
    short, long = np.sqrt(np.maximum(values, 0.0))
    return float(long), float(short), float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))


def expected_counts(
    at: Float[np.ndarray, " g"],
    width: float,
    mixture: GaussianMixture,
    axis: int,
    sigma: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "k g"]:
    """Stars of each component that bins of one coordinate hold, as measured with these noises.

        Σ_i w_k P(|x − y| < width/2),   y ~ N(μ_k, V_k + σ_i²)

    where the stars are more than 2000, by as many quantiles of σ.

    Args:
        at: x, the middle of each bin, in the units of the coordinate.
        width: of a bin.
        mixture: the intrinsic one.
        axis: which coordinate.
        sigma: σ_i.
    """
    n = len(sigma)
    if n > N_NOISES:
        sigma = np.sort(sigma)[((np.arange(N_NOISES) + 0.5) / N_NOISES * n).astype(int)]
    counts = []
    for weight, mean, variance in zip(
        np.asarray(mixture.weights),
        np.asarray(mixture.means)[:, axis],
        marginal_covs(mixture, (axis,))[:, 0, 0],
        strict=True,
    ):
        scale = np.sqrt(variance + sigma**2)[:, None]
        inside = ndtr((at + width / 2 - mean) / scale) - ndtr((at - width / 2 - mean) / scale)
        counts.append(n * weight * inside.mean(axis=0))
    return np.stack(counts)


def sky_offsets(
    ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Offsets to the east and north of the median position [arcmin], NaN where there is none.

    Args:
        ra: right ascension [deg].
        dec: declination [deg].
    """
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return np.full((len(ra), 2), np.nan)
    return to_plane(ra, dec, middle(ra[known], dec[known]))
