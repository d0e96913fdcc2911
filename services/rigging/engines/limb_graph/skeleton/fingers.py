"""Find the fingers of a hand in a finer solid of the hand alone, and lay joints along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.rigging.engines.limb_graph.skeleton.arms import SIDES, Arm, Arms
from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.skeleton.limb_graph import Cells, Limb, level_sets, limbs
from services.rigging.engines.limb_graph.skeleton.templates import FINGERS
from services.rigging.engines.limb_graph.solid import cluster, grid_points, winding_inside

_CELLS = 64
"""Cells along the hand."""
_MOST_CELLS = 250_000
_SHORTEST = 0.10
"""Of the hand's length: shorter branches are knuckles and nails."""
_SLENDER = 1.7
"""Length over radius; less is a bulge."""
_FEWEST, _MOST = 3, 5
_JOINTS = (-0.15, 0.2, 0.6)
"""Of a finger's free length from the web outwards: the knuckle lies inside the palm."""
_THUMB_JOINTS = (-0.35, 0.05, 0.5)
_THUMB_ANGLE = 25.0
"""Degrees by which a thumb points elsewhere than the other fingers."""
_MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class _Finger:
    """The centre line ``(n, 3)`` of a finger from inside the palm to its tip.

    ``web`` is the distance along it at which the finger comes free.
    """

    line: Vectors
    arc: Vectors
    web: float

    @property
    def free(self) -> float:
        return float(self.arc[-1] - self.web)

    @property
    def direction(self) -> Vectors:
        along = self.line[-1] - self.at(0.0)
        return np.asarray(along / max(float(np.linalg.norm(along)), 1e-12))

    def at(self, share: float) -> Vectors:
        """Return the point at a share of the free length from the web."""
        reach = self.web + share * self.free
        return np.array([np.interp(reach, self.arc, self.line[:, axis]) for axis in range(3)])


Joints = dict[str, Vectors]


def find_fingers(body: Body, arms: Arms, joints: Joints) -> tuple[Joints, Joints]:
    """Return the joints of the fingers and their tips; both hands get as many fingers.

    A hand whose fingers cannot be told apart takes those of the other, mirrored, where both arms
    mirror each other; otherwise neither hand has any.
    """
    found = {side: _name(side, _fingers(body, arms[side], joints[f"{side}Hand"])) for side in SIDES}
    left, right = found["left"], found["right"]
    if len(left[0]) != len(right[0]):
        miss = np.linalg.norm(joints["leftHand"] - joints["rightHand"] * _MIRROR)
        if miss > 0.03 * body.size:
            return {}, {}
        good = "left" if len(left[0]) > len(right[0]) else "right"
        other = "right" if good == "left" else "left"
        found[other] = _mirrored(found[good], good, other)
    return found["left"][0] | found["right"][0], found["left"][1] | found["right"][1]


def _mirrored(hand: tuple[Joints, Joints], good: str, other: str) -> tuple[Joints, Joints]:
    joints, tips = (
        {other + name[len(good) :]: point * _MIRROR for name, point in part.items()} for part in hand
    )
    return joints, tips


def _fingers(body: Body, arm: Arm, wrist: Vectors) -> list[_Finger]:
    """Return the fingers of a hand, unordered; none where fewer than three can be told apart."""
    cells, source = _hand(body, arm, wrist)
    if cells is None:
        return []
    sets = level_sets(cells, cells.distances(source))
    branches = [limb for limb in limbs(sets) if limb.length > 0]
    length = max((limb.reach for limb in branches), default=0.0)
    fingers = []
    for limb in branches:
        finger = _finger(limb, branches, sets.centre, sets.level, sets.thickness)
        size = float(np.median(sets.size[list(limb.path[: max(1, int(finger.free / sets.thickness))])]))
        radius = np.sqrt(size * cells.cell**3 / sets.thickness / np.pi)
        if finger.free >= _SHORTEST * length and finger.free >= _SLENDER * radius:
            fingers.append(finger)
    return fingers if _FEWEST <= len(fingers) <= _MOST else []


