"""The solid as a volume: sheets of varying thickness, their mirror image, the ground."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.lathe import Lathe
from services.meshgen.engines.shape_from_silhouette.nets import Volume
from services.meshgen.engines.shape_from_silhouette.silhouette import BORDER, Field, Silhouette

Vector = NDArray[np.float64]

_NOTHING = 1e3
"""Distance in cells of what is nowhere near."""
_BLEND = 0.03
"""Distance over which parts flow into one another, as a share of the longest side."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A part of the solid: the points within ``√squared`` of ``middle`` along z.

    Both ``(nx, ny)`` at the nodes of the silhouette, in units of its longest side;
    ``squared`` is negative outside the part and falls away from it.
    """

    middle: Field
    squared: Field


@dataclass(frozen=True, slots=True)
class Plane:
    """The points with ``normal · p = offset`` in the picture's frame."""

    normal: Vector
    offset: float


@dataclass(frozen=True, slots=True)
class Box:
    """A box in the picture's frame: its axes as columns ``(3, 3)``, half its sides and its middle.

    ``mirrors`` are planes of symmetry of what the outline cuts out of it.
    """

    axes: Vector
    half: Vector
    centre: Vector = field(default_factory=lambda: np.zeros(3))
    mirrors: tuple[Plane, ...] = ()

    def depths(self, silhouette: Silhouette) -> tuple[Field, Field]:
        """Return where each node's line of sight enters the box and leaves it; crossed where it misses."""
        x, y = np.meshgrid(silhouette.x, silhouette.y, indexing="ij")
        near, far = np.full(x.shape, np.inf), np.full(x.shape, -np.inf)
        for axis, half in zip(self.axes.T, self.half, strict=True):
            start = x * axis[0] + y * axis[1] - float(axis @ self.centre)
            speed = axis[2] if abs(axis[2]) > 1e-6 else 1e-6
            ends = (-half - start) / speed, (half - start) / speed
            near = np.minimum(near, np.maximum(*ends))
            far = np.maximum(far, np.minimum(*ends))
        return near, far


@dataclass(frozen=True, slots=True)
class Body:
    """What the solid is made of, in the picture's frame.

    The union of ``sheets``, of the images of ``reflected`` ones behind the ``mirror`` plane, of the
    ``lathes`` and of what the cone of the silhouette cuts out of the ``boxes``; all of it inside the
    cone and above the ``ground``.
    """

    silhouette: Silhouette
    sheets: tuple[Sheet, ...]
    ground: Plane
    mirror: Plane | None = None
    reflected: tuple[Sheet, ...] = ()
    boxes: tuple[Box, ...] = ()
    lathes: tuple[Lathe, ...] = ()
    turned: bool = False


def sample_volume(body: Body) -> tuple[Volume, float]:
    """Return about the distance to the surface in cells, ``(nx, ny, nz)``, and the z of layer 0."""
    silhouette = body.silhouette
    cell = silhouette.cell
    low, high = _depth_range(body)
    first = low - BORDER * cell
    z = first + cell * np.arange(int(np.ceil((high - low) / cell)) + 2 * BORDER)
    signed = silhouette.signed.astype(np.float32)[:, :, None]
    maps = [_maps(sheet, cell) for sheet in body.sheets]
    images = [_maps(sheet, cell) for sheet in body.reflected]
    blend = np.float32(_BLEND / cell)
    x, y = silhouette.x.astype(np.float32), silhouette.y.astype(np.float32)
    solid = np.empty((len(x), len(y), len(z)), dtype=np.float32)
    for start in range(0, len(z), 32):
        layer = z[start : start + 32].astype(np.float32)
        value = np.full((len(x), len(y), len(layer)), -_NOTHING, dtype=np.float32)
        for part in maps:
            value = _union(value, _direct(part, layer, cell), blend)
        if body.mirror is not None and images:
            points = _reflected(body.mirror, x, y, layer)
            for part in images:
                image = _remapped(part, points, silhouette)
                value = _union(value, np.minimum(image, signed), blend)
        for box in body.boxes:
            inner = np.minimum(_box_distance(box, x, y, layer) / np.float32(cell), signed)
            for plane in box.mirrors:
                inner = np.minimum(inner, _cone(silhouette, _reflected(plane, x, y, layer)))
            value = _union(value, inner, blend)
        value = np.minimum(value, signed) if body.turned else value
        for lathe in body.lathes:
            turned = lathe_distance(lathe, x[:, None, None], y[None, :, None], layer[None, None, :])
            value = _union(value, turned / np.float32(cell), blend)
        value = value if body.turned else np.minimum(value, signed)
        normal = body.ground.normal.astype(np.float32)
        height = (
            x[:, None, None] * normal[0] + y[None, :, None] * normal[1] + layer[None, None, :] * normal[2]
        )
        solid[:, :, start : start + 32] = np.minimum(value, (height - np.float32(body.ground.offset)) / cell)
    for wall in (solid[:2], solid[-2:], solid[:, :2], solid[:, -2:], solid[..., :1], solid[..., -1:]):
        np.minimum(wall, -0.5, out=wall)
    return solid, float(first)


