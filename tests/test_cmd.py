"""The colour-magnitude density against quadrature and against stars drawn in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, norm

from jaxcluster.density.stars import Stars
from jaxcluster.population.cmd import ErrorModel, PopulationModel, plane_of
from jaxcluster.population.grids import load_grid
from jaxcluster.population.mass_function import kroupa

TRUTH = {
    "log_age": 9.13,
    "metallicity": -0.08,
    "distance_modulus": 9.3,
    "a_v": 0.4,
    "mass_slope": -1.8,
    "binary_fraction": 0.45,
    "mass_ratio_slope": 0.7,
    "model_scatter": 0.04,
}
PLANES = {
    "optical": (("G", "BP-RP"), (10.0, 16.0), (-0.2, 2.6), np.array([[1.0, 0.0], [0.0, 2.0]])),
    "infrared": (("Ks", "J-Ks"), (8.0, 13.5), (-0.4, 1.6), np.array([[1.0, -1.0], [-1.0, 2.0]])),
}
ERROR = 0.03  # mag, of every star


def model_of(plane, error=ERROR, **cells):
    columns, limits, _, _ = PLANES[plane]
    bands, _ = plane_of(columns)
    errors = ErrorModel(jnp.array([0.0, 30.0]), jnp.full(2, error))
    grid = load_grid("parsec", bands)
    return PopulationModel(grid=grid, errors=errors, columns=columns, limits=limits, **cells)


def density_on(plane, density, step):
    """The density as convolved with ERROR on a grid of the plane [magnitude, colour]."""
    columns, limits, colours, correlation = PLANES[plane]
    magnitude = np.arange(limits[0] + step / 2, limits[1], step)
    colour = np.arange(colours[0] + step / 2, colours[1], step)
    x = np.stack(np.meshgrid(magnitude, colour, indexing="ij"), axis=-1).reshape(-1, 2)
    noise = np.broadcast_to(ERROR**2 * correlation, (len(x), 2, 2))
    log_p = jax.jit(lambda d, s: d(s))(density, Stars(x, noise, columns))
    return np.exp(np.asarray(log_p)).reshape(len(magnitude), len(colour))


def draw(plane, n, rng, extinction_scatter=0.0):
    """Stars of TRUTH without cells and without the kernel: masses, pairs, fluxes, errors, a cut.

    Returns:
        What lies between the limits [m, 2], whether each is a pair, and the share that they are.
    """
    columns, limits, _, correlation = PLANES[plane]
    bands, matrix = plane_of(columns)
    grid = load_grid("parsec", bands)
    isochrone = grid.isochrone(TRUTH["log_age"], TRUTH["metallicity"], TRUTH["a_v"])
    nodes, magnitudes, reddening = (np.asarray(a) for a in isochrone[:3])
    new = np.concatenate([[True], np.diff(nodes) > 0])

    def power_law(slope, low, high):
        u = rng.uniform(size=n)
        return (low ** (slope + 1) + u * (high ** (slope + 1) - low ** (slope + 1))) ** (
            1 / (slope + 1)
        )

    def photometry(mass, table):
        return np.stack([np.interp(mass, nodes[new], table[new, b]) for b in range(len(bands))], -1)

    mass = power_law(TRUTH["mass_slope"], nodes[0], nodes[-1])
    is_pair = rng.uniform(size=n) < TRUTH["binary_fraction"]
    companion = mass * power_law(TRUTH["mass_ratio_slope"], 0.1, 1.0)
    flux = 10 ** (-0.4 * photometry(mass, magnitudes))
    shines = (is_pair & (companion > nodes[0]))[:, None]
    flux = flux + np.where(shines, 10 ** (-0.4 * photometry(companion, magnitudes)), 0.0)
    magnitude = -2.5 * np.log10(flux) + TRUTH["distance_modulus"]
    extra = extinction_scatter * rng.normal(size=(n, 1)) * photometry(mass, reddening)
    x = (magnitude + extra) @ matrix.T + TRUTH["model_scatter"] * rng.normal(size=(n, 2))
    x = x + rng.multivariate_normal(np.zeros(2), ERROR**2 * correlation, n)
    inside = (x[:, 0] > limits[0]) & (x[:, 0] < limits[1])
    return x[inside], is_pair[inside], inside.mean()


# the other planes are slow: each compiles all again
FIRST = [next(iter(PLANES)), *(pytest.param(p, marks=pytest.mark.slow) for p in [*PLANES][1:])]


@pytest.mark.parametrize("plane", FIRST)
def test_integrates_to_one_between_the_limits(plane):
    density = jax.jit(lambda: model_of(plane, n_masses=96)(TRUTH))()
    step = 0.02
    assert density_on(plane, density, step).sum() * step**2 == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("plane", FIRST)
def test_simulated_stars_follow_it(plane):
    """4 × 10⁵ stars drawn in numpy: share selected, share of pairs, histogram of the plane."""
    limits, colours = PLANES[plane][1:3]
    n = 400_000
    x, is_pair, selected = draw(plane, n, np.random.default_rng(1))
    density = jax.jit(lambda: model_of(plane)(TRUTH))()
    assert float(jnp.exp(density.log_selected)) == pytest.approx(selected, rel=0.02)
    assert float(density.binary_share) == pytest.approx(is_pair.mean(), abs=0.01)
    step, coarse = 0.025, 8  # bins of 0.2 mag, each the mean of 8 × 8 points
    fine = density_on(plane, density, step)
    rows, lines = (s // coarse for s in fine.shape)
    fine = fine[: rows * coarse, : lines * coarse].reshape(rows, coarse, lines, coarse)
    probability = fine.sum(axis=(1, 3)) * step**2
    bins = [
        low + coarse * step * np.arange(count + 1)
        for low, count in ((limits[0], rows), (colours[0], lines))
    ]
    counts = np.histogram2d(x[:, 0], x[:, 1], bins=bins)[0]
    found = counts / len(x)
    # half the sum of differences is the share of stars in a wrong bin; Poisson noise alone: 1.6 %
    noise = np.sqrt(probability / len(x))
    wrong = 0.5 * np.abs(found - probability).sum()
    assert wrong < 0.02
    populous = probability > 0.002
    assert populous.sum() > 25
    deviation = np.abs(found - probability)[populous]
    assert (deviation < 5 * noise[populous] + 0.12 * probability[populous]).all()


def test_samples_follow_it():
    """Stars drawn from the density against its integral over bins of the plane."""
    limits, colours, correlation = PLANES["optical"][1:]
    density = jax.jit(lambda: model_of("optical")(TRUTH))()
    n, step, coarse = 40_000, 0.025, 8
    noise = ERROR**2 * correlation
    x = density.sample(n, lambda m: np.tile(noise, (len(m), 1, 1)), np.random.default_rng(4))
    assert x[:, 0].min() >= limits[0]
    assert x[:, 0].max() <= limits[1]
    fine = density_on("optical", density, step)
    rows, lines = (s // coarse for s in fine.shape)
    fine = fine[: rows * coarse, : lines * coarse].reshape(rows, coarse, lines, coarse)
    expected = n * fine.sum(axis=(1, 3)) * step**2
    bins = [
        low + coarse * step * np.arange(count + 1)
        for low, count in ((limits[0], rows), (colours[0], lines))
    ]
    found = np.histogram2d(x[:, 0], x[:, 1], bins=bins)[0]
    many = expected > 5
    statistic = np.sum((found - expected)[many] ** 2 / expected[many])
    assert chi2.sf(statistic, many.sum()) > 1e-3


def test_extinction_scatter_smears_along_the_reddening_vector():
    """Differential extinction of 0.2 mag: the simulated stars' mean ln p prefers it to none."""
    x, _, _ = draw("optical", 20_000, np.random.default_rng(2), extinction_scatter=0.2)
    columns, _, _, correlation = PLANES["optical"]
    stars = Stars(x, np.broadcast_to(ERROR**2 * correlation, (len(x), 2, 2)), columns)
    model = model_of("optical", n_masses=96, n_mass_ratios=8)

    def mean_log_p(sigma):
        log_p = model({**TRUTH, "extinction_scatter": sigma})(stars)
        return jnp.logaddexp(log_p, -12.0).mean()

    value = jax.jit(lambda s: jax.lax.map(mean_log_p, s))(jnp.array([0.0, 0.1, 0.2, 0.3]))
    assert int(jnp.argmax(value)) == 2
    assert float(value[2] - value[0]) > 0.1


