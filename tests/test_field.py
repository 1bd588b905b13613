from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, norm

from jaxcluster.density.draws import systematic
from jaxcluster.density.stars import Stars
from jaxcluster.field.density import fit_field, published_kde
from jaxcluster.field.error import field_error, halves, log_change
from jaxcluster.field.gaussians import FOLDS, fit_gaussians, log_density_at, refit_gaussians
from jaxcluster.field.kernels import adaptive_kernels, leave_one_out

LIMITS = (10.0, 18.0)
DATA = Path(__file__).parents[2] / "shared" / "data" / "ngc2682" / "field.parquet"
KEY = jax.random.key(0)

# A density that is known: three Gaussians, one of them cut by the faint limit at its peak.
WEIGHTS = np.array([0.5, 0.35, 0.15])
MEANS = np.array([[18.0, 1.3], [16.0, 0.8], [13.0, 1.1]])
COVS = np.array([[[2.0, 0.3], [0.3, 0.2]], [[1.5, 0.15], [0.15, 0.03]], [[1.0, 0.0], [0.0, 0.1]]])


def stars(x, error=0.01):
    x = jnp.asarray(x)
    return Stars(x, jnp.broadcast_to(error**2 * jnp.eye(2), (len(x), 2, 2)), ("G", "BP-RP"))


def truth(x):
    density = np.zeros(len(x))
    for w, m, v in zip(WEIGHTS, MEANS, COVS, strict=True):
        inside = np.diff(norm.cdf(LIMITS, m[0], v[0, 0] ** 0.5))[0]
        slope = v[0, 1] / v[0, 0]
        width = np.sqrt(v[1, 1] - slope * v[0, 1])
        density += (
            w
            / inside
            * norm.pdf(x[:, 0], m[0], v[0, 0] ** 0.5)
            * norm.pdf(x[:, 1], m[1] + slope * (x[:, 0] - m[0]), width)
        )
    return np.log(density)


def draw(n, seed):
    rng = np.random.default_rng(seed)
    x = []
    while len(x) < n:
        k = rng.choice(3, p=WEIGHTS)
        star = rng.multivariate_normal(MEANS[k], COVS[k])
        while not LIMITS[0] < star[0] < LIMITS[1]:
            star = rng.multivariate_normal(MEANS[k], COVS[k])
        x.append(star)
    return np.array(x)


def curved(n, seed):
    """A main sequence with a bend and a red clump: no mixture of a few Gaussians."""
    rng = np.random.default_rng(seed)
    g = 18 - rng.exponential(2.0, 4 * n)
    g = g[(g > LIMITS[0]) & (g < LIMITS[1])][:n]
    colour = 0.6 + 0.02 * (g - 11) ** 2 + 0.06 * rng.standard_normal(n)
    red = rng.random(n) < 0.2
    colour[red] = 1.9 - 0.05 * g[red] + 0.04 * rng.standard_normal(red.sum())
    return np.stack([g, colour], 1)


def curved_truth(x):
    g, colour = x.T
    main = norm.pdf(colour, 0.6 + 0.02 * (g - 11) ** 2, 0.06)
    magnitude = 0.5 * np.exp(0.5 * (g - 18)) / (1 - np.exp(-4))
    return np.log(magnitude * (0.8 * main + 0.2 * norm.pdf(colour, 1.9 - 0.05 * g, 0.04)))


@pytest.fixture(scope="module")
def field():
    return stars(draw(80, 1))


@pytest.fixture(scope="module")
def fitted(field):
    return fit_field(field, LIMITS, n_stars=10, key=KEY)


@pytest.fixture(scope="module")
def fitted_to_curve():
    return fit_field(stars(curved(120, 100)), LIMITS, n_stars=10, key=KEY)


@pytest.fixture(scope="module")
def fitted_to_300():
    return fit_field(stars(draw(300, 4)), LIMITS, n_stars=100, key=KEY)


