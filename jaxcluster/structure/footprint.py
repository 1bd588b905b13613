"""What part of the sky was observed, and what a surface density holds there.

The integral of a density s over a region D goes along its outline: for a profile about c, with
radii in the metric of its ellipse, v = |M (p − c)|², det M = 1,

    ∫_D s dA = ∮ h(v) (d × dp),     d = p − c,     h(v) = ∫₀¹ s(t √v) t dt

since d h(v) is a field whose divergence is s. h is half the profile's mean density within a radius,
in closed form for most; so however small the core is, nothing of it has to be resolved: centre
anywhere, ellipses, polygons, holes. A completeness f goes into h as f(c + t d), by quadrature.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxcluster.structure.outline import Circle, Polygon, nodes
from jaxcluster.structure.profiles import AbstractProfile, radial_mean

Completeness = Callable[[Array, Array], Any]
Number = float | int


class Footprint(eqx.Module):
    """A region of the plane, in arcmin about the origin: made by `circle`, `box`, `polygon` ….

    Args:
        points: nodes of its outline.
        steps: tangent times weight at each.
        area: ∫ f dA, f the completeness (1 without) [arcmin²].
        moments: ∫ f x dA and ∫ f y dA [arcmin³].
        radius: of the largest distance from the origin.
        outer: the shape without holes.
        holes: circles that are cut out.
        completeness: f(x, y), the share of the stars at a place that are in the sample; it has to
            be written with `jax.numpy`, and smooth also beyond the outline and in the holes.
    """

    points: Float[Array, "m 2"] = eqx.field(converter=jnp.asarray)
    steps: Float[Array, "m 2"] = eqx.field(converter=jnp.asarray)
    area: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    moments: Float[Array, "2"] = eqx.field(converter=jnp.asarray)
    radius: float = eqx.field(static=True)
    outer: Any = eqx.field(static=True)
    holes: tuple[Circle, ...] = eqx.field(static=True)
    completeness: Completeness | None = eqx.field(static=True)

    def contains(self, x: Float[ArrayLike, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Whether points lie inside and in no hole."""
        x = np.asarray(x, float)
        inside = self.outer.contains(x)
        for hole in self.holes:
            inside = inside & ~hole.contains(x)
        return inside

    def integral(
        self,
        profile: AbstractProfile,
        centre: Float[ArrayLike, "2"] | tuple[float, float] = (0.0, 0.0),
        ellipticity: Float[ArrayLike, ""] = 0.0,
        position_angle: Float[ArrayLike, ""] = 0.0,
    ) -> Float[Array, ""]:
        """∫ f s dA of a profile inside; arguments as in `elliptical_square`."""
        centre = jnp.asarray(centre, float)
        d = self.points - centre
        square = elliptical_square(d, ellipticity, position_angle)
        f = self.completeness
        if f is None:
            half_mean = profile.half_mean(square)
        else:

            def weight(t):
                x, y = (centre[a] + t * d[:, a, None] for a in (0, 1))
                return f(x, y)

            half_mean = radial_mean(profile, square, weight)
        return (half_mean * _cross(d, self.steps)).sum()


def elliptical_square(
    d: Float[Array, "*n 2"],
    ellipticity: Float[ArrayLike, ""],
    position_angle: Float[ArrayLike, ""],
) -> Float[Array, "*n"]:
    """Squared elliptical radius q a² + b²/q, with a along the major axis and b along the minor one.

    A line of equal radius r is an ellipse of semi-axes r/√q and r√q: r is their geometric mean, and
    areas are those of the circle.

    Args:
        d: offsets from the centre, to the east and north.
        ellipticity: 1 − q, from 0 to 1.
        position_angle: of the major axis, from north through east [deg].
    """
    angle, q = jnp.radians(position_angle), 1.0 - jnp.asarray(ellipticity)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    major, minor = d[..., 0] * sine + d[..., 1] * cosine, d[..., 0] * cosine - d[..., 1] * sine
    return q * major**2 + minor**2 / q


