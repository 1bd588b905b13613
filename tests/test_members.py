"""Fields taken apart: simulated ones of known truth, and Gaia's."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

import jaxcluster as jc
from jaxcluster.catalogue.sky import middle
from jaxcluster.cli.app import app
from jaxcluster.jobs.cluster_table import cluster_row, stack
from jaxcluster.jobs.members import find_members
from jaxcluster.xd.cluster_component import candidates, entropy

DATA = Path(__file__).parents[2] / "shared" / "data"
KEY = jax.random.key(0)
# a resampling or two, of such small fields
pytestmark = pytest.mark.filterwarnings("default:.*are not at their maximum:UserWarning")


def simulated(n_cluster=80, n_field=600, seed=0, centre=(0.05, 10.0)):
    """A table as Gaia's: a cluster 4 arcmin wide in a field 30 arcmin wide, across 0h."""
    rng = np.random.default_rng(seed)
    member = np.arange(n_cluster + n_field) < n_cluster
    n = len(member)
    error = rng.uniform(0.02, 0.2, n)
    sky = np.where(member[:, None], rng.normal(0, 0.04, (n, 2)), rng.uniform(-0.25, 0.25, (n, 2)))
    own = rng.normal([1.0, -2.0, 0.5], [0.06, 0.06, 0.001], (n, 3))
    other = np.stack([rng.normal(0, 3, n), rng.normal(-1, 3, n), rng.gamma(2.0, 0.25, n)], axis=-1)
    x = np.where(member[:, None], own, other) + error[:, None] * rng.normal(size=(n, 3))
    table = Table(
        {
            "source_id": np.arange(1, n + 1),
            "ra": (centre[0] + sky[:, 0] / np.cos(np.radians(centre[1]))) % 360,
            "dec": centre[1] + sky[:, 1],
            "member": member,
            "phot_g_mean_mag": rng.uniform(10, 18, n),
            "bp_rp": rng.uniform(0, 2, n),
        }
    )
    for i, name in enumerate(("pmra", "pmdec", "parallax")):
        table[name], table[f"{name}_error"] = x[:, i], error
    for pair in ("parallax_pmra", "parallax_pmdec", "pmra_pmdec"):
        table[f"{pair}_corr"] = np.zeros(n)
    return table


@pytest.fixture(scope="module")
def found():
    return find_members(simulated(), key=KEY, components=5, resamplings=40)


def test_entropy_of_a_gaussian():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    cov = root @ root.T
    from scipy.stats import multivariate_normal

    assert entropy(cov) == pytest.approx(multivariate_normal(np.zeros(3), cov).entropy())


def test_what_is_refused_and_why():
    columns = ("pmra", "parallax", "pmdec")
    means = np.array([[0.0, 0.5, 0.0], [0.0, 0.4, 0.0], [3.0, 0.5, 3.0], [9.0, 8.0, 9.0]])
    covs = np.array(
        [np.diag(v) for v in ((9, 0.1, 9), (0.01, 1e-4, 0.01), (1e-4, 1e-6, 1e-4), (1, 0.01, 1))]
    )
    weights = np.array([0.8, 0.1, 0.001, 0.099])
    mixture = jc.GaussianMixture(*map(jnp.asarray, (weights, means, covs)))
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), [800, 100, 1, 99])
    x = means[label] + rng.normal(size=(1000, 3)) * np.sqrt(
        np.diagonal(covs, axis1=1, axis2=2)[label]
    )
    stars = jc.Stars(x, np.tile(1e-6 * np.eye(3), (1000, 1, 1)), columns)
    first, second, third, last = candidates(mixture, stars)
    assert [c.component for c in (first, second, third, last)] == [2, 1, 3, 0]
    assert "1.0 stars, fewer than 10" in first.refused
    assert second.refused == ""
    assert second.dispersion == pytest.approx(0.1)
    alone = 0.1 * 0.01**-1 * 1e-4**-0.5
    field = 0.8 / 9 * 0.1**-0.5 * np.exp(-0.5 * 0.1**2 / 0.1)
    assert second.contrast == pytest.approx(alone / field, rel=1e-3)
    # 8 mas, 125 pc: 1 mas/yr are 0.6 km/s
    assert third.refused == ""
    assert "dispersion 3.00 mas/yr, more than 0.25" in last.refused
    # what it adds to ln L, by the densities themselves
    without = jc.GaussianMixture(weights[[0, 2, 3]] / 0.9, means[[0, 2, 3]], covs[[0, 2, 3]])
    gain = float((mixture(stars) - without(stars)).sum()) / (6 * np.log(1000))
    assert second.gain == pytest.approx(gain, rel=1e-6)
    assert "ln L gains" in first.refused
    with pytest.raises(ValueError, match=r"pmdec.* missing"):
        candidates(mixture, jc.Stars(x, stars.noise, ("pmra", "parallax", "ra")))


