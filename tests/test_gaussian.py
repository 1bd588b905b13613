"""The kernel against numpyro, scipy and finite differences."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from jaxcluster.density import gaussian
from jaxcluster.density.gaussian import log_density, log_density_dense

ARGUMENTS = ("x", "noise", "weights", "means", "covs")


def covariances(rng, n, d, scale=1.0):
    root = rng.normal(size=(n, d, d))
    return scale**2 * (root @ root.transpose(0, 2, 1) / d + 0.1 * np.eye(d))


def problem(seed, n, k, d, *, shared=False):
    """Correlated noise of each star, components of any orientation, weights over two decades."""
    rng = np.random.default_rng(seed)
    weights = 10.0 ** rng.uniform(-2, 0, k)
    arrays = (
        rng.normal(size=(n, d)) * 2.0,
        covariances(rng, n, d, 0.7),
        weights / weights.sum(),
        rng.normal(size=(k, d)) * 2.0,
        covariances(rng, 1 if shared else k, d),
    )
    return tuple(jnp.asarray(a) for a in arrays)


def by_scipy(x, noise, weights, means, covs):
    """ln Σ w N, star by star and component by component."""
    covs = np.broadcast_to(covs, (len(means), *covs.shape[1:]))
    terms = [
        [multivariate_normal.logpdf(a, mean=m, cov=v + s) for m, v in zip(means, covs, strict=True)]
        for a, s in zip(x, noise, strict=True)
    ]
    return logsumexp(np.asarray(terms), b=np.asarray(weights), axis=1)


def by_numpyro(x, noise, weights, means, covs):
    def one(a, s):
        parts = dist.MultivariateNormal(means, covs + s)
        return dist.MixtureSameFamily(dist.Categorical(probs=weights), parts).log_prob(a)

    return jax.vmap(one)(x, noise)


def unequal(n):
    """c_i of Σ_i c_i ln p_i: a wrong weight per star does not cancel."""
    return 1.0 + np.arange(n) / n


def total(function):
    def value(arguments, **options):
        log_p = function(*arguments, **options)
        return jnp.sum(log_p * unequal(log_p.shape[0]))

    return value


@cache
def value_of(function, **options):
    """Compiled once for each shape: operation by operation takes five times as long."""
    return jax.jit(lambda *a: function(*a, **options))


@cache
def gradient_of(function, **options):
    """Of Σ_i c_i ln p_i with respect to the tuple of arguments."""
    return jax.jit(jax.grad(lambda a: total(function)(a, **options)))


def symmetric(gradients):
    """Derivatives along symmetric directions: the dense formula reads the lower triangle only."""
    x, noise, weights, means, covs = gradients
    half = [0.5 * (a + jnp.swapaxes(a, -1, -2)) for a in (noise, covs)]
    return x, half[0], weights, means, half[1]


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("d", range(1, 7))
def test_value_is_numpyros(d, shared):
    arguments = problem(d, 23, 7, d, shared=shared)
    np.testing.assert_allclose(
        value_of(log_density)(*arguments), value_of(by_numpyro)(*arguments), atol=1e-10
    )


@pytest.mark.parametrize(
    ("d", "shared"), [(1, False), (2, False), (2, True), (6, False), (6, True)]
)
def test_gradients_are_those_of_the_dense_formula(d, shared):
    arguments = problem(10 + d, 41, 5, d, shared=shared)
    ours = gradient_of(log_density)(arguments)
    dense = symmetric(gradient_of(log_density_dense)(arguments))
    for name, a, b in zip(ARGUMENTS, ours, dense, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("argument", range(5), ids=ARGUMENTS)
@pytest.mark.parametrize("d", [1, 2, 6])
def test_gradients_are_finite_differences_of_scipy(d, argument):
    """A central difference along a random direction, of a value that shares no code with ours."""
    arguments = problem(20 + d, 9, 4, d)
    rng = np.random.default_rng(argument)
    direction = rng.normal(size=arguments[argument].shape)
    if direction.ndim == 3:
        direction = direction + direction.transpose(0, 2, 1)
    if argument == 2:
        direction = direction * arguments[2]  # weights stay positive

    def value(step):
        moved = list(arguments)
        moved[argument] = moved[argument] + step * direction
        return np.sum(by_scipy(*moved) * unequal(9))

    step = 1e-5
    numeric = (value(step) - value(-step)) / (2 * step)
    ours = gradient_of(log_density)(arguments)[argument]
    assert np.sum(ours * direction) == pytest.approx(numeric, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("argument", range(5), ids=ARGUMENTS)
def test_second_derivatives_through_the_dense_formula(argument):
    """Hessian × direction = finite difference of the kernel's own gradient."""
    arguments = problem(31, 13, 4, 2)
    rng = np.random.default_rng(argument)
    direction = rng.normal(size=arguments[argument].shape)
    if direction.ndim == 3:
        direction = direction + direction.transpose(0, 2, 1)
    direction = jnp.asarray(direction)

    def moved(step):
        return tuple(a + step * direction if i == argument else a for i, a in enumerate(arguments))

    dense = jax.grad(total(log_density_dense))
    _, second = jax.jit(lambda: jax.jvp(lambda step: dense(moved(step)), (0.0,), (1.0,)))()
    kernel = gradient_of(log_density)
    step = 1e-6
    numeric = [
        (a - b) / (2 * step) for a, b in zip(kernel(moved(step)), kernel(moved(-step)), strict=True)
    ]
    for name, a, b in zip(ARGUMENTS, symmetric(second), numeric, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n=st.sampled_from([1, 2, 7]),
    k=st.sampled_from([1, 3]),
    d=st.sampled_from([1, 2, 3]),
    log_scale=st.floats(-4, 4),
    shift=st.floats(-1e3, 1e3),
    distance=st.floats(0, 100),
)
def test_any_units_any_origin_any_distance(seed, n, k, d, log_scale, shift, distance):
    """Rescaled, moved and with an outlier at up to 100 σ: the same as scipy, −n d ln(scale)."""
    x, noise, weights, means, covs = (np.asarray(a) for a in problem(seed, n, k, d))
    x = x.copy()
    x[0] += distance * np.sqrt(np.diagonal(covs[0] + noise[0]))
    scale = 10.0**log_scale
    expected = by_scipy(x, noise, weights, means, covs) - d * log_scale * np.log(10.0)
    moved = [x + shift, noise, weights, means + shift, covs]
    powers = (1, 2, 0, 1, 2)
    rescaled = (jnp.asarray(a * scale**p) for a, p in zip(moved, powers, strict=True))
    # 1e3 + x keeps 13 digits of x: 100 σ × 1e-13 × 1e3 and a few operations
    np.testing.assert_allclose(value_of(log_density)(*rescaled), expected, rtol=1e-9, atol=1e-8)


