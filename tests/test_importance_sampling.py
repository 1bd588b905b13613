"""Importance sampling: its parts against closed forms, and whether it knows when it fails."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import f as fisher
from scipy.stats import multivariate_normal, multivariate_t, norm

import jaxcluster as jc
from jaxcluster.density.draws import systematic
from jaxcluster.inference import checkpoint, estimate, evaluate
from jaxcluster.inference import importance as importance_sampling
from jaxcluster.inference.climb import climb, curvature, gradients
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.estimate import Estimate, answer, apart
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.importance import NotConvergedError, importance
from jaxcluster.inference.search import (
    BEYOND,
    FEW,
    LIGHT,
    WIDER,
    about,
    between,
    different,
    sharpened,
    summits,
    temper,
)
from jaxcluster.inference.student_mixture import NU, StudentMixture, fit_mixture, thinned
from jaxcluster.inference.weighted_draws import Draws, effective, mean_and_error, smoothed


def nowhere(z):
    """Log density of a prior that has no share."""
    return np.full(len(z), -np.inf)


def flatly(d):
    """A prior that is not drawn from, but for a share that is rounding."""
    return lambda n: np.zeros((n, d))


def sharp(z):
    """Log prior, and log likelihood of a place that one draw of ten thousand is near."""
    return norm.logpdf(z).sum(axis=1), norm(1.5, 0.01).logpdf(z).sum(axis=1)


def mixture(seed=0, k=3, d=4, apart=1.0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(k, d, d))
    roots = np.linalg.cholesky(a @ a.transpose(0, 2, 1) + 0.5 * np.eye(d))
    return StudentMixture(rng.dirichlet(np.ones(k)), apart * rng.normal(size=(k, d)), roots)


def test_density_is_scipys():
    ours = mixture()
    z = np.random.default_rng(1).normal(size=(50, 4)) * 5
    parts = [
        w * multivariate_t(m, r @ r.T, df=NU).pdf(z)
        for w, m, r in zip(ours.weights, ours.means, ours.roots, strict=True)
    ]
    np.testing.assert_allclose(ours.log_density(z, nowhere(z)), np.log(sum(parts)), rtol=1e-10)


def test_the_prior_has_the_rest_of_the_weights():
    whole, prior = mixture(), multivariate_normal(np.zeros(4), 9.0)
    ours = whole._replace(weights=0.8 * whole.weights)
    z = np.random.default_rng(1).normal(size=(50, 4)) * 5
    log_prior = prior.logpdf(z)
    expected = np.logaddexp(np.log(0.8) + whole.log_density(z, log_prior), np.log(0.2) + log_prior)
    np.testing.assert_allclose(ours.log_density(z, log_prior), expected, rtol=1e-10)
    drawn = ours.draw(np.random.default_rng(2), 1000, lambda n: np.full((n, 4), 99.0))
    assert (drawn == 99.0).all(axis=1).sum() == pytest.approx(200, abs=1)


def test_widened_mixture_integrates_to_one():
    ours = mixture(d=2).widened()
    assert ours.weights.sum() == pytest.approx(1.0)
    line = np.linspace(-60, 60, 1201)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    area = np.exp(ours.log_density(grid, nowhere(grid))).sum() * (line[1] - line[0]) ** 2
    assert area == pytest.approx(1.0, abs=2e-3)


def test_draws_have_the_moments_of_the_density():
    ours = mixture(k=2, d=3)
    z = ours.draw(np.random.default_rng(2), 100_000, flatly(3))
    mean = ours.weights @ ours.means
    covs = ours.roots @ ours.roots.transpose(0, 2, 1) * NU / (NU - 2)
    offset = ours.means - mean
    cov = np.einsum("k,kab->ab", ours.weights, covs + offset[:, :, None] * offset[:, None])
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=5 * np.sqrt(cov.max() / 1e5))
    np.testing.assert_allclose(np.cov(z.T), cov, atol=0.06 * np.abs(cov).max())


def test_systematic_resampling_keeps_the_shares():
    weights = np.random.default_rng(0).dirichlet(np.ones(20))
    number = np.bincount(systematic(weights, 1000, np.random.default_rng(1)), minlength=20)
    assert np.abs(number - 1000 * weights).max() < 1.0 + 1e-9


def test_fit_finds_the_mixture_that_points_come_from():
    truth = mixture(k=2, d=3, apart=10.0)
    rng = np.random.default_rng(3)
    z = truth.draw(rng, 3000, flatly(3))
    far = np.full(3000, -1e3)  # from the prior
    found = fit_mixture(z, np.full(3000, 1 / 3000), far, rng)
    assert len(found.weights) == 2
    other = truth.draw(rng, 20_000, flatly(3))
    gap = (
        truth.log_density(other, nowhere(other)) - found.log_density(other, nowhere(other))
    ).mean()
    assert 0.02 < gap < 0.04  # 0.02 is the prior's share


def test_fit_counts_weights_like_repetitions():
    rng = np.random.default_rng(4)
    z = rng.normal(size=(600, 2)) + np.where(np.arange(600) < 300, 0.0, 8.0)[:, None]
    weights = np.where(np.arange(600) < 300, 3.0, 1.0)
    found = fit_mixture(z, weights / weights.sum(), np.full(600, -1e3), rng)
    far = found.means.sum(axis=1) > 8.0
    assert found.weights[far].sum() == pytest.approx(0.25, abs=0.01)


def gaussian(z):
    return multivariate_normal(np.zeros(2)).logpdf(z), np.log(10.0) - 0.5 * (z**2).sum(axis=1)


def test_some_points_stand_for_all():
    weights = np.random.default_rng(0).lognormal(0.0, 2.0, size=3000)
    weights /= weights.sum()
    kept, of_kept = zip(
        *(thinned(weights, 200, np.random.default_rng(i)) for i in range(400)), strict=True
    )
    counts = np.bincount(np.concatenate(kept), minlength=3000)
    assert all(len(np.unique(rows)) == 200 for rows in kept)
    np.testing.assert_allclose([w.sum() for w in of_kept], 1.0)
    # heavy ones always and as they are, light ones as often as their weight is of the threshold
    threshold = of_kept[0].min()
    np.testing.assert_array_equal(counts[weights > 1.001 * threshold], 400)
    light = weights < 0.999 * threshold
    share = weights[light] / threshold
    z = (counts[light] - 400 * share) / np.sqrt(400 * share * (1.0 - share) + 1.0)
    assert np.abs(z).max() < 4.5
    mean = np.bincount(np.concatenate(kept), np.concatenate(of_kept), minlength=3000) / 400
    np.testing.assert_allclose(
        mean[weights > 1.001 * threshold], weights[weights > 1.001 * threshold]
    )


def test_draws_count_by_the_mixture_of_all_proposals():
    rng = np.random.default_rng(5)
    draws = Draws(gaussian, lambda n: rng.normal(size=(n, 2)), 80)
    proposals = [mixture(seed, d=2) for seed in range(3)]
    proposals[1] = proposals[1]._replace(weights=0.7 * proposals[1].weights)
    own = [draws.add(q, n, rng) for q, n in zip(proposals, (20, 40, 10), strict=True)]
    assert len(draws.z) == 150
    log_prior, log_l = gaussian(draws.z)
    q = [np.log(80) + log_prior]
    densities = [p.log_density(draws.z, log_prior) for p in proposals]
    q += [np.log(n) + density for n, density in zip((20, 40, 10), densities, strict=True)]
    expected = log_prior + log_l - logsumexp(q, axis=0) + np.log(150)
    np.testing.assert_allclose(draws.log_weights(), expected, rtol=1e-10)
    np.testing.assert_allclose(draws.log_weights(0.3), expected - 0.7 * log_l, rtol=1e-10)
    np.testing.assert_allclose(own[1], (log_prior + log_l - densities[1])[100:140])


def test_draws_that_join_count_as_if_drawn_together():
    def begin(seed):
        return Draws(gaussian, lambda n: np.random.default_rng(seed).normal(size=(n, 2)), 30)

    together, one, other = begin(6), begin(6), begin(8)
    rng = np.random.default_rng(9)
    for draws, n in ((one, 20), (other, 50)):
        z, log_prior, log_l, _ = draws.draw(mixture(n, d=2), n, rng)
        for some in (draws, together):
            some.include(mixture(n, d=2), z, log_prior, log_l)
    one.join(other)
    assert len(one.z) == 130
    log_q = np.logaddexp(together.log_q, np.log(30) + together.log_prior)  # of the second's prior
    np.testing.assert_allclose(one.log_q[:50], log_q[:50], rtol=1e-10)
    np.testing.assert_allclose(one.log_q[80:], log_q[50:], rtol=1e-10)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_tail_index_of_pareto_weights(k):
    found = [
        smoothed(k * np.random.default_rng(seed).exponential(size=20_000))[1] for seed in range(10)
    ]
    assert np.mean(found) == pytest.approx(k, abs=0.06)


def test_smoothed_weights_have_a_steadier_mean():
    """Pareto weights of shape 0.8 and known mean, which the few largest of a thousand decide."""
    k, n = 0.8, 1000
    logs = [k * np.random.default_rng(seed).exponential(size=n) for seed in range(200)]
    plain, ours = (
        np.array([mean_and_error(one)[0] for one in some]) + np.log(1 - k)
        for some in (logs, [smoothed(one)[0] for one in logs])
    )
    assert ours.std() < 0.6 * plain.std()
    assert np.hypot(ours.mean(), ours.std()) < 0.9 * np.hypot(plain.mean(), plain.std())
    assert -0.25 < ours.mean() < plain.mean()  # what it costs
    np.testing.assert_array_equal(np.sort(logs[0])[:900], np.sort(smoothed(logs[0])[0])[:900])
    assert smoothed(logs[0])[0].max() <= logs[0].max()


def test_smoothing_gives_no_weight_to_what_is_impossible():
    """It did: ln of the mean was -62 instead of -3.3."""
    rng = np.random.default_rng(0)
    log_w = np.where(np.arange(960) < 30, rng.normal(size=960), -1e30)
    ours, _ = smoothed(log_w)
    assert (ours[30:] == -1e30).all()
    assert mean_and_error(ours)[0] == pytest.approx(mean_and_error(log_w)[0], abs=0.05)
    assert smoothed(np.where(np.arange(960) < 3, 0.0, -np.inf))[1] == np.inf
    level, k_hat = smoothed(np.full(960, -7.0))
    assert (level == -7.0).all()
    assert k_hat < 0.7


def test_effective_number():
    assert effective(np.zeros(7) - 900.0) == pytest.approx(7.0)
    assert effective(np.array([0.0, -800.0, -900.0])) == pytest.approx(1.0)


def estimate_of(value, error, k_hat=0.3, searches=1):
    nothing = np.zeros(0)
    return Estimate(value, error, k_hat, 500.0, nothing, nothing, nothing, [], searches)


def test_estimates_confirm_each_other():
    high, low = estimate_of(-5.0, 0.05), estimate_of(-6.0, 0.05)
    same, later = estimate_of(-5.08, 0.06, searches=2), estimate_of(-6.0, 0.05, searches=3)
    assert answer([low, high, same], 0.1) == (same, high)
    assert answer([high, later], 0.1) is None  # the later one has missed something
    assert answer([low, same], 0.1) is None  # nobody confirms the later one
    assert answer([low, low], 0.1) is None  # no search in between
    assert answer([estimate_of(-5.0, 0.3), low, later], 0.1) == (later, low)  # vague
    assert answer([estimate_of(-5.0, 0.05, 1.1), low, later], 0.1) == (later, low)  # no mean
    assert apart(high, same, 0.05) == pytest.approx(-0.08 / np.hypot(0.05, 0.06))
    assert apart(high, same, 0.1) == pytest.approx(-0.8)
    sure, exact = estimate_of(-5.0, 0.01), estimate_of(-5.09, 0.01, searches=2)
    assert answer([sure, exact], 0.1) == (exact, sure)
    by_chance = estimate_of(-4.83, 0.05)  # 2.5 tolerances higher
    assert answer([by_chance, same, same._replace(searches=3)], 0.1) is not None
    assert answer([estimate_of(-4.7, 0.05), same, same._replace(searches=3)], 0.1) is None
    assert answer([sure, exact], 0.04) is None  # 0.09 is more than twice what was asked for


def test_of_confirmed_estimates_the_last_without_a_heavy_tail_holds():
    first, second = estimate_of(-5.0, 0.05, 0.9), estimate_of(-5.0, 0.05, 0.8, searches=2)
    third, fourth = second._replace(tail_index=0.6), second._replace(tail_index=0.3)
    assert answer([first, second, third, fourth], 0.1) == (fourth, first)
    assert answer([first, third, second], 0.1) == (third, first)
    assert answer([first, second, second._replace(tail_index=0.75)], 0.1)[0].tail_index == 0.75


def test_the_error_of_weights_without_variance_is_larger(monkeypatch):
    def error(k_hat):
        monkeypatch.setattr(estimate, "smoothed", lambda log_w: (log_w, k_hat))
        rng = np.random.default_rng(0)
        prior = multivariate_normal(np.zeros(2))
        drawn = lambda n: rng.normal(size=(n, 2))  # noqa: E731
        pool = Draws(lambda z: (prior.logpdf(z), -2.0 * (z**2).sum(axis=1)), drawn, 400)
        hill = StudentMixture(np.ones(1), np.zeros((1, 2)), 0.5 * np.eye(2)[None])
        one = estimate.estimate(pool, [hill], rng, 0.1, 0, lambda line: None)
        assert one.tail_index == k_hat
        assert abs(one.log_evidence + np.log(5.0)) < 4 * one.error
        return one.error

    assert error(0.6) == pytest.approx(1.25 * error(0.4))


def box(d, half):
    return {"x": dist.Uniform(-half, half).expand([d]).to_event(1)}


def needles(n, width):
    """Many narrow Gaussians in a box of six dimensions, more than a search can keep."""
    at = jnp.asarray(np.random.default_rng(0).uniform(-4, 4, (n, 6)))
    return jc.Model.from_likelihood(
        box(6, 5.0),
        lambda p: jax.scipy.special.logsumexp(dist.Normal(at, width).log_prob(p["x"]).sum(axis=1))[
            None
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.05, 0.2])
def test_says_so_where_modes_are_too_many(width):
    try:
        said = importance(needles(100, width), key=0).flags
    except NotConvergedError as failure:
        said = str(failure)
    assert said


def test_falls_back_to_nested_and_says_why(monkeypatch):
    monkeypatch.setattr(estimate, "MOST_ROUNDS", 1)
    monkeypatch.setattr(importance_sampling, "MOST", 2)
    model = jc.Model.from_likelihood(box(2, 5.0), lambda p: dist.Normal(0, 1).log_prob(p["x"]))
    lines = []
    run = jc.fast(model, key=jax.random.key(0), tolerance=1e-4, live=50, progress=lines.append)
    found = run.record
    assert found["method"] == "nested"
    assert "did not confirm each other" in found["fallback"]
    assert any("Nested sampling instead" in line for line in lines)
    assert abs(found["log_evidence"] + 2 * np.log(10.0)) < 4 * found["log_evidence_error"]
    assert found["evaluations"] > 2 * importance_sampling.FIRST + len(found["dead_log_weight"])


def gaussian_with_rough(wrong):
    """Gaussian in a box, and a rough one that is off by `wrong` widths and half as wide again."""

    def at(place, width):
        return lambda p: dist.Normal(place, width).log_prob(p["x"])

    return jc.Model.from_likelihood(box(4, 5.0), at(0.5, 0.3), rough=at(0.5 + 0.3 * wrong, 0.45))


@pytest.mark.parametrize("wrong", [0.3, 2.0])
def test_a_rough_likelihood_steers_and_no_more(wrong):
    found = importance(gaussian_with_rough(wrong), key=jax.random.key(0)).record
    assert abs(found["log_evidence"] + 4 * np.log(10.0)) < 4 * found["log_evidence_error"]
    assert found["log_evidence_error"] < 0.1
    assert 500 < found["rough_evaluations"] < found["evaluations"] - 500


def test_the_same_key_gives_the_same_numbers():
    model = jc.Model.from_likelihood(box(3, 5.0), lambda p: dist.Normal(0, 0.5).log_prob(p["x"]))
    a, b, c = (jc.fast(model, key=jax.random.key(seed)).log_evidence for seed in (0, 0, 1))
    assert a == b != c


def correlated(d):
    """Covariance of widths 1, 0.1, 0.01, ..., correlation 0.9 between neighbours."""
    index = np.arange(d)
    widths = 0.1**index
    return np.outer(widths, widths) * 0.9 ** np.abs(index[:, None] - index)


def gradient_of(model, n):
    """Gradient of a model of one vector x, n rows at a time, and prior draws."""
    flat = Flat(model)
    rows = np.asarray(jax.vmap(flat.draw)(jax.random.split(jax.random.key(0), n))["x"])
    return gradients(flat, lambda row: {"x": row}, rows, Stopwatch()), rows


def test_climbs_end_at_the_maximum():
    prior = {"x": dist.Normal(jnp.zeros(3), 2.0).to_event(1)}
    place, width = jnp.array([1.0, -3.0, 0.5]), 0.5
    model = jc.Model.from_likelihood(prior, lambda p: dist.Normal(place, width).log_prob(p["x"]))
    gradient, starts = gradient_of(model, 4)
    ends = climb(gradient, starts, 300)
    at = np.asarray(place) * 2.0**2 / (2.0**2 + width**2)  # of the product of two Gaussians
    np.testing.assert_allclose(ends, np.tile(at, (4, 1)), atol=2e-3)
    there = norm(place, width).logpdf(at) + norm(0, 2.0).logpdf(at)
    np.testing.assert_allclose(gradient(ends)[0], there.sum(), atol=1e-3)


def test_climbs_never_end_lower():
    """A step leaves a maximum much narrower than it, and few steps do not lead back."""

    def gradient(z):
        return -0.5 * ((z / 0.01) ** 2).sum(axis=1), -z / 0.01**2

    starts = np.array([[0.004, -0.003], [0.0, 0.001]])
    ends = climb(gradient, starts, 5, 0.2)
    assert (gradient(ends)[0] >= gradient(starts)[0]).all()


def test_tempering_ends_with_enough_effective_draws():
    rng = np.random.default_rng(0)
    draws = Draws(sharp, lambda n: rng.normal(size=(n, 2)), 200)
    powers = temper(draws, rng, lambda line: None)
    assert powers == sorted(powers)
    assert effective(draws.log_weights()) >= FEW


def test_different_ends_and_places_between_them():
    ends = np.array([[0.0, 0.0], [0.05, 0.0], [1.0, 2.0], [0.0, 0.3]])
    assert different(ends, 3) == [0, 2, 3]
    assert different(ends, 2) == [0, 2]
    places = between(ends[[0, 2]], 400, np.random.default_rng(0))
    np.testing.assert_allclose(places[:, 1], 2.0 * places[:, 0])
    assert -BEYOND <= places[:, 0].min() < 0.05 - BEYOND
    assert 0.95 + BEYOND < places[:, 0].max() <= 1.0 + BEYOND


def test_climbs_begin_where_one_of_the_scales_is_small():
    prior = {
        "a": dist.Normal(0.0, 1.0),
        "jitter": dist.LogUniform(1e-3, 1.0),
        "share": dist.Uniform(0.0, 1.0),
        "spread": dist.HalfNormal(jnp.ones(2)).to_event(1),
    }

    def terms(p):
        return -(p["a"] ** 2 + p["share"] + p["jitter"] + p["spread"].sum())[None]

    flat = Flat(jc.Model.from_likelihood(prior, terms))
    scales = flat.scales(flat.draw(jax.random.key(0)))
    assert scales == [1, 3, 4]
    places = np.random.default_rng(0).normal(size=(300, 5))
    small = np.array([[-3.0, -4.0, -5.0], [-3.5, -4.5, -5.5]])
    found = sharpened(places, small, scales, np.random.default_rng(1))
    row, column = np.nonzero(found != places)
    np.testing.assert_array_equal(row, np.arange(300))  # one of each, never another coordinate
    assert set(column) == set(scales)
    for number, scale in enumerate(scales):
        assert set(found[row[column == scale], scale]) == set(small[:, number])


def test_gradients_of_any_number_of_rows_and_none_that_is_not_finite():
    prior = {"x": dist.Normal(jnp.zeros(2), 1.0).to_event(1)}
    gradient, _ = gradient_of(
        jc.Model.from_likelihood(prior, lambda p: jnp.sqrt(p["x"] - 1.0)), n=3
    )  # nan below 1
    z = np.array([[2.0, 3.0], [0.0, 2.0], [2.0, 2.0], [5.0, 2.0], [1.0, 2.0]])
    value, slope = gradient(z)
    assert value.shape == (5,)
    assert slope.shape == (5, 2)
    whole = z.min(axis=1) >= 1.0
    expected = norm.logpdf(z[whole]).sum(axis=1) + np.sqrt(z[whole] - 1.0).sum(axis=1)
    np.testing.assert_allclose(value[whole], expected)
    assert value[1] == -np.inf
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[0], 0.5 / np.sqrt(z[0] - 1.0) - z[0])


def value_of(gradient):
    return lambda z: gradient(z)[0]


def test_curvature_is_the_covariance_of_a_gaussian():
    cov = correlated(4)
    precision = jnp.linalg.inv(cov)
    prior = {"x": dist.Normal(jnp.zeros(4), 30.0).to_event(1)}
    model = jc.Model.from_likelihood(prior, lambda p: -0.5 * (p["x"] @ precision @ p["x"])[None])
    gradient, _ = gradient_of(model, 2)
    top = np.zeros(4)
    found = curvature(gradient, value_of(gradient), top, gradient(top[None])[0][0], widest=1e3)
    np.testing.assert_allclose(found, cov, rtol=5e-3, atol=1e-12)


def test_flat_and_rising_directions_are_as_wide_as_told():
    prior = {"x": dist.Normal(jnp.zeros(2), 1e3).to_event(1)}
    model = jc.Model.from_likelihood(prior, lambda p: 0.5 * p["x"] ** 2 * jnp.array([1.0, -4.0]))
    gradient, _ = gradient_of(model, 1)
    top = np.zeros(2)
    found = curvature(gradient, value_of(gradient), top, gradient(top[None])[0][0], widest=1.7)
    np.testing.assert_allclose(found, np.diag([1.7**2, 0.25]), rtol=1e-5, atol=1e-8)


def test_ripples_are_not_the_width_of_a_maximum():
    """The second derivative at the top of a Gaussian with ripples is 31 times its own."""
    cov = np.array([[1.0, 0.05], [0.05, 0.01]])
    inverse = np.linalg.inv(np.linalg.cholesky(cov))

    def gradient(z):
        y = z @ inverse.T
        value = -0.5 * (y**2).sum(axis=1) + 0.3 * (np.cos(10 * y) - 1.0).sum(axis=1)
        return value, (-y - 3.0 * np.sin(10 * y)) @ inverse

    found = curvature(gradient, value_of(gradient), np.zeros(2), 0.0)
    ratios = np.linalg.eigvals(np.linalg.solve(cov, found)).real
    assert ratios.min() > 0.3
    assert ratios.max() < 1.2


def test_an_edge_of_the_possible_does_not_make_a_maximum_narrow():
    def gradient(z):
        possible = z[:, 0] <= 0.0
        return np.where(possible, -0.5 * (z**2).sum(axis=1), -1e30), -z * possible[:, None]

    found = curvature(gradient, value_of(gradient), np.zeros(2), 0.0, widest=10.0)
    np.testing.assert_allclose(np.diag(found), [2.0, 1.0], rtol=0.05)


def test_first_draws_lie_around_the_ends_as_the_posterior_falls_off():
    """Two maxima of like height, one half as wide; ends near one of them are the same one."""
    cov, places = correlated(2), np.array([[0.0, 0.0], [50.0, 5.0]])
    precision = np.linalg.inv(cov)

    def gradient(z):
        second = z[:, :1] > 25
        away = (z - np.where(second, *places[::-1])) * np.where(second, 2.0, 1.0)
        value = -0.5 * np.einsum("na,ab,nb->n", away, precision, away)
        return value, -away @ precision * np.where(second, 2.0, 1.0)

    sigma = np.linalg.cholesky(cov)
    near = places[:1] + np.array([[0.5, 0.5], [-4.0, 1.3]]) @ sigma.T  # χ² = 0.5 and 17.7 of 2
    height = value_of(gradient)

    def hills(ends):
        return about(gradient, height, ends, height(ends))

    assert len(hills(np.concatenate([places, near])).weights) == 2 * 2
    # half as wide in both, ln 4 less mass
    for lower, n in ((LIGHT - 1.5, 2), (LIGHT, 1)):

        def uneven(z, lower=lower):
            value, slope = gradient(z)
            return value - lower * (z[:, 0] > 25), slope

        ends = about(uneven, value_of(uneven), places, np.array([0.0, -lower]))
        assert len(ends.weights) == 2 * n
    z = hills(np.concatenate([places, near])).draw(np.random.default_rng(0), 8000, flatly(2))
    near = z[:, 0] < 25
    assert near.mean() == pytest.approx(0.5, abs=0.01)
    for some, scale in ((z[near] - places[0], 1.0), (z[~near] - places[1], 0.5)):
        chi2 = np.einsum("na,ab,nb->n", some, np.linalg.inv(cov), some) / scale**2
        for radius in (1.0, WIDER):  # χ² / 2 of a t in two dimensions has an F distribution
            inside = fisher(2, NU).cdf(0.5 * (radius / np.array([1.0, WIDER])) ** 2).mean()
            assert (chi2 < radius**2).mean() == pytest.approx(inside, abs=0.03)


def test_summits_are_those_behind_a_valley():
    """Of two Gaussians the highest point, another on that one, and one on the other."""
    places = np.array([[-5.0, 0.0], [5.0, 0.0]])

    def height(z):
        return logsumexp(-0.5 * ((z[:, None] - places) ** 2).sum(axis=-1), axis=1)

    ends = places[[0, 0, 1]] + np.array([[0.0, 0.0], [0.0, 3.0], [1.0, 2.0]])
    for order in ([0, 1, 2], [2, 1, 0]):
        ordered = ends[order]
        found = summits(height, ordered, height(ordered), np.arange(3))
        assert found[np.argsort(order)].tolist() == [False, False, True]
    assert not summits(height, ends, np.zeros(3), np.arange(3)).any()


def test_an_estimate_far_below_confirms_nothing_and_is_told(monkeypatch):
    original, found = importance_sampling.estimate, []

    def lost_at_first(*arguments):
        one = original(*arguments)
        found.append(one if found else one._replace(log_evidence=one.log_evidence - 1.0))
        return found[-1]

    monkeypatch.setattr(importance_sampling, "estimate", lost_at_first)
    model = jc.Model.from_likelihood(box(3, 5.0), lambda p: dist.Normal(0, 0.5).log_prob(p["x"]))
    run = importance(model, key=jax.random.key(0))
    assert len(run.record["search_length"]) == len(found) == 3
    assert abs(run.log_evidence + 3 * np.log(10.0)) < 4 * run.log_evidence_error
    assert run.record["estimate_that_holds"] == 2
    assert any("1 of 3 estimates missed a part" in flag for flag in run.flags)


def test_an_estimate_that_says_nothing_is_followed_by_another_from_its_draws(monkeypatch):
    original, found = importance_sampling.estimate, []

    def without_mean_at_first(*arguments):
        one = original(*arguments)
        found.append(one if found else one._replace(tail_index=1.2))
        return found[-1]

    monkeypatch.setattr(importance_sampling, "estimate", without_mean_at_first)
    model = jc.Model.from_likelihood(box(3, 5.0), lambda p: dist.Normal(0, 0.5).log_prob(p["x"]))
    run = importance(model, key=0)
    assert len(found) == 3
    assert [one.searches for one in found] == [1, 1, 2]
    assert run.flags == []


@pytest.mark.parametrize(
    ("narrower", "dimensions"), [pytest.param(5.0, 2, marks=pytest.mark.slow), (4.0, 3)]
)
def test_a_narrow_mode_far_away_is_found(narrower, dimensions):
    """30 % of Z: 3 and 7 of 15 seeds lost it (error -0.35), and one of 20 the second one again."""
    narrow = jnp.where(jnp.arange(8) < dimensions, 1.0 / narrower, 1.0)

    def two(p):
        logs = [
            dist.Normal(-5, 1).log_prob(p["x"]).sum(),
            dist.Normal(5, narrow).log_prob(p["x"]).sum(),
        ]
        return jax.scipy.special.logsumexp(jnp.stack(logs), b=jnp.array([0.7, 0.3]))[None]

    model = jc.Model.from_likelihood(box(8, 10.0), two)
    for seed in range(3):
        found = importance(model, key=seed).record
        assert abs(found["log_evidence"] + 8 * np.log(20.0)) < 4 * found["log_evidence_error"]
        assert found["log_evidence_error"] < 0.1


@pytest.mark.parametrize(
    "scale", [dist.LogUniform(1e-4, 10.0), dist.HalfNormal(1.0)], ids=["logarithmic", "half-normal"]
)
def test_funnels(scale):
    """Six effects whose common scale may be anything down to nothing, against quadrature."""
    measured, error = np.array([0.3, -1.2, 0.8, 0.1, -0.5, 1.6]), 1.0

    def prior():
        tau = numpyro.sample("scale", scale)
        return {"effects": numpyro.sample("effects", dist.Normal(jnp.zeros(6), tau).to_event(1))}

    log_scale = np.linspace(np.log(1.0001e-4), np.log(9.999), 20_001)
    width = np.hypot(error, np.exp(log_scale))
    density = np.exp(np.asarray(scale.log_prob(jnp.exp(log_scale)))) * np.exp(log_scale)
    terms = norm.logpdf(measured[:, None], 0.0, width).sum(axis=0) + np.log(density)
    truth = logsumexp(terms) + np.log(log_scale[1] - log_scale[0])
    model = jc.Model.from_likelihood(
        prior, lambda p: dist.Normal(p["effects"], error).log_prob(measured)
    )
    run = importance(model, key=2)
    assert abs(run.log_evidence - truth) < 3.0 * run.log_evidence_error
    assert run.log_evidence_error < 0.1


def test_estimates_that_agree_are_an_answer_beyond_the_error_asked_for(monkeypatch):
    monkeypatch.setattr(estimate, "MOST_ROUNDS", 1)
    monkeypatch.setattr(importance_sampling, "MOST", 3)
    model = jc.Model.from_likelihood(box(2, 5.0), lambda p: dist.Normal(0, 1).log_prob(p["x"]))
    run = importance(model, key=0, tolerance=0.007)
    assert len(run.record["estimate_log_evidence"]) == 3
    assert 0.007 < run.log_evidence_error < 0.014
    assert abs(run.log_evidence + 2 * np.log(10.0)) < 4 * run.log_evidence_error
    assert any("where 0.007 was asked for" in flag for flag in run.flags)


def against(null):
    """A Gaussian in a box of side 20, in two dimensions, and its competitor's log likelihood."""

    def terms(p):
        return dist.Normal(0.0, 1.0).log_prob(p["x"])

    prior = {"x": dist.Uniform(-10.0, 10.0).expand([2]).to_event(1)}
    return jc.Model.from_likelihood(prior, terms, null=null), -2.0 * np.log(20.0)


