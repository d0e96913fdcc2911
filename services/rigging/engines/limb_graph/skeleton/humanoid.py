"""Place the joints of a body on two legs."""

from __future__ import annotations

import numpy as np

from services.rigging.engines.limb_graph.skeleton.arms import HANGING, SIDES, SIGN
from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.skeleton.humanoid_landmarks import Landmarks

Joints = dict[str, Vectors]

_BIG_HEAD = 0.28
"""Of the height: heads taller than this are those of toys, whose bodies have other proportions."""
_KNEE = 0.47
"""Of the hip joint's height."""
_ANKLE = 0.05
_TOY_ANKLE = 0.22
_WRIST = 0.36
"""Of the arm from the finger tips to the armpit."""
_TOY_WRIST = 0.25
_STUCK = 0.65
"""An arm that comes free over less of its length is measured from tip to shoulder instead."""


def has_big_head(body: Body, marks: Landmarks) -> bool:
    """Tell whether the body has a toy's proportions."""
    return bool((body.high[1] - marks.neck) / body.height > _BIG_HEAD)


def place_joints(body: Body, marks: Landmarks) -> tuple[Joints, Joints]:
    """Return the joints and the ends of the last bones in the body's space."""
    toy = has_big_head(body, marks)
    joints, ends = _trunk(body, marks, toy)
    for side in SIDES:
        joints |= _arm(body, marks, side, toy)
    hip_height = _hip_height(body, marks, toy)
    for side in SIDES:
        limb, tips = _leg(body, marks, side, hip_height, toy)
        joints |= limb
        ends |= tips
    for side in SIDES:
        ends[f"{side}Hand"] = marks.arms[side].trace.line[0]
    return joints, ends


def _hip_height(body: Body, marks: Landmarks, toy: bool) -> float:
    trunk = marks.shoulder_height - marks.crotch
    if toy:
        return marks.crotch + 0.2 * trunk
    tall = marks.neck - body.ground
    guess = marks.crotch + 0.15 * trunk - body.ground
    return float(np.clip(guess, 0.60 * tall, 0.68 * tall)) + body.ground


def _trunk(body: Body, marks: Landmarks, toy: bool) -> tuple[Joints, Joints]:
    """Lay the spine up the middle of the trunk."""
    hip = _hip_height(body, marks, toy)
    if toy:
        low = marks.crotch + 0.12 * (marks.shoulder_height - marks.crotch)
        high = marks.shoulder_height - 0.05 * body.height
        names = ["spine", "chest"]
    else:
        low = hip - 0.03 * body.height
        high = marks.shoulder_height - 0.03 * body.height
        names = ["spine", "chest", "upperChest"]
    heights = {"hips": low}
    for number, name in enumerate(names, 1):
        heights[name] = low + (high - low) * number / len(names)
    if not toy:
        heights["neck"] = (marks.shoulder_height + marks.neck) / 2
    heights["head"] = marks.neck + (0.0 if toy else 0.005 * body.height)
    joints = {
        name: np.array([0.0, height, marks.depth(body, min(height, marks.neck))])
        for name, height in heights.items()
    }
    top = np.array([0.0, float(body.high[1]), joints["head"][2]])
    return joints, {"head": top}


def _arm(body: Body, marks: Landmarks, side: str, toy: bool) -> Joints:
    arm, sign = marks.arms[side], SIGN[side]
    shoulder = arm.shoulder(marks.shoulder_height)
    if abs(arm.slope) <= HANGING:
        shoulder = arm.trace.line[arm.root].copy()
        shoulder[0] = sign * marks.shoulder_reach
    share = _TOY_WRIST if toy else _WRIST
    wrist = arm.trace.at(share * arm.length)
    whole = float(np.linalg.norm(shoulder - arm.trace.line[0]))
    if arm.length < _STUCK * whole:
        wrist = arm.trace.line[0] + share * (shoulder - arm.trace.line[0])
    elbow = (wrist + shoulder) / 2
    nearest = arm.trace.line[np.linalg.norm(arm.trace.line - elbow, axis=1).argmin()]
    if np.linalg.norm(nearest - elbow) < 0.05 * body.size:
        elbow = nearest
    joints = {f"{side}UpperArm": shoulder, f"{side}LowerArm": elbow, f"{side}Hand": wrist}
    if not toy:
        inner = max(0.35 * abs(shoulder[0]), 0.03 * body.size)
        joints[f"{side}Shoulder"] = np.array([sign * inner, marks.shoulder_height, shoulder[2]])
    return joints


def _leg(body: Body, marks: Landmarks, side: str, hip: float, toy: bool) -> tuple[Joints, Joints]:
    tall = marks.crotch - body.ground
    shin = _leg_centre(body, marks, side, body.ground + 0.35 * tall)
    thigh = _leg_centre(body, marks, side, marks.crotch - 0.12 * tall)
    knee_height = body.ground + _KNEE * (hip - body.ground)
    knee = _leg_centre(body, marks, side, knee_height)
    ankle_height = body.ground + (_TOY_ANKLE if toy else _ANKLE) * (hip - body.ground)
    ankle = _leg_centre(body, marks, side, body.ground + 0.25 * tall)
    joints = {
        f"{side}UpperLeg": np.array([thigh[0], hip, marks.depth(body, hip)]),
        f"{side}LowerLeg": np.array([knee[0], knee_height, knee[1]]),
        f"{side}Foot": np.array([shin[0], ankle_height, ankle[1]]),
    }
    toes = _leg_centre(body, marks, side, body.ground + 1.5 * body.cell)
    if toy:
        joints[f"{side}Toes"] = np.array(
            [shin[0], body.ground + 0.01 * body.height, toes[1] + 0.01 * body.height]
        )
    forward = body.ground + 0.02 * body.height
    front = np.array([shin[0], forward, _leg_front(body, marks, side)])
    return joints, {f"{side}Toes" if toy else f"{side}Foot": front}


def _leg_front(body: Body, marks: Landmarks, side: str) -> float:
    """Return how far forward the foot of a side reaches."""
    layers = slice(body.column(1, body.ground), body.column(1, body.ground + 0.04 * body.height) + 1)
    index = np.argwhere(body.occupied[:, layers, :])
    across = (body.origin[0] + (index[:, 0] + 0.5) * body.cell) * SIGN[side]
    ours = index[across > 0]
    if not len(ours):
        return marks.depth(body, marks.crotch) + 0.08 * body.height
    return body.coordinate(2, float(ours[:, 2].max()))


def _leg_centre(body: Body, marks: Landmarks, side: str, height: float) -> Vectors:
    """Return x and z of the middle of a leg at a height."""
    sign = SIGN[side]
    layer = body.column(1, height)
    index = np.argwhere(body.occupied[:, layer, :])
    across = body.origin[0] + (index[:, 0] + 0.5) * body.cell
    width = 0.3 * body.size if marks.legs_apart else 1.3 * marks.armpit_reach
    ours = (across * sign > 0) & (across * sign < width)
    if not ours.any():
        return np.array([sign * 0.06 * body.size, marks.depth(body, marks.crotch)])
    deep = body.origin[2] + (index[ours, 1].mean() + 0.5) * body.cell
    return np.array([across[ours].mean(), deep])
