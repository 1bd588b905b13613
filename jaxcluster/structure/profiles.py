"""Surface-density profiles of star clusters.

Each is the density at a radius, for amplitude 1, and knows what a disc of that density holds: in
closed form where there is one, else by Gauss and Legendre's rule. `PROFILES` names them: a new one
is a class, and a line there. Profiles are functions of the
squared radius, r² = v, which is smooth at the centre where r is not. Radii in arcmin by custom; any
unit will do.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from numpyro.distributions import Distribution, LogUniform, Uniform

_TINY = 1e-12  # (r/r_c)² below which the mean within r is taken to be that at the centre
NODES = 32
_ROOTS, _GAUSS = np.polynomial.legendre.leggauss(NODES)
_LEFT = 0.5 * (1.0 - _ROOTS)
# x = 1 − y²: dense towards x = 1, where a truncated profile ends like (1 − x)^β
_X, _WEIGHTS = 1.0 - _LEFT**2, _LEFT * _GAUSS


class AbstractProfile(eqx.Module):
    """A surface density s(r) of amplitude 1."""

    core: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def at(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Density s at squared radii v."""

    @abc.abstractmethod
    def half_mean(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """∫₀¹ s(t √v) t dt: half the mean density of the disc of squared radius v."""

    @property
    @abc.abstractmethod
    def edge_square(self) -> Float[Array, ""]:
        """Squared radius from which on the density is zero; infinite where there is none."""

    @property
    def total(self) -> Float[Array, ""]:
        """∫ s dA over the whole plane; infinite where that diverges."""
        return self.cumulative(jnp.sqrt(self.edge_square))

    def __call__(self, radius: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
        """Density s(r)."""
        return self.at(jnp.asarray(radius) ** 2)

    def cumulative(self, radius: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
        """F(R) = ∫₀ᴿ s(r) 2πr dr, what a circle of radius R about the centre holds."""
        square = jnp.asarray(radius) ** 2
        return 2.0 * jnp.pi * square * self.half_mean(square)

    @property
    def central(self) -> Float[Array, ""]:
        """Density at the centre."""
        return self.at(jnp.zeros(()))


def radial_mean(profile: AbstractProfile, square: Float[Array, "*n"], weight=None):
    """∫₀¹ s(t √v) f(t) t dt by quadrature: of any profile, and with a weight along the way.

    In q = ½ ln(1 + t²v/r_c²) the profile changes on a scale of 1, whatever v and r_c are.

    Args:
        profile: s.
        square: v.
        weight: f of t [*n, nodes]; 1 by default.
    """
    scale = profile.core**2
    square = jnp.maximum(square, _TINY * scale)[..., None]
    longest = 0.5 * jnp.log1p(jnp.minimum(square, profile.edge_square) / scale)
    u = jnp.expm1(2.0 * longest * _X)  # (t √v / r_c)²
    values = profile.at(scale * u) * (1.0 + u)
    if weight is not None:
        values = values * weight(jnp.sqrt(scale * u / square))
    return ((values @ _WEIGHTS)[..., None] * longest * scale / square)[..., 0]


def _power_law(u, power):
    """∫₀ᵘ (1 + x)^(power − 1) dx, for any power, 0 included, where it is ln(1 + u)."""
    log = jnp.log1p(u)
    x = power * log
    small = jnp.abs(x) < 1e-5
    safe = jnp.where(small, 1.0, x)
    return log * jnp.where(small, 1.0 + 0.5 * x, jnp.expm1(safe) / safe)


def _truncation(core, tidal):
    """1 / √(1 + (r_t/r_c)²)."""
    return 1.0 / jnp.sqrt(1.0 + (tidal / core) ** 2)


def _base(square, core, tidal):
    """1/√(1 + (r/r_c)²) − 1/√(1 + (r_t/r_c)²), and 0 beyond r_t."""
    inner = 1.0 / jnp.sqrt(1.0 + square / core**2)
    return jnp.maximum(inner - _truncation(core, tidal), 0.0)


class _Truncated(AbstractProfile):
    """A profile that ends at r_t."""

    tidal: eqx.AbstractVar[Float[Array, ""]]

    @property
    def edge_square(self) -> Float[Array, ""]:
        """r_t²."""
        return self.tidal**2


class King(_Truncated):
    """[1/√(1+(r/r_c)²) − 1/√(1+(r_t/r_c)²)]^β inside r_t, 0 outside, with β = 2 or 1.

    King (1962), eq. 14, is β = 2. In closed form, with u = (R/r_c)² and c = 1/√(1+(r_t/r_c)²),

        F = π r_c² [ln(1+u) − 4c (√(1+u) − 1) + c²u]          β = 2  (his eq. 18)
        F = π r_c² [2 (√(1+u) − 1) − cu]                        β = 1

    Args:
        core: r_c.
        tidal: r_t; it may be smaller than r_c.
        beta: β.
    """

    core: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    tidal: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    beta: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        if self.beta not in (1, 2):
            raise ValueError(f"beta: expected 1 or 2, found {self.beta}; else GeneralisedKing")

    def at(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Density s at squared radii v."""
        return _base(square, self.core, self.tidal) ** self.beta

    def half_mean(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """∫₀¹ s(t √v) t dt."""
        scale, c = self.core**2, _truncation(self.core, self.tidal)
        square = jnp.maximum(square, _TINY * scale)
        u = jnp.minimum(square, self.edge_square) / scale
        root = u / (jnp.sqrt(1.0 + u) + 1.0)  # √(1+u) − 1
        two = jnp.log1p(u) - 4.0 * c * root + c**2 * u
        return 0.5 * scale / square * (two if self.beta == 2 else 2.0 * root - c * u)


class GeneralisedKing(_Truncated):
    """The same with any β > 0 (Ahmed, Canbay & Çınar 2026); integrals by quadrature.

    Args:
        core: r_c.
        tidal: r_t.
        beta: β; at β < 1 the density falls to 0 at r_t with infinite slope.
    """

    core: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    tidal: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    beta: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def at(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Density s at squared radii v."""
        base = _base(square, self.core, self.tidal)
        inside = base > 0.0
        # 0^β has no gradient: neither branch may see a 0
        return jnp.where(inside, jnp.exp(self.beta * jnp.log(jnp.where(inside, base, 1.0))), 0.0)

    def half_mean(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """∫₀¹ s(t √v) t dt."""
        return radial_mean(self, square)


class ElsonFallFreeman(AbstractProfile):
    """(1 + (r/a)²)^(−γ/2), without an edge.

    F = π a² [(1+u)^(1−γ/2) − 1]/(1 − γ/2) with u = (R/a)², and π a² ln(1+u) for γ = 2, which is
    the untruncated King profile; γ = 4 is Plummer's (1911). Elson, Fall & Freeman (1987), eq. 1.

    Args:
        core: a; the density has half its central value at a √(2^(2/γ) − 1).
        gamma: γ; the whole is finite for γ > 2.
    """

    core: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    gamma: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def at(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Density s at squared radii v."""
        return jnp.exp(-0.5 * self.gamma * jnp.log(1.0 + square / self.core**2))

    def half_mean(self, square: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """∫₀¹ s(t √v) t dt."""
        u = jnp.maximum(square / self.core**2, _TINY)
        return 0.5 * _power_law(u, 1.0 - 0.5 * self.gamma) / u

    @property
    def edge_square(self) -> Float[Array, ""]:
        """Infinite."""
        return jnp.asarray(jnp.inf)

    @property
    def total(self) -> Float[Array, ""]:
        """2π a²/(γ − 2), infinite for γ ≤ 2."""
        finite = self.gamma > 2.0
        steep = jnp.where(finite, self.gamma - 2.0, 1.0)
        return jnp.where(finite, 2.0 * jnp.pi * self.core**2 / steep, jnp.inf)


def plummer(core: Float[ArrayLike, ""]) -> ElsonFallFreeman:
    """(1 + (r/a)²)^−2, Plummer (1911); F = π a² u/(1+u)."""
    return ElsonFallFreeman(core, 4.0)


def untruncated_king(core: Float[ArrayLike, ""]) -> ElsonFallFreeman:
    """1/(1 + (r/r_c)²), King (1962), eq. 13; F = π r_c² ln(1+u), without bound."""
    return ElsonFallFreeman(core, 2.0)


def generalised_king(
    core: Float[ArrayLike, ""], tidal: Float[ArrayLike, ""], beta: Float[ArrayLike, ""] | int
) -> AbstractProfile:
    """King's profile with any β; in closed form where it is held at 1 or 2."""
    if isinstance(beta, int):
        return King(core, tidal, beta)
    return GeneralisedKing(core, tidal, beta)


class Parameter(NamedTuple):
    """A number of a profile."""

    name: str
    prior: Callable[[float], Distribution]  # by default, of the footprint's radius
    unit: str
    label: str  # in figures


class Profile(NamedTuple):
    """A profile by name: what makes it, and the parameters that it takes, in their order."""

    make: Callable[..., AbstractProfile]
    parameters: tuple[Parameter, ...]


CORE = Parameter("r_core", lambda r: LogUniform(r / 300, r), "arcmin", "$r_c$ [arcmin]")
TIDAL = Parameter("r_tidal", lambda r: LogUniform(r / 30, 10 * r), "arcmin", "$r_t$ [arcmin]")
BETA = Parameter("beta", lambda r: Uniform(0.5, 4.0), "", r"$\beta$")
GAMMA = Parameter("gamma", lambda r: Uniform(2.0, 10.0), "", r"$\gamma$")
PROFILES = {
    "king62": Profile(King, (CORE, TIDAL)),
    "generalised": Profile(generalised_king, (CORE, TIDAL, BETA)),
    "untruncated": Profile(untruncated_king, (CORE,)),
    "eff": Profile(ElsonFallFreeman, (CORE, GAMMA)),
    "plummer": Profile(plummer, (CORE,)),
}


def profile_of(name: str, parameters, beta: int | None = None) -> AbstractProfile:
    """Return a profile by name.

    Args:
        name: one of `PROFILES`.
        parameters: r_core and whatever else the profile has, by name.
        beta: 1 or 2 instead of a free one, of the generalised profile.

    Raises:
        ValueError: an unknown name.
    """
    if name not in PROFILES:
        raise ValueError(f"profile {name!r}: expected one of {', '.join(PROFILES)}")
    profile, held = PROFILES[name], {} if beta is None else {"beta": beta}
    return profile.make(
        *(held[p.name] if p.name in held else parameters[p.name] for p in profile.parameters)
    )


def parameters_of(name: str, beta: int | None = None) -> tuple[Parameter, ...]:
    """Free parameters of a profile."""
    return tuple(p for p in PROFILES[name].parameters if p.name != "beta" or beta is None)
