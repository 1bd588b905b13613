import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpyro.distributions import Uniform
from scipy.special import logsumexp
from scipy.stats import chisquare

import jaxcluster as jc
from jaxcluster.cli.shown import print_across_grids, print_summary
from jaxcluster.field.mismatch import compare
from jaxcluster.figures import cmd as plot
from jaxcluster.figures import corner
from jaxcluster.figures import run as plot_run
from jaxcluster.inference.evidence import insertion_ranks, integrate, live_counts
from jaxcluster.inference.finish import from_groups
from jaxcluster.inference.posterior import Posterior
from jaxcluster.jobs.across_grids import AcrossGrids
from jaxcluster.jobs.bayes_factor_result import BayesFactor
from jaxcluster.jobs.goodness_of_fit import Cell, GoodnessOfFit

LIMITS = (10.0, 18.0)
TRUTH = {
    "log_age": 9.6,
    "metallicity": 0.0,
    "distance_modulus": 9.6,
    "a_v": 0.1,
    "mass_slope": -2.0,
    "binary_fraction": 0.4,
    "field_fraction": 0.3,
    "model_scatter": 0.02,
}
COLUMNS = ("G", "BP-RP")
ACCOUNT = {
    "evaluations": 1000,
    "cpu_seconds": 1.0,
    "compile_seconds": 2.0,
    "resumed_seconds": 0.0,
    "priors": "{'a_v': 'Uniform(0,6)'}",
    "versions": "{'jax': '0.10'}",
}


def stars_at(x):
    return jc.Stars(x, np.tile(np.diag([0.003, 0.01]) ** 2, (len(x), 1, 1)), COLUMNS)


def perfect_run(live, n_dead, rng):
    """Nested sampling of a Gaussian with exact draws: ln L = −X^(1/2)/0.02, X uniform."""
    volume = np.sort(rng.uniform(size=live))
    births = np.full(live, -np.inf)
    dead, born = [], []
    for _ in range(n_dead):
        worst = volume.argmax()
        dead.append(volume[worst])
        born.append(births[worst])
        births[worst] = -np.sqrt(volume[worst]) / 0.02
        volume[worst] *= rng.uniform()
    log_l = -np.sqrt(np.concatenate([dead, volume])) / 0.02
    birth = np.concatenate([born, births])
    order = np.argsort(log_l)
    return log_l[order], birth[order]


@pytest.fixture(scope="module")
def run():
    return perfect_run(100, 1500, np.random.default_rng(0))


@pytest.fixture(scope="module")
def result(run):
    rng = np.random.default_rng(1)
    field_x = rng.normal([15.5, 1.2], [1.5, 0.3], size=(400, 2))
    inside = (field_x[:, 0] > LIMITS[0]) & (field_x[:, 0] < LIMITS[1])
    field = jc.published_kde(stars_at(field_x[inside]), LIMITS)
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    isochrone = grid.isochrone(9.6, 0.0, 0.1)
    mass = rng.uniform(0.7, 1.15, 60)
    bands = np.stack(
        [np.interp(mass, isochrone.initial_mass, m) for m in np.asarray(isochrone.magnitudes).T]
    )
    x = np.stack([bands[0] + 9.6, bands[1] - bands[2]], -1) + rng.normal(0, 0.02, (60, 2))
    stars = stars_at(x)
    draws = {name: value + 0.01 * rng.normal(size=(1, 300)) for name, value in TRUTH.items()}
    of_stars = {"stars": rng.normal(size=(1, 300, 60))}
    posterior = Posterior(from_groups({"posterior": draws, "log_likelihood": of_stars}))
    log_l, birth = run
    evidence = integrate(log_l, birth, np.random.default_rng(2))
    posterior.record.update(
        method="nested",
        **ACCOUNT,
        log_evidence=evidence.log_evidence,
        log_evidence_error=evidence.log_evidence_error,
        information=evidence.information,
        insertion_rank_p=evidence.insertion_rank_p,
        dead_log_likelihood=log_l,
        dead_log_weight=evidence.log_weights,
        dead_birth=birth,
    )
    members = Table({"membership": rng.uniform(size=60)})
    mismatch = compare(field, stars)
    return BayesFactor(
        log10_bayes_factor=12.3,
        log10_bayes_factor_error=0.4,
        log10_bayes_factor_field_error=0.2,
        log10_bayes_factor_field_bias=0.1,
        log_evidence_field=-90.0,
        posterior=posterior,
        members=members,
        stars=stars,
        field=field,
        log_field=np.asarray(field(stars)),
        mismatch=mismatch,
        goodness=GoodnessOfFit(1e-5, 0.2, (Cell((12.0, 14.0), (0.5, 1.0), 40, 20.0),)),
        limits=LIMITS,
        n_outside=0,
        n_in_field_too=0,
        n_dropped={"sample": {}, "field": {}},
        oddities=(),
        build="mimo_cmd",
        options={"n_masses": 8, "n_mass_ratios": 2, "isochrone_error": 0},
        parallax="not used: the sample has none",
        isochrones="their colours are trusted",
        systematic={},
        seed=0,
        cpu_seconds=1.0,
        compile_seconds=1.0,
    )


