"""Part what only touches: two closed surfaces that meet in a point or along an edge.

Welding by place closes the seams of textures, but also joins two legs that touch. At a welded
point the faces fall into umbrellas, fans that hang together across edges of two faces. Where
several closed umbrellas meet, each gets a point of its own.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

Indices = NDArray[np.int64]


def part_contacts(faces: Indices, given: Indices, points: int) -> tuple[Indices, Indices]:
    """Split the welded points at which closed umbrellas meet.

    ``faces (m, 3)`` name welded points, ``given (m, 3)`` the vertices they were welded from. Returns
    the new faces ``(m, 3)`` and for each new point the welded one it lies at: the old points come
    first, unchanged in number.
    """
    place = np.arange(points)
    corners = faces.ravel()
    shared = _welded_from_several(corners, given.ravel(), points)
    if not shared.any():
        return faces, place
    edges = _Edges(faces, given)
    shared[edges.border] = False
    umbrella = edges.umbrellas(shared)
    mine = np.flatnonzero(shared[corners])
    # The first umbrella of each point keeps the point, the others get new ones.
    pair, first, which = np.unique(
        corners[mine] * (umbrella.max() + 1) + umbrella[mine], return_index=True, return_inverse=True
    )
    at = corners[mine][first]
    fresh = np.concatenate([[False], at[1:] == at[:-1]]) if len(pair) else np.zeros(0, dtype=bool)
    number = np.where(fresh, points + np.cumsum(fresh) - 1, at)
    parted = corners.copy()
    parted[mine] = number[which.ravel()]
    return parted.reshape(-1, 3), np.concatenate([place, at[fresh]])


def _welded_from_several(corners: Indices, given: Indices, points: int) -> NDArray[np.bool_]:
    least, most = np.full(points, np.iinfo(np.int64).max), np.full(points, -1)
    np.minimum.at(least, corners, given)
    np.maximum.at(most, corners, given)
    return np.asarray(most > least)


class _Edges:
    """The sides of all faces, sorted by the undirected edge they lie on."""

    def __init__(self, faces: Indices, given: Indices) -> None:
        ahead = np.roll(np.arange(faces.size).reshape(-1, 3), -1, axis=1).ravel()
        start, end = faces.ravel(), faces.ravel()[ahead]
        forward = start < end
        corner = np.arange(faces.size)
        # The corner at the lower point of each side, and the one at the higher.
        self._low = np.where(forward, corner, ahead)
        self._high = np.where(forward, ahead, corner)
        key = faces.ravel()[self._low] * (int(faces.max()) + 1) + faces.ravel()[self._high]
        self._order = np.argsort(key, kind="stable")
        _, self._edge, self._uses = np.unique(key[self._order], return_inverse=True, return_counts=True)
        self._corners = faces.ravel()
        self._given = given.ravel()

    @property
    def border(self) -> Indices:
        """The points on edges of a single face."""
        lone = self._order[self._uses[self._edge] == 1]
        return np.unique(self._corners[np.concatenate([self._low[lone], self._high[lone]])])

    def umbrellas(self, chosen: NDArray[np.bool_]) -> Indices:
        """Give each corner ``(3 m,)`` the number of its umbrella; only those at chosen points are joined."""
        joined = self._edge[1:] == self._edge[:-1]
        simple = self._uses[self._edge[1:]] == 2
        low, high = self._low[self._order], self._high[self._order]
        alike = (self._given[low[1:]] == self._given[low[:-1]]) & (
            self._given[high[1:]] == self._given[high[:-1]]
        )
        # An edge of many faces none of which were joined as given tells nothing: it stays whole.
        told = np.zeros(len(self._uses), dtype=bool)
        told[self._edge[1:][joined & alike]] = True
        across = np.flatnonzero(joined & (simple | ~told[self._edge[1:]]))
        by_given = np.argsort(self._given, kind="stable")
        same = np.flatnonzero(self._given[by_given][1:] == self._given[by_given][:-1])
        one = np.concatenate([low[across], high[across], by_given[same]])
        other = np.concatenate([low[across + 1], high[across + 1], by_given[same + 1]])
        kept = chosen[self._corners[one]]
        graph = sparse.coo_matrix(
            (np.ones(int(kept.sum()), dtype=np.int8), (one[kept], other[kept])),
            shape=(len(self._corners), len(self._corners)),
        )
        return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
