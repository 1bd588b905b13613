from itertools import combinations

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.time import Time
from numpy.testing import assert_allclose, assert_array_equal

from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.merge import merge

EPOCHS = {"epoch": 2016.0, "other_epoch": 2014.0}
FIVE = ("ra", "dec", "parallax", "pmra", "pmdec")


def log(table: Table, start="merge: ") -> str:
    return "\n".join(s for s in table.meta["preparation"] if s.startswith(start))


def at(ra, dec, **columns) -> Table:
    return Table({"ra": ra, "dec": dec, **columns})


def bands(n=30, seed=0, **columns) -> Table:
    """Stars 3.6 arcsec apart in a row, each with two magnitudes."""
    rng = np.random.default_rng(seed)
    return at(
        100 + np.arange(n) / 1000, np.full(n, 20.0),
        j_m=rng.normal(12, 1, n), j_msigcom=rng.uniform(0.01, 0.1, n),
        ks_m=rng.normal(11, 1, n), ks_msigcom=rng.uniform(0.01, 0.1, n), **columns,
    )  # fmt: skip


def astrometry(n=30, seed=0, correlated=True) -> Table:
    """Stars as in `bands` with five parameters and, if wanted, a random correlation matrix."""
    rng = np.random.default_rng(seed)
    table = at(100 + np.arange(n) / 1000, np.full(n, 20.0))
    for name in ("parallax", "pmra", "pmdec"):
        table[name], table[f"{name}_error"] = rng.normal(1, 1, n), rng.uniform(0.1, 0.5, n)
    if correlated:
        a = rng.normal(size=(n, 5, 7))
        C = a @ a.transpose(0, 2, 1)
        s = np.sqrt(np.diagonal(C, axis1=1, axis2=2))
        for (i, x), (j, y) in combinations(enumerate(FIVE), 2):
            table[f"{x}_{y}_corr"] = C[:, i, j] / (s[:, i] * s[:, j])
    return table


# The mean


def test_the_mean_of_bands_is_the_closed_form():
    one, two = bands(), bands(seed=1)
    got = merge(one, two[::-1], **EPOCHS, offset={"J": 0.05})
    for name, offset in (("j_m", 0.05), ("ks_m", 0.0)):
        x1, s1, x2, s2 = (t[c] for t in (one, two) for c in (name, f"{name}sigcom"))
        w1, w2 = 1 / s1**2, 1 / s2**2
        assert_allclose(got[name], (w1 * x1 + w2 * (x2 + offset)) / (w1 + w2), rtol=1e-12)
        assert_allclose(got[f"{name}sigcom"], (w1 + w2) ** -0.5, rtol=1e-12)
        chi2 = np.mean((x1 - x2 - offset) ** 2 / (s1**2 + s2**2))
        band = {"j_m": "J", "ks_m": "Ks"}[name]
        assert f"{band}: 30 averaged, chi2/dof {chi2:.3f}, median of table - other " in log(got)
    assert "(offset +0.05 added to other); 0 taken from the other" in log(got)
    assert "30 of 30 stars matched with 30 of epoch 2014 within 1 arcsec" in log(got)
    assert got.colnames == one.colnames
    assert_array_equal(one["j_m"], bands()["j_m"])  # a copy


def test_chi2_tells_whether_errors_and_systems_agree():
    n, rng = 4000, np.random.default_rng(5)
    truth, sky = rng.normal(14, 1, n), (100 + np.arange(n) / 1000, np.zeros(n))
    one = at(*sky, Jmag=truth + rng.normal(0, 0.03, n), e_Jmag=np.full(n, 0.03))
    two = at(*sky, Jmag=truth + 0.1 + rng.normal(0, 0.04, n), e_Jmag=np.full(n, 0.04))
    for offset, chi2 in ((0.0, 5.0), (-0.1, 1.0)):  # 1 + 0.1²/(0.03² + 0.04²)
        got = merge(one, two, **EPOCHS, offset={"J": offset})
        assert_allclose(float(log(got).split("chi2/dof ")[1][:5]), chi2, rtol=0.06)
        assert_allclose(np.std(got["Jmag"] - truth), 0.024, rtol=0.03)
    assert_allclose(np.mean(got["Jmag"] - truth), 0.0, atol=0.002)


