"""The model file: filling up changes nothing, and saves compiling."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import jaxcluster as jc
from jaxcluster.inference import compile
from jaxcluster.inference.flat import Flat
from jaxcluster.jobs.inputs import inside
from jaxcluster.jobs.model_files import load_model
from jaxcluster.population.simulate import TRUTH, simulate_cluster

LIMITS = (10.0, 18.0)
CELLS = {"n_masses": 32, "n_mass_ratios": 4, "isochrone_error": 0}


@pytest.fixture(scope="module")
def stars():
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    table = simulate_cluster(jax.random.key(1), 60, TRUTH, grid, LIMITS)
    found = jc.from_table(table)
    return found[inside(found, LIMITS)]


def field(stars):
    """Return a density that is not flat, and fast."""
    return -3.0 - 0.1 * stars.x[:, 1]


def build(stars, **options):
    return load_model("mimo_cmd")(stars, field=field, limits=LIMITS, **{**CELLS, **options})


@pytest.mark.parametrize(
    ("n", "filled"),
    [(5, 512), (512, 512), (513, 640), (1024, 1024), (1227, 1280)],
)
def test_sizes(n, filled):
    some = jc.Stars(np.arange(2.0 * n).reshape(n, 2), np.zeros((n, 2, 2)), ("G", "BP-RP"))
    more = some.filled_up()
    assert len(more) == filled
    np.testing.assert_array_equal(more.real, np.arange(filled) < n)
    np.testing.assert_array_equal(more.x[:n], some.x)
    np.testing.assert_array_equal(more.x[n:], np.broadcast_to(some.x[-1], (filled - n, 2)))


def test_filling_up_changes_no_likelihood(stars):
    some = stars[np.arange(50)]
    model, truth = build(some), {name: jnp.asarray(value) for name, value in TRUTH.items()}
    f = TRUTH["field_fraction"]
    cluster = jax.jit(lambda p: model.density(p).parts[0](some))(truth)
    expected = jnp.logaddexp(jnp.log(f) + field(some), jnp.log(1 - f) + cluster)
    np.testing.assert_allclose(jax.jit(lambda p: model.pointwise(p))(truth), expected, atol=1e-5)
    flat = Flat(model)
    assert len(flat.stars) == 512
    z = {name: bijection.inv(truth[name]) for name, bijection in flat.bijections.items()}
    described = jax.jit(lambda z: flat.describe(z))(z)
    np.testing.assert_allclose(described.log_likelihood[:50], expected, atol=1e-5)
    share = 1.0 - jnp.exp(jnp.log(f) + field(some) - expected)
    np.testing.assert_allclose(described.membership[:50], share, atol=1e-5)
    assert float(described.total) == pytest.approx(float(expected.sum()), rel=1e-6)
    assert model.null == pytest.approx(float(field(some).sum()))


def test_samples_of_like_size_share_what_is_compiled(stars):
    """Neither their number nor their magnitude limits are compiled in."""
    values = []
    for n, limits in ((50, LIMITS), (54, (9.5, 18.5))):
        some = stars[np.arange(n)]
        flat = Flat(load_model("mimo_cmd")(some, field=field, limits=limits, **CELLS))
        z = flat.draw(jax.random.key(3))
        run = compile.Stopwatch().compile(flat.log_likelihood, z)
        plain = jax.jit(lambda z, flat=flat: flat.log_likelihood(z))
        values.append((len(compile._compiled), float(run(z)), float(plain(z))))
    assert values[0][0] == values[1][0]
    assert values[0][1] != values[1][1]
    for _, shared, own in values:
        assert shared == pytest.approx(own, rel=1e-6)


def test_samples_of_like_size_are_traced_once(stars, monkeypatch):
    """Other stars, field, limits and numbers of a normal prior are other arrays, and no more."""
    traced = []
    of = compile.Traced.of
    monkeypatch.setattr(compile.Traced, "of", lambda *a: traced.append(a) or of(*a))
    found = []
    for n, limits, modulus in ((50, LIMITS, 11.0), (54, (9.5, 18.5), 12.0)):
        prior = {"distance_modulus": dist.Normal(modulus, 0.1)}
        build, some = load_model("mimo_cmd"), stars[np.arange(n)]
        flat = Flat(build(some, field=field, limits=limits, prior=prior, **CELLS))
        z = {name: jnp.zeros(()) for name in flat.bijections}
        run = compile.Stopwatch().compile(flat.potential, z)
        found.append((float(run(z)), float(jax.jit(lambda z, flat=flat: flat.potential(z))(z))))
    assert len(traced) == 1
    assert found[0] != found[1]
    for shared, own in found:
        assert shared == pytest.approx(own, rel=1e-6)


class Shifted(eqx.Module):
    shift: jax.Array

    def __call__(self, x):
        return x + float(self.shift)  # a number at the time of tracing


def test_a_function_that_asks_for_numbers_of_its_arrays_is_traced_for_each():
    for shift in (1.0, 2.0):
        run = compile.Stopwatch().compile(Shifted(jnp.asarray(shift)), jnp.ones(2))
        np.testing.assert_array_equal(run(jnp.ones(2)), 1.0 + shift)


@pytest.mark.parametrize("n", [2, 3])
def test_what_nothing_uses_does_not_mix_up_what_is_compiled(n):
    used, unused = jnp.ones(2), jnp.ones(n)
    run = compile.Stopwatch().compile(lambda x: (x + used, 2.0 * unused)[0], jnp.ones(2))
    np.testing.assert_array_equal(run(jnp.ones(2)), [2.0, 2.0])


@pytest.mark.slow
def test_results_have_the_real_stars_only(stars):
    some = stars[np.arange(50)]
    run = jc.nested(build(some), key=jax.random.key(0), live=20, inner_steps=3, remaining=0.9)
    assert run["log_likelihood"]["stars"].shape[2] == 50
    total = np.asarray(run["log_likelihood"]["stars"]).sum(axis=-1)
    np.testing.assert_allclose(
        total, np.asarray(run["sample_stats"]["log_likelihood_total"]), rtol=1e-6
    )


def cells(model):
    truth = {name: jnp.asarray(value) for name, value in TRUTH.items()}
    return len(jax.eval_shape(model.density, truth).parts[0].cells.weights)


def test_fewer_cells_for_fewer_stars(stars):
    options = {"field": field, "limits": LIMITS, "isochrone_error": 0}
    few = load_model("mimo_cmd")(stars, **options)
    many = jc.Stars(jnp.tile(stars.x, (5, 1)), jnp.tile(stars.noise, (5, 1, 1)), stars.columns)
    more = load_model("mimo_cmd")(many, **options)
    some = load_model("mimo_cmd")(many[np.arange(150)], **options)
    assert cells(build(many)) < cells(few) < cells(some) < cells(more)
    options["prior"] = {"model_scatter": dist.LogUniform(0.001, 0.01)}
    assert cells(load_model("mimo_cmd")(many, **options)) > cells(more)
    blurred = replace(many, noise=many.noise * 10.0)
    assert cells(load_model("mimo_cmd")(blurred, **options)) == cells(more)


TIGHT = {**TRUTH, "log_age": 8.0, "distance_modulus": 11.5, "model_scatter": 0.003}


def errors_by_cells(numbers, finest, truth, seed=0):
    """Error of each star's ln p in a field, of ten samples of 400, by numbers of cells."""
    limits, grid = (8.0, 18.0), jc.load_grid("parsec", ("G", "BP", "RP"))
    stars = jc.from_table(simulate_cluster(jax.random.key(seed), 4200, truth, grid, limits))
    stars = stars[np.arange(4000)]

    def log_p(masses, ratios):
        population = jc.PopulationModel(
            grid=grid,
            errors=jc.ErrorModel.of(stars),
            columns=stars.columns,
            limits=limits,
            n_masses=masses,
            n_mass_ratios=ratios,
        )
        share = TRUTH["field_fraction"]
        of_cluster = jax.jit(lambda p: population(p)(stars))(truth)
        return np.logaddexp(np.log1p(-share) + of_cluster, np.log(share / 40.0))

    return log_p(*numbers) - log_p(*finest)