def test_truth_is_the_most_likely():
    """Mean ln p of 5000 simulated stars is lower when any one parameter is off."""
    x, _, _ = draw("optical", 20_000, np.random.default_rng(3))
    x = x[:5000]
    columns, _, _, correlation = PLANES["optical"]
    stars = Stars(x, np.broadcast_to(ERROR**2 * correlation, (len(x), 2, 2)), columns)
    model = model_of("optical", n_masses=128, n_mass_ratios=8)
    off = {
        "log_age": 0.05,
        "metallicity": 0.1,
        "distance_modulus": 0.1,
        "a_v": 0.1,
        "mass_slope": 0.5,
        "binary_fraction": 0.15,
        "mass_ratio_slope": 1.5,
        "model_scatter": 0.02,
    }
    points = [TRUTH] + [{**TRUTH, k: TRUTH[k] + s * d} for k, d in off.items() for s in (1, -1)]
    stacked = {k: jnp.array([p[k] for p in points]) for k in TRUTH}

    def value(p):
        return jnp.logaddexp(model(p)(stars), -12.0).sum()

    values = np.asarray(jax.jit(lambda p: jax.lax.map(value, p))(stacked))
    assert values.argmax() == 0
    assert (values[0] - values[1:] > 2.0).all()


def test_outside_the_limits_there_is_nothing():
    density = jax.jit(lambda: model_of("optical", n_masses=48, n_mass_ratios=4)(TRUTH))()
    x = np.array([[9.99, 0.6], [16.01, 1.2], [12.5, 0.6]])
    log_p = density(Stars(x, np.broadcast_to(1e-3 * np.eye(2), (3, 2, 2)), ("G", "BP-RP")))
    assert np.isneginf(log_p[:2]).all()
    assert np.isfinite(log_p[2])


