"""Bolometric corrections and extinctions of the MIST tables (Choi et al. 2016; Dotter 2016).

    M_band = M_bol − BC_band(T_eff, log g, [M/H], A_V)        Vega system, R_V = 3.1
    BC_band(0) − BC_band(A_V) = Σ_j c_j A_V^j,  j = 1…4       per star, so A_G depends on colour

The quartic follows the tables within 0.0003 mag in every band up to A_V = 6 (printed by
`population.data.build_grids`). Tables are read when a grid is loaded, not while sampling.
"""

from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxcluster.population.interpolation import cubic_stencil

BANDS = ("G", "BP", "RP", "J", "H", "Ks")
MAX_A_V = 6.0


@cache
def _table() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "data" / "bolometric.npz") as stored:
        return dict(stored)


def _interpolate(name: str, log_teff, log_g, metallicity, bands: tuple[str, ...]) -> np.ndarray:
    """Tensor-product cubic in (log T_eff, log g, [M/H]) of one of the stored arrays."""
    unknown = [b for b in bands if b not in BANDS]
    if unknown:
        raise ValueError(
            f"no bolometric corrections for {', '.join(unknown)}, only for {', '.join(BANDS)}; for "
            "others take a file of isochrones that has them, --grid FILE"
        )
    table = _table()
    values = table[name][..., [BANDS.index(b) for b in bands]].astype(float)
    log_teff, log_g, metallicity = np.broadcast_arrays(log_teff, log_g, metallicity)
    shape = log_teff.shape
    stencils = [
        cubic_stencil(np.ravel(x), table[axis], xp=np)
        for x, axis in ((metallicity, "metallicity"), (log_teff, "log_teff"), (log_g, "log_g"))
    ]
    (first_m, w_m), (first_t, w_t), (first_g, w_g) = stencils
    total = np.zeros((log_teff.size, *values.shape[3:]))
    tail = (slice(None),) + (None,) * (values.ndim - 3)
    for start in range(0, log_teff.size, 2000):  # all stars at once leave the cache
        some = slice(start, start + 2000)
        for a in range(w_m.shape[1]):
            if not w_m[some, a].any():  # grids share the tables' [M/H] nodes: most terms are zero
                continue
            for b in range(4):
                for c in range(4):
                    weight = (w_m[some, a] * w_t[some, b] * w_g[some, c])[tail]
                    index = first_m[some] + a, first_t[some] + b, first_g[some] + c
                    total[some] += weight * values[index]
    return total.reshape(*shape, *values.shape[3:])


def bolometric_correction(
    log_teff: Float[np.ndarray, "..."],
    log_g: Float[np.ndarray, "..."],
    metallicity: Float[np.ndarray, "..."],
    bands: tuple[str, ...],
) -> Float[np.ndarray, "... b"]:
    """BC_band at A_V = 0 [mag]; M_band = M_bol − BC_band.

    Args:
        log_teff: log₁₀ of the effective temperature [K], 3.40–5.30; moved to the ends beyond.
        log_g: log₁₀ of the surface gravity [cm s⁻²], −4–6; moved to the ends beyond.
        metallicity: [M/H], −2–0.5.
        bands: names out of `BANDS`.

    Raises:
        ValueError: for a band that the tables do not have.
    """
    return _interpolate("correction", log_teff, log_g, metallicity, bands)


def extinction_polynomial(
    log_teff: Float[np.ndarray, "..."],
    log_g: Float[np.ndarray, "..."],
    metallicity: Float[np.ndarray, "..."],
    bands: tuple[str, ...],
) -> Float[np.ndarray, "... 4 b"]:
    """Coefficients c_1…c_4 of A_band = Σ_j c_j A_V^j of each star [mag^(1−j)].

    Arguments and errors as in `bolometric_correction`.
    """
    return _interpolate("extinction", log_teff, log_g, metallicity, bands)
