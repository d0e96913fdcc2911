"""Find the two arms of a body on two legs and follow them to the shoulders."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.checks import roundness
from services.rigging.engines.limb_graph.skeleton.fitted import PoseEstimationFailed, Vectors
from services.rigging.engines.limb_graph.skeleton.hidden_arms import ARMPIT, hidden_arm
from services.rigging.engines.limb_graph.skeleton.limb_graph import Limb
from services.rigging.engines.limb_graph.skeleton.pairs import (
    LimbGraph,
    Pair,
    limb_graph,
    mirrored_pairs,
)
from services.rigging.engines.limb_graph.skeleton.trace import Trace, trace_limb, trunk_joint

SIDES = ("left", "right")
_MIRROR = np.array([-1.0, 1.0, 1.0])
SIGN = {"left": 1.0, "right": -1.0}
_SWELL = 2.2
"""The cut of an arm widens by more where it enters the trunk."""
_DEEPEST = 6.0
HANGING = 0.35
"""Sine of the fall from which an arm's shoulder lies on the arm's line, not at the armpit's height."""
_LOW = 0.14
_LOWEST_ARMPIT = 0.25
_HIGHEST_ARMPIT = 0.9
"""Of the height: arms whose tips are low must grow from above the second, and rarely do above the third."""
_SHORTEST_ARM = 0.09
_STUCK_ARM = 0.06
"""Of the height; the second where the arms touch the trunk and only their ends come free."""
_SLENDER_ARM = 1.8
"""Length over radius; less is a bulge."""
_ROUND = 0.45
"""Roundness of the cuts; less is a sheet."""
_HELD = 1.3
"""An arm longer than the other by more holds something."""
_STEEP = 0.75
"""Sine of the fall of arms that hang."""
_FREE = 0.6
"""Of its length: a hanging arm that is free over less is led on to the shoulder."""
_ABOVE = 0.3
"""Of the shoulder's height: what grows from farther above it grows from the head."""
_TOO_FAR = 1.3
"""Of the arm that the outline tells: finger tips are no farther from the shoulder."""
_PEELED = (0, 1, 2, 3)
"""Cells taken off all around until arms that touch the trunk come free."""


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm: ``trace`` from the finger tips inwards, ``root`` the last cut outside the trunk.

    ``radius`` is that of the arm itself; ``inward (3,)`` its direction at the shoulder.
    """

    trace: Trace
    root: int
    radius: float
    inward: Vectors

    @property
    def length(self) -> float:
        """From the finger tips to the armpit."""
        return float(self.trace.arc[self.root])

    @property
    def slope(self) -> float:
        """How steeply the arm hangs: 0 level, 1 straight down, negative when raised."""
        return float(self.inward[1])

    @property
    def fall(self) -> float:
        """How steeply it hangs from the armpit to the finger tips, as :attr:`slope`."""
        way = self.trace.line[self.root] - self.trace.line[0]
        return float(way[1]) / max(float(np.linalg.norm(way)), 1e-12)

    def shoulder(self, height: float) -> Vectors:
        """Return where the arm's line, run on into the trunk, comes to a height ``(3,)``.

        It runs on by no more than six times the arm's radius, and neither forwards nor back: the flesh
        of shoulder blade and breast draws the line aside there.
        """
        rise = height - self.trace.line[self.root][1]
        extra = np.clip(rise / max(self.slope, 0.1), 0.0, _DEEPEST * self.radius)
        return np.asarray(self.trace.line[self.root] + extra * self.inward * np.array([1.0, 1.0, 0.0]))


@dataclass(frozen=True, slots=True)
class Arms:
    """Both arms; ``held`` tells that one hand holds something, ``peeled`` how many cells came off.

    ``hidden`` arms were not seen but laid where they must be.
    """

    left: Arm
    right: Arm
    held: bool
    peeled: int
    hidden: bool = False

    def __getitem__(self, side: str) -> Arm:
        return self.left if side == "left" else self.right

    @property
    def both(self) -> tuple[Arm, Arm]:
        """The left and the right arm."""
        return self.left, self.right


def find_arms(body: Body, graph: LimbGraph, pairs: list[Pair], feet: Pair | None) -> Arms:
    """Find the arms or raise :class:`PoseEstimationFailed`.

    Arms that touch the trunk are looked for again with some cells of the body peeled off, and those
    that nothing shows are laid by proportion; not where no feet stand on the ground either.
    """
    for cells in _PEELED if feet is not None else _PEELED[:1]:
        if cells:
            core = ndimage.binary_erosion(body.occupied, iterations=cells)
            label, count = ndimage.label(core, np.ones((3, 3, 3)))
            if not count:
                break
            volume = np.bincount(label.ravel())
            volume[0] = 0
            thinner = replace(body, occupied=np.asarray(label == volume.argmax()))
            graph = limb_graph(thinner)
            pairs = mirrored_pairs(thinner, graph)
        else:
            thinner = body
        for pair in _arm_pairs(thinner, graph, pairs, feet, cells > 0):
            arms = _trace_arms(thinner, graph, pair, cells)
            if all(_is_round(thinner, arm) for arm in arms.both):
                return _completed(body, arms) if feet is not None else arms
    hidden = _hidden_arms(body) if feet is not None else None
    if hidden is None:
        raise PoseEstimationFailed("no pair of arms stands clear of the body")
    return hidden


def _completed(body: Body, arms: Arms) -> Arms:
    """Lead hanging arms of which only the ends come free on to the shoulders that the outline tells.

    What grows inwards from the head (brows, a beard) is no arm: the outline tells where they are then,
    too.
    """
    hidden = _hidden_arms(body)
    if hidden is None:
        return arms
    tall = float(hidden.left.trace.line[-1][1]) - body.ground
    highest = body.ground + (1.0 + _ABOVE) * tall
    ways = [(arm.trace.line[0], arm.trace.line[arm.root]) for arm in arms.both]
    if all(root[1] > highest and abs(tip[0]) < abs(root[0]) for tip, root in ways):
        return hidden
    if min(arm.fall for arm in arms.both) < _STEEP:
        return arms
    whole = {}
    for side in SIDES:
        arm, shoulder = arms[side], hidden[side].trace.line[-1]
        tip = arm.trace.line[0]
        far = float(np.linalg.norm(shoulder - tip))
        # Straight: a line that bends into the trunk is longer than the arm is free.
        if float(np.linalg.norm(arm.trace.line[arm.root] - tip)) > _FREE * far:
            return arms
        if far > _TOO_FAR * float(hidden[side].trace.arc[-1]):
            # It is no arm that comes free there.
            return hidden
        whole[side] = _led_on(arm, shoulder, body.cell)
    return Arms(whole["left"], whole["right"], held=False, peeled=max(arms.peeled, 1))


def _led_on(arm: Arm, shoulder: Vectors, cell: float) -> Arm:
    """Return the arm with its line led on, straight, from its last free cut to the shoulder."""
    end = arm.trace.line[arm.root]
    far = float(np.linalg.norm(shoulder - end))
    steps = np.linspace(0.0, 1.0, max(2, round(far / cell)))[1:]
    trace = Trace(
        np.concatenate([arm.trace.line[: arm.root + 1], end + steps[:, None] * (shoulder - end)]),
        np.concatenate([arm.trace.area[: arm.root + 1], np.full(len(steps), np.pi * arm.radius**2)]),
        np.concatenate([arm.trace.arc[: arm.root + 1], arm.length + steps * far]),
    )
    inward = (shoulder - trace.line[0]) / max(float(np.linalg.norm(shoulder - trace.line[0])), 1e-12)
    return Arm(trace, trace.index(ARMPIT * float(trace.arc[-1])), arm.radius, inward)


def _hidden_arms(body: Body) -> Arms | None:
    found = hidden_arm(body)
    if found is None:
        return None
    trace, root, radius = found
    inward = (trace.line[-1] - trace.line[0]) / max(float(trace.arc[-1]), 1e-12)
    mirrored = replace(trace, line=trace.line * _MIRROR)
    left, right = Arm(trace, root, radius, inward), Arm(mirrored, root, radius, inward * _MIRROR)
    return Arms(left, right, held=False, peeled=0, hidden=True)


def root_height(graph: LimbGraph, limb: Limb, length: float) -> float:
    """Return how high the limb is at a length from its tip."""
    index = min(len(limb.path) - 1, int(length / graph.sets.thickness))
    return float(graph.sets.centre[limb.path[index]][1])


def _is_round(body: Body, arm: Arm) -> bool:
    """Tell whether the cuts of an arm are those of an arm and no brim, wing or board."""
    middle = (arm.trace.arc > 0.25 * arm.length) & (arm.trace.arc < 0.9 * arm.length)
    return roundness(body, arm.trace.line[middle], arm.trace.area[middle]) > _ROUND


def _arm_pairs(body: Body, graph: LimbGraph, pairs: list[Pair], feet: Pair | None, stuck: bool) -> list[Pair]:
    """Return the pairs that may be arms, the likeliest first."""
    found = []
    for pair in pairs:
        if feet is not None and np.linalg.norm(pair.tip - feet.tip) < 0.05 * body.size:
            continue
        radius = min(_radius(body, graph, limb, pair.length) for limb in (pair.left, pair.right))
        attached = min(root_height(graph, limb, pair.length) for limb in (pair.left, pair.right))
        share = (attached - body.ground) / body.height
        low = min(pair.left.tip[1], pair.right.tip[1]) < body.ground + _LOW * body.height
        if low and share < _LOWEST_ARMPIT:
            continue
        shortest = (_STUCK_ARM if stuck else _SHORTEST_ARM) * body.height
        if pair.length < shortest or pair.length < _SLENDER_ARM * radius:
            continue
        score = (pair.length - 0.3 * pair.mismatch) * (0.4 if share > _HIGHEST_ARMPIT else 1.0)
        found.append((score, pair))
    return [pair for _, pair in sorted(found, key=lambda row: -row[0])]


def _radius(body: Body, graph: LimbGraph, limb: Limb, length: float) -> float:
    nodes = list(limb.path[: max(1, int(length / graph.sets.thickness))])
    area = float(np.median(graph.sets.size[nodes])) * body.cell**3 / graph.sets.thickness
    return float(np.sqrt(area / np.pi))


def _trace_arms(body: Body, graph: LimbGraph, pair: Pair, peeled: int) -> Arms:
    """Trace both arms; what one hand holds is cut off at the length of the other arm."""
    arms = {}
    for side, limb in (("left", pair.left), ("right", pair.right)):
        first = np.flatnonzero(graph.sets.node == limb.path[0])
        tip = int(first[graph.distance[first].argmax()])
        arm = _arm(body, trace_limb(body.cells, tip, graph.source), pair.length)
        arms[side] = replace(arm, radius=arm.radius + peeled * body.cell)
    short, long = sorted(SIDES, key=lambda side: arms[side].length)
    held = arms[long].length > _HELD * arms[short].length
    if held:
        arms[long] = _without_held(body, arms[long], arms[short])
    return Arms(arms["left"], arms["right"], held, peeled)


def _arm(body: Body, trace: Trace, length: float) -> Arm:
    root, own = trunk_joint(trace, length, _SWELL, 1.6 * length + 0.05 * body.size)
    back = max(4, root // 3)
    inward = trace.line[root] - trace.line[max(0, root - back)]
    norm = float(np.linalg.norm(inward))
    inward = inward / norm if norm > 1e-9 else np.array([0.0, 1.0, 0.0])
    return Arm(trace, root, float(np.sqrt(own / np.pi)), inward)


def _without_held(body: Body, arm: Arm, other: Arm) -> Arm:
    """Cut the front of an arm's trace so that the arm is as long as the other."""
    start = arm.trace.index(arm.length - other.length)
    trace = Trace(
        arm.trace.line[start:], arm.trace.area[start:], arm.trace.arc[start:] - arm.trace.arc[start]
    )
    return replace(_arm(body, trace, 0.9 * other.length), radius=other.radius)