def test_far_outliers():
    """100 σ away: ln p = −5000, where exp underflows, and a finite gradient that points back."""
    x = jnp.array([[100.0, 0.0], [0.0, -100.0], [0.3, 0.1]])
    arguments = (
        x,
        jnp.broadcast_to(0.36 * jnp.eye(2), (3, 2, 2)),
        jnp.array([0.3, 0.7]),
        jnp.zeros((2, 2)),
        0.64 * jnp.eye(2)[None],
    )
    expected = -0.5 * np.sum(np.asarray(x) ** 2, axis=1) - np.log(2 * np.pi)
    np.testing.assert_allclose(value_of(log_density)(*arguments), expected, rtol=1e-13)
    gradient = gradient_of(log_density)(arguments)[0]
    np.testing.assert_allclose(gradient, -x * unequal(3)[:, None], rtol=1e-12)


@pytest.mark.parametrize("pairs", [jnp.float64, jnp.float32])
def test_zero_weights_have_finite_right_gradients(pairs):
    """∂ ln p/∂w_k = N_k/p also where w_k = 0, and all else as if k were not there."""
    x, noise, weights, means, covs = problem(40, 30, 6, 2)
    weights = weights.at[jnp.array([1, 4])].set(0.0)
    used = np.array([0, 2, 3, 5])
    ours = gradient_of(log_density, pairs=pairs)((x, noise, weights, means, covs))
    fewer = gradient_of(log_density)((x, noise, weights[used], means[used], covs[used]))
    exact = pairs == jnp.float64
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if exact else {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(ours[0], fewer[0], **tolerance)
    np.testing.assert_allclose(ours[1], fewer[1], **tolerance)
    for a, b in zip(ours[2:], fewer[2:], strict=True):
        np.testing.assert_allclose(a[used], b, **tolerance)
    for k in (1, 4):
        p = by_scipy(x, noise, weights[used], means[used], covs[used])
        alone = by_scipy(x, noise, np.ones(1), means[k : k + 1], covs[k : k + 1])
        expected = np.sum(np.exp(alone - p) * unequal(30))
        assert float(ours[2][k]) == pytest.approx(expected, rel=1e-9 if exact else 1e-4)
        assert not ours[3][k].any()
        assert not ours[4][k].any()


def near_and_weightless(weight):
    """A star at 40 σ of the component that has weight, on top of the one that has (almost) none."""
    return (
        jnp.array([[40.0, 0.0]]),
        1e-5 * jnp.eye(2)[None],
        jnp.array([1.0, weight]),
        jnp.array([[0.0, 0.0], [40.0 - 0.002, 0.0]]),
        jnp.stack([1.33 * jnp.eye(2), 1e-6 * jnp.eye(2)]),
    )


@pytest.mark.parametrize("function", [log_density, log_density_dense])
def test_weightless_component_nearer_than_all_others(function):
    """There N_k/p = e^613: 0 × e^613 must be 0 in the value, and e^613 in ∂/∂w_k."""
    arguments = near_and_weightless(0.0)
    variance = 1.33 + 1e-5
    expected = -0.5 * 1600 / variance - np.log(2 * np.pi * variance)
    assert float(value_of(function)(*arguments)[0]) == pytest.approx(expected, rel=1e-12)
    gradients = gradient_of(function)(arguments)
    near = -0.5 * 0.002**2 / 1.1e-5 - np.log(2 * np.pi * 1.1e-5)
    assert np.log(float(gradients[2][1])) == pytest.approx(near - expected, rel=1e-10)
    assert near - expected > 600
    np.testing.assert_allclose(gradients[0], [[-40 / variance, 0.0]], rtol=1e-10)
    np.testing.assert_allclose(gradients[3], [[40 / variance, 0.0], [0.0, 0.0]], rtol=1e-10)
    assert not gradients[4][1].any()


def test_weightless_component_nearer_than_all_others_in_float32():
    """e^613 does not fit: bounded, and no NaN where it meets the weight 0."""
    gradients = gradient_of(log_density, pairs=jnp.float32)(near_and_weightless(0.0))
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)
    assert float(gradients[2][1]) > 1e30
    np.testing.assert_allclose(gradients[0], [[-40 / (1.33 + 1e-5), 0.0]], rtol=1e-4)


