"""Draw an asset with a small ray caster: soft light, light ambient occlusion, no OpenGL.

Needs embreex and OpenCV. Equal input gives equal pixels: the random directions come from a fixed seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Bytes, Part
from maquette.geometry.textures import sample_texture
from maquette.geometry.topology import vertex_normals

Vectors = NDArray[np.float32]

_FIELD_OF_VIEW = 28.0
_MARGIN = 1.06
"""Room around the object as a factor on its size."""
_OCCLUSION_RAYS = 4
_CALM_SIGMA = 4.0
"""Blur of the shadows in samples of a picture 1024 samples wide."""
_CLAY = (0.80, 0.78, 0.75)
_KEY_LIGHT = (-0.45, 0.75, 0.65)
"""Direction to the main light in camera space: from the upper left, behind the viewer."""


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera stands: degrees to the right of the front and above the horizon."""

    yaw: float = 32.0
    pitch: float = 16.0
    size: int = 512
    supersampling: int = 2


@dataclass(frozen=True, slots=True)
class _Camera:
    eye: NDArray[np.float64]
    right: NDArray[np.float64]
    up: NDArray[np.float64]
    towards: NDArray[np.float64]
    """Unit vector from the object to the eye."""
    centre: tuple[float, float]
    half: float
    """The picture shows tangents ``centre ± half``."""


def render(asset: Asset, view: View = View(), *, around: Asset | None = None) -> Bytes:
    """Draw an asset: ``(size, size, 4) uint8``, straight alpha, transparent background.

    The camera stands back until all of ``around``, else the asset itself, fits the picture.
    """
    points = np.concatenate([part.mesh.vertices for part in (around or asset).parts]).astype(np.float64)
    camera = _frame(points, view)
    scene = rtcore_scene.EmbreeScene()
    for part in asset.parts:
        TriangleMesh(scene, part.mesh.vertices.astype(np.float32), part.mesh.faces.astype(np.int32))
    side = view.size * view.supersampling
    directions = _directions(camera, side)
    origins = np.broadcast_to(camera.eye.astype(np.float32), directions.shape).copy()
    hit = scene.run(origins, directions, output=1)
    seen = np.flatnonzero(hit["primID"] >= 0)
    image = np.zeros((side * side, 4), dtype=np.float32)
    if len(seen):
        color, normal = _surface(asset, hit, seen, directions)
        span = float(np.linalg.norm(np.ptp(points, axis=0)))
        place = origins[seen] + directions[seen] * hit["tfar"][seen, None] + normal * (span * 1e-3)
        light = _light(scene, place.astype(np.float32), normal, camera, span, seen, side)
        image[seen, :3] = np.clip(color * light, 0.0, 1.0)
        image[seen, 3] = 1.0
    return _resolve(image, view)


def _frame(points: NDArray[np.float64], view: View) -> _Camera:
    """Stand back until the whole object fits and centre what is seen of it."""
    yaw, pitch = np.radians(view.yaw), np.radians(view.pitch)
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    up = np.cross(towards, right)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    radius = max(float(np.linalg.norm(points - middle, axis=1).max()), 1e-9)
    eye = middle + towards * radius / np.sin(np.radians(_FIELD_OF_VIEW / 2))
    offset = points - eye
    distance = -(offset @ towards)
    tangent = np.stack([offset @ right, offset @ up], axis=1) / distance[:, None]
    low, high = tangent.min(axis=0), tangent.max(axis=0)
    half = max(float((high - low).max()) / 2 * _MARGIN, 1e-6)
    return _Camera(eye, right, up, towards, (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2), half)


def _directions(camera: _Camera, side: int) -> Vectors:
    grid = ((np.arange(side) + 0.5) / side * 2 - 1) * camera.half
    x, y = np.meshgrid(grid + camera.centre[0], camera.centre[1] - grid)
    rays = x[..., None] * camera.right + y[..., None] * camera.up - camera.towards
    return np.ascontiguousarray(rays.reshape(-1, 3), dtype=np.float32)


def _surface(
    asset: Asset, hit: dict[str, NDArray[np.generic]], seen: NDArray[np.int64], directions: Vectors
) -> tuple[Vectors, Vectors]:
    """Return colour (0–1) and unit normal, turned to the viewer, of the hits."""
    color = np.empty((len(seen), 3), dtype=np.float32)
    normal = np.empty((len(seen), 3), dtype=np.float32)
    u, v = hit["u"][seen].astype(np.float32), hit["v"][seen].astype(np.float32)
    weight = np.stack([1 - u - v, u, v], axis=1)
    owner = hit["geomID"][seen].astype(np.int64)
    for index, part in enumerate(asset.parts):
        mine = owner == index
        corner = part.mesh.faces[hit["primID"][seen[mine]].astype(np.int64)]
        normals = part.mesh.normals
        if normals is None:
            normals = vertex_normals(part.mesh.vertices, part.mesh.faces)
        normal[mine] = np.einsum("kc,kcd->kd", weight[mine], normals[corner])
        color[mine] = _color(part, corner, weight[mine])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    away = (normal * directions[seen]).sum(axis=1) > 0
    normal[away] *= -1
    return color, normal


