"""A list of candidates, vetted: what is cut out, what is kept, and what survives."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from astropy.table import Table
from numpyro.distributions import LogUniform, Normal
from typer.testing import CliRunner

import jaxcluster as jc
from jaxcluster.catalogue.candidates import Candidate, Given, read_candidates
from jaxcluster.catalogue.windows import LEAST_FIELD, select
from jaxcluster.cli.app import app
from jaxcluster.inference import compile
from jaxcluster.inference.flat import Flat
from jaxcluster.jobs import batch as job
from jaxcluster.jobs.catalogue_results import write_results
from jaxcluster.jobs.rows import Rows
from jaxcluster.jobs.vet import columns, key_of, meta, vet

MODEL = """
import jax.numpy as jnp
from numpyro.distributions import Uniform

import jaxcluster as jc

PRIOR = {"magnitude": Uniform(10, 18), "colour": Uniform(0, 3), "field_fraction": Uniform(0, 1)}


def build(stars, *, field, limits):
    def density(p):
        f, mean = p["field_fraction"], jnp.stack([p["magnitude"], p["colour"]])
        cluster = jc.GaussianMixture(jnp.ones(1), mean[None], 0.09 * jnp.eye(2)[None])
        return jc.Mixture(jnp.stack([1 - f, f]), (cluster, jc.Known("field")))

    log_field = field(stars)
    known = stars.knowing(field=log_field)
    return jc.Model(PRIOR, density, known, null=float(log_field.sum()))
