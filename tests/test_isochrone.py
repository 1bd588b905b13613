"""Interpolation between isochrones: nodes, smoothness, left-out nodes, extinction."""

from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcluster
from jaxcluster.density.stars import Stars
from jaxcluster.population.bolometric import bolometric_correction, extinction_polynomial
from jaxcluster.population.cmd import ErrorModel, PopulationModel
from jaxcluster.population.grids import LAST_DWARF, N_DWARFS, load_grid
from jaxcluster.population.isochrone import IsochroneGrid

BANDS = ("G", "BP", "RP")
NODES = [(9.6, 0.1), (8.5, -0.3), (7.0, 0.1), (9.58, 0.0), (8.52, -0.5), (7.03, 0.25)]


@pytest.fixture(scope="module")
def parsec():
    return load_grid("parsec", BANDS)


def raw_nodes(name):
    with np.load(
        Path(jaxcluster.__file__).parent / "population" / "data" / f"{name}.npz"
    ) as stored:
        return dict(stored)


def grid_of(grid, keep_metallicity, keep_age):
    """A grid of some of the nodes, through the public constructor."""
    keep = np.ix_(keep_metallicity, keep_age)
    metallicity, log_age = np.array(grid.metallicity), np.array(grid.log_age)
    mass, magnitudes = (
        np.asarray(grid.initial_mass)[keep],
        np.asarray(grid.magnitudes)[keep].transpose(0, 1, 4, 2, 3),
    )
    return IsochroneGrid.from_nodes(
        metallicity[keep_metallicity], log_age[keep_age], mass, magnitudes, grid.bands, "fewer"
    )


def at_mass(isochrone, mass):
    """G and BP-RP at these initial masses, by linear interpolation."""
    nodes, magnitudes = np.asarray(isochrone.initial_mass), np.asarray(isochrone.magnitudes)
    new = np.concatenate([[True], np.diff(nodes) > 0])
    g, bp, rp = (np.interp(mass, nodes[new], magnitudes[new, b]) for b in range(3))
    return np.array([g, bp - rp])


def left_out_errors(grid, full, points):
    """|error| of (G, BP-RP) at 40 masses a point, 0.7 to 0.9 of the turn-off's (bluest dwarf)."""
    predict, know = (jax.jit(lambda a, m, g=g: g.isochrone(a, m)) for g in (grid, full))
    errors = []
    for log_age, metallicity in points:
        truth = know(log_age, metallicity)
        mass, magnitudes = (np.asarray(a)[:N_DWARFS] for a in truth[:2])
        colour = np.where(mass > 0.7, magnitudes[:, 1] - magnitudes[:, 2], 99.0)
        masses = np.linspace(0.7, max(0.9 * mass[colour.argmin()], 0.75), 40)
        predicted = at_mass(predict(log_age, metallicity), masses)
        errors.append(np.abs(predicted - at_mass(truth, masses)))
    return np.moveaxis(np.array(errors), 1, 0)  # (G, BP-RP), point, mass


@pytest.mark.parametrize("name", ["parsec", "mist"])
def test_nodes_are_reproduced(name):
    grid = load_grid(name, BANDS)
    isochrone = jax.jit(lambda a, m: grid.isochrone(a, m))
    for m, a in ((0, 30), (8, 68), (10, 79)):
        found = isochrone(grid.log_age[a], grid.metallicity[m])
        np.testing.assert_allclose(found.initial_mass, grid.initial_mass[m, a], rtol=1e-12)
        np.testing.assert_allclose(found.magnitudes, grid.magnitudes[m, a, 0].T, atol=1e-10)


@pytest.mark.parametrize(("name", "tolerance"), [("parsec", 0.02), ("mist", 0.1)])
def test_embedded_nodes_are_the_files(name, tolerance):
    """M_bol − BC of the file: giants as they are, dwarfs at the file's masses after resampling.

    MIST's hook, three points on which mass hardly changes, is cut by up to 0.08 mag.
    """
    table, grid = raw_nodes(name), load_grid(name, BANDS)
    giant = int(np.searchsorted(table["eep"], LAST_DWARF)) + 1
    for m, a in ((2, 30), (8, 68), (6, 50)):
        nodes = table["nodes"][m, a].astype(float)
        exists = np.isfinite(nodes[:, 0])
        mass, log_teff, log_g, m_bol = nodes[exists].T
        metallicity = np.full(len(mass), table["metallicity"][m])
        expected = m_bol[:, None] - bolometric_correction(log_teff, log_g, metallicity, BANDS)
        is_giant = np.arange(len(nodes))[exists] >= giant
        last = np.asarray(grid.magnitudes)[m, a, 0].T[N_DWARFS:][exists[giant:]]
        np.testing.assert_allclose(last, expected[is_giant], atol=1e-10)
        rising = np.diff(np.maximum.accumulate(mass), prepend=0.0) > 0
        dwarf = ~is_giant & rising & (mass > 0.2)
        log_mass = np.log(np.asarray(grid.initial_mass)[m, a, :N_DWARFS])
        ours = np.asarray(grid.magnitudes)[m, a, 0].T[:N_DWARFS]
        for b in range(3):
            found = np.interp(np.log(mass[dwarf]), log_mass, ours[:, b])
            np.testing.assert_allclose(found, expected[dwarf, b], atol=tolerance)


