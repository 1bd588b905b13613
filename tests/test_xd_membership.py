"""Extreme deconvolution with errors: against its own EM, closed forms, and NGC 2243."""

import json
from functools import partial
from types import SimpleNamespace

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from astropy.table import Table
from typer.testing import CliRunner

import jaxcluster as jc
from jaxcluster import xd
from jaxcluster.cli.app import app
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.posterior import parameter_table
from jaxcluster.jobs.model_files import load_model

KEY = jax.random.key(0)
COLUMNS = ("pmra", "pmdec")
DISPERSION, CORRELATION, CENTRE = np.array([0.15, 0.1]), 0.4, np.array([-2.0, 1.0])


@pytest.fixture(scope="module")
def field():
    """A cluster of 80 stars and a wide field of 170, errors of every star different."""
    rng = np.random.default_rng(4)
    cluster = np.outer(DISPERSION, DISPERSION) * np.array([[1, CORRELATION], [CORRELATION, 1]])
    member = np.arange(250) < 80
    sigma = np.exp(rng.normal(np.log(0.08), 0.5, (250, 2)))
    noise = np.einsum("na,ab,nb->nab", sigma, np.array([[1, 0.2], [0.2, 1]]), sigma)
    covs = np.where(member[:, None, None], cluster, np.diag([4.0, 2.0])) + noise
    x = np.where(member[:, None], CENTRE, 0.0)
    x = x + np.einsum("nab,nb->na", np.linalg.cholesky(covs), rng.normal(size=x.shape))
    information = np.linalg.inv(covs[member]).sum(axis=0)
    return SimpleNamespace(
        stars=jc.Stars(x, noise, COLUMNS),
        member=member,
        error=np.sqrt(np.diag(np.linalg.inv(information))),
    )


@pytest.fixture(scope="module")
def found(field):
    return xd.fit(field.stars, 2, key=KEY)


def build(stars, **options):
    return load_model("xd_membership")(stars, **options)


def covariances(parameters):
    s = np.asarray(parameters["dispersion"])
    return s[:, :, None] * s[:, None, :] * np.asarray(parameters["correlation"])


def test_log_likelihood_is_that_of_the_mixture(field, found):
    model = build(field.stars, mixture=found.mixture)
    parameters = {**model.start, "mean": model.start["mean"] + 0.1}
    mixture = jc.GaussianMixture(
        parameters["weight"], parameters["mean"], jnp.asarray(covariances(parameters))
    )
    expected = float(mixture(field.stars).sum())
    assert float(model.log_likelihood(parameters)) == pytest.approx(expected, rel=1e-9)
    log_p, first = model.density(parameters).with_first(field.stars)
    membership = mixture.membership(field.stars)[:, 0]
    np.testing.assert_allclose(np.exp(first - log_p), membership, atol=1e-9)


def test_start_is_the_em_solution_compact_first(field, found):
    for order in ([0, 1], [1, 0]):
        mixture = jc.GaussianMixture(*(a[jnp.asarray(order)] for a in jax.tree.leaves(found[0])))
        model = build(field.stars, mixture=mixture)
        assert np.linalg.norm(model.start["mean"][0] - CENTRE) < 0.1
        volume = np.linalg.det(covariances(model.start))
        assert volume[0] < volume[1]
        value = float(model.log_likelihood(model.start))
        assert value == pytest.approx(found.log_likelihood, rel=1e-9)
        np.testing.assert_allclose(
            np.sort(covariances(model.start), axis=0), np.sort(found.mixture.covs, axis=0)
        )
    flat = Flat(model)
    start = flat.start(model.start)  # which is where the log posterior is finite
    back = jax.jit(lambda z: flat.constrain(z))(start)
    for name, given in model.start.items():
        np.testing.assert_allclose(back[name], given, atol=1e-12)
    default = build(field.stars, key=KEY).start
    np.testing.assert_allclose(default["mean"], model.start["mean"])


def test_start_is_possible_where_em_has_collapsed(field):
    covs = jnp.asarray([[[1e-14, 0.0], [0.0, 1e-14]], [[4.0, 4.0], [4.0, 4.0 + 1e-12]]])
    mixture = jc.GaussianMixture(jnp.asarray([0.0, 1.0]), jnp.zeros((2, 2)), covs)
    model = build(field.stars, mixture=mixture)
    flat = Flat(model)
    z = flat.start(model.start)
    slope = jax.jit(jax.grad(flat.potential))(z)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(slope))
    assert max(np.abs(a).max() for a in jax.tree.leaves(z)) < 15
    np.testing.assert_allclose(np.diagonal(model.start["correlation"], axis1=1, axis2=2), 1.0)
    assert 0.9 < float(model.start["correlation"][1, 0, 1]) < 1.0