def test_a_population_that_the_limits_hide():
    """At a modulus of 30 nothing is bright enough: ln p is very low, not NaN, nor its gradient."""
    model = model_of("optical", n_masses=48, n_mass_ratios=4)
    stars = Stars(np.array([[12.5, 0.6]]), 1e-3 * np.eye(2)[None], ("G", "BP-RP"))

    def value(modulus):
        log_p = model({**TRUTH, "distance_modulus": modulus})(stars)
        return jnp.logaddexp(log_p, -8.0).sum()

    log_p, slope = jax.jit(jax.value_and_grad(value))(30.0)
    assert float(log_p) == pytest.approx(-8.0, abs=1e-6)
    assert np.isfinite(slope)


@pytest.mark.parametrize("distance_modulus", [3.0, 9.3, 13.0, 15.0, 15.5])
def test_share_between_the_limits_however_small(distance_modulus):
    """Φ in float64 and in the upper or lower tail, whichever does not cancel, by scipy."""
    model = model_of("optical", n_masses=48, n_mass_ratios=4)
    density = jax.jit(lambda d: model({**TRUTH, "distance_modulus": d}))(distance_modulus)
    cells = jax.device_get(density.cells)
    sigma = np.sqrt(cells.covs[:, 0, 0] + ERROR**2)
    low, high = ((limit - cells.means[:, 0]) / sigma for limit in model.limits)
    upper = low > 0
    share = np.where(upper, norm.sf(low) - norm.sf(high), norm.cdf(high) - norm.cdf(low))
    expected = np.log(cells.weights @ share)
    assert expected > -60
    assert float(density.log_selected) == pytest.approx(expected, abs=2e-6)


