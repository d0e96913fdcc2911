"""Guess where pictures were taken from, when nobody says.

The first picture is the front. Opposite views have mirrored outlines; a view from above is as wide
as the front and as high as the side is wide; colours run down level views alike; and the edge of
a side view next to the front has the front's colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.hull.viewpoints import (
    BACK,
    BOTTOM,
    FRONT,
    LEFT,
    RIGHT,
    TOP,
    Viewpoint,
)
from services.meshgen.engines.shape_from_silhouette.matting import Cutout

Mask = NDArray[np.bool_]

_ROWS = 96
_WIDEST = 5
"""Width over height beyond which an outline is squeezed."""
_USUAL = (RIGHT, BACK, LEFT, TOP, BOTTOM)
"""The order in which people send pictures; it decides between equals."""
_ALIKE = 0.88
"""Overlap from which two outlines are taken for the same one or its mirror image."""
_EDGE = 0.3
"""Share of an outline's width that counts as its edge."""
_DOUBT = 0.008
"""Difference of colours below which a side view is not told from its mirror image."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A picture reduced to ``_ROWS`` rows: its mask, extents, and colours by row.

    ``rows (n, 3, 4)`` holds colours of the left edge, the whole and the right edge: hue as the
    distance of each channel (0–1) from grey, and lightness against that of the whole band,
    so that light from one side counts for nothing.
    """

    mask: Mask
    aspect: float
    rows: NDArray[np.float64]


def guess_views(cutouts: Sequence[Cutout]) -> tuple[Viewpoint, ...]:
    """Return the likeliest viewpoint of each picture."""
    looks = [_look(cutout) for cutout in cutouts]
    best, choice = -np.inf, _USUAL[: len(looks) - 1]
    for views in permutations(_USUAL, len(looks) - 1):
        score = _score(looks, (FRONT, *views))
        if score > best + 1e-9:
            best, choice = score, views
    return (FRONT, *choice)


def overlap(first: Mask, second: Mask) -> float:
    """Return the intersection over union of two masks, centred on each other."""
    width = max(first.shape[1], second.shape[1])
    a, b = (np.zeros((_ROWS, width), dtype=bool) for _ in range(2))
    for whole, part in ((a, first), (b, second)):
        left = (width - part.shape[1]) // 2
        whole[:, left : left + part.shape[1]] = part
    return float((a & b).sum() / max((a | b).sum(), 1))


def is_symmetric(cutout: Cutout) -> bool:
    """Tell whether an outline is its own mirror image."""
    mask = _look(cutout).mask
    return overlap(mask, mask[:, ::-1]) >= _ALIKE


def _look(cutout: Cutout) -> _Look:
    solid = cutout.alpha > 0.5
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    alpha, rgb = cutout.alpha[box], cutout.rgb[box].astype(np.float32) / np.float32(255)
    aspect = alpha.shape[1] / alpha.shape[0]
    size = (max(round(_ROWS * min(aspect, _WIDEST)), 1), _ROWS)
    small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    color = cv2.resize(rgb * alpha[..., None], size, interpolation=cv2.INTER_AREA)
    mask = np.asarray(small) > 0.5
    weight = np.asarray(small) * mask
    order = np.cumsum(weight, axis=1)
    total = np.maximum(order[:, -1:], 1e-6)
    bands = (order <= _EDGE * total, order >= 0, order >= (1 - _EDGE) * total)
    rows_of = np.stack(
        [
            (np.asarray(color) * (mask & band)[..., None]).sum(axis=1)
            / np.maximum((weight * band).sum(axis=1), 1e-6)[:, None]
            for band in bands
        ],
        axis=1,
    )
    grey = rows_of.mean(axis=2, keepdims=True)
    light = grey - np.median(grey, axis=0, keepdims=True)
    return _Look(mask, aspect, np.concatenate([rows_of - grey, light], axis=2))


def _score(looks: Sequence[_Look], views: Sequence[Viewpoint]) -> float:
    total = -0.001 * sum(_rank(first) > _rank(second) for first, second in combinations(views, 2))
    total -= 0.002 * (LEFT in views and RIGHT not in views)
    for (a, one), (b, other) in combinations(zip(looks, views, strict=True), 2):
        total += _pair(a, one, b, other)
    return total + _from_above(looks, views) + _sides(looks, views)


def _rank(view: Viewpoint) -> int:
    return (FRONT, *_USUAL).index(view)


def _pair(a: _Look, one: Viewpoint, b: _Look, other: Viewpoint) -> float:
    """Score two pictures: mirrored where they are opposite, of one colour where both are level."""
    if one.level and other.level:
        alike = overlap(a.mask, b.mask[:, ::-1]) - _ALIKE
        opposite = (one.yaw - other.yaw) % 360 == 180
        colors = -float(np.abs(a.rows[:, 1] - b.rows[:, 1]).mean())
        return (6.0 * alike if opposite else -6.0 * max(alike, 0.0)) + colors
    if not one.level and not other.level:
        return 6.0 * (overlap(a.mask, b.mask[::-1]) - _ALIKE)
    return -0.2


def _from_above(looks: Sequence[_Look], views: Sequence[Viewpoint]) -> float:
    """Score views from above by their extents against the width and the depth that others show."""
    width = [look.aspect for look, view in zip(looks, views, strict=True) if view in (FRONT, BACK)]
    depth = [look.aspect for look, view in zip(looks, views, strict=True) if view in (LEFT, RIGHT)]
    total = 0.0
    for look, view in zip(looks, views, strict=True):
        if not view.level:
            wanted = width[0] / depth[0] if depth else width[0]
            miss = abs(np.log(look.aspect / wanted)) / 0.06
            total += 0.8 * float(np.exp(-miss * miss)) - 0.6 if depth else -0.9
    return total


def _sides(looks: Sequence[_Look], views: Sequence[Viewpoint]) -> float:
    """Score side views by the colours of their edges: those of the front on the front's side."""
    by_view = dict(zip(views, looks, strict=True))
    front = by_view[FRONT].rows[:, 1]
    back = by_view[BACK].rows[:, 1] if BACK in by_view else None
    total = 0.0
    for view, near, far in ((RIGHT, 0, 2), (LEFT, 2, 0)):
        look = by_view.get(view)
        if look is None:
            continue
        gain = np.abs(look.rows[:, far] - front) - np.abs(look.rows[:, near] - front)
        if back is not None:
            gain = gain + np.abs(look.rows[:, near] - back) - np.abs(look.rows[:, far] - back)
        told = float(gain.mean())
        total += 4.0 * np.sign(told) * max(abs(told) - _DOUBT, 0.0)
    return total
