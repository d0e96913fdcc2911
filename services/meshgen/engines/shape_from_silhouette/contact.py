"""The camera from the ground contact: where an object stands, its picture ends in two slopes.

Seen from above at pitch p and yaw a, the near edges of a rectangle on the ground have the
slopes ``-tan(a) sin(p)`` and ``cot(a) sin(p)``: their product tells the pitch, their ratio the
yaw. For a box they are its lower edges, for an animal or a chair the lines from foot to foot.
Both lie on the lower convex hull of the silhouette.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.silhouette import Silhouette

Points = NDArray[np.float64]

_SAME_LINE = 0.06
"""Angle in radians up to which two edges of the hull are one."""
_LEVEL = 0.035
"""Slope up to which an edge lies along the picture's horizon."""
_SHORTEST = 0.035
"""Shortest width of an edge that is believed."""
_STEEP = 0.7
"""Slope from which on an edge more likely belongs to something above the ground."""
_LONGEST_SIDE = 1.3
_LOWEST_PITCH, _HIGHEST_PITCH = 6.0, 32.0
_USUAL_PITCH, _PITCH_SPREAD = 15.0, 9.0


@dataclass(frozen=True, slots=True)
class Contact:
    """A rectangle on the ground: its near corner in the picture, the angles that show it so, its sides.

    ``yaw`` and ``pitch`` in degrees, ``corner (x, y)``, ``left`` and ``right`` the lengths of
    the sides that run away from the corner.
    """

    yaw: float
    pitch: float
    corner: tuple[float, float]
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class _Edge:
    start: Points
    end: Points

    @property
    def width(self) -> float:
        return float(self.end[0] - self.start[0])

    @property
    def slope(self) -> float:
        return float((self.end[1] - self.start[1]) / max(self.width, 1e-9))


def find_contact(silhouette: Silhouette) -> Contact | None:
    """Return the most likely rectangle on the ground, or None when the base tells of none."""
    edges = _lower_edges(silhouette)
    best: tuple[float, Contact] | None = None
    for i, first in enumerate(edges):
        for j in range(i + 1, len(edges)):
            second = edges[j]
            between = sum(edge.width for edge in edges[i + 1 : j])
            if between > 0.35 * (first.width + second.width) + 0.02:
                continue
            rated = _rate(first, second)
            if rated is not None and (best is None or rated[0] > best[0]):
                best = rated
    return None if best is None else best[1]


def level_base(silhouette: Silhouette) -> float:
    """Return the length of the longest level edge of the lower hull."""
    return max((e.width for e in _lower_edges(silhouette) if abs(e.slope) < _LEVEL), default=0.0)


def _rate(first: _Edge, second: _Edge) -> tuple[float, Contact] | None:
    """Rate two edges as the near sides of a rectangle on the ground."""
    falling, rising = -first.slope, second.slope
    if falling <= 0.03 or rising <= 0.03 or min(first.width, second.width) < _SHORTEST:
        return None
    sine = np.sqrt(falling * rising)
    if not np.sin(np.radians(_LOWEST_PITCH)) < sine < np.sin(np.radians(_HIGHEST_PITCH)):
        return None
    pitch, yaw = np.degrees(np.arcsin(sine)), np.degrees(np.arctan(np.sqrt(falling / rising)))
    left = first.width / np.cos(np.radians(yaw))
    right = second.width / np.sin(np.radians(yaw))
    if max(left, right) > _LONGEST_SIDE:
        return None
    score = min(left, right) * np.sqrt(left + right)
    for slope in (falling, rising):
        score *= np.exp(-((slope / _STEEP) ** 2))
    score *= np.exp(-(((pitch - _USUAL_PITCH) / _PITCH_SPREAD) ** 2))
    # The lines meet where the near corner would be, if it were not round or a foot apart.
    x = (second.start[1] - first.start[1] + first.slope * first.start[0] - second.slope * second.start[0]) / (
        first.slope - second.slope
    )
    y = first.start[1] + first.slope * (x - first.start[0])
    return float(score), Contact(float(yaw), float(pitch), (float(x), float(y)), float(left), float(right))


def _lower_edges(silhouette: Silhouette) -> list[_Edge]:
    """Return the edges of the lower convex hull from left to right, those of one line united."""
    hull = _lower_hull(_lowest(silhouette))
    edges: list[_Edge] = []
    for start, end in pairwise(hull):
        edge = _Edge(start, end)
        if edge.width < 1e-9:
            continue
        if edges and abs(np.arctan(edge.slope) - np.arctan(edges[-1].slope)) < _SAME_LINE:
            edges[-1] = _Edge(edges[-1].start, end)
        else:
            edges.append(edge)
    return edges


def _lowest(silhouette: Silhouette) -> Points:
    """Return the lowest point of the outline in each column, between nodes where the distance tells."""
    inside = silhouette.inside
    columns = np.flatnonzero(inside.any(axis=1))
    row = inside[columns].argmax(axis=1)
    above, below = silhouette.signed[columns, row], silhouette.signed[columns, row - 1]
    share = above / np.maximum(above - below, 1e-9)
    return np.stack([silhouette.x[columns], silhouette.y[row] - share * silhouette.cell], axis=1)


def _lower_hull(points: Points) -> Points:
    """Return the lower convex hull of points sorted by x (Andrew 1979)."""
    hull: list[Points] = []
    for point in points:
        while len(hull) > 1 and _turn(hull[-2], hull[-1], point) <= 0:
            hull.pop()
        hull.append(point)
    return np.array(hull)


def _turn(a: Points, b: Points, c: Points) -> float:
    return float((b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]))
