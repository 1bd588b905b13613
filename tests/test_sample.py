"""Both samplers against problems whose evidence and posterior are known in closed form."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal, norm

import jaxcluster as jc

SEEDS = range(5)


def vector(prior, d):
    return {"x": prior.expand([d]).to_event(1)}


def gaussian():
    """Correlated Gaussian in seven dimensions in a box: 17 nat of information."""
    d, half_width = 7, 22.0
    a = np.random.default_rng(0).normal(size=(d, d))
    covariance = a @ a.T / d + 0.3 * np.eye(d)
    precision = jnp.linalg.inv(jnp.asarray(covariance))
    model = jc.Model.from_likelihood(
        vector(dist.Uniform(-half_width, half_width), d),
        lambda p: (-0.5 * p["x"] @ precision @ p["x"])[None],
    )
    truth = 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1] - d * np.log(2 * half_width)
    return model, truth


def two_modes():
    """Gaussians of shares 0.3 and 0.7 and equal widths, 40 σ apart, in a box."""
    d, half_width, sigma, place = 3, 5.0, 0.1, 2.0

    def pointwise(p):
        at = [dist.Normal(c, sigma).log_prob(p["x"]).sum() for c in (-place, place)]
        return jnp.logaddexp(jnp.log(0.3) + at[0], jnp.log(0.7) + at[1])[None]

    model = jc.Model.from_likelihood(vector(dist.Uniform(-half_width, half_width), d), pointwise)
    return model, -d * np.log(2 * half_width)


def banana():
    """Rosenbrock's valley in two dimensions times two Gaussians."""
    half_width = 4.0

    def valley(x, y):
        return -0.5 * ((1.0 - x) / 0.5) ** 2 - 0.5 * ((y - x**2) / 0.1) ** 2

    model = jc.Model.from_likelihood(
        vector(dist.Uniform(-half_width, half_width), 4),
        lambda p: (valley(p["x"][0], p["x"][1]) + dist.Normal(0.0, 0.3).log_prob(p["x"][2:]).sum())[
            None
        ],
    )
    # y across the valley lies within 1 of its floor, as far as the box goes
    area, _ = dblquad(
        lambda y, x: np.exp(valley(x, y)),
        -2.2,
        2.2,
        lambda x: x**2 - 1.0,
        lambda x: min(x**2 + 1.0, half_width),
        epsabs=1e-8,
    )
    return model, np.log(area) - 4 * np.log(2 * half_width)


PROBLEMS = {"gaussian": gaussian, "two modes": two_modes, "banana": banana}


def attributes(run):
    return run.record


def share_of_second_mode(run):
    return float((np.asarray(run["posterior"]["x"])[..., 0] > 0).mean())


@pytest.fixture(scope="module")
def gaussian_run():
    model, truth = gaussian()
    return jc.nested(model, key=jax.random.key(0), live=200), truth


def test_gaussian_evidence_and_information(gaussian_run):
    run, truth = gaussian_run
    found = attributes(run)
    assert abs(found["log_evidence"] - truth) < 4 * found["log_evidence_error"]
    # H = E[ln L] − ln Z, E[ln L] = −d/2
    assert found["information"] == pytest.approx(-3.5 - truth, abs=4 * found["log_evidence_error"])
    assert found["information"] > 15
    # Skilling's √(H/n)
    skilling = np.sqrt(found["information"] / 200)
    assert found["log_evidence_error"] == pytest.approx(skilling, rel=0.3)
    assert found["insertion_rank_p"] > 1e-3


def test_gaussian_posterior(gaussian_run):
    run, _ = gaussian_run
    x = np.asarray(run["posterior"]["x"]).reshape(-1, 7)
    a = np.random.default_rng(0).normal(size=(7, 7))
    deviation = np.sqrt(np.diag(a @ a.T / 7 + 0.3 * np.eye(7)))
    error = deviation / np.sqrt(min(attributes(run)["ess"], len(x)))
    assert np.all(np.abs(x.mean(axis=0)) < 4.5 * error)
    np.testing.assert_allclose(x.std(axis=0), deviation, rtol=0.2)


def test_nested_data_and_record(gaussian_run):
    run, _ = gaussian_run
    shape = run["posterior"]["x"].shape[:2]
    assert run["sample_stats"]["log_likelihood_total"].shape == shape
    pointwise = np.asarray(run["log_likelihood"]["stars"])
    np.testing.assert_allclose(pointwise.sum(axis=-1), run["sample_stats"]["log_likelihood_total"])
    found = attributes(run)
    assert found["method"] == "nested"
    assert found["evaluations"] > 200 + len(found["dead_log_likelihood"])
    assert found["cpu_seconds"] > 0 < found["compile_seconds"]
    assert "Uniform(-22,22)" in found["priors"]
    assert "blackjax" in found["versions"]
    assert 100 < found["ess"] <= len(found["dead_log_weight"])


