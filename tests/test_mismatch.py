import jax
import numpy as np
import pytest
from test_field import LIMITS, draw, stars

from jaxcluster.field import fit_field
from jaxcluster.mismatch import compare


@pytest.fixture(scope="module")
def phi():
    return fit_field(stars(draw(300, 1)), LIMITS, n_stars=100, key=jax.random.key(0))


def with_cluster(n_field, n_cluster):
    """Field stars, and a clump of known density beside them; returns x and P."""
    rng = np.random.default_rng(3)
    field = draw(n_field, 12)
    clump = rng.normal([14.0, 1.0], 0.05, (n_cluster, 2))
    x = np.concatenate([field, clump])
    log_clump = -0.5 * (((x - [14.0, 1.0]) / 0.05) ** 2).sum(1) - np.log(2 * np.pi * 0.05**2)
    return x, n_cluster / len(x) * np.exp(log_clump), n_field / len(x)


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
    x, clump, f = with_cluster(200, 100)
    membership = clump / (clump + f * np.exp(np.asarray(phi(stars(x)))))
    assert compare(phi, stars(x), membership, 0.03).flags == ()
    assert "0.09 mag wide" in compare(phi, stars(x), membership, 0.09).flags[0]
    assert compare(phi, stars(x), 0 * membership, 0.09).flags == ()


def test_stars_outside_the_limits_are_named(phi):
    with pytest.raises(ValueError, match="G: 1 of 2 stars lie outside"):
        compare(phi, stars(np.array([[12.0, 1.0], [18.5, 1.0]])))
