"""Volumes seen along lines: from a picture's plane into the grid, and from the grid onto the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.hull.boxiness import boxiness
from services.meshgen.engines.shape_from_silhouette.hull.frames import Silhouette

Plane = NDArray[np.float64]
Volume = NDArray[np.float32]

_MARGIN = 3
"""Empty cells around the body."""
_BAND = 2.0
"""Cells inside an outline within which the body must reach it."""


def turn(yaw: float) -> NDArray[np.float64]:
    """Return the matrix whose rows are the grid's axes in the frame of the pictures."""
    angle = np.radians(yaw)
    cos, sin = np.round(np.cos(angle), 12), np.round(np.sin(angle), 12)
    return np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])


@dataclass(frozen=True, slots=True)
class Grid:
    """Nodes ``x (nx,)``, ``y (ny,)``, ``z (nz,)`` in units, and the turn of their axes."""

    x: Plane
    y: Plane
    z: Plane
    cell: float
    yaw: float

    def place(self, one: Silhouette) -> tuple[Plane, Plane]:
        """Return across and up ``(nx, nz)`` of the nodes at y = 0 in a picture."""
        axes = turn(self.yaw)
        across, up = axes @ one.view.across, axes @ one.view.up
        x, z = self.x[:, None], self.z[None, :]
        return x * across[0] + z * across[2], x * up[0] + z * up[2]


def lay_grid(silhouettes: Sequence[Silhouette], yaw: float, cells: int) -> Grid:
    """Lay a grid around everything that every picture allows."""
    reach = 2.0 * max(one.box.width / one.scale for one in silhouettes) + 1.0
    trial = np.linspace(-reach, reach, 601)
    probe = Grid(trial, np.zeros(1), trial, 0.0, yaw)
    allowed = np.ones((len(trial), len(trial)), dtype=bool)
    for line in lines_of_sight(silhouettes):
        allowed &= np.logical_or.reduce([_allowed(probe, one) for one in line])
    step = trial[1] - trial[0]
    columns, depths = allowed.any(axis=1), allowed.any(axis=0)
    # What only one line of sight bounds is as deep as a thing usually is, with room to spare.
    spans = []
    for filled in (columns, depths):
        where = trial[filled] if filled.any() else trial[:1] * 0
        spans.append((float(where[0]) - step, float(where[-1]) + step))
    widest = max(1.0, spans[0][1] - spans[0][0])
    spans = [
        (max(low, -widest), min(high, widest)) if high - low > reach else (low, high) for low, high in spans
    ]
    cell = max(1.0, *(high - low for low, high in spans)) / cells

    def nodes(low: float, high: float) -> Plane:
        first, last = int(np.floor(low / cell)) - _MARGIN, int(np.ceil(high / cell)) + _MARGIN
        places: Plane = np.arange(first, last + 1, dtype=np.float64) * cell
        return places

    return Grid(nodes(*spans[0]), nodes(0.0, 1.0), nodes(*spans[1]), cell, yaw)


def lines_of_sight(silhouettes: Sequence[Silhouette]) -> list[list[Silhouette]]:
    """Put pictures from opposite sides together, level ones first."""
    lines: dict[tuple[bool, float], list[Silhouette]] = {}
    for one in sorted(silhouettes, key=lambda one: not one.view.level):
        lines.setdefault((one.view.level, round(one.view.yaw % 180.0, 6)), []).append(one)
    return list(lines.values())


def _allowed(grid: Grid, one: Silhouette) -> NDArray[np.bool_]:
    """Tell for each x and z whether a picture's box leaves room there."""
    across, up = grid.place(one)
    half = one.box.width / one.scale / 2
    middle = (one.box.middle - one.origin[0]) / one.scale
    room = np.abs(across - middle) <= half
    return room if one.view.level else room & (np.abs(up) <= one.box.height / one.scale / 2)