def test_hardly_any_weight_still_counts():
    """w = 1e-60 but e^613 likelier: the star is that component's, Q = 1."""
    arguments = near_and_weightless(1e-60)
    gradients = gradient_of(log_density)(arguments)
    assert float(gradients[2][1]) == pytest.approx(1e60, rel=1e-9)
    np.testing.assert_allclose(gradients[3][1], [0.002 / 1.1e-5, 0.0], rtol=1e-6)


def test_no_weight_at_all():
    x, noise, _, means, covs = problem(50, 6, 3, 2)
    for function in (log_density, log_density_dense):
        value = value_of(function)(x, noise, jnp.zeros(3), means, covs)
        assert bool(jnp.all(value == -jnp.inf))
    gradients = gradient_of(log_density)((x, noise, jnp.zeros(3), means, covs))
    assert not any(bool(jnp.isnan(g).any()) for g in gradients)


def test_weights_are_used_as_given():
    x, noise, weights, means, covs = problem(51, 6, 3, 2)
    value = value_of(log_density)
    times_five = value(x, noise, 5.0 * weights, means, covs)
    np.testing.assert_allclose(times_five, value(x, noise, weights, means, covs) + np.log(5.0))


def test_the_same_under_jit_vmap_and_grad():
    x, noise, weights, means, covs = problem(60, 37, 5, 2)
    shifts = jnp.linspace(-1.0, 1.0, 4)

    def value(shift):
        return log_density(x, noise, weights * (2 + shift), means + shift, covs)

    eager = jnp.stack([value(s) for s in shifts])
    np.testing.assert_allclose(jax.jit(value)(shifts[1]), eager[1], rtol=1e-13)
    np.testing.assert_allclose(jax.vmap(value)(shifts), eager, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(jax.vmap(value))(shifts), eager, rtol=1e-13)

    def scalar(shift):
        return value(shift).sum()

    one_slope = jax.jit(jax.grad(scalar))
    slopes = jnp.stack([one_slope(s) for s in shifts])
    values, together = jax.jit(jax.vmap(jax.value_and_grad(scalar)))(shifts)
    np.testing.assert_allclose(values, eager.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(together, slopes, rtol=1e-12)
    step = 1e-6
    all_values = jax.jit(jax.vmap(scalar))
    numeric = (all_values(shifts + step) - all_values(shifts - step)) / (2 * step)
    np.testing.assert_allclose(together, numeric, rtol=1e-7)


# with 11 components and 88 pairs in flight a chunk is 8 stars
CHUNKS = [(1, 88), (8, 88), (9, 88), (3, 1), (1009, 16_384)]


@pytest.mark.parametrize(("n", "pairs_in_flight"), CHUNKS)
def test_chunks_do_not_show(monkeypatch, n, pairs_in_flight):
    """One star, a whole number of chunks, one more, and what the kernel takes: the same sums."""
    monkeypatch.setattr(gaussian, "PAIRS_IN_FLIGHT", pairs_in_flight)
    arguments = problem(70, n, 11, 2)
    both = jax.jit(lambda a: (log_density(*a), jax.grad(total(log_density))(a)))
    value, ours = both(arguments)  # not the cached ones: another chunk
    np.testing.assert_allclose(value, value_of(log_density_dense)(*arguments), rtol=1e-12)
    dense = symmetric(gradient_of(log_density_dense)(arguments))
    for name, a, b in zip(ARGUMENTS, ours, dense, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10, err_msg=name)


def test_one_noise_for_all_stars_and_one_covariance_for_all_components():
    """Broadcast arguments get the sum of the derivatives of what they stand for."""
    x, noise, weights, means, covs = problem(80, 19, 5, 3, shared=True)

    def value(s, v):
        return total(log_density)((x, jnp.broadcast_to(s, noise.shape), weights, means, v))

    one = jax.jit(jax.grad(value, argnums=(0, 1)))(noise[0], covs)
    each = gradient_of(log_density)(
        (x, jnp.repeat(noise[:1], 19, 0), weights, means, jnp.repeat(covs, 5, 0))
    )
    np.testing.assert_allclose(one[0], each[1].sum(axis=0), rtol=1e-10)
    np.testing.assert_allclose(one[1][0], each[4].sum(axis=0), rtol=1e-10)


def test_float32_pairs():
    """18 mag with errors of 3 mmag: within 1e-4 a star, the sum over stars in float64."""
    rng = np.random.default_rng(90)
    magnitude = rng.uniform(10, 18, 400)
    mean_magnitude = np.linspace(9.5, 18.5, 900)
    arguments = (
        jnp.asarray(np.c_[magnitude, 0.1 * magnitude + rng.normal(0, 0.02, 400)]),
        jnp.asarray(np.full((400, 1, 1), 0.003**2) * np.diag([1.0, 2.0])),
        jnp.ones(900) / 900,
        jnp.asarray(np.c_[mean_magnitude, 0.1 * mean_magnitude]),
        jnp.asarray(np.full((900, 1, 1), 0.01**2) * np.eye(2)),
    )
    exact = value_of(log_density)(*arguments)
    single = value_of(log_density, pairs=jnp.float32)(*arguments)
    assert single.dtype == jnp.float64
    np.testing.assert_allclose(single, exact, atol=1e-4)
    gradients = [gradient_of(log_density, pairs=p)(arguments) for p in (None, jnp.float32)]
    for name, a, b in zip(ARGUMENTS, *gradients, strict=True):
        assert b.dtype == jnp.float64
        np.testing.assert_allclose(b, a, atol=2e-3 * np.abs(a).max(), err_msg=name)


def test_float32_in_six_dimensions_with_small_errors():
    """Six variances of 1e-7 multiply to 1e-42: |T| itself would not fit."""
    rng = np.random.default_rng(91)
    arguments = (
        jnp.asarray(rng.normal(size=(5, 6)) * 3e-4),
        jnp.broadcast_to(1e-7 * jnp.eye(6), (5, 6, 6)),
        jnp.ones(2) / 2,
        jnp.zeros((2, 6)),
        jnp.zeros((1, 6, 6)),
    )
    single = value_of(log_density, pairs=jnp.float32)(*arguments)
    np.testing.assert_allclose(single, value_of(log_density)(*arguments), atol=1e-4)


def test_memory_does_not_grow_with_the_number_of_pairs():
    """10⁵ stars × 10³ components: 800 MB for every array of pairs, if there were one."""
    n, k = 100_000, 1000
    shapes = [(n, 2), (n, 2, 2), (k,), (k, 2), (k, 2, 2)]
    arguments = [jax.ShapeDtypeStruct(s, jnp.float64) for s in shapes]
    gradient = jax.grad(lambda *a: log_density(*a).sum(), argnums=(0, 1, 2, 3, 4))
    analysis = jax.jit(gradient).lower(*arguments).compile().memory_analysis()
    assert analysis.temp_size_in_bytes < 60e6
