"""Distance, age and reddening from what is sampled, against astropy and the extinction tables."""

import astropy.coordinates as coord
import astropy.units as u
import numpy as np
import pytest

from jaxcluster.jobs.derived import DERIVED, SUN, colour_excess, derive
from jaxcluster.population.bolometric import extinction_polynomial


def test_distance_and_age_are_astropys():
    found = derive({"distance_modulus": np.array([5.3, 13.1]), "log_age": np.array([6.4, 9.7])})
    expected = coord.Distance(distmod=[5.3, 13.1]).to_value(DERIVED["distance"].unit)
    np.testing.assert_allclose(found["distance"], expected)
    years = u.Quantity(10.0 ** np.array([6.4, 9.7]), u.yr)
    np.testing.assert_allclose(found["age"], years.to_value(DERIVED["age"].unit))


def test_only_what_can_be_known_is_derived():
    assert set(derive({"a_v": np.array([1.0]), "mass_slope": np.array([1.0])})) == {
        "e_bv",
        "e_bp_rp",
        "e_j_ks",
    }


@pytest.mark.parametrize(("blue", "red"), [("BP", "RP"), ("J", "Ks")])
def test_colour_excess_is_that_of_the_tables(blue, red):
    a_v = np.array([0.0, 0.5, 5.0])
    c = extinction_polynomial(*SUN, (blue, red))[0]
    expected = [sum((c[j, 0] - c[j, 1]) * a ** (j + 1) for j in range(4)) for a in a_v]
    np.testing.assert_allclose(colour_excess(a_v, blue, red), expected, atol=1e-12)


def test_gaia_colour_excess_of_little_extinction_is_that_of_others():
    # 3.374 - 2.035 of E(B - V) (Casagrande & VandenBerg 2018)
    assert colour_excess(np.array([0.31]), "BP", "RP") == pytest.approx(0.1339, abs=0.006)
