"""Members by a probability threshold that changes with radius, and what makes it unnecessary.

The cut (Ahmed, Canbay & Çınar 2026, eq. 9): in ring i the threshold is the P_i at which

    #{stars of ring i with P ≥ P_i} = N_cl,i = ∫_ring Σ_c dA

with Σ_c the cluster's surface density, rounded to whole stars. It gets the numbers right, ring by
ring, and says nothing about the single star.

The joint model of position x and astrometry a has the density of stars

    λ(x, a) = Σ_c(x) p_c(a) + Σ_f(x) p_f(a)

so that the membership of a star is

    P_i = Σ_c(x_i) p_c(a_i) / [Σ_c(x_i) p_c(a_i) + Σ_f(x_i) p_f(a_i)].

A mixture of the astrometry alone, of the same stars, with a share w of members (as `xd` fits it)
has q_i = w p_c/[w p_c + (1 − w) p_f]. So p_c/p_f = q/(1 − q) · (1 − w)/w, and with
Σ_c = n_c s_c, Σ_f = n_f s_f, where s_c and s_f are densities normalised in the footprint,

    P_i/(1 − P_i) = q_i/(1 − q_i) · [n_c s_c(x_i)]/[n_f s_f(x_i)] · (1 − w)/w.

At the maximum of the mixture's likelihood w is the mean of q. Where the numbers n_c and n_f of the
surface model are those of the mixture, n_c/n_f = w/(1 − w), they cancel; they do not where the
profile was fitted to other stars, such as to those with a high q. The mixture knows the numbers of
this sample, so the surface gives its shapes only:

    P_i/(1 − P_i) = q_i/(1 − q_i) · s_c(x_i)/s_f(x_i).

Exact where a does not depend on x in the cluster nor in the field: no mass segregation in a
magnitude among a, no gradient in the field's proper motions.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from astropy.table import Table
from jaxtyping import Array, Bool, Float

from jaxcluster.structure.positions import positions
from jaxcluster.structure.rings import ring_integrals, ring_of
from jaxcluster.structure.surface import SurfaceDensity


class Cut(NamedTuple):
    """Members of a cut that changes with radius.

    Args:
        member: whether each star is one.
        thresholds: a row for each ring: inner, outer [arcmin], n (stars), n_model (N_cl,i),
            n_members, threshold (P_i; infinite where no star is to be taken).
    """

    member: Bool[np.ndarray, " n"]
    thresholds: Table


def probability_cut(
    x: Float[np.ndarray, "n 2"],
    membership: Float[np.ndarray, " n"],
    surface: SurfaceDensity,
    edges: Float[np.ndarray, " k"],
) -> Cut:
    """Take as many stars of each ring, the most probable first, as the profile says.

    Rings are those of the surface's centre and ellipse. Equal probabilities at the threshold are
    all taken, and where the profile has more stars than the ring, all with P > 0 are: there
    n_members is not n_model. Stars beyond the last edge, before the first or outside the footprint
    are no members.

    Args:
        x: positions [arcmin].
        membership: P of each star, from 0 to 1.
        surface: profile and footprint.
        edges: of the rings [arcmin], ascending; such as from `ring_edges`.

    Raises:
        ValueError: probabilities that are none, edges that do not ascend, or from `positions`.
    """
    x, p = positions(x), _probabilities(membership, len(x))
    edges = np.asarray(edges, float)
    if not (len(edges) > 1 and edges[0] >= 0 and (np.diff(edges) > 0).all()):
        raise ValueError(
            f"edges: found {edges}; expected radii in arcmin, ascending from 0 or more"
        )
    shape: tuple[Any, ...] = surface.centre, surface.ellipticity, surface.position_angle
    expected = float(surface.amplitude) * ring_integrals(
        surface.footprint, edges, surface.profile, *shape
    )
    which = ring_of(x, edges, *shape)
    which[~surface.footprint.contains(x)] = -1
    member, thresholds = np.zeros(len(x), bool), []
    for i, number in enumerate(np.round(expected).astype(int)):
        here = which == i
        candidates = np.sort(p[here & (p > 0)])[::-1]
        number = min(number, len(candidates))
        thresholds.append(candidates[number - 1] if number else np.inf)
        member |= here & (p >= thresholds[-1])
    table: Any = Table(
        {
            "inner": edges[:-1],
            "outer": edges[1:],
            "n": np.bincount(which[which >= 0], minlength=len(expected)),
            "n_model": expected,
            "n_members": np.bincount(which[member], minlength=len(expected)),
            "threshold": np.array(thresholds),
        }
    )
    table["inner"].unit = table["outer"].unit = "arcmin"
    return Cut(member, table)


def joint_membership(
    x: Float[np.ndarray, "n 2"],
    membership: Float[np.ndarray, " n"],
    surface: SurfaceDensity,
) -> Float[np.ndarray, " n"]:
    """P_i of position and astrometry together, from that of astrometry alone.

    Σ_f is the surface's background, Σ_c its cluster; both count by their shapes (see above).

    Args:
        x: positions [arcmin].
        membership: q of each star, from the astrometry of the stars in the footprint.
        surface: profile, background and footprint.

    Raises:
        ValueError: stars outside the footprint, a surface without cluster or background,
            probabilities that are none, or from `positions`.
    """
    x, q = positions(x), _probabilities(membership, len(x))
    if outside := int((~surface.footprint.contains(x)).sum()):
        raise ValueError(
            f"x: {outside} of {len(x)} stars lie outside the footprint, expected none; drop them, "
            "or fit the profile in a wider one"
        )
    n_c = float(surface.n_inside)
    n_f = float(surface.expected) - n_c
    if not (n_c > 0 and n_f > 0):
        raise ValueError(
            f"surface: found {n_c:.4g} stars of the cluster and {n_f:.4g} of the background in the "
            "footprint, expected both above 0; fit it to a field and not to members alone"
        )
    return np.asarray(membership_at(surface, jnp.asarray(x), jnp.asarray(q)))


def membership_at(
    surface: SurfaceDensity, x: Float[Array, "n 2"], q: Float[Array, "*n"]
) -> Float[Array, " n"]:
    """P_i of `joint_membership`, unchecked and for JAX; q = n_c/(n_c + n_f) is position alone."""
    n_c = surface.n_inside
    cluster = q * surface.cluster(x) / n_c
    field = (1.0 - q) * surface.field(x) / (surface.expected - n_c)
    return cluster / (cluster + field + 1e-300)


def _probabilities(membership, n):
    p = np.asarray(membership, float)
    if p.shape != (n,):
        raise ValueError(f"membership: found shape {p.shape}, expected [{n}], one for each star")
    if bad := int((~((p >= 0) & (p <= 1))).sum()):
        raise ValueError(
            f"membership: {bad} of {n} are not between 0 and 1; expected memberships, so drop "
            "stars without one"
        )
    return p
