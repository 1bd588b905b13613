"""The density of a stellar population in the colour-magnitude plane (MiMO; Li & Shao 2022).

    p(x | θ) = Σ_k w_k N(x | μ_k, V_k + s² 1 + S) / Σ_k w_k P(lo < m < hi | k)      lo < m < hi

over the cells k of `population`, with the star's noise S and a free model scatter s, since
isochrones are wrong by more than Gaia's errors. The denominator is one number per θ: the share of
the population that the magnitude limits let through, errors as a function of magnitude included.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcluster.density.draws import draw_between
from jaxcluster.density.local import log_density_local
from jaxcluster.density.materialise import materialise
from jaxcluster.density.mixture import AbstractDensity
from jaxcluster.density.stars import Stars
from jaxcluster.population.cells import Cells, population_cells
from jaxcluster.population.colour_error import ColourError, with_colour_error
from jaxcluster.population.extinction import with_dust
from jaxcluster.population.isochrone import Isochrone, IsochroneGrid
from jaxcluster.population.mass_function import MassFunction
from jaxcluster.population.parallax import expected_parallax, log_parallax

# A cell further from the limits than this many standard deviations adds less than 3e-7.
REACH = 5.0
# The largest step by which two stars outshine the brighter one.
EQUAL_PAIR = 0.7526


class ErrorModel(eqx.Module):
    """Median magnitude error as a function of magnitude, for the selection's soft edge."""

    magnitude: Float[Array, " b"]
    error: Float[Array, " b"]

    @classmethod
    def of(cls, stars: Stars, n_bins: int = 16) -> "ErrorModel":
        """Bin a sample's own errors; `stars.x[:, 0]` is the magnitude."""
        magnitude, error = np.asarray(stars.x)[:, 0], np.sqrt(np.asarray(stars.noise)[:, 0, 0])
        order = np.argsort(magnitude)
        groups = np.array_split(order, min(n_bins, len(order)))
        centres = np.array([np.median(magnitude[g]) for g in groups])
        medians = np.array([np.median(error[g]) for g in groups])
        return cls(jnp.asarray(centres), jnp.asarray(medians))

    def __call__(self, magnitude: Float[Array, " k"]) -> Float[Array, " k"]:
        """Error at each magnitude [mag], linear between bins and constant beyond the ends.

        As a sum of ramps, one per interval: `jnp.interp` looks each magnitude up, which is slower.
        """
        width = jnp.diff(self.magnitude)
        slope = jnp.diff(self.error) / jnp.where(width > 0, width, jnp.inf)
        error = jnp.full_like(magnitude, self.error[0])
        for i in range(len(self.magnitude) - 1):
            error = error + slope[i] * jnp.clip(magnitude - self.magnitude[i], 0.0, width[i])
        return error