@pytest.fixture(scope="module")
def nuts(result):
    rng = np.random.default_rng(3)
    draws = {name: value + 0.01 * rng.normal(size=(2, 100)) for name, value in TRUTH.items()}
    statistics = {
        "diverging": rng.uniform(size=(2, 100)) < 0.03,
        "n_steps": rng.integers(3, 16, (2, 100)),
        "lp": rng.normal(size=(2, 100)),
    }
    groups = {"posterior": draws, "sample_stats": statistics}
    of_stars = {"stars": rng.normal(size=(2, 100, 60))}
    posterior = Posterior(from_groups({**groups, "log_likelihood": of_stars}))
    posterior.record.update(method="nuts", **ACCOUNT)
    return replace(
        result, posterior=posterior, log10_bayes_factor=None, log10_bayes_factor_error=None
    )


def with_model(result, model):
    return replace(result, build=lambda *_, **__: model)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("kind", ["nested", "nuts"])
def test_a_saved_result_is_the_same(kind, result, nuts, tmp_path):
    one = {"nested": result, "nuts": nuts}[kind]
    folder = one.save(tmp_path / "new")
    for name in ("cmd", "fit", "corner", "run"):
        data = (folder / f"{name}.png").read_bytes()
        assert data[:4] == b"\x89PNG"
        assert len(data) > 10_000
    again = jc.load(folder)
    assert repr(again) == repr(one)
    assert again.verdict in again._repr_html_()
    np.testing.assert_array_equal(again.members["membership"], one.members["membership"])
    np.testing.assert_array_equal(again.stars.x, one.stars.x)
    assert again.summary()["parameters"] == one.summary()["parameters"]
    truth = {name: jnp.asarray(value) for name, value in TRUTH.items()}
    np.testing.assert_array_equal(again.model.pointwise(truth), one.model.pointwise(truth))
    saved = Table.read(folder / "members.ecsv")
    assert (np.diff(saved["membership"]) <= 0).all()
    table = one.table()
    assert list(table["unit"][table["parameter"] == "a_v"]) == ["mag"]
    written = Table.read(folder / "parameters.ecsv")
    rows = dict(zip(written["parameter"], written["median"], strict=True))
    assert rows["distance"] == pytest.approx(10.0 ** (rows["distance_modulus"] / 5.0 + 1.0))
    assert set(written["unit"].filled("")) >= {"pc", "Myr", "mag", "dex"}
    with pytest.raises(FileNotFoundError, match="a folder that `save` wrote"):
        jc.load(tmp_path)


def test_colour_magnitude_diagram(result):
    figure = plot.cmd_figure(result)
    ax = figure.axes[0]
    assert isinstance(figure, Figure)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("G [mag]", "BP − RP [mag]")
    faint, bright = ax.get_ylim()
    assert faint > LIMITS[1] > LIMITS[0] > bright
    assert figure.axes[1].get_ylabel() == "membership probability"
    assert "12.3" in texts(figure)
    assert "60 stars" in texts(figure)
    assert "ESA/Gaia/DPAC" in texts(figure)
    other = texts(plot.cmd_figure(result, credit="Simulated"))
    assert "Simulated" in other
    assert "ESA" not in other
    lines = [line for line in ax.lines if len(line.get_xdata()) > 100]
    assert len(lines) == plot.N_DRAWS + 2
    single, pairs = lines[-2:]
    np.testing.assert_array_equal(pairs.get_xdata(), single.get_xdata())
    brighter = single.get_ydata() - pairs.get_ydata()
    np.testing.assert_allclose(brighter[np.isfinite(brighter)], 2.5 * np.log10(2), atol=1e-4)


