"""Extreme deconvolution against Bovy's code, dense linear algebra, and simulations."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import jaxcluster as jc
from jaxcluster import xd
from jaxcluster.xd import deconvolution
from jaxcluster.xd.ascent import METHODS
from jaxcluster.xd.sums import Parameters, observe, sums

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "xd_gaia_like_1e4.npz"
KEY = jax.random.key(0)


def simulated(n=400, d=3, k=2, seed=0):
    """Stars of a mixture far from round, noise of every star different, and a start."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(n, d, d)) * 0.4
    noise = roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(d)
    centres, label = 3.0 * rng.normal(size=(k, d)), rng.integers(0, k, n)
    x = centres[label] + rng.normal(size=(n, d)) * np.linspace(0.3, 1.0, d)
    x = x + np.einsum("nij,nj->ni", np.linalg.cholesky(noise), rng.normal(size=(n, d)))
    stars = jc.Stars(x, noise, tuple(f"c{i}" for i in range(d)))
    covs = np.array([np.eye(d) * (1.0 + 0.3 * j) + 0.2 for j in range(k)])
    init = jc.GaussianMixture(
        jnp.asarray(np.full(k, 1 / k)), jnp.asarray(centres + 0.5), jnp.asarray(covs)
    )
    return stars, init


def dense_update(x, noise, mixture, projection=None, prior=0.0):
    """Bovy, Hogg & Roweis (2011, eqs. 16 and 26) star by star; NaN is a row of R less."""
    weights, means, covs = (np.asarray(a) for a in jax.tree.leaves(mixture))
    n = len(x)
    k, d = means.shape
    q, b, B = np.empty((n, k)), np.empty((n, k, d)), np.empty((n, k, d, d))
    log_p = 0.0
    for i in range(n):
        R = np.eye(d) if projection is None else projection[i]
        here = np.isfinite(x[i])
        R, value, S = R[here], x[i][here], noise[i][np.ix_(here, here)]
        for j in range(k):
            T = R @ covs[j] @ R.T + S
            q[i, j] = weights[j] * multivariate_normal(R @ means[j], T).pdf(value)
            gain = covs[j] @ R.T @ np.linalg.inv(T)
            b[i, j] = means[j] + gain @ (value - R @ means[j])
            B[i, j] = covs[j] - gain @ R @ covs[j]
        log_p += np.log(q[i].sum())
    q /= q.sum(axis=1, keepdims=True)
    mean = np.einsum("nk,nkd->kd", q, b) / q.sum(axis=0)[:, None]
    away = b - mean
    scatter = np.einsum("nk,nkab->kab", q, B + away[..., :, None] * away[..., None, :])
    number = q.sum(axis=0)[:, None, None]
    if prior:
        return log_p, number[:, 0, 0] / n, mean, (scatter + prior * np.eye(d)) / (number + 1.0)
    return log_p, number[:, 0, 0] / n, mean, scatter / number


def one_pass(stars, init, **options):
    return xd.fit(stars, 2, key=KEY, init=init, method="em", max_passes=1, tolerance=0.0, **options)


