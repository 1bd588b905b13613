"""Structure of clusters: the reference, simulated truth, limits, and `jaxcluster king`."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from astropy.table import Table, vstack
from scipy.integrate import quad, simpson
from scipy.special import gammainc, gammaln
from test_cli import quiet, refused, run  # noqa: F401

import jaxcluster as jc
from jaxcluster.catalogue.sky import to_sky
from jaxcluster.cli.typed import shape_of
from jaxcluster.inference.maximum import maximum_likelihood
from jaxcluster.inference.posterior import parameter_table
from jaxcluster.jobs.king_field import read_field
from jaxcluster.jobs.model_files import load_model
from jaxcluster.structure.footprint import box, circle
from jaxcluster.structure.profiles import King
from jaxcluster.structure.shape import about_mean
from jaxcluster.structure.surface import ClusterOnSky, FieldOnSky, SurfaceDensity

KEY = jax.random.key(0)
N_CLUSTER, CORE, TIDAL, RADIUS, BACKGROUND = 500, 2.0, 12.0, 20.0, 0.38
TRUTH = {
    "n_inside": N_CLUSTER,
    "r_core": CORE,
    "r_tidal": TIDAL,
    "background_density": BACKGROUND,
    "x_centre": 0.5,
    "y_centre": -0.3,
    "ellipticity": 0.3,
}


def draw(seed=0, n=N_CLUSTER, core=CORE, tidal=TIDAL, radius=RADIUS, background=BACKGROUND):
    """Positions of an elliptical cluster, major axis at 40 degrees, and a uniform field."""
    rng = np.random.default_rng(seed)
    r = np.linspace(0, tidal, 4000)
    inside = np.asarray(King(core, tidal).cumulative(r))
    r = np.interp(rng.uniform(0, inside[-1], rng.poisson(n)), inside, r)
    turn, q, angle = rng.uniform(0, 2 * np.pi, len(r)), 0.7, np.radians(40.0)
    major, minor = r * np.cos(turn) / np.sqrt(q), r * np.sin(turn) * np.sqrt(q)
    cluster = np.stack(
        [
            major * np.sin(angle) + minor * np.cos(angle) + 0.5,
            major * np.cos(angle) - minor * np.sin(angle) - 0.3,
        ],
        axis=-1,
    )
    field = rng.uniform(-radius, radius, (rng.poisson(4 * radius**2 * background), 2))
    x = np.concatenate([cluster, field])
    return x[np.hypot(*x.T) < radius]


def stars_of(x, columns=("x", "y")):
    return jc.Stars(x, np.zeros((len(x), 2, 2)), columns)


def build(x, **options):
    return load_model("king_profile")(stars_of(x), **options)


@pytest.fixture(scope="module")
def reference(data):
    path = data.parent / "reference" / "king_synthetic.npz"
    if not path.is_file():
        pytest.skip(f"reference not found at {path}")
    return np.load(path)


def test_reference_likelihood(reference):
    k, core, tidal, background = reference["ml"]
    x = np.stack([reference["x"], reference["y"]], axis=-1)
    footprint = circle(40.0)
    n_inside = k * footprint.integral(King(core, tidal))
    density = SurfaceDensity(King(core, tidal), footprint, n_inside, background)
    assert float(density.log_likelihood(jnp.asarray(x))) == pytest.approx(-3654.0757, abs=1e-3)
    assert float(density.amplitude) == pytest.approx(k)


def test_reference_maximum(reference):
    x = np.stack([reference["x"], reference["y"]], axis=-1)
    model = build(x, footprint=circle(40.0), max_ellipticity=0, free_centre=False)

    def amplitude(parameters):
        return {"k": SurfaceDensity.of(parameters, circle(40.0)).amplitude}

    found = maximum_likelihood(model, key=KEY, derived=amplitude)
    assert found.log_likelihood == pytest.approx(-3654.0757, abs=1e-3)
    assert found.at_bound == []
    names = ("k", "r_core", "r_tidal", "background_density")
    np.testing.assert_allclose([found.parameters[n] for n in names], reference["ml"], rtol=1e-4)
    np.testing.assert_allclose([found.errors[n] for n in names], reference["ml_err"], rtol=0.01)


@pytest.mark.slow
def test_maximum_with_all_free_and_at_a_bound():
    x = draw()
    found = maximum_likelihood(build(x, footprint=circle(RADIUS)), key=KEY)
    for name, truth in TRUTH.items():
        assert abs(found.parameters[name] - truth) < 4 * found.errors[name], name
    lone = np.random.default_rng(0).uniform(-10, 10, (200, 2))
    model = build(lone, footprint=box(20.0, 20.0), profile="plummer", max_ellipticity=0)
    # one star and its nearest places: only the prior keeps such a core from being a point
    assert "r_core" in maximum_likelihood(model, key=KEY).at_bound


@pytest.mark.parametrize("sampler", [pytest.param(jc.nuts, marks=pytest.mark.slow), jc.fast])
def test_posterior_covers_the_truth(sampler):
    x = draw()
    model = build(x, footprint=circle(RADIUS))
    posterior = sampler(model, key=KEY)
    for name, truth in TRUTH.items():
        draws = np.asarray(posterior.draws[name])
        low, high = np.quantile(draws, [0.005, 0.995])
        assert low < truth < high, name
    middle = np.median(about_mean(np.asarray(posterior.draws["position_angle"])))
    assert middle == pytest.approx(40.0, abs=15.0)
    if sampler is jc.fast:
        assert posterior.log_evidence > 50 + model.null


@pytest.mark.slow
def test_fast_keeps_the_tails_that_nuts_finds():
    """Small, sharply cut clusters, r_core > r_tidal: a posterior that is a thin, bent ridge."""
    prior = {"n_inside": dist.Uniform(0.0, 600.0), "background_density": dist.Uniform(0.0, 0.25)}
    outside = []
    for seed in range(6):
        x = draw(seed, n=60, core=4.0, tidal=2.0, radius=30.0, background=0.15)
        model = build(x, footprint=circle(30.0), prior=prior)
        fast, nuts = (
            np.asarray(run(model, key=jax.random.key(seed))["posterior"]["r_core"])
            for run in (jc.fast, jc.nuts)
        )
        low, high = np.quantile(fast, [0.025, 0.975])
        outside.append(((nuts < low) | (nuts > high)).mean())
    assert 0.03 < np.mean(outside) < 0.09


def test_maximum_where_one_parameter_does_not_matter():
    prior = {"a": dist.Uniform(0.0, 1.0), "b": dist.Uniform(0.0, 1.0)}

    def terms(p):
        return -50.0 * (p["a"][None] - 0.3) ** 2 - 1e-30 * p["b"][None] ** 2

    found = maximum_likelihood(jc.Model.from_likelihood(prior, terms), key=KEY)
    assert found.parameters["a"] == pytest.approx(0.3)
    assert np.isnan(found.errors["b"])


def test_weights_count_stars():
    x = draw(n=60, background=0.05)
    weights = np.random.default_rng(1).integers(1, 3, len(x)).astype(float)
    repeated = np.repeat(x, weights.astype(int), axis=0)
    options = {"footprint": circle(RADIUS), "max_ellipticity": 0}
    at = {"n_inside": 60.0, "background_density": 0.1, "r_core": 2.0, "r_tidal": 9.0}
    at = {n: jnp.asarray(v) for n, v in {**at, "x_centre": 0.1, "y_centre": 0.2}.items()}
    weighted, plain = build(x, weights=weights, **options), build(repeated, **options)
    one = float(weighted.log_likelihood(at))
    assert one == pytest.approx(float(plain.log_likelihood(at)), rel=1e-12)
    assert weighted.null == pytest.approx(plain.null)


@pytest.mark.slow
def test_uniform_field_alone():
    """The closed form against quadrature, and no evidence for a cluster that is not there."""
    x = np.random.default_rng(0).uniform(-10, 10, (40, 2))
    model = build(x, footprint=box(20.0, 20.0), profile="plummer")
    most = (40 + 5 * 40**0.5 + 10) / 400
    area, n = 400.0, 40
    value, _ = quad(lambda b: b**n * np.exp(n - b * area) * 10.0**n / most, 0, most)
    expected = np.log(value) - n - n * np.log(10.0)
    assert model.null == pytest.approx(expected, abs=1e-6)
    found = jc.fast(model, key=KEY).record
    assert found["log_evidence"] < expected + 1


def tilted(n, gradient, seed=0, radius=10.0):
    """Positions of a background that changes along x, and no cluster."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(-radius, radius, (4 * n, 2))
    kept = draw.uniform(0, 2, 4 * n) < 1 + gradient * x[:, 0] / radius
    return x[kept & (np.hypot(*x.T) < radius)][:n]