def test_a_simulated_cluster(found):
    truth = np.asarray(found.members["member"])
    assert found.cluster is not None
    sure = found.membership >= 0.9
    assert truth[sure].mean() > 0.9
    assert sure[truth].mean() > 0.6
    row = cluster_row(found)
    assert row is not None
    for name, value, width in (("pmra", 1.0, 0.06), ("pmdec", -2.0, 0.06), ("parallax", 0.5, 0.0)):
        assert row[name] == pytest.approx(value, abs=4 * row[f"{name}_error"])
        assert row[f"{name}_dispersion"] == pytest.approx(
            width, abs=4 * row[f"{name}_dispersion_error"] + 0.005
        )
        assert row[f"{name}_median"] == pytest.approx(value, abs=0.05)
        assert row[f"{name}_weighted"] == pytest.approx(value, abs=0.05)
    assert row["ra"] == pytest.approx(0.05, abs=0.02)
    assert row["dec"] == pytest.approx(10.0, abs=0.02)
    assert row["r50"] == pytest.approx(60 * 0.04 * 1.18, rel=0.25)
    assert row["n_expected"] == pytest.approx(80, rel=0.2)
    assert np.ma.getmaskarray(found.members["membership"]).sum() == 0
    np.testing.assert_allclose(found.members["stability"], found.stability)


def test_the_result_prints_draws_saves_and_loads_itself(found, tmp_path):
    assert repr(found).startswith("Members(cluster at ra 0.0")
    row = found.table()
    assert len(row) == 1
    assert row["pmra"].unit == "mas / yr"
    assert "cluster at ra" in found._repr_html_()
    folder = found.save(tmp_path / "run")
    names = {"members.parquet", "members.png", "summary.json", "result.pickle"}
    assert {path.name for path in folder.iterdir()} == names
    again = jc.load(folder)
    assert again.summary() == found.summary()
    np.testing.assert_array_equal(again.membership, found.membership)
    kept = jc.read_table(folder / "members.parquet")
    assert kept.meta["cluster"]["n_members"] == found.row["n_members"]
    assert json.loads((folder / "summary.json").read_text())["n_stars"] == 680
    none = jc.find_members(simulated(n_cluster=0), key=3, components=2, resamplings=0)
    assert repr(none).startswith("Members(no cluster in 600 stars: ")
    assert len(none.table()) == 0


@pytest.mark.slow
def test_stars_count_with_the_columns_that_they_have():
    table = simulated()
    for name in ("pmra", "pmdec", "parallax"):
        table[name][5] = np.nan
    table["parallax"][:5] = np.nan  # members
    table["parallax_error"][100:110] = np.nan
    found = find_members(table, key=KEY, components=5, resamplings=5)
    assert list(np.flatnonzero(np.ma.getmaskarray(found.members["membership"]))) == [5]
    assert (np.asarray(found.members["membership"][:5]) > 0.3).all()
    assert np.isfinite(np.delete(found.members["stability"], 5)).all()
    row = cluster_row(found)
    assert row is not None
    assert all(np.isfinite(v) for v in row.values())


