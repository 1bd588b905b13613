import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.table import MaskedColumn, Table
from numpy.testing import assert_allclose, assert_array_equal

from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.preparation import correct_parallax, cut_outliers


def log(table: Table) -> str:
    return "\n".join(table.meta["preparation"])


# Outliers

# Nine stars: |pmra| has median 1, |pmdec| has median 2, so sigma is 1.4826 and 2.9652 about (0, 0).
PM = {"pmra": [-2.0, -1, -1, 0, 0, 0, 1, 1, 2], "pmdec": [0.0, 4, 0, -4, 2, -2, 4, 0, -4]}


def nine(**columns) -> Table:
    return Table({**PM, "name": list("abcdefghi"), **columns})


def test_a_star_is_dropped_by_its_distance_in_units_of_the_dispersion():
    table = nine()
    table["pmra"][0], s = -2.0, np.array([1.4826, 2.9652])
    distance = np.hypot(table["pmra"] / s[0], table["pmdec"] / s[1])
    for n_sigma in (0.8, 1.0, 1.4, 1.6, 2.0):
        kept = cut_outliers(table, centre=(0, 0), n_sigma=n_sigma)
        assert kept["name"].tolist() == table["name"][distance <= n_sigma].tolist()
    assert "sigma 1.4826, 2.9652 mas/yr" in log(kept)
    assert len(table) == 9
    assert "preparation" not in table.meta


def test_the_centre_is_the_median_and_moves_with_the_sample():
    table = nine()
    shifted = nine(pmra=np.array(PM["pmra"]) + 7, pmdec=np.array(PM["pmdec"]) - 3)
    for n_sigma in (1.0, 1.5):
        here, there = (cut_outliers(t, n_sigma=n_sigma) for t in (table, shifted))
        assert here["name"].tolist() == there["name"].tolist()
    assert "centre pmra 7.0000, pmdec -3.0000" in log(there)


def test_missing_proper_motions_are_kept_and_counted():
    pmra = MaskedColumn([100.0, *PM["pmra"][1:]], mask=[0, 1] + [0] * 7)
    table = nine(pmra=pmra, pmdec=[0.0, np.nan, *PM["pmdec"][2:]])
    kept = cut_outliers(table)
    assert kept["name"].tolist() == list("bcdefghi")
    assert kept["pmra"].mask.sum() == 1
    assert "dropped of 9: 1 further than 10 sigma" in log(kept)
    assert "kept 1 without proper motion" in log(kept)


def test_photometric_errors():
    e_J = [0.01, 0.2, np.nan] + [0.05] * 6
    table = nine(Jmag=[12.0] * 9, e_Jmag=e_J, Gmag=[14.0] * 9, RFG=[100.0, 5.0] + [10.0] * 7)
    # 1.0857/5 = 0.217 and 1.0857/10 = 0.1086 mag in G.
    kept = cut_outliers(table, max_magnitude_error=0.11)
    assert kept["name"].tolist() == list("acdefghi")
    assert "1 error of G > 0.11 mag, 0 error of J > 0.11 mag" in log(kept)
    assert "kept 0 without proper motion, 0 without error of G, 1 without error of J" in log(kept)
    assert cut_outliers(table, max_magnitude_error=0.1)["name"].tolist() == ["a"]
    assert len(cut_outliers(table, max_magnitude_error=0.1, bands=["J"])) == 8
    again = cut_outliers(kept, n_sigma=5)
    assert len(again.meta["preparation"]) == 2


@pytest.mark.parametrize(
    ("columns", "options", "match"),
    [
        ({}, {"n_sigma": 0}, "n_sigma: expected more than 0, found 0"),
        ({}, {"centre": (np.nan, 0.0)}, r"centre: expected \(pmra, pmdec\) in mas/yr"),
        ({}, {"bands": ["J"]}, "bands: found .* without max_magnitude_error"),
        ({}, {"max_magnitude_error": 0.1, "bands": ["g"]}, r"bands: found \['g'\], expected some"),
        ({}, {"max_magnitude_error": 0.1}, "error of Ks: looked for"),
        ({"pmra": [0.0] * 9}, {}, "found a dispersion of 0, "),
        ({"pmra": [np.nan] * 9}, {}, "no star has both"),
        ({"j_m": [9.0] * 9, "j_msigcom": [0.0] * 9}, {"max_magnitude_error": 0.1},
         "j_msigcom: 9 of 9 errors are not positive"),
        ({}, {"n_sigma": 1e-3, "centre": (0.5, 0.5)}, "no star is left of 9"),
    ],
)  # fmt: skip
def test_impossible_cuts_are_named(columns, options, match):
    with pytest.raises(ValueError, match=match):
        cut_outliers(nine(**columns), **options)
    with pytest.raises(ValueError, match="pmra: looked for pmra"):
        cut_outliers(nine()["name", "pmdec"])


