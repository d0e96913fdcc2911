"""Find the legs, the trunk, the neck and the tail of a body on four legs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.arms import SIDES, SIGN
from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import (
    PoseEstimationFailed,
    StandsOtherwise,
    Vectors,
)
from services.rigging.engines.limb_graph.skeleton.pairs import Pair
from services.rigging.engines.limb_graph.solid import Mask

_ON_GROUND = 0.16
"""Of the height: the tips of legs are below."""
_LEGS_APART = 0.12
"""Of the size: front and hind feet are at least so far apart."""
_SHORT_LEG = 0.35
"""A pair of legs this short against the longest is none."""
_SWELL = 2.2
_THINNEST_TRUNK = 0.07
_TALLEST_TRUNK = 2.0
"""Of the way between the legs; the hems of a robe stand before and behind a body six times as tall."""
_FLAT = np.ones((3, 3), bool)
_TOUCHING = np.ones((3, 3, 3), bool)
_TURN = 1.3
"""The body is turned about when so much more of it lies behind the hind legs than before the front ones."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """The trunk between the legs: ``front`` and ``back`` are where the legs join it along z."""

    front: float
    back: float
    belly: float
    thickness: float

    def height(self, share: float) -> float:
        """Return the height at a share of the thickness above the belly."""
        return self.belly + share * self.thickness

    def along(self, share: float) -> float:
        """Return the depth at a share of the way from the hind to the front legs."""
        return self.back + share * (self.front - self.back)


@dataclass(frozen=True, slots=True)
class Legs:
    """The centre lines ``(n, 3)`` of four legs from the ground up, and the cells they fill."""

    lines: dict[tuple[str, str], Vectors]
    cells: Mask


def find_legs(body: Body, pairs: list[Pair]) -> Legs:
    """Find four legs or raise :class:`PoseEstimationFailed`."""
    limit = body.ground + _ON_GROUND * body.height
    standing = [pair for pair in pairs if max(pair.left.tip[1], pair.right.tip[1]) <= limit]
    standing = [pair for pair in standing if pair.length >= _SHORT_LEG * max(p.length for p in standing)]
    standing.sort(key=lambda pair: pair.tip[2])
    if len(standing) < 2 or standing[-1].tip[2] - standing[0].tip[2] < _LEGS_APART * body.size:
        raise PoseEstimationFailed("it does not stand on two pairs of legs")
    if len(standing) > 2:
        raise StandsOtherwise(f"it stands on {2 * len(standing)} legs, neither on two nor on four")
    cells = np.zeros(body.occupied.shape, bool)
    lines = {}
    for end, pair in (("Back", standing[0]), ("Front", standing[1])):
        for side, limb in zip(SIDES, (pair.left, pair.right), strict=True):
            lines[end, side] = _climb(body, limb.tip, SIGN[side], cells)
    return Legs(lines, cells)


def _climb(body: Body, tip: Vectors, sign: float, cells: Mask) -> Vectors:
    """Follow a leg upwards, layer by layer, until it widens or crosses to the other side."""
    layer = body.column(1, body.ground) + max(2, int(0.06 * body.height / body.cell))
    label, count = ndimage.label(body.occupied[:, layer, :], _FLAT)
    if not count:
        raise PoseEstimationFailed("a leg ends above the ground")
    index = np.argwhere(label > 0)
    corner = body.origin[[0, 2]]
    away = np.abs(corner + (index + 0.5) * body.cell - tip[[0, 2]]).sum(axis=1)
    piece = label == label[tuple(index[away.argmin()])]
    line, areas = [], []
    while True:
        index = np.argwhere(piece)
        middle = corner + (index.mean(axis=0) + 0.5) * body.cell
        line.append([middle[0], body.coordinate(1, layer), middle[1]])
        areas.append(len(index))
        cells[:, layer, :] |= piece
        layer += 1
        if layer >= body.occupied.shape[1]:
            break
        label, _ = ndimage.label(body.occupied[:, layer, :], _FLAT)
        names = np.unique(label[piece & (label > 0)])
        if not len(names):
            break
        piece = np.isin(label, names)
        across = (body.origin[0] + (np.flatnonzero(piece.any(axis=1)) + 0.5) * body.cell) * sign
        wide = len(areas) > 5 and piece.sum() > _SWELL * np.median(areas[-8:])
        if (across < -1.01 * body.cell).any() or wide:
            break
    return np.array(line)


def find_trunk(body: Body, legs: Legs) -> Trunk:
    """Measure the trunk on the mirror plane between the legs."""
    tops = {end: max(float(legs.lines[end, side][-1, 1]) for side in SIDES) for end in ("Front", "Back")}
    joins = {
        end: float(np.mean([np.median(legs.lines[end, side][-6:, 2]) for side in SIDES]))
        for end in ("Front", "Back")
    }
    if joins["Front"] - joins["Back"] < 0.08 * body.size:
        raise PoseEstimationFailed("the legs do not stand before and behind a trunk")
    middle = body.column(0, 0.0)
    above = (min(tops.values()) + max(tops.values())) / 2
    low, high = [], []
    for share in np.linspace(0.125, 0.625, 5):
        depth = joins["Back"] + share * (joins["Front"] - joins["Back"])
        sheet = body.occupied[max(middle - 2, 0) : middle + 3, :, body.column(2, depth)]
        run = _lowest_run(np.asarray(sheet.any(axis=0)), body.column(1, above - 0.5 * body.cell))
        if run is not None:
            low.append(body.coordinate(1, run[0]))
            high.append(body.coordinate(1, run[1]))
    if not low:
        raise PoseEstimationFailed("there is no trunk between the legs")
    thickness = float(np.median(np.array(high) - np.array(low)))
    if thickness < _THINNEST_TRUNK * body.size:
        raise StandsOtherwise("what the legs carry is too thin for a trunk")
    if thickness > _TALLEST_TRUNK * (joins["Front"] - joins["Back"]):
        raise PoseEstimationFailed("what the legs carry stands upright; an animal's trunk lies along them")
    return Trunk(joins["Front"], joins["Back"], float(np.median(low)), thickness)


def _lowest_run(filled: Mask, first: int) -> tuple[int, int] | None:
    """Return the ends of the lowest unbroken run of filled cells from ``first`` up."""
    above = np.flatnonzero(filled[first:])
    if not len(above):
        return None
    start = first + int(above[0])
    stop = start
    while stop + 1 < len(filled) and filled[stop + 1]:
        stop += 1
    return start, stop


def faces_backwards(body: Body, legs: Legs) -> bool:
    """Tell whether the head is at the hind end: the bulk beyond the legs and above them is there."""
    points = body.cells.points
    bulk = {}
    for end, sign in (("Front", 1.0), ("Back", -1.0)):
        lines = [legs.lines[end, side] for side in SIDES]
        top = max(float(line[-1, 1]) for line in lines)
        join = float(np.mean([np.median(line[-6:, 2]) for line in lines]))
        bulk[end] = int((((points[:, 2] - join) * sign > 0) & (points[:, 1] > top)).sum())
    return bulk["Back"] > _TURN * bulk["Front"]


def trace_end(
    body: Body, keep: Mask, start: Vectors, forward: float, steps: int | None
) -> tuple[Vectors, Vectors, float] | None:
    """Follow what sticks out of the trunk, from ``start (3,)`` to its farthest tip.

    ``keep (n,)`` marks the cells that may belong to it; ``forward`` adds a liking for tips that lie
    before the start. Returns the centre line ``(k, 3)`` outwards, the areas of its cuts ``(k,)`` and its
    geodesic length.
    """
    cells = body.cells
    kept = np.flatnonzero(keep)
    if len(kept) < 8:
        return None
    grid = np.zeros(body.occupied.shape, bool)
    grid[tuple(cells.index[kept].T)] = True
    label, _ = ndimage.label(grid, _TOUCHING)
    source = int(kept[((cells.points[kept] - start) ** 2).sum(axis=1).argmin()])
    same = label[tuple(cells.index.T)] == label[tuple(cells.index[source])]
    distance = cells.distances(source, same)
    reached = np.flatnonzero(np.isfinite(distance))
    score = distance[reached] + forward * (cells.points[reached, 2] - start[2])
    length = float(distance[reached[score.argmax()]])
    count = steps or max(2, int(length / (1.5 * body.cell)))
    line, areas = [], []
    for reach in np.linspace(0.0, length, count + 1):
        near = reached[np.abs(distance[reached] - reach) < 1.6 * body.cell]
        if len(near):
            line.append(cells.points[near].mean(axis=0))
            areas.append(len(near) * body.cell**2 / 3.2)
    return np.array(line), np.array(areas), length
