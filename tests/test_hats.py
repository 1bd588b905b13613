"""Stars of candidates out of a HATS catalogue, made on the spot."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

import jaxcluster as jc
from jaxcluster.catalogue.candidates import Candidate, read_candidates
from jaxcluster.catalogue.hats import is_hats, read_cone
from jaxcluster.catalogue.tables import Reader, read_table
from jaxcluster.jobs import batch as job
from tests.test_batch import CENTRE, MODEL, NAMES, SPENT, sky

# lsdb's own use of pandas, and a socket that distributed forgets where bokeh is installed
pytestmark = pytest.mark.filterwarnings("ignore")
IMPORT = """
import sys
from pathlib import Path
from distributed import Client
from hats_import.catalog.arguments import ImportArguments
from hats_import.pipeline import pipeline_with_client

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    arguments = ImportArguments(
        output_path=folder, output_artifact_name="catalogue", file_reader="parquet",
        input_file_list=[folder / "stars.parquet"], ra_column="ra", dec_column="dec",
        pixel_threshold=400, progress_bar=False,
    )
    with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
        pipeline_with_client(arguments, client)
"""


@pytest.fixture(scope="module")
def hats(tmp_path_factory) -> Path:
    """A HATS catalogue of three degrees, in some ten pixels, and the table it was made of."""
    pytest.importorskip("lsdb", reason="lsdb is an extra")
    pytest.importorskip("hats_import", reason="nor is hats-import here")
    folder = tmp_path_factory.mktemp("hats")
    near, wide = sky().to_pandas(), sky(seed=1, members=0).to_pandas()
    wide["source_id"] += 10**6
    for name in ("ra", "dec"):  # around, not within
        wide[name] = 30.0 + 6.0 * (wide[name] - 30.0)
    stars = pd.concat([near, wide[np.hypot(wide["ra"] - 30, wide["dec"] - 30) > 0.5]])
    stars["random_index"] = 0  # nothing reads it
    stars.to_parquet(folder / "stars.parquet", index=False)
    # by itself: its scheduler leaves a socket open
    subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORT, str(folder)], check=True)
    return folder


def test_what_is_a_hats_catalogue(tmp_path):
    assert is_hats("https://data.lsdb.io/hats/gaia_dr3")
    assert not is_hats(tmp_path)
    assert not is_hats("sky.ecsv")
    (tmp_path / "hats.properties").write_text("obs_collection=small\n")
    assert is_hats(tmp_path)


def test_columns_that_something_reads():
    names = ["random_index", "pmra", "pmra_error", "pmra_pmdec_corr", "BP_RP", "l", "ruwe"]
    names += ["phot_g_mean_flux_over_error", "phot_g_mean_mag", "source_id", "vmag"]
    known = Reader(Table(names=names)).known()
    assert known == [name for name in names if name not in ("random_index", "l", "vmag")]


def test_a_cone(hats):
    whole, cone = (
        read_table(hats / "stars.parquet"),
        read_cone(hats / "catalogue", 30.0, 30.0, 12.0),
    )
    away = [np.asarray(whole[c], float) - 30.0 for c in ("ra", "dec")]
    away = np.hypot(away[0] * np.cos(np.radians(30.0 + away[1])), away[1])
    inside = np.sort(np.asarray(whole["source_id"])[away < 0.2])
    assert np.sort(np.asarray(cone["source_id"])).tolist() == inside.tolist()
    assert cone["source_id"].dtype == np.int64
    assert "random_index" not in cone.colnames
    with pytest.raises(ValueError, match=r"catalogue.*within 1 arcmin of \(210.0000, -30.0000\)"):
        read_cone(hats / "catalogue", 210.0, -30.0, 1.0)


def test_the_same_stars_as_of_a_table(hats):
    one = Candidate(candidate="it", stars=str(hats / "catalogue"), radius_arcmin=300.0, **CENTRE)
    other = Candidate(candidate="it", stars=str(hats / "stars.parquet"), **CENTRE)
    mine, theirs = one.cut(), other.cut()
    assert set(mine.sample["source_id"]) == set(theirs.sample["source_id"])
    assert set(mine.field["source_id"]) == set(theirs.field["source_id"])
    with pytest.raises(ValueError, match="radius_arcmin of it: expected a positive number"):
        Candidate(candidate="it", stars="", radius_arcmin=0.0, **CENTRE).cut()


def test_a_run_of_workers(hats, tmp_path):
    """A catalogue for all, of an address in the list or of the command, read by each worker."""
    (tmp_path / "model.py").write_text(MODEL)
    rows = pd.DataFrame([{"candidate": "a", **CENTRE}, {"candidate": "far", **CENTRE, "ra": 200.0}])
    rows.to_csv(tmp_path / "list.csv", index=False)
    options = {"model": str(tmp_path / "model.py"), "parameters": NAMES, "limits": (10.0, 18.0)}
    stars = hats / "catalogue"
    found = [
        job.batch(tmp_path / "list.csv", tmp_path / str(n), stars=stars, workers=n, **options)
        for n in (0, 1)
    ]
    assert found[0]["status"].tolist() == ["done", "failed"]
    assert "no star within 30 arcmin of (200.0000, 30.0000)" in found[0]["message"][1]
    pd.testing.assert_frame_equal(*(rows.drop(columns=SPENT) for rows in found))
    listed = read_candidates(tmp_path / "list.csv", "s3://bucket/gaia")
    assert listed[0].record()["stars"] == "s3://bucket/gaia"
    before = job.configure(read_candidates(tmp_path / "list.csv", stars), options)
    text = (stars / "hats.properties").read_text()
    (stars / "hats.properties").write_text(text + "hats_note=new\n")
    again = job.configure(read_candidates(tmp_path / "list.csv", stars), options)
    (stars / "hats.properties").write_text(text)
    assert not set(before.values()) & set(again.values())


def test_rows_by_partition():
    """`jc.vet` in Dask's `map_partitions`, as LSDB's, with the empty frame that it asks for."""
    dataframe = pytest.importorskip("dask.dataframe", reason="Dask's tables are not installed")
    from jaxcluster.jobs.vet import meta

    def of(part: pd.DataFrame) -> pd.DataFrame:
        rows = [jc.vet("none.csv", "none.csv", candidate=name) for name in part["candidate"]]
        return pd.DataFrame(rows, columns=list(meta().columns)).astype(meta().dtypes)

    names = dataframe.from_pandas(pd.DataFrame({"candidate": ["a", "b", "c"]}), npartitions=2)
    found = names.map_partitions(of, meta=meta()).compute(scheduler="synchronous")
    assert found["candidate"].tolist() == ["a", "b", "c"]
    assert found.dtypes.astype(str).tolist() == meta().dtypes.astype(str).tolist()
    assert (found["status"] == "failed").all()
