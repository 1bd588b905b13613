"""A single stellar population with unresolved binaries, and a field (MiMO; Li & Shao 2022).

    p(x | θ) = f φ(x) + (1 − f) p_cluster(x | θ)

of magnitude and colours x, and of parallax where it is given: a factor of either part
(`jaxcluster.population.parallax`).

Default priors after Li & Shao (2022, Table 1), wider where real clusters need it. Copy this file
and edit it to try something else; `jaxcluster bayes-factor --model FILE.py` takes the copy.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from numpyro.distributions import LogUniform, Normal, Uniform, constraints

import jaxcluster as jc

PRIOR = {
    "log_age": Uniform(6.2, 10.15),  # log₁₀ yr
    "metallicity": Uniform(-2.0, 0.45),  # [M/H]
    "distance_modulus": Uniform(4.0, 17.0),  # mag
    "a_v": Uniform(0.0, 6.0),  # mag
    "mass_slope": Uniform(-5.0, 2.0),  # dN/dM ∝ M^slope
    "binary_fraction": Uniform(0.0, 1.0),
    "field_fraction": Uniform(0.0, 1.0),
    "model_scatter": LogUniform(0.003, 0.2),  # mag, in magnitude and colour
}

SUPPORT = {  # where a parameter means something; age and metallicity: where the grid has isochrones
    "a_v": constraints.nonnegative,
    "binary_fraction": constraints.unit_interval,
    "field_fraction": constraints.unit_interval,
    "model_scatter": constraints.positive,
    "extinction_scatter": constraints.positive,
    "r_v": constraints.interval(2.0, 6.0),  # where the law is known
}

CELLS = (96, 6), (128, 8), (200, 14), (320, 30)  # in mass and mass ratio, from rough to fine
FEW, MANY = 100, 300  # stars, from which on finer ones are worth their time
TIGHT = 0.01  # mag: the width of a sequence that needs finer ones


def cells_for(stars, scatter):
    """Numbers of cells in mass and mass ratio: the finer, the more stars and the tighter.

    96 × 6 for fewer than 100 stars, 128 × 8 for fewer than 300, else 200 × 14, and the next finer
    ones where the sequence is narrower than 0.01 mag, by the median error of colour and the median
    of the prior of the scatter. ln L of 400 stars, less that of 1280 × 56 cells, mean and standard
    deviation by 4000 simulated stars (`benchmarks/cells`):

                                              128 × 8       200 × 14       320 × 30
        log age 8,   11.5 mag, σ = 0.003   −1.2 ± 1.4     −0.5 ± 0.7     −0.1 ± 0.4
        log age 6.8, 10 mag,   σ = 0.004                  −1.5 ± 1.3     −0.6 ± 0.7
        log age 8.5,  6 mag,   σ = 0.003                  −0.8 ± 1.0     −0.1 ± 0.5
        log age 9.6,  9.5 mag, σ = 0.005   −0.5 ± 0.9      0.0 ± 0.6     −0.1 ± 0.3
        log age 9, 10.7 mag,   σ = 0.015   −0.1 ± 0.4      0.0 ± 0.2      0.0 ± 0.0

    They take 6, 13 and 42 ms for 4000 stars. Of the 96 × 6 ln L of 100 stars is off by 0.0 ± 0.3 at
    the last, and by 0.0 to 0.4 at NGC 2682, which has giants.

    The default prior of the scatter, whose median is 0.024 mag, does not ask for the last: a
    posterior that ends at its lower end should be sampled again with
    ``model_scatter=LogUniform(0.001, 0.02)``.

    Args:
        stars: columns magnitude and colours [mag].
        scatter: the prior of ``model_scatter``.
    """
    errors = np.sqrt(np.diagonal(np.asarray(stars.noise), axis1=1, axis2=2))
    colour = np.median(errors[:, 1:], axis=0).min()
    width = np.hypot(colour, np.median(scatter.sample(jax.random.key(0), (1000,))))
    return CELLS[(len(stars) >= FEW) + (len(stars) >= MANY) + int(width < TIGHT)]


def mixture(population, parameters):
    """p(x | θ) of the module's docstring.

    A `Partial` of it tells its arrays, so that what is traced for one candidate serves all.
    """
    f = parameters["field_fraction"]
    return jc.Mixture(jnp.stack([1.0 - f, f]), (population(parameters), jc.Known("field")))


def build(
    stars,
    *,
    field,
    limits,
    grid="parsec",
    prior=None,
    isochrone_error=None,
    parallaxes=None,
    n_masses=None,
    n_mass_ratios=None,
):
    """Return the model of `stars`, with the field's density as competitor.

    Args:
        stars: the sample, columns (magnitude, colours).
        field: density of field stars, from `jc.fit_field`.
        limits: magnitudes between which sample and field are complete.
        grid: isochrones, a name or a file.
        prior: replaces or adds distributions or their texts, for instance {"mass_ratio_slope":
            Uniform(-5, 5)}, {"extinction_scatter": "LogUniform(0.003, 0.3)"} or {"r_v":
            "Normal(3.1, 0.3)"}, which is 3.1 by default. Normal ones that reach beyond `SUPPORT` or
            the grid are cut off there.
        isochrone_error: what the isochrones' colour may be wrong by, for `jc.load_colour_error`: by
            default the mean that well-known clusters say, of parsec and mist in G and BP − RP; 0
            trusts them, as stars that were made with them need.
        parallaxes: of the stars, `jc.Parallaxes`; they add the parameter ``parallax_zero_point``.
        n_masses: cells along the isochrone; see `cells_for`.
        n_mass_ratios: cells in the mass ratio.
    """
    bands, _ = jc.plane_of(stars.columns)
    isochrones = jc.load_grid(grid, bands)
    error = jc.load_colour_error(isochrone_error, grid, stars.columns)
    widths = {} if error is None else dict(zip(error.names, error.widths, strict=True))
    more = {name: Normal(0.0, width) for name, width in widths.items()}
    if parallaxes is not None:
        more["parallax_zero_point"] = Normal(*parallaxes.zero_point)
    prior, fixed = jc.within({**PRIOR, **more}, isochrones.bounds, prior, SUPPORT)
    masses, ratios = cells_for(stars, prior["model_scatter"])
    population = jc.PopulationModel(
        grid=isochrones,
        errors=jc.ErrorModel.of(stars),
        columns=stars.columns,
        limits=limits,
        n_masses=n_masses or masses,
        n_mass_ratios=n_mass_ratios or ratios,
        fixed=fixed,
        colour_error=error,
    )
    brightest, faintest = population.absolute_range
    draws = jnp.asarray(prior["distance_modulus"].sample(jax.random.key(0), (1000,)))
    nearest, farthest = float(draws.min()), float(draws.max())
    # two magnitudes for what binaries add and a good deal of extinction takes
    if limits[1] < brightest + nearest - 2 or limits[0] > faintest + farthest + 2:
        raise ValueError(
            f"no isochrone reaches magnitudes {limits[0]:g} to {limits[1]:g} at distance moduli "
            f"{nearest:.1f} to {farthest:.1f}: check the limits and the prior of distance_modulus"
        )

    rough, (masses, ratios) = None, CELLS[0]
    if masses * ratios < population.n_masses * population.n_mass_ratios:
        # quicker, and near enough to search with; the next coarser ones take longer (`evidence`)
        rough = Partial(mixture, replace(population, n_masses=masses, n_mass_ratios=ratios))
    log_field = field(stars)  # has no parameters: once per star
    if parallaxes is not None:
        log_field = log_field + parallaxes.log_field
        stars = parallaxes.known_by(stars)
    return jc.Model(
        prior,
        Partial(mixture, population),
        stars.knowing(field=log_field),
        null=float(np.asarray(log_field).sum()),
        rough=rough,
    )
