"""The command line: what it prints, and one clear line for everything a user may get wrong."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

from jaxcluster.cli.app import app
from jaxcluster.cli.shown import print_summary

BLOB = """
import jax.numpy as jnp
import numpyro.distributions as dist
import jaxcluster as jc

class Colour(jc.AbstractDensity):
    at: jnp.ndarray
    width: float
    span: float

    def log_prob(self, x, noise):
        return dist.Normal(self.at, self.width).log_prob(x[1]) - jnp.log(self.span)

def build(stars, *, field, limits, prior=None, width=0.1):
    def density(p):
        f, colour = p["field_fraction"], Colour(p["colour"], width, limits[1] - limits[0])
        return jc.Mixture(jnp.stack([1 - f, f]), (colour, jc.Known("field")))

    log_field = field(stars)
    prior = {"field_fraction": dist.Uniform(0, 1), "colour": dist.Uniform(0, 3), **(prior or {})}
    return jc.Model(prior, density, stars.knowing(field=log_field), null=float(log_field.sum()))
"""
SMALL_CMD = """
from jaxcluster.jobs.model_files import load_model

def build(stars, **options):
    cells = {"n_masses": 32, "n_mass_ratios": 4}
    return load_model("mimo_cmd")(stars, isochrone_error=0, **cells, **options)
"""
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
    "seed",
    "grid",
    "versions",
}


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path_factory):
    """Jax has started already: leave its devices alone, and the user's compilation cache."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def stars(n, seed, g=15.0, colour=1.2):
    rng = np.random.default_rng(seed)
    table = Table()
    table["source_id"] = np.arange(n) + 1000 * (seed + 1)
    magnitude = np.clip(rng.normal(g, 1.2, n), g - 4, g + 2.9)
    rp = magnitude - 0.6
    table["phot_g_mean_mag"] = magnitude
    table["phot_bp_mean_mag"] = rp + rng.normal(colour, 0.3, n)
    table["phot_rp_mean_mag"] = rp
    for band in ("g", "bp", "rp"):
        table[f"phot_{band}_mean_mag_error"] = 0.01
    return table


@pytest.fixture
def files(tmp_path):
    stars(40, 0).write(tmp_path / "cluster.ecsv")
    stars(80, 1).write(tmp_path / "field.ecsv")
    (tmp_path / "blob.py").write_text(BLOB)
    return tmp_path


def refused(result, *words, out=None):
    """Non-zero exit, nothing on stdout, one clear message on stderr, no traceback, no output."""
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)
    messages = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(messages) == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    if out is not None:
        assert not out.exists()
        assert not list(out.parent.glob(f".{out.name}-*"))


def bayes(files, *more, cluster=None, field=None, model=None):
    out = files / "out"
    arguments = [
        cluster or files / "cluster.ecsv",
        "--field",
        field or files / "field.ecsv",
        "--model",
        model or files / "blob.py",
        "--live",
        20,
        "--json",
        "--out",
        out,
        *more,
    ]
    return run("bayes-factor", *arguments), out


@pytest.mark.parametrize(
    "command", [[], ["bayes-factor"], ["fit"], ["demo"], ["simulate"], ["check"], ["batch"]]
)
def test_help(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [("bayes-factor", "Least colour error [mag]"), ("batch", "[mas/yr]"), ("members", "[deg]")],
)
def test_help_keeps_units_in_brackets(command, words):
    shown = re.sub(r"[\s│]+", " ", run(command, "--help").stdout)
    assert words in shown


def change(files, alter, name="cluster"):
    path = files / f"{name}.ecsv"
    table = Table.read(path)
    altered = alter(table)
    table = table if altered is None else altered  # an empty table is false
    table.write(path, overwrite=True)


def zero_error(table):
    table["phot_bp_mean_mag_error"][:3] = 0.0


def negative_error(table):
    table["phot_bp_mean_mag_error"][0] = -0.1


def without_bp(table):
    table.remove_column("phot_bp_mean_mag")


def twice(table):
    table["source_id"][1] = table["source_id"][0]


def fluxes(table):
    table["phot_g_mean_mag"] = 1e5


def wrong_unit(table):
    table["phot_g_mean_mag"].unit = "km"


def all_faint(table):
    for band, magnitude in (("g", 35.0), ("bp", 35.5), ("rp", 34.4)):
        table[f"phot_{band}_mean_mag"] = magnitude


TABLES = {
    "missing columns": (without_bp, ["phot_bp_mean_mag", "missing"]),
    "zero errors": (zero_error, ["phot_bp_mean_mag_error", "3 of 40"]),
    "negative errors": (negative_error, ["phot_bp_mean_mag_error", "1 of 40"]),
    "duplicate ids": (twice, ["source_id", "more than once"]),
    "fluxes for magnitudes": (fluxes, ["phot_g_mean_mag", "cannot be magnitudes"]),
    "wrong unit": (wrong_unit, ["phot_g_mean_mag", "km"]),
    "fewer than 5 stars": (lambda table: table[:4], ["4 of 4 stars", "at least 5"]),
    "no rows": (lambda table: table[:0], ["no rows"]),
    "all at G = 35": (all_faint, ["0 of 40 stars", "--limits"]),
}