def plane_of(columns: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Bands that these columns need, and the matrix that makes the columns from them.

    ("G", "BP-RP") gives (("G", "BP", "RP"), [[1, 0, 0], [0, 1, −1]]).

    Raises:
        ValueError: if the first column is not a magnitude.
    """
    terms = [c.split("-") for c in columns]
    if len(terms[0]) != 1 or any(len(t) > 2 for t in terms):
        raise ValueError(
            f"columns {columns}: expected a magnitude, then colours, such as ('G', 'BP-RP')"
        )
    bands = tuple(dict.fromkeys(band for term in terms for band in term))
    matrix = np.zeros((len(columns), len(bands)))
    for row, term in enumerate(terms):
        for band, sign in zip(term, (1.0, -1.0), strict=False):
            matrix[row, bands.index(band)] += sign
    return bands, matrix


class StellarParameters(NamedTuple):
    """What a star's magnitude and colour say of it, were it a member (Liu, Shao & Li 2025).

    Means over the cells that can have made the star; NaN for a star that none can.
    """

    mass: Float[Array, " n"]  # of the primary [solar]
    mass2: Float[Array, " n"]  # mean of its square
    binary: Float[Array, " n"]  # probability of being a binary
    mass_ratio: Float[Array, " n"]  # of binaries
    mass_ratio2: Float[Array, " n"]


class PopulationDensity(AbstractDensity):
    """Density of cluster stars between the magnitude limits; made by `PopulationModel`.

    Of magnitude and colour, and of the parallaxes that stars know where it has one.
    """

    cells: Cells
    isochrone: Isochrone  # single stars, in apparent magnitudes
    log_selected: Float[Array, ""]  # ln of the share of the population between the limits
    binary_share: Float[Array, ""]  # of binaries among what the limits let through
    columns: tuple[str, ...] = eqx.field(static=True)
    limits: Float[Array, " 2"]  # magnitudes
    parallax: Float[Array, ""] | float | None = None  # that Gaia would measure [mas]

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star's magnitude and colour."""
        return self._log_density(x[None], noise[None], None)[0]

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Log density of each star, through the chunked kernel; −inf outside the limits."""
        log_p = self._log_density(stars.x, stars.noise, stars.real)
        return log_p if self.parallax is None else log_p + log_parallax(stars, self.parallax)

    def _log_sum(self, x, noise, real, weights):
        c = self.cells
        return log_density_local(x, noise, weights, c.means, c.covs, real=real, pairs=jnp.float32)

    def stellar_parameters(self, stars: Stars) -> StellarParameters:
        """Mass and mass ratio of each star: E[a | x] = Σ_k a_k w_k N_k / Σ_k w_k N_k."""
        cells = self.cells

        pairs = jnp.where(cells.mass_ratio > 0, 1.0, 0.0)
        values = [cells.mass**power for power in range(3)]
        values = jnp.stack([*values, *(pairs * cells.mass_ratio**power for power in range(3))])
        # one after the other: side by side the kernel would be compiled six times
        one, mass, mass2, binary, ratio, ratio2 = jax.lax.map(
            lambda value: self._log_sum(stars.x, stars.noise, stars.real, cells.weights * value),
            values,
        )
        return StellarParameters(
            mass=jnp.exp(mass - one),
            mass2=jnp.exp(mass2 - one),
            binary=jnp.exp(binary - one),
            mass_ratio=jnp.exp(ratio - binary),
            mass_ratio2=jnp.exp(ratio2 - binary),
        )

    def sample(
        self,
        n: int,
        noise: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, "n d d"]],
        rng: np.random.Generator,
    ) -> Float[np.ndarray, "n d"]:
        """Draw magnitudes and colours of n stars between the limits, with their noise.

        Args:
            n: how many.
            noise: covariance of a star by its magnitude.
            rng: for all draws.
        """
        c = self.cells
        return draw_between((c.weights, c.means, c.covs), self.limits, n, rng, noise)

    def _log_density(self, x, noise, real):
        log_p = self._log_sum(x, noise, real, self.cells.weights)
        inside = (x[:, 0] >= self.limits[0]) & (x[:, 0] <= self.limits[1])
        return jnp.where(inside, log_p - self.log_selected, -jnp.inf)


class PopulationModel(eqx.Module):
    """What turns parameters into a `PopulationDensity`.

    Args:
        grid: isochrones with the bands of `columns`, in their order (see `plane_of`).
        columns: a magnitude and colours of the grid's bands, as in `Stars.columns`.
        limits: the magnitudes between which sample and field are complete.
        errors: magnitude error as a function of magnitude.
        mass_function: of slope `mass_slope` → `MassFunction`; a single power law by default.
        n_masses: cells of binaries along the isochrone; of single stars three times as many.
        n_mass_ratios: cells in the mass ratio.
        fixed: parameters with one value, such as the age of a grid of one isochrone.
        colour_error: what the isochrones' colour is wrong by; nothing where it is None.
    """

    grid: IsochroneGrid
    errors: ErrorModel
    columns: tuple[str, ...] = eqx.field(static=True)
    # an array: what is compiled for one candidate serves those of other limits
    limits: Float[Array, " 2"] = eqx.field(converter=jnp.asarray)
    n_masses: int = eqx.field(static=True, default=200)
    n_mass_ratios: int = eqx.field(static=True, default=14)
    fixed: Mapping[str, float] = eqx.field(default_factory=dict)
    colour_error: ColourError | None = None

    def __check_init__(self):
        """The grid's bands must be those of the columns."""
        bands, _ = plane_of(self.columns)
        if self.grid.bands != bands:
            raise ValueError(
                f"columns {self.columns} need the bands {bands}, the grid has {self.grid.bands}; "
                "use grid.select(bands)"
            )

    @property
    def absolute_range(self) -> tuple[float, float]:
        """Brightest and faintest absolute magnitude of the grid's stars, without extinction."""
        _, matrix = plane_of(self.columns)
        magnitudes = jnp.einsum("mabe,b->mae", self.grid.magnitudes[:, :, 0], matrix[0])
        return float(magnitudes.min()), float(magnitudes.max())

    def isochrone(self, parameters: Mapping[str, Float[Array, ""] | float]) -> Isochrone:
        """Single stars at `parameters`, in apparent magnitudes."""

        def value(name):
            return self.fixed[name] if name in self.fixed else parameters[name]

        isochrone = self.grid.isochrone(value("log_age"), value("metallicity"), value("a_v"))
        if "r_v" in parameters:
            isochrone = with_dust(isochrone, self.grid.bands, value("a_v"), parameters["r_v"])
        if self.colour_error is not None:
            values = self.colour_error(parameters)
            isochrone = with_colour_error(isochrone, plane_of(self.columns)[1], values)
        return isochrone._replace(magnitudes=isochrone.magnitudes + parameters["distance_modulus"])

    def _passed(self, cells: Cells) -> Float[Array, " k"]:
        """P(lo < m < hi) of each cell, good to 1e-6 of itself; the error function is float32.

        Φ(near) − Φ(far) with the signed distances inwards from the nearer limit and outwards from
        the farther one, in standard deviations. Where the limits hide almost all of a population,
        the difference of two numbers close to 1 would be rounding, and the likelihood a spike.
        """
        magnitude = cells.means[:, 0]
        # the errors at the limits: they change little over the few σ in which a cell is cut
        inwards = jnp.array([[1.0], [-1.0]]) * (magnitude - self.limits[:, None])
        sigma2 = cells.covs[:, 0, 0] + self.errors(self.limits)[:, None] ** 2
        low, high = inwards / jnp.sqrt(2.0 * sigma2)
        near, far = jnp.minimum(low, high), jnp.maximum(low, high)
        beyond_near, beyond_far = (jax.lax.erfc(x.astype(jnp.float32)) for x in (-near, far))
        return (0.5 * (beyond_near - beyond_far)).astype(magnitude.dtype)

    def __call__(
        self,
        parameters: Mapping[str, Float[Array, ""] | float],
        mass_function: MassFunction | None = None,
    ) -> PopulationDensity:
        """Density at `parameters`.

        Args:
            parameters: log_age [log₁₀ yr], metallicity [M/H], distance_modulus [mag], a_v [mag],
                mass_slope (unless `mass_function` is given), binary_fraction, model_scatter [mag];
                optionally mass_ratio_slope (0 where absent), extinction_scatter [mag] and r_v
                (3.1 where absent); those of `colour_error` [mag]; parallax_zero_point [mas], with
                which stars' parallaxes count.
            mass_function: for instance `kroupa()`; a power law of slope mass_slope by default.
        """
        _, matrix = plane_of(self.columns)
        to_plane = jnp.asarray(matrix)
        isochrone = self.isochrone(parameters)
        scatter2 = jnp.asarray(parameters["model_scatter"]) ** 2
        extinction_scatter = parameters.get("extinction_scatter")
        # extinction is at most as large in the magnitude as in V, but for bluer bands
        spread = scatter2 if extinction_scatter is None else scatter2 + extinction_scatter**2
        pad = REACH * jnp.sqrt(spread) + 0.2
        window = (self.limits[0] - pad, self.limits[1] + EQUAL_PAIR + pad)
        if mass_function is None:
            mass_function = MassFunction((parameters["mass_slope"],))
        cells = population_cells(
            isochrone,
            to_plane,
            window,
            mass_function,
            binary_fraction=parameters["binary_fraction"],
            mass_ratio_slope=parameters.get("mass_ratio_slope", 0.0),
            model_scatter=parameters["model_scatter"],
            extinction_scatter=extinction_scatter,
            joints=self.grid.joints,
            n_masses=self.n_masses,
            n_mass_ratios=self.n_mass_ratios,
        )
        # a product with a matrix: into a sum XLA would draw the error functions, one at a time
        both = jnp.stack([cells.weights, jnp.where(cells.mass_ratio > 0, cells.weights, 0.0)])
        total, binaries = both @ materialise(self._passed(cells))
        return PopulationDensity(
            cells=cells,
            isochrone=isochrone,
            # 1e-30: a population that the limits hide altogether must give −large, not NaN
            log_selected=jnp.log(jnp.maximum(total, 1e-30)),
            binary_share=binaries / jnp.maximum(total, 1e-30),
            columns=self.columns,
            limits=self.limits,
            parallax=expected_parallax(parameters),
        )
