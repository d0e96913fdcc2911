"""Mesh the zero level of a sampled volume with even triangles that never cross.

Surface nets (Gibson 1998): one vertex for each cell that the surface passes, one quad for each
grid edge that crosses it. Three steps make the mesh sound by construction:

* The set of inside nodes is first made *well-composed* (Latecki, Eckhardt and Rosenfeld 1995):
  no two nodes touch only across a diagonal. Then every edge of the mesh has two faces.
* No vertex leaves its own cell, so only faces around one vertex can cross each other.
* Faces that do are found, and their vertices pulled towards the centres of their cells, where
  the net is the boundary of the voxels and crosses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy import ndimage

from services.meshgen.engines.shape_from_silhouette.crossings import crossing_faces

Points = NDArray[np.float64]
Cells = NDArray[np.int64]
Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FENCE = 0.03
"""Least distance in cells of a vertex from the wall of its cell."""
_ROUNDS = 6
"""Rounds of smoothing, each followed by a step back onto the surface."""
_EVENNESS = 0.5
"""Share of the way to the centre of its neighbours that a vertex goes in a round."""
_NEAR_OUTLINE = 1.2
"""Distance in cells up to which a vertex belongs to the outline."""
_INSET = 0.12
"""Cells by which rim vertices stay inside the outline: of many layers the outermost is seen."""
_PULLS = 12
"""Rounds of pulling apart; after nine whole neighbourhoods stand on the centres of their cells."""
_HAIR = 2e-3
"""Largest move in cells out of exact alignment."""
_LIFTED = 0.05
"""Value in cells that a node gets when it is taken inside."""
_EDGES = tuple((a, b) for a in range(8) for b in range(8) if b > a and (a ^ b) in (1, 2, 4))
"""The 12 edges of a cell; bit 0 of a corner is x, bit 1 is y, bit 2 is z."""


@dataclass(frozen=True, slots=True)
class Net:
    """A closed mesh in grid units: ``vertices (n, 3)``, ``faces (m, 3)`` seen from outside."""

    vertices: Points
    faces: Cells


def mesh_volume(
    field: Volume, outline: Points | None = None, place: Callable[[Points], Points] | None = None
) -> Net:
    """Mesh ``field (nx, ny, nz) > 0``; the values must be about distances in cells, the rim negative.

    Seen along z, the mesh is fitted to ``outline (nx, ny) > 0``, distances in cells as well.
    ``place`` takes vertices ``(n, 3)`` in grid units to where they are delivered, and must keep
    cells apart. Faces are pulled apart where they would cross there, and the net is returned so.
    """
    box = _filled_box(field)
    solid = make_simple(field[box])
    cells, points, quads = _surface_nets(solid)
    points = _settle(points, cells, quads, solid)
    if outline is not None:
        points = _fit_outline(points, cells, quads, outline[box[:2]])
    faces = _split(points, quads)
    first = np.array([float(side.start) for side in box])

    def delivered(points: Points) -> Points:
        whole = _in_general_position(points) + first
        return whole if place is None else place(whole)

    return Net(_uncross(points, faces, quads, cells, delivered), faces)


def _in_general_position(points: Points) -> Points:
    """Move every vertex by a hair, the same hair each time.

    Slanted faces in one plane, a net's on a flat part, look like crossing ones to programs that
    compute with single precision. An even sequence would only tilt the plane, so it must be noise.
    """
    return points + np.random.default_rng(0).uniform(-_HAIR, _HAIR, points.shape)


def _filled_box(field: Volume) -> tuple[slice, slice, slice]:
    """Return the part of the volume that is not empty, with two nodes of room on each side."""
    inside = field > 0
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(inside.any(axis=others))
        sides.append(slice(max(int(filled[0]) - 2, 0), int(filled[-1]) + 3))
    return sides[0], sides[1], sides[2]


def count_vertices(field: Volume) -> int:
    """Return about how many vertices :func:`mesh_volume` would make."""
    inside = field > 0
    views = _corner_views(inside)
    return int((np.logical_or.reduce(views) & ~np.logical_and.reduce(views)).sum())


def make_simple(field: Volume) -> Volume:
    """Return the field with cavities and specks removed and its inside well-composed."""
    solid = _without_specks(field)
    for _ in range(100):
        if not _join_corners(solid):
            return solid
    raise RuntimeError("the volume could not be made simple")


def _without_specks(field: Volume) -> Volume:
    """Fill hollows that the outside does not reach and drop pieces of a few nodes."""
    solid = field.copy()
    outside, _ = ndimage.label(solid <= 0)
    solid[(solid <= 0) & (outside != outside[0, 0, 0])] = _LIFTED
    # Nodes that touch across a diagonal will be joined: they are one piece.
    pieces, count = ndimage.label(solid > 0, np.ones((3, 3, 3)))
    if count > 1:
        size = np.bincount(pieces.ravel())
        size[0] = 0
        small = np.flatnonzero((size > 0) & (size < max(8, size.max() // 4000)))
        solid[np.isin(pieces, small)] = -_LIFTED
    return solid


def _join_corners(solid: Volume) -> bool:
    """Take nodes inside where two parts touch only across a diagonal; tell whether any was."""
    changed = False
    inside = solid > 0
    for axes in ((0, 1), (0, 2), (1, 2)):
        a, b, c, d = (_shifted(inside, axes, step) for step in ((0, 0), (1, 0), (0, 1), (1, 1)))
        crossed = (a == d) & (b == c) & (a != b)
        if crossed.any():
            place = np.stack(np.nonzero(crossed), axis=1)
            changed = True
            corners = [_moved(place, axes, step) for step in ((0, 0), (1, 0), (0, 1), (1, 1))]
            _lift_best(solid, corners)
    # Opposite corners of a cell that are alike while the six others differ from them.
    around = _corner_views(inside)
    total = np.zeros(around[0].shape, dtype=np.uint8)
    for view in around:
        total += view
    for low in range(4):
        same = around[low] == around[7 - low]
        lonely = same & np.where(around[low], total == 2, total == 6)
        if lonely.any():
            place = np.stack(np.nonzero(lonely), axis=1)
            changed = True
            steps = [np.array([(k >> axis) & 1 for axis in range(3)]) for k in range(8)]
            _lift_best(solid, [np.asarray(place + step, dtype=np.int64) for step in steps])
    return changed


def _shifted(values: Mask, axes: tuple[int, int], step: tuple[int, int]) -> Mask:
    index = [slice(None)] * 3
    for axis, by in zip(axes, step, strict=True):
        index[axis] = slice(by, values.shape[axis] - 1 + by)
    return values[tuple(index)]


def _moved(place: Cells, axes: tuple[int, int], step: tuple[int, int]) -> Cells:
    moved = place.copy()
    for axis, by in zip(axes, step, strict=True):
        moved[:, axis] += by
    return moved


def _lift_best(solid: Volume, corners: list[Cells]) -> None:
    """Take the outside node nearest to the surface inside, one for each place."""
    values = np.stack([solid[tuple(corner.T)] for corner in corners], axis=1)
    # A node of the wall of the volume must stay outside.
    inner = [((corner > 0) & (corner < np.array(solid.shape) - 1)).all(axis=1) for corner in corners]
    values[(values > 0) | ~np.stack(inner, axis=1)] = -np.inf
    best = values.argmax(axis=1)
    chosen = np.stack(corners, axis=1)[np.arange(len(best)), best]
    solid[tuple(chosen.T)] = _LIFTED


def _corner_views(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the 8 corner values of every cell, in the order of their bits."""
    return [
        values[tuple(slice((k >> axis) & 1, values.shape[axis] - 1 + ((k >> axis) & 1)) for axis in range(3))]
        for k in range(8)
    ]


