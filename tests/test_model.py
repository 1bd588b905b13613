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
from jaxcluster.inference.priors import describe
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
    return jc.Model.from_likelihood({"a": prior}, lambda p: jnp.sum(p["a"])[None])


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_prior_integrates_to_one_in_unconstrained_space(prior):
    flat = Flat(one_parameter(prior))
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

    model = jc.Model.from_likelihood(program, lambda p: -((p["values"] - p["shifted"] + 11.0) ** 2))
    flat = Flat(model)
    # a normal prior that depends on nothing is in its own units
    z = {"centre": jnp.array(0.7 / 3.0), "values": jnp.array([0.1, -0.4, 2.0])}
    joint = np.array([0.7, 0.1, -0.4, 2.0])
    covariance = np.full((4, 4), 9.0) + np.diag([0.0, 1.0, 1.0, 1.0])
    expected = multivariate_normal(np.zeros(4), covariance).logpdf(joint)
    assert float(flat.log_prior(z)) == pytest.approx(expected + np.log(3.0), rel=1e-10)
    np.testing.assert_allclose(flat.parameters(z)["shifted"], joint[1:] + 10.0)
    assert float(flat.log_likelihood(z)) == pytest.approx(-3.0)


def test_draw_constrain_and_parameters_agree():
    prior = {"a": dist.Uniform(4.0, 17.0), "b": dist.LogUniform(0.003, 0.2)}
    flat = Flat(jc.Model.from_likelihood(prior, lambda p: p["a"] * p["b"] * jnp.ones(2)))
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
    model = jc.Model.from_likelihood(
        {"a": dist.Normal(0.0, 1.0), "metalicity": dist.Normal(0.0, 1.0)},
        lambda p: jnp.ones(2) * p["a"],
    )
    with pytest.raises(ValueError, match="prior of metalicity: the likelihood never reads it"):
        Flat(model)


def test_missing_parameter_is_named():
    model = jc.Model.from_likelihood(
        {"a": dist.Normal(0.0, 1.0)}, lambda p: jnp.ones(2) * p["a"] * p["distance"]
    )
    with pytest.raises(KeyError, match="needs a parameter 'distance'; the prior has"):
        Flat(model)


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
    flat = Flat(jc.Model.from_likelihood(prior, lambda p: jnp.ones(2) * read(p)))
    assert float(flat.log_likelihood({"a": jnp.array(1.0), "b": jnp.array(2.0)})) == 6.0


def test_support_that_depends_on_another_site_is_refused():
    def program():
        top = numpyro.sample("top", dist.Uniform(1.0, 2.0))
        return {"a": numpyro.sample("a", dist.Uniform(0.0, top))}

    with pytest.raises(ValueError, match="prior of a: its support depends on other"):
        Flat(jc.Model.from_likelihood(program, lambda p: jnp.ones(2) * p["a"]))


def test_without_float64_it_says_what_to_add():
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        Flat(one_parameter(dist.Normal(0.0, 1.0)))


def test_nan_likelihood_is_minus_infinity():
    model = jc.Model.from_likelihood(
        {"a": dist.Normal(0.0, 1.0)}, lambda p: jnp.log(p["a"]) * jnp.ones(2)
    )
    flat = Flat(model)
    assert float(flat.log_likelihood({"a": jnp.array(-1.0)})) == -np.inf
    assert float(flat.log_likelihood({"a": jnp.array(2.0)})) == pytest.approx(2 * np.log(2.0))


def test_density_of_stars_is_summed():
    def mixture(mean):
        return jc.GaussianMixture(jnp.ones(1), jnp.reshape(mean, (1, 2)), 0.04 * jnp.eye(2)[None])

    x = np.random.default_rng(0).normal(size=(5, 2))
    stars = jc.Stars(x, np.tile(0.05 * np.eye(2), (5, 1, 1)), ("G", "BP-RP"))
    prior = {"mean": dist.Normal(0.0, 1.0).expand([2]).to_event(1)}
    weights = np.array([1.0, 0.5, 2.0, 0.0, 1.0])
    at = {"mean": jnp.array([0.3, -0.2])}
    expected = multivariate_normal([0.3, -0.2], 0.09 * np.eye(2)).logpdf(x)
    for w in (None, weights):
        model = jc.Model(prior, lambda p: mixture(p["mean"]), stars, w)
        each = expected if w is None else w * expected
        np.testing.assert_allclose(model.pointwise(at), each)
        assert float(model.log_likelihood(at)) == pytest.approx(each.sum())
        flat = Flat(model)  # of eight stars, three of which only fill up
        assert float(flat.log_likelihood(at)) == pytest.approx(each.sum())
        assert float(flat.describe(at).total) == pytest.approx(each.sum())
    with pytest.raises(ValueError, match=r"weights: expected shape \(5,\), found \(4,\)"):
        jc.Model(prior, lambda p: mixture(p["mean"]), stars, np.ones(4))


def test_likelihood_that_is_one_number_is_refused():
    model = jc.Model.from_likelihood({"a": dist.Normal(0.0, 1.0)}, lambda p: p["a"])
    with pytest.raises(ValueError, match=r"found shape \(\), expected \[n\]"):
        Flat(model)


def hierarchy(read=("values",), scale=True):
    """Hyper-parameters that only other sites read, and what the program returns."""

    def program():
        centre = numpyro.sample("centre", dist.Normal(0.0, 3.0))
        width = numpyro.sample("width", dist.HalfNormal(1.0)) if scale else 1.0
        lost = numpyro.sample("lost", dist.Normal(0.0, 1.0)) if "lost" in read else 0.0
        raw = numpyro.sample("raw_", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        values = numpyro.sample("values", dist.Normal(centre, width).expand([3]).to_event(1))
        return (
            {"values": values + raw, "lost": lost}
            if "returned" in read
            else {"values": values + raw}
        )

    return jc.Model.from_likelihood(program, lambda p: -(p["values"] ** 2))


def test_hyper_parameters_are_sampled_and_recorded():
    flat = Flat(hierarchy())
    z = flat.draw(jax.random.key(0))
    assert set(z) == {"centre", "width", "raw_", "values"}
    assert set(flat.describe(z).parameters) == {"centre", "width", "values"}  # "raw_" is not
    run = jc.nuts(hierarchy(), key=1, warmup=50, draws=20, chains=1, search=20, starts=2)
    assert set(run.draws) == {"centre", "width", "values"}
    assert set(run.priors) == {"centre", "width", "raw_", "values"}


def test_a_site_that_nothing_reads_is_named():
    with pytest.raises(ValueError, match="prior of lost: the likelihood never reads it"):
        Flat(hierarchy(("lost",)))
    with pytest.raises(ValueError, match="prior of lost"):
        Flat(hierarchy(("lost", "returned")))


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
    return jc.Model.from_likelihood(
        prior, lambda p: jnp.ones(2) * jnp.log(p["a"] - 0.1) * p["b"].sum(), start=start
    )


def test_start_in_unconstrained_space():
    start = {"a": 0.3, "b": jnp.array([0.2, 0.5, 0.3])}
    flat = Flat(started(start))
    for name, value in flat.constrain(flat.start(start)).items():
        np.testing.assert_allclose(value, start[name])


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
        Flat(started(start)).start(start)