"""
NAMES = ("magnitude", "colour", "field_fraction")
SPENT = ["cpu_seconds", "compile_seconds", "programs", "memory", "host", "finished", "cmd_png"]


def sky(seed=0, n=900, members=40) -> Table:
    """A field of half a degree, with a cluster at its centre."""
    rng = np.random.default_rng(seed)
    whole = n + members
    table = Table({"source_id": np.arange(10**15, 10**15 + whole)})
    for name, width, own in (("ra", 0.25, 0.02), ("dec", 0.25, 0.02)):
        table[name] = np.append(rng.uniform(-width, width, n), rng.normal(0.0, own, members)) + 30.0
    for name, value, wide in (("pmra", 2.0, 4.0), ("pmdec", -3.0, 4.0), ("parallax", 1.0, 0.3)):
        table[f"{name}_error"] = rng.uniform(0.05, 0.2, whole)
        table[name] = np.append(rng.normal(value, wide, n), np.full(members, value))
        table[name] += table[f"{name}_error"] * rng.normal(size=whole)
    table["phot_g_mean_mag"] = np.append(rng.uniform(10, 18, n), rng.normal(14, 0.3, members))
    table["bp_rp"] = np.append(rng.uniform(0, 3, n), rng.normal(1, 0.3, members))
    for name in ("phot_g_mean_mag_error", "bp_rp_error"):
        table[name] = 0.01
    return table


CENTRE = {"ra": 30.0, "dec": 30.0, "pmra": 2.0, "pmdec": -3.0, "parallax": 1.0, "r50_arcmin": 1.5}


@pytest.fixture
def run(tmp_path):
    """A folder with a model, a table of stars and a list of three candidates, one without stars."""
    sky().write(tmp_path / "sky.ecsv")
    (tmp_path / "model.py").write_text(MODEL)
    rows = [
        {"candidate": "cluster", "stars": "sky.ecsv", **CENTRE},
        {"candidate": "elsewhere", "stars": "sky.ecsv", **CENTRE, "ra": 30.1, "r50_arcmin": 2.5},
        {"candidate": "nothing", "stars": "sky.ecsv", **CENTRE, "pmra": 90.0},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    return tmp_path


def options(run: Path) -> dict:
    return {"model": str(run / "model.py"), "parameters": NAMES, "limits": (10.0, 18.0)}


def numbers(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=SPENT).sort_values("candidate").reset_index(drop=True)


def candidate(**changed) -> Candidate:
    return Candidate(**{"candidate": "it", "stars": "", **CENTRE, **changed})


def test_sample_and_field():
    table, it = sky(), candidate()
    chosen = select(table, it)
    ids = {
        name: set(np.asarray(getattr(chosen, name)["source_id"])) for name in ("sample", "field")
    }
    sample, field = set(), []
    for star in table:
        off = [
            abs(star[c] - CENTRE[c]) / max(star[f"{c}_error"], least)
            for c, least in (("pmra", 0.12), ("pmdec", 0.12), ("parallax", 0.05))
        ]
        away = 60 * np.hypot(
            (star["ra"] - 30.0) * np.cos(np.radians(star["dec"])), star["dec"] - 30
        )
        if off[2] < 3 and off[0] < 3 and off[1] < 3 and away < 2.5 * 1.5:
            sample.add(star["source_id"])
        elif off[2] < 3 and (max(off[:2]) >= 3 or away > 5 * 1.5):
            field.append((max(off[:2]), star["source_id"]))
    nearest = {star for _, star in sorted(field)[:LEAST_FIELD]}
    assert ids == {"sample": sample, "field": nearest}
    assert not ids["sample"] & ids["field"]
    assert chosen.counts["n_selected"] == len(chosen.sample) > 35
    assert chosen.counts["n_field_selected"] == len(field) > LEAST_FIELD
    assert chosen.counts["n_table"] == 940


def test_field_is_selected_like_the_sample():
    """Faint stars pass wide windows: a field of all motions has too few of them."""
    rng = np.random.default_rng(0)
    table, n = sky(n=20_000, members=0), 20_000
    table["phot_g_mean_mag"] = magnitude = rng.uniform(10, 18, n)
    for name in ("pmra", "pmdec"):
        table[f"{name}_error"] = error = 0.03 + 0.5 * ((magnitude - 10) / 8) ** 3
        table[name] = rng.normal(CENTRE[name], 3.0, n) + error * rng.normal(size=n)
    chosen = select(table, candidate(r50_arcmin=6.0))
    sample, field = (np.median(t["phot_g_mean_mag"]) for t in (chosen.sample, chosen.field))
    assert sample - np.median(magnitude) > 2.0
    assert abs(sample - field) < 0.3


def test_stars_without_astrometry_are_counted_and_in_neither():
    table = sky()
    table["parallax"][::3] = np.nan
    chosen = select(table, candidate())
    assert chosen.counts["n_without_astrometry"] == 314
    assert np.isfinite(chosen.field["parallax"]).all()


def test_the_field_is_as_large_as_the_sample_needs(monkeypatch):
    chosen = select(sky(), candidate(), least_field=50)
    assert len(chosen.field) == 4 * len(chosen.sample)
    monkeypatch.setattr("jaxcluster.catalogue.windows.MOST_FIELD", 100)
    assert len(select(sky(), candidate()).field) == 100


def test_a_candidate_without_stars_says_which_cut_took_them():
    with pytest.raises(
        ValueError, match=r"it: no star in its sample; of 940 .* 0 its proper motion"
    ):
        select(sky(), candidate(pmra=90.0))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pmdec": np.nan}, "pmdec of it is missing"),
        ({"r50_arcmin": -1.0}, "r50_arcmin of it: expected a positive number"),
    ],
)
def test_what_makes_no_sense_of_a_candidate(changed, message):
    with pytest.raises(ValueError, match=message):
        candidate(**changed).cut()


def test_one_limit_is_none():
    with pytest.raises(ValueError, match="found one of the two"):
        candidate(faint=18.0).limits  # noqa: B018


def test_lists(run):
    listed = read_candidates(run / "list.csv")
    assert [one.candidate for one in listed] == ["cluster", "elsewhere", "nothing"]
    assert listed[0].stars == str(run / "sky.ecsv")
    assert listed[0].pm_scatter == 0.12
    assert listed[0].limits is None
    table = pd.read_csv(run / "list.csv")
    table["pm_scatter"], table["bright"], table["faint"] = [np.nan, 0.5, 0.5], 10.0, 18.0
    listed = read_candidates(table)
    assert [one.pm_scatter for one in listed] == [0.12, 0.5, 0.5]
    assert listed[1].limits == (10.0, 18.0)
    with_units = Table.from_pandas(table)
    with_units["r50_arcmin"] = with_units["r50_arcmin"] / 60.0
    with_units["r50_arcmin"].unit = "deg"
    assert read_candidates(with_units)[0].r50_arcmin == pytest.approx(1.5)


def test_lists_of_tables(run):
    for name, some in (("a", slice(0, 50)), ("b", slice(50, None))):
        sky()[some].write(run / f"{name}.ecsv")
    table = pd.DataFrame({"candidate": ["it"], "sample": ["a.ecsv"], "field": ["b.ecsv"]})
    table.to_csv(run / "tables.csv", index=False)
    (one,) = read_candidates(run / "tables.csv")
    assert isinstance(one, Given)
    assert [len(one.cut().sample), len(one.cut().field)] == [50, 890]


def test_lists_that_cannot_be(run):
    table = pd.read_csv(run / "list.csv")
    with pytest.raises(ValueError, match=r"r50_arcmin: looked for[\s\S]*candidate: looked for"):
        read_candidates(table.drop(columns=["candidate", "r50_arcmin"]))
    with pytest.raises(ValueError, match="stars: looked for"):
        read_candidates(table.drop(columns="stars"))
    one = read_candidates(table.drop(columns="stars"), run / "sky.ecsv")[0]
    assert one.stars == str(run / "sky.ecsv")
    with pytest.raises(ValueError, match="'cluster' appear more than once"):
        read_candidates(pd.concat([table, table[:1]]))
    table.loc[1, "candidate"] = " "
    with pytest.raises(ValueError, match="1 rows have no name"):
        read_candidates(table)


def test_keys_depend_on_names_alone():
    data = [jax.random.key_data(key_of(name, 1)).tolist() for name in ("a", "b", "M 67", "M 68")]
    assert len({tuple(d) for d in data}) == 4
    assert data[2] == jax.random.key_data(key_of("M 67", jax.random.key(1))).tolist()


def test_rows_have_the_same_columns_whatever_happens(run):
    chosen = select(run / "sky.ecsv", read_candidates(run / "list.csv")[0])
    done = vet(chosen.sample, chosen.field, key=1, candidate="it", **options(run))
    failed = vet(chosen.sample[:3], chosen.field, key=1, candidate="few", **options(run))
    assert list(done) == list(failed) == list(columns(NAMES)) == list(meta(NAMES).columns)
    assert len(meta()) == 0
    assert done["status"] == "done"
    assert done["log10_bayes_factor"] > 10
    assert done["magnitude_median"] == pytest.approx(14.0, abs=0.2)
    assert done["mean_pmra"] == pytest.approx(2.0, abs=0.1)
    assert done["cmd_png"].startswith(b"\x89PNG")
    assert done["star"][0] in set(np.asarray(chosen.sample["source_id"]))
    assert sum(p > 0.5 for p in done["membership"]) == done["n_members"]
    assert failed["status"] == "failed"
    assert re.match("ValueError: 3 of 3 stars .* needs at least 5", failed["message"])
    again = vet(chosen.sample, chosen.field, key=1, candidate="it", **options(run))
    fewer = vet(chosen.sample[:-5], chosen.field[:-7], key=2, candidate="its", **options(run))
    assert (again["programs"], fewer["status"], fewer["programs"]) == (0, "done", 0)
    assert {k: v for k, v in done.items() if k not in SPENT} == {
        k: v for k, v in again.items() if k not in SPENT
    }


def test_a_worker_opens_priors_after_it_has_started(run):
    """They hold arrays, which make jax begin; that cannot be told its devices afterwards."""
    settings = {"prior": {"model_scatter": LogUniform(0.003, 0.1)}, "parameters": NAMES}
    nothing = read_candidates(run / "list.csv")[2]
    found = subprocess.run(
        [sys.executable, "-c", ON_WORKER],
        input=pickle.dumps((job._on_worker, nothing, cloudpickle.dumps(settings), False)),
        capture_output=True,
        check=True,
    )
    assert b"no star in its sample" in found.stdout


ON_WORKER = """
import pickle, sys
function, *arguments = pickle.load(sys.stdin.buffer)
print(function(*arguments)["message"])
"""


def test_priors_of_other_numbers_share_what_is_compiled(stars_of_a_sample):
    values = []
    for modulus in (10.5, 11.0):
        model = jc.load_model("mimo_cmd")(
            stars_of_a_sample,
            field=lambda stars: -jnp.ones(len(stars)),
            limits=(8.0, 18.0),
            prior={"distance_modulus": Normal(modulus, 0.1)},
            n_masses=16,
            n_mass_ratios=2,
        )
        flat = Flat(model)
        z = flat.draw(jax.random.key(0))
        run = compile.Stopwatch().compile(lambda z, flat=flat: -flat.potential(z), z)
        values.append((len(compile._compiled), float(run(z))))
    assert values[0][0] == values[1][0]
    assert values[0][1] != values[1][1]


@pytest.fixture
def stars_of_a_sample():
    rng = np.random.default_rng(0)
    x = np.stack([np.sort(rng.uniform(10.0, 17.0, 40)), rng.uniform(0.3, 2.0, 40)], axis=-1)
    return jc.Stars(x, 1e-4 * np.tile(np.eye(2), (40, 1, 1)), ("G", "BP-RP"))


def test_a_run_that_goes_on(run, monkeypatch):
    told = []
    rows = job.batch(
        run / "list.csv",
        run / "out",
        workers=0,
        progress=lambda status, row: told.append((row["candidate"], status)),
        **options(run),
    )
    assert list(rows["candidate"]) == ["cluster", "elsewhere", "nothing"]
    assert list(rows["status"]) == ["done", "done", "failed"]
    assert list(rows["seed"]) == ["0", "0", "0"]
    assert "no star in its sample" in rows["message"][2]
    assert told[-1][1][:3] == (2, 1, 0)
    how_far = job.status(run / "list.csv", run / "out", **options(run))
    assert how_far[:3] == (2, 1, 0)

    vetted = []
    original = job.vet_candidate
    monkeypatch.setattr(
        job, "vet_candidate", lambda one, **k: vetted.append(one.candidate) or original(one, **k)
    )

    def go_on(**changed):
        vetted.clear()
        found = job.batch(run / "list.csv", run / "out", workers=0, **{**options(run), **changed})
        return found

    pd.testing.assert_frame_equal(go_on(), rows)
    assert vetted == []
    go_on(again=True)
    assert vetted == ["nothing"]
    # another configuration is another row, and the first is not lost
    go_on(tolerance=0.2)
    assert vetted == ["cluster", "elsewhere", "nothing"]
    pd.testing.assert_frame_equal(go_on(), rows)
    # a part that cannot be read is set aside, and what was in it is vetted again
    first = min((run / "out" / "parts").glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:100])
    with pytest.warns(UserWarning, match="cannot be read"):
        found = go_on()
    assert first.with_suffix(".parquet.bad").exists()
    assert set(vetted) <= {"cluster", "elsewhere", "nothing"}
    assert vetted
    pd.testing.assert_frame_equal(numbers(found), numbers(rows))


@pytest.mark.slow
def test_candidates_side_by_side(run, tmp_path):
    """Those of one process whose evaluations are launched as one, and those one after the other."""
    alone, together = (
        job.batch(run / "list.csv", tmp_path / str(n), workers=0, together=n, **options(run))
        for n in (1, 3)
    )
    assert together["status"].tolist() == alone["status"].tolist()
    assert set(alone["status"]) == {"done", "failed"}
    for name in ("log_evidence", "log10_bayes_factor", "magnitude_median"):
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-6)


def test_no_two_runs_in_one_folder(run):
    with (
        Rows(run / "out", NAMES).alone(),
        pytest.raises(ValueError, match=f"another run writes here .process {os.getpid()} on"),
    ):
        job.batch(run / "list.csv", run / "out", workers=0, **options(run))


def test_a_full_disk_loses_nothing(run, monkeypatch):
    rows = Rows(run / "out", NAMES)
    rows.add([{"candidate": "a", "status": "done", "configuration": "1"}])

    def full(table, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.parquet, "write_table", full)
        with pytest.raises(OSError, match=r"1 rows could not be written .*No space left"):
            rows.add([{"candidate": "b", "status": "done", "configuration": "1"}])
    assert list(rows.read()["candidate"]) == ["a"]
    assert [path.name for path in (run / "out" / "parts").iterdir()] == ["00000.parquet"]


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk of 64 kB; mounting one takes root on Linux."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk to fill: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(full_disk):
    rows = Rows(full_disk, NAMES)
    row = {"candidate": "a", "status": "done", "configuration": "1", "n_stars": 7}
    rows.add([row])
    large = {**row, "candidate": "b", "cmd_png": np.random.default_rng(0).bytes(100_000)}
    with pytest.raises(OSError, match=r"1 rows could not be written .*No space left"):
        rows.add([large])
    assert rows.read()["candidate"].tolist() == ["a"]
    rows.add([{**row, "candidate": "c"}])
    assert rows.read()["candidate"].tolist() == ["a", "c"]


def test_of_two_rows_the_one_that_is_done(tmp_path):
    rows = Rows(tmp_path, NAMES)
    rows.add([{"candidate": "a", "status": "failed", "configuration": "1"}])
    rows.add([{"candidate": "a", "status": "done", "configuration": "1", "n_stars": 7}])
    rows.add([{"candidate": "a", "status": "done", "configuration": "1", "n_stars": 8}])
    rows.add([{"candidate": "a", "status": "done", "configuration": "2", "n_stars": 9}])
    assert rows.read()["n_stars"].tolist() == [7, 9]


def test_rows_of_an_older_version_lack_columns(tmp_path):
    rows = Rows(tmp_path, NAMES)
    rows.add([{"candidate": "a", "status": "done", "configuration": "1", "n_stars": 7}])
    (part,) = (tmp_path / "parts").glob("*.parquet")
    older = pyarrow.parquet.read_table(part).drop_columns(["ess", "flags", "n_field"])
    pyarrow.parquet.write_table(older, part)
    found = rows.read()
    assert list(found.columns)[: len(columns(NAMES))] == list(columns(NAMES))
    assert found["n_stars"].tolist() == [7]
    assert found[["ess", "flags", "n_field"]].isna().all(axis=None)


def test_results_and_page(run):
    rows = job.batch(run / "list.csv", run / "out", workers=0, **options(run))
    paths = write_results(rows, run / "out", seed=0)
    assert all(path.stat().st_size > 0 for path in paths)
    table = jc.read_table(run / "out" / "results.ecsv")
    assert list(table["candidate"]) == ["cluster", "elsewhere", "nothing"]
    assert str(table["mean_pmra"].unit) == "mas / yr"
    assert jc.read_table(run / "out" / "results.parquet")["faint"].unit == "mag"
    members = jc.read_table(run / "out" / "members.parquet")
    assert len(members) == rows["n_stars"].sum()
    assert members["star"].dtype == np.int64
    page = (run / "out" / "index.html").read_text()
    assert page.count("<tr") == 4
    assert page.count("data:image/png") == 2 + 3
    assert "no star in its sample" in page
    assert "http" not in page


def test_the_command(run, monkeypatch):
    """Candidates that fail are rows, with what failed, and the next command goes on."""
    rows = pd.read_csv(run / "list.csv")[2:]
    rows = pd.concat([rows, rows.assign(candidate="lost", stars="nowhere.ecsv")])
    rows.to_csv(run / "list.csv", index=False)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # jax has started already
    monkeypatch.setenv("XDG_CACHE_HOME", str(run / "cache"))
    command = ["batch", str(run / "list.csv"), "--out", str(run / "out"), "--workers", "0"]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    assert "nothing: failed: ValueError: nothing: no star in its sample" in said.output
    assert re.search(r"lost: failed: FileNotFoundError: .*nowhere.ecsv: no such file", said.output)
    assert "0 of 2 have log10 BF > 2, 2 failed" in said.output
    assert (run / "out" / "index.html").read_text().count("<tr") == 3
    far = CliRunner().invoke(app, [*command, "--status"])
    assert "0 done, 2 failed, 0 pending" in far.output
    other = CliRunner().invoke(app, [*command, "--status", "--seed", "1"])
    assert "0 done, 0 failed, 2 pending" in other.output
    wrong = CliRunner().invoke(app, ["batch", str(run / "sky.ecsv"), "--out", str(run / "out")])
    assert wrong.exit_code == 1
    assert "candidate: looked for candidate" in wrong.output


def test_the_command_with_a_model_of_ones_own(run, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(run / "cache"))
    monkeypatch.chdir(run)
    pd.read_csv("list.csv")[:1].to_csv("one.csv", index=False)
    command = ["batch", "one.csv", "--out", "out", "--workers", "0", "--model", "model.py"]
    command += ["--limits", "10,18"]
    said = CliRunner().invoke(app, [*command, "--parameters", ",".join(NAMES)])
    assert said.exit_code == 0, said.output
    assert "1 of 1 have log10 BF > 2, 0 failed; the largest process held" in said.output
    found = jc.read_table("out/results.parquet")
    assert 13.5 < found["magnitude_median"][0] < 14.5
    assert 0.1 < found["memory"][0] < 20.0
    wrong = CliRunner().invoke(app, [*command, "--parameters", "magnitude,age"])
    assert "the model has no age; its are colour, field_fraction, magnitude" in wrong.output
    nowhere = CliRunner().invoke(app, ["batch", "one.csv", "--out", "out", "--model", "nix.py"])
    assert nowhere.exit_code == 1
    assert "no model 'nix.py'" in nowhere.output


def test_the_text_of_a_model_is_part_of_the_configuration(run):
    listed = read_candidates(run / "list.csv")
    one = job.configure(listed, options(run))
    (run / "model.py").write_text(MODEL + "\n")
    assert not set(one.values()) & set(job.configure(listed, options(run)).values())


def test_what_is_in_a_file_of_colour_errors_is_part_of_the_configuration(run):
    listed, file = read_candidates(run / "list.csv"), run / "errors.json"
    file.write_text("{}")
    one = job.configure(listed, {"isochrone_error": str(file)})
    file.write_text("{ }")
    assert not set(one.values()) & set(
        job.configure(listed, {"isochrone_error": str(file)}).values()
    )


def test_what_is_learnt_of_colours_is_part_of_the_configuration(run, tmp_path, monkeypatch):
    """By default too, where no option names it."""
    listed = read_candidates(run / "list.csv")
    one = job.configure(listed, options(run))
    (tmp_path / "learnt.json").write_text("{}")
    monkeypatch.setattr(job, "LEARNT", tmp_path / "learnt.json")
    assert not set(one.values()) & set(job.configure(listed, options(run)).values())


def test_rules_of_the_selection_are_part_of_the_configuration(run, monkeypatch):
    listed = read_candidates(run / "list.csv")
    one = job.configure(listed, options(run))
    monkeypatch.setattr(job, "RULES", (*job.RULES[:-1], 1))
    assert not set(one.values()) & set(job.configure(listed, options(run)).values())


def test_priors_are_part_of_the_configuration(run):
    listed = read_candidates(run / "list.csv")
    one, same, other = (
        job.configure(listed, {"seed": 0, "prior": {"a_v": prior}})
        for prior in (Normal(0.1, 0.05), "Normal(0.1,0.05)", Normal(0.2, 0.05))
    )
    assert one == same
    assert not set(one.values()) & set(other.values())
    (run / "sky.ecsv").write_text((run / "sky.ecsv").read_text() + "\n")
    again = job.configure(listed, {"seed": 0, "prior": {"a_v": Normal(0.1, 0.05)}})
    assert not set(one.values()) & set(again.values())


@pytest.fixture
def cluster_of_processes():
    """A Dask scheduler and two workers, each a process of its own; yields address and workers."""

    def begin(what, *arguments):
        command = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.{what}", *arguments]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    scheduler = begin("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    assert scheduler.stderr is not None
    address = next(
        found[0] for line in scheduler.stderr if (found := re.search(r"tcp://127\S+:\d+", line))
    )
    workers = [
        begin("dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        for _ in range(2)
    ]
    yield address, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
def test_one_process_and_dask_workers_of_which_one_is_killed_give_the_same(
    run, cluster_of_processes
):
    address, workers = cluster_of_processes
    rows = pd.read_csv(run / "list.csv")
    more = [rows[:1].assign(candidate=f"cluster {n}") for n in range(6)]
    pd.concat([rows, *more]).to_csv(run / "list.csv", index=False)
    expected = job.batch(run / "list.csv", run / "one", workers=0, **options(run))

    def kill(status, row):
        if workers[0].poll() is None:
            workers[0].kill()

    found = job.batch(
        run / "list.csv", run / "dask", scheduler=address, progress=kill, **options(run)
    )
    assert workers[0].poll() is not None
    pd.testing.assert_frame_equal(numbers(found), numbers(expected))
    assert found["candidate"].tolist() == expected["candidate"].tolist()


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of Slurm that run a job's script at once, here."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {
        "sbatch": f'setsid bash "$1" >{folder}/log 2>&1 & echo Submitted batch job $!',
        "scancel": "kill -- -$1",
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.slow
def test_recipe_for_slurm(run, slurm):
    """CONTRIBUTING's, where a job of Slurm is a process of this machine."""
    jobqueue = pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue")
    resources = {"cores": 1, "processes": 1, "memory": "4GB", "walltime": "24:00:00"}
    with jobqueue.SLURMCluster(**resources, interface="lo") as cluster:
        cluster.scale(2)
        address = cluster.scheduler_address
        found = job.batch(run / "list.csv", run / "slurm", scheduler=address, **options(run))
    expected = job.batch(run / "list.csv", run / "one", workers=0, **options(run))
    pd.testing.assert_frame_equal(numbers(found), numbers(expected))