def test_misfit_in_the_diagram(result):
    """The one cell of the fixture: 40 stars where 20 are expected."""
    figure = result.plot_fit()
    ax, scale = figure.axes
    (cells,) = ax.collections
    np.testing.assert_allclose(cells.get_array(), [20.0 / np.sqrt(20.0)])
    assert ax.get_ylim() == LIMITS[::-1]
    assert "expected" in scale.get_ylabel()
    assert "20% misplaced, p = 1e-05" in texts(figure)
    told = result.fit_flag
    assert told is not None
    assert "40 with G 12.00 to 14.00 and BP-RP 0.50 to 1.00 where 20 are expected" in told
    assert told in result.flags
    assert result.summary()["fit_flag"] == told
    unjudged = replace(result, goodness=None)
    assert unjudged.fit_flag is None
    assert "fit" not in unjudged.figures()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (12.3, "a cluster: log10 BF is above 2"),
        (2.5, "a cluster, but only 1.1 σ above the threshold of log10 BF = 2"),
        (1.0, "not decided"),
        (-0.1, "no cluster"),
        (None, None),
    ],
)
def test_what_a_bayes_factor_says(value, words, result):
    told = replace(result, log10_bayes_factor=value).decision
    assert told is None if words is None else told.startswith(words)


def test_the_thick_isochrone_is_of_a_draw(result):
    """Of two modes, no draw is at the medians."""
    draws = {name: np.full((1, 5), value) for name, value in TRUTH.items()}
    draws["log_age"] = np.array([[8.5, 8.6, 8.7, 9.5, 9.6]])
    of_stars = {"stars": np.array([[[0.0], [0.0], [-9.0], [2.0], [1.0]]])}
    two = Posterior(from_groups({"posterior": draws, "log_likelihood": of_stars}))
    two.record.update(result.posterior.record)
    assert two.likeliest == {**TRUTH, "log_age": 9.5}
    ax = plot.cmd_figure(replace(result, posterior=two)).axes[0]
    *_, single, _ = [line for line in ax.lines if len(line.get_xdata()) > 100]
    expected = plot.sequence(result)(two.likeliest)
    np.testing.assert_allclose(single.get_ydata(), expected[:, 0])


def shifted(result, by, log_evidence):
    """The same with ages that much larger, as another grid would say."""
    draws = {name: values[None] for name, values in result.posterior.draws.items()}
    groups = {"posterior": {**draws, "log_age": draws["log_age"] + by}}
    posterior = Posterior(from_groups(groups))
    posterior.record.update(result.posterior.record)
    posterior.record.update(log_evidence=log_evidence)
    return replace(result, posterior=posterior)


def test_grids_side_by_side(result, tmp_path):
    two = AcrossGrids({"a": shifted(result, 0.0, -10.0), "b": shifted(result, 0.3, -11.0)})
    assert two.by_evidence == pytest.approx({"a": 1 / (1 + np.exp(-1)), "b": 1 / (1 + np.e)})
    age = np.median(result.posterior.draws["log_age"])
    equal, weighed = two.combined()["log_age"], two.combined(two.by_evidence)["log_age"]
    # widths are 0.01: each half of the draws is about its own grid's age
    assert equal["systematic"] == pytest.approx(0.15)
    assert equal["q16"] == pytest.approx(age, abs=0.03)
    assert equal["q84"] == pytest.approx(age + 0.3, abs=0.03)
    assert weighed["median"] == pytest.approx(age, abs=0.03)
    assert two.combined()["a_v"]["systematic"] == 0.0
    two.write(tmp_path)
    table = Table.read(tmp_path / "parameters.ecsv")
    row = table[table["parameter"] == "age"][0]
    assert row["unit"] == "Myr"
    assert row["b"] / row["a"] == pytest.approx(10.0**0.3)
    assert json.loads((tmp_path / "summary.json").read_text())["weights_by_evidence"]["a"] > 0.7
    print_across_grids(two.summary())
    with pytest.raises(ValueError, match="found 1 grid, expected two or more"):
        AcrossGrids({"a": result})
    with pytest.raises(ValueError, match="grids of different stars"):
        AcrossGrids({"a": result, "b": replace(result, stars=result.stars[np.arange(5)])})


