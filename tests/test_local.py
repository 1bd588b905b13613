"""The local kernel against the dense one: what it leaves out must not matter."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcluster.density.gaussian import log_density
from jaxcluster.density.local import log_density_local

ARGUMENTS = ("x", "noise", "weights", "means", "covs")
FLOOR = np.log(0.05 / 20)  # a field of the diagram's size, as in every model


def sequence(seed=1, n=501, k=2001, *, shuffled=False, wide=0, empty=0):
    """Stars and cells along a bent sequence of 9 mag, cells in order of magnitude."""
    rng = np.random.default_rng(seed)

    def on_it(t):
        return np.c_[9.0 + 9.0 * t, 0.4 + 1.5 * t**2]

    x = on_it(np.sort(rng.uniform(0, 1, n))) + rng.normal(0, 0.05, (n, 2))
    x = x if shuffled else x[np.argsort(x[:, 0])]
    scale = 10 ** rng.uniform(-2.5, -1.5, (n, 1, 1))
    noise = scale**2 * np.array([[1.0, -0.3], [-0.3, 2.0]])
    t = np.linspace(0, 1, k)
    along = np.array([0.5, 0.2]) / 30
    covs = np.broadcast_to(np.outer(along, along) + 4e-4 * np.eye(2), (k, 2, 2)).copy()
    if wide:
        covs[rng.choice(k, wide, replace=False)] *= 64.0
    weights = rng.uniform(0.2, 1.0, k)
    weights[rng.choice(k, empty, replace=False)] = 0.0
    arrays = [x, noise, weights / weights.sum(), on_it(t), covs]
    if shuffled:
        stars, cells = rng.permutation(n), rng.permutation(k)
        arrays = [a[stars] for a in arrays[:2]] + [a[cells] for a in arrays[2:]]
    return tuple(jnp.asarray(a) for a in arrays)


CASES = {
    "sorted": {},
    "shuffled": {"shuffled": True},
    "wide cells": {"wide": 40},
    "empty cells": {"empty": 500},
    "one star": {"n": 1},
    "few cells": {"k": 5},
    "whole blocks": {"n": 512, "k": 2048},
}


@cache
def both(function, **options):
    """ln p, and Σ_i c_i ln(field + p) with its gradient, in one compilation for each shape."""

    def run(arguments):
        def value(a):
            log_p = function(*a, **options)
            n = log_p.shape[0]
            with_field = jnp.logaddexp(FLOOR, jnp.log(0.95) + log_p)
            return jnp.sum(with_field * (1.0 + jnp.arange(n) / n)), log_p

        (total, log_p), gradient = jax.value_and_grad(value, has_aux=True)(arguments)
        return log_p, total, gradient

    return jax.jit(run)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_dense_kernel(case):
    arguments = sequence(**CASES[case])
    exact, total, gradient = both(log_density)(arguments)
    ours, our_total, our_gradient = both(log_density_local)(arguments)
    near = np.asarray(exact) > -20
    assert near.mean() > 0.1
    np.testing.assert_allclose(ours[near], exact[near], atol=1e-5)
    assert float(our_total) == pytest.approx(float(total), abs=1e-6)
    for name, a, b in zip(ARGUMENTS, our_gradient, gradient, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max(), err_msg=name)


def test_what_is_left_out_is_small_and_never_added():
    """A longer reach adds to ln p; with the shortest the loss is that of a Gaussian's tail."""
    arguments = sequence(2)
    exact = both(log_density)(arguments)[0]
    for reach in (4.0, 6.0, 9.0):
        ours = both(log_density_local, reach=reach)(arguments)[0]
        missing = np.exp(np.asarray(exact)) - np.exp(np.asarray(ours))
        assert missing.min() > -1e-9
        # each component's peak is 1/(2π · 4e-4) at most, times e^(−reach²/2)
        assert missing.max() < 400 * np.exp(-0.5 * reach**2) + 1e-9


def test_out_of_reach_is_minus_infinity_without_nan():
    """Stars a hundred magnitudes away: −inf, and gradients 0 through a mixture with a field."""
    x, noise, *components = sequence(3, n=40, k=64)
    arguments = (x.at[-3:, 0].add(100.0), noise, *components)
    log_p, _, gradient = both(log_density_local)(arguments)
    assert bool(jnp.all(log_p[-3:] == -jnp.inf))
    assert all(bool(jnp.isfinite(g).all()) for g in gradient)
    assert not gradient[0][-3:].any()


