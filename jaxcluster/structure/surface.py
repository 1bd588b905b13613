"""A cluster and its background on the sky: the likelihood of positions as a Poisson process.

    λ(x) = N s(r(x)) / ∫ f s dA + b [1 + g·x/R]
    ln L = Σ_i w_i ln λ(x_i) − N − b ∫ f [1 + g·x/R] dA

(inhomogeneous Poisson process; Sarazin 1980), with N the number of the cluster's stars expected in
the footprint, s a profile, f the completeness, w_i weights such as membership probabilities.
The ln f(x_i) have no parameters and are left out. N and not the number in the whole profile: it is
what the data count, whatever the profile does beyond the footprint.
"""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxcluster.density.mixture import AbstractDensity
from jaxcluster.density.stars import Stars
from jaxcluster.structure.footprint import Footprint, elliptical_square
from jaxcluster.structure.profiles import AbstractProfile, profile_of

_FAINTEST = 1e-300  # where there is neither cluster nor background: ln 0 has no gradient


class SurfaceDensity(AbstractDensity):
    """Expected density of stars in the plane [arcmin⁻²]: the rate of a Poisson process.

    Args:
        profile: s, of amplitude 1.
        footprint: within which the numbers are.
        n_inside: N, stars of the cluster in the footprint.
        background: b, at the origin [arcmin⁻²].
        centre: of the cluster [arcmin].
        ellipticity: 1 − axis ratio; radii are geometric means of the axes.
        position_angle: of the major axis, from north through east [deg].
        gradient: g, of the background: its relative change over the footprint's radius R.
    """

    profile: AbstractProfile
    footprint: Footprint
    n_inside: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    background: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    centre: Float[Array, "2"] = eqx.field(converter=jnp.asarray, default=(0.0, 0.0))
    ellipticity: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    position_angle: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    gradient: Float[Array, "2"] = eqx.field(converter=jnp.asarray, default=(0.0, 0.0))

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, Array],
        footprint: Footprint,
        profile: str = "king62",
        beta: int | None = None,
    ) -> "SurfaceDensity":
        """Return the density of parameters by name, as in `models/king_profile.py`."""
        some = {
            name: parameters[name]
            for name in ("ellipticity", "position_angle", "gradient")
            if name in parameters
        }
        if "x_centre" in parameters:
            some["centre"] = jnp.stack([parameters["x_centre"], parameters["y_centre"]])
        return cls(
            profile_of(profile, parameters, beta),
            footprint,
            parameters["n_inside"],
            parameters["background_density"],
            **some,
        )

    @property
    def amplitude(self) -> Float[Array, ""]:
        """Of the profile, N / ∫ f s dA: King's k [arcmin⁻²]."""
        shape = self.centre, self.ellipticity, self.position_angle
        return self.n_inside / self.footprint.integral(self.profile, *shape)

    def cluster(self, x: Float[Array, "n 2"]) -> Float[Array, " n"]:
        """Density of the cluster at each place."""
        # column by column: gradients take half the time of those of x − centre
        d = jnp.stack([x[:, a] - self.centre[a] for a in (0, 1)], axis=-1)
        square = elliptical_square(d, self.ellipticity, self.position_angle)
        return self.amplitude * self.profile.at(square)

    def field(self, x: Float[Array, "n 2"]) -> Float[Array, " n"]:
        """Density of the background at each place."""
        slope = x[:, 0] * self.gradient[0] + x[:, 1] * self.gradient[1]
        return self.background * (1.0 + slope / self.footprint.radius)

    @property
    def expected(self) -> Float[Array, ""]:
        """Number of stars expected in the footprint."""
        tilt = self.gradient @ self.footprint.moments / self.footprint.radius
        return self.n_inside + self.background * (self.footprint.area + tilt)

    def log_rate(self, x: Float[Array, "n 2"]) -> Float[Array, " n"]:
        """Return ln λ at each place."""
        return jnp.log(jnp.maximum(self.cluster(x) + self.field(x), _FAINTEST))

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Return ln λ at one place; positions have no noise that matters."""
        return self.log_rate(x[None])[0]

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Return ln λ at each star."""
        return self.log_rate(stars.x)

    def log_likelihood(
        self, x: Float[Array, "n 2"], weights: Float[ArrayLike, " n"] | float = 1.0
    ) -> Float[Array, ""]:
        """Return ln L of positions."""
        return (weights * self.log_rate(x)).sum() - self.expected

    def derived(self) -> dict[str, Float[Array, ""]]:
        """Return what follows from the parameters.

        - ``n_cluster``: k ∫ s dA over the whole plane, stars of the whole profile, wherever the
          footprint ends; infinite where that diverges (untruncated; γ ≤ 2).
        - ``central_density``: of the cluster alone, k s(0) [arcmin⁻²].
        - ``density_contrast``: δ_c = 1 + k s(0)/b (Bonatto & Bica 2009).
        - ``concentration``: r_t/r_c, of profiles with an edge.
        """
        central = self.amplitude * self.profile.central
        values = {
            "n_cluster": self.amplitude * self.profile.total,
            "central_density": central,
            "density_contrast": 1.0 + central / self.background,
        }
        if (tidal := getattr(self.profile, "tidal", None)) is not None:
            values["concentration"] = tidal / self.profile.core
        return values


class ClusterOnSky(AbstractDensity):
    """Density of one of the cluster's stars, f s / ∫ f s dA, up to ln f: a part of a `Product`.

    With the positions as a `Subspace` beside proper motions, parallaxes or colours; positions have
    no noise that matters.

    Args:
        surface: the cluster; its background plays no part.
    """

    surface: SurfaceDensity

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star at x, y [arcmin⁻²]; zero beyond an edge is ln 10⁻³⁰⁰."""
        share = self.surface.cluster(x[None])[0] / self.surface.n_inside
        return jnp.log(jnp.maximum(share, _FAINTEST))


class FieldOnSky(AbstractDensity):
    """The same of one of the background's stars.

    Args:
        surface: the background; its cluster plays no part.
    """

    surface: SurfaceDensity

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Log density of one star at x, y [arcmin⁻²]."""
        total = self.surface.expected - self.surface.n_inside
        return jnp.log(self.surface.field(x[None])[0]) - jnp.log(total)
