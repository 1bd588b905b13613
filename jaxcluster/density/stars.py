"""Measured stars: a pytree of arrays."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Stars(eqx.Module):
    """Stars as measured, with the noise of each.

    Args:
        x: Measured values, a row a star, in the units of `from_table` (mag, mas, mas/yr, deg, ...).
        noise: Noise covariance of each star, in the products of those units.
        columns: Name of each column of `x`, for example ``("G", "BP-RP")``.
        rows: Index of each star in the table it was read from.
        dropped: Reasons for which rows of that table are not here, with their counts.

    Raises:
        ValueError: The shapes do not agree.
    """

    x: Float[Array, "n d"] = eqx.field(converter=jnp.asarray)
    noise: Float[Array, "n d d"] = eqx.field(converter=jnp.asarray)
    columns: tuple[str, ...] = eqx.field(static=True, converter=tuple)
    rows: Int[Array, " n"] | None = eqx.field(
        default=None, converter=lambda rows: None if rows is None else jnp.asarray(rows)
    )
    dropped: tuple[tuple[str, int], ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        shape = getattr(self.x, "shape", None)
        if shape is None:  # a transformation put something else in the leaves
            return
        if len(shape) != 2:
            raise ValueError(f"x: expected shape (n, d), found {shape}")
        n, d = shape
        for name, expected in (("noise", (n, d, d)), ("rows", (n,))):
            found = getattr(getattr(self, name), "shape", expected)
            if found != expected:
                raise ValueError(f"{name}: expected shape {expected}, found {found}")
        if len(self.columns) != d:
            raise ValueError(f"columns: expected {d} names, found {self.columns}")

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, index) -> "Stars":
        """The stars that a mask, an index or a slice picks."""
        # In numpy: jax would clamp an index out of range and repeat the last star.
        pick = np.atleast_1d(np.arange(len(self))[index])
        rows = None if self.rows is None else self.rows[pick]
        return Stars(self.x[pick], self.noise[pick], self.columns, rows, self.dropped)

    def filled_up(self) -> "Stars":
        """Repeat the last star up to the next of 32, 40, 48, 56, 64, 80, 96, 112, 128, ….

        What is compiled for one of these numbers serves all samples that are filled up to it.
        """
        unit = max(8, 1 << max((len(self) - 1).bit_length() - 3, 0))
        missing = -len(self) % unit
        return self[np.append(np.arange(len(self)), np.full(missing, len(self) - 1))]

    @property
    def n_dropped(self) -> int:
        """Number of rows of the table that were dropped."""
        return sum(count for _, count in self.dropped)