def test_what_is_systematic_stands_beside_the_interval(result, capsys, monkeypatch):
    assert "systematic" not in result.table().colnames
    told = replace(result, systematic={"distance_modulus": 0.05, "log_age": 0.1})
    table = told.table()
    sigma = dict(zip(table["parameter"], table["systematic"], strict=True))
    middle = dict(zip(table["parameter"], table["median"], strict=True))
    assert (sigma["distance_modulus"], sigma["log_age"]) == (0.05, 0.1)
    # in pc and Myr: of first order in σ, and what has none has none
    assert sigma["distance"] == pytest.approx(middle["distance"] * 0.05 * np.log(10) / 5, rel=1e-3)
    assert sigma["age"] == pytest.approx(middle["age"] * 0.1 * np.log(10), rel=0.02)
    assert np.isnan(sigma["a_v"])
    assert np.isnan(sigma["e_bv"])
    monkeypatch.setenv("COLUMNS", "100")
    print_summary(told.summary())
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.startswith("log_age")]
    assert line.split()[5] == "0.1000"
    assert "σ beyond the interval" in shown


def test_another_density_has_no_isochrone(result):
    model = jc.Model.from_likelihood(result.model.prior, lambda p: p["log_age"][None])
    ax = plot.cmd_figure(with_model(result, model)).axes[0]
    assert not [line for line in ax.lines if len(line.get_xdata()) > 100]


def test_line_breaks_at_the_helium_flash_only(result):
    line = plot.sequence(result)({n: jnp.asarray(value) for n, value in TRUTH.items()})
    isochrone = jc.load_grid("parsec", ("G", "BP", "RP")).isochrone(9.6, 0.0, 0.1)
    gaps = np.flatnonzero(np.isnan(line[:, 0]))
    assert len(gaps) > 0
    np.testing.assert_array_equal(len(line) - len(gaps), len(isochrone.initial_mass))
    # all gaps lie after the tip of the giant branch, and none on the main sequence
    assert gaps.min() > np.nanargmin(line[: gaps.min(), 0])
    assert np.nanmax(line[gaps - 1, 0]) < 10.0
    g, bp, rp = np.asarray(isochrone.magnitudes).T
    np.testing.assert_allclose(line[np.isfinite(line[:, 0])], np.stack([g + 9.6, bp - rp], -1))


def test_contours_hold_their_shares(result):
    ax = Figure().add_subplot()
    plot._draw_field(ax, result, 1, (-0.5, 3.0))
    x = result.field.sample(6000, np.random.default_rng(4))
    density = np.exp(np.asarray(result.field(stars_at(x))))
    (contours,) = (c for c in ax.collections if hasattr(c, "levels"))
    shares = [(density > level).mean() for level in contours.levels]
    np.testing.assert_allclose(shares, plot.SHARES, atol=0.025)


def test_corner_draws_priors_and_truths(result):
    figure = corner.corner_figure(result, truth={**TRUTH, "log_age": 9.9})
    assert all(label in texts(figure) for label in ("[M/H]", "$A_V$ [mag]", "truth"))
    panels = np.array(figure.axes).reshape(8, 8)
    assert panels[0, 0].get_xlim()[1] > 9.9
    (line,) = (line for line in panels[1, 1].lines if line.get_color() == corner.PRIOR)
    np.testing.assert_allclose(line.get_ydata(), 1 / (0.45 + 2.0), rtol=1e-5)
    corners = panels[1, 1].patches[0].get_xy()  # outline of the histogram
    area = 0.5 * np.abs(np.sum(corners[:, 0] * np.roll(corners[:, 1], -1)
                               - corners[:, 1] * np.roll(corners[:, 0], -1)))  # fmt: skip
    assert area == pytest.approx(1.0, abs=0.01)
    with pytest.raises(ValueError, match="distance"):
        corner.corner_figure(result, truth={"distance": 800.0})


