"""Unwrap any closed body: one chart that is the picture, and charts for what it does not show.

The faces that the camera sees well make one chart, projected as the picture was, so that its
texels are the picture's pixels. The rest is parted by the direction it faces and projected
straight on; a piece that would cover itself is parted in layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from maquette.geometry.asset import Floats, Indices
from maquette.geometry.packing import pack
from maquette.geometry.raster import rasterize
from maquette.geometry.topology import face_normals
from services.meshgen.engines.shape_from_silhouette.shape import Shape

STEEP = 0.35
"""A face belongs to the picture's chart when the cosine between its normal and the view is above this."""
_MIN_FACES = 40
"""A piece with fewer faces joins its neighbour, where that does not turn it too far."""
_TURNED = 0.17
"""Least cosine between a face and the direction its chart is seen from."""
_SMOOTHING = 3
_DENSITIES = (0.7, 0.5, 0.35)
"""Texels per length of the unseen charts relative to the front, the first that leaves it whole."""
_LAYER_CELLS = 400
"""Cells along the longest side of the grid on which overlaps are looked for."""
_MAX_LAYERS = 3

Labels = NDArray[np.int64]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Box:
    """A place in the atlas, texels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Atlas:
    """The unwrapped mesh.

    ``vertices (n, 3)`` with seams split, ``source (n,)`` the vertex of the shape each came
    from, ``faces (m, 3)``, ``texels (n, 2)`` in texels (x right, y down), ``chart (m,)`` with
    0 the front. ``crop`` is the part of the cut-out, in whole pixels, that the box ``front`` shows.
    """

    vertices: Floats
    source: Labels
    faces: Indices
    texels: Points
    chart: Labels
    side: int
    crop: Box
    front: Box


def unwrap(shape: Shape, side: int) -> Atlas:
    """Unwrap a shape into a square atlas of ``side`` texels."""
    normals = face_normals(shape.vertices, shape.faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    frames = _frames(shape)
    direction = _directions(shape, normals, frames)
    chart, frame_of = _charts(shape, direction, frames)
    source, faces, chart_of = _split_seams(shape.faces, chart)
    flat = _flatten(shape, source, chart_of, frames[frame_of])
    low, high = _extents(flat, chart_of, len(frame_of))
    # The front is cut at whole pixels, so that its texels can be the pixels themselves.
    low[0], high[0] = np.floor(low[0]) - 1, np.ceil(high[0]) + 1
    crop = Box(*(int(value) for value in (*low[0], *(high[0] - low[0]))))
    sizes, places, gap = _layout(high - low, side)
    boxes = np.concatenate([places + gap, sizes], axis=1)
    share = (flat - low[chart_of]) / np.maximum((high - low)[chart_of], 1e-9)
    texels = boxes[chart_of, :2] + share * boxes[chart_of, 2:]
    front = Box(*(int(value) for value in boxes[0]))
    return Atlas(shape.vertices[source], source, faces, texels, chart, side, crop, front)


def _frames(shape: Shape) -> Points:
    """Return the frames that charts are seen in, ``(7, 3, 3)``: rows right, down, towards the viewer.

    Frame 0 is the picture's. The others look at the model from its own six sides, or from the
    picture's where the camera is level, so that few charts are needed.
    """
    view = shape.placement.camera.rotation
    frames = [view * ((1.0,), (-1.0,), (1.0,))]
    for axis in range(3):
        for sign in (1.0, -1.0):
            towards = np.zeros(3)
            towards[axis] = sign
            up = np.array([0.0, 0.0, -sign]) if axis == 1 else np.array([0.0, 1.0, 0.0])
            frames.append(np.stack([np.cross(up, towards), -up, towards]))
    return np.stack(frames)


def _directions(shape: Shape, normals: Points, frames: Points) -> Labels:
    """Choose for each face the frame it is seen in; neighbours mostly agree."""
    facing = normals @ frames[:, 2].T
    front = shape.front & (facing[:, 0] > STEEP)
    facing[:, 0] = -1.0
    label = facing.argmax(axis=1)
    one, two = _neighbours(shape.faces, len(shape.vertices))
    count, kinds = len(normals), len(frames)
    for _ in range(_SMOOTHING):
        votes = np.zeros((count, kinds))
        for a, b in ((one, two), (two, one)):
            alike = ~front[a] & ~front[b]
            votes += np.bincount(a[alike] * kinds + label[b[alike]], minlength=count * kinds).reshape(
                count, kinds
            )
        # A face follows its neighbours only when that frame still sees it well.
        votes = np.where(facing > 0.4, votes + 1.2 * facing, -1.0)
        label = np.where(votes.max(axis=1) > 0, votes.argmax(axis=1), label)
    return np.where(front, 0, label)


def _neighbours(faces: Indices, vertex_count: int) -> tuple[Labels, Labels]:
    """Return the pairs of faces that share an edge."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1).astype(np.int64)
    order = np.argsort(edges[:, 0] * vertex_count + edges[:, 1], kind="stable")
    # In a closed manifold mesh each edge stands twice, so neighbours in this order are pairs.
    return order[0::2] // 3, order[1::2] // 3