def test_cuts_of_a_real_field(data):
    path = data / "gaia_fields" / "NGC2243.parquet"
    frame = pd.read_parquet(path)
    kept = cut_outliers(path, centre=(-1.28, 5.49), max_magnitude_error=0.1)
    pm = frame[["pmra", "pmdec"]].to_numpy() - (-1.28, 5.49)
    far = (pm / (1.4826 * np.nanmedian(abs(pm), axis=0))) ** 2 @ np.ones(2) > 100
    ratios = frame[[f"phot_{b}_mean_flux_over_error" for b in ("g", "bp", "rp")]]
    faint = (1.0857362 / ratios > 0.1).any(axis=1)
    assert far.sum() > 0
    assert_array_equal(kept["source_id"], frame.source_id[~far & ~faint])
    assert kept.colnames == list(frame.columns)
    two = cut_outliers(path)["pmra"].mask.sum()
    assert two == frame.pmra.isna().sum() == 4


# Parallaxes


def gaia(**columns) -> pd.DataFrame:
    """Two stars with five parameters, one with six, one with two; on the ecliptic."""
    table = {
        "ra": [0.0] * 4, "dec": [0.0] * 4, "parallax": [1.0, 2.0, 3.0, np.nan],
        "phot_g_mean_mag": [8.4, 10.8, 10.8, 20.0],
        "nu_eff_used_in_astrometry": [1.48, 1.48, np.nan, np.nan],
        "pseudocolour": [np.nan, np.nan, 1.48, np.nan], "ecl_lat": [0.0] * 4,
        "astrometric_params_solved": [31, 31, 95, 3],
    }  # fmt: skip
    return pd.DataFrame(table | columns)


def test_zero_point_of_the_published_coefficients():
    # At 1.48 and sin β = 0, eq. A.3 to A.5 of Lindegren et al. 2021 leave q00 − q02/3, linear in G
    # between rows of their Table 9; of Table 10 for six parameters [µas].
    frame = gaia()
    got = correct_parallax(frame)
    at_6, at_10_8 = -26.98 - 27.40 / 3, -27.23 - 23.04 / 3
    expected = np.array([(at_6 + at_10_8) / 2, at_10_8, -28.91 - 22.92 / 3])
    assert_allclose(got["parallax"][:3], frame.parallax[:3] - 1e-3 * expected, atol=6e-7)
    assert_allclose(got["parallax_zero_point"], 1e-3 * np.append(expected, 0), atol=6e-7)
    assert got["parallax"].mask.tolist() == [False, False, False, True]
    assert "from 3 of 4 parallaxes, median correction +0.0355 mas" in log(got)
    assert "(gaiadr3-zeropoint 0." in log(got)
    assert "0 outside its range, 1 without a parallax" in log(got)


PUBLISHED = [("ngc2682/cluster", "Plx_zp"), ("radial_velocity/ngc6791", "zero_point")]


@pytest.mark.parametrize(("name", "column"), PUBLISHED)
def test_zero_points_that_others_published(data, name, column):
    frame = pd.read_parquet(data / f"{name}.parquet").drop(columns="un_plx", errors="ignore")
    got = correct_parallax(frame.drop(columns=["ecl_lat", "astrometric_params_solved"]))
    assert_allclose(got["parallax"], frame.parallax - frame[column], atol=2.1e-6)
    assert_allclose(got["parallax_zero_point"], frame[column], atol=2.1e-6)


