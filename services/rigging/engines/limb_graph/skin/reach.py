"""Which bone each point of a surface belongs to: the nearest one it can see inside the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from services.rigging.engines.limb_graph.skin.bones import Bones
from services.rigging.engines.limb_graph.skin.rays import Rays
from services.rigging.engines.limb_graph.skin.surface import Indices, Points, Surface

_CANDIDATES = 12
"""Nearest bones of a point that are looked for."""
_BEHIND = 3.0
"""How much farther a bone is for what lies behind its joint: flesh follows the joint before it."""
_FLESH = 2.0
"""Beyond this many radii of a bone its cost rises with the square of the distance: no flesh of it."""
_COVERED = 1.6
"""How much farther a bone is that is seen through the skin of another piece."""
_HIDDEN = 3.0
"""How much farther a bone is that cannot be seen."""
_INSET = 1e-4
"""How far under the surface eyes lie, as a share of the size."""
_ROWS = 16384
"""Points looked at together; bounds the memory."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Shares ``(k, j)`` of the joints in each point, sums one; the way ``distance (k,)`` in metres.

    ``bare (k,)`` tells whether the point sees any bone with no other surface between.
    """

    shares: sparse.csr_matrix
    distance: NDArray[np.float64]
    bare: NDArray[np.bool_]


def reach(surface: Surface, bones: Bones, rays: Rays, joints: int) -> Reach:
    """Find the nearest bones of all points; ones that cannot be seen count as farther away."""
    eyes = surface.points - _INSET * surface.size * _unit_normals(surface)
    parts = [
        _nearest(surface, eyes, bones, rays, slice(first, first + _ROWS))
        for first in range(0, len(eyes), _ROWS)
    ]
    row = np.concatenate([part[0] + k * _ROWS for k, part in enumerate(parts)])
    bone = np.concatenate([part[1] for part in parts])
    distance = np.concatenate([part[2] for part in parts])
    bare = np.concatenate([part[3] for part in parts])
    return Reach(_shares(row, bones.joint[bone], len(eyes), joints), distance, bare)


def _shares(row: Indices, joint: Indices, points: int, joints: int) -> sparse.csr_matrix:
    pairs = np.unique(np.stack([row, joint]), axis=1)
    count = np.bincount(pairs[0], minlength=points)
    return sparse.csr_matrix((1.0 / count[pairs[0]], (pairs[0], pairs[1])), shape=(points, joints))


def _nearest(
    surface: Surface, eyes: Points, bones: Bones, rays: Rays, chosen: slice
) -> tuple[Indices, Indices, NDArray[np.float64], NDArray[np.bool_]]:
    """Return the rows and bones of all pairs, then distance and bare of the points."""
    points, eyes = surface.points[chosen], eyes[chosen]
    ways = _ways(points, bones)
    rows = np.arange(len(points))
    candidates = min(_CANDIDATES, ways.cost.shape[1])
    order = np.argpartition(ways.cost, candidates - 1, axis=1)[:, :candidates]
    order = np.take_along_axis(order, np.take_along_axis(ways.cost, order, axis=1).argsort(axis=1), axis=1)
    best, least = order[:, 0].copy(), np.full(len(points), np.inf)
    factor = np.full(len(points), _HIDDEN)
    bare = np.zeros(len(points), dtype=bool)
    for bone in order.T:
        # Dearer bones cannot win any more, however well they are seen.
        open_rows = rows[ways.cost[rows, bone] < least]
        if not len(open_rows):
            break
        tried = bone[open_rows]
        clear, alone = rays.sees(eyes[open_rows], bones.at(tried, ways.share[open_rows, tried]))
        farther = np.where(alone, 1.0, np.where(clear, _COVERED, _HIDDEN))
        cost = farther * ways.cost[open_rows, tried]
        better = cost < least[open_rows]
        won = open_rows[better]
        best[won], least[won], factor[won] = tried[better], cost[better], farther[better]
        bare[open_rows] |= alone
    row, bone = np.nonzero(_meeting(bones, ways.share, rows, best))
    return row, bone, ways.distance[rows, best] * factor, bare


@dataclass(frozen=True, slots=True)
class _Ways:
    """From n points to b bones: where on the bone ``share (n, b)``, 0 to 1, ``distance`` and ``cost``."""

    share: NDArray[np.float64]
    distance: NDArray[np.float64]
    cost: NDArray[np.float64]


def _ways(points: Points, bones: Bones) -> _Ways:
    along = bones.end - bones.start
    squared = np.maximum(np.einsum("bi,bi->b", along, along), 1e-300)
    share = (points @ along.T - np.einsum("bi,bi->b", bones.start, along)) / squared
    behind = np.maximum(-share, 0.0) ** 2 * squared
    np.clip(share, 0.0, 1.0, out=share)
    off = np.zeros(share.shape)
    for axis in range(3):
        place = share * along[:, axis] + bones.start[:, axis]
        off += (points[:, axis, None] - place) ** 2
    distance = np.sqrt(off)
    stray = np.maximum(distance / (_FLESH * bones.radius), 1.0)
    return _Ways(share, distance, np.sqrt(off + (_BEHIND**2 - 1.0) * behind) * stray)


def _meeting(bones: Bones, share: NDArray[np.float64], rows: Indices, best: Indices) -> NDArray[np.bool_]:
    """Mark the bones ``(n, b)`` whose nearest place is that of the best one: those that meet there."""
    node = np.where(share <= 0.0, bones.start_node, np.where(share >= 1.0, bones.end_node, -1))
    own = node[rows, best]
    meets = (node == own[:, None]) & (own >= 0)[:, None]
    meets[rows, best] = True
    return np.asarray(meets)


def _unit_normals(surface: Surface) -> Points:
    normals = np.repeat(surface.normals, 3, axis=0)
    total = np.empty_like(surface.points)
    for axis in range(3):
        total[:, axis] = np.bincount(surface.faces.ravel(), normals[:, axis], minlength=len(total))
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300))
