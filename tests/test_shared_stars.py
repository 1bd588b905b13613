"""Stars that sample and field share: which they are, and whose membership is whose."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from astropy.table import MaskedColumn, Table, vstack

import jaxcluster as jc
from jaxcluster.jobs.inputs import read_stars, shared_stars

READING = {"columns": ("G", "BP-RP")}
QUICK = partial(jc.nuts, warmup=20, draws=20, chains=2, search=20)


def catalogue(n, seed, first_id=1, spike=0.6):
    """A table of n stars, a share `spike` of them of one colour."""
    rng = np.random.default_rng(seed)
    magnitude = rng.uniform(12, 17, n)
    colour = np.where(rng.uniform(size=n) < spike, rng.normal(1.0, 0.03, n), rng.uniform(0, 3, n))
    table = Table({"source_id": np.arange(first_id, first_id + n), "phot_g_mean_mag": magnitude})
    table["phot_bp_mean_mag"] = MaskedColumn(magnitude + 0.5 * colour)
    table["phot_rp_mean_mag"] = magnitude - 0.5 * colour
    for band in ("g", "bp", "rp"):
        table[f"phot_{band}_mean_mag_error"] = 0.01
    return table


class Colour(jc.AbstractDensity):
    """Normal in colour, uniform in magnitude."""

    at: jnp.ndarray
    span: float

    def log_prob(self, x, noise):
        return dist.Normal(self.at, 0.1).log_prob(x[1]) - jnp.log(self.span)


def one_colour(stars, *, field, limits):
    """A cluster of one colour and the field: compiles in a second."""
    log_field = field(stars)

    def density(p):
        f, colour = p["field_fraction"], Colour(p["colour"], limits[1] - limits[0])
        return jc.Mixture(jnp.stack([1 - f, f]), (colour, jc.Known("field")))

    prior = {"field_fraction": dist.Uniform(0.0, 1.0), "colour": dist.Uniform(0.0, 3.0)}
    null = float(log_field.sum())
    return jc.Model(prior, density, stars.knowing(field=log_field), null=null)


@pytest.fixture(scope="module")
def found():
    """A field, 20 of its stars with a cluster and 8 stars beyond it, and the result."""
    field = catalogue(90, 1, spike=0.0)
    faint = catalogue(8, 3, first_id=201)
    for name in ("phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag"):
        faint[name] += 6.0
    sample = vstack([faint, field[:20], catalogue(20, 2, first_id=101, spike=1.0)])
    sample["phot_bp_mean_mag"][15] = np.ma.masked
    with pytest.warns(UserWarning, match="stars of the sample are fainter than all of the field"):
        return sample, jc.bayes_factor(sample, field, model=one_colour, sampler=QUICK, key=3)


def test_rows_that_are_left_out_move_nobodys_membership(found):
    # The old code numbered the stars 0 … n−1 where sample and field share some, and the table's
    # rows with them: each star after the dropped one got its neighbour's membership.
    sample, result = found
    members = result.members
    assert len(members) == 39
    assert result.n_in_field_too == 19
    assert sample["source_id"][15] not in members["source_id"]
    np.testing.assert_array_equal(members["phot_g_mean_mag"], result.stars.x[:, 0])
    np.testing.assert_array_equal(
        sample[np.asarray(result.stars.rows)]["source_id"], members["source_id"]
    )
    colour = np.asarray(members["phot_bp_mean_mag"] - members["phot_rp_mean_mag"])
    assert members["membership"][members["source_id"] > 100].min() > 0.5
    assert members["membership"][abs(colour - 1.0) > 0.5].max() < 0.1


def test_what_is_odd_is_in_the_result(found):
    _, result = found
    (flag,) = [f for f in result.flags if "fainter than all of the field" in f]
    assert flag.startswith("8 of 47 stars")
    assert result.summary()["input_flag"] == flag
    assert flag not in (result.summary()["field_flag"] or "")
    assert "flagged: input" in result.verdict


@pytest.mark.parametrize("none", ["masked", 0, "empty"])
def test_rows_without_an_id_are_no_one_star(none):
    # The old code took all of them for the last one of the field.
    sample, field = catalogue(30, 0), catalogue(40, 1, first_id=25)
    for table, rows in ((sample, [3, 4, 5]), (field, [0, 20, 30])):
        if none == "empty":
            table["source_id"] = table["source_id"].astype(str)
            table["source_id"][rows] = ""
        elif none == 0:
            table["source_id"][rows] = 0
        else:
            table["source_id"] = MaskedColumn(table["source_id"])
            table["source_id"][rows] = np.ma.masked
    own = shared_stars(*read_stars(sample, READING), *read_stars(field, READING))
    expected = np.full(30, -1)
    expected[25:] = np.arange(1, 6)  # ids 26 to 30; 25 has lost its own in the field
    np.testing.assert_array_equal(own, expected)


def test_rows_that_merge_appends_have_no_id_and_match_nothing():
    one, two = catalogue(30, 0), catalogue(40, 1, first_id=101)
    for table, offset in ((one, 0.0), (two, 0.1)):
        table["ra"] = 10.0 + offset + 0.001 * np.arange(len(table))
        table["dec"] = 20.0
    one["ra"][:20] = two["ra"][:20]
    merged = jc.merge(one, two, epoch=2016.0, other_epoch=2016.0, outer=True)
    assert np.ma.getmaskarray(merged["source_id"]).sum() == 20
    # the stars of `one`, against all; and those without an id against each other
    own = shared_stars(*read_stars(one, READING), *read_stars(merged, READING))
    np.testing.assert_array_equal(own, np.arange(30))
    again = merged.copy()
    again["phot_g_mean_mag"] = again["phot_g_mean_mag"] + 0.1
    own = shared_stars(*read_stars(again, READING), *read_stars(merged, READING))
    np.testing.assert_array_equal(own, np.where(np.arange(50) < 30, np.arange(50), -1))


def test_stars_without_ids_are_told_by_their_values():
    field = catalogue(40, 1)
    sample = vstack([catalogue(6, 0), field[10:20]])
    sample.remove_column("source_id")
    for name in sample.colnames:  # a file of single precision
        sample[name] = sample[name].astype(np.float32)
    own = shared_stars(*read_stars(sample, READING), *read_stars(field, READING))
    np.testing.assert_array_equal(own, [-1] * 6 + list(range(10, 20)))
    with pytest.raises(ValueError, match="all of its 40 stars are in the sample too"):
        jc.bayes_factor(field, field, model=one_colour)
    assert shared_stars(*read_stars(sample[:6], READING), *read_stars(field, READING)) is None
