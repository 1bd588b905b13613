"""Rings and their fits: areas against closed forms, truth within errors, limits, bad input."""

import json
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from test_cli import quiet, refused, run  # noqa: F401
from test_king_profile import change, draw, field  # noqa: F401

from jaxcluster.figures.radial_profile import radial_profile_figure
from jaxcluster.jobs.king_field import Field
from jaxcluster.jobs.king_rings import binned_summary
from jaxcluster.structure.centre import density_centre
from jaxcluster.structure.footprint import annulus, box, circle
from jaxcluster.structure.positions import as_weights, positions
from jaxcluster.structure.profiles import GeneralisedKing, King, plummer
from jaxcluster.structure.radial_profile import NAMES, density, radial_profile
from jaxcluster.structure.rings import (
    Constant,
    Within,
    ring_edges,
    ring_integrals,
    ring_of,
    ring_table,
)

RADIUS = 30.0


def simulated(seed=0, n=1500, core=3.0, tidal=18.0, beta=2, background=0.3, radius=RADIUS):
    """A round cluster about 0.8, −0.5 in a uniform field."""
    rng = np.random.default_rng(seed)
    r = np.linspace(0, tidal, 4000)
    inside = np.asarray(King(core, tidal, beta).cumulative(r))
    r = np.interp(rng.uniform(0, inside[-1], n), inside, r)
    turn = rng.uniform(0, 2 * np.pi, n)
    cluster = r[:, None] * np.stack([np.cos(turn), np.sin(turn)], -1) + [0.8, -0.5]
    uniform = rng.uniform(-radius, radius, (rng.poisson(4 * radius**2 * background), 2))
    x = np.concatenate([cluster, uniform])
    return x[np.hypot(*x.T) < radius]


# --- rings ---------------------------------------------------------------------------------------

EDGES = np.array([0.0, 1.0, 2.5, 6.0])


def test_areas_of_whole_rings():
    for footprint in (circle(10.0), box(20.0, 14.0)):
        areas = ring_integrals(footprint, EDGES, centre=(0.7, -0.2))
        np.testing.assert_allclose(areas, np.pi * np.diff(EDGES**2), rtol=1e-9)
    oval = ring_integrals(circle(10.0), EDGES, None, (0.7, -0.2), 0.3, 25.0)
    np.testing.assert_allclose(oval, np.pi * np.diff(EDGES**2), rtol=1e-9)


def test_areas_where_the_footprint_ends():
    inner = ring_integrals(annulus(2.0, 10.0), np.array([0.0, 1.0, 3.0, 12.0]))
    np.testing.assert_allclose(inner, np.pi * np.array([0.0, 5.0, 91.0]), atol=0.02)
    # the lens of circles of radii 3 and 5 about places 4 apart
    p, q, d = 3.0, 5.0, 4.0
    a, b = (d * d + p * p - q * q) / (2 * d), (d * d - p * p + q * q) / (2 * d)
    lens = p**2 * np.arccos(a / p) + q**2 * np.arccos(b / q) - d * np.sqrt(p**2 - a**2)
    found = ring_integrals(circle(5.0), np.array([0.0, p]), centre=(4.0, 0.0))
    assert found[0] == pytest.approx(lens, rel=1e-3)
    corner = ring_integrals(box(8.0, 8.0), np.array([0.0, 2.0]), centre=(4.0, 4.0))
    assert corner[0] == pytest.approx(np.pi, rel=1e-3)


def test_integrals_of_a_profile_and_a_completeness():
    profile = King(3.0, 5.0)
    found = ring_integrals(circle(10.0), EDGES, profile, (0.7, -0.2))
    np.testing.assert_allclose(found, np.diff(profile.cumulative(EDGES)), rtol=1e-9)
    half = circle(10.0, completeness=lambda x, y: 0.5 + 0.02 * x)
    np.testing.assert_allclose(
        ring_integrals(half, EDGES), 0.5 * np.pi * np.diff(EDGES**2), rtol=1e-6
    )


def test_a_profile_within_a_radius():
    inner = Within(plummer(2.0), 3.0)
    r = jnp.array([0.0, 1.0, 2.9, 3.1, 9.0])
    np.testing.assert_allclose(inner.cumulative(r), plummer(2.0).cumulative(jnp.minimum(r, 3.0)))
    np.testing.assert_allclose(inner(r), [*plummer(2.0)(r[:3]), 0, 0])
    assert float(inner.total) == pytest.approx(float(plummer(2.0).cumulative(3.0)))
    assert float(Constant(1.0).cumulative(2.0)) == pytest.approx(4 * np.pi)


