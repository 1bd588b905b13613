"""Trees against brute force, half radii and shapes against closed forms and known truth."""

from itertools import product

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from jaxcluster.catalogue.sky import to_plane
from jaxcluster.structure.segregation import half_radius, radii_by_magnitude, segregation_ratio
from jaxcluster.structure.shape import angle_between, galactic_plane_angle, motion_angle, shape
from jaxcluster.structure.spanning_tree import tree_length


def rng(seed=0):
    return np.random.default_rng(seed)


# --- the tree ------------------------------------------------------------------------------------


def prim(x):
    """The shortest tree, one point at a time."""
    distance = np.hypot(*(x[:, None] - x).transpose(2, 0, 1))
    nearest, length = distance[0].copy(), 0.0
    nearest[0] = np.inf
    joined = [0]
    while len(joined) < len(x):
        new = int(nearest.argmin())
        length += nearest[new]
        joined.append(new)
        nearest = np.minimum(nearest, distance[new])
        nearest[joined] = np.inf
    return length


@pytest.mark.parametrize("n", [2, 3, 10, 40, 41, 300])
def test_tree_is_the_shortest(n):
    x = rng(n).standard_normal((n, 2))
    assert tree_length(x) == pytest.approx(prim(x), rel=1e-12)


def test_tree_of_few_points_by_all_trees():
    """Cayley's n^(n−2) trees from Prüfer's sequences."""
    x = rng(3).standard_normal((6, 2))

    def length(sequence):
        degree = [1 + sequence.count(i) for i in range(6)]
        total = 0.0
        for node in sequence:
            leaf = degree.index(1)
            total += np.hypot(*(x[leaf] - x[node]))
            degree[leaf], degree[node] = 0, degree[node] - 1
        a, b = (i for i in range(6) if degree[i] == 1)
        return total + np.hypot(*(x[a] - x[b]))

    assert tree_length(x) == pytest.approx(min(map(length, product(range(6), repeat=4))))


def test_tree_of_odd_points():
    along = rng().uniform(0, 1, 100)
    line = np.outer(along, [3.0, 4.0]) + np.array([7.0, -2.0])
    assert tree_length(line) == pytest.approx(5.0 * np.ptp(along))
    x = rng().standard_normal((100, 2))
    assert tree_length(np.concatenate([x, x[:50]])) == pytest.approx(tree_length(x))
    near = np.concatenate([x, x[:50] + 1e-15])
    assert tree_length(near) == pytest.approx(tree_length(x), rel=1e-9)
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), -1).reshape(-1, 2)
    assert tree_length(grid) == pytest.approx(80.0)
    assert tree_length(np.ones((50, 2))) == 0.0
    assert tree_length(np.zeros((1, 2))) == 0.0


# --- segregation ---------------------------------------------------------------------------------


def plummer_stars(n, scale, seed=0):
    """Positions of Plummer's (1911) law, half of them within the scale."""
    r = scale * np.sqrt(1 / (1 / rng(seed).uniform(0, 1, n) - 1))
    turn = rng(seed + 1).uniform(0, 2 * np.pi, n)
    return r[:, None] * np.stack([np.cos(turn), np.sin(turn)], -1)


def test_half_radius_is_the_median_and_its_error_that_of_theory():
    x = plummer_stars(2001, 3.0)
    found = half_radius(x, rng=rng())
    assert found.value == pytest.approx(np.median(np.hypot(*x.T)))
    # σ = 1/(2 √n p(r)) of a median, p = 2 r a²/(r² + a²)² = 1/(2a) at r = a
    assert found.error == pytest.approx(3.0 / np.sqrt(2001), rel=0.25)
    assert abs(found.value - 3.0) < 3 * found.error
    assert found.low < found.value < found.high
    even = half_radius(x[:-1], rng=rng(), resamplings=5)
    assert even.value == pytest.approx(np.median(np.hypot(*x[:-1].T)))
    moved = half_radius(x + np.array([2.0, 1.0]), rng=rng(), centre=(2.0, 1.0), resamplings=5)
    assert moved.value == pytest.approx(found.value)


def test_weights_and_light():
    x = plummer_stars(500, 3.0)
    weights = rng(5).integers(0, 3, 500).astype(float)
    repeated = np.repeat(x, weights.astype(int), axis=0)
    found = half_radius(x, rng=rng(), weights=weights, resamplings=5)
    assert found.value == pytest.approx(np.median(np.hypot(*repeated.T)), rel=0.02)
    magnitudes = np.where(np.hypot(*x.T) < 1.5, 10.0, 18.0)
    light = half_radius(x, rng=rng(), magnitudes=magnitudes)
    assert light.value < 1.5 < half_radius(x, rng=rng()).value
    same = half_radius(x, rng=rng(), magnitudes=np.full(500, 12.0), resamplings=5)
    assert same.value == pytest.approx(np.median(np.hypot(*x.T)))


