"""What a posterior says of its own quality, and how often a likelihood is traced and compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import jaxcluster as jc
from jaxcluster.inference import compile
from jaxcluster.inference.finish import from_groups
from jaxcluster.jobs.results import finite


def of_chains(**draws):
    """A posterior of NUTS with these draws [chain, draw, …]."""
    diverging = np.zeros(next(iter(draws.values())).shape[:2], bool)
    data = from_groups({"posterior": draws, "sample_stats": {"diverging": diverging}})
    data["posterior"].attrs["method"] = "nuts"
    return jc.Posterior(data)


@pytest.mark.parametrize("n", [400, 401])
def test_one_chain_is_compared_with_itself(n):
    x = np.random.default_rng(0).normal(size=(1, n))
    good = of_chains(x=x).quality
    assert 0.99 < good["r_hat"] < 1.02
    assert good["ess"] > n / 2
    assert of_chains(x=x + 5.0 * (np.arange(n) > n / 2)).quality["r_hat"] > 1.5


def test_chains_that_never_moved_are_no_posterior():
    quality = of_chains(x=np.ones((1, 100)), y=np.zeros((1, 100, 2))).quality
    assert quality == {"r_hat": np.inf, "ess": 1.0, "divergences": 0}
    assert finite(quality) == {"r_hat": None, "ess": 1.0, "divergences": 0}


def counted(data):
    """A model that counts how often Python walks through its likelihood."""
    walks = []

    def terms(p):
        walks.append(1)
        return dist.Normal(p["a"], 1.0).log_prob(data)

    return jc.Model.from_likelihood({"a": dist.Normal(0.0, 3.0)}, terms), walks


@pytest.mark.parametrize(
    ("sampler", "walks", "executables"),
    # one walk of `Flat`, which finds out what is read, and one for each function that evaluates
    [(jc.importance, 3, 3), (jc.nested, 5, 3), (jc.nuts, 6, 5)],
)
def test_the_likelihood_is_traced_a_few_times_and_compiled_for_all_data_alike(
    sampler, walks, executables
):
    """Not once a round or chunk; other data of the same shape compile nothing more."""
    compile._compiled.clear()
    for seed in range(2):
        data = jnp.asarray(np.random.default_rng(seed).normal(1.0, 1.0, 20))
        model, count = counted(data)
        sampler(model, key=jax.random.key(seed))
        assert len(count) <= walks
        assert len(compile._compiled) <= executables