@pytest.mark.filterwarnings("default:.*:UserWarning")  # odd it is, too, and told
@pytest.mark.parametrize(("alter", "words"), TABLES.values(), ids=TABLES)
def test_bad_samples(files, alter, words):
    change(files, alter)
    result, out = bayes(files)
    refused(result, *words, out=out)


FIELDS = {
    "empty": (lambda table: table[:0], ["no rows"]),
    "of four": (lambda table: table[:4], ["4 stars"]),
    "elsewhere in magnitude": (lambda table: stars(80, 1, g=25.0), ["of 40 stars", "covers"]),
    "zero errors": (zero_error, ["phot_bp_mean_mag_error"]),
}


@pytest.mark.filterwarnings("default:.*:UserWarning")  # odd it is, too, and told
@pytest.mark.parametrize(("alter", "words"), FIELDS.values(), ids=FIELDS)
def test_bad_fields(files, alter, words):
    change(files, alter, "field")
    result, out = bayes(files)
    if words == ["4 stars"]:
        words = ["field"]
    refused(result, *words, out=out)


def test_files_that_are_not_there(files):
    result, out = bayes(files, cluster=files / "absent.ecsv")
    refused(result, "absent.ecsv", "no such file", out=out)
    result, out = bayes(files, field=files / "absent.parquet")
    refused(result, "absent.parquet", out=out)
    (files / "notes.txt").write_text("hello")
    result, out = bayes(files, cluster=files / "notes.txt")
    refused(result, "suffix", out=out)


def test_bad_models(files):
    result, out = bayes(files, model="no_such_model")
    refused(result, "no_such_model", "mimo_cmd", out=out)
    (files / "raises.py").write_text("raise RuntimeError('boom')")
    result, out = bayes(files, model=files / "raises.py")
    refused(result, "raises.py", "boom", out=out)
    (files / "empty.py").write_text("")
    result, out = bayes(files, model=files / "empty.py")
    refused(result, "build", out=out)


@pytest.mark.parametrize("error", ["RuntimeError", "ZeroDivisionError", "AttributeError"])
@pytest.mark.parametrize("command", ["bayes-factor", "fit"])
def test_a_build_that_raises(files, error, command):
    path = files / "raises.py"
    path.write_text(f"def build(stars, **options):\n    raise {error}('boom')\n")
    if command == "fit":
        result = run("fit", path, files / "cluster.ecsv", "--out", files / "out")
        refused(result, "boom", out=files / "out")
    else:
        result, out = bayes(files, model=path)
        refused(result, "boom", out=out)


OPTIONS = {
    "prior without a distribution": (["--prior", "a_v"], ["--prior", "a_v"]),
    "prior of no distribution": (["--prior", "a_v=Unifrom(0,1)"], ["Unifrom"]),
    "prior of too few numbers": (["--prior", "colour=Normal(0,-1)"], ["--prior"]),
    "prior that runs code": (["--prior", "a_v=__import__('os').getcwd()"], ["--prior"]),
    "prior of a module's other name": (["--prior", "a_v=Distribution(1)"], ["--prior"]),
    "unknown prior": (["--prior", "colur=Uniform(0,1)"], ["colur", "never reads"]),
    "limits of one number": (["--limits", "12"], ["--limits"]),
    "limits of words": (["--limits", "a,b"], ["--limits"]),
    "limits turned round": (["--limits", "18,10"], ["--limits"]),
    "limits that are no numbers": (["--limits", "nan,18"], ["--limits"]),
    "limits beyond all stars": (["--limits", "30,38"], ["0 of 40"]),
    "unknown method": (["--method", "mcmc"], ["--method", "nested"]),
    "too few live points": (["--live", "3"], ["--live"]),
    "unknown columns": (["--columns", "G,BP-XX"], ["BP-XX"]),
    "unknown column": (["--column", "G=gmag_x"], ["gmag_x"]),
    "unknown grid": (["--model", "mimo_cmd", "--grid", "absent.dat"], ["absent.dat"]),
}


@pytest.mark.parametrize(("more", "words"), OPTIONS.values(), ids=OPTIONS)
def test_bad_options(files, more, words):
    result, out = bayes(files, *more)
    refused(result, *words, out=out)


@pytest.mark.filterwarnings("default:.*:UserWarning")  # odd it is, too, and told
def test_limits_that_no_isochrone_reaches(files):
    """Sample and field at G = 38: no isochrone is there; it says so, samples nothing."""
    for name, n, seed in (("cluster", 100, 0), ("field", 300, 1)):
        stars(n, seed, g=36.6, colour=0.7).write(files / f"{name}.ecsv", overwrite=True)
    (files / "small.py").write_text(SMALL_CMD)
    result, out = bayes(files, "--limits", "37.5,39.5", model=files / "small.py")
    refused(result, "no isochrone reaches", out=out)