@pytest.mark.slow
def test_another_mass_function():
    """Kroupa's has more faint stars than a slope of −1 has: fewer between the limits."""
    model = model_of("optical", n_masses=48, n_mass_ratios=4)
    kept = [
        float(jax.jit(lambda f=f: model({**TRUTH, "mass_slope": -1.0}, f))().log_selected)
        for f in (None, kroupa())
    ]
    assert kept[1] < kept[0] - 0.3


def test_masses_of_simulated_stars():
    """Masses and pairs of single stars on the sequence, and of stars 0.75 mag above it."""
    isochrone = load_grid("parsec", ("G", "BP", "RP")).isochrone(9.13, -0.08, 0.4)
    nodes, magnitudes = (np.asarray(a) for a in isochrone[:2])
    rise = np.concatenate([[True], np.diff(nodes) > 0])
    mass = np.array([0.8, 1.0, 1.2])
    g, bp, rp = (np.interp(mass, nodes[rise], magnitudes[rise, b]) + 9.3 for b in range(3))
    x = np.concatenate([np.c_[g, bp - rp], np.c_[g - 0.75, bp - rp]])
    stars = Stars(x, np.broadcast_to(1e-4 * np.eye(2), (6, 2, 2)), ("G", "BP-RP"))
    density = jax.jit(lambda: model_of("optical", error=0.01)({**TRUTH, "model_scatter": 0.01}))()
    found = jax.jit(lambda d, s: d.stellar_parameters(s))(density, stars)
    np.testing.assert_allclose(found.mass[:3], mass, rtol=0.02)
    np.testing.assert_allclose(found.mass[3:], mass, rtol=0.06)  # pairs of q < 1 too
    assert float(found.binary[3:].min()) > 0.95
    assert float(found.mass_ratio[3:].min()) > 0.9
    assert (found.mass2 >= found.mass**2 * (1 - 1e-5)).all()


def test_planes():
    assert plane_of(("G", "BP-RP"))[0] == ("G", "BP", "RP")
    np.testing.assert_array_equal(plane_of(("G", "BP-RP"))[1], [[1, 0, 0], [0, 1, -1]])
    bands, matrix = plane_of(("Ks", "J-Ks"))
    assert bands == ("Ks", "J")
    np.testing.assert_array_equal(matrix, [[1, 0], [-1, 1]])
    np.testing.assert_array_equal(
        plane_of(("G", "G-RP", "BP-G"))[1], [[1, 0, 0], [1, -1, 0], [-1, 0, 1]]
    )
    with pytest.raises(ValueError, match="expected a magnitude, then colours"):
        plane_of(("BP-RP", "G"))
    with pytest.raises(ValueError, match="expected a magnitude, then colours"):
        plane_of(("G", "BP-RP-G"))
    errors = ErrorModel(jnp.zeros(1), jnp.ones(1))
    with pytest.raises(ValueError, match=r"need the bands \('G', 'BP', 'RP'\)"):
        PopulationModel(
            grid=load_grid("parsec", ("Ks", "J")),
            errors=errors,
            columns=("G", "BP-RP"),
            limits=(10.0, 16.0),
        )


def test_error_model_of_a_sample():
    """Medians in bins of equal number, linear between and constant beyond."""
    rng = np.random.default_rng(5)
    magnitude = rng.uniform(10, 18, 3000)
    error = 0.002 * 10 ** (0.2 * (magnitude - 10)) * rng.uniform(0.8, 1.25, 3000)
    noise = error[:, None, None] ** 2 * np.eye(2)
    model = ErrorModel.of(Stars(np.c_[magnitude, magnitude], noise, ("G", "BP-RP")))
    at = np.array([11.0, 14.0, 17.0])
    np.testing.assert_allclose(model(jnp.asarray(at)), 0.002 * 10 ** (0.2 * (at - 10)), rtol=0.05)
    assert float(model(jnp.array([5.0]))[0]) == float(model.error[0])
    few = ErrorModel.of(Stars(np.array([[12.0, 0.5]]), 1e-4 * np.eye(2)[None], ("G", "BP-RP")))
    np.testing.assert_allclose(few(jnp.array([9.0, 20.0])), 0.01)
