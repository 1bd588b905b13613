"""Footprints: areas, what profiles hold inside, completeness; the plane and the sky."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.integrate import dblquad, quad

from jaxcluster.catalogue.sky import middle, plane_radius, to_plane, to_sky
from jaxcluster.structure.footprint import (
    annulus,
    box,
    circle,
    elliptical_square,
    largest_circle,
    polygon,
)
from jaxcluster.structure.profiles import ElsonFallFreeman, GeneralisedKing, King, plummer

CORNERS = np.array([(-30, -20), (30, -25), (10, 0), (25, 30), (-20, 20)], float)
FOOTPRINTS = {
    "circle": lambda: circle(40.0),
    "overlapping holes": lambda: circle(40.0, holes=[(10, 5, 8), (15, 8, 6), (38, 0, 10)]),
    "box": lambda: box(60.0, 40.0, holes=[(0, 0, 3), (30, 20, 10)]),
    "polygon": lambda: polygon(CORNERS, holes=[(0, -22, 6)]),
    "annulus": lambda: annulus(5.0, 30.0),
}
CENTRE, ELLIPTICITY, ANGLE = (4.0, -3.0), 0.4, 30.0


def on_grid(footprint, profile, n=700):
    """Sum over a grid of points."""
    at = (np.arange(n) + 0.5) / n * 2 - 1
    x = footprint.radius * np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    d = jnp.asarray(x - np.array(CENTRE))
    values = profile.at(elliptical_square(d, ELLIPTICITY, ANGLE))
    if footprint.completeness is not None:
        values = values * footprint.completeness(*x.T)
    values = np.where(footprint.contains(x), values, 0.0)  # one shape, or jax compiles each anew
    return float(values.sum()) * (2 * footprint.radius / n) ** 2


@pytest.mark.parametrize("name", FOOTPRINTS)
def test_off_centre_ellipses_in_every_footprint(name):
    footprint = FOOTPRINTS[name]()
    for profile in (King(3.0, 25.0), GeneralisedKing(3.0, 25.0, 1.4)):
        found = float(footprint.integral(profile, CENTRE, ELLIPTICITY, ANGLE))
        assert found == pytest.approx(on_grid(footprint, profile), rel=1e-3)


@pytest.mark.parametrize("shape", ["circle", "box"])
def test_against_dblquad(shape):
    profile = ElsonFallFreeman(2.0, 2.7)

    def density(y, x):
        d = np.array([x - CENTRE[0], y - CENTRE[1]])
        angle, q = np.radians(ANGLE), 1 - ELLIPTICITY
        major = d @ [np.sin(angle), np.cos(angle)]
        minor = d @ [np.cos(angle), -np.sin(angle)]
        return (1 + (q * major**2 + minor**2 / q) / 4) ** -1.35

    if shape == "circle":
        footprint = circle(20.0)
        top = lambda x: np.sqrt(400 - x**2)  # noqa: E731
        expected, _ = dblquad(density, -20, 20, lambda x: -top(x), top, epsabs=1e-6)
    else:
        footprint = box(30.0, 20.0)
        expected, _ = dblquad(density, -15, 15, -10, 10, epsabs=1e-6)
    found = float(footprint.integral(profile, CENTRE, ELLIPTICITY, ANGLE))
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("core", [1e-3, 0.1, 3.0])
def test_no_core_is_too_small(core):
    """Rays from an off-centre cluster to the circle, each in closed form."""
    profile, (x, y), radius = plummer(core), CENTRE, 40.0

    def ray(angle):
        e = np.array([np.cos(angle), np.sin(angle)])
        along, across = e @ [x, y], e[0] * y - e[1] * x
        end = -along + np.sqrt(radius**2 - across**2)
        return 0.5 * core**2 * end**2 / (core**2 + end**2)

    expected, _ = quad(ray, 0, 2 * np.pi, epsabs=0, epsrel=1e-12)
    assert float(circle(radius).integral(profile, CENTRE)) == pytest.approx(expected, rel=1e-10)


def test_concentric_circle_is_the_closed_form():
    for profile in (King(3.0, 25.0), King(3.0, 90.0, 1), ElsonFallFreeman(3.0, 2.2)):
        expected = float(profile.cumulative(40.0))
        assert float(circle(40.0).integral(profile)) == pytest.approx(expected, rel=1e-12)
        inner = expected - float(profile.cumulative(5.0))
        assert float(annulus(5.0, 40.0).integral(profile)) == pytest.approx(inner, rel=1e-11)


def test_a_hole_takes_what_a_circle_there_holds():
    profile, hole = King(3.0, 25.0), (10.0, 5.0, 8.0)
    whole, without = circle(40.0), circle(40.0, holes=[hole])
    there = circle(8.0, centre=(10.0, 5.0))
    for centre in (CENTRE, (10.0, 5.0), (13.0, 4.0)):  # beside the hole, in its middle, in it
        difference = whole.integral(profile, centre, 0.3, 70.0) - there.integral(
            profile, centre, 0.3, 70.0
        )
        found = without.integral(profile, centre, 0.3, 70.0)
        assert float(found) == pytest.approx(float(difference), rel=1e-9)


def test_areas_and_moments():
    def lens(d, a, b):  # of two circles
        first = a**2 * np.arccos((d**2 + a**2 - b**2) / (2 * d * a))
        second = b**2 * np.arccos((d**2 + b**2 - a**2) / (2 * d * b))
        heron = (a + b - d) * (d + a - b) * (d - a + b) * (d + a + b)
        return first + second - 0.5 * np.sqrt(heron)

    cut = circle(40.0, holes=[(38.0, 0.0, 10.0)])
    assert float(cut.area) == pytest.approx(1600 * np.pi - lens(38.0, 40.0, 10.0), rel=1e-10)
    two = circle(40.0, holes=[(0, 0, 8), (10, 0, 8), (10, 0, 8)])  # one of them twice
    union = 2 * 64 * np.pi - lens(10.0, 8.0, 8.0)
    assert float(two.area) == pytest.approx(1600 * np.pi - union, rel=1e-10)
    assert float(polygon(CORNERS).area) == pytest.approx(float(polygon(CORNERS[::-1]).area))
    shifted = box(6.0, 4.0, centre=(5.0, -2.0))
    assert float(shifted.area) == pytest.approx(24.0)
    np.testing.assert_allclose(shifted.moments, [120.0, -48.0], rtol=1e-10)
    inside = circle(40.0).contains(np.array([[0.0, 39.0], [0.0, 41.0]]))
    np.testing.assert_array_equal(inside, [True, False])
    assert two.contains(np.array([[10.0, 0.0]])).sum() == 0


@pytest.mark.parametrize("name", ["circle", "overlapping holes", "annulus"])
def test_completeness(name):
    def smooth(x, y):
        return 1 / (1 + jnp.exp((jnp.hypot(x - 3, y + 2) - 15) / 6))

    options = {
        "circle": lambda f: circle(40.0, completeness=f),
        "overlapping holes": lambda f: circle(40.0, holes=[(10, 5, 8)], completeness=f),
        "annulus": lambda f: annulus(5.0, 30.0, completeness=f),
    }[name]
    for profile in (King(3.0, 25.0), GeneralisedKing(3.0, 25.0, 1.4)):
        footprint = options(smooth)
        found = float(footprint.integral(profile, CENTRE, ELLIPTICITY, ANGLE))
        assert found == pytest.approx(on_grid(footprint, profile), rel=1e-3)
        half, whole = options(lambda x, y: 0.5), options(None)
        assert float(half.integral(profile, CENTRE)) == pytest.approx(
            0.5 * float(whole.integral(profile, CENTRE)), rel=1e-6
        )
        assert float(half.area) == pytest.approx(0.5 * float(whole.area), rel=1e-9)


def test_gradients_against_differences():
    footprint = FOOTPRINTS["overlapping holes"]()

    @jax.jit
    def integral(v):
        return footprint.integral(King(v[0], v[1]), v[2:4], v[4], v[5])

    for v in ([3.0, 25.0, 4.0, -3.0, 0.4, 30.0], [0.2, 70.0, 30.0, 20.0, 0.1, -80.0]):
        v = jnp.array(v)
        slope = np.asarray(jax.grad(integral)(v))
        step = 1e-4 * np.diag(np.maximum(np.abs(v), 1.0))
        difference = [(integral(v + s) - integral(v - s)) / (2 * s.max()) for s in step]
        np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-5)
    assert np.isfinite(jax.grad(integral)(jnp.array([3.0, 1.0, 0.0, 0.0, 0.0, 0.0]))).all()
    on_outline = jnp.array([3.0, 25.0, *footprint.points[3], 0.2, 0.0])
    assert np.isfinite(jax.grad(integral)(on_outline)).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: circle(-1.0), "radius.*positive.*-1"),
        (lambda: circle(10.0, holes=[(0, 0, 12)]), "cover the whole footprint"),
        (lambda: box(10.0, 4.0, holes=[(0, 0, 2), (0, 0, 0.0)]), "hole.*positive"),
        (lambda: annulus(5.0, 3.0), "inner < outer"),
        (lambda: polygon([(0.0, 0.0), (1.0, 1.0)]), "three or more"),
        (lambda: polygon([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]), "on a line"),
        (lambda: polygon([(0.0, 0.0), (4.0, 4.0), (4.0, 0.0), (0.0, 3.0)]), "crosses another"),
        (lambda: circle(9.0, completeness=lambda x, y: 0.0 * x), "completeness.*between 0 and 1"),
        (lambda: largest_circle(np.ones((20, 2))), "20 stars at 1 place"),
        (lambda: largest_circle(np.eye(4)[:, :2] + 5.0), "outside the stars' field"),
    ],
)
def test_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_largest_circle():
    assert largest_circle(np.array([(-3.0, -2), (5, -2), (5, 2), (-3, 2)])) == pytest.approx(2.0)


# --- the plane -----------------------------------------------------------------------------------


@pytest.mark.parametrize("centre", [(83.0, -5.0), (0.02, 40.0), (10.0, 89.95), (200.0, -90.0)])
def test_plane_keeps_directions_areas_and_comes_back(centre):
    rng = np.random.default_rng(1)
    x = rng.uniform(-200, 200, (500, 2))
    sky = to_sky(x, centre)
    np.testing.assert_allclose(to_plane(*sky.T, centre), x, atol=1e-8)
    about, there = SkyCoord(*centre, unit="deg"), SkyCoord(*sky.T, unit="deg")
    away = about.separation(there).arcmin
    np.testing.assert_allclose([plane_radius(s) for s in away], np.hypot(*x.T), rtol=1e-9)
    if abs(centre[1]) < 89:
        angle = about.position_angle(there).rad
        np.testing.assert_allclose(np.sin(angle), x[:, 0] / np.hypot(*x.T), atol=1e-8)
    cap = 2 * np.pi * (1 - np.cos(np.radians(5.0))) * np.degrees(60.0) ** 2
    assert np.pi * plane_radius(300.0) ** 2 == pytest.approx(cap, rel=1e-10)


def test_middle_across_0h_and_at_the_pole():
    for centre in ((0.02, 10.0), (150.0, 89.99)):
        grid = np.stack(np.meshgrid(*[np.linspace(-30, 30, 11)] * 2), axis=-1).reshape(-1, 2)
        found = middle(*to_sky(grid, centre).T)
        away = SkyCoord(*found, unit="deg").separation(SkyCoord(*centre, unit="deg"))
        assert away.arcsec < 0.01