def test_cells_do_not_show_in_a_tight_sequence():
    """Single stars, σ = 0.003 mag: the chain of cells rippled by 7 %, ln L of 400 by 1.4."""
    error = errors_by_cells((320, 1), (1600, 1), {**TIGHT, "binary_fraction": 0.0})
    assert error.std() * 20 < 0.7
    assert abs(error.mean()) * 400 < 0.4


@pytest.mark.slow
def test_cells_of_a_tight_young_cluster():
    """With binaries: ln L of 400 stars was 0.8 to 6.1 below that of far finer cells."""
    error = errors_by_cells((320, 30), (1280, 56), TIGHT)
    of_400 = error.reshape(10, 400).sum(axis=1)
    assert abs(of_400.mean()) < 0.2
    assert of_400.std() < 0.3
    assert np.abs(of_400).max() < 0.6  # nine of ten are below 0.31


def test_bands_that_only_the_users_grid_has(data):
    """Stars on the isochrone are likelier than the same ones half a magnitude redder."""
    file = str(data / "isochrone_files" / "mist_v1.2_panstarrs.iso.cmd")
    isochrone = jc.load_grid(file, ("PS_g", "PS_i")).isochrone(10.08, -1.35, 0.6)
    mass = np.linspace(0.5, 0.75, 30)
    g, i = (np.interp(mass, isochrone.initial_mass, m) + 10.0 for m in isochrone.magnitudes.T)
    noise = np.tile([[0.01, -0.01], [-0.01, 0.02]], (30, 1, 1)) * 0.01
    truth = {name: jnp.asarray(value) for name, value in TRUTH.items()}
    truth = {n: truth[n] for n in truth if n not in ("log_age", "metallicity")}
    truth |= {"distance_modulus": jnp.asarray(10.0), "a_v": jnp.asarray(0.6)}

    def at(redder):
        return jc.Stars(np.stack([i, g - i + redder], -1), noise, ("PS_i", "PS_g-PS_i"))

    model = build(at(0.0), grid=file)
    assert not {"log_age", "metallicity"} & set(model.prior)  # one isochrone: fixed
    of = jax.jit(lambda stars: model.density(truth).parts[0](stars).sum())
    assert of(at(0.0)) > of(at(0.5)) + 30.0
    with pytest.raises(ValueError, match="PS_i"):
        build(at(0.0))  # of parsec, which has them not
