"""Pieces that hang together, and what part each plays: body, rider, or crumb of a soup."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from services.rigging.engines.limb_graph.skin.heat import balance
from services.rigging.engines.limb_graph.skin.surface import Indices, Surface, part_of

_SEEING = 0.1
"""Share of the points of a piece that must see a bone inside to make it a body of its own."""
_CRUMB = 12
"""Pieces of fewer faces are no surface."""
_SOUP = 0.3
"""Share of all points in crumbs from which the mesh counts as a soup."""
_TANGLED = 25.0
"""Mean side of the faces, as a multiple of size / √points, from which faces join what is not near.

Surfaces have 1 to 3, long thin fans more; rays and heat in a tangle take time and memory without end.
"""
_RIGID = 0.12
"""Riders shorter than this share of the size move as one: eyes, buttons, buckles."""
_CONTACT = 0.01
"""A rider holds on where it is no farther from its host than at its nearest, plus this share of the size."""
_HOLD = 0.05
"""Larger riders (hair, belts, cloth) follow the host within this share of the size of their nearest."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Which points ``(k,)`` bodies are made of, which riders on them and which the soup."""

    body: NDArray[np.bool_]
    rider: NDArray[np.bool_]
    soup: NDArray[np.bool_]


def sort_pieces(surface: Surface, seen: NDArray[np.bool_]) -> Pieces:
    """Tell the parts of the points, given which see a bone inside the body."""
    component = surface.component
    count = int(component.max()) + 1
    points = np.bincount(component, minlength=count)
    faces = np.bincount(component[surface.faces[:, 0]], minlength=count)
    crumb = faces < _CRUMB
    soup = crumb & (points[crumb].sum() > _SOUP * len(component))
    body = ~crumb & (np.bincount(component, seen, minlength=count) >= _SEEING * points)
    if not body.any():
        # Nothing holds a bone: whatever is a surface stands for the body.
        body = ~crumb
    if not body.any():
        soup = crumb
    return Pieces(body[component], (~body & ~soup)[component], (~body & soup)[component])


def is_tangled(surface: Surface) -> bool:
    """Tell whether the faces join what is not near, so that they make no surface at all."""
    if not len(surface.faces):
        return False
    corner = surface.points[surface.faces]
    side = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2).mean()
    return bool(side > _TANGLED * surface.size / np.sqrt(len(surface.points)))


def ride(
    surface: Surface, weights: NDArray[np.float64], riders: NDArray[np.bool_], hosts: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the weights ``(r, j)`` of the riders, taken from the hosts they lie on.

    Small pieces get one row, so they stay rigid. Larger ones take the rows under them near
    where they touch and carry them on along their own surface.
    """
    mine, theirs = np.flatnonzero(riders), np.flatnonzero(hosts)
    gap, under = cKDTree(surface.points[theirs]).query(surface.points[mine])
    piece = np.unique(surface.component[mine], return_inverse=True)[1].ravel()
    count = int(piece.max()) + 1
    nearest = np.full(count, np.inf)
    np.minimum.at(nearest, piece, gap)
    reach = gap - nearest[piece]
    rigid = _lengths(surface.points[mine], piece, count) < _RIGID * surface.size
    holds = reach <= np.where(rigid[piece], _CONTACT, _HOLD) * surface.size
    rows = weights[theirs[under]]
    mean = _mean_rows(rows, piece, count, holds)[piece]
    loose = ~rigid[piece]
    if loose.any():
        part = part_of(surface, mine[loose])
        distance = np.where(holds[loose], np.maximum(gap[loose], 0.01 * surface.size), np.inf)
        carried = balance(part, sparse.csr_matrix(rows[loose]), distance)
        mean[loose] = rows[loose] if carried is None else carried
    return mean


def _lengths(points: NDArray[np.float64], piece: Indices, count: int) -> NDArray[np.float64]:
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, piece, points)
    np.maximum.at(high, piece, points)
    return np.asarray(np.linalg.norm(high - low, axis=1))


def _mean_rows(
    rows: NDArray[np.float64], piece: Indices, count: int, holds: NDArray[np.bool_]
) -> NDArray[np.float64]:
    at = np.flatnonzero(holds)
    gather = sparse.csr_matrix((np.ones(len(at)), (piece[at], at)), shape=(count, len(piece)))
    total = gather @ rows
    return np.asarray(total / total.sum(axis=1, keepdims=True))
