"""Every density of the package: a registry of constructors drives the tests.

A new subclass of `AbstractDensity` must be added to `CONSTRUCTORS`, or the first test fails.
"""

import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from numpyro.distributions import MultivariateNormal
from scipy.integrate import quad

import jaxcluster
from jaxcluster.density.mixture import (
    AbstractDensity,
    GaussianMixture,
    Known,
    Mixture,
    Product,
    Subspace,
)
from jaxcluster.density.stars import Stars
from jaxcluster.field.density import published_kde
from jaxcluster.population.cmd import ErrorModel, PopulationModel
from jaxcluster.population.grids import load_grid
from jaxcluster.structure.footprint import box
from jaxcluster.structure.profiles import King
from jaxcluster.structure.surface import ClusterOnSky, FieldOnSky, SurfaceDensity

COLUMNS = ("G", "BP-RP")
LIMITS = (10.0, 15.0)
COLOURS = (-1.0, 3.0)
NOISE = np.array([[0.04, -0.01], [-0.01, 0.03]])  # of every star here


def gaussian_mixture():
    means = np.array([[11.5, 0.6], [12.5, 1.2], [13.0, 0.8]])
    covs = np.array([[[0.1, 0.03], [0.03, 0.05]], [[0.05, 0.0], [0.0, 0.02]], 0.08 * np.eye(2)])
    weights = np.array([0.5, 0.0, 0.5])
    return GaussianMixture(*(jnp.asarray(a) for a in (weights, means, covs)))


def mixture():
    broad = GaussianMixture(
        jnp.ones(1), jnp.array([[12.5, 1.0]]), jnp.array([[[0.15, 0.0], [0.0, 0.1]]])
    )
    return Mixture(jnp.array([0.3, 0.7]), (gaussian_mixture(), broad))


def one_column(mean, variance):
    return GaussianMixture(jnp.ones(1), jnp.array([[mean]]), jnp.array([[[variance]]]))


def product():
    return Product((Subspace((0,), one_column(12.5, 0.1)), Subspace((1,), one_column(1.0, 0.05))))


def population():
    grid = load_grid("parsec", ("G", "BP", "RP"))
    # as large an error as NOISE has: the selection is then exact
    errors = ErrorModel(jnp.array([0.0, 30.0]), jnp.full(2, np.sqrt(NOISE[0, 0])))
    model = PopulationModel(
        grid=grid, errors=errors, columns=COLUMNS, limits=LIMITS, n_masses=48, n_mass_ratios=4
    )
    return jax.jit(lambda p: model(p))(
        {
            "log_age": 9.0,
            "metallicity": 0.0,
            "distance_modulus": 9.0,
            "a_v": 0.2,
            "mass_slope": -2.0,
            "binary_fraction": 0.4,
            "model_scatter": 0.05,
        }
    )


def field():
    rng = np.random.default_rng(2)
    x = np.c_[rng.uniform(*LIMITS, 80), rng.normal(1.0, 0.3, 80)]
    return published_kde(Stars(x, np.broadcast_to(1e-4 * np.eye(2), (80, 2, 2)), COLUMNS), LIMITS)


def surface():
    """Of a cluster on the plane of these tests, as if it were the sky."""
    profile = King(0.5, 1.5)
    footprint = box(5.0, 4.0, centre=(12.5, 1.0))
    return SurfaceDensity(profile, footprint, 30.0, 5.0, (12.3, 0.9), 0.2, 30.0, (0.2, -0.1))


CONSTRUCTORS = {
    "GaussianMixture": gaussian_mixture,
    "Mixture": mixture,
    "Product": product,
    "Subspace": lambda: Subspace((0,), one_column(12.5, 0.1)),
    "PopulationDensity": population,
    "FieldDensity": field,
    "ClusterOnSky": lambda: ClusterOnSky(surface()),
    "FieldOnSky": lambda: FieldOnSky(surface()),
    "SurfaceDensity": surface,  # a rate
}
# A subspace of the magnitude alone is constant in colour: its integral is a test of its own.
IN_THE_PLANE = [name for name in CONSTRUCTORS if name not in ("Subspace", "SurfaceDensity")]


def subclasses(cls):
    return {s for c in cls.__subclasses__() for s in ({c} | subclasses(c))}