def _depth_range(body: Body) -> tuple[float, float]:
    """Return the least and the largest z that the solid may reach."""
    low, high = np.inf, -np.inf
    for box in body.boxes:
        reach = float(np.abs(box.axes[2]) @ box.half)
        low, high = min(low, float(box.centre[2]) - reach), max(high, float(box.centre[2]) + reach)
    for lathe in body.lathes:
        # Seen from above, what is high is nearer and what is low farther.
        shift = np.sin(np.radians(lathe.pitch)) * lathe.height
        low = min(low, float((shift - lathe.radius).min()))
        high = max(high, float((shift + lathe.radius).max()))
    x, y = np.meshgrid(body.silhouette.x, body.silhouette.y, indexing="ij")
    parts = [(sheet, False) for sheet in body.sheets] + [(sheet, True) for sheet in body.reflected]
    for sheet, image in parts:
        inside = sheet.squared > 0
        half = np.sqrt(sheet.squared[inside])
        for side in (-1.0, 1.0):
            points = np.stack([x[inside], y[inside], sheet.middle[inside] + side * half], axis=1)
            if image and body.mirror is not None:
                points = reflect(points, body.mirror)
                points = points[inside_cone(body.silhouette, points)]
            if len(points):
                low, high = min(low, float(points[:, 2].min())), max(high, float(points[:, 2].max()))
    return low, high


def reflect(points: Field, plane: Plane) -> Field:
    """Return the mirror images of ``(n, 3)`` points."""
    away = points @ plane.normal - plane.offset
    return np.asarray(points - 2.0 * away[:, None] * plane.normal)


def inside_cone(silhouette: Silhouette, points: Field) -> NDArray[np.bool_]:
    """Tell which points ``(n, 3)`` lie in the cone of the silhouette."""
    i = np.round((points[:, 0] - silhouette.x[0]) / silhouette.cell).astype(np.int64)
    j = np.round((points[:, 1] - silhouette.y[0]) / silhouette.cell).astype(np.int64)
    within = (i >= 0) & (j >= 0) & (i < len(silhouette.x)) & (j < len(silhouette.y))
    return np.asarray(within & silhouette.inside[np.where(within, i, 0), np.where(within, j, 0)])


def _maps(sheet: Sheet, cell: float) -> tuple[Volume, ...]:
    """Return middle and squared thickness in cells with their slopes."""
    middle, squared = sheet.middle / cell, sheet.squared / cell**2
    grids = (middle, squared, *np.gradient(middle), *np.gradient(squared))
    return tuple(np.ascontiguousarray(grid, dtype=np.float32) for grid in grids)


def _direct(maps: tuple[Volume, ...], z: Volume, cell: float) -> Volume:
    return _distance(tuple(grid[:, :, None] for grid in maps), (z / np.float32(cell))[None, None, :])


def _distance(maps: tuple[Volume, ...], z: Volume) -> Volume:
    """Return about the distance to a sheet: its function over its slope (Taubin 1991)."""
    middle, squared, middle_x, middle_y, squared_x, squared_y = maps
    away = z - middle
    value = squared - away * away
    slope = (squared_x + 2 * away * middle_x) ** 2 + (squared_y + 2 * away * middle_y) ** 2 + 4 * away * away
    return np.asarray(value / np.sqrt(slope + np.abs(value) + np.float32(1e-6)), dtype=np.float32)


