"""The curve skeleton of a solid as a graph of level sets, and its limbs.

The geodesic distance from a cell inside the body is cut into levels; the connected pieces of each
level are the nodes, pieces that touch are joined (Verroust and Lazarus, "Extracting skeletal curves
from 3D scattered data", 2000; Singh et al., "Topological Methods … Mapper", 2007). A limb grows
from a tip, where the distance has a local maximum, back to where it meets a limb that reaches
farther: the merge tree of the distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.solid import Mask

_LEVEL = 1.5
"""Thickness of a level in cells; thinner ones fall apart into single cells."""
_STEPS = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1) if (i, j, k) > (0, 0, 0)]


class Cells:
    """The occupied cells of a grid and the graph of those that touch, by face, edge or corner."""

    def __init__(self, occupied: Mask, origin: Vectors, cell: float) -> None:
        self.occupied, self.origin, self.cell = occupied, origin, cell
        self.index = np.argwhere(occupied)
        self.points = origin + (self.index + 0.5) * cell
        self.number = np.full(occupied.shape, -1, np.int64)
        self.number[occupied] = np.arange(len(self.index))
        self.graph = self._graph()

    def _graph(self) -> sparse.csr_array:
        shape = np.array(self.occupied.shape)
        rows, columns, lengths = [], [], []
        for step in _STEPS:
            target = self.index + step
            inside = ((target >= 0) & (target < shape)).all(axis=1)
            other = self.number[tuple(np.clip(target, 0, shape - 1).T)]
            joined = np.flatnonzero(inside & (other >= 0))
            rows.append(joined)
            columns.append(other[joined])
            lengths.append(np.full(len(joined), np.linalg.norm(step) * self.cell))
        row, column, length = (np.concatenate(parts) for parts in (rows, columns, lengths))
        count = len(self.index)
        return sparse.coo_array((length, (row, column)), (count, count)).tocsr()

    def nearest(self, point: Vectors) -> int:
        """Return the number of the cell nearest to a point."""
        return int(((self.points - point) ** 2).sum(axis=1).argmin())

    def distances(self, source: int | list[int], within: Mask | None = None) -> Vectors:
        """Return each cell's geodesic distance to the nearest source, infinite where none leads.

        ``within (n,)`` keeps the paths to some of the cells.
        """
        sources = np.atleast_1d(source)
        if within is None:
            return np.asarray(dijkstra(self.graph, directed=False, indices=sources, min_only=True))
        kept = np.flatnonzero(within)
        place = np.full(len(self.index), -1)
        place[kept] = np.arange(len(kept))
        result = np.full(len(self.index), np.inf)
        if (place[sources] >= 0).any():
            part = self.graph[kept][:, kept]
            starts = place[sources][place[sources] >= 0]
            result[kept] = dijkstra(part, directed=False, indices=starts, min_only=True)
        return result


@dataclass(frozen=True, slots=True)
class LevelSets:
    """The graph of a distance's level sets.

    ``node (n,)`` is each cell's node, -1 for cells out of reach; ``centre (k, 3)``, ``size (k,)``
    in cells, ``level (k,)``; ``edges (e, 2)`` join nodes of neighbouring levels, the lower one first.
    """

    node: NDArray[np.int64]
    centre: Vectors
    size: NDArray[np.int64]
    level: NDArray[np.int64]
    edges: NDArray[np.int64]
    thickness: float


@dataclass(frozen=True, slots=True)
class Limb:
    """A branch of the merge tree, from its tip to where it meets a farther one.

    ``path`` are its nodes from the tip inwards; ``length`` is how far the tip reaches beyond the
    meeting; ``reach`` is the tip's distance from the source; ``attach`` the node in which it meets
    the other, -1 for the first. The limb it meets is never shorter.
    """

    path: tuple[int, ...]
    tip: Vectors
    reach: float
    length: float
    attach: int


def level_sets(cells: Cells, distance: Vectors, thickness: float | None = None) -> LevelSets:
    """Cut a distance ``(n,)`` over the cells into levels and find their connected pieces."""
    width = _LEVEL * cells.cell if thickness is None else thickness
    reached = np.isfinite(distance)
    level = np.where(reached, np.where(reached, distance, 0.0) // width, -1).astype(np.int64)
    pairs = cells.graph.tocoo()
    row, column = pairs.coords
    alike = (level[row] == level[column]) & reached[row]
    count = len(cells.index)
    ones = np.ones(int(alike.sum()), np.int8)
    joined = sparse.coo_array((ones, (row[alike], column[alike])), (count, count))
    _, piece = connected_components(joined, directed=False)
    names, node = np.unique(np.where(reached, piece, -1), return_inverse=True)
    if names[0] == -1:
        node = node - 1
    total = int(node.max()) + 1
    kept = node >= 0
    size = np.bincount(node[kept], minlength=total)
    centre = np.stack([np.bincount(node[kept], cells.points[kept, axis], total) for axis in range(3)], axis=1)
    level_of = np.zeros(total, np.int64)
    level_of[node[kept]] = level[kept]
    across = reached[row] & reached[column] & (level[row] != level[column])
    first, second = node[row[across]], node[column[across]]
    swap = level_of[first] > level_of[second]
    low, high = np.where(swap, second, first), np.where(swap, first, second)
    key = np.unique(low * total + high)
    edges = np.stack([key // total, key % total], axis=1)
    return LevelSets(node, centre / size[:, None], size, level_of, edges, width)


def limbs(sets: LevelSets) -> list[Limb]:
    """Return the branches of the merge tree of the distance, the longest reach first.

    Nodes are visited from the farthest level inwards; where two branches meet, the one whose tip
    reaches farther goes on (the elder rule of persistent homology).
    """
    lower: list[list[int]] = [[] for _ in range(len(sets.level))]
    upper: list[list[int]] = [[] for _ in range(len(sets.level))]
    for low, high in sets.edges.tolist():
        lower[high].append(low)
        upper[low].append(high)
    branch = np.full(len(sets.level), -1)
    leader: list[int] = []
    paths: list[list[int]] = []
    ends: dict[int, int] = {}

    def root(name: int) -> int:
        while leader[name] != name:
            name = leader[name]
        return name

    order = np.lexsort((np.arange(len(sets.level)), -sets.level))
    for node in order.tolist():
        arriving = sorted(
            {root(int(branch[other])) for other in upper[node]}, key=lambda b: (-_tip(paths, sets, b), b)
        )
        if not arriving:
            branch[node] = len(paths)
            leader.append(len(paths))
            paths.append([node])
            continue
        eldest = arriving[0]
        branch[node] = eldest
        paths[eldest].append(node)
        for younger in arriving[1:]:
            leader[younger] = eldest
            ends[younger] = node
    found = []
    for name, path in enumerate(paths):
        attach = ends.get(name, -1)
        meeting = 0 if attach < 0 else int(sets.level[attach])
        top = int(sets.level[path[0]])
        found.append(
            Limb(
                tuple(path),
                sets.centre[path[0]],
                (top + 0.5) * sets.thickness,
                (top - meeting) * sets.thickness,
                attach,
            )
        )
    return found


def _tip(paths: list[list[int]], sets: LevelSets, name: int) -> int:
    return int(sets.level[paths[name][0]])
