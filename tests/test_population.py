"""Mass function, binaries and cells of a population against quadrature and closed forms."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from jaxcluster.population.cells import (
    MIN_MASS_RATIO,
    RUN,
    brightening,
    mass_ratio_edges,
    population_cells,
)
from jaxcluster.population.cmd import ErrorModel, PopulationModel
from jaxcluster.population.cutting import locate
from jaxcluster.population.grids import load_grid
from jaxcluster.population.isochrone import Isochrone
from jaxcluster.population.mass_function import MassFunction, kroupa

TO_PLANE = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
MASS_FUNCTIONS = {
    "Salpeter": MassFunction((-2.35,)),
    "slope -1": MassFunction((-1.0,)),
    "nearly -1": MassFunction((-1.0 + 1e-7,)),
    "rising": MassFunction((1.7,)),
    "two parts": MassFunction((-0.5, -2.7), (0.6,)),
    "Kroupa": kroupa(),
}


def unnormalised(function, mass):
    """dN/dM by hand: the first part as it is, the others joined on continuously."""
    value, edges = 1.0, (*function.breaks, np.inf)
    for i, slope in enumerate(function.slopes):
        if mass <= edges[i]:
            return value * mass**slope
        value *= edges[i] ** (slope - function.slopes[i + 1])
    raise AssertionError


compiled_cells = jax.jit(population_cells, static_argnames=("n_masses", "n_mass_ratios"))


def wide_open(isochrone, **options):
    """Cells of a population of slope −2 without any magnitude cut."""
    return compiled_cells(isochrone, TO_PLANE, (-30.0, 40.0), MassFunction((-2.0,)), **options)


@pytest.fixture(scope="module")
def grid():
    return load_grid("parsec", ("G", "BP", "RP"))


@pytest.fixture(scope="module")
def isochrone(grid):
    return grid.isochrone(8.8, 0.0, 0.2)


@pytest.fixture(scope="module")
def cells_of(isochrone):
    def cells(binary_fraction, gamma=0.0, scatter=None):
        return wide_open(
            isochrone,
            binary_fraction=binary_fraction,
            mass_ratio_slope=gamma,
            extinction_scatter=scatter,
        )

    return cells


def pairs_beside_singles(cells, isochrone, n_masses):
    """Magnitude and colour of cells of pairs, of single stars of their mass, mass and q; [q, n]."""
    by_q = [np.asarray(a)[RUN * n_masses :] for a in (cells.mass, cells.mass_ratio, cells.weights)]
    mass, ratio, weights = (a.reshape(-1, n_masses) for a in by_q)
    pairs = np.asarray(cells.means)[RUN * n_masses :].reshape(-1, n_masses, 2)
    magnitudes = np.asarray(isochrone.magnitudes @ TO_PLANE.T)
    singles = [np.interp(mass, isochrone.initial_mass, column) for column in magnitudes.T]
    return pairs, np.stack(singles, axis=-1), mass, ratio[:, 0], weights


@pytest.mark.parametrize("name", MASS_FUNCTIONS)
def test_integral_of_the_mass_function(name):
    function = MASS_FUNCTIONS[name]
    lower = np.array([0.05, 0.1, 0.3, 0.5, 0.9, 2.0, 1.0])
    upper = np.array([0.07, 0.9, 0.6, 1.2, 0.9, 80.0, 1.0 + 1e-6])
    expected = [
        quad(
            lambda m: unnormalised(function, m),
            a,
            b,
            points=[p for p in function.breaks if a < p < b] or None,
            epsrel=1e-12,
        )[0]
        for a, b in zip(lower, upper, strict=True)
    ]
    found = function.integral(jnp.asarray(lower), jnp.asarray(upper))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert float(found[4]) == 0.0  # a cell without width


def test_integral_is_smooth_through_slope_minus_one():
    """∂/∂s ∫M^s dM at s = −1 is ½ (ln² b − ln² a)."""

    def integral(slope):
        return MassFunction((slope,)).integral(jnp.array([0.3]), jnp.array([2.0]))[0]

    expected = 0.5 * (np.log(2.0) ** 2 - np.log(0.3) ** 2)
    for slope in (-1.0, -1.0 + 1e-9, -1.0 - 2e-5):
        assert float(jax.grad(integral)(slope)) == pytest.approx(expected, rel=2e-4)


def test_equal_mass_binary_is_twice_as_bright():
    np.testing.assert_allclose(brightening(jnp.array(1.0)), 2.5 * np.log10(2.0), atol=1e-6)
    assert 2.5 * np.log10(2.0) == pytest.approx(0.7526, abs=5e-5)
    assert float(brightening(jnp.array(0.0))) == 0.0
    assert np.isfinite(jax.grad(brightening)(0.0))


@pytest.mark.parametrize("second", [5.0, 12.0, 13.7, 25.0])
def test_fluxes_add(second):
    expected = 2.5 * np.log10(1.0 + 10 ** (-0.4 * (second - 12.0)))
    found = brightening(10 ** (-0.4 * jnp.array([second - 12.0])))
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 17, 281])
def test_located_between_nodes(n):
    """Against numpy: nodes that repeat, values at nodes and beyond the ends."""
    rng = np.random.default_rng(n)
    nodes = np.sort(rng.integers(0, n, n)).astype(float)
    x = np.concatenate([nodes, rng.uniform(-1, n + 1, 200)]).reshape(-1, 2 if n % 2 == 0 else 1)
    index, fraction = (np.asarray(a) for a in locate(jnp.asarray(x), jnp.asarray(nodes)))
    expected = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, n - 2)
    np.testing.assert_array_equal(index, expected)
    value = nodes[index] + fraction * (nodes[index + 1] - nodes[index])
    np.testing.assert_allclose(value, np.clip(x, nodes[0], nodes[-1]), atol=1e-12)


def test_edges_of_mass_ratios():
    edges = mass_ratio_edges(14)
    assert edges[0] == MIN_MASS_RATIO
    assert edges[-1] == 1.0
    assert (np.diff(edges) > 0).all()
    np.testing.assert_allclose(np.diff(0.7 * edges**2 + 0.3 * edges**16), 0.993 / 14, rtol=1e-4)


def test_cells_of_pairs_run_from_single_to_twice_as_bright(isochrone):
    """With many cells in q the last one lies at q = 1, 0.7526 mag above its singles."""
    n, n_q = 200, 60
    cells = wide_open(
        isochrone,
        binary_fraction=0.5,
        n_masses=n,
        n_mass_ratios=n_q,
    )
    pairs, single, mass, q, weights = pairs_beside_singles(cells, isochrone, n)
    # dwarfs: a giant's companion of slightly less mass may be the brighter star
    used = (weights > 1e-9) & (mass < 1.8)
    brighter = single[..., 0] - pairs[..., 0]
    # 0.02 mag: the mean of a cell is not the star at its middle
    assert brighter[used].max() < 0.7526 + 0.02
    assert np.median(brighter[-1][used[-1]]) > 0.7526 - 8 * (1 - q[-1])  # dm/dq < 8
    assert np.abs(brighter[0][used[0]]).max() < 0.1
    medians = [np.median(b[u]) for b, u in zip(brighter, used, strict=True)]
    assert (np.diff(medians) > -1e-3).all()  # with every step in q
    colour = (pairs - single)[-1, used[-1], 1]
    assert np.median(np.abs(colour)) < 0.005


def test_weights_are_the_population(cells_of):
    """Wide open: they sum to 1, f_b of them are binaries, whatever f_b."""
    for f_b in (0.0, 0.3, 1.0):
        cells = cells_of(f_b)
        weights, binary = np.asarray(cells.weights), np.asarray(cells.mass_ratio) > 0
        assert weights.sum() == pytest.approx(1.0, abs=1e-9)
        assert weights[binary].sum() == pytest.approx(f_b, abs=1e-9)
        assert (weights >= 0).all()


def test_weights_follow_the_mass_function(cells_of, isochrone):
    """Share of single stars above each mass, against the integral of M^−2."""
    cells = cells_of(0.0)
    mass, low, high = (
        np.asarray(a) for a in (cells.mass, isochrone.initial_mass[0], isochrone.initial_mass[-1])
    )
    for limit in (0.3, 0.6, 1.0, 1.5):
        found = np.asarray(cells.weights)[mass > limit].sum()
        expected = (1 / limit - 1 / high) / (1 / low - 1 / high)
        assert found == pytest.approx(expected, abs=0.02 * expected + 0.004)


@pytest.mark.parametrize("gamma", [-5.0, -1.0, 0.0, 5.0])
def test_mass_ratios(cells_of, gamma):
    """N(q) ∝ q^γ on [0.1, 1]: normalised, and its mean q is that of quadrature."""
    cells = cells_of(1.0, gamma)
    weights, q = np.asarray(cells.weights), np.asarray(cells.mass_ratio)
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)
    edges = mass_ratio_edges(14)
    norm = quad(lambda x: x**gamma, MIN_MASS_RATIO, 1.0)[0]
    for a, b in pairwise(edges):
        share = weights[(q > a) & (q < b)].sum()
        assert share == pytest.approx(quad(lambda x: x**gamma, a, b)[0] / norm, abs=1e-9)


def test_cells_keep_mean_and_covariance_of_the_sequence(isochrone):
    """Few cells or many: the same mean magnitude and colour of the population."""
    moments = []
    for n in (32, 512):
        cells = wide_open(
            isochrone,
            binary_fraction=0.0,
            n_masses=n,
        )
        mean = cells.weights @ cells.means
        spread = cells.means - mean
        within = jnp.einsum("k,kab->ab", cells.weights, cells.covs)
        moments.append((mean, jnp.einsum("k,ka,kb->ab", cells.weights, spread, spread) + within))
    # between cuts the sequence is straight; the isochrone's own corners lie between its points
    np.testing.assert_allclose(moments[0][0], moments[1][0], atol=1e-3)
    np.testing.assert_allclose(moments[0][1], moments[1][1], rtol=0.02)
    magnitudes = np.asarray(isochrone.magnitudes @ TO_PLANE.T)
    number = -np.diff(1 / np.asarray(isochrone.initial_mass))
    middle = 0.5 * (magnitudes[1:] + magnitudes[:-1])
    np.testing.assert_allclose(moments[1][0], number @ middle / number.sum(), atol=3e-6)


def test_extinction_scatter_smears_along_the_reddening_vector(cells_of):
    """Added covariance is σ² R Rᵀ: of rank one, A_G : E(BP−RP) of the star."""
    added = np.asarray(cells_of(0.3, 0.0, 0.1).covs - cells_of(0.3, 0.0, 0.0).covs)
    used = np.asarray(cells_of(0.3).weights) > 0
    r_g = np.sqrt(added[used, 0, 0]) / 0.1
    r_c = np.sqrt(added[used, 1, 1]) / 0.1
    np.testing.assert_allclose(added[used, 0, 1], 0.01 * r_g * r_c, rtol=1e-9)
    assert ((r_g > 0.5) & (r_g < 1.1)).all()
    assert ((r_c > 0.2) & (r_c < 0.6)).all()


def test_companions_below_the_grid_add_no_light():
    """Three stars of 1, 2 and 4 solar masses: a companion of q < ¼ is dark for all of them."""
    mass = jnp.array([1.0, 2.0, 4.0])
    line = Isochrone(
        mass, jnp.array([[10.0, 10.0, 10.0], [7.0, 7.0, 7.0], [4.0, 4.0, 4.0]]), jnp.zeros((3, 3))
    )
    cells = wide_open(
        line,
        binary_fraction=0.5,
        n_masses=8,
        n_mass_ratios=512,
    )
    weights, means = np.asarray(cells.weights), np.asarray(cells.means)
    n = 8 * RUN  # single stars
    single = weights[:n] @ means[:n] / weights[:n].sum()
    weights, means = weights[n:].reshape(512, 8), means[n:].reshape(512, 8, 2)
    pairs = np.einsum("qn,qna->qa", weights, means) / weights.sum(axis=1)[:, None]
    dark = np.asarray(cells.mass_ratio)[n::8] < 0.24
    assert 2 < dark.sum() < 200
    np.testing.assert_allclose(pairs[dark], np.tile(single, (dark.sum(), 1)), atol=1e-9)
    assert (pairs[-250:, 0] < single[0] - 0.1).all()  # the others do


def test_few_cells_of_pairs_keep_mean_and_variance(isochrone):
    """Six cells in q against the sum over 2000 mass ratios of every isochrone point."""
    cells = wide_open(
        isochrone,
        binary_fraction=1.0,
        model_scatter=1.0,  # no widening
        n_mass_ratios=6,
    )
    weights = np.asarray(cells.weights)
    magnitude, variance = np.asarray(cells.means)[:, 0], np.asarray(cells.covs)[:, 0, 0] - 1.0
    mean = weights @ magnitude
    spread = weights @ ((magnitude - mean) ** 2 + variance)

    mass = np.asarray(isochrone.initial_mass)
    flux = 10 ** (-0.4 * np.asarray(isochrone.magnitudes)[:, 0])
    q = np.linspace(MIN_MASS_RATIO, 1.0, 2001)
    q = 0.5 * (q[1:] + q[:-1])
    companion = mass[:, None] * q
    light = np.where(companion < mass[0], 0.0, np.interp(companion, mass, flux))
    both = -2.5 * np.log10(flux[:, None] + light)
    number = -np.diff(1.0 / mass)[:, None]
    number = number / (number.sum() * len(q))
    middle = 0.5 * (both[1:] + both[:-1])
    expected = (number * middle).sum()
    assert mean == pytest.approx(expected, abs=1e-3)
    # plus the variance within each step between isochrone points, h²/12
    second = (number * ((middle - expected) ** 2 + np.diff(both, axis=0) ** 2 / 12)).sum()
    assert spread == pytest.approx(second, rel=3e-3)


@pytest.mark.slow
def test_no_nan_and_no_negative_weight_in_the_prior_box(grid):
    """Everywhere in the default priors: finite cells of weight ≥ 0, and a finite normalisation.

    128 cells along the isochrone and 8 in q instead of 240 and 14, for time.
    """
    n_points, rng = 10_000, np.random.default_rng(6)
    box = {
        "log_age": (6.2, 10.15),
        "metallicity": (-2.0, 0.45),
        "distance_modulus": (4.0, 17.0),
        "a_v": (0.0, 6.0),
        "mass_slope": (-5.0, 2.0),
        "binary_fraction": (0.0, 1.0),
        "mass_ratio_slope": (-5.0, 5.0),
    }
    points = {name: jnp.asarray(rng.uniform(*limits, n_points)) for name, limits in box.items()}
    points["model_scatter"] = jnp.asarray(np.exp(rng.uniform(np.log(0.003), np.log(0.2), n_points)))
    model = PopulationModel(
        grid=grid,
        errors=ErrorModel(jnp.array([8.0, 18.0]), jnp.array([0.003, 0.02])),
        columns=("G", "BP-RP"),
        limits=(8.0, 18.0),
        n_masses=128,
        n_mass_ratios=8,
    )

    def check(point):
        density = model(point)
        cells = density.cells
        finite = jnp.isfinite(cells.weights).all() & jnp.isfinite(cells.means).all()
        finite &= jnp.isfinite(cells.covs).all() & jnp.isfinite(density.log_selected)
        determinant = jnp.linalg.det(cells.covs).min()
        return finite, cells.weights.min(), cells.weights.sum(), determinant, density.log_selected

    finite, lowest, total, determinant, selected = jax.jit(lambda p: jax.lax.map(check, p))(points)
    assert bool(finite.all())
    assert float(lowest.min()) >= 0.0
    assert float(total.max()) < 1.0 + 1e-9
    assert float(determinant.min()) > 0.0
    assert float(selected.max()) < 1e-9


def test_gradients_are_finite_in_the_prior_box(grid):
    """The derivative of the normalisation at 30 random points, by all parameters."""
    rng = np.random.default_rng(7)
    model = PopulationModel(
        grid=grid,
        errors=ErrorModel(jnp.array([8.0, 18.0]), jnp.array([0.003, 0.02])),
        columns=("G", "BP-RP"),
        limits=(8.0, 18.0),
        n_masses=64,
        n_mass_ratios=4,
    )
    names = (
        "log_age",
        "metallicity",
        "distance_modulus",
        "a_v",
        "mass_slope",
        "binary_fraction",
        "mass_ratio_slope",
        "model_scatter",
    )
    low = np.array([6.2, -2.0, 4.0, 0.0, -5.0, 0.0, -5.0, 0.003])
    high = np.array([10.15, 0.45, 12.0, 6.0, 2.0, 1.0, 5.0, 0.2])
    points = jnp.asarray(rng.uniform(low, high, (30, 8)))

    def value(p):
        density = model(dict(zip(names, p, strict=True)))
        used = density.cells.weights
        return density.log_selected + (used[:, None] * density.cells.means).sum()

    gradients = jax.jit(lambda p: jax.lax.map(jax.grad(value), p))(points)
    assert bool(jnp.isfinite(gradients).all())
