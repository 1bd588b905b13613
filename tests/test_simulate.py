"""Mock clusters follow the laws they were asked for."""

import jax
import numpy as np
import pytest
from scipy.stats import binomtest, ks_2samp, kstest

import jaxcluster as jc
from jaxcluster.population.simulate import (
    COLUMNS,
    ERRORS,
    TRUTH,
    gaia_error,
    simulate_cluster,
    simulate_field,
    simulate_pair,
)

LIMITS = (10.0, 18.0)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def grid():
    return jc.load_grid("parsec", ("G", "BP", "RP"))


def everything(grid, key=KEY, n=3000, **changes):
    """A cluster without field, scatter or a magnitude cut that matters (G < 21.5)."""
    parameters = {**TRUTH, "field_fraction": 0.0, "distance_modulus": 4.0, **changes}
    return simulate_cluster(key, n, parameters, grid, (-10.0, 30.0))


def test_masses_follow_the_mass_function(grid):
    stars = everything(grid, mass_slope=-2.0)
    mass = np.asarray(grid.isochrone(TRUTH["log_age"], TRUTH["metallicity"], 0.0).initial_mass)
    low, high = mass[0], mass[-1]

    def cumulative(m):
        return (1 / low - 1 / m) / (1 / low - 1 / high)

    # stars are spread evenly in mass within an isochrone's segments, 0.01 of the law at most
    assert kstest(stars["true_mass"], cumulative).pvalue > 1e-3
    assert stars["true_mass"].min() >= low
    assert stars["true_mass"].max() <= high


@pytest.mark.parametrize("slope", [0.0, -1.0, 2.0])
def test_mass_ratios_and_binary_share(grid, slope):
    stars = everything(grid, mass_ratio_slope=slope, binary_fraction=0.4)
    ratio = np.asarray(stars["true_mass_ratio"])
    paired = ratio[ratio > 0]
    assert binomtest(len(paired), len(ratio), 0.4).pvalue > 1e-3
    assert paired.min() >= 0.1
    assert paired.max() <= 1.0
    if slope == -1.0:
        assert kstest(np.log10(paired) + 1.0, "uniform").pvalue > 1e-3
    else:
        power = slope + 1.0
        low = 0.1**power
        assert kstest((paired**power - low) / (1 - low), "uniform").pvalue > 1e-3


def test_an_equal_pair_is_brighter_by_2_5_log_2(grid):
    """Twins of the same mass without errors to speak of: 0.7526 mag brighter."""
    stars = everything(grid, n=8000, binary_fraction=1.0, mass_ratio_slope=50.0, model_scatter=0.0)
    twins = stars[np.asarray(stars["true_mass_ratio"]) > 0.995]
    isochrone = grid.isochrone(TRUTH["log_age"], TRUTH["metallicity"], TRUTH["a_v"])
    dwarfs = twins[np.asarray(twins["true_mass"]) < 1.5]
    single = np.interp(dwarfs["true_mass"], isochrone.initial_mass, isochrone.magnitudes[:, 0])
    brighter = single + 4.0 - np.asarray(dwarfs[COLUMNS["G"]])
    assert len(dwarfs) > 100
    assert np.median(brighter) == pytest.approx(2.5 * np.log10(2.0), abs=0.01)


def test_scatter_and_errors_have_their_sizes(grid):
    """Single stars against the isochrone they were drawn from."""
    stars = everything(grid, binary_fraction=0.0, model_scatter=0.05)
    isochrone = grid.isochrone(TRUTH["log_age"], TRUTH["metallicity"], TRUTH["a_v"])
    dwarfs = stars[np.asarray(stars["true_mass"]) < 1.5]
    mass, magnitudes = isochrone.initial_mass, np.asarray(isochrone.magnitudes)
    g, bp, rp = (np.interp(dwarfs["true_mass"], mass, m) for m in magnitudes.T)
    shift = np.asarray(dwarfs[COLUMNS["G"]]) - g - 4.0
    redder = np.asarray(dwarfs["bp_rp"]) - (bp - rp)
    e = {band: np.asarray(dwarfs[f"{COLUMNS[band]}_error"]) for band in COLUMNS}
    tolerance = 5 / np.sqrt(2 * len(dwarfs))
    assert np.std(shift / np.hypot(0.05, e["G"])) == pytest.approx(1.0, rel=tolerance)
    width = np.sqrt(0.05**2 + e["BP"] ** 2 + e["RP"] ** 2)
    assert np.std(redder / width) == pytest.approx(1.0, rel=tolerance)