def test_posterior_of_a_simulated_field(field, found):
    model = build(field.stars, mixture=found.mixture)
    run = jc.nuts(model, key=KEY, warmup=400, draws=400)
    posterior = run["posterior"]
    draws = {n: np.asarray(posterior[n]).reshape(800, *posterior[n].shape[2:]) for n in model.start}
    mean, error = ({n: f(a, axis=0) for n, a in draws.items()} for f in (np.mean, np.std))
    assert np.all(np.abs(mean["mean"][0] - CENTRE) < 3 * error["mean"][0])
    assert np.all(np.abs(mean["dispersion"][0] - DISPERSION) < 3 * error["dispersion"][0])
    pull = (mean["correlation"][0, 0, 1] - CORRELATION) / error["correlation"][0, 0, 1]
    assert abs(pull) < 3
    assert abs(mean["weight"][0] - 80 / 250) < 3 * error["weight"][0]
    # of the mean of the true members, were they and their dispersion known: a lower limit, which
    # the field hardly raises; dispersions σ/√(2n) and a little for the noise
    np.testing.assert_allclose(error["mean"][0], field.error, rtol=0.25)
    assert np.all(error["dispersion"][0] > DISPERSION / np.sqrt(160))
    assert np.all(error["dispersion"][0] < 2.0 * DISPERSION / np.sqrt(160))
    # the most likely mixture lies within
    for name in ("weight", "mean", "dispersion"):
        assert np.all(np.abs(mean[name] - model.start[name]) < 0.7 * error[name])
    assert not np.asarray(run["sample_stats"]["diverging"]).any()
    rhat = arviz.rhat(run.data, var_names=["weight", "mean", "dispersion"])
    assert max(float(v.max()) for v in rhat.data_vars.values()) < 1.03
    assert len(parameter_table(run.draws)) == 2 + 4 + 4 + 2  # a correlation once, no diagonal


@pytest.mark.slow
def test_prior_is_weak_and_can_be_replaced(field, found):
    stars, mixture = field.stars, found.mixture
    priors = build(stars, mixture=mixture).prior
    np.testing.assert_allclose(priors["mean"].variance[0], np.var(stars.x, axis=0))
    assert {n: p.shape() for n, p in priors.items()} == {
        "weight": (2,),
        "mean": (2, 2),
        "dispersion": (2, 2),
        "correlation": (2, 2, 2),
    }
    other = {"dispersion": dist.HalfNormal(3.0), "weight": dist.Dirichlet(jnp.full(2, 5.0))}
    model = build(stars, mixture=mixture, prior=other)
    assert model.prior["dispersion"].shape() == (2, 2)
    assert model.describe_prior()["dispersion"] == "HalfNormal(3)"
    assert model.describe_prior()["weight"] == "Dirichlet([5,5])"
    for prior, message in (
        ({"sigma": dist.HalfNormal(1.0)}, r"expected any of .'weight'.* found .'sigma'"),
        ({"mean": dist.Normal(jnp.zeros(3), 1.0)}, r"prior of mean: .* \(2, 2\), found \(3,\)"),
        ({"weight": dist.Dirichlet(jnp.ones(3))}, r"prior of weight: .* \(2,\), found \(3,\)"),
        ({"correlation": dist.LKJ(3)}, "prior of correlation"),
    ):
        with pytest.raises(ValueError, match=message):
            build(stars, mixture=mixture, prior=prior)


def test_one_column_has_no_correlation(field):
    stars = jc.Stars(field.stars.x[:, :1], field.stars.noise[:, :1, :1], ("pmra",))
    mixture = jc.GaussianMixture(jnp.full(2, 0.5), jnp.zeros((2, 1)), jnp.ones((2, 1, 1)))
    model = build(stars, mixture=mixture)
    assert set(model.prior) == {"weight", "mean", "dispersion"}
    assert set(Flat(model).start(model.start)) == set(model.prior)


def test_stars_that_cannot_be_used(field):
    x, noise = np.array(field.stars.x), field.stars.noise
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 250 stars have a coordinate that is NaN"):
        build(jc.Stars(x, noise, COLUMNS))
    x[:, 1] = 2.0
    with pytest.raises(ValueError, match="same pmdec; leave the column out"):
        build(jc.Stars(x, noise, COLUMNS))
    mixture = jc.GaussianMixture(jnp.ones(1), jnp.zeros((1, 3)), jnp.eye(3)[None])
    with pytest.raises(ValueError, match=r"expected components of 2 columns .* \(1, 3\)"):
        build(field.stars, mixture=mixture)


def test_command_line(field, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = Table()
    for a, name in enumerate(COLUMNS):
        table[name] = np.asarray(field.stars.x[:, a])
        table[f"{name}_error"] = np.sqrt(np.asarray(field.stars.noise[:, a, a]))
    table["pmra_pmdec_corr"] = 0.2
    table.write(tmp_path / "field.ecsv")
    quick = partial(jc.nuts, chains=1, warmup=200, draws=100)
    monkeypatch.setattr("jaxcluster.inference.samplers.sampler_of", lambda *_: quick)
    result = CliRunner().invoke(
        app,
        f"fit xd_membership {tmp_path}/field.ecsv --columns pmra,pmdec --set k=2 --json",
    )
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    row = found["parameters"]["mean[0,0]"]
    assert abs(row["median"] - CENTRE[0]) < 3 * (row["q84"] - row["q16"])
    assert found["priors"]["correlation"] == "LKJ(1)"


@pytest.mark.slow
def test_ngc_2243(data):
    path = data / "gaia_fields" / "NGC2243.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    stars = jc.from_table(path, ("pmra", "pmdec", "parallax"))
    run = jc.nuts(build(stars, k=3), key=KEY)
    mean, dispersion = (
        np.asarray(run["posterior"][n])[:, :, 0].reshape(-1, 3) for n in ("mean", "dispersion")
    )
    # Hunt & Reffert (2023); 0.02 mas/yr and mas for Gaia's local systematic errors
    expected = np.array([-1.2671, 5.494, 0.2229])
    assert np.all(np.abs(mean.mean(axis=0) - expected) < 3 * mean.std(axis=0) + 0.02)
    assert np.all(mean.std(axis=0) < [0.005, 0.005, 0.003])
    assert np.all(dispersion.mean(axis=0) < 0.1)
    assert not np.asarray(run["sample_stats"]["diverging"]).any()
    rhat = arviz.rhat(run.data, var_names=["weight", "mean", "dispersion"])
    assert max(float(v.max()) for v in rhat.data_vars.values()) < 1.02