def test_nulls_are_confirmed_or_have_an_error_of_their_own():
    model, truth = against(null=0.0)
    once, twice = (importance(model, key=1, confirm_nulls=sure) for sure in (False, True))
    assert [run.summary()["searches"] for run in (once, twice)] == [1, 2]
    assert once.log_evidence_error == pytest.approx(estimate.UNCONFIRMED, rel=0.02)
    assert twice.log_evidence_error < 0.1
    for run in (once, twice):
        assert abs(run.log_evidence - truth) < 4 * run.log_evidence_error
    assert once.summary()["disagreement"] is None
    assert once.flags == []
    # what the competitor does not explain better is confirmed in any case
    likely, _ = against(null=truth - 1.0)
    assert importance(likely, key=1, confirm_nulls=False).summary()["searches"] == 2


def test_weights_that_are_alike_are_no_tail():
    """150 alike to 1e-12 and 40 beyond: a Pareto distribution through all has k = 14."""
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.uniform(0.1, 1.37, 800), 1.37 * (1 + 1e-12 * rng.random(150))])
    log_w = np.log(np.append(weights, 1.37 + rng.exponential(0.2, 40)))
    value, k_hat = smoothed(log_w)
    assert k_hat < 0.5
    np.testing.assert_allclose(mean_and_error(value)[0], mean_and_error(log_w)[0], atol=1e-3)
    far = np.log(np.append(weights, [300.0, 1000.0, 5000.0]))  # and these are one
    assert smoothed(far)[1] > 0.7