@pytest.mark.parametrize("correlated", [(True, True), (True, False), (False, True)])
def test_astrometry_is_averaged_with_full_covariances(correlated):
    one, two = (astrometry(seed=s, correlated=c) for s, c in enumerate(correlated))
    got = merge(one, two, **EPOCHS, radius=0.5)

    def star(t, k, names):
        s = np.array([t[f"{x}_error"][k] for x in names])
        R = np.eye(len(names))
        for (i, x), (j, y) in combinations(enumerate(names), 2):
            R[i, j] = R[j, i] = t[f"{x}_{y}_corr"][k] if f"{x}_{y}_corr" in t.colnames else 0.0
        return np.array([t[x][k] for x in names]), R * np.outer(s, s)

    for k in range(len(one)):
        # One least-squares problem with both catalogues as its six equations.
        (x1, C1), (x2, C2) = (star(t, k, FIVE[2:]) for t in (one, two))
        A, W = np.vstack([np.eye(3)] * 2), np.zeros((6, 6))
        W[:3, :3], W[3:, 3:] = np.linalg.inv(C1), np.linalg.inv(C2)
        x = np.linalg.solve(A.T @ W @ A, A.T @ W @ np.append(x1, x2))
        got_x, got_C = star(got, k, FIVE[2:])
        assert_allclose(got_x, x, rtol=1e-9)
        assert_allclose(got_C, np.linalg.inv(A.T @ W @ A), rtol=1e-9)


def test_correlations_with_what_is_not_averaged():
    # Of ra, dec and the parallax with the mean: Monte Carlo over both catalogues' errors.
    one = astrometry(1, seed=3)
    for c in ("ra", "dec"):
        one[f"{c}_error"] = 0.3
    two = astrometry(1, seed=4)["ra", "dec", "pmra", "pmra_error", "pmdec", "pmdec_error"]
    got = merge(one, two, **EPOCHS)
    s = np.array([one[f"{c}_error"][0] for c in FIVE])
    R = np.eye(5)
    for (i, x), (j, y) in combinations(enumerate(FIVE), 2):
        R[i, j] = R[j, i] = one[f"{x}_{y}_corr"][0]
    C1, C2 = R * np.outer(s, s), np.diag([two["pmra_error"][0] ** 2, two["pmdec_error"][0] ** 2])
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(np.zeros(5), C1, 400_000)
    other = rng.multivariate_normal(np.zeros(2), C2, 400_000)
    J1, J2 = np.linalg.inv(C1[3:, 3:]), np.linalg.inv(C2)
    draws[:, 3:] = np.linalg.solve(J1 + J2, J1 @ draws[:, 3:].T + J2 @ other.T).T
    scatter = np.corrcoef(draws.T)
    for (i, x), (j, y) in combinations(enumerate(FIVE), 2):
        assert_allclose(got[f"{x}_{y}_corr"][0], scatter[i, j], atol=0.006, err_msg=f"{x} {y}")
    assert_array_equal(got["parallax"], one["parallax"])
    assert_array_equal(got["parallax_error"], one["parallax_error"])


def test_where_one_is_missing_the_other_is_taken():
    one, two = bands(4), bands(4, seed=1)
    one["j_m"][0], one["j_msigcom"][1], two["j_m"][2], two["j_msigcom"][3] = [np.nan] * 4
    got = merge(one, two, **EPOCHS)
    for name in ("j_m", "j_msigcom"):
        assert_allclose(got[name], [*two[name][:2], *one[name][2:]], rtol=1e-14)
    assert "J: 0 averaged; 2 taken from the other" in log(got)
    assert "Ks: 4 averaged" in log(got)


