import subprocess
import sys
from itertools import pairwise

import astropy.units as u
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.tables import corrected_excess, read_table, source_ids
from jaxcluster.density.stars import Stars

BANDS = ("G", "BP", "RP", "J", "H", "Ks")
FIVE = ("ra", "dec", "parallax", "pmra", "pmdec")


def gaia(n=40, seed=0) -> pd.DataFrame:
    """A table as the Gaia archive gives it, with 19-digit ids, errors and all correlations."""
    rng = np.random.default_rng(seed)
    table = {"source_id": 4_611_686_018_427_387_903 + np.arange(n)}
    for name, centre in zip(FIVE, (132.8, 11.8, 1.15, -10.97, -2.91), strict=True):
        table[name] = rng.normal(centre, 0.1, n)
        table[f"{name}_error"] = rng.uniform(0.01, 0.1, n)
    for i, a in enumerate(FIVE):
        for b in FIVE[i + 1 :]:
            table[f"{a}_{b}_corr"] = rng.uniform(-0.2, 0.2, n)
    table["phot_g_mean_mag"] = rng.uniform(10, 18, n)
    table["bp_rp"] = rng.uniform(0.4, 2.0, n)
    table["phot_bp_mean_mag"] = table["phot_g_mean_mag"] + 0.4 * table["bp_rp"]
    table["phot_rp_mean_mag"] = table["phot_bp_mean_mag"] - table["bp_rp"]
    for band in ("g", "bp", "rp"):
        table[f"phot_{band}_mean_mag_error"] = rng.uniform(0.003, 0.05, n)
    table["j_m"] = table["phot_rp_mean_mag"] - rng.uniform(0.3, 1.0, n)
    table["h_m"] = table["j_m"] - rng.uniform(0.1, 0.7, n)
    table["ks_m"] = table["h_m"] - rng.uniform(0.0, 0.3, n)
    for band in ("j", "h", "ks"):
        table[f"{band}_msigcom"] = rng.uniform(0.02, 0.05, n)
    table["ruwe"] = rng.uniform(0.8, 2.0, n)
    table["phot_bp_rp_excess_factor"] = rng.uniform(1.15, 1.35, n)
    return pd.DataFrame(table)


def same(a: Stars, b: Stars, rtol=1e-12):
    assert_allclose(a.x, b.x, rtol=rtol)
    assert_allclose(a.noise, b.noise, rtol=rtol)
    assert_array_equal(a.rows, b.rows)


# The container


def stars(n=5, d=2) -> Stars:
    noise = jnp.tile(jnp.eye(d), (n, 1, 1))
    return Stars(jnp.arange(n * d, dtype=float).reshape(n, d), noise, ("G", "BP-RP", "J")[:d])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.x, r"x: expected shape \(n, d\), found \(5,\)"),
        (lambda s: s.noise, r"noise: expected shape \(5, 2, 2\), found \(5, 2\)"),
        (lambda s: s.columns, r"columns: expected 2 names, found \('G',\)"),
    ],
)
def test_wrong_shapes_are_named(change, match):
    if isinstance(change(stars()), tuple):
        bad = eqx.tree_at(lambda s: s.x, stars(), stars().x)
        object.__setattr__(bad, "columns", ("G",))
    else:
        bad = eqx.tree_at(change, stars(), change(stars())[:, 0])
    with pytest.raises(ValueError, match=match):
        bad.__check_init__()