def test_rings_hold_enough_stars_and_end_where_they_should():
    away = np.hypot(*simulated().T)
    for least in (10, 40):
        edges = ring_edges(away, RADIUS, least)
        assert edges[0] == 0
        assert edges[-1] == RADIUS
        assert np.histogram(away, edges)[0].min() >= least
    np.testing.assert_array_equal(ring_edges(np.array([1.0, 2.0]), 5.0), [0.0, 5.0])
    with pytest.raises(ValueError, match=r"none within 0\.5 arcmin"):
        ring_edges(np.array([1.0, 2.0]), 0.5)


def test_table_of_rings():
    x = np.array([[0.5, 0], [1.5, 0], [0, 2.0], [9.0, 0], [0, -3.0], [2.0, 0.0]])
    table = ring_table(x, circle(10.0, holes=[(0, 2, 0.1)]), EDGES)
    assert list(table["n"]) == [1, 2, 1]
    assert list(table["radius"]) == [
        pytest.approx(2 / 3 * (b**3 - a**3) / (b**2 - a**2)) for a, b in pairwise(EDGES)
    ]
    assert str(table["density"].unit) == "1 / arcmin2"
    np.testing.assert_allclose(table["density_error"], np.sqrt([1, 2, 1]) / table["area"])
    weighted = ring_table(x, circle(10.0), EDGES, weights=np.full(6, 0.5))
    np.testing.assert_allclose(weighted["n"], [0.5, 1.5, 0.5])
    np.testing.assert_allclose(weighted["density_error"][1], np.sqrt(0.75) / weighted["area"][1])
    assert list(ring_of(x, EDGES)) == [0, 1, 1, -1, 2, 1]


# --- centre and fit ------------------------------------------------------------------------------


def test_centre():
    x = simulated()
    np.testing.assert_allclose(density_centre(x, 3.0), [0.8, -0.5], atol=0.4)
    twice = np.concatenate([x, x[:300]])
    weights = np.ones(len(x))
    weights[:300] = 2.0
    np.testing.assert_allclose(density_centre(x, 3.0, weights), density_centre(twice, 3.0))
    with pytest.raises(ValueError, match="scale: expected a positive"):
        density_centre(x, 0.0)


@pytest.mark.parametrize("beta", [1, 2])
def test_fit_covers_the_truth_and_tells_beta(beta):
    found = radial_profile(simulated(n=4000, beta=beta), circle(RADIUS), centre=(0.8, -0.5))
    assert found.best.beta == beta
    fit, truth = found.best, {"r_core": 3.0, "r_tidal": 18.0, "background_density": 0.3}
    assert fit.at_bound == ()
    assert 0.3 < fit.reduced_chi2 < 2
    for name, value in truth.items():
        assert abs(fit.parameters[name] - value) < 4 * fit.errors[name], name
    assert abs(fit.parameters["n_cluster"] - 4000) < 3 * fit.errors["n_cluster"]
    p = fit.parameters
    assert p["concentration"] == pytest.approx(p["r_tidal"] / p["r_core"])
    central = p["amplitude"] * (1 - (1 + p["concentration"] ** 2) ** -0.5) ** beta
    assert p["central_density"] == pytest.approx(central)
    assert p["density_contrast"] == pytest.approx(1 + central / p["background_density"])
    assert fit(np.zeros(1))[0] == pytest.approx(central + p["background_density"])


def test_the_same_minimum_and_covariance_as_curve_fit():
    from scipy.optimize import curve_fit

    found = radial_profile(simulated(), circle(RADIUS), betas=(2,))
    fit, rings = found.fits[0], found.rings
    values, covariance = curve_fit(
        lambda r, *p: density(np.array(p), r, 2),
        rings["radius"],
        rings["density"],
        [fit.parameters[n] * 1.05 for n in NAMES],
        rings["density_error"],
        absolute_sigma=True,
    )
    np.testing.assert_allclose([fit.parameters[n] for n in NAMES], values, rtol=1e-3)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=0.02)


