"""Tell an object from a smooth ground: what the ground explains is flooded from the border."""

from __future__ import annotations

import cv2
import numpy as np

from services.meshgen.engines.shape_from_silhouette.background import (
    Field,
    Ground,
    Mask,
    Pixels,
    difference,
    shadowed,
    to_lab,
)

_MIN_CONTRAST = 2.2
"""Least distance in Lab at which a pixel stands out from a ground without noise."""
_NOISE_FACTOR = 3.2
_SHADOW_EDGE = 1.6
"""Steepest slope inside a soft shadow, Lab units a pixel of a picture 1024 pixels wide."""
_SHADOW_SHARE = 0.45
"""Share of the object's height, from above, below which its shadow may lie."""
_NOISY = 6.0
"""Errors beyond this are no noise of a smooth ground."""
_RINGING, _RING_REACH = 0.09, 0.015
"""Share of a contrast that JPEG spreads around it, and how far as a share of the longest side."""
_EVEN = 0.6
"""Share of a hole that looks just like the ground; along its border colours mix."""
_MOSTLY = 0.6
_NECK = 0.003
"""Half the width of the narrowest gap, as a share of the longest side, that the flood passes."""
_HOLE_EDGE = 3.0
"""A hole has a border at least this steep; a highlight fades."""


def key_out(rgb: Pixels, grounds: tuple[Ground, ...], x: Field, y: Field) -> Mask:
    """Mark the object in a picture whose columns and rows lie at ``x`` and ``y`` of the grounds.

    A pixel is background when a path leads to it from the border over pixels that a ground
    explains, or that a soft shadow explains: the ground's colour, only darker, without an edge.
    """
    sharp = to_lab(rgb)
    calm = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 0.8), dtype=np.float32)
    slope = _slope(calm)
    away = np.full(slope.shape, np.inf, dtype=np.float32)
    plain = np.zeros(slope.shape, dtype=bool)
    explained, shade = plain.copy(), plain.copy()
    level = _MIN_CONTRAST
    for ground in grounds:
        behind = ground.lab(x, y)
        here = difference(calm, behind)
        usual = here[here < _NOISY]
        level = max(_MIN_CONTRAST, _NOISE_FACTOR * float(np.median(usual)) if len(usual) else 0.0)
        # A line of one pixel stands out before the blur only.
        ring = np.maximum(level, _RINGING * _highest_near(here))
        own = (here < ring) & (difference(sharp, behind) < 3 * ring)
        dark = _dark_below(rgb, behind, own)
        explained |= own | (dark & ~_near_edge(slope))
        shade |= dark
        plain |= own
        away = np.minimum(away, here)
    explained |= _seam(explained, calm, grounds, x, y, level)
    background = _flood(explained, max(1, round(_NECK * max(slope.shape))))
    background |= _holes(plain & ~background, away, slope, level)
    return _without_shadows(~background, shade)


def _highest_near(away: Field) -> Field:
    """Return the largest distance within the reach of JPEG's ringing, found on every fourth pixel."""
    near = np.asarray(cv2.dilate(away, np.ones((5, 5), np.uint8)))[::4, ::4]
    reach = 2 * max(1, round(_RING_REACH * max(near.shape))) + 1
    highest = cv2.dilate(np.ascontiguousarray(near), np.ones((reach, reach), np.uint8))
    size = (away.shape[1], away.shape[0])
    return np.asarray(cv2.resize(highest, size, interpolation=cv2.INTER_NEAREST), dtype=np.float32)