def test_a_user_without_type_checks_gets_the_value_error():
    code = (
        "import numpy as np; from jaxcluster.density.stars import Stars\n"
        "try: Stars(np.zeros((3, 2)), np.zeros((3, 2)), ('G', 'BP-RP'))\n"
        "except ValueError as e: print(e)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "noise: expected shape (3, 2, 2), found (3, 2)"


def test_subsets():
    s = Stars(stars().x, stars().noise, ("G", "BP-RP"), np.arange(5) + 10, (("missing G", 3),))
    assert (len(s), s.n_dropped) == (5, 3)
    for index in (np.array([0, 3]), jnp.array([True, False, False, True, False]), [0, 3]):
        assert_array_equal(s[index].rows, [10, 13])
        assert_array_equal(s[index].x, s.x[jnp.array([0, 3])])
    assert s[1:].noise.shape == (4, 2, 2)
    assert s[2].x.shape == (1, 2)
    with pytest.raises(IndexError):
        s[[5]]


def test_is_a_pytree():
    s = stars()
    assert_array_equal(jax.jit(lambda s: s)(s).x, s.x)
    total = jax.vmap(lambda star: star.x.sum() + jnp.trace(star.noise))(s)
    assert_array_equal(total, s.x.sum(1) + 2)
    built = jax.jit(lambda x: Stars(x, s.noise, s.columns).x * 2)(s.x)
    assert_array_equal(built, 2 * s.x)
    assert jax.tree.map(lambda leaf: object(), s).columns == s.columns


# Files, names and units


@pytest.mark.parametrize("suffix", ["vot", "xml", "fits", "ecsv", "csv", "parquet", "csv.gz"])
def test_file_formats_agree(tmp_path, suffix):
    frame = gaia()
    path = tmp_path / f"stars.{suffix}"
    form = {"vot": "votable", "xml": "votable", "ecsv": "ascii.ecsv"}.get(suffix)
    if suffix == "parquet":
        frame.to_parquet(path)
    elif "csv" in suffix and suffix != "ecsv":
        frame.to_csv(path, index=False)
    else:
        Table.from_pandas(frame).write(path, format=form)
    columns = ("G", "BP-RP", "pmra", "pmdec")
    same(from_table(path, columns), from_table(frame, columns))
    ids = source_ids(str(path))
    assert ids.dtype == np.int64
    assert_array_equal(ids, frame.source_id)


def test_csv_with_a_missing_id_keeps_all_digits(tmp_path):
    frame = gaia(3).astype({"source_id": "Int64"})
    frame.loc[1, "source_id"] = pd.NA
    frame.to_csv(tmp_path / "a.csv", index=False, na_rep="null")
    expected = [4_611_686_018_427_387_903, 0, 4_611_686_018_427_387_905]
    assert_array_equal(source_ids(tmp_path / "a.csv"), expected)
    names = source_ids(Table({"Source": ["a", "b"]}))
    assert type(names) is np.ndarray
    assert names.tolist() == ["a", "b"]
    assert source_ids(frame[["ra"]]) is None
    assert len(from_table(tmp_path / "a.csv")) == 3
    with pytest.raises(ValueError, match="source_id: found float64, which rounds ids"):
        source_ids(frame.astype({"source_id": "float64"}))


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv: no such file"):
        from_table(tmp_path / "nothing.csv")
    (tmp_path / "a.txt").write_text("G\n12\n")
    with pytest.raises(ValueError, match=r"unknown suffix '.txt', expected one of .*\.ecsv, \.csv"):
        from_table(tmp_path / "a.txt")
    (tmp_path / "a.fits").write_text("not FITS")
    with pytest.raises(ValueError, match=r"a\.fits: cannot be read as fits"):
        from_table(tmp_path / "a.fits")
    with pytest.raises(ValueError, match="no rows"):
        from_table(gaia().iloc[:0])
    with pytest.raises(ValueError, match="found int"):
        read_table(3)


VIZIER = {
    "source_id": "Source", "ra": "RA_ICRS", "dec": "DE_ICRS", "parallax": "Plx", "pmra": "pmRA",
    "pmdec": "pmDE", "ruwe": "RUWE", "phot_g_mean_mag": "Gmag", "phot_bp_mean_mag": "BPmag",
    "phot_rp_mean_mag": "RPmag", "bp_rp": "BP-RP", "phot_bp_rp_excess_factor": "E(BP/RP)",
    "j_m": "Jmag", "h_m": "Hmag", "ks_m": "Kmag",
}  # fmt: skip


def vizier(frame: pd.DataFrame) -> pd.DataFrame:
    short = {"ra": "RA", "dec": "DE", "parallax": "Plx", "pmra": "pmRA", "pmdec": "pmDE"}
    names = {f"{k}_error": f"e_{v}" for k, v in VIZIER.items()}
    names |= {f"{k}sigcom": f"e_{v}" for k, v in VIZIER.items()}
    names |= {f"{a}_{b}_corr": f"{short[a]}{short[b]}cor" for a in FIVE for b in FIVE}
    return frame.rename(columns=VIZIER | names)


MIXED = ("BP-RP", "G", "Ks", "J-Ks", "pmdec", "ra", "parallax")


@pytest.mark.parametrize("case", [str, str.lower, str.upper])
@pytest.mark.parametrize("catalogue", [lambda f: f, vizier], ids=["archive", "vizier"])
def test_names_of_catalogues_in_any_case(catalogue, case):
    table = catalogue(gaia()).rename(columns=case)
    options = {"max_ruwe": 1.6, "max_excess": 20.0}
    same(from_table(table, MIXED, **options), from_table(gaia(), MIXED, **options))


def test_gmag_beside_sdss_gmag():
    table = vizier(gaia()).assign(gmag=99.0)
    same(from_table(table), from_table(gaia()))
    with pytest.raises(ValueError, match=r"\['gmag', 'GMAG'\] all read as Gmag"):
        from_table(table.rename(columns={"Gmag": "GMAG"}).sort_index(axis=1, ascending=False))


def test_units_are_converted():
    frame = gaia()
    columns = ("ra", "pmra", "parallax", "G", "J-Ks")
    table = QTable.from_pandas(frame)
    table["pmra"] = (frame.pmra.to_numpy() * u.mas / u.yr).to(u.arcsec / u.yr)
    table["pmra_error"] = (frame.pmra_error.to_numpy() * u.mas / u.yr).to(u.deg / u.Myr)
    table["parallax"] = (frame.parallax.to_numpy() * u.mas).to(u.arcsec)
    table["ra"] = (frame.ra.to_numpy() * u.deg).to(u.rad)
    table["ra_error"] = (frame.ra_error.to_numpy() * u.mas).to(u.deg)
    table["phot_g_mean_mag"] = frame.phot_g_mean_mag.to_numpy() * u.mag
    same(from_table(table, columns), from_table(frame, columns))


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("parallax", u.deg / u.yr, "mas"),
        ("parallax_error", u.km, "mas"),
        ("phot_g_mean_mag", u.Jy, "mag"),
        ("bp_rp", u.K, "mag"),
        ("pmra", u.mas, "mas / yr"),
        ("pmra", u.Unit("furlongs", parse_strict="silent"), "mas / yr"),
    ],
)
def test_wrong_units_are_named(name, unit, expected):
    table = Table.from_pandas(gaia())
    table[name].unit = unit
    with pytest.raises(ValueError, match=f"^{name}: found unit {unit}, expected {expected} or"):
        from_table(table, ("G", "BP-RP", "pmra", "parallax"))


