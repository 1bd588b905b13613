"""Build the embedded tables: `python -m jaxcluster.population.data.build_grids WHEELS`.

WHEELS is a folder with the two build-time packages, unpacked or not:

    pip download --no-deps --dest WHEELS lachesis-grids astrolachesis

Writes parsec.npz, mist.npz (initial mass, log Teff, log g, Mbol on ([M/H], log age, EEP) nodes) and
bolometric.npz (MIST bolometric corrections and extinctions) beside this file. Run again whenever
the sources change; the result is committed. Needs h5py. lachesis-grids 0.0.9 it was.
"""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
GRIDS = {"parsec": "parsec_v1.25.h5", "mist": "mist_v2.5_vvcrit0.4.h5"}
COLUMNS = ("initial_mass", "log_Teff", "log_g", "Mbol")
LONG_STEP = 0.04  # mag in M_bol between neighbouring EEPs, median over nodes
# PARSEC's giants, EEPs from the base to the tip of their branch, and of helium burning
BRANCH, HELIUM = (490, 605), (631, 707)
FLASH = 9.25  # log age from which on helium ignites in a flash in every isochrone
LAST_EEP = 808  # end of the early AGB; beyond are thermal pulses, post-AGB and white dwarfs
LOG_AGE = (6.2, 10.15)
METALLICITY = (-2.0, 0.5)
BANDS = {
    "G": "Gaia_G_EDR3",
    "BP": "Gaia_BP_EDR3",
    "RP": "Gaia_RP_EDR3",
    "J": "2MASS_J",
    "H": "2MASS_H",
    "Ks": "2MASS_Ks",
}
EXTINCTION_DEGREE = (
    4  # largest residual of A_G, A_BP, A_RP: printed by the build, see bolometric.py
)


def _open(folder: Path, name: str) -> Any:
    """Open the HDF5 file called `name`, unpacked or inside one of the wheels."""
    import h5py

    for path in folder.rglob(name):
        return h5py.File(path)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.endswith("/" + name):
                    return h5py.File(io.BytesIO(archive.read(member)))
    raise FileNotFoundError(f"{name}: neither in {folder} nor in a wheel there; see --help")


def _dense(source) -> np.ndarray:
    """Undo the sparse storage: rows are consecutive, `offsets` is the first EEP's position."""
    shape = tuple(source.attrs["shape"])
    out = np.full((shape[0] * shape[1], *shape[2:]), np.nan)
    values, row = source["values"][:], 0
    for i, (offset, length) in enumerate(
        zip(source["offsets"][:], source["lengths"][:], strict=True)
    ):
        out[i, offset : offset + length] = values[row : row + length]
        row += length
    return out.reshape(shape)