@pytest.mark.parametrize("n", [40, 2000])
def test_background_alone_with_a_gradient(n):
    """Against Simpson's rule over the gradient's whole prior, and a gamma law over the density."""
    x = tilted(n, 0.3)
    null = build(x, radius=10.0, gradient=True).null
    edge = np.linspace(-0.7, 0.7, 801)
    g = np.stack(np.meshgrid(edge, edge, indexing="ij"), -1)
    log_l = sum(np.log1p(g @ (one / 10.0)) for one in x)
    best = log_l.max()
    area, most = np.pi * 100.0, n + 5 * n**0.5 + 10
    over_g = simpson(simpson(np.exp(log_l - best), x=edge), x=edge) / 1.4**2
    level = gammaln(n + 1) + np.log(gammainc(n + 1, most)) - n * np.log(area) - np.log(most)
    assert null == pytest.approx(level + best + np.log(over_g), abs=1e-4)


@pytest.mark.slow
def test_a_gradient_is_no_cluster():
    """By a level background alone as competitor ln Z − null was +11."""
    model = build(tilted(2000, 0.3), radius=10.0, gradient=True)
    assert jc.fast(model, key=KEY).log_evidence - model.null < -2


def test_background_that_changes():
    x = draw()
    model = build(x, radius=20.5, gradient=True)
    at = {n: jnp.asarray(float(v)) for n, v in TRUTH.items()}
    at |= {"position_angle": jnp.asarray(40.0), "gradient": jnp.array([0.3, -0.2])}
    density = SurfaceDensity.of(at, circle(20.5, holes=[(5, 5, 3)]))
    grid = np.stack(np.meshgrid(*[np.linspace(-20.5, 20.5, 801)] * 2), axis=-1).reshape(-1, 2)
    grid = grid[density.footprint.contains(grid)]
    total = float(jnp.exp(density.log_rate(jnp.asarray(grid))).sum()) * (41 / 800) ** 2
    assert total == pytest.approx(float(density.expected), rel=2e-3)
    assert np.isfinite(model.log_likelihood(at))


