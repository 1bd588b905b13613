"""Every profile, science model and sampler is tested for what all of its kind promise.

One that is missing from its registry fails. `test_density` has that of the densities.
"""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.integrate import quad

import jaxcluster as jc
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.samplers import SAMPLERS, sampler_of
from jaxcluster.structure.profiles import PROFILES, AbstractProfile, profile_of

PARAMETERS = {"r_core": 2.0, "r_tidal": 15.0, "beta": 1.3, "gamma": 2.8}
PROFILE_CLASSES = {"King", "GeneralisedKing", "ElsonFallFreeman"}
INNER = {"Constant", "Within"}  # parts of others: no names for `king --profile`


def subclasses(cls):
    return {s for c in cls.__subclasses__() for s in ({c} | subclasses(c))}


def test_no_profile_is_missing():
    concrete = {
        c.__name__
        for c in subclasses(AbstractProfile)
        if c.__module__.startswith("jaxcluster.") and not inspect.isabstract(c)
    }
    assert concrete == PROFILE_CLASSES | INNER
    made = {type(profile_of(name, PARAMETERS)).__name__ for name in PROFILES}
    assert made == PROFILE_CLASSES


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_declare_what_they_take(name):
    """Priors positive and finite, labels and units there, and the integral that of scipy."""
    for parameter in PROFILES[name].parameters:
        prior = parameter.prior(20.0)
        assert np.isfinite(prior.log_prob(prior.mean)), parameter.name
        assert parameter.label.startswith("$")
        assert parameter.unit in ("arcmin", "")
    profile = profile_of(name, {p.name: PARAMETERS[p.name] for p in PROFILES[name].parameters})
    of_r = jax.jit(lambda r: profile(r) * 2 * jnp.pi * r)
    expected, _ = quad(lambda r: float(of_r(r)), 0.0, 12.0, epsrel=1e-10)
    assert float(profile.cumulative(12.0)) == pytest.approx(expected, rel=1e-6)


def sky(n=60):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(n // 2, 2)), rng.uniform(-6, 6, (n - n // 2, 2))])
    return jc.Stars(x, np.zeros((n, 2, 2)), ("x", "y"))


def diagram(n=40):
    rng = np.random.default_rng(0)
    x = np.c_[rng.uniform(11.0, 16.0, n), rng.normal(1.0, 0.2, n)]
    return jc.Stars(x, np.broadcast_to(1e-4 * np.eye(2), (n, 2, 2)), ("G", "BP-RP"))


def broad(stars):
    return jnp.full(len(stars), -np.log(5.0 * 4.0))


MODELS = {  # stars, options of build()
    "king_profile": (sky, {"radius": 9.0}),
    "mimo_cmd": (
        diagram,
        {"field": broad, "limits": (10.0, 17.0), "n_masses": 16, "n_mass_ratios": 2},
    ),
    "xd_membership": (sky, {}),
}


def test_no_model_is_missing():
    folder = Path(__file__).parents[1] / "models"
    assert {path.stem for path in folder.glob("*.py")} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_models_keep_their_promises(name):
    """ln L is the sum of its stars' terms, with a finite gradient, and memberships are shares."""
    stars, options = MODELS[name]
    model = jc.load_model(name)(stars(), **options)
    flat = Flat(model)
    z = flat.draw(jax.random.key(2))
    value, slope = jax.jit(jax.value_and_grad(flat.log_likelihood))(z)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, slope)))
    described = jax.jit(lambda z: flat.describe(z))(z)
    assert float(described.total) == pytest.approx(float(value), rel=1e-9)
    with jax.numpy_dtype_promotion("strict"):  # numpyro's distributions are not so strict
        jax.eval_shape(jax.grad(lambda p: model.log_likelihood(p)), flat.parameters(z))
    if name == "king_profile":  # a rate: `jobs.king_members` has them
        assert described.membership is None
        return
    membership = np.asarray(described.membership)
    assert ((membership >= 0) & (membership <= 1)).all()
    assert np.ptp(membership) > 0
    assert set(model.describe_prior())


def test_no_sampler_is_missing():
    """All that `jc` has, but for the importance sampling that `fast` begins with."""
    samplers = {
        name
        for name in jc.__all__
        if inspect.isfunction(getattr(jc, name))
        and inspect.signature(getattr(jc, name)).return_annotation is jc.Posterior
    }
    assert samplers == {"importance", *SAMPLERS}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_share_one_contract(name):
    """Of N(0, 1) and exp(−½ (a − 1)²): mean ½, variance ½, Z = exp(−¼) / √2."""
    model = jc.Model.from_likelihood(
        {"a": dist.Normal(0.0, 1.0)}, lambda p: -0.5 * (p["a"][None] - 1.0) ** 2
    )
    run = sampler_of(name, live=50)(model, key=3)
    assert isinstance(run, jc.Posterior)
    draws = run.draws["a"]
    assert draws.mean() == pytest.approx(0.5, abs=5 * np.sqrt(0.5 / run.quality["ess"]))
    assert draws.std() == pytest.approx(np.sqrt(0.5), rel=0.25)
    assert run.cpu_seconds > 0
    assert run.evaluations > 0
    if name == "nuts":
        assert run.log_evidence is None
    else:
        off = run.log_evidence + 0.25 + 0.5 * np.log(2.0)
        assert abs(off) < 4 * run.log_evidence_error
