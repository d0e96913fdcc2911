"""Paint the atlas from every picture: each texel from the one that sees it best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sparse
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from maquette.geometry.asset import Indices
from maquette.geometry.raster import rasterize
from maquette.geometry.topology import vertex_normals
from services.meshgen.engines.shape_from_silhouette.hull.charts import Atlas
from services.meshgen.engines.shape_from_silhouette.hull.frames import Silhouette

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

_GRAZING = 0.15
"""A picture tells nothing about surface that turns away further than this cosine."""
_SHARPNESS = 8
"""Power of the facing in the weights: seams are as narrow as this is high."""
_DEPTH_SIDE = 768
_MIRRORED = 1e-3
"""Weight of a picture's mirror image against a picture."""
_FILLED = 1e-7
_CHUNK = 1_000_000
"""Texels painted together; bounds the memory."""
_MAX_GAIN = 1.25


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture ready to paint with: ``colors (h, w, 3)`` continued beyond the object's outline."""

    silhouette: Silhouette
    colors: Pixels


@dataclass(frozen=True, slots=True)
class _Canvas:
    """The mesh in the pictures' frame, and how near each picture's camera it comes."""

    vertices: Points
    normals: Points
    faces: Indices
    depths: tuple[_Depth, ...]
    tolerance: float
    symmetric: bool


@dataclass(frozen=True, slots=True)
class _Depth:
    """The surface nearest to a camera, ``(h, w)`` in units, at ``pixels`` per picture pixel."""

    nearest: NDArray[np.float32]
    pixels: float


def paint(
    atlas: Atlas, vertices: Points, faces: Indices, shots: Sequence[Shot], *, cell: float, symmetric: bool
) -> Pixels:
    """Paint the texture ``(side, side, 3)``; ``vertices`` are in the pictures' frame, ``cell`` its grain.

    What no picture sees takes the colours of the mirrored side where the thing is ``symmetric``,
    and else those around it.
    """
    normals = vertex_normals(vertices.astype(np.float32), faces).astype(np.float64)
    depths = tuple(_depth(vertices, faces, shot.silhouette) for shot in shots)
    canvas = _Canvas(vertices, normals, faces, depths, 2.0 * cell, symmetric)
    shots = _balanced(canvas, shots)
    ground = _spread(canvas, *_mix(canvas, shots, vertices, normals))
    texture = np.zeros((atlas.side, atlas.side, 3), dtype=np.uint8)
    owned = np.zeros((atlas.side, atlas.side), dtype=np.uint8)
    for chosen in _chunks(atlas):
        texels = rasterize(atlas.texels[atlas.faces[chosen]], texture.shape[:2])
        corner = atlas.source[atlas.faces[chosen]][texels.faces]
        share = texels.barycentric
        points = np.einsum("kc,kcd->kd", share, vertices[corner])
        slopes = np.einsum("kc,kcd->kd", share, normals[corner])
        slopes /= np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-9)
        color, weight = _mix(canvas, shots, points, slopes)
        around = np.einsum("kc,kcd->kd", share, ground[corner])
        total = (color + _FILLED * around) / (weight + _FILLED)[:, None]
        texture[texels.rows, texels.columns] = np.clip(total + 0.5, 0, 255)
        owned[texels.rows, texels.columns] = 1
    return _filled(texture, owned)


