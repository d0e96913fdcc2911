"""Find faces of a surface net that pass through one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Cells = NDArray[np.int64]

_BENT = 0.25
"""Cosine to the mean normal of a vertex below which a face there is suspected of folding over."""
_BATCH = 200_000


def crossing_faces(points: Points, faces: Cells, quads: Cells) -> Cells:
    """Return the faces that cross another one, given that only quads with a common corner can."""
    first, second = _suspects(points, faces, quads)
    hit = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), _BATCH):
        part = slice(start, start + _BATCH)
        one, two = faces[first[part]], faces[second[part]]
        hit[part] = _crosses(points, one, two) | _crosses(points, two, one)
    return np.unique(np.concatenate([first[hit], second[hit]]))


def _suspects(points: Points, faces: Cells, quads: Cells) -> tuple[Cells, Cells]:
    """Pair the faces around vertices where the surface bends so much that it could fold."""
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    owner = np.repeat(np.arange(len(quads)), 4)
    vertex = quads.ravel()
    mean = np.zeros_like(points)
    for half in (0, 1):
        np.add.at(mean, vertex, normal[2 * owner + half])
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    least = np.ones(len(points))
    for half in (0, 1):
        np.minimum.at(least, vertex, np.einsum("kd,kd->k", normal[2 * owner + half], mean[vertex]))
    kept = least[vertex] < _BENT
    order = np.argsort(vertex[kept], kind="stable")
    vertex, owner = vertex[kept][order], owner[kept][order]
    pairs = []
    longest = int(np.bincount(vertex).max()) if len(vertex) else 0
    for apart in range(1, longest):
        same = vertex[apart:] == vertex[:-apart]
        pairs.append(np.stack([owner[:-apart][same], owner[apart:][same]], axis=1))
    couple = np.unique(np.concatenate(pairs), axis=0) if pairs else np.zeros((0, 2), dtype=np.int64)
    first = np.concatenate([2 * couple[:, 0] + a for a in (0, 0, 1, 1)])
    second = np.concatenate([2 * couple[:, 1] + b for b in (0, 1, 0, 1)])
    return first, second


def _crosses(points: Points, one: Cells, two: Cells) -> NDArray[np.bool_]:
    """Tell whether an edge of face ``one`` passes through face ``two`` away from common corners."""
    a, b, c = (points[two[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    found = np.zeros(len(one), dtype=bool)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        free = ~((one[:, [start]] == two) | (one[:, [end]] == two)).any(axis=1)
        p, q = points[one[:, start]], points[one[:, end]]
        above = np.einsum("kd,kd->k", normal, p - a)
        below = np.einsum("kd,kd->k", normal, q - a)
        through = free & (above * below <= 0) & (np.abs(above - below) > 1e-15)
        share = above / np.where(through, above - below, 1.0)
        place = p + share[:, None] * (q - p)
        within = through
        for u, v in ((a, b), (b, c), (c, a)):
            within = within & (np.einsum("kd,kd->k", np.cross(v - u, place - u), normal) >= -1e-12)
        found |= within
    return found
