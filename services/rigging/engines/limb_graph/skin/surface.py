"""Weld a mesh nobody vouches for into one surface, and remember where each vertex went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from maquette.geometry.errors import MeshError
from services.rigging.engines.limb_graph.skin.contacts import part_contacts

Points = NDArray[np.float64]
Indices = NDArray[np.int64]

_WELD = 1e-5
"""Vertices nearer than this share of the diagonal are one: seams of textures and materials."""
_HOLLOW = 1e-3
"""A piece is inside out when it holds less than minus this times its area to the 3/2; a ball holds 0.094."""
_FLAT = 1e-12
"""Faces with less area than this share of the squared diagonal have no direction."""


@dataclass(frozen=True, slots=True)
class Surface:
    """A welded surface.

    ``points (k, 3)`` and ``faces (m, 3)`` without degenerate faces; ``source (n,)`` is the point
    of each vertex given, -1 where its coordinates are no numbers; ``component (k,)`` numbers
    the pieces that hang together; ``normals (m, 3)`` are cross products of the faces' edges, twice
    the area long; ``size`` is the diagonal of the box around the points; ``twin (k,)`` is the first
    point at the same place, mostly the point itself.
    """

    points: Points
    faces: Indices
    source: Indices
    component: Indices
    normals: Points
    size: float
    twin: Indices


def weld_surface(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> Surface:
    """Join vertices that lie at one place and drop faces without area.

    Where closed surfaces only touch, each keeps a point of its own.
    Takes ``(n, 3)`` coordinates, also such that are no numbers, and ``(m, 3)`` indices.
    Raises :class:`MeshError` when an index is out of range or no vertex has a place.
    """
    places = np.asarray(vertices, dtype=np.float64).reshape(-1, 3)
    corners = np.asarray(faces, dtype=np.int64).reshape(-1, 3)
    if corners.size and (corners.min() < 0 or corners.max() >= len(places)):
        raise MeshError("A face of the mesh names a vertex that does not exist.")
    finite = np.flatnonzero(np.isfinite(places).all(axis=1))
    if not len(finite):
        raise MeshError("The mesh has no vertex with a place.")
    size = float(np.linalg.norm(np.ptp(places[finite], axis=0))) or 1.0
    group = group_places(places[finite], _WELD * size)
    first = np.unique(group, return_index=True)[1]
    points = places[finite][first]
    source = np.full(len(places), -1, dtype=np.int64)
    source[finite] = group
    sound, normals = _sound(points, source[corners], size)
    given, corners = corners[sound], source[corners[sound]]
    corners, place = part_contacts(corners, given, len(points))
    # Vertices without a face stay with the point they were welded to.
    source[given] = corners
    points = points[place]
    component = _pieces(len(points), corners)
    inside_out = _inside_out(points, corners, normals, component)
    corners[inside_out] = corners[inside_out][:, ::-1]
    normals[inside_out] *= -1.0
    return Surface(points, corners, source, component, normals, size, place)


def part_of(surface: Surface, chosen: Indices) -> Surface:
    """Cut the pieces of the chosen points out of a surface; the pieces must be whole."""
    number = np.full(len(surface.points), -1, dtype=np.int64)
    number[chosen] = np.arange(len(chosen))
    faces = number[surface.faces]
    whole = (faces >= 0).all(axis=1)
    return Surface(
        surface.points[chosen],
        faces[whole],
        np.arange(len(chosen)),
        surface.component[chosen],
        surface.normals[whole],
        surface.size,
        np.arange(len(chosen)),
    )


def group_places(places: Points, reach: float) -> Indices:
    """Give each place ``(n, 3)`` the number of its group; steps up to ``reach`` join a group."""
    # Rounding first keeps the pairs few where thousands of vertices lie at one place.
    cells = np.round((places - places.min(axis=0)) / (reach / 2)).astype(np.int64)
    key = np.ravel_multi_index(tuple(cells.T), tuple(cells.max(axis=0) + 1))
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    pairs = cKDTree(places[first]).query_pairs(reach, output_type="ndarray")
    joined = _label(len(first), pairs)
    return np.asarray(joined[group])


def _label(count: int, pairs: NDArray[np.integer]) -> Indices:
    graph = sparse.coo_matrix(
        (np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count)
    )
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _sound(points: Points, corners: Indices, size: float) -> tuple[Indices, Points]:
    """Find the faces with three different corners, all of them places, and an area; add their normals."""
    a, b, c = corners.T
    whole = np.flatnonzero((corners >= 0).all(axis=1) & (a != b) & (b != c) & (c != a))
    first = points[a[whole]]
    normals = np.cross(points[b[whole]] - first, points[c[whole]] - first)
    sound = np.linalg.norm(normals, axis=1) > _FLAT * size * size
    return whole[sound], normals[sound]


def _pieces(count: int, corners: Indices) -> Indices:
    return _label(count, np.concatenate([corners[:, :2], corners[:, 1:]]))


def _inside_out(points: Points, corners: Indices, normals: Points, component: Indices) -> NDArray[np.bool_]:
    """Mark the faces ``(m,)`` of pieces that look inwards: they hold a negative volume."""
    piece = component[corners[:, 0]] if len(corners) else np.zeros(0, dtype=np.int64)
    count = int(component.max()) + 1
    own = np.bincount(component, minlength=count)[:, None]
    middle = np.stack([np.bincount(component, points[:, axis], count) for axis in range(3)], axis=1) / own
    towards = points[corners[:, 0]] - middle[piece]
    volume = np.bincount(piece, np.einsum("ij,ij->i", towards, normals) / 6, count)
    area = np.bincount(piece, np.linalg.norm(normals, axis=1) / 2, count)
    return np.asarray((volume < -_HOLLOW * area**1.5)[piece])
