"""A magnitude and two colours: field, population and Bayes factor."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import multivariate_normal, norm

import jaxcluster as jc
from jaxcluster.population.cmd import ErrorModel, PopulationModel, plane_of
from jaxcluster.population.simulate import TRUTH

COLUMNS = ("G", "BP-RP", "J-Ks")
LIMITS = (10.0, 17.0)
ERRORS = np.array([0.005, 0.01, 0.03])
# A field that is known: two Gaussians, of which the limits cut the larger
WEIGHTS = np.array([0.7, 0.3])
MEANS = np.array([[16.5, 1.3, 0.7], [14.0, 0.9, 0.45]])
COVS = np.array(
    [
        [[2.5, 0.3, 0.1], [0.3, 0.12, 0.04], [0.1, 0.04, 0.03]],
        [[1.5, 0.1, 0.05], [0.1, 0.05, 0.02], [0.05, 0.02, 0.02]],
    ]
)


def draw_field(n, rng):
    label = rng.choice(2, size=6 * n, p=WEIGHTS)
    roots = np.linalg.cholesky(COVS)[label]
    x = MEANS[label] + np.einsum("nij,nj->ni", roots, rng.normal(size=(6 * n, 3)))
    return x[(x[:, 0] > LIMITS[0]) & (x[:, 0] < LIMITS[1])][:n]


def truth_at(x):
    """Ln of the density that `draw_field` draws from."""
    sigma = np.sqrt(COVS[:, 0, 0])
    inside = norm.cdf(LIMITS[1], MEANS[:, 0], sigma) - norm.cdf(LIMITS[0], MEANS[:, 0], sigma)
    parts = zip(WEIGHTS, MEANS, COVS, strict=True)
    each = [w * multivariate_normal(m, c).pdf(x) for w, m, c in parts]
    return np.log(sum(each) / (WEIGHTS @ inside))


def stars_at(x):
    return jc.Stars(x, np.tile(np.diag(ERRORS**2), (len(x), 1, 1)), COLUMNS)


def noise_at(magnitude):
    return np.tile(np.diag(ERRORS**2), (len(magnitude), 1, 1))


def fit(x):
    return jc.fit_field(stars_at(x), LIMITS, n_stars=100, key=jax.random.key(0))


@pytest.fixture(scope="module")
def fitted():
    return fit(draw_field(120, np.random.default_rng(0)))


def population(columns=COLUMNS, n_masses=96):
    bands, _ = plane_of(columns)
    return PopulationModel(
        grid=jc.load_grid("parsec", bands),
        errors=ErrorModel(jnp.array([0.0, 30.0]), jnp.full(2, ERRORS[0])),
        columns=columns,
        limits=LIMITS,
        n_masses=n_masses,
        n_mass_ratios=6,
    )


def test_the_field_integrates_to_one_and_its_marginals_are_integrals(fitted):
    g = np.linspace(*LIMITS, 36)
    c, k = np.arange(-3.0, 5.0, 0.08), np.arange(-3.0, 4.4, 0.08)
    grid = np.stack(np.meshgrid(g, c, k, indexing="ij"), axis=-1)
    values = np.exp(fitted(stars_at(grid.reshape(-1, 3)))).reshape(grid.shape[:3])
    each = np.trapezoid(values, k, axis=2)
    assert np.trapezoid(np.trapezoid(each, c, axis=1), g) == pytest.approx(1.0, abs=0.01)
    plane = grid[:, :, 0, :2].reshape(-1, 2)
    noise = np.zeros((len(plane), 2, 2))
    marginal = np.exp(fitted.marginal(1)(jc.Stars(plane, noise, COLUMNS[:2])))
    large = each.ravel() > 1e-3
    np.testing.assert_allclose(marginal[large], each.ravel()[large], rtol=0.05)


def test_the_field_is_near_the_one_it_was_drawn_from():
    """Mean ln φ of new stars, against the truth and against a Gaussian."""
    rng = np.random.default_rng(1)
    phi, x = fit(draw_field(1000, rng)), draw_field(4000, rng)
    lost = truth_at(x) - np.asarray(phi(stars_at(x)))
    assert 0.0 < lost.mean() < 0.1
    one = multivariate_normal(x.mean(axis=0), np.cov(x.T)).logpdf(x)
    assert lost.mean() < 0.5 * (truth_at(x) - one).mean()
    # leave-one-out says what new stars say
    mean, error = phi.mean_left_out
    assert mean == pytest.approx(float(np.mean(phi(stars_at(x)))), abs=4 * error)


def test_samples_follow_the_field(fitted):
    """Shares of octants about the medians, against the integral on a grid."""
    n = 20_000
    x = fitted.sample(n, np.random.default_rng(2))
    middle, h = np.median(x, axis=0), np.array([0.14, 0.08, 0.08])
    axes = [
        np.arange(low + 0.5 * step, high, step)
        for low, high, step in zip([10.0, -3.0, -3.0], [17.0, 5.0, 4.4], h, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    mass = np.exp(fitted(stars_at(grid))) * h.prod()
    # cells that a median cuts belong to one side or the other: split them
    side = np.clip((grid - middle) / h + 0.5, 0.0, 1.0)
    for octant in np.ndindex(2, 2, 2):
        share = np.where(octant, side, 1.0 - side).prod(axis=1)
        found = ((x > middle) == np.array(octant, bool)).all(axis=1).mean()
        assert found == pytest.approx(float(mass @ share), abs=5 * np.sqrt(found / n) + 0.003)


def _at(model):
    return model({**TRUTH, "model_scatter": 0.03})


def test_one_colour_is_the_marginal_of_two():
    """∫ p(G, BP − RP, J − Ks) d(J − Ks) is the density of the two columns."""
    models = population(COLUMNS, 192), population(COLUMNS[:2], 192)
    both, one = (jax.jit(partial(_at, model))() for model in models)
    x = one.sample(200, lambda m: noise_at(m)[:, :2, :2], np.random.default_rng(3))
    k = np.arange(-0.5, 1.6, 0.01)
    all_of = np.concatenate([np.repeat(x, len(k), axis=0), np.tile(k, len(x))[:, None]], axis=1)
    values = np.exp(jax.jit(lambda d, s: d(s))(both, stars_at(all_of))).reshape(len(x), len(k))
    noise = noise_at(x[:, 0])[:, :2, :2]
    expected = np.exp(jax.jit(lambda d, s: d(s))(one, jc.Stars(x, noise, COLUMNS[:2])))
    found = values.sum(axis=1) * 0.01
    assert np.median(np.abs(found / expected - 1.0)) < 0.02
    assert np.quantile(np.abs(found / expected - 1.0), 0.9) < 0.1


def sample_of(n_members, n_field, rng):
    cluster = jax.jit(lambda: population()({**TRUTH, "model_scatter": 0.01}))()
    x = np.concatenate([cluster.sample(n_members, noise_at, rng), draw_field(n_field, rng)])
    return stars_at(x[np.argsort(x[:, 0])])


@pytest.mark.slow
def test_a_second_colour_says_more():
    rng = np.random.default_rng(4)
    sample, field = sample_of(12, 68, rng), stars_at(draw_field(1500, rng))
    options = {"limits": LIMITS, "sampler": partial(jc.fast, tolerance=0.2), "key": 1}
    three = jc.bayes_factor(sample, field, **options)
    flat = [jc.Stars(s.x[:, :2], s.noise[:, :2, :2], COLUMNS[:2]) for s in (sample, field)]
    two = jc.bayes_factor(*flat, **options)
    assert three.log10_bayes_factor > two.log10_bayes_factor
    assert three.fit_flag is None
    low, high = np.quantile(three.posterior.draws["distance_modulus"], [0.005, 0.995])
    assert low < TRUTH["distance_modulus"] < high
    figure = three.plot_cmd()
    assert isinstance(figure, Figure)
    assert [ax.get_xlabel() for ax in figure.axes[:2]] == ["BP − RP [mag]", "J − Ks [mag]"]
