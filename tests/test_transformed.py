"""VISTA's magnitudes from isochrones of 2MASS."""

import numpy as np
import pandas as pd
import pytest

import jaxcluster as jc
from jaxcluster.population.simulate import draw_systems

LIMITS = (9.0, 15.0)
TRUTH = {
    **{"log_age": 8.8, "metallicity": 0.0, "distance_modulus": 10.5, "a_v": 1.5},
    **{"mass_slope": -2.3, "binary_fraction": 0.4, "model_scatter": 0.02},
}


def vista(magnitudes, rng):
    """Stars of a table of VVV, under VizieR's names, from J and Ks of 2MASS."""
    j, k = magnitudes.T
    columns = {"Jmag3": j - 0.031 * (j - k), "Ksmag3": k - 0.006 * (j - k)}
    frame = pd.DataFrame({name: m + rng.normal(0.0, 0.02, len(m)) for name, m in columns.items()})
    frame[[f"e_{name}" for name in columns]] = 0.02
    return frame[frame["Ksmag3"].between(*LIMITS)]


@pytest.mark.slow
def test_a_cluster_of_vvv():
    """150 members and 150 of 3000 field stars, by bands that the grid does not have."""
    grid, rng = jc.load_grid("parsec", ("J", "Ks")), np.random.default_rng(0)
    place = TRUTH["log_age"], TRUTH["metallicity"], TRUTH["a_v"]
    members = vista(draw_systems(rng, 6000, grid.isochrone(*place), TRUTH)["magnitudes"], rng)[:150]
    disc = []
    for _ in range(60):
        modulus = 5.0 * np.log10(3000.0 * rng.uniform() ** (1 / 3)) - 5.0
        isochrone = grid.isochrone(rng.uniform(8.5, 10.0), rng.normal(-0.1, 0.2), rng.uniform(0, 3))
        one = draw_systems(rng, 6000, isochrone, {**TRUTH, "distance_modulus": modulus})
        disc.append(one["magnitudes"])
    field = vista(np.concatenate(disc), rng).sample(3150, random_state=0)
    result = jc.bayes_factor(
        pd.concat([members, field[:150]], ignore_index=True),
        field[150:].reset_index(drop=True),
        columns=("Ks_VISTA", "J_VISTA-Ks_VISTA"),
        names={"J_VISTA": "Jmag3", "Ks_VISTA": "Ksmag3"},
        limits=LIMITS,
        key=1,
    )
    assert result.log10_bayes_factor > 10
    membership = np.asarray(result.members["membership"])
    assert membership[:150].mean() > membership[150:].mean() + 0.1  # J − Ks parts them little
    assert membership.sum() == pytest.approx(150, abs=60)
    modulus = result.posterior.draws["distance_modulus"]
    assert np.abs(np.median(modulus) - TRUTH["distance_modulus"]) < 4 * np.std(modulus)


def test_bands_are_the_published_sums():
    plain = jc.load_grid("parsec", ("J", "H", "Ks"))
    vista = jc.load_grid("parsec", ("Ks_VISTA", "J_VISTA", "H_VISTA", "H"))
    assert vista.bands == ("Ks_VISTA", "J_VISTA", "H_VISTA", "H")
    for place in ((9.1, -0.2, 0.0), (7.3, 0.1, 1.7)):
        one, other = plain.isochrone(*place), vista.isochrone(*place)
        for of, found in (
            (one.magnitudes, other.magnitudes),
            (one.reddening, other.reddening),
        ):
            j, h, k = np.asarray(of).T
            expected = [k - 0.006 * (j - k), j - 0.031 * (j - k), h + 0.015 * (j - k), h]
            np.testing.assert_allclose(np.asarray(found).T, expected, atol=3e-6)
        np.testing.assert_array_equal(one.initial_mass, other.initial_mass)


def test_a_band_that_nobody_knows_is_told():
    with pytest.raises(ValueError, match="has no band Y_VISTA; it has G, BP"):
        jc.load_grid("parsec", ("Y_VISTA",))
