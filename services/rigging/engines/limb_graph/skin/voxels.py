"""Ways through the inside of a body that need no good surface (Dionne & de Lasa 2013).

The body is a grid of solid cells: those the surface touches and those no way from outside
reaches. Distances are shortest ways from cell to cell, so an arm is far from the hip it hangs by.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from services.rigging.engines.limb_graph.skin.bones import Bones
from services.rigging.engines.limb_graph.skin.surface import Indices, Points, Surface

_CELLS = 64
"""Cells along the longest side."""
_MOST_SOLID = 12_000
"""Solid cells from which a coarser grid is taken."""
_MOST_SAMPLES = 3_000_000
_FALLOFF = 6
_BLEND = 8
"""Cells that are blended at a point."""
_STEPS = np.array([step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)])
"""Half of the 26 neighbours."""


@dataclass(frozen=True, slots=True)
class Voxels:
    """Solid cells with ``centres (v, 3)``, ``cell`` metres wide; ``graph (v, v)`` joins neighbours."""

    cell: float
    centres: Points
    graph: sparse.csr_matrix

    def cells_of(self, places: Points) -> Indices:
        """Return the solid cell ``(n,)`` whose centre is nearest to each place."""
        return np.asarray(cKDTree(self.centres).query(places)[1])


def voxels_of(surface: Surface, bones: Bones) -> Voxels:
    """Build the solid of a surface; cells on bones inside its box count as solid."""
    cells = float(_CELLS)
    while True:
        low, high = surface.points.min(axis=0), surface.points.max(axis=0)
        cell = max(float((high - low).max()) / cells, 1e-9 * surface.size)
        origin = low - 1.5 * cell
        shape = np.ceil((high - origin) / cell).astype(np.int64) + 2
        shell = np.zeros(shape, dtype=bool)
        for places in (_samples(surface, cell), _along(bones, cell, low, high)):
            shell[tuple(((places - origin) / cell).astype(np.int64).T)] = True
        solid = ndimage.binary_fill_holes(shell)
        count = int(solid.sum())
        if count <= _MOST_SOLID or cells < 24:
            return _joined(solid, origin, cell)
        cells = min(cells * (_MOST_SOLID / count) ** (1 / 3), 0.95 * cells)


def _samples(surface: Surface, cell: float) -> Points:
    """Lay points on all faces, less than a cell apart, and take all vertices."""
    corner = surface.points[surface.faces]
    if not len(corner):
        return surface.points
    edges = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2).max(axis=1)
    parts = np.ceil(edges / (0.7 * cell)).astype(np.int64)
    while ((parts + 1) * (parts + 2) // 2).sum() > _MOST_SAMPLES:
        parts = np.maximum(parts * 3 // 4, 1)
    pieces = [surface.points]
    for count in np.unique(parts[parts > 1]).tolist():
        i, j = np.array([(i, j) for i in range(count + 1) for j in range(count + 1 - i)]).T
        share = np.stack([i, j, count - i - j], axis=1) / count
        pieces.append((share @ corner[parts == count]).reshape(-1, 3))
    return np.concatenate(pieces)


def _along(bones: Bones, cell: float, low: Points, high: Points) -> Points:
    """Lay points on the bones, a cell apart, and keep those in the box of the body."""
    places = np.concatenate([_places_on(bones, bone, cell) for bone in range(len(bones.joint))])
    return places[((places >= low) & (places <= high)).all(axis=1)]


def _places_on(bones: Bones, bone: int, spacing: float) -> Points:
    """Return places ``(k, 3)`` along a bone, ends included, no further apart than ``spacing``."""
    way = bones.end[bone] - bones.start[bone]
    count = min(int(np.ceil(np.linalg.norm(way) / spacing)), 4096) + 1
    return np.asarray(bones.start[bone] + np.linspace(0.0, 1.0, max(count, 2))[:, None] * way)


def _joined(solid: NDArray[np.bool_], origin: NDArray[np.float64], cell: float) -> Voxels:
    index = np.argwhere(solid)
    number = np.full(solid.shape, -1, dtype=np.int64)
    number[solid] = np.arange(len(index))
    rows, columns, lengths = [], [], []
    # The outermost layer is empty, so steps never leave the grid.
    for step in _STEPS:
        beside = number[tuple((index + step).T)]
        here = np.flatnonzero(beside >= 0)
        rows.append(here)
        columns.append(beside[here])
        lengths.append(np.full(len(here), cell * float(np.linalg.norm(step))))
    ways = (np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns)))
    graph = sparse.csr_matrix(ways, shape=(len(index), len(index)))
    return Voxels(cell, origin + (index + 0.5) * cell, graph)


def solid_weights(voxels: Voxels, bones: Bones, joints: int, points: Points) -> NDArray[np.float64]:
    """Weigh the joints at ``points (n, 3)`` by their ways through the solid alone: ``(n, j)``.

    A joint weighs ``(d₀ / d) ^ 6``, d₀ being the shortest way there. Points of equal place get
    equal rows, and rows change smoothly with the place. Rows sum to one.
    """
    ways = _ways(voxels, bones, joints)
    weights = (ways.min(axis=1, keepdims=True) / ways) ** _FALLOFF
    weights /= weights.sum(axis=1, keepdims=True)
    count = min(_BLEND, len(voxels.centres))
    gap, cell = cKDTree(voxels.centres).query(points, k=np.arange(1, count + 1))
    share = np.maximum(gap[:, -1:] * 1.001 - gap, 1e-12 * voxels.cell)
    share /= share.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("nk,nkj->nj", share, weights[cell]))


def _ways(voxels: Voxels, bones: Bones, joints: int) -> NDArray[np.float64]:
    """Return the ways ``(v, j)`` from each solid cell to the bones of each joint, metres."""
    ways = np.full((len(voxels.centres), joints), np.inf)
    for joint in np.unique(bones.joint).tolist():
        mine = np.flatnonzero(bones.joint == joint)
        places = np.concatenate([_places_on(bones, bone, voxels.cell) for bone in mine.tolist()])
        seeds = np.unique(voxels.cells_of(places))
        ways[:, joint] = dijkstra(voxels.graph, directed=False, indices=seeds, min_only=True)
    reached = np.isfinite(ways).any(axis=1)
    # Loose pieces that hold no bone take what the nearest reached cell has.
    if reached.any() and not reached.all():
        near = cKDTree(voxels.centres[reached]).query(voxels.centres[~reached])[1]
        ways[~reached] = ways[reached][near]
    return np.asarray(np.maximum(ways, voxels.cell))
