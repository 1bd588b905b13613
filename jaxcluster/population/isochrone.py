"""Isochrones on ([M/H], log age, EEP) nodes, interpolated at fixed EEP.

EEPs (equivalent evolutionary points; Dotter 2016) number the same phases on every isochrone, so
interpolating between isochrones at fixed EEP moves the turn-off; interpolating at fixed mass would
mix a giant with a dwarf. An EEP that a node does not have is filled with the nearest one that it
has: a cell there has no mass and so no weight, and nothing jumps where a phase appears.

Magnitudes and initial masses are C¹ cubics in log age and [M/H], magnitudes a polynomial in A_V.
The masses' running maximum along EEP keeps the cubics from making steps negative; it acts on some
fifty of 360 steps, and only there is a slope not continuous. (Squares of cubics of the roots of the
steps are C¹ and never negative, but too small on average between nodes, by 0.4 mag at 1 M☉; bounds
on each step by itself, as PCHIP's, do not add up to the right mass either.)
"""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.population.bolometric import (
    MAX_A_V,
)
from jaxcluster.population.interpolation import cubic_stencil
from jaxcluster.population.joints import find_joints
from jaxcluster.population.transformed import TRANSFORMED


class Isochrone(NamedTuple):
    """Stars of one age and composition, in order of EEP."""

    initial_mass: Float[Array, " e"]  # solar masses, never decreasing
    magnitudes: Float[Array, "e b"]  # absolute, with extinction
    reddening: Float[Array, "e b"]  # d magnitude / d A_V
    log_teff: Float[Array, " e"] | None = None  # log₁₀ K, where the grid has them


