"""Fit the quadruped template: four legs, a neck, and a tail where there is one.

Heights are shares of the trunk's thickness above the belly; joints of the legs are shares of the height
of their uppermost joint, the means over mammals from the fox to the horse.
"""

from __future__ import annotations

import numpy as np

from services.rigging.engines.limb_graph.skeleton.arms import SIDES
from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.checks import (
    Evidence,
    roundness,
    weigh_joints_inside,
    weigh_mirror,
)
from services.rigging.engines.limb_graph.skeleton.fit_humanoid import Fit
from services.rigging.engines.limb_graph.skeleton.fitted import (
    Pose,
    PoseEstimationFailed,
    StandsOtherwise,
    Vectors,
)
from services.rigging.engines.limb_graph.skeleton.mirroring import mirror_joints
from services.rigging.engines.limb_graph.skeleton.pairs import limb_graph, mirrored_pairs
from services.rigging.engines.limb_graph.skeleton.quadruped_landmarks import (
    Legs,
    Trunk,
    faces_backwards,
    find_legs,
    find_trunk,
    trace_end,
)
from services.rigging.engines.limb_graph.skeleton.templates import quadruped_table

_PELVIS, _HIP, _SPINE, _SHOULDER = 0.68, 0.55, 0.48, 0.23
_SPINE_JOINTS = ("spine", "chest", "upperChest")
_NECK = (0.12, 0.30, 0.47)
"""Of the way from the chest to the snout."""
_HEAD = 0.64
_ROUND = 0.45
"""Roundness of the cuts through the neck; less is the back of a chair."""
_STIFLE, _HOCK, _HIND_FETLOCK = 0.71, 0.40, 0.13
_ELBOW, _FETLOCK = 0.52, 0.16
_TAIL_JOINT = 0.06
"""Of the size: the bones of a tail are about this long."""


def fit_quadruped(body: Body) -> Fit:
    """Fit a body on four legs; raise :class:`PoseEstimationFailed` when it is none."""
    evidence = Evidence()
    weigh_mirror(evidence, body)
    legs = find_legs(body, mirrored_pairs(body, limb_graph(body)))
    if faces_backwards(body, legs):
        body = body.turned_about()
        legs = find_legs(body, mirrored_pairs(body, limb_graph(body)))
    trunk = find_trunk(body, legs)
    evidence.weigh(1.0, "two pairs of legs stand before and behind a trunk")
    joints = _trunk_joints(body, trunk)
    neck, ends = _neck_joints(body, legs, trunk)
    tail, tip = _tail_joints(body, legs, trunk)
    joints |= neck | tail
    ends |= tip
    for side in SIDES:
        joints |= _front_leg(body, legs, trunk, side)
        joints |= _hind_leg(body, legs, trunk, side)
        for end in ("Front", "Back"):
            ends[f"{side}{end}Foot"] = _toe(body, legs, joints, end, side)
    joints, ends = mirror_joints(body, joints), mirror_joints(body, ends)
    weigh_joints_inside(evidence, body, list(joints.values()))
    if not tail:
        evidence.weigh(0.97, "no tail stands clear of the body")
    table = quadruped_table(len(_NECK), len(tail))
    return Fit(body, "quadruped", table, joints, ends, Pose("other", float("nan")), evidence)


def _middle(height: float, depth: float) -> Vectors:
    return np.array([0.0, height, depth])


def _trunk_joints(body: Body, trunk: Trunk) -> dict[str, Vectors]:
    joints = {"hips": _middle(trunk.height(_PELVIS), trunk.back - 0.02 * body.size)}
    for number, name in enumerate(_SPINE_JOINTS, 1):
        share = number / (len(_SPINE_JOINTS) + 0.35)
        joints[name] = _middle(trunk.height(_SPINE), trunk.along(share))
    return joints


def _neck_joints(body: Body, legs: Legs, trunk: Trunk) -> tuple[dict[str, Vectors], dict[str, Vectors]]:
    """Place the joints on the line from the chest to the snout."""
    points = body.cells.points
    keep = (points[:, 2] > trunk.front - 0.06 * body.size) & (points[:, 1] > trunk.height(0.1))
    keep &= ~legs.cells[tuple(body.cells.index.T)]
    found = trace_end(body, keep, _middle(trunk.height(_SPINE), trunk.front), 0.6, 20)
    if found is None or found[2] < 0.12 * body.size:
        raise PoseEstimationFailed("no head stands clear before the front legs")
    line, areas, _ = found
    if roundness(body, line[3:-4], areas[3:-4]) < _ROUND:
        raise StandsOtherwise("what lies before the front legs is a board, no neck")
    if abs(line[-1, 0]) > 0.08 * body.size:
        raise PoseEstimationFailed("what lies before the front legs is no head: it ends beside the middle")
    line[:, 0] = 0.0
    arc = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]

    def at(share: float) -> Vectors:
        return np.array([np.interp(share * arc[-1], arc, line[:, axis]) for axis in range(3)])

    joints = {f"neck{number}": at(share) for number, share in enumerate(_NECK, 1)}
    joints["head"] = at(_HEAD)
    return joints, {"head": line[-1]}