@pytest.mark.parametrize("name", ["parsec", "mist"])
@pytest.mark.parametrize("part", [(500, 604), (632, 706)])
def test_old_giants_of_one_eep_change_smoothly_with_age(name, part):
    """Of 46 PARSEC isochrones the source has giants at other EEPs, 2 mag from their neighbours'."""
    stored = raw_nodes(name)
    giants = stored["nodes"][:, :, (stored["eep"] >= part[0]) & (stored["eep"] <= part[1]), 3]
    old = giants[:, stored["log_age"] > 9.3]
    bend = old[:, 1:-1] - 0.5 * (old[:, :-2] + old[:, 2:])
    assert np.abs(bend).mean(axis=-1).max() < 0.15  # mag; 0.10 of MIST


@pytest.mark.parametrize("name", ["parsec", "mist"])
def test_old_isochrones_have_stars_on_the_giant_branch(name):
    """Between EEP 560 and 600 more than a thousandth of the mass from the turn-off to the tip."""
    stored = raw_nodes(name)
    mass, eep = stored["nodes"][:, stored["log_age"] > 9.3, :, 0], stored["eep"]
    at = [int(np.argmin(np.abs(eep - one))) for one in (454, 560, 600, 604)]
    turn_off, low, high, tip = (mass[..., one] for one in at)
    assert ((high - low) / (tip - turn_off)).min() > 1e-3  # with the source's PARSEC 4e-5


@pytest.mark.parametrize(("log_age", "metallicity"), NODES)
def test_magnitudes_and_masses_are_smooth_across_nodes(parsec, log_age, metallicity):
    """One-sided slopes agree; where the running maximum acts, to a few per cent of the largest."""
    isochrone = jax.jit(lambda a, m: parsec.isochrone(a, m)[:2])
    h = 1e-6
    along = np.array([h, 0.0]) if log_age in parsec.log_age else np.array([0.0, h])
    points = [np.array([log_age, metallicity]) + k * along for k in (-1, 0, 1)]
    below, here, above = (isochrone(*p) for p in points)
    for quantity, tolerance in ((0, 0.03), (1, 1e-3)):
        left = np.asarray(here[quantity] - below[quantity]) / h
        right = np.asarray(above[quantity] - here[quantity]) / h
        scale = np.abs(left).max()
        assert scale > 0.1  # something does change here
        assert np.abs(left - right).max() < tolerance * scale
    steps = [np.diff(i[0]) for i in (below, here, above)]
    grown = steps[1] > 1e-4  # where there are stars, mass steps are smooth as well
    left, right = ((b - a)[grown] / h for a, b in pairwise(steps))
    assert np.quantile(np.abs(left - right), 0.9) < 1e-3 * np.abs(left).max()


@pytest.fixture(scope="module")
def log_likelihood(parsec):
    """ln L(log age, [M/H]) of 300 stars of 4 Gyr with a field's floor, and its gradient."""
    rng = np.random.default_rng(3)
    isochrone = parsec.isochrone(9.6, 0.0, 0.1)
    mass = rng.uniform(0.7, 0.999 * float(isochrone.initial_mass[-1]), 300)
    x = at_mass(isochrone, mass).T + np.array([9.6, 0.0]) + rng.normal(0, 0.02, (300, 2))
    x = x[(x[:, 0] > 10) & (x[:, 0] < 18)]
    x = jnp.asarray(x[np.argsort(x[:, 0])])
    noise = jnp.broadcast_to(1e-4 * jnp.eye(2), (len(x), 2, 2))
    stars = Stars(x=x, noise=noise, columns=("G", "BP-RP"))
    errors = ErrorModel(jnp.array([8.0, 20.0]), jnp.array([0.01, 0.01]))
    model = PopulationModel(
        grid=parsec, errors=errors, columns=("G", "BP-RP"), limits=(10.0, 18.0), n_masses=128
    )
    others = {"distance_modulus": 9.6, "a_v": 0.1, "mass_slope": -2.0, "binary_fraction": 0.3}

    def value(point):
        own = {"log_age": point[0], "metallicity": point[1], "model_scatter": 0.03}
        log_p = model({**others, **own})(stars)
        return jnp.logaddexp(jnp.log(0.9) + log_p, jnp.log(0.1 / 16)).sum()

    return jax.jit(jax.value_and_grad(value))


