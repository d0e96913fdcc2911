"""The outline of the object on a square grid, in the frame of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]

BORDER = 4
"""Empty nodes on each side of the outline."""


@dataclass(frozen=True, slots=True)
class Silhouette:
    """The distance to the outline at the nodes of a grid.

    The picture's frame has its origin in the middle of the object's box; the longest side of
    the box is 1, x runs right, y up, z towards the viewer. ``signed (nx, ny)`` is the
    distance to the outline, positive inside, in cells; node (i, j) lies at
    ``(x[i], y[j])``. ``cell`` is the length of a cell in that frame; ``centre`` and ``unit``
    tell where the frame lies on the cut-out: ``pixel = centre + unit · (x, -y)``.
    """

    signed: Field
    x: Field
    y: Field
    cell: float
    centre: tuple[float, float]
    unit: float
    box: tuple[float, float]
    """Exact width and height of the object's box; one of them is 1."""

    @property
    def inside(self) -> Mask:
        """Return the nodes inside the outline."""
        return self.signed > 0

    @property
    def extent(self) -> tuple[float, float]:
        """Return width and height of the object's box."""
        return -2.0 * float(self.x[BORDER - 1] + self.cell / 2), -2.0 * float(
            self.y[BORDER - 1] + self.cell / 2
        )


def sample(alpha: NDArray[np.float32], cells: int) -> Silhouette:
    """Sample the matte ``alpha (h, w)`` with ``cells`` along the longest side of the object."""
    rows = np.flatnonzero((alpha > 0.5).any(axis=1))
    columns = np.flatnonzero((alpha > 0.5).any(axis=0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    unit = float(max(right - left, bottom - top))
    pixels = unit / cells
    count = [int(np.ceil(size / pixels)) + 2 * BORDER for size in (right - left, bottom - top)]
    x, y = ((np.arange(n) - (n - 1) / 2) / cells for n in count)
    centre = (float(left + right) / 2, float(top + bottom) / 2)
    box = ((right - left) / unit, (bottom - top) / unit)
    signed = _signed_distance(alpha, centre, unit, x, y, pixels)
    return Silhouette(signed, x, y, 1.0 / cells, centre, unit, box)


def _signed_distance(
    alpha: NDArray[np.float32], centre: tuple[float, float], unit: float, x: Field, y: Field, pixels: float
) -> Field:
    mask = _keep_thin(alpha > 0.5, pixels).astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    steps = np.where(mask > 0, inside - 0.5, 0.5 - outside).astype(np.float32)
    # Steps of single pixels would print ridges on the model; straight outlines do not move.
    signed = cv2.GaussianBlur(steps, (0, 0), max(0.35 * pixels, 0.6), borderType=cv2.BORDER_REPLICATE)
    pixel_x = np.broadcast_to((centre[0] + unit * x - 0.5)[:, None], (len(x), len(y)))
    pixel_y = np.broadcast_to((centre[1] - unit * y - 0.5)[None, :], (len(x), len(y)))
    sampled = cv2.remap(
        signed,
        pixel_x.astype(np.float32),
        pixel_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    cells = np.asarray(sampled, dtype=np.float64) / pixels
    for wall in (cells[:2], cells[-2:], cells[:, :2], cells[:, -2:]):
        np.minimum(wall, -0.5, out=wall)
    # A node exactly on the outline would make triangles without area.
    return np.where(np.abs(cells) < 1e-3, 1e-3, cells)


def _keep_thin(mask: Mask, pixels: float) -> Mask:
    """Widen what the grid cannot hold (a rope, an antenna) until it can."""
    radius = round(0.8 * pixels)
    if radius < 1:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    solid = mask.astype(np.uint8)
    thick = cv2.dilate(cv2.morphologyEx(solid, cv2.MORPH_OPEN, kernel), np.ones((3, 3), np.uint8))
    thin = np.where(np.asarray(thick) > 0, 0, solid).astype(np.uint8)
    half = max(round(0.55 * pixels), 1)
    small = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * half + 1, 2 * half + 1))
    return mask | (np.asarray(cv2.dilate(thin, small)) > 0)
