"""The solid of a triangle soup: an occupancy grid by generalized winding number.

Jacobson et al., "Robust Inside-Outside Segmentation using Generalized Winding Numbers" (2013), in
the fast form of Barill et al. (2018): meshes with holes, overlapping shells and loose parts have
an inside all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Vectors = NDArray[np.float64]
Mask = NDArray[np.bool_]

CELLS = 120
"""Cells along the longest side of the box."""
_MOST_CELLS = 500_000
"""Of the grid: fat bodies get coarser cells, their limbs are thicker too."""
_STRIDE = 3
_MARGIN = 2
_TINY_SOLID = 0.003
"""Share of the grid below which a body counts as sheets without an inside."""


@dataclass(frozen=True, slots=True)
class Solid:
    """Which cells of a grid are inside the body.

    ``occupied (nx, ny, nz)`` bool; the centre of cell ``(i, j, k)`` is at
    ``rotation @ (origin + (index + ½) · cell)``. ``rotation (3, 3)`` is the identity unless the grid was
    laid along the body's own axes.
    """

    occupied: Mask
    origin: Vectors
    cell: float
    rotation: Vectors

    def centres(self, index: NDArray[np.intp]) -> Vectors:
        """Return the centres ``(n, 3)`` of cells ``(n, 3)`` in the space of the mesh."""
        return np.asarray((self.origin + (index + 0.5) * self.cell) @ self.rotation.T)

    def cells_of(self, points: Vectors) -> NDArray[np.intp]:
        """Return the cells ``(n, 3)`` that hold the points ``(n, 3)``, clipped to the grid."""
        index = np.floor((points @ self.rotation - self.origin) / self.cell).astype(np.intp)
        return np.clip(index, 0, np.array(self.occupied.shape) - 1)


def build_solid(
    vertices: Vectors, faces: NDArray[np.integer], *, cells: int = CELLS, rotation: Vectors | None = None
) -> Solid:
    """Fill the grid of a triangle soup.

    ``vertices (n, 3)`` float64, ``faces (m, 3)``. ``rotation`` lays the grid along other axes: its
    columns are the grid's axes in the space of the mesh. The longest side of the box gets ``cells``
    cells, fewer when the box is so deep that the grid would grow too large.
    """
    axes = np.eye(3) if rotation is None else np.asarray(rotation, np.float64)
    points = np.ascontiguousarray(vertices @ axes)
    corners = points[faces]
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    cell = _cell_size(high - low, cells)
    origin = low - _MARGIN * cell
    shape = np.ceil((high - origin) / cell).astype(int) + _MARGIN
    points, faces = cluster(points, faces, low, cell / 4)
    surface = _surface_cells(points[faces], origin, cell, shape)
    inside = _fill(points, faces, origin, cell, surface)
    if inside.mean() < _TINY_SOLID:
        occupied = inside | surface
    else:
        # Sheets (hair, capes) count only where they lie on the body; alone they would add limbs.
        occupied = inside | (surface & ndimage.binary_dilation(inside))
    return Solid(occupied, origin, cell, axes)


def _fill(points: Vectors, faces: NDArray[np.integer], origin: Vectors, cell: float, surface: Mask) -> Mask:
    """Mark the inside of the grid: every cell by the surface, the rest from every third cell.

    Away from the surface the winding number of a closed mesh is constant; in the openings of an open
    one it falls gradually, and the cells about the fall are asked as well.
    """
    shape = np.array(surface.shape)
    coarse_shape = -(-shape // _STRIDE)
    guess = winding_inside(points, faces, grid_points(origin, _STRIDE * cell, coarse_shape)).reshape(
        coarse_shape
    )
    for axis in range(3):
        guess = np.repeat(guess, _STRIDE, axis=axis)
    inside = guess[: shape[0], : shape[1], : shape[2]].copy()
    changing = ndimage.maximum_filter(inside, 2 * _STRIDE - 1) != ndimage.minimum_filter(
        inside, 2 * _STRIDE - 1
    )
    asked = ndimage.binary_dilation(surface, np.ones((3, 3, 3))) | changing
    index = np.argwhere(asked)
    inside[asked] = winding_inside(points, faces, origin + (index + 0.5) * cell)
    return inside


def grid_points(origin: Vectors, cell: float, shape: NDArray[np.integer]) -> Vectors:
    """Return the centres of all cells of a grid, the last axis running fastest: ``(n, 3)``."""
    axes = [origin[axis] + (np.arange(shape[axis]) + 0.5) * cell for axis in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def winding_inside(points: Vectors, faces: NDArray[np.integer], queries: Vectors) -> Mask:
    """Tell which of the queries ``(n, 3)`` the surface winds around, either way round."""
    if not len(faces):
        return np.zeros(len(queries), bool)
    winding = igl.fast_winding_number(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(faces, np.int64), queries
    )
    return np.asarray(np.abs(winding) > 0.5)


def cluster(
    points: Vectors, faces: NDArray[np.integer], low: Vectors, size: float
) -> tuple[Vectors, NDArray[np.int64]]:
    """Join the vertices that share a cube of side ``size`` at their mean; drop faces that vanish.

    Rossignac and Borrel, "Multi-resolution 3D approximations" (1993). It also welds seams, and
    bounds the work on dense meshes by the size of the grid instead of the count of their faces.
    """
    cube = np.floor((points - low) / size + 0.5).astype(np.int64)
    span = cube.max(axis=0) + 1
    key = (cube[:, 0] * span[1] + cube[:, 1]) * span[2] + cube[:, 2]
    _, owner, count = np.unique(key, return_inverse=True, return_counts=True)
    owner = owner.ravel()
    joined = np.stack([np.bincount(owner, points[:, axis]) for axis in range(3)], axis=1) / count[:, None]
    corner = owner[faces]
    alive = (corner[:, 0] != corner[:, 1]) & (corner[:, 1] != corner[:, 2]) & (corner[:, 2] != corner[:, 0])
    return joined, corner[alive].astype(np.int64)


def _cell_size(extent: Vectors, cells: int) -> float:
    """Return the side of a cell so that neither the longest side nor the grid exceeds its limit."""
    cell = float(extent.max()) / cells
    total = float(np.prod(extent / cell + 2 * _MARGIN))
    return cell * max(1.0, float((total / _MOST_CELLS) ** (1 / 3)))


def _surface_cells(corners: Vectors, origin: Vectors, cell: float, shape: NDArray[np.integer]) -> Mask:
    """Mark the cells that the triangles ``(m, 3, 3)`` pass through, sampled at half a cell."""
    edge = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    steps = np.maximum(np.ceil(edge / (0.5 * cell)).astype(int), 1)
    marked = np.zeros(shape, bool)
    for count in np.unique(np.minimum(2 ** np.ceil(np.log2(steps)).astype(int), 256)):
        group = corners[np.minimum(2 ** np.ceil(np.log2(steps)).astype(int), 256) == count]
        u, v = (grid.ravel() for grid in np.meshgrid(np.arange(count + 1), np.arange(count + 1)))
        keep = u + v <= count
        a, b = u[keep] / count, v[keep] / count
        weight = np.stack([1 - a - b, a, b], axis=1)
        for block in np.array_split(group, max(1, len(group) * len(weight) // 1_000_000)):
            hit = np.einsum("ws,msd->mwd", weight, block).reshape(-1, 3)
            index = np.clip(np.floor((hit - origin) / cell).astype(int), 0, shape - 1)
            marked[index[:, 0], index[:, 1], index[:, 2]] = True
    return marked
