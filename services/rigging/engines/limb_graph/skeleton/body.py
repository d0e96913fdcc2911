"""A body laid along its own axes: left is +X, up is +Y, the front looks along +Z."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.skeleton.limb_graph import Cells
from services.rigging.engines.limb_graph.skeleton.symmetry import MirrorPlane, mirror_planes
from services.rigging.engines.limb_graph.solid import Mask, Solid, build_solid

_TOUCHING = np.ones((3, 3, 3), bool)
_WHOLE = 0.9
"""Share of the solid the largest piece must hold; below it gaps between the pieces are closed."""
_TURN_ABOUT = np.diag([-1.0, 1.0, -1.0])


@dataclass(frozen=True, slots=True)
class Loose:
    """A connected piece of a solid: its shares of the volume and of the height."""

    volume: float
    height: float


@dataclass(frozen=True)
class Body:
    """The solid of a body whose mirror plane is x = 0.

    ``vertices (n, 3)`` and ``faces (m, 3)`` are the mesh in its own space.
    ``axes (3, 3)`` holds the body's axes as columns in the space of the mesh; a point p of the mesh
    is ``p @ axes - shift`` in the body's own space. ``low`` and ``high`` bound the mesh there.
    ``mirror_error`` tells how badly the plane mirrors the body, 0 to 1; ``pieces`` the connected
    pieces, the largest first.
    """

    vertices: Vectors
    faces: NDArray[np.integer]
    solid: Solid
    shift: Vectors
    low: Vectors
    high: Vectors
    mirror_error: float
    occupied: Mask
    pieces: tuple[Loose, ...]

    @property
    def axes(self) -> Vectors:
        """The body's axes as columns."""
        return self.solid.rotation

    @property
    def cell(self) -> float:
        """The side of a cell."""
        return self.solid.cell

    @property
    def height(self) -> float:
        """How tall the body is."""
        return float(self.high[1] - self.low[1])

    @property
    def size(self) -> float:
        """The longest side of the box."""
        return float((self.high - self.low).max())

    @property
    def ground(self) -> float:
        """The height of the lowest point."""
        return float(self.low[1])

    @property
    def origin(self) -> Vectors:
        """The grid's corner in the body's own space."""
        return self.solid.origin - self.shift

    @cached_property
    def cells(self) -> Cells:
        """The graph of the occupied cells."""
        return Cells(self.occupied, self.origin, self.cell)

    def to_mesh(self, points: Vectors) -> Vectors:
        """Bring points ``(…, 3)`` from the body's space to the mesh's."""
        return np.asarray((points + self.shift) @ self.axes.T)

    def of_mesh(self, points: Vectors) -> Vectors:
        """Bring points ``(…, 3)`` of the mesh to the body's space."""
        return np.asarray(points @ self.axes - self.shift)

    def column(self, axis: int, value: float) -> int:
        """Return the index of the layer of cells at a coordinate, clipped to the grid."""
        index = int(np.floor((value - self.origin[axis]) / self.cell))
        return int(np.clip(index, 0, self.occupied.shape[axis] - 1))

    def coordinate(self, axis: int, index: float | NDArray[np.floating]) -> float:
        """Return the coordinate of a layer's middle."""
        return float(self.origin[axis] + (index + 0.5) * self.cell)

    def turned_about(self) -> Body:
        """Return the same body facing the other way."""
        occupied = self.occupied[::-1, :, ::-1]
        span = np.array(self.occupied.shape) * self.cell
        origin = self.origin.copy()
        origin[[0, 2]] = -(self.origin + span)[[0, 2]]
        low, high = self.low.copy(), self.high.copy()
        low[[0, 2]], high[[0, 2]] = -self.high[[0, 2]], -self.low[[0, 2]]
        shift = self.shift * np.array([-1.0, 1.0, -1.0])
        solid = Solid(self.solid.occupied[::-1, :, ::-1], origin + shift, self.cell, self.axes @ _TURN_ABOUT)
        return replace(self, solid=solid, shift=shift, low=low, high=high, occupied=occupied)


def upright_bodies(
    vertices: Vectors, faces: NDArray[np.integer], up: Vectors, worse: float
) -> Iterator[Body]:
    """Lay a mesh along its best mirror plane, then along the next best.

    ``up (3,)`` is a unit axis of the file. The second plane is left out when it mirrors the mesh
    ``worse`` times worse than the first. The body faces +Z or -Z; which, is found later.
    """
    base = _axes_with_up(up)
    solid = build_solid(vertices, faces, rotation=base)
    best, second = mirror_planes(solid, 2)
    yield _lay(vertices, faces, base, solid, best)
    if second.error <= worse * best.error + 0.02:
        yield _lay(vertices, faces, base, solid, second)


def _lay(
    vertices: Vectors, faces: NDArray[np.integer], base: Vectors, solid: Solid, plane: MirrorPlane
) -> Body:
    normal = plane.normal
    offset = plane.offset
    if normal[0] < 0 or (abs(normal[0]) < 1e-9 and normal[2] > 0):
        normal, offset = -normal, -offset
    own = np.stack([normal, [0.0, 1.0, 0.0], np.cross(normal, [0.0, 1.0, 0.0])], axis=1)
    if abs(normal[0] - 1.0) > 1e-12:
        solid = build_solid(vertices, faces, rotation=base @ own)
    shift = np.array([offset, 0.0, 0.0])
    corners = vertices @ solid.rotation - shift
    occupied, pieces = _whole(solid.occupied)
    return Body(
        vertices, faces, solid, shift, corners.min(axis=0), corners.max(axis=0), plane.error, occupied, pieces
    )


def _whole(occupied: Mask) -> tuple[Mask, tuple[Loose, ...]]:
    """Keep the largest piece; bridge gaps of a cell or two only when pieces float apart."""
    label, count = ndimage.label(occupied, _TOUCHING)
    volume = np.bincount(label.ravel())
    volume[0] = 0
    tall = np.ptp(np.flatnonzero(occupied.any(axis=(0, 2)))) + 1
    pieces = [
        Loose(float(volume[name] / volume.sum()), float((box[1].stop - box[1].start) / tall))
        for name, box in enumerate(ndimage.find_objects(label), 1)
    ]
    pieces.sort(key=lambda piece: -piece.volume)
    if count > 1 and pieces[0].volume < _WHOLE:
        closed = ndimage.binary_closing(np.pad(occupied, 2), _TOUCHING, iterations=2)[2:-2, 2:-2, 2:-2]
        label, _ = ndimage.label(occupied | closed, _TOUCHING)
        volume = np.bincount(label.ravel())
        volume[0] = 0
    return np.asarray(label == volume.argmax()), tuple(pieces)


def _axes_with_up(up: Vectors) -> Vectors:
    """Return axes as columns: +Y is ``up``; a file with Z up that faces -Y comes to face +Z."""
    if abs(up[1]) > 0.5:
        return np.eye(3)
    return np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