def _charts(shape: Shape, direction: Labels, frames: Points) -> tuple[Labels, Labels]:
    """Return the chart of each face, 0 the front, and the frame of each chart."""
    one, two = _neighbours(shape.faces, len(shape.vertices))
    direction = _absorb(shape, direction, one, two, frames)
    layer = np.zeros(len(direction), dtype=np.int64)
    piece = _pieces(direction, layer, one, two)
    for _ in range(_MAX_LAYERS):
        hidden = _hidden(shape, direction, piece, frames)
        if not hidden.any():
            break
        layer[hidden] += 1
        piece = _pieces(direction, layer, one, two)
    first = np.unique(piece, return_index=True)[1]
    return piece, direction[first]


def _pieces(direction: Labels, layer: Labels, one: Labels, two: Labels) -> Labels:
    """Return the number of each face's connected piece; all of the front is 0."""
    linked = (direction[one] == direction[two]) & (layer[one] == layer[two])
    count = len(direction)
    graph = sparse.coo_matrix(
        (np.ones(int(linked.sum()), dtype=np.int8), (one[linked], two[linked])), shape=(count, count)
    )
    _, piece = connected_components(graph, directed=False)
    piece = np.where(direction == 0, -1, piece)
    _, number = np.unique(piece, return_inverse=True)
    return number + (0 if (direction == 0).any() else 1)


