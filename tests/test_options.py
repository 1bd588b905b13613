"""A fuzz of the command line: what cannot be meant ends in one clear line, and nothing is sampled.

Every entry was typed before it was tested: options and priors that were accepted without a word, or
ended in a traceback. `test_cli`, `test_king` and `test_members` have what belongs to one command.
"""

import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

from jaxcluster.cli.app import app


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path_factory):
    """Jax has started already: leave its devices alone, and the user's compilation cache."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A sample, a field and a raw field with positions, of toy stars."""
    folder, rng = tmp_path_factory.mktemp("options"), np.random.default_rng(0)
    for name, n in (("sample", 40), ("field", 90)):
        rp, colour = rng.uniform(12.0, 17.0, n), rng.normal(1.2, 0.3, n)
        table = Table({"source_id": np.arange(n) + 1000 * n})
        table["ra"], table["dec"] = rng.uniform(120.0, 120.4, n), rng.uniform(30.0, 30.4, n)
        for band, magnitude in (("g", rp + 0.55 * colour), ("bp", rp + colour), ("rp", rp)):
            table[f"phot_{band}_mean_mag"] = magnitude
            table[f"phot_{band}_mean_mag_error"] = 0.01
        for column in ("pmra", "pmdec", "parallax"):
            table[column], table[f"{column}_error"] = rng.normal(size=n), 0.1
        table["p"] = rng.uniform(size=n)
        table.write(folder / f"{name}.ecsv")
    return folder


# of any parameter; the last is one of a million brackets in brackets
NO_DISTRIBUTION = (
    *("", "1", "Uniform", "Uniform(", "Uniform()", "Uniform(0)", "Uniform(0,1,2,3)", "Normal(0,0)"),
    *("Uniform(1,0)", "Uniform(1,1)", "Uniform(nan,1)", "Uniform(0,inf)", "Normal(a,b)"),
    *("Normal(0,-1)", "os.system('ls')", "[1,2]", "Dirichlet(1,2)", "Foo(1,2)", "lambda: 1"),
    f"Uniform({'(' * 5000}0{')' * 5000},1)",
)
OUTSIDE = {
    "log_age": ("Uniform(0,1)", "Uniform(11,12)", "Uniform(9,8)", "Normal(0,0.1)"),
    "metallicity": ("Uniform(2,3)", "Uniform(-9,-8)", "Normal(5,0.1)"),
    "a_v": ("Uniform(-2,-1)", "Normal(-5,0.1)", "Uniform(-1,1)"),
    "binary_fraction": ("Uniform(-5,5)", "Uniform(1.5,2)", "Normal(3,0.1)"),
    "field_fraction": ("Uniform(-1,2)", "Beta(2,2,3)", "Normal(-2,0.1)"),
    "model_scatter": ("Uniform(-1,0.1)", "Normal(-1,0.01)", "LogUniform(-1,1)"),
}
PRIORS = [
    *(("mass_slope", text) for text in NO_DISTRIBUTION),
    *((name, text) for name, texts in OUTSIDE.items() for text in texts),
    ("a_v_", "Uniform(0,1)"),
    ("mass_ratio", "Uniform(0,1)"),
]
BAYES = [
    *(
        ["--limits", text]
        for text in ("", "12", "a,b", "18,10", "nan,18", "10,inf", "1,2,3", "40,41")
    ),
    *(["--method", text] for text in ("", "mcmc", "FAST")),
    *(["--live", text] for text in ("-1", "0", "3")),
    *(["--columns", text] for text in ("", "G", "BP-RP", "G,BP-XX", "G,G", "G,BP-RP-J")),
    *(["--column", text] for text in ("", "G", "G=", "=source", "G=nowhere", "J=source")),
    ["--column", "G=phot_g_mean_mag", "--column", "G=gmag"],
    *(["--colour-error-floor", text] for text in ("-1", "100", "nan", "inf")),
    *(["--grid", text] for text in ("", "absent.dat", "padova", "mist,absent.dat", "mist,mist")),
    *(["--isochrone-error", text] for text in ("-0.05", "nan", "50", "lernt", "README.md")),
    *(["--max-ruwe", text] for text in ("1.4", "nan", "-1")),  # no such column
    *(["--model", text] for text in ("", "absent", "absent.py", ".")),
    ["--prior", "a_v=Uniform(0,1)", "--prior", "a_v=Uniform(0,2)"],
    ["--field-from-members"],
]
KING = [
    *(["--profile", text] for text in ("", "king", "king63", "KING62")),
    *(["--beta", text] for text in ("0", "3", "two", "nan")),
    *(["--centre", text] for text in ("", "120", "a,b", "120,100", "120.2,-30.2", "nan,30")),
    *(["--radius", text] for text in ("0", "-3", "nan", "inf")),
    *(["--hole", text] for text in ("", "120.2,30.2", "120.2,30.2,-1", "a,b,c")),
    *(["--membership", text] for text in ("", "nowhere", "phot_g_mean_mag")),
    *(["--structure", "--magnitude", text] for text in ("", "nowhere")),
    *(["--method", text] for text in ("", "mcmc")),
]
MEMBERS = [
    *(["--columns", text] for text in ("", "pmra,nowhere", "pmra,pmra")),
    *(["--components", text] for text in ("", "0", "-2", "two", "3-1", "500")),
    *(["--near", text] for text in ("120", "a,b", "120,99")),
    ["--bootstrap", "-1"],
    *(["--cut", text] for text in ("0", "-1", "nan")),
    *(["--cut", "5", "--cut-centre", text] for text in ("1", "a,b", "1,2,3")),
    *(["--max-magnitude-error", text] for text in ("0", "-1", "nan")),
    *(["--out", text] for text in ("members", "members.txt", "members.xlsx")),
]


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


# in messages
CALLED = {
    "--max-ruwe": "ruwe",
    "--out": "suffix",
    "--cut": "sigma",
}


def refused(result, typed: str):
    """One error, in words, that names what was typed."""
    assert result.exit_code in (1, 2), result.stdout
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith(("error:", "Usage:"))]
    assert len(errors) == 1, result.stderr
    assert len(result.stderr) < 3000
    typed = CALLED.get(typed, typed.lstrip("-").split("-")[0])
    assert typed in result.stderr.replace("_", "-"), result.stderr


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in PRIORS))
def test_priors(files, name):
    for text in [text for each, text in PRIORS if each == name]:
        prior = f"{name}={text}"
        result = run(
            *("bayes-factor", files / "sample.ecsv", "--field", files / "field.ecsv"),
            *("--prior", prior),
        )
        refused(result, "prior" if text in NO_DISTRIBUTION else name.replace("_", "-"))


@pytest.mark.parametrize("more", BAYES, ids=" ".join)
def test_bayes_factor(files, more):
    field = () if "--field-from-members" in more else ("--field", files / "field.ecsv")
    refused(run("bayes-factor", files / "sample.ecsv", *field, *more), more[0])


@pytest.mark.parametrize("more", KING, ids=" ".join)
def test_king(files, more):
    refused(run("king", files / "field.ecsv", *more), more[-2])


@pytest.mark.parametrize("more", MEMBERS, ids=" ".join)
def test_members(files, more, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(run("members", files / "field.ecsv", *more), more[-2])
    assert not list(tmp_path.iterdir())
