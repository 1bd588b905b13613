"""Distance, age and reddening in units that people use, from draws of what is sampled.

    d = 10^((m − M)₀ / 5 + 1) pc        age = 10^(log age − 6) Myr        E(B − V) = A_V / R_V

    E(BP − RP) = A_BP − A_RP,        E(J − Ks) = A_J − A_Ks

Extinction in a band differs from star to star (`population.bolometric`); those of colours are for a
star like the Sun (5772 K, log g 4.44). At A_V = 1 one of 10 000 K has 13 % more of E(BP − RP), one
of 4000 K 11 % less; of E(J − Ks) it is 1 %.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxcluster.population.bolometric import extinction_polynomial
from jaxcluster.population.extinction import R_V, change_with_dust

SUN = np.log10(np.full(1, 5772.0)), np.full(1, 4.44), np.zeros(1)  # log T_eff [K], log g, [M/H]

Draws = Float[np.ndarray, "..."]


class Derived(NamedTuple):
    """A quantity that follows from a parameter, and extinction in a band from R_V too."""

    parameter: str
    unit: str
    words: str
    of: Callable[[Draws, Draws | float], Draws]  # of the parameter, and of R_V


def colour_excess(a_v: Draws, blue: str, red: str, r_v: Draws | float = R_V) -> Draws:
    """E(blue − red) [mag] of a star like the Sun behind A_V [mag] of dust of R_V.

    Example:
        >>> colour_excess(np.array([3.1]), "BP", "RP").round(2)
        array([1.25])
    """
    powers = np.asarray(a_v, float)[..., None] ** np.arange(1, 5)
    of_each = powers @ extinction_polynomial(*SUN, (blue, red))[0]
    bluer, redder = change_with_dust((blue, red))
    dust = np.asarray(a_v) * (bluer - redder) * (1.0 / np.asarray(r_v) - 1.0 / R_V)
    return of_each[..., 0] - of_each[..., 1] + dust


DERIVED = {
    "distance": Derived(
        "distance_modulus", "pc", "distance", lambda m, _: 10.0 ** (np.asarray(m) / 5.0 + 1.0)
    ),
    "age": Derived("log_age", "Myr", "age", lambda t, _: 10.0 ** (np.asarray(t) - 6.0)),
    "e_bv": Derived("a_v", "mag", "E(B − V) = A_V / R_V", lambda a, r: np.asarray(a) / r),
    "e_bp_rp": Derived(
        "a_v",
        "mag",
        "E(BP − RP) of a star like the Sun",
        lambda a, r: colour_excess(a, "BP", "RP", r),
    ),
    "e_j_ks": Derived(
        "a_v",
        "mag",
        "E(J − Ks) of a star like the Sun",
        lambda a, r: colour_excess(a, "J", "Ks", r),
    ),
}


def derive(draws: Mapping[str, Draws]) -> dict[str, Draws]:
    """Return draws of all that follows from these.

    Args:
        draws: of parameters by name.

    Example:
        >>> derive({"distance_modulus": np.array([10.0])})
        {'distance': array([1000.])}
    """
    return {
        name: one.of(draws[one.parameter], draws.get("r_v", R_V))
        for name, one in DERIVED.items()
        if one.parameter in draws
    }


def derived_errors(draws: Mapping[str, Draws], errors: Mapping[str, float]) -> dict[str, float]:
    """Errors of all that follows from parameters with errors, at their medians.

    Args:
        draws: of parameters by name.
        errors: standard deviation of some of them.

    Example:
        >>> derived_errors({"distance_modulus": np.array([10.0])}, {"distance_modulus": 0.05})
        {'distance': 23.0...}
    """
    middle = {name: np.median(values) for name, values in draws.items() if np.ndim(values) == 1}
    steps = {name: errors.get(name, 0.0) * np.array([-1.0, 1.0]) for name in middle}
    found = derive({name: value + steps[name] for name, value in middle.items()})
    return {
        name: float(np.abs(np.diff(ends)[0]) / 2.0)
        for name, ends in found.items()
        if DERIVED[name].parameter in errors
    }