def test_two_parameter_stars_take_the_others_astrometry():
    one, two = astrometry(5), astrometry(5, seed=1)
    for c in [c for c in one.colnames if c not in ("ra", "dec", "ra_dec_corr")]:
        one[c][0] = np.nan
    two["parallax"][1] = np.nan
    got = merge(one, two, **EPOCHS, radius=0.5)
    for c in ("parallax", "pmra", "pmra_error", "pmra_pmdec_corr", "parallax_pmra_corr"):
        assert_allclose(got[c][0], two[c][0], rtol=1e-12)
    assert got["ra_pmra_corr"][0] == 0.0
    # A parallax of one catalogue alone becomes better by the proper motions it correlates with.
    assert got["parallax_error"][1] < one["parallax_error"][1]
    assert len(from_table(got, ("parallax", "pmra", "pmdec"))) == 5


def test_what_only_the_other_has_becomes_a_column():
    gaia = at(100 + np.arange(4) / 1000, [20.0] * 4, Gmag=[14.0, 15, 16, 17], e_Gmag=[0.01] * 4)
    got = merge(gaia, bands(3), **EPOCHS)
    assert got.colnames == [*gaia.colnames, "j_m", "j_m_error", "ks_m", "ks_m_error"]
    assert_array_equal(got["ks_m"][:3], bands(3)["ks_m"])
    assert got["ks_m"].mask.tolist() == [False] * 3 + [True]
    assert len(from_table(got, ("G", "Ks"))) == 3
    assert merge(gaia, bands(3), **EPOCHS, quantities=["Ks"]).colnames[4:] == ["ks_m", "ks_m_error"]


def test_colours_follow_their_bands_and_errors_from_fluxes_become_magnitudes():
    n = 5
    sky = (100 + np.arange(n) / 1000, np.full(n, 20.0))
    one = at(*sky, Gmag=[15.0] * n, BPmag=[15.5] * n, RPmag=[14.5] * n, RFBP=[100.0] * n,
             bp_rp=[1.0] * n, RFRP=[50.0] * n, RFG=[200.0] * n)  # fmt: skip
    two = at(*sky, BPmag=[15.7] * n, e_BPmag=[0.010857362] * n)[:4]
    got = merge(one, two, **EPOCHS)
    assert_allclose(got["BPmag"], [15.6] * 4 + [15.5])
    assert_allclose(got["bp_rp"], [1.1] * 4 + [1.0])
    assert_allclose(got["BPmag_error"], [0.010857362 / 2**0.5] * 4 + [0.010857362])
    with pytest.warns(UserWarning, match="3 of 5 without a source_id"):  # stars of equal BP
        stars = from_table(got, ("BP",))
    assert_allclose(stars.noise[:, 0, 0], got["BPmag_error"] ** 2)


def test_units_and_names_are_those_of_the_table():
    one, two = astrometry(), astrometry(seed=1)
    expected = merge(one, two, **EPOCHS, radius=0.5)
    short = {"ra": "RA", "dec": "DE", "parallax": "Plx", "pmra": "pmRA", "pmdec": "pmDE"}
    vizier = QTable(two)
    for a, b in combinations(FIVE, 2):
        vizier.rename_column(f"{a}_{b}_corr", f"{short[a]}{short[b]}cor")
    for c in FIVE[2:]:
        vizier.rename_columns([c, f"{c}_error"], [short[c], f"e_{short[c]}"])
    vizier.rename_columns(["ra", "dec"], ["RAJ2000", "DEJ2000"])
    vizier["RAJ2000"] = (vizier["RAJ2000"] * u.deg).to(u.rad)
    for c in ("Plx", "e_Plx"):
        vizier[c] = (vizier[c] * u.mas).to(u.arcsec)
    got = merge(one, vizier, **EPOCHS, radius=0.5)
    assert got.colnames == one.colnames
    for c in got.colnames:
        assert_allclose(got[c], expected[c], rtol=1e-9)
    back = merge(vizier, one, epoch=2014, other_epoch=2016, radius=0.5)
    assert back["Plx"].unit == u.arcsec
    assert_allclose(1e3 * back["Plx"], expected["parallax"], rtol=1e-9)
    assert_allclose(back["pmRApmDEcor"], expected["pmra_pmdec_corr"], rtol=1e-9)