@pytest.mark.parametrize(
    ("log_age", "metallicity"), [(9.6, 0.1), (9.55, -0.1), (9.05, -0.1), (9.58, 0.0), (9.62, 0.25)]
)
def test_likelihood_and_gradient_continue_across_nodes(log_likelihood, log_age, metallicity):
    axis = 0 if log_age in load_grid("parsec", BANDS).log_age else 1
    step = 1e-6 * np.eye(2)[axis]
    point = np.array([log_age, metallicity])
    (below, left), (above, right) = log_likelihood(point - step), log_likelihood(point + step)
    slope = max(abs(float(left[axis])), 100.0)
    # 0.05 is what float32 pairs leave of 300 stars
    assert abs(float(above - below)) < 2e-6 * slope + 0.05
    # 0.8 % at 9.55, where the running maximum of the masses begins to act; 0.01 % elsewhere
    np.testing.assert_allclose(left, right, atol=1e-2 * slope)
    wide = 2e-3 * np.eye(2)[axis]
    numeric = (log_likelihood(point + wide)[0] - log_likelihood(point - wide)[0]) / 4e-3
    assert float(numeric) == pytest.approx(float(left[axis]), abs=0.15 * slope + 30)


def test_left_out_ages(parsec):
    """Every second log-age node, 0.1 dex apart, predicts the others within 0.02 mag.

    Of the 3 to 4 % that it does not most lie between 1.1 and 1.3 solar masses, where convective
    cores appear, or near 0.75, where the files' own masses jump: 0.08 mag in G at the worst.
    """
    grid = grid_of(parsec, np.arange(11), np.arange(0, 80, 2))
    ages = [a for a in parsec.log_age[1::2] if 8.0 <= a <= 9.8]
    points = [(a, parsec.metallicity[m]) for a in ages for m in (5, 8, 9)]
    g, colour = left_out_errors(grid, parsec, points)
    assert np.median(g) < 0.003
    assert np.median(colour) < 0.001
    assert np.mean(g < 0.02) > 0.93
    assert np.mean(colour < 0.02) > 0.96
    assert g.max() < 0.1
    assert colour.max() < 0.08


@pytest.mark.parametrize(("node", "median"), [(4, 0.006), (6, 0.006), (8, 0.006), (9, 0.045)])
def test_left_out_metallicities(parsec, node, median):
    """Nodes 0.5 instead of 0.25 dex apart; +0.25 is beside the last, where slopes are secants."""
    grid = grid_of(parsec, np.delete(np.arange(11), node), np.arange(30, 76))
    points = [(a, parsec.metallicity[node]) for a in parsec.log_age[36:73:6]]
    g, colour = left_out_errors(grid, parsec, points)
    assert np.median(g) < median
    assert np.median(colour) < 0.012
    assert g.max() < 0.12
    assert colour.max() < 0.07


@pytest.mark.parametrize(("mass", "ripple"), [(0.6, 0.02), (0.8, 0.01), (1.0, 0.004)])
def test_no_ripple_between_nodes(parsec, mass, ripple):
    """G of a dwarf changes evenly with age, not with the nodes' period (0.4 mag at first)."""
    ages = jnp.linspace(9.5, 9.7, 17)  # 4 a node
    sequences = jax.jit(lambda a: jax.lax.map(lambda t: parsec.isochrone(t, 0.05)[:2], a))(ages)
    g = [np.interp(mass, m, magnitudes[:, 0]) for m, magnitudes in zip(*sequences, strict=True)]
    assert np.abs(np.diff(g, n=2)).max() < ripple


def test_likelihood_has_one_peak_in_age(log_likelihood):
    """Along 4 nodes around the truth: up, then down (it had three peaks 50 nats high at first)."""
    ages = np.arange(9.52, 9.68, 0.0125)
    value = np.array([float(log_likelihood(np.array([a, 0.05]))[0]) for a in ages])
    peak = value.argmax()
    assert abs(ages[peak] - 9.6) < 0.03
    assert (np.diff(value[: peak + 1]) > -3.0).all()
    assert (np.diff(value[peak:]) < 3.0).all()