def _color(part: Part, corner: NDArray[np.int32], weight: Vectors) -> Vectors:
    mesh, material = part.mesh, part.material
    if material.base_color_texture is not None and mesh.uv is not None:
        uv = np.einsum("kc,kcd->kd", weight, mesh.uv[corner])
        looked_up = sample_texture(material.base_color_texture, uv)[:, :3]
        return np.asarray(looked_up, dtype=np.float32) / np.float32(255)
    if mesh.colors is not None:
        shade = mesh.colors[corner][..., :3].astype(np.float32) / 255
        return np.asarray(np.einsum("kc,kcd->kd", weight, shade))
    plain = np.array(_CLAY if material.base_color[:3] == (1.0, 1.0, 1.0) else material.base_color[:3])
    return np.broadcast_to(plain.astype(np.float32), (len(corner), 3))


def _light(
    scene: rtcore_scene.EmbreeScene,
    place: Vectors,
    normal: Vectors,
    camera: _Camera,
    span: float,
    seen: NDArray[np.int64],
    side: int,
) -> Vectors:
    """Add a wide main light with a soft shadow and a sky dimmed by what is near."""
    rng = np.random.default_rng(0)
    direction = _KEY_LIGHT[0] * camera.right + _KEY_LIGHT[1] * camera.up + _KEY_LIGHT[2] * camera.towards
    direction /= np.linalg.norm(direction)
    jitter = rng.normal(scale=0.18, size=place.shape)
    lit = ~_blocked(scene, place, (direction + jitter).astype(np.float32), np.inf)
    open_sky = np.zeros(len(place), dtype=np.float32)
    for _ in range(_OCCLUSION_RAYS):
        ray = rng.normal(size=place.shape)
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        # Normal plus a point of the unit sphere spreads rays by the cosine of their angle.
        open_sky += ~_blocked(scene, place, (normal + 0.99 * ray).astype(np.float32), 0.25 * span)
    open_sky = _calm(open_sky / np.float32(_OCCLUSION_RAYS), seen, side)
    key = np.maximum(normal @ direction, 0.0) * _calm(lit.astype(np.float32), seen, side)
    sky = (0.5 + 0.5 * open_sky) * (0.84 + 0.16 * normal[:, 1])
    facing = np.maximum(normal @ camera.towards, 0.0)
    brightness = 0.78 * sky + 0.32 * key + 0.10 * facing
    return np.asarray(brightness[:, None], dtype=np.float32)


def _calm(values: NDArray[np.float32], seen: NDArray[np.int64], side: int) -> NDArray[np.float32]:
    """Average what few random rays told over near samples of the picture, but not its colours."""
    total, weight = np.zeros(side * side, dtype=np.float32), np.zeros(side * side, dtype=np.float32)
    total[seen], weight[seen] = values, 1.0
    sigma = _CALM_SIGMA * side / 1024
    smooth = cv2.GaussianBlur(total.reshape(side, side), (0, 0), sigma)
    share = cv2.GaussianBlur(weight.reshape(side, side), (0, 0), sigma)
    return np.asarray((smooth / np.maximum(share, 1e-6)).ravel()[seen], dtype=np.float32)


def _blocked(
    scene: rtcore_scene.EmbreeScene, place: Vectors, direction: Vectors, reach: float
) -> NDArray[np.bool_]:
    far = np.full(len(place), min(reach, 1e30), dtype=np.float32)
    answer = scene.run(place, direction, dists=far, query="OCCLUDED")
    return np.asarray(answer) >= 0


def _resolve(image: NDArray[np.float32], view: View) -> Bytes:
    """Average the samples of each pixel; colours are weighted by their alpha."""
    many = view.supersampling
    cells = image.reshape(view.size, many, view.size, many, 4)
    alpha = cells[..., 3].mean(axis=(1, 3))
    color = (cells[..., :3] * cells[..., 3:]).mean(axis=(1, 3)) / np.maximum(alpha, 1e-6)[..., None]
    return np.round(np.concatenate([color, alpha[..., None]], axis=2) * 255).astype(np.uint8)