def kernel_density(y, x, variances, mirror):
    """Plain loops over field stars: the mean of kernels normalised inside the limits."""
    total = np.zeros(len(y))
    for (g, c), (vg, vc) in zip(x, variances, strict=True):
        sg, sc = vg**0.5, vc**0.5
        images = [g, 2 * (LIMITS[0] if g < np.mean(LIMITS) else LIMITS[1]) - g][: 1 + mirror]
        inside = sum(norm.cdf(LIMITS[1], m, sg) - norm.cdf(LIMITS[0], m, sg) for m in images)
        magnitude = sum(norm.pdf(y[:, 0], m, sg) for m in images)
        total += magnitude / inside * norm.pdf(y[:, 1], c, sc)
    return total / len(x)


def nearest(x, k, metric=1.0):
    d = np.hypot((x[:, None, 0] - x[:, 0]) / metric, x[:, None, 1] - x[:, 1])
    return np.sort(d, axis=1)[:, k]


@pytest.mark.parametrize("method", ["stack", "published"])
def test_integrates_to_one_inside_the_limits(field, fitted, method):
    phi = fitted if method == "stack" else published_kde(field, LIMITS)
    g = np.linspace(*LIMITS, 201)
    c = np.arange(-12, 15, 0.01)
    grid = np.stack(np.meshgrid(g, c, indexing="ij"), -1).reshape(-1, 2)
    values = np.exp(phi(stars(grid))).reshape(len(g), len(c))
    assert np.trapezoid(np.trapezoid(values, c), g) == pytest.approx(1.0, abs=2e-4)


