"""Cluster against field: a simulated cluster is found, field stars are not."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import jaxcluster as jc
from jaxcluster.jobs.bayes_factor import bayes_factor
from jaxcluster.jobs.inputs import default_limits, inside
from jaxcluster.jobs.model_files import load_model
from jaxcluster.population.simulate import TRUTH, simulate_pair

LIMITS = (10.0, 18.0)
SMALL = {"n_masses": 32, "n_mass_ratios": 4, "isochrone_error": 0}
PARAMETERS = {
    "log_age",
    "metallicity",
    "distance_modulus",
    "a_v",
    "mass_slope",
    "binary_fraction",
    "field_fraction",
    "model_scatter",
}
KEYS = {
    "log10_bayes_factor",
    "log10_bayes_factor_error",
    "log_evidence",
    "log_evidence_error",
    "log_evidence_field",
    "n_stars",
    "n_dropped",
    "parameters",
    "method",
    "evaluations",
    "cpu_seconds",
    "compile_seconds",
    "n_field",
    "field_flag",
    "log10_bayes_factor_field_error",
    "log10_bayes_factor_field_bias",
    "priors",
    "ess",
    "insertion_rank_p",
    "versions",
}
COLUMNS = ("G", "BP-RP")


@pytest.fixture(scope="module")
def tables():
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    return simulate_pair(jax.random.key(11), 60, 360, TRUTH, grid, LIMITS)


@pytest.fixture(scope="module")
def cluster(tables):
    return bayes_factor(
        jc.from_table(tables[0]),
        jc.from_table(tables[1]),
        key=jax.random.key(0),
        limits=LIMITS,
        **SMALL,
    )


def test_simulated_cluster_is_found(cluster):
    assert cluster.log10_bayes_factor > 2.0
    evidence = cluster.posterior.log_evidence
    expected = (evidence - cluster.log_evidence_field) / np.log(10.0)
    assert cluster.log10_bayes_factor == pytest.approx(expected)
    field_alone = float(cluster.field(cluster.stars).sum())
    assert cluster.log_evidence_field == pytest.approx(field_alone, rel=1e-6)


def test_summary_has_its_keys_and_is_json(cluster):
    summary = cluster.summary()
    assert set(summary) >= KEYS
    assert set(summary["parameters"]) == PARAMETERS == set(summary["priors"])
    for row in summary["parameters"].values():
        assert row["q16"] <= row["median"] <= row["q84"]
    assert json.loads(json.dumps(summary))["n_stars"] == 60
    assert summary["n_field"] == 360
    assert summary["n_dropped"] == 0
    assert summary["log10_bayes_factor_error"] == pytest.approx(
        summary["log_evidence_error"] / np.log(10.0)
    )


def test_what_depends_on_the_number_of_field_stars_is_said(cluster):
    error = cluster.log10_bayes_factor_field_error
    assert abs(cluster.log10_bayes_factor_field_bias) <= error
    told = replace(cluster, log10_bayes_factor_field_bias=-3.0, log10_bayes_factor_field_error=3.5)
    assert any("log10 BF by -3.0" in flag and "would raise it" in flag for flag in told.flags)
    assert "flagged: field" in told.verdict
    noisy = replace(told, log10_bayes_factor_field_error=9.0)
    assert not any("half of the field" in flag for flag in noisy.flags)


def test_few_field_stars_are_a_flag_where_the_verdict_depends_on_them(cluster):
    few = replace(cluster, field=replace(cluster.field, flag="29 field stars for 60 stars"))
    near = replace(few, log10_bayes_factor=8.0, log10_bayes_factor_field_error=2.0)
    assert any("29 field stars" in flag and "3.0 σ from the" in flag for flag in near.flags)
    clear = replace(few, log10_bayes_factor=14.0, log10_bayes_factor_field_error=2.0)
    assert not any("29 field stars" in flag for flag in clear.flags)
    unknown = replace(few, log10_bayes_factor=None, log10_bayes_factor_error=None)
    assert "29 field stars for 60 stars" in unknown.flags


def test_distance_is_recovered(cluster):
    values = np.asarray(cluster.posterior["posterior"]["distance_modulus"])
    assert abs(values.mean() - TRUTH["distance_modulus"]) < 4 * values.std()


def test_membership_is_a_probability_that_knows_members(cluster, tables):
    probability = cluster.members["membership"]
    assert probability.min() >= 0.0
    assert probability.max() <= 1.0
    true = np.asarray(tables[0]["true_member"])[np.asarray(cluster.stars.rows)]
    assert 10 < true.sum() < 60
    assert probability[true].mean() > probability[~true].mean() + 0.2


def test_masses_of_members(cluster, tables):
    rows = np.asarray(cluster.stars.rows)
    true = np.asarray(tables[0]["true_member"])[rows] & (cluster.members["membership"] > 0.5)
    mass = np.asarray(tables[0]["true_mass"])[rows][true]
    found = cluster.members["mass"][true]
    # the mass-luminosity relation is steep: 15 % covers distance, binaries and 32 coarse cells
    assert np.median(np.abs(found / mass - 1.0)) < 0.15
    ratio = cluster.members["mass_ratio"][true]
    assert np.all((ratio[np.isfinite(ratio)] >= 0.0) & (ratio[np.isfinite(ratio)] <= 1.0))
    binary = cluster.members["binary_probability"][true]
    assert np.all((binary >= 0.0) & (binary <= 1.0 + 1e-6))


@pytest.mark.slow
def test_field_stars_are_no_cluster(tables):
    field = jc.from_table(tables[1])
    result = bayes_factor(
        field[:40],
        field[40:],
        key=jax.random.key(1),
        limits=LIMITS,
        **SMALL,
    )
    assert result.log10_bayes_factor < 2.0


class Colour(jc.AbstractDensity):
    """Normal in colour, uniform in magnitude."""

    at: jnp.ndarray
    span: float

    def log_prob(self, x, noise):
        return dist.Normal(self.at, 0.1).log_prob(x[1]) - jnp.log(self.span)


def blob(stars, *, field, limits, prior=None):
    """One Gaussian and the field: compiles in a second."""

    def density(p):
        f, colour = p["field_fraction"], Colour(p["colour"], limits[1] - limits[0])
        return jc.Mixture(jnp.stack([1 - f, f]), (colour, jc.Known("field")))

    log_field = field(stars)
    priors = {"field_fraction": dist.Uniform(0.0, 1.0), "colour": dist.Uniform(0.0, 3.0)}
    return jc.Model(
        {**priors, **(prior or {})},
        density,
        stars.knowing(field=log_field),
        null=float(log_field.sum()),
    )


def test_a_model_without_cluster_and_field_is_refused_before_sampling():
    def one(stars, *, field, limits):
        def density(p):
            return Colour(p["colour"], limits[1] - limits[0])

        return jc.Model({"colour": dist.Uniform(0.0, 3.0)}, density, stars)

    with pytest.raises(ValueError, match="a mixture whose first part is the cluster"):
        bayes_factor(made_up(30, 0), made_up(80, 1), model=one, sampler=lambda *_, **__: 1 / 0)


def made_up(n, seed, mean=(15.0, 1.2), spread=(1.5, 0.3)):
    x = np.random.default_rng(seed).normal(mean, spread, size=(n, 2))
    x = x[(x[:, 0] > LIMITS[0]) & (x[:, 0] < LIMITS[1])]
    return jc.Stars(x, np.tile(np.diag([0.003, 0.01]) ** 2, (len(x), 1, 1)), COLUMNS)


def test_nuts_gives_no_evidence_but_a_posterior():
    sampler = partial(jc.nuts, warmup=20, draws=20, chains=1, search=20)
    result = bayes_factor(
        made_up(30, 0), made_up(80, 1), key=jax.random.key(0), model=blob, sampler=sampler
    )
    assert result.log10_bayes_factor is None
    assert result.log10_bayes_factor_error is None
    summary = result.summary()
    assert summary["log_evidence"] is None
    assert summary["method"] == "nuts"
    assert result.members.colnames == [
        "G",
        "BP-RP",
        "membership",
    ]  # the model has no cluster density
    assert np.isfinite(summary["log_evidence_field"])


class Seen(Exception):
    """Stops before the sampling."""


def test_stars_of_both_tables_are_left_out_of_the_field():
    field = made_up(80, 1)
    seen = {}

    def look(stars, *, field, limits):
        seen.update(stars=stars, log_field=np.asarray(field(stars)))
        raise Seen

    sample = field[:20]
    for key, same_star in (("out", None), ("in", np.full(20, -1))):
        with pytest.raises(Seen):
            bayes_factor(sample, field, key=jax.random.key(0), model=look, same_star=same_star)
        seen[key] = seen["log_field"]
    limits = default_limits(field)
    density = jc.fit_field(field, limits, n_stars=20, key=jax.random.split(jax.random.key(0))[0])
    order = np.argsort(np.asarray(sample.x[:, 0]), kind="stable")
    np.testing.assert_allclose(seen["out"], np.asarray(density.leave_one_out)[order], rtol=1e-6)
    assert seen["out"].mean() < seen["in"].mean()


def test_too_few_stars_say_how_many_and_what_to_do():
    with pytest.raises(ValueError, match=r"4 of 4 stars are between .* needs at least 5"):
        bayes_factor(made_up(4, 0), made_up(80, 1), key=jax.random.key(0), model=blob)
    faint = made_up(30, 0, mean=(17.5, 1.2), spread=(0.1, 0.3))
    with pytest.raises(ValueError, match="use a field that covers the sample"):
        bayes_factor(faint, made_up(80, 1), key=jax.random.key(0), model=blob, limits=(10.0, 16.0))


def test_columns_must_agree():
    field = made_up(80, 1)
    other = jc.Stars(field.x, field.noise, ("Ks", "J-Ks"))
    with pytest.raises(ValueError, match="sample has columns"):
        bayes_factor(made_up(30, 0), other, key=jax.random.key(0), model=blob)


def test_limits_are_the_fields_and_stars_are_sorted():
    field = made_up(80, 1)
    magnitude = np.asarray(field.x[:, 0])
    assert default_limits(field) == (magnitude.min(), magnitude.max())
    cut = field[inside(field, (14.0, 16.0))]
    expected = np.sort(magnitude[(magnitude >= 14.0) & (magnitude <= 16.0)])
    np.testing.assert_array_equal(cut.x[:, 0], expected)


def test_a_field_that_does_not_cover_the_colours_is_flagged():
    red = made_up(30, 0, mean=(15.0, 4.0))
    sampler = partial(jc.nuts, warmup=5, draws=5, chains=1, search=5)
    result = bayes_factor(red, made_up(80, 1), key=jax.random.key(0), model=blob, sampler=sampler)
    assert any("where the field has none" in flag for flag in result.flags)


def test_parameters_of_the_model_file():
    stars = made_up(30, 0)
    field = made_up(80, 1)
    model = load_model("mimo_cmd")(
        stars,
        field=lambda s: jnp.zeros(len(s)),
        limits=default_limits(field),
        prior={"a_v": dist.Normal(0.3, 0.05)},
        **SMALL,
    )
    assert model.describe_prior()["a_v"] == "Normal(0.3,0.05)"
    assert set(model.describe_prior()) == PARAMETERS