class IsochroneGrid(eqx.Module):
    """Isochrones on nodes of [M/H] and log age; make one with `from_nodes` or `load_grid`."""

    initial_mass: Float[Array, "m a e"]
    # coefficients of A_V^0, A_V^1, …; float32 (1e-6 mag): reading them is a tenth of a likelihood
    magnitudes: Float[Array, "m a p b e"]
    metallicity: tuple[float, ...] = eqx.field(static=True)
    log_age: tuple[float, ...] = eqx.field(static=True)
    bands: tuple[str, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)
    joints: tuple[int, ...] = eqx.field(static=True)  # EEPs at which the number of stars jumps
    log_teff: Float[Array, "m a e"] | None = None

    @classmethod
    def from_nodes(
        cls,
        metallicity: Float[np.ndarray, " m"],
        log_age: Float[np.ndarray, " a"],
        initial_mass: Float[np.ndarray, "m a e"],
        magnitudes: Float[np.ndarray, "m a e p b"],
        bands: tuple[str, ...],
        name: str,
        log_teff: Float[np.ndarray, "m a e"] | None = None,
    ) -> "IsochroneGrid":
        """Make a grid from isochrones with NaN where an EEP does not exist.

        Args:
            metallicity: [M/H] of the nodes, increasing.
            log_age: log₁₀(age/yr) of the nodes, increasing.
            initial_mass: in solar masses; made monotone along EEP by its running maximum.
            magnitudes: absolute magnitude as a polynomial in A_V, constant term first.
            bands: name of each magnitude.
            name: recorded with results.
            log_teff: log₁₀ of effective temperatures [K], which errors of colours depend on.

        Raises:
            ValueError: where a node has no star at all, or axes do not increase.
        """
        for axis, nodes in (("metallicity", metallicity), ("log_age", log_age)):
            if np.any(np.diff(nodes) <= 0):
                raise ValueError(f"grid {name}: {axis} nodes must increase, found {nodes}")
        exists = np.isfinite(initial_mass) & np.isfinite(magnitudes).all(axis=(-2, -1))
        if not exists.any(axis=-1).all():
            m, a = np.argwhere(~exists.any(axis=-1))[0]
            raise ValueError(
                f"grid {name}: no star at [M/H] = {metallicity[m]:g}, log age = {log_age[a]:g}; "
                "cut the axes to nodes that have isochrones"
            )
        nearest = _nearest_existing(exists)
        mass = np.maximum.accumulate(np.take_along_axis(initial_mass, nearest, axis=-1), axis=-1)
        filled = np.take_along_axis(magnitudes, nearest[..., None, None], axis=2)
        return cls(
            initial_mass=jnp.asarray(mass),
            magnitudes=jnp.asarray(filled.transpose(0, 1, 3, 4, 2), jnp.float32),
            metallicity=tuple(float(z) for z in metallicity),
            log_age=tuple(float(t) for t in log_age),
            bands=tuple(bands),
            name=name,
            joints=find_joints(mass, filled[..., 0, :]),
            log_teff=None
            if log_teff is None
            else jnp.asarray(np.take_along_axis(log_teff, nearest, axis=-1), jnp.float32),
        )

    def isochrone(
        self,
        log_age: Float[Array, ""] | float,
        metallicity: Float[Array, ""] | float,
        a_v: Float[Array, ""] | float = 0.0,
    ) -> Isochrone:
        """Interpolate the isochrone of this log₁₀(age/yr), [M/H] and extinction A_V [mag].

        Values beyond the nodes are moved to the last node; priors are checked against `bounds`.
        """
        first_m, w_m = cubic_stencil(jnp.asarray(metallicity), self.metallicity)
        first_a, w_a = cubic_stencil(jnp.asarray(log_age), self.log_age)

        weights = (w_m[:, None] * w_a).ravel()

        def near(table: Array) -> Array:
            """Nodes of the stencil [node, …]: one flat row of the table for each."""
            rows = table.reshape(*table.shape[:2], -1)
            sizes = (w_m.shape[0], w_a.shape[0], rows.shape[-1])
            window = jax.lax.dynamic_slice(rows, (first_m, first_a, 0), sizes)
            return window.astype(weights.dtype).reshape(-1, *table.shape[2:])

        coefficients = near(self.magnitudes)
        powers = jnp.arange(coefficients.shape[1], dtype=weights.dtype)
        a_v = jnp.asarray(a_v, weights.dtype)
        value = jnp.cumprod(jnp.where(powers == 0, 1.0, a_v))
        slope = powers * jnp.concatenate([jnp.zeros(1, value.dtype), value[:-1]])
        # one product with all nodes and powers: the gradient then reads them once
        n_bands, n_eeps = coefficients.shape[2:]
        rows = coefficients.reshape(-1, n_bands * n_eeps)
        magnitudes, reddening = (
            jnp.dot((weights[:, None] * by).ravel(), rows).reshape(n_bands, n_eeps).T
            for by in (value, slope)
        )
        mass = jax.lax.cummax(jnp.dot(weights, near(self.initial_mass)))
        log_teff = None if self.log_teff is None else jnp.dot(weights, near(self.log_teff))
        return Isochrone(mass, magnitudes, reddening, log_teff)

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Where parameters must lie for the grid to mean anything."""
        return {
            "log_age": (self.log_age[0], self.log_age[-1]),
            "metallicity": (self.metallicity[0], self.metallicity[-1]),
            "a_v": (0.0, MAX_A_V),
        }

    def select(self, bands: tuple[str, ...]) -> "IsochroneGrid":
        """Keep these bands only, in this order; those of `TRANSFORMED` are made from the grid's.

        Raises:
            ValueError: names bands that are missing.
        """
        parts = [{b: 1.0} if b in self.bands else TRANSFORMED.get(b, {b: 1.0}) for b in bands]
        missing = dict.fromkeys(b for of in parts for b in of if b not in self.bands)
        if missing:
            raise ValueError(
                f"grid {self.name} has no band {', '.join(missing)}; it has "
                f"{', '.join(self.bands)}. Take another --grid, or read the table in these bands, "
                "if its passbands are theirs: --columns …, with --column BAND=NAME where a column "
                "has another name"
            )
        matrix = np.array([[of.get(b, 0.0) for b in self.bands] for of in parts])
        magnitudes = jnp.einsum("nb,mapbe->mapne", matrix, self.magnitudes)
        magnitudes = magnitudes.astype(self.magnitudes.dtype)
        return dataclasses.replace(self, magnitudes=magnitudes, bands=bands)


def _nearest_existing(exists: np.ndarray) -> np.ndarray:
    """For each EEP the index of the nearest one that exists, along the last axis."""
    index = np.arange(exists.shape[-1])
    below = np.maximum.accumulate(np.where(exists, index, -1), axis=-1)
    above = np.where(exists, index, 2 * len(index))
    above = np.minimum.accumulate(above[..., ::-1], axis=-1)[..., ::-1]
    use_below = (below >= 0) & ((index - below <= above - index) | (above >= len(index)))
    return np.where(use_below, below, np.minimum(above, len(index) - 1))