def test_samples_follow_it(fitted):
    """20 000 draws against the integral over cells, those of the floor's tails among them."""
    x = fitted.sample(20_000, np.random.default_rng(3))
    g, c = np.linspace(*LIMITS, 301), np.arange(-12, 15, 0.01)
    middle = 0.5 * (g[1:] + g[:-1])
    grid = np.stack(np.meshgrid(middle, c, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(fitted(stars(grid))).reshape(len(middle), len(c)) * (g[1] - g[0]) * 0.01
    edges_c = [-12.0, -1.0, *np.quantile(np.asarray(fitted.x)[:, 1], [0.2, 0.5, 0.8]), 4.0, 15.0]
    cells = [mass[:, (c >= a) & (c < b)] for a, b in pairwise(edges_c)]
    expected = np.array([part.reshape(5, 60, -1).sum(axis=(1, 2)) for part in cells]).T
    found = np.histogram2d(*x.T, bins=[g[::60], edges_c])[0]
    assert found.sum() == 20_000
    # 30 cells, those of the tails with some stars each
    assert chi2.sf(np.sum((found - 20_000 * expected) ** 2 / (20_000 * expected)), 29) > 1e-3


def test_published_recipe_equals_plain_loops(field):
    x, y = np.asarray(field.x), draw(50, 2)
    variances = nearest(x, 10)[:, None] ** 2 + 0.01**2 + np.zeros((1, 2))
    expected = np.log(kernel_density(y, x, variances, mirror=False))
    np.testing.assert_allclose(published_kde(field, LIMITS)(stars(y)), expected, rtol=1e-9)


def test_published_leave_one_out_equals_refits(field):
    x = np.asarray(field.x)
    left_out = published_kde(field, LIMITS).leave_one_out
    for i in (0, 7, 33, 79):
        refit = published_kde(stars(np.delete(x, i, 0)), LIMITS)
        assert left_out[i] == pytest.approx(float(refit(stars(x[i : i + 1]))[0]), rel=1e-9)


@pytest.mark.parametrize("widths", [(6, 1.0, 0.7), (24, 6.0, 0.35)])
def test_leave_one_out_of_the_kernels_equals_refits(field, widths):
    x = np.asarray(field.x)
    k, metric, scale = widths
    left_out = leave_one_out(adaptive_kernels(x, LIMITS, *widths), x, LIMITS)
    for i in (0, 7, 33, 79):
        rest = np.delete(x, i, 0)
        sigma = scale * nearest(rest, k, metric)[:, None] * [metric, 1.0]
        expected = kernel_density(x[i : i + 1], rest, sigma**2, mirror=True)
        assert left_out[i] == pytest.approx(expected[0], rel=1e-9)


def test_recovers_a_known_density(fitted, fitted_to_300):
    test = draw(2000, 3)
    few, many = (np.mean(truth(test) - np.asarray(f(stars(test)))) for f in (fitted, fitted_to_300))
    # three Gaussians have 17 parameters: 17 / 2n = 0.106, 0.028 if their number is known
    assert 3 * 0.106 > few > many > 0
    assert many < 3 * 0.028


def test_truncated_gaussian_is_recovered():
    rng = np.random.default_rng(5)
    x = rng.multivariate_normal([18.0, 1.3], [[1.0, 0.2], [0.2, 0.1]], 8000)
    x = x[x[:, 0] < 18]  # half of it: the mean of what is left is 17.2
    fit = fit_gaussians(x, LIMITS, [1], rng)
    np.testing.assert_allclose(fit.means[0], [18.0, 1.3], atol=0.1)
    np.testing.assert_allclose(fit.covs[0], [[1.0, 0.2], [0.2, 0.1]], atol=0.1)


def test_fits_side_by_side_are_those_of_each_by_itself():
    """Those that go on longer change nothing of others, nor do stars that are left out."""
    rng, x = np.random.default_rng(6), draw(300, 4)
    start = fit_gaussians(x, LIMITS, [3], rng)
    real = np.array([rng.uniform(size=len(x)) < share for share in (0.3, 0.8, 1.0)])
    starts = jax.tree.map(lambda a: np.stack([a] * 3), start)
    together = refit_gaussians(np.stack([x] * 3), LIMITS, starts, real)
    for f, those in enumerate(real):
        one = jax.tree.map(lambda a: np.asarray(a)[None], start)
        alone = refit_gaussians(x[those][None], LIMITS, one, np.ones((1, those.sum()), bool))
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[f], b[0], rtol=1e-8)


def ingredients(phi, test):
    """ln φ with the kernels alone and with the Gaussians alone in place of the stack."""
    k, omega = FOLDS * phi.hyperparameters.components, phi.hyperparameters.kde_weight
    n, parts = phi.n_kernels, []
    for rows, share in ((slice(0, n), omega), (slice(n, n + k), 1 - omega)):
        part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], phi.kernels)
        weights = part.weights / max(share, 1e-12)
        kernels = type(part)(weights=weights, means=part.means, covs=part.covs)
        parts.append(np.logaddexp(log_density_at(test, kernels), phi.parts(test)[1]))
    return parts


@pytest.mark.parametrize(
    ("population", "fit"),
    [(draw, "fitted"), (draw, "fitted_to_300"), (curved, "fitted_to_curve")],
)
def test_stack_is_at_least_as_good_as_its_ingredients(population, fit, request):
    test, phi = population(2000, 3), request.getfixturevalue(fit)
    stack = np.asarray(phi(stars(test)))
    for part in ingredients(phi, test):
        difference = stack - part
        error = (
            difference.std() / np.sqrt(len(test)) + 1 / phi.n_field
        )  # ω is one parameter: 1 / 2n nat
        assert difference.mean() > -2 * error


def test_left_out_mean_agrees_with_held_out_stars(fitted_to_curve):
    test = stars(curved(2000, 3))
    another = fit_field(stars(curved(120, 101)), LIMITS, n_stars=10, key=KEY)
    for phi in (fitted_to_curve, another):
        mean, error = phi.mean_left_out
        assert abs(mean - float(phi(test).mean())) < 3 * error


def test_floor_keeps_every_star_inside_the_limits_finite(fitted):
    far = stars(np.array([[14.0, 30.0], [10.0, -20.0], [18.0, 1.0], [18.01, 1.0]]))
    values = np.asarray(fitted(far))
    assert np.isfinite(values[:3]).all()
    assert values[3] == -np.inf
    area = 8 * (np.ptp(np.asarray(fitted.box[1])) + 2)
    assert values[0] == pytest.approx(
        np.log(1 / 81 / area) - (30 - float(fitted.box[1, 1])), rel=1e-6
    )