# Noise


def test_closed_form_photometric_covariances():
    frame = gaia()
    g, bp, rp, j, ks = (
        frame[c].to_numpy() ** 2
        for c in (
            *(f"phot_{b}_mean_mag_error" for b in ("g", "bp", "rp")),
            "j_msigcom",
            "ks_msigcom",
        )
    )
    for columns, first, shared, second in (
        (("G", "BP-RP"), g, 0 * g, bp + rp),
        (("Ks", "J-Ks"), ks, -ks, j + ks),
        (("G-RP", "G"), g + rp, g, g),
        (("BP-RP", "G-RP"), bp + rp, rp, g + rp),
        (("J-Ks", "Ks-BP"), j + ks, -ks, ks + bp),
    ):
        noise = from_table(frame, columns).noise
        expected = np.array([[first, shared], [shared, second]]).transpose(2, 0, 1)
        assert_allclose(noise, expected, rtol=1e-12, err_msg=str(columns))


def test_covariance_is_that_of_repeated_measurements():
    # Draw the bands anew 20 000 times and read the columns each time: no formula for S is used.
    rng = np.random.default_rng(3)
    frame = gaia(1).drop(columns="source_id")
    drawn = pd.concat([frame] * 20_000, ignore_index=True).drop(columns="bp_rp")
    for name in [c for c in frame if c.endswith("_mag") or c.endswith("_m")]:
        error = f"{name}sigcom" if name.endswith("_m") else f"{name}_error"
        drawn[name] += rng.normal(0, frame[error][0], len(drawn))
    columns = ("Ks", "G-RP", "J-Ks", "G", "BP-RP")
    many = from_table(drawn, columns)
    S, scatter = np.asarray(many.noise[0]), np.cov(np.asarray(many.x).T)
    sigma = np.sqrt(np.diag(S))
    assert_allclose(scatter / np.outer(sigma, sigma), S / np.outer(sigma, sigma), atol=0.04)  # 4 σ


