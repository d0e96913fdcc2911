"""Paint the atlas: the picture in front, its mirror behind, its own colours drawn round the rim."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maquette.geometry.raster import rasterize
from maquette.geometry.topology import vertex_normals
from services.meshgen.engines.shape_from_silhouette.matting import Cutout
from services.meshgen.engines.shape_from_silhouette.shape import Shape
from services.meshgen.engines.shape_from_silhouette.unwrap import STEEP, Atlas, Box

Pixels = NDArray[np.uint8]

_SURE = 0.9
"""A pixel shows the object alone, not a mix with the background, from this alpha on."""
_RIM_BLUR = 0.015
"""Blur of the rim's colours as a share of the cut-out: no pixel is drawn out to a streak."""


@dataclass(frozen=True, slots=True)
class Colors:
    """The object's colours, continued beyond its outline: ``sharp`` and ``soft (h, w, 3)``."""

    sharp: Pixels
    soft: Pixels


def spread_colors(cutout: Cutout) -> Colors:
    """Replace the pixels that mix object and background by the nearest that do not."""
    sure = (cutout.alpha >= _SURE).astype(np.uint8)
    reach = 2 if cutout.matted else 1
    eroded = cv2.erode(sure, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    # A thin part is all edge: its middle is the best there is.
    survivors = cv2.dilate(eroded, np.ones((4 * reach + 3, 4 * reach + 3), np.uint8))
    known = np.where(survivors > 0, eroded, sure)
    if not known.any():
        known = (cutout.alpha >= 0.5).astype(np.uint8)
    sharp = _nearest(cutout.rgb, known)
    sigma = max(_RIM_BLUR * max(known.shape), 1.0)
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), sigma)
    spread = cv2.GaussianBlur(sharp.astype(np.float32) * known[..., None], (0, 0), sigma)
    blurred = spread / np.maximum(weight, 1e-3)[..., None]
    far = (weight < 1e-2)[..., None]
    soft = np.where(far, sharp, np.clip(blurred + 0.5, 0, 255)).astype(np.uint8)
    return Colors(sharp, soft)


def _nearest(rgb: Pixels, known: NDArray[np.uint8]) -> Pixels:
    """Fill unknown pixels with the colour of the nearest known one."""
    _, labels = cv2.distanceTransformWithLabels(
        1 - known, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    palette = np.zeros((int(labels.max()) + 1, rgb.shape[2]), dtype=np.uint8)
    inside = known > 0
    palette[labels[inside]] = rgb[inside]
    return np.asarray(palette[labels])


def paint(atlas: Atlas, shape: Shape, colors: Colors) -> Pixels:
    """Paint the texture ``(side, side, 3)`` of an atlas."""
    texture = np.zeros((atlas.side, atlas.side, 3), dtype=np.uint8)
    owned = np.zeros((atlas.side, atlas.side), dtype=np.uint8)
    view = _crop(colors.sharp, atlas.crop)
    _paste(texture, owned, atlas.front, view)
    _paste(texture, owned, atlas.back, view[:, ::-1])
    _paint_rim(texture, owned, atlas, shape, colors)
    return _pad(texture, owned)


def _crop(image: Pixels, box: Box) -> Pixels:
    """Cut a box out of an image; what lies outside repeats the border."""
    rows = np.clip(np.arange(box.y, box.y + box.height), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(box.x, box.x + box.width), 0, image.shape[1] - 1)
    return image[rows][:, columns]


def _paste(texture: Pixels, owned: NDArray[np.uint8], box: Box, view: Pixels) -> None:
    """Lay a view into its box; at a scale of one its texels are its pixels."""
    size = (box.width, box.height)
    if size != (view.shape[1], view.shape[0]):
        shrinking = box.width < view.shape[1]
        how = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
        view = np.asarray(cv2.resize(np.ascontiguousarray(view), size, interpolation=how), dtype=np.uint8)
    place = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    texture[place] = view
    owned[place] = 1


def _paint_rim(texture: Pixels, owned: NDArray[np.uint8], atlas: Atlas, shape: Shape, colors: Colors) -> None:
    """Colour the strips: sharp where they leave front and back, soft where they face sideways."""
    faces = atlas.faces[atlas.chart >= 2]
    texels = rasterize(atlas.texels[faces], texture.shape[:2])
    if not len(texels.faces):
        return
    pixels = shape.placement.to_pixels(atlas.vertices)
    normals = _vertex_slopes(shape)[atlas.source]
    corner = faces[texels.faces]
    where = np.einsum("kc,kcd->kd", texels.barycentric, pixels[corner])
    facing = np.einsum("kc,kc->k", texels.barycentric, normals[corner])
    x = np.clip(np.floor(where[:, 0]).astype(np.int64), 0, colors.sharp.shape[1] - 1)
    y = np.clip(np.floor(where[:, 1]).astype(np.int64), 0, colors.sharp.shape[0] - 1)
    share = np.clip((STEEP - facing) / (0.7 * STEEP), 0.0, 1.0)[:, None]
    mixed = (1 - share) * colors.sharp[y, x] + share * colors.soft[y, x]
    texture[texels.rows, texels.columns] = np.clip(mixed + 0.5, 0, 255)
    owned[texels.rows, texels.columns] = 1


def _vertex_slopes(shape: Shape) -> NDArray[np.float64]:
    """Return for each vertex of the shape how much it faces the view or its back, 0–1."""
    return np.abs(vertex_normals(shape.vertices, shape.faces)[:, 2].astype(np.float64))


def _pad(texture: Pixels, owned: NDArray[np.uint8]) -> Pixels:
    """Continue charts into their gaps, so that filtering and mipmaps take no foreign colour."""
    reach = max(8, texture.shape[0] // 128)
    near = cv2.dilate(owned, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    filled = _nearest(texture, owned)
    mean = texture[owned > 0].mean(axis=0)
    return np.where(near[..., None], filled, np.round(mean).astype(np.uint8)[None, None])
