"""Errors of isochrones' colours as a function of effective temperature."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import Normal
from scipy.stats import norm

import jaxcluster as jc
from jaxcluster.inference.flat import Flat
from jaxcluster.population.colour_error import (
    KELVIN,
    LEARNT,
    NAMES,
    SHAPES,
    hats,
    with_colour_error,
)
from jaxcluster.population.simulate import TRUTH

LIMITS = (9.0, 18.0)


@pytest.fixture(scope="module")
def grid():
    return jc.load_grid("parsec", ("G", "BP", "RP"))


def test_straight_lines_between_temperatures_of_dwarfs():
    values, log_teff = np.random.default_rng(0).normal(size=7), np.linspace(3.4, 4.4, 300)
    expected = np.interp(log_teff, np.log10(KELVIN), values[:-1])
    found = hats(jnp.asarray(log_teff))
    np.testing.assert_allclose(values @ found, expected, atol=1e-12)
    back = jnp.asarray(log_teff[::-1])  # all of them cooler than one before: giants
    np.testing.assert_allclose(np.ones(7) @ hats(back), 1.0, atol=1e-12)
    np.testing.assert_allclose((values @ hats(back))[back < np.log10(5200.0)], values[-1])
    hot = back > np.log10(7000.0)
    np.testing.assert_allclose((values @ hats(back))[hot], expected[::-1][hot], atol=1e-12)


def test_the_colour_is_wrong_and_the_magnitude_is_not(grid):
    line, matrix = grid.isochrone(9.6, 0.0, 0.1), jc.plane_of(("G", "BP-RP"))[1]
    values = jnp.array([0.2, 0.1, 0.05, 0.0, -0.02, 0.01, -0.04])
    before, after = (
        np.asarray(one.magnitudes) @ matrix.T
        for one in (line, with_colour_error(line, matrix, values))
    )
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    expected = np.interp(line.log_teff, np.log10(KELVIN), values[:-1])
    dwarf = np.arange(len(before)) <= np.argmax(line.log_teff)  # up to the turn-off
    change = after[:, 1] - before[:, 1]
    np.testing.assert_allclose(change[dwarf], expected[dwarf], atol=1e-9)
    giant = ~dwarf & (np.asarray(line.log_teff) < np.log10(5000.0))
    assert giant.sum() > 50
    np.testing.assert_allclose(change[giant], -0.04, atol=1e-9)
    assert float(line.log_teff.min()) < 3.55 < 3.75 < float(line.log_teff.max())


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(1)
    x = np.stack([np.sort(rng.uniform(10.0, 17.0, 60)), rng.uniform(0.4, 2.0, 60)], axis=-1)
    return jc.Stars(x, 4e-4 * np.tile(np.eye(2), (60, 1, 1)), ("G", "BP-RP"))


def test_one_error_of_all_stars_moves_their_density(grid, stars):
    """Of binaries too, as both have it."""
    model = jc.PopulationModel(
        grid,
        jc.ErrorModel.of(stars),
        stars.columns,
        LIMITS,
        n_masses=96,
        n_mass_ratios=6,
        colour_error=jc.load_colour_error(0.1),
    )
    of = jax.jit(lambda error, x: model(TRUTH | dict.fromkeys(NAMES, error))(stars_at(stars, x)))
    expected = of(0.0, stars.x)
    found = of(0.07, stars.x + jnp.array([0.0, 0.07]))
    seen = np.asarray(expected) > -50.0
    assert seen.sum() > 20
    np.testing.assert_allclose(found[seen], expected[seen], atol=1e-3)


def stars_at(stars, x):
    return dataclasses.replace(stars, x=x)


def test_isochrones_without_temperatures(grid):
    line = dataclasses.replace(grid, log_teff=None).isochrone(9.0, 0.0)
    with pytest.raises(ValueError, match=r"isochrone_error|isochrones with effective temp"):
        with_colour_error(line, jc.plane_of(("G", "BP-RP"))[1], jnp.zeros(7))
    line = grid.isochrone(9.0, 0.0)
    with pytest.raises(ValueError, match="one colour, found 2 colours"):
        with_colour_error(line, np.eye(3), jnp.zeros(7))


def test_an_option_of_the_model(stars):
    options = {"field": lambda stars: -jnp.ones(len(stars)), "limits": LIMITS}
    build = jc.load_model("mimo_cmd")
    assert not {*NAMES, *SHAPES} & set(build(stars, **options).prior)
    model = build(stars, isochrone_error=0.05, **options)
    assert model.describe_prior()["colour_error_3200"] == "Normal(0,0.05)"
    flat = Flat(model)
    zero = {name: jnp.zeros(()) for name in flat.bijections}
    # normal priors are in their own units, where searches take steps of a part of 1
    one = {**zero, "colour_error_3200": jnp.asarray(1.3)}
    assert float(flat.constrain(one)["colour_error_3200"]) == pytest.approx(1.3 * 0.05)
    change = float(flat.log_prior(one) - flat.log_prior(zero))
    assert change == pytest.approx(norm.logpdf(1.3) - norm.logpdf(0.0))


def test_what_well_known_clusters_say(stars, tmp_path):
    """A mean, and shapes whose amplitudes are parameters in mag; of the grids they belong to."""
    error = jc.load_colour_error("learnt", "mist")
    assert 1 <= len(error.widths) == len(error.names) < 7
    np.testing.assert_allclose(np.abs(error.shapes).max(axis=1), 1.0, atol=1e-6)
    zero = dict.fromkeys(error.names, 0.0)
    np.testing.assert_array_equal(error(zero), error.mean)
    moved = np.asarray(error({**zero, error.names[0]: 0.02}) - error.mean)
    np.testing.assert_allclose(moved, 0.02 * np.asarray(error.shapes)[0], atol=1e-9)
    # K dwarfs of both grids, which share bolometric corrections, are too blue, and giants are not
    for grid in ("parsec", "mist"):
        mean = np.asarray(jc.load_colour_error("learnt", grid).mean)
        assert 0.05 < mean[2] < 0.15
        assert np.abs(mean[-1]) < 0.04
    assert jc.load_colour_error(0) is jc.load_colour_error("0") is None
    # by default their mean where it is known, and nothing is sampled
    default, mean = jc.load_colour_error(), jc.load_colour_error("mean")
    for one in (default, mean):
        assert one.names == ()
        np.testing.assert_array_equal(one({}), jc.load_colour_error("learnt").mean)
    assert jc.load_colour_error(None, "mine.dat") is None
    assert jc.load_colour_error(None, "parsec", ("J", "J-Ks")) is None
    with pytest.raises(ValueError, match=r"found 'mine.dat'"):
        jc.load_colour_error("mean", "mine.dat")
    with pytest.raises(ValueError, match=r"learnt for .*parsec.*found 'mine.dat'.*a number"):
        jc.load_colour_error("learnt", "mine.dat")
    with pytest.raises(ValueError, match=r"columns G,BP-RP; found 'parsec' and J,J-Ks"):
        jc.load_colour_error("learnt", "parsec", ("J", "J-Ks"))
    with pytest.raises(FileNotFoundError, match=r"'lernt': expected a number .*learnt, or a file"):
        jc.load_colour_error("lernt")
    (tmp_path / "mine.json").write_text('{"columns": []}')
    with pytest.raises(ValueError, match=r"mine.json': expected JSON like .*'grids'"):
        jc.load_colour_error(str(tmp_path / "mine.json"))
    (tmp_path / "old.json").write_text(LEARNT.read_text().replace("4250", "4300"))
    with pytest.raises(ValueError, match=r"old.json': at .*4300.* K, expected .*4250"):
        jc.load_colour_error(str(tmp_path / "old.json"))
    options = {"field": lambda stars: -jnp.ones(len(stars)), "limits": LIMITS}

    def build(error):
        return jc.load_model("mimo_cmd")(stars, isochrone_error=error, **options)

    model = build("learnt")
    plain, moved = (build(error) for error in (0, None))
    assert set(plain.prior) == set(moved.prior)
    own = jc.load_colour_error("learnt", "parsec")
    assert set(SHAPES) & set(model.prior) == set(own.names)
    assert model.describe_prior()["colour_error_1"] == f"Normal(0,{own.widths[0]:g})"


def test_a_normal_prior_of_another_parameter_is_in_no_units_of_its_own():
    import numpyro

    def prior():
        centre = numpyro.sample("centre", Normal(1.0, 2.0))
        return {"x": numpyro.sample("x", Normal(centre, 0.1))}

    flat = Flat(jc.Model.from_likelihood(prior, lambda p: p["x"][None]))
    sites = flat.constrain({"centre": jnp.asarray(1.0), "x": jnp.asarray(1.0)})
    assert (float(sites["centre"]), float(sites["x"])) == (3.0, 1.0)