def test_one_far_star_and_equal_stars():
    table = simulated()
    alone = find_members(table, key=KEY, components=5, resamplings=0)
    table["pmra"][-1], table["parallax"][-1] = 1e6, -1e5
    found = find_members(table, key=KEY, components=5, resamplings=0)
    assert found.cluster is not None
    np.testing.assert_allclose(found.membership[:-1], alone.membership[:-1], atol=0.1)
    for name in ("pmra", "pmdec", "parallax"):
        table[name] = 1.0
    assert find_members(table, key=KEY, components=5, resamplings=0).cluster is None


def test_field_alone_has_no_cluster():
    found = find_members(simulated(n_cluster=0), key=KEY, components=10, resamplings=20)
    assert found.cluster is None
    assert (found.membership == 0).all()
    assert cluster_row(found) is None
    assert (np.asarray(found.members["stability"]) == 0).all()


def test_near_chooses_among_clusters():
    """A second cluster, wider in proper motion, on the other side of the field."""
    one, other = simulated(), simulated(n_field=0, seed=1, centre=(0.2, 10.15))
    for name, value in (("pmra", 3.0), ("pmdec", 2.0)):
        other[name] += value + 0.1 * np.random.default_rng(2).normal(size=len(other))
    other["source_id"] += 10_000
    from astropy.table import vstack

    table = vstack([one, other])
    options = {"key": KEY, "components": 8, "resamplings": 0}
    rows = [
        cluster_row(find_members(table, near=near, **options))
        for near in (None, (0.05, 10.0), (0.2, 10.15))
    ]
    assert [round(row["pmra"]) for row in rows] == [1, 1, 4]


def test_sky_centre_across_0h_and_at_the_pole():
    ra, dec = middle(np.array([359.9, 0.1, 0.3]), np.array([10.0, 10.0, 10.1]))
    assert ra == pytest.approx(0.1, abs=0.01)
    assert dec == pytest.approx(10.0, abs=0.01)
    assert middle(np.array([0.0, 90.0, 180.0, 270.0]), np.full(4, 89.9))[1] > 89.99


def test_rows_stack(found):
    table = stack({"A": cluster_row(found), "B": {**cluster_row(found), "pmra_error": None}})
    assert list(table["cluster"]) == ["A", "B"]
    assert str(table["pmra_dispersion"].unit) == "mas / yr"
    assert str(table["r50"].unit) == "arcmin"
    assert np.isnan(table["pmra_error"][1])