def _seam(
    explained: Mask, calm: Field, grounds: tuple[Ground, ...], x: Field, y: Field, level: float
) -> Mask:
    """Find the line along which two grounds meet: its pixels mix their colours."""
    seam = np.zeros(explained.shape, dtype=bool)
    if len(grounds) < 2:
        return seam
    reach = np.ones((9, 9), np.uint8)
    near = [
        cv2.dilate((difference(calm, ground.lab(x, y)) < level).astype(np.uint8), reach) > 0
        for ground in grounds
    ]
    for one, first in enumerate(grounds):
        for two in range(one):
            where = near[one] & near[two] & ~explained
            rows, columns = np.nonzero(where)
            if not len(rows):
                continue
            start = first.at(x[columns], y[rows])
            line = grounds[two].at(x[columns], y[rows]) - start
            point = calm[rows, columns] - start
            along = (point * line).sum(axis=1) / np.maximum((line * line).sum(axis=1), 1e-6)
            off = np.linalg.norm(point - np.clip(along, 0, 1)[:, None] * line, axis=1)
            seam[rows, columns] |= off < 2 * level
    return seam


def _slope(lab: Field) -> Field:
    """Return the steepness of lightness and colour, Lab units a pixel."""
    total = np.zeros(lab.shape[:2], dtype=np.float32)
    for channel in range(3):
        plane = np.ascontiguousarray(lab[..., channel])
        for dx, dy in ((1, 0), (0, 1)):
            step = np.asarray(cv2.Sobel(plane, cv2.CV_32F, dx, dy, ksize=3, scale=0.125))
            total += step * step
    return np.sqrt(total)


def _dark_below(rgb: Pixels, behind: Field, plain: Mask) -> Mask:
    """Mark what may be shadow on the ground: its colour, darker, in the lower part of what stands out."""
    rows = np.flatnonzero((~plain).mean(axis=1) > 0.005)
    dark = shadowed(rgb, behind)
    if len(rows):
        dark[: int(rows[0] + _SHADOW_SHARE * (rows[-1] - rows[0]))] = False
    return dark


def _near_edge(slope: Field) -> Mask:
    """Mark what is too steep for a soft shadow."""
    steep = slope > _SHADOW_EDGE * 1024 / max(slope.shape)
    return np.asarray(cv2.dilate(steep.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _without_shadows(mask: Mask, shade: Mask) -> Mask:
    """Drop loose pieces that are mostly shadow: the dark line where something nearly touches the ground."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    labels = np.asarray(labels)
    area = np.asarray(stats)[:, cv2.CC_STAT_AREA].astype(np.float64)
    dark = np.bincount(labels[shade & mask], minlength=count)
    lost = (dark > _MOSTLY * area) & (area < 0.2 * area[1:].max())
    lost[0] = False
    return np.asarray(mask & ~lost[labels])


def _flood(passable: Mask, neck: int) -> Mask:
    """Mark the passable pixels that the border reaches through no gap narrower than ``2 · neck``.

    Through a narrow gap the flood would leak into parts that happen to have the ground's colour.
    """
    solid = passable.astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * neck + 1, 2 * neck + 1))
    wide = cv2.erode(solid, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    _, labels = cv2.connectedComponents(wide, connectivity=4)
    labels = np.asarray(labels)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    reached = np.zeros(int(labels.max()) + 1, dtype=bool)
    reached[edge] = True
    reached[0] = False
    return (cv2.dilate(reached[labels].astype(np.uint8), kernel) > 0) & passable


def _holes(enclosed: Mask, away: Field, slope: Field, level: float) -> Mask:
    """Tell which enclosed pieces show the ground through the object."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(enclosed.astype(np.uint8), connectivity=4)
    if count < 2:
        return enclosed
    labels = np.asarray(labels)
    area = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    ring = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int64)
    ring[enclosed] = 0
    width = len(area)
    around = np.maximum(np.bincount(ring.ravel(), minlength=width), 1)
    steep = np.bincount(ring.ravel(), weights=slope.ravel(), minlength=width) / around
    even = np.bincount(labels[away < 0.6 * level], minlength=width) / np.maximum(area, 1)
    is_hole = (steep > _HOLE_EDGE) & (even > _EVEN) & (area >= 6)
    is_hole[0] = False
    return np.asarray(is_hole[labels])
