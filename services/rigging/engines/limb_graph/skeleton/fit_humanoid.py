"""Fit the humanoid template, with fingers or a tail where the body has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.rigging.engines.limb_graph.skeleton.arms import SIDES
from services.rigging.engines.limb_graph.skeleton.biped_tail import find_tail
from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.checks import Evidence, weigh_joints_inside, weigh_mirror
from services.rigging.engines.limb_graph.skeleton.facing import looks_forward, toes_forward
from services.rigging.engines.limb_graph.skeleton.fingers import find_fingers
from services.rigging.engines.limb_graph.skeleton.fitted import Pose, PoseEstimationFailed, Vectors
from services.rigging.engines.limb_graph.skeleton.humanoid import Joints, has_big_head, place_joints
from services.rigging.engines.limb_graph.skeleton.humanoid_landmarks import Landmarks, find_landmarks
from services.rigging.engines.limb_graph.skeleton.mirroring import mirror_joints
from services.rigging.engines.limb_graph.skeleton.pairs import LimbGraph, limb_graph, mirrored_pairs
from services.rigging.engines.limb_graph.skeleton.templates import Joint, humanoid_table

_FLATTEST = 0.4
"""Height over the longest side; less lies on its belly or is no body."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A template fitted to a body: joints and ends of the last bones in the body's space."""

    body: Body
    template: str
    table: tuple[Joint, ...]
    joints: Joints
    ends: Joints
    pose: Pose
    evidence: Evidence


def fit_humanoid(body: Body, fingers: bool = True) -> Fit:
    """Fit a body on two legs; raise :class:`PoseEstimationFailed` when it is none."""
    if body.height < _FLATTEST * body.size:
        raise PoseEstimationFailed("it is too flat to stand upright")
    evidence = Evidence()
    weigh_mirror(evidence, body)
    body, graph, marks = _facing_front(body, evidence)
    _check_proportions(body, marks, evidence)
    joints, ends = place_joints(body, marks)
    template = "humanoid"
    if fingers and not marks.arms.held and not marks.arms.hidden:
        phalanges, tips = find_fingers(body, marks.arms, joints)
        if phalanges:
            template = "humanoid_with_fingers"
            joints |= phalanges
            ends |= tips
            for side in SIDES:
                ends[f"{side}Hand"] = joints[f"{side}Middle1"]
    tail, tail_tip = find_tail(body, graph, float(joints["hips"][2]), marks.shoulder_height)
    if tail:
        template = "biped_with_tail"
        joints |= tail
        ends |= tail_tip
    joints, ends = mirror_joints(body, joints), mirror_joints(body, ends)
    weigh_joints_inside(evidence, body, list(joints.values()))
    return Fit(body, template, humanoid_table(len(tail)), joints, ends, arm_pose(joints), evidence)


def arm_pose(joints: Joints) -> Pose:
    """Tell how the arms are held from the line between shoulder and wrist."""
    falls = []
    for side in SIDES:
        along: Vectors = joints[f"{side}Hand"] - joints[f"{side}UpperArm"]
        falls.append(np.degrees(np.arctan2(-along[1], np.hypot(along[0], along[2]))))
    angle = float(np.mean(falls))
    kind = "T" if abs(angle) <= 20.0 else "A" if 20.0 < angle <= 75.0 else "other"
    return Pose(kind, angle)


def _facing_front(body: Body, evidence: Evidence) -> tuple[Body, LimbGraph, Landmarks]:
    """Find the landmarks and turn the body so that it looks along +Z."""
    graph = limb_graph(body)
    marks = find_landmarks(body, graph, mirrored_pairs(body, graph))
    cue = toes_forward(body, marks)
    front = looks_forward(cue)
    if front is None:
        evidence.warn(0.85, "The feet do not tell front from back; the file's own front was taken.")
    else:
        evidence.weigh(
            min(1.0, 0.9 + 5.0 * abs(cue)), f"the feet reach forward by {abs(cue):.1%} of the height"
        )
    if front is False:
        body = body.turned_about()
        graph = limb_graph(body)
        marks = find_landmarks(body, graph, mirrored_pairs(body, graph))
    return body, graph, marks


def _check_proportions(body: Body, marks: Landmarks, evidence: Evidence) -> None:
    """Weigh the landmarks; refuse those no body on two legs has."""
    height = body.height
    trunk = (marks.shoulder_height - marks.crotch) / height
    head = (float(body.high[1]) - marks.neck) / height
    lengths = [marks.arms[side].length / height for side in SIDES]
    if trunk < 0.06 or head < 0.03:
        raise PoseEstimationFailed("hips, shoulders and head do not lie one above the other")
    if max(lengths) > 1.2:
        raise PoseEstimationFailed("its arms would be longer than it is tall")
    alike = min(lengths) / max(lengths)
    evidence.weigh(0.5 + 0.5 * alike, f"the shorter arm has {alike:.0%} of the longer one's length")
    if marks.arms.held:
        evidence.warn(0.85, "One hand holds something; it was left out of the arm.")
    if marks.arms.peeled:
        evidence.warn(0.8, "The arms touch the trunk; their shoulders are less certain.")
    if marks.arms.hidden:
        evidence.warn(
            0.75, "The arms cannot be told from the body; they were laid along its outline by proportion."
        )
    if marks.feet is None:
        evidence.warn(0.6, "No feet stand on the ground; the legs were placed by proportion.")
        _check_footless(body, marks)
    elif not marks.legs_apart:
        evidence.warn(0.8, "The legs cannot be told apart; they were placed by proportion.")
    else:
        evidence.weigh(1.0, "two legs stand apart on the ground")
    if has_big_head(body, marks):
        evidence.weigh(0.97, "the head is as large as a toy's; neck and collar bones were left out")
    narrow = marks.neck_width / max(marks.head_width, 1e-12)
    evidence.weigh(1.0 if narrow < 0.9 else 0.75, f"the neck is {narrow:.0%} as wide as the head")


def _check_footless(body: Body, marks: Landmarks) -> None:
    """Refuse vases and towers: without feet the arms must be arms beyond doubt."""
    for side in SIDES:
        arm = marks.arms[side]
        if arm.length < 0.15 * body.height or arm.length < 3.5 * arm.radius:
            raise PoseEstimationFailed("it has neither feet on the ground nor clear arms")
