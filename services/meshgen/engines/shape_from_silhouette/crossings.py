"""Find faces of a mesh that pass through one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Cells = NDArray[np.int64]

_BENT = 0.25
"""Cosine to the mean normal of a vertex below which a face there is suspected of folding over."""
_BATCH = 200_000
_BUCKETS = 6.0
"""Side of a bucket as a multiple of the usual edge: few faces reach over many of them."""


def crossing_faces(points: Points, faces: Cells, quads: Cells) -> Cells:
    """Return the faces that cross another one, given that only quads with a common corner can."""
    return _confirmed(points, faces, *_suspects(points, faces, quads))


def self_intersections(points: Points, faces: Cells) -> Cells:
    """Return the faces of any triangle mesh ``(m, 3)`` that cross another one.

    Faces that share a vertex cross where the edge across from it passes through the other face;
    those that share an edge do not count. Vertices in the same place must be one.
    """
    edge = np.linalg.norm(points[faces[:, 1]] - points[faces[:, 0]], axis=1)
    scaled = (points - points.mean(axis=0)) / max(float(np.median(edge)), 1e-30)
    return _confirmed(scaled, faces, *_neighbours(scaled, faces))


def _confirmed(points: Points, faces: Cells, first: Cells, second: Cells) -> Cells:
    """Return the faces of those pairs that do cross."""
    hit = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), _BATCH):
        part = slice(start, start + _BATCH)
        one, two = faces[first[part]], faces[second[part]]
        hit[part] = _crosses(points, one, two) | _crosses(points, two, one)
    return np.unique(np.concatenate([first[hit], second[hit]]))


def _neighbours(points: Points, faces: Cells) -> tuple[Cells, Cells]:
    """Pair the faces whose boxes overlap, found by the buckets of a grid that both reach."""
    corner = points[faces]
    low, high = corner.min(axis=1), corner.max(axis=1)
    side = max(_BUCKETS * float(np.median(high - low)), 1e-12)
    start = np.floor((low - points.min(axis=0)) / side).astype(np.int64)
    reach = np.floor((high - points.min(axis=0)) / side).astype(np.int64) - start + 1
    count = reach.prod(axis=1)
    face = np.repeat(np.arange(len(faces)), count)
    place = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    size = reach[face]
    step = np.stack([place % size[:, 0], place // size[:, 0] % size[:, 1], place // size[:, :2].prod(axis=1)])
    bucket = start[face] + step.T
    shape = bucket.max(axis=0) + 1
    key = (bucket[:, 0] * shape[1] + bucket[:, 1]) * shape[2] + bucket[:, 2]
    order = np.argsort(key, kind="stable")
    key, face = key[order], face[order]
    pairs = []
    for apart in range(1, int(np.unique(key, return_counts=True)[1].max(initial=0))):
        one, two = face[:-apart], face[apart:]
        near = key[apart:] == key[:-apart]
        one, two = one[near], two[near]
        overlap = ((low[one] <= high[two]) & (low[two] <= high[one])).all(axis=1)
        pairs.append(np.stack([one[overlap], two[overlap]], axis=1))
    couple = np.unique(np.concatenate(pairs), axis=0) if pairs else np.zeros((0, 2), dtype=np.int64)
    return couple[:, 0], couple[:, 1]


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