def test_bayes_factor_of_a_users_model(files):
    """Missing colours are dropped and counted; stdout is one JSON object; the files are there."""

    def blank(table):
        table["phot_bp_mean_mag"][:2] = np.nan

    change(files, blank)
    result, out = bayes(files, "--seed", 3, "--limits", "11,17.5")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert set(summary) >= KEYS
    assert summary["seed"] == 3
    assert summary["limits"] == [11.0, 17.5]
    assert sum(summary["n_dropped_sample"].values()) == 2
    assert summary["n_dropped"] == 2 + summary["n_outside_limits"]
    assert summary["n_stars"] + summary["n_dropped"] == 40
    assert {"posterior.nc", "members.ecsv", "summary.json"} <= {p.name for p in out.iterdir()}
    members = Table.read(out / "members.ecsv")
    assert len(members) == summary["n_stars"]
    assert np.all(np.diff(members["membership"]) <= 0)
    stored = json.loads((out / "summary.json").read_text())
    assert stored["log10_bayes_factor"] == summary["log10_bayes_factor"]
    assert not list(files.glob(".out-*"))


@pytest.mark.slow
def test_bayes_factor_by_nuts_says_why_there_is_none(files):
    arguments = [files / "cluster.ecsv", "--field", files / "field.ecsv", "--method", "nuts"]
    result = run("bayes-factor", *arguments, "--model", files / "blob.py", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["log10_bayes_factor"] is None
    assert "--method fast" in summary["why_no_evidence"]


def test_fit_with_options(files):
    out = files / "fit"
    arguments = [files / "blob.py", files / "cluster.ecsv", "--field", files / "field.ecsv"]
    more = ["--method", "nested", "--live", 20, "--set", "width=0.3", "--json", "--out", out]
    result = run("fit", *arguments, *more)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert set(summary["parameters"]) == {"field_fraction", "colour"}
    assert {"posterior.nc", "summary.json"} <= {p.name for p in out.iterdir()}


@pytest.mark.parametrize("setting", ["width", "no_such_option=1"])
def test_fit_refuses_bad_settings(files, setting):
    arguments = [files / "blob.py", files / "cluster.ecsv", "--field", files / "field.ecsv"]
    out = files / "fit"
    refused(run("fit", *arguments, "--set", setting, "--out", out), setting.split("=")[0], out=out)


def test_simulate(tmp_path):
    out = tmp_path / "mock"
    result = run("simulate", "--out", out, "--n-stars", 30, "--n-field", 40, "--set", "a_v=0.2")
    assert result.exit_code == 0, result.stderr
    cluster, field = (Table.read(out / f"{name}.ecsv") for name in ("cluster", "field"))
    assert (len(cluster), len(field)) == (30, 40)
    assert cluster.meta["truth"]["a_v"] == 0.2
    assert "true_member" in cluster.colnames


@pytest.mark.parametrize(
    "more",
    [
        ["--set", "a_v"],
        ["--set", "av=1"],
        ["--set", "a_v=big"],
        ["--limits", "18"],
        ["--n-stars", "0"],
        ["--n-stars", "-5"],
        ["--set", "field_fraction=2"],
        ["--set", "log_age=20"],
    ],
    ids=lambda more: " ".join(more),
)
def test_simulate_refuses(tmp_path, more):
    out = tmp_path / "mock"
    refused(run("simulate", "--out", out, *more), out=out)


def test_out_that_is_a_file(files):
    (files / "out").write_text("mine")
    result, out = bayes(files)
    refused(result)
    assert out.read_text() == "mine"


def test_check_in_a_process_of_its_own(tmp_path):
    """Float64 is the command's own doing, and stdout carries nothing but JSON."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "jaxcluster", "check", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["precision"] == "float64"
    assert report["self_test"].startswith("passed")


def test_priors_and_truths_fit_into_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = {"distance_modulus": "mag", "log_age": "log10(yr)", "model_scatter": "mag"}
    row = {"median": -10.1234, "q16": -10.2234, "q84": -10.0234}
    summary = {
        "parameters": dict.fromkeys(names, row),
        "derived": {"age": dict.fromkeys(row, 12345.678)},
        "units": {**names, "age": "Myr"},
        "priors": dict.fromkeys(names, "LogUniform(0.003,0.2)"),
        "method": "importance",
        "evaluations": 1,
        "cpu_seconds": 1.0,
        "compile_seconds": 1.0,
    }
    print_summary(summary, truth=dict.fromkeys(names, 10.7))
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    (line,) = [line for line in shown.splitlines() if line.startswith("distance_modulus [mag]")]
    assert line.split()[2:] == [
        "-10.1234",
        "-10.2234",
        "-10.0234",
        "LogUniform(0.003,0.2)",
        "10.7000",
    ]
    assert "age [Myr]" in shown
    assert "12345.7" in shown
