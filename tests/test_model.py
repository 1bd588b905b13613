"""Priors in unconstrained space against quadrature; every slip of a user's model is caught."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal

import jaxcluster as jc
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.model import describe
from jaxcluster.jobs.model_files import load_model, names

PRIORS = {
    "Uniform": dist.Uniform(4.0, 17.0),
    "LogUniform": dist.LogUniform(0.003, 0.2),
    "Normal": dist.Normal(-0.1, 0.3),
    "HalfNormal": dist.HalfNormal(2.0),
    "Beta": dist.Beta(2.0, 3.0),
    "TruncatedNormal": dist.TruncatedNormal(0.5, 1.0, low=0.0, high=2.0),
    "Dirichlet": dist.Dirichlet(jnp.array([2.0, 1.5])),  # a simplex of two has one coordinate
}


def one_parameter(prior):
    return jc.Model({"a": prior}, lambda p, data: data * jnp.sum(p["a"]))


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_prior_integrates_to_one_in_unconstrained_space(prior):
    flat = Flat(one_parameter(prior), jnp.ones(1))
    shape = flat.draw(jax.random.key(0))["a"].shape
    density = jax.jit(lambda z: jnp.exp(flat.log_prior({"a": jnp.full(shape, z)})))
    total = sum(
        quad(lambda z: float(density(z)), a, a + 10.0, limit=200)[0] for a in range(-60, 60, 10)
    )
    assert total == pytest.approx(1.0, abs=1e-6)


def test_hierarchical_prior_is_the_joint_density():
    def program():
        centre = numpyro.sample("centre", dist.Normal(0.0, 3.0))
        values = numpyro.sample("values", dist.Normal(centre, 1.0).expand([3]).to_event(1))
        return {"values": values, "shifted": values + 10.0}

    model = jc.Model(program, lambda p, data: -((p["values"] - p["shifted"] + data) ** 2))
    flat = Flat(model, jnp.full(3, 11.0))
    z = {"centre": jnp.array(0.7), "values": jnp.array([0.1, -0.4, 2.0])}
    joint = np.array([0.7, 0.1, -0.4, 2.0])
    covariance = np.full((4, 4), 9.0) + np.diag([0.0, 1.0, 1.0, 1.0])
    expected = multivariate_normal(np.zeros(4), covariance).logpdf(joint)
    assert float(flat.log_prior(z)) == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(flat.parameters(z)["shifted"], joint[1:] + 10.0)
    assert float(flat.log_likelihood(z)) == pytest.approx(-3.0)


def test_draw_constrain_and_parameters_agree():
    prior = {"a": dist.Uniform(4.0, 17.0), "b": dist.LogUniform(0.003, 0.2)}
    flat = Flat(jc.Model(prior, lambda p, data: p["a"] * p["b"] * data), jnp.ones(2))
    z = jax.vmap(flat.draw)(jax.random.split(jax.random.key(0), 4000))
    a, log_b = flat.constrain(z)["a"], jnp.log(flat.constrain(z)["b"])
    low, high = np.log([0.003, 0.2])
    assert float(a.mean()) == pytest.approx(10.5, abs=4 * 13 / np.sqrt(12 * 4000))
    assert float(log_b.mean()) == pytest.approx(
        (low + high) / 2, abs=4 * (high - low) / np.sqrt(12 * 4000)
    )
    first = jax.tree.map(lambda leaf: leaf[0], z)
    np.testing.assert_allclose(flat.parameters(first)["a"], a[0])


def test_prior_that_is_never_read_is_named():
    model = jc.Model(
        {"a": dist.Normal(0.0, 1.0), "metalicity": dist.Normal(0.0, 1.0)}, lambda p, d: d * p["a"]
    )
    with pytest.raises(ValueError, match="prior of metalicity: the likelihood never reads it"):
        Flat(model, jnp.ones(2))


def test_missing_parameter_is_named():
    model = jc.Model({"a": dist.Normal(0.0, 1.0)}, lambda p, d: d * p["a"] * p["distance"])
    with pytest.raises(KeyError, match="needs a parameter 'distance'; the prior has"):
        Flat(model, jnp.ones(2))


@pytest.mark.parametrize(
    "read",
    [
        lambda p: sum(p.values()),
        lambda p: sum(value for _, value in p.items()),
        lambda p: sum({**p}.values()),
        lambda p: sum(dict(p).values()),
        lambda p: p["a"] + p.get("b", 0.0) + p.get("absent", 0.0),
    ],
    ids=["values", "items", "unpacked", "copied", "get"],
)
def test_every_way_of_reading_counts(read):
    prior = {"a": dist.Normal(0.0, 1.0), "b": dist.Normal(0.0, 1.0)}
    flat = Flat(jc.Model(prior, lambda p, d: d * read(p)), jnp.ones(2))
    assert float(flat.log_likelihood({"a": jnp.array(1.0), "b": jnp.array(2.0)})) == 6.0


def test_support_that_depends_on_another_site_is_refused():
    def program():
        top = numpyro.sample("top", dist.Uniform(1.0, 2.0))
        return {"a": numpyro.sample("a", dist.Uniform(0.0, top))}

    with pytest.raises(ValueError, match="prior of a: its support depends on other"):
        Flat(jc.Model(program, lambda p, d: d * p["a"]), jnp.ones(2))


def test_without_float64_it_says_what_to_add():
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        Flat(one_parameter(dist.Normal(0.0, 1.0)), jnp.ones(1))


def test_nan_likelihood_is_minus_infinity():
    model = jc.Model({"a": dist.Normal(0.0, 1.0)}, lambda p, d: jnp.log(p["a"]) * d)
    flat = Flat(model, jnp.ones(2))
    assert float(flat.log_likelihood({"a": jnp.array(-1.0)})) == -np.inf
    assert float(flat.log_likelihood({"a": jnp.array(2.0)})) == pytest.approx(2 * np.log(2.0))


def test_from_density_sums_over_stars_and_carries_a_null():
    def mixture(mean):
        return jc.GaussianMixture(jnp.ones(1), jnp.reshape(mean, (1, 2)), 0.04 * jnp.eye(2)[None])

    x = np.random.default_rng(0).normal(size=(5, 2))
    stars = jc.Stars(x, np.tile(0.05 * np.eye(2), (5, 1, 1)), ("G", "BP-RP"))
    prior = {"mean": dist.Normal(0.0, 1.0).expand([2]).to_event(1)}
    model = jc.Model.from_density(prior, lambda p: mixture(p["mean"]), mixture(jnp.zeros(2)))
    mean = np.array([0.3, -0.2])
    expected = multivariate_normal(mean, 0.09 * np.eye(2)).logpdf(x)
    np.testing.assert_allclose(model.pointwise({"mean": jnp.asarray(mean)}, stars), expected)
    assert float(model.log_likelihood({"mean": jnp.asarray(mean)}, stars)) == pytest.approx(
        expected.sum()
    )
    assert model.null is not None
    null = multivariate_normal(np.zeros(2), 0.09 * np.eye(2)).logpdf(x).sum()
    assert float(model.null(stars)) == pytest.approx(null)


def test_priors_in_words():
    assert describe(dist.Uniform(6.2, 10.15)) == "Uniform(6.2,10.15)"
    assert describe(dist.Normal(9.7, 0.1).expand([3])) == "Normal(9.7,0.1)"
    assert describe(dist.Normal(9.7, 0.1).expand([3]).to_event(1)) == "Normal(9.7,0.1)"
    assert describe(dist.Normal(jnp.array([0.0, 1.5]), 3.0).expand([4, 2])) == "Normal([0,1.5],[3])"
    model = one_parameter(dist.LogUniform(0.003, 0.2))
    assert model.describe_prior() == {"a": "LogUniform(0.003,0.2)"}


def test_models_that_come_along():
    assert "mimo_cmd" in names()
    assert callable(load_model("mimo_cmd"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('boom')", r"m\.py raised RuntimeError: boom"),
        ("def build(:", r"m\.py raised SyntaxError"),
        ("import no_such_module_xyz", r"m\.py raised ModuleNotFoundError"),
        ("raise SystemExit(3)", r"m\.py raised SystemExit: 3"),
        ("x = 1", r"m\.py defines no function build"),
    ],
)
def test_model_files_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "m.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_model(str(path))


def test_unknown_model_lists_those_there_are():
    with pytest.raises(ValueError, match=r"no model 'mimo_cdm'; there are .*mimo_cmd"):
        load_model("mimo_cdm")


def started(start):
    prior = {"a": dist.Uniform(0.0, 1.0), "b": dist.Dirichlet(jnp.ones(3))}
    return jc.Model(prior, lambda p, d: d * jnp.log(p["a"] - 0.1) * p["b"].sum(), start=start)


def test_start_in_unconstrained_space():
    start = {"a": 0.3, "b": jnp.array([0.2, 0.5, 0.3])}
    flat = Flat(started(start), jnp.ones(2))
    z = flat.start()
    assert z is not None
    for name, value in flat.constrain(z).items():
        np.testing.assert_allclose(value, start[name])
    assert Flat(started(None), jnp.ones(2)).start() is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": 1.0}, "expected a value of each of a, b, found a, b, c"),
        ({"b": jnp.full(2, 0.5)}, r"start of b: expected shape \(3,\), found \(2,\)"),
        ({"a": 0.0}, "found none at a"),
        ({"a": 2.0}, "found none at a"),
        ({"b": jnp.array([0.5, 0.5, 0.1])}, "found none at b"),
        ({"a": 0.05}, "found none of the whole"),
    ],
)
def test_impossible_starts(change, message):
    start = {"a": 0.3, "b": jnp.array([0.2, 0.5, 0.3]), **change}
    with pytest.raises(ValueError, match=message):
        Flat(started(start), jnp.ones(2)).start()
