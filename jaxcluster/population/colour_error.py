"""What a colour of isochrones is wrong by: smooth in effective temperature, and apart for giants.

    Δ(T) = Σ_j (μ_j + Σ_k a_k s_kj) h_j(log T)

with hat functions h_j: straight lines between values [mag] at `KELVIN`, constant beyond the last
ones. Dwarfs of 4250 K are too blue and giants of the same temperature are not, so the last h_j is
that of giants, where those of 5200 K and less fall to 0. A fit that trusts colours which are wrong
makes up for it by extinction, metallicity and distance: of NGC 2682, ln Z rises by 161 with such an
error (`benchmarks/ngc2682`). The a_k are parameters of a model [mag], each with a normal prior.

Mean μ and shapes s_k are those that well-known clusters have in common (`LEARNT`, made by
`benchmarks.colour_error`), the mean alone, or nothing and one shape for each of `AT`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.population.isochrone import Isochrone

KELVIN = 3200, 3600, 4250, 5200, 7000, 12600  # from M to B stars, 0.05 to 0.25 dex apart
AT = *KELVIN, "giants"
NAMES = tuple(f"colour_error_{where}" for where in AT)
SHAPES = tuple(f"colour_error_{k}" for k in range(1, len(AT) + 1))  # of learnt ones
COOL = KELVIN.index(5200) + 1  # of dwarfs and not of giants, hotter ones of both
SUBGIANTS = 0.1  # dex by which a giant is cooler than the hottest star before it, the turn-off
LEARNT = Path(__file__).parent / "data" / "colour_errors.json"


def hats(log_teff: Float[Array, " e"]) -> Float[Array, "j e"]:
    """The functions h_j along an isochrone, of its temperatures [log₁₀ K]; they add up to 1."""
    knots = np.log10(KELVIN)
    share = jnp.clip((log_teff - knots[:-1, None]) / np.diff(knots)[:, None], 0.0, 1.0)
    beyond = jnp.concatenate([jnp.ones_like(share[:1]), share])
    each = beyond - jnp.concatenate([share, jnp.zeros_like(share[:1])])
    evolved = jnp.clip((jax.lax.cummax(log_teff) - log_teff) / SUBGIANTS, 0.0, 1.0)
    cool, hot = each[:COOL], each[COOL:]
    return jnp.concatenate([(1.0 - evolved) * cool, hot, evolved * cool.sum(axis=0)[None]])


class ColourError(eqx.Module):
    """Mean and shapes of a colour's error, see the module.

    Args:
        mean: μ_j [mag], what is added to the colour at each of `AT`.
        shapes: s_kj, the largest of each 1.
        widths: standard deviation of the prior of each a_k [mag].
        names: of the parameters a_k.
    """

    mean: Float[Array, " j"] = eqx.field(converter=jnp.asarray)
    shapes: Float[Array, "k j"] = eqx.field(converter=jnp.asarray)
    widths: tuple[float, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, parameters: Mapping[str, Float[Array, ""] | float]) -> Float[Array, " j"]:
        """Error at each of `AT` [mag]."""
        if not self.names:
            return self.mean
        amplitudes = [jnp.asarray(parameters[name], self.mean.dtype) for name in self.names]
        return self.mean + jnp.stack(amplitudes) @ self.shapes


def load_colour_error(
    error: float | int | str | None = None,
    grid: str = "parsec",
    columns: tuple[str, ...] = ("G", "BP-RP"),
) -> ColourError | None:
    """What to expect of a grid's colours; None where they are trusted.

    Args:
        error: "mean": that which well-known clusters say `grid` has, the same for all. "learnt":
            this mean, and how they differ. A standard deviation [mag], 0 to 1: of mean 0, at each
            of `AT` by itself; 0 trusts the colours. Else a file like that of `LEARNT`, mean and
            differences. By default the mean where `grid` and `columns` are known, and trusted
            where they are not.
        grid: name of the isochrones.
        columns: of the stars.

    Raises:
        ValueError: no such width; or nothing was learnt of this grid or of these columns.
        FileNotFoundError: neither a number nor a file.

    Example:
        >>> load_colour_error("learnt", "parsec").names[0]
        'colour_error_1'
        >>> load_colour_error(None, "mine.dat") is None
        True
    """
    known = learnt_of(error, grid, columns)
    if known is not None:
        n = 0 if error in (None, "mean") else len(known["widths"])
        shapes = np.reshape(known["shapes"], (-1, len(AT)))[:n]
        return ColourError(known["mean"], shapes, tuple(known["widths"][:n]), SHAPES[:n])
    width = 0.0 if error is None else float(error)
    if not 0.0 <= width <= 1.0:
        raise ValueError(f"isochrone_error: found {error}, expected 0 to 1 mag, mean or learnt")
    n = len(AT)
    return ColourError(np.zeros(n), np.eye(n), (width,) * n, NAMES) if width else None


def learnt_of(
    error: float | int | str | None, grid: str, columns: tuple[str, ...]
) -> dict[str, Any] | None:
    """What is learnt of a grid: mean, shapes, widths, and `systematic`; None of numbers.

    `systematic` is by how much [σ, in units of the parameter] results of well-known clusters, each
    left out, are off from what others say of them, beyond their own intervals: of "mean" and of
    "learnt".

    Args:
        error: see `load_colour_error`, as the others, and what it raises.
        grid: name of the isochrones.
        columns: of the stars.
    """
    if isinstance(error, float | int) or (error is not None and _is_number(error)):
        return None
    file = LEARNT if error in (None, "mean", "learnt") else Path(error)
    if not file.is_file():
        raise FileNotFoundError(
            f"isochrone_error {str(file)!r}: expected a number of magnitudes, mean, learnt, or a "
            "file of benchmarks.colour_error"
        )
    try:
        known = json.loads(file.read_text())
        grids, of, at = known["grids"], known["columns"], tuple(known["at"])
        for one in grids.values():
            lengths = {len(row) for row in (one["mean"], *one["shapes"])}
            if lengths != {len(at)} or len(one["widths"]) != len(one["shapes"]):
                raise ValueError("rows of different lengths")
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ValueError(
            f"isochrone_error {str(file)!r}: expected JSON like {LEARNT.name}, found {problem!r}"
        ) from problem
    if at != AT:
        raise ValueError(
            f"isochrone_error {str(file)!r}: at {at} K, expected {AT}; make it again with "
            "benchmarks.colour_error"
        )
    if grid in grids and list(columns) == of:
        return grids[grid]
    if error is None:
        return None
    raise ValueError(
        f"isochrone_error: learnt for {' and '.join(grids)}, columns {','.join(of)}; found "
        f"{grid!r} and {','.join(columns)}: give a number of magnitudes"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def with_colour_error(
    isochrone: Isochrone, to_plane: Float[np.ndarray, "d b"], values: Float[Array, " j"]
) -> Isochrone:
    """Add an error to the colour of an isochrone, half of it to either band.

    Args:
        isochrone: with the effective temperatures of its stars.
        to_plane: rows that make a magnitude and a colour from the bands. The magnitude stays as it
            is, unless its band is in the colour.
        values: the error at each of `AT` [mag].

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