def test_two_modes_keep_their_shares():
    model, truth = two_modes()
    run = jc.nested(model, key=jax.random.key(1), live=200)
    found = attributes(run)
    assert abs(found["log_evidence"] - truth) < 4 * found["log_evidence_error"]
    # live points settle in a mode by volume, half each: σ(share) ≈ 4 · 0.3 · 0.7 · √(1/4 · 1/200)
    assert share_of_second_mode(run) == pytest.approx(0.7, abs=4 * 0.03)


def test_banana_evidence():
    model, truth = banana()
    run = jc.nested(model, key=jax.random.key(2), live=100)
    found = attributes(run)
    assert abs(found["log_evidence"] - truth) < 4 * found["log_evidence_error"]


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_evidence_is_unbiased_over_seeds(problem):
    model, truth = problem()
    runs = [jc.nested(model, key=jax.random.key(100 + s), live=200) for s in SEEDS]
    log_z = np.array([attributes(r)["log_evidence"] for r in runs])
    error = np.array([attributes(r)["log_evidence_error"] for r in runs])
    assert np.all(np.abs(log_z - truth) < 4 * error)
    assert abs(log_z.mean() - truth) < 3 * error.mean() / np.sqrt(len(runs))
    assert min(attributes(r)["insertion_rank_p"] for r in runs) > 1e-3
    if problem is two_modes:
        shares = [share_of_second_mode(r) for r in runs]
        assert np.mean(shares) == pytest.approx(0.7, abs=3 * 0.03 / np.sqrt(len(runs)))
        assert np.all(np.abs(np.array(shares) - 0.7) < 4 * 0.03)


Y = np.array([1.2, -0.3, 0.8, 2.1])


def hierarchy():
    """y_i ~ N(x_i, 0.5), x_i ~ N(centre, 1), centre ~ N(0, 3): all Gaussian."""

    def program():
        centre = numpyro.sample("centre", dist.Normal(0.0, 3.0))
        x = numpyro.sample("x", dist.Normal(centre, 1.0).expand([4]).to_event(1))
        return {"x": x}

    return jc.Model.from_likelihood(program, lambda p: dist.Normal(p["x"], 0.5).log_prob(Y))


def exact_posterior():
    """Mean and deviation of x, and ln Z."""
    prior = 9.0 + np.eye(4)
    gain = prior @ np.linalg.inv(prior + 0.25 * np.eye(4))
    covariance = prior - gain @ prior
    log_z = multivariate_normal(np.zeros(4), prior + 0.25 * np.eye(4)).logpdf(Y)
    return gain @ Y, np.sqrt(np.diag(covariance)), log_z


def test_nested_of_a_hierarchy():
    run = jc.nested(hierarchy(), key=jax.random.key(3), live=100)
    mean, deviation, log_z = exact_posterior()
    found = attributes(run)
    assert abs(found["log_evidence"] - log_z) < 4 * found["log_evidence_error"]
    x = np.asarray(run["posterior"]["x"]).reshape(-1, 4)
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * deviation / np.sqrt(found["ess"]))
    assert run["log_likelihood"]["stars"].shape[-1] == 4


@pytest.fixture(scope="module")
def nuts_run():
    def sample(seed):
        key = jax.random.key(seed)
        return jc.nuts(hierarchy(), key=key, warmup=300, draws=500, search=100)

    return sample


def test_nuts_agrees_with_the_exact_posterior(nuts_run):
    run = nuts_run(4)
    mean, deviation, _ = exact_posterior()
    x = np.asarray(run["posterior"]["x"])
    assert x.shape == (2, 500, 4)
    # at least a third of the draws are independent on a Gaussian
    error = deviation / np.sqrt(x.shape[0] * x.shape[1] / 3)
    assert np.all(np.abs(x.mean(axis=(0, 1)) - mean) < 4 * error)
    np.testing.assert_allclose(x.std(axis=(0, 1)), deviation, rtol=0.15)
    assert set(run["sample_stats"].data_vars) >= {"diverging", "n_steps", "lp"}
    assert not np.asarray(run["sample_stats"]["diverging"]).any()
    expected = norm(x, 0.5).logpdf(Y)
    np.testing.assert_allclose(run["log_likelihood"]["stars"], expected)
    found = attributes(run)
    assert found["method"] == "nuts"
    assert "log_evidence" not in found
    assert found["evaluations"] >= np.asarray(run["sample_stats"]["n_steps"]).sum()


ONE_RUN = """
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpyro.distributions as dist, jaxcluster as jc
prior = {"x": dist.Normal(0.0, 1.0).expand([2]).to_event(1)}
model = jc.Model.from_likelihood(prior, lambda p: -0.5 * (p["x"] - 1.0) ** 2)
run = jc.nested(model, key=jax.random.key(5), live=20)
print(len(jax.devices()), repr(run.log_evidence))
"""