def _tail_joints(body: Body, legs: Legs, trunk: Trunk) -> tuple[dict[str, Vectors], dict[str, Vectors]]:
    """Place joints along the tail; return none where the rump ends bluntly."""
    points = body.cells.points
    keep = points[:, 2] < trunk.back
    keep &= (points[:, 1] > trunk.belly) | (np.abs(points[:, 0]) < 0.05 * body.size)
    keep &= ~legs.cells[tuple(body.cells.index.T)]
    found = trace_end(body, keep, _middle(trunk.height(_HIP), trunk.back), 0.0, None)
    if found is None or found[2] < 0.55 * trunk.thickness:
        return {}, {}
    line, _, length = found
    arc = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    # The first stretch is the rump; what is longer than the trunk is thick has more of it.
    start = (0.42 if length > 0.9 * trunk.thickness else 0.3) * trunk.thickness
    free = float(arc[-1] - start)
    if free < 0.03 * body.size:
        return {}, {}
    count = int(np.clip(round(free / (_TAIL_JOINT * body.size)), 2, 7))

    def at(reach: float) -> Vectors:
        return np.array([np.interp(reach, arc, line[:, axis]) for axis in range(3)])

    joints = {f"tail{number + 1}": at(start + 0.97 * free * number / count) for number in range(count)}
    return joints, {f"tail{count}": line[-1]}


def _on_leg(line: Vectors, height: float, top: float, join: float) -> Vectors:
    """Return the point of a leg at a height; above its line it runs on to where it joins the trunk."""
    across = float(np.median(line[len(line) // 2 :, 0]))
    if height > line[-1, 1]:
        depth = np.interp(height, [line[-1, 1], max(top, line[-1, 1] + 1e-9)], [line[-1, 2], join])
        return np.array([across, height, float(depth)])
    return np.array(
        [np.interp(height, line[:, 1], line[:, 0]), height, np.interp(height, line[:, 1], line[:, 2])]
    )


def _front_leg(body: Body, legs: Legs, trunk: Trunk, side: str) -> dict[str, Vectors]:
    line, top = legs.lines["Front", side], trunk.height(_SHOULDER)
    tall = top - body.ground

    def at(share: float) -> Vectors:
        return _on_leg(line, body.ground + share * tall, top, trunk.front)

    shoulder = at(1.0)
    return {
        f"{side}FrontShoulder": shoulder * np.array([0.55, 1.0, 1.0]),
        f"{side}FrontUpperLeg": shoulder,
        f"{side}FrontLowerLeg": at(_ELBOW),
        f"{side}FrontFoot": at(_FETLOCK),
    }


def _hind_leg(body: Body, legs: Legs, trunk: Trunk, side: str) -> dict[str, Vectors]:
    line, top = legs.lines["Back", side], trunk.height(_HIP)
    tall = top - body.ground

    def at(share: float) -> Vectors:
        return _on_leg(line, body.ground + share * tall, top, trunk.back)

    hip = at(1.0)
    # The joints lie off the middle of the flesh: the stifle at the front, the hock at the back.
    return {
        f"{side}BackHip": hip * np.array([0.5, 1.0, 1.0]),
        f"{side}BackUpperLeg": hip,
        f"{side}BackLowerLeg": at(_STIFLE) + np.array([0.0, 0.0, 0.03 * body.size]),
        f"{side}BackHock": at(_HOCK) - np.array([0.0, 0.0, 0.02 * body.size]),
        f"{side}BackFoot": at(_HIND_FETLOCK),
    }


def _toe(body: Body, legs: Legs, joints: dict[str, Vectors], end: str, side: str) -> Vectors:
    """Return where a foot ends: on the ground, before the fetlock."""
    fetlock = joints[f"{side}{end}Foot"]
    ahead = max(float(legs.lines[end, side][0, 2] - fetlock[2]), 0.0) + 0.02 * body.size
    return np.asarray(fetlock + np.array([0.0, body.ground + 0.5 * body.cell - fetlock[1], ahead]))
