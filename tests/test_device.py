"""The way that is taken on a GPU, run here on the CPU: the same numbers, and no loop in it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from numpyro.distributions import Uniform

import jaxcluster as jc
from jaxcluster.density.gaussian import log_density
from jaxcluster.density.local import log_density_local
from jaxcluster.inference.compile import over_chains
from jaxcluster.inference.flat import Flat
from jaxcluster.population.simulate import TRUTH, simulate_pair
from jaxcluster.xd.sums import Parameters, observe, responsibilities, sums


@pytest.fixture
def device(monkeypatch):
    """Switch to the device's way."""
    return lambda: monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.fixture(scope="module")
def model() -> jc.Model:
    limits = (10.0, 18.0)
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    sample, field = simulate_pair(jax.random.key(3), 60, 400, TRUTH, grid, limits)
    density = jc.fit_field(jc.from_table(field), limits, n_stars=60, key=jax.random.key(0))
    stars = jc.from_table(sample)
    cells = {"n_masses": 40, "n_mass_ratios": 4, "isochrone_error": 0}
    return jc.load_model("mimo_cmd")(stars, field=density, limits=limits, **cells)


def points(flat: Flat, n: int):
    return jax.vmap(flat.draw)(jax.random.split(jax.random.key(1), n))


def loops(function, *arguments) -> int:
    return len(re.findall(r"stablehlo\.while", jax.jit(function).lower(*arguments).as_text()))


def test_likelihood_and_gradient(model, device):
    flat = Flat(model)
    z = points(flat, 6)
    one = lambda z, _: jax.value_and_grad(flat.potential)(z)  # noqa: E731
    value, gradient = jax.jit(over_chains(one, 6))(z, None)
    device()
    again, other = jax.jit(over_chains(one, 6))(z, None)
    assert np.abs(np.asarray(value)).max() > 100.0
    # pairs are float32 in both; those out of reach are left out of one
    np.testing.assert_allclose(again, value, rtol=1e-6, atol=1e-3)
    for name, found in other.items():
        np.testing.assert_allclose(found, gradient[name], rtol=2e-3, atol=2e-3 * len(model.stars))


def test_no_loop_in_it(model, device):
    flat = Flat(model)
    z = points(flat, 1)
    first = jax.tree.map(lambda a: a[0], z)
    of = lambda z: jax.value_and_grad(flat.potential)(z)  # noqa: E731
    assert loops(of, first) > 0
    device()
    of = lambda z: jax.value_and_grad(flat.potential)(z)  # noqa: E731
    assert loops(of, first) == 0


def test_pairs(device):
    rng = np.random.default_rng(0)
    x, means = (jnp.asarray(rng.uniform(0.0, 6.0, (n, 2))) for n in (300, 500))
    noise = jnp.tile(0.01 * jnp.eye(2), (300, 1, 1))
    covs = jnp.tile(0.04 * jnp.eye(2), (500, 1, 1))
    weights = jnp.asarray(rng.dirichlet(np.ones(500)))
    arguments = x, noise, weights, means, covs
    total = lambda f: lambda *a: f(*a, pairs=jnp.float64).sum()  # noqa: E731
    expected = jax.grad(total(log_density), range(5))(*arguments)
    device()
    for function in (log_density, log_density_local):
        found = jax.grad(total(function), range(5))(*arguments)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
        assert loops(jax.grad(total(function), range(5)), *arguments) == 0


@pytest.mark.parametrize("missing", [False, True])
def test_a_pass_of_extreme_deconvolution(device, missing):
    rng = np.random.default_rng(1)
    n, k, d = 1500, 4, 3
    x = rng.normal(size=(n, d))
    if missing:
        x[::7, 1] = np.nan
    noise = np.tile(np.diag([0.1, 0.2, 0.3]), (n, 1, 1))
    mixture = Parameters(
        jnp.full(k, 1 / k), jnp.asarray(rng.normal(size=(k, d))), jnp.tile(jnp.eye(d), (k, 1, 1))
    )
    observed = observe(jnp.asarray(x), jnp.asarray(noise))
    expected = sums(observed, mixture), responsibilities(observed, mixture)
    device()
    found = sums(observed, mixture), responsibilities(observed, mixture)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    assert loops(sums, observed, mixture) == 0


def test_a_whole_run(device):
    """Launches are larger there, and what they are filled up with counts nowhere."""
    model = jc.Model.from_likelihood(
        {"x": Uniform(-5.0, 5.0).expand([3]).to_event(1)},
        lambda p: norm.logpdf(p["x"], 0.3, jnp.array([0.5, 0.1, 1.0])),
    )
    expected = jc.importance(model, key=3)
    device()
    found = jc.importance(model, key=3)
    assert found.evaluations == expected.evaluations
    assert found.log_evidence == pytest.approx(expected.log_evidence, abs=1e-6)
    assert found.log_evidence == pytest.approx(-3 * np.log(10.0), abs=0.1)