# The match


@pytest.mark.parametrize("dec", [-75.0, 0.0, 89.5])
def test_stars_that_moved_two_arcsec(dec):
    n, rng, years = 200, np.random.default_rng(2), -20.0
    place = SkyCoord(0 * u.deg, dec * u.deg).directional_offset_by(
        rng.uniform(0, 360, n) * u.deg, 0.2 * rng.uniform(0, 1, n) ** 0.5 * u.deg
    )
    angle = rng.uniform(0, 2 * np.pi, n)
    pm = 100 * np.array([np.sin(angle), np.cos(angle)])
    start = SkyCoord(
        place.ra, place.dec, distance=1 * u.kpc, obstime=Time("J2016"),
        pm_ra_cosdec=pm[0] * u.mas / u.yr, pm_dec=pm[1] * u.mas / u.yr,
        radial_velocity=np.zeros(n) * u.km / u.s,
    )  # fmt: skip
    end = start.apply_space_motion(new_obstime=Time("J1996"))
    fresh = {"Jmag": np.arange(n) / 10, "e_Jmag": np.full(n, 0.1)}
    one = at(place.ra.deg, place.dec.deg, pmra=pm[0], pmdec=pm[1], **fresh)
    order = rng.permutation(n)
    two = at(end.ra.deg, end.dec.deg, **fresh)[order]
    epochs = {"epoch": 2016.0, "other_epoch": 2016.0 + years}
    got = merge(one, two, **epochs)
    assert f"{n} of {n} stars matched" in log(got)
    assert "median separation 0.000 arcsec" in log(got)
    assert_allclose(got["Jmag"], fresh["Jmag"])  # its own star each
    assert "chi2/dof 0.000" in log(got)
    # The other way round the other's motion is used.
    assert f"{n} of {n} stars" in log(merge(two, one, epoch=1996.0, other_epoch=2016.0))
    with pytest.raises(ValueError, match=r"no star of 200 has a match within 1 arcsec among 200"):
        merge(one["ra", "dec", "Jmag", "e_Jmag"], two, **epochs)


def test_across_0h_and_two_that_claim_one():
    # A: 0.3″ across 0h. B and C both claim the star next to B. D: 3″ away. E: has no position.
    arcsec = 1 / 3600
    J = {"Jmag": np.full(5, 12.0), "e_Jmag": np.full(5, 0.1)}
    one = at([360 - 0.1 * arcsec, 10, 10 + 0.6 * arcsec, 20, np.nan], np.zeros(5), **J)
    two = at([0.2 * arcsec, 10 + 0.1 * arcsec, 20 + 3 * arcsec, np.nan], np.zeros(4),
             Jmag=np.full(4, 13.0), e_Jmag=np.full(4, 0.1))  # fmt: skip
    got = merge(one, two, **EPOCHS)
    assert_allclose(got["Jmag"], [12.5, 12.5, 12, 12, 12])
    assert "2 of 5 stars matched" in log(got)
    got = merge(one, two, **EPOCHS, outer=True)
    assert_allclose(got["Jmag"], [12.5, 12.5, 12, 12, 12, 13])
    assert_allclose(got["ra"][5], 20 + 3 * arcsec, rtol=1e-12)
    assert "; 1 others appended" in log(got)


