"""What a colour of isochrones is wrong by: a smooth function of effective temperature.

    Δ(T) = Σ_j (μ_j + Σ_k a_k s_kj) h_j(log T)

with hat functions h_j: straight lines between values [mag] at `KELVIN`, constant beyond the last
ones. A fit that trusts colours which are wrong makes up for it by extinction, metallicity and
distance: of NGC 2682, ln Z rises by 161 with such an error (`benchmarks/ngc2682`). The a_k are
parameters of a model [mag], each with a normal prior.

Mean μ and shapes s_k are those that well-known clusters have in common (`LEARNT`, made by
`benchmarks.colour_error`), or nothing and one shape a temperature.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.population.isochrone import Isochrone

KELVIN = 3200, 3600, 4250, 5200, 7000, 12600  # from M to B stars, 0.05 to 0.25 dex apart
NAMES = tuple(f"colour_error_{kelvin}" for kelvin in KELVIN)
SHAPES = tuple(f"colour_error_{k}" for k in range(1, len(KELVIN) + 1))  # of learnt ones
LEARNT = Path(__file__).parent / "data" / "colour_errors.json"


def hats(log_teff: Float[Array, " e"]) -> Float[Array, "j e"]:
    """The functions h_j at temperatures [log₁₀ K]; they add up to 1."""
    knots = np.log10(KELVIN)
    share = jnp.clip((log_teff - knots[:-1, None]) / np.diff(knots)[:, None], 0.0, 1.0)
    beyond = jnp.concatenate([jnp.ones_like(share[:1]), share])
    return beyond - jnp.concatenate([share, jnp.zeros_like(share[:1])])


class ColourError(eqx.Module):
    """Mean and shapes of a colour's error, see the module.

    Args:
        mean: μ_j [mag], what is added to the colour at each of `KELVIN`.
        shapes: s_kj, the largest of each 1.
        widths: standard deviation of the prior of each a_k [mag].
        names: of the parameters a_k.
    """

    mean: Float[Array, " j"] = eqx.field(converter=jnp.asarray)
    shapes: Float[Array, "k j"] = eqx.field(converter=jnp.asarray)
    widths: tuple[float, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, parameters: Mapping[str, Float[Array, ""] | float]) -> Float[Array, " j"]:
        """Error at each of `KELVIN` [mag]."""
        amplitudes = [jnp.asarray(parameters[name], self.mean.dtype) for name in self.names]
        return self.mean + jnp.stack(amplitudes) @ self.shapes


def load_colour_error(
    error: float | int | str, grid: str = "parsec", columns: tuple[str, ...] = ("G", "BP-RP")
) -> ColourError | None:
    """What to expect of a grid's colours; None where they are trusted.

    Args:
        error: a standard deviation [mag], 0 to 1: of mean 0, at each temperature by itself.
            "learnt": the mean that well-known clusters say `grid` has, and how they differ. Else a
            file like that of `LEARNT`.
        grid: name of the isochrones.
        columns: of the stars.

    Raises:
        ValueError: no such width; or nothing was learnt of this grid or of these columns.
        FileNotFoundError: neither a number nor a file.

    Example:
        >>> load_colour_error("learnt", "parsec").names[0]
        'colour_error_1'
    """
    try:
        width = float(error)
    except ValueError:
        return _learnt(LEARNT if error == "learnt" else Path(str(error)), grid, columns)
    if not 0.0 <= width <= 1.0:
        raise ValueError(f"isochrone_error: found {error}, expected 0 to 1 mag, or learnt")
    n = len(KELVIN)
    return ColourError(np.zeros(n), np.eye(n), (width,) * n, NAMES) if width else None


def _learnt(file: Path, grid: str, columns: tuple[str, ...]) -> ColourError:
    if not file.is_file():
        raise FileNotFoundError(
            f"isochrone_error {str(file)!r}: expected a number of magnitudes, learnt, or a file "
            "of benchmarks.colour_error"
        )
    try:
        known = json.loads(file.read_text())
        grids, of, kelvin = known["grids"], known["columns"], tuple(known["kelvin"])
        tables = {
            name: (np.array(one["mean"]), np.array(one["shapes"]), tuple(one["widths"]))
            for name, one in grids.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"isochrone_error {str(file)!r}: expected JSON like {LEARNT.name}, found {error!r}"
        ) from error
    if kelvin != KELVIN:
        raise ValueError(
            f"isochrone_error {str(file)!r}: of {kelvin} K, expected {KELVIN}; make it again with "
            "benchmarks.colour_error"
        )
    if grid not in tables or list(columns) != of:
        raise ValueError(
            f"isochrone_error: learnt for {' and '.join(tables)}, columns {','.join(of)}; found "
            f"{grid!r} and {','.join(columns)}: give a number of magnitudes"
        )
    mean, shapes, widths = tables[grid]
    return ColourError(mean, shapes, widths, SHAPES[: len(widths)])


def with_colour_error(
    isochrone: Isochrone, to_plane: Float[np.ndarray, "d b"], values: Float[Array, " j"]
) -> Isochrone:
    """Add an error to the colour of an isochrone, half of it to either band.

    Args:
        isochrone: with the effective temperatures of its stars.
        to_plane: rows that make a magnitude and a colour from the bands. The magnitude stays as it
            is, unless its band is in the colour.
        values: the error at each of `KELVIN` [mag].

    Raises:
        ValueError: isochrones without temperatures, or more colours than one.
    """
    if isochrone.log_teff is None or len(to_plane) != 2:
        raise ValueError(
            f"colour_error: expected isochrones with effective temperatures and one colour, found "
            f"{'no temperatures' if isochrone.log_teff is None else f'{len(to_plane) - 1} colours'}"
            "; leave isochrone_error out"
        )
    bands = jnp.asarray(np.linalg.pinv(to_plane[1:]))
    shift = bands * (values @ hats(isochrone.log_teff))
    return isochrone._replace(magnitudes=isochrone.magnitudes + shift.T)
