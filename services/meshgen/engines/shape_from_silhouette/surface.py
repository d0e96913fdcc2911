"""From a thickness field to a closed mesh of even triangles.

The body is the set ``F > 0`` with ``F(x, y, z) = min(u(x, y) - z², slope · (y - ground))``. It
is symmetric about z = 0, so the front half is meshed (surface nets, Gibson 1998) and
mirrored. The rim lies exactly on z = 0 and joins the halves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.depth import DepthField, Field

Points = NDArray[np.float64]
Cells = NDArray[np.int64]

_HALF_LAYER = np.array([0.0, 0.0, -0.5])
"""Layer 0 of the volume lies half a cell behind z = 0."""
_FENCE = 0.02
"""Least distance in cells of a vertex from the wall of its cell."""
_EDGES = tuple((a, b) for a in range(8) for b in range(8) if b > a and (a ^ b) in (1, 2, 4))
"""The 12 edges of a cell; bit 0 of a corner is x, bit 1 is y, bit 2 is z."""


@dataclass(frozen=True, slots=True)
class Surface:
    """A closed mesh in grid cells: x right, y up from the ground, z towards the viewer.

    ``front (m,)`` marks the faces of the half that the picture shows.
    """

    vertices: Points
    faces: Cells
    front: NDArray[np.bool_]


def close_surface(depth: DepthField, stretch: float) -> Surface:
    """Mesh the body whose half thickness is ``stretch · √u``. The mesh is watertight and manifold."""
    body = _Body(depth, stretch)
    quads, points, cells = _surface_nets(body)
    points = _settle(points, cells, body)
    on_rim = cells[:, 2] == 0
    half = len(points)
    mirror = np.arange(half)
    mirror[~on_rim] = half + np.arange(int((~on_rim).sum()))
    points[on_rim, 2] = 0.0
    back = points[~on_rim] * (1.0, 1.0, -1.0)
    vertices = np.concatenate([points, back])
    quads = np.concatenate([quads, mirror[quads][:, ::-1]])
    faces = _split(vertices, quads)
    front = np.zeros(len(quads), dtype=bool)
    front[: len(quads) // 2] = True
    vertices[:, 1] -= body.ground
    return Surface(vertices, faces, np.repeat(front, 2))


class _Body:
    """The implicit body; x counts columns, y counts rows upwards from the lowest row."""

    def __init__(self, depth: DepthField, stretch: float) -> None:
        self.squared: Field = np.ascontiguousarray(depth.squared[::-1].T) * stretch**2
        self.ground = depth.squared.shape[0] - 1 - depth.ground
        self._make_simple()
        # As steep as the flanks of the body, so that both meet on equal terms.
        self.slope = 2.0 * float(np.sqrt(max(self.squared.max(), 1.0)))
        self._slopes = np.gradient(self.squared)

    def _make_simple(self) -> None:
        """Lift nodes where two parts touch only at a corner, so that no level of u does so.

        Two parts that meet across the diagonal of a square would share a vertex there and
        the mesh would be pinched. Lifting the higher of the two low corners to the level of
        the lower of the high ones joins them at every depth.
        """
        field = self.squared
        for _ in range(64):
            a, b, c, d = field[:-1, :-1], field[1:, :-1], field[:-1, 1:], field[1:, 1:]
            high = np.minimum(a, d)
            fall = (high > np.maximum(b, c)) & (high > 0)
            rise = (np.minimum(b, c) > np.maximum(a, d)) & (np.minimum(b, c) > 0)
            if not (fall.any() or rise.any()):
                return
            self._lift(fall, np.minimum(a, d).copy(), (1, 0), (0, 1))
            self._lift(rise, np.minimum(b, c).copy(), (0, 0), (1, 1))

    def _lift(
        self, where: NDArray[np.bool_], level: Field, first: tuple[int, int], second: tuple[int, int]
    ) -> None:
        i, j = np.nonzero(where)
        one, two = (i + first[0], j + first[1]), (i + second[0], j + second[1])
        choose = self.squared[one] >= self.squared[two]
        target = np.where(choose, one[0], two[0]), np.where(choose, one[1], two[1])
        np.maximum.at(self.squared, target, level[i, j])

    def volume(self) -> NDArray[np.float32]:
        """Sample F at z = -½, ½, 1½, … until it is negative everywhere, ``(nx, ny, nz)``."""
        layers = int(np.ceil(np.sqrt(max(float(self.squared.max()), 1.0)))) + 3
        z = np.arange(layers) - 0.5
        field = self.squared[:, :, None] - (z * z)[None, None, :]
        height = self.slope * (np.arange(self.squared.shape[1]) - self.ground)
        return np.asarray(np.minimum(field, height[None, :, None]), dtype=np.float32)

    def evaluate(self, points: Points) -> tuple[NDArray[np.float64], Points]:
        """Return F and its gradient at ``points (n, 3)``."""
        u, ux, uy = (_sample(grid, points) for grid in (self.squared, *self._slopes))
        value = u - points[:, 2] ** 2
        gradient = np.stack([ux, uy, -2.0 * points[:, 2]], axis=1)
        floor = self.slope * (points[:, 1] - self.ground)
        below = floor < value
        gradient[below] = (0.0, self.slope, 0.0)
        return np.where(below, floor, value), gradient


def _sample(grid: Field, points: Points) -> NDArray[np.float64]:
    """Interpolate ``grid[x, y]`` bilinearly."""
    x = np.clip(points[:, 0], 0, grid.shape[0] - 1.001)
    y = np.clip(points[:, 1], 0, grid.shape[1] - 1.001)
    i, j = x.astype(np.int64), y.astype(np.int64)
    fx, fy = x - i, y - j
    low = grid[i, j] * (1 - fx) + grid[i + 1, j] * fx
    high = grid[i, j + 1] * (1 - fx) + grid[i + 1, j + 1] * fx
    return np.asarray(low * (1 - fy) + high * fy)


def _surface_nets(body: _Body) -> tuple[Cells, Points, Cells]:
    """Mesh the front half: quads ``(m, 4)``, points ``(n, 3)`` and the cell of each; layer 0 is the rim."""
    field = body.volume()
    inside = field > 0
    corners = [
        (slice(x, x - 1 or None), slice(y, y - 1 or None), slice(z, z - 1 or None))
        for z in (0, 1)
        for y in (0, 1)
        for x in (0, 1)
    ]
    count = np.zeros(tuple(size - 1 for size in field.shape), dtype=np.uint8)
    for corner in corners:
        count += inside[corner]
    active = (count > 0) & (count < 8)
    cells = np.argwhere(active)
    number = np.full(active.shape, -1, dtype=np.int64)
    number[active] = np.arange(len(cells))
    values = np.stack([field[corner][active] for corner in corners], axis=1).astype(np.float64)
    points = cells + _centres(values) + _HALF_LAYER
    return _quads(inside, number), points, cells


def _centres(values: NDArray[np.float64]) -> Points:
    """Average the crossings on the edges of each cell from its corner values ``(n, 8)``."""
    total, crossings = np.zeros((len(values), 3)), np.zeros((len(values), 1))
    place = np.array(
        [[corner & 1, corner >> 1 & 1, corner >> 2 & 1] for corner in range(8)], dtype=np.float64
    )
    for a, b in _EDGES:
        first, second = values[:, a], values[:, b]
        crossed = ((first > 0) != (second > 0))[:, None]
        # Kept off the ends: around a node that just touches the surface all crossings would
        # fall on one point. What this shifts, _settle puts back along the normal.
        share = np.clip(first / np.where(crossed[:, 0], first - second, 1.0), 0.1, 0.9)[:, None]
        total += np.where(crossed, place[a] + share * (place[b] - place[a]), 0.0)
        crossings += crossed
    return total / crossings


def _quads(inside: NDArray[np.bool_], number: Cells) -> Cells:
    """Make one quad around each grid edge whose ends differ, seen from outside."""
    quads = []
    for axis in range(3):
        along = [slice(None)] * 3
        along[axis] = slice(None, -1)
        start = inside[tuple(along)]
        along[axis] = slice(1, None)
        crossed = np.argwhere(start != inside[tuple(along)])
        one, two = (axis + 1) % 3, (axis + 2) % 3
        # Edges on the wall of the volume have no full ring of cells; they belong to the mirror image.
        crossed = crossed[(crossed[:, one] > 0) & (crossed[:, two] > 0)]
        crossed = crossed[
            (crossed[:, one] < inside.shape[one] - 1) & (crossed[:, two] < inside.shape[two] - 1)
        ]
        ring = []
        for step_one, step_two in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = crossed.copy()
            cell[:, one] += step_one
            cell[:, two] += step_two
            ring.append(number[tuple(cell.T)])
        quad = np.stack(ring, axis=1)
        inward = ~start[tuple(crossed.T)]
        quad[inward] = quad[inward][:, ::-1]
        quads.append(quad)
    return np.concatenate(quads)


def _settle(points: Points, cells: Cells, body: _Body) -> Points:
    """Move points onto F = 0 along its gradient, none leaving its own cell.

    The fence keeps two walls of a narrow gap from passing through each other. Smoothing the
    points as well made triangles a little more even and some of them cross.
    """
    value, gradient = body.evaluate(points)
    squared = np.maximum((gradient**2).sum(axis=1), 1e-6)
    moved = points - (value / squared)[:, None] * gradient
    corner = cells + _HALF_LAYER
    return np.asarray(np.clip(moved, corner + _FENCE, corner + (1.0 - _FENCE)))


def _split(vertices: Points, quads: Cells) -> Cells:
    """Cut each quad along its shorter diagonal."""
    corner = vertices[quads]
    first = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1)
    second = np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    a, b, c, d = quads.T
    straight = np.stack([a, b, c, a, c, d], axis=1)
    crossed = np.stack([a, b, d, b, c, d], axis=1)
    # A hair's preference for one of two equal diagonals keeps mirrored halves alike.
    return np.where((first <= second * (1 + 1e-9))[:, None], straight, crossed).reshape(-1, 3)
