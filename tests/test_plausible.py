"""Quietly wrong samples and fields are told before sampling, right ones are not."""

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

import jaxcluster as jc
from jaxcluster.jobs.inputs import shared_stars
from jaxcluster.jobs.plausible import input_oddities, parallax_oddities
from jaxcluster.population.grids import DATA

BANDS = tuple(f"phot_{band}_mean_mag" for band in ("g", "bp", "rp"))


@pytest.fixture(scope="module")
def pair():
    """The demo's simulated cluster and its field, both to G = 17."""
    tables = [jc.read_table(DATA / f"mock_{name}.ecsv") for name in ("cluster", "field")]
    sample, field = (table[table[BANDS[0]] < 17] for table in tables)
    return sample[:100], field


def altered(table, shift=0.0, factor=1.0):
    table = table.copy()
    for band in BANDS:
        table[band] += shift
        table[f"{band}_error"] *= factor
    return table


def told(sample, field, **options):
    return input_oddities(jc.from_table(sample), jc.from_table(field), **options)


def test_a_right_pair_is_not_odd(pair):
    assert told(*pair) == []
    floored = [jc.from_table(table, colour_error_floor=0.2) for table in pair]
    assert input_oddities(*floored, floor=0.2) == []


WRONG = {  # changes of sample and field, and what is said
    "errors in per cent": ({"factor": 100}, {"factor": 100}, "100 times those of Gaia at these"),
    "of the sample alone": ({"factor": 100}, {}, "100 times those of Gaia"),
    "of the field alone": ({}, {"factor": 100}, "BP-RP of the sample are 0.01 times those of fie"),
    "one magnitude fainter": ({"shift": 1}, {}, "of 100 stars of the sample are fainter than all"),
    "five fainter": ({"shift": 5}, {}, "of 100 stars of the sample are fainter than all"),
    "five brighter": ({"shift": -5}, {}, "of 100 stars of the sample are brighter than all"),
}


@pytest.mark.parametrize(("sample", "field", "message"), WRONG.values(), ids=WRONG)
def test_wrong_pairs_are(pair, sample, field, message):
    sentences = told(altered(pair[0], **sample), altered(pair[1], **field))
    assert any(message in sentence for sentence in sentences), sentences


def test_wrong_pairs_are_refused(pair):
    sample, field = pair
    with pytest.raises(ValueError, match="in mmag or per cent"):
        told(altered(sample, factor=1000), altered(field, factor=1000))
    exchanged = sample.copy()
    exchanged.remove_column("bp_rp")
    exchanged[BANDS[1]], exchanged[BANDS[2]] = sample[BANDS[2]], sample[BANDS[1]]
    with pytest.raises(ValueError, match="Are BP and RP exchanged"):
        told(exchanged, field)


def test_a_field_that_is_mostly_the_sample(pair):
    stars = jc.from_table(pair[1])
    sample, field = stars[:200], stars[100:250]
    own = shared_stars(None, sample, None, field)
    np.testing.assert_array_equal(own, np.where(np.arange(200) < 100, -1, np.arange(-100, 100)))
    assert any(s.startswith("100 of 150 field stars") for s in input_oddities(sample, field, own))
    with pytest.raises(ValueError, match="all of its 150 stars are in the sample too"):
        shared_stars(None, field, None, field)


def parallaxes(middle, n=30, spread=0.05):
    table = Table({"parallax": np.random.default_rng(0).normal(middle, spread, n)})
    table["parallax"][-10:] = 5.0  # no members
    stars = jc.Stars(np.zeros((n, 1)), np.ones((n, 1, 1)), ("G",), np.arange(n))
    return table, stars, np.where(np.arange(n) < n - 10, 0.9, 0.1)


def test_parallaxes_against_the_distance():
    # 1000 pc and 1 mas, 0.2 mag allowed for at 1 σ
    for middle, odd in ((1.0, False), (1.1, False), (0.9, False), (1.6, True), (0.6, True)):
        found = parallax_oddities(*parallaxes(middle), np.full(50, 10.0))
        assert bool(found) is odd, middle
    assert "20 members have a median parallax of 0.5" in found[0]
    assert "one of 1.000 mas" in found[0]
    draws = np.random.default_rng(0).normal(10.0, 1.0, 500)  # the posterior does not know either
    assert parallax_oddities(*parallaxes(0.6), draws) == []
    table, stars, membership = parallaxes(0.6)
    table["parallax"].name = "plx"
    assert parallax_oddities(table, stars, membership, np.full(50, 10.0)) != []
    table.remove_column("plx")
    assert parallax_oddities(table, stars, membership, np.full(50, 10.0)) == []


@pytest.mark.parametrize("name", ["NGC2243", "King_5", "M36", "NGC_225", "Berkeley_17"])
def test_real_clusters_and_their_fields_are_not_odd(data, name):
    cluster = pd.read_csv(data / "gaia_fields" / "clusters.csv").set_index("file")
    cluster = cluster.loc[f"{name}.parquet"]
    table = pd.read_parquet(data / "gaia_fields" / f"{name}.parquet")
    widths = {"pmra": 0.1, "pmdec": 0.1, "parallax": 0.03}
    chi = {
        c: (table[c] - cluster[f"{c}_hr"]) / np.hypot(table[f"{c}_error"], w)
        for c, w in widths.items()
    }
    motion, alike = chi["pmra"] ** 2 + chi["pmdec"] ** 2, abs(chi["parallax"]) < 3
    sample, field = table[alike & (motion < 9)], table[alike & (motion > 30)]
    assert told(sample, field) == []
    fainter = sample.assign(**{band: sample[band] + 1.0 for band in BANDS})
    assert told(fainter, field) != []