@pytest.fixture(autouse=True)
def devices(monkeypatch):
    """JAX is running already when the command line would set their number."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_command(tmp_path):
    path, out = tmp_path / "field.ecsv", tmp_path / "members.parquet"
    simulated().write(path)
    options = ("members", path, "--components", 5, "--bootstrap", 20, "--seed", 1)
    result = run(*options, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["cluster"]["n_members"] > 40
    assert summary["n_stars"] == 680
    assert {"passes", "cpu_seconds", "seed", "versions", "n_components"} <= set(summary)
    assert out.with_suffix(".png").stat().st_size > 10_000
    written = jc.from_table(out, ("pmra", "pmdec"))
    assert len(written) == 680
    told = run(*options)
    assert "cluster at ra" in told.stdout
    assert "a cluster" in told.stdout


def test_command_without_a_cluster(tmp_path):
    path = tmp_path / "field.ecsv"
    simulated(n_cluster=0).write(path)
    told = run("members", path, "--bootstrap", 0)
    assert told.exit_code == 0
    assert "no cluster in 600 stars" in told.stdout
    summary = json.loads(run("members", path, "--bootstrap", 0, "--json").stdout.splitlines()[-1])
    assert summary["cluster"] is None
    assert summary["why_none"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--columns", "parallax"), "pmdec"),
        (("--near", "ten"), "expected RA,DEC"),
        (("--near", "1,100"), "declination 100"),
        (("--components", "1000"), "1000 components for 680"),
        (("--components", "ten"), "expected a number such as 10"),
        (("--components", "9-5"), "expected a number such as 10"),
        (("--cut-centre", "1,2"), "no use without --cut"),
        (("--cut", "0"), "n_sigma: expected more than 0"),
        (("--cut", "5", "--cut-centre", "1"), "expected PMRA,PMDEC"),
        (("--out", "members.txt"), "unknown suffix '.txt'"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    path = tmp_path / "field.ecsv"
    simulated().write(path)
    told = run("members", path, "--bootstrap", 0, *arguments)
    assert told.exit_code == 1
    assert message in told.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.remove_column("pmdec"), "pmdec"),
        (lambda t: t.replace_column("source_id", np.ones(len(t), int)), "appear more than once"),
        (lambda t: t.replace_column("pmra_pmdec_corr", np.full(len(t), -1.2)), "680 stars have a"),
        (lambda t: t.replace_column("pmra_error", -t["pmra_error"]), "not positive"),
        (lambda t: t.replace_column("pmra", np.full(len(t), np.nan)), "no star has"),
    ],
)
def test_bad_tables(tmp_path, change, message):
    table, path = simulated(), tmp_path / "field.ecsv"
    change(table)
    table.write(path)
    told = run("members", path, "--bootstrap", 0)
    assert told.exit_code == 1
    assert str(path) in told.stderr.replace("\n", "")
    assert message in told.stderr


def test_command_cuts_and_chooses_the_number_of_components(tmp_path):
    path, out = tmp_path / "field.ecsv", tmp_path / "members.ecsv"
    table = simulated()
    table["pmra"][-1] = 500.0
    table["phot_g_mean_mag_error"] = np.linspace(0.001, 0.1, len(table))
    table.write(path)
    result = run(
        *("members", path, "--bootstrap", 0, "--components", "3-4", "--out", out, "--json"),
        *("--cut", 10, "--max-magnitude-error", 0.09),
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert "1 further than 10 sigma" in summary["preparation"][0]
    assert summary["n_stars"] < 620
    assert [row["k"] for row in summary["comparison"]] == [3, 4]
    best = max(summary["comparison"], key=lambda row: row["held_out"])
    assert summary["n_components"] == best["k"]
    assert out.with_suffix(".components.png").stat().st_size > 5_000


def test_command_merges_two_catalogues(tmp_path):
    one, other = simulated(n_field=100), simulated(n_field=100)
    for name in ("J", "H"):
        one[f"{name.lower()}_m"], one[f"{name.lower()}_m_error"] = 12.0, 0.02
        other[f"{name.lower()}_m"], other[f"{name.lower()}_m_error"] = 12.03, 0.01
    paths = [tmp_path / "one.ecsv", tmp_path / "other.ecsv"]
    one.write(paths[0])
    other.write(paths[1])
    out = tmp_path / "both.ecsv"
    result = run("merge", *paths, "--out", out, "--quantities", "J,H", "--json")
    assert result.exit_code == 0, result.output
    assert "180 of 180 stars matched" in json.loads(result.stdout)["preparation"][0]
    merged = Table.read(out)
    np.testing.assert_allclose(merged["j_m"], (12.0 / 4 + 12.03) / 1.25)
    told = run("merge", *paths, "--out", tmp_path / "both.txt")
    assert told.exit_code == 1
    assert "unknown suffix" in told.stderr


def test_split_for_the_bayes_factor(tmp_path):
    from jaxcluster.jobs.split import split

    table = simulated()
    table["membership"] = np.ma.masked_all(len(table))
    table["membership"][:4] = [0.9, 0.5, 0.2, 0.05]
    table.remove_column("parallax_error")
    with pytest.warns(UserWarning, match="no parallaxes with their errors"):
        sample, field = split(table)
    assert (len(sample), len(field)) == (2, 1)
    with pytest.raises(ValueError, match="no column `membership`"):
        split(simulated())
    table["membership"][:4] = 0.3
    with pytest.raises(ValueError, match="the sample is empty"):
        split(table)
    told = run("bayes-factor", tmp_path / "x.parquet")
    assert told.exit_code == 1
    assert "--field-from-members" in told.stderr


def test_the_field_of_a_sample_has_its_parallax():
    """Two standard deviations, as a selection lets through, or three times as many stars."""
    from jaxcluster.jobs.split import OWN, like, split

    rng = np.random.default_rng(4)
    error = rng.uniform(0.02, 0.4, 2000)
    table = Table({"parallax": rng.uniform(0, 4, 2000), "parallax_error": error})
    table["membership"] = np.where(np.arange(2000) < 40, 0.9, 0.0)
    table["parallax"][:40] = 2.0 + error[:40] * rng.normal(size=40)
    table["parallax"][1990:] = np.nan
    sample, field = split(table)
    assert len(sample) == 40
    away = np.abs(field["parallax"] - 2.0) / np.hypot(field["parallax_error"], OWN["parallax"])
    assert away.max() < 3.0  # the mean is not exactly 2
    expected = (np.abs(table["parallax"] - 2.0) / np.hypot(error, OWN["parallax"]) < 2.0)[40:].sum()
    assert len(field) == pytest.approx(expected, abs=15)
    assert len(field) > 300
    vizier = Table(
        {"Plx": table["parallax"] / 1000, "e_Plx": error, "membership": table["membership"]}
    )
    vizier["Plx"].unit, vizier["e_Plx"].unit = "arcsec", "mas"
    assert len(split(vizier)[1]) == len(field)
    few = like(sample, table[40:500])
    assert len(few) == 300
    assert len(like(table[:200], table[200:])) == 600
    assert np.isfinite(table["parallax"][200:][like(table[:200], table[200:])]).all()


def test_the_field_of_a_sample_has_its_proper_motion():
    """The nearest in σ among those of like parallax, 330 at least; far ones where errors are."""
    from jaxcluster.jobs.split import split

    rng = np.random.default_rng(5)
    n = 3000
    table = Table({f"{name}_error": np.full(n, 0.1) for name in ("pmra", "pmdec", "parallax")})
    table["parallax"] = np.where(np.arange(n) < 2000, 2.0, 0.0)
    table["pmra"], table["pmdec"] = rng.uniform(-5, 5, (2, n))
    table["membership"] = np.where(np.arange(n) < 60, 0.9, 0.0)
    table["pmra"][:60], table["pmdec"][:60] = 1.0, -2.0
    table["pmra_error"][100] = 100.0  # could be anywhere
    table["number"] = np.arange(n)
    sample, field = split(table)
    away = np.maximum(
        *(
            np.abs(table[name] - mean) / np.hypot(table[f"{name}_error"], 0.12)
            for name, mean in (("pmra", 1.0), ("pmdec", -2.0))
        )
    )
    expected = np.argsort(np.where((np.arange(n) >= 60) & (np.arange(n) < 2000), away, np.inf))
    assert len(sample) == 60
    assert set(field["number"]) == set(expected[:330])
    without = split(table[[name for name in table.colnames if not name.startswith("pm")]])[1]
    assert len(without) == 1940


@pytest.mark.parametrize(
    ("file", "pmra", "pmdec", "parallax"),
    [
        ("NGC2243", -1.25, 5.50, 0.22),
        ("Berkeley_29", 0.11, -1.05, 0.06),
        ("NGC_225", -5.36, -0.15, 1.46),
    ],
)
def test_real_fields(file, pmra, pmdec, parallax):
    """Hunt & Reffert (2024), where the field's `clusters.csv` has it."""
    path = DATA / "gaia_fields" / f"{file}.parquet"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    row = cluster_row(find_members(path, key=KEY, resamplings=0))
    assert row is not None
    assert row["pmra"] == pytest.approx(pmra, abs=0.1)
    assert row["pmdec"] == pytest.approx(pmdec, abs=0.1)
    assert row["parallax"] == pytest.approx(parallax, abs=0.1)


def test_a_field_at_the_galactic_cap_has_none():
    path = DATA / "null_fields" / "dr3_ra45_dec0_30arcmin.parquet"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    assert find_members(path, key=KEY, resamplings=0).cluster is None
