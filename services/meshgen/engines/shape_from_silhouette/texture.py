"""Paint the atlas: the picture where it shows the surface, its mirror image or a guess elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from maquette.geometry.asset import Indices
from maquette.geometry.raster import rasterize
from maquette.geometry.topology import vertex_normals
from services.meshgen.engines.shape_from_silhouette.backside import guess_back
from services.meshgen.engines.shape_from_silhouette.camera import MirrorPlane
from services.meshgen.engines.shape_from_silhouette.matting import Cutout
from services.meshgen.engines.shape_from_silhouette.shape import Shape, Turned
from services.meshgen.engines.shape_from_silhouette.unwrap import STEEP, Atlas, Box

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]
Values = NDArray[np.float64]

_SURE = 0.9
"""A pixel shows the object alone, not a mix with the background, from this alpha on."""
_GRAZING = 0.12
"""Below this cosine to the view a pixel would be drawn out to a streak."""
_MIRROR_GRAZING, _LEVEL_GRAZING = (0.12, 0.42), (0.04, 0.1)
"""Between these cosines trust in a mirror image grows; what lies level has an even colour more often."""
_FACING_MIRROR = 0.8
"""A mirror plane that faces the camera more than this would put the face on the back of the head."""
_ROUND_FACING = 0.4
"""Cosine to the view at which the side of a round thing is seen well."""
_SIDE_VIEW = 0.55
"""Overlap of an outline with its left-right mirror image below which it is a view from the side."""
_DEPTH_SIDE = 512
_ROUNDS = 60
_DECAY = 0.97
"""How much of a difference in colour at a seam is left a vertex further on."""
_MAX_OFFSET = 60.0
_CHUNK = 1_000_000
"""Texels painted together; bounds the memory."""


@dataclass(frozen=True, slots=True)
class Colors:
    """The object's colours, continued beyond its outline: ``sharp (h, w, 3)``."""

    sharp: Pixels


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where each vertex of the shape takes its colour from.

    ``pixel`` and ``twin (n, 2)`` are places in the picture of the vertex and of its mirror
    image, ``seen`` and ``mirrored (n,)`` how far to trust the picture there, 0–1, ``offset
    (n, 3)`` what to add to a guess so that it meets the picture.
    """

    pixel: Points
    seen: Values
    twin: Points
    mirrored: Values
    offset: Points


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
    return Colors(_nearest(cutout.rgb, known))


def _nearest(rgb: Pixels, known: NDArray[np.uint8]) -> Pixels:
    """Fill unknown pixels with the colour of the nearest known one."""
    _, labels = cv2.distanceTransformWithLabels(
        1 - known, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    palette = np.zeros((int(labels.max()) + 1, rgb.shape[2]), dtype=np.uint8)
    inside = known > 0
    palette[labels[inside]] = rgb[inside]
    return np.asarray(palette[labels])


def paint(atlas: Atlas, shape: Shape, cutout: Cutout) -> Pixels:
    """Paint the texture ``(side, side, 3)`` of an atlas."""
    sharp = spread_colors(cutout).sharp
    # Seen from the side, the other side looks alike; seen from the front, the back has no face.
    aside = _overlap(cutout.alpha) < _SIDE_VIEW and shape.mirror is None
    back = sharp if aside else guess_back(sharp, cutout.alpha)
    sources = _sources(shape, sharp, back)
    texture = np.zeros((atlas.side, atlas.side, 3), dtype=np.uint8)
    owned = np.zeros((atlas.side, atlas.side), dtype=np.uint8)
    _paste(texture, owned, atlas.front, _crop(sharp, atlas.crop))
    for faces in _chunks(atlas):
        texels = rasterize(atlas.texels[atlas.faces[faces]], texture.shape[:2])
        if not len(texels.faces):
            continue
        corner = atlas.source[atlas.faces[faces]][texels.faces]
        color = _color(sources, corner, texels.barycentric, sharp, back)
        texture[texels.rows, texels.columns] = color
        owned[texels.rows, texels.columns] = 1
    return _pad(texture, owned)


def _overlap(alpha: NDArray[np.float32]) -> float:
    """Return the share that an outline and its left-right mirror image have in common."""
    columns = np.flatnonzero((alpha > 0.5).any(axis=0))
    inside = alpha[:, columns[0] : columns[-1] + 1] > 0.5
    image = inside[:, ::-1]
    return float((inside & image).sum() / (inside | image).sum())


def _chunks(atlas: Atlas) -> Iterator[NDArray[np.int64]]:
    """Part the faces outside the front into runs of about equally many texels."""
    faces = np.flatnonzero(atlas.chart > 0)
    if not len(faces):
        return
    size = np.ptp(atlas.texels[atlas.faces[faces]], axis=1) + 2.0
    run = (np.cumsum(size[:, 0] * size[:, 1]) // _CHUNK).astype(np.int64)
    for index in np.unique(run):
        yield faces[run == index]


def _sources(shape: Shape, sharp: Pixels, back: Pixels) -> _Sources:
    """Find where each vertex takes its colour from."""
    normals = vertex_normals(shape.vertices, shape.faces).astype(np.float64)
    towards = shape.camera.direction
    count = len(shape.vertices)
    uses = np.bincount(shape.faces.ravel(), minlength=count)
    shown = np.bincount(shape.faces[shape.front].ravel(), minlength=count) / np.maximum(uses, 1)
    seen = shown * np.clip((normals @ towards - _GRAZING) / (STEEP - _GRAZING), 0.0, 1.0)
    pixel = shape.placement.to_pixels(shape.vertices)
    twin, mirrored = pixel, np.zeros(count)
    if shape.mirror is not None and abs(float(np.dot(shape.mirror.normal, towards))) < _FACING_MIRROR:
        twin, mirrored = _reflected(shape, shape.mirror, normals, _MIRROR_GRAZING)
    elif shape.mirror is not None:
        # Through a plane that faces the camera only what looks up is alike: a plate, a seat.
        twin, mirrored = _reflected(shape, shape.mirror, normals, _LEVEL_GRAZING)
        mirrored = mirrored * np.clip(2.0 * normals[:, 1] - 0.4, 0.0, 1.0)
    if shape.turned is not None:
        twin, mirrored = _turned_round(shape, shape.turned, normals, twin, mirrored)
    guess = _mix(sharp, back, pixel, twin, mirrored)
    gap = _look_up(sharp, pixel) - guess
    offset = _carry(shape.faces, gap, seen > 0.5)
    return _Sources(pixel, seen, twin, mirrored, np.clip(offset, -_MAX_OFFSET, _MAX_OFFSET))


def _reflected(
    shape: Shape, mirror: MirrorPlane, normals: Points, grazing: tuple[float, float]
) -> tuple[Points, Values]:
    """Return where the mirror image of each vertex appears, and how well the camera sees it."""
    turned = normals - 2.0 * (normals @ np.array(mirror.normal))[:, None] * np.array(mirror.normal)
    return _shown(shape, mirror.reflect(shape.vertices), turned @ shape.camera.direction, grazing)


def _turned_round(
    shape: Shape, turned: Turned, normals: Points, twin: Points, mirrored: Values
) -> tuple[Points, Values]:
    """Return the same for what looks alike all round: turned about the axis to where its like is seen.

    The hidden angles are laid over the seen ones, so that nothing jumps where they meet. Of what
    something hides there, the like right before or behind the axis is taken.
    """
    pitch = np.radians(shape.camera.pitch)
    away = shape.vertices[:, [0, 2]].astype(np.float64) - turned.axis
    radius = np.maximum(np.hypot(*away.T), 1e-9)
    angle, side = np.arctan2(np.abs(away[:, 0]), away[:, 1]), np.where(away[:, 0] < 0, -1.0, 1.0)
    outwards = np.einsum("nk,nk->n", normals[:, [0, 2]], away) / radius
    level, upright = outwards * np.cos(pitch), normals[:, 1] * np.sin(pitch)
    steep = np.where(np.abs(level) < 1e-6, 1e-6, level)
    limit = np.arccos(np.clip((_ROUND_FACING - upright) / steep, -1.0, 1.0))
    # A wall is seen on the near side from outside and on the far side from within.
    behind = limit * (np.pi - angle) / np.maximum(np.pi - limit, 1e-6)
    before = limit + (np.pi - limit) * (limit - angle) / np.maximum(limit, 1e-6)
    shown = np.where(
        level > 0, np.where(angle > limit, behind, angle), np.where(angle < limit, before, angle)
    )
    for where in (shown, np.where(level > 0, 0.0, np.pi)):
        flat = np.stack([side * radius * np.sin(where), radius * np.cos(where)], axis=1) + turned.axis
        image = np.stack([flat[:, 0], shape.vertices[:, 1], flat[:, 1]], axis=1)
        place, trust = _shown(shape, image, upright + level * np.cos(where), _MIRROR_GRAZING)
        better = turned.vertices & (trust > mirrored)
        twin, mirrored = np.where(better[:, None], place, twin), np.where(better, trust, mirrored)
    return twin, mirrored


def _shown(
    shape: Shape, image: Points, facing: Values, grazing: tuple[float, float]
) -> tuple[Points, Values]:
    """Return where places appear in the picture, and how well the camera sees them.

    ``facing`` are the cosines of their normals to the view; between the two of ``grazing`` the trust
    grows from none to all.
    """
    placement = shape.placement
    grid = placement.to_pixels(shape.vertices)
    low = grid.min(axis=0)
    cells = (_DEPTH_SIDE - 2) / float(np.ptp(grid, axis=0).max())
    size = np.ceil(np.ptp(grid, axis=0) * cells).astype(np.int64) + 2
    flat = (grid - low) * cells
    front = shape.faces[shape.front]
    texels = rasterize(flat[front], (int(size[1]), int(size[0])))
    depth = np.einsum("kc,kc->k", texels.barycentric, placement.depth(shape.vertices)[front[texels.faces]])
    nearest = np.full((int(size[1]), int(size[0])), -np.inf)
    np.maximum.at(nearest, (texels.rows, texels.columns), depth)
    twin = placement.to_pixels(image)
    place = np.floor((twin - low) * cells).astype(np.int64)
    within = ((place >= 0) & (place < size)).all(axis=1)
    column, row = np.clip(place, 0, size - 1).T
    # What lies a little under the surface is its mirror image's own unevenness.
    near = placement.depth(image) > nearest[row, column] - 0.04
    trust = np.clip((facing - grazing[0]) / (grazing[1] - grazing[0]), 0.0, 1.0)
    return twin, np.where(within & near & np.isfinite(nearest[row, column]), trust, 0.0)


def _carry(faces: Indices, gap: Points, known: NDArray[np.bool_]) -> Points:
    """Carry the difference at known vertices along the surface, fading."""
    count = len(gap)
    one, two = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
    near = sparse.csr_matrix((np.ones(len(one)), (one, two)), shape=(count, count))
    near = near + near.T
    # Calm along the seam first, so that no single pixel is drawn out.
    own = sparse.diags(known.astype(np.float64))
    inner = own @ near @ own
    inner = sparse.diags(1.0 / np.maximum(np.asarray(inner.sum(axis=1)).ravel(), 1e-9)) @ inner
    value = np.where(known[:, None], gap, 0.0)
    for _ in range(3):
        value = np.where(known[:, None], 0.5 * value + 0.5 * (inner @ value), 0.0)
    step = sparse.diags(_DECAY / np.maximum(np.asarray(near.sum(axis=1)).ravel(), 1e-9)) @ near
    start = value.copy()
    for _ in range(_ROUNDS):
        value = np.where(known[:, None], start, step @ value)
    return np.asarray(value)


def _mix(sharp: Pixels, back: Pixels, pixel: Points, twin: Points, mirrored: Values) -> Points:
    """Mix the guess behind the picture with the picture of the mirror image."""
    scale = np.array([back.shape[1] / sharp.shape[1], back.shape[0] / sharp.shape[0]])
    guess = _look_up(back, pixel * scale)
    chosen = np.flatnonzero(mirrored > 0)
    share = mirrored[chosen, None]
    guess[chosen] = share * _look_up(sharp, twin[chosen]) + (1.0 - share) * guess[chosen]
    return guess


def _color(
    sources: _Sources, corner: NDArray[np.int64], weight: Points, sharp: Pixels, back: Pixels
) -> Pixels:
    """Return the colours of texels at ``weight (k, 3)`` between the vertices ``corner (k, 3)``."""

    def at(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.einsum("kc,kc...->k...", weight, values[corner]))

    pixel, seen = at(sources.pixel), at(sources.seen)
    guess = _mix(sharp, back, pixel, at(sources.twin), at(sources.mirrored)) + at(sources.offset)
    shown = np.flatnonzero(seen > 0)
    share = seen[shown, None]
    guess[shown] = share * _look_up(sharp, pixel[shown]) + (1.0 - share) * guess[shown]
    return np.clip(guess + 0.5, 0, 255).astype(np.uint8)


def _look_up(image: Pixels, places: Points) -> Points:
    """Sample an image at ``places (n, 2)``, pixel centres at n + ½, bilinear."""
    columns = 1024
    count = len(places)
    rows = max(-(-count // columns), 1)
    x, y = np.zeros((2, rows * columns), dtype=np.float32)
    x[:count], y[:count] = (places - 0.5).T
    shape = (rows, columns)
    found = cv2.remap(
        image, x.reshape(shape), y.reshape(shape), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(found).reshape(-1, 3)[:count].astype(np.float64)


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


def _pad(texture: Pixels, owned: NDArray[np.uint8]) -> Pixels:
    """Continue charts into their gaps, so that filtering and mipmaps take no foreign colour."""
    reach = max(8, texture.shape[0] // 128)
    near = cv2.dilate(owned, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    filled = _nearest(texture, owned)
    mean = texture[owned > 0].mean(axis=0)
    return np.where(near[..., None], filled, np.round(mean).astype(np.uint8)[None, None])