@pytest.fixture(scope="module", params=CONSTRUCTORS)
def density(request):
    return CONSTRUCTORS[request.param]()


@pytest.fixture(autouse=True)
def strict():
    """No integer, and no float32, meets float64 by accident."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(1)
    x = np.c_[rng.uniform(10.5, 14.5, 40), rng.normal(1.0, 0.3, 40)]
    return Stars(x, np.broadcast_to(NOISE, (40, 2, 2)), COLUMNS)


def test_no_density_is_missing_from_the_registry():
    for module in pkgutil.walk_packages(jaxcluster.__path__, "jaxcluster."):
        importlib.import_module(module.name)
    concrete = {
        c.__name__
        for c in subclasses(AbstractDensity)
        if c.__module__.startswith("jaxcluster.") and not inspect.isabstract(c)
    }
    # known at a model's own stars only, and no densities of one star
    assert concrete - {"Known", "_Terms"} == set(CONSTRUCTORS)


def test_is_a_pytree(density, stars):
    """Taken apart and put together, and passed through jit as an argument: the same values."""
    leaves, structure = jax.tree.flatten(density)
    again = jax.tree.unflatten(structure, leaves)
    assert type(again) is type(density)
    compiled = jax.jit(lambda d, s: d(s))
    np.testing.assert_array_equal(compiled(again, stars), compiled(density, stars))


def test_one_star_or_many(density, stars):
    """`__call__`, faster or not, is `log_prob` of each star, in and out of jit."""
    each = jax.jit(lambda d, s: jax.vmap(d.log_prob)(s.x, s.noise))(density, stars)
    together = jax.jit(lambda d, s: d(s))(density, stars)
    single = jax.jit(lambda d, s: d.log_prob(s.x[3], s.noise[3]))(density, stars)
    assert together.shape == (len(stars),)
    assert bool(jnp.isfinite(together).any())
    # float32 pairs of a population, about a centre that differs
    np.testing.assert_allclose(each, together, atol=2e-4)
    assert float(single) == pytest.approx(float(together[3]), abs=2e-4)


def test_gradients_are_finite(density, stars):
    """Of Σ ln(p + a floor) with respect to all floating leaves."""

    def value(leaves, structure):
        log_p = jax.tree.unflatten(structure, leaves)(stars)
        return jnp.logaddexp(log_p, -8.0).sum()

    leaves, structure = jax.tree.flatten(density)
    real = [jnp.asarray(leaf, float) for leaf in leaves]
    if all(jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating) for leaf in leaves):
        gradients = jax.jit(jax.grad(lambda a: value(a, structure)))(real)
        assert all(bool(jnp.isfinite(g).all()) for g in gradients)
        assert any(bool(g.any()) for g in gradients)


@pytest.mark.parametrize("name", IN_THE_PLANE)
def test_integrates_to_one(name):
    """Midpoint rule in the plane, of the density as convolved with a star's noise."""
    density = CONSTRUCTORS[name]()
    step = 0.02
    magnitude = np.arange(LIMITS[0] + step / 2, LIMITS[1], step)
    colour = np.arange(COLOURS[0] + step / 2, COLOURS[1], step)
    grid = np.stack(np.meshgrid(magnitude, colour, indexing="ij"), axis=-1).reshape(-1, 2)
    stars = Stars(grid, np.broadcast_to(NOISE, (len(grid), 2, 2)), COLUMNS)
    integral = float(jnp.exp(jax.jit(lambda d, s: d(s))(density, stars)).sum()) * step**2
    # a field's floor has tails beyond these colours: ε = 1/81 over some 4 mag
    assert integral == pytest.approx(1.0, abs=5e-3 if name == "FieldDensity" else 1e-3)


def test_subspace_integrates_to_one_over_its_own_column():
    density = CONSTRUCTORS["Subspace"]()
    log_p = jax.jit(lambda m: density.log_prob(jnp.stack([m, 7.0]), jnp.asarray(NOISE)))
    assert quad(lambda m: np.exp(float(log_p(m))), 9.0, 16.0)[0] == pytest.approx(1.0, abs=1e-8)


