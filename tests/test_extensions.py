"""What an extension costs: each kind, done as a user would, without touching the package."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from astropy.table import Table
from matplotlib.text import Text

import jaxcluster as jc
from jaxcluster.catalogue.sky import to_sky
from jaxcluster.figures.king import corner_figure
from jaxcluster.inference.samplers import SAMPLERS, sampler_of
from jaxcluster.jobs.king import king
from jaxcluster.structure.profiles import (
    CORE,
    PROFILES,
    AbstractProfile,
    Parameter,
    Profile,
    radial_mean,
)


class Exponential(jc.AbstractDensity):  # a density: five lines
    scale: jnp.ndarray

    def log_prob(self, x, noise):
        return -x[0] / self.scale - jnp.log(self.scale)


def test_a_density():
    x = np.random.default_rng(0).exponential(3.0, (200, 1))
    stars = jc.Stars(x, np.zeros((200, 1, 1)), ("parallax",))
    model = jc.Model(
        {"scale": dist.LogUniform(0.1, 100.0)}, lambda p: Exponential(p["scale"]), stars
    )
    draws = jc.fast(model, key=0).draws["scale"]
    assert abs(draws.mean() - x.mean()) < 0.1 * draws.std() + 0.02 * x.mean()


class Sersic(AbstractProfile):
    """exp(−(r/r_c)^(1/m)): a profile that jaxcluster does not have."""

    core: jnp.ndarray
    m: jnp.ndarray

    def at(self, square):
        return jnp.exp(-((square / self.core**2 + 1e-12) ** (0.5 / self.m)))

    def half_mean(self, square):
        return radial_mean(self, square)

    @property
    def edge_square(self):
        return jnp.asarray(jnp.inf)

    @property
    def total(self):
        return self.cumulative(30.0 * self.core)


def test_a_new_profile_is_a_class_and_a_line(monkeypatch, tmp_path):
    index = Parameter("m", lambda radius: dist.Uniform(0.3, 2.0), "", "$m$")
    monkeypatch.setitem(PROFILES, "sersic", Profile(Sersic, (CORE, index)))
    rng = np.random.default_rng(5)
    x = np.concatenate([2.0 * rng.normal(size=(150, 2)), rng.uniform(-20, 20, (300, 2))])
    sky = to_sky(x[np.hypot(*x.T) < 20], (120.0, 30.0))
    table = Table({"ra": sky[:, 0], "dec": sky[:, 1]})
    result = king(table, profile="sersic", radius=15.0, centre=(120.0, 30.0), key=1)
    low, high = np.quantile(result.found.draws["m"], [0.01, 0.99])
    assert low < 0.5 < high  # a Gaussian's
    assert "m" in result.summary()["parameters"]
    assert result.summary()["units"]["r_core"] == "arcmin"
    assert "$m$" in " ".join(t.get_text() for t in corner_figure(result.found, {}).findobj(Text))


def look(model, *, key=0, live=100, checkpoint=None, progress=None):  # a sampler: a function
    return jc.importance(model, key=key, tolerance=0.3, draws=100)


def test_a_sampler(monkeypatch):
    monkeypatch.setitem(SAMPLERS, "look", look)
    model = jc.Model.from_likelihood(
        {"a": dist.Normal(0.0, 1.0)}, lambda p: -0.5 * (p["a"][None] - 1.0) ** 2
    )
    run = sampler_of("look")(model, key=2)
    # of N(0, 1) and exp(−½ (a − 1)²): Z = exp(−¼) / √2
    assert abs(run.log_evidence + 0.25 + 0.5 * np.log(2)) < 4 * run.log_evidence_error


def program():  # a prior program with hyper-parameters
    centre = numpyro.sample("centre", dist.Normal(0.0, 10.0))
    width = numpyro.sample("width", dist.HalfNormal(2.0))
    return {"x": numpyro.sample("x", dist.Normal(centre, width).expand([20]).to_event(1))}


def test_a_prior_program_with_hyper_parameters():
    rng = np.random.default_rng(3)
    y = rng.normal(4.0, 1.0, 20) + 0.3 * rng.normal(size=20)
    model = jc.Model.from_likelihood(program, lambda p: dist.Normal(p["x"], 0.3).log_prob(y))
    draws = jc.nuts(model, key=4, warmup=300, draws=300, chains=1).draws
    assert abs(draws["centre"].mean() - y.mean()) < 0.1
    # of the mean of 20 numbers
    assert draws["centre"].std() == pytest.approx(np.sqrt((1.0 + 0.09) / 20), rel=0.4)
    assert 0.6 < draws["width"].mean() < 1.5


# Two bands that the package has never heard of, in BaSTI's layout
ISOCHRONE = """# Isochrone from BaSTI-IAC database
# Np = 4 [M/H] = -0.080 Z = 0.01 Y = 0.26 Age (Myr) = 300.000
# M/Mo(ini) M/Mo(fin) log(L/Lo) logTe F999W F111W
#===
0.6 0.6 -1.0 3.62 7.5 8.6
0.8 0.8 -0.6 3.69 6.3 7.1
1.0 1.0 0.0 3.76 4.9 5.4
1.2 1.2 0.4 3.80 3.9 4.2
"""


def test_a_band_comes_with_the_isochrones(tmp_path):
    """A_V = 1 moves the density of (F999W, F999W − F111W) by (0.8, 0.8 − 0.5), and no more."""
    path = tmp_path / "two_bands.isc"
    path.write_text(ISOCHRONE)
    columns = ("F999W", "F999W-F111W")
    model = jc.PopulationModel(
        grid=jc.read_isochrones(path, extinction={"F999W": 0.8, "F111W": 0.5}),
        errors=jc.ErrorModel(jnp.array([0.0, 30.0]), jnp.full(2, 0.03)),
        columns=columns,
        limits=(0.0, 30.0),  # all stars are selected, with or without extinction
        n_masses=16,
        n_mass_ratios=2,
    )
    x = np.array([[15.0, -0.5], [16.3, -0.8], [17.5, -1.1]])
    covariance = 0.03**2 * np.array([[1.0, 1.0], [1.0, 2.0]])  # of a magnitude and its colour
    noise = np.broadcast_to(covariance, (3, 2, 2))
    p = {
        "log_age": 8.47712, "metallicity": -0.08, "distance_modulus": 10.0, "mass_slope": -2.0,
        "binary_fraction": 0.4, "mass_ratio_slope": 0.0, "model_scatter": 0.05,
    }  # fmt: skip
    log_p = jax.jit(lambda a_v, x: model({**p, "a_v": a_v})(jc.Stars(x, noise, columns)))
    clear = np.asarray(log_p(0.0, x))
    assert (clear > -3.0).all()  # the stars are on the sequence, not in a tail
    np.testing.assert_allclose(log_p(1.0, x + np.array([0.8, 0.3])), clear, atol=1e-5)
    assert (np.asarray(log_p(1.0, x)) < clear - 1.0).any()
