"""Mock clusters and fields of known truth, from the same model as the likelihood.

A cluster: masses from the mass function along an isochrone, a share f_b of binaries, model
scatter, Gaia-like errors, magnitude limits. A field: many such populations of other ages, distances
and extinctions. Tables have Gaia's column names, with the truth in further columns.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import Table, vstack
from jaxtyping import Float, PRNGKeyArray

from jaxcluster.density.keys import generator
from jaxcluster.population.cells import MIN_MASS_RATIO
from jaxcluster.population.cmd import plane_of
from jaxcluster.population.colour_error import ColourError, with_colour_error
from jaxcluster.population.isochrone import Isochrone, IsochroneGrid
from jaxcluster.population.mass_function import MassFunction

# σ(G) = floor + scale 10^(slope (G − 16)) in quadrature: medians of Gaia EDR3 (46 real fields,
# G 10–21) within a third, Gaia's floors included.
ERRORS = {"G": (0.0028, 0.0003, 0.32), "BP": (0.0028, 0.0045, 0.38), "RP": (0.0038, 0.0045, 0.32)}
COLUMNS = {"G": "phot_g_mean_mag", "BP": "phot_bp_mean_mag", "RP": "phot_rp_mean_mag"}
GAIA_BANDS = ("G", "BP", "RP")
BATCH = 20_000
FAINTEST = 21.5  # G [mag]
# A moderately old cluster 1.4 kpc away.
TRUTH = {
    "log_age": 9.0,
    "metallicity": 0.0,
    "distance_modulus": 10.7,
    "a_v": 0.4,
    "mass_slope": -2.0,
    "binary_fraction": 0.4,
    "field_fraction": 0.25,
    "model_scatter": 0.015,
}


def gaia_error(magnitude: Float[np.ndarray, " n"], band: str) -> Float[np.ndarray, " n"]:
    """Standard error of a band [mag] for stars of Gaia magnitude G [mag]."""
    floor, scale, slope = ERRORS[band]
    return np.hypot(floor, scale * 10.0 ** (slope * (np.asarray(magnitude) - 16.0)))


def draw_systems(rng, n, isochrone: Isochrone, parameters) -> dict[str, np.ndarray]:
    """True magnitudes [n, b] of n systems, with masses and mass ratios."""
    mass = np.asarray(isochrone.initial_mass)
    magnitudes = np.asarray(isochrone.magnitudes) + parameters["distance_modulus"]
    function = MassFunction((parameters["mass_slope"],))
    number = np.asarray(function.integral(jnp.asarray(mass[:-1]), jnp.asarray(mass[1:])))
    cumulative = np.concatenate([[0.0], np.cumsum(number)])
    u = rng.uniform(size=n) * cumulative[-1]
    # within a segment the likelihood spreads stars evenly: the same here
    segment = np.clip(np.searchsorted(cumulative, u, side="right") - 1, 0, len(number) - 1)
    t = (u - cumulative[segment]) / np.where(number[segment] > 0, number[segment], 1.0)
    primary = magnitudes[segment] + t[:, None] * (magnitudes[segment + 1] - magnitudes[segment])
    primary_mass = mass[segment] + t * (mass[segment + 1] - mass[segment])

    binary = rng.uniform(size=n) < parameters["binary_fraction"]
    slope = parameters.get("mass_ratio_slope", 0.0) + 1.0
    v = rng.uniform(size=n)
    if abs(slope) < 1e-9:
        ratio = MIN_MASS_RATIO ** (1.0 - v)
    else:
        low = MIN_MASS_RATIO**slope
        ratio = (low + v * (1.0 - low)) ** (1.0 / slope)
    second_mass = ratio * primary_mass
    second = np.stack([np.interp(second_mass, mass, m) for m in magnitudes.T], axis=1)
    bright = binary & (second_mass >= mass[0])
    both = -2.5 * np.log10(10 ** (-0.4 * primary) + 10 ** (-0.4 * second))
    return {
        "magnitudes": np.where(bright[:, None], both, primary),
        "mass": primary_mass,
        "mass_ratio": np.where(binary, ratio, 0.0),
    }


def _observe(rng, stars, scatter: float) -> Table:
    """Model scatter in G and in BP−RP, then measurement errors that depend on G."""
    # far beyond the survey the errors' law would give stars of G = 30 an error of 8 mag
    seen = stars["magnitudes"][:, 0] < FAINTEST
    stars = {name: values[seen] for name, values in stars.items()}
    g, bp, rp = stars.pop("magnitudes").T
    n = len(g)
    errors = {band: gaia_error(g, band) for band in GAIA_BANDS}
    shift, redder = scatter * rng.normal(size=(2, n))
    observed = {
        "G": g + shift + errors["G"] * rng.normal(size=n),
        "BP": bp + redder + errors["BP"] * rng.normal(size=n),
        "RP": rp + errors["RP"] * rng.normal(size=n),
    }
    table = Table()
    for band in GAIA_BANDS:
        table[COLUMNS[band]] = observed[band]
        table[f"{COLUMNS[band]}_error"] = errors[band]
    table["bp_rp"] = observed["BP"] - observed["RP"]
    for name, values in stars.items():
        table[f"true_{name}"] = values
    return table


def _limited(rng, n, limits, draw) -> Table:
    """Draw batches until n stars lie inside the magnitude limits."""
    parts, found = [], 0
    for _ in range(200):
        part = draw(BATCH)
        g = part[COLUMNS["G"]]
        part = part[(g >= limits[0]) & (g <= limits[1])]
        parts.append(part)
        found += len(part)
        if found >= n:
            whole = vstack(parts)
            return whole[rng.permutation(len(whole))[:n]]
    raise ValueError(
        f"only {found} of {200 * BATCH} simulated stars lie between G = {limits[0]} and "
        f"{limits[1]}, {n} were asked for: widen the limits or move the cluster closer"
    )


def simulate_field(
    key: PRNGKeyArray,
    n: int,
    grid: IsochroneGrid,
    limits: tuple[float, float],
    n_populations: int = 150,
    distances: tuple[float, float] = (0.0, 8.0),
) -> Table:
    """Field stars: populations of the disc at all distances [kpc] out to 8 kpc.

    log age U(8.5, 10.1), [M/H] N(−0.15, 0.25), distance ∝ d² dd, A_V = 0.4 mag/kpc ± 30 %, mass
    slope −2.3, half of the systems binaries. One draw of populations serves all stars of a key.
    """
    rng = generator(key)
    return _field_stars(rng, n, _disc(rng, grid, n_populations, distances), limits)


def _disc(rng, grid: IsochroneGrid, n_populations: int = 150, distances=(0.0, 8.0)) -> list:
    """Draw populations: isochrone and parameters of each."""
    near, far = distances
    populations = []
    for _ in range(n_populations):
        distance = (near**3 + (far**3 - near**3) * rng.uniform()) ** (1.0 / 3.0)  # kpc
        parameters = {
            "distance_modulus": 5.0 * np.log10(distance * 100.0),
            "mass_slope": -2.3,
            "binary_fraction": 0.5,
        }
        isochrone = grid.isochrone(
            rng.uniform(8.5, 10.1),
            float(np.clip(rng.normal(-0.15, 0.25), -1.5, 0.45)),
            float(np.clip(0.4 * distance * rng.normal(1.0, 0.3), 0.0, 6.0)),
        )
        populations.append((isochrone, parameters))
    return populations


def _field_stars(rng, n: int, populations: list, limits) -> Table:
    def draw(batch):
        each = batch // len(populations) + 1
        parts = [draw_systems(rng, each, *one) for one in populations]
        stars = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        return _observe(rng, stars, 0.0)

    return _limited(rng, n, limits, draw)


def simulate_cluster(
    key: PRNGKeyArray,
    n: int,
    parameters: Mapping[str, float],
    grid: IsochroneGrid,
    limits: tuple[float, float],
    colour_error: ColourError | None = None,
) -> Table:
    """A sample of n stars, a share field_fraction of them from `simulate_field`.

    Args:
        key: random key.
        n: stars inside the limits.
        parameters: as in `PopulationModel`, and field_fraction.
        grid: isochrones with G, BP, RP.
        limits: G between which stars are kept [mag].
        colour_error: what the grid's BP − RP lacks of real stars' (`load_colour_error`); its
            amplitudes are 0 where `parameters` have none. Nothing by default.

    Returns:
        A table in Gaia's column names with `source_id`, `true_member`, `true_mass` [solar] and
        `true_mass_ratio` (0 for single stars), shuffled.
    """
    if n < 1:
        raise ValueError(f"n = {n}: simulate at least one star")
    for name, (low, high) in grid.bounds.items():
        if not low <= parameters[name] <= high:
            raise ValueError(
                f"{name} = {parameters[name]:g}: isochrones {grid.name} cover {low:g} to {high:g}"
            )
    rng = generator(key)
    n_field = rng.binomial(n, parameters["field_fraction"])
    isochrone = grid.isochrone(parameters["log_age"], parameters["metallicity"], parameters["a_v"])
    if colour_error is not None:
        error = colour_error({**dict.fromkeys(colour_error.names, 0.0), **parameters})
        isochrone = with_colour_error(isochrone, plane_of(("G", "BP-RP"))[1], error)

    def draw(batch):
        stars = draw_systems(rng, batch, isochrone, parameters)
        return _observe(rng, stars, parameters["model_scatter"])

    cluster = _limited(rng, n - n_field, limits, draw)
    cluster["true_member"] = True
    field = simulate_field(jax.random.fold_in(key, 1), n_field, grid, limits)
    field["true_member"] = False
    both = vstack([cluster, field] if n_field else [cluster])
    both = both[rng.permutation(n)]
    both.add_column(np.arange(1, n + 1, dtype=np.int64), name="source_id", index=0)
    return both


def simulate_pair(
    key: PRNGKeyArray,
    n: int,
    n_field: int,
    parameters: Mapping[str, float],
    grid: IsochroneGrid,
    limits: tuple[float, float],
    colour_error: ColourError | None = None,
) -> tuple[Table, Table]:
    """A sample and its field stars, from the same populations.

    Arguments as in `simulate_cluster`; `n_field` is the number of field stars beside the sample.
    """
    sample = simulate_cluster(key, n, parameters, grid, limits, colour_error)
    # the contaminants' populations, other stars: a star of both tables would be its own neighbour
    populations = _disc(generator(jax.random.fold_in(key, 1)), grid)
    field = _field_stars(generator(jax.random.fold_in(key, 2)), n_field, populations, limits)
    field.add_column(np.arange(n_field, dtype=np.int64) + 10**9, name="source_id", index=0)
    return sample, field
