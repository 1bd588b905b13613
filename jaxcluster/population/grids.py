"""The grids by name: two that are shipped, and users' own files."""

from functools import cache
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from jaxcluster.population.bolometric import BANDS, bolometric_correction, extinction_polynomial
from jaxcluster.population.files import read_isochrones
from jaxcluster.population.isochrone import IsochroneGrid

DATA = Path(__file__).parent / "data"
EMBEDDED = ("parsec", "mist")
LAST_DWARF = 440  # EEP; at the end of the main sequence, 454, mass hardly changes along the hook
N_DWARFS = 160


def _resample_dwarfs(
    nodes: Float[np.ndarray, "m a e c"], eep: Float[np.ndarray, " e"]
) -> Float[np.ndarray, "m a f c"]:
    """Put dwarfs at fixed fractions of ln mass between the lowest and the one at `LAST_DWARF`.

    A dwarf's number in the files is no evolutionary point: mass jumps where the track changes (on
    PARSEC's from 0.498 to 0.606 solar masses in one step), at another number on each isochrone, and
    between them the sequence ripples by 0.03 mag and ln L of 400 stars by 50, with the period of
    the nodes. Giants keep their EEPs. `c` is mass, then what goes with it.
    """
    from scipy.interpolate import PchipInterpolator

    last = int(np.searchsorted(eep, LAST_DWARF))
    # dense where dwarfs evolve: steps of 2 % in mass at the faint end, 0.005 % at the bright one
    fraction = 1.0 - (1.0 - np.linspace(0.0, 1.0, N_DWARFS)) ** 2
    dwarfs = np.full((*nodes.shape[:2], N_DWARFS, nodes.shape[3]), np.nan)
    for m, a in np.ndindex(nodes.shape[:2]):
        stars = nodes[m, a, : last + 1]
        stars = stars[np.isfinite(stars[:, 0])]
        stars = stars[np.diff(np.maximum.accumulate(stars[:, 0]), prepend=0.0) > 0]
        log_mass = np.log(stars[:, 0])
        x = log_mass[0] + fraction * (log_mass[-1] - log_mass[0])
        dwarfs[m, a, :, 0] = np.exp(x)
        dwarfs[m, a, :, 1:] = PchipInterpolator(log_mass, stars[:, 1:])(x)
    return np.concatenate([dwarfs, nodes[:, :, last + 1 :]], axis=2)


@cache
@jax.ensure_compile_time_eval()  # loaded inside jit, what is cached would hold its tracers
def load_grid(grid: str = "parsec", bands: tuple[str, ...] | None = None) -> IsochroneGrid:
    """Load a grid: "parsec" (v1.2S; Bressan et al. 2012) or "mist" (v2.5; Choi et al. 2016).

    Both use the MIST bolometric corrections and run over [M/H] −2…0.5 and log age 6.2…10.15, every
    third EEP up to the end of the early AGB. Giants of 46 old PARSEC isochrones are interpolated
    (`data.build_grids.mended`). Any other string is the path of an isochrone file.

    `bands` are all by default; loading is faster with those that are needed. Those of VISTA
    (J_VISTA, H_VISTA, Ks_VISTA) are made from 2MASS's (`jaxcluster.population.transformed`).

    Raises:
        ValueError: for a band or a file that the readers do not know.
        FileNotFoundError: where `grid` is neither a name nor a file.
    """
    if grid not in EMBEDDED:
        if not Path(grid).is_file():
            raise FileNotFoundError(
                f"grid {grid!r}: neither an embedded grid ({', '.join(EMBEDDED)}) nor a file"
            )
        loaded = read_isochrones(grid)
        return loaded if bands is None else loaded.select(bands)
    bands = BANDS if bands is None else bands
    if not set(bands) <= set(BANDS):
        return load_grid(grid).select(bands)
    with np.load(DATA / f"{grid}.npz") as stored:
        table = dict(stored)
    nodes = _resample_dwarfs(table["nodes"].astype(float), table["eep"])
    mass, log_teff, log_g, m_bol = np.moveaxis(nodes, -1, 0)
    exists = np.isfinite(mass)
    metallicity = np.broadcast_to(table["metallicity"][:, None, None], mass.shape)
    stars = (log_teff[exists], log_g[exists], metallicity[exists])
    magnitude = m_bol[exists][:, None] - bolometric_correction(*stars, bands)
    extinction = extinction_polynomial(*stars, bands)
    magnitudes = np.full((*mass.shape, 1 + extinction.shape[1], len(bands)), np.nan)
    magnitudes[exists] = np.concatenate([magnitude[:, None], extinction], axis=1)
    return IsochroneGrid.from_nodes(
        table["metallicity"], table["log_age"], mass, magnitudes, bands, grid, log_teff
    )
