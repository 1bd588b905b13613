"""Tables to files and back: units, masks, descriptions and notes; what cannot be meant."""

import json

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from test_cli import quiet, run  # noqa: F401
from test_members import simulated

from jaxcluster.catalogue.files import read_file, write_table
from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.tables import read_table, source_ids


def noted():
    table = Table(
        {
            "source_id": MaskedColumn([2**62 + 1, 7, 0], mask=[False, False, True]),
            "parallax": MaskedColumn(
                [1.5, 0.0, 2.5], mask=[False, True, False], unit=u.mas, description="of Gaia"
            ),
            "name": ["a", "bb", "c"],
        }
    )
    table.meta = {"cluster": {"ra": 1.25, "n_members": 3}, "preparation": ["one", "two"]}
    return table


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "parquet", "pq"])
def test_nothing_is_lost(tmp_path, suffix):
    path, table = tmp_path / f"x.{suffix}", noted()
    write_table(table, path)
    back = read_table(path)
    assert back.colnames == table.colnames
    assert back["parallax"].unit == u.mas
    assert back["parallax"].description == "of Gaia"
    for name in ("source_id", "parallax"):
        assert list(np.ma.getmaskarray(back[name])) == list(table[name].mask)
    np.testing.assert_array_equal(source_ids(back), [2**62 + 1, 7, 0])
    assert list(back["name"]) == ["a", "bb", "c"]
    assert dict(back.meta["cluster"]) == table.meta["cluster"]
    assert list(back.meta["preparation"]) == table.meta["preparation"]


def test_other_programs_read_the_parquet(tmp_path):
    write_table(noted(), tmp_path / "x.parquet")
    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert frame["parallax"].isna().tolist() == [False, True, False]
    assert frame["source_id"].iloc[0] == 2**62 + 1


def test_a_further_table_of_somebody_else_is_no_note(tmp_path):
    path = tmp_path / "x.fits"
    tables = [Table({"G": [1.0, 2.0]}), Table({"other": [3.0]})]
    fits.HDUList([fits.PrimaryHDU(), *map(fits.table_to_hdu, tables)]).writeto(path)
    back = read_file(path)
    assert back.colnames == ["G"]
    assert not back.meta
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(path, overwrite=True)
    with pytest.raises(ValueError, match="no table, only images"):
        read_file(path)


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "parquet"])
def test_members_keep_the_row_of_the_cluster(tmp_path, suffix):
    source, out = tmp_path / "field.ecsv", tmp_path / f"members.{suffix}"
    simulated().write(source)
    told = run("members", source, "--out", out, "--bootstrap", 0, "--components", 3, "--json")
    assert told.exit_code == 0, told.output
    said, back = json.loads(told.stdout), read_table(out)
    for name, value in said["cluster"].items():
        found = back.meta["cluster"][name]
        if value is None:
            assert found is None or np.isnan(found)
        else:
            assert found == pytest.approx(value)
    assert back.meta["jaxcluster"]["seed"] == 0
    assert back["membership"].description


def test_two_columns_of_one_name(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("# a query\nG,BP,G\n1,2,3\n")
    with pytest.raises(ValueError, match="columns G appear more than once"):
        read_table(path)


def test_complex_numbers():
    table = Table({"Gmag": np.array([12 + 1j, 13]), "e_Gmag": [0.01, 0.01]})
    with pytest.raises(ValueError, match="Gmag: found complex numbers"):
        from_table(table, ("G",))
