"""The side view that a front and a slanted view imply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.hull.frames import Silhouette, outline_of
from services.meshgen.engines.shape_from_silhouette.hull.viewpoints import RIGHT

_ROWS = 400
_THINNEST = 0.15
"""Least depth as a share of the width."""
_WIDE = 0.8
"""Sine of the angle between two lines of sight from which on they need no help."""


def implied_side(silhouettes: Sequence[Silhouette]) -> Silhouette | None:
    """Return the side view of a thing seen only from the front and from nearly there, else None.

    Two lines of sight that cross at a narrow angle leave the depth to a slanted box. If each
    height of the thing is an ellipse of half width a and half depth b, it is seen from the
    yaw ψ with the half width w, w² = a² cos² ψ + b² sin² ψ; so the two widths give the depth.
    """
    if not all(one.view.level for one in silhouettes):
        return None
    yaws = np.radians([one.view.yaw for one in silhouettes])
    if np.abs(np.sin(yaws[:, None] - yaws[None, :])).max() > _WIDE:
        return None
    straight = next((one for one in silhouettes if one.view.yaw % 180.0 == 0.0), None)
    slanted = next((one for one in silhouettes if one.view.yaw % 180.0), None)
    if straight is None or slanted is None:
        return None
    up = (_ROWS - np.arange(_ROWS) - 0.5) / _ROWS
    width, _ = _spans(straight, up)
    seen, middle = _spans(slanted, up)
    yaw = np.radians(slanted.view.yaw)
    squared = (seen**2 - (width * np.cos(yaw)) ** 2) / np.sin(yaw) ** 2
    depth = np.sqrt(np.maximum(squared, (_THINNEST * width) ** 2))
    # Right in the side view is away from the front: -z.
    centre = middle / np.sin(yaw)
    reach = float((np.abs(centre) + depth).max()) + 0.05
    columns = np.arange(int(2 * reach * _ROWS)) / _ROWS - reach
    inside = np.abs(columns[None, :] - centre[:, None]) <= depth[:, None]
    solid = inside & ((width > 0) & (seen > 0))[:, None]
    alpha = np.pad(solid, 4).astype(np.float32)
    return outline_of(alpha, RIGHT, origin=(4 + reach * _ROWS, 4.0 + _ROWS), scale=float(_ROWS))


def _spans(one: Silhouette, up: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the half width and the middle, in units, of the outline at heights ``up``."""
    rows = np.clip((one.origin[1] - one.scale * up).astype(np.int64), 0, one.signed.shape[0] - 1)
    inside = one.signed[rows] > 0
    first = inside.argmax(axis=1)
    last = inside.shape[1] - inside[:, ::-1].argmax(axis=1)
    some = inside.any(axis=1)
    half = np.where(some, (last - first) / 2.0, 0.0) / one.scale
    middle = np.where(some, (first + last) / 2.0 - one.origin[0], 0.0) / one.scale
    return half, middle
