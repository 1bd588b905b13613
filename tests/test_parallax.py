"""Parallaxes in the likelihood of members, of field stars in a window, and as a prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import Table
from numpyro.distributions import Normal
from scipy.integrate import quad
from scipy.stats import norm, truncnorm

import jaxcluster as jc
from jaxcluster.catalogue.candidates import Given, read_candidates
from jaxcluster.catalogue.windows import ParallaxWindow
from jaxcluster.catalogue.zero_point import zero_points
from jaxcluster.field.parallax import fit_parallaxes
from jaxcluster.jobs.parallaxes import CORRECTED, ZERO_POINT, distance_modulus, told_of_parallaxes
from jaxcluster.population.parallax import expected_parallax, log_parallax

WINDOW = ParallaxWindow(1.0, 0.05)
LIMITS = (12.0, 18.0)


def field_stars(n, seed=0):
    """u, w and colour of a window: normal in u, its mean as the colour has it."""
    rng = np.random.default_rng(seed)
    w, colour = np.exp(rng.uniform(np.log(0.05), np.log(0.3), n)), rng.uniform(0.5, 2.0, n)
    mean = 0.5 * (colour - 1.2)
    return truncnorm.rvs(-3 - mean, 3 - mean, mean, random_state=rng), w, colour


def test_density_of_a_window_is_that_of_its_stars():
    u, w, colour = field_stars(20_000)
    density = fit_parallaxes(u, w, colour, 3.0)
    for one_w, one_colour in ((0.06, 0.6), (0.2, 1.8)):
        mean = 0.5 * (one_colour - 1.2)
        at = np.linspace(-2.9, 2.9, 5)
        expected = truncnorm(-3 - mean, 3 - mean, mean, 1.0).logpdf(at) - np.log(one_w)
        found = density(at, np.full(5, one_w), np.full(5, one_colour))
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_density_of_a_window_integrates_to_one():
    density = fit_parallaxes(*field_stars(200), 3.0)
    for w, colour in ((0.05, 0.2), (0.1, 1.0), (0.5, 3.0)):  # beyond the ranges too

        def inside(u, w=w, colour=colour):
            return w * np.exp(density(*np.array([[u], [w], [colour]]))[0])

        total = quad(inside, -3.0, 3.0)
        assert total[0] == pytest.approx(1.0, abs=1e-6)
    assert density(*np.array([[3.1], [0.1], [1.0]]))[0] == -np.inf


def test_a_hollow_window_of_few_stars_is_finite():
    u = np.sign(np.random.default_rng(0).normal(size=60)) * 2.9
    density = fit_parallaxes(u, np.full(60, 0.05), np.linspace(0, 1, 60), 3.0)
    assert np.isfinite(density(u, np.full(60, 0.05), np.linspace(0, 1, 60))).all()
    assert density(*np.array([[2.9], [0.05], [0.5]])) > density(*np.array([[0.0], [0.05], [0.5]]))


@pytest.mark.parametrize(("stars", "message"), [(20, "20 stars"), (60, "1 of 60 stars")])
def test_too_few_or_outside(stars, message):
    u, w, colour = field_stars(stars)
    with pytest.raises(ValueError, match=message):
        fit_parallaxes(np.append(u[:-1], 3.5), w, colour, 3.0)


def test_parallax_of_a_distance():
    parameters = {"distance_modulus": 10.0, "parallax_zero_point": -0.03}
    assert expected_parallax(parameters) == pytest.approx(1.0 - 0.03)  # 1 kpc
    assert expected_parallax({"distance_modulus": 10.0}) is None


def test_a_star_without_one_says_nothing_and_gradients_are_finite():
    stars = jc.Stars(np.zeros((3, 1)), np.ones((3, 1, 1)), ("G",))
    known = jc.Parallaxes(
        np.array([1.0, 1.2, 0.0]), np.array([0.1, 0.2, np.inf]), np.zeros(3), (0.0, 1.0)
    )
    stars = known.known_by(stars)
    found = log_parallax(stars, 0.9)
    np.testing.assert_allclose(
        found[:2], norm([0.9, 0.9], [0.1, 0.2]).logpdf([1.0, 1.2]), rtol=1e-9
    )
    assert found[2] == 0.0
    slope = jax.grad(lambda m: log_parallax(stars, m).sum())(0.9)
    assert float(slope) == pytest.approx(0.1 / 0.01 + 0.3 / 0.04)
    with pytest.raises(KeyError, match="stars know no parallax and parallax_error"):
        log_parallax(jc.Stars(np.zeros((3, 1)), np.ones((3, 1, 1)), ("G",)), 0.9)


def tables(n=60, n_field=400, seed=0):
    """Sample of a cluster at 1 kpc with one star without a parallax, and its field."""
    rng = np.random.default_rng(seed)

    def table(n, parallax, spread):
        error = rng.uniform(0.02, 0.2, n)
        sigma = np.maximum(error, 0.05)
        u = truncnorm.rvs(-3, 3, random_state=rng, size=n) if spread == 0 else rng.uniform(-3, 3, n)
        return Table(
            {
                "phot_g_mean_mag": rng.uniform(12.5, 17.5, n),
                "bp_rp": rng.uniform(0.5, 2.0, n),
                "phot_g_mean_mag_error": np.full(n, 0.003),
                "bp_rp_error": np.full(n, 0.01),
                "parallax": parallax + u * sigma,
                "parallax_error": error,
            }
        )

    sample, field = table(n, 1.0, 0), table(n_field, 1.0, 1)
    sample["parallax"][3] = np.nan
    return sample, field


def given(table):
    return table, jc.from_table(table)


def test_likelihood_of_each_star_where_the_window_is_known():
    sample, field = map(given, tables())
    build = jc.load_model("mimo_cmd")
    told = told_of_parallaxes(build, sample, field, WINDOW, None)
    found = told.options["parallaxes"]
    assert "59 of 60" in told.words
    assert np.isinf(found.errors[3])
    assert found.log_field[3] == 0.0
    known = np.isfinite(found.errors)
    table = sample[0]
    np.testing.assert_allclose(found.values[known], np.asarray(table["parallax"])[known])
    sigma = np.maximum(np.asarray(table["parallax_error"]), 0.05)
    np.testing.assert_allclose(found.errors[known], sigma[known])
    flat = -np.log(6.0 * sigma[known])  # what the field's stars have
    np.testing.assert_allclose(found.log_field[known], flat, atol=0.7)
    assert found.zero_point == ZERO_POINT
    table["parallax"][0] = 2.0
    with pytest.raises(ValueError, match="1 of 60 stars of the sample are not within 3 σ of 1 mas"):
        told_of_parallaxes(build, sample, field, WINDOW, None)


def dr3(table):
    """The table with what Gaia's zero point depends on, of sources of many colours and places."""
    rng, table = np.random.default_rng(3), table.copy()
    table["nu_eff_used_in_astrometry"] = rng.uniform(1.2, 1.8, len(table))
    table["pseudocolour"] = np.full(len(table), np.nan)
    table["ecl_lat"] = rng.uniform(-90.0, 90.0, len(table))
    return table