@pytest.mark.slow
def test_nested_same_key_same_numbers_on_any_number_of_devices():
    answers = []
    for devices in ("1", "4"):
        run = subprocess.run(
            [sys.executable, "-c", ONE_RUN],
            env={**os.environ, "JAX_NUM_CPU_DEVICES": devices},
            capture_output=True,
            text=True,
            check=True,
        )
        found, log_evidence = run.stdout.split()
        assert found == devices
        answers.append(log_evidence)
    assert len(set(answers)) == 1


def test_nuts_same_key_same_numbers_and_progress():
    said = []
    model = jc.Model.from_likelihood(
        vector(dist.Normal(0.0, 1.0), 2), lambda p: -0.5 * (p["x"] - 1.0) ** 2
    )

    def sample():
        return jc.nuts(
            model,
            key=jax.random.key(7),
            warmup=20,
            draws=20,
            search=10,
            chains=1,
            progress=said.append,
        )

    one, two = sample(), sample()
    np.testing.assert_array_equal(one["posterior"]["x"], two["posterior"]["x"])
    assert sum("NUTS from ln posterior" in line for line in said) == 2


def test_nuts_begins_where_the_model_says():
    def pointwise(p):  # two peaks; all prior draws climb to the one at +3, e²⁰ times higher
        at = dist.Normal(jnp.array([-3.0, 3.0]), 0.1).log_prob(p["a"]) - jnp.array([20.0, 0.0])
        return jnp.logaddexp(*at)[None]

    prior, said = {"a": dist.Uniform(-10.0, 10.0)}, []
    found = []
    for start in (None, {"a": -3.05}):
        model = jc.Model.from_likelihood(prior, pointwise, start=start)
        options = {"key": jax.random.key(8), "search": 100, "starts": 4}
        run = jc.nuts(model, **options, warmup=60, draws=40, chains=1, progress=said.append)
        found.append(np.asarray(run["posterior"]["a"]).mean())
    assert found == pytest.approx([3.0, -3.0], abs=0.2)
    assert sum("prior draws" in line for line in said) == 1
    assert sum("from the model's start" in line for line in said) == 1


def test_other_samplers_take_no_notice_of_a_start():
    runs = [
        jc.nested(
            jc.Model.from_likelihood(
                {"a": dist.Normal(0.0, 1.0)}, lambda p: -((p["a"] - 1.0) ** 2)[None], start=start
            ),
            key=jax.random.key(9),
            live=20,
        )
        for start in (None, {"a": 50.0})
    ]
    np.testing.assert_array_equal(*(np.asarray(run["posterior"]["a"]) for run in runs))


@pytest.mark.parametrize("sampler", [jc.nested, jc.nuts])
def test_no_finite_likelihood_is_said(sampler):
    model = jc.Model.from_likelihood(
        {"a": dist.Uniform(0.0, 1.0)}, lambda p: jnp.log(p["a"] - 2.0)[None]
    )
    with pytest.raises(ValueError, match="no prior draw has a finite likelihood"):
        sampler(model, key=jax.random.key(0))


def test_nested_where_half_of_the_prior_is_impossible():
    """Live points of likelihood zero made ln Z 100 too small, with p = 0.9."""

    def terms(p):
        inside = dist.Normal(0.3, 0.05).log_prob(p["x"]).sum()
        return jnp.where(p["x"][0] < 0.5, inside, -jnp.inf)[None]

    prior = {"x": dist.Uniform(0.0, 1.0).expand([2]).to_event(1)}
    run = jc.nested(jc.Model.from_likelihood(prior, terms), key=1, live=100)
    assert abs(run.log_evidence) < 3.0 * run.log_evidence_error  # the Gaussian is inside
    assert 60 < run.record["impossible"] < 150
    never = jc.Model.from_likelihood(
        prior, lambda p: jnp.where(p["x"][0] < 0.005, 0.0, -jnp.inf)[None]
    )
    with pytest.raises(ValueError, match=r"draws from the prior have a likelihood of zero; narrow"):
        jc.nested(never, key=0, live=20)


def test_nested_says_that_a_level_likelihood_tells_it_nothing():
    """A slab, with a spike that nobody sees: it was quoted with an error of 0.000."""

    def terms(p):
        return jnp.logaddexp(-3.0, dist.Normal(3.0, 0.01).log_prob(p["x"]).sum())[None]

    model = jc.Model.from_likelihood(vector(dist.Uniform(-9, 9), 6), terms)
    with pytest.raises(ValueError, match=r"log likelihood: found -3 at each of 40 draws"):
        jc.nested(model, key=0, live=40)


def test_nested_ends_on_a_level_top():
    def terms(p):
        return jnp.minimum(dist.Normal(0.0, 1.0).log_prob(p["x"]), norm.logpdf(1.0))[None]

    model = jc.Model.from_likelihood({"x": dist.Uniform(-9, 9)}, terms)
    run = jc.nested(model, key=0, live=100)
    truth = np.log((2 * norm.pdf(1.0) + 2 * norm.cdf(-1.0)) / 18.0)
    assert abs(run.log_evidence - truth) < 3.0 * run.log_evidence_error