def test_prior_is_zero_outside_its_support(nuts):
    model = jc.Model.from_likelihood({"a_v": Uniform(0.1, 0.5)}, lambda p: p["a_v"][None])
    figure = corner.corner_figure(with_model(nuts, model), truth={"a_v": 0.0})
    ax = np.array(figure.axes).reshape(8, 8)[3, 3]
    (line,) = (line for line in ax.lines if line.get_color() == corner.PRIOR)
    x, y = line.get_xdata(), line.get_ydata()
    np.testing.assert_allclose(y, np.where(x < 0.1, 0.0, 2.5), rtol=1e-5)


def test_evidence_path_ends_at_the_evidence(run):
    log_l, birth = run
    evidence = integrate(log_l, birth, np.random.default_rng(2), n_simulations=2000)
    live = live_counts(log_l, birth)
    path, error = plot_run.evidence_path(evidence.log_weights, live, evidence.log_evidence)
    assert path[-1] == pytest.approx(evidence.log_evidence)
    assert error[-1] == pytest.approx(evidence.log_evidence_error, rel=0.1)
    # half-way, against shells of the expected volumes
    log_x = np.concatenate([[0.0], -np.cumsum(1 / live)])
    shells = log_x[:-1] + np.log(-np.expm1(np.diff(log_x))) + log_l
    i = len(log_l) // 2
    assert path[i] == pytest.approx(logsumexp(shells[: i + 1]), abs=0.15)
    assert np.all(np.diff(path[np.isfinite(path)]) >= 0)


def test_insertion_ranks_are_uniform_for_exact_draws_only(run):
    edges = np.linspace(0, 1, 11)
    log_l, birth = run
    rng = np.random.default_rng(6)
    number, _ = np.histogram(insertion_ranks(log_l, birth, rng), edges)
    assert number.sum() == np.isfinite(birth).sum()
    assert chisquare(number).pvalue > 0.01
    # points that stay near their contour
    near = np.isfinite(birth) & (np.random.default_rng(5).uniform(size=len(birth)) < 0.3)
    log_l = np.where(near, birth + 1e-9, log_l)
    number, _ = np.histogram(insertion_ranks(log_l, birth, rng), edges)
    assert chisquare(number).pvalue < 1e-6


def test_batches_start_at_the_number_of_live_points():
    contours = np.arange(5.0, 50.0, 5.0)  # ten live points; five die at each contour
    log_l = np.arange(1.0, 56.0)
    birth = np.concatenate([np.full(10, -np.inf), np.repeat(contours, 5)])
    live = live_counts(log_l, birth)
    np.testing.assert_array_equal(live[:7], [10, 9, 8, 7, 6, 10, 9])
    shown = plot_run.batch_starts(live)
    np.testing.assert_array_equal(live[shown], [10] * 10 + list(range(9, 0, -1)))


def test_run_figure_says_how_it_went(result, nuts):
    nested = plot_run.run_figure(result)
    assert {ax.get_ylabel() for ax in nested.axes} >= {r"$\ln L$", "live points", "new points"}
    diverging = int(np.asarray(nuts.posterior["sample_stats"]["diverging"]).sum())
    assert f"{diverging} diverging" in texts(plot_run.run_figure(nuts))


def test_run_figure_of_importance_sampling(result):
    def density(p):
        return jc.GaussianMixture(jnp.ones(1), p["mu"][None, None], 0.01 * jnp.eye(1)[None])

    stars = jc.Stars(np.array([[0.3], [0.5]]), np.full((2, 1, 1), 0.04), ("pmra",))
    model = jc.Model({"mu": Uniform(-5, 5)}, density, stars)
    run = jc.importance(model, key=jax.random.key(0))
    figure = plot_run.run_figure(replace(result, posterior=run))
    attributes = run.record
    searches, rounds, weights = figure.axes
    assert [len(line.get_xdata()) for line in searches.lines] == attributes["search_length"]
    shown = np.concatenate([c.lines[0].get_ydata() for c in rounds.containers])
    np.testing.assert_allclose(np.sort(shown), np.sort(attributes["round_log_evidence"]))
    assert weights.patches[0].get_path().vertices[:, 1].max() > 0
    assert f"{attributes['ess']:.0f} effective draws" in weights.get_title()