def _absorb(shape: Shape, direction: Labels, one: Labels, two: Labels, frames: Points) -> Labels:
    """Give small pieces to the neighbouring direction with the longest common border."""
    normals = face_normals(shape.vertices, shape.faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    kinds = len(frames)
    for _ in range(2):
        piece = _pieces(direction, np.zeros_like(direction), one, two)
        count = int(piece.max()) + 1
        size = np.bincount(piece, minlength=count)
        border = np.zeros(count * kinds)
        for a, b in ((one, two), (two, one)):
            other = (piece[a] != piece[b]) & (direction[b] > 0)
            border += np.bincount(piece[a[other]] * kinds + direction[b[other]], minlength=count * kinds)
        table = border.reshape(count, kinds)
        best = table.argmax(axis=1)
        joins = (size < _MIN_FACES) & (table.max(axis=1) > 0) & (np.arange(count) > 0)
        target = best[piece]
        turned = np.einsum("fd,fd->f", normals, frames[target, 2])
        moves = joins[piece] & (turned > _TURNED) & (direction > 0)
        if not moves.any():
            break
        direction = np.where(moves, target, direction)
    return direction


def _hidden(shape: Shape, direction: Labels, piece: Labels, frames: Points) -> NDArray[np.bool_]:
    """Find the faces that another face of the same chart covers."""
    hidden = np.zeros(len(direction), dtype=bool)
    cells = _LAYER_CELLS / float(np.ptp(shape.vertices, axis=0).max())
    for kind in range(1, len(frames)):
        chosen = np.flatnonzero(direction == kind)
        if not len(chosen):
            continue
        points = shape.vertices.astype(np.float64) @ frames[kind].T * cells
        corner = points[shape.faces[chosen]]
        corner[..., :2] -= np.floor(corner[..., :2].min(axis=(0, 1))) - 1.0
        size = np.ceil(corner[..., :2].max(axis=(0, 1))).astype(np.int64) + 2
        texels = rasterize(corner[..., :2], (int(size[1]), int(size[0])))
        depth = np.einsum("kc,kc->k", texels.barycentric, corner[texels.faces][..., 2])
        owner = piece[chosen[texels.faces]]
        key = (owner * size[1] + texels.rows) * size[0] + texels.columns
        _, place = np.unique(key, return_inverse=True)
        nearest = np.full(int(place.max(initial=0)) + 1, -np.inf)
        np.maximum.at(nearest, place, depth)
        covered = nearest[place] - depth > 3.0
        hidden[chosen[texels.faces[covered]]] = True
    return hidden


def _split_seams(faces: Indices, chart: Labels) -> tuple[Labels, Indices, Labels]:
    """Store a vertex once for each chart that uses it: its source, the faces, its chart."""
    charts = int(chart.max()) + 1
    key = faces.astype(np.int64) * charts + chart[:, None]
    distinct, inverse = np.unique(key, return_inverse=True)
    return distinct // charts, inverse.reshape(-1, 3).astype(np.int32), distinct % charts


def _flatten(shape: Shape, source: Labels, chart_of: Labels, frames: Points) -> Points:
    """Lay every chart flat, ``(n, 2)`` in pixels of the cut-out."""
    points = shape.vertices[source].astype(np.float64)
    flat = shape.placement.scale * np.einsum("nd,nkd->nk", points, frames[chart_of][:, :2])
    front = chart_of == 0
    flat[front] = shape.placement.to_pixels(points[front])
    return np.asarray(flat)


def _extents(flat: Points, chart_of: Labels, count: int) -> tuple[Points, Points]:
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart_of, flat)
    np.maximum.at(high, chart_of, flat)
    return low, high


def _layout(extent: Points, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Choose the largest scale at which all charts fit; return sizes, places and the gap, texels.

    A scale above one is brought down to a whole number: then each pixel owns whole texels.
    """
    gap = max(2, side // 256)
    best: tuple[float, NDArray[np.int64], NDArray[np.int64]] | None = None
    for wanted in _DENSITIES:
        found = _largest(extent, wanted, side, gap)
        if found is not None and (best is None or found[0] > best[0]):
            best = found
        if best is not None and best[0] >= 1.0:
            break
    if best is None:
        raise ValueError(f"{len(extent)} charts do not fit a texture of {side} texels")
    return best[1], best[2], gap


def _largest(
    extent: Points, unseen: float, side: int, gap: int
) -> tuple[float, NDArray[np.int64], NDArray[np.int64]] | None:
    density = np.full(len(extent), unseen)
    density[0] = 1.0

    def attempt(scale: float) -> tuple[float, NDArray[np.int64], NDArray[np.int64]] | None:
        sizes = np.maximum(np.round(extent * (scale * density)[:, None] - 1e-9), 1).astype(np.int64)
        places = pack([(int(w) + 2 * gap, int(h) + 2 * gap) for w, h in sizes], side)
        return None if places is None else (scale, sizes, np.array(places, dtype=np.int64))

    low, high = 0.0, side / float(extent[0].max())
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if attempt(middle) else (low, middle)
    return attempt(float(np.floor(low)) if low >= 1 else low) or attempt(low)