def circle(
    radius: Number,
    *,
    centre: tuple[Number, Number] = (0.0, 0.0),
    holes: Sequence[tuple[Number, Number, Number]] = (),
    completeness: Completeness | None = None,
) -> Footprint:
    """Return a circle.

    Args:
        radius: [arcmin].
        centre: x, y [arcmin].
        holes: x, y, radius of each circle that is cut out [arcmin]; they may overlap each other and
            the outline.
        completeness: see `Footprint`.

    Raises:
        ValueError: a radius that is not positive, or holes that cover everything.
    """
    return _footprint(
        Circle(*map(float, (*centre, _positive("radius", radius)))), holes, completeness
    )


def annulus(inner: Number, outer: Number, **options: Any) -> Footprint:
    """Return what lies between two circles [arcmin]; `centre`, `holes` … as in `circle`."""
    if not 0 < inner < outer:
        raise ValueError(f"inner: expected 0 < inner < outer, found {inner:g} and {outer:g} arcmin")
    x, y = options.get("centre", (0.0, 0.0))
    holes = [(x, y, inner), *options.pop("holes", ())]
    return circle(outer, holes=holes, **options)


def box(
    width: Number,
    height: Number,
    *,
    centre: tuple[Number, Number] = (0.0, 0.0),
    holes: Sequence[tuple[Number, Number, Number]] = (),
    completeness: Completeness | None = None,
) -> Footprint:
    """Return a rectangle, `width` [arcmin] from east to west; the rest as in `circle`."""
    half = 0.5 * np.array([_positive("width", width), _positive("height", height)])
    corners = np.array(centre) + half * [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return polygon(corners, holes=holes, completeness=completeness)


def polygon(
    corners: Float[ArrayLike, "k 2"] | Sequence[tuple[Number, Number]],
    *,
    holes: Sequence[tuple[Number, Number, Number]] = (),
    completeness: Completeness | None = None,
) -> Footprint:
    """Return a polygon of these corners [arcmin], in either sense; the rest as in `circle`."""
    return _footprint(Polygon.of(np.asarray(corners, float)), holes, completeness)


def largest_circle(x: Float[np.ndarray, "n 2"]) -> float:
    """Radius [arcmin] of the largest circle about the origin in the convex hull of points.

    Raises:
        ValueError: the points lie on a line, or the origin is outside the hull.
    """
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(x)
    except (QhullError, ValueError) as error:
        raise ValueError(
            f"positions: {len(x)} stars at {len(np.unique(x, axis=0))} place(s), which span no "
            "area; expected a field around a cluster, so look at the columns of the table"
        ) from error
    distance = -hull.equations[:, -1].max()
    if distance <= 0:
        raise ValueError(
            f"centre: it lies {-distance:.3g} arcmin outside the stars' field; give one among them"
        )
    return float(distance)


def _footprint(outer, holes, completeness):
    holes = tuple(Circle(float(x), float(y), _positive("hole", r)) for x, y, r in holes)
    points, steps = nodes(outer, holes)
    area, first = _moments(points, steps, None)
    if not area > 1e-9 * np.square(points).sum(axis=1).max(initial=1.0):
        raise ValueError(
            f"holes: {len(holes)} of them cover the whole footprint; expected some of it to be "
            "left, so take smaller or fewer holes"
        )
    if completeness is not None:
        area, first = _moments(points, steps, completeness)
        if not (np.isfinite(area) and area > 0):
            raise ValueError(
                f"completeness: its integral over the footprint is {area:g}; expected a "
                "function of x and y [arcmin] between 0 and 1, finite also inside holes"
            )
    away = float(np.hypot(*points.T).max())
    return Footprint(points, steps, area, first, away, outer, holes, completeness)


def _moments(points, steps, completeness):
    """∫ f dA and ∫ f (x, y) dA: rays from the origin, Gauss and Legendre's rule along them."""
    roots, weights = np.polynomial.legendre.leggauss(32)
    t, weights = 0.5 * (1.0 + roots), 0.5 * weights
    along = points[:, None, :] * t[:, None]
    f = np.ones(along.shape[:2])
    if completeness is not None:
        f = np.asarray(
            jax.jit(completeness)(jnp.asarray(along[..., 0]), jnp.asarray(along[..., 1]))
        )
        f = np.broadcast_to(f, along.shape[:2])
    turn = _cross(points, steps)
    return (f @ (weights * t)) @ turn, np.einsum("mt,mta,m->a", f * weights * t, along, turn)


def _positive(name, value):
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name}: expected a positive size in arcmin, found {value:g}")
    return float(value)


def _cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
