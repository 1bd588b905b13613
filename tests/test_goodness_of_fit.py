"""Stars that follow their prediction, or do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

import jaxcluster as jc
from jaxcluster.jobs.goodness_of_fit import DRAWS, Parted, goodness_of_fit
from jaxcluster.jobs.stellar import Populations
from jaxcluster.population.cmd import ErrorModel, PopulationModel
from jaxcluster.population.simulate import TRUTH

LIMITS, ERROR = (10.0, 17.0), 0.01
COLUMNS = ("G", "BP-RP")
SHARE = 0.7


def noise_at(magnitude):
    return np.tile(ERROR**2 * np.eye(2), (len(magnitude), 1, 1))


@pytest.fixture(scope="module")
def field():
    x = np.random.default_rng(0).normal([15.0, 1.2], [1.5, 0.4], size=(600, 2))
    x = x[(x[:, 0] > LIMITS[0]) & (x[:, 0] < LIMITS[1])]
    stars = jc.Stars(x, noise_at(x[:, 0]), COLUMNS)
    return jc.fit_field(stars, LIMITS, n_stars=100, key=jax.random.key(0))


@pytest.fixture(scope="module")
def populations():
    """Populations of a function of the distance modulus, the same at all draws."""
    model = PopulationModel(
        grid=jc.load_grid("parsec", ("G", "BP", "RP")),
        errors=ErrorModel(jnp.array([0.0, 30.0]), jnp.full(2, ERROR)),
        columns=COLUMNS,
        limits=LIMITS,
        n_masses=96,
        n_mass_ratios=6,
    )
    compiled = jax.jit(lambda modulus: model({**TRUTH, "distance_modulus": modulus}))

    def of(modulus):
        one = compiled(modulus)
        cluster = jax.tree.map(lambda a: np.stack([np.asarray(a)] * DRAWS), one)
        # of each star nothing is asked
        return one, Populations(None, None, cluster, np.full(DRAWS, SHARE))  # pyright: ignore

    return of


def sample_of(cluster, field, n, rng):
    members = rng.binomial(n, SHARE)
    x = np.concatenate([cluster.sample(members, noise_at, rng), field.sample(n - members, rng)])
    x = x[np.argsort(x[:, 0])]
    return jc.Stars(x, noise_at(x[:, 0]), COLUMNS)


def test_of_the_truth_p_values_are_uniform(field, populations):
    cluster, found = populations(TRUTH["distance_modulus"])
    fits = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        fits.append(goodness_of_fit(sample_of(cluster, field, 200, rng), field, found, rng))
    p = np.array([fit.p_value for fit in fits])
    # of the median of 20 sets of predictions, which differ little
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean([fit.misplaced for fit in fits]) < 0.02
    assert sum(fit.flag(COLUMNS) is not None for fit in fits) == 0


def test_a_wrong_distance_is_told_and_where(field, populations):
    rng = np.random.default_rng(1)
    cluster, _ = populations(TRUTH["distance_modulus"])
    _, wrong = populations(TRUTH["distance_modulus"] + 0.4)
    stars = sample_of(cluster, field, 400, rng)
    fit = goodness_of_fit(stars, field, wrong, rng)
    assert fit.p_value < 1e-6
    assert fit.misplaced > 0.1
    assert f"p = {fit.p_value:.1g}" in fit.flag(COLUMNS)
    assert fit.flag((*COLUMNS, "J-Ks")) == fit.flag(COLUMNS)
    # the numbers of the cell that it names
    worst, x = fit.cells[0], np.asarray(stars.x)
    inside = [
        (x[:, axis] >= low) & (x[:, axis] <= high)
        for axis, (low, high) in enumerate((worst.magnitudes, worst.colours))
    ]
    assert np.logical_and(*inside).sum() == pytest.approx(worst.found, abs=1)
    assert sum(cell.found for cell in fit.cells) == len(stars)
    assert fit.cells[0].expected * len(fit.cells) == pytest.approx(len(stars))


def test_a_population_that_the_limits_hide(field, populations):
    """Posteriors of fields alone have some: the sample is then field."""
    _, hidden = populations(-20.0)
    rng = np.random.default_rng(4)
    x = field.sample(200, rng)
    x = x[np.argsort(x[:, 0])]
    fit = goodness_of_fit(jc.Stars(x, noise_at(x[:, 0]), COLUMNS), field, hidden, rng)
    assert fit.p_value > 0.01


def test_few_stars_are_not_judged(field, populations):
    cluster, found = populations(TRUTH["distance_modulus"])
    rng = np.random.default_rng(2)
    assert goodness_of_fit(sample_of(cluster, field, 31, rng), field, found, rng) is None


def test_cells_have_as_many_stars():
    x = np.random.default_rng(3).normal(size=(900, 2))
    parted = Parted.by(x, 3)
    assert parted.count(x).tolist() == [100] * 9
    assert parted.count(np.array([[-9.0, -9.0], [9.0, 9.0]])).tolist() == [1, *[0] * 7, 1]
    (low, high), (blue, red) = parted.edges(4)
    here = (x[:, 0] >= low) & (x[:, 0] < high) & (x[:, 1] >= blue) & (x[:, 1] < red)
    assert here.sum() == 100