def test_bins_of_magnitude():
    bright, faint = plummer_stars(300, 1.0), plummer_stars(600, 4.0, seed=7)
    x = np.concatenate([bright, faint])
    m = np.concatenate([rng(2).uniform(10, 14, 300), rng(3).uniform(14, 18, 600)])
    table = radii_by_magnitude(x, m, rng=rng(), bins=np.array([10.0, 14.0, 18.0, 19.0]))
    assert list(table["n"]) == [300, 600, 0]
    for row, truth in zip(table, (1.0, 4.0), strict=False):
        assert abs(row["r50"] - truth) < 3 * row["error"]
    assert np.isnan(table["r50"][2])
    assert str(table["r50"].unit) == "arcmin"
    even = radii_by_magnitude(x, m, rng=rng(), bins=5, resamplings=20)
    assert even["n"].sum() == 900
    np.testing.assert_allclose(even["n"], 180, atol=2)
    assert even["r50"][0] < even["r50"][-1]


def test_ratio_of_segregated_and_other_stars():
    x = plummer_stars(800, 3.0)
    away, chance = np.hypot(*x.T), rng(9).uniform(10, 18, 800)
    options = {"numbers": (20, 60), "sets": 200}
    none = segregation_ratio(x, chance, rng=rng(), **options)
    assert (np.abs(none["ratio"] - 1) < 3 * none["error"]).all()
    full = segregation_ratio(x, away, rng=rng(), **options)
    assert (full["low"] > 2).all()
    assert (full["chance"] == 0).all()
    inverse = segregation_ratio(x, -away, rng=rng(), **options)
    assert (inverse["ratio"] + 3 * inverse["error"] < 1).all()
    # by hand, of the same draws
    draw, lengths = rng(), []
    for _ in range(200):
        lengths.append(prim(x[draw.choice(800, 20, replace=False)]))
    bright = prim(x[np.argsort(away)[:20]])
    assert full["ratio"][0] == pytest.approx(np.mean(lengths) / bright)
    assert full["error"][0] == pytest.approx(np.std(lengths) / bright)


def test_ratio_takes_members_only():
    x = np.concatenate([plummer_stars(200, 3.0), rng(1).uniform(-30, 30, (300, 2))])
    m = np.concatenate([rng(2).uniform(12, 18, 200), rng(3).uniform(8, 12, 300)])
    weights = np.repeat([1.0, 0.0], [200, 300])
    options = {"numbers": (10, 150), "sets": 100}
    found = segregation_ratio(x, m, rng=rng(), weights=weights, **options)
    assert list(found["n"]) == [10]
    assert abs(found["ratio"][0] - 1) < 3 * found["error"][0]


def unsegregated(seed):
    """A Plummer cluster of 200 in a field of 1500, and each star's calibrated probability."""
    draw = rng(seed)
    x = np.concatenate([plummer_stars(200, 3.0, seed), draw.uniform(-30, 30, (1500, 2))])
    motion = np.concatenate([draw.standard_normal(200), draw.uniform(-8, 8, 1500)])
    square = 1.0 + (x**2).sum(axis=1) / 9.0
    cluster = 200 / (9.0 * np.pi * square**2) * np.exp(-0.5 * motion**2) / np.sqrt(2 * np.pi)
    probability = cluster / (cluster + 1500 / 60**2 / 16)
    return x, draw.uniform(10, 18, len(x)), probability


