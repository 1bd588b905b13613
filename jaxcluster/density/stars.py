"""Measured stars: a pytree of arrays."""

from collections.abc import Mapping
from dataclasses import replace

import equinox as eqx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxcluster.density.backend import as_array


class Stars(eqx.Module):
    """Stars as measured, with the noise of each.

    Args:
        x: Measured values, a row a star, in the units of `from_table` (mag, mas, mas/yr, deg, ...).
        noise: Noise covariance of each star, in the products of those units.
        columns: Name of each column of `x`, for example ``("G", "BP-RP")``.
        rows: Index of each star in the table it was read from.
        dropped: Reasons for which rows of that table are not here, with their counts.
        known: Other numbers of each star by name, such as the log density of field stars there,
            which has no parameters and is evaluated once; see `Known`.
        real: False for copies that fill up (`filled_up`), None where there are none.

    Raises:
        ValueError: The shapes do not agree.
    """

    x: Float[Array, "n d"] = eqx.field(converter=as_array)
    noise: Float[Array, "n d d"] = eqx.field(converter=as_array)
    columns: tuple[str, ...] = eqx.field(static=True, converter=tuple)
    rows: Int[Array, " n"] | None = eqx.field(
        default=None, converter=lambda rows: None if rows is None else as_array(rows)
    )
    dropped: tuple[tuple[str, int], ...] = eqx.field(static=True, default=())
    known: Mapping[str, Float[Array, " n"]] = eqx.field(
        default_factory=dict,
        converter=lambda known: {name: as_array(values) for name, values in known.items()},
    )
    real: Bool[Array, " n"] | None = eqx.field(
        default=None, converter=lambda real: None if real is None else as_array(real)
    )

    def __check_init__(self):
        shape = getattr(self.x, "shape", None)
        if shape is None:  # a transformation put something else in the leaves
            return
        if len(shape) != 2:
            raise ValueError(f"x: expected shape (n, d), found {shape}")
        n, d = shape
        shapes = {name: getattr(values, "shape", (n,)) for name, values in self.known.items()}
        shapes["noise"] = self.noise.shape
        for name in ("rows", "real"):
            shapes[name] = getattr(getattr(self, name), "shape", (n,))
        for name, found in shapes.items():
            if found != (expected := (n, d, d) if name == "noise" else (n,)):
                raise ValueError(f"{name}: expected shape {expected}, found {found}")
        if len(self.columns) != d:
            raise ValueError(f"columns: expected {d} names, found {self.columns}")

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, index) -> "Stars":
        """The stars that a mask, an index or a slice picks."""
        # In numpy: jax would clamp an index out of range and repeat the last star.
        chosen = np.atleast_1d(np.arange(len(self))[index])
        rows = None if self.rows is None else pick(self.rows, chosen)
        known = {name: pick(values, chosen) for name, values in self.known.items()}
        x, noise = pick(self.x, chosen), pick(self.noise, chosen)
        real = None if self.real is None else pick(self.real, chosen)
        return Stars(x, noise, self.columns, rows, self.dropped, known, real)

    def knowing(self, **known: Float[ArrayLike, " n"]) -> "Stars":
        """The same stars with more numbers of each."""
        together = {**self.known, **known}
        return replace(self, known=together)

    def filled_up(self) -> "Stars":
        """Repeat the last star up to the next of 512, 640, 768, 896, 1024, 1280, ….

        What is compiled for one of these numbers serves all samples that are filled up to it.
        Densities may leave the copies out, which are not `real`.
        """
        n = len(self)
        unit = 512 if n <= 512 else 1 << ((n - 1).bit_length() - 3)
        missing = -n % unit
        filled = self[np.append(np.arange(n), np.full(missing, n - 1))]
        # an array, and not the number of stars, or each number would compile anew
        return replace(filled, real=np.arange(n + missing) < n)

    @property
    def n_dropped(self) -> int:
        """Number of rows of the table that were dropped."""
        return sum(count for _, count in self.dropped)


def pick(values: Array, rows: np.ndarray) -> ArrayLike:
    """Rows of an array; in numpy where it has values, or jax would compile for each shape anew."""
    return values[rows] if isinstance(values, Tracer) else np.asarray(values)[rows]
