"""Unwrap a closed mesh into charts that are each seen straight on, so that a picture fits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from maquette.geometry.asset import Floats, Indices
from maquette.geometry.packing import pack
from maquette.geometry.raster import rasterize
from maquette.geometry.topology import face_normals
from services.meshgen.engines.shape_from_silhouette.hull.viewpoints import (
    BACK,
    BOTTOM,
    FRONT,
    LEFT,
    RIGHT,
    TOP,
    Viewpoint,
)

Points = NDArray[np.float64]
Labels = NDArray[np.int64]

_AXES = (FRONT, RIGHT, BACK, LEFT, TOP, BOTTOM)
_PREFERENCE = 0.12
"""Cosine by which a face prefers a direction that a picture was taken from."""
_NEAR = 0.7
"""An axis this near (cosine) to a picture's direction needs no charts of its own."""
_SMALL = 24
"""Charts of fewer faces join a neighbour that can still see them."""
_GRAZING = 0.1
_LAYERS = 6
_SEARCH = 12
_UNSEEN_DENSITY = 0.6
"""Texels per length where no picture looks, relative to where one does."""


@dataclass(frozen=True, slots=True)
class Atlas:
    """The unwrapped mesh: ``source (n,)`` names the old vertex of each, ``texels (n, 2)`` its place.

    Texels run right and down; ``faces (m, 3)``, ``side`` is the texture's in texels.
    """

    source: Labels
    faces: Indices
    texels: Points
    side: int


def unwrap(vertices: Floats, faces: Indices, views: Sequence[Viewpoint], side: int) -> Atlas:
    """Unwrap a closed mesh into a square of ``side`` texels."""
    looks = _directions(views)
    pairs = _neighbours(faces)
    look = _choose(vertices, faces, looks, len(views), pairs)
    chart = _charts(vertices, faces, look, looks, pairs)
    look_of = np.zeros(int(chart.max()) + 1, dtype=np.int64)
    look_of[chart] = look
    key = faces.astype(np.int64) * len(look_of) + chart[:, None]
    distinct, inverse = np.unique(key, return_inverse=True)
    source, chart_of = distinct // len(look_of), distinct % len(look_of)
    flat = np.empty((len(source), 2))
    for index, view in enumerate(looks):
        mine = look_of[chart_of] == index
        flat[mine] = _project(vertices[source[mine]], view)
    low, high = np.full((len(look_of), 2), np.inf), np.full((len(look_of), 2), -np.inf)
    np.minimum.at(low, chart_of, flat)
    np.maximum.at(high, chart_of, flat)
    density = np.where(look_of < len(views), 1.0, _UNSEEN_DENSITY)
    scale, places, gap = _layout((high - low) * density[:, None], side)
    texels = places[chart_of] + gap + (flat - low[chart_of]) * (scale * density[chart_of])[:, None]
    return Atlas(source, inverse.reshape(-1, 3).astype(np.int32), texels, side)


def _directions(views: Sequence[Viewpoint]) -> list[Viewpoint]:
    """Return the pictures' directions, then the axes that none of them looks along."""
    extra = [axis for axis in _AXES if all(float(axis.towards @ view.towards) < _NEAR for view in views)]
    return [*views, *extra]


def _project(points: NDArray[np.floating], view: Viewpoint) -> Points:
    wide = np.asarray(points, dtype=np.float64)
    return np.stack([wide @ view.across, -(wide @ view.up)], axis=1)