@pytest.mark.parametrize("name", ["parsec", "mist"])
def test_masses_never_decrease(name):
    grid = load_grid(name, BANDS)
    rng = np.random.default_rng(4)
    points = jnp.asarray(np.c_[rng.uniform(6.2, 10.15, 300), rng.uniform(-2.0, 0.5, 300)])
    mass = jax.jit(lambda p: jax.lax.map(lambda q: grid.isochrone(q[0], q[1]).initial_mass, p))(
        points
    )
    assert bool((jnp.diff(mass, axis=1) >= 0).all())
    assert bool((mass > 0.05).all() & (mass < 400).all())


def test_outside_the_nodes_the_last_one_holds(parsec):
    inside, outside = parsec.isochrone(10.15, 0.5), parsec.isochrone(10.9, 0.8)
    np.testing.assert_array_equal(inside.magnitudes, outside.magnitudes)
    assert parsec.bounds == {"log_age": (6.2, 10.15), "metallicity": (-2.0, 0.5), "a_v": (0.0, 6.0)}


def test_extinction_depends_on_the_star(parsec):
    """A_G/A_V falls with A_V (reddened light is less absorbed) and with decreasing temperature."""
    isochrone = jax.jit(lambda a_v: parsec.isochrone(8.5, 0.0, a_v))
    bare = isochrone(0.0)
    dwarfs = np.searchsorted(np.asarray(bare.initial_mass), [0.6, 2.5])
    ratio = []
    for a_v in (0.1, 1.0, 2.0, 4.0, 6.0):
        a_g = np.asarray(isochrone(a_v).magnitudes[:, 0] - bare.magnitudes[:, 0])
        ratio.append(a_g[dwarfs] / a_v)
    cool, hot = np.array(ratio).T
    assert (np.diff(cool) < 0).all()
    assert (np.diff(hot) < 0).all()
    assert (hot > cool + 0.05).all()
    assert cool.min() > 0.5
    assert hot.max() < 1.05


@pytest.mark.parametrize("a_v", [0.0, 0.3, 2.0, 6.0])
def test_reddening_is_the_derivative_of_magnitudes(parsec, a_v):
    isochrone = jax.jit(lambda a: parsec.isochrone(9.0, -0.1, a))
    h = 1e-5
    numeric = (isochrone(a_v + h).magnitudes - isochrone(a_v - h).magnitudes) / (2 * h)
    np.testing.assert_allclose(isochrone(a_v).reddening, numeric, atol=1e-7)


def test_extinction_polynomial_of_the_sun():
    """A_G, A_BP, A_RP of a solar star at A_V = 1: Gaia's own law gives 0.84, 1.05, 0.63 (±0.05)."""
    c = extinction_polynomial(np.array(3.762), np.array(4.44), np.array(0.0), BANDS)
    np.testing.assert_allclose(c.sum(axis=0), [0.84, 1.05, 0.63], atol=0.05)
    solar = bolometric_correction(np.array(3.762), np.array(4.44), np.array(0.0), BANDS)
    assert 4.74 - solar[0] == pytest.approx(
        4.67, abs=0.05
    )  # M_G of the Sun; Casagrande & VandenBerg
    assert solar[2] - solar[1] == pytest.approx(0.82, abs=0.04)  # its BP-RP


def test_loaded_inside_jit_and_used_outside():
    bands = ("H",)
    inside = jax.jit(lambda: load_grid("parsec", bands).isochrone(9.0, 0.0).magnitudes)()
    np.testing.assert_array_equal(load_grid("parsec", bands).isochrone(9.0, 0.0).magnitudes, inside)


def test_select_and_errors(parsec):
    assert parsec.select(("RP", "G")).bands == ("RP", "G")
    full, less = parsec.isochrone(9.0, 0.0), parsec.select(("RP", "G")).isochrone(9.0, 0.0)
    np.testing.assert_array_equal(less.magnitudes, full.magnitudes[:, jnp.array([2, 0])])
    with pytest.raises(ValueError, match="no band Y; it has G, BP, RP"):
        parsec.select(("Y",))
    with pytest.raises(ValueError, match="has no band u; it has G, BP"):
        load_grid("parsec", ("G", "u"))
    with pytest.raises(FileNotFoundError, match="neither an embedded grid"):
        load_grid("nowhere.dat")
    mass, magnitudes = np.ones((1, 2, 3)), np.zeros((1, 2, 3, 1, 1))
    with pytest.raises(ValueError, match="log_age nodes must increase"):
        IsochroneGrid.from_nodes(np.zeros(1), np.array([9.0, 8.0]), mass, magnitudes, ("G",), "x")
    empty = np.where([[[False] * 3, [True] * 3]], np.nan, mass)
    with pytest.raises(ValueError, match="no star at"):
        IsochroneGrid.from_nodes(np.zeros(1), np.array([8.0, 9.0]), empty, magnitudes, ("G",), "x")
