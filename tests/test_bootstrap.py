"""Refits to resamplings against long EM on the same resampled stars."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcluster as jc
from jaxcluster import xd
from jaxcluster.xd import bootstrap
from jaxcluster.xd.bootstrap import bootstrap_mixture
from jaxcluster.xd.sums import Parameters, observe

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def field():
    """A cluster of 150 in 450 stars of two wide components, fitted."""
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.05, 0.3, (600, 2))
    x = np.concatenate(
        [
            rng.normal([1.0, -2.0], 0.1, (150, 2)),
            rng.normal([0.0, 0.0], 1.5, (250, 2)),
            rng.normal([-3.0, 1.0], 3.0, (200, 2)),
        ]
    )
    stars = jc.Stars(
        x + sigma * rng.normal(size=x.shape), np.einsum("na,ab->nab", sigma**2, np.eye(2)), "xy"
    )
    return stars, xd.fit(stars, 3, key=jax.random.key(0), tolerance=1e-10, max_passes=5000)


def test_gradient_is_that_of_differences(field):
    stars, fit = field
    observed, base = observe(stars.x, stars.noise), Parameters(*jax.tree.leaves(fit.mixture))
    row, unravel = bootstrap._zero(base)
    row = row + 0.1 * np.random.default_rng(1).normal(size=len(row))
    slope_of = jax.jit(bootstrap._slope)
    value, slope = slope_of(observed, base, row)
    mixture = jc.GaussianMixture(*bootstrap._near(base, unravel(row)))
    assert float(value) == pytest.approx(float(mixture(stars).sum()), rel=1e-12)
    for i in range(len(row)):
        step = jnp.zeros(len(row)).at[i].set(1e-5)
        up, down = (slope_of(observed, base, row + s * step)[0] for s in (1, -1))
        assert float(slope[i]) == pytest.approx(float(up - down) / 2e-5, abs=1e-4)


def test_each_refit_is_at_its_maximum(field):
    """Half a nat is asked; EM of 20 000 passes on the very same stars is the judge."""
    stars, fit = field
    found = bootstrap_mixture(stars, fit.mixture, 6, cluster=[0], key=KEY)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(KEY)).ravel())
    counts = rng.multinomial(600, np.full(600, 1 / 600), 6)
    for i, count in enumerate(counts):
        again = stars[np.repeat(np.arange(600), count)]
        best = xd.fit(
            again, 3, key=KEY, init=fit.mixture, method="em", max_passes=20_000, tolerance=1e-12
        )
        mixture = jc.GaussianMixture(*(a[i] for a in found.mixtures))
        here = float(mixture(again).sum())
        assert here == pytest.approx(found.log_likelihood[i], rel=1e-10)
        assert best.log_likelihood - here < 0.2
    assert (found.passes < 60).all()


def test_errors_and_stability(field):
    """The mean of stars of width σ and noise s_i is known to (Σ 1 / (σ² + s_i²))^-½ at best."""
    stars, fit = field
    k = int(np.argmin(np.linalg.det(np.asarray(fit.mixture.covs))))
    found = bootstrap_mixture(stars, fit.mixture, 100, cluster=[k], key=KEY)
    noise = np.asarray(stars.noise)[:150, 0, 0]
    expected = (1.0 / (noise + 0.01)).sum() ** -0.5
    assert np.std(found.mixtures.means[:, k, 0]) == pytest.approx(expected, rel=0.35)
    probability = np.asarray(fit.mixture.membership(stars))[:, k]
    # by hand, of the same fits: each star on its side of one half, against all other components
    by_hand = np.zeros(len(stars))
    for i in range(100):
        mixture = jc.GaussianMixture(*(a[i] for a in found.mixtures))
        by_hand += np.asarray(mixture.membership(stars))[:, k] > 0.5
    np.testing.assert_allclose(found.stability, by_hand / 100)
    assert np.corrcoef(found.stability, probability > 0.5)[0, 1] > 0.9
    assert found.stability[probability > 0.99].min() > 0.9
    again = bootstrap_mixture(stars, fit.mixture, 100, cluster=[k], key=KEY)
    np.testing.assert_array_equal(again.stability, found.stability)


def test_says_how_many_stopped_short(field, monkeypatch):
    stars, fit = field
    monkeypatch.setattr(bootstrap, "MOST_PASSES", 1)
    monkeypatch.setattr(bootstrap, "_refit", jax.jit(bootstrap._refit.__wrapped__))
    with pytest.warns(UserWarning, match="of 2 resamplings are not at their maximum after 1"):
        bootstrap_mixture(stars, fit.mixture, 2, cluster=[0], key=KEY)
