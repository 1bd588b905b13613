import jax
import numpy as np
import pytest
from test_field import LIMITS, draw, stars

from jaxcluster.field.density import fit_field
from jaxcluster.field.mismatch import compare


@pytest.fixture(scope="module")
def phi():
    return fit_field(stars(draw(300, 1)), LIMITS, n_stars=100, key=jax.random.key(0))


def test_a_sample_of_field_stars_fits(phi):
    own = compare(phi, stars(draw(200, 12)))
    assert own.flags == ()
    assert abs(own.gap) < 3 * own.gap_error


def test_uncovered_stars_are_flagged(phi):
    blue = np.stack([np.full(20, 14.0), np.full(20, -2.0)], 1)
    other = compare(phi, stars(np.concatenate([draw(180, 13), blue])))
    assert other.uncovered == pytest.approx(0.1, abs=0.02)
    assert "10% of the 200 stars" in other.flags[0]
    assert other.gap > 0.3


def test_wide_populations_are_flagged_where_there_are_members(phi):
    sample = stars(draw(200, 12))
    assert compare(phi, sample, 100.0, 0.03).flags == ()
    assert "0.09 mag wide" in compare(phi, sample, 100.0, 0.09).flags[0]
    assert compare(phi, sample, 1.0, 0.09).flags == ()


def test_stars_outside_the_limits_are_named(phi):
    with pytest.raises(ValueError, match="G: 1 of 2 stars lie outside"):
        compare(phi, stars(np.array([[12.0, 1.0], [18.5, 1.0]])))