def test_outer_moves_to_the_epoch_and_masks_the_rest():
    one, two = astrometry(4), astrometry(6, seed=1, correlated=False)
    one["source_id"], one["remark"] = np.arange(4) + 2**60, ["a", "b", "c", "d"]
    two["source_id"] = np.arange(6)
    got = merge(one, two, **EPOCHS, outer=True, radius=0.5)
    assert len(got) == 6
    for c in ("parallax", "pmra_error"):
        assert_array_equal(got[c][4:], two[c][4:])
    motion = two["pmdec"][4:] * 2 / 3.6e6
    assert_allclose(got["dec"][4:] - two["dec"][4:], motion, atol=1e-12)
    assert got["source_id"].mask.tolist() == got["remark"].mask.tolist() == [False] * 4 + [True] * 2
    assert got["source_id"][0] == 2**60
    assert len(from_table(got, ("parallax", "pmra", "pmdec"))) == 6
    inner = merge(one, two, **EPOCHS, radius=0.5)
    assert_array_equal(got["pmra"][:4], inner["pmra"])


def test_records_of_both_are_kept():
    one, two = bands(), bands(seed=1)
    one.meta["preparation"], two.meta["preparation"] = ["first"], ["second"]
    record = merge(one, two, **EPOCHS).meta["preparation"]
    assert record[0] == "first"
    assert record[-1] == "of the other: second"
    assert one.meta["preparation"] == ["first"]


def test_a_real_field_with_itself(data):
    frame = pd.read_parquet(data / "gaia_fields" / "NGC2243.parquet")
    later = frame.copy()
    later["dec"] = later.dec + later.pmdec.fillna(0) * 10 / 3.6e6
    later["ra"] += later.pmra.fillna(0) * 10 / 3.6e6 / np.cos(np.radians(frame.dec))
    got = merge(frame, later, epoch=2016.0, other_epoch=2026.0)
    assert f"{len(frame)} of {len(frame)} stars matched" in log(got)
    for c in FIVE[2:]:
        assert_allclose(np.ma.filled(got[c], np.nan), frame[c], rtol=1e-5)
        error = np.ma.filled(got[f"{c}_error"], np.nan)
        assert_allclose(error, frame[f"{c}_error"] / 2**0.5, rtol=1e-5)
    for c in ("pmra_pmdec_corr", "parallax_pmra_corr"):
        assert_allclose(np.ma.filled(got[c], np.nan), frame[c], atol=1e-5)
    # A position does not improve: its part of the new error stays, of half the variance.
    assert_allclose(
        np.ma.filled(got["ra_pmra_corr"], np.nan), frame["ra_pmra_corr"] / 2**0.5, atol=1e-5
    )


# Errors


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"epoch": 57388.0}, "epoch: expected Julian years such as 2016.0, found 57388"),
        ({"radius": 0.0}, "radius: expected more than 0"),
        ({"quantities": ["K"]}, r"quantities: found \['K'\], expected some of G, BP"),
        ({"quantities": ["H"]}, "other: columns are missing.*\n.*H: looked for h_m"),
        ({"offset": {"pmra": 1.0}}, r"offset: found \['pmra'\], expected some of J, Ks"),
        ({"other": bands()["ra", "dec"]}, "quantities: other has none of G, BP"),
        ({"other": bands()["ra", "j_m", "j_msigcom"]}, "other: columns are missing.*\n.*dec: look"),
        ({"table": bands()["ra", "dec", "j_m"]}, "table: columns are missing.*\n.*error of J"),
    ],
)
def test_impossible_arguments_are_named(change, match):
    with pytest.raises(ValueError, match=match):
        merge(**{"table": bands(), "other": bands(seed=1), **EPOCHS, **change})


def test_impossible_noise_is_named():
    bad = bands(seed=1)
    bad["j_msigcom"][:2] = 0.0
    with pytest.raises(ValueError, match="other: j_msigcom: 2 of 30 errors are not positive"):
        merge(bands(), bad, **EPOCHS)
    bad = astrometry()
    bad["pmra_pmdec_corr"][:3] = 1.2
    with pytest.raises(ValueError, match="table: correlations of parallax, pmra, pmdec of 3 stars"):
        merge(bad, astrometry(seed=1), **EPOCHS)