def test_densities_of_one_star_make_the_same_mixture():
    """Beside a proper motion that says nothing, Poisson's likelihood is that of a mixture."""
    x = draw()
    at = {n: jnp.asarray(float(v)) for n, v in TRUTH.items()}
    surface = SurfaceDensity.of({**at, "position_angle": jnp.asarray(40.0)}, circle(RADIUS))
    share = surface.n_inside / surface.expected
    flat = jc.Subspace(
        (2,), jc.GaussianMixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
    )
    parts = [
        jc.Product((jc.Subspace((0, 1), sky), flat))
        for sky in (ClusterOnSky(surface), FieldOnSky(surface))
    ]
    stars = jc.Stars(
        np.column_stack([x, np.zeros(len(x))]), np.zeros((len(x), 3, 3)), ("x", "y", "pmra")
    )
    mixture = jc.Mixture(jnp.stack([share, 1 - share]), tuple(parts))
    expected = surface.log_rate(jnp.asarray(x)) - jnp.log(surface.expected)
    np.testing.assert_allclose(mixture(stars), expected - 0.5 * np.log(2 * np.pi), rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "sersic"}, "'sersic'.*king62"),
        ({"beta": 1}, "1, 2 or free.*found 1 of king62"),
        ({"profile": "generalised", "beta": 3}, "found 3"),
        ({"radius": 3.0}, "lie outside the footprint"),
    ],
)
def test_build_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        build(draw(), **options)


def test_build_projects_and_takes_priors():
    x = draw(n=60, background=0.05)
    sky = to_sky(x, (0.01, 60.0))
    model = load_model("king_profile")(
        stars_of(sky, ("ra", "dec")), radius=21.0, prior={"r_core": dist.LogNormal(0.0, 1.0)}
    )
    assert model.describe_prior()["r_core"] == "LogNormal(0,1)"
    assert model.describe_prior()["r_tidal"] == "LogUniform(0.7,210)"


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """The field across 0h, with some positions missing."""
    folder = tmp_path_factory.mktemp("king")
    sky = to_sky(draw(), (0.05, 30.0))
    table = Table({"ra": sky[:, 0], "dec": sky[:, 1], "p": np.ones(len(sky))})
    table["ra"][:3] = np.nan
    table.write(folder / "field.ecsv")
    return SimpleNamespace(path=folder / "field.ecsv", table=table, folder=folder)