def test_gaia_error_is_its_floor_for_bright_stars_and_grows_by_its_slope():
    for band, (floor, scale, slope) in ERRORS.items():
        assert gaia_error(np.array([4.0]), band)[0] == pytest.approx(floor, rel=1e-3)
        faint = gaia_error(np.array([22.0, 23.0]), band)
        assert np.log10(faint[1] / faint[0]) == pytest.approx(slope, rel=0.05)
        assert gaia_error(np.array([16.0]), band)[0] == pytest.approx(np.hypot(floor, scale))


def test_errors_of_a_table_are_gaia_errors_of_the_true_magnitude(grid):
    stars = everything(grid, n=500)
    for band, column in COLUMNS.items():
        observed = gaia_error(stars[COLUMNS["G"]], band)
        # of the true G: that of the observed one is off by the slope times noise and scatter
        np.testing.assert_allclose(stars[f"{column}_error"], observed, rtol=0.15)


def test_what_isochrones_lack_is_in_the_colours(grid):
    """By temperature of each single star; magnitudes, errors and all else as before."""
    truth = {**TRUTH, "field_fraction": 0.0}
    error = jc.load_colour_error("mean")
    plain, moved = (simulate_cluster(KEY, 300, truth, grid, LIMITS, one) for one in (None, error))
    np.testing.assert_array_equal(moved[COLUMNS["G"]], plain[COLUMNS["G"]])
    single = np.asarray(plain["true_mass_ratio"]) == 0
    isochrone = grid.isochrone(TRUTH["log_age"], TRUTH["metallicity"], TRUTH["a_v"])
    mass, log_teff = (np.asarray(a) for a in (isochrone.initial_mass, isochrone.log_teff))
    dwarf = mass < 1.4  # before the turn-off temperature rises with mass
    known = single & (np.asarray(plain["true_mass"]) < 1.4)
    of_each = np.interp(np.asarray(plain["true_mass"])[known], mass[dwarf], log_teff[dwarf])
    knots = np.log10([3200, 3600, 4250, 5200, 7000, 12600])
    expected = np.interp(of_each, knots, np.asarray(error.mean)[:-1])
    found = (np.asarray(moved["bp_rp"]) - np.asarray(plain["bp_rp"]))[known]
    assert known.sum() > 100
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.ptp(expected) > 0.05


def test_sample_has_its_field_share_limits_and_truth(grid):
    stars = simulate_cluster(KEY, 800, TRUTH, grid, LIMITS)
    assert len(stars) == 800
    members = int(stars["true_member"].sum())
    assert binomtest(800 - members, 800, TRUTH["field_fraction"]).pvalue > 1e-3
    g = np.asarray(stars[COLUMNS["G"]])
    assert LIMITS[0] <= g.min() < g.max() <= LIMITS[1]
    assert {"true_member", "true_mass", "true_mass_ratio"} <= set(stars.colnames)
    assert len(np.unique(stars["source_id"])) == 800
    # shuffled: members are not the first rows
    assert 0 < np.asarray(stars["true_member"])[:100].sum() < 100


@pytest.fixture(scope="module")
def pair(grid):
    return simulate_pair(KEY, 600, 1500, {**TRUTH, "field_fraction": 0.9}, grid, LIMITS)


def test_tables_read_back_as_stars(pair):
    for table, n in zip(pair, (600, 1500), strict=True):
        stars = jc.from_table(table)
        assert len(stars) == n
        assert stars.n_dropped == 0
    assert not set(pair[0]["source_id"]) & set(pair[1]["source_id"])


def test_contaminants_and_field_are_of_one_kind_but_not_the_same_stars(pair):
    sample, field = pair
    contaminants = sample[~np.asarray(sample["true_member"])]
    for column in (COLUMNS["G"], "bp_rp"):
        assert ks_2samp(contaminants[column], field[column]).pvalue > 1e-3
        assert not set(np.asarray(contaminants[column])) & set(np.asarray(field[column]))


def test_same_key_same_stars(grid):
    one, two = (simulate_field(KEY, 60, grid, LIMITS, n_populations=5) for _ in range(2))
    other = simulate_field(jax.random.key(4), 60, grid, LIMITS, n_populations=5)
    np.testing.assert_array_equal(one["bp_rp"], two["bp_rp"])
    assert not np.array_equal(one["bp_rp"], other["bp_rp"])


def test_limits_that_no_star_reaches(grid):
    with pytest.raises(ValueError, match="simulated stars lie between G = 30"):
        simulate_cluster(KEY, 10, {**TRUTH, "field_fraction": 0.0}, grid, (30.0, 31.0))
