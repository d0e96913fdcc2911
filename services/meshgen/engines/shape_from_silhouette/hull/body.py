"""The body that the silhouettes allow: their visual hull (Laurentini 1994), rounded where none binds.

Two pictures at a right angle allow, at each height, a box: as wide as the one shows and as deep as
the other. A round thing fills an ellipse of it. So each picture gets a profile q, 1 in the middle
of its thickest part at that height and 0 on its outline, from the same inflation that makes a
single picture round (Gorelick et al. 2006), and the body is where

    (1 - q_a)^m + (1 - q_b)^m < 1

with m = 1 an ellipse (a ball seen from front and side comes out as a ball) and large m the box itself.
Both outlines are kept exactly, whatever m. Every further picture carves; where it shows more
than there is, the body grows again along its rays, within the hull.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.meshgen.engines.shape_from_silhouette.hull.frames import Silhouette
from services.meshgen.engines.shape_from_silhouette.hull.profiles import profiles
from services.meshgen.engines.shape_from_silhouette.hull.rays import (
    Above,
    Grid,
    Line,
    Volume,
    lay_grid,
    lines_of_sight,
    turn,
)
from services.meshgen.engines.shape_from_silhouette.poisson import inflate

_ROUNDS = 3
"""Passes over the pictures that fill what the rounding took from their outlines."""
_ROUND, _BOXY = 1.0, 8.0
"""Powers m of round things and of boxes."""
_COARSE = 64
"""Cells of the body that slanted views are laid over."""
_FAR = 8
"""Cells that a slanted view is shifted at most."""
_USUAL_DEPTH = 0.6
"""Depth as a share of the longest side where every picture looks along the same line."""


@dataclass(frozen=True, slots=True)
class Body:
    """``field (nx, ny, nz)`` at the nodes of ``grid``, in cells, positive inside."""

    field: Volume
    grid: Grid

    @property
    def cell(self) -> float:
        """Distance of two nodes in units of the frame."""
        return self.grid.cell

    def to_frame(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring points ``(n, 3)`` from grid cells to the frame of the pictures."""
        low = np.array([self.grid.x[0], self.grid.y[0], self.grid.z[0]])
        return np.asarray((low + self.grid.cell * points) @ turn(self.grid.yaw))


def carve(silhouettes: Sequence[Silhouette], cells: int) -> Body:
    """Make the body on a grid of about ``cells`` along its longest side."""
    lines = [line for line in lines_of_sight(silhouettes) if line[0].view.level]
    first = lines[0][0]
    grid = lay_grid(silhouettes, first.view.yaw % 180.0, cells)
    planes = [Line(grid, line) for line in lines]
    above = [Above(grid, one) for one in silhouettes if not one.view.level]
    views: list[Line | Above] = [*planes, *above]
    hull = planes[0].hull()
    for view in views[1:]:
        hull = np.minimum(hull, view.hull())
    if len(planes) > 1:
        field = _blended(planes[0], max(planes[1:], key=lambda other: other.angle(planes[0])))
    elif above:
        field = _blended_upright(planes[0], above[0])
    else:
        field = _by_rule(planes[0], grid)
    field = np.minimum(_as_distance(field), hull)
    for _ in range(_ROUNDS if len(views) > 1 else 0):
        for view in views:
            field = np.minimum(view.fill(field), hull)
    return Body(np.ascontiguousarray(field), grid)


def _blended(a: Line, b: Line) -> Volume:
    """Blend two lines of sight that share the upright axis."""
    qa, qb = profiles(a.signed, b.signed)
    return _superellipse(a.volume(qa), b.volume(qb), min(a.boxy, b.boxy))


def _blended_upright(a: Line, above: Above) -> Volume:
    """Blend one line of sight with a picture from above: they share the axis across."""
    qa, qb = profiles(a.on_grid().T, above.signed)
    first, second = qa.astype(np.float32)[:, :, None], qb.astype(np.float32)[:, None, :]
    return _superellipse(first, second, min(a.boxy, above.boxy))


