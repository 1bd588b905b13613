"""Published files against an independent parse (pandas); traps and messages on small files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxcluster.population.bolometric import extinction_polynomial
from jaxcluster.population.extinction import extinction_law
from jaxcluster.population.files import read_isochrones
from jaxcluster.population.parsers import parse

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "isochrone_files"
# file: (columns of [M/H], age, initial mass, first band; bands)
PARSEC = {
    "parsec_cmd3.3_gaiaDR1.dat": (11, ("G_DR1", "BP_DR1", "RP_DR1")),
    "parsec_cmd3.4_gaiaDR2_2mass.dat": (
        28,
        ("G_DR2", "BP_DR2", "RP_DR2", "B_T", "V_T", "J", "H", "Ks"),
    ),
    "parsec_cmd3.7_gaiaEDR3.dat": (28, ("G", "BP", "RP")),
}
MIST, BASTI = "mist_v1.2_panstarrs.iso.cmd", "basti_300Myr_gaiaDR3.isc"
PAN_STARRS = tuple(f"PS_{b}" for b in ("g", "r", "i", "z", "y", "w", "open"))
FILES = [*PARSEC, MIST, BASTI]


def published(name: str) -> Path:
    if not (FOLDER / name).exists():
        pytest.skip(f"{FOLDER / name} is absent")
    return FOLDER / name


def independent(name: str) -> tuple[dict[tuple[float, float], np.ndarray], tuple[str, ...]]:
    """([M/H], log age) -> initial mass and magnitudes [r, 1 + b] to the end of the early AGB."""
    table = pd.read_csv(published(name), sep=r"\s+", comment="#", header=None, dtype=str)
    table = table[table[0] != "Zini"].astype(float)
    if name in PARSEC:
        first, bands = PARSEC[name]
        columns = [3, *range(first, first + len(bands))]
        nodes = table[table[9] < 8].groupby([1, 2])
        return {node: rows[columns].to_numpy() for node, rows in nodes}, bands
    if name == MIST:
        table = table[table[0] <= 808]
        node = (table[7].iloc[0], round(np.log10(table[1].iloc[0]), 5))
        return {node: table[[2, *range(9, 16)]].to_numpy()}, PAN_STARRS
    return {(-0.08, 8.47712): table[[0, 4, 5, 6, 7]].to_numpy()}, ("G", "BP", "RP", "G_RVS")


def distance(points: np.ndarray, polyline: np.ndarray) -> np.ndarray:
    """Nearest distance of points [n, d] to the segments of a polyline [r, d]."""
    a, d = polyline[:-1], np.diff(polyline, axis=0)
    to_start = points[:, None] - a
    t = np.clip((to_start * d).sum(-1) / np.maximum((d**2).sum(-1), 1e-300), 0, 1)
    return np.linalg.norm(to_start - t[..., None] * d, axis=-1).min(axis=1)


def at_node(grid, metallicity: float, log_age: float) -> np.ndarray:
    isochrone = grid.isochrone(log_age=log_age, metallicity=metallicity, a_v=0.0)
    return np.c_[np.asarray(isochrone.initial_mass), np.asarray(isochrone.magnitudes)]


@pytest.mark.parametrize("name", FILES)
def test_published_isochrones_come_back_at_their_nodes(name):
    nodes, bands = independent(name)
    grid = read_isochrones(published(name))
    assert grid.bands == bands
    assert grid.metallicity == tuple(sorted({m for m, _ in nodes}))
    assert grid.log_age == tuple(sorted({a for _, a in nodes}))
    assert len(grid.metallicity) * len(grid.log_age) == len(nodes)
    assert grid.name == name.removesuffix(".cmd").rpartition(".")[0]
    for (metallicity, log_age), rows in nodes.items():
        found = at_node(grid, metallicity, log_age)
        assert np.isfinite(found).all()
        assert (np.diff(found[:, 0]) >= 0).all()
        # In (solar masses, magnitudes): every published row is kept, and no point leaves the line.
        # magnitudes are kept as float32
        assert distance(rows, found).max() < 3e-6
        assert distance(found, rows).max() < 3e-6


@pytest.mark.parametrize("name", FILES)
def test_magnitudes_at_given_masses_where_masses_are_resolved(name):
    nodes, _ = independent(name)
    grid = read_isochrones(published(name))
    for (metallicity, log_age), rows in nodes.items():
        resolved = rows[: np.argmax(np.diff(rows[:, 0]) < 1e-3 * rows[:-1, 0])]
        found = at_node(grid, metallicity, log_age)
        mass = np.sqrt(resolved[1:, 0] * resolved[:-1, 0])
        for band in range(1, rows.shape[1]):
            np.testing.assert_allclose(
                np.interp(mass, found[:, 0], found[:, band]),
                np.interp(mass, resolved[:, 0], resolved[:, band]),
                atol=1e-3,
            )


def test_parsec_counts_and_dropped_rows():
    for name, count in zip(PARSEC, (9, 1, 20), strict=True):
        isochrones = parse(published(name))
        assert len(isochrones) == count
        for isochrone in isochrones:
            assert isochrone.eep.max() <= 7
            assert (np.diff(isochrone.eep) >= 0).all()
            assert all(values.max() < 25 for values in isochrone.magnitudes.values())


def test_left_out_node_is_restored_at_fixed_eep(tmp_path):
    """Ages 8.80 and 8.90 restore 8.85: mean distance in (G, BP - RP) 0.001 mag."""
    name = "parsec_cmd3.7_gaiaEDR3.dat"
    lines = published(name).read_text().splitlines(keepends=True)
    kept = tmp_path / "kept.dat"
    kept.write_text("".join(line for line in lines if "8.85000" not in line.split()[2:3]))
    grid = read_isochrones(kept)
    assert grid.log_age == (8.8, 8.9, 8.95)
    for (metallicity, log_age), rows in independent(name)[0].items():
        if log_age == 8.85:
            found = at_node(grid, metallicity, log_age)
            assert (np.diff(found[:, 0]) >= 0).all()
            plane = [np.c_[t[:, 1], t[:, 2] - t[:, 3]] for t in (found, rows)]
            assert distance(*plane).mean() < 0.002
            assert distance(*plane).max() < 0.06


def test_several_files_make_the_same_grid_as_one(tmp_path):
    name = "parsec_cmd3.7_gaiaEDR3.dat"
    lines = published(name).read_text().splitlines(keepends=True)
    header = [line for line in lines if line.startswith("Zini")]
    paths = []
    for z in ("0.028", "0.022", "0.024", "0.026", "0.02"):
        paths.append(tmp_path / f"z{z}")
        paths[-1].write_text("".join(header + [line for line in lines if line.split()[0] == z]))
    whole, parts = read_isochrones(published(name)), read_isochrones(paths, name="parts")
    assert parts.name == "parts"
    assert parts.metallicity == whole.metallicity
    np.testing.assert_array_equal(parts.magnitudes, whole.magnitudes)
    np.testing.assert_array_equal(parts.initial_mass, whole.initial_mass)


def test_basti_gravity_against_astropy():
    from astropy import constants as c
    from astropy import units as u

    rows = np.loadtxt(published(BASTI))
    radius2 = 10 ** rows[:, 2] * c.L_sun / (4 * np.pi * c.sigma_sb * (10 ** rows[:, 3] * u.K) ** 4)
    log_g = np.log10((c.G * rows[:, 1] * c.M_sun / radius2).to_value(u.cm / u.s**2))
    np.testing.assert_allclose(parse(published(BASTI))[0].log_g, log_g, atol=1e-3)


# ---------------------------------------------------------------------------------- extinction


def test_tabulated_extinction_is_that_of_each_star():
    path = published(BASTI)
    rows = parse(path)[0]
    coefficients = extinction_polynomial(
        rows.log_teff, rows.log_g, np.full(2100, -0.08), ("G", "BP", "RP")
    )
    expected = np.einsum("j,rjb->rb", 1.5 ** np.arange(1, 5), coefficients)
    grid = read_isochrones(path)
    clear, dim = (
        np.asarray(grid.isochrone(log_age=8.47712, metallicity=-0.08, a_v=a_v).magnitudes)
        for a_v in (0.0, 1.5)
    )
    np.testing.assert_allclose((dim - clear)[:, :3], expected, atol=1e-4)
    np.testing.assert_allclose((dim - clear)[:, 3], 1.5 * extinction_law(0.858), atol=1e-4)


def test_given_extinction_takes_precedence():
    grid = read_isochrones(published(MIST), extinction={"PS_g": 1.16})
    slopes = np.asarray(grid.isochrone(10.0, -1.35, 2.0).reddening)
    np.testing.assert_allclose(slopes[:, 0], 1.16, rtol=1e-6)
    # What CMD gives for the Sun with the same law, r to y
    np.testing.assert_allclose(slopes[0, 1:5], [0.86813, 0.67659, 0.51743, 0.43092], rtol=0.01)
    assert extinction_law(0.481) == pytest.approx(1.16529, rel=0.03)  # and g
    grid = read_isochrones(published(BASTI), extinction={"G": 0.8})
    np.testing.assert_allclose(np.asarray(grid.isochrone(8.5, 0.0, 3.0).reddening)[:, 0], 0.8)


# ------------------------------------------------------------------------------------ small files

JHK = "J", "H", "Ks"
CMD = "# Zini     MH   logAge Mini  logL logTe  logg  label\t mbolmag  Gmag G_BPftmag G_RPmag\n"


def cmd_rows(metallicity=0.0, log_age=8.0, labels=(0, 1, 1, 3), band=5.0) -> str:
    return "".join(
        f"0.0152 {metallicity} {log_age} {0.5 + 0.1 * i} 0 {3.7 + 0.01 * i} 4.5 {label} 4 "
        f"{band - i} {band - i + 0.5} {band - i - 0.5}\n"
        for i, label in enumerate(labels)
    )


def mist_text(av="0.000", alpha="0.00", bands="Gaia_G_DR2Rev Gaia_G_EDR3 2MASS_Ks D51") -> str:
    head = (
        "# MIST version number  = 1.2\n"
        "#  Yinit        Zinit   [Fe/H]   [a/Fe]  v/vcrit\n"
        f"# 0.2500  6.64289E-04    -0.50     {alpha}     0.40\n"
        f"# CCM89 extinction: Av =  {av}\n"
    )
    names = (
        "#  1 2 3 4\n# EEP log10_isochrone_age_yr initial_mass log_Teff log_g [Fe/H]_init [Fe/H] "
    )
    for age in ("9.0000000000000001E+000", "9.1000000000000002"):
        head += names + bands + " phase\n"
        for eep, phase in ((300, 0), (454, 0), (808, 4), (809, 5), (810, 6)):
            magnitudes = " ".join(str(b - eep / 100) for b in range(len(bands.split())))
            head += f"{eep} {age} {eep / 300} 3.7 4.5 -0.5 -0.49 {magnitudes} {phase}\n"
        head += "\n\n"
    return head


def test_phase_absent_at_a_node_is_filled_without_mass(tmp_path):
    path = tmp_path / "iso.dat"
    path.write_text(CMD + cmd_rows() + CMD + cmd_rows(log_age=8.5, labels=(1, 1, 2, 2, 3, 3, 8, 9)))
    grid = read_isochrones(path)
    assert grid.bands == ("G", "BP", "RP")
    young, old = (at_node(grid, 0.0, log_age) for log_age in (8.0, 8.5))
    # 1 row of phase 0, then 3, 3 and 3 points for 2 rows in phases 1, 2, 3
    np.testing.assert_allclose(young[:, 0], [0.5, 0.6, 0.65, 0.7, 0.7, 0.7, 0.8, 0.8, 0.8, 0.8])
    np.testing.assert_allclose(old[:, 0], [0.5, 0.5, 0.55, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 1.0])


def test_mist_with_several_gaia_releases_ages_and_alpha(tmp_path):
    path = tmp_path / "grid.iso.cmd"
    path.write_text(mist_text(alpha="0.40"))
    grid = read_isochrones(path, extinction={"D51": 1.1})
    assert grid.bands == ("G_DR2Rev", "G", "Ks", "D51")
    assert grid.log_age == (9.0, 9.1)
    # Salaris et al. 1993, their example [α/Fe] = 0.4: [M/H] - [Fe/H] = 0.29
    assert grid.metallicity[0] + 0.5 == pytest.approx(0.29, abs=0.01)
    found = at_node(grid, grid.metallicity[0], 9.1)
    assert len(found) == 808 - 300 + 1
    np.testing.assert_allclose(found[-1, 1:4], [-8.08, 1 - 8.08, 2 - 8.08])
    assert grid.name == "grid"


SYSTEMS = {  # header's photometric system, as CMD writes it, and the names of Y, J, H, Ks then
    "VISTA ZYJHKs (Vegamag)": ("Y", "J_VISTA", "H_VISTA", "Ks_VISTA"),
    "UBVRIJHK (cf. Maiz-Apellaniz 2006 + Bessell 1990)": ("Y", *(f"{b}_UBVRIJHK" for b in JHK)),
    "2MASS JHKs + VISTA Y": ("Y", *JHK),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_near_infrared_bands_are_those_that_the_header_names(system, tmp_path):
    path = tmp_path / "iso.dat"
    columns = CMD.replace("Gmag G_BPftmag G_RPmag", "Ymag Jmag Hmag Ksmag")
    rows = "".join(f"{row} 5.0\n" for row in cmd_rows().splitlines())
    path.write_text(f"# Photometric system: {system}\n{columns}{rows}")
    grid = read_isochrones(path)
    assert grid.bands == SYSTEMS[system]
    slopes = np.asarray(grid.isochrone(8.0, 0.0, 1.0).reddening)[0]
    np.testing.assert_allclose(slopes, extinction_law(np.array([1.02, 1.24, 1.65, 2.15])), rtol=0.1)
    if "Ks_VISTA" not in grid.bands:
        return
    path.write_text(mist_text(bands="VISTA_J VISTA_Ks"))
    assert read_isochrones(path).bands == ("J_VISTA", "Ks_VISTA")


BASTI_TEXT = (
    "# Isochrone from BaSTI-IAC database\n#  {comment}\n#===\n"
    "# M/Mo(ini) M/Mo(fin) log(L/Lo) logTe G\n#===\n 1 1 0 3.76 4.7\n 1.1 1.1 0.1 3.77 4.4\n"
)
NODE = "Np = 2 [M/H] = -0.080 Z = 0.01 Y = 0.26 Age (Myr) = 300.000"
MISUSE = {
    "unknown": (["mass,mag\n1,2\n"], "not a known isochrone file; it begins with 'mass"),
    "families": ([CMD + cmd_rows(), mist_text()], "different families .MIST, PARSEC."),
    "cmd extinction": (
        ["# Attention: photometry includes extinction of Av=0.5, with\n" + CMD + cmd_rows()],
        "include extinction, Av = 0.5; expected Av = 0",
    ),
    "mist extinction": ([mist_text(av="1.000")], "include extinction, Av = 1.000; expected Av = 0"),
    "no magnitudes": ([mist_text(bands="")], "no magnitudes.*iso.cmd file, not .iso"),
    "no label": ([(CMD + cmd_rows()).replace("label", "stage")], "no column label; found Zini"),
    "cut row": ([CMD + cmd_rows()[:-8] + "\n"], "damaged table .*download it again"),
    "names": ([CMD.replace("logL", "") + cmd_rows()], "12 columns of numbers, 11 names"),
    "no rows": ([CMD], "a header but no rows"),
    "nan": ([CMD + cmd_rows(band=np.nan)], "4 values of Gmag are not finite at .M/H. = 0"),
    "nan age": ([CMD + cmd_rows(0.0, np.nan)], "4 values of logAge are not finite; remove"),
    "twice": ([CMD + cmd_rows()] * 2, "two isochrones at .M/H. = 0, log age = 8"),
    "missing": (
        [CMD + cmd_rows(m, a) for m, a in ((0.0, 8.0), (0.1, 8.0), (0.1, 8.5))],
        r"1 of 2 × 2 nodes are missing, \(\[M/H\], log age\) = \(0, 8.5\)",
    ),
    "bands": (
        [CMD + cmd_rows(), CMD.replace("Gmag", "Vmag") + cmd_rows(0.1)],
        "bands V, BP, RP in one file, G, BP, RP in another",
    ),
    "no extinction": ([mist_text(bands="F999W")], "no extinction known for F999W.*'F999W': 0.8"),
    "basti comment": ([BASTI_TEXT.format(comment="Np = 2")], "no comment '.M/H. = ... Age"),
    "empty": ([], "empty list"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_told(case, tmp_path):
    texts, match = MISUSE[case]
    paths = [tmp_path / f"{i}.dat" for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    with pytest.raises(ValueError, match=match):
        read_isochrones(paths)


def test_extinction_of_a_band_that_is_not_there(tmp_path):
    path = tmp_path / "basti.isc"
    path.write_text(BASTI_TEXT.format(comment=NODE))
    assert read_isochrones(str(path)).log_age == (8.47712,)
    with pytest.raises(ValueError, match="extinction names V, but the bands are G"):
        read_isochrones(path, extinction={"V": 1.0})
