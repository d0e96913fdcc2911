"""The tail of a body on two legs: a limb of the mirror plane that points backwards from the hips."""

from __future__ import annotations

import numpy as np

from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.checks import roundness
from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.skeleton.pairs import LimbGraph

_SHORTEST = 0.15
_BESIDE = 0.06
_BEHIND = 0.12
_BONE = 0.08
"""All of the body's size: how long a tail is at least, how far off the middle its tip, how far behind
the trunk, and how long its bones."""
_FEWEST, _MOST = 2, 7
_ROUND = 0.45

Joints = dict[str, Vectors]


def find_tail(body: Body, graph: LimbGraph, depth: float, highest: float) -> tuple[Joints, Joints]:
    """Return the joints of a tail and its tip, or nothing.

    ``depth`` is where the hips are along z; a tail grows from below the height ``highest``.
    """
    for limb in sorted(graph.limbs, key=lambda limb: -limb.length):
        line = graph.sets.centre[list(limb.path[::-1])]
        behind = depth - limb.tip[2] > _BEHIND * body.size
        middle = np.abs(line[:, 0]).max() < _BESIDE * body.size
        if limb.attach < 0 or limb.length < _SHORTEST * body.size or not (behind and middle):
            continue
        cut = body.cell**3 / graph.sets.thickness
        areas = np.asarray(graph.sets.size[list(limb.path[::-1])] * cut, np.float64)
        if line[0, 1] > highest or roundness(body, line, areas) < _ROUND:
            continue
        return _joints(body, line)
    return {}, {}


def _joints(body: Body, line: Vectors) -> tuple[Joints, Joints]:
    line = line * np.array([0.0, 1.0, 1.0])
    arc = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    count = int(np.clip(round(arc[-1] / (_BONE * body.size)), _FEWEST, _MOST))
    joints = {
        f"tail{number + 1}": np.array(
            [np.interp(arc[-1] * number / count, arc, line[:, axis]) for axis in range(3)]
        )
        for number in range(count)
    }
    return joints, {f"tail{count}": line[-1]}
