"""The mirror plane of an upright body.

A candidate plane is judged by where it sends points of the surface: how far their mirror images lie
from the surface, cut off so that a held weapon or a raised arm counts little (in the spirit of
Podolak et al., "A Planar-Reflective Symmetry Transform for 3D Shapes", 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.solid import Solid

_SAMPLES = 1500
_CUTOFF = 0.06
"""Of the longest side: mirror images that miss by more all count the same."""
_COARSE = np.arange(0.0, 180.0, 3.0)
_AXIS_FAVOUR = 1.08
"""A plane along the axes is kept unless another is better by this factor: files are mostly aligned."""
_OFFSETS = np.arange(-6.0, 6.01, 1.0)


@dataclass(frozen=True, slots=True)
class MirrorPlane:
    """A vertical plane: its normal's direction about the Y axis and its offset along the normal.

    ``yaw`` in degrees turns +X to the normal about +Y; ``error`` is the mean miss of mirrored
    points as a share of the cut-off: 0 is a perfect mirror, 1 none at all.
    """

    yaw: float
    offset: float
    error: float

    @property
    def normal(self) -> Vectors:
        """The unit normal ``(3,)``."""
        angle = np.radians(self.yaw)
        return np.array([np.cos(angle), 0.0, -np.sin(angle)])


def mirror_planes(solid: Solid, most: int = 2) -> list[MirrorPlane]:
    """Return the best vertical mirror planes of a solid in its grid's space, best first.

    Planes less than 30° apart count as one. The grid's second axis is the vertical.
    """
    judge = _Judge(solid)
    coarse = [judge.best_offset(yaw, 0.0, 2.0) for yaw in _COARSE]
    errors = np.array([plane.error for plane in coarse])
    found: list[MirrorPlane] = []
    for index in np.argsort(errors, kind="stable"):
        yaw = float(_COARSE[index])
        if any(_apart(yaw, other.yaw) < 30.0 for other in found):
            continue
        found.append(judge.refine(coarse[index]))
        if len(found) == most:
            break
    return sorted(found, key=lambda plane: plane.error)


class _Judge:
    """Measures how well planes mirror one solid."""

    def __init__(self, solid: Solid) -> None:
        shell = solid.occupied & ~ndimage.binary_erosion(solid.occupied)
        self._distance = ndimage.distance_transform_edt(~shell) * solid.cell
        self._origin, self._cell = solid.origin, solid.cell
        index = np.argwhere(shell)
        step = max(1, len(index) // _SAMPLES)
        self._points = solid.origin + (index[::step] + 0.5) * solid.cell
        filled = np.argwhere(solid.occupied)
        self._centre = solid.origin + (filled.mean(axis=0) + 0.5) * solid.cell
        self._cutoff = _CUTOFF * max(solid.occupied.shape) * solid.cell

    def error(self, yaw: float, offset: float) -> float:
        """Return the mean miss of the mirrored points, 0 to 1."""
        plane = MirrorPlane(yaw, offset, 0.0)
        reach = self._points @ plane.normal - offset
        image = self._points - 2.0 * reach[:, None] * plane.normal
        cell = (image - self._origin) / self._cell - 0.5
        miss = ndimage.map_coordinates(self._distance, cell.T, order=1, mode="constant", cval=np.inf)
        return float(np.minimum(miss, self._cutoff).mean() / self._cutoff)

    def best_offset(self, yaw: float, around: float, step: float) -> MirrorPlane:
        """Return the best plane of one direction; ``around`` and ``step`` in cells from the centroid."""
        middle = float(self._centre @ MirrorPlane(yaw, 0.0, 0.0).normal)
        tried = [(around + step * shift) * self._cell + middle for shift in _OFFSETS]
        errors = [self.error(yaw, offset) for offset in tried]
        best = int(np.argmin(errors))
        return MirrorPlane(yaw, tried[best], errors[best])

    def refine(self, plane: MirrorPlane) -> MirrorPlane:
        """Search finer about a plane, favouring one along the axes."""
        best = plane
        for turn, step in ((1.0, 0.5), (0.25, 0.1)):
            for yaw in best.yaw + turn * np.arange(-3, 4):
                middle = float(self._centre @ MirrorPlane(yaw, 0.0, 0.0).normal)
                around = (best.offset - middle) / self._cell if yaw == best.yaw else 0.0
                candidate = self.best_offset(float(yaw), around, step)
                if candidate.error < best.error:
                    best = candidate
        aligned = 90.0 * round(best.yaw / 90.0)
        if _apart(best.yaw, aligned) < 4.0:
            straight = self.best_offset(aligned, 0.0, 0.5)
            middle = float(self._centre @ straight.normal)
            straight = self.best_offset(aligned, (straight.offset - middle) / self._cell, 0.1)
            if straight.error <= best.error * _AXIS_FAVOUR + 0.005:
                return straight
        return best


def _apart(a: float, b: float) -> float:
    """Return the angle between two planes' directions, 0 to 90 degrees."""
    turn = abs(a - b) % 180.0
    return min(turn, 180.0 - turn)