def test_hopeless_priors():
    model = jc.Model.from_likelihood(
        box(2, 5.0), lambda p: -jnp.inf * jnp.ones(1) + 0.0 * p["x"].sum()
    )
    with pytest.raises(ValueError, match="no prior draw has"):
        jc.fast(model, key=jax.random.key(0))


def test_rough_likelihoods_are_kept_too(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    model = gaussian_with_rough(0.3)
    compiled, calls = Stopwatch.rows, []

    def spy(self, *arguments):
        run = compiled(self, *arguments)
        return lambda *rows: calls.append(rows) or run(*rows)

    monkeypatch.setattr(Stopwatch, "rows", spy)
    climbs = []
    monkeypatch.setattr(evaluate, "gradients", lambda *a: climbs.append(a) or gradients(*a))
    numbers = []
    for _ in range(2):
        found = importance(model, key=jax.random.key(0), checkpoint=tmp_path)["posterior"]
        numbers.append((found.attrs["log_evidence"], found["x"].values.sum(), len(calls)))
        calls.clear()
    assert numbers[0][:2] == numbers[1][:2]
    # what the checkpoint knows its run by, and the posterior's parameters
    assert numbers[1][2] == 3 < numbers[0][2]
    assert len(climbs) == 1  # compiled by the first run only


ROWS = """
import jax, numpy as np
from jaxcluster.inference.compile import Stopwatch
like = np.zeros((8, 3))
run = Stopwatch().rows(lambda row: (2.0 * row, row.sum()), like)
for n in (1, 2, 3, 7, 8, 9, 21):
    rows = np.random.default_rng(n).normal(size=(n, 3))
    twice, total = run(rows)
    assert np.allclose(twice, 2.0 * rows) and np.allclose(total, rows.sum(axis=1)), n
    assert np.array_equal(run(rows, lambda found: found[1]), total)
print(len(jax.devices()))
"""


@pytest.mark.parametrize("devices", ["1", "4"])
def test_any_number_of_rows_on_any_number_of_devices(devices):
    out = subprocess.run(
        [sys.executable, "-c", ROWS],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": devices, "JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
    )
    assert out.stdout.strip() == devices, out.stderr


def test_evidence_says_what_speaks_against_it():
    model = jc.Model.from_likelihood(box(2, 5.0), lambda p: dist.Normal(0, 1).log_prob(p["x"]))
    run = jc.fast(model, key=0)
    run.record.update(tail_index=0.4)
    assert run.flags == []
    assert run.summary()["sampling_flag"] is None
    run.record.update(tail_index=0.84, estimates_too_low=1, insertion_rank_p=2e-5)
    run.record.update(fallback="no two agree")
    words = "k = 0.84", "1 of 2 estimates missed", "p of insertion ranks = 2e-05", "no two agree"
    for flag, word in zip(run.flags, words, strict=True):
        assert word in flag
    assert run.summary()["sampling_flag"] == "; ".join(run.flags)