def _surface_nets(field: Volume) -> tuple[Cells, Points, Cells]:
    """Return the cells that the surface passes ``(n, 3)``, a point in each and quads ``(m, 4)``."""
    inside = field > 0
    count = np.zeros(tuple(size - 1 for size in field.shape), dtype=np.uint8)
    for view in _corner_views(inside):
        count += view
    active = (count > 0) & (count < 8)
    cells = np.argwhere(active)
    number = np.full(active.shape, -1, dtype=np.int64)
    number[active] = np.arange(len(cells))
    values = np.stack([view[active] for view in _corner_views(field)], axis=1).astype(np.float64)
    return cells, cells + _centres(values), _quads(inside, number)


def _centres(values: Points) -> Points:
    """Average the crossings on the edges of each cell from its corner values ``(n, 8)``."""
    total, crossings = np.zeros((len(values), 3)), np.zeros((len(values), 1))
    place = np.array(
        [[corner & 1, corner >> 1 & 1, corner >> 2 & 1] for corner in range(8)], dtype=np.float64
    )
    for a, b in _EDGES:
        first, second = values[:, a], values[:, b]
        crossed = ((first > 0) != (second > 0))[:, None]
        share = (first / np.where(crossed[:, 0], first - second, 1.0))[:, None]
        total += np.where(crossed, place[a] + share * (place[b] - place[a]), 0.0)
        crossings += crossed
    return np.clip(total / crossings, _FENCE, 1.0 - _FENCE)


def _quads(inside: Mask, number: Cells) -> Cells:
    """Make one quad around each grid edge whose ends differ, seen from outside."""
    quads = []
    for axis in range(3):
        along = [slice(None)] * 3
        along[axis] = slice(None, -1)
        start = inside[tuple(along)]
        along[axis] = slice(1, None)
        crossed = np.argwhere(start != inside[tuple(along)])
        one, two = (axis + 1) % 3, (axis + 2) % 3
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