@pytest.mark.parametrize("n_mocks", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_no_segregation_where_there_is_none(n_mocks):
    """Random sets from all stars by weight gave 1.46 for Λ(50), and hardly ever a chance > 0.05."""
    ratios, chances = [], []
    for seed in range(n_mocks):
        x, m, probability = unsegregated(seed)
        found = segregation_ratio(x, m, rng=rng(), weights=probability, numbers=(50,), sets=100)
        ratios.append(found["ratio"][0])
        chances.append(found["chance"][0])
    assert abs(np.mean(ratios) - 1) < 3 * np.std(ratios) / n_mocks**0.5 + 0.01
    assert np.mean(np.array(chances) < 0.05) <= 0.05 + 3 * (0.05 / n_mocks) ** 0.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, m: half_radius(x[:9], rng=rng()), "stars: found 9, expected 10"),
        (lambda x, m: half_radius(0 * x, rng=rng()), "all 100 stars are at one place"),
        (lambda x, m: half_radius(x, rng=rng(), magnitudes=m * np.nan), "none of 100 is finite"),
        (
            lambda x, m: segregation_ratio(x, np.where(m > 15, np.nan, m), rng=rng()),
            "are not finite; drop those stars",
        ),
        (lambda x, m: segregation_ratio(x, m, rng=rng(), numbers=(90,)), "from 2 to 50"),
        (lambda x, m: segregation_ratio(x[:5], m[:5], rng=rng()), "stars: found 5"),
        (
            lambda x, m: segregation_ratio(x, m, rng=rng(), weights=np.where(m > 11, 0.1, 1)),
            "stars: found",
        ),
        (
            lambda x, m: segregation_ratio(
                np.where(np.argsort(np.argsort(m))[:, None] < 10, 0.0, x), m, rng=rng()
            ),
            "the 10 brightest stars are at one place",
        ),
        (lambda x, m: radii_by_magnitude(x, m, rng=rng(), bins=np.array([9.0, 8.0])), "ascending"),
        (lambda x, m: shape(x[:9], rng=rng()), "stars: found 9"),
        (lambda x, m: shape(x * [1, 0], rng=rng()), "on a line"),
        (lambda x, m: shape(x, rng=rng(), radius=0.01), "stars: found"),
    ],
)
def test_refuses(call, words):
    x, m = plummer_stars(100, 3.0), rng(4).uniform(10, 18, 100)
    with pytest.raises(ValueError, match=words):
        call(x, m)


# --- shape ---------------------------------------------------------------------------------------


def gaussian(n, q, angle, seed=0):
    along, across = rng(seed).standard_normal((2, n)) * [[1.0], [q]]
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    return np.stack([along * sine + across * cosine, along * cosine - across * sine], -1)


@pytest.mark.parametrize(("q", "angle"), [(0.6, 30.0), (0.8, 178.0)])
def test_shape_of_a_gaussian(q, angle):
    found = shape(gaussian(4000, q, angle), rng=rng())
    assert abs(found.ellipticity - (1 - q)) < 3 * found.ellipticity_error
    assert abs(angle_between(found.position_angle, angle)) < 3 * found.position_angle_error
    assert found.position_angle_error < 5
    assert found.chance == 0
    np.testing.assert_allclose(found.semi_axes, (1.0, q), rtol=0.05)
    # of a Gaussian ln q of the sample has the variance 1/n
    assert found.ellipticity_error == pytest.approx(q / np.sqrt(4000), rel=0.25)


def test_a_round_cluster_has_no_direction():
    found = [shape(gaussian(500, 1.0, 0.0, s), rng=rng(s), resamplings=200) for s in range(20)]
    chances = np.array([one.chance for one in found])
    assert 0.3 < chances.mean() < 0.7
    # Rayleigh's law: the median of e is √(2 ln 2/n)
    middle = np.median([one.round_ellipticity for one in found])
    assert middle == pytest.approx(np.sqrt(2 * np.log(2) / 500), rel=0.1)


def test_weights_and_radius_of_a_shape():
    x = gaussian(300, 0.5, 60.0)
    weights = rng(1).integers(0, 3, 300).astype(float)
    one = shape(x, rng=rng(), weights=weights, resamplings=5)
    two = shape(np.repeat(x, weights.astype(int), axis=0), rng=rng(), resamplings=5)
    assert one.ellipticity == pytest.approx(two.ellipticity)
    assert one.position_angle == pytest.approx(two.position_angle)
    assert shape(x, rng=rng(), radius=1.0, resamplings=5).semi_axes[0] < 1


def test_direction_of_the_plane():
    """A step along constant latitude, seen in the plane of the sky."""
    for place in (
        SkyCoord(10.0, 0.0, unit="deg", frame="galactic"),
        SkyCoord(92.27, 24.34, unit="deg"),
    ):
        l, b = place.galactic.l, place.galactic.b
        other = SkyCoord(l + 0.01 * u.deg, b, frame="galactic").icrs
        centre = (place.icrs.ra.deg, place.icrs.dec.deg)
        ((east, north),) = to_plane(np.array([other.ra.deg]), np.array([other.dec.deg]), centre)
        expected = np.degrees(np.arctan2(east, north))
        assert angle_between(galactic_plane_angle(centre), expected) == pytest.approx(0, abs=0.01)


def test_angles():
    assert motion_angle(1.0, 0.0) == pytest.approx(90.0)
    assert motion_angle(0.0, -2.0) == pytest.approx(180.0)
    assert angle_between(170.0, 10.0) == pytest.approx(-20.0)
    assert angle_between(100.0, 10.0) == pytest.approx(90.0)
    with pytest.raises(ValueError, match=r"found 0\.0 and 0\.0"):
        motion_angle(0.0, 0.0)
