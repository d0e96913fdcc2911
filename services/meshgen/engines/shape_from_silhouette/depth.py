"""From a silhouette to a smooth thickness: the depth field of the inflation.

The thickness h of the body at a point of the silhouette obeys a Poisson equation: with
``Δu = -4`` inside and ``u = 0`` on the outline, ``h = √u`` turns a disc into a sphere, a strip
into a tube and everything between into something between (Gorelick et al. 2006 use the same
field to describe silhouettes).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

Field = NDArray[np.float64]

_GROUND_CUT = 0.002
"""Share of the height that is cut off flat so that the model stands."""
_MIRROR_SHARE = 0.25
"""Share of the height that is mirrored below the ground (a free lower end, no pinched feet)."""
_TAPER_SHARE = 0.18
"""Share of the height over which the body narrows down to its feet."""
_FOOT_DEPTH = 1.35
"""Largest depth of a foot as a multiple of its width."""


@dataclass(frozen=True, slots=True)
class DepthField:
    """The inflated silhouette on a square grid, row 0 on top.

    ``squared (rows, columns)`` is the squared half thickness in cells², negative outside the
    silhouette and growing linearly away from it. Grid node (r, c) lies at pixel
    ``origin + cell * (c, r)`` of the cut-out, where pixel centres are at n + ½. ``ground``
    is the row, between two nodes, at which the model stands.
    """

    squared: Field
    origin: tuple[float, float]
    cell: float
    ground: float


def inflate(alpha: NDArray[np.float32], cells: int) -> DepthField:
    """Inflate the matte ``alpha (h, w)``, sampled with ``cells`` along its longest side."""
    rows = np.flatnonzero((alpha > 0.5).any(axis=1))
    columns = np.flatnonzero((alpha > 0.5).any(axis=0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    cell = max(right - left, bottom - top) / cells
    border = 3
    count_x = int(np.ceil((right - left) / cell)) + 2 * border
    above = int(np.ceil((bottom - top) / cell)) + border
    # The cut lies halfway between two rows of nodes, so the flat of the stand is exact.
    ground_pixel = bottom - _GROUND_CUT * (bottom - top)
    origin = ((left + right) / 2 - cell * (count_x - 1) / 2, ground_pixel - cell * (above - 0.5))
    shape = (above + border, count_x)
    signed = _signed_distance(alpha, origin, cell, shape)
    return DepthField(_squared_thickness(signed, above), origin, cell, above - 0.5)


def _signed_distance(
    alpha: NDArray[np.float32], origin: tuple[float, float], cell: float, shape: tuple[int, int]
) -> Field:
    """Sample the distance to the outline (cells, positive inside) at the grid nodes."""
    mask = _keep_thin(alpha > 0.5, cell).astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    steps = np.where(mask > 0, inside - 0.5, 0.5 - outside).astype(np.float32)
    # Steps of single pixels would print ridges on the model; straight outlines do not move.
    signed = cv2.GaussianBlur(steps, (0, 0), max(0.45 * cell, 0.6), borderType=cv2.BORDER_REPLICATE)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    pixel_x = (origin[0] + cell * columns - 0.5).astype(np.float32)
    pixel_y = (origin[1] + cell * rows - 0.5).astype(np.float32)
    sampled = cv2.remap(signed, pixel_x, pixel_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    signed_cells = np.asarray(sampled, dtype=np.float64) / cell
    signed_cells[:2] = np.minimum(signed_cells[:2], -0.5)
    signed_cells[:, :2] = np.minimum(signed_cells[:, :2], -0.5)
    signed_cells[:, -2:] = np.minimum(signed_cells[:, -2:], -0.5)
    # A node exactly on the outline would make triangles without area.
    return np.where(np.abs(signed_cells) < 1e-3, 1e-3, signed_cells)


def _keep_thin(mask: NDArray[np.bool_], cell: float) -> NDArray[np.bool_]:
    """Widen what is thinner than the grid can hold (a rope, an antenna) to 1.6 cells."""
    radius = round(0.8 * cell)
    if radius < 1:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    solid = mask.astype(np.uint8)
    thick = cv2.dilate(cv2.morphologyEx(solid, cv2.MORPH_OPEN, kernel), np.ones((3, 3), np.uint8))
    thin = np.where(np.asarray(thick) > 0, 0, solid).astype(np.uint8)
    half = max(radius // 2, 1)
    small = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * half + 1, 2 * half + 1))
    return mask | (np.asarray(cv2.dilate(thin, small)) > 0)


def _squared_thickness(signed: Field, ground: int) -> Field:
    """Solve for u inside and continue it linearly, negative, outside; ``ground`` counts rows above it."""
    mirrored = min(int(_MIRROR_SHARE * ground) + 1, ground - 1)
    extended = np.concatenate([signed[:ground], signed[ground - mirrored : ground][::-1]])
    extended[-1] = np.minimum(extended[-1], -0.5)
    solution = _solve_poisson(extended)
    slope = np.where(extended > 0, solution / np.maximum(extended, 1e-3), 0.0)
    known = (extended > 0).astype(np.float64)
    weight = cv2.blur(known, (5, 5))
    spread = cv2.blur(slope, (5, 5)) / np.maximum(weight, 1e-9)
    typical = float(np.median(slope[extended > 0]))
    spread = np.where(weight > 1e-6, spread, typical)
    field = np.where(extended > 0, solution, extended * np.maximum(spread, 1e-3))
    field[:ground] *= _taper_to_feet(signed[:ground], field[:ground])
    below = signed.shape[0] - ground
    # Below the cut the body goes on unchanged; the ground plane ends it, not the field.
    return np.concatenate([field[:ground], field[ground : ground + 1].repeat(below, axis=0)])


def _taper_to_feet(signed: Field, field: Field) -> Field:
    """Return factors that bring the thickness at the ground near the width of each foot.

    Without them a round pot on a small foot would stand on a slab as deep as its belly,
    because the free lower end lets the thickness of the belly through.
    """
    lowest, rows = signed[-1] > 0, len(signed)
    if not lowest.any():
        return np.ones_like(field)
    starts = np.flatnonzero(np.diff(np.concatenate([[False], lowest])) & lowest)
    run = np.cumsum(np.isin(np.arange(len(lowest)), starts)) * lowest
    width = np.bincount(run)[run]
    thickest = np.maximum.reduceat(field[-1], starts)[np.maximum(run - 1, 0)]
    wanted = (_FOOT_DEPTH * width / 2) ** 2
    at_ground = np.minimum(1.0, wanted / np.maximum(thickest, 1e-9))[lowest]
    columns = np.arange(len(lowest))
    across = np.interp(columns, columns[lowest], at_ground)
    across = cv2.GaussianBlur(across[None, :], (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)[0]
    height = (rows - 1 - np.arange(rows)) / max(_TAPER_SHARE * rows, 1.0)
    ramp = np.clip(1.0 - height, 0.0, 1.0)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return np.asarray(1.0 - ramp[:, None] * (1.0 - across)[None, :])


def _solve_poisson(signed: Field) -> Field:
    """Solve ``Δu = -4`` where ``signed > 0``, ``u = 0`` on the outline, on a grid of unit cells.

    A link that crosses the outline is shortened to the crossing (the symmetric second-order
    scheme of Gibou et al. 2002), so that the solution does not see the grid's steps.
    """
    inside = signed > 0
    number = np.full(signed.shape, -1, dtype=np.int64)
    number[inside] = np.arange(int(inside.sum()))
    rows, columns = np.nonzero(inside)
    here = number[inside]
    diagonal = np.zeros(len(here))
    entries_row, entries_column = [], []
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        r = np.clip(rows + down, 0, signed.shape[0] - 1)
        c = np.clip(columns + right, 0, signed.shape[1] - 1)
        other = number[r, c]
        linked = other >= 0
        own, far = signed[rows, columns], signed[r, c]
        crossing = own / np.maximum(own - far, 1e-9)
        diagonal += np.where(linked, 1.0, 1.0 / np.clip(crossing, 0.1, 1.0))
        entries_row.append(here[linked])
        entries_column.append(other[linked])
    i, j = np.concatenate(entries_row), np.concatenate(entries_column)
    matrix = sparse.csc_matrix(
        (
            np.concatenate([diagonal, np.full(len(i), -1.0)]),
            (np.concatenate([here, i]), np.concatenate([here, j])),
        ),
        shape=(len(here), len(here)),
    )
    options = {"SymmetricMode": True}
    solver = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    field = np.zeros(signed.shape)
    field[inside] = np.maximum(solver.solve(np.full(len(here), 4.0)), 1e-6)
    return field
