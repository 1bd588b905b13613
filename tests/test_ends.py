"""Posteriors at the ends of their priors are told, and those at natural ends are not."""

import numpy as np
import numpyro.distributions as dist
import pytest

import jaxcluster as jc
from jaxcluster.inference.ends import MUCH, TAIL, at_ends

PRIORS = {
    "log_age": dist.Uniform(6.2, 10.15),
    "a_v": dist.Uniform(0.0, 6.0),
    "field_fraction": dist.Uniform(0.0, 1.0),
    "model_scatter": dist.LogUniform(0.003, 0.2),
    "distance_modulus": dist.Normal(9.7, 0.1),
    "means": dist.Normal(0.0, 1.0).expand([2]).to_event(1),
}


def told(**values):
    rng = np.random.default_rng(0)
    inside = {"log_age": 9.0, "a_v": 2.0, "field_fraction": 0.5, "model_scatter": 0.02}
    draws = {**inside, "distance_modulus": 9.75, **values}
    spread = {name: value + 1e-4 * rng.normal(size=(1, 500)) for name, value in draws.items()}
    return at_ends(PRIORS, {**spread, "means": np.full((1, 500, 2), 9.0)})


def test_in_the_midst_nothing_is_told():
    assert told() == []


@pytest.mark.parametrize(
    ("where", "word"),
    [
        ({"log_age": 10.12}, "100 % of the posterior of log_age is in the highest 2 %"),
        ({"a_v": 5.95}, "a_v is in the highest"),
        ({"model_scatter": 0.0031}, "model_scatter is in the lowest"),
        # no end, but the data say what the prior does not
        ({"distance_modulus": 10.0}, "distance_modulus is in the highest"),
    ],
)
def test_an_end_is_told(where, word):
    (flag,) = told(**where)
    assert word in flag


def test_natural_ends_are_not():
    assert told(a_v=0.01, field_fraction=0.995) == []


def test_draws_of_the_prior_itself_are_no_end():
    rng = np.random.default_rng(1)
    draws = {"log_age": rng.uniform(6.2, 10.15, (4, 500))}
    assert at_ends({"log_age": PRIORS["log_age"]}, draws) == []
    assert TAIL < MUCH / 5
    assert at_ends(lambda: {}, draws) == []  # a program


def test_a_sampled_posterior_tells_it():
    def at(mean):
        prior = {"x": dist.Uniform(-10.0, 10.0)}
        return jc.Model.from_likelihood(
            prior, lambda p: dist.Normal(mean, 1.0).log_prob(p["x"])[None]
        )

    beyond, inside = (jc.importance(at(mean), key=0) for mean in (12.0, 0.0))
    assert "posterior of x is in the highest 2 %" in beyond.summary()["prior_flag"]
    assert inside.prior_flag is None