def test_membership_rows_sum_to_one(stars):
    for density in (gaussian_mixture(), mixture()):
        q = np.asarray(density.membership(stars))
        np.testing.assert_allclose(q.sum(axis=1), 1.0, rtol=1e-12)
        assert (q >= 0).all()


def test_membership_is_bayes_theorem(stars):
    """q_k = w_k N_k / Σ w N by numpyro; a component without weight has no members."""
    density = gaussian_mixture()
    normals = MultivariateNormal(density.means, density.covs + NOISE)
    terms = density.weights * jnp.exp(normals.log_prob(stars.x[:, None]))
    expected = terms / terms.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(density.membership(stars), expected, rtol=1e-9, atol=1e-12)
    whole = mixture()
    parts = np.stack([np.exp(part(stars)) for part in whole.parts], axis=1)
    terms = np.asarray(whole.weights) * parts
    expected = terms / terms.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(whole.membership(stars), expected, rtol=1e-9)


def test_mixture_is_the_sum_and_product_the_product(stars):
    whole = mixture()
    parts = np.stack([np.exp(part(stars)) for part in whole.parts])
    np.testing.assert_allclose(np.exp(whole(stars)), whole.weights @ parts, rtol=1e-12)
    expected = sum(
        -0.5 * (stars.x[:, a] - mean) ** 2 / (variance + NOISE[a, a])
        - 0.5 * np.log(2 * np.pi * (variance + NOISE[a, a]))
        for a, mean, variance in ((0, 12.5, 0.1), (1, 1.0, 0.05))
    )
    np.testing.assert_allclose(product()(stars), expected, rtol=1e-12)


def test_mixture_takes_a_weight_of_zero(stars):
    whole = mixture()
    alone = Mixture(jnp.array([0.0, 1.0]), whole.parts)
    np.testing.assert_allclose(alone(stars), whole.parts[1](stars), rtol=1e-12)
    slope = jax.grad(lambda w: Mixture(w, whole.parts)(stars).sum())(jnp.array([0.0, 1.0]))
    ratio = np.exp(np.asarray(whole.parts[0](stars) - whole.parts[1](stars)))
    np.testing.assert_allclose(slope, [ratio.sum(), len(stars)], rtol=1e-9)


def test_mixture_far_from_all_that_has_weight():
    """The part without weight is e^500 likelier: no overflow, no NaN, and a finite derivative."""
    parts = (one_column(40.0, 1.0), one_column(0.0, 1.0))
    x, noise = jnp.array([40.0]), 0.6 * jnp.eye(1)
    whole = Mixture(jnp.array([0.0, 1.0]), parts)
    assert float(whole.log_prob(x, noise)) == float(parts[1].log_prob(x, noise))
    slope = jax.grad(lambda w: Mixture(w, parts).log_prob(x, noise))(jnp.array([0.0, 1.0]))
    assert np.log(float(slope[0])) == pytest.approx(0.5 * 1600 / 1.6, rel=1e-12)
    nothing = Mixture(jnp.zeros(2), parts)
    assert float(nothing.log_prob(x, noise)) == -np.inf


def test_shapes_must_agree(monkeypatch):
    """What users see, who do not run with jaxtyping's checks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"3 weights go with means of shape \(3, d\)"):
        GaussianMixture(jnp.ones(3) / 3, jnp.zeros((2, 2)), jnp.eye(2)[None])
    with pytest.raises(ValueError, match="covs of shape"):
        GaussianMixture(jnp.ones(3) / 3, jnp.zeros((3, 2)), jnp.zeros((2, 2, 2)))


def test_what_stars_know(stars):
    known = stars.knowing(field=jnp.arange(40.0))
    some = known[np.array([3, 5])].filled_up()
    np.testing.assert_array_equal(Known("field")(some), [3.0] + 511 * [5.0])
    mixed = Mixture(jnp.array([0.3, 0.7]), (mixture(), Known("field")))
    log_p, first = mixed.with_first(known)
    np.testing.assert_allclose(log_p, mixed(known))
    np.testing.assert_allclose(jnp.exp(first - log_p), mixed.membership(known)[:, 0])
    with pytest.raises(KeyError, match=r"the stars know \[\]"):
        Known("field")(stars)
    with pytest.raises(ValueError, match="field: expected shape"):
        stars.knowing(field=jnp.ones(3))