def test_command(field):
    out = field.folder / "out"
    options = ["--radius", 20, "--centre", "0.05,30", "--binned"]
    result = run("king", field.path, *options, "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    names = {"r_core", "r_tidal", "central_density", "background_density", "beta", "ellipticity"}
    names |= {"position_angle", "n_cluster", "concentration", "density_contrast"}
    assert names <= set(summary["parameters"])
    for name in names:
        row = summary["parameters"][name]
        assert row["q16"] <= row["median"] <= row["q84"]
    r = summary["parameters"]
    assert r["beta"]["median"] == 2
    assert r["r_core"]["median"] == pytest.approx(CORE, rel=0.3)
    assert r["position_angle"]["median"] == pytest.approx(40.0, abs=15.0)
    t = 1 + (r["r_tidal"]["median"] / r["r_core"]["median"]) ** 2
    assert 0 < r["central_density"]["median"] < 1e3 * (1 - t**-0.5) ** 2
    assert summary["units"]["r_core"] == "arcmin"
    assert summary["units"]["central_density"] == "arcmin-2"
    assert summary["n_dropped"]["without a position"] == 3
    assert summary["n_stars"] + sum(summary["n_dropped"].values()) == len(field.table)
    assert summary["warnings"] == []
    assert summary["log_evidence"] > summary["log_evidence_uniform"] + 50
    assert summary["cpu_seconds"] > 0
    assert {"seed", "versions", "radius"} <= set(summary)
    assert [fit["beta"] for fit in summary["binned"]["fits"]] == [1, 2]
    two = summary["binned"]["fits"][1]["parameters"]
    assert two["r_core"]["value"] == pytest.approx(r["r_core"]["median"], rel=0.5)
    assert summary["binned"]["centre"]["dec"] == pytest.approx(30.0, abs=1e-6)
    names = ("profile.png", "sky.png", "corner.png", "posterior.nc", "summary.json")
    for name in (*names, "rings.ecsv", "binned.png"):
        assert (out / name).stat().st_size > 1000


@pytest.mark.slow
def test_command_compares(field):
    more = ["--profile", "plummer", "--membership", "p", "--hole", "0.3,30.1,2", "--compare"]
    result = run("king", field.path, "--radius", 20, "--centre", "0.05,30", *more)
    assert result.exit_code == 0, result.stderr
    for word in ("uniform", "eff", "generalised", "king62", "Bayes factors are a guide"):
        assert word in result.stdout
    assert "beta free" in result.stderr or "beta 1" in result.stderr


@pytest.mark.slow
def test_an_edge_beyond_the_footprint_is_a_lower_limit(field):
    x = draw(n=300, core=3.0, tidal=90.0, radius=8.0, background=1.0)
    sky = to_sky(x, (120.0, -45.0))
    path = field.folder / "wide.ecsv"
    Table({"RAdeg": sky[:, 0], "DEdeg": sky[:, 1]}).write(path, overwrite=True)
    result = run("king", path, "--radius", 8, "--json")
    summary = json.loads(result.stdout)
    row = summary["parameters"]["r_tidal"]
    assert row["median"] is None
    assert 1 < row["lower_limit"] < 90
    assert summary["parameters"]["concentration"]["median"] is None
    assert any(line.startswith("r_tidal >") for line in summary["warnings"])


def test_a_footprint_beyond_the_table_is_told(field):
    centre = ["--centre", "0.05,30"]
    summary = json.loads(run("king", field.path, "--radius", 30, *centre, "--json").stdout)
    assert any(line.startswith("--radius") for line in summary["warnings"])
    assert run("king", "--help").exit_code == 0


def change(field, alter):
    table = field.table.copy()
    table = alter(table) or table
    path = field.folder / "changed.ecsv"
    table.write(path, overwrite=True)
    return path


def spoiled(name, value, rows=slice(0, 1)):
    def alter(table):
        table[name][rows] = value

    return alter


def same_place(table):
    table["ra"], table["dec"] = 10.0, 20.0


@pytest.mark.parametrize(
    ("alter", "arguments", "words"),
    [
        (spoiled("dec", 999.0), [], ["dec: 1 of"]),
        (spoiled("dec", 100.0, slice(4, 7)), [], ["dec: 3 of"]),
        (spoiled("ra", -999.0, slice(5, 6)), [], ["(first in row 5: -999)"]),
        (spoiled("p", 0.0, slice(None)), ["--membership", "p"], ["are 0 or missing"]),
        (
            spoiled("p", 1.5, slice(2, 3)),
            ["--membership", "p"],
            ["1 values", "not between 0 and 1"],
        ),
        (lambda t: t[:12], [], ["found 9 with a position", "10 or more"]),
        (same_place, [], ["at 1 place", "span no area"]),
        (None, ["--centre", "10,30"], ["centre", "outside the stars' field"]),
        (None, ["--centre", "10"], ["--centre '10'", "RA,DEC"]),
        (None, ["--centre", "10,99"], ["declination 99"]),
        (None, ["--hole", "0.05,30,40"], ["cover the whole footprint"]),
        (None, ["--hole", "0.05,30"], ["--hole", "RA,DEC,R"]),
        (None, ["--radius", "-3"], ["--radius -3"]),
        (None, ["--radius", "0.5", "--centre", "0.2,30.25"], ["within 0.5 arcmin"]),
        (None, ["--membership", "q"], ["--membership", "looked for q"]),
        (None, ["--membership", "ra"], ["not between 0 and 1"]),
        (None, ["--beta", "3"], ["--beta '3'", "1, 2 or free"]),
        (None, ["--profile", "king62", "--beta", "1"], ["generalised"]),
        (None, ["--profile", "eff", "--beta", "1"], ["eff has none"]),
        (None, ["--profile", "sersic"], ["sersic", "plummer"]),
        (None, ["--method", "nuts", "--compare"], ["no evidence"]),
        (lambda t: t.remove_column("dec"), [], ["dec", "looked for"]),
    ],
)
def test_command_refuses(field, alter, arguments, words):
    path = change(field, alter) if alter else field.path
    refused(run("king", path, *arguments, "--json"), *words)


def test_across_0h_and_at_the_pole():
    x = draw(n=60, background=0.05)
    for centre in ((0.01, 0.0), (77.0, 89.99), (200.0, -90.0)):
        sky = to_sky(x, centre)
        field = read_field(Table({"ra": sky[:, 0], "dec": sky[:, 1]}), centre=centre)
        np.testing.assert_allclose(field.x, x[field.footprint.contains(x)], atol=1e-6)


def test_shapes_and_angles():
    assert shape_of(None, None) == ("king62", None)
    assert shape_of(None, "1") == ("generalised", 1)
    assert shape_of("generalised", "free") == ("generalised", None)
    angles = np.array([-89.0, 89.0, 88.0, -88.0])
    np.testing.assert_allclose(about_mean(angles), [91.0, 89.0, 88.0, 92.0])


def test_what_is_doubtful_is_said(field):
    """Rows twice, and radians without a unit; a field near 0h at the equator is neither."""
    good = read_field(field.path)
    assert good.doubts == ()
    twice = read_field(vstack([field.table, field.table[10:15]]))
    assert "5 of" in twice.doubts[0]
    assert "drop_duplicates" in twice.doubts[0]
    table = field.table.copy()
    for name in ("ra", "dec"):
        table[name] = np.radians(table[name])
    (doubt,) = read_field(table[3:]).doubts
    assert "radians" in doubt
    equator = to_sky(draw(), (1.5, 0.5))
    assert read_field(Table({"ra": equator[:, 0], "dec": equator[:, 1]})).doubts == ()


@pytest.mark.slow
def test_real_clusters(data):
    """M35's members: β = 2 before β = 1 from unbinned members alone, radii about Hunt's."""
    found = {}
    for shape in ({"profile": "generalised", "beta": 1}, {}):
        field = read_field(data / "ngc2168" / "dr2_member_positions.parquet")
        model = build(field.x, footprint=field.footprint, **shape)
        found[shape.get("beta", 2)] = jc.fast(model, key=KEY)
    evidence = {b: r.log_evidence for b, r in found.items()}
    assert evidence[2] - evidence[1] == pytest.approx(11.2, abs=1.0)
    rows = parameter_table(found[2].draws)
    assert rows["r_core"]["median"] == pytest.approx(12.7, abs=0.5)
    assert rows["ellipticity"]["q16"] > 0.05