def _neighbours(faces: Indices) -> Labels:
    """Return the pairs of faces ``(k, 2)`` that share an edge of a closed manifold mesh."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1).astype(np.int64)
    order = np.argsort(edges[:, 0] * (int(faces.max()) + 1) + edges[:, 1], kind="stable")
    return np.stack([order[0::2] // 3, order[1::2] // 3], axis=1)


def _choose(
    vertices: Floats, faces: Indices, looks: Sequence[Viewpoint], pictures: int, pairs: Labels
) -> Labels:
    """Give each face the direction it faces most, calmed among neighbours."""
    normals = face_normals(vertices, faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    facing = normals @ np.stack([view.towards for view in looks]).T
    score = facing + np.where(np.arange(len(looks)) < pictures, _PREFERENCE, 0.0)
    calm = score
    for _ in range(4):
        total = calm.copy()
        for here, there in ((0, 1), (1, 0)):
            for index in range(len(looks)):
                total[:, index] += np.bincount(pairs[:, here], calm[pairs[:, there], index], len(faces))
        calm = total / 4.0
    look = np.where(facing > _GRAZING, calm, -np.inf).argmax(axis=1)
    return _join_small(look, facing, pairs)


def _join_small(look: Labels, facing: Points, pairs: Labels) -> Labels:
    """Let small pieces take a neighbour's direction where they face it at all."""
    for _ in range(4):
        piece = _pieces(look, pairs)
        small = np.bincount(piece)[piece] < _SMALL
        border = look[pairs[:, 0]] != look[pairs[:, 1]]
        votes = np.zeros(facing.shape)
        for here, there in ((0, 1), (1, 0)):
            chosen = border & small[pairs[:, here]]
            np.add.at(votes, (pairs[chosen, here], look[pairs[chosen, there]]), 1.0)
        votes[facing <= _GRAZING] = 0.0
        moved = votes.max(axis=1) > 0
        if not moved.any():
            break
        look = np.where(moved, votes.argmax(axis=1), look)
    return look


def _pieces(label: Labels, pairs: Labels) -> Labels:
    """Give each connected piece of equal label a number."""
    linked = pairs[label[pairs[:, 0]] == label[pairs[:, 1]]]
    graph = sparse.coo_matrix(
        (np.ones(len(linked)), (linked[:, 0], linked[:, 1])), shape=(len(label), len(label))
    )
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _charts(
    vertices: Floats, faces: Indices, look: Labels, looks: Sequence[Viewpoint], pairs: Labels
) -> Labels:
    """Cut the surface into pieces of one direction, none of which lies over itself."""
    chart = _pieces(look, pairs)
    corners = np.empty((len(faces), 3, 2))
    depth = np.empty((len(faces), 3))
    for index, view in enumerate(looks):
        mine = look == index
        corner = vertices[faces[mine]].astype(np.float64)
        corners[mine] = _project(corner.reshape(-1, 3), view).reshape(-1, 3, 2)
        depth[mine] = corner @ view.towards
    edge = float(np.median(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1)))
    low = corners.min(axis=(0, 1))
    cells = (corners - low) / (0.5 * edge) + 1.0
    width = int(cells[..., 0].max()) + 2
    height = int(cells[..., 1].max()) + 2
    spots = rasterize(cells, (height, width))
    place = spots.rows * width + spots.columns
    here = np.einsum("kc,kc->k", spots.barycentric, depth[spots.faces])
    for _ in range(_LAYERS):
        key = chart[spots.faces] * (width * height) + place
        order = np.lexsort((here, key))
        key, sorted_depth, owner = key[order], here[order], spots.faces[order]
        last = np.flatnonzero(np.append(key[1:] != key[:-1], True))
        top = np.repeat(sorted_depth[last], np.diff(np.append(-1, last)))
        below = np.zeros(len(faces), dtype=bool)
        below[owner[sorted_depth < top - 3.0 * edge]] = True
        if not below.any():
            break
        chart = _pieces(chart * 2 + below, pairs)
    return chart


def _layout(extent: Points, side: int) -> tuple[float, Points, int]:
    """Find the largest scale at which all charts fit; return it, their places and the gap, in texels."""
    gap = max(2, side // 256)

    def attempt(scale: float) -> Points | None:
        sizes = np.ceil(extent * scale).astype(np.int64) + 1
        places = pack([(int(w) + 2 * gap, int(h) + 2 * gap) for w, h in sizes], side)
        return None if places is None else np.array(places, dtype=np.float64)

    low, high = 0.0, side / float(np.sqrt(np.prod(extent, axis=1).sum()))
    found = attempt(low)
    while found is None and gap:
        gap //= 2
        found = attempt(low)
    if found is None:
        raise ValueError(f"{len(extent)} charts do not fit a texture of {side} texels")
    for _ in range(_SEARCH):
        middle = (low + high) / 2
        places = attempt(middle)
        if places is None:
            high = middle
        else:
            low, found = middle, places
    return low, found, gap