def _finger(
    limb: Limb, branches: list[Limb], centre: Vectors, level: NDArray[np.int64], thickness: float
) -> _Finger:
    """Lay a line from the palm to the tip of a limb; the longest one comes free where the next meets it."""
    path = list(limb.path)
    meetings = [
        path.index(other.attach)
        for other in branches
        if other is not limb
        and other.attach in path
        and other.length >= 0.3 * limb.length * (limb.attach >= 0)
        and other.length > 3 * thickness
    ]
    first = min(meetings, default=len(path) - 1) if limb.attach < 0 or meetings else len(path) - 1
    inner = path[: min(len(path), first + 1 + max(3, first // 2))]
    if limb.attach >= 0 and first == len(path) - 1:
        inner = [*path, limb.attach]
    line = centre[inner[::-1]]
    arc = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    web = float(arc[max(len(inner) - 1 - first, 0)])
    return _Finger(line, arc, web)


def _hand(body: Body, arm: Arm, wrist: Vectors) -> tuple[Cells | None, list[int]]:
    """Fill a fine grid with the hand; the sources are its cells at the wrist."""
    tip = arm.trace.line[0]
    along = tip - wrist
    length = float(np.linalg.norm(along))
    if length < 3 * body.cell:
        return None, []
    along = along / length
    points = body.of_mesh(body.vertices)
    reach = (points - wrist) @ along
    side = np.linalg.norm(points - wrist - reach[:, None] * along, axis=1)
    near = (reach > -0.3 * length) & (reach < 1.4 * length) & (side < 0.9 * length)
    faces = body.faces[near[body.faces].any(axis=1)]
    if len(faces) < 20:
        return None, []
    inside = near & (reach > 0)
    low, high = points[inside].min(axis=0), points[inside].max(axis=0)
    cell = float((high - low).max()) / _CELLS
    cell *= max(1.0, (float(np.prod((high - low) / cell + 4)) / _MOST_CELLS) ** (1 / 3))
    origin = low - 2 * cell
    shape = np.ceil((high - origin) / cell).astype(int) + 2
    centres = grid_points(origin, cell, shape)
    asked = (centres - wrist) @ along > 0
    used, owner = np.unique(faces, return_inverse=True)
    joined, corners = cluster(points[used], owner.reshape(-1, 3), points[used].min(axis=0), cell / 4)
    filled = np.zeros(len(centres), bool)
    filled[asked] = winding_inside(joined, corners, centres[asked])
    if filled.sum() < 50:
        return None, []
    cells = Cells(filled.reshape(shape), origin, cell)
    start = (cells.points - wrist) @ along
    sources = np.flatnonzero(start < start.min() + 2.0 * cell)
    return cells, sources.tolist()


def _name(side: str, fingers: list[_Finger]) -> tuple[Joints, Joints]:
    """Name the fingers across the palm, thumb first, and place their joints."""
    if not fingers:
        return {}, {}
    directions = np.array([finger.direction for finger in fingers])
    webs = np.array([finger.at(0.0) for finger in fingers])
    thumb = _thumb(directions, webs)
    rest = [index for index in range(len(fingers)) if index != thumb]
    across = webs[rest] - webs[rest].mean(axis=0)
    _, _, axes = np.linalg.svd(across)
    axis = axes[0]
    toward = webs[thumb] - webs[rest].mean(axis=0) if thumb is not None else np.array([0.0, 0.0, 1.0])
    order = sorted(rest, key=lambda index: -float(webs[index] @ axis) * np.sign(axis @ toward or 1.0))
    named = dict(zip(FINGERS[1:], order, strict=False))
    if thumb is not None:
        named = {"Thumb": thumb} | named
    joints, tips = {}, {}
    for finger, index in named.items():
        shares = _THUMB_JOINTS if finger == "Thumb" else _JOINTS
        for number, share in enumerate(shares, 1):
            joints[f"{side}{finger}{number}"] = fingers[index].at(share)
        tips[f"{side}{finger}{len(shares)}"] = fingers[index].line[-1]
    return joints, tips


def _thumb(directions: Vectors, webs: Vectors) -> int | None:
    """Return the finger that points away from the rest, if one does; of five one always is."""
    angles = []
    for index in range(len(directions)):
        others = np.delete(directions, index, axis=0).mean(axis=0)
        others = others / max(float(np.linalg.norm(others)), 1e-12)
        angles.append(np.degrees(np.arccos(np.clip(directions[index] @ others, -1.0, 1.0))))
    best = int(np.argmax(angles))
    return best if angles[best] >= _THUMB_ANGLE or len(directions) == _MOST else None