def test_log_prob_of_one_star_equals_the_call(field, fitted):
    one = jax.vmap(fitted.log_prob)(field.x[:5], field.noise[:5])
    np.testing.assert_allclose(one, fitted(field[np.arange(5)]), rtol=1e-10)


def test_stars_of_the_field_are_left_out(field, fitted):
    sample = stars(np.concatenate([np.asarray(field.x)[[3, 60]], draw(2, 11)]))
    values = fitted.without(sample, jnp.array([3, 60, -1, -1]))
    np.testing.assert_allclose(values[:2], fitted.leave_one_out[jnp.array([3, 60])])
    np.testing.assert_allclose(values[2:], fitted(sample)[2:])
    assert np.all(values[:2] < fitted(sample)[:2])
    with pytest.raises(ValueError, match="rows: 1 of 4"):
        fitted.without(sample, jnp.array([3, 80, -1, -1]))


def test_same_key_same_density_and_stars_outside_the_limits_do_not_count(field, fitted):
    more = np.concatenate([np.asarray(field.x), [[19.0, 1.0], [5.0, 0.0]]])
    phi = fit_field(stars(more), LIMITS, n_stars=10, key=KEY)
    assert phi.n_field == 80
    jax.tree.map(np.testing.assert_array_equal, phi.kernels, fitted.kernels)
    np.testing.assert_array_equal(phi.leave_one_out[:80], fitted.leave_one_out)
    assert np.all(phi.leave_one_out[80:] == -np.inf)


def test_small_fields_are_flagged(fitted, fitted_to_300):
    assert "80 field stars for 10 stars, fewer than 300" in fitted.flag
    assert fitted_to_300.flag is None  # it was for 100 stars


def test_change_of_a_bayes_factor_is_exact():
    """Against evidences of both by summing over a discrete posterior, far from first order."""
    rng = np.random.default_rng(8)
    cluster = rng.gamma(0.5, size=(50, 12))  # c_i at 50 points of equal prior
    share = rng.uniform(0.2, 0.9, size=(50, 1))
    phi, other = rng.gamma(1.0, size=(2, 12)) + 0.05

    def log_bf(field):
        log_l = np.log((1 - share) * cluster + share * field).sum(axis=1)
        return np.log(np.exp(log_l).mean()) - np.log(field).sum(), np.exp(log_l)

    (before, likelihood), (after, _) = log_bf(phi), log_bf(other)
    draws = systematic(likelihood / likelihood.sum(), 400_000, rng)
    p = ((1 - share) * cluster / ((1 - share) * cluster + share * phi))[draws]
    assert abs(after - before) > 1.0
    assert log_change(p, np.log(other / phi)) == pytest.approx(after - before, abs=1e-3)
    assert log_change(p, np.zeros(12)) == pytest.approx(0.0, abs=1e-12)


def test_bias_of_halves_is_what_the_field_still_lacks(fitted_to_curve):
    """As members, stars that lie as the field does: ln φ is too small at them, ln BF too high."""
    x = curved(1000, 3)
    lacking, said = [], []
    another = fit_field(stars(curved(120, 101)), LIMITS, n_stars=10, key=KEY)
    for phi in (fitted_to_curve, another):
        lacking.append(float(np.mean(curved_truth(x) - phi(stars(x)))))
        said.append(field_error(phi, stars(x), np.ones((1, 1000))).bias / 1000)
    assert 0.5 < np.mean(said) / np.mean(lacking) < 2


