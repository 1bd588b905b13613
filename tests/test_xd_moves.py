"""Components that are moved to where stars exceed the mixture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcluster as jc
from jaxcluster import xd
from jaxcluster.xd.moves import gain, largest_excess, moved
from jaxcluster.xd.sums import Parameters

PLACE = np.array([2.0, -1.0])


def field_with_a_clump(n=3000, n_clump=40, seed=0):
    """A broad Gaussian, half as dense where a narrow clump is."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0.02, 0.06, n + n_clump)[:, None, None] ** 2 * np.eye(2)
    x = np.concatenate([rng.normal(0, 2, (n, 2)), np.tile(PLACE, (n_clump, 1))])
    x = x + np.sqrt(noise[:, 0, :1]) * rng.normal(size=x.shape)
    return jc.Stars(x, noise, ("a", "b"))


FIELD = Parameters(jnp.ones(1), jnp.zeros((1, 2)), 4.0 * jnp.eye(2)[None])


def test_the_largest_excess_is_the_clump():
    stars = field_with_a_clump()
    x, noise = np.array(stars.x), np.asarray(stars.noise)
    found = largest_excess(x, noise, FIELD, np.random.default_rng(0))
    assert found is not None
    np.testing.assert_allclose(found.place, PLACE, atol=0.1)
    # 40 stars, most of them within 2 σ of a star of median noise
    assert 20 < found.share * len(x) <= 40
    x[5:20, 0] = np.nan
    assert largest_excess(x, noise, FIELD, np.random.default_rng(0)) is not None
    x[:, 0] = np.nan
    assert largest_excess(x, noise, FIELD, np.random.default_rng(0)) is None


def test_what_a_component_adds_is_that_of_the_densities():
    stars = field_with_a_clump(200)
    weights = np.array([0.5, 0.2, 0.3])
    means = np.array([[0.0, 0.0], [2.0, -1.0], [1.0, 1.0]])
    covs = np.array([4.0, 0.01, 1.0])[:, None, None] * np.eye(2)
    mixture = jc.GaussianMixture(weights, means, covs)
    belongs = xd.membership(stars, mixture)
    for parts in ([0], [1], [2], [2, 1]):
        rest = np.delete(np.arange(3), parts)
        without = jc.GaussianMixture(weights[rest] / weights[rest].sum(), means[rest], covs[rest])
        expected = float((mixture(stars) - without(stars)).sum())
        assert gain(belongs, weights, parts) == pytest.approx(expected, rel=1e-8)


def test_a_moved_component_takes_its_share():
    stars = field_with_a_clump()
    excess = largest_excess(
        np.asarray(stars.x), np.asarray(stars.noise), FIELD, np.random.default_rng(0)
    )
    assert excess is not None
    three = Parameters(
        jnp.array([0.5, 0.3, 0.2]), jnp.zeros((3, 2)), jnp.tile(jnp.eye(2), (3, 1, 1))
    )
    new = moved(three, 1, excess)
    assert float(new.weights.sum()) == pytest.approx(1.0)
    assert float(new.weights[1]) == pytest.approx(excess.share)
    assert float(new.weights[0] / new.weights[2]) == pytest.approx(2.5)
    np.testing.assert_allclose(new.means[1], excess.place)


def test_moves_find_what_the_starts_miss_and_never_lose():
    stars, found = field_with_a_clump(), []
    for seed in range(3):
        key = jax.random.key(seed)
        still, free = (xd.fit(stars, 4, key=key, moves=moves) for moves in (0, 3))
        assert free.log_likelihood >= still.log_likelihood
        assert free.mean_log_likelihood == pytest.approx(float(free.mixture(stars).mean()))
        near = np.linalg.norm(np.asarray(free.mixture.means) - PLACE, axis=1)
        narrow = np.linalg.det(np.asarray(free.mixture.covs)) ** 0.25 < 0.05
        found.append(bool((narrow & (near < 0.05)).any()))
    assert all(found)