def test_density_is_the_profile_of_the_library():
    r = np.linspace(0, 30, 50)
    for beta in (1, 2):
        expected = 2.0 * GeneralisedKing(3.0, 18.0, float(beta))(r) + 0.3
        found = density(np.array([2.0, 3.0, 18.0, 0.3]), r, beta)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_an_edge_that_rings_do_not_reach_is_a_limit():
    x = simulated(n=800, core=4.0, tidal=90.0, background=0.3, radius=12.0)
    found = radial_profile(x, circle(12.0), betas=(2,))
    summary = binned_summary(
        found, Field(x, None, circle(12.0), (10.0, 20.0), 12.0, {}, np.arange(len(x)))
    )
    row = summary["fits"][0]["parameters"]["r_tidal"]
    assert 4 < row["lower_limit"] < 90
    assert any("lower limit" in line for line in summary["warnings"])
    json.dumps(summary, allow_nan=False)
    assert len(radial_profile_figure(found).axes) == 2


def test_an_edge_that_is_one_with_the_background():
    """β = 1, all rings inside r_cl: k/√(1 + (r_cl/r_c)²) and n_bg are one constant."""
    footprint, x = circle(8.0), simulated(n=1500, core=3.0, tidal=18.0, beta=1, radius=8.0)
    found = radial_profile(x, footprint, betas=(1,))
    summary = binned_summary(
        found, Field(x, None, footprint, (10.0, 20.0), 8.0, {}, np.arange(len(x)))
    )
    rows = summary["fits"][0]["parameters"]
    assert rows["background_density"]["value"] is None
    assert rows["concentration"]["value"] is None
    assert rows["r_tidal"]["lower_limit"] > 5
    assert rows["r_core"]["value"] == pytest.approx(3.0, rel=0.5)
    json.dumps(summary, allow_nan=False)


def test_no_background_is_at_a_bound():
    x = simulated(n=800, tidal=60.0, background=0.0)
    fit = radial_profile(x, circle(RADIUS), betas=(2,)).fits[0]
    if "background_density" in fit.at_bound:
        assert fit.parameters["background_density"] == 0
        assert np.isinf(fit.parameters["density_contrast"])
        assert np.isnan(fit.errors["density_contrast"])
    assert np.isfinite(fit.errors["r_core"])


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (np.zeros((9, 2)), {}, "stars: found 9, expected 10"),
        (np.ones((20, 2)), {}, "all 20 stars are at one place, 1, 1"),
        (np.full((20, 2), np.nan), {}, "20 of 20 are not finite"),
        (simulated(), {"centre": (40.0, 0.0)}, "centre: 40, 0 arcmin is outside"),
        (simulated(), {"edges": np.array([3.0, 1.0])}, "edges: found.*ascending"),
        (simulated(), {"betas": (3,)}, "beta: found 3, expected 1 or 2"),
        (simulated(), {"edges": np.array([0.0, 5.0, 9.0])}, "rings: found 2, expected 5"),
        (simulated() + 100, {}, "stars: found 0"),
    ],
)
def test_refuses(x, options, words):
    with pytest.raises(ValueError, match=words):
        radial_profile(x, circle(RADIUS), **options)


def test_positions_and_weights():
    x = simulated()
    np.testing.assert_array_equal(positions(x.tolist()), x)
    np.testing.assert_array_equal(as_weights(None, 2), [1, 1])
    with pytest.raises(ValueError, match=r"found shape \(20, 3\), expected \[n, 2\]"):
        positions(np.ones((20, 3)))
    with pytest.raises(ValueError, match=r"weights: found shape \(3,\), expected \[2\]"):
        as_weights(np.ones(3), 2)
    with pytest.raises(ValueError, match="1 of 2 are negative or not finite"):
        as_weights([1.0, -1.0], 2)
    with pytest.raises(ValueError, match="all 2 are 0"):
        as_weights([0.0, 0.0], 2)


# --- the command ---------------------------------------------------------------------------------


def test_command_without_rings_enough(field):  # noqa: F811
    path = change(field, lambda t: t[3:40])
    refused(run("king", path, "--binned", "--json"), "rings: found", "expected 5")


def test_ngc2168(data):
    """Members alone: β = 2 before β = 1, as without rings."""
    from jaxcluster.jobs.king_field import read_field

    stars = read_field(data / "ngc2168" / "dr2_member_positions.parquet")
    found = radial_profile(stars.x, stars.footprint)
    assert found.best.beta == 2
    assert found.best.parameters["r_core"] == pytest.approx(12.8, abs=0.5)
    assert found.fits[0].parameters["r_core"] == pytest.approx(5.5, abs=0.5)