def test_the_zero_point_of_each_star_is_subtracted_where_it_is_known():
    sample, field = tables()
    sample, field, build = dr3(sample), dr3(field), jc.load_model("mimo_cmd")
    expected = np.asarray(zero_points(sample))
    assert expected[0] != expected[1]
    sample["nu_eff_used_in_astrometry"][:2] = np.nan  # neither five parameters nor six
    expected[:2] = np.nanmedian(expected[2:])
    for window in (WINDOW, None):
        plain = told_of_parallaxes(build, *map(given, tables()), window, None)
        told = told_of_parallaxes(build, given(sample), given(field), window, None)
        assert "Lindegren" not in plain.words
        assert "Lindegren" in told.words
        if window is None:
            ours, others = (x.options["prior"]["distance_modulus"] for x in (told, plain))
            assert ours.scale < others.scale  # ± 0.01 mas where ± 0.02 are left
            assert ours.loc == pytest.approx(others.loc, abs=0.03)  # of 1 mas 0.01 mas are 0.02 mag
            continue
        ours, others = (x.options["parallaxes"] for x in (told, plain))
        known = np.isfinite(ours.errors)
        np.testing.assert_allclose((others.values - ours.values)[known], expected[known])
        np.testing.assert_array_equal(ours.errors, others.errors)
        np.testing.assert_array_equal(ours.log_field, others.log_field)
        assert (ours.zero_point, others.zero_point) == (CORRECTED, ZERO_POINT)