def _settle(points: Points, cells: Cells, quads: Cells, field: Volume) -> Points:
    """Even out the triangles: towards the neighbours, back onto the surface, never out of the cell."""
    count = len(points)
    rows = np.concatenate([quads.ravel(), np.roll(quads, 1, axis=1).ravel()])
    columns = np.concatenate([np.roll(quads, 1, axis=1).ravel(), quads.ravel()])
    links = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    degree = np.asarray(links.sum(axis=1))
    low, high = cells + _FENCE, cells + (1.0 - _FENCE)
    corners = np.stack([view[tuple(cells.T)] for view in _corner_views(field)], axis=1).astype(np.float64)
    for _ in range(_ROUNDS):
        middle = (links @ points) / degree
        points = np.clip(points + _EVENNESS * (middle - points), low, high)
        value, slope = _trilinear(corners, points - cells)
        steepness = np.maximum((slope**2).sum(axis=1), 1e-3)
        step = np.clip(value / steepness, -1.0, 1.0)
        points = np.clip(points - step[:, None] * slope, low, high)
    return points


def _fit_outline(points: Points, cells: Cells, quads: Cells, outline: Points) -> Points:
    """Draw the vertices where the surface turns away from z onto the outline, none out of its cell.

    A net cuts corners a little; where it is seen against the background this shows.
    """
    low, high = cells + _FENCE, cells + (1.0 - _FENCE)
    corner = points[quads]
    one, two = corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1]
    facing = np.repeat(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0] > 0, 4)
    towards = np.bincount(quads.ravel(), facing, len(points))
    rim = (towards > 0) & (towards < np.bincount(quads.ravel(), minlength=len(points)))
    grids = (outline - _INSET, *np.gradient(outline))
    points = points.copy()
    for _ in range(2):
        value, slope_x, slope_y = (
            ndimage.map_coordinates(grid, points[rim, :2].T, order=1, mode="nearest") for grid in grids
        )
        # What lies well inside turns away before another part of the surface.
        near = np.abs(value) < _NEAR_OUTLINE
        step = np.where(near, value / np.maximum(slope_x**2 + slope_y**2, 0.1), 0.0)
        points[rim, 0] -= step * slope_x
        points[rim, 1] -= step * slope_y
        points = np.clip(points, low, high)
    return points


def _trilinear(corners: Points, place: Points) -> tuple[NDArray[np.float64], Points]:
    """Return value and gradient at ``place (n, 3)`` in 0–1 of cells with ``corners (n, 8)``."""
    x, y, z = place.T
    low = corners[:, 0::2] + (corners[:, 1::2] - corners[:, 0::2]) * x[:, None]
    across = corners[:, 1::2] - corners[:, 0::2]
    back, front = low[:, 0] + (low[:, 1] - low[:, 0]) * y, low[:, 2] + (low[:, 3] - low[:, 2]) * y
    dx_back = across[:, 0] + (across[:, 1] - across[:, 0]) * y
    dx_front = across[:, 2] + (across[:, 3] - across[:, 2]) * y
    dy_back, dy_front = low[:, 1] - low[:, 0], low[:, 3] - low[:, 2]
    gradient = np.stack(
        [dx_back + (dx_front - dx_back) * z, dy_back + (dy_front - dy_back) * z, front - back], axis=1
    )
    return back + (front - back) * z, gradient


def _split(vertices: Points, quads: Cells) -> Cells:
    """Cut each quad along its shorter diagonal; the halves of quad k are faces 2k and 2k + 1."""
    corner = vertices[quads]
    first = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1)
    second = np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    a, b, c, d = quads.T
    straight = np.stack([a, b, c, a, c, d], axis=1)
    crossed = np.stack([a, b, d, b, c, d], axis=1)
    # A hair's preference for one of two equal diagonals keeps mirrored halves alike.
    return np.where((first <= second * (1 + 1e-9))[:, None], straight, crossed).reshape(-1, 3)


def _uncross(
    points: Points, faces: Cells, quads: Cells, cells: Cells, delivered: Callable[[Points], Points]
) -> Points:
    """Pull vertices towards the centres of their cells until no faces cross; return them delivered."""
    centre = cells + 0.5
    for round_ in range(_PULLS):
        bad = crossing_faces(delivered(points), faces, quads)
        if not len(bad):
            break
        moved = np.unique(faces[bad])
        if round_ > 3:
            # Alone it does not help: the neighbours have to make room as well.
            moved = np.unique(quads[np.isin(quads, moved).any(axis=1)])
        share = 1.0 if round_ > 8 else 0.5
        points = points.copy()
        points[moved] += share * (centre[moved] - points[moved])
    return delivered(points)
