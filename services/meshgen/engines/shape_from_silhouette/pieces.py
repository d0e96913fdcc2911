"""Which of the pieces of a mask are the main object, which belong to it, which are others."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_CENTRE_SPREAD = 0.5
_NEAR = 0.035
"""A piece belongs to the object when it is nearer than this share of the object's diagonal."""
_EQUAL = 0.45
"""A piece with at least this share of the main one's area is an object of its own."""
_INSIDE = 0.8
"""A piece whose box lies in the object's box by this share belongs to it whatever its size."""
_DUST = 2e-4
"""Pieces below this share of the main one's area are noise."""
_NOTABLE = 0.03
"""Only pieces of at least this share of the main one's area are called objects."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """``kept (h, w)`` marks the main object with what belongs to it; ``others`` counts the rest."""

    kept: Mask
    others: int


def main_object(mask: Mask) -> Pieces:
    """Choose the main object of a mask: the largest piece, and of two alike the more central."""
    count, numbers, table, centroids = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return Pieces(mask, 0)
    labels = np.asarray(numbers, dtype=np.int32)
    stats = np.asarray(table, dtype=np.int32)
    area = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    area[0] = 0.0
    half = np.array([mask.shape[1], mask.shape[0]]) / 2.0
    off = (((np.asarray(centroids) - half) / half) ** 2).sum(axis=1)
    main = int(np.argmax(area * (0.3 + 0.7 * np.exp(-off / (2 * _CENTRE_SPREAD**2)))))
    chosen = np.zeros(count, dtype=bool)
    chosen[main] = True
    left, top, width, height = (float(value) for value in stats[main, :4])
    overlap = _overlap(stats, left, top, left + width, top + height)
    reach = _NEAR * float(np.hypot(width, height))
    rows, columns = np.nonzero(labels)
    of = labels[rows, columns].astype(np.int64)
    for _ in range(2):
        distance = cv2.distanceTransform((~chosen[labels]).astype(np.uint8), cv2.DIST_L2, 3)
        gap = np.full(count, np.inf)
        np.minimum.at(gap, of, np.asarray(distance)[rows, columns])
        chosen |= (
            (area >= _DUST * area[main])
            & (gap <= reach)
            & ((area < _EQUAL * area[main]) | (overlap > _INSIDE))
        )
        chosen[0] = False
    others = int(((area >= _NOTABLE * area[main]) & ~chosen).sum())
    return Pieces(chosen[labels], others)


def _overlap(
    stats: NDArray[np.int32], left: float, top: float, right: float, bottom: float
) -> NDArray[np.float64]:
    """Return the share of each piece's box that lies in the given box."""
    x, y, width, height = (stats[:, k].astype(np.float64) for k in range(4))
    across = np.clip(np.minimum(x + width, right) - np.maximum(x, left), 0, None)
    along = np.clip(np.minimum(y + height, bottom) - np.maximum(y, top), 0, None)
    return np.asarray(across * along / np.maximum(width * height, 1.0))


def fill_pinholes(mask: Mask, share: float) -> Mask:
    """Fill holes smaller than a share of the mask's area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = np.asarray(stats)[:, cv2.CC_STAT_AREA] < share * mask.sum()
    small[0] = False
    return np.asarray(mask | small[np.asarray(labels)])


def touched_sides(mask: Mask) -> int:
    """Count the sides of the picture that the mask runs along, not merely touches."""
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
    longest = max(int(rows), int(columns), 1)
    return sum(int(side.sum()) >= 0.1 * longest for side in sides)