@pytest.mark.parametrize(
    ("name", "value"),
    [("parallax_zero_point", -0.03), ("ref_epoch", 2017.5), ("nu_eff_used_in_astrometry", np.nan)],
)
def test_a_zero_point_is_not_subtracted_twice_nor_where_it_is_not_known(name, value):
    sample, field = tables()
    plain = told_of_parallaxes(
        jc.load_model("mimo_cmd"), given(sample), given(field), WINDOW, None
    ).options["parallaxes"]
    sample = dr3(sample)
    sample[name] = value
    told = told_of_parallaxes(jc.load_model("mimo_cmd"), given(sample), given(field), WINDOW, None)
    found = told.options["parallaxes"]
    assert "Lindegren" not in told.words
    assert ("of DR3; ref_epoch: found 2017.5" in told.words) == (name == "ref_epoch")
    np.testing.assert_array_equal(found.values, plain.values)
    assert found.zero_point == (CORRECTED if name == "parallax_zero_point" else ZERO_POINT)


def test_density_of_the_model_is_that_of_diagram_and_parallax():
    """Against the model without parallaxes, and the two factors by hand."""
    sample, field = map(given, tables())
    build = jc.load_model("mimo_cmd")
    known = told_of_parallaxes(build, sample, field, WINDOW, None).options["parallaxes"]
    stars = sample[1]
    log_field = np.linspace(-3.0, -1.0, len(stars))
    options = {
        "field": lambda stars: log_field,
        "limits": LIMITS,
        "n_masses": 96,
        "n_mass_ratios": 6,
        "isochrone_error": 0,
    }
    plain, more = build(stars, **options), build(stars, parallaxes=known, **options)
    assert more.null == pytest.approx(plain.null + known.log_field.sum())
    parameters = {
        **{"log_age": 9.0, "metallicity": 0.0, "distance_modulus": 10.1, "a_v": 0.3},
        **{"mass_slope": -2.0, "binary_fraction": 0.3, "field_fraction": 0.4},
        **{"model_scatter": 0.03, "parallax_zero_point": -0.02},
    }
    parameters = {name: jnp.asarray(value) for name, value in parameters.items()}
    without = {n: v for n, v in parameters.items() if n != "parallax_zero_point"}
    cluster = plain.density(without).parts[0](plain.stars)
    mean = 1000.0 / 10 ** (10.1 / 5 + 1) - 0.02
    factor = np.where(
        np.isfinite(known.errors), norm(mean, np.minimum(known.errors, 9)).logpdf(known.values), 0
    )
    expected = np.logaddexp(
        np.log(0.6) + np.asarray(cluster) + factor, np.log(0.4) + log_field + known.log_field
    )
    np.testing.assert_allclose(more.pointwise(parameters), expected, rtol=1e-9)
    assert "parallax_zero_point" in more.describe_prior()
    assert "parallax_zero_point" not in plain.describe_prior()