@pytest.mark.slow
def test_a_killed_run_goes_on(run):
    rows = pd.read_csv(run / "list.csv")
    more = [rows[:1].assign(candidate=f"cluster {n}") for n in range(4)]
    pd.concat([rows, *more]).to_csv(run / "list.csv", index=False)
    script = run / "script.py"
    script.write_text(
        "from jaxcluster.jobs.start import start\n"
        "from jaxcluster.jobs import batch as job\n"
        "import sys\n"
        "job.EVERY = 0.0\n"
        "if __name__ == '__main__':\n"
        "    start()\n"
        f"    job.batch({str(run / 'list.csv')!r}, {str(run / 'out')!r}, workers=2, "
        f"progress=lambda s, r: print(r['candidate'], flush=True), **{options(run)!r})\n"
    )
    begin = [sys.executable, "-W", "ignore", str(script)]
    first = subprocess.Popen(begin, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert first.stdout is not None
    before = [first.stdout.readline().strip() for _ in range(2)]
    os.killpg(first.pid, signal.SIGKILL)
    first.stdout.close()
    first.wait()
    time.sleep(1.0)
    second = subprocess.run(begin, capture_output=True, text=True, check=True)
    kept = Rows(run / "out", NAMES).read()
    assert len(kept) == 7
    vetted = second.stdout.split("\n")
    assert before[0] not in vetted  # the second one was perhaps not written yet
    expected = job.batch(run / "list.csv", run / "one", workers=0, **options(run))
    pd.testing.assert_frame_equal(numbers(kept), numbers(expected))