def _chunks(atlas: Atlas) -> Iterator[NDArray[np.int64]]:
    """Part the faces into runs of about equally many texels."""
    corner = atlas.texels[atlas.faces]
    size = np.ptp(corner, axis=1) + 2.0
    run = (np.cumsum(size[:, 0] * size[:, 1]) // _CHUNK).astype(np.int64)
    for index in range(int(run[-1]) + 1):
        chosen = np.flatnonzero(run == index)
        if len(chosen):
            yield chosen


def _mix(
    canvas: _Canvas, shots: Sequence[Shot], points: Points, normals: Points
) -> tuple[Points, NDArray[np.float64]]:
    """Return the weighted sum of the pictures' colours at points, and the weights' sum."""
    color, weight = np.zeros((len(points), 3)), np.zeros(len(points))
    mirror = np.array([-1.0, 1.0, 1.0])
    for shot, depth in zip(shots, canvas.depths, strict=True):
        own = _weight(canvas, shot, depth, points, normals)
        _add(color, weight, shot, points, own)
        sideways = abs(float(shot.silhouette.view.towards[0])) > 0.3
        if canvas.symmetric and sideways:
            other = _MIRRORED * _weight(canvas, shot, depth, points * mirror, normals * mirror)
            _add(color, weight, shot, points * mirror, other)
    return color, weight


def _add(
    color: Points, weight: NDArray[np.float64], shot: Shot, points: Points, share: NDArray[np.float64]
) -> None:
    seen = np.flatnonzero(share > 0)
    color[seen] += share[seen, None] * _look_up(shot, points[seen])
    weight += share


def _weight(
    canvas: _Canvas, shot: Shot, depth: _Depth, points: Points, normals: Points
) -> NDArray[np.float64]:
    """Weigh a picture at points: how straight it looks at them, 0 where something is in between."""
    towards = shot.silhouette.view.towards
    facing = np.clip((normals @ towards - _GRAZING) / (1.0 - _GRAZING), 0.0, 1.0)
    pixel = shot.silhouette.to_pixels(points) * depth.pixels
    height, width = depth.nearest.shape
    x = np.clip(pixel[:, 0].astype(np.int64), 0, width - 1)
    y = np.clip(pixel[:, 1].astype(np.int64), 0, height - 1)
    hidden = points @ towards < depth.nearest[y, x] - canvas.tolerance
    return np.where(hidden, 0.0, facing**_SHARPNESS)


def _look_up(shot: Shot, points: Points) -> Points:
    """Return a picture's colours ``(n, 3)`` at points."""
    pixel = (shot.silhouette.to_pixels(points) - 0.5).astype(np.float32)
    found = np.empty((len(points), 3))
    for start in range(0, len(points), 32_000):
        part = pixel[None, start : start + 32_000]
        found[start : start + 32_000] = cv2.remap(
            shot.colors, part[..., 0], part[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )[0]
    return found


def _depth(vertices: Points, faces: Indices, silhouette: Silhouette) -> _Depth:
    """Cast a ray through each pixel of a reduced picture; what is near a nearer edge counts as behind it."""
    height, width = silhouette.signed.shape
    pixels = min(1.0, _DEPTH_SIDE / max(height, width))
    rows, columns = max(round(height * pixels), 1), max(round(width * pixels), 1)
    view, scale = silhouette.view, silhouette.scale * pixels
    across = (np.arange(columns) + 0.5 - silhouette.origin[0] * pixels) / scale
    up = (silhouette.origin[1] * pixels - np.arange(rows) - 0.5) / scale
    far = float((vertices @ view.towards).max()) + 1.0
    start = up[:, None, None] * view.up + across[None, :, None] * view.across + far * view.towards
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, vertices.astype(np.float32), faces.astype(np.int32))
    origins = np.ascontiguousarray(start.reshape(-1, 3), dtype=np.float32)
    rays = np.ascontiguousarray(np.broadcast_to(-view.towards.astype(np.float32), origins.shape))
    hit = scene.run(origins, rays, output=1)
    nearest = np.where(hit["primID"] >= 0, far - hit["tfar"], -1e9).astype(np.float32)
    grown = cv2.dilate(nearest.reshape(rows, columns), np.ones((3, 3), np.uint8))
    return _Depth(np.asarray(grown, dtype=np.float32), pixels)


def _balanced(canvas: _Canvas, shots: Sequence[Shot]) -> list[Shot]:
    """Bring the pictures to the exposure of the first, by what two of them both see."""
    weights = [
        _weight(canvas, shot, depth, canvas.vertices, canvas.normals) ** (1 / _SHARPNESS)
        for shot, depth in zip(shots, canvas.depths, strict=True)
    ]
    rows, wanted = [], []
    for i in range(len(shots)):
        for j in range(i + 1, len(shots)):
            both = np.flatnonzero((weights[i] > 0.3) & (weights[j] > 0.3))
            if len(both) < 100:
                continue
            first, second = (_look_up(shots[k], canvas.vertices[both]) + 4.0 for k in (i, j))
            row = np.zeros(len(shots))
            row[i], row[j] = 1.0, -1.0
            rows.append(row)
            wanted.append(np.median(np.log(second) - np.log(first), axis=0))
    if not rows:
        return list(shots)
    # The first picture stays as it is; the others are drawn to it, and a little to themselves.
    anchor = np.diag([100.0] + [0.7] * (len(shots) - 1))
    system = np.concatenate([np.array(rows), anchor])
    goal = np.concatenate([np.array(wanted), np.zeros((len(shots), 3))])
    gains = np.clip(np.exp(np.linalg.lstsq(system, goal, rcond=None)[0]), 1 / _MAX_GAIN, _MAX_GAIN)
    return [
        Shot(shot.silhouette, np.clip(shot.colors * gain + 0.5, 0, 255).astype(np.uint8)) if index else shot
        for index, (shot, gain) in enumerate(zip(shots, gains, strict=True))
    ]


def _spread(canvas: _Canvas, color: Points, weight: NDArray[np.float64]) -> Points:
    """Continue the colours of seen vertices over the others: the harmonic function on the mesh."""
    count = len(weight)
    known = weight > _FILLED
    if not known.any():
        return np.full((count, 3), 128.0)
    result = np.where(known[:, None], color / np.maximum(weight, 1e-30)[:, None], 0.0)
    if known.all():
        return result
    edges = np.concatenate([canvas.faces[:, [0, 1]], canvas.faces[:, [1, 2]], canvas.faces[:, [2, 0]]])
    graph = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    laplacian = sparse.diags(np.asarray(graph.sum(axis=1)).ravel() + 1e-6) - graph
    unknown = ~known
    system = laplacian[unknown][:, unknown].tocsc()
    mean = result[known].mean(axis=0)
    right = graph[unknown][:, known] @ result[known] + 1e-6 * mean
    result[unknown] = splu(system, permc_spec="MMD_AT_PLUS_A").solve(right)
    return np.clip(result, 0, 255)


def _filled(texture: Pixels, owned: NDArray[np.uint8]) -> Pixels:
    """Continue charts into the gaps, so that filtering and mipmaps take no foreign colour."""
    _, labels = cv2.distanceTransformWithLabels(
        1 - owned, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    palette = np.zeros((int(labels.max()) + 1, 3), dtype=np.uint8)
    palette[labels[owned > 0]] = texture[owned > 0]
    return np.asarray(palette[labels])