def test_a_prior_where_the_window_is_not_known():
    sample, field = map(given, tables())
    build = jc.load_model("mimo_cmd")
    told = told_of_parallaxes(build, sample, field, None, {"a_v": "Normal(0.1,0.1)"})
    assert set(told.options["prior"]) == {"a_v", "distance_modulus"}
    prior = told.options["prior"]["distance_modulus"]
    mean, error = prior.loc, prior.scale
    assert abs(mean - (10 - 5 * np.log10(1.03))) < 3 * error
    assert "median" in told.words
    assert f"{mean:.3f}" in told.words
    table = sample[0].copy()
    table["parallax_zero_point"] = 0.0
    corrected = told_of_parallaxes(build, given(table), field, None, None)
    assert corrected.options["prior"]["distance_modulus"].scale < error
    assert CORRECTED[1] < ZERO_POINT[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prior": {"distance_modulus": Normal(10.0, 1.0)}}, "has a prior"),
        ({"build": lambda stars, *, field, limits: None}, "model takes none"),
        ({"remove": "parallax_error"}, "sample has none"),
        ({"add": 5.0}, "other distances"),
        ({"add": -0.97}, "says too little"),
    ],
)
def test_why_they_are_not_used(change, words):
    sample, field = tables()
    if "remove" in change:
        sample.remove_column(change["remove"])
    if "add" in change:  # to all, or to every fifth star
        every = 5 if change["add"] > 0 else 1
        sample["parallax"][::every] += change["add"]
    build = change.get("build", jc.load_model("mimo_cmd"))
    told = told_of_parallaxes(build, given(sample), given(field), None, change.get("prior"))
    assert told.words.startswith("not used: ")
    assert words in told.words
    assert told.options == {}


def test_median_distance_is_not_moved_by_field_stars_and_its_error_is_true():
    moved, pulls = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        error = rng.uniform(0.05, 0.2, 200)
        values = 2.0 + np.hypot(error, 0.05) * rng.normal(size=200)
        value, sigma = distance_modulus(
            Table({"parallax": values, "parallax_error": error}), (0.0, 1e-9)
        )
        pulls.append((value - 5 * np.log10(500 / 10)) / sigma)
        values[:15] += 1.0  # foreground
        after, _ = distance_modulus(
            Table({"parallax": values, "parallax_error": error}), (0.0, 1e-9)
        )
        moved.append((after - value) / sigma)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.15)
    assert abs(np.mean(pulls)) < 0.25
    assert abs(np.mean(moved)) < 1.5  # a mean moves by 8


def test_files_of_sample_and_field_may_say_their_window():
    assert Given(candidate="a", sample="s", field="f").parallax_window is None
    assert Given(candidate="a", sample="s", field="f", parallax=1.0).parallax_window == WINDOW
    listed = Table({"candidate": ["a", "b"], "sample": ["s", "t"], "field": ["f", "g"]})
    listed["parallax"] = [1.0, np.nan]
    listed["parallax_scatter"] = [0.1, 0.1]
    one, other = read_candidates(listed)
    assert one.parallax_window == ParallaxWindow(1.0, 0.1)
    assert other.parallax_window is None


def test_a_posterior_of_parallaxes_alone():
    """Distance and zero point by importance sampling, against the mean and its error."""
    rng = np.random.default_rng(1)
    n, error = 80, 0.1
    stars = jc.Stars(np.zeros((n, 1)), np.ones((n, 1, 1)), ("G",))
    values = 1.0 - 0.03 + error * rng.normal(size=n)
    known = jc.Parallaxes(values, np.full(n, error), np.full(n, np.log(1 / 0.6)), (-0.03, 0.01))
    stars = known.known_by(stars)
    prior = {"distance_modulus": Normal(10.0, 1.0), "parallax_zero_point": Normal(-0.03, 0.01)}
    model = jc.Model.from_likelihood(prior, lambda p: log_parallax(stars, expected_parallax(p)))
    found = jc.importance(model, key=0)
    draws = np.asarray(found.draws["distance_modulus"])
    expected = 10 - 5 * np.log10(values.mean() + 0.03)
    sigma = 5 / np.log(10) * np.hypot(error / np.sqrt(n), 0.01)
    assert draws.mean() == pytest.approx(expected, abs=0.2 * sigma)
    assert draws.std() == pytest.approx(sigma, rel=0.15)
    assert jnp.isfinite(found.log_evidence)