@pytest.mark.parametrize("name", ["NGC2243", "M46", "King_5"])
def test_a_real_field(data, name):
    frame = pd.read_parquet(data / "gaia_fields" / f"{name}.parquet")
    got = correct_parallax(frame)
    change = np.ma.filled(got["parallax"] - frame.parallax, np.nan)
    assert 0.02 < np.nanmedian(change[change > 0]) < 0.05
    done = frame.parallax.notna() & (got["parallax_zero_point"] != 0)
    assert_allclose(change[done], -got["parallax_zero_point"][done], atol=1e-12)
    assert_array_equal(got["parallax"].mask, frame.parallax.isna())
    assert done.mean() > 0.9
    assert_array_equal(got["pmra"], frame.pmra)
    assert len(from_table(got, ("G", "parallax"))) == len(from_table(frame, ("G", "parallax")))


def test_outside_the_range_nothing_changes_and_is_counted():
    frame = gaia(phot_g_mean_mag=[5.9, 10.8, 15.0, 20.0], pseudocolour=[np.nan, np.nan, 1.75, 1])
    got = correct_parallax(frame)
    assert got["parallax"][[0, 2]].tolist() == [1.0, 3.0]
    assert got["parallax_zero_point"][[0, 2, 3]].tolist() == [0, 0, 0]
    assert "left uncorrected: 2 outside its range, 1 without a parallax" in log(got)
    with pytest.raises(ValueError, match=r"none of 4 can be corrected \(3 with five or six"):
        correct_parallax(gaia(phot_g_mean_mag=[21.5] * 4))


def test_what_is_missing_is_computed():
    ra, dec, obliquity = np.radians((80.0, 60.0, 23.4392911))
    sine = np.sin(dec) * np.cos(obliquity) - np.cos(dec) * np.sin(obliquity) * np.sin(ra)
    latitude = np.degrees(np.arcsin(sine))
    frame = gaia(dec=[60.0] * 4, ra=[80.0] * 4, ecl_lat=[latitude, np.nan, np.nan, np.nan])
    expected = correct_parallax(frame.assign(ecl_lat=latitude))["parallax"]
    assert_allclose(correct_parallax(frame)["parallax"][:3], expected[:3], atol=2e-6)
    partly = frame.astype({"astrometric_params_solved": float})
    partly.loc[1:, "astrometric_params_solved"] = np.nan
    assert_allclose(correct_parallax(partly)["parallax"][:3], expected[:3], atol=2e-6)


def test_names_and_units_of_vizier():
    names = {"parallax": "Plx", "phot_g_mean_mag": "Gmag", "nu_eff_used_in_astrometry": "nueff"}
    names |= {"pseudocolour": "pscol", "ecl_lat": "ELAT", "astrometric_params_solved": "Solved"}
    table = Table.from_pandas(gaia(ecl_lat=30.0).rename(columns=names))
    table["Plx"].unit, table["Plx"].description = u.mas, "Parallax"
    table["Plx"] = table["Plx"].to(u.arcsec)
    table["ELAT"] = table["ELAT"] * np.pi / 180
    table["ELAT"].unit = u.rad
    got, expected = correct_parallax(table), correct_parallax(gaia(ecl_lat=30.0))
    assert got["Plx"].unit == u.arcsec
    assert_allclose(1e3 * got["Plx"][:3], expected["parallax"][:3], rtol=1e-12)


def test_twice_is_refused(tmp_path):
    got = correct_parallax(gaia())
    with pytest.raises(
        ValueError, match=r"parallax: corrected already \(correct_parallax: zero-poi"
    ):
        correct_parallax(got)
    got.write(tmp_path / "a.ecsv")
    with pytest.raises(ValueError, match=r"corrected already \(correct_parallax"):
        correct_parallax(tmp_path / "a.ecsv")
    got.write(tmp_path / "a.csv")  # loses the record, not the column
    with pytest.raises(ValueError, match=r"corrected already \(column parallax_zero_point"):
        correct_parallax(tmp_path / "a.csv")


def test_missing_columns_and_another_release():
    with pytest.raises(ValueError, match="nu_eff: looked for nu_eff_used_in_astrometry, nueff"):
        correct_parallax(gaia().drop(columns="nu_eff_used_in_astrometry"))
    with pytest.raises(ValueError, match="dec: looked for dec"):
        correct_parallax(gaia().drop(columns=["ecl_lat", "dec"]))
    assert correct_parallax(gaia(ref_epoch=[2016.0] * 4))["parallax"][0] > 1.0
    with pytest.raises(ValueError, match=r"ref_epoch: found 2017.5, expected 2016"):
        correct_parallax(gaia(ref_epoch=[2017.5] * 4))
