"""Measures of how triangles hang together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Floats, Indices, Mesh, unit_vectors


def weld(vertices: Floats, faces: Indices) -> tuple[Floats, Indices, NDArray[np.int64]]:
    """Join vertices at exactly equal positions.

    Returns ``(points (k, 3), faces (m, 3), source (k,))`` where ``source`` is the first
    old vertex of each new one. The order of first appearance is kept.
    """
    # Adding zero turns -0.0 into 0.0, which are equal but differ as bytes.
    rows = np.ascontiguousarray(vertices + np.float32(0.0)).view([("", vertices.dtype)] * 3).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    source = first[order]
    return vertices[source], rank[inverse.ravel()][faces].astype(np.int32), source


def edge_uses(faces: Indices) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count how often each undirected edge is used, and its uses forwards minus backwards."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    low, high = directed.min(axis=1), directed.max(axis=1)
    key = low * (int(faces.max()) + 1) + high
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    balance = np.bincount(inverse.ravel(), np.where(directed[:, 0] == low, 1.0, -1.0), len(count))
    return count, balance.astype(np.int64)


def is_watertight(vertices: Floats, faces: Indices) -> bool:
    """Tell whether, seams welded, each edge joins exactly two faces that wind alike."""
    _, corners, _ = weld(vertices, faces)
    solid = (
        (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    )
    if not solid.all():
        return False
    count, balance = edge_uses(corners)
    return bool((count == 2).all() and (balance == 0).all())


def face_normals(vertices: Floats, faces: Indices) -> NDArray[np.float64]:
    """Return the cross products ``(m, 3)`` of the faces; their length is twice the area."""
    corner = vertices.astype(np.float64)[faces]
    return np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])


def vertex_normals(vertices: Floats, faces: Indices) -> Floats:
    """Average the normals of the faces around each vertex, weighted by area."""
    normals = face_normals(vertices, faces)
    total = np.empty((len(vertices), 3))
    for axis in range(3):
        total[:, axis] = np.bincount(faces.ravel(), np.repeat(normals[:, axis], 3), minlength=len(vertices))
    return unit_vectors(total)


def volume(vertices: Floats, faces: Indices) -> float:
    """Return the signed volume in cubic metres; positive when faces look outwards."""
    corner = vertices.astype(np.float64)[faces]
    return float(np.einsum("ij,ij->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) / 6.0)


def bounds(asset: Asset) -> tuple[list[float], list[float]]:
    """Return the lowest and highest corner of the box around an asset, metres."""
    low = np.min([part.mesh.vertices.min(axis=0) for part in asset.parts], axis=0)
    high = np.max([part.mesh.vertices.max(axis=0) for part in asset.parts], axis=0)
    return [float(value) for value in low], [float(value) for value in high]


def measure(asset: Asset) -> dict[str, Any]:
    """Measure an asset for people: counts, bounds in metres, texture, watertightness."""
    low, high = bounds(asset)
    texture = asset.texture
    return {
        "vertex_count": asset.vertex_count,
        "face_count": asset.face_count,
        "has_texture": texture is not None,
        "texture_resolution": 0 if texture is None else int(max(texture.shape[:2])),
        "watertight": all(is_watertight(part.mesh.vertices, part.mesh.faces) for part in asset.parts),
        "bounds_min": low,
        "bounds_max": high,
    }


def welded(mesh: Mesh) -> Mesh:
    """Return the mesh with its seams joined; attributes come from the first of each group."""
    points, corners, source = weld(mesh.vertices, mesh.faces)
    return Mesh(
        vertices=points,
        faces=corners,
        normals=None if mesh.normals is None else mesh.normals[source],
        uv=None if mesh.uv is None else mesh.uv[source],
        colors=None if mesh.colors is None else mesh.colors[source],
    )
