"""Extinction by wavelength and by dust, against published numbers and another library."""

import astropy.units as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import Table
from dust_extinction.parameter_averages import CCM89, O94

import jaxcluster as jc
from jaxcluster.jobs.derived import derive
from jaxcluster.population.extinction import WAVELENGTH, change_with_dust, extinction_law, with_dust

PLACE = {
    **{"log_age": 9.0, "metallicity": 0.0, "distance_modulus": 10.0, "a_v": 2.0},
    **{"mass_slope": -2.0, "binary_fraction": 0.3, "model_scatter": 0.02, "field_fraction": 0.4},
}


def test_law_is_the_published_one():
    # Cardelli, Clayton & Mathis 1989, table 3, R_V = 3.1; continuous within 1 % at 1/λ = 1.1
    np.testing.assert_allclose(
        extinction_law(np.array([0.55, 1.25, 1.6, 2.2])), [1.0, 0.282, 0.190, 0.114], atol=0.002
    )
    below, above = extinction_law(1 / np.array([1.0999, 1.1001]))
    assert abs(above / below - 1) < 0.01


@pytest.mark.parametrize("r_v", [2.3, 3.1, 5.0])
def test_law_is_another_librarys(r_v):
    optical, infrared = np.linspace(0.31, 0.9, 40), np.linspace(0.95, 2.5, 20)
    np.testing.assert_allclose(extinction_law(optical, r_v), O94(Rv=r_v)(optical * u.um), rtol=1e-6)
    expected = CCM89(Rv=r_v)(infrared * u.um)
    np.testing.assert_allclose(extinction_law(infrared, r_v), expected, rtol=1e-6)


@pytest.mark.parametrize("r_v", [2.5, 3.1, 4.5])
def test_r_v_is_what_its_name_says(r_v):
    b, v = extinction_law(np.array([WAVELENGTH["B"], WAVELENGTH["V"]]), r_v)
    assert v / (b - v) == pytest.approx(r_v, rel=0.06)  # of bands that have one wavelength each


def test_isochrones_behind_other_dust():
    bands = ("G", "BP", "RP", "J")
    grid = jc.load_grid("parsec", bands)
    usual = grid.isochrone(9.0, 0.0, 2.0)
    same = with_dust(usual, bands, 2.0, 3.1)
    np.testing.assert_array_equal(same.magnitudes, usual.magnitudes)
    other = with_dust(usual, bands, 2.0, 4.0)
    law = [extinction_law(np.array([WAVELENGTH[b] for b in bands]), r_v) for r_v in (3.1, 4.0)]
    change = np.asarray(other.magnitudes - usual.magnitudes)
    np.testing.assert_allclose(change, np.broadcast_to(2.0 * (law[1] - law[0]), change.shape))
    np.testing.assert_allclose(2.0 * (other.reddening - usual.reddening), change, atol=1e-12)
    with pytest.raises(ValueError, match=r"r_v: no wavelength known for F606W.*WAVELENGTH"):
        change_with_dust(("G", "F606W"))


def test_r_v_is_a_parameter_of_the_model():
    rng = np.random.default_rng(0)
    table = {"phot_g_mean_mag": rng.uniform(13, 17, 40), "bp_rp": rng.uniform(1.0, 2.0, 40)}
    errors = {"phot_g_mean_mag_error": np.full(40, 0.01), "bp_rp_error": np.full(40, 0.01)}
    stars = jc.from_table(Table({**table, **errors}))
    model = jc.load_model("mimo_cmd")(
        *(stars,),
        field=lambda stars: np.full(len(stars), -3.0),
        limits=(12.0, 18.0),
        prior={"r_v": "Normal(3.1,0.3)"},
        **{"n_masses": 96, "n_mass_ratios": 6, "isochrone_error": 0},
    )
    assert "r_v" in model.describe_prior()

    place = {name: jnp.asarray(value) for name, value in PLACE.items()}

    def total(r_v):
        return model.pointwise({**place, "r_v": r_v}).sum()

    without = model.pointwise(place).sum()
    assert total(jnp.asarray(3.1)) == pytest.approx(float(without), rel=1e-9)
    assert abs(total(jnp.asarray(4.0)) - without) > 1.0
    slope = jax.grad(total)(jnp.asarray(3.4))
    step = 1e-4
    expected = (total(jnp.asarray(3.4 + step)) - total(jnp.asarray(3.4 - step))) / (2 * step)
    assert float(slope) == pytest.approx(float(expected), rel=1e-3)


def test_reddenings_know_the_dust():
    found = derive({"a_v": np.array([3.1, 3.1]), "r_v": np.array([3.1, 4.0])})
    usual = derive({"a_v": np.array([3.1])})
    np.testing.assert_allclose(found["e_bv"], [1.0, 3.1 / 4.0])
    assert found["e_bp_rp"][0] == pytest.approx(usual["e_bp_rp"][0])
    bp, rp = change_with_dust(("BP", "RP"))
    change = found["e_bp_rp"][1] - found["e_bp_rp"][0]
    assert change == pytest.approx(3.1 * (bp - rp) * (1 / 4.0 - 1 / 3.1))