def test_halves_are_densities_of_half_of_the_field(field, fitted):
    magnitudes = LIMITS[0] + (np.arange(100) + 0.5) * 8 / 100
    colours = np.linspace(-4, 8, 300)
    plane = stars(np.stack(np.meshgrid(magnitudes, colours, indexing="ij"), -1).reshape(-1, 2))
    found = halves(fitted, plane, key=3)
    total = np.exp(found).sum(axis=1) * 8 / 100 * (colours[1] - colours[0])
    np.testing.assert_allclose(total, 1.0, atol=5e-3)
    np.testing.assert_array_equal(fitted.x, field.x)
    np.testing.assert_array_equal(found[:2], halves(fitted, plane, key=3)[:2])
    with pytest.raises(ValueError, match="from fit_field, found published_kde"):
        halves(published_kde(field, LIMITS), plane)


def test_stars_of_the_field_are_in_no_half(fitted_to_300):
    """A member that is listed in the field too would be its own neighbour in half of them."""
    own = stars(np.asarray(fitted_to_300.x)[:40])
    rows = np.arange(40)
    with_them, without = halves(fitted_to_300, own), halves(fitted_to_300, own, rows=rows)
    assert with_them.mean() > without.mean() + 0.05
    few = fit_field(own[np.arange(30)], LIMITS, n_stars=10, key=KEY)
    assert np.isfinite(halves(few, own[np.arange(30)], rows=np.arange(30))).all()  # none is left


@pytest.mark.slow
def test_field_error_is_the_scatter_between_fields():
    """Sums of ln φ at one sample, with 24 independent fields of one known density."""
    sample, memberships = stars(draw(50, 30)), np.linspace(0.2, 1.0, 50)[None]
    limit = truth(np.asarray(sample.x))
    off, said = [], []
    for seed in range(24):
        phi = fit_field(stars(draw(200, 40 + seed)), LIMITS, n_stars=50, key=jax.random.key(seed))
        off.append(-log_change(memberships, limit - np.asarray(phi(sample))))
        said.append(field_error(phi, sample, memberships, key=seed))
    scatter, total = (np.array([getattr(one, n) for one in said]) for n in ("scatter", "total"))
    # 19 degrees of freedom each; the scatter of 24 is known to 15 %
    assert 0.6 < np.sqrt((scatter**2).mean()) / np.std(off, ddof=1) < 1.6
    assert 0.5 < np.mean(np.abs(off) < total) < 0.95


def test_the_fewest_field_stars_have_a_density_and_a_bias(field):
    phi = fit_field(field[np.arange(24)], LIMITS, n_stars=10, key=KEY)
    assert np.isfinite(phi.leave_one_out).all()
    assert np.isfinite(field_error(phi, stars(draw(10, 2)), np.ones((1, 10)))).all()


def test_misuse_is_named(field, fitted):
    with pytest.raises(ValueError, match=r"23 of 23 stars have 10 <= G <= 18.*annulus"):
        fit_field(field[np.arange(23)], LIMITS, n_stars=10, key=KEY)
    with pytest.raises(ValueError, match="limits: expected"):
        published_kde(field, (18.0, 10.0))
    with pytest.raises(ValueError, match="BP-RP: 1 of 80 values are not finite"):
        fit_field(stars(field.x.at[4, 1].set(jnp.nan)), LIMITS, n_stars=10, key=KEY)
    with pytest.raises(ValueError, match="columns: expected"):
        fit_field(Stars(field.x[:, :1], field.noise[:, :1, :1], ("G",)), LIMITS, n_stars=1, key=KEY)


@pytest.mark.skipif(not DATA.exists(), reason=f"no real field at {DATA}")
def test_beats_the_published_recipe_on_the_field_of_ngc2682():
    table = pd.read_parquet(DATA)[["phot_g_mean_mag", "bp_rp"]].to_numpy()
    table = np.random.default_rng(0).permutation(table[table[:, 0] > 8])
    test, sample = stars(table[:600]), stars(table[600:700], 0.003)
    new = float(fit_field(sample, (8.0, 18.0), n_stars=30, key=KEY)(test).mean())
    assert new > float(published_kde(sample, (8.0, 18.0))(test).mean()) + 0.2
    assert new > -2.30  # the trial of DESIGN.md with 100 field stars
