"""Priors: as text, where parameters can be, on intervals to their very ends."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from scipy.stats import norm, truncnorm
from test_cli import quiet, refused, run  # noqa: F401

import jaxcluster as jc
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.intervals import Interval, LogInterval
from jaxcluster.inference.priors import describe, from_text, supported, within
from jaxcluster.jobs.model_files import load_model
from jaxcluster.population.grids import DATA

STARS = jc.Stars(
    np.stack([np.linspace(10, 17, 30), np.linspace(0.2, 2.0, 30)], -1),
    np.tile(1e-4 * np.eye(2), (30, 1, 1)),
    ("G", "BP-RP"),
)


def mimo(**prior):
    field = lambda stars: jnp.full(len(stars), -3.0)  # noqa: E731
    return load_model("mimo_cmd")(STARS, field=field, limits=(8.0, 18.0), prior=prior)


def test_an_interval_is_never_left():
    """At z ≥ 8.3, where Φ is 1, low + (high − low) may round to more than high: ln 0."""
    rng = np.random.default_rng(0)
    low, high = np.sort(rng.uniform(-10, 10, (2, 2000)), axis=0)
    for z in (-40.0, -8.3, 8.3, 9.0, 40.0):
        interval = Interval(jnp.asarray(low), jnp.asarray(high))
        value = interval(jnp.full(2000, z))
        assert ((value >= low) & (value <= high)).all()
    raw = low + (high - low) * 1.0
    assert (raw > high).any()  # what it guards against
    worst = int(np.argmax(raw - high))
    prior = {"a": dist.Uniform(low[worst], high[worst])}
    flat = Flat(jc.Model.from_likelihood(prior, lambda p: p["a"][None]))
    assert np.isfinite(flat.log_prior({"a": jnp.asarray(9.0)}))


def test_an_interval_is_the_normal_distribution_function():
    interval, z = Interval(jnp.asarray(-1.0), jnp.asarray(3.0)), jnp.linspace(-6, 6, 25)
    value = interval(z)
    np.testing.assert_allclose(value, -1 + 4 * norm.cdf(z), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(interval.inv(value), z, atol=1e-5)
    slope = jax.vmap(jax.grad(interval))(z)
    np.testing.assert_allclose(interval.log_abs_det_jacobian(z, value), jnp.log(slope), atol=1e-10)


def test_an_interval_of_logarithms_is_the_same_of_ln_x():
    interval, z = LogInterval(jnp.asarray(1e-4), jnp.asarray(10.0)), jnp.linspace(-6, 6, 25)
    value = interval(z)
    np.testing.assert_allclose(value, 10.0 ** (-4 + 5 * norm.cdf(z)), rtol=1e-12)
    np.testing.assert_allclose(interval.inv(value), z, atol=1e-5)
    slope = jax.vmap(jax.grad(interval))(z)
    np.testing.assert_allclose(interval.log_abs_det_jacobian(z, value), jnp.log(slope), atol=1e-10)
    far = interval(jnp.asarray([-40.0, 40.0]))
    assert ((far >= 1e-4) & (far <= 10.0)).all()


@pytest.mark.parametrize(
    "prior",
    [
        dist.Uniform(-2.0, 5.0),
        dist.LogUniform(1e-4, 10.0),
        dist.Uniform(-2.0, 5.0).expand([3]).to_event(1),
        dist.LogUniform(1e-4, 10.0).expand([3]).to_event(1),
        dist.LogUniform(jnp.array([1e-4, 1.0, 2.0]), jnp.array([10.0, 5.0, 1e6])).to_event(1),
        dist.Uniform(-2.0, 5.0).mask(True),
    ],
    ids=["uniform", "logarithmic", "uniforms", "logarithms", "different", "masked"],
)
def test_what_is_uniform_in_its_natural_variable_is_normal(prior):
    """Sampled where it is exactly N(0, 1), in each entry."""
    flat = Flat(jc.Model.from_likelihood({"a": prior}, lambda p: jnp.atleast_1d(p["a"].sum())))
    shape = prior.shape()
    for z in (-3.0, 0.0, 0.7, 4.0):
        expected = norm.logpdf(z) * int(np.prod(shape))
        assert float(flat.log_prior({"a": jnp.full(shape, z)})) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "prior"),
    [
        ("binary_fraction", dist.Uniform(-5.0, 5.0)),
        ("binary_fraction", "Normal(2, 0.1)"),
        ("field_fraction", "Uniform(-1, 2)"),
        ("model_scatter", "Uniform(-0.1, 0.1)"),
        ("model_scatter", "Delta(-0.02)"),
        ("a_v", "Normal(-5, 0.1)"),
        ("log_age", "Uniform(9, 8)"),
        ("log_age", "Uniform(9, 9)"),
        ("log_age", "Normal(15, 0.1)"),
        ("metallicity", "Uniform(-2, 3)"),
        ("distance_modulus", "Normal(nan, 0.1)"),
        ("distance_modulus", "Normal(9.7, -0.1)"),
        ("distance_modulus", "(" * 5000),
        ("distance_modulus", "Normal(" + "-" * 5000 + "1, 1)"),
        ("distance_modulus", "__import__('os')"),
        ("distance_modulus", "Distribution()"),
    ],
)
def test_priors_that_cannot_be(name, prior):
    with pytest.raises(ValueError, match=f"prior of {name}: "):
        mimo(**{name: prior})


def test_a_normal_prior_is_cut_off():
    """Against scipy; one well inside stays as it is."""
    inside = supported("a_v", "Normal(1.0, 0.05)", constraints.nonnegative)
    assert isinstance(inside, dist.Normal)
    cut = supported("a_v", "Normal(0.1, 0.05)", constraints.nonnegative)
    assert describe(cut) == "TruncatedNormal(0.1,0.05,low=0)"
    expected = truncnorm(-2, np.inf, loc=0.1, scale=0.05)
    for value in (0.01, 0.1, 0.3):
        assert cut.log_prob(value) == pytest.approx(expected.logpdf(value), abs=1e-9)
    again = from_text(describe(cut))
    assert again.log_prob(0.2) == pytest.approx(float(cut.log_prob(0.2)))
    both = supported("x", dist.Normal(0.5, 1.0), constraints.unit_interval)
    assert describe(both) == "TruncatedNormal(0.5,1,low=0,high=1)"
    for text in ("LogNormal(0,1)", "TruncatedCauchy(0,1,low=-1)"):  # a normal base, no normal one
        assert describe(from_text(text)) == text
    edge = truncnorm(-0.5, 0.5, loc=0.5)
    assert both.log_prob(0.9) == pytest.approx(edge.logpdf(0.9))


def test_a_grid_cuts_and_a_model_records_it():
    words = mimo(metallicity="Normal(0.2, 0.2)", a_v="Normal(0.1, 0.05)").describe_prior()
    assert words["metallicity"].startswith("TruncatedNormal(0.2,0.2,low=-2")
    assert words["a_v"] == "TruncatedNormal(0.1,0.05,low=0)"
    assert words["distance_modulus"] == "Uniform(4,17)"
    prior, fixed = within({"a": dist.Uniform(0.0, 9.0)}, {"a": (1.0, 3.0)}, {"b": "Normal(0,1)"})
    assert describe(prior["a"]) == "Uniform(1,3)"
    assert describe(prior["b"]) == "Normal(0,1)"
    assert not fixed


def test_of_other_models():
    x = np.random.default_rng(0).uniform(-5, 5, (60, 2))
    stars = jc.Stars(x, np.zeros((60, 2, 2)), ("x", "y"))
    king, mixture = load_model("king_profile"), load_model("xd_membership")
    for name, prior in (("n_inside", "Uniform(-5, 60)"), ("r_core", "Uniform(-1, 3)")):
        with pytest.raises(ValueError, match=f"prior of {name}: "):
            king(stars, radius=8.0, prior={name: prior})
    noisy = jc.Stars(x, np.tile(0.01 * np.eye(2), (60, 1, 1)), ("pmra", "pmdec"))
    with pytest.raises(ValueError, match="prior of dispersion: "):
        mixture(noisy, k=1, prior={"dispersion": "Uniform(-1, 1)"})


@pytest.mark.parametrize(
    ("priors", "words"),
    [
        (
            ["a_v=Uniform(0,1)", "a_v=Uniform(0,2)"],
            ["--prior", "a_v has Uniform(0,1) already; give one"],
        ),
        (["a_v"], ["--prior 'a_v'", "NAME=DISTRIBUTION"]),
        (["=Uniform(0,1)"], ["--prior", "NAME=DISTRIBUTION"]),
        (["a_v=" + "(" * 5000], ["--prior a_v=", "expected a numpyro distribution"]),
        (["binary_fraction=Uniform(-5,5)"], ["prior of binary_fraction", "0 to 1"]),
        (["binary_fration=Uniform(0,1)"], ["binary_fration", "never reads it"]),
    ],
)
def test_command_refuses(priors, words, tmp_path):
    typed = [text for prior in priors for text in ("--prior", prior)]
    tables = DATA / "mock_cluster.ecsv", "--field", DATA / "mock_field.ecsv"
    result = run("bayes-factor", *tables, *typed, "--out", tmp_path / "out")
    refused(result, *words, out=tmp_path / "out")
