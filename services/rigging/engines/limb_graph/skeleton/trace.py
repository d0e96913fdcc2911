"""Follow a limb from its tip to the trunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.skeleton.limb_graph import Cells, level_sets


@dataclass(frozen=True, slots=True)
class Trace:
    """A limb's centre line from the tip inwards.

    ``line (n, 3)`` are the centres of the cuts, ``area (n,)`` their areas, ``arc (n,)`` the geodesic
    distance from the tip.
    """

    line: Vectors
    area: Vectors
    arc: Vectors

    def at(self, arc: float) -> Vectors:
        """Return the point ``(3,)`` of the centre line at a distance from the tip."""
        return np.array([np.interp(arc, self.arc, self.line[:, axis]) for axis in range(3)])

    def index(self, arc: float) -> int:
        """Return the cut at a distance from the tip."""
        return int(np.clip(np.searchsorted(self.arc, arc), 0, len(self.arc) - 1))


def trace_limb(cells: Cells, tip: int, source: int) -> Trace:
    """Return the centre line from a cell at a limb's tip to a cell of the trunk.

    At each distance from the tip the cut is the connected piece of the level set through which the
    way to the trunk leads; fingers beside it do not count.
    """
    sets = level_sets(cells, cells.distances(tip))
    lower: dict[int, list[int]] = {}
    for low, high in sets.edges.tolist():
        lower.setdefault(high, []).append(low)
    first = int(sets.node[tip])
    ours = _leading_to(first, sets.edges)
    node, way = int(sets.node[source]), []
    while True:
        way.append(node)
        if node == first:
            break
        below = [other for other in lower.get(node, []) if other in ours]
        node = max(below, key=lambda other: (sets.size[other], -other))
    way.reverse()
    area = sets.size[way] * cells.cell**3 / sets.thickness
    arc = (sets.level[way] + 0.5) * sets.thickness
    return Trace(sets.centre[way], np.asarray(area, np.float64), np.asarray(arc, np.float64))


def _leading_to(first: int, edges: np.ndarray) -> set[int]:
    """Return the nodes from which some way down leads to the first."""
    upper: dict[int, list[int]] = {}
    for low, high in edges.tolist():
        upper.setdefault(low, []).append(high)
    found, waiting = {first}, [first]
    while waiting:
        for other in upper.get(waiting.pop(), []):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def trunk_joint(trace: Trace, length: float, swell: float, reach: float) -> tuple[int, float]:
    """Find where a limb enters the trunk: its cut suddenly widens.

    ``length`` is about how long the limb is. The cut must stay above ``swell`` times the limb's own
    for two cuts, within ``reach`` of the tip. The limb's own cut is the median of its middle, or that
    of the stretch just passed where it is thinner (a robot's upper arm). Returns the last cut of
    the limb and its own area.
    """
    middle = (trace.arc >= 0.25 * length) & (trace.arc <= 0.6 * length)
    own = float(np.median(trace.area[middle])) if middle.any() else float(trace.area.min())
    back = max(4, trace.index(0.2 * length))
    index = max(trace.index(0.6 * length), 1)
    last = min(trace.index(reach), len(trace.area) - 2)
    while index < last:
        passed = float(np.median(trace.area[max(0, index - back) : index]))
        if trace.area[index : index + 2].min() >= swell * min(own, passed):
            break
        index += 1
    return max(index - 1, 1), own