def _box_distance(box: Box, x: Volume, y: Volume, z: Volume) -> Volume:
    """Return the distance to the nearest face of a box, positive inside, ``(nx, ny, nz)``."""
    value = np.full((len(x), len(y), len(z)), np.inf, dtype=np.float32)
    for axis, half in zip(box.axes.T.astype(np.float32), box.half.astype(np.float32), strict=True):
        along = x[:, None, None] * axis[0] + y[None, :, None] * axis[1] + z[None, None, :] * axis[2]
        along -= axis @ box.centre.astype(np.float32)
        np.minimum(value, half - np.abs(along), out=value)
    return value


def lathe_distance(lathe: Lathe, x: Volume, y: Volume, z: Volume) -> Volume:
    """Return about the distance to a solid of revolution, positive inside; the coordinates broadcast."""
    pitch = np.radians(lathe.pitch)
    sine, cosine = np.float32(np.sin(pitch)), np.float32(np.cos(pitch))
    up = y * cosine + z * sine
    deep = z * cosine - y * sine
    radius = np.interp(up, lathe.height, lathe.radius).astype(np.float32)
    slope = np.interp(up, lathe.height, np.gradient(lathe.radius, lathe.height)).astype(np.float32)
    away = np.sqrt((x - np.float32(lathe.centre)) ** 2 + deep**2)
    side = (radius - away) / np.sqrt(1 + slope * slope)
    bottom, top = up - np.float32(lathe.height[0]), np.float32(lathe.height[-1]) - up
    value = np.minimum(side, np.minimum(bottom, top))
    if lathe.hollow is not None:
        value = np.minimum(value, -lathe_distance(lathe.hollow, x, y, z))
    return np.asarray(value, dtype=np.float32)


def _reflected(mirror: Plane, x: Volume, y: Volume, z: Volume) -> tuple[Volume, Volume, Volume]:
    """Return the mirror images of all grid nodes, each coordinate ``(nx, ny, nz)``."""
    normal = mirror.normal.astype(np.float32)
    away = (
        x[:, None, None] * normal[0] + y[None, :, None] * normal[1] + z[None, None, :] * normal[2]
    ) - np.float32(mirror.offset)
    away *= 2
    return (
        x[:, None, None] - away * normal[0],
        y[None, :, None] - away * normal[1],
        z[None, None, :] - away * normal[2],
    )


def _cone(silhouette: Silhouette, points: tuple[Volume, Volume, Volume]) -> Volume:
    """Return the distance to the outline in cells at ``points`` given by coordinate."""
    return _looked_up((silhouette.signed.astype(np.float32),), points, silhouette)[0]


def _remapped(
    maps: tuple[Volume, ...], points: tuple[Volume, Volume, Volume], silhouette: Silhouette
) -> Volume:
    """Return the distance to a sheet at ``points`` given by coordinate."""
    return _distance(_looked_up(maps, points, silhouette), points[2] / np.float32(silhouette.cell))


def _looked_up(
    maps: tuple[Volume, ...], points: tuple[Volume, Volume, Volume], silhouette: Silhouette
) -> tuple[Volume, ...]:
    cell = np.float32(silhouette.cell)
    shape = points[0].shape
    i = ((points[0] - np.float32(silhouette.x[0])) / cell).reshape(shape[0], -1)
    j = ((points[1] - np.float32(silhouette.y[0])) / cell).reshape(shape[0], -1)
    # Rows of the image are x here; both fit the 32,767 limit of OpenCV in one direction only.
    return tuple(
        np.concatenate(
            [
                cv2.remap(grid, j[:, k : k + 30_000], i[:, k : k + 30_000], cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REPLICATE)
                for k in range(0, i.shape[1], 30_000)
            ],
            axis=1,
        ).reshape(shape)
        for grid in maps
    )  # fmt: skip


def _union(one: Volume, two: Volume, blend: np.float32) -> Volume:
    """Unite two parts with a fillet of about ``blend`` (the polynomial smooth maximum)."""
    near = np.maximum(blend - np.abs(one - two), 0) / blend
    return np.asarray(np.maximum(one, two) + near * near * (blend / 4), dtype=np.float32)