class Line:
    """Level pictures along one line of sight, on a plane of their own: rows by y, columns across."""

    def __init__(self, grid: Grid, line: Sequence[Silhouette]) -> None:
        self.one = line[0]
        self._shape = (len(grid.x), len(grid.y), len(grid.z))
        across, _ = grid.place(self.one)
        self._turned = (self.one.view.yaw - grid.yaw) % 180.0
        first = np.floor(across.min() / grid.cell)
        columns = (first + np.arange(int(np.ceil(across.max() / grid.cell) - first) + 2)) * grid.cell
        self._column = np.round(across / grid.cell - first, 6)
        seen = []
        for one in line:
            same = 1.0 if one is self.one or one.view.yaw == self.one.view.yaw else -1.0
            seen.append(_kept_thin(one, grid.cell).sample(same * columns[None, :], grid.y[:, None]))
        self.signed: Plane = np.mean(seen, axis=0) / grid.cell
        self.boxy = min(boxiness(one) for one in line)

    def angle(self, other: Line) -> float:
        """Return how far two lines of sight are from parallel, the sine."""
        return float(abs(np.sin(np.radians(self._turned - other._turned))))

    def volume(self, plane: Plane) -> Volume:
        """Draw a plane out along the line of sight."""
        whole = np.floor(self._column).astype(np.int64)
        share = (self._column - whole).astype(np.float32)
        near = plane.astype(np.float32)
        flat = near[:, whole] * (1 - share) + near[:, whole + 1] * share
        return np.ascontiguousarray(flat.transpose(1, 0, 2))

    def hull(self) -> Volume:
        """Return the distance to the outline everywhere."""
        return self.volume(self.signed)

    def on_grid(self) -> Plane:
        """Return the distance to the outline ``(ny, nx)``, for the line of sight along z."""
        return self.signed[:, np.rint(self._column[:, 0]).astype(np.int64)]

    def fill(self, field: Volume) -> Volume:
        """Raise the field along the rays that should meet the body and do not."""
        reached = self.reached(field)
        wanted = np.minimum(self.signed, _BAND)
        lack = np.where(self.signed > 0, np.maximum(wanted - reached, 0.0), 0.0)
        return field + self.volume(lack)

    def reached(self, field: Volume) -> Plane:
        """Return the highest value on each ray."""
        bins = np.rint(self._column).astype(np.int64).ravel()
        order = np.argsort(bins, kind="stable")
        used, starts = np.unique(bins[order], return_index=True)
        rows = field.transpose(1, 0, 2).reshape(self._shape[1], -1)[:, order]
        reached = np.full(self.signed.shape, -np.inf, dtype=np.float32)
        reached[:, used] = np.maximum.reduceat(rows, starts, axis=1)
        return np.asarray(np.maximum(reached, -1e3), dtype=np.float64)


class Above:
    """A picture from above or below, on the plane of the grid's x and z."""

    def __init__(self, grid: Grid, one: Silhouette) -> None:
        self._shape = (len(grid.x), len(grid.y), len(grid.z))
        across, up = grid.place(one)
        self.signed: Plane = _kept_thin(one, grid.cell).sample(across, up) / grid.cell
        self.boxy = boxiness(one)

    def volume(self, plane: Plane) -> Volume:
        """Draw a plane out along the line of sight."""
        return np.broadcast_to(plane.astype(np.float32)[:, None, :], self._shape)

    def hull(self) -> Volume:
        """Return the distance to the outline everywhere."""
        return self.volume(self.signed)

    def fill(self, field: Volume) -> Volume:
        """Raise the field along the rays that should meet the body and do not."""
        lack = np.maximum(np.minimum(self.signed, _BAND) - self.reached(field), 0.0)
        return field + self.volume(np.where(self.signed > 0, lack, 0.0))

    def reached(self, field: Volume) -> Plane:
        """Return the highest value on each ray."""
        return np.asarray(field.max(axis=1), dtype=np.float64)


def _kept_thin(one: Silhouette, cell: float) -> Silhouette:
    """Widen what is thinner than the grid can hold (a rope, an antenna) to 1.6 cells."""
    radius = round(0.8 * cell * one.scale)
    if radius < 1:
        return one
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    solid = (one.signed > 0).astype(np.uint8)
    thick = cv2.dilate(cv2.morphologyEx(solid, cv2.MORPH_OPEN, kernel), np.ones((3, 3), np.uint8))
    thin = np.where(np.asarray(thick) > 0, 0, solid).astype(np.uint8)
    if not thin.any():
        return one
    away = cv2.distanceTransform(1 - thin, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    widened = np.float32(max(radius // 2, 1)) + np.float32(0.5) - np.asarray(away)
    return replace(one, signed=np.maximum(one.signed, widened).astype(np.float32))
