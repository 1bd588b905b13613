"""How extinction depends on wavelength, and on the dust that makes it.

    A(λ) / A_V = a(x) + b(x) / R_V,      x = 1/λ

of Cardelli, Clayton & Mathis (1989), in the optical with the coefficients of O'Donnell (1994).
R_V = A_V / E(B − V) is 3.1 on average, 2.5 to 5 where dust grains are smaller or larger than usual;
isochrones are reddened by tables of 3.1 (`jaxcluster.population.bolometric`).
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.population.bolometric import BANDS
from jaxcluster.population.isochrone import Isochrone
from jaxcluster.population.parsers import like_band

R_V = 3.1  # of the tables

# Effective wavelengths in µm: Bessell, Castelli & Plez 1998 (UBVRI, K), Fukugita et al. 1996
# (SDSS), Tonry et al. 2012 (Pan-STARRS), the SVO filter service (all others; Gaia's are pivots)
WAVELENGTH = {
    **{f"{p}{b}": w for b, w in zip("UBVRI", (0.366, 0.438, 0.545, 0.641, 0.798), strict=True)
       for p in ("", "Bessell_")},
    **{f"{p}{b}": w for b, w in zip("ugriz", (0.355, 0.469, 0.617, 0.748, 0.893), strict=True)
       for p in ("", "SDSS_")},
    **{name: w
       for b, w in zip("grizyw", (0.481, 0.617, 0.752, 0.866, 0.962, 0.608), strict=True)
       for name in (f"PS_{b}", f"{b}P1")},
    "PS_open": 0.665, "K": 2.19, "B_T": 0.428, "Tycho_B": 0.428, "V_T": 0.534, "Tycho_V": 0.534,
    "Hp": 0.528, "Hipparcos_Hp": 0.528, "G_RVS": 0.858, "TESS": 0.745, "Kepler_Kp": 0.630,
    "Kepler_D51": 0.510,
    "Z": 0.880, "Y": 1.025,  # of VISTA and UKIDSS, within 0.01
    **dict(zip(BANDS, (0.622, 0.511, 0.777, 1.235, 1.662, 2.159), strict=True)),
}  # fmt: skip

_OPTICAL = (  # O'Donnell (1994), in x − 1.82
    [-0.505, 1.647, -0.827, -1.718, 1.137, 0.701, -0.609, 0.104, 1.0],
    [3.347, -10.805, 5.491, 11.102, -7.985, -3.989, 2.908, 1.952, 0.0],
)


def law_terms(
    wavelength: Float[np.ndarray, "*s"] | float,
) -> tuple[Float[np.ndarray, "*s"], Float[np.ndarray, "*s"]]:
    """Return a and b, see the module.

    Args:
        wavelength: in µm, 0.303 to 3.33.
    """
    x = 1 / np.asarray(wavelength, float)
    a, b = (np.polyval(coefficients, x - 1.82) for coefficients in _OPTICAL)
    infrared = x < 1.1
    return np.where(infrared, 0.574 * x**1.61, a), np.where(infrared, -0.527 * x**1.61, b)


def extinction_law(
    wavelength: Float[np.ndarray, "*s"] | float, r_v: float = R_V
) -> Float[np.ndarray, "*s"]:
    """A(λ)/A_V, see the module.

    Args:
        wavelength: in µm, 0.303 to 3.33.
        r_v: A_V / E(B − V).

    Example:
        >>> float(extinction_law(2.2).round(3))
        0.114
    """
    a, b = law_terms(wavelength)
    return np.asarray(a + b / r_v)


def change_with_dust(bands: Sequence[str]) -> Float[np.ndarray, " b"]:
    """d(A_band / A_V) / d(1 / R_V), that of one wavelength of each band.

    Raises:
        ValueError: a band whose wavelength nobody has told (`WAVELENGTH`).
    """
    if none := [band for band in bands if like_band(band) not in WAVELENGTH]:
        raise ValueError(
            f"r_v: no wavelength known for {', '.join(none)}; leave the prior of r_v out, or add "
            "the bands to jaxcluster.population.extinction.WAVELENGTH"
        )
    return law_terms(np.array([WAVELENGTH[like_band(band)] for band in bands]))[1]


def with_dust(
    isochrone: Isochrone,
    bands: Sequence[str],
    a_v: Float[Array, ""] | float,
    r_v: Float[Array, ""] | float,
) -> Isochrone:
    """An isochrone that tables of R_V = 3.1 have reddened, behind dust of another R_V.

    A_band changes by A_V b (1 / R_V − 1 / 3.1), the same for all stars: what it depends on a star's
    colour is that of the tables.

    Args:
        isochrone: reddened by A_V.
        bands: of its magnitudes.
        a_v: A_V [mag].
        r_v: A_V / E(B − V).
    """
    slope = jnp.asarray(change_with_dust(bands)) * (1.0 / r_v - 1.0 / R_V)
    return isochrone._replace(
        magnitudes=isochrone.magnitudes + a_v * slope, reddening=isochrone.reddening + slope
    )
