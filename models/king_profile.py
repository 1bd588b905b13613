"""The structure of a cluster from positions alone: a King profile, or another, and a background.

    λ(x) = N s(r(x)) / ∫ s dA + b,     ln L = Σ ln λ(x_i) − ∫ λ dA

every star by itself, no rings (see `jaxcluster.structure.surface`). From the command line
`jaxcluster king TABLE`. Default priors, R the footprint's radius and n the number of stars (or the
sum of their weights), m = n + 5√n + 10 and A its area:

    n_inside ~ Uniform(0, m)                   stars of the cluster in the footprint
    background_density ~ Uniform(0, m/A)       [arcmin⁻²]
    r_core ~ LogUniform(R/300, R)              [arcmin]; a of Elson, Fall & Freeman and of Plummer
    r_tidal ~ LogUniform(R/30, 10 R)           [arcmin]
    beta ~ Uniform(0.5, 4)                     where it is free
    gamma ~ Uniform(2, 10)
    x_centre, y_centre ~ Uniform(−R/4, R/4)    [arcmin]
    ellipticity ~ Uniform(0, max_ellipticity), position_angle ~ Uniform(−90, 90) [deg]
    gradient ~ Uniform(−0.7, 0.7) twice        of the background over R: it stays positive
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.distributions import Normal, Uniform, constraints

import jaxcluster as jc
from jaxcluster.catalogue.sky import middle, to_plane
from jaxcluster.structure.background import log_evidence
from jaxcluster.structure.footprint import circle
from jaxcluster.structure.profiles import PROFILES, parameters_of
from jaxcluster.structure.surface import SurfaceDensity


def build(
    stars,
    *,
    footprint=None,
    radius=None,
    profile="king62",
    beta=None,
    max_ellipticity=0.8,
    free_centre=True,
    gradient=False,
    weights=None,
    prior=None,
):
    """Return the model of `stars`, with the background alone as competitor, by the same priors.

    Args:
        stars: columns (x, y) [arcmin], about the centre, or (ra, dec) [deg], which are projected
            about their median.
        footprint: where stars would have been seen; by default a circle about the origin.
        radius: of that circle [arcmin]; by default it just holds all stars, and an edge that they
            chose themselves is a little too near: give the survey's. Stars outside are an error.
        profile: a name of `jaxcluster.structure.profiles.PROFILES`.
        beta: 1 or 2 for the generalised one, free by default.
        max_ellipticity: 0 for a circular cluster.
        free_centre: False keeps it at the origin.
        gradient: whether the background may change linearly.
        weights: of each star in ln L, such as membership probabilities.
        prior: replaces or adds distributions or their texts.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r}: expected one of {', '.join(PROFILES)}")
    if beta not in ((None, 1, 2) if profile == "generalised" else (None,)):
        raise ValueError(f"beta: 1, 2 or free, of profile 'generalised'; found {beta} of {profile}")
    if stars.columns == ("ra", "dec"):
        ra, dec = np.asarray(stars.x).T
        stars = jc.Stars(to_plane(ra, dec, middle(ra, dec)), 0 * stars.noise, ("x", "y"))
    if footprint is None:
        away = float(np.hypot(*np.asarray(stars.x).T).max())
        footprint = circle(away * (1 + 1e-9) if radius is None else radius)
    if outside := int((~footprint.contains(stars.x)).sum()):
        raise ValueError(f"stars: {outside} lie outside the footprint; drop them or widen it")
    w = np.ones(len(stars)) if weights is None else np.asarray(weights, float)
    n = float(w.sum())
    most, area, radius = n + 5 * n**0.5 + 10, float(footprint.area), footprint.radius
    sites = {
        "n_inside": Uniform(0.0, most),
        "background_density": Uniform(0.0, most / area),
        "x_centre": Uniform(-0.25 * radius, 0.25 * radius),
        "y_centre": Uniform(-0.25 * radius, 0.25 * radius),
        "gradient": Uniform(-0.7, 0.7).expand([2]).to_event(1),
    }
    shape = {p.name: p.prior(radius) for p in parameters_of(profile, beta)}
    sites |= shape
    names = ["n_inside", "background_density", *shape]
    names += ["x_centre", "y_centre"] * free_centre + ["gradient"] * gradient
    positive = dict.fromkeys(("n_inside", "background_density", *shape), constraints.positive)
    support = positive | {"gradient": constraints.interval(-1.0, 1.0)}
    sites, _ = jc.within({name: sites[name] for name in names}, {}, prior, support)

    def program():
        parameters: Any = {name: numpyro.sample(name, sites[name]) for name in sites}
        if max_ellipticity > 0:
            # two normal numbers, the angle theirs: a circle is a point and the angle has no ends
            shape: Any = numpyro.sample("shape_", Normal(0, 1).expand([2]).to_event(1))
            u, v = shape
            parameters["ellipticity"] = -max_ellipticity * jnp.expm1(-0.5 * (u**2 + v**2))
            parameters["position_angle"] = jnp.degrees(0.5 * jnp.arctan2(v, u))
        return parameters

    def density(parameters):
        return SurfaceDensity.of(parameters, footprint, profile, beta)

    x, slope = np.asarray(stars.x), sites.get("gradient")
    null = log_evidence(x, w, footprint, sites["background_density"], slope)
    return jc.Model(program, density, stars, jnp.asarray(w), null=null)