def assert_same(found, expected, rtol=1e-9):
    for a, b in zip(jax.tree.leaves(found.mixture), expected[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-11)


def test_the_path_of_bovys_code():
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent")
    ref = np.load(REFERENCE)
    stars = jc.Stars(ref["x"], ref["noise"], ("pmra", "pmdec", "parallax"))
    names = ("weights", "means", "covs")
    init = jc.GaussianMixture(*(jnp.asarray(ref[f"init_{n}"]) for n in names))
    for passes, expected in ((82, -5.196706249231), (83, -5.196696714281)):
        found = xd.fit(stars, 10, key=KEY, init=init, method="em", max_passes=passes, tolerance=0.0)
        assert found.passes == passes
        assert found.mean_log_likelihood == pytest.approx(expected, abs=1e-9)
    for name in names:
        np.testing.assert_allclose(getattr(found.mixture, name), ref[f"bovy_{name}"], atol=1e-8)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_an_update_is_that_of_dense_algebra(d):
    stars, init = simulated(n=150, d=d)
    expected = dense_update(np.asarray(stars.x), np.asarray(stars.noise), init)
    assert_same(one_pass(stars, init), expected)
    start = Parameters(init.weights, init.means, init.covs)
    assert float(sums(observe(stars.x, stars.noise), start)[0]) == pytest.approx(expected[0])


def test_missing_coordinates_count_as_rows_less():
    stars, init = simulated(n=300)
    x = np.array(stars.x)
    rng = np.random.default_rng(1)
    x[rng.uniform(size=x.shape) < 0.3] = np.nan
    x[np.isnan(x).all(axis=1), 0] = 0.3
    noise = np.array(stars.noise)
    noise[np.isnan(x)] = np.nan  # nobody is to look at it
    noise = np.where(np.isnan(x)[:, None, :], np.nan, noise)
    found = one_pass(jc.Stars(x, noise, stars.columns), init)
    assert_same(found, dense_update(x, np.asarray(stars.noise), init))
    at_found = dense_update(x, np.asarray(stars.noise), found.mixture)[0]
    assert found.log_likelihood == pytest.approx(at_found, rel=1e-12)


def test_any_projection():
    stars, init = simulated(n=200)
    R = np.random.default_rng(2).normal(size=(200, 2, 3))
    x = np.einsum("nij,nj->ni", R, np.asarray(stars.x))
    x[::7, 1] = np.nan
    noise = np.asarray(stars.noise)[:, :2, :2]
    observed = jc.Stars(x, noise, ("a", "b"))
    found = one_pass(observed, init, projection=jnp.asarray(R))
    assert_same(found, dense_update(x, noise, init, R), rtol=1e-8)


def test_prior_of_covariances():
    stars, init = simulated(n=150)
    expected = dense_update(np.asarray(stars.x), np.asarray(stars.noise), init, prior=7.0)
    assert_same(one_pass(stars, init, covariance_prior=7.0), expected)


def test_prior_of_weights():
    stars, init = simulated(n=150)
    expected = dense_update(np.asarray(stars.x), np.asarray(stars.noise), init)[1]
    found = one_pass(stars, init, weight_prior=50.0).mixture.weights
    np.testing.assert_allclose(found, (150 * expected + 50.0) / 250.0)


def test_what_is_fixed_stays():
    stars, init = simulated()
    one = np.array([True, False])
    for name in ("weights", "means", "covs"):
        for method in METHODS:
            found = xd.fit(stars, 2, key=KEY, init=init, method=method, fixed={name: one}).mixture
            for other in ("weights", "means", "covs"):
                old, new = (np.asarray(getattr(m, other)) for m in (init, found))
                same = np.allclose(old[0], new[0], rtol=1e-13)
                assert same == (name == other or (name == "weights" == other))
            assert float(found.weights.sum()) == pytest.approx(1.0)


def test_acceleration_never_falls_and_goes_as_far_with_fewer_passes():
    stars, init = simulated(n=2000, k=2, seed=3)
    close = jc.GaussianMixture(init.weights, init.means * 0.1, init.covs * 3.0)
    for method in METHODS:
        values = [
            xd.fit(
                stars, 2, key=KEY, init=close, method=method, max_passes=n, tolerance=0.0
            ).log_likelihood
            for n in range(1, 30)
        ]
        assert (np.diff(values) >= -1e-9).all()
    options = {"key": KEY, "init": close, "max_passes": 5000, "tolerance": 1e-10}
    slow = xd.fit(stars, 2, method="em", **options)
    assert slow.converged
    quick = xd.fit(stars, 2, **options)
    assert quick.converged
    assert quick.mean_log_likelihood >= slow.mean_log_likelihood - 1e-7
    assert quick.passes < 0.7 * slow.passes


def test_zero_tolerance_takes_all_passes_and_equal_shapes_compile_once():
    stars, init = simulated()
    for method in METHODS:
        options = {"key": KEY, "init": init, "method": method, "tolerance": 0.0}
        assert xd.fit(stars, 2, max_passes=37, **options).passes == 37
        size = deconvolution._run._cache_size()
        other = jc.Stars(stars.x + 0.1, stars.noise * 1.1, stars.columns)
        assert xd.fit(other, 2, max_passes=21, **options).passes == 21
        assert deconvolution._run._cache_size() == size


def test_likelihood_is_that_of_the_mixture_returned():
    stars, init = simulated()
    for method in METHODS:
        for n in (0, 1, 2, 3, 4, 7):
            found = xd.fit(stars, 2, key=KEY, init=init, method=method, max_passes=n, tolerance=0.0)
            assert found.mean_log_likelihood == pytest.approx(
                float(found.mixture(stars).mean()), rel=1e-12
            )


def test_single_precision_of_pairs():
    stars, init = simulated(n=3000)
    exact = xd.fit(stars, 2, key=KEY, init=init)
    found = xd.fit(stars, 2, key=KEY, init=init, pairs=jnp.float32)
    assert found.mixture.means.dtype == jnp.float64
    assert found.mean_log_likelihood == pytest.approx(exact.mean_log_likelihood, abs=1e-4)
    np.testing.assert_allclose(found.mixture.means, exact.mixture.means, atol=1e-2)


def test_starts_find_what_was_simulated():
    stars, truth = simulated(n=3000, k=4, seed=5)
    found = xd.fit(stars, 4, key=KEY)
    again = xd.fit(stars, 4, key=KEY)
    assert found.log_likelihood == again.log_likelihood
    true_means = np.asarray(truth.means) - 0.5
    distance = np.linalg.norm(np.asarray(found.mixture.means)[:, None] - true_means, axis=-1)
    assert sorted(distance.argmin(axis=1)) == [0, 1, 2, 3]
    assert distance.min(axis=1).max() < 0.3


def test_one_far_star_poisons_nothing():
    stars, init = simulated(n=1000)
    x = np.array(stars.x)
    x[0] = 1e6
    for begin in (init, None):
        found = xd.fit(
            jc.Stars(x, stars.noise, stars.columns), 3 if begin is None else 2, key=KEY, init=begin
        )
        assert np.isfinite(found.log_likelihood)
        assert all(np.isfinite(a).all() for a in jax.tree.leaves(found.mixture))
    clean = xd.fit(stars[1:], 2, key=KEY).mixture
    distance = np.linalg.norm(
        np.asarray(clean.means)[:, None] - np.asarray(found.mixture.means), axis=-1
    )
    assert distance.min(axis=1).max() < 0.05


def test_equal_and_repeated_stars():
    x, noise = np.tile([1.0, 2.0], (50, 1)), np.tile(np.eye(2), (50, 1, 1))
    found = xd.fit(jc.Stars(x, noise, ("a", "b")), 3, key=KEY)
    # noise of 1: 1e-4 off costs less than the tolerance
    np.testing.assert_allclose(found.mixture.means, x[:3], atol=1e-4)
    # noise and no scatter: −ln 2π at the centre
    assert found.mean_log_likelihood == pytest.approx(-np.log(2 * np.pi), abs=1e-3)
    stars, init = simulated()
    once = xd.fit(stars, 2, key=KEY, init=init)
    twice = xd.fit(stars[np.tile(np.arange(len(stars)), 2)], 2, key=KEY, init=init)
    np.testing.assert_allclose(once.mixture.means, twice.mixture.means, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, S: (np.where(np.arange(len(x))[:, None] == 3, np.nan, x), S), "1 of 400 .* no"),
        (lambda x, S: (np.where(x == x[5, 1], np.inf, x), S), "1 of 400 .* infinite"),
        (lambda x, S: (x, np.where(np.arange(400)[:, None, None] < 2, -S, S)), "2 of 400 .*star 0"),
        (lambda x, S: (x, np.where(np.arange(400)[:, None, None] == 7, np.nan, S)), "star 7"),
        (lambda x, S: (np.where(np.arange(3) == 1, np.nan, x), S), "no star has .'c1'."),
    ],
)
def test_bad_stars(change, message):
    stars, _ = simulated()
    x, noise = change(np.asarray(stars.x), np.asarray(stars.noise))
    with pytest.raises(ValueError, match=message):
        xd.fit(jc.Stars(x, noise, stars.columns), 2, key=KEY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 500}, "500 components for 400 stars"),
        ({"k": 0}, "0 components"),
        ({"method": "newton"}, "found 'newton'"),
        ({"fixed": {"mean": np.array([True, False])}}, "found ..mean"),
        ({"k": 3, "init": simulated()[1]}, "expected 3 components"),
        ({"projection": jnp.ones((400, 3, 3))}, "need `init`"),
        ({"projection": jnp.ones((4, 3, 3)), "init": simulated()[1]}, "expected shape"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        xd.fit(simulated()[0], **{"k": 2, "key": KEY, **options})
