"""Surface-density profiles: integrals against scipy's quadrature, gradients, edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from jaxcluster.structure.profiles import (
    PROFILES,
    ElsonFallFreeman,
    GeneralisedKing,
    King,
    plummer,
    profile_of,
    radial_mean,
    untruncated_king,
)

CASES = {
    "king62": lambda: King(3.0, 25.0),
    "king62, r_t < r_c": lambda: King(3.0, 1.0),
    "beta 1": lambda: King(3.0, 25.0, 1),
    "generalised": lambda: GeneralisedKing(3.0, 25.0, 1.4),
    "generalised, shallow edge": lambda: GeneralisedKing(3.0, 25.0, 0.5),
    "generalised, wide": lambda: GeneralisedKing(0.1, 400.0, 3.3),
    "eff": lambda: ElsonFallFreeman(3.0, 2.6),
    "eff, infinite": lambda: ElsonFallFreeman(3.0, 1.5),
    "plummer": lambda: plummer(2.0),
    "untruncated": lambda: untruncated_king(0.3),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("radius", [1e-3, 0.7, 5.0, 24.9, 60.0])
def test_cumulative_is_the_integral(name, radius):
    profile = CASES[name]()
    end = min(radius, float(jnp.sqrt(profile.edge_square)))
    of_r = jax.jit(lambda r: profile(r) * 2 * jnp.pi * r)
    expected, _ = quad(lambda r: float(of_r(r)), 0, end, epsabs=0, epsrel=1e-11, limit=300)
    assert float(profile.cumulative(radius)) == pytest.approx(expected, rel=1e-9)
    by_rule = 2 * jnp.pi * radius**2 * radial_mean(profile, jnp.asarray(radius**2))
    assert float(by_rule) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_total_is_what_a_large_circle_holds(name):
    profile = CASES[name]()
    slope = getattr(profile, "gamma", 9.0)
    if slope <= 2:
        assert np.isinf(profile.total)
    else:
        far = 1e3 if slope > 3 else 1e12
        assert float(profile.total) == pytest.approx(float(profile.cumulative(far)), rel=1e-4)
    assert float(profile.central) == pytest.approx(float(profile(0.0)))


def test_reference_formulas():
    """King (1962), eq. 18, and the central density of the amplitude."""
    rc, rt, r = 2.634, 34.03, 40.0
    t, u = 1 + (rt / rc) ** 2, (min(r, rt) / rc) ** 2
    bracket = np.log1p(u) - 4 * (np.sqrt(1 + u) - 1) / np.sqrt(t) + u / t
    profile = King(rc, rt)
    assert float(profile.cumulative(r)) == pytest.approx(np.pi * rc**2 * bracket, rel=1e-12)
    assert float(profile.central) == pytest.approx((1 - 1 / np.sqrt(t)) ** 2, rel=1e-12)


def test_profiles_are_special_cases_of_each_other():
    r = jnp.linspace(0.0, 60.0, 100)
    for beta in (1, 2):
        closed, free = King(3.0, 25.0, beta), GeneralisedKing(3.0, 25.0, float(beta))
        np.testing.assert_allclose(closed(r), free(r), atol=1e-13)
        np.testing.assert_allclose(closed.cumulative(r), free.cumulative(r), rtol=1e-11)
    far = King(3.0, 1e7)
    np.testing.assert_allclose(far(r), untruncated_king(3.0)(r), rtol=1e-4)
    two, near = untruncated_king(3.0), ElsonFallFreeman(3.0, 2.0 + 1e-9)
    np.testing.assert_allclose(two.cumulative(r), near.cumulative(r), rtol=1e-8)
    u = (r / 2.0) ** 2
    np.testing.assert_allclose(plummer(2.0).cumulative(r), np.pi * 4 * u / (1 + u), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_and_those_of_differences(name):
    profile = CASES[name]()
    leaves, tree = jax.tree.flatten(profile)
    tidal = float(getattr(profile, "tidal", 7.0))
    radii = jnp.array([0.0, 1e-9, 0.5, 0.999 * tidal, tidal, 1.2 * tidal, 1e3])

    @jax.jit
    def density(values, r):
        return jax.tree.unflatten(tree, values)(r)

    @jax.jit
    def inside(values, r):
        return jax.tree.unflatten(tree, values).cumulative(r)

    for function in (density, inside):
        each = jax.jit(jax.vmap(jax.grad(function, argnums=(0, 1)), in_axes=(None, 0)))
        assert np.isfinite(jax.tree.leaves(each(leaves, radii))).all()
    r, slopes = jnp.asarray(0.4 * tidal), {f: jax.jit(jax.grad(f)) for f in (density, inside)}
    for i in range(len(leaves)):
        step = 1e-5 * leaves[i]
        moved = [[v + s * step * (j == i) for j, v in enumerate(leaves)] for s in (1, -1)]
        for function in (density, inside):
            slope = slopes[function](leaves, r)[i]
            difference = (function(moved[0], r) - function(moved[1], r)) / (2 * step)
            assert float(slope) == pytest.approx(float(difference), rel=1e-4, abs=1e-9)


def test_zero_beyond_the_edge_and_no_more_inside():
    for profile in (King(3.0, 25.0), King(3.0, 25.0, 1), GeneralisedKing(3.0, 25.0, 0.7)):
        assert float(profile(25.1)) == 0.0
        assert float(profile(24.9)) > 0.0
        assert float(profile.cumulative(26.0)) == pytest.approx(float(profile.cumulative(99.0)))


def test_profiles_by_name():
    parameters = {
        n: jnp.asarray(v)
        for n, v in zip(("r_core", "r_tidal", "beta", "gamma"), (1.0, 9.0, 1.5, 3.0), strict=True)
    }
    for name in PROFILES:
        assert np.isfinite(profile_of(name, parameters)(2.0))
    assert isinstance(profile_of("generalised", parameters, 1), King)
    with pytest.raises(ValueError, match=r"'sersic'.*king62"):
        profile_of("sersic", parameters)
    with pytest.raises(ValueError, match="expected 1 or 2, found 3"):
        King(1.0, 2.0, 3)
