"""Unwrap the body: one chart for the front, one for the back, strips for the rim.

Front and back are seen straight on, so the front chart is the picture itself, texel for
pixel. Where the surface turns away too far, a straight view would stretch a pixel over much
surface; those faces get charts of their own, seen from the side they face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from maquette.geometry.asset import Floats, Indices
from maquette.geometry.packing import pack
from maquette.geometry.topology import face_normals
from services.meshgen.engines.shape_from_silhouette.shape import Shape

STEEP = 0.35
"""A face belongs to the rim when the cosine between its normal and the view is below this."""
_MIN_STRIP_FACES = 24
_MAX_STRIPS = 64
_BACK_DENSITY, _RIM_DENSITY = 0.5, 0.6
"""Texels per length relative to the front; the picture tells nothing new there."""
_FRONT, _BACK = 0, 1
# For each side (+x, -x, +y, -y): the axes of the model that run right and down in its chart,
# with their signs, so that no chart is mirrored.
_SIDE_AXES = (((2, -1), (1, -1)), ((2, 1), (1, -1)), ((0, 1), (2, 1)), ((0, 1), (2, -1)))


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
    0 the front, 1 the back and the rest rim. ``crop`` is the part of the cut-out, in whole
    pixels, that the ``front`` and ``back`` boxes show.
    """

    vertices: Floats
    source: NDArray[np.int64]
    faces: Indices
    texels: NDArray[np.float64]
    chart: NDArray[np.int64]
    side: int
    crop: Box
    front: Box
    back: Box


def unwrap(shape: Shape, side: int) -> Atlas:
    """Unwrap a shape into a square atlas of ``side`` texels."""
    chart = _label(shape)
    vertices, source, faces, chart_of = _split_seams(shape, chart)
    flat = _flatten(shape, vertices, chart_of, chart)
    count = int(chart.max()) + 1
    low, high = _extents(flat, chart_of, count)
    # The front is cut at whole pixels, so that its texels can be the pixels themselves.
    low[:2], high[:2] = np.floor(low[0]) - 1, np.ceil(high[0]) + 1
    crop = Box(int(low[0, 0]), int(low[0, 1]), int(high[0, 0] - low[0, 0]), int(high[0, 1] - low[0, 1]))
    sizes, places, gap = _layout(high - low, side)
    boxes = np.concatenate([places + gap, sizes], axis=1)
    texels = _to_atlas(flat, chart_of, low, high - low, boxes)
    front, back = (Box(*(int(value) for value in boxes[index])) for index in (_FRONT, _BACK))
    return Atlas(vertices, source, faces, texels, chart, side, crop, front, back)


def _label(shape: Shape) -> NDArray[np.int64]:
    """Give each face its chart."""
    normals = face_normals(shape.vertices, shape.faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    steep = np.abs(normals[:, 2]) < STEEP
    sideways = np.abs(normals[:, 0]) >= np.abs(normals[:, 1])
    direction = np.where(sideways, normals[:, 0] < 0, 2 + (normals[:, 1] < 0))
    chart = np.where(shape.front, _FRONT, _BACK)
    strips = _strips(shape.faces, np.where(steep, direction, -1), len(shape.vertices))
    return np.where(strips >= 0, strips + 2, chart)


def _strips(faces: Indices, direction: NDArray[np.int64], vertex_count: int) -> NDArray[np.int64]:
    """Give the connected pieces of equal direction numbers; small pieces and the rest get -1."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1).astype(np.int64)
    order = np.argsort(edges[:, 0] * vertex_count + edges[:, 1], kind="stable")
    # In a closed manifold mesh each edge stands twice, so neighbours in this order are pairs.
    first, second = order[0::2] // 3, order[1::2] // 3
    linked = (direction[first] == direction[second]) & (direction[first] >= 0)
    graph = sparse.coo_matrix(
        (np.ones(int(linked.sum())), (first[linked], second[linked])), shape=(len(faces), len(faces))
    )
    _, piece = connected_components(graph, directed=False)
    size = np.bincount(piece, weights=direction >= 0)
    chosen = np.argsort(-size, kind="stable")[:_MAX_STRIPS]
    chosen = chosen[size[chosen] >= _MIN_STRIP_FACES]
    rank = np.full(len(size), -1, dtype=np.int64)
    rank[chosen] = np.arange(len(chosen))
    return np.asarray(rank[piece])


def _split_seams(
    shape: Shape, chart: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.int64], Indices, NDArray[np.int64]]:
    """Store a vertex once for each chart that uses it."""
    charts = int(chart.max()) + 1
    key = shape.faces.astype(np.int64) * charts + chart[:, None]
    distinct, inverse = np.unique(key, return_inverse=True)
    source = distinct // charts
    return shape.vertices[source], source, inverse.reshape(-1, 3).astype(np.int32), distinct % charts


def _flatten(
    shape: Shape, vertices: Floats, chart_of: NDArray[np.int64], chart: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Lay every chart flat, ``(n, 2)`` in pixels of the cut-out."""
    flat = shape.placement.to_pixels(vertices)
    back = chart_of == _BACK
    # Seen from behind, right is left.
    flat[back, 0] = shape.placement.origin[0] * 2 - flat[back, 0]
    normals = face_normals(shape.vertices, shape.faces)
    for index in range(2, int(chart.max()) + 1):
        total = normals[chart == index].sum(axis=0)
        sideways = abs(total[0]) >= abs(total[1])
        axes = _SIDE_AXES[int(total[0] < 0) if sideways else 2 + int(total[1] < 0)]
        members = chart_of == index
        for column, (axis, sign) in enumerate(axes):
            flat[members, column] = sign * shape.placement.scale * vertices[members, axis].astype(np.float64)
    return flat


def _extents(
    flat: NDArray[np.float64], chart_of: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart_of, flat)
    np.maximum.at(high, chart_of, flat)
    # The back shows the same pixels as the front, mirrored, whatever part of it is rim.
    mirrored = flat[chart_of <= _BACK]
    low[:2], high[:2] = mirrored.min(axis=0), mirrored.max(axis=0)
    return low, high


def _layout(extent: NDArray[np.float64], side: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Choose the largest scale at which all charts fit; return sizes, places and the gap, texels.

    A scale above one is brought down to a whole number: then each pixel owns whole texels.
    """
    gap = max(2, side // 256)
    density = np.full(len(extent), _RIM_DENSITY)
    density[_FRONT], density[_BACK] = 1.0, _BACK_DENSITY

    def attempt(scale: float) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        sizes = np.maximum(np.round(extent * (scale * density)[:, None] - 1e-9), 1).astype(np.int64)
        places = pack([(int(w) + 2 * gap, int(h) + 2 * gap) for w, h in sizes], side)
        return None if places is None else (sizes, np.array(places, dtype=np.int64))

    low, high = 0.0, side / float(extent[_FRONT].max())
    for _ in range(18):
        middle = (low + high) / 2
        low, high = (middle, high) if attempt(middle) else (low, middle)
    whole = float(np.floor(low)) if low >= 1 else low
    found = attempt(whole) or attempt(low)
    if found is None:
        raise ValueError(f"{len(extent)} charts do not fit a texture of {side} texels")
    return *found, gap


def _to_atlas(
    flat: NDArray[np.float64],
    chart_of: NDArray[np.int64],
    low: NDArray[np.float64],
    extent: NDArray[np.float64],
    boxes: NDArray[np.int64],
) -> NDArray[np.float64]:
    share = (flat - low[chart_of]) / np.maximum(extent[chart_of], 1e-9)
    return np.asarray(boxes[chart_of, :2] + share * boxes[chart_of, 2:])
