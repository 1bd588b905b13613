"""Draws between limits against the cut mixture's own distribution."""

import numpy as np
import pytest
from scipy.stats import chi2, kstest, norm, truncnorm

from jaxcluster.density.draws import draw_between

MEANS = np.array([[0.0, 1.0], [3.0, -1.0]])
COVS = np.array([[[1.0, 0.6], [0.6, 1.0]], [[0.25, -0.1], [-0.1, 0.5]]])
WEIGHTS = np.array([3.0, 1.0])


def test_of_two_gaussians():
    limits = 0.5, 4.0
    x = draw_between((WEIGHTS, MEANS, COVS), np.array(limits), 20_000, np.random.default_rng(0))
    sigma = np.sqrt(COVS[:, 0, 0])
    inside = norm.cdf(limits[1], MEANS[:, 0], sigma) - norm.cdf(limits[0], MEANS[:, 0], sigma)
    edges = np.linspace(*limits, 21)
    cumulative = norm.cdf(edges[:, None], MEANS[:, 0], sigma) @ WEIGHTS
    expected = 20_000 * np.diff(cumulative) / (WEIGHTS @ inside)
    found = np.histogram(x[:, 0], edges)[0]
    assert chi2.sf(np.sum((found - expected) ** 2 / expected), 19) > 1e-3
    # the second column given the first, where the second Gaussian is alone
    alone = x[x[:, 0] > 3.4]
    slope = COVS[1, 0, 1] / COVS[1, 0, 0]
    width = np.sqrt(COVS[1, 1, 1] - slope * COVS[1, 0, 1])
    assert kstest((alone[:, 1] + 1.0 - slope * (alone[:, 0] - 3.0)) / width, "norm").pvalue > 1e-3


@pytest.mark.parametrize("limits", [(8.0, 9.0), (-9.0, -8.0)])
def test_far_in_a_tail(limits):
    """Eight standard deviations from the mean, noise included, on either side."""
    one = np.ones(1), np.zeros((1, 1)), np.full((1, 1, 1), 0.75)
    rng = np.random.default_rng(1)
    noise = lambda m: np.full((len(m), 1, 1), 0.25)  # noqa: E731
    x = draw_between(one, np.array(limits), 5000, rng, noise)[:, 0]
    assert kstest(x, truncnorm(*limits).cdf).pvalue > 1e-3


def test_nothing_there_is_an_error():
    one = np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1))
    with pytest.raises(ValueError, match="nothing between 50 and 51; its means are 0 to 0"):
        draw_between(one, np.array([50.0, 51.0]), 1, np.random.default_rng(2))
    assert draw_between(one, np.array([50.0, 51.0]), 0, np.random.default_rng(2)).shape == (0, 1)
