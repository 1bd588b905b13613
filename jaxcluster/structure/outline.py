"""Outlines of plane regions: circles and polygons, less circular holes, as quadrature nodes.

Gauss's theorem turns the integral of a density over a region into one along its outline (see
`footprint`). Outlines are made of arcs and segments, cut where they cross each other, and of the
pieces those are kept that bound the region: outside all other holes, and within the outer shape.
Everything here is numpy, once for a footprint.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

WHOLE = 256  # nodes of a circle that nothing cuts: the midpoint rule is exponential there
PANEL, NODES = np.pi / 16, 16  # of an arc [rad], and nodes of Gauss and Legendre in a panel
PANELS = 12  # of a polygon's side
_ROOTS, _WEIGHTS = np.polynomial.legendre.leggauss(NODES)


class Circle(NamedTuple):
    """A circle: centre and radius [arcmin]."""

    x: float
    y: float
    radius: float

    def contains(self, x: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Whether points lie inside."""
        return np.hypot(x[:, 0] - self.x, x[:, 1] - self.y) < self.radius

    def sides(self) -> list["Arc"]:
        """Return the whole circle, counterclockwise."""
        return [Arc(self)]


class Polygon(NamedTuple):
    """A polygon: corners, counterclockwise [arcmin]."""

    corners: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, corners: Float[np.ndarray, "n 2"]) -> "Polygon":
        """Check and orient corners.

        Raises:
            ValueError: fewer than three, no area, or sides that cross each other.
        """
        corners = np.asarray(corners, float)
        if corners.ndim != 2 or len(corners) < 3 or corners.shape[1] != 2:
            raise ValueError(
                f"corners: expected three or more (x, y) in arcmin, found shape {corners.shape}"
            )
        after = np.roll(corners, -1, axis=0)
        area = 0.5 * _cross(corners, after).sum()
        if abs(area) < 1e-9 * np.ptp(corners, axis=0).max() ** 2:
            raise ValueError("corners: they lie on a line; expected those of an area")
        n, side = len(corners), after - corners
        for i in range(n):  # sides i and j cross where each has the other's ends on both sides
            ends = [_cross(side[i], p - corners[i]) for p in (corners, after)]
            others = [_cross(side, p - corners) for p in (corners[i], after[i])]
            if ((ends[0] * ends[1] < 0) & (others[0] * others[1] < 0)).any():
                raise ValueError(
                    f"corners: the side from corner {i} crosses another; give the corners in the "
                    "order in which they follow each other along the outline"
                )
        ordered = corners if area > 0 else corners[::-1]
        return cls(tuple((float(x), float(y)) for x, y in ordered))

    def contains(self, x: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Whether points lie inside: a ray from them crosses an odd number of sides."""
        inside = np.zeros(len(x), bool)
        for (x1, y1), (x2, y2) in zip(
            self.corners, self.corners[1:] + self.corners[:1], strict=True
        ):
            if y1 != y2:
                crossed = (y1 > x[:, 1]) != (y2 > x[:, 1])
                inside ^= crossed & (x[:, 0] < x1 + (x[:, 1] - y1) * (x2 - x1) / (y2 - y1))
        return inside

    def sides(self) -> list["Segment"]:
        """Return the sides."""
        ends = self.corners[1:] + self.corners[:1]
        return [Segment(a, b) for a, b in zip(self.corners, ends, strict=True)]


class Arc(NamedTuple):
    """A circle as a curve; its parameter is the angle."""

    circle: Circle

    def at(self, t: np.ndarray) -> np.ndarray:
        """Points."""
        x, y, radius = self.circle
        return np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], axis=-1)

    def slope(self, t: np.ndarray) -> np.ndarray:
        """Derivatives of `at`."""
        return self.circle.radius * np.stack([-np.sin(t), np.cos(t)], axis=-1)

    def pieces(self, others: Sequence["Circle | Polygon"]) -> list[tuple[float, float]]:
        """Intervals of the angle between crossings with the outlines of others."""
        x, y, radius = self.circle
        cuts = []
        for other in others:
            if isinstance(other, Circle):
                away, angle = (
                    np.hypot(other.x - x, other.y - y),
                    np.arctan2(other.y - y, other.x - x),
                )
                if away > 0:
                    cosine = (away**2 + radius**2 - other.radius**2) / (2 * away * radius)
                    if abs(cosine) < 1:
                        cuts += [angle - np.arccos(cosine), angle + np.arccos(cosine)]
                continue
            for side in other.sides():
                points = side.at(np.array(side.crossings(self.circle)))
                cuts += [float(np.arctan2(b - y, a - x)) for a, b in points.reshape(-1, 2)]
        cuts = sorted(c % (2 * np.pi) for c in cuts)
        if not cuts:
            return [(0.0, 2 * np.pi)]
        return list(zip(cuts, [*cuts[1:], cuts[0] + 2 * np.pi], strict=True))

    def panels(self, start: float, stop: float) -> int:
        """How many panels an interval takes."""
        return int(np.ceil((stop - start) / PANEL))


class Segment(NamedTuple):
    """A side of a polygon; its parameter goes from 0 to 1."""

    start: tuple[float, float]
    stop: tuple[float, float]

    def at(self, t: np.ndarray) -> np.ndarray:
        """Points."""
        a, b = np.array(self.start), np.array(self.stop)
        return a + np.asarray(t)[..., None] * (b - a)

    def slope(self, t: np.ndarray) -> np.ndarray:
        """Derivatives of `at`."""
        return np.broadcast_to(np.subtract(self.stop, self.start), (*np.shape(t), 2))

    def crossings(self, circle: Circle) -> list[float]:
        """Parameters at which it crosses a circle."""
        d = np.subtract(self.stop, self.start)
        a = np.array(self.start) - (circle.x, circle.y)
        half, length = a @ d, d @ d
        root = half**2 - length * (a @ a - circle.radius**2)
        if root <= 0:
            return []
        return [float(t) for s in (-1, 1) if 0 < (t := (s * np.sqrt(root) - half) / length) < 1]

    def pieces(self, others: Sequence[Circle]) -> list[tuple[float, float]]:
        """Intervals of the parameter between crossings with circles."""
        cuts = sorted({0.0, 1.0, *(t for circle in others for t in self.crossings(circle))})
        return list(pairwise(cuts))

    def panels(self, start: float, stop: float) -> int:
        """How many panels an interval takes."""
        return int(np.ceil(PANELS * (stop - start)))


def nodes(
    outer: Circle | Polygon, holes: Sequence[Circle]
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m 2"]]:
    """Points along the outline of `outer` less `holes`, and steps: tangents times weights.

    Counterclockwise around the region, clockwise around holes; none where the holes cover it all.
    """
    holes = list(dict.fromkeys(Circle(*map(float, hole)) for hole in holes))
    points, steps = [np.empty((0, 2))], [np.empty((0, 2))]
    for shape in (outer, *holes):
        others = [hole for hole in holes if hole is not shape]
        walls = others if shape is outer else [outer, *others]
        for curve in shape.sides():
            for start, stop in curve.pieces(walls):
                middle = curve.at(np.array([0.5 * (start + stop)]))
                if any(hole.contains(middle)[0] for hole in others):
                    continue
                if shape is not outer and not outer.contains(middle)[0]:
                    continue
                t, weights = _rule(curve, start, stop)
                points.append(curve.at(t))
                steps.append(weights[:, None] * curve.slope(t) * (1 if shape is outer else -1))
    return np.concatenate(points), np.concatenate(steps)


def _rule(curve, start, stop):
    """Nodes and weights of an interval of a curve."""
    if isinstance(curve, Arc) and stop - start == 2 * np.pi:
        return 2 * np.pi * (np.arange(WHOLE) + 0.5) / WHOLE, np.full(WHOLE, 2 * np.pi / WHOLE)
    edges = np.linspace(start, stop, max(curve.panels(start, stop), 1) + 1)
    middle, half = 0.5 * (edges[1:] + edges[:-1]), 0.5 * np.diff(edges)
    t = middle[:, None] + half[:, None] * _ROOTS
    return t.ravel(), (half[:, None] * _WEIGHTS).ravel()


def _cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