def test_stars_that_only_fill_up_change_nothing():
    """Of those that count ln p and gradients are as without the others, wherever these are."""
    x, noise, *components = sequence(5, n=301, k=400)
    counts = jnp.arange(301) < 200
    x = jnp.where(counts[:, None], x, x[150])

    def total(components, real):
        log_p = log_density_local(x, noise, *components, real=real)
        return jnp.where(counts, jnp.logaddexp(FLOOR, log_p), 0.0).sum()

    found, expected = (jax.value_and_grad(total)(tuple(components), r) for r in (counts, None))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())
    none = log_density_local(x, noise, *components, real=jnp.zeros(301, bool))
    assert bool(jnp.all(none == -jnp.inf))


def test_far_in_the_second_coordinate():
    """30 σ off in colour most tiles are out of reach: −inf; with a longer reach exact."""
    x, noise, *components = sequence(4, n=33, k=200)
    arguments = (x.at[:, 1].add(1.0), noise, *components)
    exact = both(log_density)(arguments)[0]
    some = np.asarray(exact) > -600  # e^−700 is float64's end
    assert some.sum() > 5
    assert np.median(exact[some]) < -80
    assert float(jnp.mean(both(log_density_local)(arguments)[0] == -jnp.inf)) > 0.5
    ours = both(log_density_local, reach=40.0)(arguments)[0]
    np.testing.assert_allclose(ours[some], exact[some], rtol=1e-6)


def test_weightless_cells_have_right_gradients():
    arguments = sequence(5, empty=500)
    none = np.asarray(arguments[2]) == 0
    gradient = both(log_density_local)(arguments)[2]
    exact = both(log_density)(arguments)[2]
    assert none.sum() == 500
    np.testing.assert_allclose(gradient[2][none], exact[2][none], atol=1e-6 * exact[2].max())
    assert float(gradient[2][none].max()) > 0.0
    assert not gradient[3][none].any()


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.slow
def test_other_dimensions(d):
    rng = np.random.default_rng(6)
    n, k = 60, 90
    arguments = (
        jnp.asarray(rng.normal(size=(n, d))),
        jnp.broadcast_to(0.04 * jnp.eye(d), (n, d, d)),
        jnp.full(k, 1 / k),
        jnp.asarray(rng.normal(size=(k, d))),
        jnp.broadcast_to(0.09 * jnp.eye(d), (k, d, d)),
    )
    exact, total, gradient = both(log_density)(arguments)
    ours, our_total, our_gradient = both(log_density_local)(arguments)
    assert float(our_total) == pytest.approx(float(total), abs=1e-6)
    np.testing.assert_allclose(ours, exact, atol=1e-4)
    for name, a, b in zip(ARGUMENTS, our_gradient, gradient, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max(), err_msg=name)


def test_under_vmap_over_parameters():
    x, noise, weights, means, covs = sequence(7, n=100, k=300)
    shifts = jnp.linspace(-0.2, 0.2, 3)

    def value(shift):
        log_p = log_density_local(x, noise, weights, means + shift, covs)
        return jnp.logaddexp(FLOOR, log_p).sum()

    single = jax.jit(jax.value_and_grad(value))
    one_by_one = [single(s) for s in shifts]
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(value)))(shifts)
    np.testing.assert_allclose(values, [v for v, _ in one_by_one], rtol=1e-12)
    np.testing.assert_allclose(slopes, [s for _, s in one_by_one], rtol=1e-10)
    step = 1e-6
    numeric = (single(shifts[0] + step)[0] - single(shifts[0] - step)[0]) / (2 * step)
    assert float(slopes[0]) == pytest.approx(float(numeric), rel=1e-5)


def test_float32_pairs():
    arguments = sequence(8)
    exact, total, gradient = both(log_density)(arguments)
    ours, our_total, our_gradient = both(log_density_local, pairs=jnp.float32)(arguments)
    assert ours.dtype == jnp.float64
    near = np.asarray(exact) > -20
    np.testing.assert_allclose(ours[near], exact[near], atol=1e-3)
    assert np.median(np.abs(ours - exact)[near]) < 2e-5
    assert float(our_total) == pytest.approx(float(total), abs=0.01)
    for name, a, b in zip(ARGUMENTS, our_gradient, gradient, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3 * np.abs(b).max(), err_msg=name)