@given(
    order=st.permutations(BANDS),
    chain=st.lists(st.booleans(), min_size=5, max_size=5),
    size=st.integers(1, 6),
    errors=st.lists(st.floats(1e-3, 0.5), min_size=6, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_photometric_noise_is_symmetric_positive_definite(order, chain, size, errors):
    names = [*(f"phot_{b}_mean_mag" for b in ("g", "bp", "rp")), "j_m", "h_m", "ks_m"]
    frame = pd.DataFrame({n: [12.0] for n in names} | {
        f"{n}_error": [e] for n, e in zip(names, errors, strict=True)
    })  # fmt: skip
    links = zip(pairwise(order), chain, strict=True)
    columns = [order[0]] + [f"{a}-{b}" if colour else b for (a, b), colour in links]
    noise = np.asarray(from_table(frame, columns[:size]).noise)[0]
    assert_array_equal(noise, noise.T)
    scale = np.sqrt(np.diag(noise))
    assert np.linalg.eigvalsh(noise / np.outer(scale, scale))[0] > 0


def test_astrometric_covariance_in_any_order():
    frame = gaia()
    columns = ("pmdec", "ra", "parallax", "dec", "pmra")
    noise = np.asarray(from_table(frame, columns).noise)
    star = frame.iloc[7]
    to_deg = {"ra": 1 / 3.6e6 / np.cos(np.radians(star.dec)), "dec": 1 / 3.6e6}
    for i, a in enumerate(columns):
        for j, b in enumerate(columns):
            corr = 1.0 if a == b else star.get(f"{a}_{b}_corr", star.get(f"{b}_{a}_corr"))
            expected = corr * star[f"{a}_error"] * star[f"{b}_error"]
            expected *= to_deg.get(a, 1.0) * to_deg.get(b, 1.0)
            assert_allclose(noise[7, i, j], expected, rtol=1e-9)
    without = frame.drop(columns="pmra_pmdec_corr")
    assert_array_equal(from_table(without, columns).noise[:, 0, 4], 0.0)
    mixed = np.asarray(from_table(frame, ("G", "pmra")).noise)
    assert_array_equal(mixed[:, 0, 1], 0.0)


def test_errors_from_fluxes():
    ratio = np.geomspace(20, 5000, 40)
    bare = gaia().drop(columns=[f"phot_{b}_mean_mag_error" for b in ("g", "bp", "rp")])
    fluxes, over = bare.copy(), bare.copy()
    for b in ("g", "bp", "rp"):
        over[f"phot_{b}_mean_flux_over_error"] = ratio
        fluxes[f"phot_{b}_mean_flux"], fluxes[f"phot_{b}_mean_flux_error"] = 1e4, 1e4 / ratio
    noise = np.asarray(from_table(over).noise)
    # Half the change of the magnitude between one sigma down and up, to second order in 1/ratio.
    step = 1.25 * (np.log10(1 + 1 / ratio) - np.log10(1 - 1 / ratio))
    assert_allclose(np.sqrt(noise[:, 0, 0]), step, rtol=1e-3)
    assert_allclose(noise[:, 1, 1], 2 * noise[:, 0, 0], rtol=1e-12)
    same(from_table(fluxes), from_table(over))
    names = {f"phot_{b}_mean_flux_over_error": f"RF{b.upper()}" for b in ("g", "bp", "rp")}
    same(from_table(over.rename(columns=names)), from_table(over))


def test_a_colour_without_bands_uses_its_own_error():
    frame = gaia()[["phot_g_mean_mag", "phot_g_mean_mag_error", "bp_rp"]].assign(bp_rp_error=0.02)
    noise = from_table(frame).noise
    assert_allclose(noise[:, 1, 1], 0.02**2)
    assert_array_equal(noise[:, 0, 1], 0.0)
    # Beside errors of both bands it is not used: only they tell what the columns share.
    same(from_table(gaia().assign(bp_rp_error=0.7)), from_table(gaia()))


def test_colour_from_its_bands_and_floor():
    same(from_table(gaia().drop(columns="bp_rp")), from_table(gaia()), rtol=1e-9)
    plain, floored = (np.asarray(from_table(gaia(), colour_error_floor=f).noise) for f in (0, 0.04))
    assert_array_equal(floored[:, 0], plain[:, 0])
    assert_array_equal(floored[:, 1, 1], np.maximum(plain[:, 1, 1], 0.04**2))
    assert 0 < np.sum(floored[:, 1, 1] > plain[:, 1, 1]) < 40


def test_a_band_from_another_column():
    frame = gaia().assign(better=lambda f: f.phot_g_mean_mag + 0.01)
    s = from_table(frame, ("BP-RP", "G"), names={"G": "better"})
    assert_allclose(s.x[:, 1], frame.better)
    assert_allclose(s.noise[:, 1, 1], frame.phot_g_mean_mag_error**2)
    s = from_table(frame.assign(better_error=0.02), names={"G": "better"})
    assert_allclose(s.noise[:, 0, 0], 0.02**2)
    with pytest.raises(ValueError, match="column of G: looked for bettr; the table has better"):
        from_table(frame, names={"G": "bettr"})
    with pytest.raises(ValueError, match="names: J is none of the bands of columns, G, BP-RP"):
        from_table(frame, names={"J": "better"})


def panstarrs(n=30):
    """As VizieR has it; gmag beside Gaia's Gmag."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"gmag": rng.uniform(14, 20, n), "Gmag": rng.uniform(14, 20, n)})
    frame["imag"] = frame.gmag - rng.uniform(0.2, 2.0, n)
    for band, error in (("g", 0.01), ("i", 0.02)):
        frame[f"e_{band}mag"] = error * rng.uniform(1, 2, n)
    return frame


def test_bands_of_any_photometric_system():
    frame = panstarrs()
    names = {"PS_g": "gmag", "PS_i": "imag"}
    s = from_table(frame, ("PS_i", "PS_g-PS_i"), names=names)
    assert_allclose(s.x[:, 0], frame.imag)
    assert_allclose(s.x[:, 1], frame.gmag - frame.imag)
    assert_allclose(s.noise[:, 1, 1], frame.e_gmag**2 + frame.e_imag**2)
    assert_allclose(s.noise[:, 0, 1], -(frame.e_imag**2))
    renamed = frame.rename(columns={"gmag": "PS_g", "imag": "PS_i", "e_gmag": "e_PS_g"})
    renamed = renamed.rename(columns={"e_imag": "PS_i_error"})
    same(from_table(renamed, ("PS_i", "PS_g-PS_i")), s)
    with pytest.raises(ValueError, match="PS_g-PS_y: looked for PS_g-PS_y, gmag, PS_g, PS_y; "):
        from_table(frame, ("PS_i", "PS_g-PS_y"), names=names)
    with pytest.raises(ValueError, match="imag: 30 of 30 values cannot be magnitudes"):
        from_table(frame.assign(imag=99.0), ("PS_i", "PS_g-PS_i"), names=names)
    for impossible in ("PS_g-ra", "PS_g-", "-PS_g", "PS_g-PS_i-PS_z", ""):
        with pytest.raises(ValueError, match="is no band as G, no colour as BP-RP"):
            from_table(frame, ("PS_i", impossible), names=names)


# Cuts


def test_missing_values_are_dropped_and_counted():
    frame = gaia()
    frame.loc[[3, 4], "bp_rp"] = np.nan
    frame.loc[[4, 5, 6], "phot_g_mean_mag"] = np.nan
    frame.loc[7, "phot_rp_mean_mag_error"] = np.nan
    expected = (("missing G", 3), ("missing BP-RP", 1), ("missing error of RP", 1))
    table = Table.from_pandas(frame)
    table["phot_g_mean_mag"] = MaskedColumn(
        frame.phot_g_mean_mag.fillna(0.0), mask=frame.phot_g_mean_mag.isna()
    )
    for source in (frame, table):
        s = from_table(source)
        assert s.dropped == expected
        assert s.n_dropped + len(s) == 40
        assert_array_equal(s.rows, np.delete(np.arange(40), [3, 4, 5, 6, 7]))
        assert bool(jnp.isfinite(s.x).all() & jnp.isfinite(s.noise).all())
    frame.loc[:9, ["parallax", "pmra_pmdec_corr"]] = [np.nan, np.nan]
    assert from_table(frame, ("pmra", "parallax")).dropped == (("missing parallax", 10),)
    assert from_table(frame, ("pmra", "pmdec")).dropped == (("missing correlation", 10),)


def test_limits_and_ruwe():
    frame = gaia()
    frame.loc[0, "ruwe"] = np.nan
    lo, hi = frame.phot_g_mean_mag.sort_values().iloc[[5, 30]]
    s = from_table(frame, ("BP-RP", "G"), limits=(lo, hi), max_ruwe=1.4)
    inside = frame.phot_g_mean_mag.between(lo, hi) & (frame.ruwe <= 1.4)
    assert_array_equal(s.rows, np.flatnonzero(inside))
    bad_ruwe = int((~(frame.ruwe <= 1.4)).sum())
    assert s.dropped == (
        ("ruwe > 1.4 or missing", bad_ruwe),
        (f"outside G limits [{lo:g}, {hi:g}]", 40 - len(s) - bad_ruwe),
    )
    assert from_table(frame, limits=(0, 30)).dropped == (("outside G limits [0, 30]", 0),)


def test_corrected_excess():
    # The three pieces of Riello et al.'s Table 2 meet at 0.5 and 4.0: a wrong digit would not.
    for edge in (0.5, 4.0):
        left, right = corrected_excess(np.zeros(2), np.array([edge - 1e-9, edge]))
        assert abs(left - right) < 1e-4
    by_hand = 1.3 - (1.162004 + 0.011464 + 0.049255 - 0.005879)
    assert_allclose(corrected_excess(np.array([1.3]), np.array([1.0])), by_hand, rtol=1e-12)


def test_excess_cut():
    frame = gaia(2)
    frame["bp_rp"], frame["phot_g_mean_mag"] = 1.0, 15.0
    sigma = 0.0059898 + 8.817481e-12 * 15.0**7.618399
    frame["phot_bp_rp_excess_factor"] = 1.216844 + np.array([2.9, -3.1]) * sigma
    s = from_table(frame, ("Ks",), max_excess=3)
    assert_array_equal(s.rows, [0])
    assert s.dropped == (("|C*| > 3 sigma or missing", 1),)


# Mistakes


def test_missing_columns_are_all_named():
    frame = gaia().drop(columns=["pmra", "h_m"]).rename(columns={"parallax_error": "paralax_error"})
    with pytest.raises(ValueError, match="columns are missing") as caught:
        from_table(frame, ("H", "pmra", "parallax"))
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["H", "pmra", "error of parallax"]
    assert "looked for h_m, Hmag, 2MASS_H" in lines[0]
    assert "the table has paralax_error" in lines[2]


@pytest.mark.parametrize(
    ("change", "columns", "options", "match"),
    [
        ({"phot_g_mean_mag_error": 0.0}, ("G",), {}, "phot_g_mean_mag_error: 40 of 40 .* mask"),
        ({"pmra_error": -1.0}, ("pmra",), {}, "pmra_error: 40 of 40 stars have an error"),
        ({"j_msigcom": np.inf}, ("J-H",), {}, "j_msigcom: 40 of 40"),
        ({"source_id": 7}, ("G",), {}, "source_id: 1 appear more than once .first 7.*drop_dup"),
        ({"source_id": "Gaia DR9 7"}, ("G",), {}, "first Gaia DR9 7"),
        ({"phot_g_mean_mag": 1e5}, ("G",), {}, "phot_g_mean_mag: 40 of 40 values cannot be magn"),
        ({"bp_rp": -999.0}, ("BP-RP",), {}, "bp_rp: 40 of 40 .*found -999.*mask fillers"),
        ({"pmra": "1:2"}, ("pmra",), {}, "pmra: expected numbers"),
        ({"pmra_pmdec_corr": 1.5}, ("pmra", "pmdec"), {}, "correlations: 40 of 40 stars"),
        ({}, ("G", "ks"), {}, "ks: looked for ks; the table has nothing near; is Ks meant?"),
        ({}, ("G", "G-V"), {}, "G-V: looked for G-V, phot_g_mean_mag, Gmag, V; the table has"),
        ({}, ("G", "G-pmra"), {}, "'G-pmra' is no band as G, no colour as BP-RP, nor one of ra"),
        ({}, ("G", "G"), {}, "one follows from the others"),
        ({}, ("G", "BP", "G-BP"), {}, "one follows from the others"),
        ({}, ("G-G",), {}, "one follows from the others"),
        ({}, (), {}, "are none"),
        ({}, ("pmra",), {"limits": (8, 18)}, "need a band in columns, found"),
        ({}, ("G",), {"limits": (18, 8)}, r"limits: expected .*found \(18, 8\)"),
        (
            {},
            ("G",),
            {"colour_error_floor": -1},
            "colour_error_floor: .* 0 to 1 mag, found -1",
        ),
        ({}, ("G",), {"colour_error_floor": 100}, "expected 0 to 1 mag, found 100"),
        (
            {},
            ("G",),
            {"limits": (1, 2), "max_ruwe": 1.9},
            r"left of 40.*\n +\d+  ruwe.*\n +\d+  out",
        ),
    ],
)
def test_mistakes_are_told(change, columns, options, match):
    with pytest.raises(ValueError, match=match):
        from_table(gaia().assign(**change), columns, **options)


def test_only_duplicates_that_are_kept_count():
    twice = pd.concat([gaia(), gaia().iloc[[5]]], ignore_index=True)
    with pytest.raises(ValueError, match=r"1 appear more .*first 4611686018427387908\)"):
        from_table(twice)
    twice.loc[40, "bp_rp"] = np.nan
    assert len(from_table(twice)) == 40


# Real catalogues


@pytest.mark.filterwarnings("default:rows.*without a source_id:UserWarning")  # of the 1319
@pytest.mark.parametrize(
    ("file", "columns", "n"),
    [
        ("gaia_fields/M36", ("G", "BP-RP"), None),
        ("gaia_fields/Berkeley_31", ("BP-RP", "G-RP"), None),
        ("gaia_fields/NGC2158", FIVE, None),
        ("gaia_fields_deep/Berkeley_26", ("G", "BP-RP", "pmra", "pmdec", "parallax"), None),
        ("ngc2682/cluster", ("G", "BP-RP"), 1228),
        ("ngc2682/field", ("G", "BP-RP"), 4857),
        ("ngc2682/dr3_cone_30arcmin", ("G", "BP-RP"), 6095),
        ("ngc2682/dr2_2mass_rv", ("Ks", "J-Ks"), 1547),
        ("ngc2323/edr3_cone_42arcmin", ("pmra", "pmdec", "parallax"), 16368),
        ("null_fields/dr3_ra45_dec0_30arcmin", ("G", "BP-RP"), 2356),
        ("radial_velocity/ngc6791", ("radial_velocity", "pmra", "pmdec"), 551),
        ("members_1319_clusters/members", ("pmra", "pmdec", "parallax"), 286093),
    ],
)
def test_real_catalogues(data, file, columns, n):
    path = data / f"{file}.parquet"
    s = from_table(path, columns)
    assert len(s) + s.n_dropped == len(pd.read_parquet(path, columns=[]))
    assert n is None or len(s) == n
    noise = np.asarray(s.noise)
    assert np.isfinite(noise).all()
    assert np.isfinite(s.x).all()
    scale = np.sqrt(noise.diagonal(axis1=1, axis2=2))
    corr = noise / scale[:, :, None] / scale[:, None, :]
    assert np.linalg.eigvalsh(corr)[:, 0].min() > 0


def test_real_values_are_those_of_the_file(data):
    frame = pd.read_parquet(data / "ngc2682/cluster.parquet")
    s = from_table(frame, names={"G": "correct_phot_g_mean_mag"})
    assert_allclose(s.x[:, 0], frame.correct_phot_g_mean_mag, rtol=1e-6)
    assert_allclose(s.x[:, 1], frame.bp_rp, rtol=1e-6)
    bands = np.hypot(frame.phot_bp_mean_mag_error, frame.phot_rp_mean_mag_error)
    assert_allclose(np.sqrt(s.noise[:, 1, 1]), bands, rtol=1e-5)
    assert_array_equal(source_ids(frame)[s.rows], frame.source_id)


def test_real_excess_factors_scatter_as_published(data):
    frame = pd.read_parquet(data / "ngc2682/cluster.parquet").query("phot_g_mean_mag < 17")
    excess = corrected_excess(frame.phot_bp_rp_excess_factor.to_numpy(), frame.bp_rp.to_numpy())
    assert abs(np.median(excess)) < 0.01
    assert len(from_table(frame, max_excess=5)) > 0.95 * len(frame)


def test_incomplete_rows_are_kept_where_they_are_wanted():
    table = Table(
        {
            "pmra": [1.0, 2.0, np.nan, 4.0],
            "pmra_error": [0.1, 0.2, 0.3, np.nan],
            "phot_g_mean_mag": [15.0, 16.0, 17.0, np.nan],
            "phot_g_mean_mag_error": [0.01, np.nan, 0.03, 0.04],
            "phot_bp_mean_mag": [15.5, 16.5, 17.5, 18.5],
            "phot_bp_mean_mag_error": [0.02, 0.02, 0.02, 0.02],
        }
    )
    columns = ("pmra", "BP", "BP-G")
    stars = from_table(table, columns, keep_incomplete=True)
    assert list(stars.rows) == [0, 1, 2, 3]
    # the colour needs the error of G too, BP does not
    known = [[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0]]
    np.testing.assert_array_equal(np.isfinite(stars.x), np.array(known, bool))
    np.testing.assert_allclose(stars.noise[0], from_table(table, columns).noise[0])
    assert float(stars.noise[2, 1, 2]) == pytest.approx(0.02**2)
    nothing = from_table(table, ("pmra",), keep_incomplete=True)
    assert dict(nothing.dropped) == {"missing all columns": 2}