def _superellipse(qa: Volume, qb: Volume, boxy: float) -> Volume:
    power = np.float32(_ROUND * (_BOXY / _ROUND) ** boxy)
    first, second = np.maximum(1 - qa, 0), np.maximum(1 - qb, 0)
    if power == 1:
        return np.asarray(1 - first - second, dtype=np.float32)
    return np.asarray(1 - (first**power + second**power) ** (1 / power), dtype=np.float32)


def _by_rule(line: Line, grid: Grid) -> Volume:
    """Inflate one outline as deep as things usually are."""
    thickness = inflate(line.signed)
    rows, columns = (np.ptp(np.flatnonzero((line.signed > 0).any(axis=k))) + 1 for k in (1, 0))
    stretch = _USUAL_DEPTH * max(rows, columns) / (2.0 * float(np.sqrt(thickness.max())))
    squared = np.where(line.signed > 0, thickness * np.clip(stretch, 0.5, 1.5) ** 2, line.signed)
    depth = ((grid.z - grid.z.mean()) / grid.cell) ** 2
    return np.asarray(line.volume(squared) - depth[None, None, :].astype(np.float32))


def _as_distance(field: Volume) -> Volume:
    """Scale a field so that near its surface it is about the distance to it, in cells."""
    slopes = np.gradient(field)
    steepness = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2)
    # Where the field is flat its distance is not known; it is far from any surface or near none.
    floor = 0.3 * float(np.median(steepness[field > 0])) if (field > 0).any() else 1.0
    return np.asarray(field / np.maximum(steepness, max(floor, 1e-6)), dtype=np.float32)


def count_cells(field: Volume) -> int:
    """Count the cells that the surface passes."""
    inside = field > 0
    views = [
        inside[x : x - 1 or None, y : y - 1 or None, z : z - 1 or None]
        for x in (0, 1)
        for y in (0, 1)
        for z in (0, 1)
    ]
    some, every = views[0].copy(), views[0].copy()
    for view in views[1:]:
        some |= view
        every &= view
    return int((some & ~every).sum())


def agreement(body: Body, one: Silhouette) -> float:
    """Return how well the body's outline covers a picture's, intersection over union."""
    view = Line(body.grid, [one]) if one.view.level else Above(body.grid, one)
    wanted, reached = view.signed > 0, view.reached(body.field) > 0
    return float((wanted & reached).sum() / max((wanted | reached).sum(), 1))


def register(silhouettes: Sequence[Silhouette]) -> list[Silhouette]:
    """Lay slanted views over the body that the others make.

    What is in the middle of a slanted picture need not be in the middle of the others.
    """
    lines = [line for line in lines_of_sight(silhouettes) if line[0].view.level]
    straight = [one for line in lines for one in line if _quarter(one, lines[0][0])]
    if len(straight) == len(silhouettes) or len({one.view.yaw % 180 for one in straight}) < 2:
        return list(silhouettes)
    body = carve([*straight, *(one for one in silhouettes if not one.view.level)], _COARSE)
    return [
        one if not one.view.level or _quarter(one, lines[0][0]) else _shifted(one, body)
        for one in silhouettes
    ]


def _quarter(one: Silhouette, first: Silhouette) -> bool:
    return (one.view.yaw - first.view.yaw) % 90.0 == 0.0


def _shifted(one: Silhouette, body: Body) -> Silhouette:
    """Shift a picture across to where its outline and the body's overlap most."""
    line = Line(body.grid, [one])
    wanted, reached = line.signed > 0, line.reached(body.field) > 0
    steps = np.arange(-_FAR, _FAR + 1)
    shared = np.array([(np.roll(wanted, step, axis=1) & reached).sum() for step in steps], dtype=np.float64)
    best = int(np.clip(shared.argmax(), 1, len(steps) - 2))
    before, here, after = shared[best - 1 : best + 2]
    bend = max(2.0 * here - before - after, 1e-9)
    step = float(steps[best]) + float(np.clip((after - before) / (2.0 * bend), -0.5, 0.5))
    return replace(one, origin=(one.origin[0] - one.scale * body.cell * step, one.origin[1]))
