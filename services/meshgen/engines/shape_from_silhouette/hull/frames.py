"""Silhouettes in a common frame: every picture scaled until the heights of the object agree.

The frame is the object's: x to the right of the front view, y up from the ground, z towards the
front view's camera, and the object one unit high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.hull.viewpoints import Viewpoint
from services.meshgen.engines.shape_from_silhouette.matting import Cutout

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Box:
    """What a silhouette covers of its picture, in pixels; ``right`` and ``bottom`` are beyond it."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Extent across."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Extent down."""
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """Column halfway across."""
        return (self.left + self.right) / 2


@dataclass(frozen=True, slots=True)
class Silhouette:
    """A picture's outline and where the frame lies in it.

    ``signed (h, w)`` is the distance to the outline in pixels, positive inside. A point at
    ``(across, up)`` units is at pixel ``origin + scale · (across, -up)``; pixel centres are at n + ½.
    """

    view: Viewpoint
    signed: Plane
    box: Box
    origin: tuple[float, float]
    scale: float

    def to_pixels(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project points ``(n, 3)`` of the frame to ``(n, 2)`` pixels."""
        wide = np.asarray(points, dtype=np.float64)
        across, up = wide @ self.view.across, wide @ self.view.up
        return np.stack([self.origin[0] + self.scale * across, self.origin[1] - self.scale * up], axis=1)

    def sample(self, across: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance to the outline, in units, at points that broadcast to ``(r, c)``."""
        columns, rows = np.broadcast_arrays(
            self.origin[0] + self.scale * across - 0.5, self.origin[1] - self.scale * up - 0.5
        )
        height, width = self.signed.shape
        x, y = np.clip(columns, 0, width - 1), np.clip(rows, 0, height - 1)
        found = cv2.remap(self.signed, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        beyond = np.hypot(columns - x, rows - y)
        return np.asarray((found.astype(np.float64) - beyond) / self.scale)


def outline(cutout: Cutout, view: Viewpoint) -> Silhouette:
    """Measure the outline of a cut-out, scaled to height 1 and centred."""
    box = _box(cutout.alpha)
    return outline_of(cutout.alpha, view, origin=(box.middle, box.bottom), scale=box.height)


def outline_of(alpha: Plane, view: Viewpoint, *, origin: tuple[float, float], scale: float) -> Silhouette:
    """Measure the outline of a matte that lies where ``origin`` and ``scale`` say."""
    return Silhouette(view, signed_distance(alpha), _box(alpha), origin, scale)


def signed_distance(alpha: Plane) -> Plane:
    """Return the distance to the level alpha = ½, in pixels, positive inside."""
    inside = (alpha > 0.5).astype(np.uint8)
    inner = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outer = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    coarse = np.where(inside > 0, inner - 0.5, 0.5 - outer)
    # Next to the outline the matte itself tells the place within the pixel.
    edge = (alpha > 0.02) & (alpha < 0.98) & (np.abs(coarse) < 1.0)
    return np.where(edge, alpha - 0.5, coarse).astype(np.float32)


def _box(alpha: Plane) -> Box:
    """Find the box of a matte; a half covered border pixel counts half."""
    sides = []
    for axis in (0, 1):
        line = alpha.max(axis=axis)
        filled = np.flatnonzero(line > 0.5)
        first, last = int(filled[0]), int(filled[-1])
        before = float(line[first - 1]) if first else 0.0
        after = float(line[last + 1]) if last + 1 < len(line) else 0.0
        low = first + (1.0 - float(line[first])) - before
        sides.append((low, last + float(line[last]) + after))
    (left, right), (top, bottom) = sides
    return Box(left, top, right, bottom)


def arrange(cutouts: Sequence[Cutout], views: Sequence[Viewpoint]) -> list[Silhouette]:
    """Put the outlines of all pictures into one frame."""
    found = [outline(cutout, view) for cutout, view in zip(cutouts, views, strict=True)]
    width, depth = _extent(found, 0), _extent(found, 1)
    return [one if one.view.level else _from_above(one, width, depth) for one in found]


def _extent(found: Sequence[Silhouette], axis: int) -> float | None:
    """Measure the object along x (0) or z (1) on the level views that show it; None where none does."""
    sizes = [
        one.box.width / one.scale
        for one in found
        if one.view.level and abs(one.view.across[2 * axis]) > 0.999
    ]
    return float(np.mean(sizes)) if sizes else None


def _from_above(one: Silhouette, width: float | None, depth: float | None) -> Silhouette:
    """Scale a view from above or below by the width and the depth that the others show."""
    scales = []
    if width:
        scales.append(one.box.width / width)
    if depth:
        scales.append(one.box.height / depth)
    scale = float(np.exp(np.mean(np.log(scales)))) if scales else max(one.box.width, one.box.height)
    middle = (one.box.top + one.box.bottom) / 2
    return replace(one, scale=scale, origin=(one.box.middle, middle))