def mended(nodes: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """Put other giants where the source has them at wrong EEPs: in 46 PARSEC isochrones we ship.

    In these, all of log age 9.55 or more, the tip of the giant branch is at EEP 555 and not 605,
    and helium burning begins at 699 and not 631; what lies between is two straight lines, with
    hardly a star. An isochrone between two nodes then mixed giants a magnitude or two apart, and
    ln L had spikes of 0.006 dex in age. Their magnitudes and temperatures are now the means of
    right ones (linear in [M/H] and log age). Masses at the ends of both parts are right, and stay;
    between them mass rises as in the others. Three more, of log age 9.15 and 9.2 ([M/H] −1.25,
    −0.25 and 0), stay as they are: others beside them are of another kind, without a flash.

    Args:
        nodes: [m, a, e, c], mass first.
        axes: [M/H], log age, EEP.
    """
    from scipy.interpolate import LinearNDInterpolator

    metallicity, log_age, eep = axes
    parts = [[int(np.searchsorted(eep, x)) for x in part] for part in (BRANCH, HELIUM)]
    first, last = parts[0][0], parts[1][1]
    old = log_age > FLASH
    giants = nodes[:, old, first : last + 1].copy()
    for start, end in parts:
        # share of the mass between the two ends
        mass = nodes[:, old, start : end + 1][..., 0]
        rise = (mass - mass[..., :1]) / (mass[..., -1:] - mass[..., :1])
        giants[:, :, start - first : end + 1 - first, 0] = rise
    # 0.5 or more where it is right (0.99 but for a few), else 0.03
    right = giants[:, :, int(np.searchsorted(eep, HELIUM[1] - 10)) - first, 0] > 0.4
    # a step in age changes giants a tenth as much as one in [M/H]
    place = np.stack(
        np.meshgrid(metallicity / 0.25 * 10.0, log_age[old] / 0.05, indexing="ij"), axis=-1
    )
    between = LinearNDInterpolator(place[right], giants[right].reshape(right.sum(), -1))
    found = between(place[~right]).reshape(-1, *giants.shape[2:])
    if not np.isfinite(found).all():
        raise ValueError("a corner of the grid is wrong too: nothing to interpolate from")
    print(f"giants interpolated in {(~right).sum()} of {right.size} isochrones")
    nodes, before = nodes.copy(), np.array([0, int(np.argmax(old))])
    for (m, a), star in zip(np.argwhere(~right) + before, found, strict=True):
        nodes[m, a, first : last + 1, 1:] = star[:, 1:]
        for start, end in parts:
            rise, ends = star[start - first : end + 1 - first, 0], nodes[m, a, [start, end], 0]
            nodes[m, a, start : end + 1, 0] = ends[0] + rise * (ends[1] - ends[0])
    return nodes


def build_grid(folder: Path, name: str, step: int) -> dict[str, np.ndarray]:
    """Cut one stellar grid to the axes that are shipped, every `step`-th EEP."""
    with _open(folder, GRIDS[name]) as source:
        axes = [source[f"{axis}_values"][:] for axis in ("feh", "age", "eep")]
        columns = list(source.attrs["columns"])
        nodes = _dense(source)[..., [columns.index(c) for c in COLUMNS]]
    inside = [
        (axes[0] > METALLICITY[0] - 1e-6) & (axes[0] < METALLICITY[1] + 1e-6),
        (axes[1] > LOG_AGE[0] - 1e-6) & (axes[1] < LOG_AGE[1] + 1e-6),
        axes[2] <= LAST_EEP,
    ]
    if name == "parsec":
        nodes = mended(nodes, axes)
    nodes = nodes[np.ix_(*inside)]
    used = np.flatnonzero(np.isfinite(nodes[..., 0]).any(axis=(0, 1)))
    # the lower main sequence runs through five magnitudes in two dozen EEPs: keep all of those
    length = np.nanmedian(np.abs(np.diff(nodes[..., 3], axis=2)), axis=(0, 1))
    index = np.arange(len(length))
    keep = index[(index % step == 0) | (length > LONG_STEP)]
    keep = keep[(keep >= used[0]) & (keep <= used[-1])]
    return {
        "metallicity": axes[0][inside[0]],
        "log_age": np.round(axes[1][inside[1]], 6),
        "eep": axes[2][inside[2]][keep],
        "nodes": nodes[:, :, keep].astype(np.float32),
    }


def build_bolometric(folder: Path) -> dict[str, np.ndarray]:
    """Bolometric corrections at A_V = 0 and a polynomial in A_V of what extinction adds."""
    with _open(folder, "bc_tables.h5") as source:
        group = source["UBVRIplus"]
        names = [n.decode() for n in group["band_names"][:]]
        metallicity, data = group["feh_values"][:], group["data"][:].astype(float)
    inside = (metallicity > METALLICITY[0] - 1e-6) & (metallicity < METALLICITY[1] + 1e-6)
    teff, log_g, a_v = (np.unique(data[0, :, i]) for i in (0, 1, 3))
    order = np.lexsort((data[0, :, 3], data[0, :, 1], data[0, :, 0]))
    table = data[inside][:, order][..., [5 + names.index(b) for b in BANDS.values()]]
    table = table.reshape(inside.sum(), len(teff), len(log_g), len(a_v), len(BANDS))
    hot, dense = teff <= 2e5, log_g <= 6.0
    table = table[:, hot][:, :, dense]
    extinction = table[..., :1, :] - table  # A_band(A_V) of this star
    powers = a_v[:, None] ** np.arange(1, EXTINCTION_DEGREE + 1)
    # relative accuracy matters most where most clusters are: weight small A_V up
    weight = 1.0 / (0.3 + a_v)[:, None]
    flat = np.moveaxis(extinction, 3, 0).reshape(len(a_v), -1)
    coefficients = np.linalg.lstsq(powers * weight, flat * weight, rcond=None)[0]
    residual = np.abs(powers @ coefficients - flat).reshape(len(a_v), -1, len(BANDS))
    print("largest residual of the extinction polynomial [mag], by band, over A_V 0-6:")
    print(dict(zip(BANDS, residual.max(axis=(0, 1)).round(4), strict=True)))
    print("the same, 99.9 %:", np.quantile(residual, 0.999, axis=(0, 1)).round(4))
    shape = (EXTINCTION_DEGREE, *extinction.shape[:3], len(BANDS))
    return {
        "metallicity": metallicity[inside],
        "log_teff": np.log10(teff[hot]),
        "log_g": log_g[dense],
        "correction": table[..., 0, :].astype(np.float32),
        "extinction": np.moveaxis(coefficients.reshape(shape), 0, 3).astype(np.float32),
        "bands": np.array(list(BANDS)),
    }


def main() -> None:
    """Build everything from the folder named on the command line."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    folder, step = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 3
    tables: dict[str, dict[str, Any]] = {name: build_grid(folder, name, step) for name in GRIDS}
    tables["bolometric"] = build_bolometric(folder)
    for name, table in tables.items():
        np.savez_compressed(HERE / f"{name}.npz", **table)
        size = (HERE / f"{name}.npz").stat().st_size / 1e6
        print(name, {k: v.shape for k, v in table.items()}, f"{size:.2f} MB")


if __name__ == "__main__":
    main()
