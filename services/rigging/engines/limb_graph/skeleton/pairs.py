"""The pairs of limbs on both sides of the mirror plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.skeleton.limb_graph import LevelSets, Limb, level_sets, limbs

_SHORTEST = 0.05
"""Of the body's size: shorter branches are bumps."""
_MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class LimbGraph:
    """The limbs of a body seen from its middle: ``source`` is the cell the distances start at."""

    source: int
    distance: Vectors
    sets: LevelSets
    limbs: tuple[Limb, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A left and a right limb; ``length`` is the shorter one's, ``mismatch`` how far their tips miss."""

    left: Limb
    right: Limb
    length: float
    mismatch: float

    @property
    def tip(self) -> Vectors:
        """The mean of the tips, the right one mirrored to the left."""
        return np.asarray((self.left.tip + self.right.tip * _MIRROR) / 2)


def limb_graph(body: Body) -> LimbGraph:
    """Find the limbs of a body from the cell of the mirror plane nearest to its centroid."""
    cells = body.cells
    middle = np.flatnonzero(np.abs(cells.points[:, 0]) <= 1.01 * body.cell)
    if not len(middle):
        middle = np.arange(len(cells.points))
    centroid = cells.points.mean(axis=0) * np.array([0.0, 1.0, 1.0])
    away = ((cells.points[middle] - centroid) ** 2).sum(axis=1)
    source = int(middle[away.argmin()])
    distance = cells.distances(source)
    sets = level_sets(cells, distance)
    kept = [limb for limb in limbs(sets) if limb.length >= _SHORTEST * body.size]
    return LimbGraph(source, distance, sets, tuple(kept))


def mirrored_pairs(body: Body, graph: LimbGraph) -> list[Pair]:
    """Match the limbs of both sides, the best match first; each limb is in one pair at most."""
    apart = 0.015 * body.size
    candidates = []
    for left in graph.limbs:
        for right in graph.limbs:
            if left.tip[0] < apart or right.tip[0] > -apart:
                continue
            mismatch = float(np.linalg.norm(left.tip - right.tip * _MIRROR))
            length = min(left.length, right.length)
            if mismatch < max(1.2 * length, 0.1 * body.size):
                candidates.append(Pair(left, right, length, mismatch))
    candidates.sort(key=lambda pair: pair.mismatch - 0.7 * pair.length)
    taken: set[int] = set()
    pairs = []
    for pair in candidates:
        if id(pair.left) not in taken and id(pair.right) not in taken:
            taken |= {id(pair.left), id(pair.right)}
            pairs.append(pair)
    return pairs
